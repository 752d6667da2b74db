// SPDX-License-Identifier: Apache-2.0
//! Sparse files: where their bytes belong, and the ways in which archives say that.

use std::io;
use std::sync::Arc;

use super::header::unsigned;
use super::pax::{Extended, decimal};
use super::{BLOCK, bad};
use crate::error::{Error, Result};

/// Offset and length of data, in order and apart.
pub(super) type Pieces = Vec<(u64, u64)>;

/// Map of the bytes of a sparse file, and the offset up to which it was read.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    pieces: Arc<[(u64, u64)]>,
    /// The first of the pieces that is not behind us.
    next: usize,
    at: u64,
    size: u64,
}

/// Next part of a sparse file, with its length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Hole(u64),
    /// As many of the entry's bytes; none at the end of the file.
    Data(u64),
}

impl Sparse {
    /// Makes a file of `size` bytes, of which the entry has `stored`; what it has beyond the pieces is left out, as GNU tar does.
    pub fn new(pieces: Pieces, size: u64, stored: u64) -> Result<Self> {
        let mut end = 0;
        let mut total: u64 = 0;
        for &(offset, length) in &pieces {
            let next = offset.checked_add(length).filter(|&n| offset >= end && n <= size);
            end = next.ok_or_else(|| bad("sparse map is out of order or beyond the end"))?;
            total = total.saturating_add(length);
        }
        if total > stored {
            let text = format!("sparse map speaks of {total} bytes, the entry has {stored}");
            fail!(Corrupt, "{text}");
        }
        Ok(Self {
            pieces: pieces.into(),
            next: 0,
            at: 0,
            size,
        })
    }

    /// Returns how many bytes are in no piece.
    pub fn holes(&self) -> u64 {
        self.size - self.pieces.iter().map(|(_, length)| length).sum::<u64>()
    }

    /// Returns the number of the pieces.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Returns how many bytes of the file, holes included, are still to be read.
    pub fn left(&self) -> u64 {
        self.size - self.at
    }

    fn next(&mut self) -> Next {
        while let Some(&(offset, length)) = self.pieces.get(self.next) {
            if self.at < offset {
                return Next::Hole(offset - self.at);
            }
            if self.at < offset + length {
                return Next::Data(offset + length - self.at);
            }
            self.next += 1;
        }
        if self.at < self.size {
            return Next::Hole(self.size - self.at);
        }
        Next::Data(0)
    }

    /// Goes over the hole that comes next, if it has `least` bytes or more; returns how many it has, else 0.
    pub fn take_hole(&mut self, least: u64) -> u64 {
        match self.next() {
            Next::Hole(n) if n >= least => {
                self.at += n;
                n
            }
            _ => 0,
        }
    }

