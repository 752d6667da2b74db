// SPDX-License-Identifier: Apache-2.0
//! A manifest of a tree with the facts that bundles have.

use std::cmp::Ordering;

use crate::error::Result;
use crate::inside::{Contents, Item, sha256};
use crate::mtree::{Header, Keyword, Keywords, MtreeWriter, line_with};
use crate::node::{Inode, Node, NodeKind, Time, TreePath};

/// Adds the manifest of the items, which are sorted by their paths. It has no sizes and no counts of links: those of directories only a
/// file system knows, and a manifest has a fact for all paths or for none.
///
/// # Errors
/// None but those of memory.
pub fn write(out: &mut Vec<u8>, contents: &Contents, items: &[&Item], tree: &str) -> Result<()> {
    let header = Header {
        tree: tree.to_owned(),
        ..Header::default()
    };
    let mut paths: Vec<(TreePath, Option<&Item>)> = Vec::with_capacity(items.len());
    for item in items {
        paths.push((item.path.clone(), Some(item)));
        // A manifest names each directory on the way.
        let above = item.path.ancestors();
        let missing = above.take_while(|path| items.binary_search_by(|item| item.path.cmp(path)).is_err());
        paths.extend(missing.map(|path| (path.clone(), contents.find(&path))));
    }
    let is_dir = |item: Option<&Item>| item.is_none_or(|item| contents.is_dir(item));
    paths.sort_by(|(a, of_a), (b, of_b)| order((a, is_dir(*of_a)), (b, is_dir(*of_b))));
    paths.dedup_by(|(a, _), (b, _)| a == b);
    let mut keywords = Keywords::default();
    let facts = Keywords::umoci();
    let facts = facts
        .iter()
        .filter(|keyword| !matches!(keyword, Keyword::Size | Keyword::Nlink));
    facts.for_each(|keyword| keywords.add(*keyword));
    let mut writer = MtreeWriter::with_keywords(out, &header, keywords.clone())?;
    for (path, item) in &paths {
        let mut node = item.and_then(|item| contents.node_of(item)).cloned();
        let node = node.get_or_insert_with(|| Node::dir(0o755));
        if matches!(node.kind, NodeKind::Symlink { .. }) {
            // A link has no mode of its own on Linux, whatever its entry says.
            node.mode = 0o777;
        }
        let inode = Inode {
            node: node.clone(),
            size: item.map_or(0, |item| contents.size_of(item)),
            nlink: 1,
            dev: 0,
            ino: 0,
            ctime: Time::EPOCH,
        };
        let digest = item.and_then(|item| contents.content_of(item).digest.as_ref());
        let digest = digest.and_then(sha256);
        writer.add(
            path,
            &line_with(&inode, digest.as_ref(), keywords.iter().copied()),
        )?;
    }
    writer.finish()?;
    Ok(())
}

/// Compares two paths in the order of a manifest: a directory before what is in it, and there all else before directories.
fn order((a, a_is_dir): (&TreePath, bool), (b, b_is_dir): (&TreePath, bool)) -> Ordering {
    let (mut left, mut right) = (a.components().peekable(), b.components().peekable());
    loop {
        match (left.next(), right.next()) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                let one_is_dir = left.peek().is_some() || a_is_dir;
                let other_is_dir = right.peek().is_some() || b_is_dir;
                return one_is_dir.cmp(&other_is_dir).then_with(|| one.cmp(other));
            }
            (one, other) => return one.is_some().cmp(&other.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_before_directories() {
        let want = ["", "z", "a", "a/z", "a/b", "a/b/c", "a-", "a-/x"];
        let dirs = ["", "a", "a/b", "a-"];
        let is_dir = |path: &TreePath| dirs.iter().any(|dir| dir.as_bytes() == path.as_bytes());
        let paths = want.iter().rev().map(|path| TreePath::clean(path.as_bytes()));
        let mut paths: Vec<TreePath> = paths.collect::<Result<_>>().expect("paths");
        paths.sort_by(|a, b| order((a, is_dir(a)), (b, is_dir(b))));
        let sorted: Vec<&[u8]> = paths.iter().map(TreePath::as_bytes).collect();
        assert_eq!(sorted, want.map(str::as_bytes));
    }
}
