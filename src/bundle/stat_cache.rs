// SPDX-License-Identifier: Apache-2.0
//! What is known of a tree from its metadata alone, so that a repack looks only at what changed.
//!
//! A file beside the manifest of the bundle, as git's index is. For each path it has a hash of device, inode, type,
//! owner, mode, size, mtime and ctime, whether the manifest said the same of the path then, and the digest that the
//! content had. A file that changed in the same tick of the clock in which it was looked at could look the same
//! afterwards; so only those are noted whose ctime is older than the walk that found them. It may be deleted at any
//! time, and whatever is odd about it only means that more is read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::node::{Inode, NodeKind, Time, TreePath};

const MAGIC: &[u8] = b"umoci-stat-2\n";
const HASH: usize = 16;
const SUM: usize = 32;
const COUNT: usize = 8;
const HEAD: usize = MAGIC.len() + SUM + COUNT;

/// A hash of the path, one of the metadata, flags, the digest of the content.
const ROW: usize = HASH + HASH + 1 + SUM;
const DIGEST_AT: usize = HASH + HASH + 1;

/// The manifest says the same; the digest is that of the content.
const SAME: u8 = 1;
const HAS_DIGEST: u8 = 2;

/// A cache that is larger than this is not read, in bytes.
const MAX_FILE: u64 = 1 << 30;

type Row = [u8; ROW];

/// What was known of a tree before a walk, and what is noted on it. Threads may share it.
#[derive(Debug)]
pub(super) struct StatCache {
    path: PathBuf,
    /// The file that was read, its rows sorted.
    known: Vec<u8>,
    /// Whether its rows speak of the manifest at hand.
    of_manifest: bool,
    /// Which rows were found to hold on this walk.
    held: Vec<AtomicBool>,
    found: Mutex<Vec<Row>>,
    /// Device and time of the beginning of the walk, by the clock of the file system; `None` if that is not known,
    /// and nothing can be noted.
    begun: Option<(u64, Time)>,
}

impl StatCache {
    /// Reads the cache at `old` if there is one, and begins one that [`StatCache::save`] will write to `path`. To be
    /// called before the walk. `manifest` is the text that the rows are to agree with.
    pub(super) fn begin(old: Option<&PathBuf>, path: PathBuf, manifest: &[u8]) -> Self {
        let known = old.and_then(|old| crate::fs::read_file(old, MAX_FILE).ok());
        let known = known.filter(|bytes| is_whole(bytes)).unwrap_or_default();
        let of_manifest = known
            .get(MAGIC.len()..)
            .is_some_and(|rest| rest.starts_with(&sum(manifest)));
        // The clock that counts is that behind the times of files.
        let probe = path.with_extension("stat.new");
        let begun = crate::fs::touch(&probe).ok();
        crate::fs::remove_file(&probe);
        let rows = known.len().saturating_sub(HEAD + SUM) / ROW;
        Self {
            path,
            known,
            of_manifest,
            held: (0..rows).map(|_| AtomicBool::new(false)).collect(),
            found: Mutex::default(),
            begun,
        }
    }

    fn row(&self, at: usize) -> &[u8] {
        &self.known[HEAD + at * ROW..HEAD + (at + 1) * ROW]
    }

    /// The row of a path that has not changed since it was noted.
    fn current(&self, path: &TreePath, inode: &Inode) -> Option<usize> {
        let wanted = hash_path(path);
        let (mut low, mut high) = (0, self.held.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.row(middle)[..HASH] < wanted[..] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let row = (low < self.held.len()).then(|| self.row(low))?;
        (row[..HASH] == wanted && row[HASH..2 * HASH] == hash_stat(inode)).then_some(low)
    }

    /// Whether nothing about a path has changed since the manifest said the same of it.
    pub(super) fn holds(&self, path: &TreePath, inode: &Inode) -> bool {
        let Some(at) = self.current(path, inode).filter(|_| self.of_manifest) else {
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
        let Some(count) = self.known.get(MAGIC.len() + SUM..HEAD) else {
            return false;
        };
        let held = self.held.iter().filter(|h| h.load(Ordering::Relaxed)).count() as u64;
        self.of_manifest && count == held.to_le_bytes()
    }

    /// Whether [`StatCache::holds`] has found this path.
    pub(super) fn held(&self) -> impl Fn(&TreePath) -> bool + '_ {
        let held = self
            .held
            .iter()
            .enumerate()
            .filter(|(_, h)| h.load(Ordering::Relaxed));
        let held: std::collections::HashSet<[u8; HASH]> =
            held.map(|(at, _)| array(&self.row(at)[..HASH])).collect();
        move |path| held.contains(&hash_path(path))
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
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.push(row);
    }

    /// Writes what was noted and what was found to hold, for a manifest of `count` paths, if that is news. A cache that
    /// cannot be written is no loss.
    pub(super) fn save(self, manifest: &[u8], count: usize) {
        let mut rows = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<Row> = self.known[HEAD.min(self.known.len())..]
            .chunks_exact(ROW)
            .map(array)
            .collect();
        let is_news = |row: &Row| known.binary_search(row).is_err();
        if self.of_manifest && !rows.iter().any(is_news) {
            return;
        }
        for (row, held) in known.iter().zip(&self.held) {
            if held.load(Ordering::Relaxed) {
                rows.push(*row);
            }
        }
        rows.sort_unstable();
        let mut out = Vec::with_capacity(HEAD + rows.len() * ROW + SUM);
        out.extend(MAGIC);
        out.extend(sum(manifest));
        out.extend((count as u64).to_le_bytes());
        out.extend(rows.as_flattened());
        out.extend(sum(&out));
        let _ = crate::fs::replace_file(&self.path, &out);
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

fn sum(bytes: &[u8]) -> [u8; SUM] {
    array(Digest::of(Algorithm::Blake3, bytes).as_bytes())
}

fn hash_path(path: &TreePath) -> [u8; HASH] {
    array(Digest::of(Algorithm::Blake3, path.as_bytes()).as_bytes())
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
    body.len() >= HEAD
        && (body.len() - HEAD).is_multiple_of(ROW)
        && body.starts_with(MAGIC)
        && end == sum(body)
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

    fn noted(cache: &StatCache) -> usize {
        cache.found.lock().expect("rows").len()
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
            let cache = StatCache::begin(None, path.clone(), b"manifest");
            cache.put(&name(), &file, Some(&digest), true);
            if noted(&cache) > 0 {
                cache.save(b"manifest", 1);
                break;
            }
        }
        let again = |manifest: &[u8]| StatCache::begin(Some(&path), path.clone(), manifest);
        let cache = again(b"manifest");
        assert_eq!(cache.digest(&name(), &file), Some(digest));
        assert!(!cache.all_hold() && !cache.held()(&name()));
        assert!(cache.holds(&name(), &file) && cache.all_hold() && cache.held()(&name()));
        let elsewhere = TreePath::clean(b"other").expect("path");
        assert!(!cache.holds(&elsewhere, &file), "the same inode by another name");
        let cache = again(b"another manifest");
        assert!(!cache.holds(&name(), &file) && !cache.all_hold());
        assert_eq!(
            cache.digest(&name(), &file),
            Some(digest),
            "contents are not the manifest's"
        );
        std::fs::write(tree.join("file"), "CONTENT").expect("write");
        let same_size = inode(&tree);
        let cache = again(b"manifest");
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
        let cache = StatCache::begin(None, dir.path().join("x.stat"), b"");
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
