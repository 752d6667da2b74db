// SPDX-License-Identifier: Apache-2.0
//! State and contents of the database, read without changing it.

use std::time::Duration;

use redb::{ReadableDatabase, ReadableTableMetadata};

use super::panics::is_damage;
use super::rows::{Link, stamp_to_bytes};
use super::tables::{self};
use super::{FILE, Index, guarded, migrate, sync};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Lock};

/// State and contents of the index database.
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
    /// References of documents to blobs.
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
    /// Returns the state and contents of the database.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Busy`] if another process has it open.
    pub(crate) fn status(layout: &Layout) -> Result<IndexStatus> {
        let path = layout.private_dir().join(FILE);
        if !layout.private_dir().has(FILE) {
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
            let meta = tx.open_table(tables::META)?;
            let schema = migrate::check(&meta)?;
            let mut out = IndexStatus {
                schema,
                newest_schema: migrate::SCHEMA,
                ..IndexStatus::default()
            };
            out.file_bytes = layout.private_dir().stamp(FILE).map_or(0, |stamp| stamp.size);
            if schema < migrate::SCHEMA {
                return Ok(out);
            }
            let stamp = stamp_to_bytes(&layout.index_stamp()?);
            // Also a stamp that is too young to be trusted is that of what was read last.
            let has = |name: &str, stamp: &[u8]| -> Result<bool> {
                Ok(meta.get(name)?.is_some_and(|v| v.value().starts_with(stamp)))
            };
            out.refs_current = has("index_json", &stamp)?;
            out.blobs_current = true;
            for (algorithm, stamp) in layout.blob_dirs()? {
                out.blobs_current &= has(sync::dir_stamp(algorithm), &stamp_to_bytes(&stamp))?;
            }
            let count = |table: redb::TableDefinition<'static, &'static [u8], &'static [u8]>| {
                Ok::<u64, Error>(tx.open_table(table)?.len()?)
            };
            out.blobs = count(tables::DIGEST_TO_BLOB)?;
            out.verified = count(tables::DIGEST_TO_VERIFIED)?;
            let refs = tx.open_table(tables::REF_TO_ENTRIES)?;
            out.refs = refs.len()?;
            let orphans = tx.open_table(tables::ORPHAN)?;
            out.orphans = orphans.len()?;
            for piece in tx.open_table(tables::PARENT_TO_CHILDREN)?.range::<&[u8]>(..)? {
                out.edges += Link::list_from_bytes(piece?.1.value())?.len() as u64;
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
