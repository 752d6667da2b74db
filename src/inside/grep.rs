// SPDX-License-Identifier: Apache-2.0
//! Lines of files that fit a pattern: each layer is read in one pass, and all layers side by side.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use rayon::prelude::*;
use regex::bytes::Regex;

use super::contents::{Contents, Item};
use super::read::read_items;
use super::text::SNIFFED;
use crate::error::{Error, Result};
use crate::progress::Monitor;
use crate::store::Store;

/// Bytes of a file that are searched at a time.
const WINDOW: usize = 256 * 1024;

/// Maximum length of a line in bytes: a longer one is taken for several.
const MAX_LINE: usize = 16 << 20;

/// A search of the lines of files.
#[derive(Clone, Debug)]
pub struct Search {
    pub pattern: Regex,
    /// Lines that do not fit are wanted.
    pub invert: bool,
    /// Files that are no text are searched by lines too.
    pub text: bool,
    /// One line of each file is enough.
    pub first: bool,
    /// Lines are counted, and not kept.
    pub count: bool,
}

/// Answer of a file with at least one line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hits {
    /// Numbers, counted from 1, and bytes of the lines, without their ends; not of a file that is no text.
    pub lines: Vec<(u64, Vec<u8>)>,
    /// Number of lines; of a file that is no text 1 for all of them.
    pub count: u64,
    /// True of a file that is no text.
    pub is_binary: bool,
}

/// Searches the contents of regular files; returns the hits by the number of the item with the content, and the layers that could not be
/// read, with what was found in them before.
pub fn grep<'a>(
    store: &Store,
    contents: &'a Contents,
    items: &[&'a Item],
    search: &Search,
    monitor: &dyn Monitor,
) -> (HashMap<*const Item, Hits>, Vec<(u32, Error)>) {
    let mut layers: HashMap<u32, Vec<&Item>> = HashMap::new();
    let mut met = HashSet::new();
    for item in items {
        let of = contents.content_of(item);
        // A file of several names is searched once.
        if of.digest.is_some() && met.insert(std::ptr::from_ref(of)) {
            layers.entry(of.layer).or_default().push(of);
        }
    }
    let searched = layers.into_par_iter().map(|(number, items)| {
        let mut found = Vec::new();
        let layer = &contents.layers[number as usize];
        let read = read_items(store, layer, items, monitor, &mut |item, content| {
            let hits = search.lines(content)?;
            found.extend((hits.count > 0).then_some((std::ptr::from_ref(item).addr(), hits)));
            Ok(())
        });
        (number, found, read)
    });
    let searched: Vec<_> = searched.collect();
    let (mut all, mut failed) = (HashMap::new(), Vec::new());
    for (number, found, read) in searched {
        all.extend(found);
        failed.extend(read.err().map(|err| (number, err)));
    }
    failed.sort_by_key(|(number, _)| *number);
    let items = items.iter().map(|item| contents.content_of(item));
    let by_item = items.filter_map(|item| {
        let item = std::ptr::from_ref(item);
        Some((item, all.remove(&item.addr())?))
    });
    (by_item.collect(), failed)
}

impl Search {
    /// Searches one file, to its end unless the first line is enough.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn lines(&self, content: &mut dyn Read) -> Result<Hits> {
        let mut hits = Hits::default();
        let mut buffer = Vec::new();
        let (mut number, mut sniffed) = (0, false);
        loop {
            let filled = buffer.len();
            let added = content.take(WINDOW as u64).read_to_end(&mut buffer)?;
            if !sniffed {
                sniffed = true;
                hits.is_binary = !self.text && buffer[..buffer.len().min(SNIFFED)].contains(&0);
            }
            // Only whole lines are searched; the rest waits for more.
            let end = match buffer[filled..].iter().rposition(|byte| *byte == b'\n') {
                _ if added == 0 || buffer.len() >= MAX_LINE => buffer.len(),
                Some(at) => filled + at + 1,
                None => 0,
            };
            self.search(&buffer[..end], &mut number, &mut hits);
            buffer.drain(..end);
            let is_enough = hits.count > 0 && (self.first || hits.is_binary);
            if added == 0 || is_enough {
                return Ok(hits);
            }
        }
    }

    fn search(&self, text: &[u8], number: &mut u64, hits: &mut Hits) {
        // Most files have no such line, which one look at all of them tells.
        if text.is_empty() {
            return;
        }
        let is_by_line = ["\\A", "\\z"]
            .iter()
            .any(|mark| self.pattern.as_str().contains(mark));
        if !self.invert && !is_by_line && !self.pattern.is_match(text) {
            *number += text.split(|byte| *byte == b'\n').count() as u64 - 1;
            return;
        }
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            *number += 1;
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if self.pattern.is_match(line) == self.invert {
                continue;
            }
            hits.count += 1;
            if !self.count && !hits.is_binary {
                hits.lines.push((*number, line.to_vec()));
            }
            if self.first || hits.is_binary {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &str) -> Search {
        Search {
            pattern: Regex::new(pattern).expect("pattern"),
            invert: false,
            text: false,
            first: false,
            count: false,
        }
    }

    fn numbers(search: &Search, text: &[u8]) -> Vec<u64> {
        let hits = search.lines(&mut { text }).expect("read");
        hits.lines.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn lines_are_counted_over_the_ends_of_windows() {
        let mut text = b"x\n".repeat(WINDOW);
        text.extend_from_slice(b"needle\nx\nneedle");
        assert_eq!(
            numbers(&search("(?m)^needle$"), &text),
            [WINDOW as u64 + 1, WINDOW as u64 + 3]
        );
        let long = [vec![b'y'; 3 * WINDOW], b"needle\nz\nneedle".to_vec()].concat();
        assert_eq!(numbers(&search("needle"), &long), [1, 3]);
        let inverted = Search {
            invert: true,
            ..search("x")
        };
        assert_eq!(numbers(&inverted, b"x\na\n\nx"), [2, 3]);
        assert!(numbers(&search(""), b"").is_empty());
    }

    #[test]
    fn a_nul_makes_a_file_binary() {
        let hits = search("x").lines(&mut &b"\0\nx\nx"[..]).expect("read");
        assert_eq!((hits.is_binary, hits.count, hits.lines.len()), (true, 1, 0));
        let late = [vec![b'\n'; SNIFFED], b"\0x".to_vec()].concat();
        assert!(!search("x").lines(&mut &late[..]).expect("read").is_binary);
    }
}
