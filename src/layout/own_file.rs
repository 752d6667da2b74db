// SPDX-License-Identifier: Apache-2.0
//! A file of our own that is changed in place. Every change is a step of the layout's [`Disk`], like those of blobs, so that tests
//! can cut and record them in one order.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{self, Access, Disk};
use crate::error::Result;

/// A file of our own, open to read and write.
#[derive(Debug)]
pub(crate) struct OwnFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) access: Access,
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl OwnFile {
    /// Returns the open file, to read and to lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the size of the file in bytes.
    pub(crate) fn len(&self) -> Result<u64> {
        Ok(disk::fstat(&self.file, &self.path)?.len())
    }

    /// Gives the file the owner and the mode of the layout.
    pub(crate) fn give(&self) -> Result<()> {
        self.access.give_file(&self.file, &self.path)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk.write_at(&self.file, &self.path, offset, bytes)
    }

    /// Cuts the file, or fills it up with zeros.
    pub(crate) fn set_len(&self, len: u64) -> Result<()> {
        self.disk.set_len(&self.file, &self.path, len)
    }

    /// Makes the content durable.
    pub(crate) fn sync_data(&self) -> Result<()> {
        self.disk.sync_data(&self.file, &self.path)
    }
}
