// SPDX-License-Identifier: Apache-2.0
//! The model of layers laid over one another; and several layers as one, in which everything that upper layers replace or hide is
//! left out and the rest is copied as it stands.
//!
//! Invariant: the merged layer over what is below gives the tree that the layers give one after the other, as
//! `rootfs::Extractor` applies them. For that all layers are looked at from the lowest, as if they were applied to a tree of
//! which only hashes are held: some 30 bytes a path, and the paths of whiteouts, links, and directories without an entry. Then
//! the layers are read once more, and what is still there is copied.
//!
//! Every entry has a number, counted over all layers. The node at a path was put there by one entry (`made`), and has last been
//! touched by one (`stamp`); it is there if nothing above it was removed or emptied since, so that removals cost nothing.

mod cells;
mod history;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::rc::Rc;

use self::cells::{Cell, Gone, Key, Kind, MAX_ENTRIES, Number, Place, Tree, Way, in_dir};
use self::history::History;
pub(crate) use self::history::{Fate, FateOf, Outcome};
use super::{Entry, EntryBody, LayerReader, Limits};
use crate::error::{Result, ResultExt};
use crate::node::{NodeKind, PathSet, SecretHashes, Trail, TreePath, hash_child};

/// A hard link, or what it is a name of.
#[derive(Clone, Debug)]
struct Name {
    path: TreePath,
    /// The entry that has the content.
    content: Number,
}

/// The tree that layers give one after the other, and the layers of it that are merged.
///
/// [`LayerTree::add_layer`] at all layers from the lowest, [`LayerTree::finalize`], then [`LayerTree::write_first`] and
/// [`LayerTree::write`], again from the lowest, and [`LayerTree::finish`].
#[derive(Debug, Default)]
pub struct LayerTree {
    limits: Limits,
    /// Number of layers that stay below.
    from: usize,
    /// The number of the first entry that is merged; there may be none so far.
    first: Option<Number>,
    /// Numbers before the first entries of the layers.
    starts: Vec<Number>,
    entries: Number,
    /// Count of the directories without an entry.
    implied_count: u64,
    held: u64,
    tree: Tree,
    /// The directory that was last looked for, and where it is.
    last: Option<(TreePath, Rc<Way>)>,
    /// Targets of symbolic links.
    symlinks: HashMap<Number, Vec<u8>>,
    names: BTreeMap<Number, Name>,
    /// First names of what has several.
    first_names: HashMap<Number, TreePath>,
    /// Nodes of the tree below that are gone, or have become something else.
    below: SecretHashes,
    /// Paths at which something below may have to be hidden.
    hidden: BTreeSet<TreePath>,
    /// Directories from below in which something was put.
    touched: BTreeSet<TreePath>,
    /// Directories that no entry of the merged layers speaks of, with the entries that needed them.
    implied: BTreeMap<TreePath, Number>,
    /// Those of the name of a whiteout, which can have no entry, as long as nothing in them is written.
    unsaid: PathSet,
    /// Those that this layer made on the way to somewhere else: it has put nothing there.
    passed: SecretHashes,
    /// Entries that are somewhere else than they say, because of symbolic links.
    moved: HashMap<Number, TreePath>,
    /// Paths of the symbolic links of this layer, as it spells them.
    own_symlinks: PathSet,
    late: BTreeMap<TreePath, (TreePath, Number)>,
    /// Names that contents get because their own are gone.
    heirs: BTreeMap<Number, TreePath>,
    /// Entries from below that the merged layer repeats, since it hides them with what is around them.
    repeated: BTreeSet<Number>,
    /// Replacements and removals, if they are asked for.
    history: Option<History>,
}

impl LayerTree {
    /// Begins to merge all layers but the `from` lowest.
    pub fn new(from: usize, limits: Limits) -> Self {
        Self {
            limits,
            from,
            ..Self::default()
        }
    }

    /// Looks at the next layer up.
    ///
    /// # Errors
    /// Those of the reader, and of a layer that cannot be applied; `ErrorKind::Limit` for more entries than one image may
    /// have.
    pub fn add_layer<R: Read>(&mut self, layer: &mut LayerReader<R>) -> Result<()> {
        self.begin_layer();
        while let Some(entry) = layer.next_entry()? {
            self.add_entry(entry)?;
        }
        self.end_layer()
    }

