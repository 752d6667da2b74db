// SPDX-License-Identifier: Apache-2.0
//! How the database catches up with the layout: refs by the stamp of `index.json`, blobs by those of their
//! directories. Only what is not known yet is read.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use redb::{ReadableMultimapTable, ReadableTable};

use super::links::{self, Content, Link};
use super::rows::{
    BlobRow, Edge, Kind, edge_from_bytes, edge_to_bytes, key, media_type_to_bytes, split_key, stamp_to_bytes,
};
use super::tables::{Tables, failed};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{BlobName, Entry, Layout, Stamp};
use crate::progress::Monitor;
use crate::spec::{MediaClass, MediaType};

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

impl Tables<'_> {
    fn has_stamp(&self, name: &str, stamp: &Stamp) -> Result<bool> {
        Ok(self
            .meta
            .get(name)
            .map_err(failed)?
            .is_some_and(|v| v.value() == stamp_to_bytes(stamp)))
    }

    fn set_stamp(&mut self, name: &str, stamp: &Stamp) -> Result<()> {
        if settled(stamp) {
            self.meta
                .insert(name, stamp_to_bytes(stamp).as_slice())
                .map_err(failed)?;
        } else {
            self.meta.remove(name).map_err(failed)?;
        }
        Ok(())
    }

    /// Reads the refs again if `index.json` is not the one that was read last, and learns what they lead to.
    pub(crate) fn sync_refs(&mut self, layout: &Layout) -> Result<Vec<Damaged>> {
        if self.has_stamp("index_json", &layout.index_stamp()?)? {
            return Ok(Vec::new());
        }
        let (index, stamp) = layout.read_index_stamped()?;
        let mut change: HashMap<Digest, i64> = HashMap::new();
        let old: Vec<Vec<u8>> = self
            .refs
            .iter()
            .map_err(failed)?
            .map(|item| item.map(|(_, v)| v.value().to_vec()).map_err(failed))
            .collect::<Result<_>>()?;
        for row in &old {
            *change.entry(split_key(row)?.0).or_default() -= 1;
        }
        let mut new: Vec<(Digest, Link)> = Vec::new();
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for entry in index.entries() {
            for link in entry_links(entry) {
                *change.entry(link.digest).or_default() += 1;
                let name = entry.ref_name.as_deref().unwrap_or_default();
                rows.push(
                    [
                        &key(&link.digest)[..],
                        link.media_type.as_bytes(),
                        b"\0",
                        name.as_bytes(),
                    ]
                    .concat(),
                );
                new.push((link.digest, link));
            }
        }
        if rows != old {
            for at in rows.len()..old.len() {
                self.refs.remove(at as u64).map_err(failed)?;
            }
            for (at, row) in rows.iter().enumerate() {
                if old.get(at) != Some(row) {
                    self.refs.insert(at as u64, row.as_slice()).map_err(failed)?;
                }
            }
        }
        for (digest, change) in change {
            self.add_count(&digest, change)?;
        }
        let mut damaged = Vec::new();
        for (digest, link) in new {
            let value = media_type_to_bytes(None, &link.media_type);
            self.media_types
                .insert(key(&digest).as_slice(), value.as_slice())
                .map_err(failed)?;
            self.learn_deep(layout, &link, &mut damaged)?;
        }
        if damaged.is_empty() {
            self.set_stamp("index_json", &stamp)?;
        }
        Ok(damaged)
    }

    /// Lists the blob directories that may have changed, and learns the blobs that are not known.
    pub(crate) fn sync_blobs(&mut self, layout: &Layout, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        let mut damaged = Vec::new();
        for (algorithm, stamp) in layout.blob_dirs()? {
            let name = match algorithm.name() {
                "sha512" => "blobs/sha512",
                "blake3" => "blobs/blake3",
                _ => "blobs/sha256",
            };
            if self.has_stamp(name, &stamp)? {
                continue;
            }
            let mut strays = 0_u64;
            for blob in layout.blobs(algorithm)? {
                match blob? {
                    BlobName::Digest(digest) => {
                        if !self.is_present(&digest)? {
                            self.learn(layout, &digest, true, &mut damaged)?;
                        }
                    }
                    BlobName::Stray(name) => {
                        strays += 1;
                        monitor.warn(format_args!(
                            "blobs/{algorithm}/{} is no blob, left alone",
                            name.display()
                        ));
                    }
                }
            }
            // With something odd in it the directory is looked at, and the warning given, every time.
            if strays == 0 && damaged.is_empty() {
                self.set_stamp(name, &stamp)?;
            }
        }
        Ok(damaged)
    }

    /// Forgets that the blob directories were listed.
    pub(crate) fn unlist_blobs(&mut self) -> Result<()> {
        for name in ["blobs/sha256", "blobs/sha512", "blobs/blake3"] {
            self.meta.remove(name).map_err(failed)?;
        }
        Ok(())
    }

    /// Learns a blob and all documents below it.
    pub(crate) fn learn_deep(
        &mut self,
        layout: &Layout,
        link: &Link,
        damaged: &mut Vec<Damaged>,
    ) -> Result<()> {
        let mut stack = vec![(link.digest, link.media_type.clone())];
        while let Some((digest, media_type)) = stack.pop() {
            let is_layer = matches!(
                MediaType::new(media_type).class(),
                MediaClass::Layer(_) | MediaClass::UnknownLayer
            );
            if let Some(links) = self.learn(layout, &digest, !is_layer, damaged)? {
                stack.extend(links.into_iter().map(|l| (l.digest, l.media_type)));
            }
        }
        Ok(())
    }

    /// Learns a blob that was just written, or found; what is below it is learned when a ref leads there.
    pub(crate) fn learn_one(
        &mut self,
        layout: &Layout,
        digest: &Digest,
        media_type: &MediaType,
    ) -> Result<()> {
        let is_layer = matches!(media_type.class(), MediaClass::Layer(_));
        self.learn(layout, digest, !is_layer, &mut Vec::new()).map(|_| ())
    }

    /// Looks at one blob unless it is known; returns what it names if that is news.
    fn learn(
        &mut self,
        layout: &Layout,
        digest: &Digest,
        open: bool,
        damaged: &mut Vec<Damaged>,
    ) -> Result<Option<Vec<Link>>> {
        let known = self.row(digest)?.unwrap_or(BlobRow::ABSENT);
        let news = match known.kind {
            Kind::Absent => true,
            Kind::Unread => open,
            Kind::Opaque | Kind::Document => false,
        };
        if !news {
            return Ok(None);
        }
        if !open {
            if let Some(size) = layout.blob_size(digest)? {
                self.seen(
                    digest,
                    BlobRow {
                        kind: Kind::Unread,
                        size,
                        ..known
                    },
                )?;
            }
            return Ok(None);
        }
        let read = match layout.open_unverified(digest) {
            Ok(None) => return Ok(None),
            Ok(Some((file, size))) => links::read(file, digest, size).map(|content| (content, size)),
            Err(err) => Err(err),
        };
        match read {
            Ok((Content::Opaque, size)) => {
                self.seen(
                    digest,
                    BlobRow {
                        kind: Kind::Opaque,
                        size,
                        ..known
                    },
                )?;
                Ok(None)
            }
            Ok((Content::Document { links }, size)) => {
                self.seen(
                    digest,
                    BlobRow {
                        kind: Kind::Document,
                        size,
                        ..known
                    },
                )?;
                self.add_links(digest, &links)?;
                Ok(Some(links))
            }
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Denied
                ) =>
            {
                damaged.push(Damaged {
                    digest: *digest,
                    error: err.to_string(),
                });
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    fn seen(&mut self, digest: &Digest, row: BlobRow) -> Result<()> {
        self.set_row(digest, row)?;
        if row.count == 0 {
            self.orphans.insert(key(digest).as_slice(), ()).map_err(failed)?;
        }
        Ok(())
    }

    /// Changes the count of a blob, and what follows from it being zero.
    fn add_count(&mut self, digest: &Digest, change: i64) -> Result<()> {
        if change == 0 {
            return Ok(());
        }
        let mut row = self.row(digest)?.unwrap_or(BlobRow::ABSENT);
        row.count = row.count.checked_add_signed(change).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("index database: the count of {digest} fell below zero"),
            )
        })?;
        let k = key(digest);
        if row.count == 0 && row.kind == Kind::Absent {
            self.blobs.remove(k.as_slice()).map_err(failed)?;
            return Ok(());
        }
        self.set_row(digest, row)?;
        if row.count == 0 {
            self.orphans.insert(k.as_slice(), ()).map_err(failed)?;
        } else {
            self.orphans.remove(k.as_slice()).map_err(failed)?;
        }
        Ok(())
    }

    fn add_links(&mut self, parent: &Digest, links: &[Link]) -> Result<()> {
        for link in links {
            let to = key(&link.digest);
            let edge = edge_to_bytes(link.edge, &link.digest);
            let known = self
                .children
                .insert(key(parent).as_slice(), edge.as_slice())
                .map_err(failed)?;
            let back = edge_to_bytes(link.edge, parent);
            self.parents
                .insert(to.as_slice(), back.as_slice())
                .map_err(failed)?;
            let value = media_type_to_bytes(Some(parent), &link.media_type);
            self.media_types
                .insert(to.as_slice(), value.as_slice())
                .map_err(failed)?;
            // A document that names a blob twice holds it once.
            if link.edge == Edge::Strong && !known {
                self.add_count(&link.digest, 1)?;
            }
        }
        Ok(())
    }

    /// Notes which tar a layer holds.
    pub(crate) fn note_diff_id(&mut self, layer: &Digest, diff_id: &Digest) -> Result<()> {
        let (layer, diff_id) = (key(layer), key(diff_id));
        self.diff_ids
            .insert(layer.as_slice(), diff_id.as_slice())
            .map_err(failed)?;
        self.layers
            .insert(diff_id.as_slice(), layer.as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// Forgets a blob that is about to be removed, and lowers the counts of what it names.
    pub(crate) fn forget(&mut self, digest: &Digest) -> Result<()> {
        let k = key(digest);
        let edges: Vec<Vec<u8>> = self
            .children
            .remove_all(k.as_slice())
            .map_err(failed)?
            .map(|v| v.map(|v| v.value().to_vec()).map_err(failed))
            .collect::<Result<_>>()?;
        for edge in edges {
            let (edge, child) = edge_from_bytes(&edge)?;
            let to = key(&child);
            self.parents
                .remove(to.as_slice(), edge_to_bytes(edge, digest).as_slice())
                .map_err(failed)?;
            let prefix = media_type_to_bytes(Some(digest), "");
            let named: Vec<Vec<u8>> = self
                .media_types
                .get(to.as_slice())
                .map_err(failed)?
                .filter_map(|v| v.ok().map(|v| v.value().to_vec()))
                .filter(|v| v.starts_with(&prefix))
                .collect();
            for value in named {
                self.media_types
                    .remove(to.as_slice(), value.as_slice())
                    .map_err(failed)?;
            }
            if edge == Edge::Strong {
                self.add_count(&child, -1)?;
            }
        }
        let row = self.row(digest)?.unwrap_or(BlobRow::ABSENT);
        self.orphans.remove(k.as_slice()).map_err(failed)?;
        if row.count == 0 {
            self.blobs.remove(k.as_slice()).map_err(failed)?;
            self.media_types.remove_all(k.as_slice()).map_err(failed)?;
        } else {
            self.set_row(
                digest,
                BlobRow {
                    kind: Kind::Absent,
                    size: 0,
                    ..row
                },
            )?;
        }
        let tar = self
            .diff_ids
            .remove(k.as_slice())
            .map_err(failed)?
            .map(|v| v.value().to_vec());
        if let Some(tar) = tar {
            self.layers.remove(tar.as_slice(), k.as_slice()).map_err(failed)?;
        }
        Ok(())
    }
}

/// What an entry of `index.json` names. One that is no descriptor still keeps all digests that stand in it.
fn entry_links(entry: &Entry) -> Vec<Link> {
    if let Ok(descriptor) = entry.descriptor() {
        let media_type = descriptor.media_type.as_str().to_owned();
        return vec![Link {
            edge: Edge::Strong,
            digest: descriptor.digest,
            media_type,
            in_descriptor: true,
        }];
    }
    let raw = entry.raw().as_bytes();
    match links::read(raw, &Digest::sha256(raw), raw.len() as u64) {
        Ok(Content::Document { links }) => links
            .into_iter()
            .map(|l| Link {
                edge: Edge::Strong,
                ..l
            })
            .collect(),
        _ => Vec::new(),
    }
}
