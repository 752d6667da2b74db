// SPDX-License-Identifier: Apache-2.0
//! Our own directory: files that are written in place (the index database, the reflog), and small ones that are replaced as a
//! whole. Knows nothing of what is in them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use super::Stamp;
use super::disk::{self, Access, Disk, refuse_links};
use super::own_file::OwnFile;
use super::temp::{TempFiles, rename};
use crate::error::{ErrorKind, Result, ResultExt};

/// Our own directory in a layout: index database, reflog, locks, temporary files. It may be deleted at any time.
#[derive(Debug, derive_more::AsRef)]
pub(crate) struct PrivateDir {
    #[as_ref(Path)]
    path: PathBuf,
    pub(super) access: Access,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) temp: TempFiles,
}

/// The changes of refs, one a line; what is in them is the business of the store. The index database notes its end, which tells
/// whether a look of its own came after the last change.
pub(crate) const REFLOG: &str = "reflog";

/// A file of our own that is read as a whole is not larger than this, in bytes.
pub(crate) const MAX_OWN: u64 = 4 << 20;

impl PrivateDir {
    /// Returns our own directory in the layout at `root`; it need not be there.
    pub(super) fn new(root: &Path, access: Access, disk: Arc<dyn Disk>) -> Self {
        Self {
            path: root.join(".umoci"),
            access,
            disk,
            temp: TempFiles::default(),
        }
    }

    /// Returns the path of a file in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it if it is not there.
    pub(super) fn ensure(&self) -> Result<()> {
        self.access.make_own_dir(&self.path)
    }

    /// Removes it, with the locks and the index database in it.
    pub(crate) fn remove_all(&self) -> Result<()> {
        disk::remove_all(&self.path)
    }

    /// Returns the path of a file in it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if something else than a file is there: a link could lead out of the layout.
    fn regular(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        // A link could lead out of the layout, and to open a fifo would wait for its other end.
        if disk::lstat(&path)?.is_none_or(|f| f.is_file()) {
            return Ok(path);
        }
        fail!(Invalid, "{} is not a regular file", path.display())
    }

    /// Returns the path of a file in it, for code that opens it by its path; makes the directory.
    ///
    /// # Errors
    /// As [`PrivateDir::open`].
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf> {
        self.ensure()?;
        self.regular(name)
    }

    /// Opens a file to change it in place; it is made if it is not there.
    ///
    /// # Errors
    /// As [`PrivateDir::open`].
    pub(crate) fn open_to_change(&self, name: &str) -> Result<OwnFile> {
        let path = self.file(name)?;
        Ok(OwnFile {
            file: disk::open_in_place(&path)?,
            path,
            access: self.access,
            disk: Arc::clone(&self.disk),
        })
    }

