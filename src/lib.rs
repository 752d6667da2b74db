// SPDX-License-Identifier: Apache-2.0
//! Unpack, edit and repack OCI container images on disk, as a content-addressed store.
//!
//! A [`store::Store`] is an OCI image layout with an index beside it. [`image::Image::find`] finds an image in it by tag
//! or digest, [`bundle::unpack`] makes a runtime bundle of it, [`bundle::repack`] makes a new image of a changed bundle,
//! [`image::Edit`] changes an image without unpacking, and [`transfer::copy`] moves images between layouts, archives and, with the
//! feature `registry`, registries; with the feature `serve` a `serve::Server` gives layouts to clients of registries. The library
//! reports progress to a [`progress::Monitor`]; it never prints, prompts, exits or reads the environment.
//!
//! Examples: [an image of a directory](bundle::insert), [unpack, change, repack](bundle), [another
//! configuration](image), and here a tag for a bare digest:
//!
//! ```
//! use umoci::image::Edit;
//! use umoci::store::{GcOptions, Store, StoreOptions};
//! use umoci::progress::Silent;
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("layout");
//! // A new layout with a blank image in it, and a second name for its digest.
//! let store = Store::create(&path, StoreOptions::default())?;
//! let mut txn = store.begin("example")?;
//! let walk = Edit::blank("2026-01-02T03:04:05Z".to_owned()).apply(&mut txn, &"blank".parse()?)?;
//! txn.commit()?;
//! let found = store.identify(&walk[0].digest, None)?;
//! store.create_ref(&"by-digest".parse()?, found)?;
//! assert_eq!(store.names()?, ["blank", "by-digest"]);
//!
//! // Nothing is garbage as long as a name leads to it.
//! let plan = store.plan_gc(&GcOptions::default(), &Silent)?;
//! assert!(plan.remove().is_empty());
//! # Ok::<(), umoci::error::Error>(())
//! ```

#![forbid(unsafe_code)]
// Parts of the library serve the command line alone and are no API.
#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The example of the guide does what it says.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/rust.md")]
struct Guide;

// First: the other modules use its macro.
#[macro_use]
pub mod error;

pub mod bundle;
#[cfg(feature = "cli")]
#[allow(rustdoc::invalid_html_tags)] // its doc comments are the texts of --help
#[doc(hidden)]
pub mod cli;
pub mod digest;
mod fs;
pub mod image;
mod index;
#[doc(hidden)] // the commands that look into images stand on it; no API yet
pub mod inside;
mod layer;
mod layout;
mod mtree;
mod node;
pub mod progress;
#[cfg(feature = "registry")]
pub mod registry;
mod rootfs;
#[cfg(feature = "serve")]
pub mod serve;
pub mod spec;
pub mod store;
pub mod transfer;

/// Parts that the tests and benchmarks of this package reach from outside; none of it is API.
#[doc(hidden)]
pub mod internals {
    pub use crate::bundle::{look_up, runtime_config};
    pub use crate::digest::Hasher;
    pub use crate::fs::{IdMap, Resolver, Root, decode_rootless, encode_rootless, remove_tree};
    #[cfg(debug_assertions)]
    pub use crate::index::{edges_of, read_any_row};
    pub use crate::layer::{
        Checkpoints, Encoder, Entry, EntryBody, Finished, LayerReader, LayerStream, LayerTree, LayerWriter,
        Limits, StreamOptions, Toc, TocBuilder, TocEntry,
    };
    pub use crate::layout::IndexJson;
    pub use crate::mtree::{Header, Keyword, Mtree, MtreeWriter, line};
    pub use crate::node::{ChangeKind, Inode, Node, NodeKind, Time, Xattrs};
    pub use crate::rootfs::{ExtractOptions, Extractor, par_walk};
    pub use crate::spec::json;
    pub use crate::transfer::{Catalog, DockerArchive, OciArchive, Source};
}
