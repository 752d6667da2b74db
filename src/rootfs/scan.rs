// SPDX-License-Identifier: Apache-2.0
//! A walk over a tree: every path with its metadata, the contents unread.

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::Root;
use crate::node::{Inode, NodeKind, TreePath};

/// All of a tree, depth first: a directory before what is in it, names sorted bytewise. The root comes first.
///
/// Holds the names of the directories on the way and nothing else of the tree. An item is an error for what cannot be read; a
/// name that vanishes during the walk is left out.
#[derive(Debug)]
pub struct TreeScan<'a> {
    root: &'a Root,
    /// Paths that are still to be visited, the next one last.
    stack: Vec<TreePath>,
}

/// Walks what is at and below `start`.
pub fn scan(root: &Root, start: TreePath) -> TreeScan<'_> {
    TreeScan {
        root,
        stack: vec![start],
    }
}

impl TreeScan<'_> {
    fn visit(&mut self, path: &TreePath) -> Result<Option<Inode>> {
        let Some((dir, name)) = self.root.own_parent(path).if_there()? else {
            return Ok(None);
        };
        let Some(mut inode) = self.root.stat(&dir, &name)? else {
            return Ok(None);
        };
        if matches!(
            inode.node.kind,
            NodeKind::File { .. } | NodeKind::Dir | NodeKind::Symlink { .. }
        ) {
            inode.node.xattrs = self.root.named(&dir, &name).xattrs()?;
        }
        if inode.node.is_dir() {
            let inside = self.root.own_dir(path)?;
            for child in self.root.list(&inside)?.iter().rev() {
                self.stack.push(path.join(child)?);
            }
        }
        Ok(Some(inode))
    }
}

impl Iterator for TreeScan<'_> {
    type Item = Result<(TreePath, Inode)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(path) = self.stack.pop() else {
                // The walk may have opened directories that refused it.
                return self.root.restore().err().map(Err);
            };
            match self.visit(&path) {
                Ok(Some(inode)) => return Some(Ok((path, inode))),
                Ok(None) if path.is_root() => {
                    let text = format!("{} does not exist", self.root.path().display());
                    return Some(Err(Error::new(ErrorKind::NotFound, text)));
                }
                Ok(None) => {}
                Err(err) => {
                    self.stack.clear();
                    return Some(Err(err));
                }
            }
        }
    }
}
