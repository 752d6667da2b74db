// SPDX-License-Identifier: Apache-2.0
//! The index database: the kind of every blob, and the edges that lead to it. Derived from the layout at any time.
//!
//! Invariants: the count of a blob is the number of entries of `index.json` and of documents that declare or mention it, as far
//! as documents were read; a `subject` counts for nothing. A row never says that a blob may go, only that no holder of it is
//! known, and the caller makes sure under the lock that the database has caught up. Without a file (read-only layout, held by
//! another process, newer schema) the same code works on a database in memory. Private to the crate.

mod backend;
mod classify;
mod compare;
mod counts;
mod edges;
mod migrate;
#[cfg(debug_assertions)]
#[path = "tests/outside.rs"]
mod outside;
mod panics;
mod pending;
mod queries;
mod read_only;
mod rows;
mod stamps;
mod status;
mod sync;
pub(crate) mod tables;

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use redb::{Database, ReadOnlyDatabase, ReadableDatabase, backends::InMemoryBackend};

#[cfg(debug_assertions)]
pub use outside::{edges_of, read_any_row};
pub use status::IndexStatus;
pub(crate) use sync::{Damaged, end_of_reflog};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, LayoutLock, Lock, LockMode, Stamp};
use crate::progress::Monitor;
pub(crate) use compare::Replace;
pub(crate) use panics::damage;
use panics::{Mark, guarded, is_damage, is_of_database};
pub(crate) use read_only::Remembered;
pub(crate) use rows::{Edge, InEdge, Verified};
use stamps::has_stamps;
pub(crate) use tables::{Access, Rows, Tables, View};

const FILE: &str = "index.redb";

/// Name of a damaged file that was set aside.
const DAMAGED: &str = "index.redb.damaged";

/// Maximum size of the pages that the database keeps in memory, in bytes.
// The default of redb is 1 GiB, far more than any command of ours needs.
const CACHE: usize = 24 << 20;

/// Maximum time that a command waits for another one that has the database open, before it goes on without.
const WAIT: Duration = Duration::from_secs(5);

/// A blob that is there, as the database knows it.
#[derive(Clone, Debug)]
pub(crate) struct KnownBlob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Refs and documents that need it.
    pub count: u64,
    /// Whether it was looked into and is no document.
    pub opaque: bool,
    pub verified: Option<Verified>,
}

/// Location of the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In its file, which is made if there is none; in memory where that cannot be had.
    File,
    /// In its file if there is one, else in memory.
    FileIfThere,
    /// In its file; without it there is no index.
    FileOnly,
    Memory,
}

/// The index of a layout. The database is opened by the first question, and again after a damaged one was set aside.
pub(crate) struct Index<'a> {
    layout: &'a Layout,
    monitor: &'a dyn Monitor,
    place: Place,
    wait: Duration,
    opened: Opened,
    was_damaged: Option<String>,
}

/// An open database. Where it is a file, the lock keeps other processes out.
enum Opened {
    Closed,
    Reader {
        database: ReadOnlyDatabase,
        _lock: LayoutLock,
    },
    Writer {
        database: Database,
        _mark: Mark,
        _lock: LayoutLock,
    },
    Memory(Database),
}

impl<'a> Index<'a> {
    /// Returns the index of `layout`, unopened; `monitor` is told why a file cannot be used.
    pub(crate) fn new(layout: &'a Layout, place: Place, monitor: &'a dyn Monitor) -> Self {
        Self {
            layout,
            monitor,
            place,
            wait: WAIT,
            opened: Opened::Closed,
            was_damaged: None,
        }
    }

    /// Sets how long to wait for another process that has the database open.
    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Runs `work` on an index that has caught up with the layout.
    ///
    /// # Errors
    /// Those of `work`, which runs again if they are of a damaged database.
    pub(crate) fn read<T>(&mut self, mut work: impl FnMut(&View) -> Result<T>) -> Result<T> {
        self.with_recovery(|index| {
            index.catch_up()?;
            index.view(&mut work)
        })
    }

