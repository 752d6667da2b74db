// SPDX-License-Identifier: Apache-2.0
//! The table of contents of a layer: its entries in the order of the archive, with their places in the tar and the SHA-256 of each
//! regular file, in one small file.
//!
//! Invariants: a table is made only of bytes whose diff_id was checked; the same layer gives the same table; whatever the bytes of
//! such a file are, reading it ends within its limits, with a table or an error.

mod columns;
mod file;
mod follow;
#[cfg(test)]
mod tests;

use std::io::Read;

use self::columns::Columns;
pub use self::follow::TocFollower;
use super::{Entry, EntryBody, LayerReader};
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::{Result, ResultExt};
use crate::node::NodeKind;

/// SHA-256 of the content of a file.
pub type FileDigest = [u8; 32];

/// The contents of one layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Toc {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Size of the uncompressed tar in bytes.
    pub tar_size: u64,
    /// The entries, in the order of the archive.
    pub entries: Vec<TocEntry>,
}

/// An entry of a layer, and where it stands in the tar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TocEntry {
    /// Path and node, as the headers have them.
    pub entry: Entry,
    /// SHA-256 of the content, of a regular file.
    pub digest: Option<FileDigest>,
    /// Offset in bytes at which its first header begins.
    pub start: u64,
    /// Bytes of its headers, its content and what pads it.
    pub span: u64,
}

/// Collects the entries of a layer while it is read or written. An entry costs some 70 bytes of memory until the end.
#[derive(Debug, Default)]
pub struct TocBuilder {
    columns: Columns,
    digests: Vec<FileDigest>,
    /// Offset of the end of the last entry.
    at: u64,
}

impl TocBuilder {
    /// Adds the next entry, which ends at this offset of the tar; returns the number by which the digest of its content is told,
    /// for a regular file.
    pub fn add(&mut self, entry: &Entry, end: u64) -> Option<usize> {
        self.columns.add(entry, end.saturating_sub(self.at));
        self.at = end;
        is_file(entry).then(|| {
            self.digests.push([0; 32]);
            self.digests.len() - 1
        })
    }

    /// Tells the digest of the content of a regular file.
    pub fn set_digest(&mut self, number: usize, digest: FileDigest) {
        if let Some(known) = self.digests.get_mut(number) {
            *known = digest;
        }
    }

    /// Returns the file of the table, once the tar has turned out to have this digest and size in bytes.
    ///
    /// # Errors
    /// Those of zstd.
    pub fn finish(self, diff_id: &Digest, tar_size: u64) -> Result<Vec<u8>> {
        file::encode(diff_id, tar_size, &self.columns, &self.digests)
    }

    /// Adds all entries that `layer` still has; reads and hashes their contents.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn add_all<R: Read>(&mut self, layer: &mut LayerReader<R>) -> Result<()> {
        while let Some(entry) = layer.next_entry()? {
            let number = self.add(&entry, layer.entry_end());
            if let Some(number) = number {
                let digest = hash(layer).context(|| format!("entry {}", entry.path))?;
                self.set_digest(number, digest);
            }
        }
        Ok(())
    }
}

/// Returns the SHA-256 of what is left of the content of an entry.
fn hash<R: Read>(layer: &mut LayerReader<R>) -> Result<FileDigest> {
    let mut hashed = DigestWriter::new(std::io::sink(), Algorithm::Sha256);
    std::io::copy(layer, &mut hashed)?;
    Ok(file_digest(&hashed.finish().1))
}

/// Returns the bytes of a SHA-256.
pub fn file_digest(digest: &Digest) -> FileDigest {
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

fn is_file(entry: &Entry) -> bool {
    matches!(&entry.body, EntryBody::Node(node) if matches!(node.kind, NodeKind::File { .. }))
}

impl Toc {
    /// Reads the file of a table.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is cut, altered or of another version, or not about `diff_id`.
    pub fn decode(bytes: &[u8], diff_id: &Digest) -> Result<Self> {
        file::decode(bytes, diff_id)
    }

    /// Returns the digests of the regular files alone, each behind the number of its entry.
    pub fn digests(&self) -> impl Iterator<Item = (usize, &FileDigest)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(number, entry)| Some((number, entry.digest.as_ref()?)))
    }
}

/// Returns whether a file of `size` bytes begins as a table of contents about `diff_id` that has this size.
pub fn has_toc_head(file: &mut impl Read, size: u64, diff_id: &Digest) -> bool {
    file::has_head(file, size, diff_id)
}

/// Returns the beginnings of the digests of all regular files in the file of a table, without a look at the rest of it: the way to
/// search thousands of layers for one content. The answer says no more than that a layer is worth a look.
///
/// # Errors
/// As [`Toc::decode`].
pub fn digest_prefixes(file: &mut (impl Read + std::io::Seek), diff_id: &Digest) -> Result<Vec<[u8; 8]>> {
    file::prefixes(file, diff_id)
}
