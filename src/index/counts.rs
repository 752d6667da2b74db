// SPDX-License-Identifier: Apache-2.0
//! Writes the rows of blobs and of what names what, and keeps the counts and orphans that follow from them.

use redb::ReadableTable;

use super::panics::damage;
use super::rows::{BlobRow, Edge, InEdge, Kind, Link, Verified, in_edge_key, key, piece_keys, split_key};
use super::tables::Tables;
use crate::digest::Digest;
use crate::error::Result;

/// Change to the row of a blob.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    pub seen: Option<(Kind, u64)>,
    /// Change in the number of refs and documents that need it.
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
        // A count below zero would make a blob that is needed an orphan.
        let count = row.count.checked_add_signed(change.count);
        row.count = count.ok_or_else(|| damage(format_args!("the count of {digest} fell below zero")))?;
        if row == old {
            return Ok(());
        }
        let k = key(digest);
        if row == BlobRow::ABSENT {
            self.blobs.remove(k.as_slice())?;
        } else {
            self.blobs.insert(k.as_slice(), row.to_bytes().as_slice())?;
        }
        // Orphans have a table of their own, so that a collection costs what the garbage costs.
        if row.is_orphan() {
            self.orphans.insert(k.as_slice(), ())?;
        } else if old.is_orphan() {
            self.orphans.remove(k.as_slice())?;
        }
        Ok(())
    }

    pub(super) fn add_count(&mut self, digest: &Digest, count: i64) -> Result<()> {
        self.change(digest, Change { seen: None, count })
    }

    /// Resets the recorded kind of a blob that is no document.
    pub(super) fn forget_kind(&mut self, digest: &Digest) -> Result<()> {
        // The edges of a document stand in its rows, and go with them only.
        if self.row(digest)?.kind == Kind::Document {
            return Ok(());
        }
        self.change(digest, Change::GONE)
    }

    /// Notes that the content of a blob is what its digest says, as the file was then.
    pub(crate) fn set_verified(&mut self, digest: &Digest, row: Verified) -> Result<()> {
        self.verified
            .insert(key(digest).as_slice(), row.to_bytes().as_slice())?;
        Ok(())
    }

    /// Notes which tar a layer holds, and how that begins.
    pub(crate) fn note_diff_id(
        &mut self,
        layer: &Digest,
        diff_id: &Digest,
        start: Option<&Digest>,
    ) -> Result<()> {
        self.forget_diff_id(layer)?;
        let (layer, diff_id, start) = (key(layer), key(diff_id), start.map(key));
        let row = [&diff_id[..], start.as_deref().unwrap_or_default()].concat();
        self.diff_ids.insert(layer.as_slice(), row.as_slice())?;
        self.layers.insert(diff_id.as_slice(), layer.as_slice())?;
        if let Some(start) = start {
            self.starts.insert(start.as_slice(), layer.as_slice())?;
        }
        Ok(())
    }

    fn forget_diff_id(&mut self, layer: &Digest) -> Result<()> {
        let layer = key(layer);
        let row = self.diff_ids.remove(layer.as_slice())?;
        let Some(row) = row.map(|row| row.value().to_vec()) else {
            return Ok(());
        };
        let (diff_id, start) = split_key(&row)?;
        self.layers.remove(key(&diff_id).as_slice(), layer.as_slice())?;
        if !start.is_empty() {
            self.starts.remove(start, layer.as_slice())?;
        }
        Ok(())
    }

    /// Returns the first piece of the children of a document, with its key.
    fn first_piece(&self, parent: &Digest) -> Result<Option<(Vec<u8>, Vec<Link>)>> {
        let (first, last) = piece_keys(parent);
        let Some(piece) = self.children.range(first.as_slice()..=last.as_slice())?.next() else {
            return Ok(None);
        };
        let (k, list) = piece?;
        Ok(Some((k.value().to_vec(), Link::list_from_bytes(list.value())?)))
    }

    /// Forgets a blob that is about to be removed, and lowers the counts of what it names.
    pub(crate) fn forget(&mut self, digest: &Digest) -> Result<()> {
        while let Some((piece, children)) = self.first_piece(digest)? {
            self.children.remove(piece.as_slice())?;
            for child in children {
                // A blob that stands there as several media types counted once.
                let as_document = (child.edge == Edge::Declared).then(|| InEdge::as_document(digest));
                let as_other = InEdge::Document(child.edge, *digest).to_bytes();
                let mut known = false;
                for in_edge in as_document.into_iter().chain([as_other]) {
                    let row = in_edge_key(&child.digest, &in_edge);
                    known |= self.in_edges.remove(row.as_slice())?.is_some();
                }
                if child.edge.holds() && known {
                    self.add_count(&child.digest, -1)?;
                }
            }
        }
        self.verified.remove(key(digest).as_slice())?;
        self.change(digest, Change::GONE)?;
        self.forget_diff_id(digest)
    }
}
