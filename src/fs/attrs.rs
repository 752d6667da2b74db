// SPDX-License-Identifier: Apache-2.0
//! Metadata of one name in a directory: read as an [`Inode`], written in the one order that keeps all of it.
//!
//! Order of writing: owner (a change of it clears set-id bits and capabilities), extended attributes, mode (without u+w
//! it refuses attributes to a plain user), times.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
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
        let opened = self.opened();
        if !opened.is_empty()
            && let Some(real) = opened.get(&path())
        {
            mode = *real;
        }
        drop(opened);
        Ok(Some(inode(&stat, kind, mode)))
    }

    /// Opens the regular file at `path`, which a walk found, and looks at that which is open: nobody can put together what is
    /// in one file and what is said of another.
    pub(crate) fn open_stat(&self, path: &TreePath) -> Result<(File, Inode)> {
        let (dir, name) = self.own_parent(path)?;
        let file = self.open_in(&dir, &name)?;
        let stat = rustix::fs::fstat(&file).map_err(|e| here(e, path))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut inode = inode(&stat, NodeKind::File { size }, stat.st_mode & 0o7777);
        inode.node.xattrs = if self.unprivileged {
            // By the name permission can be had for a while, and no attribute tells of a privilege.
            self.xattrs(&dir, &name)?
        } else {
            let names = read_names(path, |list| rustix::fs::flistxattr(&file, list))?;
            read_values(path, names, |name, value| {
                rustix::fs::fgetxattr(&file, name, value)
            })?
        };
        Ok((file, inode))
    }

    /// All extended attributes of `name` in `dir`, links not followed. A file system without any has none.
    pub(crate) fn xattrs(&self, dir: &Dir, name: &[u8]) -> Result<Xattrs> {
        let names = self.xattr_names(dir, name)?;
        let path = proc_path(dir, name);
        read_values(&super::join(dir, name), names, |attribute, value| {
            self.lifted(dir, name, 0o400, || {
                rustix::fs::lgetxattr(path.as_slice(), attribute, &mut *value)
            })
        })
    }

    fn xattr_names(&self, dir: &Dir, name: &[u8]) -> Result<Vec<Vec<u8>>> {
        let path = proc_path(dir, name);
        read_names(&super::join(dir, name), |list| {
            self.permitted(dir, || rustix::fs::llistxattr(path.as_slice(), &mut *list))
        })
    }

    /// Removes all extended attributes but those of the host and those in `keep`. What cannot be removed stays.
    pub(crate) fn clear_xattrs(&self, dir: &Dir, name: &[u8], keep: &Xattrs) -> Result<()> {
        let names = self.xattr_names(dir, name)?;
        let path = proc_path(dir, name);
        clear(&super::join(dir, name), &names, keep, |attribute| {
            self.lifted(dir, name, 0o200, || {
                rustix::fs::lremovexattr(path.as_slice(), attribute)
            })
        })
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
        let result = self.lifted(dir, name, 0o200, set);
        xattr_set(result, &super::join(dir, name), attribute)
    }

    /// Sets the owner of `name` in `dir`, links not followed.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] also for an id that the user namespace of this process does not have.
    pub(crate) fn chown(&self, dir: &Dir, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let chown = || rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        chowned(self.permitted(dir, chown), &super::join(dir, name), uid, gid)
    }

    /// Sets the mode of `name` in `dir`, which must not be a link and is not followed if it became one. A file gets no set-id
    /// bits: those of the tree are completed by descriptor, and this one was put there by somebody else.
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
        if mode & 0o6000 != 0 {
            let found = rustix::fs::fstat(&fd).map_err(|e| here(e, &path()))?;
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                fail!(UnsafePath, "{} was replaced while it was made", path());
            }
        }
        rustix::fs::chmod(fd_path(&fd).as_slice(), Mode::from_raw_mode(mode))
            .map_err(|e| here(e, &path()))
            .context(|| "chmod")
    }

    /// Sets access time (that of modification if there is none) and modification time of `name` in `dir`, links not
    /// followed.
    pub(crate) fn set_times(&self, dir: &Dir, name: &[u8], atime: Option<Time>, mtime: Time) -> Result<()> {
        let times = timestamps(atime, mtime);
        let set = || rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        self.permitted(dir, set)
            .map_err(|e| here(e, &super::join(dir, name)))
            .context(|| "set times")
    }

    /// Path of `name` in `dir`, for messages and tables.
    pub(crate) fn path_of(dir: &Dir, name: &[u8]) -> TreePath {
        super::join(dir, name)
    }
}

/// What has attributes that can be set: a name in a directory, or a file that is open.
pub(crate) trait Attributes {
    /// Where it is, for messages.
    fn path(&self) -> TreePath;
    /// Sets the owner.
    fn chown(&self, uid: u32, gid: u32) -> Result<()>;
    /// Sets the mode.
    fn chmod(&self, mode: u32) -> Result<()>;
    /// All extended attributes.
    fn xattrs(&self) -> Result<Xattrs>;
    /// Removes all extended attributes but those of the host and those in `keep`.
    fn clear_xattrs(&self, keep: &Xattrs) -> Result<()>;
    /// Sets one extended attribute.
    fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> Result<XattrSet>;
    /// Sets access time (that of modification if there is none) and modification time.
    fn set_times(&self, atime: Option<Time>, mtime: Time) -> Result<()>;
}

/// A name in a directory of a tree, never followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub root: &'a Root,
    pub dir: &'a Dir,
    pub name: &'a [u8],
}

