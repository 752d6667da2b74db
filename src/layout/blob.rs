// SPDX-License-Identifier: Apache-2.0
//! Blobs: written under a temporary name, made durable, then named; verified whenever they are read.
//!
//! Order of a write: temporary file, content, fsync, rename to its digest, fsync of the directory. A crash leaves a
//! temporary file at worst.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::disk::{self, refuse_links};
use super::temp::rename;
use super::{Layout, Stamp};
use crate::digest::{Algorithm, Digest, Hasher, VerifyReader};
use crate::error::{Result, ResultExt};
use crate::spec::{Descriptor, MediaClass};

/// Reads a blob and verifies it; see [`VerifyReader`].
pub(crate) type BlobReader = VerifyReader<Box<dyn Read + Send>>;

/// A blob that is now in the layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// True if a blob of this digest was there before.
    pub existed: bool,
}

/// A blob being written. Dropping it unfinished leaves the layout as it was.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    /// `None` for one that is only measured.
    file: Option<(TempPath, File)>,
    /// True if another process could go on with the file.
    is_resumed: bool,
    hasher: Hasher,
    size: u64,
}

impl BlobWriter {
    fn new(layout: &Layout, file: Option<(TempPath, File)>, algorithm: Algorithm) -> Self {
        Self {
            layout: layout.clone(),
            file,
            is_resumed: false,
            hasher: Hasher::new(algorithm),
            size: 0,
        }
    }

    /// Returns the writer of a blob of which a part is in the file, and in `hasher`.
    pub(super) fn resumed(layout: &Layout, file: (TempPath, File), hasher: Hasher, size: u64) -> Self {
        Self {
            layout: layout.clone(),
            file: Some(file),
            is_resumed: true,
            hasher,
            size,
        }
    }

    /// Returns how many bytes were written, also by an earlier process.
    pub(crate) fn written(&self) -> u64 {
        self.size
    }

    /// Gives the blob its name, durably.
    pub fn finish(self) -> Result<Stored> {
        let layout = self.layout.clone();
        let staged = self.stage()?;
        Ok(Stored {
            digest: staged.digest,
            size: staged.size,
            existed: layout.publish(vec![staged])? > 0,
        })
    }

    /// Completes the blob if `expected` says what was written; it gets its name later, by [`Layout::publish`].
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is another one; nothing is left behind.
    pub(crate) fn stage_as(self, expected: &Descriptor) -> Result<Staged> {
        let mut staged = self.stage()?;
        let (digest, size) = (staged.digest, staged.size);
        if digest != expected.digest || size != expected.size {
            // These bytes are of no use to whoever would go on with them.
            staged.temp.disable_cleanup(false);
        }
        if digest != expected.digest {
            fail!(
                Corrupt,
                "verified reader digest mismatch: expected {}, got {digest}",
                expected.digest
            );
        }
        if size != expected.size {
            fail!(
                Corrupt,
                "verified reader size mismatch: {digest} is {size} bytes, its descriptor says {}",
                expected.size
            );
        }
        Ok(staged)
    }

    /// Opens the file for those who read it while it grows; it stays readable when it gets its name, and when it goes.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn reader(&self) -> Result<File> {
        match &self.file {
            Some((temp, _)) => disk::open(temp).map(|(file, _)| file),
            None => fail!(Invalid, "blob is only measured"),
        }
    }

    /// Returns the count of bytes that were written so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Hashes with another algorithm from here on, and what was written with it again; nothing is done if it is the same.
    pub(crate) fn rehash(&mut self, algorithm: Algorithm) -> Result<()> {
        if self.hasher.algorithm() == algorithm {
            return Ok(());
        }
        let mut hasher = Hasher::new(algorithm);
        if let Some((temp, _)) = &self.file {
            let (mut written, _) = disk::open(temp)?;
            let mut buffer = vec![0; 256 * 1024];
            loop {
                match written.read(&mut buffer).doing("read", temp)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
        }
        self.hasher = hasher;
        Ok(())
    }

    /// Returns digest and size in bytes of what was written, of which nothing is left behind.
    pub(crate) fn measured(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size)
    }

    fn stage(self) -> Result<Staged> {
        let Some((temp, file)) = self.file else {
            fail!(Invalid, "blob is only measured");
        };
        self.layout.access().give_file(&file, &temp)?;
        Ok(Staged {
            lock: self.is_resumed.then_some(file),
            temp,
            digest: self.hasher.finish(),
            size: self.size,
        })
    }
}

