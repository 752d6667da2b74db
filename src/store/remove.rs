// SPDX-License-Identifier: Apache-2.0
//! Removal of one blob at the wish of a client of a registry, and what keeps a blob from it.

use super::Store;
use super::graph::is_named;
use crate::digest::Digest;
use crate::error::Result;
use crate::index::InEdge;
use crate::progress::Silent;

/// Fate of a blob that was to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    /// It is gone.
    Done,
    /// It was not there.
    Absent,
    /// It stays; the text says what needs it.
    Needed(String),
}

impl Store {
    /// Returns whether an entry of `index.json` leads to a blob, itself or by documents on the way.
    pub(crate) fn is_named(&self, digest: &Digest) -> Result<bool> {
        self.read_index(|view| is_named(view, digest))
    }

    /// Removes a blob, unless an entry of `index.json`, a document, a lease or the reflog needs it. The blobs that it alone needs
    /// are garbage then.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if others use the layout for longer than the time to wait;
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if a document is damaged that refs lead to, as in a collection.
    pub(crate) fn remove_unneeded(&self, digest: &Digest) -> Result<Removal> {
        let _lock = self.lock_exclusive("remove a blob")?;
        if self.layout.blob_size(digest)?.is_none() {
            return Ok(Removal::Absent);
        }
        if self.held()?.contains(digest) {
            return Ok(Removal::Needed("a lease or the reflog".to_owned()));
        }
        let needed = self.index(&Silent).write(|tables| {
            let mut damaged = tables.sync(&self.layout, &Silent)?;
            // A damaged document may go: its text no longer matters then.
            damaged.retain(|one| one.digest != *digest);
            self.refuse_damage(tables, &damaged, &Silent)?;
            for in_edge in tables.in_edges(digest)? {
                match in_edge {
                    InEdge::Ref { .. } => return Ok(Some("an entry of index.json".to_owned())),
                    InEdge::Document(edge, parent) if edge.holds() && parent != *digest => {
                        return Ok(Some(format!("the manifest {parent}")));
                    }
                    InEdge::Document(..) => {}
                }
            }
            tables.invalidate_listing()?;
            tables.forget(digest)?;
            Ok(None)
        })?;
        if let Some(by) = needed {
            return Ok(Removal::Needed(by));
        }
        self.layout.remove_blobs([digest], |_| {})?;
        Ok(Removal::Done)
    }
}
