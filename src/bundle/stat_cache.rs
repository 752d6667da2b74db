// SPDX-License-Identifier: Apache-2.0
//! A cache of file contents by metadata alone, so that a repack looks only at files that changed.
//!
//! A file beside the manifest of the bundle, as git's index is. For each path it has a hash of device, inode, type,
//! owner, mode, size, mtime and ctime, whether the manifest said the same of the path then, and the digest that the
//! content had, or the number of the device that it is, which no manifest has. A file that changed in the same tick of the clock in
//! which it was looked at could look the same afterwards; so only those are noted whose ctime is older than the walk that found
//! them. It may be deleted at any time, and whatever is odd about it only means that more is read.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::{Algorithm, Digest, DigestWriter, Hasher};
use crate::error::{Result, lock};
use crate::fs::PendingFile;
use crate::node::{Inode, PathHash, Time, TreePath, hash_path};

const MAGIC: &[u8] = b"umoci-stat-5\n";
const HASH: usize = 16;
const SUM: usize = 32;
const COUNT: usize = 8;

/// A hash of the path, one of the metadata, flags, the digest of the content or the number of the device.
const ROW: usize = HASH + HASH + 1 + SUM;
const DIGEST_AT: usize = HASH + HASH + 1;

/// Behind the rows: the sum of the manifest and its count of paths, then the sum of all that comes before.
const TAIL: usize = SUM + COUNT + SUM;

/// The manifest says the same; the digest is that of the content.
const SAME: u8 = 1;
const HAS_DIGEST: u8 = 2;
const HAS_NUMBER: u8 = 4;

/// The clock behind the times of files goes on every 10 ms or more often, where these are kept to the nanosecond.
const TICK: Duration = Duration::from_millis(20);

/// A cache of more rows is none: a tree has as many paths as the largest layer, or somewhat more.
const MAX_ROWS: u32 = 4_000_000;

/// Memory is given for so many rows before they are read: the length of a file that is all holes says nothing.
const ROWS_AT_ONCE: u32 = 64 * 1024;

type Row = [u8; ROW];

/// A device, and a time by the clock of its file system.
type Moment = (u64, Time);

/// Rows known of a tree before a walk, and rows noted on it. Threads may share it.
#[derive(Debug)]
pub(super) struct StatCache {
    /// The rows that were read.
    known: Known,
    /// Whether they speak of the manifest at hand.
    of_manifest: bool,
    /// Which rows were found to hold on this walk.
    held: Vec<AtomicBool>,
    /// The new file; `None` if it cannot be written, and nothing can be noted.
    noted: Mutex<Option<Noted>>,
    /// Device and time of the beginning of the walk, by the clock of the file system; that of no file if nothing can be noted.
    begun: Moment,
}

/// Rows of a file without the digests, which stay there: few are ever asked for.
#[derive(Debug, Default)]
struct Known {
    file: Option<File>,
    /// Sorted by path.
    rows: Vec<Short>,
    /// Of how many paths the manifest that they speak of consists, and its sum.
    count: u64,
    manifest: [u8; SUM],
}

/// The beginning of a row, and which one of the file it is.
type Short = ([u8; DIGEST_AT], u32);

impl Known {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it is no whole cache.
    fn read(path: &Path, max_rows: u32) -> Result<Self> {
        let file = crate::fs::open_regular(path)?;
        let length = file.metadata()?.len();
        let rows = length.saturating_sub((MAGIC.len() + TAIL) as u64);
        let count = u32::try_from(rows / ROW as u64).unwrap_or(u32::MAX);
        if length < (MAGIC.len() + TAIL) as u64 || !rows.is_multiple_of(ROW as u64) || count > max_rows {
            fail!(Corrupt, "invalid stat cache");
        }
        let mut hasher = Hasher::new(Algorithm::Blake3);
        // Row by row: of a million paths the digests alone would take 32 MB.
        let mut from = BufReader::with_capacity(64 * 1024, &file);
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        hasher.update(&magic);
        let mut rows = Vec::with_capacity(count.min(ROWS_AT_ONCE) as usize);
        let mut row: Row = [0; ROW];
        for at in 0..count {
            from.read_exact(&mut row)?;
            hasher.update(&row);
            rows.push((array(&row), at));
        }
        let mut tail = [0; TAIL];
        from.read_exact(&mut tail)?;
        let (about, sum) = tail.split_at(TAIL - SUM);
        hasher.update(about);
        // A write that was cut short by a loss of power leaves any bytes in the file, of the right length too.
        if magic != *MAGIC || sum != hasher.finish().as_bytes() {
            fail!(Corrupt, "invalid stat cache");
        }
        rows.sort_unstable();
        Ok(Self {
            rows,
            count: u64::from_le_bytes(array(&about[SUM..])),
            manifest: array(about),
            file: Some(file),
        })
    }

    fn find(&self, path: &PathHash) -> Option<usize> {
        self.rows.binary_search_by(|(row, _)| row[..HASH].cmp(path)).ok()
    }

