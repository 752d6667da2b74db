// SPDX-License-Identifier: Apache-2.0
//! How the database catches up with the layout: refs by the stamp of `index.json`, blobs by those of their
//! directories. Only what is not known yet is read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use redb::ReadableTable;

use super::counts::Change;
use super::edges::{self, Content, Link};
use super::rows::{
    BlobRow, Edge, Kind, Mention, Verified, key, mention_key, ref_key, split_key, stamp_to_bytes,
};
use super::tables::Tables;
use crate::digest::{Algorithm, Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{BlobName, Entry, Layout, Lock, REFLOG, Stamp};
use crate::progress::Monitor;

/// So many blobs are looked at together: in parallel, and in the order of their rows.
const BATCH: usize = 2048;

/// Of documents of about so many bytes together what they name is held at a time; one that is larger is alone.
const BATCH_BYTES: u64 = 8 << 20;

/// A file that changed less than this before it was looked at may change again without its stamp telling.
const RACY: Duration = Duration::from_secs(2);

/// A blob that nobody is known to need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Orphan {
    pub digest: Digest,
    pub size: u64,
}

/// A document that is not what its digest says, or cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Damaged {
    pub digest: Digest,
    pub error: String,
}

/// Follows a stamp that was noted too early to be trusted.
const YOUNG: u8 = 1;

/// Whether a stamp can be trusted to change with the next change.
fn settled(stamp: &Stamp) -> bool {
    let latest = stamp.mtime.max(stamp.ctime);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_sub(latest.0)
        > RACY.as_secs() as i64
}

/// What a look at a blob showed.
enum Seen {
    Nothing,
    /// Nobody has looked: enough is held already.
    Later,
    Blob(Kind, u64),
    Document(u64, Vec<Link>),
    LargeDocument(u64),
    Damaged(String),
}

/// The row of `meta` with where the reflog ended when `index.json` was read last, or before if that could not be told then; absent if
/// it never could.
pub(super) const REFLOG_END: &str = "reflog";

/// Tells the ends of reflogs apart, by their last line.
pub(crate) fn end_of_reflog(line: &[u8]) -> Digest {
    Digest::of(Algorithm::Blake3, line.strip_suffix(b"\n").unwrap_or(line))
}

/// The row of `meta` with the stamp of a directory of blobs.
pub(super) fn dir_stamp(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha256 => "blobs/sha256",
        Algorithm::Sha512 => "blobs/sha512",
        Algorithm::Blake3 => "blobs/blake3",
    }
}

