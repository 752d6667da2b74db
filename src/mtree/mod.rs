// SPDX-License-Identifier: Apache-2.0
//! Manifests of a tree (mtree), and how a tree differs from one. Opens nothing: it reads and writes what it is given.
//!
//! Invariants: a manifest is written and read without being held, 24 bytes a path aside; a value is spelled by one
//! function, so that writing and comparing cannot disagree.

mod compare;
mod format;
mod keyword;
mod parse;
mod quote;
#[cfg(test)]
mod tests;
mod vis;

use std::fmt::Debug;
use std::fs::File;
use std::io;

pub use compare::Difference;
pub use format::line_with;
pub use format::{Header, MtreeWriter, line};
pub use keyword::{Keyword, Keywords};
pub use parse::Mtree;
pub(crate) use quote::quoted;

/// Text that can be read at any offset, by many threads at a time.
pub trait ReadAt: Debug + Send + Sync {
    /// Reads some bytes that begin at `offset`; none only at the end.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..));
        io::Read::read(&mut rest.unwrap_or_default(), buf)
    }
}

/// Returns the words of a line as pairs of a name and a value, which is empty for a word without `=`.
fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|&c| is_blank(c))
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut parts = word.splitn(2, |&c| c == b'=');
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
        })
}

fn is_blank(c: u8) -> bool {
    matches!(c, b' ' | b'\t')
}

/// Adds a word to a line.
fn push_word(line: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !line.is_empty() {
        line.push(b' ');
    }
    line.extend_from_slice(name);
    line.push(b'=');
    line.extend_from_slice(value);
}
