// SPDX-License-Identifier: Apache-2.0
//! A disk that writes down what is done on it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::disk::{Disk, OsDisk};

/// A disk that writes down what is done, and on which nothing can be done any more after a number of operations.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    done: std::sync::Arc<std::sync::Mutex<Vec<(&'static str, PathBuf)>>>,
    most: usize,
}

impl Journal {
    /// Returns a disk that stops after `most` operations.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            done: std::sync::Arc::default(),
            most,
        }
    }

    /// Returns the steps that were done, in order; paths are relative to `root`, and those of temporary files are all `temp`.
    pub(crate) fn done(&self, root: &Path) -> Vec<String> {
        let show = |(verb, path): &(&str, PathBuf)| {
            let path = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
            let path = if path.starts_with(".umoci/tmp/") {
                "temp"
            } else {
                &path
            };
            format!("{verb} {path}")
        };
        self.done.lock().expect("lock").iter().map(show).collect()
    }

    fn step<T>(&self, verb: &'static str, path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut done = self.done.lock().expect("lock");
        if done.len() == self.most {
            return Err(Error::new(ErrorKind::Io, "the disk is gone"));
        }
        done.push((verb, path.to_owned()));
        run()
    }
}

impl Disk for Journal {
    fn create_temp(&self, path: &Path) -> Result<File> {
        self.step("create", path, || OsDisk.create_temp(path))
    }

    fn sync(&self, file: &File, path: &Path) -> Result<()> {
        self.step("sync", path, || OsDisk.sync(file, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step("rename to", to, || OsDisk.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.step("sync directory", path, || OsDisk.sync_dir(path))
    }

    fn sync_all(&self, path: &Path) -> Result<()> {
        self.step("sync all", path, || OsDisk.sync_all(path))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.step("remove", path, || OsDisk.unlink(path))
    }

    // The database is derived: a crash there is the business of other tests.
    fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
        OsDisk.write_at(file, path, offset, bytes)
    }

    fn set_len(&self, file: &File, path: &Path, len: u64) -> Result<()> {
        OsDisk.set_len(file, path, len)
    }

    fn sync_data(&self, file: &File, path: &Path) -> Result<()> {
        OsDisk.sync_data(file, path)
    }
}