impl Tables<'_> {
    fn has_stamp(&self, name: &str, stamp: &Stamp) -> Result<bool> {
        Ok(self
            .meta
            .get(name)?
            .is_some_and(|v| v.value() == stamp_to_bytes(stamp)))
    }

    fn set_stamp(&mut self, name: &str, stamp: &Stamp) -> Result<()> {
        let mut value = stamp_to_bytes(stamp);
        if !settled(stamp) {
            // Not equal to any stamp, so that all is read again; the status sees what was read last.
            value.push(YOUNG);
        }
        self.meta.insert(name, value.as_slice())?;
        Ok(())
    }

    /// Catches up with the layout: refs, then blobs. Returns the documents that could not be read, again each time
    /// until they can.
    pub(crate) fn sync(&mut self, layout: &Layout, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        let mut damaged = self.sync_refs(layout)?;
        damaged.extend(self.sync_blobs(layout, monitor)?);
        damaged.sort_by_key(|d| d.digest);
        damaged.dedup_by_key(|d| d.digest);
        Ok(damaged)
    }

    /// Reads the refs again if `index.json` is not the one that was read last, and learns what they lead to.
    pub(crate) fn sync_refs(&mut self, layout: &Layout) -> Result<Vec<Damaged>> {
        if self.has_stamp("index_json", &layout.index_stamp()?)? {
            return Ok(Vec::new());
        }
        // A line of the reflog comes before the `index.json` that it leads to: where a command of ours may be between the two, the
        // line says nothing of what is read here.
        let quiet = layout.share_lock(Lock::Refs, Duration::ZERO).ok().flatten();
        let last = match quiet {
            Some(_) => layout.private_dir().last_line(REFLOG)?,
            None => None,
        };
        let (index, stamp) = layout.read_index_stamped()?;
        drop(quiet);
        let damaged = self.take_entries(layout, index.entries())?;
        // Lines that are lost by now were there.
        if let Some(line) = last {
            let end = key(&end_of_reflog(&line));
            self.meta.insert(REFLOG_END, end.as_slice())?;
        }
        if damaged.is_empty() {
            self.set_stamp("index_json", &stamp)?;
        }
        Ok(damaged)
    }

    /// Takes these for the entries of `index.json`, and learns what they lead to. Returns the documents that could not be read.
    pub(crate) fn take_entries(&mut self, layout: &Layout, entries: &[Entry]) -> Result<Vec<Damaged>> {
        let mut new: HashMap<Vec<u8>, Vec<&Entry>> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let digest = entry
                .descriptor()
                .map_or_else(|_| Digest::sha256(entry.raw().as_bytes()), |d| d.digest);
            new.entry(ref_key(entry.ref_name.as_deref(), &digest))
                .or_default()
                .push(entry);
        }
        // A document that could not be read is looked at again, though the entry that leads to it is an old one.
        let again = self.meta.remove("damaged")?.is_some();
        let mut look: Vec<Digest> = Vec::new();
        let mut gone: Vec<(Vec<u8>, String)> = Vec::new();
        for item in self.refs.iter()? {
            let (k, old) = item?;
            match new.get(k.value()) {
                Some(entries) if Entry::list_to_text(entries) == old.value() => {
                    if again {
                        let links = entries.iter().flat_map(|entry| entry_links(entry));
                        look.extend(links.map(|link| link.digest));
                    }
                    new.remove(k.value());
                }
                _ => gone.push((k.value().to_vec(), old.value().to_owned())),
            }
        }
        let mut changes: BTreeMap<Digest, Change> = BTreeMap::new();
        for (k, old) in gone {
            self.refs.remove(k.as_slice())?;
            for entry in super::rows::entries(&old)? {
                for link in entry_links(&entry) {
                    changes.entry(link.digest).or_default().count -= 1;
                    self.mentions.remove(mention_row(&entry, &link).as_slice())?;
                }
            }
        }
        let mut new: Vec<(Vec<u8>, Vec<&Entry>)> = new.into_iter().collect();
        new.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (k, entries) in new {
            self.refs
                .insert(k.as_slice(), Entry::list_to_text(&entries).as_str())?;
            for entry in entries {
                for link in entry_links(entry) {
                    changes.entry(link.digest).or_default().count += 1;
                    self.mentions.insert(mention_row(entry, &link).as_slice(), ())?;
                    look.push(link.digest);
                }
            }
        }
        for (digest, change) in changes {
            self.change(&digest, change)?;
        }
        let damaged = self.learn_deep(layout, look)?;
        self.note_damaged(&damaged)?;
        Ok(damaged)
    }

    /// Takes away the entries of `index.json` that `drops` picks, as if they did not stand there.
    pub(crate) fn drop_entries(&mut self, drops: impl Fn(&Entry) -> bool) -> Result<()> {
        let mut counts: BTreeMap<Digest, i64> = BTreeMap::new();
        for item in self.refs.iter()? {
            let (_, entries) = item?;
            for entry in super::rows::entries(entries.value())?.iter().filter(|e| drops(e)) {
                for link in entry_links(entry) {
                    *counts.entry(link.digest).or_default() -= 1;
                    self.mentions.remove(mention_row(entry, &link).as_slice())?;
                }
            }
        }
        for (digest, change) in counts {
            self.add_count(&digest, change)?;
        }
        Ok(())
    }

    fn note_damaged(&mut self, damaged: &[Damaged]) -> Result<()> {
        if !damaged.is_empty() {
            self.meta.insert("damaged", &[1][..])?;
            self.meta.remove("index_json")?;
        }
        Ok(())
    }

    /// Lists the blob directories that may have changed, and learns the blobs that are not known.
    pub(crate) fn sync_blobs(&mut self, layout: &Layout, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        let mut damaged = Vec::new();
        for (algorithm, stamp) in layout.blob_dirs()? {
            if self.has_stamp(dir_stamp(algorithm), &stamp)? {
                continue;
            }
            let before = damaged.len();
            let mut strays = 0_u64;
            let mut found = Vec::new();
            for blob in layout.blobs(algorithm)? {
                match blob? {
                    BlobName::Digest(digest) => found.push(digest),
                    BlobName::Stray(name) => {
                        strays += 1;
                        monitor.warn(format_args!(
                            "blobs/{algorithm}/{} is no blob, left alone",
                            name.display()
                        ));
                    }
                }
            }
            found.sort_unstable();
            let (news, gone) = self.compare(algorithm, &found)?;
            drop(found);
            for batch in news.chunks(BATCH) {
                let mut looks = batch.to_vec();
                while !looks.is_empty() {
                    (_, looks) = self.learn(layout, looks, &mut damaged)?;
                }
            }
            for digest in gone {
                // Another program may just have put it back.
                if layout.blob_size(&digest)?.is_none() {
                    self.forget(&digest)?;
                }
            }
            // With something odd in it the directory is looked at, and the warning given, every time.
            if strays == 0 && damaged.len() == before {
                self.set_stamp(dir_stamp(algorithm), &stamp)?;
            }
        }
        self.note_damaged(&damaged)?;
        Ok(damaged)
    }

    /// Which of the blobs in a directory, in order, are not known, and which that are known are not there.
    fn compare(&self, algorithm: Algorithm, found: &[Digest]) -> Result<(Vec<Digest>, Vec<Digest>)> {
        let (mut news, mut gone) = (Vec::new(), Vec::new());
        let mut found = found.iter().copied().peekable();
        for item in self.blobs.iter()? {
            let (k, row) = item?;
            let (digest, _) = split_key(k.value())?;
            if digest.algorithm() != algorithm || BlobRow::from_bytes(row.value())?.kind == Kind::Absent {
                continue;
            }
            while let Some(new) = found.next_if(|f| *f < digest) {
                news.push(new);
            }
            if found.next_if_eq(&digest).is_none() {
                gone.push(digest);
            }
        }
        news.extend(found);
        Ok((news, gone))
    }

    /// Forgets that the blob directories were listed.
    pub(crate) fn unlist_blobs(&mut self) -> Result<()> {
        for algorithm in Algorithm::ALL {
            self.meta.remove(dir_stamp(algorithm))?;
        }
        Ok(())
    }

    /// Learns blobs, and all documents below them.
    fn learn_deep(&mut self, layout: &Layout, mut queue: Vec<Digest>) -> Result<Vec<Damaged>> {
        let mut damaged = Vec::new();
        while !queue.is_empty() {
            let batch = queue.split_off(queue.len().saturating_sub(BATCH));
            let (below, later) = self.learn(layout, batch, &mut damaged)?;
            queue.extend(later);
            queue.extend(below);
        }
        Ok(damaged)
    }

    /// Learns a blob that a transaction is about, with the stamp of its file when that was verified, if it was; what is below it
    /// is learned when a ref leads there.
    pub(crate) fn learn_part(
        &mut self,
        layout: &Layout,
        digest: &Digest,
        verified: Option<Stamp>,
    ) -> Result<()> {
        // It may have been damaged, or another file, when it was seen last.
        self.unsee(digest)?;
        let (mut looks, mut damaged) = (vec![*digest], Vec::new());
        while !looks.is_empty() {
            (_, looks) = self.learn(layout, looks, &mut damaged)?;
        }
        self.note_damaged(&damaged)?;
        // One that is known to be so already may have a second checksum too.
        if let Some(stamp) = verified
            && self.verified(digest)?.is_none_or(|known| known.stamp != stamp)
        {
            self.set_verified(digest, Verified { stamp, blake3: None })?;
        }
        Ok(())
    }

    /// Looks at blobs, unless they are known; returns those that the new ones name, and those that are left for another time.
    fn learn(
        &mut self,
        layout: &Layout,
        mut looks: Vec<Digest>,
        damaged: &mut Vec<Damaged>,
    ) -> Result<(Vec<Digest>, Vec<Digest>)> {
        looks.sort_unstable();
        looks.dedup();
        let mut news = Vec::new();
        for digest in looks {
            let kind = self.row(&digest)?.map_or(Kind::Absent, |row| row.kind);
            if !matches!(kind, Kind::Absent | Kind::Opaque) {
                continue;
            }
            let is_named = self.is_named_as_document(&digest)?;
            if kind == Kind::Absent || is_named {
                news.push((digest, is_named));
            }
        }
        let held = AtomicU64::new(0);
        let seen: Vec<Result<Seen>> = news
            .par_iter()
            .map(|(digest, is_named)| look(layout, digest, *is_named, &held))
            .collect();
        let mut changes: BTreeMap<Digest, Change> = BTreeMap::new();
        let (mut below, mut later) = (Vec::new(), Vec::new());
        let mut named = Vec::new();
        for ((digest, _), seen) in news.into_iter().zip(seen) {
            let (kind, size) = match seen? {
                Seen::Nothing => continue,
                Seen::Later => {
                    later.push(digest);
                    continue;
                }
                Seen::Damaged(error) => {
                    damaged.push(Damaged { digest, error });
                    // The next listing finds the blob again.
                    changes.entry(digest).or_default().seen = Some((Kind::Absent, 0));
                    self.meta.remove(dir_stamp(digest.algorithm()))?;
                    continue;
                }
                Seen::Blob(kind, size) => (kind, size),
                Seen::Document(size, links) => {
                    self.add_links(&digest, &links, &mut changes)?;
                    below.extend(links.iter().map(|link| link.digest));
                    named.extend(
                        links
                            .iter()
                            .filter(|link| link.is_to_document())
                            .map(|link| link.digest),
                    );
                    (Kind::Document, size)
                }
                Seen::LargeDocument(size) => {
                    below.extend(self.add_many_links(layout, &digest, size)?);
                    (Kind::Document, size)
                }
            };
            changes.entry(digest).or_default().seen = Some((kind, size));
        }
        for (digest, change) in changes {
            self.change(&digest, change)?;
        }
        // A blob may have been seen as something else before it was named as a document.
        for digest in named {
            if self.row(&digest)?.is_some_and(|row| row.kind == Kind::Opaque) {
                later.push(digest);
            }
        }
        Ok((below, later))
    }

    /// Returns whether an entry of `index.json` or a document says that a blob is a manifest or index.
    fn is_named_as_document(&self, digest: &Digest) -> Result<bool> {
        let mut is_named = false;
        self.each_mention(digest, |mention| {
            let said = Mention::says_document(mention)?;
            is_named |= said == Some(true);
            Ok(said == Some(false))
        })?;
        Ok(is_named)
    }

    /// Records the edges of a document that has very many, read again; returns the blobs among them that are there.
    fn add_many_links(&mut self, layout: &Layout, parent: &Digest, size: u64) -> Result<Vec<Digest>> {
        let gone = || Error::new(ErrorKind::NotFound, format!("{parent} is gone"));
        let (file, _) = layout.open_unverified(parent)?.ok_or_else(gone)?;
        let mut below = BTreeSet::new();
        edges::each_link(file, parent, size, |links| {
            let mut changes = BTreeMap::new();
            self.add_links(parent, &links, &mut changes)?;
            for (digest, change) in changes {
                self.change(&digest, change)?;
            }
            for link in links {
                if layout.blob_size(&link.digest)?.is_some() {
                    below.insert(link.digest);
                }
            }
            Ok(())
        })?;
        Ok(below.into_iter().collect())
    }
}

