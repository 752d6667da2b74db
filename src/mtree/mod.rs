// SPDX-License-Identifier: Apache-2.0
//! Manifests of a tree (mtree), and how a tree differs from one. Pure: neither disk nor tar.
//!
//! A [`Mtree`] keeps, for each path, the words of its line as they stand in the file; a value is spelled by one
//! function, so that writing and comparing cannot disagree.

mod compare;
mod format;
mod keyword;
mod parse;
mod vis;

use std::collections::BTreeMap;

pub use compare::{Difference, compare};
pub use format::Header;
pub use keyword::{Keyword, Keywords};

use crate::node::TreePath;

/// A manifest of a tree in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mtree {
    /// The words behind the name, `/set` values included, separated by single spaces.
    entries: BTreeMap<TreePath, Box<[u8]>>,
    /// Keywords that occur, in the order of their first use.
    used: Keywords,
}

impl Mtree {
    /// An empty manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// Count of paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a path with the words of its line, which [`Mtree::line`] has spelled.
    pub fn insert_line(&mut self, path: TreePath, line: Box<[u8]>) {
        for keyword in Keywords::umoci().iter() {
            self.used.add(keyword);
        }
        self.entries.insert(path, line);
    }

    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keywords that occur.
    pub fn keywords(&self) -> &Keywords {
        &self.used
    }
}

/// The words of a line as pairs.
fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|&c| c == b' ').filter(|w| !w.is_empty()).map(|word| {
        match word.iter().position(|&c| c == b'=') {
            Some(at) => (&word[..at], &word[at + 1..]),
            None => (word, &b""[..]),
        }
    })
}