    fn begin_layer(&mut self) {
        if self.starts.len() == self.from {
            self.first = Some(self.entries + 1);
        }
        self.starts.push(self.entries);
    }

    fn add_entry(&mut self, Entry { path, body }: Entry) -> Result<()> {
        self.entries += 1;
        self.check_entries()?;
        self.entry(&path, body).context(|| format!("entry {path}"))
    }

    fn end_layer(&mut self) -> Result<()> {
        // Both are about one layer: whiteouts of the next one hide what this one has put there.
        self.own_symlinks.clear();
        self.passed.clear();
        self.link_late()
    }

    fn check_entries(&self) -> Result<()> {
        let count = u64::from(self.entries) + self.implied_count;
        let what = "image, with the directories that it implies,";
        Limits::check("entries", what, count, self.limits.entries.min(MAX_ENTRIES))
    }

    fn entry(&mut self, path: &TreePath, body: EntryBody) -> Result<()> {
        let number = self.entries;
        let is_dir = matches!(&body, EntryBody::Node(node) if node.is_dir());
        match body {
            // Nothing is hidden where nothing is below.
            EntryBody::Whiteout | EntryBody::Opaque if self.starts.len() == 1 => Ok(()),
            EntryBody::Whiteout => self.whiteout(path),
            EntryBody::Opaque => self.opaque(path),
            _ if path.is_root() && !is_dir => fail!(UnsafePath, "refusing to change type of root directory"),
            EntryBody::Node(node) => {
                let at = self.place(path, true)?;
                self.own_symlinks.remove(path);
                let kind = match node.kind {
                    NodeKind::Dir => Kind::Dir,
                    NodeKind::Symlink { target } => {
                        self.hold(path.as_bytes().len() + target.len())?;
                        self.own_symlinks.insert(path);
                        self.symlinks.insert(number, target);
                        Kind::Symlink
                    }
                    _ => Kind::File,
                };
                self.moved(path, &at)?;
                self.replace(&at, is_dir, number)?;
                self.put(&at, kind, number)
            }
            EntryBody::HardLink { target } => {
                if self.hard_link(path, &target, number)? {
                    return Ok(());
                }
                let at = self.place(path, true)?;
                self.moved(path, &at)?;
                self.hold(at.path.as_bytes().len() + target.as_bytes().len())?;
                self.replace(&at, false, number)?;
                self.put(&at, Kind::Late, number)?;
                self.late.insert(at.path, (target, number));
                Ok(())
            }
        }
    }

