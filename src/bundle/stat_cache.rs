// SPDX-License-Identifier: Apache-2.0
//! What is known of a tree from its metadata alone, so that a repack looks only at what changed.
//!
//! A file beside the manifest of the bundle, as git's index is. For each path it has a hash of device, inode, type,
//! owner, mode, size, mtime and ctime, whether the manifest said the same of the path then, and the digest that the
//! content had. A file that changed in the same tick of the clock in which it was looked at could look the same
//! afterwards; so only those are noted whose ctime is older than the walk that found them. It may be deleted at any
//! time, and whatever is odd about it only means that more is read.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::{Algorithm, Digest, DigestWriter, Hasher};
use crate::error::Result;
use crate::fs::PendingFile;
use crate::mtree::{PathHash, hash_path};
use crate::node::{Inode, NodeKind, Time, TreePath};

const MAGIC: &[u8] = b"umoci-stat-3\n";
const HASH: usize = 16;
const SUM: usize = 32;
const COUNT: usize = 8;

/// A hash of the path, one of the metadata, flags, the digest of the content.
const ROW: usize = HASH + HASH + 1 + SUM;
const DIGEST_AT: usize = HASH + HASH + 1;

/// Behind the rows: the sum of the manifest and its count of paths, then the sum of all that comes before.
const TAIL: usize = SUM + COUNT + SUM;

/// The manifest says the same; the digest is that of the content.
const SAME: u8 = 1;
const HAS_DIGEST: u8 = 2;

/// A cache that is larger than this is not read, in bytes.
const MAX_FILE: u64 = 1 << 30;

type Row = [u8; ROW];

/// What was known of a tree before a walk, and what is noted on it. Threads may share it.
#[derive(Debug)]
pub(super) struct StatCache {
    /// The rows that were read, sorted.
    known: Vec<u8>,
    /// Of how many paths the manifest at hand consists, if the rows speak of it.
    of_manifest: Option<u64>,
    /// Which rows were found to hold on this walk.
    held: Vec<AtomicBool>,
    /// The new file; `None` if it cannot be written, and nothing can be noted.
    noted: Mutex<Option<Noted>>,
    /// Device and time of the beginning of the walk, by the clock of the file system.
    begun: Option<(u64, Time)>,
}

/// Rows on their way to the disk.
#[derive(Debug)]
struct Noted {
    file: DigestWriter<PendingFile>,
    /// Whether there is any that was not known.
    is_news: bool,
}

impl StatCache {
    /// Reads the cache at `old` if there is one, and begins one that [`StatCache::save`] will put at `path`. To be
    /// called before the walk. `manifest` is the BLAKE3 digest of the text that the rows are to agree with.
    pub(super) fn begin(old: Option<&PathBuf>, path: &Path, manifest: Option<&Digest>) -> Self {
        let known = old.and_then(|old| crate::fs::read_file(old, MAX_FILE).ok());
        let mut known = known.filter(|bytes| is_whole(bytes)).unwrap_or_default();
        let rows = known.len().saturating_sub(MAGIC.len() + TAIL) / ROW;
        let tail = known.split_off(known.len().min(MAGIC.len() + rows * ROW));
        let of_manifest = manifest.filter(|sum| tail.starts_with(sum.as_bytes()));
        let of_manifest = of_manifest.map(|_| u64::from_le_bytes(array(&tail[SUM..])));
        known.drain(..known.len().min(MAGIC.len()));
        known.as_chunks_mut::<ROW>().0.sort_unstable();
        let noted = Self::create(path).ok();
        Self {
            known,
            of_manifest,
            held: (0..rows).map(|_| AtomicBool::new(false)).collect(),
            begun: noted.as_ref().map(|(_, begun)| *begun),
            noted: Mutex::new(noted.map(|(noted, _)| noted)),
        }
    }

    fn create(path: &Path) -> Result<(Noted, (u64, Time))> {
        let file = PendingFile::begin(path)?;
        // The clock that counts is that behind the times of files.
        let begun = file.begun()?;
        let mut file = DigestWriter::new(file, Algorithm::Blake3);
        file.write_all(MAGIC)?;
        let noted = Noted { file, is_news: false };
        Ok((noted, begun))
    }

    fn row(&self, at: usize) -> &Row {
        &self.known.as_chunks().0[at]
    }

    fn find(&self, path: &PathHash) -> Option<usize> {
        let rows = self.known.as_chunks::<ROW>().0;
        rows.binary_search_by(|row| row[..HASH].cmp(path)).ok()
    }

