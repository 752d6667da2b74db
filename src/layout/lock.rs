// SPDX-License-Identifier: Apache-2.0
//! Locks between processes: files under flock, waited for with a bound.
//!
//! The kernel frees a lock when its process dies, so no lock is ever stale. A lock file may be deleted and made
//! again while we wait (somebody removed `.umoci/`), so after locking the path must still lead to the file we hold.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk;
use crate::error::{Error, ErrorKind, Fact, Result};

/// Who else may hold the lock at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMode {
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

/// Takes the lock on the file that `open` opens at `path`.
///
/// # Errors
/// [`ErrorKind::Busy`] after `timeout`, naming the processes that hold it where that can be told.
pub(super) fn acquire(
    path: &Path,
    mode: LockMode,
    timeout: Duration,
    mut open: impl FnMut() -> Result<File>,
) -> Result<LayoutLock> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        let file = open()?;
        let locked = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match locked {
            Ok(()) => {
                let held = disk::fstat(&file, path)?.stamp;
                if disk::stat(path)?.is_some_and(|f| f.stamp.same_file(&held)) {
                    return Ok(LayoutLock { _file: file });
                }
            }
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(err)) => {
                return Err(Error::from(err).context(format!("lock {}", path.display())));
            }
        }
        if Instant::now() >= deadline {
            let text = format!(
                "{} is locked{} (waited {} s)",
                path.display(),
                holders(&file, path),
                timeout.as_secs()
            );
            return Err(Error::new(ErrorKind::Busy, text).with_fact(Fact::LockTimeout));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Who holds the lock, from the kernel's list: ` by process 12 (umoci)`; empty if that cannot be told.
fn holders(file: &File, path: &Path) -> String {
    let Ok(found) = disk::fstat(file, path) else {
        return String::new();
    };
    let Ok((list, _)) = disk::read(Path::new("/proc/locks"), 1 << 20) else {
        return String::new();
    };
    let inode = format!(":{}", found.stamp.ino);
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
        let comm = disk::read(Path::new(&format!("/proc/{pid}/comm")), 64);
        let name = comm
            .map(|(bytes, _)| String::from_utf8_lossy(&bytes).trim().to_owned())
            .unwrap_or_default();
        names.push(if name.is_empty() {
            // One that is gone already, or of somebody else.
            format!("process {pid}")
        } else {
            format!("process {pid} ({name})")
        });
    }
    names.dedup();
    names.truncate(4);
    if names.is_empty() {
        String::new()
    } else {
        format!(" by {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_gives_up_and_says_who_holds_the_lock() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("lock");
        let open = || Ok(File::create(&path)?);
        let held = acquire(&path, LockMode::Exclusive, Duration::ZERO, open).expect("free");
        let err = acquire(&path, LockMode::Shared, Duration::ZERO, open).expect_err("held");
        assert_eq!(err.kind(), ErrorKind::Busy);
        assert!(
            err.to_string()
                .contains(&format!("by process {}", std::process::id())),
            "{err}"
        );
        drop(held);
        let one = acquire(&path, LockMode::Shared, Duration::ZERO, open).expect("free again");
        let two = acquire(&path, LockMode::Shared, Duration::ZERO, open).expect("shared");
        drop((one, two));
    }
}