    /// Returns whether something stands there by this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        disk::stat(&self.join(name)).is_ok_and(|found| found.is_some())
    }

    /// Moves a file over another one, not durably: both are derived from the layout.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(&self.regular(from)?, &self.join(to))
    }

    /// Makes a temporary file, open to read and write.
    pub(super) fn temp_file(&self, what: &str) -> Result<(TempPath, File)> {
        let path = self.temp.next_path(&self.path, self.access, what)?;
        let file = self.disk.create_temp(&path)?;
        Ok((TempPath::try_from_path(path)?, file))
    }

    /// Returns an empty file that has no name any more, and goes when it is closed.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] and others that keep a file from being made.
    pub(crate) fn scratch(&self) -> Result<File> {
        let path = self.temp.next_path(&self.path, self.access, "scratch")?;
        let file = self.disk.create_temp(&path)?;
        self.disk.unlink(&path)?;
        Ok(file)
    }

    /// Replaces a file in one step, durably. `name` may begin with one directory.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.ensure()?;
        if let Some((dir, _)) = name.split_once('/') {
            // The directory is durable before a file in it is promised to be.
            self.access.make_own_dir(&self.join(dir))?;
            self.disk.sync_dir(&self.path)?;
        }
        self.replace(&self.join(name), bytes)
    }

    /// Replaces the file at `target` in one step, durably.
    pub(super) fn replace(&self, target: &Path, bytes: &[u8]) -> Result<()> {
        self.replace_if(target, bytes, || Ok(true)).map(|_| ())
    }

    /// Replaces the file at `target` in one step, durably, if `still` agrees right before that.
    pub(super) fn replace_if(
        &self,
        target: &Path,
        bytes: &[u8],
        still: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let (temp, file) = self.temp_file("file")?;
        self.fill(file, bytes, &temp).doing("write", target)?;
        if !still().doing("write", target)? {
            return Ok(false);
        }
        // The new name is durable with its directory only.
        let dir = target.parent().unwrap_or(target);
        let named = rename(temp, &*self.disk, target);
        let synced = named.and_then(|()| self.disk.sync_dir(dir));
        synced.doing("write", target)?;
        Ok(true)
    }

    /// Replaces a file in one step, not durably: it is derived from the layout, and has a sum of its own. `name` begins with a
    /// directory.
    pub(crate) fn put_derived(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let target = self.join(name);
        self.ensure()?;
        self.access.make_own_dir(target.parent().unwrap_or(&target))?;
        let (temp, mut file) = self.temp_file("derived")?;
        disk::write(&mut file, bytes, &temp)?;
        self.access.give_file(&file, &temp)?;
        rename(temp, &*self.disk, &target)
    }

    /// Writes a temporary file whole, and makes its content durable.
    fn fill(&self, mut file: File, bytes: &[u8], temp: &Path) -> Result<()> {
        disk::write(&mut file, bytes, temp)?;
        self.access.give_file(&file, temp)?;
        self.disk.sync(&file, temp)
    }
    /// Opens a file to read; nothing is made and nobody waited for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], and [`ErrorKind::Invalid`] if something else than a file is there: a link could lead out of the layout.
    pub(crate) fn open(&self, name: &str) -> Result<File> {
        disk::open(&self.regular(name)?).map(|(file, _)| file)
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if it is larger than any that we write.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read_up_to(name, MAX_OWN)
    }

    /// As [`PrivateDir::read`], of a file that may have so many bytes.
    pub(crate) fn read_up_to(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match disk::read(&self.join(name), limit).if_there() {
            Err(err) if err.kind() == ErrorKind::Limit => fail!(Limit, "{err}; remove it or mend it"),
            read => Ok(read?.map(|(bytes, _)| bytes)),
        }
    }

    /// Replaces a damaged file in one step, or removes it; what it was is kept aside.
    pub(crate) fn mend(&self, name: &str, bytes: Option<&[u8]>) -> Result<()> {
        let path = self.join(name);
        self.keep_aside(&path, &name.replace('/', "-"))?;
        match bytes {
            Some(bytes) => self.put(name, bytes),
            None => self.remove(name).map(|_| ()),
        }
    }

    /// Keeps a file that is about to be replaced, for a person to look at; nothing is done if there is none.
    pub(super) fn keep_aside(&self, path: &Path, name: &str) -> Result<()> {
        if disk::lstat(path)?.is_none() {
            return Ok(());
        }
        let aside = self.quarantine_path(name)?;
        // It stays in its place until its successor is there, where the file system has links.
        if !disk::hard_link(path, &aside) {
            self.disk.rename(path, &aside)?;
        }
        self.disk.sync_dir(aside.parent().unwrap_or(&aside))
    }

    /// A free name where something damaged is kept for a person to look at.
    pub(super) fn quarantine_path(&self, name: &str) -> Result<PathBuf> {
        self.ensure()?;
        let dir = self.join("quarantine");
        self.access.make_own_dir(&dir)?;
        let mut path = dir.join(name);
        let mut n = 0;
        while disk::lstat(&path)?.is_some() {
            n += 1;
            path = dir.join(format!("{name}.{n}"));
        }
        Ok(path)
    }

    /// Returns the names in a directory that may be names of our files, in order.
    pub(crate) fn list(&self, dir: &str) -> Result<Vec<String>> {
        let names = disk::list(&self.join(dir))?;
        let mut out: Vec<String> = names.into_iter().filter_map(|n| n.into_string().ok()).collect();
        out.sort_unstable();
        Ok(out)
    }

    /// Removes a file, durably; `false` if there was none.
    pub(crate) fn remove(&self, name: &str) -> Result<bool> {
        let path = self.join(name);
        refuse_links(&[&self.path, path.parent().unwrap_or(&path)])?;
        // The directory is synced only if a name went: the common case is a file that never was.
        let removed = self.disk.unlink(&path).if_there()?.is_some();
        if removed {
            self.disk.sync_dir(path.parent().unwrap_or(&path))?;
        }
        Ok(removed)
    }

    /// Sets the time of the empty file `dir/name` to now; it is made if it is not there. Nothing is synced, and a
    /// failure is passed over, since nothing depends on it. Without our own directory nothing is made.
    pub(crate) fn touch(&self, dir: &str, name: &str) {
        let dir = self.join(dir);
        let path = dir.join(name);
        if disk::touch(&path) {
            return;
        }
        if disk::is_real_dir(&self.path) && self.access.make_own_dir(&dir).is_ok() {
            let _ = self.access.open_lock(&path);
        }
    }

    /// Returns the stamp of a file; `None` if that cannot be had.
    pub(crate) fn stamp(&self, name: &str) -> Option<Stamp> {
        let found = disk::lstat(&self.join(name)).ok()??;
        found.is_file().then(|| Stamp::of(&found))
    }

    /// Removes a file if it can be had, not durably.
    pub(crate) fn discard(&self, name: &str) {
        let path = self.join(name);
        if refuse_links(&[&self.path, path.parent().unwrap_or(&path)]).is_ok() {
            disk::drop_file(&path);
        }
    }
}
