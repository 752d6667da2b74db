// SPDX-License-Identifier: Apache-2.0
//! Answers about the contents of images, from the tables of contents of their layers: data alone, no text.
//!
//! Invariants: a layer that cannot be seen is named, and never taken for an empty one in silence; bytes of a file are checked against
//! the digest in the table, and the table was made by a pass that checked the diff_id; nothing here decides over blobs.

mod contents;
mod read;

pub use contents::{ContentLayer, Contents, End, Item, ItemBody};
pub use read::read_items;