    /// The row of a path that has not changed since it was noted.
    fn current(&self, path: &TreePath, inode: &Inode) -> Option<usize> {
        let at = self.find(&hash_path(path))?;
        (self.row(at)[HASH..2 * HASH] == hash_stat(inode)).then_some(at)
    }

    /// Whether nothing about a path has changed since the manifest said the same of it.
    pub(super) fn holds(&self, path: &TreePath, inode: &Inode) -> bool {
        let Some(at) = self.of_manifest.and_then(|_| self.current(path, inode)) else {
            return false;
        };
        let same = self.row(at)[2 * HASH] & SAME != 0;
        if same {
            self.held[at].store(true, Ordering::Relaxed);
        }
        same
    }

    /// Whether [`StatCache::holds`] has found all of the manifest.
    pub(super) fn all_hold(&self) -> bool {
        let held = self.held.iter().filter(|h| h.load(Ordering::Relaxed)).count();
        self.of_manifest == Some(held as u64)
    }

    /// Whether [`StatCache::holds`] has found this path.
    pub(super) fn held(&self, path: &PathHash) -> bool {
        self.find(path)
            .is_some_and(|at| self.held[at].load(Ordering::Relaxed))
    }

    /// The digest of a file that has not changed since it was noted.
    pub(super) fn digest(&self, path: &TreePath, inode: &Inode) -> Option<Digest> {
        let row = self.row(self.current(path, inode)?);
        let digest = || Digest::from_bytes(Algorithm::Sha256, &row[DIGEST_AT..]);
        (row[2 * HASH] & HAS_DIGEST != 0).then(digest).flatten()
    }

    /// Notes a path as it was found on this walk, with the digest of its content if that is known, and whether the
    /// manifest says the same.
    pub(super) fn put(&self, path: &TreePath, inode: &Inode, digest: Option<&Digest>, same: bool) {
        let settled = self
            .begun
            .is_some_and(|(dev, time)| dev == inode.dev && inode.ctime < time);
        if !settled {
            return;
        }
        let mut row = [0; ROW];
        row[..HASH].copy_from_slice(&hash_path(path));
        row[HASH..2 * HASH].copy_from_slice(&hash_stat(inode));
        row[2 * HASH] = if same { SAME } else { 0 };
        if let Some(digest) = digest {
            row[2 * HASH] |= HAS_DIGEST;
            row[DIGEST_AT..].copy_from_slice(digest.as_bytes());
        }
        let is_news = self.known.as_chunks().0.binary_search(&row).is_err();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let written = noted.as_mut().map(|noted| {
            noted.is_news |= is_news;
            noted.file.write_all(&row)
        });
        if let Some(Err(_)) = written {
            *noted = None;
        }
    }

    /// Writes what was noted and what was found to hold, for a manifest of `count` paths, if that is news. A cache that
    /// cannot be written is no loss.
    pub(super) fn save(self, manifest: &Digest, count: u64) {
        let noted = self.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = noted
            && (noted.is_news || self.of_manifest.is_none())
        {
            let rows = self.known.as_chunks::<ROW>().0.iter().zip(&self.held);
            let held = rows.filter(|(_, held)| held.load(Ordering::Relaxed));
            let _ = finish(noted.file, held.map(|(row, _)| row), manifest, count);
        }
    }
}

