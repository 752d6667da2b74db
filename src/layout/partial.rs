// SPDX-License-Identifier: Apache-2.0
//! Blobs of which a part came before the process that fetched them ended: `.umoci/partial/ALGORITHM-HEX`.
//!
//! A file is locked as long as a process writes to it, until it has its name among the blobs. The next one hashes what is there
//! again and goes on behind it: bytes that are not the beginning of the blob show at the end, when the digest is another one,
//! and go then.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempPath;

use super::blob::BlobWriter;
use super::disk::{self, refuse_links};
use super::{Layout, Stamp};
use crate::digest::Hasher;
use crate::error::Result;
use crate::spec::Descriptor;

/// Name of the directory in our own.
const DIR: &str = "partial";
/// Age at which a file that nobody writes to is garbage.
const MAX_AGE: Duration = Duration::from_secs(86_400);

impl Layout {
    /// Begins a blob, or goes on with one where an earlier process stopped; `None` if another process is at it, or its file is none
    /// of ours.
    pub(crate) fn resume_blob(&self, blob: &Descriptor) -> Result<Option<BlobWriter>> {
        let private = self.private_dir();
        private.ensure()?;
        let dir = private.join(DIR);
        self.access().make_own_dir(&dir)?;
        refuse_links(&[private.as_ref(), &dir])?;
        let digest = &blob.digest;
        let path = dir.join(format!("{}-{}", digest.algorithm(), digest.encoded()));
        // A link could lead out of the layout, and to open a fifo would wait for its other end.
        if disk::lstat(&path)?.is_some_and(|found| !found.is_file()) {
            return Ok(None);
        }
        let mut file = disk::open_in_place(&path)?;
        if !try_hold(&file, &path)? {
            return Ok(None);
        }
        let mut hasher = Hasher::new(digest.algorithm());
        let mut size = disk::fstat(&file, &path)?.len();
        if size > blob.size {
            file.set_len(0)?;
            size = 0;
        }
        let mut left = size;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let n = file.read(&mut buffer)?;
            // Nobody else writes to it; one that is shortened all the same is found out by its digest.
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            left = left.saturating_sub(n as u64);
        }
        // It outlives this process, unless it turns out to be of no use.
        let mut temp = TempPath::try_from_path(path)?;
        temp.disable_cleanup(true);
        Ok(Some(BlobWriter::resumed(self, (temp, file), hasher, size - left)))
    }

    /// Returns the parts of blobs that nobody writes to and that are old, each held as long as its file is open.
    pub(super) fn old_partial(&self) -> Result<Vec<(PathBuf, File)>> {
        let dir = self.private_dir().join(DIR);
        let mut out = Vec::new();
        // Never through a link: what it leads to is not ours to remove.
        if !disk::is_real_dir(self.private_dir().as_ref()) || !disk::is_real_dir(&dir) {
            return Ok(out);
        }
        for name in disk::list(&dir)? {
            let path = dir.join(name);
            let Some(found) = disk::lstat(&path)?.filter(Metadata::is_file) else {
                continue;
            };
            // A time in the future has no age.
            let age = found.modified().ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age >= MAX_AGE)
                && let Ok(file) = disk::open_no_link(&path)
                && try_hold(&file, &path)?
            {
                out.push((path, file));
            }
        }
        Ok(out)
    }
}

/// Locks a file that was opened at a path, unless another process has it. By the time of the lock another file may be there: one that
/// became a blob is not to be written to.
fn try_hold(file: &File, path: &Path) -> Result<bool> {
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let held = Stamp::of(&disk::fstat(file, path)?);
    Ok(disk::stat(path)?.is_some_and(|now| Stamp::of(&now).same_file(&held)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::digest::Digest;
    use crate::error::ErrorKind;
    use crate::progress::Silent;
    use crate::spec::MediaType;

    fn layout() -> (tempfile::TempDir, Layout, Descriptor, Vec<u8>) {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
        let blob = Descriptor::new(MediaType::LAYER, Digest::sha256(&bytes), bytes.len() as u64);
        (dir, layout, blob, bytes)
    }

    fn file(layout: &Layout, blob: &Descriptor) -> PathBuf {
        let dir = layout.private_dir().join(DIR);
        dir.join(format!("sha256-{}", blob.digest.encoded()))
    }

    #[test]
    fn a_blob_goes_on_where_it_stopped() {
        let (_dir, layout, blob, bytes) = layout();
        for cut in [0, 1, 50_000, 100_000] {
            let mut first = layout.resume_blob(&blob).expect("begin").expect("free");
            assert_eq!(first.written(), 0);
            first.write_all(&bytes[..cut]).expect("write");
            // Only one process is at it.
            assert!(layout.resume_blob(&blob).expect("begin").is_none());
            drop(first);
            let mut second = layout.resume_blob(&blob).expect("go on").expect("free");
            assert_eq!(second.written(), cut as u64);
            second.write_all(&bytes[cut..]).expect("write");
            let staged = second.stage_as(&blob).expect("whole");
            // A part that is whole and has no name yet is not free either.
            assert!(layout.resume_blob(&blob).expect("begin").is_none());
            layout.publish(vec![staged]).expect("publish");
            assert!(!file(&layout, &blob).exists());
            layout.open_blob(&blob).expect("open").finish().expect("right");
        }
    }

    #[test]
    fn bytes_of_something_else_go_when_that_is_found_out() {
        let (_dir, layout, blob, bytes) = layout();
        drop(layout.resume_blob(&blob).expect("begin"));
        for (there, from) in [
            (b"foreign".to_vec(), 7),
            (vec![0; 100_000], 100_000),
            (vec![0; 100_001], 0),
        ] {
            std::fs::write(file(&layout, &blob), there).expect("write");
            let mut writer = layout.resume_blob(&blob).expect("go on").expect("free");
            assert_eq!(writer.written(), from as u64);
            writer.write_all(&bytes[from..]).expect("write");
            match writer.stage_as(&blob) {
                Ok(staged) => assert_eq!((from, staged.digest), (0, blob.digest)),
                Err(err) => assert_eq!(err.kind(), ErrorKind::Corrupt),
            }
            assert!(!file(&layout, &blob).exists() || from == 0);
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, layout, blob, _) = layout();
        drop(layout.resume_blob(&blob).expect("begin"));
        let (path, other) = (file(&layout, &blob), dir.path().join("other"));
        std::fs::write(&other, "theirs").expect("write");
        std::fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink(&other, &path).expect("link");
        assert!(layout.resume_blob(&blob).expect("begin").is_none());
        assert_eq!(std::fs::read(&other).expect("read"), b"theirs");
    }

    #[test]
    fn old_parts_that_nobody_writes_to_are_garbage() {
        let (_dir, layout, blob, _) = layout();
        let held = layout.resume_blob(&blob).expect("begin").expect("free");
        let path = file(&layout, &blob);
        let is_there_after = |age: u64| {
            let file = File::options().write(true).open(&path).expect("open");
            let time = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(time).expect("set");
            layout.clean_temporary(&Silent).expect("clean");
            path.exists()
        };
        assert!(is_there_after(100_000));
        drop(held);
        assert!(is_there_after(80_000));
        assert!(!is_there_after(90_000));
    }
}
