// SPDX-License-Identifier: Apache-2.0
//! Files that the caller named, written whole or not at all. Never a name out of an image.
//!
//! If the file system allows it, such a file has no name before it is whole: a killed process leaves nothing behind.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};

use super::MAX_LINKS;
use super::attrs::fd_path;
use crate::error::{Result, ResultExt};

/// Bytes of a name that stand in a temporary one beside it, so that both are short enough.
const MAX_STEM: usize = 200;

/// A file that is written beside its place and moved there when it is whole. One that is dropped is removed.
#[derive(Debug)]
pub struct PendingFile {
    file: io::BufWriter<File>,
    path: PathBuf,
    state: State,
    /// The file that was there before, if this one is to have its owner and mode.
    before: Option<Metadata>,
    /// Whether it is to survive a loss of power as soon as it is there.
    durable: bool,
}

#[derive(Debug)]
enum State {
    /// It has no name yet.
    Unnamed,
    /// It has a temporary one.
    Named(TempPath),
    /// The file at the path takes the bytes as they come.
    Through,
}

impl PendingFile {
    /// Begins the file that is to be at `path`, in place of whatever is there.
    pub fn begin(path: &Path) -> Result<Self> {
        match unnamed(path) {
            Some(file) => Ok(Self::new(file, path.to_owned(), State::Unnamed)),
            None => Self::begin_named(path),
        }
    }

    fn begin_named(path: &Path) -> Result<Self> {
        let (file, temp) = beside(path, create_new).doing("create", path)?.into_parts();
        Ok(Self::new(file, path.to_owned(), State::Named(temp)))
    }

    /// Begins the output that a person wants at `path`. A link is followed. A regular file is replaced when the new one is
    /// whole and durable, and gives it its mode; a pipe or device is written to as the bytes come.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a directory.
    pub fn output(path: &Path) -> Result<Self> {
        // The kernel is asked first: it knows whose links may be followed.
        let before = fs::metadata(path).doing("open", path).if_there()?;
        if before.as_ref().is_some_and(Metadata::is_dir) {
            fail!(Invalid, "{} is a directory", path.display());
        }
        let target = match &before {
            Some(found) if !found.is_file() => None,
            _ => replaceable(path)?,
        };
        let Some(target) = target else {
            // A file that a descriptor of this process was open on before may have content.
            let file = OpenOptions::new().append(true).open(path).doing("open", path)?;
            return Ok(Self::new(file, path.to_owned(), State::Through));
        };
        let mut out = Self::begin(&target)?;
        (out.before, out.durable) = (before, true);
        Ok(out)
    }

    /// Begins a file of secrets, which its owner alone can read, in place of whatever is there.
    pub fn private(path: &Path) -> Result<Self> {
        let mut out = Self::begin(path)?;
        let mode = Permissions::from_mode(0o600);
        out.file.get_ref().set_permissions(mode).doing("chmod", path)?;
        out.durable = true;
        Ok(out)
    }

    fn new(file: File, path: PathBuf, state: State) -> Self {
        Self {
            file: io::BufWriter::with_capacity(64 * 1024, file),
            path,
            state,
            before: None,
            durable: false,
        }
    }

    /// Its device, and what the clock of its file system says: no change that comes later has an earlier ctime. Where
    /// the kernel gives fine times, a second call gives a later one.
    pub fn clock(&self) -> Result<(u64, crate::node::Time)> {
        let file = self.file.get_ref();
        // Any change of the file sets its ctime, which no program can choose.
        file.set_modified(SystemTime::now())
            .doing("set the times of", &self.path)?;
        let meta = file.metadata().doing("stat", &self.path)?;
        let time = crate::node::Time::of_stat(meta.ctime(), meta.ctime_nsec());
        Ok((meta.dev(), time))
    }

    /// Moves it to its place, over what is there.
    pub fn commit(mut self) -> Result<()> {
        self.file.flush().doing("write", &self.path)?;
        let file = self.file.get_ref();
        if let Some(before) = &self.before {
            // If that is not allowed the file is ours, as a new one is.
            let _ = std::os::unix::fs::fchown(file, Some(before.uid()), Some(before.gid()));
            // The content is new: a set-id bit of the old one must not make it a privileged program.
            let mode = Permissions::from_mode(before.mode() & 0o777);
            file.set_permissions(mode).doing("chmod", &self.path)?;
        }
        if self.durable {
            file.sync_all().doing("sync", &self.path)?;
        }
        if let State::Unnamed = self.state {
            match link(file, &self.path) {
                // linkat(2) replaces nothing, so the file gets a name that is free, and rename(2) replaces.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                    let linked = beside(&self.path, |temp| link(file, temp)).doing("link", &self.path)?;
                    self.state = State::Named(linked.into_temp_path());
                }
                linked => linked.doing("link", &self.path)?,
            }
        }
        if let State::Named(temp) = self.state {
            let renamed = temp.persist(&self.path).map_err(|err| err.error);
            renamed.doing("rename to", &self.path)?;
        }
        if self.durable {
            let above = above(&self.path);
            let synced = File::open(above).and_then(|dir| dir.sync_all());
            // Some directories cannot be opened, others not be synced.
            let excused = [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput];
            if !matches!(&synced, Err(err) if excused.contains(&err.kind())) {
                synced.doing("sync directory", above)?;
            }
        }
        Ok(())
    }
}

