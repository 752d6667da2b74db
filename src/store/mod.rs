// SPDX-License-Identifier: Apache-2.0
//! Layout and index behind one door: read and write blobs, name them, find out what they are, collect garbage.
//!
//! Invariants: blobs are durable before the index knows them, and the index knows them before `index.json` names
//! them; a writer holds the shared lock from its first blob to its ref, so no garbage collection comes between; whether
//! the index is there never changes a result.

mod check;
#[cfg(test)]
mod damaged_index;
mod document;
mod doomed;
mod gc;
mod graph;
mod identify;
mod lease;
#[cfg(test)]
mod model;
#[cfg(test)]
mod power_loss;
mod referrers;
mod reflog;
mod refs;
mod settings;
mod summary;
mod txn;

use std::path::Path;
use std::time::Duration;

pub use crate::index::{IndexStatus, PanicFate};
pub use check::{CheckOptions, CheckReport, Finding, Problem, Severity};
pub use gc::{GcOptions, GcPlan, GcReport, Keep};
pub use graph::{BlobEntry, BlobInfo, ImageUsage, Usage};
pub use identify::{Evidence, Verdict};
pub use lease::Lease;
pub use referrers::referrers_tag;
pub use reflog::RefChange;
pub use refs::RefEntry;
pub use settings::{Settings, format_duration, parse_duration};
pub use summary::{Summaries, Summary};
pub use txn::Txn;

use crate::digest::Algorithm;
use crate::error::Result;
use crate::layout::{BlobReader, Layout, LayoutLock};
use crate::spec::Descriptor;

/// Manifests, indexes and configs larger than this are not read, in bytes.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long to wait for other processes.
    pub lock_timeout: Duration,
    /// Digest algorithm of new blobs.
    pub algorithm: Algorithm,
    /// Keep the index database; without, it is made in memory whenever it is needed.
    pub index: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(60),
            algorithm: Algorithm::Sha256,
            index: true,
        }
    }
}

impl StoreOptions {
    /// For a layout that is written once and given away.
    pub fn without_index() -> Self {
        Self {
            index: false,
            ..Self::default()
        }
    }
}

/// An OCI layout with its index.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    opts: StoreOptions,
}

impl Store {
    /// Makes an empty layout at `path` and opens it. See [`Layout::create`].
    pub fn create(path: &Path, opts: StoreOptions) -> Result<Self> {
        Ok(Self {
            layout: Layout::create(path)?,
            opts,
        })
    }

    /// As [`Store::create`], but an empty directory may be there.
    pub fn create_in(path: &Path, opts: StoreOptions) -> Result<Self> {
        Ok(Self {
            layout: Layout::create_in(path)?,
            opts,
        })
    }

    /// Opens the layout at `path`; nothing is created. See [`Layout::open`].
    pub fn open(path: &Path, opts: StoreOptions) -> Result<Self> {
        Ok(Self {
            layout: Layout::open(path)?,
            opts,
        })
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads and verifies a document (manifest, index, config).
    ///
    /// # Errors
    /// See [`Layout::read_blob`]; documents over [`MAX_DOCUMENT`] are refused.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.layout.read_blob(descriptor, MAX_DOCUMENT)
    }

    /// Opens a blob of any size; see [`Layout::open_blob`].
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<BlobReader> {
        self.layout.open_blob(descriptor)
    }

    /// Keeps garbage collections away while blobs are read, as far as that can be had without creating anything.
    pub fn reading(&self) -> Option<LayoutLock> {
        self.layout.lock_if_present(self.opts.lock_timeout)
    }

    /// Removes a layout that was just made and is to have nothing after all, unless somebody else uses it; its directory stays if
    /// `keep_dir`.
    pub fn discard(self, keep_dir: bool) -> Result<()> {
        self.layout.discard(keep_dir)
    }

    /// Removes our own directory from a layout that is given away.
    pub fn remove_private(self) -> Result<()> {
        self.layout.remove_private()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::layout::Journal;
    use crate::progress::Silent;
    use crate::spec::MediaType;
    use crate::spec::{Manifest, json};

    /// A store on a disk that dies after so many steps.
    fn cut(path: &Path, steps: usize) -> (Store, Journal) {
        let disk = Journal::new(steps);
        let layout = Layout::open_on(path, Box::new(disk.clone())).expect("open");
        (
            Store {
                layout,
                opts: StoreOptions::default(),
            },
            disk,
        )
    }

    fn write(store: &Store, name: &str) -> Result<()> {
        let mut txn = store.begin("test")?;
        let layer = txn.put(name.as_bytes(), MediaType::LAYER)?;
        let config = txn.put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)?;
        let manifest = txn.put(
            &json::to_bytes(&Manifest::new(config, vec![layer]))?,
            MediaType::MANIFEST,
        )?;
        txn.set_ref(&name.parse()?, manifest);
        txn.commit()
    }

