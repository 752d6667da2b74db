// SPDX-License-Identifier: Apache-2.0
//! A report on images as one file of HTML, which makes no request: a page and the data that it draws.
//!
//! The data stands in the page as base64 of a gzip member, which holds: the length of the head (u32, little endian), the head (JSON,
//! [`Head`](data::Head)), then columns one after the other, whose names and lengths the head tells. Numbers are LEB128, signed ones in
//! zigzag. The same images give the same bytes.
//!
//! | column | for each | holds |
//! |---|---|---|
//! | `same` | path | bytes at the beginning of its last component that it shares with the sibling before it |
//! | `names` | path | the other bytes of that component, and a NUL; paths in preorder, siblings by bytes, without the root, path 0 |
//! | `up` | path | number of levels from a child of the path before it up to this one |
//! | `node` | entry | number of its path, less that of the entry before it in the layer |
//! | `kind` | entry | a byte: 0 file, 1 directory, 2 symbolic link, 3 hard link, 4 and 5 devices, 6 FIFO, 7 socket, 8 whiteout, 9 opaque |
//! | `size0`, `size1`, `size2` | entry | two bytes, and a number: the bytes of content of a file, the lowest first, or the length of the target of a symbolic link; 0 of a hard link |
//! | `blocks` | entry | signed: blocks of 512 bytes in the tar above a header and the content |
//! | `content`, `meta` | entry | a number that two entries of a path share if they have the same type and content; mode, owner and xattrs |
//! | `at` | hidden entry | its number among the entries of the layers of its image, less that of the one before |
//! | `fate` | hidden entry | a byte: 1 replaced, 2 replaced by the same content, 3 removed |
//! | `by` | hidden entry | number of the layer that hid it, in the image |
//!
//! Entries are in the order of layers, and of paths within a layer; a layer that several images have on the same layers stands once.
//! Hidden entries are in the order of images. The compressed bytes of an entry are its share of the layer by its bytes in the tar.
//!
//! Invariant: texts of images reach the markup only through [`escape`](page::escape), and the page sets them only as text.

mod data;
mod others;
mod page;
mod paths;

use std::io::Write;

use super::contents::Contents;
use crate::digest::Digest;
use crate::error::Result;

/// The images that a report is about.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// Images whose paths it shows.
    pub images: Vec<ReportImage<'a>>,
    /// Images of which it shows only the layers that they share.
    pub others: Vec<OtherImage>,
}

/// An image of a [`Report`], with all its paths.
#[derive(Debug)]
pub struct ReportImage<'a> {
    /// The word that named it.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Such as `linux/amd64`; empty if unknown.
    pub platform: String,
    pub contents: &'a Contents,
}

/// An image of a [`Report`], by its layers alone.
#[derive(Debug)]
pub struct OtherImage {
    pub name: String,
    /// Digests and sizes in bytes of the layers, the lowest first.
    pub layers: Vec<(Digest, u64)>,
}

impl Report<'_> {
    /// Writes the page.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        page::write(self, &data::encode(self)?, out)
    }
}
