// SPDX-License-Identifier: Apache-2.0
//! The operations that change a store, behind one small trait, and the reads beside them.
//!
//! Everything that a crash can cut in two goes through [`Disk`], so that a test can record the order of operations.
//! The only file of this module that knows `std::fs`.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, OFlags, Timespec, Timestamps, UTIME_NOW, Uid};

use super::{Stamp, fault};
use crate::error::{Result, ResultExt};

/// Operations that change a store, done on the disk of this machine. Each call is one step that a crash can come before or after;
/// disks of tests watch the steps or refuse them.
pub(crate) trait Disk: std::fmt::Debug + Send + Sync {
    /// Makes a new file for writing at `path`.
    fn create_temp(&self, path: &Path) -> Result<File> {
        fault::point();
        // Nobody else may read a file that is not verified yet; it gets the mode of the layout before its name.
        create_new(path, 0o600).doing("create", path)
    }

    /// Makes the content of `file`, which stands at `path`, durable.
    fn sync(&self, file: &File, path: &Path) -> Result<()> {
        fault::point();
        file.sync_all().doing("sync", path)
    }

    /// Moves `from` over `to` in one step.
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fault::point();
        fs::rename(from, to).doing("rename to", to)
    }

    /// Makes the names in the directory at `path` durable.
    fn sync_dir(&self, path: &Path) -> Result<()> {
        fault::point();
        let synced = File::open(path).and_then(|dir| dir.sync_all());
        synced.doing("sync directory", path)
    }

    /// Makes the content of all files durable that stand on the file system of the directory at `path`.
    fn sync_all(&self, path: &Path) -> Result<()> {
        fault::point();
        let dir = File::open(path).doing("open", path)?;
        // Since Linux 5.8 syncfs(2) reports the write errors of all files, as fsync(2) does of one.
        rustix::fs::syncfs(&dir).doing("sync file system of", path)
    }

    /// Removes the file at `path`.
    fn unlink(&self, path: &Path) -> Result<()> {
        fault::point();
        fs::remove_file(path).doing("remove", path)
    }

    /// Writes all of `bytes` at `offset` of `file`, which stands at `path`: the index database, in place.
    fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
        fault::point();
        file.write_all_at(bytes, offset).doing("write", path)
    }

    /// Cuts `file`, which stands at `path`, or fills it up with zeros.
    fn set_len(&self, file: &File, path: &Path, len: u64) -> Result<()> {
        fault::point();
        file.set_len(len).doing("set the size of", path)
    }

    /// Makes the content of `file`, which stands at `path`, durable, but not its times.
    fn sync_data(&self, file: &File, path: &Path) -> Result<()> {
        fault::point();
        file.sync_data().doing("sync", path)
    }
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {}

/// Owner, group and mode that a new file or directory of a layout gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Owner of the layout's root directory.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode, which those of new files are cut from.
    pub mode: u32,
}

impl Access {
    /// Gives `file` the owner (as far as this process may) and the mode of a file of the layout.
    pub(crate) fn give_file(self, file: &File, path: &Path) -> Result<()> {
        self.give(file, self.mode & 0o666, path)
    }

    fn give(self, file: &File, mode: u32, path: &Path) -> Result<()> {
        let now = file.metadata().doing("stat", path)?;
        if rustix::process::geteuid().is_root() && (now.uid(), now.gid()) != (self.uid, self.gid) {
            let (user, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            fault::point();
            match rustix::fs::fchown(file, Some(user), Some(group)) {
                // Root of a user namespace that lacks this owner writes as any user with access would.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
                result => result.doing("chown", path)?,
            }
        }
        if now.mode() & 0o7777 != mode {
            fault::point();
            file.set_permissions(Permissions::from_mode(mode))
                .doing("chmod", path)?;
        }
        Ok(())
    }

    /// Makes a directory of the layout; `false` if there was one.
    pub(crate) fn make_dir(self, path: &Path) -> Result<bool> {
        fault::point();
        match fs::DirBuilder::new().mode(self.mode & 0o777).create(path) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
            Err(err) => return Err(err).doing("create directory", path),
        }
        let dir = open_as(path, OFlags::NOFOLLOW | OFlags::DIRECTORY).doing("open", path)?;
        self.give(&dir, self.mode & 0o2777, path)?;
        Ok(true)
    }

    /// Makes a directory for us alone. A link in its place is refused: it could lead out of the layout.
    pub(crate) fn make_own_dir(self, path: &Path) -> Result<()> {
        if self.make_dir(path)? || lstat(path)?.is_none_or(|found| found.is_dir()) {
            return Ok(());
        }
        fail!(Invalid, "{} is a link, not a directory", path.display())
    }

    /// Opens a lock file, which is made if it is not there.
    pub(crate) fn open_lock(self, path: &Path) -> Result<File> {
        if let Some(file) = open_optional(path)? {
            return Ok(file);
        }
        fault::point();
        match create_new(path, self.mode & 0o666) {
            Ok(file) => self.give_file(&file, path).map(|()| file),
            // Somebody else was faster, with whatever it is.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                open_optional(path)?.map_or_else(|| Err(err).doing("create", path), Ok)
            }
            Err(err) => Err(err).doing("create", path),
        }
    }
}

/// Makes a file that is not there, to read and write.
fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).read(true).create_new(true).mode(mode);
    options.open(path)
}

/// Opens to read what is there, with these flags.
fn open_as(path: &Path, flags: OFlags) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits() as i32);
    options.open(path)
}

