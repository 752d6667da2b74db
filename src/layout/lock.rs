// SPDX-License-Identifier: Apache-2.0
//! Locks between processes: files under flock, waited for with a bound.
//!
//! The kernel frees a lock when its process dies, so no lock is ever stale. A lock file may be deleted and made
//! again while we wait (somebody removed `.umoci/`), so after locking the path must still lead to the file we hold.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Layout, Stamp, disk};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};

/// Other holders allowed at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LockMode {
    /// Others that hold it shared.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct LayoutLock {
    _file: File,
}

/// The locks of our own, in the order in which they are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    /// Exclusive to who waits for [`Lock::Layout`] alone; a server, whose requests would else hold that without a gap, waits for it
    /// before each.
    Turn,
    /// Shared by those who add blobs and name them, exclusive to who removes any.
    Layout,
    /// Exclusive to who changes `index.json` and the reflog.
    Refs,
    /// Of the index database.
    Database,
}

impl Lock {
    fn path(self, layout: &Layout) -> PathBuf {
        layout.private_dir().join(match self {
            Lock::Turn => "turn.lock",
            Lock::Layout => "lock",
            Lock::Refs => "refs.lock",
            Lock::Database => "index.lock",
        })
    }
}

impl Layout {
    /// Takes a lock; its file is made if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if it is not had within `timeout`.
    pub(crate) fn take_lock(&self, lock: Lock, mode: LockMode, timeout: Duration) -> Result<LayoutLock> {
        let path = lock.path(self);
        let taken = acquire(&path, mode, timeout, || {
            self.private_dir().ensure()?;
            self.access().open_lock(&path).map(Some)
        })?;
        taken.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{} is not there", path.display())))
    }

    /// Takes a lock to share it; `None` if its file is not there, since who only looks creates nothing, or it is not had within
    /// `timeout`.
    pub(crate) fn share_lock(&self, lock: Lock, timeout: Duration) -> Result<Option<LayoutLock>> {
        let path = lock.path(self);
        match acquire(&path, LockMode::Shared, timeout, || disk::open_optional(&path)) {
            Err(err) if err.kind() == ErrorKind::Busy => Ok(None),
            taken => taken,
        }
    }

    /// Takes the lock of the layout. `verb` says what for.
    ///
    /// # Errors
    /// As [`Layout::take_lock`].
    pub(crate) fn lock(&self, mode: LockMode, timeout: Duration, verb: &str) -> Result<LayoutLock> {
        self.take_lock(Lock::Layout, mode, timeout)
            .context(|| verb.to_owned())
    }
}

/// Takes the lock on the file that `open` opens at `path`; `None` if that finds none.
///
/// # Errors
/// [`ErrorKind::Busy`] after `timeout`, naming the processes that hold it where that can be told.
pub(super) fn acquire(
    path: &Path,
    mode: LockMode,
    timeout: Duration,
    mut open: impl FnMut() -> Result<Option<File>>,
) -> Result<Option<LayoutLock>> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        let Some(file) = open()? else { return Ok(None) };
        // The file is opened anew each time: another one may stand at the path by now.
        let locked = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match locked {
            Ok(()) => {
                let held = Stamp::of(&disk::fstat(&file, path)?);
                if disk::stat(path)?.is_some_and(|now| Stamp::of(&now).same_file(&held)) {
                    return Ok(Some(LayoutLock { _file: file }));
                }
            }
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(err)) => {
                return Err(Error::from(err).context(format!("lock {}", path.display())));
            }
        }
        if Instant::now() >= deadline {
            let (by, waited) = (holders(&file, path), timeout.as_secs());
            let text = format!("{} is locked{by} (waited {waited} s)", path.display());
            return Err(Error::new(ErrorKind::Busy, text).with_fact(Fact::LockTimeout));
        }
        // flock has no waiting with a bound; the pause doubles, so that a short wait is short and a long one costs nothing.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Returns who holds the lock, from the kernel's list: ` by process 12 (umoci)`; empty if that cannot be told.
fn holders(file: &File, path: &Path) -> String {
    let locks = disk::read(Path::new("/proc/locks"), 1 << 20);
    let (Ok(found), Ok((list, _))) = (disk::fstat(file, path), locks) else {
        return String::new();
    };
    let inode = format!(":{}", Stamp::of(&found).ino);
    let mut names: Vec<String> = Vec::new();
    for line in String::from_utf8_lossy(&list).lines() {
        // 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = words.as_slice() else {
            continue;
        };
        if !file.ends_with(&inode) {
            continue;
        }
        names.push(match disk::read(Path::new(&format!("/proc/{pid}/comm")), 64) {
            Ok((name, _)) if !name.trim_ascii().is_empty() => {
                format!("process {pid} ({})", String::from_utf8_lossy(&name).trim())
            }
            // One that is gone already, or of somebody else.
            _ => format!("process {pid}"),
        });
    }
    names.dedup();
    names.truncate(4);
    if names.is_empty() {
        return String::new();
    }
    format!(" by {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &Path) -> Result<Option<File>> {
        Ok(Some(File::create(path)?))
    }

    #[test]
    fn a_waiter_gives_up_and_says_who_holds_the_lock() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let held = acquire(&path, LockMode::Exclusive, Duration::ZERO, || create(&path)).expect("free");
        let err = acquire(&path, LockMode::Shared, Duration::ZERO, || create(&path)).expect_err("held");
        assert_eq!(err.kind(), ErrorKind::Busy);
        assert!(
            err.to_string()
                .contains(&format!("by process {}", std::process::id())),
            "{err}"
        );
        drop(held);
        let one = acquire(&path, LockMode::Shared, Duration::ZERO, || create(&path)).expect("free again");
        let two = acquire(&path, LockMode::Shared, Duration::ZERO, || create(&path)).expect("shared");
        drop((one, two));
    }
}
