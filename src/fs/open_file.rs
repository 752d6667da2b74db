// SPDX-License-Identifier: Apache-2.0
//! A regular file that is open, most often one that was just made: written and given its attributes by descriptor alone, so that any
//! thread may do it and no name is looked up again.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use crate::error::{Result, ResultExt};
use crate::node::TreePath;

/// A regular file of a tree that is open.
#[derive(Debug)]
pub struct OpenFile {
    pub(super) file: File,
    pub(super) path: TreePath,
}

impl OpenFile {
    pub(super) fn new(file: File, path: TreePath) -> Self {
        Self { file, path }
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .context(|| format!("write {}", self.path))
    }

    /// Appends `n` zero bytes that take no room on the disk.
    pub(crate) fn write_hole(&mut self, n: u64) -> Result<()> {
        (|| {
            let end = self.file.stream_position()? + n;
            self.file.set_len(end)?;
            self.file.seek(SeekFrom::Start(end))
        })()
        .map(drop)
        .context(|| format!("write {}", self.path))
    }

    /// Returns its inode number.
    pub(crate) fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.file).context(|| format!("stat: {}", self.path))?;
        Ok(stat.st_ino)
    }
}
