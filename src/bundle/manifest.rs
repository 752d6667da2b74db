// SPDX-License-Identifier: Apache-2.0
//! The mtree manifest of a bundle, written from the metadata on disk and the digests that are known already.

use super::stat_cache::StatCache;
use super::{Bundle, contents};
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::{Result, ResultExt};
use crate::fs::{PendingFile, Root};
use crate::mtree::{Header, MtreeWriter, line};
use crate::node::NodeKind;
use crate::progress::Monitor;
use crate::rootfs::{FileDigests, par_walk};

/// Source of digests of the files of a tree, so that the files need not be read.
pub(super) enum Known<'a> {
    /// The tree was unpacked just now, with these digests.
    Unpacked(&'a FileDigests),
    /// The tree had this manifest before, and a stat cache beside it.
    Before(&'a Digest),
}

/// Walks the tree of `bundle` and writes the mtree manifest of it, which is named for the image manifest `image`. Only files that
/// are not `known` are read.
pub(super) fn write(
    root: &Root,
    bundle: &Bundle,
    image: &Digest,
    header: &Header,
    known: &Known<'_>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let cache = bundle.stat_cache(image);
    let cache = match known {
        Known::Unpacked(_) => StatCache::begin_after_writing(&cache),
        Known::Before(old) => StatCache::begin(&bundle.stat_cache(old), &cache, None),
    };
    let header = Header {
        tree: bundle.rootfs().display().to_string(),
        ..header.clone()
    };
    let file = PendingFile::begin(&bundle.mtree(image))?;
    let mut writer = MtreeWriter::new(DigestWriter::new(file, Algorithm::Blake3), &header)?;
    let task = monitor.task("reading the tree", None);
    par_walk(
        root,
        |mut seen| {
            task.advance(0);
            let mut digest = None;
            if let NodeKind::File { .. } = seen.inode.node.kind {
                let known = match known {
                    Known::Unpacked(digests) => digests.get(&seen.inode),
                    Known::Before(_) => cache.digest(&seen.path, &seen.inode),
                };
                digest = Some(match known {
                    Some(known) => known,
                    None => contents::sha256(root, &seen.path, &*task)?,
                });
            }
            seen.inode.node.xattrs = seen.xattrs()?;
            cache.put(&seen.path, &seen.inode, digest.as_ref(), true);
            let line = line(&seen.inode, digest.as_ref());
            Ok((seen.path, line))
        },
        |(path, line)| writer.add(&path, &line),
    )
    .context(|| format!("read the tree {}", bundle.rootfs().display()))?;
    let (out, count) = writer.finish()?;
    let (file, sum, _) = out.finish();
    file.commit()?;
    // The cache names the sum of the manifest: without the manifest it would say nothing.
    cache.save(&sum, count);
    Ok(())
}
