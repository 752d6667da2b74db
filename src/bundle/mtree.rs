// SPDX-License-Identifier: Apache-2.0
//! The manifest file of a bundle: written from the disk's metadata and digests that are known already, and compared
//! with the disk.

use super::Bundle;
use super::stat_cache::StatCache;
use crate::digest::{Digest, Hasher};
use crate::error::{Result, ResultExt};
use crate::fs::Root;
use crate::mtree::{Header, Keyword, Keywords, Mtree, compare};
use crate::node::{Change, Inode, NodeKind, TreePath};
use crate::progress::{Counter, Monitor, Task};
use crate::rootfs::{FileDigests, scan};

/// A manifest file larger than this is refused, in bytes.
const MAX_FILE: u64 = 4 << 30;

/// Walks the tree and writes its manifest; the file must not exist. Only files that `known` does not have are read.
pub(super) fn write(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    header: &Header,
    known: &FileDigests,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut cache = StatCache::begin(None, bundle.stat_cache(manifest));
    let mtree = take(root, |inode, _| known.get(inode), &mut cache, monitor)?;
    crate::fs::write_new(&bundle.mtree(manifest), &mtree.format(header))?;
    cache.save();
    Ok(())
}

/// Walks the tree, which was that of manifest `old`, and replaces its manifest by that of `new`.
pub(super) fn rewrite(
    root: &Root,
    bundle: &Bundle,
    (old, new): (&Digest, &Digest),
    header: &Header,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut cache = StatCache::begin(Some(&bundle.stat_cache(old)), bundle.stat_cache(new));
    let mtree = take(root, |inode, cache| cache.get(inode), &mut cache, monitor)?;
    crate::fs::replace_file(&bundle.mtree(new), &mtree.format(header))?;
    cache.save_all();
    Ok(())
}

/// The manifest of the tree as it is now.
fn take(
    root: &Root,
    known: impl Fn(&Inode, &StatCache) -> Option<Digest>,
    cache: &mut StatCache,
    monitor: &dyn Monitor,
) -> Result<Mtree> {
    let mut mtree = Mtree::new();
    let task = monitor.task("reading the tree", None);
    for item in scan(root)? {
        let (path, inode) = item?;
        task.advance(0);
        let digest = match &inode.node.kind {
            NodeKind::File { .. } => {
                let digest = match known(&inode, cache) {
                    Some(digest) => digest,
                    None => sha256(root, &path, &*task, monitor)?,
                };
                cache.put(&inode, &digest);
                Some(digest)
            }
            _ => None,
        };
        mtree.insert(path, &inode, digest.as_ref());
    }
    Ok(mtree)
}

/// How the tree differs from its manifest, in the order of paths.
pub(super) fn changes(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    monitor: &dyn Monitor,
) -> Result<Vec<Change>> {
    let path = bundle.mtree(manifest);
    let bytes = crate::fs::read_file(&path, MAX_FILE)?;
    let recorded = Mtree::parse(&bytes).context(|| format!("parse {}", path.display()))?;
    drop(bytes);
    let task = monitor.task("comparing", None);
    let path = bundle.stat_cache(manifest);
    let mut cache = StatCache::begin(Some(&path), path.clone());
    let mut value = |path: &TreePath, inode: &Inode, _: Keyword| {
        let digest = match cache.get(inode) {
            Some(digest) => digest,
            None => sha256(root, path, &*task, monitor)?,
        };
        cache.put(inode, &digest);
        Ok(crate::digest::hex(digest.as_bytes()))
    };
    let items = scan(root)?.inspect(|_| task.advance(0));
    let found = compare(&recorded, items, &Keywords::umoci(), &mut value)?;
    cache.save();
    Ok(found
        .into_iter()
        .map(|d| Change {
            path: d.path,
            kind: d.kind,
        })
        .collect())
}

fn sha256(root: &Root, path: &TreePath, task: &dyn Task, monitor: &dyn Monitor) -> Result<Digest> {
    use std::io::Read as _;
    let mut file = root.open_file(path)?;
    let mut hasher = Hasher::new(crate::digest::Algorithm::Sha256);
    let mut buffer = vec![0; 128 * 1024];
    monitor.count(Counter::FilesRead, 1);
    loop {
        let n = file.read(&mut buffer).context(|| format!("read {path}"))?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..n]);
        monitor.count(Counter::BytesHashed, n as u64);
        task.advance(n as u64);
    }
}
