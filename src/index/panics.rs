// SPDX-License-Identifier: Apache-2.0
//! Keeps the damage of a database that was altered behind its back from the rest of the program.
//!
//! redb panics over such a file. A panic is caught in one place and made an error. A panic that meets another one ends the process;
//! a mark beside the file tells the next process, so that the file is set aside before it ends a third one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Fact, Result};
use crate::layout::Layout;

/// The file that is there while a process has the database open to write: one byte for each process that died over it.
const MARK: &str = "index.open";

/// Runs `work` on a file that may have been altered behind the database's back, of which it may panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // State that the closure left half changed is dropped: a damaged database is closed and not used again.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damage("damaged file")))
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

/// Returns whether the database is damaged.
pub(super) fn is_damage(err: &Error) -> bool {
    err.kind() == ErrorKind::Corrupt && is_of_database(err)
}

/// Says that this process has the database open to write, until it is dropped.
pub(super) struct Mark(Layout);

impl Mark {
    /// Sets the mark, for a process that holds the lock of the database. If the two processes before this one died with it set, the
    /// file is set aside first: one death alone, as by `kill -9`, costs nothing.
    /// Without a place to write the mark to, there is none.
    ///
    /// # Errors
    /// Those of `set_aside`.
    pub(super) fn set(layout: &Layout, set_aside: impl FnOnce() -> Result<()>) -> Result<Self> {
        let mark = Self(layout.clone());
        let Ok(file) = layout.private_dir().open_to_change(MARK) else {
            return Ok(mark);
        };
        let mut deaths = file.len()?;
        if deaths >= 2 {
            set_aside()?;
            file.set_len(0)?;
            deaths = 0;
        }
        let _ = file.write_at(deaths, b".");
        Ok(mark)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // A mark that stays is that of a death, and two of them cost no more than time.
        self.0.private_dir().discard(MARK);
    }
}
