// SPDX-License-Identifier: Apache-2.0
//! Files in our own directory: those that are written in place (the index database, the reflog), and small ones that
//! are replaced as a whole. Knows nothing of what is in them.
//!
//! Every change is a step of the layout's [`Disk`](super::disk::Disk), like those of blobs, so that tests can cut and
//! record them in one order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{Layout, disk};
use crate::error::{Error, ErrorKind, Result};

/// A file of our own, open to read and write.
#[derive(Debug)]
pub(crate) struct OwnFile {
    layout: Layout,
    path: PathBuf,
    file: File,
}

impl Layout {
    /// Opens a file in our own directory to change it in place; it is made if it is not there.
    ///
    /// # Errors
    /// As [`Layout::private_file`].
    pub(crate) fn open_own(&self, name: &str) -> Result<OwnFile> {
        let path = self.private_file(name)?;
        let file = disk::open_in_place(&path)?;
        Ok(OwnFile {
            layout: self.clone(),
            path,
            file,
        })
    }
}

/// A file of our own that is read as a whole is not larger than this, in bytes.
const MAX_OWN: u64 = 1 << 30;

impl Layout {
    /// Replaces a file in our own directory in one step, durably. `name` may begin with one directory.
    pub(crate) fn put_private(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.ensure_private()?;
        if let Some((dir, _)) = name.split_once('/') {
            self.make_own_dir(&self.private_dir().join(dir))?;
            self.disk().sync_dir(&self.private_dir())?;
        }
        self.replace(&format!(".umoci/{name}"), bytes)
    }

    /// Opens a file in our own directory to read; nothing is made and nobody waited for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or as [`Layout::private_file`].
    pub(crate) fn open_private(&self, name: &str) -> Result<File> {
        let path = self.private_dir().join(name);
        if disk::lstat(&path)?.is_none_or(|f| f.is_file) {
            return disk::open(&path).map(|(file, _)| file);
        }
        let text = format!("{} is not a regular file", path.display());
        Err(Error::new(ErrorKind::Invalid, text))
    }

    /// Reads a file in our own directory; `None` if there is none.
    pub(crate) fn read_private(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match disk::read(&self.private_dir().join(name), MAX_OWN) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Names in a directory in our own directory that may be names of our files, in order.
    pub(crate) fn list_private(&self, dir: &str) -> Result<Vec<String>> {
        let names = disk::list(&self.private_dir().join(dir))?;
        let mut out: Vec<String> = names.into_iter().filter_map(|n| n.into_string().ok()).collect();
        out.sort_unstable();
        Ok(out)
    }

    /// Removes a file in our own directory, durably; `false` if there was none.
    pub(crate) fn remove_private_file(&self, name: &str) -> Result<bool> {
        let path = self.private_dir().join(name);
        refuse_links(&[&self.private_dir(), path.parent().unwrap_or(&path)])?;
        match self.disk().unlink(&path) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(false),
            result => result?,
        }
        self.disk().sync_dir(path.parent().unwrap_or(&path))?;
        Ok(true)
    }

    /// Appends whole lines to a file in our own directory, durably. A line that was cut off before is closed.
    pub(crate) fn append_private(&self, name: &str, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let own = self.open_own(name)?;
        let end = disk::fstat(own.file(), &own.path)?.size;
        if end == 0 {
            // Before the first line, so that a file with lines has a name that is durable.
            self.give(&own.path)?;
            self.disk().sync_dir(&self.private_dir())?;
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
        if disk::lstat(dir)?.is_some_and(|found| found.is_link) {
            let text = format!(
                "{} is a link that leads elsewhere, so nothing is removed; put a directory in its place",
                dir.display()
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    Ok(())
}

impl OwnFile {
    /// The open file, to read and to lock.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let result = self.layout.disk().write_at(&self.file, &self.path, offset, bytes);
        self.named(result, "write")
    }

    /// Cuts the file, or fills it up with zeros.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        let result = self.layout.disk().set_len(&self.file, &self.path, len);
        self.named(result, "set the size of")
    }

    /// Makes the content durable.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        let result = self.layout.disk().sync_data(&self.file, &self.path);
        self.named(result, "sync")
    }

    /// The database passes on errors of `io` only: what failed travels in one of the same kind.
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
    fn a_file_of_our_own_behind_a_link_is_not_removed() {
        for link in [".umoci", ".umoci/leases"] {
            let dir = tempfile::tempdir().expect("dir");
            let layout = Layout::create(&dir.path().join("img")).expect("create");
            layout.put_private("leases/x.json", b"{}").expect("put");
            let link = layout.path().join(link);
            let outside = lead_out(dir.path(), &link);
            let below = Path::new("leases/x.json");
            let victim = outside.join(if link.ends_with("leases") {
                Path::new("x.json")
            } else {
                below
            });
            is_refused(layout.remove_private_file("leases/x.json"), &link);
            for name in ["leases/x.json", "leases/y.json"] {
                assert_eq!(
                    layout.put_private(name, b"new").expect_err("link").kind(),
                    ErrorKind::Invalid
                );
            }
            if link.ends_with(".umoci") {
                for result in [
                    layout.put_private("settings.json", b"new"),
                    layout.append_private("reflog", b"line\n"),
                ] {
                    assert_eq!(result.expect_err("link").kind(), ErrorKind::Invalid);
                }
            }
            assert_eq!(std::fs::read(victim).expect("still there"), b"{}");
        }
    }
}
