// SPDX-License-Identifier: Apache-2.0
//! The index database: what every blob is and who refers to it. Derived from the layout at any time.
//!
//! Invariants: a count is the number of refs plus strong edges that lead to a blob, as far as documents were read;
//! a row never says that a blob may go, only that nobody is known to need it, and the caller makes sure under the lock
//! that the database has caught up. Without a file (read-only layout, held by another process, newer schema) the same
//! code works on a database in memory. Private to the crate.

mod learn;
mod links;
mod migrate;
mod rows;
pub(crate) mod tables;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use redb::{Database, ReadableMultimapTable, ReadableTable, backends::InMemoryBackend};

pub(crate) use learn::{Damaged, Orphan};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, LayoutLock};
use crate::progress::Monitor;
use rows::{BlobRow, Edge, edge_from_bytes, key, media_type_from_bytes, split_key};
pub(crate) use tables::Tables;
use tables::failed;

/// Bytes of pages that the database may keep in memory.
const CACHE: usize = 32 << 20;

/// How long a command waits for another one that has the database open, before it goes on without.
const WAIT: Duration = Duration::from_secs(5);

/// An open database, for one transaction.
pub(crate) struct Index {
    database: Database,
    /// `None` if the database is in memory.
    _lock: Option<LayoutLock>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the database of the layout, or one in memory where that cannot be had. A damaged one is set aside.
    pub(crate) fn open(layout: &Layout, monitor: &dyn Monitor) -> Result<Self> {
        match Self::open_file(layout, WAIT, monitor) {
            Ok(index) => Ok(index),
            Err(err) => {
                match err.kind() {
                    ErrorKind::ReadOnly | ErrorKind::Denied => {}
                    _ => monitor.info(format_args!("going on without the index database: {err}")),
                }
                Self::in_memory()
            }
        }
    }

    /// Opens the database of the layout; it is no error worth a word if that cannot be had.
    pub(crate) fn open_file(layout: &Layout, wait: Duration, monitor: &dyn Monitor) -> Result<Self> {
        let lock = layout.lock_database(wait)?;
        let path = layout.private_file("index.redb")?;
        let open = || -> Result<Database> {
            let opened = catch_unwind(AssertUnwindSafe(|| {
                Database::builder().set_cache_size(CACHE).create(&path)
            }));
            let panicked = || Error::new(ErrorKind::Corrupt, "index database: damaged file");
            let database = opened.map_err(|_| panicked())?.map_err(failed)?;
            let migrated = catch_unwind(AssertUnwindSafe(|| Self::migrate(&database)));
            migrated.map_err(|_| panicked())?.map(|()| database)
        };
        let existed = Layout::has_file(&path);
        let database = match open() {
            Err(err) if err.kind() == ErrorKind::Corrupt && existed => {
                let aside = layout.private_dir().join("index.redb.damaged");
                monitor.warn(format_args!(
                    "{err}; set aside as {} and made anew",
                    aside.display()
                ));
                layout.set_aside(&path, &aside)?;
                open()?
            }
            database => database?,
        };
        layout.give(&path)?;
        Ok(Self {
            database,
            _lock: Some(lock),
        })
    }

    /// A database in memory, which knows nothing yet.
    pub(crate) fn in_memory() -> Result<Self> {
        let builder = Database::builder();
        let database = builder
            .create_with_backend(InMemoryBackend::new())
            .map_err(failed)?;
        Self::migrate(&database)?;
        Ok(Self {
            database,
            _lock: None,
        })
    }

    fn migrate(database: &Database) -> Result<()> {
        let mut tx = database.begin_write().map_err(failed)?;
        tx.set_quick_repair(true);
        migrate::migrate(&tx)?;
        tx.commit().map_err(failed)
    }

    /// Runs `work` in one transaction, which is durable when this returns, or never was.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut tx = self.database.begin_write().map_err(failed)?;
        tx.set_quick_repair(true);
        let out = {
            let mut tables = Tables::open(&tx)?;
            work(&mut tables)?
        };
        tx.commit().map_err(failed)?;
        Ok(out)
    }
}

