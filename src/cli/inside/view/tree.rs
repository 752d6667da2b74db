// SPDX-License-Identifier: Apache-2.0
//! The paths of one or two images as one tree, and what a view says about each of them.

use std::collections::HashMap;

use crate::inside::{Contents, End, Item, ItemBody};
use crate::node::TreePath;

use super::super::json::type_of;

/// Number of the root in [`Paths::nodes`].
pub const ROOT: u32 = 0;

/// Mark of an item that stands for no path.
const NOWHERE: u32 = u32::MAX;

/// All paths that any layer of the images has; each stands behind its parent.
#[derive(Debug)]
pub struct Paths<'a> {
    pub nodes: Vec<PathNode<'a>>,
    /// For each image, the number of the path of each of its items.
    of_item: Vec<Vec<u32>>,
}

/// A path, which is the last of its names below its parent.
#[derive(Debug)]
pub struct PathNode<'a> {
    pub name: &'a [u8],
    pub parent: u32,
    /// Number of names in the path.
    pub depth: u32,
    pub children: Vec<u32>,
}

/// The tree that the lower layers of an image give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// Number of the image, from 0.
    pub image: usize,
    /// Number of its layers that are laid over one another.
    pub layers: usize,
}

/// An item of one of the images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemAt {
    pub image: usize,
    /// Number in [`Contents::items`].
    pub number: usize,
}

/// Difference of a path between two trees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Added,
    Modified,
    Deleted,
    /// The type is another one, such as a link in the place of a file.
    Type,
}

/// Measures of the size of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Bytes in the uncompressed tar, with headers.
    Tar,
    /// Share in the bytes of the compressed layer.
    Packed,
}

/// Statement of a view about a path.
#[derive(Clone, Copy, Default, Debug)]
pub struct Fact {
    pub now: Option<ItemAt>,
    pub before: Option<ItemAt>,
    pub change: Option<Change>,
    /// Bytes of it and of all that is shown below it; of a deleted path what it had, which is part of a sum of changes alone.
    pub size: u64,
    /// True if it, or something below it, is part of the view.
    pub shown: bool,
}

/// The choice of what is shown.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'f> {
    pub now: Point,
    /// The tree to compare with.
    pub before: Option<Point>,
    pub measure: Measure,
    /// True if paths without a change are left out.
    pub only_changes: bool,
    /// For each path, true if a filter lets it through.
    pub passes: Option<&'f [bool]>,
}

impl Change {
    /// Returns the letter that git has for it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Modified => 'M',
            Self::Deleted => 'D',
            Self::Type => 'T',
        }
    }
}

