// SPDX-License-Identifier: Apache-2.0
//! The OCI layout on disk: blobs, `index.json` and their locks. This is the truth; all else is derived from it.
//!
//! Invariants: a name under `blobs/` appears only after its bytes are synced and hashed; `index.json` is replaced in
//! one step, and no change of a process that takes a lock is lost; opening creates nothing. Knows nothing of the content of the
//! index database, of tar, or of the meaning of an image. Spec: image-spec, image-layout.

mod blob;
mod create;
mod disk;
mod fault;
mod index_entry;
mod index_json;
mod lines;
mod lock;
mod own_file;
mod partial;
mod private;
mod temp;
#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

pub(crate) use blob::BlobReader;
pub(crate) use blob::Staged;
pub use blob::{BlobWriter, Stored};
#[cfg(debug_assertions)]
pub use fault::die_before_step;
pub(crate) use index_entry::Entry;
pub use index_json::IndexJson;
pub use lock::LayoutLock;
pub(crate) use lock::{Lock, LockMode};

pub(crate) use create::{OCI_LAYOUT, PARTS, layout_version, layouts_below};
use disk::Disk;
pub(crate) use own_file::OwnFile;
pub(crate) use private::{MAX_OWN, PrivateDir, REFLOG};
#[cfg(test)]
pub(crate) use tests::journal::Journal;
#[cfg(test)]
pub(crate) use tests::volatile::{Loss, Volatile, scratch};

use crate::digest::{Algorithm, Digest};
use crate::error::{Fact, Result};

/// An `index.json` larger than this is refused, in bytes.
const MAX_INDEX: u64 = 1 << 30;

/// Number of reads of a torn `index.json`, and the pause between: another program may be writing it in place.
const TORN_READS: u32 = 6;
const TORN_PAUSE: Duration = Duration::from_millis(50);

/// A file that changed no more than so many seconds before it was looked at may change again without its stamp telling.
const RACY: i64 = 2;

/// Identity and time of a file or directory: if it is the same, nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Change time, seconds and nanoseconds.
    pub ctime: (i64, i64),
}

impl Stamp {
    /// Returns the stamp of what was looked at.
    pub(crate) fn of(found: &Metadata) -> Self {
        Self {
            dev: found.dev(),
            ino: found.ino(),
            size: found.len(),
            mtime: (found.mtime(), found.mtime_nsec()),
            ctime: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Returns whether it will be another one after the next change of the file. Call it before the content is read that the
    /// stamp is to stand for.
    pub(crate) fn is_settled(&self) -> bool {
        let (latest, _) = self.mtime.max(self.ctime);
        Timestamp::now().as_second().saturating_sub(latest) > RACY
    }

    /// Returns whether both are of one file, whatever happened to it in between.
    fn same_file(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

/// An entry of a blob directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BlobName {
    /// A blob.
    Digest(Digest),
    /// Something that is no blob.
    Stray(OsString),
}

/// An OCI layout. Cheap to clone; clones share the directory of temporary files.
#[derive(Clone, Debug)]
pub struct Layout(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    private: PrivateDir,
    /// The last `index.json` that was read, behind its state: most commands ask for the same one several times.
    last_index: Mutex<Option<(Digest, IndexJson)>>,
}

/// An `index.json` as it was read.
pub(crate) struct IndexFile {
    pub index: IndexJson,
    pub stamp: Stamp,
    /// The state of the file; see [`Layout::update_index_logged`].
    pub state: Digest,
}

/// Returns the state that the bytes of an `index.json` are: their BLAKE3.
fn state_of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Blake3, bytes)
}

impl Layout {
    fn at(path: &Path, disk: Box<dyn Disk>) -> Result<Self> {
        let root = disk::stat_existing(path)?;
        let access = disk::Access {
            uid: root.uid(),
            gid: root.gid(),
            mode: root.mode() & 0o7777,
        };
        Ok(Self(Arc::new(Shared {
            root: path.to_owned(),
            private: PrivateDir::new(path, access, disk.into()),
            last_index: Mutex::default(),
        })))
    }

