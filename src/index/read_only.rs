// SPDX-License-Identifier: Apache-2.0
//! Looks into the database without the right to change it, and without waiting: what cannot be had is done without.

use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable};

use super::rows::{self, Verified};
use super::stamps::{INDEX_JSON, is_meta};
use super::sync::REFLOG_END;
use super::tables::{self, View};
use super::{CACHE, FILE, Index, guarded, migrate};
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::{Entry, Layout, Lock, LockMode};

impl Index<'_> {
    /// Opens the database to read, if a file is what stands there: redb would wait for the writer of a fifo.
    pub(super) fn open_to_read(layout: &Layout) -> Result<ReadOnlyDatabase> {
        let backend = FileBackend::new(layout.private_dir().open(FILE)?)?;
        let mut builder = Database::builder();
        Ok(builder
            .set_cache_size(CACHE)
            .open_read_only_with_backend(backend)?)
    }

    /// As [`Index::open_to_read`]; `None` if the database is of another schema than this program has.
    pub(super) fn open_current(layout: &Layout) -> Result<Option<ReadOnlyDatabase>> {
        let database = Self::open_to_read(layout)?;
        let meta = database.begin_read()?.open_table(tables::META)?;
        let is_current = is_meta(&meta, "schema", &migrate::SCHEMA.to_le_bytes())?;
        Ok(is_current.then_some(database))
    }

    /// Returns the entries of `index.json` under a name, as the database has them; `None` if it cannot be had at once or is not
    /// of this moment, and the caller reads the file. Creates nothing and waits for nobody.
    pub(crate) fn peek(layout: &Layout, name: &str) -> Option<Vec<Entry>> {
        Self::peek_into(layout, |view| {
            let stamp = rows::stamp_to_bytes(&layout.index_stamp()?);
            if !is_meta(&view.meta, INDEX_JSON, &stamp)? {
                return Ok(None);
            }
            // The byte 1 begins the keys of entries with a name.
            let found = view.refs.get([&[1][..], name.as_bytes()].concat().as_slice())?;
            let entries = found.map(|v| rows::entries(v.value()));
            Ok(Some(entries.transpose()?.unwrap_or_default()))
        })
    }

    /// Returns the record of a verified blob; `None` also if the database cannot be had at once. Creates nothing, waits for nobody.
    pub(crate) fn peek_verified(layout: &Layout, digest: &Digest) -> Option<Verified> {
        Self::peek_into(layout, |view| view.verified(digest))
    }

    /// Reads from the database if it is there, free, and of our schema.
    fn peek_into<T>(layout: &Layout, read: impl FnOnce(&View) -> Result<Option<T>>) -> Option<T> {
        // A lookup that had to wait for a writer would cost more than to read the file.
        let _lock = layout.share_lock(Lock::Database, Duration::ZERO).ok()??;
        guarded(|| match Self::open_current(layout)? {
            Some(database) => read(&View::open(&database.begin_read()?)?),
            None => Ok(None),
        })
        .ok()?
    }

    /// Returns the state of `index.json` that the database remembers; `None` if it cannot be had.
    pub(crate) fn remembered(layout: &Layout) -> Option<Remembered> {
        let _lock = layout
            .take_lock(Lock::Database, LockMode::Exclusive, super::WAIT)
            .ok()?;
        guarded(|| {
            let tx = Self::open_to_read(layout)?.begin_read()?;
            // These two tables are the same in schemas 2 to 5, so a database that was not migrated yet is a witness too.
            let refs = tx.open_table(tables::REF_TO_ENTRIES)?;
            let mut entries = Vec::new();
            for item in refs.iter()? {
                entries.extend(rows::entries(item?.1.value())?);
            }
            let meta = tx.open_table(tables::META)?;
            let end = meta.get(REFLOG_END)?;
            let end = end.map(|row| rows::split_key(row.value()).map(|(end, _)| end));
            let end = end.transpose()?;
            Ok(Remembered { entries, end })
        })
        .ok()
    }
}

/// The entries of `index.json` at the last look of a database, in the order of names.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub entries: Vec<Entry>,
    /// End of the reflog then, as [`super::end_of_reflog`] says it; `None` if it never had a line.
    pub end: Option<Digest>,
}