impl<'a> Paths<'a> {
    /// Collects the paths of images.
    pub fn of(images: &[&'a Contents]) -> Self {
        let root = PathNode {
            name: b"",
            parent: ROOT,
            depth: 0,
            children: Vec::new(),
        };
        let mut builder = Builder {
            nodes: vec![root],
            known: HashMap::new(),
            trail: Vec::new(),
        };
        let mut of_item = Vec::with_capacity(images.len());
        for contents in images {
            let items = contents.items.iter();
            let numbers = items.map(|item| {
                if is_mark(item) {
                    NOWHERE
                } else {
                    builder.add(&item.path)
                }
            });
            of_item.push(numbers.collect());
        }
        Self {
            nodes: builder.nodes,
            of_item,
        }
    }

    /// Returns a path with a slash before it.
    pub fn path(&self, number: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = number;
        while at != ROOT {
            let node = &self.nodes[at as usize];
            names.push(node.name);
            at = node.parent;
        }
        let mut out = vec![b'/'];
        names.reverse();
        out.extend_from_slice(&names.join(&b'/'));
        out
    }

    /// Returns what a choice says about each path.
    pub fn facts(&self, images: &[&'a Contents], choice: Choice<'_>) -> Vec<Fact> {
        let mut facts = vec![Fact::default(); self.nodes.len()];
        self.for_each_at(images, choice.now, |path, item| facts[path].now = Some(item));
        if let Some(before) = choice.before {
            self.for_each_at(images, before, |path, item| facts[path].before = Some(item));
            for fact in &mut facts {
                fact.change = change(images, fact.before, fact.now);
            }
        }
        // A path stands behind its parent, so that each is whole before its own parent takes its bytes.
        for number in (0..facts.len()).rev() {
            let fact = &mut facts[number];
            let passes = choice.passes.is_none_or(|passes| passes[number]);
            let is_there = fact.now.is_some() || fact.change.is_some();
            let is_wanted = is_there && passes && (fact.change.is_some() || !choice.only_changes);
            fact.shown |= is_wanted;
            if is_wanted && let Some(item) = fact.now.or(fact.before) {
                fact.size += size_of(images[item.image], item.number, choice.measure);
            }
            let fact = *fact;
            if number != ROOT as usize && fact.shown {
                let parent = &mut facts[self.nodes[number].parent as usize];
                parent.shown = true;
                // Where only changes are shown, a sum is what was changed; else it is what is there.
                let counts = fact.change != Some(Change::Deleted)
                    || parent.change == Some(Change::Deleted)
                    || choice.only_changes;
                parent.size += if counts { fact.size } else { 0 };
            }
        }
        facts[ROOT as usize].shown = true;
        facts
    }

    /// Calls `each` with the number of each path that is there at a point, and its item.
    fn for_each_at(&self, images: &[&'a Contents], point: Point, mut each: impl FnMut(usize, ItemAt)) {
        let Point { image, layers } = point;
        let items = &images[image].items;
        for (number, (item, path)) in items.iter().zip(&self.of_item[image]).enumerate() {
            if *path != NOWHERE && was_there(items, item, layers) {
                each(*path as usize, ItemAt { image, number });
            }
        }
    }
}

/// Returns whether an item is one of those that only hide others.
fn is_mark(item: &Item) -> bool {
    matches!(item.body, ItemBody::Whiteout | ItemBody::Opaque)
}

/// Returns whether an item is part of the tree that the first `layers` layers give.
fn was_there(items: &[Item], item: &Item, layers: usize) -> bool {
    let goes = match item.end {
        End::Live => usize::MAX,
        End::Replaced(by) | End::Removed(by) => items.get(by as usize).map_or(0, |by| by.layer as usize),
    };
    (item.layer as usize) < layers && layers <= goes
}

fn size_of(contents: &Contents, number: usize, measure: Measure) -> u64 {
    let item = &contents.items[number];
    match measure {
        Measure::Tar => item.span,
        Measure::Packed => contents.packed(item),
    }
}

/// Returns the difference of a path between two trees. Two items of one image differ unless they are directories that say the same,
/// as a layer that has a file once more has its bytes once more; files of two images differ in content or metadata, but not by their
/// times alone.
fn change(images: &[&Contents], before: Option<ItemAt>, now: Option<ItemAt>) -> Option<Change> {
    let (before, now) = match (before, now) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Change::Added),
        (Some(_), None) => return Some(Change::Deleted),
        (Some(before), Some(now)) => (before, now),
    };
    if before == now {
        return None;
    }
    let (old_in, new_in) = (images[before.image], images[now.image]);
    let (old, new) = (&old_in.items[before.number], &new_in.items[now.number]);
    let kind = type_of(new_in, new);
    if type_of(old_in, old) != kind {
        return Some(Change::Type);
    }
    if before.image == now.image && kind != "dir" {
        return Some(Change::Modified);
    }
    let same = match (old_in.node_of(old), new_in.node_of(new)) {
        (Some(old), Some(new)) => {
            (&old.kind, old.mode, old.uid, old.gid, &old.xattrs)
                == (&new.kind, new.mode, new.uid, new.gid, &new.xattrs)
        }
        // A directory without an entry is as good as any other.
        _ => true,
    };
    let same_bytes = old_in.content_of(old).digest == new_in.content_of(new).digest;
    (!same || !same_bytes).then_some(Change::Modified)
}

/// A tree of paths that grows.
struct Builder<'a> {
    nodes: Vec<PathNode<'a>>,
    known: HashMap<(u32, &'a [u8]), u32>,
    /// Names of the last path, each with its number: the next one begins with most of them, and a deep tree would else cost the
    /// square of its depth in look-ups.
    trail: Vec<(&'a [u8], u32)>,
}

impl<'a> Builder<'a> {
    /// Returns the number of a path, which is made if it is new, with all above it.
    fn add(&mut self, path: &'a TreePath) -> u32 {
        let mut at = ROOT;
        for (depth, name) in path.components().enumerate() {
            match self.trail.get(depth) {
                Some((last, number)) if *last == name => at = *number,
                _ => {
                    self.trail.truncate(depth);
                    at = self.child(at, name);
                    self.trail.push((name, at));
                }
            }
        }
        at
    }

    fn child(&mut self, parent: u32, name: &'a [u8]) -> u32 {
        let next = self.nodes.len() as u32;
        let number = *self.known.entry((parent, name)).or_insert(next);
        if number == next {
            let above = &mut self.nodes[parent as usize];
            above.children.push(next);
            let depth = above.depth + 1;
            self.nodes.push(PathNode {
                name,
                parent,
                depth,
                children: Vec::new(),
            });
        }
        number
    }
}
