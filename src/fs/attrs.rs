// SPDX-License-Identifier: Apache-2.0
//! Metadata of one name in a directory: read as an [`Inode`], written in the one order that keeps all of it.
//!
//! Order of writing: owner (a change of it clears set-id bits and capabilities), extended attributes, mode (without u+w
//! it refuses attributes to a plain user), times.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result as Called};

use super::{Dir, OpenFile, Root};
use crate::error::{Result, ResultExt};
use crate::node::{HOST_XATTRS, Inode, Node, NodeKind, Time, TreePath, Xattrs};

/// Maximum size that the kernel allows for the names of all attributes of a file, and for the value of one, in bytes.
const MAX_XATTR: usize = 64 * 1024;

/// Returns whether an extended attribute belongs to the host.
pub fn is_forbidden(name: &[u8]) -> bool {
    HOST_XATTRS.contains(&name)
}

/// Result of an attempt to set an extended attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrSet {
    /// It is set.
    Done,
    /// This process may not.
    Denied,
    /// The file system has no such attributes.
    Unsupported,
}

/// The attributes of a file of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attributes<'a> {
    /// Of a file that is open: its name is not looked up again, so nobody can put another file there.
    Open(&'a OpenFile),
    /// Of a name in a directory, never followed.
    Named(&'a Root, &'a Dir, &'a [u8]),
}

impl Attributes<'_> {
    /// Returns where the file is, for messages.
    pub fn path(&self) -> TreePath {
        match self {
            Self::Open(open) => open.path.clone(),
            Self::Named(_, dir, name) => dir.join(name),
        }
    }

    /// Sets the mode. A regular file gets set-id bits by its descriptor alone: files of the tree are made and completed by it,
    /// so one that is found by name under such a mode was put there by another program.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafePath`](crate::error::ErrorKind::UnsafePath) for such a file.
    pub fn chmod(&self, mode: u32) -> Result<()> {
        let changed = match self {
            Self::Open(open) => rustix::fs::fchmod(&open.file, Mode::from_raw_mode(mode)),
            Self::Named(root, dir, name) => {
                let fd = root.open_at(dir, name, OFlags::PATH, 0);
                let fd = fd.context(|| self.path().to_string())?;
                if mode & 0o6000 != 0 {
                    let found = rustix::fs::fstat(&fd).context(|| self.path().to_string())?;
                    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                        fail!(UnsafePath, "{} was replaced while it was made", self.path());
                    }
                }
                chmod_fd(&fd, mode)
            }
        };
        changed.context(|| format!("chmod: {}", self.path()))
    }

    /// Sets the owner.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::error::ErrorKind::Denied) also for an id that the user namespace of this process does not have.
    pub fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let changed = match self {
            Self::Open(open) => rustix::fs::fchown(&open.file, user, group),
            Self::Named(root, dir, name) => root.permitted(dir, || {
                rustix::fs::chownat(dir, *name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }),
        };
        // chown(2) says so of an id that the user namespace does not map.
        if changed == Err(Errno::INVAL) {
            let path = self.path();
            let text = format!("chown: {path}: this user namespace has no owner {uid}:{gid}");
            fail!(Denied, "{text}");
        }
        changed.context(|| format!("chown: {}", self.path()))
    }

    /// Sets access time (that of modification if there is none) and modification time.
    pub fn set_times(&self, atime: Option<Time>, mtime: Time) -> Result<()> {
        let [last_access, last_modification] = [atime.unwrap_or(mtime), mtime].map(|time| Timespec {
            tv_sec: time.sec,
            tv_nsec: time.nsec.into(),
        });
        let times = Timestamps {
            last_access,
            last_modification,
        };
        let set = match self {
            Self::Open(open) => rustix::fs::futimens(&open.file, &times),
            Self::Named(root, dir, name) => root.permitted(dir, || {
                rustix::fs::utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }),
        };
        set.context(|| format!("set times: {}", self.path()))
    }

    /// Returns the names of all extended attributes; none where the file system has no such thing.
    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        let listed = read_sized(1024, |list| match self {
            Self::Open(open) => rustix::fs::flistxattr(&open.file, list),
            Self::Named(root, dir, name) => {
                let path = proc_path(dir, name);
                root.permitted(dir, || rustix::fs::llistxattr(path.as_slice(), &mut *list))
            }
        });
        let list = match listed {
            Err(Errno::OPNOTSUPP | Errno::NODATA) => Vec::new(),
            listed => listed.context(|| format!("list extended attributes: {}", self.path()))?,
        };
        let names = list.split(|&c| c == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// Returns all extended attributes.
    pub fn xattrs(&self) -> Result<Xattrs> {
        let mut out = Xattrs::new();
        for attribute in self.xattr_names()? {
            let read = read_sized(256, |value| match self {
                Self::Open(open) => rustix::fs::fgetxattr(&open.file, &attribute, value),
                Self::Named(root, dir, name) => {
                    let path = proc_path(dir, name);
                    root.lifted(dir, name, 0o400, || {
                        rustix::fs::lgetxattr(path.as_slice(), &attribute, &mut *value)
                    })
                }
            });
            match read {
                Ok(value) => drop(out.insert(attribute, value)),
                // Gone meanwhile, or not to be read by us.
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
                Err(err) => return Err(err).context(|| format!("read extended attribute: {}", self.path())),
            }
        }
        Ok(out)
    }

    /// Removes all extended attributes but those of the host and those in `keep`. One that cannot be removed stays.
    pub fn clear_xattrs(&self, keep: &Xattrs) -> Result<()> {
        for attribute in self.xattr_names()? {
            if is_forbidden(&attribute) || keep.contains_key(&attribute) {
                continue;
            }
            let removed = match self {
                Self::Open(open) => rustix::fs::fremovexattr(&open.file, &attribute),
                Self::Named(root, dir, name) => {
                    let path = proc_path(dir, name);
                    root.lifted(dir, name, 0o200, || {
                        rustix::fs::lremovexattr(path.as_slice(), &attribute)
                    })
                }
            };
            match removed {
                Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::OPNOTSUPP) => {}
                removed => removed.context(|| format!("remove extended attribute: {}", self.path()))?,
            }
        }
        Ok(())
    }

    /// Sets one extended attribute.
    pub fn set_xattr(&self, attribute: &[u8], value: &[u8]) -> Result<XattrSet> {
        let flags = XattrFlags::empty();
        let set = match self {
            Self::Open(open) => rustix::fs::fsetxattr(&open.file, attribute, value, flags),
            Self::Named(root, dir, name) => {
                let path = proc_path(dir, name);
                root.lifted(dir, name, 0o200, || {
                    rustix::fs::lsetxattr(path.as_slice(), attribute, value, flags)
                })
            }
        };
        match set {
            Ok(()) => Ok(XattrSet::Done),
            Err(Errno::PERM | Errno::ACCESS) => Ok(XattrSet::Denied),
            Err(Errno::OPNOTSUPP) => Ok(XattrSet::Unsupported),
            Err(err) => Err(err).context(|| {
                let attribute = String::from_utf8_lossy(attribute);
                format!("set extended attribute {attribute:?}: {}", self.path())
            }),
        }
    }
}

