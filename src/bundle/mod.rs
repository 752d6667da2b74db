// SPDX-License-Identifier: Apache-2.0
//! Runtime bundles: a root file system, `config.json`, and what is needed to repack.
//!
//! A bundle is a directory with `rootfs/`, `config.json`, `umoci.json`, `sha256_<hex>.mtree` and a cache for it,
//! `.sha256_<hex>.stat`; while it is being unpacked it has the mark `.umoci-unfinished`. Invariant: an `unpack` that fails leaves
//! none of its files behind and never touches others; the files of a killed one are removed by the next `unpack`.
//!
//! # Example: unpack, change, repack
//!
//! ```
//! use umoci::bundle::{RepackOptions, UnpackOptions, repack, unpack};
//! use umoci::image::{Edit, Image, Target};
//! use umoci::progress::Silent;
//! use umoci::store::{Store, StoreOptions};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! # let store = Store::create(&dir.join("layout"), StoreOptions::default())?;
//! # let mut txn = store.begin("example")?;
//! # Edit::blank("2026-01-02T03:04:05Z".to_owned()).apply(&mut txn, &"app".parse()?)?;
//! # txn.commit()?;
//! # drop(store);
//! let store = Store::open(&dir.join("layout"), StoreOptions::default())?;
//! let image = Image::find(&store, &Target::Name("app".parse()?), None)?;
//!
//! // As any user; `UnpackOptions::default()` is for root.
//! let bundle = unpack(&store, &image, &dir.join("bundle"), &UnpackOptions::rootless(), &Silent)?;
//! std::fs::write(bundle.rootfs().join("motd"), "hello\n").unwrap();
//!
//! let new = "changed".parse()?;
//! let done = repack(&store, &bundle, &new, |_author| Ok(None), &RepackOptions::default(), &Silent)?;
//! assert!(done.changed);
//! assert_eq!(store.names()?, ["app", "changed"]);
//! # Ok::<(), umoci::error::Error>(())
//! ```

mod contents;
mod insert;
mod manifest;
mod meta;
mod passwd;
mod repack;
mod runtime;
mod stat_cache;
mod status;
mod tree;
mod tree_diff;
mod unfinished;
mod unpack;

use std::path::{Path, PathBuf};

pub(crate) use insert::add_archive;
pub use insert::{Insertion, insert};
#[doc(hidden)]
pub use passwd::look_up;
pub use repack::{RepackOptions, Repacked, repack};
#[doc(hidden)]
pub use runtime::runtime_config;
pub use status::{StatusOptions, Unsaved, status};
pub(crate) use tree::{BundleFile, BundleTree};
pub(crate) use tree_diff::{read_mtree, validate};
pub(crate) use unpack::unpack_into;
pub use unpack::{UnpackOptions, unpack};

use crate::digest::Digest;
pub use crate::fs::IdMap;
pub use crate::layer::Limits;
pub use crate::node::TreePath;
pub use crate::rootfs::PackOptions;

/// The directory of a bundle, and the names of what is in it.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// Returns the bundle at `path`; nothing is looked at yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path of the directory, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of `rootfs`, the root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Returns the path of `config.json`, the runtime configuration. Spec: runtime-spec, config.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// Returns the path of `umoci.json`, which records the unpacked image; the last file that an unpack writes.
    pub fn meta(&self) -> PathBuf {
        self.path.join("umoci.json")
    }

    /// Returns the path of the mtree manifest of the tree that was unpacked from `manifest`.
    pub fn mtree(&self, manifest: &Digest) -> PathBuf {
        self.path
            .join(format!("{}_{}.mtree", manifest.algorithm(), manifest.encoded()))
    }

    /// Returns the cache that tells file contents of that tree by metadata; see `stat_cache`.
    fn stat_cache(&self, manifest: &Digest) -> PathBuf {
        self.path
            .join(format!(".{}_{}.stat", manifest.algorithm(), manifest.encoded()))
    }
}

#[cfg(test)]
mod tests;