    /// Returns the directory of the layout.
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// Returns where the blob of this digest stands, or would.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.algorithm_dir(digest.algorithm()).join(digest.encoded())
    }

    /// Returns our own directory in the layout.
    pub(crate) fn private_dir(&self) -> &PrivateDir {
        &self.0.private
    }

    /// Removes a layout that this process has made and that has nothing to give; its directory stays if `keep_dir`. One that
    /// somebody else uses by now stays too.
    pub(crate) fn discard(self, keep_dir: bool) -> Result<()> {
        let Ok(_lock) = self.lock(LockMode::Exclusive, Duration::ZERO, "remove") else {
            return Ok(());
        };
        if !self.read_index()?.entries().is_empty() {
            return Ok(());
        }
        // First what makes it a layout.
        for part in PARTS {
            disk::remove_all(&self.0.root.join(part))?;
        }
        if !keep_dir {
            disk::remove_all(&self.0.root)?;
        }
        Ok(())
    }

    fn blobs_dir(&self) -> PathBuf {
        self.0.root.join("blobs")
    }

    fn algorithm_dir(&self, algorithm: Algorithm) -> PathBuf {
        self.blobs_dir().join(algorithm.name())
    }

    fn index_path(&self) -> PathBuf {
        self.0.root.join("index.json")
    }

    fn access(&self) -> disk::Access {
        self.0.private.access
    }

    fn disk(&self) -> &dyn Disk {
        &*self.0.private.disk
    }

    /// Replaces a file in the layout's root in one step, durably.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.0.private.replace(&self.0.root.join(name), bytes)
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is broken, and still is a moment later.
    pub(crate) fn read_index(&self) -> Result<IndexJson> {
        Ok(self.read_index_file()?.index)
    }

    /// Reads `index.json` with the state and the stamp of the file.
    ///
    /// # Errors
    /// As [`Layout::read_index`].
    pub(crate) fn read_index_file(&self) -> Result<IndexFile> {
        self.read_index_pausing(|| std::thread::sleep(TORN_PAUSE))
    }

    /// Reads `index.json`, again after each `pause` while it is torn.
    fn read_index_pausing(&self, mut pause: impl FnMut()) -> Result<IndexFile> {
        let path = self.index_path();
        let mut reads = 1;
        loop {
            let (bytes, stamp) = disk::read(&path, MAX_INDEX)?;
            match self.parse_index(&bytes) {
                Ok((state, index)) => return Ok(IndexFile { index, stamp, state }),
                Err(_) if reads < TORN_READS => pause(),
                Err(err) => {
                    let err = err.with_fact(Fact::TornIndex);
                    return Err(err.context(format!("parse {}", path.display())));
                }
            }
            reads += 1;
        }
    }

    /// Parses an `index.json`, unless it is the last one that was read. Returns its state as well.
    fn parse_index(&self, bytes: &[u8]) -> Result<(Digest, IndexJson)> {
        let state = state_of(bytes);
        let mut last = crate::error::lock(&self.0.last_index);
        if let Some((of, index)) = last.as_ref()
            && *of == state
        {
            return Ok((state, index.clone()));
        }
        let index = IndexJson::parse(bytes)?;
        *last = Some((state, index.clone()));
        Ok((state, index))
    }

    /// Returns the stamp of `index.json`.
    pub(crate) fn index_stamp(&self) -> Result<Stamp> {
        Ok(Stamp::of(&disk::stat_existing(&self.index_path())?))
    }

    /// Returns the directories of blobs that exist, of the algorithms that we know, with their stamps.
    pub(crate) fn blob_dirs(&self) -> Result<Vec<(Algorithm, Stamp)>> {
        let mut out = Vec::new();
        for algorithm in Algorithm::ALL {
            if let Some(found) = disk::stat(&self.algorithm_dir(algorithm))?.filter(Metadata::is_dir) {
                out.push((algorithm, Stamp::of(&found)));
            }
        }
        Ok(out)
    }