fn finish<'a>(
    mut file: DigestWriter<PendingFile>,
    held: impl Iterator<Item = &'a Row>,
    manifest: &Digest,
    count: u64,
) -> Result<()> {
    for row in held {
        file.write_all(row)?;
    }
    file.write_all(manifest.as_bytes())?;
    file.write_all(&count.to_le_bytes())?;
    let (mut file, sum, _) = file.finish();
    file.write_all(sum.as_bytes())?;
    file.commit()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

fn hash_stat(inode: &Inode) -> [u8; HASH] {
    let node = &inode.node;
    let (kind, numbers) = match node.kind {
        NodeKind::File { .. } => (0, (0, 0)),
        NodeKind::Dir => (1, (0, 0)),
        NodeKind::Symlink { .. } => (2, (0, 0)),
        NodeKind::Char { major, minor } => (3, (major, minor)),
        NodeKind::Block { major, minor } => (4, (major, minor)),
        NodeKind::Fifo => (5, (0, 0)),
        NodeKind::Socket => (6, (0, 0)),
    };
    let mut hasher = Hasher::new(Algorithm::Blake3);
    for word in [inode.dev, inode.ino, inode.size, inode.nlink] {
        hasher.update(&word.to_le_bytes());
    }
    for word in [kind, numbers.0, numbers.1, node.mode, node.uid, node.gid] {
        hasher.update(&word.to_le_bytes());
    }
    for time in [node.mtime, inode.ctime] {
        hasher.update(&time.sec.to_le_bytes());
        hasher.update(&time.nsec.to_le_bytes());
    }
    array(hasher.finish().as_bytes())
}

/// Whether these are the bytes of a cache as it was written.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((body, end)) = bytes.len().checked_sub(SUM).map(|at| bytes.split_at(at)) else {
        return false;
    };
    let rows = body.len().checked_sub(MAGIC.len() + TAIL - SUM);
    rows.is_some_and(|rows| rows.is_multiple_of(ROW))
        && body.starts_with(MAGIC)
        && end == Digest::of(Algorithm::Blake3, body).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Root;
    use crate::rootfs::scan;

    fn inode(dir: &std::path::Path) -> Inode {
        let root = Root::open(dir).expect("root");
        let mut items = scan(&root).expect("scan");
        items.next().expect("root").expect("root");
        items.next().expect("file").expect("file").1
    }

    fn name() -> TreePath {
        TreePath::clean(b"file").expect("path")
    }

    fn sum(manifest: u8) -> Digest {
        Digest::of(Algorithm::Blake3, &[manifest])
    }

    fn noted(cache: &StatCache) -> usize {
        let noted = cache.noted.lock().expect("rows");
        let written = noted.as_ref().expect("file").file.written() as usize;
        (written - MAGIC.len()) / ROW
    }

    #[test]
    fn what_was_noted_is_known_until_anything_about_the_file_changes() {
        let dir = tempfile::tempdir().expect("dir");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        std::fs::write(tree.join("file"), "content").expect("write");
        let path = dir.path().join("x.stat");
        let digest = Digest::sha256(b"content");
        let file = inode(&tree);
        // The clock has to go on before the file is old enough.
        loop {
            let cache = StatCache::begin(None, &path, None);
            cache.put(&name(), &file, Some(&digest), true);
            if noted(&cache) > 0 {
                cache.save(&sum(7), 1);
                break;
            }
        }
        let again = |manifest| StatCache::begin(Some(&path), &path, Some(&sum(manifest)));
        let cache = again(7);
        assert_eq!(cache.digest(&name(), &file), Some(digest));
        assert!(!cache.all_hold() && !cache.held(&hash_path(&name())));
        assert!(cache.holds(&name(), &file) && cache.all_hold() && cache.held(&hash_path(&name())));
        let elsewhere = TreePath::clean(b"other").expect("path");
        assert!(!cache.holds(&elsewhere, &file), "the same inode by another name");
        let cache = again(8);
        assert!(!cache.holds(&name(), &file) && !cache.all_hold());
        assert_eq!(
            cache.digest(&name(), &file),
            Some(digest),
            "contents are not the manifest's"
        );
        std::fs::write(tree.join("file"), "CONTENT").expect("write");
        let same_size = inode(&tree);
        let cache = again(7);
        assert!(!cache.holds(&name(), &same_size) && cache.digest(&name(), &same_size).is_none());
        let mut bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!is_whole(&bytes), "damage at {at}");
            bytes[at] ^= 1;
        }
        assert!(is_whole(&bytes) && !is_whole(&bytes[..bytes.len() - 1]) && !is_whole(b""));
    }

    #[test]
    fn a_file_as_young_as_the_walk_is_not_noted() {
        let dir = tempfile::tempdir().expect("dir");
        let cache = StatCache::begin(None, &dir.path().join("x.stat"), None);
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        std::fs::write(tree.join("file"), "content").expect("write");
        let mut file = inode(&tree);
        let digest = Digest::sha256(b"content");
        cache.put(&name(), &file, Some(&digest), true);
        assert_eq!(noted(&cache), 0);
        file.ctime.sec -= 1;
        file.dev += 1;
        cache.put(&name(), &file, Some(&digest), true);
        assert_eq!(noted(&cache), 0, "another file system may have another clock");
        file.dev -= 1;
        cache.put(&name(), &file, Some(&digest), true);
        assert_eq!(noted(&cache), 1);
    }
}
