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
use crate::node::{Inode, Node, NodeKind, Time, TreePath, Xattrs};

/// Extended attributes that belong to the host: never stored in a layer, never set or cleared by one.
const FORBIDDEN_XATTRS: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

/// Maximum size that the kernel allows for the names of all attributes of a file, and for the value of one, in bytes.
const MAX_XATTR: usize = 64 * 1024;

/// Returns whether an extended attribute belongs to the host.
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

/// The attributes of a file, which is a name in a directory or open: each implementation has the system calls, and the
/// methods on top of them are the same for all.
pub(crate) trait Attributes {
    /// Returns where the file is, for messages.
    fn path(&self) -> TreePath;
    /// Sets the mode.
    fn chmod(&self, mode: u32) -> Result<()>;

    fn call_chown(&self, uid: Uid, gid: Gid) -> Called<()>;
    fn call_set_times(&self, times: &Timestamps) -> Called<()>;
    fn call_list_xattrs(&self, list: &mut [u8]) -> Called<usize>;
    fn call_get_xattr(&self, name: &[u8], value: &mut [u8]) -> Called<usize>;
    fn call_set_xattr(&self, name: &[u8], value: &[u8]) -> Called<()>;
    fn call_remove_xattr(&self, name: &[u8]) -> Called<()>;

    /// Sets the owner.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::error::ErrorKind::Denied) also for an id that the user namespace of this process does not have.
    fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        match self.call_chown(Uid::from_raw(uid), Gid::from_raw(gid)) {
            Err(Errno::INVAL) => {
                let path = self.path();
                fail!(
                    Denied,
                    "chown: {path}: this user namespace has no owner {uid}:{gid}"
                );
            }
            result => result.context(|| format!("chown: {}", self.path())),
        }
    }

    /// Sets access time (that of modification if there is none) and modification time.
    fn set_times(&self, atime: Option<Time>, mtime: Time) -> Result<()> {
        let [last_access, last_modification] = [atime.unwrap_or(mtime), mtime].map(|time| Timespec {
            tv_sec: time.sec,
            tv_nsec: time.nsec.into(),
        });
        let times = Timestamps {
            last_access,
            last_modification,
        };
        self.call_set_times(&times)
            .context(|| format!("set times: {}", self.path()))
    }

    /// Returns the names of all extended attributes; none where the file system has no such thing.
    fn xattr_names(&self) -> Result<Vec<Vec<u8>>> {
        let mut list = vec![0; 1024];
        let mut listed = self.call_list_xattrs(&mut list);
        if listed == Err(Errno::RANGE) {
            list.resize(MAX_XATTR, 0);
            listed = self.call_list_xattrs(&mut list);
        }
        match listed {
            Ok(n) => list.truncate(n),
            Err(Errno::OPNOTSUPP | Errno::NODATA) => list.clear(),
            Err(err) => return Err(err).context(|| format!("list extended attributes: {}", self.path())),
        }
        let names = list.split(|&c| c == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// Returns all extended attributes.
    fn xattrs(&self) -> Result<Xattrs> {
        let mut out = Xattrs::new();
        for name in self.xattr_names()? {
            let mut value = vec![0; 256];
            let mut read = self.call_get_xattr(&name, &mut value);
            if read == Err(Errno::RANGE) {
                value.resize(MAX_XATTR, 0);
                read = self.call_get_xattr(&name, &mut value);
            }
            match read {
                Ok(n) => {
                    value.truncate(n);
                    out.insert(name, value);
                }
                // Gone meanwhile, or not to be read by us.
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::ACCESS | Errno::PERM) => {}
                Err(err) => return Err(err).context(|| format!("read extended attribute: {}", self.path())),
            }
        }
        Ok(out)
    }

    /// Removes all extended attributes but those of the host and those in `keep`. What cannot be removed stays.
    fn clear_xattrs(&self, keep: &Xattrs) -> Result<()> {
        for name in self.xattr_names()? {
            if is_forbidden(&name) || keep.contains_key(&name) {
                continue;
            }
            match self.call_remove_xattr(&name) {
                Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(err) => {
                    return Err(err).context(|| format!("remove extended attribute: {}", self.path()));
                }
            }
        }
        Ok(())
    }

    /// Sets one extended attribute.
    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<XattrSet> {
        match self.call_set_xattr(name, value) {
            Ok(()) => Ok(XattrSet::Done),
            Err(Errno::PERM | Errno::ACCESS) => Ok(XattrSet::Denied),
            Err(Errno::OPNOTSUPP) => Ok(XattrSet::Unsupported),
            Err(err) => Err(err).context(|| {
                let name = String::from_utf8_lossy(name);
                format!("set extended attribute {name:?}: {}", self.path())
            }),
        }
    }
}

/// A name in a directory of a tree, never followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    root: &'a Root,
    dir: &'a Dir,
    name: &'a [u8],
}

impl Named<'_> {
    /// Returns a path to it that begins at the open directory, for calls that have no form with a descriptor.
    fn proc_path(&self) -> Vec<u8> {
        [&fd_path(self.dir), &b"/"[..], self.name].concat()
    }
}

