// SPDX-License-Identifier: Apache-2.0
//! Keys and values of the database, and their bytes.

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::index::guard::damage;
use crate::layout::{Entry, Stamp};
use crate::spec::{Descriptor, MediaClass, MediaType};

/// What a key or a value of a table says, or a part of one.
pub(crate) trait Row: Sized {
    fn write(&self, out: &mut Vec<u8>);

    fn read(unread: &mut Unread<'_>) -> Result<Self>;

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        out
    }

    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) for bytes that [`Row::write`] does not write.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut unread = Unread(bytes);
        let row = Self::read(&mut unread)?;
        if unread.0.is_empty() {
            Ok(row)
        } else {
            Err(damaged())
        }
    }
}

fn damaged() -> Error {
    damage("damaged row")
}

/// The bytes of a row that are not read yet.
pub(crate) struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| damaged())
    }

    /// Reads a length, and so many bytes.
    fn piece(&mut self) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.bytes()?);
        self.take(length as usize)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

fn put_piece(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(std::str::from_utf8(bytes).map_err(|_| damaged())?.to_owned())
}

/// Declares rows that are their members, one after another.
macro_rules! rows_of_members {
    ($($row:ident($($member:ident),+);)*) => {$(
        impl Row for $row {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$member.write(out);)+
            }

            fn read(unread: &mut Unread<'_>) -> Result<Self> {
                $(let $member = Row::read(unread)?;)+
                Ok(Self { $($member),+ })
            }
        }
    )*};
}

rows_of_members! {
    BlobRow(kind, size, count);
    DiffId(tar, start);
    Link(edge, digest, media_type);
    MentionKey(child, mention);
    Piece(parent, number);
    Stamp(dev, ino, size, mtime, ctime);
    Verified(stamp, blake3);
}

impl Row for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut Unread<'_>) -> Result<Self> {
        Ok(())
    }
}

impl<const N: usize> Row for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        unread.bytes()
    }
}

impl Row for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_le_bytes().write(out);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        unread.bytes().map(Self::from_le_bytes)
    }
}

/// A time, in seconds and nanoseconds.
impl Row for (i64, i64) {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice([self.0.to_le_bytes(), self.1.to_le_bytes()].as_flattened());
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        let mut next = || unread.bytes().map(i64::from_le_bytes);
        Ok((next()?, next()?))
    }
}

/// What ends a row, or not.
impl<T: Row> Row for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(row) = self {
            row.write(out);
        }
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        if unread.0.is_empty() {
            Ok(None)
        } else {
            T::read(unread).map(Some)
        }
    }
}

/// What ends a row.
impl Row for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        Ok(unread.rest().to_vec())
    }
}

/// What ends a row.
impl Row for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        text(unread.rest())
    }
}

impl Row for Digest {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self.algorithm() {
            Algorithm::Sha256 => 0,
            Algorithm::Sha512 => 1,
            Algorithm::Blake3 => 2,
        });
        out.extend_from_slice(self.as_bytes());
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        let algorithm = match unread.bytes()? {
            [0] => Algorithm::Sha256,
            [1] => Algorithm::Sha512,
            [2] => Algorithm::Blake3,
            _ => return Err(damaged()),
        };
        let raw = unread.take(algorithm.len())?;
        Digest::from_bytes(algorithm, raw).ok_or_else(damaged)
    }
}

/// What is known of the content of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Somebody names it; it was not seen.
    Absent,
    /// It is there, is no JSON document, and its digest is right.
    Plain,
    /// It is there, and is no JSON document.
    Opaque,
    /// It is there, is a JSON document or begins like one, and what it names is recorded.
    Document,
}

impl Row for Kind {
    fn write(&self, out: &mut Vec<u8>) {
        [1, *self as u8].write(out);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        match unread.bytes()? {
            [1, 0] => Ok(Kind::Absent),
            [1, 1] => Ok(Kind::Plain),
            [1, 2] => Ok(Kind::Opaque),
            [1, 3] => Ok(Kind::Document),
            _ => Err(damaged()),
        }
    }
}

/// What is known of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlobRow {
    pub kind: Kind,
    /// Size in bytes; 0 if it was not seen.
    pub size: u64,
    /// Refs and strong edges that lead to it.
    pub count: u64,
}

impl BlobRow {
    pub(crate) const ABSENT: BlobRow = BlobRow {
        kind: Kind::Absent,
        size: 0,
        count: 0,
    };

    /// Returns whether nobody is known to need a blob that is there.
    pub(super) fn is_orphan(self) -> bool {
        self.count == 0 && self.kind != Kind::Absent
    }
}

/// How a document names a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Edge {
    /// By a descriptor of what it needs.
    Declared = 3,
    /// As what it is about (`subject`).
    Subject = 4,
    /// By a digest in the text of a document that may be understood in several ways.
    Mentioned = 5,
}

/// What a mention begins with that is no edge. The mentions from which it follows that a blob is a manifest or index come first.
const DECLARED_DOCUMENT: u8 = 0;
const REF: u8 = 1;
const UNTAGGED: u8 = 2;