    /// Returns the stamps of `index.json` and of the directories of blobs.
    pub(crate) fn stamps(&self) -> Result<Vec<Stamp>> {
        let mut out = vec![self.index_stamp()?];
        out.extend(self.blob_dirs()?.into_iter().map(|(_, stamp)| stamp));
        Ok(out)
    }

    /// Changes `index.json` by `edit`, so that no change of another process is lost.
    ///
    /// Our processes exclude one another by a lock of their own, and BuildKit by its lock file. Programs that take no
    /// lock are noticed: the file is looked at again right before it is replaced, and if it changed, `edit` runs
    /// once more on what it is then. Nothing is written if `edit` changes nothing.
    ///
    /// `edit` is given the state of the file, which is its BLAKE3; `log` is told the result of `edit`, and the state that comes,
    /// right before it takes effect.
    ///
    /// # Errors
    /// Those of `edit` and `log`, and [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if a lock is not had within `timeout`.
    pub(crate) fn update_index_logged<T>(
        &self,
        timeout: Duration,
        mut edit: impl FnMut(&mut IndexJson, &Digest) -> Result<T>,
        mut log: impl FnMut(&mut T, &Digest) -> Result<()>,
    ) -> Result<T> {
        let _locks = self.lock_index(timeout)?;
        loop {
            let file = self.read_index_file()?;
            let (read, stamp, mut index) = (file.state, file.stamp, file.index);
            let mut out = edit(&mut index, &read)?;
            if !index.is_changed() {
                // It may be so by the hand of a process that died before it synced the name.
                self.disk().sync_dir(&self.0.root)?;
                return Ok(out);
            }
            let after = index.to_bytes();
            drop(index);
            // The clock behind a stamp is coarse, so a write in place right before we read could hide behind one that
            // came right after: the bytes decide first.
            let replaced = self.0.private.replace_if(&self.index_path(), &after, || {
                let (now, _) = disk::read(&self.index_path(), MAX_INDEX)?;
                if state_of(&now) != read || self.index_stamp()? != stamp {
                    return Ok(false);
                }
                log(&mut out, &state_of(&after)).map(|()| true)
            });
            if replaced? {
                return Ok(out);
            }
        }
    }

    /// Keeps all who take a lock from changing `index.json`.
    fn lock_index(&self, timeout: Duration) -> Result<(LayoutLock, Option<LayoutLock>)> {
        let ours = self.take_lock(Lock::Refs, LockMode::Exclusive, timeout)?;
        // BuildKit's lock, if that is in use now: its file goes when it is free again.
        let path = self.0.root.join("index.json.lock");
        let theirs = lock::acquire(&path, LockMode::Exclusive, timeout, || disk::open_optional(&path))?;
        Ok((ours, theirs))
    }

    /// Gives a file of the layout its owner and mode.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        self.access().give_file(&disk::open_no_link(path)?, path)
    }

    /// Returns the entries of the directory of `algorithm`, in no order.
    pub(crate) fn blobs(
        &self,
        algorithm: Algorithm,
    ) -> Result<impl Iterator<Item = Result<BlobName>> + use<>> {
        let names = disk::entries(&self.algorithm_dir(algorithm))?;
        Ok(names.into_iter().flatten().map(move |name| {
            let name = name?;
            let digest = name
                .to_str()
                .and_then(|hex| format!("{algorithm}:{hex}").parse().ok());
            Ok(digest.map_or(BlobName::Stray(name), BlobName::Digest))
        }))
    }

    /// Returns the directories and files directly below `blobs/` that belong to no algorithm that we know.
    pub(crate) fn foreign_entries(&self) -> Result<Vec<PathBuf>> {
        let names = disk::list(&self.blobs_dir())?;
        let foreign = names
            .into_iter()
            .filter(|n| n.to_str().and_then(Algorithm::from_name).is_none());
        let mut out: Vec<PathBuf> = foreign.map(|n| self.blobs_dir().join(n)).collect();
        out.sort_unstable();
        Ok(out)
    }
}
