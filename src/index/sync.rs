// SPDX-License-Identifier: Apache-2.0
//! Brings the database up to date with the layout: refs by the stamp of `index.json`, blobs by those of their directories. Only
//! data that is not known yet is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redb::ReadableTable;

use super::classify::{Classified, Unknown, classify_each};
use super::edges::{self, Content};
use super::pending::Pending;
use super::rows::{BlobRow, InEdge, Kind, Link, Verified, in_edge_key, key, ref_key, split_key};
use super::stamps::{INDEX_JSON, dir_stamp};
use super::tables::Tables;
use crate::digest::{Algorithm, Digest};
use crate::error::{Result, ResultExt};
use crate::layout::{BlobName, Entry, IndexFile, Layout, Lock, REFLOG, Stamp};
use crate::progress::Monitor;

/// Maximum number of blobs that are looked at together.
const BATCH: usize = 16_384;

/// A document that is not what its digest says, or cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Damaged {
    pub digest: Digest,
    pub error: String,
}

/// The row of `meta` with where the reflog ended when `index.json` was read last, or before if that could not be told then; absent
/// if it never could.
pub(super) const REFLOG_END: &str = "reflog";

/// Tells the ends of reflogs apart, by their last line.
pub(crate) fn end_of_reflog(line: &[u8]) -> Digest {
    Digest::of(Algorithm::Blake3, line.strip_suffix(b"\n").unwrap_or(line))
}

impl Tables<'_> {
    /// Catches up with the layout. Returns the documents that could not be read, again each time until they can.
    pub(crate) fn sync(&mut self, layout: &Layout, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        let mut update = Update::new(self, layout);
        let roots = update.refs()?;
        update.complete(roots, monitor)
    }

    /// As [`Tables::sync`], if these were the entries of `index.json`.
    pub(crate) fn sync_with(
        &mut self,
        layout: &Layout,
        entries: &[Entry],
        monitor: &dyn Monitor,
    ) -> Result<Vec<Damaged>> {
        let mut update = Update::new(self, layout);
        let roots = update.entries(entries)?;
        update.complete(roots, monitor)
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
        self.forget_kind(digest)?;
        let mut update = Update::new(self, layout);
        update.learn(vec![*digest], Link::is_to_document)?;
        update.finish()?;
        // A blob that is known to be so already may have a second checksum too.
        if let Some(stamp) = verified
            && self.verified(digest)?.is_none_or(|known| known.stamp != stamp)
        {
            self.set_verified(digest, Verified { stamp, blake3: None })?;
        }
        Ok(())
    }

    /// Takes the known blobs out of those that were found in the directory of `algorithm`. Returns the known ones that are not there.
    fn take_known(&self, algorithm: Algorithm, found: &mut BTreeSet<Digest>) -> Result<Vec<Digest>> {
        let mut gone = Vec::new();
        for item in self.blobs.iter()? {
            let (k, row) = item?;
            let (digest, _) = split_key(k.value())?;
            let is_known = digest.algorithm() == algorithm && BlobRow::from_bytes(row.value())?.is_present();
            if is_known && !found.remove(&digest) {
                gone.push(digest);
            }
        }
        Ok(gone)
    }

    /// Forgets that the blob directories were listed.
    pub(crate) fn invalidate_listing(&mut self) -> Result<()> {
        for algorithm in Algorithm::ALL {
            self.meta.remove(&*dir_stamp(algorithm))?;
        }
        Ok(())
    }

    /// Returns whether an entry of `index.json` or a document says that a blob is a manifest or index.
    fn is_named_as_document(&self, digest: &Digest) -> Result<bool> {
        for row in self.in_edge_rows(digest)? {
            match InEdge::says_document(&row?)? {
                Some(false) => {}
                said => return Ok(said.is_some()),
            }
        }
        Ok(false)
    }
}

/// A catching up with the layout.
struct Update<'a, 'tx> {
    tables: &'a mut Tables<'tx>,
    layout: &'a Layout,
    pending: Pending,
    damaged: Vec<Damaged>,
    /// Of what was read whole, if nothing in it proves to be damaged.
    stamps: Vec<(String, Stamp)>,
}

impl<'a, 'tx> Update<'a, 'tx> {
    fn new(tables: &'a mut Tables<'tx>, layout: &'a Layout) -> Self {
        Self {
            tables,
            layout,
            pending: Pending::default(),
            damaged: Vec::new(),
            stamps: Vec::new(),
        }
    }

