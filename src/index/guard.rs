// SPDX-License-Identifier: Apache-2.0
//! Keeps the panics of a database that was altered behind its back from the rest of the program.
//!
//! A panic while another one unwinds ends the process, so what may panic when it is dropped is left behind.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use redb::Database;

use crate::error::{Error, ErrorKind, Fact, Result};

thread_local! {
    static FATE: Cell<PanicFate> = const { Cell::new(PanicFate::Bug) };
}

/// What comes of a panic of the thread at hand: for the panic hook of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PanicFate {
    /// The index database is damaged; the library catches the panic and says so.
    Caught,
    /// The index database is damaged, and the panic met another one, so that the process ends: the next one does too,
    /// until the file `.umoci/index.redb` is removed, which is made anew from the layout.
    DamagedIndex,
    /// A mistake in the program.
    Bug,
}

impl PanicFate {
    /// For the panic that the hook was called for; to be asked once for each.
    #[must_use]
    pub fn of_this_panic() -> Self {
        FATE.with(|fate| {
            let this = fate.get();
            if this == Self::Caught {
                fate.set(Self::DamagedIndex);
            }
            this
        })
    }
}

/// Runs `work` on a file that may have been altered behind the database's back, of which it may panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = FATE.replace(PanicFate::Caught);
    let done = catch_unwind(AssertUnwindSafe(work));
    FATE.set(before);
    done.map_err(|_| damage("damaged file"))?
}

/// Returns the error of a damaged database: [`ErrorKind::Corrupt`] with [`Fact::IndexDatabase`].
pub(crate) fn damage(text: impl std::fmt::Display) -> Error {
    of_database(ErrorKind::Corrupt, text)
}

/// Returns an error of the database itself, not of the layout.
pub(super) fn of_database(kind: ErrorKind, text: impl std::fmt::Display) -> Error {
    Error::new(kind, format!("index database: {text}")).with_fact(Fact::IndexDatabase)
}

/// Returns whether an error is of the database itself: without the database there is none.
pub(super) fn is_of_database(err: &Error) -> bool {
    err.fact() == Some(Fact::IndexDatabase)
}

/// Whether the database is damaged.
pub(super) fn is_damage(err: &Error) -> bool {
    err.kind() == ErrorKind::Corrupt && is_of_database(err)
}

/// Runs `work` on `value`, which is left behind if it panics.
pub(super) fn keep<T, R>(value: T, work: impl FnOnce(&mut T) -> R) -> (T, R) {
    let mut value = ManuallyDrop::new(value);
    let out = work(&mut value);
    (ManuallyDrop::into_inner(value), out)
}

/// An open database. Once it is known to be damaged it is not closed, since that would read and write it again.
pub(super) struct Held {
    /// `None` only while it is dropped.
    database: Option<Database>,
    damaged: AtomicBool,
}

impl Held {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database: Some(database),
            damaged: AtomicBool::new(false),
        }
    }

    /// Runs `work` on the database.
    pub(super) fn on<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let closed = || damage("closed");
        let out = guarded(|| work(self.database.as_ref().ok_or_else(closed)?));
        if out.as_ref().is_err_and(is_damage) {
            self.damaged.store(true, Ordering::Relaxed);
        }
        out
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let database = self.database.take();
        if *self.damaged.get_mut() {
            std::mem::forget(database);
        } else {
            // What goes wrong here is met by the next command.
            let _ = guarded(|| {
                drop(database);
                Ok(())
            });
        }
    }
}
