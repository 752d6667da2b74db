// SPDX-License-Identifier: Apache-2.0
//! A tree of which only hashes are held: what is where, and since when.
//!
//! Every entry of the layers has a number. The node at a path was put there by one entry (`made`), and has last been touched by one
//! (`stamp`); it is there if nothing above it was removed or emptied since, so that removals cost nothing.

use std::rc::Rc;

use crate::error::Result;
use crate::node::{ByHash, SecretHash, TreePath, hash_child};

/// Hash that stands for a path.
pub(super) type Key = SecretHash;

/// The key of the root.
pub(super) const ROOT: Key = [0; 2];

/// The number of an entry, from 1.
pub(super) type Number = u32;

/// Kind of the node at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Dir,
    /// A directory that no entry speaks of.
    Implied,
    /// Anything that is neither a directory nor a link.
    File,
    Symlink,
    /// Another name of something.
    Link,
    /// The place of a hard link whose target comes later in its layer.
    Late,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Dir,
        Kind::Implied,
        Kind::File,
        Kind::Symlink,
        Kind::Link,
        Kind::Late,
    ];

    pub fn is_dir(self) -> bool {
        matches!(self, Kind::Dir | Kind::Implied)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Kind and number of the entry that put it there, in one word: there are millions.
    made: u32,
    pub stamp: Number,
}

/// Maximum number of entries that a [`Cell`] can count.
pub(super) const MAX_ENTRIES: u64 = (1 << 29) - 1;

impl Cell {
    pub fn new(kind: Kind, number: Number) -> Self {
        Self {
            made: (kind as u32) << 29 | number,
            stamp: number,
        }
    }

    pub fn kind(self) -> Kind {
        Kind::ALL[(self.made >> 29) as usize]
    }

    pub fn number(self) -> Number {
        self.made & MAX_ENTRIES as u32
    }
}

/// Up to which entries what was at a path (`itself`) or below it (`inside`) is gone.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Gone {
    pub itself: Number,
    pub inside: Number,
}

impl Gone {
    /// Returns up to which entries what was below is gone in either way.
    pub fn last(self) -> Number {
        self.itself.max(self.inside)
    }
}

/// A directory of the tree, with all that is above it.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// Its path.
    pub path: Vec<u8>,
    /// The directories on the way, the root first.
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Step {
    /// Offset of the end of its path in that of the way.
    pub end: usize,
    pub key: Key,
    /// Up to which entries things directly in it are gone.
    pub floor: Number,
}

impl Way {
    pub fn here(&self) -> Step {
        self.steps.last().copied().unwrap_or_default()
    }

    /// Returns the path of `name` in it.
    pub fn join(&self, name: &[u8]) -> Result<TreePath> {
        let slash: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
        TreePath::clean(&[&self.path, slash, name].concat())
    }

    pub fn up(&mut self) {
        // `..` in the root is the root, as in a kernel.
        if self.steps.len() > 1 {
            self.steps.pop();
            self.path.truncate(self.here().end);
        }
    }

    pub fn down(&mut self, name: &[u8], key: Key, floor: Number) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.steps.push(Step {
            end: self.path.len(),
            key,
            floor,
        });
    }
}

/// Location of a node: a name in a directory, or the root.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub dir: Rc<Way>,
    pub path: TreePath,
    pub key: Key,
}

pub(super) fn in_dir(dir: Rc<Way>, name: &[u8]) -> Result<Place> {
    Ok(Place {
        path: dir.join(name)?,
        key: hash_child(dir.here().key, name),
        dir,
    })
}

/// The cell of each path. In several parts, so that they do not all grow at the same moment: a table that grows is there twice.
#[derive(Debug, Default)]
pub(super) struct Cells([ByHash<Cell>; 16]);

impl Cells {
    pub fn part(key: &Key) -> usize {
        (key[0] & 15) as usize
    }

    pub fn get(&self, key: &Key) -> Option<&Cell> {
        self.0[Self::part(key)].get(key)
    }

    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Cell> {
        self.0[Self::part(key)].get_mut(key)
    }

    pub fn insert(&mut self, key: Key, cell: Cell) {
        self.0[Self::part(&key)].insert(key, cell);
    }
}

/// The tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub cells: Cells,
    pub gone: ByHash<Gone>,
    /// The directory that was last looked for by [`Tree::known_place`], and what is above it.
    last: Option<(TreePath, Rc<Way>)>,
}

impl Tree {
    pub fn gone_at(&self, key: &Key) -> Gone {
        self.gone.get(key).copied().unwrap_or_default()
    }

    /// Returns the way to the root.
    pub fn top(&self) -> Way {
        Way {
            path: Vec::new(),
            steps: vec![Step {
                floor: self.gone_at(&ROOT).inside,
                ..Step::default()
            }],
        }
    }

    pub fn root(&self) -> Place {
        Place {
            dir: Rc::new(self.top()),
            path: TreePath::root(),
            key: ROOT,
        }
    }

    /// Returns the cell under this key in a directory with this floor.
    pub fn at(&self, key: &Key, floor: Number) -> Option<Cell> {
        // Removals leave the cells below them; a stamp that is older than the removal tells that a cell is gone.
        let cell = *self.cells.get(key)?;
        (cell.stamp >= floor.max(self.gone_at(key).itself)).then_some(cell)
    }

    pub fn find(&self, place: &Place) -> Option<Cell> {
        if place.path.is_root() {
            // The root is always there.
            let known = self.cells.get(&ROOT).copied();
            return Some(known.unwrap_or(Cell::new(Kind::Implied, 0)));
        }
        self.at(&place.key, place.dir.here().floor)
    }

    /// Returns the place of `path`, of which no component is a link; directories on the way need not be there.
    pub fn known_place(&mut self, path: &TreePath) -> Result<Place> {
        match path.parent() {
            Some(dir) => in_dir(self.known_way(dir), path.name()),
            None => Ok(self.root()),
        }
    }

    /// Returns the cell at `path`, of which no component is a link, and whose key is known.
    pub fn find_known(&mut self, path: &TreePath, key: &Key) -> Option<Cell> {
        match path.parent() {
            Some(dir) => {
                let floor = self.known_way(dir).here().floor;
                self.at(key, floor)
            }
            None => self.find(&self.root()),
        }
    }

    /// Returns the way to a directory, of whose path no component is a link; it need not be there.
    fn known_way(&mut self, dir: TreePath) -> Rc<Way> {
        if let Some((known, way)) = &self.last
            && *known == dir
        {
            return Rc::clone(way);
        }
        let mut way = self.top();
        for name in dir.components() {
            let above = way.here();
            let key = hash_child(above.key, name);
            way.down(name, key, above.floor.max(self.gone_at(&key).last()));
        }
        let way = Rc::new(way);
        self.last = Some((dir, Rc::clone(&way)));
        way
    }

    /// Returns the removals at `key`, to be changed.
    pub fn gone_mut(&mut self, key: Key) -> &mut Gone {
        // The floors on the way that is remembered may be about to change.
        self.last = None;
        self.gone.entry(key).or_default()
    }
}
