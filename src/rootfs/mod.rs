// SPDX-License-Identifier: Apache-2.0
//! Entries of layers to a directory tree, and back.
//!
//! Invariant: a tree is touched through [`crate::fs::Root`] alone, so nothing that a layer says reaches outside of it.

mod apply;
mod changes;
mod layer_state;
mod metadata;
mod pack;
mod par_walk;
mod writers;

pub use apply::Extractor;
pub use changes::Changes;
pub use metadata::ExtractOptions;
pub(crate) use pack::node_in_layer;
pub use pack::{PackOptions, Packer, each_change};
pub use par_walk::{Visit, par_walk};
pub use writers::FileDigests;
