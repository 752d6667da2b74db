// SPDX-License-Identifier: Apache-2.0
//! The manifest file of a bundle: written from the disk's metadata and digests that are known already, and compared
//! with the disk.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use super::Bundle;
use super::stat_cache::StatCache;
use crate::digest::{Algorithm, Digest, DigestWriter, Hasher};
use crate::error::{Result, ResultExt};
use crate::fs::{PendingFile, Root};
use crate::mtree::{Header, Keyword, Keywords, Mtree, MtreeWriter, line};
use crate::node::{ChangeKind, Inode, NodeKind, PathHash, Time, TreePath};
use crate::progress::{Counter, Monitor, Task};
use crate::rootfs::{Changes, FileDigests, Seen, survey};

/// Walks the tree and writes its manifest. Only files that `known` does not have are read.
pub(super) fn write(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    header: &Header,
    known: &FileDigests,
    monitor: &dyn Monitor,
) -> Result<()> {
    let cache = StatCache::begin_after_writing(&bundle.stat_cache(manifest));
    let known = |_: &StatCache, seen: &Seen<'_>| known.get(&seen.inode);
    take(root, &bundle.mtree(manifest), header, known, cache, monitor)
}

/// Walks the tree, which was that of manifest `old`, and replaces its manifest by that of `new`.
pub(super) fn rewrite(
    root: &Root,
    bundle: &Bundle,
    (old, new): (&Digest, &Digest),
    header: &Header,
    monitor: &dyn Monitor,
) -> Result<()> {
    let cache = StatCache::begin(Some(&bundle.stat_cache(old)), &bundle.stat_cache(new), None);
    let known = |cache: &StatCache, seen: &Seen<'_>| cache.digest(&seen.path, &seen.inode);
    take(root, &bundle.mtree(new), header, known, cache, monitor)
}

/// Writes the manifest of the tree as it is now to `path`.
fn take(
    root: &Root,
    path: &Path,
    header: &Header,
    known: impl Fn(&StatCache, &Seen<'_>) -> Option<Digest> + Sync,
    cache: StatCache,
    monitor: &dyn Monitor,
) -> Result<()> {
    let out = DigestWriter::new(PendingFile::begin(path)?, Algorithm::Blake3);
    let mut writer = MtreeWriter::new(out, header)?;
    let task = monitor.task("reading the tree", None);
    let visit = |mut seen: Seen<'_>| {
        task.advance(0);
        let digest = match &seen.inode.node.kind {
            NodeKind::File { .. } => Some(match known(&cache, &seen) {
                Some(digest) => digest,
                None => sha256(root, &seen.path, &*task, monitor)?,
            }),
            _ => None,
        };
        seen.inode.node.xattrs = seen.xattrs()?;
        cache.put(&seen.path, &seen.inode, digest.as_ref(), true);
        let line = line(&seen.inode, digest.as_ref());
        Ok((seen.path, line))
    };
    survey(root, visit, |(path, line)| writer.add(&path, &line))?;
    let (out, count) = writer.finish()?;
    let (file, sum, _) = out.finish();
    file.commit()?;
    cache.save(&sum, count);
    Ok(())
}

