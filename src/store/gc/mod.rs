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
mod tests;