/// A blob that is verified and complete under a temporary name. Dropped unpublished, it never was.
#[derive(Debug)]
pub(crate) struct Staged {
    temp: TempPath,
    /// The file that others could go on with, which is locked until it has its name.
    lock: Option<File>,
    pub digest: Digest,
    pub size: u64,
}

impl Staged {
    /// Returns whether a file is open as long as the blob has no name.
    pub(crate) fn is_open(&self) -> bool {
        self.lock.is_some()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = match &mut self.file {
            // Only bytes that reached the file are hashed, also when the disk fills up in the middle.
            Some((temp, file)) => disk::write_some(file, buf, temp)?,
            None => buf.len(),
        };
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Layout {
    /// Starts a new blob.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::error::ErrorKind::ReadOnly) or [`ErrorKind::Denied`](crate::error::ErrorKind::Denied) if this
    /// process may not write to the layout.
    pub(crate) fn write_blob(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        let file = self.private_dir().temp_file("blob")?;
        Ok(BlobWriter::new(self, Some(file), algorithm))
    }

    /// Returns a blob of which only digest and size are wanted: nothing is written.
    pub(crate) fn measure_blob(&self, algorithm: Algorithm) -> BlobWriter {
        BlobWriter::new(self, None, algorithm)
    }

    /// Names staged blobs by their digests, durably, all contents before the first name; says how many there were
    /// before.
    ///
    /// A blob that is there already is replaced: these bytes are known to be right, those may have been damaged.
    pub(crate) fn publish(&self, staged: Vec<Staged>) -> Result<usize> {
        // One flush of the whole file system costs as much as those of some eight files.
        if staged.len() > MANY {
            self.disk().sync_all(&self.0.root)?;
        } else {
            for blob in &staged {
                let (file, _) = disk::open(&blob.temp)?;
                self.disk().sync(&file, &blob.temp)?;
            }
        }
        let mut existed = 0;
        let mut dirs = BTreeSet::new();
        for blob in staged {
            let target = self.blob_path(&blob.digest);
            let dir = self.algorithm_dir(blob.digest.algorithm());
            if disk::stat(&target)?.is_some() {
                existed += 1;
            } else if self.access().make_dir(&dir)? {
                self.disk().sync_dir(&self.blobs_dir())?;
            }
            // All contents are durable by now, so no name can lead to half a blob.
            rename(blob.temp, self.disk(), &target)?;
            dirs.insert(dir);
        }
        for dir in dirs {
            self.disk().sync_dir(&dir)?;
        }
        Ok(existed)
    }

    /// Takes over the blob that stands in the file `from`, without copying bytes where the file system can share
    /// them; `None` if it cannot, and the caller copies.
    ///
    /// The content is verified like any other: a reflink is read from the new file, so that nobody can change it
    /// between the check and the use.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is not what `expected` says.
    pub(crate) fn adopt_blob(&self, expected: &Descriptor, from: &Path) -> Result<Option<Staged>> {
        let (source, found) = disk::open(from)?;
        let (temp, file) = self.private_dir().temp_file("blob")?;
        self.access().give_file(&file, &temp)?;
        let own = disk::fstat(&file, &temp)?;
        let mut shared = disk::reflink(&source, &file);
        // A hard link shares owner and mode too, and a later change in place by a tool that does not replace
        // files; so only large blobs that look just as ours do are shared that way.
        let is_alike = (found.uid(), found.gid(), found.mode()) == (own.uid(), own.gid(), own.mode());
        if !shared && is_alike && expected.size >= MIN_HARD_LINK {
            disk::remove_all(&temp)?;
            // If `from` is a symbolic link, the link itself got a second name, and it leads elsewhere.
            shared = disk::hard_link(from, &temp)
                && disk::lstat(&temp)?.is_some_and(|now| Stamp::of(&now).same_file(&Stamp::of(&found)));
        }
        if !shared {
            return Ok(None);
        }
        let (file, found) = disk::open(&temp)?;
        VerifyReader::new(&file, expected.digest, expected.size).finish()?;
        Ok(Some(Staged {
            temp,
            lock: None,
            digest: expected.digest,
            size: found.len(),
        }))
    }

    /// Opens the blob that `descriptor` names, for one pass from start to end.
    ///
    /// Bytes are hashed as they pass, and the last read fails with [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if size
    /// or digest differ from the descriptor; a reader that is dropped early has verified nothing. Data embedded in the descriptor
    /// is taken instead of the file. Spec: image-layout, blobs; descriptor, embedded content.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if there is no such blob.
    pub(crate) fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobReader> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        if descriptor.media_type.class() == MediaClass::Empty
            && (digest != Digest::sha256(b"{}") || size != 2)
        {
            fail!(Corrupt, "empty json blob is invalid: {digest} of {size} bytes");
        }
        if let Some(bytes) = descriptor.embedded()? {
            let mut check = VerifyReader::new(bytes.as_slice(), digest, size);
            check.finish().context(|| "invalid embedded descriptor data")?;
            return Ok(VerifyReader::new(Box::new(io::Cursor::new(bytes)), digest, size));
        }
        let (file, _) = disk::open(&self.blob_path(&digest)).context(|| "open blob")?;
        Ok(VerifyReader::new(Box::new(file), digest, size))
    }

    /// Reads and verifies a whole blob of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Layout::open_blob`], and [`ErrorKind::Limit`](crate::error::ErrorKind::Limit) if its descriptor says that it is larger.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        if descriptor.size > limit {
            fail!(
                Limit,
                "blob {} is {} bytes; documents larger than {limit} bytes are not read",
                descriptor.digest,
                descriptor.size
            );
        }
        // The size is a claim of the image: no more is reserved for it than a document takes.
        let mut bytes = Vec::with_capacity(usize::try_from(descriptor.size.min(1 << 20)).unwrap_or(0));
        self.open_blob(descriptor)?
            .read_to_end(&mut bytes)
            .context(|| format!("read blob {}", descriptor.digest))?;
        Ok(bytes)
    }

    /// Returns the size in bytes of the file that stands for `digest`; `None` if there is none.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.blob_stamp(digest)?.map(|stamp| stamp.size))
    }

    /// Returns the stamp of the file that stands for `digest`; `None` if there is none.
    pub(crate) fn blob_stamp(&self, digest: &Digest) -> Result<Option<Stamp>> {
        let found = disk::stat(&self.blob_path(digest))?.filter(Metadata::is_file);
        Ok(found.as_ref().map(Stamp::of))
    }

    /// Opens the file that stands for `digest` without verifying anything, with all that `stat` says; an error if there is no such file.
    pub(crate) fn open_found(&self, digest: &Digest) -> Result<(File, Metadata)> {
        disk::open(&self.blob_path(digest))
    }

    /// Returns the bytes of a blob that begins like a JSON object and is at most `limit` bytes, not verified.
    pub(crate) fn read_document(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((mut file, found)) = self.open_found(digest).if_there()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; 64];
        let n = file.read(&mut bytes)?;
        bytes.truncate(n);
        if found.len() > limit || bytes.iter().find(|c| !c.is_ascii_whitespace()) != Some(&b'{') {
            return Ok(None);
        }
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Returns whether a file of this mode can be read by all who may read the layout.
    pub(crate) fn is_open_enough(&self, mode: u32) -> bool {
        let want = self.access().mode & 0o444;
        mode & want == want
    }

    /// Moves a blob out of the way, to a place of our own where a person can look at it.
    pub(crate) fn quarantine(&self, digest: &Digest) -> Result<PathBuf> {
        self.refuse_linked_blobs(digest)?;
        let target =
            self.private_dir()
                .quarantine_path(&format!("{}-{}", digest.algorithm(), digest.encoded()))?;
        self.disk().rename(&self.blob_path(digest), &target)?;
        self.disk().sync_dir(target.parent().unwrap_or(&target))?;
        self.disk().sync_dir(&self.algorithm_dir(digest.algorithm()))?;
        Ok(target)
    }

    /// Refuses blobs behind a link: other layouts may share their directory, and need a blob that this one does not.
    fn refuse_linked_blobs(&self, digest: &Digest) -> Result<()> {
        refuse_links(&[&self.blobs_dir(), &self.algorithm_dir(digest.algorithm())])
    }

    /// Removes blobs durably, in this order, and calls `removed` for each; it is no error if one is gone already.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if they stand behind a link.
    pub(crate) fn remove_blobs<'a>(
        &self,
        blobs: impl IntoIterator<Item = &'a Digest>,
        mut removed: impl FnMut(&Digest),
    ) -> Result<()> {
        let mut algorithms = BTreeSet::new();
        for digest in blobs {
            if algorithms.insert(digest.algorithm()) {
                self.refuse_linked_blobs(digest)?;
            }
            self.disk().unlink(&self.blob_path(digest)).if_there()?;
            removed(digest);
        }
        // One sync of a directory makes all removals in it durable.
        algorithms
            .into_iter()
            .try_for_each(|algorithm| self.sync_blobs(algorithm))
    }

    /// Makes the names of all blobs durable, also of those that another process gave and did not live to sync.
    pub(crate) fn sync_blob_names(&self) -> Result<()> {
        self.disk().sync_dir(&self.blobs_dir())?;
        let dirs = self.blob_dirs()?;
        dirs.into_iter()
            .try_for_each(|(algorithm, _)| self.sync_blobs(algorithm))
    }

    /// Makes removals of blobs durable.
    fn sync_blobs(&self, algorithm: Algorithm) -> Result<()> {
        let dir = self.algorithm_dir(algorithm);
        if disk::stat(&dir)?.is_none() {
            return Ok(());
        }
        self.disk().sync_dir(&dir)
    }
}

