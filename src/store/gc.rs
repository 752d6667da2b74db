// SPDX-License-Identifier: Apache-2.0
//! Garbage collection: what nobody needs is planned under the exclusive lock, then removed, rows before files.
//!
//! A blob goes only if the index knows it with count zero, at a state of the index that has caught up with the layout
//! under the lock. What is not known is learned first; what cannot be read stops the collection.

use std::collections::{BTreeMap, HashMap};

use super::Store;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Damaged, Index, Tables};
use crate::layout::{Layout, LayoutLock, LockMode};
use crate::progress::Monitor;

/// How to collect.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GcOptions {}

/// What would be removed. The layout stays locked as long as the plan exists.
#[derive(Debug)]
pub struct GcPlan {
    /// Each with its size in bytes.
    remove: BTreeMap<Digest, u64>,
    index: Index,
    /// `None` for a layout that cannot be written to.
    lock: Option<LayoutLock>,
}

impl GcPlan {
    /// The blobs that would be removed, with their sizes in bytes.
    pub fn remove(&self) -> &BTreeMap<Digest, u64> {
        &self.remove
    }
}

/// What was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GcReport {
    /// Count of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Finds out what is garbage. Nothing is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a document that refs lead to is damaged, since what it needs is not known;
    /// [`ErrorKind::Busy`] if others use the layout for longer than the time to wait.
    pub fn plan_gc(&self, _opts: &GcOptions, monitor: &dyn Monitor) -> Result<GcPlan> {
        let lock = match self
            .layout
            .lock(LockMode::Exclusive, self.opts.lock_timeout, "gc")
        {
            Ok(lock) => Some(lock),
            // Nobody can write to it, so nobody need be kept out.
            Err(err) if matches!(err.kind(), ErrorKind::ReadOnly | ErrorKind::Denied) => None,
            Err(err) => return Err(err),
        };
        for path in self.layout.foreign_entries()? {
            monitor.warn(format_args!(
                "{} belongs to no digest algorithm that is known, left alone",
                path.display()
            ));
        }
        let open = || {
            if self.opts.index {
                Index::open(&self.layout, monitor)
            } else {
                Index::in_memory()
            }
        };
        let plan = |index: &Index| index.write(|tables| plan(tables, &self.layout, monitor));
        let mut index = open()?;
        let remove = match plan(&index) {
            // A database that contradicts itself is not mended but made anew from the layout.
            Err(err) if err.to_string().contains("index database") => {
                drop(index);
                monitor.warn(format_args!("{err}; going on with a new one in memory"));
                index = Index::in_memory()?;
                plan(&index)?
            }
            result => result?,
        };
        Ok(GcPlan { remove, index, lock })
    }

    /// Removes what was planned, and temporary files that nobody uses.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] or [`ErrorKind::Denied`] if there is something to remove that cannot be removed.
    pub fn collect(&self, plan: GcPlan, monitor: &dyn Monitor) -> Result<GcReport> {
        let report = GcReport {
            blobs: plan.remove.len() as u64,
            bytes: plan.remove.values().sum(),
        };
        if plan.lock.is_none() {
            if plan.remove.is_empty() {
                return Ok(report);
            }
            let text = format!(
                "cannot remove blobs from {}: it is not writable",
                self.layout.path().display()
            );
            return Err(Error::new(ErrorKind::ReadOnly, text));
        }
        if !plan.remove.is_empty() {
            // If we die between the rows and the files, the files are found by the next listing.
            plan.index.write(|tables| {
                tables.unlist_blobs()?;
                plan.remove.keys().try_for_each(|digest| tables.forget(digest))
            })?;
            for digest in plan.remove.keys() {
                self.layout.remove_blob(digest)?;
            }
            for algorithm in Algorithm::ALL {
                self.layout.sync_blobs(algorithm)?;
            }
        }
        self.layout.clean_temporary(monitor)?;
        Ok(report)
    }
}

