// SPDX-License-Identifier: Apache-2.0
//! Temporary files: each process has a directory of its own below `.umoci/tmp/`, locked while it is used.
//!
//! A garbage collection removes what is not locked: the files of processes that died.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tempfile::TempPath;

use super::Layout;
use super::disk::{self, Access, Disk};
use crate::error::{Error, ErrorKind, Result, lock};
use crate::progress::Monitor;

/// The directory of this process's temporary files, made with the first of them.
#[derive(Debug, Default)]
pub(super) struct TempFiles(Mutex<Option<TempDir>>);

/// A directory below `.umoci/tmp/` that is locked as long as this process uses it.
#[derive(Debug)]
struct TempDir {
    path: PathBuf,
    _lock: File,
    next: u64,
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A directory that cannot be removed now is found unlocked by the next garbage collection.
        let _ = disk::remove_all(&self.path);
    }
}

/// Moves a temporary file over `target`. It goes unless that is done.
pub(super) fn rename(temp: TempPath, disk: &dyn Disk, target: &Path) -> Result<()> {
    disk.rename(&temp, target)?;
    temp.keep().map_err(|err| err.error)?;
    Ok(())
}

impl TempFiles {
    fn dir(&self) -> MutexGuard<'_, Option<TempDir>> {
        // A panic elsewhere leaves the directory as good as it was.
        lock(&self.0)
    }

    /// Returns a name for a temporary file that only this process uses. `private` is our own directory, which is made if needed.
    pub(super) fn next_path(&self, private: &Path, access: Access, what: &str) -> Result<PathBuf> {
        let mut dir = self.dir();
        // Our own directory may be deleted at any time.
        if let Some(known) = &*dir
            && disk::stat(&known.path)?.is_none()
        {
            *dir = None;
        }
        let dir = match &mut *dir {
            Some(dir) => dir,
            None => dir.insert(claim(private, access)?),
        };
        dir.next += 1;
        Ok(dir.path.join(format!("{what}-{}", dir.next)))
    }
}

/// Makes a directory for the temporary files of this process, and locks it.
fn claim(private: &Path, access: Access) -> Result<TempDir> {
    static CLAIMED: AtomicU64 = AtomicU64::new(0);
    let base = private.join("tmp");
    let mut lost = 0;
    loop {
        let nonce = CLAIMED.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{}-{nonce}", std::process::id()));
        let made = access.make_own_dir(private);
        match made.and_then(|()| try_claim(&base, &path, access)) {
            Ok(Some(lock)) => {
                return Ok(TempDir {
                    path,
                    _lock: lock,
                    next: 0,
                });
            }
            // A garbage collection found the directory before it was locked, at whichever step.
            Ok(None) => {}
            Err(err) if err.kind() == ErrorKind::NotFound && lost < 100 => {}
            Err(err) => return Err(err),
        }
        lost += 1;
    }
}

/// Makes the directory `path` below `base` and locks it; `None` if another process was faster.
fn try_claim(base: &Path, path: &Path, access: Access) -> Result<Option<File>> {
    access.make_own_dir(base)?;
    if !access.make_dir(path)? {
        return Ok(None);
    }
    let dir = disk::open_dir(path)?;
    match dir.try_lock() {
        // A collection may have removed it between the opening and the lock.
        Ok(()) => Ok(disk::stat(path)?.map(|_| dir)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(err)) => {
            let _ = disk::remove_all(path);
            Err(Error::from(err).context(format!("lock {}", path.display())))
        }
    }
}

impl Layout {
    /// Returns the temporary files that nobody uses: ours, old parts of blobs, and those that another umoci left in the layout's root. Each is held
    /// as long as its file is open, so that nobody begins to use it meanwhile.
    pub(crate) fn unused_temporary(&self) -> Result<Vec<(PathBuf, File)>> {
        let ours = self.private_dir().join("tmp");
        let own = self.private_dir().temp.dir().as_ref().map(|dir| dir.path.clone());
        // Never through a link: what it leads to is not ours to remove.
        let mut paths: Vec<PathBuf> = Vec::new();
        if disk::is_real_dir(self.private_dir().as_ref()) && disk::is_real_dir(&ours) {
            paths.extend(disk::list(&ours)?.into_iter().map(|n| ours.join(n)));
        }
        let foreign = disk::list(&self.0.root)?
            .into_iter()
            .filter(|n| n.as_encoded_bytes().starts_with(b".umoci-"));
        paths.extend(foreign.map(|n| self.0.root.join(n)));
        paths.retain(|path| Some(path) != own.as_ref());
        let mut out = self.old_partial()?;
        for path in paths {
            if disk::lstat(&path)?.is_some_and(|found| found.is_dir() || found.is_file())
                && let Ok(file) = disk::open_dir(&path)
                && file.try_lock().is_ok()
            {
                out.push((path, file));
            }
        }
        Ok(out)
    }

    /// Removes temporary files that nobody uses.
    pub(crate) fn clean_temporary(&self, monitor: &dyn Monitor) -> Result<()> {
        for (path, _held) in self.unused_temporary()? {
            if let Err(err) = disk::remove_all(&path) {
                monitor.warn(format_args!("cannot remove a temporary directory: {err}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::progress::Silent;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        (dir, layout)
    }

    #[test]
    fn temporary_files_of_the_dead_go_and_those_of_the_living_stay() {
        let (_dir, layout) = layout();
        let tmp = layout.private_dir().join("tmp");
        let dead = [tmp.join("1-0"), layout.path().join(".umoci-123")];
        for path in &dead {
            std::fs::create_dir_all(path).expect("mkdir");
        }
        let foreign = layout.path().join(".umoci-living");
        std::fs::create_dir(&foreign).expect("mkdir");
        let held = disk::open_dir(&foreign).expect("open");
        held.lock().expect("lock");
        let _writer = layout.write_blob(Algorithm::Sha256).expect("writer");
        let other = Layout::open(layout.path()).expect("open");
        other.clean_temporary(&Silent).expect("clean");
        assert!(dead.iter().all(|path| !path.exists()));
        assert!(
            foreign.exists()
                && disk::list(&tmp).expect("list").len() == 1
                && layout.private_dir().as_ref().exists()
        );
    }

    #[test]
    fn a_process_that_begins_is_not_disturbed_by_a_collection() {
        let (_dir, layout) = layout();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        layout.clean_temporary(&Silent).expect("clean");
                    }
                });
            }
            let begun: Result<Vec<_>> = (0..3000)
                .map(|_| Layout::open(layout.path())?.private_dir().temp_file("file"))
                .collect();
            done.store(true, Ordering::Relaxed);
            begun.expect("a directory for temporary files");
        });
    }
}
