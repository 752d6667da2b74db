// SPDX-License-Identifier: Apache-2.0
//! What the database is and knows, without changing it.

use std::time::Duration;

use redb::ReadableDatabase as _;

use super::guard::is_damage;
use super::rows::Row as _;
use super::sync::{INDEX_JSON, stamps};
use super::tables::{META, View};
use super::{FILE, Index, guarded, migrate};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Lock};

/// What the index database is and knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct IndexStatus {
    /// Its schema; 0 for one that is empty.
    pub schema: u32,
    /// The schema that this program writes.
    pub newest_schema: u32,
    /// Size of its file.
    pub file_bytes: u64,
    /// Blobs that it knows, those that are named and not there included.
    pub blobs: u64,
    /// What documents name.
    pub edges: u64,
    /// Tags and untagged digests in `index.json`.
    pub refs: u64,
    /// Blobs that nobody is known to need.
    pub orphans: u64,
    /// Blobs of which is recorded that they were verified.
    pub verified: u64,
    /// Whether it knows `index.json` as it is now.
    pub refs_current: bool,
    /// Whether it knows the directories of blobs as they are now.
    pub blobs_current: bool,
}

impl Index<'_> {
    /// What the database is and knows.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Busy`] if another process has it open.
    pub(crate) fn status(layout: &Layout) -> Result<IndexStatus> {
        let path = layout.private_dir().join(FILE);
        if !Layout::has_file(&path) {
            let text = format!("{} does not exist; it is made when it is needed", path.display());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        let busy = || {
            Error::new(
                ErrorKind::Busy,
                format!("{} is open in another process", path.display()),
            )
        };
        let _lock = layout
            .share_lock(Lock::Database, Duration::ZERO)?
            .ok_or_else(busy)?;
        let read = || -> Result<IndexStatus> {
            let tx = Self::open_to_read(layout)?.begin_read()?;
            let meta = tx.open_table(META)?;
            let schema = migrate::check(&meta)?;
            let mut out = IndexStatus {
                schema,
                newest_schema: migrate::SCHEMA,
                ..IndexStatus::default()
            };
            out.file_bytes = Layout::file_size(&path)?;
            if schema < migrate::SCHEMA {
                return Ok(out);
            }
            out.blobs_current = true;
            for (name, stamp) in stamps(layout)? {
                // Also a stamp that is too young to be trusted is that of what was read last.
                let known = meta.get(name)?;
                let is_current = known.is_some_and(|known| known.value().starts_with(&stamp.to_bytes()));
                if name == INDEX_JSON {
                    out.refs_current = is_current;
                } else {
                    out.blobs_current &= is_current;
                }
            }
            let view = View::open(&tx)?;
            out.blobs = view.blobs.len()?;
            out.verified = view.verified.len()?;
            out.refs = view.refs.len()?;
            out.orphans = view.orphans.len()?;
            for piece in view.children.rows()? {
                out.edges += piece?.1.len() as u64;
            }
            Ok(out)
        };
        guarded(read).map_err(|err| {
            if is_damage(&err) {
                let text = format!(
                    "{} cannot be read as it is; the next gc mends it or makes it anew",
                    path.display()
                );
                return err.context(text);
            }
            err
        })
    }
}