/// What can go, in the state of the layout as it is now.
fn plan(tables: &mut Tables<'_>, layout: &Layout, monitor: &dyn Monitor) -> Result<BTreeMap<Digest, u64>> {
    for Damaged { digest, error } in tables.sync(layout, monitor)? {
        if tables.count(&digest)? > 0 {
            let text = format!(
                "blob {digest} is damaged, so what it needs is not known; nothing is removed: {error}"
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        monitor.warn(format_args!("blob {digest} is damaged, left alone: {error}"));
    }
    let mut doomed = Doomed::default();
    let orphans = tables.orphans()?;
    for orphan in &orphans {
        doomed.add(tables, orphan.digest)?;
    }
    doomed.spare_referrers(tables)?;
    let mut out = BTreeMap::new();
    for digest in doomed.held.keys().filter(|d| doomed.is_doomed(d)) {
        if let Some(size) = tables.size(digest)? {
            out.insert(*digest, size);
        }
    }
    Ok(out)
}

/// Blobs that go with the orphans.
#[derive(Default)]
struct Doomed {
    /// For each blob that was met: how many of those who need it stay.
    held: HashMap<Digest, u64>,
}

impl Doomed {
    fn is_doomed(&self, digest: &Digest) -> bool {
        self.held.get(digest) == Some(&0)
    }

    /// An orphan goes, and with it what nobody else needs.
    fn add(&mut self, tables: &Tables<'_>, orphan: Digest) -> Result<()> {
        if self.held.insert(orphan, 0) == Some(0) {
            return Ok(());
        }
        let mut stack = vec![orphan];
        while let Some(digest) = stack.pop() {
            for child in tables.strong_children(&digest)? {
                let count = match self.held.get(&child) {
                    Some(count) => *count,
                    None => tables.count(&child)?,
                };
                // Counts are exact, so one that is zero already would be a damage that the caller must not build on.
                let left = count.checked_sub(1).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Corrupt,
                        format!("index database: the count of {child} is too low"),
                    )
                })?;
                self.held.insert(child, left);
                if left == 0 {
                    stack.push(child);
                }
            }
        }
        Ok(())
    }

    /// A document about a blob that stays, stays too, with all it needs.
    fn spare_referrers(&mut self, tables: &Tables<'_>) -> Result<()> {
        let mut referrers = Vec::new();
        for digest in self.held.keys().filter(|d| self.is_doomed(d)) {
            let subjects = tables.subjects(digest)?;
            if !subjects.is_empty() {
                referrers.push((*digest, subjects));
            }
        }
        loop {
            let mut spared = false;
            for (referrer, subjects) in &referrers {
                let stays = |subject: &Digest| Ok(!self.is_doomed(subject) && tables.is_present(subject)?);
                if self.is_doomed(referrer)
                    && subjects
                        .iter()
                        .map(stays)
                        .collect::<Result<Vec<_>>>()?
                        .contains(&true)
                {
                    self.spare(tables, *referrer)?;
                    spared = true;
                }
            }
            if !spared {
                return Ok(());
            }
        }
    }

    fn spare(&mut self, tables: &Tables<'_>, digest: Digest) -> Result<()> {
        let mut stack = vec![digest];
        while let Some(digest) = stack.pop() {
            if !self.is_doomed(&digest) {
                if let Some(held) = self.held.get_mut(&digest) {
                    *held += 1;
                }
                continue;
            }
            self.held.insert(digest, 1);
            stack.extend(tables.strong_children(&digest)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ResultExt;
    use crate::progress::{Recorder, Silent};
    use crate::spec::{Descriptor, MediaType, RefName};
    use crate::store::StoreOptions;

    struct Fixture {
        _dir: tempfile::TempDir,
        store: Store,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        Fixture { _dir: dir, store }
    }

    impl Fixture {
        /// Writes a blob as another program would: no lock, no index.
        fn blob(&self, text: &str) -> Digest {
            let digest = Digest::sha256(text.as_bytes());
            std::fs::write(self.store.layout().blob_path(&digest), text).expect("write");
            digest
        }

        fn manifest(&self, n: u32, more: &str) -> (Digest, [Digest; 2]) {
            let config = self.blob(&format!("{{\"os\":\"linux\",\"rootfs\":{{\"n\":{n}}}}}"));
            let layer = self.blob(&format!("layer {n}"));
            let text = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{config}","size":1}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":1}}]{more}}}"#,
                MediaType::CONFIG,
                MediaType::LAYER
            );
            (self.blob(&text), [config, layer])
        }

        fn tag(&self, name: &str, media_type: &str, digest: Digest) {
            let size = self
                .store
                .layout()
                .blob_size(&digest)
                .expect("stat")
                .expect("blob");
            let name: RefName = name.parse().expect("name");
            self.store
                .set_ref(&name, Descriptor::new(media_type, digest, size))
                .expect("tag");
        }

        fn gc(&self) -> Result<u64> {
            let plan = self.store.plan_gc(&GcOptions::default(), &Silent)?;
            Ok(self.store.collect(plan, &Silent)?.blobs)
        }

        fn there(&self, digests: &[Digest]) -> bool {
            digests
                .iter()
                .all(|d| self.store.layout().blob_size(d).expect("stat").is_some())
        }

        fn count(&self) -> usize {
            self.store
                .layout()
                .blobs(Algorithm::Sha256)
                .expect("list")
                .count()
        }
    }

    #[test]
    fn only_what_refs_lead_to_stays_with_and_without_the_database() {
        for delete in [false, true] {
            let f = fixture();
            let step = || {
                if delete {
                    std::fs::remove_dir_all(f.store.layout().private_dir()).expect("rm");
                }
            };
            let (keep, kept) = f.manifest(1, "");
            let (drop, dropped) = f.manifest(2, "");
            f.tag("keep", MediaType::MANIFEST, keep);
            f.tag("drop", MediaType::MANIFEST, drop);
            step();
            assert_eq!(f.gc().expect("gc"), 0);
            step();
            f.store
                .remove_ref(&"drop".parse().expect("name"))
                .expect("remove");
            f.blob("a stray blob of another program");
            step();
            assert_eq!(f.gc().expect("gc"), 4);
            step();
            assert!(f.there(&[keep]) && f.there(&kept) && !f.there(&[drop]) && !f.there(&dropped[..1]));
            assert_eq!(f.gc().expect("second"), 0);
            f.store
                .remove_ref(&"keep".parse().expect("name"))
                .expect("remove");
            assert_eq!(f.gc().expect("last"), 3);
            assert_eq!(f.count(), 0);
        }
    }

    #[test]
    fn docker_images_unknown_documents_and_nested_indexes_keep_what_they_need() {
        let f = fixture();
        let (docker, a) = f.manifest(1, "");
        let (inner, b) = f.manifest(2, "");
        let index = f.blob(&format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{inner}","size":1}}]}}"#
        ));
        let outer = f.blob(&format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{index}","size":1}}]}}"#
        ));
        let needed = f.blob("needed");
        let unknown = f.blob(&format!(r#"{{"what":{{"where":["{needed}"]}}}}"#));
        f.tag("docker", MediaType::DOCKER_MANIFEST, docker);
        f.tag("nested", MediaType::INDEX, outer);
        f.tag("unknown", "application/x", unknown);
        assert_eq!(f.gc().expect("gc"), 0);
        assert!(f.there(&a) && f.there(&b) && f.there(&[needed, index]));
    }

    #[test]
    fn referrers_follow_their_subject_and_cycles_end() {
        let f = fixture();
        let (image, _) = f.manifest(1, "");
        let subject = format!(r#","subject":{{"digest":"{image}","size":1}}"#);
        let (about, parts) = f.manifest(2, &subject);
        let (again, _) = f.manifest(3, &format!(r#","subject":{{"digest":"{about}","size":1}}"#));
        let cycle = f.blob(&format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{image}","size":1}}]{subject}}}"#
        ));
        f.tag("image", MediaType::MANIFEST, image);
        assert_eq!(f.gc().expect("gc"), 0);
        assert!(f.there(&[about, again, cycle]) && f.there(&parts));
        f.store
            .remove_ref(&"image".parse().expect("name"))
            .expect("remove");
        f.gc().expect("gc");
        assert_eq!(f.count(), 0, "nothing refers to any of them");
    }

    #[test]
    fn a_change_of_index_json_behind_our_back_is_seen() {
        let f = fixture();
        let (one, _) = f.manifest(1, "");
        let (two, parts) = f.manifest(2, "");
        f.tag("t", MediaType::MANIFEST, one);
        f.gc().expect("gc");
        let (two_again, _) = f.manifest(2, "");
        assert_eq!(two, two_again);
        let index =
            format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x/y","digest":"{two}","size":1}}]}}"#);
        std::fs::write(f.store.layout().path().join("index.json"), index).expect("write in place");
        f.gc().expect("gc");
        assert!(f.there(&[two]) && f.there(&parts) && !f.there(&[one]));
    }

    #[test]
    fn damage_stops_it_and_what_is_missing_does_not() {
        let f = fixture();
        let (image, _) = f.manifest(1, "");
        f.tag("t", MediaType::MANIFEST, image);
        let garbage = f.blob("garbage");
        let path = f.store.layout().blob_path(&image);
        let good = std::fs::read(&path).expect("read");
        std::fs::write(&path, "{}").expect("damage");
        let err = f.gc().context(|| "gc").expect_err("damaged");
        assert!(
            err.kind() == ErrorKind::Corrupt && err.to_string().contains(&image.to_string()),
            "{err}"
        );
        assert!(f.there(&[garbage]));
        std::fs::remove_file(&path).expect("remove");
        f.gc().expect("a sparse layout is valid");
        assert!(!f.there(&[garbage]));
        std::fs::write(&path, good).expect("restore");
        f.gc().expect("gc");
    }

    #[test]
    fn strays_are_reported_and_left() {
        let f = fixture();
        let blobs = f.store.layout().path().join("blobs");
        std::fs::write(blobs.join("sha256/file.tmp"), "x").expect("write");
        std::fs::create_dir(blobs.join("md5")).expect("mkdir");
        let monitor = Recorder::default();
        let plan = f.store.plan_gc(&GcOptions::default(), &monitor).expect("plan");
        f.store.collect(plan, &monitor).expect("collect");
        let warnings = monitor.warnings().join("\n");
        assert!(
            warnings.contains("file.tmp") && warnings.contains("md5"),
            "{warnings}"
        );
        assert!(blobs.join("sha256/file.tmp").exists() && blobs.join("md5").exists());
    }

    #[test]
    fn a_damaged_database_is_made_anew() {
        let f = fixture();
        let (image, parts) = f.manifest(1, "");
        f.tag("t", MediaType::MANIFEST, image);
        f.gc().expect("gc");
        let path = f.store.layout().private_dir().join("index.redb");
        for bytes in [
            &b""[..],
            b"not a database at all, but long enough to be looked at",
            &[0; 10_000],
        ] {
            std::fs::write(&path, bytes).expect("damage");
            f.blob("garbage");
            assert_eq!(f.gc().expect("gc"), 1);
            assert!(f.there(&[image]) && f.there(&parts));
        }
    }

    #[test]
    fn counts_equal_a_recount_after_any_sequence() {
        let f = fixture();
        let mut state = 7_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..60 {
            let n = random(6);
            let name = format!("t{}", random(4));
            match random(4) {
                0 => {
                    let (image, _) = f.manifest(n, "");
                    f.tag(&name, MediaType::MANIFEST, image);
                }
                1 => {
                    let (image, _) = f.manifest(n, "");
                    let index =
                        format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{image}"}}],"n":{n}}}"#);
                    f.tag(&name, MediaType::INDEX, f.blob(&index));
                }
                2 => drop(f.store.remove_ref(&name.parse().expect("name")).expect("remove")),
                _ => drop(f.gc().expect("gc")),
            }
            let dump = |index: &Index| {
                let all = index.write(|t| {
                    t.sync(f.store.layout(), &Silent)?;
                    t.dump()
                });
                all.expect("dump")
            };
            let kept = dump(&f.store.index().expect("index"));
            let fresh = dump(&Index::in_memory().expect("index"));
            assert_eq!(kept, fresh);
        }
    }

    #[test]
    fn writers_beside_a_collector_lose_nothing() {
        let f = fixture();
        let path = f.store.layout().path().to_owned();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = path.clone();
                scope.spawn(move || {
                    let store = Store::open(&path, StoreOptions::default()).expect("open");
                    for n in 0..8 {
                        let mut txn = store.begin("test").expect("begin");
                        let layer = txn
                            .put(format!("{thread} {n}").as_bytes(), MediaType::LAYER)
                            .expect("put");
                        let config = txn
                            .put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)
                            .expect("put");
                        let manifest = crate::spec::Manifest::new(config, vec![layer]);
                        let bytes = crate::spec::json::to_bytes(&manifest).expect("json");
                        let manifest = txn.put(&bytes, MediaType::MANIFEST).expect("put");
                        txn.set_ref(&format!("t{thread}-{n}").parse().expect("name"), manifest);
                        txn.commit().expect("commit");
                    }
                });
            }
            for _ in 0..10 {
                f.gc().expect("gc");
            }
        });
        let refs = f.store.refs().expect("refs");
        assert_eq!(refs.len(), 32);
        for entry in refs {
            let manifest = f
                .store
                .read(&entry.descriptor.expect("descriptor"))
                .expect("manifest");
            let manifest: crate::spec::Manifest = crate::spec::json::parse(&manifest).expect("json");
            assert!(f.there(&[manifest.config.digest, manifest.layers[0].digest]));
        }
    }
}
