// SPDX-License-Identifier: Apache-2.0
//! All paths of the images of a report, each once, as a tree in preorder.

use rayon::slice::ParallelSliceMut as _;

use super::data::put;

/// A path whose slashes are NULs, so that the order of bytes is the preorder of the tree; the root is empty.
pub type Key = Vec<u8>;

/// Names and levels of a tree that grows in preorder.
#[derive(Default)]
pub struct PathColumns {
    pub same: Vec<u8>,
    pub names: Vec<u8>,
    pub up: Vec<u8>,
    /// Number of paths, without the root.
    pub count: u32,
    /// The path that was added last.
    last: Key,
}

/// Returns the key of a path.
pub fn key(path: &[u8]) -> Key {
    path.iter()
        .map(|byte| if *byte == b'/' { 0 } else { *byte })
        .collect()
}

/// Sorts entries by their paths, those of one path by their numbers.
pub fn sort<T: Ord + Send>(entries: &mut [(Key, T)]) {
    entries.par_sort_unstable();
}

impl PathColumns {
    /// Adds a path that is not before the last one, and the directories above it; returns its number.
    pub fn add(&mut self, path: &[u8]) -> u32 {
        if path == self.last {
            return self.count;
        }
        let common = common_levels(&self.last, path);
        let mut up = levels(&self.last) - common;
        // Of the new names only the first has a sibling before it.
        let mut sibling = components(&self.last).nth(common).unwrap_or_default();
        for name in components(path).skip(common) {
            let same = name
                .iter()
                .zip(sibling)
                .take_while(|(a, b)| a == b)
                .count()
                .min(0x7f);
            put(&mut self.same, same as u64);
            self.names.extend_from_slice(&name[same..]);
            self.names.push(0);
            put(&mut self.up, up as u64);
            self.count += 1;
            (up, sibling) = (0, &[]);
        }
        self.last.clear();
        self.last.extend_from_slice(path);
        self.count
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == 0)
}

fn levels(path: &[u8]) -> usize {
    if path.is_empty() {
        return 0;
    }
    components(path).count()
}

/// Returns the number of leading components that two paths share.
fn common_levels(a: &[u8], b: &[u8]) -> usize {
    if a.is_empty() || b.is_empty() {
        return 0;
    }
    let a = components(a);
    let b = components(b);
    a.zip(b).take_while(|(a, b)| a == b).count()
}
