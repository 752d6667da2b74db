// SPDX-License-Identifier: Apache-2.0
//! The mtree manifest of a bundle, written from the metadata on disk and the digests that are known already.

use std::path::Path;

use super::stat_cache::StatCache;
use super::{Bundle, contents};
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::Result;
use crate::fs::{PendingFile, Root};
use crate::mtree::{Header, MtreeWriter, line};
use crate::node::NodeKind;
use crate::progress::Monitor;
use crate::rootfs::{FileDigests, Seen, survey};

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
                None => contents::sha256(root, &seen.path, &*task, monitor)?,
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
