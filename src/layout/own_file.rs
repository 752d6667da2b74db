// SPDX-License-Identifier: Apache-2.0
//! A file in our own directory that is written in place: the index database. Knows nothing of what is in it.
//!
//! Every change is a step of the layout's [`Disk`](super::disk::Disk), like those of blobs, so that tests can cut and
//! record them in one order.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::{Layout, disk};
use crate::error::Result;

/// A file of our own, open to read and write.
#[derive(Debug)]
pub(crate) struct OwnFile {
    layout: Layout,
    path: PathBuf,
    file: File,
}

impl Layout {
    /// Opens a file in our own directory to change it in place; it is made if it is not there.
    ///
    /// # Errors
    /// As [`Layout::private_file`].
    pub(crate) fn open_own(&self, name: &str) -> Result<OwnFile> {
        let path = self.private_file(name)?;
        let file = disk::open_in_place(&path)?;
        Ok(OwnFile {
            layout: self.clone(),
            path,
            file,
        })
    }
}

impl OwnFile {
    /// The open file, to read and to lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.layout.disk().write_at(&self.file, &self.path, offset, bytes)
    }

    /// Cuts the file, or fills it up with zeros.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.layout.disk().set_len(&self.file, &self.path, len)
    }

    /// Makes the content durable.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.layout.disk().sync_data(&self.file, &self.path)
    }
}