impl Attributes for Named<'_> {
    fn path(&self) -> TreePath {
        self.dir.join(self.name)
    }

    /// Sets the mode without set-id bits: files of the tree are completed by descriptor, so another program has put this one there.
    /// No link in its place is followed either.
    fn chmod(&self, mode: u32) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(self.dir, self.name, flags, Mode::empty());
        let fd = self
            .root
            .permitted(self.dir, open)
            .context(|| self.path().to_string())?;
        if mode & 0o6000 != 0 {
            let found = rustix::fs::fstat(&fd).context(|| self.path().to_string())?;
            if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
                fail!(UnsafePath, "{} was replaced while it was made", self.path());
            }
        }
        rustix::fs::chmod(fd_path(&fd).as_slice(), Mode::from_raw_mode(mode))
            .context(|| format!("chmod: {}", self.path()))
    }

    fn call_chown(&self, uid: Uid, gid: Gid) -> Called<()> {
        self.root.permitted(self.dir, || {
            rustix::fs::chownat(
                self.dir,
                self.name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
        })
    }

    fn call_set_times(&self, times: &Timestamps) -> Called<()> {
        self.root.permitted(self.dir, || {
            rustix::fs::utimensat(self.dir, self.name, times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn call_list_xattrs(&self, list: &mut [u8]) -> Called<usize> {
        let path = self.proc_path();
        self.root
            .permitted(self.dir, || rustix::fs::llistxattr(path.as_slice(), &mut *list))
    }

    fn call_get_xattr(&self, name: &[u8], value: &mut [u8]) -> Called<usize> {
        let path = self.proc_path();
        self.root.lifted(self.dir, self.name, 0o400, || {
            rustix::fs::lgetxattr(path.as_slice(), name, &mut *value)
        })
    }

    fn call_set_xattr(&self, name: &[u8], value: &[u8]) -> Called<()> {
        let path = self.proc_path();
        self.root.lifted(self.dir, self.name, 0o200, || {
            rustix::fs::lsetxattr(path.as_slice(), name, value, XattrFlags::empty())
        })
    }

    fn call_remove_xattr(&self, name: &[u8]) -> Called<()> {
        let path = self.proc_path();
        self.root.lifted(self.dir, self.name, 0o200, || {
            rustix::fs::lremovexattr(path.as_slice(), name)
        })
    }
}

impl Attributes for OpenFile {
    fn path(&self) -> TreePath {
        self.path.clone()
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode)).context(|| format!("chmod: {}", self.path))
    }

    fn call_chown(&self, uid: Uid, gid: Gid) -> Called<()> {
        rustix::fs::fchown(&self.file, Some(uid), Some(gid))
    }

    fn call_set_times(&self, times: &Timestamps) -> Called<()> {
        rustix::fs::futimens(&self.file, times)
    }

    fn call_list_xattrs(&self, list: &mut [u8]) -> Called<usize> {
        rustix::fs::flistxattr(&self.file, list)
    }

    fn call_get_xattr(&self, name: &[u8], value: &mut [u8]) -> Called<usize> {
        rustix::fs::fgetxattr(&self.file, name, value)
    }

    fn call_set_xattr(&self, name: &[u8], value: &[u8]) -> Called<()> {
        rustix::fs::fsetxattr(&self.file, name, value, XattrFlags::empty())
    }

    fn call_remove_xattr(&self, name: &[u8]) -> Called<()> {
        rustix::fs::fremovexattr(&self.file, name)
    }
}

impl Root {
    /// Returns the attributes of `name` in `dir`.
    pub(crate) fn named<'a>(&'a self, dir: &'a Dir, name: &'a [u8]) -> Named<'a> {
        Named {
            root: self,
            dir,
            name,
        }
    }

    /// Looks at `name` in `dir` itself, without extended attributes; `None` if it is not there.
    pub(crate) fn stat(&self, dir: &Dir, name: &[u8]) -> Result<Option<Inode>> {
        let stat = || rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = match self.permitted(dir, stat) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            stat => stat.context(|| dir.join(name).to_string())?,
        };
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File { size: size(&stat) },
            FileType::Directory => NodeKind::Dir,
            FileType::Symlink => {
                let read = || rustix::fs::readlinkat(dir, name, Vec::new());
                let target = self.permitted(dir, read).context(|| dir.join(name).to_string())?;
                NodeKind::Symlink {
                    target: target.into_bytes(),
                }
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
            file.xattrs()?
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
            mtime: Time {
                sec: stat.st_mtime,
                nsec: stat.st_mtime_nsec as u32,
            },
            atime: None,
            xattrs: Xattrs::new(),
        },
        size: size(stat),
        nlink: stat.st_nlink,
        dev: stat.st_dev,
        ino: stat.st_ino,
        ctime: Time {
            sec: stat.st_ctime,
            nsec: stat.st_ctime_nsec as u32,
        },
    }
}

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
