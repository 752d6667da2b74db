// SPDX-License-Identifier: Apache-2.0
//! Our own directory: files that are written in place (the index database, the reflog), and small ones that are replaced as a
//! whole. Knows nothing of what is in them.
//!
//! Every change is a step of the layout's [`Disk`](super::disk::Disk), like those of blobs, so that tests can cut and
//! record them in one order.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::Stamp;
use super::disk::{self, Access, Disk};
use super::temp::TempDir;
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// A file of our own, open to read and write.
#[derive(Debug)]
pub(crate) struct OwnFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: File,
}

/// Our own directory in a layout: index database, reflog, locks, temporary files. It may be deleted at any time.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    path: PathBuf,
    pub(super) access: Access,
    pub(super) disk: Arc<dyn Disk>,
    /// The directory of this process's temporary files, made with the first of them.
    pub(super) temp: Mutex<Option<TempDir>>,
}

impl AsRef<Path> for PrivateDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// The changes of refs, one a line; what is in them is the business of the store. The index database notes its end, which tells
/// whether a look of its own came after the last change.
pub(crate) const REFLOG: &str = "reflog";

/// A file of our own that is read as a whole is not larger than this, in bytes.
pub(crate) const MAX_OWN: u64 = 4 << 20;

/// A line of a file of our own is not longer than this, in bytes.
const MAX_LINE: u64 = 16 << 20;

impl PrivateDir {
    /// Our own directory in the layout at `root`; it need not be there.
    pub(super) fn new(root: &Path, access: Access, disk: Arc<dyn Disk>) -> Self {
        Self {
            path: root.join(".umoci"),
            access,
            disk,
            temp: Mutex::new(None),
        }
    }

    /// Returns the path of a file in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it if it is not there.
    pub(super) fn ensure(&self) -> Result<()> {
        self.make_dir(&self.path)
    }

    /// Makes a directory for us alone. A link in its place is refused: it could lead out of the layout.
    pub(super) fn make_dir(&self, path: &Path) -> Result<()> {
        if self.access.make_dir(path)? || disk::lstat(path)?.is_none_or(|f| f.is_dir()) {
            return Ok(());
        }
        fail!(Invalid, "{} is a link, not a directory", path.display())
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
        let file = disk::open_in_place(&path)?;
        Ok(OwnFile {
            disk: Arc::clone(&self.disk),
            path,
            file,
        })
    }

