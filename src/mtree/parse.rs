// SPDX-License-Identifier: Apache-2.0
//! The text of a manifest's file, read leniently: other tools write it too.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Keyword, Keywords, ReadAt, is_blank, pairs, vis};
use crate::error::{Error, ErrorKind, Result, ResultExt, lock};
use crate::node::{PathHash, TreePath, hash_path};

/// A manifest whose text stays where it is; only where each path's line is found is held.
#[derive(Debug)]
pub struct Mtree {
    text: Box<dyn ReadAt>,
    /// Sorted by the hash of the path.
    rows: Vec<Row>,
    /// Which rows were asked for.
    found: Vec<AtomicBool>,
    /// Offset of each `/set`; the lines before the next one inherit from it.
    sets: Vec<u64>,
    /// The one that was last asked for, and where it begins: most paths of a tree have the same.
    last: Mutex<Option<(u64, Arc<Vec<Word>>)>>,
    /// Keywords that occur, in the order of their first use.
    used: Keywords,
}

/// Bytes that are read at a time of a text that is read through, and for one line.
const WHOLE: usize = 64 * 1024;
const LINE: usize = 1024;

/// Maximum length of a line with the lines that it goes on in, in bytes: names and values are much shorter.
const MAX_LINE: usize = 16 << 20;

/// A name and a value.
pub(super) type Word = (Vec<u8>, Vec<u8>);

/// Offset of the line of a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    path: PathHash,
    at: u64,
}

impl Mtree {
    /// Reads through the text.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], with the number of the line; those of the text.
    pub fn parse(text: impl ReadAt + 'static) -> Result<Self> {
        let mut out = Self {
            text: Box::new(text),
            rows: Vec::new(),
            found: Vec::new(),
            sets: Vec::new(),
            last: Mutex::default(),
            used: Keywords::default(),
        };
        let mut lines = Lines::new(&*out.text, 0, WHOLE);
        while let Some(line) = lines.next()? {
            let Line { path, words, at } = line;
            match path {
                None => out.sets.push(at),
                Some(path) => out.rows.push(Row {
                    path: hash_path(&path),
                    at,
                }),
            }
            for keyword in pairs(&words).filter_map(|(name, _)| keyword(name)) {
                out.used.add(keyword);
            }
        }
        // Of a path that is there twice the last line counts.
        out.rows.sort_unstable_by(|a, b| b.cmp(a));
        out.rows.dedup_by_key(|row| row.path);
        out.rows.reverse();
        out.found = out.rows.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(out)
    }

    /// Returns the number of paths.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the keywords that occur.
    pub fn keywords(&self) -> &Keywords {
        &self.used
    }

    /// Returns the words of a path's line, those that it inherits first; the path counts as found.
    pub(super) fn line(&self, path: &TreePath) -> Result<Option<Vec<Word>>> {
        let path = hash_path(path);
        let Ok(at) = self.rows.binary_search_by(|row| row.path.cmp(&path)) else {
            return Ok(None);
        };
        self.found[at].store(true, Ordering::Relaxed);
        let at = self.rows[at].at;
        let found = Lines::new(&*self.text, at, LINE).next()?;
        let Some(line) = found.filter(|line| line.path.is_some()) else {
            fail!(Corrupt, "the manifest changed while it was read");
        };
        let own = words(&line.words);
        let set = self.set(at)?;
        let inherited = set.iter().filter(|(name, _)| !own.iter().any(|(n, _)| n == name));
        let mut line: Vec<Word> = inherited.cloned().collect();
        line.extend(own);
        Ok(Some(line))
    }

    /// Returns the words of the `/set` that is in force at an offset.
    fn set(&self, at: u64) -> Result<Arc<Vec<Word>>> {
        let before = self.sets.partition_point(|set| *set < at);
        let Some(&at) = before.checked_sub(1).and_then(|n| self.sets.get(n)) else {
            return Ok(Arc::default());
        };
        let mut last = lock(&self.last);
        if let Some((_, set)) = last.as_ref().filter(|(last, _)| *last == at) {
            return Ok(Arc::clone(set));
        }
        let set = match Lines::new(&*self.text, at, LINE).next()? {
            Some(line) if line.path.is_none() => Arc::new(words(&line.words)),
            // The text was changed by somebody else: the line of a path then says so.
            _ => Arc::default(),
        };
        *last = Some((at, Arc::clone(&set)));
        Ok(set)
    }

