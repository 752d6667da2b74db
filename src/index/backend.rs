// SPDX-License-Identifier: Apache-2.0
//! The file of the index database, as redb wants it: every change goes through the disk of the layout.
//!
//! Reads and locks are those of redb's own file backend. It must not know what the bytes mean.

use std::io;
use std::ops::Bound;

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

use crate::layout::OwnFile;

type Locked<T> = std::result::Result<T, BackendError>;

/// redb's storage in a file of the layout.
#[derive(Debug)]
pub(super) struct Backend {
    own: OwnFile,
    file: FileBackend,
}

impl Backend {
    pub(super) fn new(own: OwnFile) -> Result<Self, DatabaseError> {
        // Both share one open file, so the locks that redb takes are on the file that is written.
        let file = FileBackend::new(own.file().try_clone()?)?;
        Ok(Self { own, file })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(self.own.set_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.own.sync_data()?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.own.write_at(offset, data)?)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<()> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locked<bool> {
        self.file.query_lock_range(start, end)
    }
}
