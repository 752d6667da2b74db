// SPDX-License-Identifier: Apache-2.0
//! What was learned of many blobs and is not written yet.
//!
//! The database takes rows in the order of their keys several times as fast as in any other order, and a blob that is seen before
//! the documents that need it is no orphan in between.

use std::collections::{HashMap, HashSet};

use super::counts::Change;
use super::rows::{Kind, Link, Mention, MentionKey};
use super::tables::Tables;
use crate::digest::Digest;
use crate::error::Result;

/// Maximum number of rows that are held before they are written, but for the edges of one document: about 64 MiB. Of a store of 80,000
/// blobs there are 200,000.
const MAX_ROWS: usize = 400_000;

/// Rows that are not written yet.
#[derive(Default)]
pub(super) struct Pending {
    changes: HashMap<Digest, Change>,
    mentions: Vec<MentionKey>,
    /// Blobs that something among the rows names as manifests or indexes.
    named: HashSet<Digest>,
}

impl Pending {
    /// Returns what a blob was seen as since the last writing.
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
    pub(super) fn add_ref(&mut self, link: &Link, key: MentionKey) {
        if link.is_to_document() {
            self.named.insert(link.digest);
        }
        self.change(link.digest).count += 1;
        self.mentions.push(key);
    }

    /// Counts an edge from an entry of `index.json` that is gone.
    pub(super) fn drop_ref(&mut self, digest: Digest) {
        self.change(digest).count -= 1;
    }

    /// Adds edges of a document, in their order.
    pub(super) fn add_links(&mut self, parent: &Digest, links: &[Link]) {
        // A document that names a blob as several media types holds it once.
        for same in links.chunk_by(|a, b| (a.edge, a.digest) == (b.edge, b.digest)) {
            let Link { edge, digest, .. } = same[0];
            self.mentions.push(if same.iter().any(Link::is_to_document) {
                self.named.insert(digest);
                MentionKey::of_document(&digest, parent)
            } else {
                Mention::Document(edge, *parent).to_key(&digest)
            });
        }
    }

    fn change(&mut self, digest: Digest) -> &mut Change {
        self.changes.entry(digest).or_default()
    }

    pub(super) fn write_if_full(&mut self, tables: &mut Tables<'_>) -> Result<()> {
        if self.changes.len() + self.mentions.len() > MAX_ROWS {
            self.write(tables)?;
        }
        Ok(())
    }

    /// Writes everything.
    pub(super) fn write(&mut self, tables: &mut Tables<'_>) -> Result<()> {
        let Self {
            mut changes,
            mut mentions,
            ..
        } = std::mem::take(self);
        mentions.sort_unstable();
        mentions.dedup();
        for key in mentions {
            if tables.mentions.insert(&key, &())? && key.is_of_holder() {
                changes.entry(key.child).or_default().count += 1;
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
