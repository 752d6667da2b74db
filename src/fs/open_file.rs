// SPDX-License-Identifier: Apache-2.0
//! A regular file that is open, most often one that was just made: written and given its attributes by descriptor alone, so that any
//! thread may do it and no name is looked up again.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use super::Attributes;
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

    /// Returns its attributes, which are set by the descriptor.
    pub(crate) fn attributes(&self) -> Attributes<'_> {
        Attributes::Open(self)
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.context(|| format!("write {}", self.path))
    }

    /// Appends `n` zero bytes that take no room on the disk.
    pub(crate) fn write_hole(&mut self, n: u64) -> Result<()> {
        extend(&mut self.file, n).context(|| format!("write {}", self.path))
    }

    /// Returns its inode number.
    pub(crate) fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.file).context(|| format!("stat: {}", self.path))?;
        Ok(stat.st_ino)
    }
}

/// Makes a file longer by a hole, and moves the position behind it.
fn extend(file: &mut File, n: u64) -> io::Result<()> {
    let end = file.stream_position()? + n;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end)).map(drop)
}
