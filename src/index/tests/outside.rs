// SPDX-License-Identifier: Apache-2.0
//! Looks at edges and rows for the tests of the whole package and the fuzzer, which try any bytes.

use crate::digest::Digest;
use crate::error::Result;
use crate::index::edges::each_link;
use crate::index::rows::{BlobRow, Edge, InEdge, Link, Verified, key, split_key};

/// Returns the edges of a blob, each as `declared`, `subject` or `mentioned` with the digest.
///
/// # Errors
/// Those of reading the bytes.
pub fn edges_of(bytes: &[u8]) -> Result<Vec<(&'static str, Digest)>> {
    let mut out = Vec::new();
    let (blob, size) = (std::io::Cursor::new(bytes), bytes.len() as u64);
    each_link(blob, &Digest::sha256(bytes), size, |link| {
        let name = match link.edge {
            Edge::Declared => "declared",
            Edge::Subject => "subject",
            Edge::Mentioned => "mentioned",
        };
        out.push((name, link.digest));
        Ok(())
    })?;
    Ok(out)
}

/// Reads `bytes` as each kind of row.
///
/// # Panics
/// If what was read does not survive being written.
pub fn read_any_row(bytes: &[u8]) {
    /// Reads a row, writes it, and reads it again.
    fn check<T: PartialEq + std::fmt::Debug>(
        read: fn(&[u8]) -> Result<T>,
        write: fn(&T) -> Vec<u8>,
        bytes: &[u8],
    ) {
        if let Ok(row) = read(bytes) {
            assert_eq!(read(&write(&row)).ok(), Some(row));
        }
    }
    check(BlobRow::from_bytes, |row| row.to_bytes(), bytes);
    check(Link::from_bytes, Link::to_bytes, bytes);
    check(Link::list_from_bytes, |list| Link::list_to_bytes(list), bytes);
    check(InEdge::from_bytes, InEdge::to_bytes, bytes);
    check(Verified::from_bytes, |row| row.to_bytes(), bytes);
    if let Ok((digest, rest)) = split_key(bytes) {
        assert_eq!([key(&digest), rest.to_vec()].concat(), bytes);
    }
}