/// Adds to `out` how the tree differs from its manifest.
///
/// Only metadata is read of what the stat cache knows, and the manifest is read through only if that is not all.
pub(super) fn changes(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    out: &mut Changes<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let path = bundle.mtree(manifest);
    let sum = blake3(&path)?;
    let stat_cache = bundle.stat_cache(manifest);
    let cache = StatCache::begin(Some(&stat_cache), &stat_cache, Some(&sum));
    let recorded = OnceLock::new();
    let written = crate::fs::modified(&path)?;
    let keywords = Keywords::umoci();
    let task = monitor.task("comparing", None);
    let visit = |mut seen: Seen<'_>| {
        task.advance(0);
        if cache.holds(&seen.path, &seen.inode) {
            return Ok(None);
        }
        let Ok(recorded) = recorded.get_or_init(|| parse(&path)) else {
            fail!(Corrupt, "the manifest cannot be read");
        };
        seen.inode.node.xattrs = seen.xattrs()?;
        let digest = OnceLock::new();
        let value = |path: &TreePath, inode: &Inode, _: Keyword| {
            let known = match cache.digest(path, inode) {
                Some(digest) => digest,
                None => sha256(root, path, &*task, monitor)?,
            };
            let digest = digest.get_or_init(|| known);
            Ok(crate::digest::hex(digest.as_bytes()))
        };
        let found = recorded.compare(&seen.path, &seen.inode, &keywords, &value)?;
        let kind = match found {
            None if is_another_device(&cache, &seen, written) => Some(ChangeKind::Modified),
            found => found.map(|found| found.kind),
        };
        cache.put(&seen.path, &seen.inode, digest.get(), kind.is_none());
        Ok(kind.map(|kind| (seen.path, kind, linked_file(&seen.inode))))
    };
    // Files that differ and have other names.
    let mut split = HashSet::new();
    let walked = survey(root, visit, |found| {
        let Some((path, kind, file)) = found else {
            return Ok(());
        };
        split.extend(file);
        out.push(path, kind)
    });
    let recorded = match recorded.into_inner() {
        Some(recorded) => recorded?,
        None if walked.is_ok() && cache.all_hold() => return Ok(()),
        None => parse(&path)?,
    };
    walked?;
    let held = |path: &PathHash| cache.held(path);
    let removed = recorded.missing(held, |path| out.push(path, ChangeKind::Removed));
    removed.doing("read", &path)?;
    cache.save(&sum, recorded.len() as u64);
    if split.is_empty() {
        return Ok(());
    }
    all_names(root, &split, out)
}

/// Whether a device may have another number than when the manifest, which has none, was `written`. Where nothing else knows
/// the number (another program made the bundle), a device that was made or changed later counts as another one.
fn is_another_device(cache: &StatCache, seen: &Seen<'_>, written: Time) -> bool {
    let number = seen.inode.node.kind.device_number();
    number.is_some_and(|number| match cache.device_number(&seen.path) {
        Some(known) => known != number,
        None => seen.inode.ctime > written,
    })
}

/// Adds all names of `files`. A layer that has one name of a file has all of them, else they would be two files when it
/// is unpacked.
fn all_names(root: &Root, files: &HashSet<(u64, u64)>, out: &mut Changes<'_>) -> Result<()> {
    let visit = |seen: Seen<'_>| {
        let is_one = linked_file(&seen.inode).is_some_and(|file| files.contains(&file));
        Ok(is_one.then_some(seen.path))
    };
    survey(root, visit, |path| match path {
        Some(path) => out.push(path, ChangeKind::Modified),
        None => Ok(()),
    })
}

fn parse(path: &Path) -> Result<Mtree<File>> {
    Mtree::parse(crate::fs::open_regular(path)?).doing("parse", &path)
}

fn blake3(path: &Path) -> Result<Digest> {
    let mut file = crate::fs::open_regular(path)?;
    let mut hasher = Hasher::new(Algorithm::Blake3);
    read(&mut file, |bytes| hasher.update(bytes)).doing("read", &path)?;
    Ok(hasher.finish())
}

/// Which file it is, if it may have several names.
fn linked_file(inode: &Inode) -> Option<(u64, u64)> {
    (inode.nlink > 1 && !inode.node.is_dir()).then_some((inode.dev, inode.ino))
}

fn sha256(root: &Root, path: &TreePath, task: &dyn Task, monitor: &dyn Monitor) -> Result<Digest> {
    let mut file = root.open_file(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    monitor.count(Counter::FilesRead, 1);
    read(&mut file, |bytes| {
        hasher.update(bytes);
        monitor.count(Counter::BytesHashed, bytes.len() as u64);
        task.advance(bytes.len() as u64);
    })
    .context(|| format!("read {path}"))?;
    Ok(hasher.finish())
}

fn read(file: &mut File, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        each(&buffer[..n]);
    }
}
