// SPDX-License-Identifier: Apache-2.0
//! A manifest as the text of its file.

use std::io::Write;

use super::keyword::xattr_words;
use super::{Keyword, Keywords, pairs, push_word, vis};
use crate::digest::Digest;
use crate::error::Result;
use crate::node::{Inode, NodeKind, TreePath};

/// Values of the comments at the head of the file; unknown ones are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// User who made the file.
    pub user: Option<String>,
    /// On which machine.
    pub machine: Option<String>,
    /// Of which tree.
    pub tree: String,
    /// When, as `ctime(3)` writes it.
    pub date: Option<String>,
}

/// Returns the words of a line with the facts that bundles use; `sha256` is the digest of a regular file.
pub fn line(inode: &Inode, sha256: Option<&Digest>) -> Box<[u8]> {
    line_with(inode, sha256, Keywords::umoci().iter().copied())
}

/// As [`line()`], with these facts.
pub fn line_with(
    inode: &Inode,
    sha256: Option<&Digest>,
    keywords: impl Iterator<Item = Keyword>,
) -> Box<[u8]> {
    let mut line = Vec::new();
    for keyword in keywords {
        let value = match (keyword, &inode.node.kind) {
            (Keyword::Xattr, _) => {
                for (name, value) in xattr_words(inode) {
                    push_word(&mut line, &name, &value);
                }
                None
            }
            (Keyword::Sha256, NodeKind::File { .. }) => sha256.map(|digest| digest.encoded().into_bytes()),
            _ => keyword.value(inode),
        };
        if let Some(value) = value {
            push_word(&mut line, keyword.name().as_bytes(), &value);
        }
    }
    line.into()
}

/// Writes the text of a manifest, a path at a time.
#[derive(Debug)]
pub struct MtreeWriter<W> {
    out: W,
    /// Facts that lines have.
    keywords: Keywords,
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
    pub fn new(out: W, header: &Header) -> Result<Self> {
        Self::with_keywords(out, header, Keywords::umoci())
    }

    /// As [`MtreeWriter::new`], of lines that have no other facts than these.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn with_keywords(mut out: W, header: &Header, keywords: Keywords) -> Result<Self> {
        let names: Vec<&str> = keywords.iter().map(|keyword| keyword.name()).collect();
        let names = names.join(",");
        for (label, value) in [
            ("user", header.user.as_deref()),
            ("machine", header.machine.as_deref()),
            ("tree", Some(&*header.tree)),
            ("date", header.date.as_deref()),
            ("keywords", Some(&*names)),
        ] {
            if let Some(value) = value {
                // A newline in a value would end the comment, and its rest would be read as paths.
                let value: String = value.chars().filter(|c| !c.is_control()).collect();
                writeln!(out, "#{:>15} {value}", format!("{label}:"))?;
            }
        }
        Ok(Self {
            out,
            keywords,
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
            // One `..` leaves one directory.
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
        out.extend_from_slice(b"\n# ");
        match path.as_bytes() {
            b"" => out.push(b'.'),
            // A newline would end the comment, and the rest would be read as an entry.
            broken if broken.contains(&b'\n') => out.extend(vis::encode(broken)),
            plain => out.extend_from_slice(plain),
        }
        out.push(b'\n');
        let owner = pairs(line).filter(|(name, _)| matches!(*name, b"uid" | b"gid"));
        let owner = owner.map(|(name, value)| [name, b"=", value].concat());
        let owner: Vec<Vec<u8>> = owner.collect();
        // Only owners change from directory to directory; the other words of a `/set` are always the same.
        if path.is_root() || !owner.iter().all(|word| self.set.contains(word)) {
            let words = [
                (Keyword::Type, &b"type=file"[..]),
                (Keyword::Nlink, b"nlink=1"),
                (Keyword::Mode, b"mode=0664"),
            ];
            let words = words
                .into_iter()
                .filter(|(keyword, _)| self.keywords.contains(keyword));
            self.set = words.map(|(_, word)| word.to_vec()).collect();
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