impl Attributes for Named<'_> {
    fn path(&self) -> TreePath {
        super::join(self.dir, self.name)
    }

    fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        self.root.chown(self.dir, self.name, uid, gid)
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        self.root.chmod(self.dir, self.name, mode)
    }

    fn xattrs(&self) -> Result<Xattrs> {
        self.root.xattrs(self.dir, self.name)
    }

    fn clear_xattrs(&self, keep: &Xattrs) -> Result<()> {
        self.root.clear_xattrs(self.dir, self.name, keep)
    }

    fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> Result<XattrSet> {
        self.root.set_xattr(self.dir, self.name, attribute, value)
    }

    fn set_times(&self, atime: Option<Time>, mtime: Time) -> Result<()> {
        self.root.set_times(self.dir, self.name, atime, mtime)
    }
}

/// Names of extended attributes, from a call that fills a list with them.
pub(super) fn read_names(
    path: &TreePath,
    mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Vec<Vec<u8>>> {
    let mut list = [0; 1024];
    let split = |list: &[u8]| -> Vec<Vec<u8>> {
        let names = list.split(|&c| c == 0).filter(|a| !a.is_empty());
        names.map(<[u8]>::to_vec).collect()
    };
    match call(&mut list) {
        Ok(n) => return Ok(split(&list[..n])),
        Err(Errno::OPNOTSUPP | Errno::NODATA) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {}
        Err(err) => return Err(here(err, path)).context(|| "list extended attributes"),
    }
    let mut list = vec![0; MAX_XATTR];
    match call(&mut list) {
        Ok(n) => Ok(split(&list[..n])),
        Err(err) => Err(here(err, path)).context(|| "list extended attributes"),
    }
}

/// Values of extended attributes, from a call that reads one.
pub(super) fn read_values(
    path: &TreePath,
    names: Vec<Vec<u8>>,
    mut call: impl FnMut(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> Result<Xattrs> {
    let mut out = Xattrs::new();
    for attribute in names {
        let mut value = vec![0; 256];
        loop {
            match call(&attribute, &mut value) {
                Ok(n) => {
                    value.truncate(n);
                    out.insert(attribute, value);
                    break;
                }
                Err(Errno::RANGE) if value.len() < MAX_XATTR => value.resize(MAX_XATTR, 0),
                // Gone meanwhile, or not to be read by us.
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => break,
                Err(err) => return Err(here(err, path)).context(|| "read extended attribute"),
            }
        }
    }
    Ok(out)
}

/// Removes those of `names` that are neither the host's nor in `keep`. What cannot be removed stays.
pub(super) fn clear(
    path: &TreePath,
    names: &[Vec<u8>],
    keep: &Xattrs,
    mut call: impl FnMut(&[u8]) -> rustix::io::Result<()>,
) -> Result<()> {
    for attribute in names {
        if is_forbidden(attribute) || keep.contains_key(attribute) {
            continue;
        }
        match call(attribute) {
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(err) => return Err(here(err, path)).context(|| "remove extended attribute"),
        }
    }
    Ok(())
}

pub(super) fn xattr_set(
    result: rustix::io::Result<()>,
    path: &TreePath,
    attribute: &[u8],
) -> Result<XattrSet> {
    match result {
        Ok(()) => Ok(XattrSet::Done),
        Err(Errno::PERM | Errno::ACCESS) => Ok(XattrSet::Denied),
        Err(Errno::OPNOTSUPP) => Ok(XattrSet::Unsupported),
        Err(err) => {
            let attribute = String::from_utf8_lossy(attribute).into_owned();
            Err(here(err, path)).context(|| format!("set extended attribute {attribute:?}"))
        }
    }
}

pub(super) fn chowned(result: rustix::io::Result<()>, path: &TreePath, uid: u32, gid: u32) -> Result<()> {
    result
        .map_err(|err| match err {
            Errno::INVAL => {
                let text = format!("{path}: this user namespace has no owner {uid}:{gid}");
                Error::new(ErrorKind::Denied, text)
            }
            err => here(err, path),
        })
        .context(|| "chown")
}

/// Both times as the kernel wants them.
pub(super) fn timestamps(atime: Option<Time>, mtime: Time) -> Timestamps {
    let spec = |time: Time| Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    };
    Timestamps {
        last_access: spec(atime.unwrap_or(mtime)),
        last_modification: spec(mtime),
    }
}

fn inode(stat: &Stat, kind: NodeKind, mode: u32) -> Inode {
    Inode {
        node: Node {
            kind,
            mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time {
                sec: stat.st_mtime,
                nsec: stat.st_mtime_nsec as u32,
            },
            atime: None,
            xattrs: Xattrs::new(),
        },
        size: u64::try_from(stat.st_size).unwrap_or(0),
        nlink: stat.st_nlink,
        dev: stat.st_dev,
        ino: stat.st_ino,
        ctime: Time {
            sec: stat.st_ctime,
            nsec: stat.st_ctime_nsec as u32,
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_gets_set_id_bits_by_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("file"), "of somebody else").expect("write");
        let root = Root::open(dir.path()).expect("open");
        let top = root.dir(&TreePath::root()).expect("top");
        assert!(root.chmod(&top, b"file", 0o755).is_ok());
        let err = root.chmod(&top, b"file", 0o4755).expect_err("not what was made");
        assert_eq!(err.kind(), ErrorKind::UnsafePath, "{err}");
        std::fs::create_dir(dir.path().join("dir")).expect("make");
        assert!(root.chmod(&top, b"dir", 0o2755).is_ok());
    }
}
