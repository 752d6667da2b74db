// SPDX-License-Identifier: Apache-2.0
//! A regular file that was just made and is open: written and given its attributes by descriptor alone, so that any
//! thread may do it and no name is looked up again.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use rustix::fs::{Gid, Mode, Uid, XattrFlags};

use super::attrs::{self, Attributes, XattrSet};
use super::resolve::here;
use crate::error::{Result, ResultExt};
use crate::node::{Time, TreePath, Xattrs};

/// A new regular file, open to write.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: TreePath,
}

impl NewFile {
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

    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        attrs::read_names(&self.path, |list| rustix::fs::flistxattr(&self.file, list))
    }

    /// Its inode number.
    pub(crate) fn inode(&self) -> Result<u64> {
        let stat = rustix::fs::fstat(&self.file).map_err(|e| here(e, &self.path));
        Ok(stat.context(|| "stat")?.st_ino)
    }
}

impl Attributes for NewFile {
    fn path(&self) -> TreePath {
        self.path.clone()
    }

    fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        attrs::chowned(
            rustix::fs::fchown(&self.file, owner.0, owner.1),
            &self.path,
            uid,
            gid,
        )
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))
            .map_err(|e| here(e, &self.path))
            .context(|| "chmod")
    }

    fn xattrs(&self) -> Result<Xattrs> {
        attrs::read_values(&self.path, self.xattr_names()?, |name, value| {
            rustix::fs::fgetxattr(&self.file, name, value)
        })
    }

    fn clear_xattrs(&self, keep: &Xattrs) -> Result<()> {
        attrs::clear(&self.path, &self.xattr_names()?, keep, |name| {
            rustix::fs::fremovexattr(&self.file, name)
        })
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<XattrSet> {
        let set = rustix::fs::fsetxattr(&self.file, name, value, XattrFlags::empty());
        attrs::xattr_set(set, &self.path, name)
    }

    fn set_times(&self, atime: Option<Time>, mtime: Time) -> Result<()> {
        rustix::fs::futimens(&self.file, &attrs::timestamps(atime, mtime))
            .map_err(|e| here(e, &self.path))
            .context(|| "set times")
    }
}