/// Sets the times of the file at `path` to now, not through a link; `false` if that cannot be done.
pub(crate) fn touch(path: &Path) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Removes a file that nothing depends on.
pub(crate) fn drop_file(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Looks at `path`, following links; `None` if nothing is there.
pub(crate) fn stat(path: &Path) -> Result<Option<Metadata>> {
    optional(fs::metadata(path), "stat", path)
}

/// Looks at `path`, following links.
pub(crate) fn stat_existing(path: &Path) -> Result<Metadata> {
    match stat(path)? {
        Some(found) => Ok(found),
        None => fail!(NotFound, "{} does not exist", path.display()),
    }
}

/// Looks at `path` itself; `None` if nothing is there.
pub(crate) fn lstat(path: &Path) -> Result<Option<Metadata>> {
    optional(fs::symlink_metadata(path), "stat", path)
}

/// Returns whether a directory stands at `path`, and no link to one.
pub(crate) fn is_real_dir(path: &Path) -> bool {
    lstat(path).is_ok_and(|found| found.is_some_and(|f| f.is_dir()))
}

/// Looks at an open file.
pub(crate) fn fstat(file: &File, path: &Path) -> Result<Metadata> {
    file.metadata().doing("stat", path)
}

fn optional<T>(result: io::Result<T>, verb: &str, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(err) => Err(err).doing(verb, path),
    }
}

/// Opens a file to read; `None` if nothing is there. Does not hang on a fifo.
pub(crate) fn open_optional(path: &Path) -> Result<Option<File>> {
    optional(open_as(path, OFlags::NONBLOCK), "open", path)
}

/// Opens a regular file to read.
pub(crate) fn open(path: &Path) -> Result<(File, Metadata)> {
    let Some(file) = open_optional(path)? else {
        fail!(NotFound, "open {}: no such file or directory", path.display());
    };
    let found = fstat(&file, path)?;
    if !found.is_file() {
        fail!(Invalid, "{} is not a regular file", path.display());
    }
    Ok((file, found))
}

/// Opens what is ours to read, and no link: the owner of a layout may be another than who works on it.
pub(crate) fn open_no_link(path: &Path) -> Result<File> {
    open_as(path, OFlags::NOFOLLOW | OFlags::NONBLOCK).doing("open", path)
}

/// Opens a file to change it in place; it is made if it is not there.
pub(crate) fn open_in_place(path: &Path) -> Result<File> {
    fault::point();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options.open(path).doing("open", path)
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<(Vec<u8>, Stamp)> {
    let (file, found) = open(path)?;
    let mut bytes = Vec::new();
    if found.len() <= limit {
        bytes.reserve_exact(usize::try_from(found.len()).unwrap_or(0));
        file.take(limit + 1).read_to_end(&mut bytes).doing("read", path)?;
    }
    // It may have grown meanwhile.
    if found.len().max(bytes.len() as u64) > limit {
        fail!(Limit, "{} is larger than {limit} bytes", path.display());
    }
    Ok((bytes, Stamp::of(&found)))
}

/// Writes all of `bytes`.
pub(crate) fn write(file: &mut File, bytes: &[u8], path: &Path) -> Result<()> {
    fault::point();
    file.write_all(bytes).doing("write", path)
}

/// Writes the beginning of `bytes`; says how many.
pub(crate) fn write_some(file: &mut File, bytes: &[u8], path: &Path) -> Result<usize> {
    fault::point();
    loop {
        match file.write(bytes) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result.doing("write", path),
        }
    }
}

/// Returns the names in a directory, in no order; none if it is not there.
pub(crate) fn list(path: &Path) -> Result<Vec<OsString>> {
    entries(path)?.into_iter().flatten().collect()
}

/// Returns the names in a directory one by one.
pub(crate) fn entries(path: &Path) -> Result<Option<impl Iterator<Item = Result<OsString>> + use<>>> {
    let base: PathBuf = path.to_owned();
    let entries = optional(fs::read_dir(path), "read directory", path)?;
    Ok(entries.map(|e| e.map(move |entry| entry.map(|e| e.file_name()).doing("read directory", &base))))
}

/// Makes `path` and what is above it, 0755 as far as the caller's umask allows.
pub(crate) fn make_dirs(path: &Path) -> Result<()> {
    fault::point();
    let result = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    result.doing("create directory", path)
}

/// Makes one directory, 0755 as far as the caller's umask allows; `false` if something is there.
pub(crate) fn make_dir(path: &Path) -> Result<bool> {
    fault::point();
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(err) => Err(err).doing("create directory", path),
    }
}

/// Opens a directory, for locking.
pub(crate) fn open_dir(path: &Path) -> Result<File> {
    File::open(path).doing("open", path)
}

/// Removes whatever stands at `path`, links not followed.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    fault::point();
    let result = match lstat(path)? {
        Some(found) if found.is_dir() => fs::remove_dir_all(path),
        Some(_) => fs::remove_file(path),
        None => Ok(()),
    };
    result.doing("remove", path)
}

/// Makes `to` a copy of the open file `from` without copying bytes, where the file system can.
pub(crate) fn reflink(from: &File, to: &File) -> bool {
    fault::point();
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Gives the file at `from` a second name.
pub(crate) fn hard_link(from: &Path, to: &Path) -> bool {
    fault::point();
    fs::hard_link(from, to).is_ok()
}

/// Refuses to remove anything below directories of a layout of which one is a link: what it leads to may belong to others.
pub(super) fn refuse_links(dirs: &[&Path]) -> Result<()> {
    for dir in dirs {
        if lstat(dir)?.is_some_and(|found| found.is_symlink()) {
            fail!(
                Invalid,
                "{} is a link that leads elsewhere, so nothing is removed; put a directory in its place",
                dir.display()
            );
        }
    }
    Ok(())
}