    /// Returns the row of which this is the beginning.
    fn whole(&self, at: u32) -> Option<Row> {
        let mut row = [0; ROW];
        let offset = MAGIC.len() as u64 + u64::from(at) * ROW as u64;
        self.file.as_ref()?.read_exact_at(&mut row, offset).ok()?;
        Some(row)
    }
}

/// Rows on their way to the disk.
#[derive(Debug)]
struct Noted {
    file: DigestWriter<PendingFile>,
    /// Whether there is any that was not known.
    is_news: bool,
}

impl Noted {
    fn begin(path: &Path, clock: impl Fn(&PendingFile) -> Result<Moment>) -> Result<(Self, Moment)> {
        let file = PendingFile::begin(path)?;
        // The clock that counts is that behind the times of files.
        let begun = clock(&file)?;
        let mut file = DigestWriter::new(file, Algorithm::Blake3);
        file.write_all(MAGIC)?;
        Ok((Self { file, is_news: false }, begun))
    }
}

impl StatCache {
    /// Reads the cache at `old` if there is one, and begins one that [`StatCache::save`] will put at `path`. To be
    /// called before the walk. `manifest` is the BLAKE3 digest of the text that the rows are to agree with.
    pub(super) fn begin(old: &Path, path: &Path, manifest: Option<&Digest>) -> Self {
        let known = Known::read(old, MAX_ROWS).unwrap_or_default();
        let of_manifest =
            manifest.is_some_and(|sum| known.file.is_some() && known.manifest == sum.as_bytes());
        let begun = Noted::begin(path, PendingFile::clock).ok();
        Self::new(known, of_manifest, begun)
    }

    /// Reads the cache at `path` if there is one, for a walk that notes nothing.
    pub(super) fn to_read(path: &Path) -> Self {
        Self::new(Known::read(path, MAX_ROWS).unwrap_or_default(), false, None)
    }

    /// Begins a cache for a tree that was written just now: the clock goes on first, so that what was written last is old
    /// enough to be noted.
    pub(super) fn begin_after_writing(path: &Path) -> Self {
        Self::new(Known::default(), false, Noted::begin(path, next_tick).ok())
    }

    fn new(known: Known, of_manifest: bool, begun: Option<(Noted, Moment)>) -> Self {
        let (noted, begun) = begun.unzip();
        Self {
            of_manifest,
            held: known.rows.iter().map(|_| AtomicBool::new(false)).collect(),
            known,
            begun: begun.unwrap_or_default(),
            noted: Mutex::new(noted),
        }
    }

    /// Returns the row of a path that has not changed since it was noted.
    fn current(&self, path: &TreePath, inode: &Inode) -> Option<usize> {
        let at = self.known.find(&hash_path(path))?;
        (self.known.rows[at].0[HASH..2 * HASH] == hash_stat(inode)).then_some(at)
    }

    /// Returns whether nothing about a path has changed since the manifest said the same of it.
    pub(super) fn holds(&self, path: &TreePath, inode: &Inode) -> bool {
        let Some(at) = self.current(path, inode).filter(|_| self.of_manifest) else {
            return false;
        };
        let same = self.known.rows[at].0[2 * HASH] & SAME != 0;
        self.held[at].store(same, Ordering::Relaxed);
        same
    }

    /// Returns whether [`StatCache::holds`] has found all of the manifest.
    pub(super) fn all_hold(&self) -> bool {
        let held = self.held.iter().filter(|h| h.load(Ordering::Relaxed)).count();
        self.of_manifest && self.known.count == held as u64
    }

    /// Returns whether [`StatCache::holds`] has found this path.
    pub(super) fn held(&self, path: &PathHash) -> bool {
        let at = self.known.find(path);
        at.is_some_and(|at| self.held[at].load(Ordering::Relaxed))
    }

    /// Returns the digest of a file that has not changed since it was noted.
    pub(super) fn digest(&self, path: &TreePath, inode: &Inode) -> Option<Digest> {
        let (row, at) = &self.known.rows[self.current(path, inode)?];
        if row[2 * HASH] & HAS_DIGEST == 0 {
            return None;
        }
        let row = self.known.whole(*at)?;
        Digest::from_bytes(Algorithm::Sha256, &row[DIGEST_AT..])
    }

    /// Returns the number that a device had when the manifest was written, whatever became of it since.
    pub(super) fn device_number(&self, path: &TreePath) -> Option<(u32, u32)> {
        let (row, at) = &self.known.rows[self.known.find(&hash_path(path))?];
        if !self.of_manifest || row[2 * HASH] & (SAME | HAS_NUMBER) != SAME | HAS_NUMBER {
            return None;
        }
        let row = self.known.whole(*at)?;
        let number = u64::from_le_bytes(array(&row[DIGEST_AT..]));
        Some((number as u32, (number >> 32) as u32))
    }

