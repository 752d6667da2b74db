// SPDX-License-Identifier: Apache-2.0
//! Layers: tar bytes to entries and back, compressed or not. Knows nothing of disks or stores.
//!
//! Invariants: an [`Entry`]'s path is clean; whiteouts are told apart here and nowhere else; the same nodes give the
//! same bytes, whatever the number of threads. Spec: image-spec, layer.

mod chunk;
mod compress;
mod decode;
mod entry;
mod header;
mod inflate;
mod limits;
mod pax;
mod read;
mod sniff;
mod sparse;
#[cfg(test)]
mod tests;
mod toc;
mod tree;
mod write;

pub use compress::Encoder;
pub use decode::{Finished, LayerStream, StreamOptions};
pub use inflate::Checkpoints;
pub use limits::Limits;
pub use read::LayerReader;
pub use sniff::{HEAD, Sniffed, check_entries};
pub(crate) use sparse::Sparse;
pub(crate) use toc::{FileDigest, TocFollower, digest_prefixes, file_digest, has_toc_head};
pub use toc::{Toc, TocBuilder, TocEntry};
pub use tree::LayerTree;
pub(crate) use tree::{Fate, FateOf, Outcome};
pub use write::{LayerWriter, can_hold_xattr};

use std::io;

use crate::error::{Error, ErrorKind, Fact};
use crate::node::{Node, TreePath};

/// Prefix of the base name of a whiteout; no file of an image can have such a name.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// Base name of the entry that hides all that lower layers have in its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// Bytes of a block of an archive.
const BLOCK: u64 = 512;

fn bad(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, text)
}

/// Makes an error of a failure to decode: one of the reader of the blob or of the kernel stands as it is, any other is the opinion of
/// a decoder about the bytes.
fn decode_error(err: io::Error) -> Error {
    if err.raw_os_error().is_some() || matches!(err.get_ref(), Some(e) if e.is::<Error>()) {
        return err.into();
    }
    let text = err.to_string();
    // The words of libzstd for a window over the limit; it has no better way through `io::Error`.
    if text.contains("requires too much memory") {
        let text = format!("decompress: the zstd window is over the limit (limit zstd-window): {text}");
        return Error::new(ErrorKind::Limit, text).with_fact(Fact::Limit("zstd-window"));
    }
    bad(format!("decompress: {text}"))
}

/// One entry of a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Path that it describes: its own, for a whiteout the hidden path, for an opaque one the directory.
    pub path: TreePath,
    /// Its statement about that path.
    pub body: EntryBody,
}

/// Statement of an entry of a layer about its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryBody {
    /// It is this; the content of a regular file follows in the stream.
    Node(Node),
    /// It is another name of `target`.
    HardLink {
        /// Path below the root.
        target: TreePath,
    },
    /// Lower layers' file or directory of this path is hidden.
    Whiteout,
    /// All that lower layers have in this directory is hidden.
    Opaque,
}
