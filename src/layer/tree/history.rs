// SPDX-License-Identifier: Apache-2.0
//! Fates of entries: the place of each in the end, or the entry that took it away.

use std::collections::HashMap;

use super::cells::{Cell, Key, Kind, Number, Place, ROOT};
use super::{LayerTree, Limits};
use crate::error::Result;
use crate::layer::TocEntry;
use crate::node::{ByHash, TreePath, hash_child};

/// Replacements and removals in the order in which they happened.
#[derive(Debug, Default)]
pub(super) struct History {
    /// For an entry the one that took its place.
    successors: HashMap<Number, Number>,
    /// The other way round.
    predecessors: HashMap<Number, Number>,
    /// Removals at a path and below it.
    removals: ByHash<Vec<Removal>>,
    /// Keys of the places at which entries were put, by the number of the entry.
    keys: Vec<Key>,
    /// Directories, each with the first entry of each layer that was put below it.
    first_below: ByHash<Vec<Number>>,
}

/// The end of all at or below a path that was last touched before the entry `until`.
#[derive(Clone, Copy, Debug)]
struct Removal {
    until: Number,
    /// The entry that caused it.
    by: Number,
    /// True if the directory itself stays.
    inside: bool,
}

/// An entry in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fate {
    /// Its path with all links on the way followed.
    pub path: TreePath,
    /// For a hard link the number of the entry that has the content, if there is one.
    pub content: Option<u32>,
    /// Number of the entry at this path whose place it took.
    pub before: Option<u32>,
    /// State in the end, with the cause if it is gone.
    pub outcome: Outcome,
}

/// Kind of an entry, as far as its fate depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FateOf {
    Directory,
    Other,
    /// A whiteout of either kind.
    Whiteout,
}

/// State of an entry once all layers lie over one another. Entries have numbers, counted from 0 over all layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It is there; a whiteout is always.
    Live,
    /// This entry took its place.
    Replaced(u32),
    /// This entry removed it or a directory above: a whiteout, or something in the place of a directory.
    Removed(u32),
}

impl LayerTree {
    /// Begins to lay all layers over one another, and remembers what becomes of each entry.
    pub(crate) fn with_history(limits: Limits) -> Self {
        Self {
            history: Some(History::default()),
            ..Self::new(0, limits)
        }
    }

