// SPDX-License-Identifier: Apache-2.0
//! The text of a manifest's file, read leniently: other tools write it too.

use super::{Keyword, Mtree, pairs, vis};
use crate::error::{Error, ErrorKind, Result};
use crate::node::TreePath;

impl Mtree {
    /// Parses the file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], with the number of the line.
    pub fn parse(text: &[u8]) -> Result<Self> {
        Self::parse_only(text, |_| true)
    }

    /// Parses the file, and keeps the paths that `wanted` names.
    ///
    /// # Errors
    /// As [`Mtree::parse`].
    pub fn parse_only(text: &[u8], wanted: impl Fn(&TreePath) -> bool) -> Result<Self> {
        let mut out = Self::new();
        let mut set: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut at = TreePath::root();
        let mut joined: Vec<u8> = Vec::new();
        for (number, line) in text.split(|&c| c == b'\n').enumerate() {
            let bad = |why: &str| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("invalid mtree: line {}: {why}", number + 1),
                )
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii();
            // A comment holds any text and goes on nowhere; an even count of backslashes is a spelled name.
            if joined.is_empty() && line.first() == Some(&b'#') {
                continue;
            }
            let backslashes = line.iter().rev().take_while(|&&c| c == b'\\').count();
            if backslashes % 2 == 1 {
                joined.extend_from_slice(&line[..line.len() - 1]);
                joined.push(b' ');
                continue;
            }
            let whole = if joined.is_empty() {
                line.to_vec()
            } else {
                [std::mem::take(&mut joined), line.to_vec()].concat()
            };
            let (first, rest) = match whole.iter().position(|c| matches!(c, b' ' | b'\t')) {
                Some(at) => (&whole[..at], &whole[at + 1..]),
                None => (whole.as_slice(), &b""[..]),
            };
            match first {
                b"" => {}
                b"/set" => set = words(rest).collect(),
                b"/unset" => set.clear(),
                b".." => at = at.parent().unwrap_or_default(),
                _ => {
                    let name = vis::decode(first).ok_or_else(|| bad("invalid escape in a name"))?;
                    let path = if first.contains(&b'/') {
                        TreePath::clean(&name)
                    } else if name == b"." {
                        Ok(TreePath::root())
                    } else {
                        at.join(&name)
                    };
                    let path = path.map_err(|e| bad(&e.to_string()))?;
                    let own: Vec<(Vec<u8>, Vec<u8>)> = words(rest).collect();
                    if own
                        .iter()
                        .any(|word| *word == (b"type".to_vec(), b"dir".to_vec()))
                    {
                        at = path.clone();
                    }
                    if !wanted(&path) {
                        continue;
                    }
                    let inherited = set.iter().filter(|(name, _)| !own.iter().any(|(n, _)| n == name));
                    out.add_line(path, inherited.chain(&own));
                }
            }
        }
        Ok(out)
    }

    /// Keeps a line with its words in the order in which we write them, wherever each was said.
    fn add_line<'a>(&mut self, path: TreePath, words: impl Iterator<Item = &'a (Vec<u8>, Vec<u8>)>) {
        let mut words: Vec<_> = words.map(|word| (keyword(&word.0), word)).collect();
        words.sort_by_key(|(keyword, _)| keyword.map_or(usize::MAX, |k| k as usize));
        let mut line = Vec::new();
        for (keyword, (name, value)) in words {
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(name);
            line.push(b'=');
            line.extend_from_slice(value);
            if let Some(keyword) = keyword {
                self.used.add(keyword);
            }
        }
        self.entries.insert(path, line.into());
    }
}

/// The keyword that a word belongs to; `xattr.NAME` belongs to `xattr`.
fn keyword(name: &[u8]) -> Option<Keyword> {
    let base = name.split(|&c| c == b'.').next().unwrap_or_default();
    std::str::from_utf8(base).ok().and_then(Keyword::from_name)
}

/// Pairs of a line, with the names that we write.
fn words(rest: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    let line: Vec<u8> = rest.iter().map(|&c| if c == b'\t' { b' ' } else { c }).collect();
    let found: Vec<(Vec<u8>, Vec<u8>)> = pairs(&line)
        .map(|(name, value)| {
            let known = std::str::from_utf8(name).ok().and_then(Keyword::from_name);
            (
                known.map_or_else(|| name.to_vec(), |k| k.name().as_bytes().to_vec()),
                value.to_vec(),
            )
        })
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::path;
    use super::*;

    #[test]
    fn foreign_files_are_read() {
        let text = b"#mtree v2.0\n/set type=file uid=1\n. type=dir\n\ta\\040b mode=0644 \\\n  sha256=ab\n sub type=dir uid=2\n  x\n  ..\n/unset\n./full/path size=1\n..\n";
        let mtree = Mtree::parse(text).expect("mtree");
        let line = |name: &str| String::from_utf8(mtree.entries[&path(name)].to_vec()).expect("utf-8");
        assert_eq!(line("a b"), "type=file uid=1 mode=0644 sha256digest=ab");
        assert_eq!(line("sub"), "type=dir uid=2");
        assert_eq!(line("sub/x"), "type=file uid=1");
        assert_eq!(line("full/path"), "size=1");
        assert!(mtree.keywords().contains(Keyword::Sha256));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, want) in [
            (
                &b". type=dir\nbad\\q size=1\n"[..],
                "invalid mtree: line 2: invalid escape in a name",
            ),
            (
                b"a\\000b\n",
                "invalid mtree: line 1: invalid file name: \"a\\0b\"",
            ),
        ] {
            assert_eq!(Mtree::parse(text).expect_err(want).to_string(), want);
        }
    }

    #[test]
    fn comments_and_spelled_backslashes_go_on_nowhere() {
        let text = b". type=dir\n# d\\\nd\\\\ type=dir\n    f\\\\\n..\n..\n";
        let mtree = Mtree::parse(text).expect("mtree");
        let names: Vec<&[u8]> = mtree.entries.keys().map(TreePath::as_bytes).collect();
        assert_eq!(names, [&b""[..], b"d\\", b"d\\/f\\"]);
    }
}
