// SPDX-License-Identifier: Apache-2.0
//! The changes of a tree, in the order of a layer, however many there are.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::FileRange;
use crate::node::{Change, ChangeKind, TreePath};

/// Maximum size of the changes in memory, in bytes: of their paths, and `COST` for each.
const HELD: usize = 16 << 20;
const COST: usize = 56;

/// Buffers for one run of the file, in bytes.
const READ: usize = 16 * 1024;
const WRITE: usize = 256 * 1024;

/// Collects changes in any order and gives them sorted by path, each path once. Changes that do not fit in 16 MiB wait in sorted
/// runs in a file.
pub struct Changes<'a> {
    held: Vec<Change>,
    bytes: usize,
    most: usize,
    masks: HashSet<TreePath>,
    open: Box<dyn Fn() -> Result<File> + 'a>,
    file: Option<Arc<File>>,
    /// Offset of the end of each run.
    runs: Vec<u64>,
}

impl<'a> Changes<'a> {
    /// Collects what is not at or below one of `masks`; `file` makes an empty file for what has no room.
    pub fn new(masks: impl IntoIterator<Item = TreePath>, file: impl Fn() -> Result<File> + 'a) -> Self {
        Self {
            held: Vec::new(),
            bytes: 0,
            most: HELD,
            masks: masks.into_iter().collect(),
            open: Box::new(file),
            file: None,
            runs: Vec::new(),
        }
    }

    /// Adds a change. Of several to one path the first of the order of [`ChangeKind`] counts.
    ///
    /// # Errors
    /// Those of the file.
    pub fn push(&mut self, path: TreePath, kind: ChangeKind) -> Result<()> {
        if self.masks(&path) {
            return Ok(());
        }
        self.bytes += path.as_bytes().len() + COST;
        self.held.push(Change { path, kind });
        if self.bytes > self.most {
            self.spill().context(|| "keep what changed in a file")?;
        }
        Ok(())
    }

    fn masks(&self, path: &TreePath) -> bool {
        // Most images have no volumes, and the paths above each path would cost memory.
        !self.masks.is_empty()
            && (self.masks.contains(path) || path.ancestors().any(|above| self.masks.contains(&above)))
    }

    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.runs.is_empty()
    }

    /// Writes what is held as one run.
    fn spill(&mut self) -> Result<()> {
        self.held.sort_unstable();
        // All runs are in one file, so that a large tree takes one descriptor.
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(Arc::new((self.open)()?))),
        };
        let mut end = self.runs.last().copied().unwrap_or(0);
        let mut out = BufWriter::with_capacity(WRITE, &*file);
        for Change { path, kind } in self.held.drain(..) {
            let path = path.as_bytes();
            out.write_all(&(path.len() as u32).to_le_bytes())?;
            out.write_all(&[kind as u8])?;
            out.write_all(path)?;
            end += 5 + path.len() as u64;
        }
        out.flush()?;
        self.bytes = 0;
        self.runs.push(end);
        Ok(())
    }

    /// Returns all of them, sorted by path.
    ///
    /// # Errors
    /// Those of the file.
    pub fn sorted(mut self) -> Result<impl Iterator<Item = Result<Change>> + use<>> {
        self.held.sort_unstable();
        let mut out = Sorted {
            runs: Vec::new(),
            held: self.held.into_iter(),
            next: BinaryHeap::new(),
            last: None,
        };
        let mut from = 0;
        for to in self.runs {
            if let Some(file) = &self.file {
                let run = FileRange::new(Arc::clone(file), from, to);
                out.runs.push(BufReader::with_capacity(READ, run));
            }
            from = to;
        }
        for run in 0..=out.runs.len() {
            out.advance(run)?;
        }
        Ok(std::iter::from_fn(move || out.step().transpose()))
    }
}

/// The changes of a tree, merged from sorted runs.
struct Sorted {
    runs: Vec<BufReader<FileRange>>,
    held: std::vec::IntoIter<Change>,
    /// The next of each run; what was held is the last run.
    next: BinaryHeap<Reverse<(Change, usize)>>,
    last: Option<TreePath>,
}

impl Sorted {
    fn advance(&mut self, run: usize) -> Result<()> {
        let change = match self.runs.get_mut(run) {
            Some(run) => read(run).context(|| "read what changed from a file")?,
            None => self.held.next(),
        };
        self.next.extend(change.map(|change| Reverse((change, run))));
        Ok(())
    }

    /// Returns the next change. Those of one path follow each other, the one that counts first.
    fn step(&mut self) -> Result<Option<Change>> {
        while let Some(Reverse((change, run))) = self.next.pop() {
            self.advance(run)?;
            if self.last.as_ref() != Some(&change.path) {
                self.last = Some(change.path.clone());
                return Ok(Some(change));
            }
        }
        Ok(None)
    }
}

/// Returns the next change of a run.
fn read(run: &mut BufReader<FileRange>) -> Result<Option<Change>> {
    // A run ends between two changes; an end within one is an error.
    if run.buffer().is_empty() && run.get_ref().left() == 0 {
        return Ok(None);
    }
    let mut head = [0; 5];
    run.read_exact(&mut head)?;
    let [a, b, c, d, kind] = head;
    let mut path = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
    run.read_exact(&mut path)?;
    let kinds = [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed];
    let kind = kinds.into_iter().find(|known| *known as u8 == kind);
    let kind = kind.ok_or_else(|| Error::new(ErrorKind::Corrupt, "no kind of change"))?;
    Ok(Some(Change {
        path: TreePath::clean(&path)?,
        kind,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::clean(text.as_bytes()).expect("path")
    }

    fn sorted(changes: Changes<'_>) -> Vec<Change> {
        let sorted = changes.sorted().expect("sorted");
        sorted.collect::<Result<_>>().expect("changes")
    }

    #[test]
    fn what_has_no_room_in_memory_comes_in_the_same_order_from_a_file() {
        let file = || Ok(tempfile::tempfile()?);
        let change = |n: u32| {
            let kinds = [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Removed];
            // Each path twice, the second time with a later kind.
            let path = path(&format!("dir/{:07}", n.wrapping_mul(2_654_435_761) % 4096));
            (path, kinds[(n as usize / 4096 + n as usize % 2) % 3])
        };
        let collect = |most| {
            let mut changes = Changes::new([], file);
            changes.most = most;
            for (path, kind) in (0..8192).map(change) {
                changes.push(path, kind).expect("push");
            }
            assert!(!changes.is_empty());
            (changes.runs.len(), sorted(changes))
        };
        let (none, want) = collect(usize::MAX);
        let (some, found) = collect(10_000);
        assert!(none == 0 && some > 10);
        assert_eq!(found, want);
        assert!(found.len() == 4096 && found.is_sorted_by(|a, b| a.path < b.path));
    }

    #[test]
    fn masks_take_whole_subtrees_and_nothing_beside() {
        let file = || Ok(tempfile::tempfile()?);
        let mut changes = Changes::new([path("/volume/")], file);
        for text in ["volume", "volume/a/b", "volumetest", "some/volume"] {
            changes.push(path(text), ChangeKind::Added).expect("push");
        }
        let left: Vec<_> = sorted(changes).into_iter().map(|c| c.path).collect();
        assert_eq!(left, [path("some/volume"), path("volumetest")]);
    }
}
