// SPDX-License-Identifier: Apache-2.0
//! Rows of the database as values, and their bytes.

use super::panics::damage;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::layout::{Entry, Stamp};
use crate::spec::{Descriptor, MediaClass, MediaType};

/// Returns whether a media type is one of manifests or indexes.
fn names_document(media_type: &str) -> bool {
    let class = MediaType::from(media_type.to_owned()).class();
    matches!(class, MediaClass::Manifest | MediaClass::Index)
}

fn damaged(what: &str) -> Error {
    damage(format_args!("damaged row: {what}"))
}

/// Returns the entries of `index.json` in a row.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>> {
    Entry::list_from_text(text).map_err(|err| damaged(&format!("entries: {err}")))
}

/// Returns the key of a digest.
pub(crate) fn key(digest: &Digest) -> Vec<u8> {
    // Raw bytes take half the space of hex digits; the byte before them keeps the algorithms apart, and the order is still that of the text.
    [&[digest.algorithm() as u8][..], digest.as_bytes()].concat()
}

/// Returns the digest of a key, and the bytes that follow it.
pub(crate) fn split_key(bytes: &[u8]) -> Result<(Digest, &[u8])> {
    let digest = bytes.split_first().and_then(|(algorithm, rest)| {
        let algorithm = Algorithm::try_from(*algorithm).ok()?;
        let (raw, rest) = rest.split_at_checked(algorithm.len())?;
        Some((Digest::from_bytes(algorithm, raw)?, rest))
    });
    digest.ok_or_else(|| damaged("digest"))
}

/// Takes the next bytes of the row of this name.
fn take<const N: usize>(bytes: &mut &[u8], row: &str) -> Result<[u8; N]> {
    let (next, rest) = bytes.split_first_chunk().ok_or_else(|| damaged(row))?;
    *bytes = rest;
    Ok(*next)
}

/// Takes the next number of the row of this name.
fn take_u64(bytes: &mut &[u8], row: &str) -> Result<u64> {
    take(bytes, row).map(u64::from_le_bytes)
}

/// Known state of the content of a blob. The number of a kind stands for it in rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, derive_more::TryFrom)]
#[try_from(repr)]
#[repr(u8)]
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

/// Known state of a blob.
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

    /// Returns whether the blob was seen.
    pub(crate) fn is_present(self) -> bool {
        self.kind != Kind::Absent
    }

    /// Returns whether the blob was seen, and nobody is known to need it.
    pub(crate) fn is_orphan(self) -> bool {
        self.count == 0 && self.is_present()
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let head = [FORM, self.kind as u8];
        [&head[..], &self.size.to_le_bytes(), &self.count.to_le_bytes()].concat()
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self> {
        let [form, kind] = take(&mut bytes, "blob")?;
        let kind = Kind::try_from(kind).ok().filter(|_| form == FORM);
        Ok(Self {
            kind: kind.ok_or_else(|| damaged("blob"))?,
            size: take_u64(&mut bytes, "blob")?,
            count: take_u64(&mut bytes, "blob")?,
        })
    }
}

/// First byte of the row of a blob: another one would tell another form.
const FORM: u8 = 1;

/// Way in which a document names a blob, as the byte that stands for it in rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Edge {
    /// By a descriptor of what it needs.
    Declared = 3,
    /// As what it is about (`subject`).
    Subject = 4,
    /// By a digest in the text of a document that may be understood in several ways.
    Mentioned = 5,
}

impl Edge {
    /// Returns whether the document keeps the blob.
    pub(crate) fn holds(self) -> bool {
        self != Edge::Subject
    }
}

/// First bytes of the rows of edges into a blob that no [`Edge`] has. Those from which it follows that a blob is a manifest or index
/// come first, so that a search for one ends where the others begin.
const DECLARED_DOCUMENT: u8 = 0;
const REF: u8 = 1;
const UNTAGGED: u8 = 2;

/// Media types that are stored as one byte, their place here counted from 1.
// A store of 100,000 images has half a million edges, nearly all of these types. The places are part of the stored form, so a new type
// comes last and needs a migration.
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

fn put_media_type(out: &mut Vec<u8>, media_type: &str) {
    if let Some(at) = COMMON.iter().position(|&t| t == media_type) {
        out.push(at as u8 + 1);
    } else {
        out.push(0);
        out.extend_from_slice(media_type.as_bytes());
    }
}

fn media_type_from(bytes: &[u8]) -> Result<String> {
    let name = match bytes.split_first() {
        Some((0, literal)) => std::str::from_utf8(literal).ok(),
        Some((&code, [])) => COMMON.get(usize::from(code) - 1).copied(),
        _ => None,
    };
    name.map(str::to_owned).ok_or_else(|| damaged("media type"))
}

