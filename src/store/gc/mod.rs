// SPDX-License-Identifier: Apache-2.0
//! Garbage collection: what nobody needs is planned under the exclusive lock, then removed, rows before files.
//!
//! A blob goes only if the index knows it with count zero, at a state of the index that has caught up with the layout
//! under the lock, and neither its age, a lease nor the reflog protects it. What is not known is learned first; what
//! cannot be read stops the collection.

mod reach;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::graph::{subject_of, walk};
use super::{Lease, Store};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Access, Damaged, Mention, Rows, Tables};
use crate::layout::{LayoutLock, LockMode};
use crate::progress::{Monitor, Silent};
use crate::spec::RefName;
pub(super) use reach::{Doomed, parents_first};
use retention::DropRefs;
pub use retention::Keep;

/// So many rows are read at once.
const BATCH: usize = 8192;

/// How to collect.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcOptions {
    /// Spare blobs younger than this; `None` for what the layout is set to. See `super::Settings::gc_grace`.
    pub grace: Option<Duration>,
    /// Also drop entries of `index.json` without a tag, but for those of what is about a blob that stays.
    pub untagged: bool,
    /// Drop every tag of which one of these speaks and that none keeps; all tags stay if there are none.
    pub keep: Vec<Keep>,
    /// Drop tags that none of `keep` keeps, those used least recently first, until all blobs of the layout together have at most so
    /// many bytes; without it all of them go.
    pub max_size: Option<u64>,
    /// Do not believe the counts of the index: count everything anew from the layout, and report differences.
    pub full: bool,
}

/// What would be removed. The layout stays locked as long as the plan exists.
#[derive(Debug)]
pub struct GcPlan {
    /// Each with its size in bytes.
    remove: BTreeMap<Digest, u64>,
    refs: DropRefs,
    excess: Option<u64>,
    differences: Vec<String>,
    opts: GcOptions,
    /// `None` for a layout that cannot be written to.
    lock: Option<LayoutLock>,
}

impl GcPlan {
    /// The blobs that would be removed, with their sizes in bytes.
    pub fn remove(&self) -> &BTreeMap<Digest, u64> {
        &self.remove
    }

    /// The tags that would be removed, in order.
    pub fn tags(&self) -> &[RefName] {
        &self.refs.tags
    }

    /// The digests of entries of `index.json` without a tag that would be removed.
    pub fn untagged(&self) -> &[Digest] {
        &self.refs.untagged
    }

    /// The bytes of the blobs that stay, if they are more than [`GcOptions::max_size`]: tags that are kept, leases, a grace or the reflog
    /// hold them.
    pub fn excess(&self) -> Option<u64> {
        self.excess
    }

