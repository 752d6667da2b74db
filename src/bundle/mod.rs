// SPDX-License-Identifier: Apache-2.0
//! Runtime bundles: a root file system, `config.json`, and what is needed to repack.
//!
//! A bundle is a directory with `rootfs/`, `config.json`, `umoci.json`, `sha256_<hex>.mtree` and a cache for it,
//! `.sha256_<hex>.stat`. Invariant: `unpack`
//! that fails leaves nothing behind that it made, and never touches what was there before.
//!
//! # Example: unpack, change, repack
//!
//! ```
//! use umoci::bundle::{RepackOptions, UnpackOptions, repack, unpack};
//! use umoci::fs::IdMap;
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
//! // As any user: a whole map of ids is for root.
//! let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
//! let id_map = IdMap {
//!     uids: vec![IdMap::parse_mapping(&format!("0:{uid}"))?],
//!     gids: vec![IdMap::parse_mapping(&format!("0:{gid}"))?],
//!     rootless: true,
//! };
//! let options = UnpackOptions { id_map, ..UnpackOptions::default() };
//! let bundle = unpack(&store, &image, &dir.join("bundle"), &options, &Silent)?;
//! std::fs::write(bundle.rootfs().join("motd"), "hello\n").unwrap();
//!
//! let new = "changed".parse()?;
//! let done = repack(&store, &bundle, &new, |_author| Ok(None), &RepackOptions::default(), &Silent)?;
//! assert!(done.changed);
//! assert_eq!(store.names()?, ["app", "changed"]);
//! # Ok::<(), umoci::error::Error>(())
//! ```

mod insert;
mod meta;
mod mtree;
mod passwd;
#[cfg(test)]
mod reads;
mod repack;
mod runtime;
mod stat_cache;
mod unpack;
mod validate;

use std::path::{Path, PathBuf};

pub use insert::{Insertion, add_archive, insert};
pub use meta::Meta;
#[doc(hidden)]
pub use passwd::look_up;
pub use repack::{RepackOptions, Repacked, repack};
pub use runtime::{RuntimeOptions, resolv_conf, runtime_config};
pub use unpack::{UnpackOptions, unpack, unpack_into};
pub use validate::{read_mtree, validate};

use crate::digest::Digest;

/// The directory of a bundle, and the names of what is in it.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
}

impl Bundle {
    /// The bundle at `path`; nothing is looked at yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// The runtime configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// What the bundle was unpacked from.
    pub fn meta(&self) -> PathBuf {
        self.path.join("umoci.json")
    }

    /// The mtree manifest of the tree that was unpacked from `manifest`.
    pub fn mtree(&self, manifest: &Digest) -> PathBuf {
        self.path
            .join(format!("{}_{}.mtree", manifest.algorithm(), manifest.encoded()))
    }

    /// What is known of the contents of that tree's files from their metadata; see `stat_cache`.
    fn stat_cache(&self, manifest: &Digest) -> PathBuf {
        self.path
            .join(format!(".{}_{}.stat", manifest.algorithm(), manifest.encoded()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::IdMap;
    use crate::image::{Edit, Image, Target};
    use crate::node::TreePath;
    use crate::progress::{Recorder, TaskRecord};
    use crate::rootfs::PackOptions;
    use crate::spec::Compression;
    use crate::store::{Store, StoreOptions};

    /// A bar must not stand still for as long as a layer takes.
    #[test]
    fn long_tasks_say_how_many_bytes_have_passed() {
        const SIZE: usize = 5_000_000;
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("file");
        std::fs::write(&file, vec![7; SIZE]).expect("file");
        let store = Store::create(&dir.path().join("layout"), StoreOptions::default()).expect("layout");
        let tag = "a".parse().expect("tag");
        let id = |id: u32| vec![IdMap::parse_mapping(&format!("0:{id}")).expect("map")];
        let id_map = IdMap {
            uids: id(rustix::process::geteuid().as_raw()),
            gids: id(rustix::process::getegid().as_raw()),
            rootless: true,
        };
        let task = |recorder: &Recorder, name: &str| -> TaskRecord {
            let task = recorder.tasks().into_iter().find(|t| t.name == name);
            let task = task.expect(name);
            assert!(task.steps.iter().all(|&n| n < 2 << 20), "{task:?}");
            task
        };
        let passed = |task: &TaskRecord| task.steps.iter().sum::<u64>();

        let recorder = Recorder::default();
        let mut txn = store.begin("test").expect("begin");
        let options = PackOptions {
            id_map: id_map.clone(),
            ..PackOptions::default()
        };
        let tree = Insertion::Tree {
            source: file.clone(),
            target: TreePath::clean(b"f").expect("path"),
            opaque: false,
        };
        let layer = insert(&mut txn, &tree, Compression::None, &options, &recorder).expect("insert");
        let size = layer.descriptor.size;
        assert_eq!(passed(&task(&recorder, "packing")), size);
        let tar = dir
            .path()
            .join("layout/blobs/sha256")
            .join(layer.diff_id.encoded());
        let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
        edit.add_layer(layer, None);
        edit.apply(&mut txn, &tag).expect("apply");

        let recorder = Recorder::default();
        add_archive(&mut txn, &tar, Compression::Gzip, &recorder).expect("add");
        let added = task(&recorder, "packing");
        assert_eq!((passed(&added), added.total), (size, Some(size)));
        txn.commit().expect("commit");

        let recorder = Recorder::default();
        let image = Image::find(&store, &Target::Name(tag.clone()), None).expect("image");
        let options = UnpackOptions {
            id_map,
            ..UnpackOptions::default()
        };
        let bundle = unpack(&store, &image, &dir.path().join("b"), &options, &recorder).expect("unpack");
        let unpacked = task(&recorder, "unpacking");
        assert_eq!((passed(&unpacked), unpacked.total), (size, Some(size)));
        assert!(unpacked.steps.len() > 3, "{unpacked:?}");

        let recorder = Recorder::default();
        std::fs::rename(&file, bundle.rootfs().join("g")).expect("rename");
        let options = RepackOptions {
            compression: Some(Compression::Gzip),
            ..RepackOptions::default()
        };
        repack(&store, &bundle, &tag, |_| Ok(None), &options, &recorder).expect("repack");
        let packed = passed(&task(&recorder, "packing"));
        assert!(packed > SIZE as u64 && packed < SIZE as u64 + 10_000, "{packed}");
        assert!(!task(&recorder, "comparing").steps.is_empty());
    }
}