    /// Looks at the next layer up by its table of contents.
    ///
    /// # Errors
    /// As [`LayerTree::add_layer`].
    pub(crate) fn add_entries<'a>(&mut self, entries: impl IntoIterator<Item = &'a TocEntry>) -> Result<()> {
        self.begin_layer();
        for entry in entries {
            self.add_entry(entry.entry.clone())?;
        }
        self.end_layer()
    }

    /// Ends the looking; returns the directories that are there without an entry, each with the number of the entry that needed it.
    ///
    /// # Errors
    /// As [`LayerTree::finalize`].
    pub(crate) fn settle(&mut self) -> Result<Vec<(TreePath, u32)>> {
        self.finalize()?;
        let implied = std::mem::take(&mut self.implied);
        Ok(implied
            .into_iter()
            .map(|(path, number)| (path, number - 1))
            .collect())
    }

    /// Returns what became of the `number`-th entry of all layers, counted from 0, which stands at `path` in its archive and is of this
    /// kind. All entries must be asked for in order, once all were added.
    pub(crate) fn fate_of(&mut self, number: u32, path: &TreePath, kind: FateOf) -> Fate {
        let own = number + 1;
        let path = self.moved.get(&own).unwrap_or(path).clone();
        let content = self.names.get(&own).map(|name| name.content - 1);
        let history = self.history.as_ref();
        let before = history.and_then(|history| history.predecessors.get(&own));
        let before = before.map(|number| number - 1);
        let outcome = if kind == FateOf::Whiteout || self.is_there(own, &path) {
            Outcome::Live
        } else {
            self.end_of(own, &path, kind == FateOf::Directory)
        };
        Fate {
            path,
            content,
            before,
            outcome,
        }
    }

    /// Returns whether an entry that was put at `path` is there in the end.
    fn is_there(&mut self, own: Number, path: &TreePath) -> bool {
        let keys = self.history.as_ref().map_or(&[][..], |history| &history.keys);
        // An entry that was put nowhere is nowhere.
        let Some(key) = keys.get(own as usize).copied() else {
            return false;
        };
        let found = self.tree.find_known(path, &key);
        found.is_some_and(|cell| cell.kind() != Kind::Implied && cell.number() == own)
    }

    /// Returns why an entry at `path` is not there in the end.
    fn end_of(&self, own: Number, path: &TreePath, is_dir: bool) -> Outcome {
        let Some(history) = &self.history else {
            return Outcome::Removed(own - 1);
        };
        let removal = history.first_removal(own, path, |until, by| {
            // A directory in which the layer itself had put something by then stayed where all around it went.
            is_dir && history.has_below(path, until, by)
        });
        match (history.successors.get(&own), removal) {
            (Some(successor), Some(by)) if by < *successor => Outcome::Removed(by - 1),
            (Some(successor), _) => Outcome::Replaced(successor - 1),
            (None, Some(by)) => Outcome::Removed(by - 1),
            // Each end has a cause; without one it is the entry's own layer that took it away.
            (None, None) => Outcome::Removed(own - 1),
        }
    }

    /// Notes that an entry took the place of another.
    pub(super) fn note_replaced(&mut self, old: Cell, number: Number) {
        if let Some(history) = &mut self.history
            && old.number() != number
            && old.kind() != Kind::Implied
        {
            history.successors.insert(old.number(), number);
            history.predecessors.insert(number, old.number());
        }
    }

    /// Notes a removal that the present entry causes.
    pub(super) fn note_removal(&mut self, key: Key, until: Number, inside: bool) {
        let by = self.entries;
        if let Some(history) = &mut self.history {
            history
                .removals
                .entry(key)
                .or_default()
                .push(Removal { until, by, inside });
        }
    }

    /// Notes that an entry was put at `place`: the directories above it have something of its layer.
    pub(super) fn note_put(&mut self, place: &Place, number: Number) {
        let start = self.start();
        let Some(history) = &mut self.history else { return };
        if history.keys.len() <= number as usize {
            history.keys.resize(number as usize + 1, ROOT);
        }
        history.keys[number as usize] = place.key;
        // In the first layer nothing is below that could be hidden.
        if self.starts.len() == 1 || place.path.is_root() {
            return;
        }
        for step in place.dir.steps.iter().rev() {
            let known = history.first_below.entry(step.key).or_default();
            if known.last().is_some_and(|last| *last > start) {
                // Those above it were noted for this layer with it.
                break;
            }
            known.push(number);
        }
    }
}

impl History {
    /// Returns the entry that caused the first removal which an entry at `path` did not survive.
    fn first_removal(
        &self,
        own: Number,
        path: &TreePath,
        survives: impl Fn(Number, Number) -> bool,
    ) -> Option<Number> {
        let mut key = ROOT;
        let mut found = None;
        let depth = path.components().count();
        let keys = path.components().map(|name| {
            key = hash_child(key, name);
            key
        });
        for (at, key) in std::iter::once(ROOT).chain(keys).enumerate() {
            for removal in self.removals.get(&key).into_iter().flatten() {
                let reaches = !removal.inside || at < depth;
                if reaches
                    && removal.by > own
                    && removal.until > own
                    && !survives(removal.until, removal.by)
                    && found.is_none_or(|by| removal.by < by)
                {
                    found = Some(removal.by);
                }
            }
        }
        found
    }

    /// Returns whether something was put below `path` by entries from `first` on, before `by`.
    fn has_below(&self, path: &TreePath, first: Number, by: Number) -> bool {
        let key = path.components().fold(ROOT, hash_child);
        let known = self.first_below.get(&key);
        known.is_some_and(|numbers| numbers.iter().any(|number| (first..by).contains(number)))
    }
}
