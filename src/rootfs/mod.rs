// SPDX-License-Identifier: Apache-2.0
//! Entries of layers to a directory tree, and back.
//!
//! Invariant: a tree is touched through [`crate::fs::Root`] alone, so nothing that a layer says reaches outside of it.

mod apply;
mod changes;
mod layer_state;
mod metadata;
mod pack;
mod scan;
mod survey;
mod writers;

pub use apply::Extractor;
pub use changes::Changes;
pub use metadata::ExtractOptions;
pub use pack::{PackOptions, pack, pack_tree};
pub use scan::scan;
pub use survey::{Seen, survey};
pub use writers::FileDigests;
