// SPDX-License-Identifier: Apache-2.0
//! Files that the caller named: a bundle's own files, and the root of a tree. Never a name out of an image.
//!
//! Of this module only this file and `pending` know `std::fs`.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::pending::{create_new, remove_file};
use super::{PendingFile, Root};
use crate::error::{Result, ResultExt};
use crate::node::{Time, TreePath};

/// Makes the directory at `path` and those above it; `false` if it was there.
pub fn make_dirs(path: &Path) -> Result<bool> {
    if let Some(above) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(above).doing("create directory", above)?;
    }
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(err) => Err(err).doing("create directory", path),
    }
}

/// Returns whether anything is at `path`, a dangling link included.
pub fn exists(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some())
}

/// Returns whether a link is at `path`.
pub fn is_link(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some_and(|found| found.is_symlink()))
}

/// Looks at what is at `path`, without following a link.
fn look(path: &Path) -> Result<Option<fs::Metadata>> {
    fs::symlink_metadata(path).doing("stat", path).if_there()
}

/// Makes an empty file in memory, which the system may move to its swap space.
pub fn memory_file() -> Result<fs::File> {
    let file = rustix::fs::memfd_create("umoci", rustix::fs::MemfdFlags::CLOEXEC);
    Ok(file.map(fs::File::from).map_err(io::Error::from)?)
}

/// Sets the mode of what the caller named.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("chmod", path)
}

/// Reads a whole file of at most `limit` bytes.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    read_to_end(open_file(path)?, path, limit)
}

/// Reads all of `file`, which was opened at `path`, of at most `limit` bytes.
pub fn read_to_end(file: impl Read, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large, also one that grows or says no size.
    file.take(limit + 1).read_to_end(&mut bytes).doing("read", path)?;
    if bytes.len() as u64 > limit {
        fail!(Limit, "{} is larger than {limit} bytes", path.display());
    }
    Ok(bytes)
}

/// Opens a file that the caller named, to read.
pub fn open_file(path: &Path) -> Result<fs::File> {
    fs::File::open(path).doing("open", path)
}

/// Opens a regular file that the caller named or that stands in a directory that the caller named, to read; a link to one will
/// do. Neither hangs on a pipe nor reads a device, which has no end.
pub fn open_regular(path: &Path) -> Result<fs::File> {
    // NONBLOCK: an open of a fifo that nobody writes to would wait for ever. It changes nothing for a regular file.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .doing("open", path)?;
    if !file.metadata().doing("stat", path)?.is_file() {
        fail!(Invalid, "{} is not a regular file", path.display());
    }
    Ok(file)
}

/// Opens the regular file at `path` to read and write, which is made if it is not there, and takes an exclusive lock on it.
///
/// # Errors
/// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if another process has the lock, or has just removed the file.
pub fn lock_file(path: &Path) -> Result<fs::File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32)
        .open(path)
        .doing("open", path)?;
    let is_locked = match file.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(err)) => return Err(err).doing("lock", path),
    };
    // The previous holder may have removed the file meanwhile.
    let own = file.metadata().doing("stat", path)?;
    match look(path)? {
        Some(now) if is_locked && (now.dev(), now.ino()) == (own.dev(), own.ino()) => Ok(file),
        _ => fail!(Busy, "{} is locked by another process", path.display()),
    }
}

/// Returns when the content of a file last changed.
pub fn modified(path: &Path) -> Result<Time> {
    let meta = fs::metadata(path).doing("stat", path)?;
    Ok(Time::of_stat(meta.mtime(), meta.mtime_nsec()))
}

/// Writes a new file, which must not exist.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create_new(path).doing("create", path)?;
    if let Err(err) = file.write_all(bytes).doing("write", path) {
        remove_file(path);
        return Err(err);
    }
    Ok(())
}

/// Writes a file in one step, in place of one that may exist.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(PendingFile::begin(path)?, bytes)
}

/// Writes the output that a person wants at `path`; see [`PendingFile::output`].
pub fn write_output(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(PendingFile::output(path)?, bytes)
}

fn write_whole(mut file: PendingFile, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)?;
    file.commit()
}

/// Removes a directory if it is empty; for cleaning up.
pub fn remove_empty_dir(path: &Path) {
    let _ = fs::remove_dir(path);
}

/// Removes a whole tree, whatever the modes in it if `rootless`; not what a link in its place leads to.
pub fn remove_tree(path: &Path, rootless: bool) -> Result<()> {
    if !exists(path)? {
        return Ok(());
    }
    let root = Root::open_no_link(path)?.rootless(rootless);
    root.remove_children(&TreePath::root())?;
    drop(root);
    fs::remove_dir(path).doing("remove", path)
}

/// Returns how many descriptors this process may have.
pub fn max_open() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Returns whether this process is in a user namespace other than the first one.
pub fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_a_tree_costs_nothing_of_what_it_leads_to() {
        let dir = tempfile::tempdir().expect("dir");
        let victim = dir.path().join("victim");
        fs::create_dir(&victim).expect("make");
        fs::write(victim.join("precious"), "data").expect("write");
        let link = dir.path().join("rootfs");
        std::os::unix::fs::symlink(&victim, &link).expect("link");
        for name in ["rootfs", "rootfs/", "rootfs/.", "rootfs//./"] {
            let link = dir.path().join(name);
            assert!(remove_tree(&link, false).is_err(), "{name}");
            assert!(victim.join("precious").exists(), "{name}");
            assert!(
                Root::open_no_link(&link).is_err() && Root::open(&link).is_ok(),
                "{name}"
            );
        }
    }
}