    /// Every tag leads to a manifest that has all its blobs, whole.
    fn assert_whole(store: &Store) -> Vec<String> {
        for entry in store.refs().expect("refs") {
            let manifest = store
                .read(&entry.descriptor.expect("descriptor"))
                .expect("manifest");
            let manifest: Manifest = json::parse(&manifest).expect("JSON");
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                store.read(blob).expect("blob");
            }
        }
        store.names().expect("names")
    }

    #[test]
    fn a_death_between_any_two_steps_leaves_at_worst_garbage() {
        for steps in 0.. {
            let dir = tempfile::tempdir().expect("dir");
            let path = dir.path().join("img");
            let store = Store::create(&path, StoreOptions::default()).expect("create");
            write(&store, "old").expect("old");
            write(&store, "gone").expect("gone");
            store.remove_ref(&"gone".parse().expect("name")).expect("remove");
            drop(store);

            let (dying, _) = cut(&path, steps);
            let written = write(&dying, "new");
            let collected = match dying.plan_gc(&GcOptions::default(), &Silent) {
                Ok(plan) if written.is_ok() => dying.collect(plan, &Silent).map(|_| ()),
                Ok(_) => Ok(()),
                Err(err) => Err(err),
            };
            drop(dying);

            let store = Store::open(&path, StoreOptions::default()).expect("open");
            let names = assert_whole(&store);
            assert!(names.contains(&"old".to_owned()), "after {steps} steps");
            assert!(
                written.is_err() || names.contains(&"new".to_owned()),
                "what a finished command wrote is there"
            );
            write(&store, "new").expect("rerun");
            let plan = store.plan_gc(&GcOptions::default(), &Silent).expect("plan");
            store.collect(plan, &Silent).expect("collect");
            assert_eq!(assert_whole(&store), ["old", "new"]);
            let blobs = store.layout().blobs(Algorithm::Sha256).expect("blobs").count();
            assert_eq!(
                blobs, 5,
                "after {steps} steps: two layers, two manifests, one config"
            );
            if written.is_ok() && collected.is_ok() {
                assert!(steps > 10, "some steps were cut");
                return;
            }
        }
    }

    #[test]
    fn blobs_are_durable_before_the_ref_names_them() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("img");
        drop(Store::create(&path, StoreOptions::default()).expect("create"));
        let (store, done) = cut(&path, usize::MAX);
        write(&store, "t").expect("write");
        let mut done = done.done(&path);
        done.retain(|step| step != "sync directory .umoci");
        let blob = ["create temp", "sync temp", "rename to", "sync directory"];
        let begins = |(step, want): (&String, &str)| step.starts_with(want);
        let (blobs, rest) = done.split_at(3 * blob.len());
        assert!(blobs.iter().zip(blob.into_iter().cycle()).all(begins), "{done:?}");
        let index = [
            "sync directory blobs",
            "sync directory blobs/sha256",
            "create temp",
        ];
        assert_eq!(rest[..3], index, "{done:?}");
        assert!(
            rest[2..].iter().zip(blob).all(begins) && rest.len() == 6,
            "{done:?}"
        );
        assert_eq!(rest[4], "rename to index.json");
    }

    #[test]
    fn many_blobs_are_made_durable_together_and_before_the_first_has_its_name() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("img");
        drop(Store::create(&path, StoreOptions::default()).expect("create"));
        let (store, done) = cut(&path, usize::MAX);
        let mut txn = store.begin("test").expect("begin");
        for n in 0..100_u8 {
            let blob = Descriptor::new(MediaType::LAYER, Digest::sha256(&[n]), 1);
            let mut writer = txn.write_blob().expect("writer");
            std::io::Write::write_all(&mut writer, &[n]).expect("write");
            txn.stage(writer.stage_as(&blob).expect("stage")).expect("stage");
        }
        txn.commit().expect("commit");
        let done = done.done(&path);
        let kinds: Vec<&str> = done
            .iter()
            .map(|step| step.split(' ').next().expect("verb"))
            .collect();
        let runs: Vec<(&str, usize)> = kinds
            .chunk_by(|a, b| a == b)
            .map(|run| (run[0], run.len()))
            .collect();
        assert_eq!(
            runs,
            [("create", 100), ("sync", 1), ("rename", 100), ("sync", 1)],
            "{done:?}"
        );
        assert_eq!(
            store.layout().blobs(Algorithm::Sha256).expect("blobs").count(),
            100
        );
    }
}