    /// Gives `take` the paths that no comparison has asked for, but for those that `known` knows to be there. Reads the
    /// text again if there are any.
    ///
    /// # Errors
    /// As [`Mtree::parse`], and those of `take`.
    pub fn missing(
        &self,
        known: impl Fn(&PathHash) -> bool,
        mut take: impl FnMut(TreePath) -> Result<()>,
    ) -> Result<()> {
        let rows = self.rows.iter().zip(&self.found);
        let missing = rows.filter(|(row, found)| !found.load(Ordering::Relaxed) && !known(&row.path));
        let mut missing: Vec<u64> = missing.map(|(row, _)| row.at).collect();
        // Names are not held, so the text is read again, up to the last of those that are missing.
        missing.sort_unstable();
        let mut left = missing.len();
        let mut lines = Lines::new(&*self.text, 0, WHOLE);
        while left > 0
            && let Some(line) = lines.next()?
        {
            if let Some(path) = line.path
                && missing.binary_search(&line.at).is_ok()
            {
                left -= 1;
                take(path)?;
            }
        }
        Ok(())
    }
}

/// A line that counts.
struct Line {
    /// Offset of its first byte.
    at: u64,
    /// Path that it describes; none for words that the paths after it inherit.
    path: Option<TreePath>,
    words: Vec<u8>,
}

/// The lines of a text in order.
struct Lines<'a> {
    text: BufReader<Reader<'a>>,
    dir: TreePath,
    number: u64,
    offset: u64,
}

impl<'a> Lines<'a> {
    /// Reads the lines that begin at an offset, read so many bytes at a time.
    fn new(text: &'a dyn ReadAt, at: u64, step: usize) -> Self {
        Self {
            text: BufReader::with_capacity(step, Reader { text, at }),
            dir: TreePath::root(),
            number: 0,
            offset: at,
        }
    }

    fn bad(&self, why: &str) -> Error {
        let text = format!("invalid mtree: line {}: {why}", self.number);
        Error::new(ErrorKind::Corrupt, text)
    }

    fn next(&mut self) -> Result<Option<Line>> {
        let mut whole = Vec::new();
        let mut raw = Vec::new();
        let mut begun = self.offset;
        loop {
            raw.clear();
            let mut limited = (&mut self.text).take(MAX_LINE as u64 + 1);
            let n = limited.read_until(b'\n', &mut raw).context(|| "read mtree")?;
            if n == 0 {
                return Ok(None);
            }
            self.number += 1;
            if whole.len() + n > MAX_LINE {
                return Err(self.bad(&format!("it is longer than {MAX_LINE} bytes")));
            }
            self.offset += n as u64;
            let part = raw.strip_suffix(b"\n").unwrap_or(&raw);
            // A comment holds any text and goes on nowhere.
            let is_comment = whole.is_empty() && part.trim_ascii().first() == Some(&b'#');
            if !is_comment && join(&mut whole, part) {
                continue;
            }
            if let Some(line) = self.line(&whole, begun)? {
                return Ok(Some(line));
            }
            whole.clear();
            begun = self.offset;
        }
    }

    fn line(&mut self, whole: &[u8], at: u64) -> Result<Option<Line>> {
        let mut parts = whole.splitn(2, |&c| is_blank(c));
        let first = parts.next().unwrap_or_default();
        let rest = parts.next().unwrap_or_default();
        let (path, rest) = match first {
            b"" => return Ok(None),
            b".." => {
                self.dir = self.dir.parent().unwrap_or_default();
                return Ok(None);
            }
            b"/set" => (None, rest),
            b"/unset" => (None, &b""[..]),
            name => (Some(self.path(name)?), rest),
        };
        if let Some(path) = &path
            && pairs(rest).any(|word| word == (b"type", b"dir"))
        {
            self.dir = path.clone();
        }
        let words = rest.to_vec();
        Ok(Some(Line { at, path, words }))
    }

    /// Returns the path that a name means: one from the root, or a file of the directory that is open.
    fn path(&self, spelled: &[u8]) -> Result<TreePath> {
        let name = vis::decode(spelled).ok_or_else(|| self.bad("invalid escape in a name"))?;
        let path = match name.as_slice() {
            // A name with a slash is a path from the root, wherever the line stands.
            _ if spelled.contains(&b'/') => TreePath::clean(&name),
            b"." => Ok(TreePath::root()),
            name => self.dir.join(name),
        };
        path.map_err(|e| self.bad(&e.to_string()))
    }
}

