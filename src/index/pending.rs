// SPDX-License-Identifier: Apache-2.0
//! Rows of many blobs that are not written yet.
//!
//! The database takes rows in the order of their keys several times as fast as in any other order, and a blob that is seen before
//! the documents that need it is no orphan in between.

use std::collections::{HashMap, HashSet};

use super::counts::Change;
use super::rows::{InEdge, Kind, Link, in_edge_key, piece_key, split_key};
use super::tables::Tables;
use crate::digest::Digest;
use crate::error::Result;

/// Maximum size in bytes of what is held before it is written, but for the edges of one document. Of a store of 80,000 blobs it is
/// about half of that.
const MAX_BYTES: usize = 48 << 20;

/// Rows that are not written yet.
#[derive(Default)]
pub(super) struct Pending {
    changes: HashMap<Digest, Change>,
    /// The keys of edges, seen from the blobs that are named.
    in_edges: Vec<Vec<u8>>,
    /// Edges, seen from the documents that name blobs.
    children: Vec<(Vec<u8>, Vec<u8>)>,
    /// Blobs that something among the rows names as manifests or indexes.
    named: HashSet<Digest>,
    /// The size of the rows of edges.
    bytes: usize,
}

impl Pending {
    pub(super) fn is_full(&self) -> bool {
        self.bytes + self.changes.len() * size_of::<(Digest, Change)>() > MAX_BYTES
    }

    /// Returns the kind of a blob, if it was seen since the last writing.
    pub(super) fn kind(&self, digest: &Digest) -> Option<Kind> {
        Some(self.changes.get(digest)?.seen?.0)
    }

    pub(super) fn is_named_as_document(&self, digest: &Digest) -> bool {
        self.named.contains(digest)
    }

    pub(super) fn see(&mut self, digest: Digest, kind: Kind, size: u64) {
        self.change(digest).seen = Some((kind, size));
    }

    /// Adds an edge from an entry of `index.json`.
    pub(super) fn add_ref(&mut self, link: &Link, row: Vec<u8>) {
        if link.is_to_document() {
            self.named.insert(link.digest);
        }
        self.change(link.digest).count += 1;
        self.add_in_edge(row);
    }

    /// Counts an edge from an entry of `index.json` that is gone.
    pub(super) fn drop_ref(&mut self, digest: Digest) {
        self.change(digest).count -= 1;
    }

    /// Adds the edges of a document, or one piece of them; returns them, each once.
    pub(super) fn add_links(&mut self, parent: &Digest, piece: u32, mut links: Vec<Link>) -> Vec<Link> {
        // The edges to one blob stand side by side then, whatever media types they give.
        links.sort_unstable();
        links.dedup();
        let row = (piece_key(parent, piece), Link::list_to_bytes(&links));
        self.bytes += row.0.len() + row.1.len() + 2 * size_of::<Vec<u8>>();
        self.children.push(row);
        // A document that names a blob as several media types holds it once.
        for same in links.chunk_by(|a, b| (a.edge, a.digest) == (b.edge, b.digest)) {
            let Link { edge, digest, .. } = same[0];
            let in_edge = if same.iter().any(Link::is_to_document) {
                self.named.insert(digest);
                InEdge::as_document(parent)
            } else {
                InEdge::Document(edge, *parent).to_bytes()
            };
            self.add_in_edge(in_edge_key(&digest, &in_edge));
        }
        links
    }

    fn add_in_edge(&mut self, row: Vec<u8>) {
        self.bytes += row.len() + size_of::<Vec<u8>>();
        self.in_edges.push(row);
    }

    fn change(&mut self, digest: Digest) -> &mut Change {
        // Changes of one blob add up here, so that its row is written once.
        self.changes.entry(digest).or_default()
    }

    /// Writes everything.
    pub(super) fn write(&mut self, tables: &mut Tables<'_>) -> Result<()> {
        let Self {
            mut changes,
            mut in_edges,
            mut children,
            ..
        } = std::mem::take(self);
        // Edges before counts: the count of a blob goes up only where the row of its edge is new.
        children.sort_unstable();
        for (piece, list) in children {
            tables.children.insert(piece.as_slice(), list.as_slice())?;
        }
        in_edges.sort_unstable();
        in_edges.dedup();
        for row in in_edges {
            let is_new = tables.in_edges.insert(row.as_slice(), ())?.is_none();
            let (digest, in_edge) = split_key(&row)?;
            if is_new && InEdge::is_of_holder(in_edge) {
                changes.entry(digest).or_default().count += 1;
            }
        }
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_unstable_by_key(|(digest, _)| *digest);
        for (digest, change) in changes {
            tables.change(&digest, change)?;
        }
        Ok(())
    }
}
