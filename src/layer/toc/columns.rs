// SPDX-License-Identifier: Apache-2.0
//! Entries as columns: values of one kind stand together, so that they compress well.

use std::collections::HashMap;

use super::is_file;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{BLOCK, Entry, EntryBody};
use crate::node::{Node, NodeKind, Time, TreePath, Xattrs};

/// Count of the columns.
pub(super) const COLUMNS: usize = 9;

/// Maximum size of the paths and extended attributes of all entries together in bytes, in a table that is read.
const MAX_HELD: u64 = 1 << 30;

/// Maximum length of a path or of a link's target in bytes, in a table that is read.
const MAX_PATH: usize = 1 << 20;

/// Kind of an entry, in one byte; the bits above tell which other columns speak of it.
const FILE: u8 = 0;
const DIR: u8 = 1;
const SYMLINK: u8 = 2;
const CHAR: u8 = 3;
const BLOCK_DEVICE: u8 = 4;
const FIFO: u8 = 5;
const HARD_LINK: u8 = 6;
const WHITEOUT: u8 = 7;
const OPAQUE: u8 = 8;
const KIND: u8 = 0x0f;
const HAS_NSEC: u8 = 0x10;
const HAS_ATIME: u8 = 0x20;
/// The bytes in the archive are not one header block and the padded content.
const HAS_SPAN: u8 = 0x40;

/// Owner, mode and attributes, which few combinations of are in a layer.
type Attributes = (u32, u32, u32, Xattrs);

/// Entries on their way into a file.
#[derive(Debug, Default)]
pub(super) struct Columns {
    kinds: Vec<u8>,
    /// Count of bytes that a path has in common with the one before, and of those that follow.
    cuts: Vec<u8>,
    names: Vec<u8>,
    attributes: Vec<u8>,
    times: Vec<u8>,
    sizes: Vec<u8>,
    spans: Vec<u8>,
    /// Lengths and bytes of the targets of links.
    targets: Vec<u8>,
    /// Different attributes, in the order of their numbers.
    dictionary: Vec<u8>,
    known: HashMap<Attributes, u64>,
    last_path: Vec<u8>,
    last_time: i64,
    pub count: u64,
}

impl Columns {
    /// Adds an entry that takes `span` bytes of the tar.
    pub fn add(&mut self, entry: &Entry, span: u64) {
        self.count += 1;
        self.add_path(entry.path.as_bytes());
        let mut kind = match &entry.body {
            EntryBody::Whiteout => WHITEOUT,
            EntryBody::Opaque => OPAQUE,
            EntryBody::HardLink { target } => {
                put_bytes(&mut self.targets, target.as_bytes());
                HARD_LINK
            }
            EntryBody::Node(node) => self.add_node(node),
        };
        let least = least_span(entry);
        if span != least {
            kind |= HAS_SPAN;
            put(&mut self.spans, zigzag(span.wrapping_sub(least) as i64));
        }
        self.kinds.push(kind);
    }

    fn add_path(&mut self, path: &[u8]) {
        let same = path
            .iter()
            .zip(&self.last_path)
            .take_while(|(a, b)| a == b)
            .count();
        put(&mut self.cuts, same as u64);
        put(&mut self.cuts, (path.len() - same) as u64);
        self.names.extend_from_slice(&path[same..]);
        self.last_path.clear();
        self.last_path.extend_from_slice(path);
    }

