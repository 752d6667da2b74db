// SPDX-License-Identifier: Apache-2.0
//! What is known of the contents of files from their metadata, so that a repack reads only what changed.
//!
//! A file beside the manifest of the bundle, as git's index is: a hash of device, inode, size, mtime and ctime, and the
//! digest that the content had then. A file that changed in the same tick of the clock in which it was looked at could
//! look the same afterwards; so only those are noted whose ctime is older than the walk that found them. It may be
//! deleted at any time, and whatever is odd about it only means that files are read.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::node::{Inode, Time};

const MAGIC: &[u8] = b"umoci-stat-1\n";
const KEY: usize = 16;
const VALUE: usize = 32;
const SUM: usize = 32;

/// A cache that is larger than this is not read, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// Digests of contents, by metadata.
#[derive(Debug)]
pub(super) struct StatCache {
    path: PathBuf,
    known: HashMap<[u8; KEY], [u8; VALUE]>,
    found: HashMap<[u8; KEY], [u8; VALUE]>,
    /// Device and time of the beginning of the walk, by the clock of the file system; `None` if that is not known,
    /// and nothing can be noted.
    begun: Option<(u64, Time)>,
}

impl StatCache {
    /// Reads the cache at `old` if there is one, and begins one that [`StatCache::save`] will write to `path`. To be
    /// called before the walk.
    pub(super) fn begin(old: Option<&PathBuf>, path: PathBuf) -> Self {
        let bytes = old.and_then(|old| crate::fs::read_file(old, MAX_FILE).ok());
        // The clock that counts is that behind the times of files.
        let probe = path.with_extension("stat.new");
        let begun = crate::fs::touch(&probe).ok();
        crate::fs::remove_file(&probe);
        Self {
            path,
            known: bytes.and_then(|bytes| parse(&bytes)).unwrap_or_default(),
            found: HashMap::new(),
            begun,
        }
    }

    /// The digest of a file that has not changed since it was noted.
    pub(super) fn get(&self, inode: &Inode) -> Option<Digest> {
        let value = self.known.get(&key(inode))?;
        Digest::from_bytes(Algorithm::Sha256, value)
    }

    /// Notes the digest of a file as it was found on this walk.
    pub(super) fn put(&mut self, inode: &Inode, digest: &Digest) {
        let settled = self
            .begun
            .is_some_and(|(dev, time)| dev == inode.dev && inode.ctime < time);
        if settled && let Ok(value) = digest.as_bytes().try_into() {
            self.found.insert(key(inode), value);
        }
    }

    /// Writes what was noted, if that is news. A cache that cannot be written is no loss.
    pub(super) fn save(self) {
        if self.found.iter().any(|(k, v)| self.known.get(k) != Some(v)) {
            self.save_all();
        }
    }

    /// Writes what was noted.
    pub(super) fn save_all(self) {
        let mut rows: Vec<_> = self.found.into_iter().collect();
        rows.sort_unstable();
        let mut out = MAGIC.to_vec();
        for (k, v) in rows {
            out.extend(k);
            out.extend(v);
        }
        let sum = Digest::of(Algorithm::Blake3, &out);
        out.extend(sum.as_bytes());
        let _ = crate::fs::replace_file(&self.path, &out);
    }
}

fn key(inode: &Inode) -> [u8; KEY] {
    let mut hasher = Hasher::new(Algorithm::Blake3);
    for word in [inode.dev, inode.ino, inode.size] {
        hasher.update(&word.to_le_bytes());
    }
    for time in [inode.node.mtime, inode.ctime] {
        hasher.update(&time.sec.to_le_bytes());
        hasher.update(&time.nsec.to_le_bytes());
    }
    let mut out = [0; KEY];
    out.copy_from_slice(&hasher.finish().as_bytes()[..KEY]);
    out
}

fn parse(bytes: &[u8]) -> Option<HashMap<[u8; KEY], [u8; VALUE]>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if Digest::of(Algorithm::Blake3, body).as_bytes() != sum {
        return None;
    }
    let rows = body.strip_prefix(MAGIC)?.chunks(KEY + VALUE);
    rows.map(|row| {
        let (k, v) = row.split_at_checked(KEY)?;
        Some((k.try_into().ok()?, v.try_into().ok()?))
    })
    .collect()
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
            let mut cache = StatCache::begin(None, path.clone());
            cache.put(&file, &digest);
            if !cache.found.is_empty() {
                cache.save();
                break;
            }
        }
        let again = || StatCache::begin(Some(&path), path.clone());
        assert_eq!(again().get(&file), Some(digest));
        std::fs::write(tree.join("file"), "CONTENT").expect("write");
        let same_size = inode(&tree);
        assert_eq!(again().get(&same_size), None);
        let mut bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(parse(&bytes).is_none(), "damage at {at}");
            bytes[at] ^= 1;
        }
        assert!(
            parse(&bytes).is_some() && parse(&bytes[..bytes.len() - 1]).is_none() && parse(b"").is_none()
        );
    }

    #[test]
    fn a_file_as_young_as_the_walk_is_not_noted() {
        let dir = tempfile::tempdir().expect("dir");
        let mut cache = StatCache::begin(None, dir.path().join("x.stat"));
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        std::fs::write(tree.join("file"), "content").expect("write");
        let mut file = inode(&tree);
        let digest = Digest::sha256(b"content");
        cache.put(&file, &digest);
        assert!(cache.found.is_empty());
        file.ctime.sec -= 1;
        file.dev += 1;
        cache.put(&file, &digest);
        assert!(
            cache.found.is_empty(),
            "another file system may have another clock"
        );
        file.dev -= 1;
        cache.put(&file, &digest);
        assert_eq!(cache.found.len(), 1);
    }
}
