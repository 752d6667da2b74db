// SPDX-License-Identifier: Apache-2.0
//! State and contents of the database, read without changing it.

use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::panics::is_damage;
use super::rows::{Link, stamp_to_bytes};
use super::tables::{self, View};
use super::{FILE, Index, guarded, migrate, stamps};
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
        let Some(_lock) = layout.share_lock(Lock::Database, Duration::ZERO)? else {
            fail!(Busy, "{} is open in another process", path.display());
        };
        guarded(|| Self::read_status(layout)).map_err(|err| {
            if is_damage(&err) {
                let path = path.display();
                let text = format!("{path} cannot be read as it is; the next gc mends it or makes it anew");
                return err.context(text);
            }
            err
        })
    }
    fn read_status(layout: &Layout) -> Result<IndexStatus> {
        let tx = Self::open_to_read(layout)?.begin_read()?;
        let schema = migrate::check(&tx.open_table(tables::META)?)?;
        let mut out = IndexStatus {
            schema,
            newest_schema: migrate::SCHEMA,
            file_bytes: layout.private_dir().stamp(FILE).map_or(0, |stamp| stamp.size),
            ..IndexStatus::default()
        };
        // The tables of an older schema may be others.
        if schema < migrate::SCHEMA {
            return Ok(out);
        }
        let view = View::open(&tx)?;
        (out.refs_current, out.blobs_current) = (true, true);
        for (name, stamp) in stamps::stamps(layout)? {
            // Also a stamp that is too young to be trusted is that of what was read last.
            let known = view.meta.get(&*name)?;
            let is_known = known.is_some_and(|known| known.value().starts_with(&stamp_to_bytes(&stamp)));
            if name == stamps::INDEX_JSON {
                out.refs_current = is_known;
            } else {
                out.blobs_current &= is_known;
            }
        }
        out.blobs = view.blobs.len()?;
        out.verified = view.verified.len()?;
        out.refs = view.refs.len()?;
        out.orphans = view.orphans.len()?;
        for piece in view.children.iter()? {
            out.edges += Link::list_from_bytes(piece?.1.value())?.len() as u64;
        }
        Ok(out)
    }
}