    /// Counts bytes that are held until the end.
    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held += bytes as u64 + 128;
        let (what, limit) = ("whiteouts and links of the layers", self.limits.directory_bytes);
        Limits::check("directories", what, self.held, limit)
    }

    /// Returns the number of the last entry of the layers below this one.
    fn start(&self) -> Number {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Returns whether an entry is one of those that are merged.
    fn is_merged(&self, number: Number) -> bool {
        self.first.is_some_and(|first| number >= first)
    }

    fn put(&mut self, place: &Place, kind: Kind, number: Number) -> Result<()> {
        self.tree.cells.insert(place.key, Cell::new(kind, number));
        self.note_put(place, number);
        self.passed.remove(&place.key);
        if place.path.is_root() {
            return Ok(());
        }
        // This layer has something in it, and in what is above.
        let start = self.start();
        for step in place.dir.steps.iter().rev() {
            let is_passed = self.passed.remove(&step.key);
            let Some(cell) = self.tree.cells.get_mut(&step.key) else {
                continue;
            };
            if cell.stamp > start {
                if is_passed {
                    continue;
                }
                // The directories above it have been touched with it.
                break;
            }
            cell.stamp = number;
            let made = cell.number();
            if self.is_merged(number) && !self.is_merged(made) && step.end > 0 {
                let path = TreePath::clean(&place.dir.path[..step.end])?;
                self.hold(path.as_bytes().len())?;
                self.touched.insert(path);
            }
        }
        Ok(())
    }

    /// Returns the place of what is called `path`, every link on the way to its directory followed.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` if there is no such directory, unless it is to be made.
    fn place(&mut self, path: &TreePath, make: bool) -> Result<Place> {
        let Some(dir) = path.parent() else {
            return Ok(self.tree.root());
        };
        let way = match &self.last {
            // Entries of one directory follow each other in most archives.
            Some((known, way)) if *known == dir => Rc::clone(way),
            _ => {
                let way = Rc::new(self.walk(&dir, make)?);
                self.last = Some((dir, Rc::clone(&way)));
                way
            }
        };
        in_dir(way, path.name())
    }

    /// Returns the place and the cell of the node called `path`.
    fn find(&mut self, path: &TreePath) -> Result<Option<(Place, Cell)>> {
        let Some(place) = self.place(path, false).if_there()? else {
            return Ok(None);
        };
        Ok(self.tree.find(&place).map(|cell| (place, cell)))
    }

    fn walk(&mut self, path: &TreePath, make: bool) -> Result<Way> {
        let mut way = self.tree.top();
        let mut trail = Trail::to(path);
        while let Some(name) = trail.step() {
            if name == b".." {
                way.up();
                continue;
            }
            let above = way.here();
            let key = hash_child(above.key, &name);
            let found = self.tree.at(&key, above.floor);
            if !found.is_some_and(|cell| cell.kind().is_dir()) {
                if let Some(target) = found.and_then(|cell| self.symlinks.get(&self.content(cell))) {
                    trail.follow(target)?;
                    if target.first() == Some(&b'/') {
                        way = self.tree.top();
                    }
                    continue;
                }
                if !make {
                    fail!(NotFound, "{path} does not exist");
                }
                self.imply(&mut way, &name, key, found)?;
                // The node that was replaced changes the floor of the directory in its place.
            }
            way.down(&name, key, above.floor.max(self.tree.gone_at(&key).last()));
        }
        Ok(way)
    }

    /// Makes a directory that no entry speaks of.
    fn imply(&mut self, way: &mut Way, name: &[u8], key: Key, found: Option<Cell>) -> Result<()> {
        self.implied_count += 1;
        self.check_entries()?;
        let number = self.entries;
        if let Some(old) = found {
            let path = way.join(name)?;
            self.leave(&key, old);
            if self.below.contains(&key) {
                self.hide(&path)?;
            }
            self.gone_mut(key).itself = number;
            self.note_removal(key, number, false);
        }
        self.tree.cells.insert(key, Cell::new(Kind::Implied, number));
        self.passed.insert(key);
        if self.is_merged(number) {
            let path = way.join(name)?;
            self.hold(path.as_bytes().len())?;
            self.implied.insert(path, number);
        }
        Ok(())
    }

    /// Returns the entry that has the content of what is there.
    fn content(&self, cell: Cell) -> Number {
        match self.names.get(&cell.number()) {
            Some(name) if cell.kind() == Kind::Link => name.content,
            _ => cell.number(),
        }
    }

    /// Notes where an entry really is.
    fn moved(&mut self, path: &TreePath, at: &Place) -> Result<()> {
        if *path != at.path {
            self.hold(at.path.as_bytes().len())?;
            self.moved.insert(self.entries, at.path.clone());
        }
        Ok(())
    }

    /// Makes room for an entry; a directory takes the place of another without an end of what is in it.
    fn replace(&mut self, at: &Place, by_dir: bool, number: Number) -> Result<()> {
        let Some(old) = self.tree.find(at) else {
            return Ok(());
        };
        self.note_replaced(old, number);
        self.leave(&at.key, old);
        if old.kind().is_dir() && by_dir {
            return Ok(());
        }
        if by_dir && self.below.contains(&at.key) {
            self.hide(&at.path)?;
        }
        if old.kind().is_dir() || by_dir {
            self.gone_mut(at.key).itself = self.entries;
            self.note_removal(at.key, self.entries, false);
        } else if self.symlinks.contains_key(&self.content(old)) {
            self.last = None;
        }
        Ok(())
    }

    /// Notes that what was there goes or becomes something else.
    fn leave(&mut self, key: &Key, old: Cell) {
        if self.is_merged(self.entries) && !self.is_merged(old.number()) {
            self.below.insert(*key);
        }
    }

    fn hide(&mut self, at: &TreePath) -> Result<()> {
        if self.from > 0 && self.is_merged(self.entries) {
            self.hold(at.as_bytes().len())?;
            self.hidden.insert(at.clone());
        }
        Ok(())
    }

    /// Returns the removals at `key`, to be changed.
    fn gone_mut(&mut self, key: Key) -> &mut Gone {
        self.last = None;
        self.tree.gone_mut(key)
    }

    fn whiteout(&mut self, path: &TreePath) -> Result<()> {
        if self.own_symlinks.has_above(path) {
            return Ok(());
        }
        let Some((at, old)) = self.find(path)? else {
            return Ok(());
        };
        let is_passed = self.passed.contains(&at.key);
        if old.stamp <= self.start() || is_passed {
            self.leave(&at.key, old);
            self.hide(&at.path)?;
            let number = if is_passed { self.entries } else { self.start() + 1 };
            self.gone_mut(at.key).itself = number;
            self.note_removal(at.key, number, false);
        } else if old.kind().is_dir() {
            // A directory that this layer has touched stays, with what the layer has put in it.
            self.empty(&at, old)?;
        }
        Ok(())
    }

    fn opaque(&mut self, path: &TreePath) -> Result<()> {
        match self.find(path)? {
            Some((at, old)) if old.kind().is_dir() => self.empty(&at, old),
            _ => Ok(()),
        }
    }

    /// Takes from a directory what this layer has not put there.
    fn empty(&mut self, at: &Place, old: Cell) -> Result<()> {
        self.leave(&at.key, old);
        self.hide(&at.path)?;
        self.gone_mut(at.key).inside = self.start() + 1;
        self.note_removal(at.key, self.start() + 1, true);
        Ok(())
    }

    /// Gives `target` another name; `false` if it is not there.
    fn hard_link(&mut self, path: &TreePath, target: &TreePath, number: Number) -> Result<bool> {
        let found = self.find(target)?;
        // A link that waits for its own target is no target yet.
        let Some((from, linked)) = found.filter(|(_, cell)| cell.kind() != Kind::Late) else {
            return Ok(false);
        };
        if linked.kind().is_dir() {
            fail!(Corrupt, "hard link to the directory {target}");
        }
        let content = self.content(linked);
        let at = self.place(path, true)?;
        // The directory that it needs stands where the target was, or it stands where the target's directory was.
        if at.path.is_below(&from.path) || from.path.is_below(&at.path) {
            fail!(NotFound, "hard link to {target}, which gives way to it");
        }
        if self.entries == number {
            self.moved(path, &at)?;
        }
        self.replace(&at, false, number)?;
        self.hold(at.path.as_bytes().len() + from.path.as_bytes().len())?;
        self.put(&at, Kind::Link, number)?;
        if linked.kind() != Kind::Link {
            self.first_names.entry(content).or_insert(from.path);
        }
        let path = at.path;
        self.names.insert(number, Name { path, content });
        Ok(true)
    }

    /// Makes the hard links that came before their targets; those may be such links too.
    fn link_late(&mut self) -> Result<()> {
        while let Some(first) = self.late.pop_first() {
            let mut chain = vec![first];
            while let Some((path, (target, number))) = chain.pop() {
                let place = self.tree.known_place(&path)?;
                let is_there = self.tree.find(&place);
                if is_there.is_none_or(|cell| cell.kind() != Kind::Late || cell.number() != number)
                    || self.hard_link(&path, &target, number)?
                {
                    continue;
                }
                let Some(next) = self.late.remove_entry(&target) else {
                    let text = format!("entry {path}: hard link to {target}, which does not exist");
                    fail!(NotFound, "{text}");
                };
                chain.extend([(path, (target, number)), next]);
            }
        }
        Ok(())
    }
}