    /// Notes a path as it was found on this walk, with the digest of its content if that is known, and whether the
    /// manifest says the same.
    pub(super) fn put(&self, path: &TreePath, inode: &Inode, digest: Option<&Digest>, same: bool) {
        let (dev, time) = self.begun;
        // Another file system may have another clock, and what changed in this tick may change once more in it.
        if dev != inode.dev || inode.ctime >= time {
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
        if let Some((major, minor)) = inode.node.kind.device_number() {
            row[2 * HASH] |= HAS_NUMBER;
            let number = u64::from(minor) << 32 | u64::from(major);
            row[DIGEST_AT..DIGEST_AT + 8].copy_from_slice(&number.to_le_bytes());
        }
        // A file of the same metadata has the same content.
        let known = self.known.find(&hash_path(path)).map(|at| self.known.rows[at].0);
        let is_news = known != Some(array(&row));
        lock(&self.noted).take_if(|noted| {
            noted.is_news |= is_news;
            noted.file.write_all(&row).is_err()
        });
    }

    /// Writes what was noted and what was found to hold, for a manifest of `count` paths, if that is news. A cache that
    /// cannot be written is no loss.
    pub(super) fn save(self, manifest: &Digest, count: u64) {
        let noted = self.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = noted
            && (noted.is_news || !self.of_manifest)
        {
            let _ = finish(noted.file, &self.known, &self.held, manifest, count);
        }
    }
}

/// The time by the clock of the file system as soon as it has gone on, or the same if it does not within [`TICK`].
fn next_tick(file: &PendingFile) -> Result<Moment> {
    let (first, until) = (file.clock()?, Instant::now() + TICK);
    loop {
        let now = file.clock()?;
        if now != first || Instant::now() > until {
            return Ok(now);
        }
        std::thread::sleep(TICK / 40);
    }
}

/// Adds the rows that were held, in the order of the old file, and the tail.
fn finish(
    mut file: DigestWriter<PendingFile>,
    known: &Known,
    held: &[AtomicBool],
    manifest: &Digest,
    count: u64,
) -> Result<()> {
    let rows = known.rows.iter().zip(held);
    let held = rows.filter(|(_, held)| held.load(Ordering::Relaxed));
    let mut held: Vec<u32> = held.map(|((_, at), _)| *at).collect();
    held.sort_unstable();
    for at in held {
        let Some(row) = known.whole(at) else {
            fail!(Io, "the stat cache cannot be read again");
        };
        file.write_all(&row)?;
    }
    file.write_all(manifest.as_bytes())?;
    file.write_all(&count.to_le_bytes())?;
    let (mut file, sum, _) = file.finish();
    file.write_all(sum.as_bytes())?;
    file.commit()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn hash_stat(inode: &Inode) -> [u8; HASH] {
    let node = &inode.node;
    let (major, minor) = node.kind.device_number().unwrap_or_default();
    let mut hasher = Hasher::new(Algorithm::Blake3);
    for word in [inode.dev, inode.ino, inode.size, inode.nlink] {
        hasher.update(&word.to_le_bytes());
    }
    for word in [major, minor, node.mode, node.uid, node.gid] {
        hasher.update(&word.to_le_bytes());
    }
    for time in [node.mtime, inode.ctime] {
        hasher.update(&time.sec.to_le_bytes());
        hasher.update(&time.nsec.to_le_bytes());
    }
    hasher.update(node.kind.name().as_bytes());
    array(hasher.finish().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Root;

    fn inode(dir: &std::path::Path) -> Inode {
        let root = Root::open(dir).expect("root");
        let top = root.dir(&TreePath::root()).expect("root");
        root.stat(&top, b"file").expect("stat").expect("file")
    }

    fn name() -> TreePath {
        TreePath::clean(b"file").expect("path")
    }

    fn sum(manifest: u8) -> Digest {
        Digest::of(Algorithm::Blake3, &[manifest])
    }

    fn noted(cache: &StatCache) -> usize {
        let noted = cache.noted.lock().expect("rows");
        let written = noted.as_ref().expect("file").file.written as usize;
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
            let cache = StatCache::begin(&path, &path, None);
            cache.put(&name(), &file, Some(&digest), true);
            if noted(&cache) > 0 {
                cache.save(&sum(7), 1);
                break;
            }
        }
        let again = |manifest| StatCache::begin(&path, &path, Some(&sum(manifest)));
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
        let is_whole = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("write");
            Known::read(&path, MAX_ROWS).is_ok()
        };
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!is_whole(&bytes), "damage at {at}");
            bytes[at] ^= 1;
        }
        assert!(is_whole(&bytes) && !is_whole(&bytes[..bytes.len() - 1]) && !is_whole(b""));
        std::fs::write(&path, &bytes).expect("write");
        assert!(Known::read(&path, 1).is_ok());
        assert!(Known::read(&path, 0).is_err(), "more rows than a tree has paths");
    }

    #[test]
    fn a_pipe_is_no_cache() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("x.stat");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).expect("pipe");
        assert!(Known::read(&path, MAX_ROWS).is_err());
    }

    #[test]
    fn a_file_as_young_as_the_walk_is_not_noted() {
        let dir = tempfile::tempdir().expect("dir");
        let cache = StatCache::begin(&dir.path().join("none"), &dir.path().join("x.stat"), None);
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