    /// Runs `work` on the index as it is, which may know less than there is in the layout.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub(crate) fn read_as_is<T>(&mut self, mut work: impl FnMut(&View) -> Result<T>) -> Result<T> {
        self.with_recovery(|index| {
            index.is_current()?;
            index.view(&mut work)
        })
    }

    fn view<T>(&self, work: &mut dyn FnMut(&View) -> Result<T>) -> Result<T> {
        let tx = match &self.opened {
            Opened::Closed => return Err(damage("closed")),
            Opened::Reader { database, .. } => database.begin_read()?,
            Opened::Writer { database, .. } | Opened::Memory(database) => database.begin_read()?,
        };
        work(&View::open(&tx)?)
    }

    /// Runs `work` in one transaction, which is durable when this returns, or never was.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub(crate) fn write<T>(&mut self, mut work: impl FnMut(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        self.with_recovery(|index| transact(index.writer()?, &mut work))
    }

    /// Catches up with the layout; see [`Tables::sync`]. Nothing is written if it is of this moment already.
    ///
    /// # Errors
    /// Those of the database and of the layout.
    pub(crate) fn sync(&mut self) -> Result<Vec<Damaged>> {
        self.with_recovery(Self::catch_up)
    }

    /// Returns the stamps of the layout, if the index knows the layout as it is and nobody can change that without a trace.
    ///
    /// # Errors
    /// As [`Index::sync`].
    pub(crate) fn stamps(&mut self) -> Result<Option<Vec<Stamp>>> {
        let stamps = self.layout.stamps()?;
        let is_current = self.with_recovery(Self::is_current)?;
        Ok(Some(stamps).filter(|_| is_current))
    }

    /// Returns whether the database is a file of the layout.
    ///
    /// # Errors
    /// Those of opening it.
    pub(crate) fn is_file(&mut self) -> Result<bool> {
        self.with_recovery(|index| index.writer().map(|_| ()))?;
        Ok(!matches!(self.opened, Opened::Memory(_)))
    }

    /// Lets other processes use the database. One in memory is kept.
    pub(crate) fn close(&mut self) {
        if !matches!(self.opened, Opened::Memory(_)) {
            let opened = std::mem::replace(&mut self.opened, Opened::Closed);
            // The next opening meets the damage that ends this one.
            let _ = guarded(|| {
                drop(opened);
                Ok(())
            });
        }
    }

    /// Runs `work`; if the database proves to be damaged or cannot be used, once more on another one.
    fn with_recovery<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        // A database in memory that proves damaged is a fault of this program, and another one would not help.
        let err = match guarded(|| work(self)) {
            Err(err) if is_of_database(&err) && !matches!(self.opened, Opened::Memory(_)) => err,
            done => return done,
        };
        // The lock is taken again below: until then another process may set the same file aside.
        self.close();
        let text = err.to_string();
        let renewed = if is_damage(&err) {
            self.lock().and_then(|_lock| self.set_aside(&err))
        } else {
            Err(err)
        };
        match renewed {
            Ok(()) => self.was_damaged = Some(text),
            Err(err) if self.place == Place::FileOnly => return Err(err),
            Err(err) => {
                self.monitor
                    .warn(format_args!("{err}; going on with a new one in memory"));
                self.opened = Opened::Memory(in_memory()?);
            }
        }
        guarded(|| {
            self.catch_up()?;
            work(self)
        })
    }

    /// Returns the fault of a database that was set aside.
    pub(crate) fn was_damaged(&self) -> Option<&str> {
        self.was_damaged.as_deref()
    }

    /// Takes the lock of the database.
    fn lock(&self) -> Result<LayoutLock> {
        self.layout
            .take_lock(Lock::Database, LockMode::Exclusive, self.wait)
    }

    /// Moves a damaged file out of the way, for a person to look at.
    fn set_aside(&self, why: &Error) -> Result<()> {
        let private = self.layout.private_dir();
        let aside = private.join(DAMAGED);
        self.monitor.warn(format_args!(
            "{why}; set aside as {} and made anew",
            aside.display()
        ));
        private.rename(FILE, DAMAGED)
    }

    fn catch_up(&mut self) -> Result<Vec<Damaged>> {
        if self.is_current()? {
            return Ok(Vec::new());
        }
        // The tables borrow the database, and with it the index.
        let (layout, monitor) = (self.layout, self.monitor);
        transact(self.writer()?, |tables| tables.sync(layout, monitor))
    }

    /// Returns whether the database knows the layout as it is now. A file is opened to read alone as long as it does.
    fn is_current(&mut self) -> Result<bool> {
        if matches!(self.opened, Opened::Closed) && self.wants_file() {
            match self.lock() {
                Err(err) => self.opened = self.without_file(err)?,
                // A file that cannot be read as it is may be mended by opening it to write.
                Ok(lock) => {
                    if let Some(database) = Self::open_current(self.layout).ok().flatten() {
                        self.opened = Opened::Reader {
                            database,
                            _lock: lock,
                        };
                    }
                }
            }
        }
        let layout = self.layout;
        if let Opened::Reader { database, .. } = &self.opened
            && has_stamps(database, layout)?
        {
            return Ok(true);
        }
        // Another process may have caught up in the moment between the two openings.
        has_stamps(self.writer()?, layout)
    }

    /// Returns whether the database is a file that is there.
    fn wants_file(&self) -> bool {
        self.place != Place::Memory && self.layout.private_dir().has(FILE)
    }

    /// Returns the database open to write.
    fn writer(&mut self) -> Result<&Database> {
        if matches!(self.opened, Opened::Closed | Opened::Reader { .. }) {
            self.close();
            self.opened = self.open()?;
        }
        match &self.opened {
            Opened::Writer { database, .. } | Opened::Memory(database) => Ok(database),
            Opened::Closed | Opened::Reader { .. } => Err(damage("closed")),
        }
    }

    fn open(&self) -> Result<Opened> {
        let may_make = matches!(self.place, Place::File | Place::FileOnly);
        if may_make || self.wants_file() {
            return self.open_file().or_else(|err| self.without_file(err));
        }
        in_memory().map(Opened::Memory)
    }

    /// Returns a database in memory after `err` of the file, unless there must be a file or that is damaged.
    fn without_file(&self, err: Error) -> Result<Opened> {
        // Damage is passed on to `with_recovery`, which sets the file aside.
        if self.place == Place::FileOnly || is_damage(&err) {
            return Err(err);
        }
        // Nobody can change a read-only layout to have a database, so there is nothing to say.
        if !matches!(err.kind(), ErrorKind::ReadOnly | ErrorKind::Denied) {
            self.monitor
                .info(format_args!("going on without the index database: {err}"));
        }
        in_memory().map(Opened::Memory)
    }

    fn open_file(&self) -> Result<Opened> {
        let lock = self.lock()?;
        // To open it to write changes the file, so a database of a newer program is found out by reading, and left alone. Other
        // errors are met again below.
        let schema = guarded(|| {
            let tx = Self::open_to_read(self.layout)?.begin_read()?;
            migrate::check(&tx.open_table(tables::META)?)
        });
        if let Err(err) = schema
            && err.kind() == ErrorKind::Unsupported
        {
            return Err(err);
        }
        let mark = Mark::set(self.layout, || {
            self.set_aside(&damage("two processes died over it"))
        })?;
        let database = Self::open_own(self.layout, FILE)?;
        Ok(Opened::Writer {
            database,
            _mark: mark,
            _lock: lock,
        })
    }

    /// Opens the database in a file of our own, by a caller that holds the lock of the database.
    fn open_own(layout: &Layout, name: &str) -> Result<Database> {
        let mut file = layout.private_dir().open_to_change(name)?;
        // Its first bytes are written last: one that was being made when a process died or the disk was full.
        let mut first = [0; 9];
        if file.file().read_at(&mut first, 0)? > 0 && first == [0; 9] {
            drop(file);
            layout.private_dir().remove(name)?;
            file = layout.private_dir().open_to_change(name)?;
        }
        file.give()?;
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(file)?;
        migrate::migrate(&database)?;
        Ok(database)
    }
}

impl Drop for Index<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs `work` in one transaction, which is durable when this returns.
fn transact<T>(database: &Database, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
    let mut tx = database.begin_write()?;
    let out = work(&mut Tables::open(&tx)?)?;
    // After a crash redb would walk the whole file; with its allocator state saved it does not.
    tx.set_quick_repair(true);
    tx.commit()?;
    Ok(out)
}

/// Returns a database in memory, which knows nothing yet.
fn in_memory() -> Result<Database> {
    let database = Database::builder().create_with_backend(InMemoryBackend::new())?;
    migrate::migrate(&database)?;
    Ok(database)
}

#[cfg(test)]
mod tests;