    /// Learns all blobs and what is below `roots`, and writes it.
    fn complete(mut self, roots: Vec<Digest>, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        // The blobs come first: most of what the refs lead to is known then, and is not asked for one by one.
        self.blobs(monitor)?;
        self.learn(roots, |_| true)?;
        self.finish()
    }

    /// Writes what was learned. Returns the documents that could not be read.
    fn finish(mut self) -> Result<Vec<Damaged>> {
        self.pending.write(self.tables)?;
        if self.damaged.is_empty() {
            for (name, stamp) in self.stamps {
                self.tables.set_stamp(&name, &stamp)?;
            }
        } else {
            self.tables.meta.insert("damaged", &[1][..])?;
            self.tables.meta.remove(INDEX_JSON)?;
        }
        self.damaged.sort_by_key(|d| d.digest);
        self.damaged.dedup_by_key(|d| d.digest);
        Ok(self.damaged)
    }

    /// Reads the refs again if `index.json` is not the one that was read last. Returns what is to be learned for their sake.
    fn refs(&mut self) -> Result<Vec<Digest>> {
        if self.tables.has_stamp(INDEX_JSON, &self.layout.index_stamp()?)? {
            return Ok(Vec::new());
        }
        // A line of the reflog comes before the `index.json` that it leads to: where a command of ours may be between the two, the
        // line says nothing of what is read here.
        let quiet = self.layout.share_lock(Lock::Refs, Duration::ZERO).ok().flatten();
        let last = match quiet {
            Some(_) => self.layout.private_dir().last_line(REFLOG)?,
            None => None,
        };
        let IndexFile { index, stamp, .. } = self.layout.read_index_file()?;
        drop(quiet);
        let roots = self.entries(index.entries())?;
        // Lines that are lost by now were there.
        if let Some(line) = last {
            let end = key(&end_of_reflog(&line));
            self.tables.meta.insert(REFLOG_END, end.as_slice())?;
        }
        self.stamps.push((INDEX_JSON.to_owned(), stamp));
        Ok(roots)
    }

    /// Takes these for the entries of `index.json`. Returns what the new ones lead to.
    fn entries(&mut self, entries: &[Entry]) -> Result<Vec<Digest>> {
        // In the order of keys, in which the database takes rows several times as fast as in any other.
        let mut new: BTreeMap<Vec<u8>, Vec<&Entry>> = BTreeMap::new();
        for entry in entries {
            let descriptor = entry.descriptor();
            let digest = descriptor.map_or_else(|_| Digest::sha256(entry.raw().as_bytes()), |d| d.digest);
            let k = ref_key(entry.ref_name.as_deref(), &digest);
            new.entry(k).or_default().push(entry);
        }
        // A document that could not be read is looked at again, though the entry that leads to it is an old one.
        let again = self.tables.meta.remove("damaged")?.is_some();
        let mut roots: Vec<Digest> = Vec::new();
        let mut gone: Vec<(Vec<u8>, String)> = Vec::new();
        for item in self.tables.refs.iter()? {
            let (k, old) = item?;
            match new.get(k.value()) {
                Some(entries) if Entry::list_to_text(entries) == old.value() => {
                    if again {
                        let links = entries.iter().flat_map(|entry| edges::of_entry(entry));
                        roots.extend(links.map(|link| link.digest));
                    }
                    new.remove(k.value());
                }
                _ => gone.push((k.value().to_vec(), old.value().to_owned())),
            }
        }
        for (k, old) in gone {
            self.tables.refs.remove(k.as_slice())?;
            for entry in super::rows::entries(&old)? {
                for link in edges::of_entry(&entry) {
                    self.tables.in_edges.remove(entry_row(&entry, &link).as_slice())?;
                    self.pending.drop_ref(link.digest);
                }
            }
        }
        for (k, entries) in new {
            let text = Entry::list_to_text(&entries);
            self.tables.refs.insert(k.as_slice(), text.as_str())?;
            for entry in entries {
                for link in edges::of_entry(entry) {
                    self.pending.add_ref(&link, entry_row(entry, &link));
                    roots.push(link.digest);
                }
            }
        }
        Ok(roots)
    }