/// Reads into a buffer of `size` bytes, and into one of the maximum where the kernel says that this is too small.
fn read_sized(size: usize, mut read: impl FnMut(&mut [u8]) -> Called<usize>) -> Called<Vec<u8>> {
    let mut buffer = vec![0; size];
    let mut length = read(&mut buffer);
    if length == Err(Errno::RANGE) {
        buffer.resize(MAX_XATTR, 0);
        length = read(&mut buffer);
    }
    buffer.truncate(length?);
    Ok(buffer)
}

impl Root {
    /// Returns the attributes of `name` in `dir`.
    pub(crate) fn named<'a>(&'a self, dir: &'a Dir, name: &'a [u8]) -> Attributes<'a> {
        Attributes::Named(self, dir, name)
    }

    /// Looks at `name` in `dir` itself, without extended attributes; `None` if it is not there.
    pub(crate) fn stat(&self, dir: &Dir, name: &[u8]) -> Result<Option<Inode>> {
        let found = self.permitted(dir, || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW));
        let stat = match found {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            stat => stat.context(|| dir.join(name).to_string())?,
        };
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File { size: size(&stat) },
            FileType::Directory => NodeKind::Dir,
            FileType::Symlink => {
                let read = self.permitted(dir, || rustix::fs::readlinkat(dir, name, Vec::new()));
                let target = read.context(|| dir.join(name).to_string())?.into_bytes();
                NodeKind::Symlink { target }
            }
            FileType::CharacterDevice => NodeKind::Char { major, minor },
            FileType::BlockDevice => NodeKind::Block { major, minor },
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket | FileType::Unknown => NodeKind::Socket,
        };
        let mut inode = inode(&stat, kind);
        // A directory that was opened for a while has another mode on the disk than it will have.
        let opened = self.opened();
        if !opened.is_empty()
            && let Some(mode) = opened.get(&dir.join(name))
        {
            inode.node.mode = *mode;
        }
        Ok(Some(inode))
    }

    /// Opens the regular file at `path`, which a walk found, and looks at that which is open: nobody can put together what is
    /// in one file and what is said of another.
    pub(crate) fn open_stat(&self, path: &TreePath) -> Result<(File, Inode)> {
        let (dir, name) = self.own_parent(path)?;
        let file = OpenFile::new(self.open_in(&dir, &name)?, path.clone());
        let stat = rustix::fs::fstat(&file.file).context(|| path.to_string())?;
        let mut inode = inode(&stat, NodeKind::File { size: size(&stat) });
        inode.node.xattrs = if self.unprivileged {
            // By the name permission can be had for a while, and no attribute tells of a privilege.
            self.named(&dir, &name).xattrs()?
        } else {
            file.attributes().xattrs()?
        };
        Ok((file.file, inode))
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn inode(stat: &Stat, kind: NodeKind) -> Inode {
    Inode {
        node: Node {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time::of_stat(stat.st_mtime, stat.st_mtime_nsec),
            atime: None,
            xattrs: Xattrs::new(),
        },
        size: size(stat),
        nlink: stat.st_nlink,
        dev: stat.st_dev,
        ino: stat.st_ino,
        ctime: Time::of_stat(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Returns a path to a name that begins at the open directory, for calls that have no form with a descriptor.
fn proc_path(dir: &Dir, name: &[u8]) -> Vec<u8> {
    [&fd_path(dir), &b"/"[..], name].concat()
}

/// Sets the mode of what is open, be it as a mere path: `fchmod` refuses that, its name in /proc does not.
pub(super) fn chmod_fd(fd: &impl AsFd, mode: u32) -> Called<()> {
    rustix::fs::chmod(fd_path(fd).as_slice(), Mode::from_raw_mode(mode))
}

/// Returns the name of a descriptor in /proc, which leads to the file itself, however it is called by now.
pub(super) fn fd_path(fd: &impl AsFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn no_file_gets_set_id_bits_by_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("file"), "of somebody else").expect("write");
        let root = Root::open(dir.path()).expect("open");
        let top = root.dir(&TreePath::root()).expect("top");
        assert!(root.named(&top, b"file").chmod(0o755).is_ok());
        let err = root
            .named(&top, b"file")
            .chmod(0o4755)
            .expect_err("not what was made");
        assert_eq!(err.kind(), ErrorKind::UnsafePath, "{err}");
        std::fs::create_dir(dir.path().join("dir")).expect("make");
        assert!(root.named(&top, b"dir").chmod(0o2755).is_ok());
    }
}