    /// Where the index had counted wrong; only with [`GcOptions::full`].
    pub fn differences(&self) -> &[String] {
        &self.differences
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
    /// [`ErrorKind::Corrupt`] if a document that refs lead to is damaged, since what it needs is not known, and if `index.json` has
    /// no entries while images of the reflog are here;
    /// [`ErrorKind::Busy`] if others use the layout for longer than the time to wait.
    pub fn plan_gc(&self, opts: &GcOptions, monitor: &dyn Monitor) -> Result<GcPlan> {
        let lock = match self
            .layout
            .lock(LockMode::Exclusive, self.opts.lock_timeout, "gc")
        {
            Ok(lock) => Some(lock),
            // Nobody can write to it, so nobody need be kept out.
            Err(err) if matches!(err.kind(), ErrorKind::ReadOnly | ErrorKind::Denied) => None,
            Err(err) => return Err(err),
        };
        self.check_entries()?;
        for path in self.layout.foreign_entries()? {
            monitor.warn(format_args!(
                "{} belongs to no digest algorithm that is known, left alone",
                path.display()
            ));
        }
        let mut differences = Vec::new();
        let mut index = self.index(monitor);
        if opts.full {
            index.sync()?;
            let fresh = index.rebuilt()?;
            differences = index.differences(&fresh)?;
            if differences.is_empty() {
                index.discard(fresh)?;
            } else {
                index.replace_with(fresh)?;
            }
        }
        let retention = self.retention(opts)?;
        let damaged = index.sync()?;
        index.read(|view| self.refuse_damage(view, &damaged, monitor))?;
        let (mut refs, mut excess) = (retention.drop.clone(), None);
        if let Some(limit) = opts.max_size {
            let total = index.read(total_size)?;
            let collect = |refs: &mut DropRefs| {
                let gone = index.suppose(|tables| self.without(tables, opts, refs))?;
                let left = total.saturating_sub(gone.values().sum());
                Ok((gone, left))
            };
            let (fitting, left) = retention.fit(limit, collect)?;
            refs = fitting;
            excess = Some(left).filter(|left| *left > limit);
        }
        let remove = index.suppose(|tables| {
            let gone = self.without(tables, opts, &mut refs)?;
            if !gone.is_empty() {
                // What such an image needed is not known any more.
                for (name, digest) in tables.missing_roots()? {
                    monitor.warn(format_args!(
                        "{name} leads to {digest}, which is missing: nothing is kept for it"
                    ));
                }
            }
            Ok(gone)
        })?;
        drop(index);
        Ok(GcPlan {
            remove,
            refs,
            excess,
            differences,
            opts: opts.clone(),
            lock,
        })
    }

    /// Removes what was planned, and temporary files that nobody uses.
    ///
    /// What another program began to use since the plan was made stays.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] or [`ErrorKind::Denied`] if there is something to remove that cannot be removed.
    pub fn collect(&self, plan: GcPlan, monitor: &dyn Monitor) -> Result<GcReport> {
        if plan.lock.is_none() {
            if plan.remove.is_empty() && plan.refs.is_empty() {
                return Ok(GcReport::default());
            }
            let text = format!(
                "cannot remove blobs from {}: it is not writable",
                self.layout.path().display()
            );
            return Err(Error::new(ErrorKind::ReadOnly, text));
        }
        if !plan.refs.is_empty() {
            let tags: Vec<&str> = plan.refs.tags.iter().map(RefName::as_str).collect();
            let drops = plan.refs.drops();
            self.drop_refs("gc", &tags, |index| Ok(index.drop_entries(&drops)))?;
        }
        let mut report = GcReport::default();
        if !plan.remove.is_empty() {
            // What stays is what stands in `index.json` now, and must be known if that is lost.
            self.record_others()?;
            // If we die between the rows and the files, the files are found by the next listing.
            let forget = |tables: &mut Tables<'_>| {
                let damaged = tables.sync(&self.layout, &Silent)?;
                self.refuse_damage(tables, &damaged, &Silent)?;
                let mut gone = self.garbage(tables, &plan.opts)?;
                gone.retain(|digest, _| plan.remove.contains_key(digest));
                let gone = parents_first(tables, gone)?;
                tables.unlist_blobs()?;
                gone.iter().try_for_each(|(digest, _)| tables.forget(digest))?;
                Ok(gone)
            };
            // A full disk is no reason not to free some of it; the next command sees that the files are gone.
            let gone = self.index(monitor).write(forget)?;
            for (digest, size) in &gone {
                self.layout.remove_blob(digest)?;
                monitor.info(format_args!("removed blob {digest}, {size} bytes"));
                report.blobs += 1;
                report.bytes += size;
            }
            for algorithm in Algorithm::ALL {
                if gone.iter().any(|(digest, _)| digest.algorithm() == algorithm) {
                    self.layout.sync_blobs(algorithm)?;
                }
            }
        }
        for lease in self.leases()?.iter().filter(|lease| !lease.is_valid()) {
            self.remove_lease(&lease.name)?;
        }
        let settings = self.settings()?;
        self.expire_reflog(settings.reflog_expire, settings.reflog_keep)?;
        self.forget_uses();
        self.layout.clean_temporary(monitor)?;
        Ok(report)
    }

