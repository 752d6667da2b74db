// SPDX-License-Identifier: Apache-2.0
//! An entry as its headers describe it: its type, its fields, its name and where it leads.

use tar::Header;

use super::header::{self, Format};
use super::pax::Extended;
use super::{Entry, EntryBody, OPAQUE, bad, sparse};
use crate::error::Result;
use crate::node::{Node, NodeKind, Time, TreePath};

/// Type of an entry, by the type in its header and its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EntryType {
    File,
    /// A file whose map stands in the header, and in blocks behind it.
    OldSparse,
    Dir,
    /// A directory whose content lists what was in it.
    DirWithList,
    /// The name of a volume.
    Label,
    /// The rest of a file that begins in another archive.
    Continued,
    HardLink,
    Symlink,
    Char,
    Block,
    Fifo,
}

impl EntryType {
    pub fn of(header: &Header, name: &[u8], is_whiteout: bool) -> Self {
        match header.as_old().linkflag[0] {
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::Char,
            b'4' => Self::Block,
            b'5' => Self::Dir,
            b'6' => Self::Fifo,
            // The old way to say directory.
            0 if name.ends_with(b"/") => Self::Dir,
            b'S' if Format::of(header) == Format::Gnu => Self::OldSparse,
            // The Go tool knows no more types, and takes whiteouts of all others.
            _ if is_whiteout => Self::File,
            b'7' if name.ends_with(b"/") => Self::Dir,
            b'D' => Self::DirWithList,
            b'V' => Self::Label,
            b'M' => Self::Continued,
            // Types of other makers are to be read as files, POSIX says.
            _ => Self::File,
        }
    }

    /// Returns whether content may follow the header.
    pub fn has_content(self) -> bool {
        use EntryType::{Continued, DirWithList, File, Label, OldSparse};
        matches!(self, File | OldSparse | DirWithList | Label | Continued)
    }
}

/// Fields of the headers that any entry has, whatever its type.
#[derive(Debug)]
pub(super) struct Fields {
    mode: u32,
    uid: i64,
    gid: i64,
    mtime: Time,
    atime: Option<Time>,
}

impl Fields {
    pub fn read(header: &Header, extended: &Extended) -> Result<Self> {
        let old = header.as_old();
        let mtime = whole_seconds(header::number(&old.mtime, "mtime")?);
        Ok(Self {
            mode: header::number(&old.mode, "mode")? as u32 & 0o7777,
            uid: owner(&old.uid, extended, "uid")?,
            gid: owner(&old.gid, extended, "gid")?,
            mtime: extended.time("mtime")?.unwrap_or(mtime),
            atime: extended
                .time("atime")?
                .or(header::atime(header).map(whole_seconds)),
        })
    }

    pub fn node(self, kind: NodeKind, extended: &Extended) -> Result<Node> {
        Ok(Node {
            kind,
            mode: self.mode,
            uid: id(self.uid, "uid")?,
            gid: id(self.gid, "gid")?,
            mtime: self.mtime,
            atime: self.atime,
            xattrs: extended.xattrs()?,
        })
    }
}

/// Returns the owner from a field, unless a record replaces it. The field must be a number in either case.
fn owner(field: &[u8], extended: &Extended, key: &str) -> Result<i64> {
    let own = header::count(field, key)?;
    Ok(extended.number(key)?.unwrap_or(own))
}

fn whole_seconds(sec: i64) -> Time {
    Time { sec, nsec: 0 }
}

fn id(number: i64, key: &str) -> Result<u32> {
    u32::try_from(number).map_err(|_| bad(format!("{key} out of range: {number}")))
}

/// Returns the name of an entry: what is nearest to how GNU tar says it comes first.
pub(super) fn name(header: &Header, extended: &Extended) -> Vec<u8> {
    let sparse = sparse::map_place(extended).and_then(|_| extended.get(b"GNU.sparse.name"));
    let name = sparse.or(extended.get(b"path"));
    name.map_or_else(|| header::name(header), <[u8]>::to_vec)
}

/// Returns the target of a link.
pub(super) fn link(header: &Header, extended: &Extended) -> Vec<u8> {
    let link = extended.get(b"linkpath");
    link.unwrap_or(header::until_nul(&header.as_old().linkname))
        .to_vec()
}

/// Reads `name`, that of a whiteout of `hidden`.
pub(super) fn whiteout(name: &TreePath, hidden: &[u8]) -> Result<Entry> {
    let dir = name.parent().unwrap_or_default();
    if name.name() == OPAQUE {
        return Ok(Entry {
            path: dir,
            body: EntryBody::Opaque,
        });
    }
    if hidden.is_empty() {
        fail!(Corrupt, "invalid whiteout with empty name: {name}");
    }
    if matches!(hidden, b"." | b"..") {
        fail!(UnsafePath, "whiteout of a directory itself: {name}");
    }
    Ok(Entry {
        path: dir.join(hidden)?,
        body: EntryBody::Whiteout,
    })
}
