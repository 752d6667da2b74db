// SPDX-License-Identifier: Apache-2.0
//! Sparse files: where their bytes belong, and the ways in which archives say that.

use std::io;
use std::sync::Arc;

use super::header::unsigned;
use super::pax::Extended;
use super::{BLOCK, bad};
use crate::error::{Error, ErrorKind, Result};

/// Offset and length of data, in order and apart.
pub(super) type Pieces = Vec<(u64, u64)>;

/// Where the bytes of a sparse file belong, and how far it was read.
#[derive(Clone, Debug)]
pub(crate) struct Sparse {
    pieces: Arc<[(u64, u64)]>,
    /// The first of the pieces that is not behind us.
    next: usize,
    at: u64,
    size: u64,
}

/// What comes next in a sparse file, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Hole(u64),
    /// As many of the entry's bytes; none at the end of the file.
    Data(u64),
}

impl Sparse {
    /// A file of `size` bytes, of which the entry has `stored`.
    pub fn new(pieces: Pieces, size: u64, stored: u64) -> Result<Self> {
        let mut end = 0;
        let mut total: u64 = 0;
        for &(offset, length) in &pieces {
            let next = offset.checked_add(length).filter(|&n| offset >= end && n <= size);
            end = next.ok_or_else(|| bad("sparse map is out of order or beyond the end"))?;
            total = total.saturating_add(length);
        }
        if total != stored {
            return Err(bad(format!(
                "sparse map speaks of {total} bytes, the entry has {stored}"
            )));
        }
        Ok(Self {
            pieces: pieces.into(),
            next: 0,
            at: 0,
            size,
        })
    }

    /// Count of the pieces.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many bytes of the file, holes included, are still to be read.
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
        let within = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(buf.len());
        let n = match self.next() {
            Next::Hole(n) => {
                let n = within(n);
                buf[..n].fill(0);
                n
            }
            Next::Data(n) => {
                let n = within(n);
                stored(&mut buf[..n])?
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// The pieces in the fields of a header of the old GNU format, or of a block behind it.
pub(super) fn old_fields(fields: &[tar::GnuSparseHeader], pieces: &mut Pieces) -> Result<()> {
    for field in fields {
        if field.offset[0] != 0 && field.numbytes[0] != 0 {
            pieces.push((
                unsigned(&field.offset, "sparse offset")?,
                unsigned(&field.numbytes, "sparse length")?,
            ));
        }
    }
    Ok(())
}

/// The pieces in the records of an extended header: versions 0.0 and 0.1.
pub(super) fn records(extended: &Extended) -> Result<Pieces> {
    if let Some(map) = extended.get(b"GNU.sparse.map") {
        return pairs(map.split(|&c| c == b','));
    }
    let keys = [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"];
    let numbers = extended
        .records
        .iter()
        .filter(|(k, _)| keys.contains(&k.as_slice()));
    pairs(numbers.map(|(_, v)| v.as_slice()))
}

/// The map at the beginning of the content, version 1.0: a count of pieces, then their numbers, each on a line of its own,
/// padded to a block.
#[derive(Default)]
pub(super) struct Lines {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// Count of numbers.
    wanted: Option<u64>,
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
            let number = decimal(&self.line);
            self.line.clear();
            match self.wanted {
                None => {
                    let count = number.ok_or_else(|| bad("sparse map without a count"))?;
                    let wanted = count.checked_mul(2).filter(|&n| n <= limit);
                    let too_many = || Error::new(ErrorKind::Limit, format!("sparse map of {count} pieces"));
                    self.wanted = Some(wanted.ok_or_else(too_many)?);
                }
                Some(_) => self.numbers.push(number.ok_or_else(no_number)?),
            }
            if self.wanted == Some(self.numbers.len() as u64) {
                return in_pairs(&self.numbers).map(Some);
            }
        }
        Ok(None)
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn no_number() -> Error {
    bad("sparse map with something that is no number")
}

fn pairs<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Result<Pieces> {
    let numbers: Option<Vec<u64>> = numbers.filter(|t| !t.is_empty()).map(decimal).collect();
    in_pairs(&numbers.ok_or_else(no_number)?)
}

fn in_pairs(numbers: &[u64]) -> Result<Pieces> {
    if !numbers.len().is_multiple_of(2) {
        return Err(bad("sparse map with an odd count of numbers"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