/// Looks at one blob, unless so many bytes of documents are `held` already that it has to wait. The content of one that is named as
/// a document must be one, or what its digest says.
fn look(layout: &Layout, digest: &Digest, is_named: bool, held: &AtomicU64) -> Result<Seen> {
    let read = match layout.open_unverified(digest) {
        Ok(None) => return Ok(Seen::Nothing),
        Ok(Some(_)) if held.load(Ordering::Relaxed) > BATCH_BYTES => return Ok(Seen::Later),
        Ok(Some((file, size))) => read(file, digest, size, is_named).map(|content| (content, size)),
        Err(err) => Err(err),
    };
    match read {
        Ok((None, size)) => Ok(Seen::Blob(Kind::Plain, size)),
        Ok((Some(Content::Opaque), size)) => Ok(Seen::Blob(Kind::Opaque, size)),
        Ok((Some(Content::Document(links)), size)) => {
            held.fetch_add(size, Ordering::Relaxed);
            Ok(Seen::Document(size, links))
        }
        Ok((Some(Content::Large), size)) => Ok(Seen::LargeDocument(size)),
        Err(err)
            if matches!(
                err.kind(),
                ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Denied
            ) =>
        {
            Ok(Seen::Damaged(err.to_string()))
        }
        Err(err) => Err(err),
    }
}

