// SPDX-License-Identifier: Apache-2.0
//! A tree compared with its manifest: that of its bundle, whose stat cache spares most of the work, or any mtree manifest.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use super::stat_cache::StatCache;
use super::{Bundle, contents};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::fs::Root;
use crate::mtree::{Difference, Keywords, Mtree};
use crate::node::{ChangeKind, Inode, Time, TreePath};
use crate::progress::{Monitor, Task};
use crate::rootfs::{Changes, Visit, par_walk};

/// Maximum size of a manifest that comes through a pipe, in bytes: it cannot be read twice, so it is held.
const MAX_PIPE: u64 = 4 << 30;

/// Reads the manifest at `path`, a file or a pipe.
pub fn read_mtree(path: &Path) -> Result<Mtree> {
    let file = crate::fs::open_file(path)?;
    let mtree = if file.metadata().doing("stat", path)?.is_file() {
        Mtree::parse(file)
    } else {
        // Opened once: what writes to a pipe would not survive that its only reader goes.
        Mtree::parse(crate::fs::read_to_end(file, path, MAX_PIPE)?)
    };
    mtree.doing("parse", path)
}

/// Returns how the tree at `root` differs from `recorded` by the keywords `wanted`, sorted by path.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if the tree does not exist; whatever cannot be read.
pub fn validate(recorded: &Mtree, root: &Root, wanted: &Keywords) -> Result<Vec<Difference>> {
    let mut out = Vec::new();
    par_walk(
        root,
        |mut visit| {
            visit.inode.node.xattrs = visit.xattrs()?;
            recorded.compare(&visit.path, &visit.inode, wanted, &|path, inode, keyword| {
                contents::value(root, path, inode, keyword)
            })
        },
        |found| {
            out.extend(found);
            Ok(())
        },
    )?;
    // No cache vouches for a path here: all that was not met is missing.
    recorded.missing(
        |_| false,
        |path| {
            out.push(Difference::missing(path));
            Ok(())
        },
    )?;
    out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

/// Adds to `out` how the tree of `bundle` differs from its manifest; returns the manifest, if it was read.
///
/// Only metadata is read of what the stat cache knows, and the manifest is read through only if that is not all.
pub(super) fn changes(
    root: &Root,
    bundle: &Bundle,
    manifest: &Digest,
    out: &mut Changes<'_>,
    monitor: &dyn Monitor,
) -> Result<Option<Mtree>> {
    let path = bundle.mtree(manifest);
    let sum = contents::blake3(&path)?;
    let stat_cache = bundle.stat_cache(manifest);
    let comparison = Comparison {
        root,
        manifest: &path,
        recorded: OnceLock::new(),
        cache: StatCache::begin(&stat_cache, &stat_cache, Some(&sum)),
        written: crate::fs::modified(&path)?,
        keywords: Keywords::umoci(),
        task: monitor.task("comparing", None),
    };
    // Files that differ and have other names, some of which the walk may have passed before it met one that tells.
    let mut split = HashSet::new();
    let walked = par_walk(
        root,
        |seen| comparison.visit(seen),
        |found| {
            let Some((path, kind, file)) = found else {
                return Ok(());
            };
            split.extend(file);
            out.push(path, kind)
        },
    );
    let Comparison { cache, recorded, .. } = comparison;
    let recorded = match recorded.into_inner() {
        // Why it cannot be read comes before what the walk made of that.
        Some(recorded) => recorded?,
        None if walked.is_ok() && cache.all_hold() => return Ok(None),
        None => parse(&path)?,
    };
    walked?;
    recorded
        .missing(
            |path| cache.held(path),
            |path| out.push(path, ChangeKind::Removed),
        )
        .doing("read", &path)?;
    cache.save(&sum, recorded.count() as u64);
    if !split.is_empty() {
        add_all_names(root, &split, out)?;
    }
    Ok(Some(recorded))
}

/// State to compare one path of a tree with the manifest of its bundle. Threads share it.
struct Comparison<'a> {
    root: &'a Root,
    manifest: &'a Path,
    /// The manifest, parsed when the first path is met that the cache does not vouch for.
    recorded: OnceLock<Result<Mtree>>,
    cache: StatCache,
    /// When the manifest was written.
    written: Time,
    keywords: Keywords,
    task: Box<dyn Task>,
}

impl Comparison<'_> {
    /// Returns how a path differs, with the identity of its file if that may have other names; `None` if it does not differ.
    fn visit(&self, mut visit: Visit<'_>) -> Result<Option<(TreePath, ChangeKind, Option<FileId>)>> {
        self.task.advance(0);
        if self.cache.holds(&visit.path, &visit.inode) {
            return Ok(None);
        }
        let Ok(recorded) = self.recorded.get_or_init(|| parse(self.manifest)) else {
            fail!(Corrupt, "the manifest cannot be read");
        };
        visit.inode.node.xattrs = visit.xattrs()?;
        let digest = OnceLock::new();
        let found = recorded.compare(&visit.path, &visit.inode, &self.keywords, &|path, inode, _| {
            let known = self.digest(path, inode)?;
            Ok(crate::digest::hex(digest.get_or_init(|| known).as_bytes()))
        })?;
        let kind = match found {
            None if self.is_another_device(&visit) => Some(ChangeKind::Modified),
            found => found.map(|found| found.kind),
        };
        self.cache
            .put(&visit.path, &visit.inode, digest.get(), kind.is_none());
        Ok(kind.map(|kind| (visit.path, kind, visit.inode.linked_file())))
    }

    /// Returns the digest of a file, which is read only if the cache does not know it.
    fn digest(&self, path: &TreePath, inode: &Inode) -> Result<Digest> {
        match self.cache.digest(path, inode) {
            Some(digest) => Ok(digest),
            None => contents::sha256(self.root, path, &*self.task),
        }
    }

    /// Returns whether a device may have another number than when the manifest, which has none, was written. Where nothing
    /// else knows the number (another program made the bundle), a device that was made or changed later counts as another one.
    fn is_another_device(&self, visit: &Visit<'_>) -> bool {
        let number = visit.inode.node.kind.device_number();
        number.is_some_and(|number| match self.cache.device_number(&visit.path) {
            Some(known) => known != number,
            None => visit.inode.ctime > self.written,
        })
    }
}

/// Device and inode of a file.
type FileId = (u64, u64);

/// Adds all names of `files`. A layer that has one name of a file has all of them, else they would be two files when it
/// is unpacked.
fn add_all_names(root: &Root, files: &HashSet<FileId>, out: &mut Changes<'_>) -> Result<()> {
    par_walk(
        root,
        |seen| {
            let is_one = seen.inode.linked_file().is_some_and(|file| files.contains(&file));
            Ok(is_one.then_some(seen.path))
        },
        |path| path.map_or(Ok(()), |path| out.push(path, ChangeKind::Modified)),
    )
}

fn parse(path: &Path) -> Result<Mtree> {
    Mtree::parse(crate::fs::open_regular(path)?).doing("parse", path)
}
