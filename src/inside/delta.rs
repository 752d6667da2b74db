// SPDX-License-Identifier: Apache-2.0
//! Two trees beside each other: each path that differs, with all in which it does.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::layer::FileDigest;
use crate::node::{Node, NodeKind, Time, TreePath};

/// A path of a tree, and what stands there.
#[derive(Clone, Debug)]
pub struct Spot<'a> {
    /// The path; of a whiteout the name that the archive has.
    pub path: Cow<'a, TreePath>,
    pub kind: SpotKind<'a>,
    /// SHA-256 of the content of a regular file, as far as it is known.
    pub digest: Option<FileDigest>,
    /// Number of what has the content, in the tree that it is of.
    pub content: u32,
    /// Number of its layer, from 0; `None` in a bundle.
    pub layer: Option<u32>,
    /// Of a file with several names the first in the order of paths.
    pub first: Option<&'a TreePath>,
}

/// Kind of what stands at a path.
#[derive(Clone, Copy, Debug)]
pub enum SpotKind<'a> {
    Node(&'a Node),
    /// A directory without an entry: 0755, owner 0:0, time 0.
    Implied,
    Whiteout,
    Opaque,
}

/// Ways in which two things at a path differ, as a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Fields(u16);

/// Names of the fields, each with its bit: the words of `--ignore`, and of `fields` in JSON.
const NAMES: [(&str, Fields); 11] = [
    ("type", Fields::TYPE),
    ("size", Fields::SIZE),
    ("content", Fields::CONTENT),
    ("target", Fields::TARGET),
    ("device", Fields::DEVICE),
    ("mode", Fields::MODE),
    ("uid", Fields::UID),
    ("gid", Fields::GID),
    ("mtime", Fields::MTIME),
    ("xattrs", Fields::XATTRS),
    ("links", Fields::LINKS),
];

impl Fields {
    pub const NONE: Self = Self(0);
    pub const TYPE: Self = Self(1);
    pub const SIZE: Self = Self(1 << 1);
    pub const CONTENT: Self = Self(1 << 2);
    pub const TARGET: Self = Self(1 << 3);
    pub const DEVICE: Self = Self(1 << 4);
    pub const MODE: Self = Self(1 << 5);
    pub const UID: Self = Self(1 << 6);
    pub const GID: Self = Self(1 << 7);
    pub const MTIME: Self = Self(1 << 8);
    pub const XATTRS: Self = Self(1 << 9);
    /// The other names of the file.
    pub const LINKS: Self = Self(1 << 10);
    /// The fields that decide over the bytes.
    const BYTES: Self = Self(Self::SIZE.0 | Self::CONTENT.0 | Self::TARGET.0 | Self::DEVICE.0);

    /// Returns the field of a name; `owner` is user and group.
    pub fn named(name: &str) -> Option<Self> {
        if name == "owner" {
            return Some(Self::UID.and(Self::GID));
        }
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| *field)
    }

    /// Returns the names, in one order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let names = NAMES.iter().filter(move |(_, field)| self.has_any(*field));
        names.map(|(name, _)| *name)
    }

    /// Returns both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns whether one of `other` is among them.
    pub fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn set(&mut self, field: Self, differs: bool) {
        if differs {
            self.0 |= field.0;
        }
    }
}

/// A path at which two trees differ.
#[derive(Clone, Debug)]
pub struct Delta<'a> {
    pub status: Status,
    pub old: Option<Spot<'a>>,
    pub new: Option<Spot<'a>>,
    pub fields: Fields,
}

/// Kind of difference at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    Added,
    Removed,
    /// The bytes are others.
    Modified,
    /// The type is another.
    Type,
    /// The bytes are the same, what is said about them is not.
    Metadata,
    /// A file that is gone is here under another name.
    Renamed,
}

impl Status {
    /// Returns git's letter; `m` for metadata, which git has none for.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Removed => 'D',
            Self::Modified => 'M',
            Self::Type => 'T',
            Self::Metadata => 'm',
            Self::Renamed => 'R',
        }
    }
}