/// Maximum number of blobs made durable one by one; more are by one call for the whole file system.
const MANY: usize = 8;

/// Smaller blobs are copied rather than hard-linked, in bytes.
const MIN_HARD_LINK: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::spec::MediaType;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        (dir, layout)
    }

    fn put(layout: &Layout, bytes: &[u8]) -> Stored {
        let mut writer = layout.write_blob(Algorithm::Sha256).expect("writer");
        writer.write_all(bytes).expect("write");
        writer.finish().expect("finish")
    }

    #[test]
    fn a_blob_that_was_not_finished_never_was() {
        let (_dir, layout) = layout();
        let mut writer = layout.write_blob(Algorithm::Sha256).expect("writer");
        writer.write_all(b"half").expect("write");
        let wrong = Descriptor::new(MediaType::LAYER, Digest::sha256(b"whole"), 5);
        assert_eq!(
            writer.stage_as(&wrong).expect_err("wrong").kind(),
            ErrorKind::Corrupt
        );
        drop(layout.write_blob(Algorithm::Sha256).expect("writer"));
        assert_eq!(layout.blobs(Algorithm::Sha256).expect("list").count(), 0);
        assert!(
            disk::list(&layout.private_dir().join("tmp"))
                .expect("list")
                .iter()
                .all(|process| {
                    disk::list(&layout.private_dir().join("tmp").join(process))
                        .expect("list")
                        .is_empty()
                })
        );
    }

    #[test]
    fn damage_of_every_kind_is_seen_when_reading() {
        let (_dir, layout) = layout();
        let stored = put(&layout, b"content");
        let good = Descriptor::new(MediaType::LAYER, stored.digest, 7);
        assert_eq!(layout.read_blob(&good, 100).expect("good"), b"content");
        let path = layout.blob_path(&stored.digest);
        for (bytes, want) in [
            (&b"contenT"[..], "verified reader digest mismatch"),
            (b"conten", "verified reader digest mismatch"),
            (b" content", "verified reader digest mismatch"),
            (b"content\0", "verified reader size mismatch"),
        ] {
            std::fs::write(&path, bytes).expect("damage");
            let err = layout.read_blob(&good, 100).expect_err(want);
            assert!(
                err.to_string().contains(want) && err.to_string().contains(&stored.digest.to_string()),
                "{err}"
            );
        }
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(
            layout.read_blob(&good, 100).expect_err("gone").kind(),
            ErrorKind::NotFound
        );
        assert!(
            put(&layout, b"content").size == 7 && layout.read_blob(&good, 100).is_ok(),
            "a new write heals"
        );
        assert_eq!(
            layout.read_blob(&good, 6).expect_err("limit").kind(),
            ErrorKind::Limit
        );
    }

    #[test]
    fn embedded_data_stands_for_the_blob_and_is_verified() {
        let (_dir, layout) = layout();
        let mut descriptor = Descriptor::new(MediaType::EMPTY, Digest::sha256(b"{}"), 2);
        descriptor.data = Some("e30=".to_owned());
        assert_eq!(layout.read_blob(&descriptor, 10).expect("data"), b"{}");
        descriptor.data = Some("e31=".to_owned());
        let err = layout.read_blob(&descriptor, 10).expect_err("other data");
        assert!(
            err.to_string().starts_with("invalid embedded descriptor data"),
            "{err}"
        );
    }

    #[test]
    fn a_blob_behind_a_link_is_never_adopted_as_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, layout) = layout();
        let bytes = vec![7; 100_000];
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, &bytes).expect("write");
        let mode = std::fs::Permissions::from_mode(layout.access().mode & 0o666);
        std::fs::set_permissions(&file, mode).expect("chmod");
        std::os::unix::fs::symlink(&file, &link).expect("link");
        let blob = Descriptor::new(MediaType::LAYER, Digest::sha256(&bytes), bytes.len() as u64);
        if layout.adopt_blob(&blob, &link).expect("adopt").is_none() {
            assert!(layout.blob_size(&blob.digest).expect("stat").is_none());
        }
        assert!(!layout.blob_path(&blob.digest).is_symlink());
        let staged = layout.adopt_blob(&blob, &file).expect("adopt").expect("alike");
        layout.publish(vec![staged]).expect("publish");
        assert!(layout.read_blob(&blob, 1 << 20).is_ok());
    }

    #[test]
    fn adopted_blobs_are_verified_like_copied_ones() {
        let (dir, layout) = layout();
        let from = dir.path().join("file");
        let bytes = vec![7; 100_000];
        std::fs::write(&from, &bytes).expect("write");
        let good = Descriptor::new(MediaType::LAYER, Digest::sha256(&bytes), bytes.len() as u64);
        if let Some(stored) = layout.adopt_blob(&good, &from).expect("adopt") {
            assert_eq!(stored.digest, good.digest);
        }
        let bad = Descriptor::new(MediaType::LAYER, Digest::sha256(b"other"), bytes.len() as u64);
        assert!(!matches!(layout.adopt_blob(&bad, &from), Ok(Some(_))));
        assert!(layout.blob_size(&bad.digest).expect("stat").is_none());
    }
}