    fn add_node(&mut self, node: &Node) -> u8 {
        let attributes = (node.mode, node.uid, node.gid, node.xattrs.clone());
        let next = self.known.len() as u64;
        let number = *self.known.entry(attributes).or_insert_with_key(|new| {
            put_attributes(&mut self.dictionary, new);
            next
        });
        put(&mut self.attributes, number);
        let mut kind = match &node.kind {
            NodeKind::File { size } => {
                put(&mut self.sizes, *size);
                FILE
            }
            NodeKind::Dir => DIR,
            NodeKind::Symlink { target } => {
                put_bytes(&mut self.targets, target);
                SYMLINK
            }
            NodeKind::Char { major, minor } => self.add_device(CHAR, *major, *minor),
            NodeKind::Block { major, minor } => self.add_device(BLOCK_DEVICE, *major, *minor),
            // No layer has a socket.
            NodeKind::Fifo | NodeKind::Socket => FIFO,
        };
        put(
            &mut self.times,
            zigzag(node.mtime.sec.wrapping_sub(self.last_time)),
        );
        self.last_time = node.mtime.sec;
        if node.mtime.nsec != 0 {
            kind |= HAS_NSEC;
            put(&mut self.times, node.mtime.nsec.into());
        }
        if let Some(atime) = node.atime {
            kind |= HAS_ATIME;
            put(&mut self.times, zigzag(atime.sec));
            put(&mut self.times, atime.nsec.into());
        }
        kind
    }

    fn add_device(&mut self, kind: u8, major: u32, minor: u32) -> u8 {
        put(&mut self.sizes, major.into());
        put(&mut self.sizes, minor.into());
        kind
    }

    /// Returns the columns, each behind its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let all: [&[u8]; COLUMNS] = [
            &self.kinds,
            &self.cuts,
            &self.names,
            &self.attributes,
            &self.times,
            &self.sizes,
            &self.spans,
            &self.targets,
            &self.dictionary,
        ];
        let mut out = Vec::with_capacity(all.iter().map(|column| column.len() + 10).sum());
        for column in all {
            put_bytes(&mut out, column);
        }
        out
    }
}

/// Returns the bytes that an entry takes in a tar at the least.
fn least_span(entry: &Entry) -> u64 {
    match &entry.body {
        EntryBody::Node(Node {
            kind: NodeKind::File { size },
            ..
        }) => BLOCK.saturating_add(size.checked_next_multiple_of(BLOCK).unwrap_or(*size)),
        _ => BLOCK,
    }
}

/// Entries read back from columns.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    kinds: &'a [u8],
    cuts: &'a [u8],
    names: &'a [u8],
    attributes: &'a [u8],
    times: &'a [u8],
    sizes: &'a [u8],
    spans: &'a [u8],
    targets: &'a [u8],
    dictionary: Vec<Attributes>,
    path: Vec<u8>,
    time: i64,
    /// Bytes of all paths and attributes so far: shared ones stand once in the file, and once for each entry in memory.
    held: u64,
}

impl<'a> Reader<'a> {
    /// Begins to read columns.
    pub fn new(mut bytes: &'a [u8]) -> Result<Self> {
        let mut columns = [&b""[..]; COLUMNS];
        for column in &mut columns {
            *column = take_bytes(&mut bytes, usize::MAX)?;
        }
        let [
            kinds,
            cuts,
            names,
            attributes,
            times,
            sizes,
            spans,
            targets,
            mut words,
        ] = columns;
        let mut dictionary = Vec::new();
        while !words.is_empty() {
            dictionary.push(take_attributes(&mut words)?);
        }
        Ok(Self {
            kinds,
            cuts,
            names,
            attributes,
            times,
            sizes,
            spans,
            targets,
            dictionary,
            path: Vec::new(),
            time: 0,
            held: 0,
        })
    }

