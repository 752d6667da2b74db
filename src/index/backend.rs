// SPDX-License-Identifier: Apache-2.0
//! The file of the index database, as redb wants it: every change goes through the disk of the layout.
//!
//! No locks are offered to redb: whoever opens the file holds `Lock::Database`. It must not know what the bytes mean.

use std::io;
use std::os::unix::fs::FileExt as _;

use redb::StorageBackend;

use crate::layout::OwnFile;

impl StorageBackend for OwnFile {
    fn len(&self) -> io::Result<u64> {
        Ok(OwnFile::len(self)?)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file().read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(OwnFile::set_len(self, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(OwnFile::sync_data(self)?)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Ok(self.write_at(offset, data)?)
    }
}