impl Tables<'_> {
    fn row(&self, digest: &Digest) -> Result<Option<BlobRow>> {
        self.blobs
            .get(key(digest).as_slice())
            .map_err(failed)?
            .map(|v| BlobRow::from_bytes(v.value()))
            .transpose()
    }

    fn set_row(&mut self, digest: &Digest, row: BlobRow) -> Result<()> {
        self.blobs
            .insert(key(digest).as_slice(), row.to_bytes().as_slice())
            .map_err(failed)?;
        Ok(())
    }

    /// What a document names.
    fn children(&self, parent: &Digest) -> Result<Vec<(Edge, Digest)>> {
        let found = self.children.get(key(parent).as_slice()).map_err(failed)?;
        found
            .map(|v| edge_from_bytes(v.map_err(failed)?.value()))
            .collect()
    }

    /// What a document needs.
    pub(crate) fn strong_children(&self, parent: &Digest) -> Result<Vec<Digest>> {
        Ok(self
            .children(parent)?
            .into_iter()
            .filter(|(edge, _)| *edge == Edge::Strong)
            .map(|(_, d)| d)
            .collect())
    }

    /// What a document is about.
    pub(crate) fn subjects(&self, referrer: &Digest) -> Result<Vec<Digest>> {
        Ok(self
            .children(referrer)?
            .into_iter()
            .filter(|(edge, _)| *edge == Edge::Subject)
            .map(|(_, d)| d)
            .collect())
    }

    /// Size of a blob that was seen.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self
            .row(digest)?
            .filter(|row| row.kind != rows::Kind::Absent)
            .map(|row| row.size))
    }

    /// The documents that name a blob.
    pub(crate) fn parents(&self, child: &Digest) -> Result<Vec<(Edge, Digest)>> {
        let found = self.parents.get(key(child).as_slice()).map_err(failed)?;
        found
            .map(|v| edge_from_bytes(v.map_err(failed)?.value()))
            .collect()
    }

    /// Every media type that documents give to a blob.
    pub(crate) fn media_types(&self, digest: &Digest) -> Result<Vec<String>> {
        let found = self.media_types.get(key(digest).as_slice()).map_err(failed)?;
        let mut out: Vec<String> = found
            .map(|v| media_type_from_bytes(v.map_err(failed)?.value()).map(str::to_owned))
            .collect::<Result<_>>()?;
        out.sort();
        out.dedup();
        out.retain(|t| !t.is_empty());
        Ok(out)
    }

    /// How often a blob is referred to by refs and documents.
    pub(crate) fn count(&self, digest: &Digest) -> Result<u64> {
        Ok(self.row(digest)?.map_or(0, |row| row.count))
    }

    /// Whether a blob was seen.
    pub(crate) fn is_present(&self, digest: &Digest) -> Result<bool> {
        Ok(self
            .row(digest)?
            .is_some_and(|row| row.kind != rows::Kind::Absent))
    }

    /// The blobs that nobody is known to need, with their sizes.
    pub(crate) fn orphans(&self) -> Result<Vec<Orphan>> {
        let mut out = Vec::new();
        for item in self.orphans.iter().map_err(failed)? {
            let (digest, _) = split_key(item.map_err(failed)?.0.value())?;
            let size = self.row(&digest)?.map_or(0, |row| row.size);
            out.push(Orphan { digest, size });
        }
        Ok(out)
    }

    /// Every row as digest, count and whether it is an orphan; for checks.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> Result<Vec<(Digest, u64, bool)>> {
        let mut out = Vec::new();
        for item in self.blobs.iter().map_err(failed)? {
            let (k, v) = item.map_err(failed)?;
            let orphan = self.orphans.get(k.value()).map_err(failed)?.is_some();
            out.push((
                split_key(k.value())?.0,
                BlobRow::from_bytes(v.value())?.count,
                orphan,
            ));
        }
        Ok(out)
    }
}
