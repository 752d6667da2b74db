// SPDX-License-Identifier: Apache-2.0
//! State of one layer while it is applied: the paths that it has touched, and the work that is left for its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::layer::Limits;
use crate::node::{Node, PathSet, Time, TreePath};

/// The layer that is being applied.
#[derive(Default)]
pub(super) struct LayerState {
    /// Whether lower layers, or another program, may have put something in the tree.
    below: bool,
    /// Paths of entries and all paths above them.
    touched: PathSet,
    /// Directories below which nothing of lower layers is left: it does not come back.
    hidden: PathSet,
    /// Directories that were only made on the way to somewhere else: the layer has nothing there.
    passed: BTreeSet<TreePath>,
    /// Paths of the symbolic links that this layer wrote: a whiteout below one of them was never meant for its target.
    pub links: PathSet,
    /// Hard links whose targets have not come so far, by path.
    pub late: BTreeMap<TreePath, TreePath>,
    /// Metadata of directories that is set when the layer ends.
    pub dirs: BTreeMap<TreePath, DeferredMetadata>,
    /// Bytes of the paths and extended attributes that are kept, and their maximum.
    kept_bytes: u64,
    max_kept: u64,
}

/// Metadata that a directory gets when the layer ends.
pub(super) enum DeferredMetadata {
    /// The metadata of its entry.
    Entry(Box<Node>),
    /// The time that it had: only its children have changed.
    Time(Time),
}

impl LayerState {
    /// Begins a layer that may keep `max_kept` bytes of paths and attributes; `below` if there may be something for it to hide.
    pub fn new(below: bool, max_kept: u64) -> Self {
        Self {
            below,
            max_kept,
            ..Self::default()
        }
    }

    /// Returns whether the layer has an entry at `path` or below it.
    pub fn has_touched(&self, path: &TreePath) -> bool {
        self.touched.contains(path)
    }

    /// Notes that the layer has something at `path`.
    pub fn touch(&mut self, path: &TreePath) {
        // An entry takes the place of a link that waits for its target.
        self.late.remove(path);
        // Paths are noted for the sake of whiteouts alone, which have nothing to hide in the lowest layer.
        if self.below {
            let added = self.touched.insert_with_above(path);
            for path in std::iter::once(path.clone()).chain(path.ancestors()).take(added) {
                self.passed.remove(&path);
            }
        }
    }

    /// Notes a directory that is made on the way to somewhere else.
    pub fn pass(&mut self, path: &TreePath) {
        self.late.remove(path);
        if self.below && !self.has_touched(path) {
            self.passed.insert(path.clone());
        }
    }

    /// Forgets the directories below `path` that were made on the way to somewhere else; returns them, the deepest last.
    pub fn take_passed(&mut self, path: &TreePath) -> Vec<TreePath> {
        let passed: Vec<TreePath> = self.passed.range(path.below()).cloned().collect();
        for path in &passed {
            self.passed.remove(path);
        }
        passed
    }

    /// Notes that lower layers have nothing left below `dir`; returns `false` if that was known.
    pub fn hide_below(&mut self, dir: &TreePath) -> bool {
        self.hidden.insert(dir)
    }

    /// Forgets what was to be done at and below a directory or link that is gone.
    pub fn forget(&mut self, path: &TreePath) {
        self.dirs.remove(path);
        self.passed.remove(path);
        self.take_passed(path);
        remove_below(&mut self.dirs, path);
        remove_below(&mut self.late, path);
    }

    /// Notes the metadata of the entry of a directory, which it gets when the layer ends.
    pub fn defer_entry(&mut self, path: TreePath, node: Node) -> Result<()> {
        let xattrs = node.xattrs.iter().map(|(name, value)| name.len() + value.len());
        self.charge(path.as_bytes().len() + xattrs.sum::<usize>())?;
        self.dirs.insert(path, DeferredMetadata::Entry(Box::new(node)));
        Ok(())
    }

    /// Notes the time that a directory without an entry gets back when the layer ends.
    pub fn defer_mtime(&mut self, path: TreePath, mtime: Time) -> Result<()> {
        self.charge(path.as_bytes().len())?;
        self.dirs.insert(path, DeferredMetadata::Time(mtime));
        Ok(())
    }

    /// Counts bytes that are kept until the layer ends.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](crate::error::ErrorKind::Limit) over the maximum.
    pub fn charge(&mut self, bytes: usize) -> Result<()> {
        self.kept_bytes += bytes as u64;
        let what = "paths and attributes of directories and links";
        Limits::check("directories", what, self.kept_bytes, self.max_kept)
    }
}

/// Removes the paths below `path`, without a look at any other.
fn remove_below<V>(map: &mut BTreeMap<TreePath, V>, path: &TreePath) {
    let gone: Vec<TreePath> = map.range(path.below()).map(|(key, _)| key.clone()).collect();
    for key in gone {
        map.remove(&key);
    }
}