    /// Reads the file as it is when it is filled: zeros for holes, and what `stored` reads of the entry's bytes.
    pub fn read(
        &mut self,
        buf: &mut [u8],
        stored: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let next = self.next();
        let (Next::Hole(n) | Next::Data(n)) = next;
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(buf.len());
        let n = match next {
            Next::Hole(_) => {
                buf[..n].fill(0);
                n
            }
            Next::Data(_) => stored(&mut buf[..n])?,
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// Adds the pieces in the fields of a header of the old GNU format, or of a block behind it.
pub(super) fn old_fields(fields: &[tar::GnuSparseHeader], pieces: &mut Pieces) -> Result<()> {
    // The first that is empty ends them.
    for field in fields {
        if field.offset[0] == 0 || field.numbytes[0] == 0 {
            break;
        }
        let offset = unsigned(&field.offset, "sparse offset")?;
        pieces.push((offset, unsigned(&field.numbytes, "sparse length")?));
    }
    Ok(())
}

/// Location of the map of a sparse file of PAX.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MapPlace {
    /// In the records: versions 0.0 and 0.1.
    Records,
    /// At the beginning of the content: version 1.0.
    Content,
}

const MAP: &[u8] = b"GNU.sparse.map";
const OFFSET: &[u8] = b"GNU.sparse.offset";
const NUMBYTES: &[u8] = b"GNU.sparse.numbytes";

/// Returns whether the records make a file sparse. Those of an unknown version do not.
pub(super) fn map_place(extended: &Extended) -> Option<MapPlace> {
    let major = extended.get(b"GNU.sparse.major");
    match (major, extended.get(b"GNU.sparse.minor")) {
        (Some(b"0"), Some(b"0" | b"1")) => Some(MapPlace::Records),
        (Some(b"1"), Some(b"0")) => Some(MapPlace::Content),
        (None, None) => {
            let has_map = extended.get(MAP).is_some() || numbers(extended).next().is_some();
            has_map.then_some(MapPlace::Records)
        }
        _ => None,
    }
}

/// Returns the records of version 0.0, of which each is one number of the map.
fn numbers(extended: &Extended) -> impl Iterator<Item = (&[u8], &[u8])> {
    let records = extended.records.iter().map(|(key, value)| (&**key, &**value));
    records.filter(|(key, _)| [OFFSET, NUMBYTES].contains(key))
}

/// Refuses a map in the records that cannot be read, whatever the entry is.
pub(super) fn check(extended: &Extended) -> Result<()> {
    // Offset and length follow one another; a last offset without a length is found where the pieces are read.
    let in_order = [OFFSET, NUMBYTES].into_iter().cycle();
    if numbers(extended)
        .zip(in_order)
        .any(|((key, _), want)| key != want)
    {
        fail!(Corrupt, "sparse map with an offset or length out of order");
    }
    match map_place(extended) {
        Some(MapPlace::Records) => records(extended).map(drop),
        _ => Ok(()),
    }
}

/// Returns the pieces in the records of an extended header: versions 0.0 and 0.1.
pub(super) fn records(extended: &Extended) -> Result<Pieces> {
    let pieces = match extended.get(MAP) {
        Some(map) if numbers(extended).next().is_none() => pairs(map.split(|&c| c == b','))?,
        _ => pairs(numbers(extended).map(|(_, value)| value))?,
    };
    // Some writers leave the count out.
    let found = pieces.len();
    match extended.number("GNU.sparse.numblocks")? {
        Some(said) if said != found as i64 => {
            let text = format!("sparse map of {found} pieces, the header speaks of {said}");
            fail!(Corrupt, "{text}")
        }
        _ => Ok(pieces),
    }
}

/// Returns the size of the file with its holes; that of what is `stored`, if the records do not say.
pub(super) fn size(extended: &Extended, stored: u64) -> Result<u64> {
    let said = match extended.number("GNU.sparse.size")? {
        Some(size) => Some(size),
        None => extended.number("GNU.sparse.realsize")?,
    };
    match said.map(u64::try_from) {
        None => Ok(stored),
        Some(size) => size.map_err(|_| bad("negative size of a sparse file")),
    }
}

/// The map at the beginning of the content, version 1.0: a count of pieces, then their numbers, each on a line of its own,
/// padded to a block.
#[derive(Default)]
pub(super) struct Lines {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// Count of pieces, once its line was read.
    count: Option<u64>,
    numbers: Vec<u64>,
}

impl Lines {
    /// Takes the next block; the pieces, if it was the last one. A map has no more than `limit` bytes.
    pub fn add(&mut self, block: &[u8; BLOCK as usize], limit: u64) -> Result<Option<Pieces>> {
        // Each byte is looked at once: a map may have millions of numbers.
        for &c in block {
            if c != b'\n' {
                self.line.push(c);
                continue;
            }
            let number: Option<u64> = decimal(&self.line);
            self.line.clear();
            let count = match self.count {
                Some(count) => {
                    self.numbers.push(number.ok_or_else(no_number)?);
                    count
                }
                None => number.ok_or_else(|| bad("sparse map without a count"))?,
            };
            if count > limit / 2 {
                fail!(Limit, "sparse map of {count} pieces");
            }
            self.count = Some(count);
            if self.numbers.len() as u64 == 2 * count {
                return in_pairs(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

fn no_number() -> Error {
    bad("sparse map with something that is no number")
}

fn pairs<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Result<Pieces> {
    let numbers: Option<Vec<u64>> = numbers.map(decimal).collect();
    in_pairs(&numbers.ok_or_else(no_number)?)
}

fn in_pairs(numbers: &[u64]) -> Result<Pieces> {
    if !numbers.len().is_multiple_of(2) {
        fail!(Corrupt, "sparse map with an odd count of numbers");
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