impl Write for PendingFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_all(buf).doing("write", &self.path)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.file.flush().doing("write", &self.path)?)
    }
}

/// Returns the path, through links, of the file that output at `path` replaces or makes; `None` for a file that must stay the
/// same and takes the bytes itself.
fn replaceable(path: &Path) -> Result<Option<PathBuf>> {
    if path.as_os_str().as_bytes().ends_with(b"/") {
        fail!(Invalid, "{} names a directory", path.display());
    }
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&at) {
            // The file of an open descriptor may have no name, and must not be replaced below those who hold it.
            Ok(_) if is_on_proc(above(&at)) => return Ok(None),
            Ok(next) => at = above(&at).join(next),
            Err(err) if matches!(err.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(Some(at));
            }
            Err(err) => return Err(err).doing("read link", &at),
        }
    }
    fail!(Invalid, "{} leads through too many links", path.display())
}

fn is_on_proc(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Returns the directory that a name stands in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

/// Removes a file if it is there; for cleaning up, where a failure changes nothing.
pub fn remove_file(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Makes the file at `path`, where nothing may be, not even a dangling link.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644).open(path)
}

/// Returns a file without a name on the file system where `path` is to be; `None` where there is no such thing.
fn unnamed(path: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(above(path), flags, Mode::from_raw_mode(0o644)).ok()?;
    // It gets its name through /proc.
    rustix::fs::access(fd_path(&fd).as_slice(), Access::EXISTS).ok()?;
    Some(File::from(fd))
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let linked = rustix::fs::linkat(CWD, fd_path(file).as_slice(), CWD, path, AtFlags::SYMLINK_FOLLOW);
    linked.map_err(Errno::into)
}

/// Makes something by a name beside `path` that nothing has.
fn beside<T>(path: &Path, make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<NamedTempFile<T>> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let stem = OsStr::from_bytes(&name[..name.len().min(MAX_STEM)]);
    let mut names = tempfile::Builder::new();
    names.prefix(stem).suffix(".tmp").make_in(above(path), make)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a way to begin a file that does not need what this file system can do.
    fn named(path: &Path) -> PendingFile {
        PendingFile::begin_named(path).expect("begin")
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("list");
        let mut names: Vec<String> = entries
            .map(|e| e.expect("entry").file_name().into_string().expect("utf-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        for begin in [|path: &Path| PendingFile::begin(path).expect("begin"), named] {
            let dir = tempfile::tempdir().expect("dir");
            let path = dir.path().join("n".repeat(255));
            for text in ["one", "two"] {
                let mut file = begin(&path);
                file.write_all(text.as_bytes()).expect("write");
                file.commit().expect("commit");
                assert_eq!(fs::read_to_string(&path).expect("read"), text);
                let mut file = begin(&path);
                file.write_all(b"never").expect("write");
                drop(file);
                assert_eq!(fs::read_to_string(&path).expect("read"), text);
            }
            assert_eq!(names(dir.path()), ["n".repeat(255)]);
        }
    }

    #[test]
    fn a_name_that_somebody_has_is_not_taken() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("x");
        let taken = dir.path().join(format!("x.{}-0.tmp", std::process::id()));
        fs::write(&taken, "theirs").expect("write");
        fs::write(&path, "old").expect("write");
        for begin in [|path: &Path| PendingFile::begin(path).expect("begin"), named] {
            begin(&path).commit().expect("commit");
            assert_eq!(fs::read_to_string(&taken).expect("read"), "theirs");
        }
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn what_is_no_output_replaces_a_link() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, other) = (dir.path().join("x"), dir.path().join("other"));
        fs::write(&other, "theirs").expect("write");
        std::os::unix::fs::symlink("other", &path).expect("link");
        PendingFile::begin(&path)
            .expect("begin")
            .commit()
            .expect("commit");
        assert_eq!(fs::read_to_string(&other).expect("read"), "theirs");
        assert!(fs::symlink_metadata(&path).expect("stat").is_file());
    }
}