/// An edge to a blob.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Link {
    pub edge: Edge,
    pub digest: Digest,
    /// The media type that the document gives the blob; empty if it gives none.
    pub media_type: String,
}

impl Link {
    /// Returns the edge of a descriptor.
    pub(super) fn declared(descriptor: &Descriptor) -> Self {
        Self {
            edge: Edge::Declared,
            digest: descriptor.digest,
            media_type: descriptor.media_type.as_str().to_owned(),
        }
    }

    /// Returns an edge to a blob of unknown media type.
    pub(super) fn plain(edge: Edge, digest: Digest) -> Self {
        Self {
            edge,
            digest,
            media_type: String::new(),
        }
    }

    /// Returns whether the blob is needed as a manifest or index.
    pub(super) fn is_to_document(&self) -> bool {
        self.edge == Edge::Declared && names_document(&self.media_type)
    }

    /// Returns the row of a list, in the order that it has.
    pub(crate) fn list_to_bytes<'a>(list: impl IntoIterator<Item = &'a Self>) -> Vec<u8> {
        list.into_iter()
            .flat_map(|child| counted(&child.to_bytes()))
            .collect()
    }

    /// Returns the list of a row.
    pub(crate) fn list_from_bytes(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            out.push(Self::from_bytes(take_counted(&mut bytes, "children")?)?);
        }
        Ok(out)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = [&[self.edge as u8][..], &key(&self.digest)].concat();
        put_media_type(&mut out, &self.media_type);
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (edge, rest) = split_edge(bytes)?;
        let (digest, rest) = split_key(rest)?;
        Ok(Self {
            edge,
            digest,
            media_type: media_type_from(rest)?,
        })
    }
}

/// Takes bytes of which the number stands before them.
fn take_counted<'a>(bytes: &mut &'a [u8], row: &str) -> Result<&'a [u8]> {
    let count = u32::from_le_bytes(take(bytes, row)?) as usize;
    let (counted, rest) = bytes.split_at_checked(count).ok_or_else(|| damaged(row))?;
    *bytes = rest;
    Ok(counted)
}

/// Returns bytes with their number before them.
fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn split_edge(bytes: &[u8]) -> Result<(Edge, &[u8])> {
    match bytes {
        // The bytes are those of `Edge`; a pattern takes no cast.
        [DECLARED_DOCUMENT | 3, rest @ ..] => Ok((Edge::Declared, rest)),
        [4, rest @ ..] => Ok((Edge::Subject, rest)),
        [5, rest @ ..] => Ok((Edge::Mentioned, rest)),
        _ => Err(damaged("edge")),
    }
}

/// An edge into a blob, seen from the blob that is named.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum InEdge {
    /// In a document; the media type stands in the rows of that.
    Document(Edge, Digest),
    /// By an entry of `index.json`, with its tag if it has one.
    Ref {
        name: Option<String>,
        /// Empty if the entry says none.
        media_type: String,
    },
}

impl InEdge {
    /// Returns the edge into a blob from an entry of `index.json`.
    pub(super) fn of_entry(entry: &Entry, link: &Link) -> Self {
        Self::Ref {
            name: entry.ref_name.clone(),
            media_type: link.media_type.clone(),
        }
    }

    /// Returns the row of a document that declares a blob to be a manifest or index. It reads as that of any other blob declared.
    pub(crate) fn as_document(parent: &Digest) -> Vec<u8> {
        [&[DECLARED_DOCUMENT][..], &key(parent)].concat()
    }

    /// Returns whether a row is that of a document that keeps the blob.
    pub(super) fn is_of_holder(bytes: &[u8]) -> bool {
        // The row of a ref is not meant: refs are counted where entries come and go.
        split_edge(bytes).is_ok_and(|(edge, _)| edge.holds())
    }