/// Reads a blob; `None` for one that is no document and is what its digest says. That is checked for a blob that is named as a
/// document, and for the rest of one: after a loss of power a file may be empty, or all zeros.
fn read(mut file: File, digest: &Digest, size: u64, is_named: bool) -> Result<Option<Content>> {
    let content = edges::read(&file, digest, size)?;
    if content != Content::Opaque {
        return Ok(Some(content));
    }
    let mut first = [0];
    file.rewind()?;
    let is_rest = file.read(&mut first)? == 0 || first == [0];
    if !is_named && !is_rest {
        return Ok(Some(content));
    }
    file.rewind()?;
    VerifyReader::new(file, *digest, size).finish()?;
    Ok(None)
}

/// The row that says that an entry of `index.json` names a blob.
fn mention_row(entry: &Entry, link: &Link) -> Vec<u8> {
    let mention = Mention::Ref {
        name: entry.ref_name.clone(),
        media_type: link.media_type.clone(),
    };
    mention_key(&link.digest, &mention.to_bytes())
}

/// Returns the edges of an entry of `index.json`. One that is no descriptor, or not to all readers, keeps every digest in its text.
fn entry_links(entry: &Entry) -> Vec<Link> {
    let text = entry.raw();
    let Ok(descriptor) = entry.descriptor() else {
        return edges::of_unclear(text);
    };
    let mut out = vec![Link {
        edge: Edge::Declared,
        digest: descriptor.digest,
        media_type: descriptor.media_type.as_str().to_owned(),
    }];
    if entry.is_unclear() {
        let others = edges::of_unclear(text).into_iter();
        out.extend(others.filter(|link| link.digest != descriptor.digest));
    }
    out
}