impl Edge {
    /// Returns whether the document keeps the blob.
    pub(crate) fn holds(self) -> bool {
        self != Edge::Subject
    }
}

impl Row for Edge {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        match unread.bytes()? {
            [DECLARED_DOCUMENT | 3] => Ok(Edge::Declared),
            [4] => Ok(Edge::Subject),
            [5] => Ok(Edge::Mentioned),
            _ => Err(damaged()),
        }
    }
}

/// Media types that are stored as one byte, their place here counted from 1.
const COMMON: [&str; 8] = [
    MediaType::MANIFEST,
    MediaType::INDEX,
    MediaType::CONFIG,
    MediaType::LAYER,
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    MediaType::DOCKER_MANIFEST,
    MediaType::DOCKER_CONFIG,
];

/// What ends a row.
impl Row for MediaType {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(at) = COMMON.iter().position(|&name| name == self.as_str()) {
            out.push(at as u8 + 1);
        } else {
            out.push(0);
            out.extend_from_slice(self.as_str().as_bytes());
        }
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        let ([code], rest) = (unread.bytes()?, unread.rest());
        if code == 0 {
            return text(rest).map(Self::new);
        }
        let name = COMMON.get(usize::from(code) - 1).filter(|_| rest.is_empty());
        name.map(|name| Self::new(*name)).ok_or_else(damaged)
    }
}

/// Returns whether a media type is one of manifests or indexes.
fn names_document(media_type: &MediaType) -> bool {
    matches!(media_type.class(), MediaClass::Manifest | MediaClass::Index)
}

/// An edge to a blob.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Link {
    pub edge: Edge,
    pub digest: Digest,
    /// The media type that the document gives the blob; empty if it gives none.
    pub media_type: MediaType,
}

impl Link {
    /// Returns an edge to a blob of unknown media type.
    pub(super) fn plain(edge: Edge, digest: Digest) -> Self {
        Self {
            edge,
            digest,
            media_type: MediaType::default(),
        }
    }

    /// Returns the edge of a descriptor.
    pub(super) fn declared(descriptor: &Descriptor) -> Self {
        Self {
            edge: Edge::Declared,
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
        }
    }

    /// Returns whether the blob is needed as a manifest or index.
    pub(super) fn is_to_document(&self) -> bool {
        self.edge == Edge::Declared && names_document(&self.media_type)
    }
}

/// The edges of a document, or a piece of them, in the order that they have.
impl Row for Vec<Link> {
    fn write(&self, out: &mut Vec<u8>) {
        for link in self {
            put_piece(out, &link.to_bytes());
        }
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        let mut out = Vec::new();
        while !unread.0.is_empty() {
            out.push(Link::from_bytes(unread.piece()?)?);
        }
        Ok(out)
    }
}

/// The key of one of the pieces in which the edges of a document stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Piece {
    pub parent: Digest,
    /// Big-endian, since rows stand in the order of bytes.
    pub number: [u8; 4],
}

impl Piece {
    pub(super) fn new(parent: Digest, number: u32) -> Self {
        let number = number.to_be_bytes();
        Self { parent, number }
    }
}

/// A mention of a blob.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Mention {
    /// In a document; the media type stands in the rows of that.
    Document(Edge, Digest),
    /// By an entry of `index.json`, with its tag if it has one.
    Ref {
        name: Option<String>,
        /// Empty if the entry says none.
        media_type: MediaType,
    },
}

impl Mention {
    /// Returns the mention of a blob by an entry of `index.json`.
    pub(super) fn of_entry(entry: &Entry, link: &Link) -> Self {
        Self::Ref {
            name: entry.ref_name.clone(),
            media_type: link.media_type.clone(),
        }
    }

    /// Returns the key under which the mention of a blob stands.
    pub(super) fn to_key(&self, child: &Digest) -> MentionKey {
        MentionKey {
            child: *child,
            mention: self.to_bytes(),
        }
    }
}

impl Row for Mention {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Mention::Document(edge, parent) => {
                edge.write(out);
                parent.write(out);
            }
            Mention::Ref { name, media_type } => {
                out.push(if name.is_some() { REF } else { UNTAGGED });
                if let Some(name) = name {
                    put_piece(out, name.as_bytes());
                }
                media_type.write(out);
            }
        }
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self> {
        let name = match unread.0.first() {
            Some(&(REF | UNTAGGED)) if unread.take(1)? == [REF] => Some(text(unread.piece()?)?),
            Some(&(REF | UNTAGGED)) => None,
            _ => return Ok(Mention::Document(Row::read(unread)?, Row::read(unread)?)),
        };
        let media_type = Row::read(unread)?;
        Ok(Mention::Ref { name, media_type })
    }
}

/// The key of a mention: the blob, and the bytes of the mention.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct MentionKey {
    pub child: Digest,
    pub mention: Vec<u8>,
}

