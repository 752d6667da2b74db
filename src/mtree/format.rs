// SPDX-License-Identifier: Apache-2.0
//! A manifest as the text of its file.

use std::io::Write;

use super::keyword::xattr_words;
use super::{Keyword, Keywords, pairs, vis};
use crate::digest::Digest;
use crate::error::Result;
use crate::node::{Inode, NodeKind, TreePath};

/// What the comments at the head of the file say; what is unknown is left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Who made it.
    pub user: Option<String>,
    /// On which machine.
    pub machine: Option<String>,
    /// Of which tree.
    pub tree: String,
    /// When, as `ctime(3)` writes it.
    pub date: Option<String>,
}

/// The words of a line with the facts that bundles use; `sha256` is the digest of a regular file.
pub fn line(inode: &Inode, sha256: Option<&Digest>) -> Box<[u8]> {
    let mut line = Vec::new();
    let mut word = |name: &[u8], value: &[u8]| {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(name);
        line.push(b'=');
        line.extend_from_slice(value);
    };
    for keyword in Keywords::umoci().iter() {
        let name = keyword.name().as_bytes();
        match keyword {
            Keyword::Xattr => xattr_words(inode)
                .iter()
                .for_each(|(name, value)| word(name, value)),
            Keyword::Sha256 => {
                if let (NodeKind::File { .. }, Some(digest)) = (&inode.node.kind, sha256) {
                    word(name, digest.encoded().as_bytes());
                }
            }
            _ => {
                if let Some(value) = keyword.value(inode) {
                    word(name, &value);
                }
            }
        }
    }
    line.into()
}

/// Writes the text of a manifest, a path at a time.
#[derive(Debug)]
pub struct MtreeWriter<W> {
    out: W,
    /// Words of the `/set` in force.
    set: Vec<Vec<u8>>,
    /// Directories that are open, and paths that were written.
    depth: usize,
    count: u64,
}

impl<W: Write> MtreeWriter<W> {
    /// Writes the head of the file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, header: &Header) -> Result<Self> {
        let mut comment = |label: &str, value: &str| {
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            writeln!(out, "#{:>15} {value}", format!("{label}:"))
        };
        if let Some(user) = &header.user {
            comment("user", user)?;
        }
        if let Some(machine) = &header.machine {
            comment("machine", machine)?;
        }
        comment("tree", &header.tree)?;
        if let Some(date) = &header.date {
            comment("date", date)?;
        }
        let names: Vec<&str> = Keywords::umoci().iter().map(Keyword::name).collect();
        comment("keywords", &names.join(","))?;
        Ok(Self {
            out,
            set: Vec::new(),
            depth: 0,
            count: 0,
        })
    }

    /// Adds a path with what [`line()`] has spelled of it. A directory comes before what is in it, and that is first what
    /// is no directory; names are sorted.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn add(&mut self, path: &TreePath, line: &[u8]) -> Result<()> {
        self.count += 1;
        let mut text = Vec::new();
        if pairs(line).any(|word| word == (b"type", b"dir")) {
            let depth = path.components().count();
            for _ in depth..self.depth {
                text.extend_from_slice(b"..\n");
            }
            self.depth = depth + 1;
            self.open(&mut text, path, line);
        } else {
            text.extend_from_slice(b"    ");
            self.line(&mut text, path.name(), line);
        }
        Ok(self.out.write_all(&text)?)
    }

    /// Ends the file; returns what it was written to, and the count of paths.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.out.write_all(&b"..\n".repeat(self.depth))?;
        Ok((self.out, self.count))
    }

    fn open(&mut self, out: &mut Vec<u8>, path: &TreePath, line: &[u8]) {
        let shown = if path.as_bytes().contains(&b'\n') {
            vis::encode(path.as_bytes())
        } else {
            path.as_bytes().to_vec()
        };
        out.extend_from_slice(b"\n# ");
        out.extend_from_slice(if path.is_root() { b"." } else { &shown });
        out.push(b'\n');
        let owner: Vec<Vec<u8>> = pairs(line)
            .filter(|(name, _)| matches!(*name, b"uid" | b"gid"))
            .map(|(name, value)| [name, b"=", value].concat())
            .collect();
        if path.is_root() || !owner.iter().all(|word| self.set.contains(word)) {
            self.set = [&b"type=file"[..], b"nlink=1", b"mode=0664"]
                .iter()
                .map(|w| w.to_vec())
                .collect();
            self.set.extend(owner);
            out.extend_from_slice(b"/set ");
            out.extend_from_slice(&self.set.join(&b' '));
            out.push(b'\n');
        }
        self.line(out, if path.is_root() { b"." } else { path.name() }, line);
    }

    fn line(&self, out: &mut Vec<u8>, name: &[u8], line: &[u8]) {
        out.extend_from_slice(&vis::encode(name));
        for word in line.split(|&c| c == b' ') {
            if !self.set.iter().any(|set| set == word) {
                out.push(b' ');
                out.extend_from_slice(word);
            }
        }
        out.push(b'\n');
    }
}
