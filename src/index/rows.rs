// SPDX-License-Identifier: Apache-2.0
//! Rows of the database as values, and their bytes.

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Stamp;

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("index database: damaged row: {what}"))
}

/// The key of a digest.
pub(crate) fn key(digest: &Digest) -> Vec<u8> {
    let tag = match digest.algorithm() {
        Algorithm::Sha256 => 0,
        Algorithm::Sha512 => 1,
        Algorithm::Blake3 => 2,
    };
    [&[tag][..], digest.as_bytes()].concat()
}

/// The digest of a key, and what follows it.
pub(crate) fn split_key(bytes: &[u8]) -> Result<(Digest, &[u8])> {
    let algorithm = match bytes.first() {
        Some(0) => Algorithm::Sha256,
        Some(1) => Algorithm::Sha512,
        Some(2) => Algorithm::Blake3,
        _ => return Err(damaged("digest")),
    };
    let end = 1 + algorithm.len();
    let raw = bytes.get(1..end).ok_or_else(|| damaged("digest"))?;
    let digest = Digest::from_bytes(algorithm, raw).ok_or_else(|| damaged("digest"))?;
    Ok((digest, &bytes[end..]))
}

/// What is known of the content of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Somebody names it; it was not seen.
    Absent,
    /// It is there; nobody has looked inside, since it is named as a layer only.
    Unread,
    /// It is there, and is no JSON document.
    Opaque,
    /// It is there, is a JSON document, and what it names is recorded.
    Document,
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

    pub(crate) fn to_bytes(self) -> [u8; 18] {
        let mut out = [0; 18];
        out[0] = 1;
        out[1] = self.kind as u8;
        out[2..10].copy_from_slice(&self.size.to_le_bytes());
        out[10..18].copy_from_slice(&self.count.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let number = |at: usize| {
            bytes
                .get(at..at + 8)
                .and_then(|b| b.try_into().ok())
                .map(u64::from_le_bytes)
                .ok_or_else(|| damaged("blob"))
        };
        let kind = match bytes.get(..2) {
            Some([1, 0]) => Kind::Absent,
            Some([1, 1]) => Kind::Unread,
            Some([1, 2]) => Kind::Opaque,
            Some([1, 3]) => Kind::Document,
            _ => return Err(damaged("blob")),
        };
        Ok(Self {
            kind,
            size: number(2)?,
            count: number(10)?,
        })
    }
}

/// How one blob names another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Edge {
    /// It needs it.
    Strong,
    /// It is about it (`subject`).
    Subject,
}

/// An edge to or from `digest`.
pub(crate) fn edge_to_bytes(edge: Edge, digest: &Digest) -> Vec<u8> {
    [&[edge as u8][..], &key(digest)].concat()
}

pub(crate) fn edge_from_bytes(bytes: &[u8]) -> Result<(Edge, Digest)> {
    let edge = match bytes.first() {
        Some(0) => Edge::Strong,
        Some(1) => Edge::Subject,
        _ => return Err(damaged("edge")),
    };
    Ok((edge, split_key(&bytes[1..])?.0))
}

/// A media type that a document (or `index.json`, for `None`) gives to a blob.
pub(crate) fn media_type_to_bytes(named_by: Option<&Digest>, media_type: &str) -> Vec<u8> {
    let by = named_by.map(key).unwrap_or_default();
    [&[by.len() as u8][..], &by, media_type.as_bytes()].concat()
}

pub(crate) fn media_type_from_bytes(bytes: &[u8]) -> Result<&str> {
    let at = 1 + usize::from(*bytes.first().ok_or_else(|| damaged("media type"))?);
    bytes
        .get(at..)
        .and_then(|b| std::str::from_utf8(b).ok())
        .ok_or_else(|| damaged("media type"))
}

pub(crate) fn stamp_to_bytes(stamp: &Stamp) -> Vec<u8> {
    let words = [stamp.dev, stamp.ino, stamp.size];
    let times = [stamp.mtime.0, stamp.mtime.1, stamp.ctime.0, stamp.ctime.1];
    words
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .chain(times.iter().flat_map(|t| t.to_le_bytes()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_damage_is_an_error() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"x");
            assert_eq!(split_key(&key(&digest)).expect("key").0, digest);
            for edge in [Edge::Strong, Edge::Subject] {
                assert_eq!(
                    edge_from_bytes(&edge_to_bytes(edge, &digest)).expect("edge"),
                    (edge, digest)
                );
            }
            assert_eq!(
                media_type_from_bytes(&media_type_to_bytes(Some(&digest), "a/b")).expect("type"),
                "a/b"
            );
        }
        for kind in [Kind::Absent, Kind::Unread, Kind::Opaque, Kind::Document] {
            let row = BlobRow {
                kind,
                size: 7,
                count: u64::MAX,
            };
            assert_eq!(BlobRow::from_bytes(&row.to_bytes()).expect("row"), row);
        }
        for bytes in [&b""[..], &[1, 9], &[2, 0], &[1; 17]] {
            assert!(BlobRow::from_bytes(bytes).is_err() && split_key(bytes).is_err() | (bytes.len() > 32));
        }
    }
}