impl MentionKey {
    /// Returns the key of a document that declares a blob to be a manifest or index. It reads as that of any other blob declared.
    pub(super) fn of_document(child: &Digest, parent: &Digest) -> Self {
        Self {
            child: *child,
            mention: [&[DECLARED_DOCUMENT][..], &parent.to_bytes()].concat(),
        }
    }

    /// Returns whether it is that of a document that keeps the blob.
    pub(super) fn is_of_holder(&self) -> bool {
        matches!(self.mention.first(), Some(&(DECLARED_DOCUMENT | 3 | 5)))
    }

    /// Returns whether it says that the blob is a manifest or index; `None` if no key after it does.
    pub(super) fn says_document(&self) -> Result<Option<bool>> {
        Ok(match self.mention.first() {
            Some(&DECLARED_DOCUMENT) => Some(true),
            Some(&(REF | UNTAGGED)) => match Mention::from_bytes(&self.mention)? {
                Mention::Ref { media_type, .. } => Some(names_document(&media_type)),
                Mention::Document(..) => Some(false),
            },
            _ => None,
        })
    }
}

/// What is known of a blob that was verified: the file as it was then, and a second checksum of its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verified {
    pub stamp: Stamp,
    /// BLAKE3, where it was computed.
    pub blake3: Option<[u8; 32]>,
}

/// The tar that a layer holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiffId {
    pub tar: Digest,
    /// Of the beginning of a large tar.
    pub start: Option<Digest>,
}

/// Returns the key of the entries of `index.json` of a name.
pub(crate) fn key_of_name(name: &str) -> Vec<u8> {
    [&[1], name.as_bytes()].concat()
}

/// Returns the key of an entry of `index.json`: its name, or for one without, the digest it names.
pub(crate) fn key_of_entry(entry: &Entry) -> Vec<u8> {
    match (&entry.ref_name, entry.descriptor()) {
        (Some(name), _) => key_of_name(name),
        (None, Ok(descriptor)) => [vec![0], descriptor.digest.to_bytes()].concat(),
        (None, Err(_)) => [vec![0], Digest::sha256(entry.raw().as_bytes()).to_bytes()].concat(),
    }
}

/// Returns the entries of `index.json` that stand in a row.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>> {
    Entry::list_from_text(text).map_err(|err| damage(format_args!("damaged row: entries: {err}")))
}

/// Reads `bytes` as each kind of row; for tests that feed it anything.
///
/// # Panics
/// If what was read does not survive being written.
#[cfg(debug_assertions)]
pub fn read_any_row(bytes: &[u8]) {
    fn survives<R: Row + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(row) = R::from_bytes(bytes) {
            assert_eq!(R::from_bytes(&row.to_bytes()).ok(), Some(row));
        }
    }
    survives::<BlobRow>(bytes);
    survives::<Link>(bytes);
    survives::<Vec<Link>>(bytes);
    survives::<Mention>(bytes);
    survives::<MentionKey>(bytes);
    survives::<Verified>(bytes);
    survives::<DiffId>(bytes);
    survives::<Piece>(bytes);
    survives::<Digest>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_damage_is_an_error() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(
                <Digest as Row>::from_bytes(&digest.to_bytes()).expect("key"),
                digest
            );
            let stamp = Stamp {
                dev: 1,
                ino: 2,
                size: 3,
                mtime: (-4, 5),
                ctime: (6, 7),
            };
            for blake3 in [None, Some([8; 32])] {
                let row = Verified { stamp, blake3 };
                assert_eq!(Verified::from_bytes(&row.to_bytes()).expect("row"), row);
            }
            for edge in [Edge::Declared, Edge::Subject, Edge::Mentioned] {
                let mention = Mention::Document(edge, digest);
                assert_eq!(Mention::from_bytes(&mention.to_bytes()).expect("row"), mention);
                for media_type in ["", "a/b", MediaType::MANIFEST, MediaType::DOCKER_CONFIG] {
                    let media_type = MediaType::from(media_type);
                    let child = Link {
                        edge,
                        digest,
                        media_type: media_type.clone(),
                    };
                    assert_eq!(Link::from_bytes(&child.to_bytes()).expect("row"), child);
                    for name in [None, Some(String::new()), Some("a name".to_owned())] {
                        let media_type = media_type.clone();
                        let mention = Mention::Ref { name, media_type };
                        assert_eq!(Mention::from_bytes(&mention.to_bytes()).expect("row"), mention);
                    }
                }
            }
        }
        for kind in [Kind::Absent, Kind::Plain, Kind::Opaque, Kind::Document] {
            let row = BlobRow {
                kind,
                size: 7,
                count: u64::MAX,
            };
            assert_eq!(BlobRow::from_bytes(&row.to_bytes()).expect("row"), row);
        }
        for bytes in [&b""[..], &[1, 9], &[2, 99], &[1; 17]] {
            assert!(BlobRow::from_bytes(bytes).is_err() && <Digest as Row>::from_bytes(bytes).is_err());
            assert!(Mention::from_bytes(bytes).is_err() && Verified::from_bytes(bytes).is_err());
        }
    }
}