impl Spot<'_> {
    /// Returns the bytes of the file or of the link's target; 0 for all else.
    pub fn size(&self) -> u64 {
        match self.kind {
            SpotKind::Node(node) => match &node.kind {
                NodeKind::File { size } => *size,
                NodeKind::Symlink { target } => target.len() as u64,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Returns the bytes that the path adds to its tree: none for a further name of a file.
    pub fn weight(&self) -> u64 {
        let is_further = self.first.is_some_and(|first| *first != *self.path);
        if is_further { 0 } else { self.size() }
    }

    /// Returns the node; `None` for whiteouts and directories without an entry.
    pub fn node(&self) -> Option<&Node> {
        match &self.kind {
            SpotKind::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Returns the word that mtree has for the type; `whiteout` and `opaque` for those.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            SpotKind::Node(node) => node.kind.name(),
            SpotKind::Implied => "dir",
            SpotKind::Whiteout => "whiteout",
            SpotKind::Opaque => "opaque",
        }
    }

    /// Returns whether it is a regular file.
    pub fn is_file(&self) -> bool {
        matches!(self.node(), Some(node) if matches!(node.kind, NodeKind::File { .. }))
    }

    /// Returns mode, owner, group and time.
    fn metadata(&self) -> (u32, u32, u32, Time) {
        match &self.kind {
            SpotKind::Node(node) => (node.mode, node.uid, node.gid, node.mtime),
            SpotKind::Implied => (0o755, 0, 0, Time::EPOCH),
            SpotKind::Whiteout | SpotKind::Opaque => (0, 0, 0, Time::EPOCH),
        }
    }
}

/// Returns in which fields two things at one path differ, but for those that are ignored. Files of one size whose digests are not
/// known on both sides count as equal.
pub fn fields(old: &Spot<'_>, new: &Spot<'_>, ignore: Fields) -> Fields {
    let mut out = Fields::NONE;
    out.set(Fields::TYPE, old.type_name() != new.type_name());
    let (was, is) = (old.metadata(), new.metadata());
    // A link has no mode of its own.
    let is_link = |spot: &Spot<'_>| spot.type_name() == "link";
    out.set(Fields::MODE, was.0 != is.0 && !is_link(old) && !is_link(new));
    out.set(Fields::UID, was.1 != is.1);
    out.set(Fields::GID, was.2 != is.2);
    out.set(Fields::MTIME, was.3 != is.3);
    let xattrs = [old, new].map(|spot| spot.node().map(|node| &node.xattrs).filter(|all| !all.is_empty()));
    out.set(Fields::XATTRS, xattrs[0] != xattrs[1]);
    out.set(Fields::LINKS, old.first != new.first);
    if let (Some(old_node), Some(new_node)) = (old.node(), new.node()) {
        match (&old_node.kind, &new_node.kind) {
            (NodeKind::File { size: was }, NodeKind::File { size: is }) => {
                out.set(Fields::SIZE, was != is);
                let both = old.digest.zip(new.digest);
                out.set(
                    Fields::CONTENT,
                    was != is || both.is_some_and(|(was, is)| was != is),
                );
            }
            (NodeKind::Symlink { target: was }, NodeKind::Symlink { target: is }) => {
                out.set(Fields::TARGET, was != is);
            }
            (was, is) => out.set(Fields::DEVICE, was.device_number() != is.device_number()),
        }
    }
    out.without(ignore)
}

/// Returns what makes of `old` what is `new`; `None` if nothing that is not ignored does.
pub fn delta<'a>(old: Option<Spot<'a>>, new: Option<Spot<'a>>, ignore: Fields) -> Option<Delta<'a>> {
    let (status, fields) = match (&old, &new) {
        (None, None) => return None,
        (None, Some(_)) => (Status::Added, Fields::NONE),
        (Some(_), None) => (Status::Removed, Fields::NONE),
        (Some(old), Some(new)) => {
            let fields = fields(old, new, ignore);
            let status = match fields {
                Fields::NONE => return None,
                fields if fields.has_any(Fields::TYPE) => Status::Type,
                fields if fields.has_any(Fields::BYTES) => Status::Modified,
                _ => Status::Metadata,
            };
            (status, fields)
        }
    };
    Some(Delta {
        status,
        old,
        new,
        fields,
    })
}

impl<'a> Delta<'a> {
    /// Returns the path: the new one of what was renamed.
    pub fn path(&self) -> &TreePath {
        static ROOT: std::sync::LazyLock<TreePath> = std::sync::LazyLock::new(TreePath::root);
        let spot = self.new.as_ref().or(self.old.as_ref());
        spot.map_or(&ROOT, |spot| &spot.path)
    }

    /// Returns the bytes by which the tree grew, or shrank if they are below 0.
    pub fn growth(&self) -> i64 {
        let weight = |spot: &Option<Spot<'a>>| spot.as_ref().map_or(0, Spot::weight);
        weight(&self.new).cast_signed() - weight(&self.old).cast_signed()
    }
}

/// Joins the paths of two trees, each in the order of paths: pairs of what stands at one path.
pub fn join<'a>(
    old: Vec<Spot<'a>>,
    new: Vec<Spot<'a>>,
) -> impl Iterator<Item = (Option<Spot<'a>>, Option<Spot<'a>>)> {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(was), Some(is)) => was.path.cmp(&is.path),
        };
        Some((
            if order.is_le() { old.next() } else { None },
            if order.is_ge() { new.next() } else { None },
        ))
    })
}

/// Makes one rename of each file that came and one with the same content that went. Of several that fit the one with the same last
/// name is taken, else the first. Empty files are no renames.
pub fn pair_renames(deltas: &mut Vec<Delta<'_>>) {
    let mut gone: HashMap<FileDigest, Vec<usize>> = HashMap::new();
    for (at, delta) in deltas.iter().enumerate() {
        if let (Status::Removed, Some(digest)) = (delta.status, delta.old.as_ref().and_then(file_digest)) {
            gone.entry(digest).or_default().push(at);
        }
    }
    let mut taken = vec![false; deltas.len()];
    for at in 0..deltas.len() {
        let Delta {
            status: Status::Added,
            new: Some(new),
            ..
        } = &deltas[at]
        else {
            continue;
        };
        let Some(candidates) = file_digest(new).and_then(|digest| gone.get_mut(&digest)) else {
            continue;
        };
        let has_name = |from: &&usize| deltas[**from].path().name() == new.path.name();
        let Some(from) = candidates.iter().find(has_name).or(candidates.first()).copied() else {
            continue;
        };
        candidates.retain(|candidate| *candidate != from);
        taken[from] = true;
        let old = deltas[from].old.take();
        let renamed = &mut deltas[at];
        if let (Some(old), Some(new)) = (&old, &renamed.new) {
            renamed.fields = fields(old, new, Fields::LINKS);
        }
        renamed.old = old;
        renamed.status = Status::Renamed;
    }
    let mut taken = taken.into_iter();
    deltas.retain(|_| !taken.next().unwrap_or_default());
}

fn file_digest(spot: &Spot<'_>) -> Option<FileDigest> {
    spot.digest.filter(|_| spot.size() > 0)
}
