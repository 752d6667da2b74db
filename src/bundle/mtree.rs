// SPDX-License-Identifier: Apache-2.0
//! The manifest file of a bundle: written from the disk's metadata and digests that are known already, and compared
//! with the disk.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Bundle;
use super::stat_cache::StatCache;
use crate::digest::{Digest, Hasher};
use crate::error::{Result, ResultExt};
use crate::fs::Root;
use crate::mtree::{Difference, Header, Keyword, Keywords, Mtree, compare};
use crate::node::{Change, ChangeKind, Inode, NodeKind, TreePath};
use crate::progress::{Counter, Monitor, Task};
use crate::rootfs::{FileDigests, Seen, survey};

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
    let cache = StatCache::begin(None, bundle.stat_cache(manifest), b"");
    let mtree = take(root, |seen| known.get(&seen.inode), &cache, monitor)?;
    let text = mtree.format(header);
    crate::fs::write_new(&bundle.mtree(manifest), &text)?;
    cache.save(&text, mtree.len());
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
    let cache = StatCache::begin(Some(&bundle.stat_cache(old)), bundle.stat_cache(new), b"");
    let mtree = take(
        root,
        |seen| cache.digest(&seen.path, &seen.inode),
        &cache,
        monitor,
    )?;
    let text = mtree.format(header);
    crate::fs::replace_file(&bundle.mtree(new), &text)?;
    cache.save(&text, mtree.len());
    Ok(())
}

/// The manifest of the tree as it is now.
fn take(
    root: &Root,
    known: impl Fn(&Seen<'_>) -> Option<Digest> + Sync,
    cache: &StatCache,
    monitor: &dyn Monitor,
) -> Result<Mtree> {
    let mtree = Mutex::new(Mtree::new());
    let task = monitor.task("reading the tree", None);
    survey(root, |mut seen| {
        task.advance(0);
        let digest = match &seen.inode.node.kind {
            NodeKind::File { .. } => Some(match known(&seen) {
                Some(digest) => digest,
                None => sha256(root, &seen.path, &*task, monitor)?,
            }),
            _ => None,
        };
        seen.inode.node.xattrs = seen.xattrs()?;
        cache.put(&seen.path, &seen.inode, digest.as_ref(), true);
        let line = Mtree::line(&seen.inode, digest.as_ref());
        let mut mtree = mtree.lock().unwrap_or_else(PoisonError::into_inner);
        mtree.insert_line(seen.path, line);
        Ok(())
    })?;
    Ok(mtree.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// How the tree differs from its manifest, in the order of paths.
///
/// Only metadata is read of what the stat cache knows, and of the manifest only what the cache does not.
pub(super) fn changes(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    monitor: &dyn Monitor,
) -> Result<Vec<Change>> {
    let path = bundle.mtree(manifest);
    let text = crate::fs::read_file(&path, MAX_FILE)?;
    let task = monitor.task("comparing", None);
    let stat_cache = bundle.stat_cache(manifest);
    let cache = StatCache::begin(Some(&stat_cache), stat_cache.clone(), &text);
    let suspects = Mutex::new(Vec::new());
    let linked = Mutex::new(Vec::new());
    survey(root, |mut seen| {
        task.advance(0);
        if let Some(file) = linked_file(&seen.inode) {
            let mut linked = linked.lock().unwrap_or_else(PoisonError::into_inner);
            linked.push((file, seen.path.clone()));
        }
        if !cache.holds(&seen.path, &seen.inode) {
            seen.inode.node.xattrs = seen.xattrs()?;
            let mut suspects = suspects.lock().unwrap_or_else(PoisonError::into_inner);
            suspects.push((seen.path, seen.inode));
        }
        Ok(())
    })?;
    let suspects = suspects.into_inner().unwrap_or_else(PoisonError::into_inner);
    if suspects.is_empty() && cache.all_hold() {
        return Ok(Vec::new());
    }
    let held = cache.held();
    let total = AtomicUsize::new(0);
    let recorded = Mtree::parse_only(&text, |path| {
        total.fetch_add(1, Ordering::Relaxed);
        !held(path)
    });
    let recorded = recorded.context(|| format!("parse {}", path.display()))?;
    let digests = Mutex::new(HashMap::new());
    let value = |path: &TreePath, inode: &Inode, _: Keyword| {
        let digest = match cache.digest(path, inode) {
            Some(digest) => digest,
            None => sha256(root, path, &*task, monitor)?,
        };
        let mut digests = digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.insert(path.clone(), digest);
        Ok(crate::digest::hex(digest.as_bytes()))
    };
    let found = compare(&recorded, suspects.clone(), &Keywords::umoci(), &value)?;
    let differing: HashSet<&TreePath> = found.iter().map(|d| &d.path).collect();
    let digests = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (path, inode) in &suspects {
        cache.put(path, inode, digests.get(path), !differing.contains(path));
    }
    drop(held);
    cache.save(&text, total.into_inner());
    // A layer that has one name of a file has all of them, else they would be two files when it is unpacked.
    let split: HashSet<(u64, u64)> = suspects
        .iter()
        .filter(|(path, _)| differing.contains(path))
        .filter_map(|(_, inode)| linked_file(inode))
        .collect();
    let linked = linked.into_inner().unwrap_or_else(PoisonError::into_inner);
    let others = linked
        .into_iter()
        .filter(|(file, path)| split.contains(file) && !differing.contains(path));
    let others: Vec<Change> = others
        .map(|(_, path)| Change {
            path,
            kind: ChangeKind::Modified,
        })
        .collect();
    let change = |d: Difference| Change {
        path: d.path,
        kind: d.kind,
    };
    let mut out: Vec<Change> = found.into_iter().map(change).collect();
    out.extend(others);
    out.sort_unstable();
    Ok(out)
}

/// Which file it is, if it may have several names.
fn linked_file(inode: &Inode) -> Option<(u64, u64)> {
    (inode.nlink > 1 && !inode.node.is_dir()).then_some((inode.dev, inode.ino))
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