    /// Returns the next entry, the bytes that it takes, and whether it is a regular file; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(Entry, u64, bool)>> {
        let Some((kind, rest)) = self.kinds.split_first() else {
            return Ok(None);
        };
        self.kinds = rest;
        let path = self.path()?;
        let body = match kind & KIND {
            WHITEOUT => EntryBody::Whiteout,
            OPAQUE => EntryBody::Opaque,
            HARD_LINK => EntryBody::HardLink {
                target: clean(take_bytes(&mut self.targets, MAX_PATH)?)?,
            },
            of => EntryBody::Node(self.node(of, *kind)?),
        };
        let entry = Entry { path, body };
        let mut span = least_span(&entry);
        if kind & HAS_SPAN != 0 {
            span = span.wrapping_add(unzigzag(take(&mut self.spans)?) as u64);
        }
        let file = is_file(&entry);
        Ok(Some((entry, span, file)))
    }

    fn path(&mut self) -> Result<TreePath> {
        let same = take(&mut self.cuts)? as usize;
        let more = take(&mut self.cuts)? as usize;
        if same > self.path.len() || more > self.names.len() || same.saturating_add(more) > MAX_PATH {
            return Err(damaged());
        }
        let (new, rest) = self.names.split_at(more);
        self.names = rest;
        self.path.truncate(same);
        self.path.extend_from_slice(new);
        self.hold(self.path.len())?;
        clean(&self.path)
    }

    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held = self.held.saturating_add(bytes as u64);
        if self.held > MAX_HELD {
            Err(damaged())
        } else {
            Ok(())
        }
    }

    fn node(&mut self, of: u8, kind: u8) -> Result<Node> {
        let number = take(&mut self.attributes)?;
        let attributes = usize::try_from(number)
            .ok()
            .and_then(|at| self.dictionary.get(at));
        let (mode, uid, gid, xattrs) = attributes.cloned().ok_or_else(damaged)?;
        self.hold(xattrs.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        let node_kind = match of {
            FILE => NodeKind::File {
                size: take(&mut self.sizes)?,
            },
            DIR => NodeKind::Dir,
            SYMLINK => NodeKind::Symlink {
                target: take_bytes(&mut self.targets, MAX_PATH)?.to_vec(),
            },
            CHAR | BLOCK_DEVICE => {
                let (major, minor) = (take_u32(&mut self.sizes)?, take_u32(&mut self.sizes)?);
                match of {
                    CHAR => NodeKind::Char { major, minor },
                    _ => NodeKind::Block { major, minor },
                }
            }
            FIFO => NodeKind::Fifo,
            _ => return Err(damaged()),
        };
        self.time = self.time.wrapping_add(unzigzag(take(&mut self.times)?));
        let mtime = Time {
            sec: self.time,
            nsec: self.nsec(kind & HAS_NSEC != 0)?,
        };
        let atime = match kind & HAS_ATIME {
            0 => None,
            _ => Some(Time {
                sec: unzigzag(take(&mut self.times)?),
                nsec: self.nsec(true)?,
            }),
        };
        Ok(Node {
            kind: node_kind,
            mode,
            uid,
            gid,
            mtime,
            atime,
            xattrs,
        })
    }

    fn nsec(&mut self, is_told: bool) -> Result<u32> {
        if !is_told {
            return Ok(0);
        }
        let nsec = take_u32(&mut self.times)?;
        if nsec < 1_000_000_000 {
            Ok(nsec)
        } else {
            Err(damaged())
        }
    }
}

pub(super) fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "damaged table of contents")
}

/// Returns a path that is told; one that is not spelled as paths of entries are is damage.
fn clean(bytes: &[u8]) -> Result<TreePath> {
    let path = TreePath::clean(bytes)?;
    if path.as_bytes() == bytes {
        Ok(path)
    } else {
        Err(damaged())
    }
}

fn put_attributes(out: &mut Vec<u8>, (mode, uid, gid, xattrs): &Attributes) {
    for number in [*mode, *uid, *gid, xattrs.len() as u32] {
        put(out, number.into());
    }
    for (name, value) in xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

fn take_attributes(words: &mut &[u8]) -> Result<Attributes> {
    let [mode, uid, gid, count] = [(); 4].map(|()| take_u32(words));
    let mut xattrs = Xattrs::new();
    for _ in 0..count? {
        let name = take_bytes(words, usize::MAX)?.to_vec();
        xattrs.insert(name, take_bytes(words, usize::MAX)?.to_vec());
    }
    Ok((mode?, uid?, gid?, xattrs))
}

/// Writes a number in as few bytes as it needs, seven bits in each.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn take(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(damaged)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(damaged())
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32> {
    u32::try_from(take(bytes)?).map_err(|_| damaged())
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8], most: usize) -> Result<&'a [u8]> {
    let length = usize::try_from(take(bytes)?).map_err(|_| damaged())?;
    if length > most || length > bytes.len() {
        return Err(damaged());
    }
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(taken)
}

/// Returns a number in which small negative values are small too.
fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
