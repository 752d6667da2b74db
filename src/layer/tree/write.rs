// SPDX-License-Identifier: Apache-2.0
//! Writes the entries that stay of layers that were looked at.

use std::io::{Read, Write};

use super::cells::{Cell, Gone, Kind, Number, Place};
use super::{LayerTree, Name};
use crate::error::{Result, ResultExt};
use crate::layer::read::Head;
use crate::layer::{Entry, EntryBody, LayerReader, LayerWriter, WHITEOUT_PREFIX};
use crate::node::{Node, TreePath};

impl LayerTree {
    /// Ends the first reading.
    ///
    /// # Errors
    /// None that the first reading did not have.
    pub fn finalize(&mut self) -> Result<()> {
        // A content with a name of its own, or one below, keeps it; else the first of its links is its name.
        for (number, Name { path, content }) in self.names.clone() {
            if !self.heirs.contains_key(&content)
                && !self.first_name_stays(content)?
                && self.is_still(&path, Kind::Link, number)?
            {
                self.heirs.insert(content, path);
            }
        }
        for path in std::mem::take(&mut self.hidden) {
            if self.is_hidden(&path)? {
                self.hidden.insert(path);
            }
        }
        for (path, number) in std::mem::take(&mut self.implied) {
            if self.is_still(&path, Kind::Implied, number)? {
                self.implied.insert(path, number);
            }
        }
        for path in std::mem::take(&mut self.touched) {
            let place = self.tree.known_place(&path)?;
            if let Some(cell) = self.tree.find(&place)
                && !self.is_merged(cell.number())
                // An opaque directory above hides it, although something was put in it later.
                && self.is_below_merged(&place, |gone| gone.inside)
            {
                if cell.kind() == Kind::Implied {
                    self.implied.insert(path, cell.number());
                } else {
                    self.repeated.insert(cell.number());
                }
            }
        }
        Ok(())
    }

    fn find_path(&mut self, path: &TreePath) -> Result<Option<Cell>> {
        let place = self.tree.known_place(path)?;
        Ok(self.tree.find(&place))
    }

    /// Returns whether what an entry put at `path` is there in the end, and of this kind.
    fn is_still(&mut self, path: &TreePath, kind: Kind, number: Number) -> Result<bool> {
        let found = self.find_path(path)?;
        Ok(found.is_some_and(|cell| cell.kind() == kind && cell.number() == number))
    }

    /// Returns whether one of the merged layers took something from a directory above `place`.
    fn is_below_merged(&self, place: &Place, taken: fn(Gone) -> Number) -> bool {
        let mut above = place.dir.steps.iter();
        above.any(|step| self.is_merged(taken(self.tree.gone_at(&step.key))))
    }

    fn first_name_stays(&mut self, content: Number) -> Result<bool> {
        let Some(first) = self.first_names.get(&content).cloned() else {
            return Ok(false);
        };
        let found = self.find_path(&first)?;
        Ok(found.is_some_and(|cell| cell.kind() != Kind::Link && cell.number() == content))
    }

    /// Returns whether something below must be hidden at `path`: it was there, nothing above hides it, and no file is in its
    /// place.
    fn is_hidden(&mut self, path: &TreePath) -> Result<bool> {
        let place = self.tree.known_place(path)?;
        Ok(self.below.contains(&place.key)
            && (path.is_root() || !self.is_below_merged(&place, Gone::last))
            && self.tree.find(&place).is_none_or(|cell| cell.kind().is_dir()))
    }

    /// Returns whether the `number`-th layer has something that goes into the merged one.
    ///
    /// # Errors
    /// As [`LayerTree::finalize`].
    pub fn needs(&mut self, number: usize) -> Result<bool> {
        if number >= self.from {
            return Ok(true);
        }
        let Some(start) = self.starts.get(number) else {
            return Ok(false);
        };
        let end = self.starts.get(number + 1).unwrap_or(&self.entries);
        // Half open, since a range that ends before it begins would panic: a layer may be empty.
        let entries = start + 1..end + 1;
        let heirs = self.heirs.range(entries.clone()).map(|(_, path)| path.clone());
        let heirs: Vec<TreePath> = heirs.collect();
        let mut is_needed = self.repeated.range(entries).next().is_some();
        for path in heirs {
            is_needed = is_needed || self.is_new(&path)?;
        }
        Ok(is_needed)
    }

    /// Returns whether the name at `path` is one of the merged layers.
    fn is_new(&mut self, path: &TreePath) -> Result<bool> {
        let found = self.find_path(path)?;
        Ok(found.is_some_and(|cell| self.is_merged(cell.number())))
    }

