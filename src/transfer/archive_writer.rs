// SPDX-License-Identifier: Apache-2.0
//! Files written as a tar archive; the same files give the same bytes.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use crate::error::Result;
use crate::layer::LayerWriter;
use crate::node::{Node, NodeKind, TreePath};

#[derive(Debug)]
pub(super) struct ArchiveWriter<W> {
    tar: LayerWriter<W>,
    /// Directories that have an entry.
    dirs: HashSet<TreePath>,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            tar: LayerWriter::new(out, b"."),
            dirs: HashSet::new(),
        }
    }

    /// Writes a file of `size` bytes, after entries for the directories above it.
    pub(super) fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let path = TreePath::clean(name.as_bytes())?;
        let mut above: Vec<TreePath> = path.ancestors().filter(|dir| !dir.is_root()).collect();
        // The nearest comes first, and an entry for a directory must stand before its content.
        above.reverse();
        for dir in above {
            if self.dirs.insert(dir.clone()) {
                self.tar.node(&dir, &Node::dir(0o755), &mut io::empty())?;
            }
        }
        let file = Node {
            kind: NodeKind::File { size },
            mode: 0o644,
            ..Node::dir(0)
        };
        self.tar.node(&path, &file, content)
    }

    /// Writes a file with these bytes.
    pub(super) fn bytes(&mut self, name: &str, mut content: &[u8]) -> Result<()> {
        self.file(name, content.len() as u64, &mut content)
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<W> {
        self.tar.finish()
    }
}