    /// Lists the blob directories that may have changed, and learns the blobs that are not known.
    fn blobs(&mut self, monitor: &dyn Monitor) -> Result<()> {
        for (algorithm, stamp) in self.layout.blob_dirs()? {
            if self.tables.has_stamp(&dir_stamp(algorithm), &stamp)? {
                continue;
            }
            let mut has_strays = false;
            let mut new = BTreeSet::new();
            for blob in self.layout.blobs(algorithm)? {
                match blob? {
                    BlobName::Digest(digest) => drop(new.insert(digest)),
                    BlobName::Stray(name) => {
                        has_strays = true;
                        let name = name.display();
                        monitor.warn(format_args!("blobs/{algorithm}/{name} is no blob, left alone"));
                    }
                }
            }
            let gone = self.tables.take_known(algorithm, &mut new)?;
            // All that the new ones need is in the list.
            self.learn(new.into_iter().collect(), Link::is_to_document)?;
            for digest in gone {
                // Another program may just have put it back.
                if self.layout.blob_size(&digest)?.is_none() {
                    self.tables.forget(&digest)?;
                }
            }
            // With something odd in it the directory is looked at, and the warning given, every time.
            if !has_strays {
                self.stamps.push((dir_stamp(algorithm), stamp));
            }
        }
        Ok(())
    }

    /// Looks at blobs, unless they are known, and at what the new ones lead to by the edges that `follows` picks.
    fn learn(&mut self, mut queue: Vec<Digest>, follows: fn(&Link) -> bool) -> Result<()> {
        while !queue.is_empty() {
            let batch = queue.split_off(queue.len().saturating_sub(BATCH));
            let unknown = self.unknown(batch)?;
            classify_each(self.layout, &unknown, |digest, found| {
                let below = self.add(digest, found)?;
                queue.extend(below.iter().filter(|link| follows(link)).map(|link| link.digest));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Returns those of the blobs that are not known, or not as what they are named.
    fn unknown(&self, mut digests: Vec<Digest>) -> Result<Vec<Unknown>> {
        digests.sort_unstable();
        digests.dedup();
        let mut out = Vec::new();
        for digest in digests {
            let kind = match self.pending.kind(&digest) {
                Some(kind) => kind,
                None => self.tables.row(&digest)?.kind,
            };
            if matches!(kind, Kind::Absent | Kind::Opaque) {
                let is_named = self.pending.is_named_as_document(&digest)
                    || self.tables.is_named_as_document(&digest)?;
                if kind == Kind::Absent || is_named {
                    out.push(Unknown { digest, is_named });
                }
            }
        }
        Ok(out)
    }

    /// Adds a blob that was looked at. Returns its edges; of very many those to blobs that are there.
    fn add(&mut self, digest: Digest, found: Classified) -> Result<Vec<Link>> {
        let mut below = Vec::new();
        match found {
            Classified::Missing => {}
            Classified::Found(size, content) => {
                self.pending.see(digest, content.kind(), size);
                match content {
                    Content::Opaque | Content::Plain => {}
                    Content::Document(links) => below = self.pending.add_links(&digest, 0, links),
                    Content::Large => below = self.add_many_links(&digest, size)?,
                }
            }
            Classified::Damaged(error) => {
                self.damaged.push(Damaged { digest, error });
                // The next listing finds the blob again.
                self.pending.see(digest, Kind::Absent, 0);
                self.tables.meta.remove(&*dir_stamp(digest.algorithm()))?;
            }
        }
        if self.pending.is_full() {
            self.pending.write(self.tables)?;
        }
        Ok(below)
    }

    /// Adds the edges of a document that has very many, read again. Returns those to blobs that are there.
    fn add_many_links(&mut self, parent: &Digest, size: u64) -> Result<Vec<Link>> {
        let Some((file, _)) = self.layout.open_found(parent).if_there()? else {
            fail!(NotFound, "{parent} is gone");
        };
        let (mut below, mut held, mut piece) = (Vec::new(), Vec::new(), 0);
        edges::each_link(file, parent, size, |link| {
            if held.len() == edges::MAX_HELD {
                below.extend(self.add_piece(parent, piece, std::mem::take(&mut held))?);
                piece += 1;
            }
            held.push(link);
            Ok(())
        })?;
        below.extend(self.add_piece(parent, piece, held)?);
        Ok(below)
    }

    /// Adds some of the edges of a document. Returns those to blobs that are there.
    fn add_piece(&mut self, parent: &Digest, piece: u32, links: Vec<Link>) -> Result<Vec<Link>> {
        let mut below = Vec::new();
        for link in self.pending.add_links(parent, piece, links) {
            if self.layout.blob_size(&link.digest)?.is_some() {
                below.push(link);
            }
        }
        if self.pending.is_full() {
            self.pending.write(self.tables)?;
        }
        Ok(below)
    }
}

/// Returns the row that says that an entry of `index.json` names a blob.
fn entry_row(entry: &Entry, link: &Link) -> Vec<u8> {
    in_edge_key(&link.digest, &InEdge::of_entry(entry, link).to_bytes())
}
