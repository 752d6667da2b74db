// SPDX-License-Identifier: Apache-2.0
//! Writes the rows of blobs and of what names what, and keeps the counts and orphans that follow from them.

use super::guard::damage;
use super::rows::{BlobRow, DiffId, Edge, Kind, Mention, MentionKey, Verified};
use super::tables::Tables;
use crate::digest::Digest;
use crate::error::Result;

/// What is new about a blob.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    pub seen: Option<(Kind, u64)>,
    /// So many more refs and documents need it.
    pub count: i64,
}

impl Change {
    const GONE: Self = Self {
        seen: Some((Kind::Absent, 0)),
        count: 0,
    };
}

impl Tables<'_> {
    /// Changes the row of a blob, and what follows from its count being zero.
    pub(super) fn change(&mut self, digest: &Digest, change: Change) -> Result<()> {
        let old = self.row(digest)?;
        let mut row = old;
        if let Some((kind, size)) = change.seen {
            (row.kind, row.size) = (kind, size);
        }
        row.count = row
            .count
            .checked_add_signed(change.count)
            .ok_or_else(|| damage(format_args!("the count of {digest} fell below zero")))?;
        if row == old {
            return Ok(());
        }
        if row == BlobRow::ABSENT {
            self.blobs.remove(digest)?;
        } else {
            self.blobs.insert(digest, &row)?;
        }
        match (old.is_orphan(), row.is_orphan()) {
            (false, true) => drop(self.orphans.insert(digest, &())?),
            (true, false) => drop(self.orphans.remove(digest)?),
            _ => {}
        }
        Ok(())
    }

    fn add_count(&mut self, digest: &Digest, count: i64) -> Result<()> {
        self.change(digest, Change { seen: None, count })
    }

    /// Forgets what a blob that is no document was seen as.
    pub(super) fn unsee(&mut self, digest: &Digest) -> Result<()> {
        if self.row(digest)?.kind == Kind::Document {
            return Ok(());
        }
        self.change(digest, Change::GONE)
    }

    /// Loses the row of a blob, as a changed bit in its key would.
    #[cfg(test)]
    pub(crate) fn lose_row(&mut self, digest: &Digest) -> Result<()> {
        self.unlist_blobs()?;
        self.blobs.remove(digest).map(|_| ())
    }

    /// Makes a count wrong.
    #[cfg(test)]
    pub(crate) fn miscount(&mut self, digest: &Digest, by: i64) -> Result<()> {
        self.add_count(digest, by)
    }

    /// Notes that the content of a blob is what its digest says, as the file was then.
    pub(crate) fn set_verified(&mut self, digest: &Digest, row: Verified) -> Result<()> {
        self.verified.insert(digest, &row).map(|_| ())
    }

    /// Notes which tar a layer holds, and how that begins.
    pub(crate) fn note_diff_id(
        &mut self,
        layer: &Digest,
        tar: &Digest,
        start: Option<&Digest>,
    ) -> Result<()> {
        self.forget_diff_id(layer)?;
        let (tar, start) = (*tar, start.copied());
        self.diff_ids.insert(layer, &DiffId { tar, start })?;
        self.layers.insert(&tar, layer)?;
        start.map_or(Ok(()), |start| self.starts.insert(&start, layer))
    }

    fn forget_diff_id(&mut self, layer: &Digest) -> Result<()> {
        if let Some(DiffId { tar, start }) = self.diff_ids.remove(layer)? {
            self.layers.remove(&tar, layer)?;
            if let Some(start) = start {
                self.starts.remove(&start, layer)?;
            }
        }
        Ok(())
    }

    /// Forgets a blob that is about to be removed, and lowers the counts of what it names.
    pub(crate) fn forget(&mut self, digest: &Digest) -> Result<()> {
        loop {
            let first = self.children.of(digest)?.next();
            let Some((piece, links)) = first.transpose()? else {
                break;
            };
            self.children.remove(&piece)?;
            for link in links {
                // A blob that stands there as several media types counted once.
                let plain = Mention::Document(link.edge, *digest).to_key(&link.digest);
                let is_known = self.mentions.remove(&plain)?.is_some()
                    || link.edge == Edge::Declared
                        && self
                            .mentions
                            .remove(&MentionKey::of_document(&link.digest, digest))?
                            .is_some();
                if link.edge.holds() && is_known {
                    self.add_count(&link.digest, -1)?;
                }
            }
        }
        self.verified.remove(digest)?;
        self.change(digest, Change::GONE)?;
        self.forget_diff_id(digest)
    }
}