    /// Returns whether a row says that a blob is a manifest or index; `None` if no row after it does.
    pub(crate) fn says_document(bytes: &[u8]) -> Result<Option<bool>> {
        Ok(match bytes.first() {
            // Rows are sorted by this byte, so no row behind those of refs can say so any more.
            Some(&DECLARED_DOCUMENT) => Some(true),
            Some(&(REF | UNTAGGED)) => match Self::from_bytes(bytes)? {
                InEdge::Ref { media_type, .. } => Some(names_document(&media_type)),
                InEdge::Document(..) => Some(false),
            },
            _ => None,
        })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            InEdge::Document(edge, digest) => [&[*edge as u8][..], &key(digest)].concat(),
            InEdge::Ref { name, media_type } => {
                let mut out = match name {
                    None => vec![UNTAGGED],
                    Some(name) => [&[REF][..], &counted(name.as_bytes())].concat(),
                };
                put_media_type(&mut out, media_type);
                out
            }
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (name, rest) = match bytes {
            [UNTAGGED, rest @ ..] => (None, rest),
            [REF, rest @ ..] => {
                let mut rest = rest;
                let name = take_counted(&mut rest, "mention")?.to_vec();
                let name = String::from_utf8(name).map_err(|_| damaged("mention"))?;
                (Some(name), rest)
            }
            _ => {
                let (edge, rest) = split_edge(bytes)?;
                return Ok(InEdge::Document(edge, split_key(rest)?.0));
            }
        };
        let media_type = media_type_from(rest)?;
        Ok(InEdge::Ref { name, media_type })
    }
}

/// Record of a blob that was verified: the stamp of its file at that time, and a second checksum of its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Verified {
    pub stamp: Stamp,
    /// BLAKE3, where it was computed.
    pub blake3: Option<[u8; 32]>,
}

impl Verified {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut out = stamp_to_bytes(&self.stamp);
        out.extend(self.blake3.into_iter().flatten());
        out
    }

    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Result<Self> {
        let mut words = [0; 7];
        for word in &mut words {
            *word = take_u64(&mut bytes, "verified")?;
        }
        let [dev, ino, size, times @ ..] = words;
        let [mtime, mtime_nsec, ctime, ctime_nsec] = times.map(|time| time as i64);
        // Blobs that were verified while they were written have no second checksum.
        let blake3 = match bytes {
            [] => None,
            sum => Some(sum.try_into().map_err(|_| damaged("verified"))?),
        };
        let stamp = Stamp {
            dev,
            ino,
            size,
            mtime: (mtime, mtime_nsec),
            ctime: (ctime, ctime_nsec),
        };
        Ok(Self { stamp, blake3 })
    }
}

/// Returns the key of one of the pieces in which the children of a document stand.
pub(crate) fn piece_key(parent: &Digest, number: u32) -> Vec<u8> {
    // Big-endian, other than the numbers in values, since the order of keys has to be that of the pieces.
    [&key(parent)[..], &number.to_be_bytes()].concat()
}

/// Returns the keys of the first and the last piece that there may be.
pub(crate) fn piece_keys(parent: &Digest) -> (Vec<u8>, Vec<u8>) {
    (piece_key(parent, 0), piece_key(parent, u32::MAX))
}

/// Returns the key of an edge into a blob.
pub(crate) fn in_edge_key(child: &Digest, in_edge: &[u8]) -> Vec<u8> {
    [&key(child)[..], in_edge].concat()
}

/// Returns the key of the row of `ref_to_entries` in which an entry stands: its name, or for one without, the digest it names.
pub(crate) fn ref_key(name: Option<&str>, digest: &Digest) -> Vec<u8> {
    // An entry without a name has no other identity than its digest, and several may have none.
    match name {
        Some(name) => [&[1][..], name.as_bytes()].concat(),
        None => [&[0][..], &key(digest)].concat(),
    }
}

pub(crate) fn stamp_to_bytes(stamp: &Stamp) -> Vec<u8> {
    let times = [stamp.mtime.0, stamp.mtime.1, stamp.ctime.0, stamp.ctime.1];
    let words = [stamp.dev, stamp.ino, stamp.size].into_iter();
    let words = words.chain(times.map(|time| time as u64));
    words.flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_damage_is_an_error() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(split_key(&key(&digest)).expect("key").0, digest);
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
                let in_edge = InEdge::Document(edge, digest);
                assert_eq!(InEdge::from_bytes(&in_edge.to_bytes()).expect("row"), in_edge);
                for media_type in ["", "a/b", MediaType::MANIFEST, MediaType::DOCKER_CONFIG] {
                    let media_type = media_type.to_owned();
                    let child = Link {
                        edge,
                        digest,
                        media_type: media_type.clone(),
                    };
                    assert_eq!(Link::from_bytes(&child.to_bytes()).expect("row"), child);
                    for name in [None, Some(String::new()), Some("a name".to_owned())] {
                        let media_type = media_type.clone();
                        let in_edge = InEdge::Ref { name, media_type };
                        assert_eq!(InEdge::from_bytes(&in_edge.to_bytes()).expect("row"), in_edge);
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
            assert!(BlobRow::from_bytes(bytes).is_err() && split_key(bytes).is_err() | (bytes.len() > 32));
            assert!(InEdge::from_bytes(bytes).is_err() && Verified::from_bytes(bytes).is_err());
        }
    }
}