    /// What can go if `refs` are dropped; adds to those what goes with it.
    fn without(
        &self,
        tables: &mut Tables<'_>,
        opts: &GcOptions,
        refs: &mut DropRefs,
    ) -> Result<BTreeMap<Digest, u64>> {
        if !refs.is_empty() {
            tables.drop_entries(refs.drops())?;
        }
        self.with_referrers(tables, opts, refs)
    }

    /// What can go, and with it what is about that and stands in `index.json` without a name: such an entry keeps it from
    /// other programs, and is no ref of its own. For the same reason an entry about what stays is not dropped, though entries
    /// without a name are given up.
    fn with_referrers(
        &self,
        tables: &mut Tables<'_>,
        opts: &GcOptions,
        refs: &mut DropRefs,
    ) -> Result<BTreeMap<Digest, u64>> {
        let asked: BTreeSet<Digest> = refs.untagged.iter().copied().collect();
        let mut dropped = asked.clone();
        loop {
            let gone = self.garbage_beside(tables, opts, &refs.logged)?;
            let about = DropRefs {
                untagged: untagged_about(tables, &gone, &dropped)?,
                ..DropRefs::default()
            };
            if about.is_empty() {
                let is_about_kept = |digest: &Digest| -> Result<bool> {
                    for subject in tables.subjects(digest)? {
                        if tables.is_present(&subject)? && !gone.contains_key(&subject) {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                };
                let found = std::mem::take(&mut refs.untagged);
                for digest in found {
                    // What something else keeps keeps its entry too, unless it was asked to go.
                    if gone.contains_key(&digest) || asked.contains(&digest) && !is_about_kept(&digest)? {
                        refs.untagged.push(digest);
                    }
                }
                return Ok(gone);
            }
            tables.drop_entries(about.drops())?;
            dropped.extend(&about.untagged);
            refs.untagged.extend(about.untagged);
        }
    }

    /// A damaged document that something needs stops a collection.
    pub(super) fn refuse_damage(
        &self,
        tables: &Rows<impl Access>,
        damaged: &[Damaged],
        monitor: &dyn Monitor,
    ) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        let held = self.held()?;
        for Damaged { digest, error } in damaged {
            if tables.count(digest)? > 0 || held.contains(digest) {
                let text = format!(
                    "blob {digest} is damaged, so what it needs is not known; nothing is removed: {error}"
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            monitor.warn(format_args!("blob {digest} is damaged, left alone: {error}"));
        }
        Ok(())
    }

    /// What can go, in the state of the layout that the index knows.
    pub(super) fn garbage(
        &self,
        tables: &Rows<impl Access>,
        opts: &GcOptions,
    ) -> Result<BTreeMap<Digest, u64>> {
        self.garbage_beside(tables, opts, &[])
    }

    /// As [`Store::garbage`], beside what is held besides.
    fn garbage_beside(
        &self,
        tables: &Rows<impl Access>,
        opts: &GcOptions,
        more: &[Digest],
    ) -> Result<BTreeMap<Digest, u64>> {
        let settings = self.settings()?;
        let mut doomed = Doomed::default();
        for orphan in tables.orphans()? {
            doomed.add(tables, orphan.digest)?;
        }
        doomed.check(tables)?;
        let grace = opts.grace.unwrap_or(settings.gc_grace);
        if !grace.is_zero() {
            for digest in doomed.met() {
                if doomed.is_doomed(&digest) && self.is_younger(&digest, grace)? {
                    doomed.spare(tables, digest)?;
                }
            }
        }
        for digest in self.held()?.into_iter().chain(more.iter().copied()) {
            if doomed.is_doomed(&digest) {
                doomed.spare(tables, digest)?;
            }
        }
        doomed.spare_referrers(tables)?;
        doomed.present(tables)
    }

    /// What leases and the reflog hold.
    fn held(&self) -> Result<HashSet<Digest>> {
        let leased = self.leases()?.into_iter().filter(Lease::is_valid);
        let mut out: HashSet<Digest> = leased.flat_map(|lease| lease.digests).collect();
        out.extend(self.reflog_roots(self.settings()?.reflog_keep)?);
        Ok(out)
    }
}

/// The bytes of all blobs.
pub(super) fn total_size(tables: &Rows<impl Access>) -> Result<u64> {
    let (mut total, mut after) = (0, None);
    loop {
        let batch = tables.blobs_after(after.as_ref(), BATCH)?;
        let Some(last) = batch.last() else {
            return Ok(total);
        };
        after = Some(last.digest);
        total += batch.iter().map(|blob| blob.size).sum::<u64>();
    }
}

/// Of what is about the blobs that go, about that again, and about what any of it needs: what stands in `index.json` without a
/// name. It may be more than goes with them: what is about something that stays is spared again.
fn untagged_about(
    tables: &Rows<impl Access>,
    gone: &BTreeMap<Digest, u64>,
    dropped: &BTreeSet<Digest>,
) -> Result<Vec<Digest>> {
    let mut about = BTreeSet::new();
    walk(gone.keys().copied(), |digest| {
        if !tables.is_document(&digest)? {
            return Ok(Vec::new());
        }
        let mut next = subject_of(tables, &digest)?;
        about.extend(next.iter().copied());
        next.extend(tables.present_children(&digest)?);
        Ok(next)
    })?;
    let mut out = Vec::new();
    for referrer in about.difference(dropped) {
        let is_listed = |m: &Mention| matches!(m, Mention::Ref { name: None, .. });
        if tables.mentions(referrer)?.iter().any(is_listed) {
            out.push(*referrer);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ResultExt;
    use crate::progress::Silent;
    use crate::progress::tests::Recorder;
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
            f.store.remove_ref("drop").expect("remove");
            f.blob("a stray blob of another program");
            step();
            assert_eq!(f.gc().expect("gc"), 4);
            step();
            assert!(f.there(&[keep]) && f.there(&kept) && !f.there(&[drop]) && !f.there(&dropped[..1]));
            assert_eq!(f.gc().expect("second"), 0);
            f.store.remove_ref("keep").expect("remove");
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
        f.store.remove_ref("image").expect("remove");
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
        let (image, parts) = f.manifest(1, "");
        f.tag("t", MediaType::MANIFEST, image);
        let garbage = f.blob("garbage");
        let path = f.store.layout().blob_path(&image);
        let good = std::fs::read(&path).expect("read");
        // Also what a loss of power leaves, whether or not the database knew of it, and below an index.
        let entry = format!(
            r#"{{"mediaType":"{}","digest":"{image}","size":1}}"#,
            MediaType::MANIFEST
        );
        let index = f.blob(&format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#));
        for (media_type, root) in [(MediaType::MANIFEST, image), (MediaType::INDEX, index)] {
            f.tag("t", media_type, root);
            for damage in [
                "{}".into(),
                Vec::new(),
                vec![0; good.len()],
                good[..20].to_vec(),
                vec![b'x'; 99],
            ] {
                std::fs::write(&path, &damage).expect("damage");
                let _ = std::fs::remove_dir_all(f.store.layout().private_dir());
                // And once more with what the database learned then.
                for _ in 0..2 {
                    let err = f.gc().context(|| "gc").expect_err("damaged");
                    assert!(
                        err.kind() == ErrorKind::Corrupt && err.to_string().contains(&image.to_string()),
                        "{err}"
                    );
                    assert!(f.there(&[garbage]) && f.there(&parts));
                }
            }
        }
        f.tag("t", MediaType::MANIFEST, image);
        std::fs::remove_file(&path).expect("remove");
        let monitor = Recorder::default();
        let plan = f
            .store
            .plan_gc(&GcOptions::default(), &monitor)
            .expect("a sparse layout is valid");
        f.store.collect(plan, &monitor).expect("collect");
        let warnings = monitor.warnings().join("\n");
        assert!(
            warnings.contains(&format!("t leads to {image}, which is missing")),
            "{warnings}"
        );
        assert!(!f.there(&[garbage]));
        std::fs::write(&path, good).expect("restore");
        f.gc().expect("gc");
    }

    #[test]
    fn a_damaged_row_costs_no_blob() {
        type Damage = fn(&mut Tables<'_>, &Digest) -> crate::error::Result<()>;
        let damages: [(&str, Damage); 2] = [
            ("a row that is gone", |tables, digest| tables.lose_row(digest)),
            ("a count that is too low", |tables, digest| {
                tables.miscount(digest, -1)
            }),
        ];
        for (what, damage) in damages {
            for of_parent in [true, false] {
                let f = fixture();
                let (image, parts) = f.manifest(1, "");
                f.tag("t", MediaType::MANIFEST, image);
                f.gc().expect("gc");
                let victim = if of_parent { image } else { parts[0] };
                let mut index = f.store.index(&Silent);
                index.write(|tables| damage(tables, &victim)).expect("damage");
                drop(index);
                let garbage = f.blob("garbage");
                let monitor = Recorder::default();
                let plan = f.store.plan_gc(&GcOptions::default(), &monitor).expect("plan");
                f.store.collect(plan, &monitor).expect("collect");
                assert!(
                    f.there(&[image]) && f.there(&parts) && !f.there(&[garbage]),
                    "{what}"
                );
                let warnings = monitor.warnings().join("\n");
                assert!(warnings.contains(&victim.to_string()), "{what}: {warnings}");
            }
        }
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
    fn leases_the_reflog_and_a_grace_protect_what_no_ref_leads_to() {
        type Protect = fn(&Fixture, Digest);
        type End = fn(&Fixture);
        let cases: [(Protect, End); 3] = [
            (
                |f, image| drop(f.store.create_lease("l", &[image], None).expect("lease")),
                |f| assert!(f.store.remove_lease("l").expect("remove")),
            ),
            (
                |f, _| {
                    let mut settings = f.store.settings().expect("settings");
                    settings.reflog_keep = Duration::from_secs(3600);
                    f.store.set_settings(settings).expect("set");
                },
                |f| {
                    let path = f.store.layout().private_dir().join("reflog");
                    std::fs::remove_file(path).expect("remove");
                },
            ),
            (
                |f, _| {
                    let mut settings = f.store.settings().expect("settings");
                    settings.gc_grace = Duration::from_secs(3600);
                    f.store.set_settings(settings).expect("set");
                },
                |f| {
                    f.store
                        .set_settings(crate::store::settings::Settings::default())
                        .expect("set")
                },
            ),
        ];
        for (protect, end) in cases {
            let f = fixture();
            let (image, parts) = f.manifest(1, "");
            let about = format!(r#","subject":{{"digest":"{image}","size":1}}"#);
            let (referrer, more) = f.manifest(2, &about);
            f.tag("t", MediaType::MANIFEST, image);
            protect(&f, image);
            f.store.remove_ref("t").expect("remove");
            assert_eq!(f.gc().expect("gc"), 0);
            assert!(f.there(&[image, referrer]) && f.there(&parts) && f.there(&more));
            end(&f);
            assert_eq!(f.gc().expect("gc"), 6);
            assert_eq!(f.count(), 0);
        }
    }

    #[test]
    fn a_lease_that_has_ended_protects_nothing_and_goes() {
        let f = fixture();
        let (image, _) = f.manifest(1, "");
        f.store
            .create_lease("l", &[image], Some(Duration::ZERO))
            .expect("lease");
        assert_eq!(f.gc().expect("gc"), 3);
        assert!(f.store.leases().expect("leases").is_empty());
        let err = f.store.create_lease("l", &[image], None).expect_err("gone");
        assert_eq!(err.kind(), ErrorKind::NotFound);
        for bad in ["", "a/b", "..", "a b"] {
            assert!(f.store.create_lease(bad, &[], None).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_that_nothing_keeps_and_entries_without_one_are_given_up() {
        let f = fixture();
        let images: Vec<Digest> = (0..4).map(|n| f.manifest(n, "").0).collect();
        for (name, image) in [
            ("release-1", images[0]),
            ("nightly", images[1]),
            ("old", images[2]),
        ] {
            f.tag(name, MediaType::MANIFEST, image);
        }
        f.store
            .layout()
            .update_index(Duration::ZERO, |index| {
                let text = String::from_utf8(index.to_bytes()).expect("utf-8");
                let entry = format!(
                    r#"[{{"mediaType":"{}","digest":"{}","size":1}},"#,
                    MediaType::MANIFEST,
                    images[3]
                );
                let text = text.replacen('[', &entry, 1);
                std::fs::write(f.store.layout().path().join("index.json"), text).expect("write");
                Ok(())
            })
            .expect("untagged");
        let run = |opts: GcOptions, dry: bool| {
            let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
            let tags: Vec<String> = plan.tags().iter().map(ToString::to_string).collect();
            let out = (tags.join(" "), plan.untagged().len(), plan.remove().len());
            if !dry {
                f.store.collect(plan, &Silent).expect("collect");
            }
            out
        };
        let pattern = |text: &str| Keep::Pattern(glob::Pattern::new(text).expect("pattern"));
        let hour = Keep::Newer(Duration::from_secs(3600));
        let keep = |keep: &[Keep]| GcOptions {
            keep: keep.to_vec(),
            ..GcOptions::default()
        };
        let untagged = GcOptions {
            untagged: true,
            ..GcOptions::default()
        };
        assert_eq!(run(GcOptions::default(), true), (String::new(), 0, 0));
        assert_eq!(
            run(keep(&[pattern("release-*"), hour]), true),
            (String::new(), 0, 0)
        );
        assert_eq!(
            run(keep(&[pattern("release-*")]), true),
            ("nightly old".to_owned(), 0, 6)
        );
        assert_eq!(run(untagged.clone(), true), (String::new(), 1, 3));
        assert_eq!(f.store.refs().expect("refs").len(), 4, "plans change nothing");
        assert_eq!(
            run(keep(&[pattern("release-*"), pattern("n?ghtly")]), false).0,
            "old"
        );
        assert_eq!(run(untagged, false).1, 1);
        assert_eq!(f.store.names().expect("names"), ["release-1", "nightly"]);
        assert_eq!((f.store.refs().expect("refs").len(), f.count()), (2, 6));
        let log = f.store.reflog("old").expect("log");
        assert_eq!(log[0].command, "gc");
    }

    #[test]
    fn a_full_collection_believes_no_count() {
        let f = fixture();
        let (image, parts) = f.manifest(1, "");
        let (garbage, _) = f.manifest(2, "");
        f.tag("t", MediaType::MANIFEST, image);
        f.gc().expect("gc");
        let (again, _) = f.manifest(2, "");
        assert_eq!(garbage, again);
        let mut index = f.store.index(&Silent);
        // Counts that are wrong in both directions: one that would keep garbage, one that would remove what is needed.
        index
            .write(|tables| {
                tables.sync(f.store.layout(), &Silent)?;
                tables.miscount(&garbage, 1)?;
                tables.miscount(&parts[0], -1)
            })
            .expect("miscount");
        drop(index);
        let opts = GcOptions {
            full: true,
            ..GcOptions::default()
        };
        let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
        let told = plan.differences().join("\n");
        assert!(
            told.contains(&garbage.to_string()) && told.contains(&parts[0].to_string()),
            "{told}"
        );
        assert_eq!(f.store.collect(plan, &Silent).expect("collect").blobs, 3);
        assert!(f.there(&parts) && f.there(&[image]) && !f.there(&[garbage]));
        let plan = f.store.plan_gc(&opts, &Silent).expect("plan");
        assert!(plan.differences().is_empty(), "the counts were mended");
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
