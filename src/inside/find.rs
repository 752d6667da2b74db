// SPDX-License-Identifier: Apache-2.0
//! Expressions of find(1) over the tree of an image.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::GlobMatcher;

use super::contents::{Contents, Item};
use crate::layer::FileDigest;
use crate::node::{Node, NodeKind, Time};

/// Condition on an item.
#[derive(Clone, Debug)]
pub enum Expr {
    /// All of these; of none it is true.
    All(Vec<Expr>),
    /// One of these.
    Any(Vec<Expr>),
    Not(Box<Expr>),
    /// The last part of the path fits.
    Name(GlobMatcher),
    /// The whole path fits; `*` stands for slashes too.
    Path(GlobMatcher),
    /// The letter of `find -type`: f, d, l, c, b or p.
    Type(Vec<u8>),
    /// Size in units of so many bytes, rounded up.
    Size(Number, u64),
    /// Permissions.
    Perm(Perm),
    Uid(Number),
    Gid(Number),
    /// Count of names.
    Links(Number),
    /// Number of the layer, the lowest is 1.
    Layer(Number),
    /// Changed later than that.
    Newer(Time),
    /// Age in units of so many seconds, rounded down, as of that time in seconds since 1970.
    Age(Number, i64, i64),
    /// An extended attribute whose name fits.
    Xattr(GlobMatcher),
    /// SHA-256 of the content.
    Sha256(FileDigest),
    /// A file without bytes, or a directory without names.
    Empty,
}

/// A number as find(1) compares: `N`, `+N` or `-N`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    Exactly(i64),
    MoreThan(i64),
    LessThan(i64),
}

impl Number {
    fn holds(self, value: i64) -> bool {
        match self {
            Self::Exactly(number) => value == number,
            Self::MoreThan(number) => value > number,
            Self::LessThan(number) => value < number,
        }
    }
}

/// Bits of a mode: `MODE`, `-MODE` or `/MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Perm {
    Exactly(u32),
    AllOf(u32),
    AnyOf(u32),
}

/// An item with what is known of it alone among all.
struct Seen<'a> {
    contents: &'a Contents,
    item: &'a Item,
    node: Option<&'a Node>,
    names: u64,
    is_empty: bool,
}

impl Expr {
    /// Returns those of `items`, which are sorted by their paths, for which the expression is true.
    pub fn select<'a>(&self, contents: &'a Contents, items: Vec<&'a Item>) -> Vec<&'a Item> {
        let names = contents.names();
        let mut out = items;
        out.retain(|item| {
            let node = contents.node_of(item);
            let is_empty = match node.map(|node| &node.kind) {
                Some(NodeKind::File { size }) => *size == 0,
                None | Some(NodeKind::Dir) => contents.below(&item.path).nth(1).is_none(),
                _ => false,
            };
            let of = std::ptr::from_ref(contents.content_of(item));
            self.holds(&Seen {
                contents,
                item,
                node,
                names: names.get(&of).copied().unwrap_or(1),
                is_empty,
            })
        });
        out
    }

    fn holds(&self, seen: &Seen<'_>) -> bool {
        let Seen {
            contents, item, node, ..
        } = seen;
        let (mode, uid, gid) = node.map_or((0o755, 0, 0), |node| (node.mode, node.uid, node.gid));
        // A link has no mode of its own on Linux, whatever its entry says.
        let mode = if letter(*node) == b'l' { 0o777 } else { mode };
        let mtime = node.map_or(Time::EPOCH, |node| node.mtime);
        match self {
            Self::All(all) => all.iter().all(|expr| expr.holds(seen)),
            Self::Any(any) => any.iter().any(|expr| expr.holds(seen)),
            Self::Not(expr) => !expr.holds(seen),
            Self::Name(glob) => glob.is_match(OsStr::from_bytes(item.path.name())),
            Self::Path(glob) => glob.is_match(OsStr::from_bytes(item.path.as_bytes())),
            Self::Type(letters) => letters.contains(&letter(*node)),
            Self::Size(number, unit) => number.holds(contents.size_of(item).div_ceil(*unit) as i64),
            Self::Perm(Perm::Exactly(bits)) => mode == *bits,
            Self::Perm(Perm::AllOf(bits)) => mode & bits == *bits,
            // As GNU find has it: no bits fit all.
            Self::Perm(Perm::AnyOf(bits)) => *bits == 0 || mode & bits != 0,
            Self::Uid(number) => number.holds(uid.into()),
            Self::Gid(number) => number.holds(gid.into()),
            Self::Links(number) => number.holds(seen.names as i64),
            Self::Layer(number) => number.holds(i64::from(item.layer) + 1),
            Self::Newer(time) => mtime > *time,
            Self::Age(number, unit, now) => number.holds(now.saturating_sub(mtime.sec).div_euclid(*unit)),
            Self::Xattr(glob) => node.is_some_and(|node| {
                let mut names = node.xattrs.keys();
                names.any(|name| glob.is_match(OsStr::from_bytes(name)))
            }),
            Self::Sha256(digest) => contents.content_of(item).digest == Some(*digest),
            Self::Empty => seen.is_empty,
        }
    }
}

/// Returns the letter of `find -type`; no node is that of a directory.
fn letter(node: Option<&Node>) -> u8 {
    match node.map(|node| &node.kind) {
        None | Some(NodeKind::Dir) => b'd',
        Some(NodeKind::File { .. }) => b'f',
        Some(NodeKind::Symlink { .. }) => b'l',
        Some(NodeKind::Char { .. }) => b'c',
        Some(NodeKind::Block { .. }) => b'b',
        Some(NodeKind::Fifo) => b'p',
        Some(NodeKind::Socket) => b's',
    }
}
