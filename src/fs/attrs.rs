// SPDX-License-Identifier: Apache-2.0
//! Metadata of one name in a directory: read as an [`Inode`], written in the one order that keeps all of it.
//!
//! Order of writing: owner, mode (a change of owner clears set-id bits), extended attributes (a change of owner clears
//! capabilities), times.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::resolve::here;
use super::{Dir, Root};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::node::{Inode, Node, NodeKind, Time, TreePath, Xattrs};

/// Extended attributes that belong to the host: never stored in a layer, never set or cleared by one.
pub const FORBIDDEN_XATTRS: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

/// What the kernel makes of the names and values of attributes at most, in bytes.
const MAX_XATTR: usize = 64 * 1024;

/// Whether an extended attribute belongs to the host.
pub fn is_forbidden(name: &[u8]) -> bool {
    FORBIDDEN_XATTRS.contains(&name)
}

/// What became of an attempt to set an extended attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrSet {
    /// It is set.
    Done,
    /// This process may not.
    Denied,
    /// The file system has no such attributes.
    Unsupported,
}

impl Root {
    /// Looks at `name` in `dir` itself, without extended attributes; `None` if it is not there.
    pub(crate) fn stat(&self, dir: &Dir, name: &[u8]) -> Result<Option<Inode>> {
        let path = || super::join(dir, name);
        let stat = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = match self.permitted(dir, stat) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(err) => return Err(here(err, &path())),
        };
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File { size },
            FileType::Directory => NodeKind::Dir,
            FileType::Symlink => {
                let read = || rustix::fs::readlinkat(dir, name, Vec::new());
                let target = self.permitted(dir, read).map_err(|e| here(e, &path()))?;
                NodeKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::CharacterDevice => NodeKind::Char {
                major: device().0,
                minor: device().1,
            },
            FileType::BlockDevice => NodeKind::Block {
                major: device().0,
                minor: device().1,
            },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket | FileType::Unknown => NodeKind::Socket,
        };
        let mut mode = stat.st_mode & 0o7777;
        if let Some(real) = self.opened.borrow().get(&path()) {
            mode = *real;
        }
        Ok(Some(Inode {
            node: Node {
                kind,
                mode,
                uid: stat.st_uid,
                gid: stat.st_gid,
                mtime: Time {
                    sec: stat.st_mtime,
                    nsec: stat.st_mtime_nsec as u32,
                },
                xattrs: Xattrs::new(),
            },
            size,
            nlink: stat.st_nlink,
            dev: stat.st_dev,
            ino: stat.st_ino,
            ctime: Time {
                sec: stat.st_ctime,
                nsec: stat.st_ctime_nsec as u32,
            },
        }))
    }

    /// All extended attributes of `name` in `dir`, links not followed. A file system without any has none.
    pub(crate) fn xattrs(&self, dir: &Dir, name: &[u8]) -> Result<Xattrs> {
        let mut out = Xattrs::new();
        for attribute in self.xattr_names(dir, name)? {
            let path = proc_path(dir, name);
            let mut value = vec![0; 256];
            loop {
                match rustix::fs::lgetxattr(path.as_slice(), attribute.as_slice(), value.as_mut_slice()) {
                    Ok(n) => {
                        value.truncate(n);
                        out.insert(attribute, value);
                        break;
                    }
                    Err(Errno::RANGE) if value.len() < MAX_XATTR => value.resize(MAX_XATTR, 0),
                    // Gone meanwhile, or not to be read by us.
                    Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => break,
                    Err(err) => {
                        return Err(here(err, &super::join(dir, name))).context(|| "read extended attribute");
                    }
                }
            }
        }
        Ok(out)
    }

    fn xattr_names(&self, dir: &Dir, name: &[u8]) -> Result<Vec<Vec<u8>>> {
        let path = proc_path(dir, name);
        let mut list = vec![0; 1024];
        let n = loop {
            match self.permitted(dir, || {
                rustix::fs::llistxattr(path.as_slice(), list.as_mut_slice())
            }) {
                Ok(n) => break n,
                Err(Errno::RANGE) if list.len() < MAX_XATTR => list.resize(MAX_XATTR, 0),
                Err(Errno::OPNOTSUPP | Errno::NODATA) => break 0,
                Err(err) => {
                    return Err(here(err, &super::join(dir, name))).context(|| "list extended attributes");
                }
            }
        };
        Ok(list[..n]
            .split(|&c| c == 0)
            .filter(|a| !a.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }

    /// Removes all extended attributes but those of the host and those in `keep`. What cannot be removed stays.
    pub(crate) fn clear_xattrs(&self, dir: &Dir, name: &[u8], keep: &Xattrs) -> Result<()> {
        for attribute in self.xattr_names(dir, name)? {
            if is_forbidden(&attribute) || keep.contains_key(&attribute) {
                continue;
            }
            match rustix::fs::lremovexattr(proc_path(dir, name).as_slice(), attribute.as_slice()) {
                Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(err) => {
                    return Err(here(err, &super::join(dir, name))).context(|| "remove extended attribute");
                }
            }
        }
        Ok(())
    }

    /// Sets one extended attribute of `name` in `dir`, links not followed.
    pub(crate) fn set_xattr(
        &self,
        dir: &Dir,
        name: &[u8],
        attribute: &[u8],
        value: &[u8],
    ) -> Result<XattrSet> {
        let path = proc_path(dir, name);
        let set = || rustix::fs::lsetxattr(path.as_slice(), attribute, value, XattrFlags::empty());
        match self.permitted(dir, set) {
            Ok(()) => Ok(XattrSet::Done),
            Err(Errno::PERM | Errno::ACCESS) => Ok(XattrSet::Denied),
            Err(Errno::OPNOTSUPP) => Ok(XattrSet::Unsupported),
            Err(err) => {
                let attribute = String::from_utf8_lossy(attribute).into_owned();
                Err(here(err, &super::join(dir, name)))
                    .context(|| format!("set extended attribute {attribute:?}"))
            }
        }
    }

    /// Sets the owner of `name` in `dir`, links not followed.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] also for an id that the user namespace of this process does not have.
    pub(crate) fn chown(&self, dir: &Dir, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let chown = || rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        self.permitted(dir, chown)
            .map_err(|err| match err {
                Errno::INVAL => {
                    let path = super::join(dir, name);
                    let text = format!("{path}: this user namespace has no owner {uid}:{gid}");
                    Error::new(ErrorKind::Denied, text)
                }
                err => here(err, &super::join(dir, name)),
            })
            .context(|| "chown")
    }

    /// Sets the mode of `name` in `dir`, which must not be a link and is not followed if it became one.
    pub(crate) fn chmod(&self, dir: &Dir, name: &[u8], mode: u32) -> Result<()> {
        let path = || super::join(dir, name);
        let open = || {
            rustix::fs::openat(
                dir,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let fd = self.permitted(dir, open).map_err(|e| here(e, &path()))?;
        rustix::fs::chmod(fd_path(&fd).as_slice(), Mode::from_raw_mode(mode))
            .map_err(|e| here(e, &path()))
            .context(|| "chmod")
    }

    /// Sets access and modification time of `name` in `dir`, links not followed.
    pub(crate) fn set_times(&self, dir: &Dir, name: &[u8], time: Time) -> Result<()> {
        let set = || rustix::fs::utimensat(dir, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW);
        self.permitted(dir, set)
            .map_err(|e| here(e, &super::join(dir, name)))
            .context(|| "set times")
    }

    /// Path of `name` in `dir`, for messages and tables.
    pub(crate) fn path_of(dir: &Dir, name: &[u8]) -> TreePath {
        super::join(dir, name)
    }
}

/// Both times as the kernel wants them.
fn timestamps(time: Time) -> Timestamps {
    let spec = Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    };
    Timestamps {
        last_access: spec,
        last_modification: spec,
    }
}

/// A path to `name` that begins at the open directory, for calls that have no form with a descriptor.
fn proc_path(dir: &Dir, name: &[u8]) -> Vec<u8> {
    let mut path = fd_path(dir);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

pub(super) fn fd_path(fd: &impl AsFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into_bytes()
}