    /// Replaces a file in one step, durably. `name` may begin with one directory.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.ensure()?;
        if let Some((dir, _)) = name.split_once('/') {
            self.make_dir(&self.join(dir))?;
            self.disk.sync_dir(&self.path)?;
        }
        self.replace_if(&self.join(name), bytes, || Ok(true)).map(|_| ())
    }

    /// Replaces the file at `target` in one step, durably, if `still` agrees right before that.
    pub(super) fn replace_if(
        &self,
        target: &Path,
        bytes: &[u8],
        still: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let (temp, mut file) = self.temp_file("file")?;
        let replace = || -> Result<bool> {
            disk::write(&mut file, bytes, temp.path())?;
            self.access.give_file(&file, temp.path())?;
            self.disk.sync(&file, temp.path())?;
            if !still()? {
                return Ok(false);
            }
            temp.rename(&*self.disk, target)?;
            self.disk.sync_dir(target.parent().unwrap_or(target))?;
            Ok(true)
        };
        replace().doing("write", target)
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
        match disk::read(&self.join(name), MAX_OWN).if_there() {
            Err(err) if err.kind() == ErrorKind::Limit => fail!(Limit, "{err}; remove it or mend it"),
            read => Ok(read?.map(|(bytes, _)| bytes)),
        }
    }

    /// Gives `each` the lines of a file, without their ends, each with what the file has from its
    /// beginning on, in bytes; until it says `false`.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for a line that is longer than any that we write; those of `each`.
    pub(crate) fn read_lines(
        &self,
        name: &str,
        mut each: impl FnMut(&[u8], u64) -> Result<bool>,
    ) -> Result<()> {
        let path = self.join(name);
        let Some((file, found)) = disk::open(&path).if_there()? else {
            return Ok(());
        };
        let mut text = BufReader::with_capacity(64 * 1024, file);
        let (mut line, mut at) = (Vec::new(), 0_u64);
        for number in 1_u64.. {
            line.clear();
            let mut limited = (&mut text).take(MAX_LINE + 1);
            let n = limited.read_until(b'\n', &mut line).doing("read", &path)?;
            if n as u64 > MAX_LINE {
                fail!(
                    Limit,
                    "{}: line {number} is longer than {MAX_LINE} bytes; remove the line or the file",
                    path.display()
                );
            }
            let rest = found.len().saturating_sub(at);
            at += n as u64;
            if n == 0 || !each(line.strip_suffix(b"\n").unwrap_or(&line), rest)? {
                break;
            }
        }
        Ok(())
    }

    /// Returns the last line of a file, with its end if it has one; `None` if there is none, or it is longer than any
    /// that we write.
    pub(crate) fn last_line(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.join(name);
        let Some((file, found)) = disk::open(&path).if_there()? else {
            return Ok(None);
        };
        let mut length = found.len().min(4096);
        while length > 0 {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, found.len() - length)
                .doing("read", &path)?;
            let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let start = body.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            if start.is_some() || length == found.len() {
                return Ok(Some(bytes.split_off(start.unwrap_or(0))));
            }
            if length > MAX_LINE {
                return Ok(None);
            }
            length = found.len().min(length * 16);
        }
        Ok(None)
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
        self.make_dir(&dir)?;
        let mut path = dir.join(name);
        let mut n = 0;
        while disk::lstat(&path)?.is_some() {
            n += 1;
            path = dir.join(format!("{name}.{n}"));
        }
        Ok(path)
    }

    /// Names in a directory that may be names of our files, in order.
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
        if disk::is_real_dir(&self.path) && self.make_dir(&dir).is_ok() {
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

    /// Appends whole lines to a file, durably. A line that was cut off before is closed.
    pub(crate) fn append(&self, name: &str, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // One line that cannot be read would hide all others.
        if let Some(line) = lines
            .split(|c| *c == b'\n')
            .find(|line| line.len() as u64 > MAX_LINE)
        {
            fail!(
                Limit,
                "write {name}: a line of {} bytes, at most {MAX_LINE} are read",
                line.len()
            );
        }
        let own = self.open_to_change(name)?;
        let end = disk::fstat(own.file(), &own.path)?.len();
        if end == 0 {
            // Before the first line, so that a file with lines has a name that is durable.
            self.access.give_file(own.file(), &own.path)?;
            self.disk.sync_dir(&self.path)?;
        }
        let mut last = [b'\n'];
        if end > 0 {
            own.file().read_exact_at(&mut last, end - 1)?;
        }
        let bytes = if last == *b"\n" {
            lines.to_vec()
        } else {
            [b"\n", lines].concat()
        };
        own.write_at(end, &bytes).and_then(|()| own.sync_data())?;
        Ok(())
    }
}

/// Refuses to remove anything below directories of a layout of which one is a link: what it leads to may belong to others.
pub(super) fn refuse_links(dirs: &[&Path]) -> Result<()> {
    for dir in dirs {
        if disk::lstat(dir)?.is_some_and(|found| found.is_symlink()) {
            fail!(
                Invalid,
                "{} is a link that leads elsewhere, so nothing is removed; put a directory in its place",
                dir.display()
            );
        }
    }
    Ok(())
}