    /// Writes what is to be hidden of what is below, and the directories that no entry speaks of.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_first<W: Write>(&mut self, out: &mut LayerWriter<W>) -> Result<()> {
        for path in std::mem::take(&mut self.hidden) {
            let place = self.tree.known_place(&path)?;
            if self.is_merged(self.tree.gone_at(&place.key).itself) {
                out.whiteout(&path)?
            } else {
                out.opaque(&path)?
            }
        }
        for path in self.implied.keys() {
            // Such a name can only be implied: of its own it would be a whiteout.
            if path.name().starts_with(WHITEOUT_PREFIX) {
                self.unsaid.insert(path);
            } else {
                out.node(path, &Node::dir(0o755), &mut std::io::empty())?;
                self.unsaid.remove_above(path);
            }
        }
        Ok(())
    }

    /// Ends the second reading.
    ///
    /// # Errors
    /// `ErrorKind::Unsupported` for a directory that has the name of a whiteout, and nothing in it: no layer can have it.
    pub fn finish(&self) -> Result<()> {
        let Some(path) = self.implied.keys().find(|path| self.unsaid.contains(path)) else {
            return Ok(());
        };
        fail!(
            Unsupported,
            "the directory {path} is empty and has the name of a whiteout, which no layer can hold"
        );
    }

    /// Writes what stays of the `number`-th layer, and reads `tar` to its end unless something is wrong; returns it.
    ///
    /// # Errors
    /// Those of reader and writer.
    pub fn write<R: Read, W: Write>(
        &mut self,
        number: usize,
        tar: R,
        out: &mut LayerWriter<W>,
    ) -> (R, Result<()>) {
        let mut reader = LayerReader::recording(tar, self.limits.clone());
        let written = self.write_entries(number, &mut reader, out);
        let read = written.and_then(|()| reader.drain());
        (reader.into_inner(), read)
    }

    fn write_entries<R: Read, W: Write>(
        &mut self,
        number: usize,
        reader: &mut LayerReader<R>,
        out: &mut LayerWriter<W>,
    ) -> Result<()> {
        let mut entry = self.starts.get(number).copied().unwrap_or_default();
        // Links before their targets come behind them: what is below may have something of that name.
        let mut late = Vec::new();
        while let Some(Entry { path, body }) = reader.next_entry()? {
            entry += 1;
            let Some(fate) = self.fate(entry, &path, &body)? else {
                continue;
            };
            // The directories above it need no entry.
            self.unsaid.remove_above(&fate.path);
            let head = reader.take_head();
            if fate.target.as_ref().is_some_and(|(content, _)| *content > entry) {
                self.hold(head.blocks.len())?;
                late.push((head, fate));
                continue;
            }
            fate.write(&head, out)
                .and_then(|()| out.copy_rest(reader))
                .context(|| format!("entry {path}"))?;
        }
        late.iter().try_for_each(|(head, fate)| fate.write(head, out))
    }

    /// Tells how an entry is written; `None` if it is not.
    fn fate(&mut self, number: Number, path: &TreePath, body: &EntryBody) -> Result<Option<Fate>> {
        let at = self.moved.get(&number).unwrap_or(path).clone();
        let stays = self.find_path(&at)?.is_some_and(|cell| cell.number() == number);
        match body {
            EntryBody::Whiteout | EntryBody::Opaque => Ok(None),
            EntryBody::Node(node) => {
                let mut fate = Fate {
                    is_same: at == *path,
                    path: at,
                    is_dir: node.is_dir(),
                    target: None,
                };
                if stays && (self.is_merged(number) || self.repeated.contains(&number)) {
                    return Ok(Some(fate));
                }
                // The content of a name that is gone goes to the first of its links, in this layer or an upper one.
                match self.heirs.get(&number).cloned() {
                    Some(heir) if self.is_new(&heir)? => (fate.path, fate.is_same) = (heir, false),
                    _ => return Ok(None),
                }
                Ok(Some(fate))
            }
            EntryBody::HardLink { target } => {
                let name = self.names.get(&number);
                let Some(&Name { content, .. }) = name.filter(|_| stays && self.is_merged(number)) else {
                    return Ok(None);
                };
                let first = self.heirs.get(&content).or(self.first_names.get(&content));
                Ok(first.filter(|first| **first != at).map(|first| Fate {
                    is_same: at == *path && first == target,
                    path: at,
                    is_dir: false,
                    target: Some((content, first.clone())),
                }))
            }
        }
    }
}

/// Form in which an entry is written.
#[derive(Debug)]
struct Fate {
    path: TreePath,
    is_dir: bool,
    /// For a hard link the entry that has the content, and its name.
    target: Option<(Number, TreePath)>,
    /// Whether all that is as the entry says.
    is_same: bool,
}

impl Fate {
    fn write<W: Write>(&self, head: &Head, out: &mut LayerWriter<W>) -> Result<()> {
        if self.is_same && !head.has_global {
            return out.copy_head(head);
        }
        let target = self.target.as_ref().map(|(_, name)| name);
        out.copy_head_as(head, &self.path, target, self.is_dir)
    }
}