/// A text as a stream.
struct Reader<'a> {
    text: &'a dyn ReadAt,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.text.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Adds a line to what came before it; says whether it goes on in the next. An even count of backslashes at its end is a
/// spelled name.
fn join(whole: &mut Vec<u8>, line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii();
    let backslashes = line.iter().rev().take_while(|&&c| c == b'\\').count();
    let goes_on = backslashes % 2 == 1;
    whole.extend_from_slice(&line[..line.len() - usize::from(goes_on)]);
    if goes_on {
        whole.push(b' ');
    }
    goes_on
}

/// Returns the keyword that a word belongs to; `xattr.NAME` belongs to `xattr`.
fn keyword(name: &[u8]) -> Option<Keyword> {
    name.split(|&c| c == b'.').next().and_then(Keyword::from_name)
}

/// Returns the pairs of a line, with the names that we write.
fn words(line: &[u8]) -> Vec<Word> {
    let named = pairs(line).map(|(name, value)| {
        let known = Keyword::from_name(name);
        let name = known.map_or(name, |keyword| keyword.name().as_bytes());
        (name.to_vec(), value.to_vec())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::super::push_word;
    use super::super::tests::path;
    use super::*;

    #[test]
    fn foreign_files_are_read() {
        let text = b"#mtree v2.0\n/set type=file uid=1\n. type=dir\n\ta\\040b mode=0644 \\\n  sha256=ab\n sub type=dir uid=2\n  x\n  ..\n/unset\n./full/path size=1\n..\n";
        let mtree = Mtree::parse(text.to_vec()).expect("mtree");
        assert_eq!(line(&mtree, "a b"), "type=file uid=1 mode=0644 sha256digest=ab");
        assert_eq!(line(&mtree, "sub"), "type=dir uid=2");
        assert_eq!(line(&mtree, "sub/x"), "type=file uid=1");
        assert_eq!(line(&mtree, "full/path"), "size=1");
        assert!(mtree.keywords().contains(&Keyword::Sha256));
    }

    #[test]
    fn the_last_line_of_a_path_counts_with_the_set_before_it() {
        let text = b"/set uid=1\n. type=dir\n/set uid=2\nf size=1\n/unset\nf size=2\ng size=3\n/set uid=3\nf size=4\n";
        let mtree = Mtree::parse(text.to_vec()).expect("mtree");
        assert_eq!(mtree.count(), 3);
        for (name, want) in [(".", "uid=1 type=dir"), ("f", "uid=3 size=4"), ("g", "size=3")] {
            assert_eq!(line(&mtree, name), want, "{name}");
        }
        assert!(missing(&mtree).is_empty());
        assert!(mtree.line(&path("h")).expect("read").is_none());
    }

    fn line(mtree: &Mtree, name: &str) -> String {
        let mut text = Vec::new();
        for (name, value) in mtree.line(&path(name)).expect("read").expect("line") {
            push_word(&mut text, &name, &value);
        }
        String::from_utf8(text).expect("utf-8")
    }

    fn missing(mtree: &Mtree) -> Vec<TreePath> {
        let mut out = Vec::new();
        let take = |path| {
            out.push(path);
            Ok(())
        };
        mtree.missing(|_| false, take).expect("names");
        out
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
            assert_eq!(Mtree::parse(text.to_vec()).expect_err(want).to_string(), want);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_also_in_pieces() {
        let long = vec![b'a'; 2 * MAX_LINE];
        let pieces = b"aaaa \\\n".repeat(MAX_LINE / 4);
        for text in [long, pieces] {
            let err = Mtree::parse(text).expect_err("long").to_string();
            assert!(err.ends_with(": it is longer than 16777216 bytes"), "{err}");
        }
        let fits = [&vec![b'a'; 4000][..], b" type=file\n"].concat().repeat(1000);
        assert_eq!(Mtree::parse(fits).expect("many lines").count(), 1);
    }

    #[test]
    fn comments_and_spelled_backslashes_go_on_nowhere() {
        let text = b". type=dir\n# d\\\nd\\\\ type=dir\n    f\\\\\n..\n..\n";
        let mtree = Mtree::parse(text.to_vec()).expect("mtree");
        let names = missing(&mtree);
        let names: Vec<&[u8]> = names.iter().map(TreePath::as_bytes).collect();
        assert_eq!(names, [&b""[..], b"d\\", b"d\\/f\\"]);
    }
}