impl OwnFile {
    /// Returns the open file, to read and to lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let result = self.disk.write_at(&self.file, &self.path, offset, bytes);
        self.named(result, "write")
    }

    /// Cuts the file, or fills it up with zeros.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        let result = self.disk.set_len(&self.file, &self.path, len);
        self.named(result, "set the size of")
    }

    /// Makes the content durable.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        let result = self.disk.sync_data(&self.file, &self.path);
        self.named(result, "sync")
    }

    /// Returns the database passes on errors of `io` only: what failed travels in one of the same kind.
    fn named(&self, result: io::Result<()>, verb: &str) -> io::Result<()> {
        result.map_err(|err| {
            let kind = err.kind();
            let err = Error::from(err).context(format!("{verb} {}", self.path.display()));
            io::Error::new(kind, err)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::layout::Layout;

    /// Moves what is at `path` out of the layout, and puts a link to it in its place.
    fn lead_out(dir: &Path, path: &Path) -> PathBuf {
        let outside = dir.join("outside");
        std::fs::rename(path, &outside).expect("move");
        std::os::unix::fs::symlink(&outside, path).expect("link");
        outside
    }

    fn is_refused<T: std::fmt::Debug>(result: Result<T>, link: &Path) {
        let err = result.expect_err("link");
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let want = format!(
            "{} is a link that leads elsewhere, so nothing is ",
            link.display()
        );
        assert!(err.to_string().contains(&want), "{err}");
    }

    #[test]
    fn blobs_behind_a_link_are_read_but_neither_removed_nor_moved_away() {
        for link in ["blobs", "blobs/sha256"] {
            let dir = tempfile::tempdir().expect("dir");
            let layout = Layout::create(&dir.path().join("img")).expect("create");
            let mut writer = layout.write_blob(Algorithm::Sha256).expect("writer");
            writer.write_all(b"content").expect("write");
            let digest = writer.finish().expect("finish").digest;
            let link = layout.path().join(link);
            lead_out(dir.path(), &link);
            is_refused(layout.remove_blob(&digest), &link);
            is_refused(layout.quarantine(&digest), &link);
            is_refused(layout.remove_blob(&Digest::sha256(b"other")), &link);
            assert_eq!(layout.blob_size(&digest).expect("size"), Some(7));
        }
    }

    #[test]
    fn files_of_our_own_that_are_larger_than_we_write_them_are_named_and_not_read() {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        layout.private_dir().put("file", b"one\ntwo\nthree").expect("put");
        let path = layout.private_dir().join("file");
        let mut lines = Vec::new();
        let mut each = |line: &[u8], rest: u64| {
            lines.push((String::from_utf8_lossy(line).into_owned(), rest));
            Ok(true)
        };
        layout.private_dir().read_lines("file", &mut each).expect("lines");
        layout
            .private_dir()
            .read_lines("none", &mut each)
            .expect("no file");
        let want = [("one", 13), ("two", 9), ("three", 5)];
        assert_eq!(lines, want.map(|(line, rest)| (line.to_owned(), rest)));
        let last = layout.private_dir().last_line("file").expect("last");
        assert_eq!(last.as_deref(), Some(&b"three"[..]));
        let file = File::options().write(true).open(&path).expect("open");
        file.set_len(900 << 20).expect("holes");
        for err in [
            layout.private_dir().read("file").map(|_| ()),
            layout.private_dir().read_lines("file", |_, _| Ok(true)),
        ] {
            let err = err.expect_err("too large");
            assert_eq!(err.kind(), ErrorKind::Limit);
            let text = err.to_string();
            assert!(
                text.contains(&*path.to_string_lossy()) && text.contains("remove"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_of_our_own_behind_a_link_is_not_removed() {
        for link in [".umoci", ".umoci/leases"] {
            let dir = tempfile::tempdir().expect("dir");
            let layout = Layout::create(&dir.path().join("img")).expect("create");
            layout.private_dir().put("leases/x.json", b"{}").expect("put");
            let link = layout.path().join(link);
            let outside = lead_out(dir.path(), &link);
            let below = Path::new("leases/x.json");
            let victim = outside.join(if link.ends_with("leases") {
                Path::new("x.json")
            } else {
                below
            });
            is_refused(layout.private_dir().remove("leases/x.json"), &link);
            for name in ["leases/x.json", "leases/y.json"] {
                assert_eq!(
                    layout.private_dir().put(name, b"new").expect_err("link").kind(),
                    ErrorKind::Invalid
                );
            }
            if link.ends_with(".umoci") {
                for result in [
                    layout.private_dir().put("settings.json", b"new"),
                    layout.private_dir().append("reflog", b"line\n"),
                ] {
                    assert_eq!(result.expect_err("link").kind(), ErrorKind::Invalid);
                }
            }
            assert_eq!(std::fs::read(victim).expect("still there"), b"{}");
        }
    }
}
