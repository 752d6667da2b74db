// SPDX-License-Identifier: Apache-2.0
//! Garbage collection: unreachable blobs are planned under the exclusive lock, then removed, rows before files.
//!
//! A blob goes only if the index knows it with count zero once the orphans and the dropped refs are gone, at a state of the index
//! that has caught up with the layout under the lock, and if neither its age, a lease, the reflog nor a subject that stays
//! protects it. Unknown refs and blobs are learned first; a reachable document that cannot be read stops the collection.

mod reach;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use super::Store;
use super::graph::{subject_of, walk};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::index::{Access, Damaged, InEdge, Replace, Rows, damage};
use crate::layout::{LayoutLock, Stamp};
use crate::progress::{Monitor, Silent};
use crate::spec::RefName;
use reach::{Unreachable, parents_first};
pub(super) use retention::DropRefs;
pub use retention::Keep;

/// Options of a collection.
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

/// Blobs and refs that would be removed. The layout stays locked as long as the plan exists.
#[derive(Debug)]
pub struct GcPlan {
    /// Each with its size in bytes.
    remove: BTreeMap<Digest, u64>,
    refs: DropRefs,
    excess: Option<u64>,
    differences: Vec<String>,
    opts: GcOptions,
    /// Of the layout as it was, if that proves that it has not changed.
    stamps: Option<Vec<Stamp>>,
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

    /// The bytes of the blobs that stay, if they are more than [`GcOptions::max_size`]: tags that are kept, entries that are
    /// no tags, leases, a grace or the reflog hold them.
    pub fn excess(&self) -> Option<u64> {
        self.excess
    }

    /// Returns the wrong counts of the index; only with [`GcOptions::full`].
    pub fn differences(&self) -> &[String] {
        &self.differences
    }
}

/// Number and size of the removed blobs.
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
        let lock = match self.lock_exclusive("gc") {
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
            differences = index.recount(Replace::IfDifferent)?;
        }
        let retention = self.retention(opts, monitor)?;
        let damaged = index.sync()?;
        let grace = self.grace(opts)?;
        let mut plan = GcPlan {
            remove: BTreeMap::new(),
            refs: DropRefs::default(),
            excess: None,
            differences,
            opts: opts.clone(),
            // A file that is written in place leaves no trace but its age.
            stamps: index.stamps()?.filter(|_| grace.is_zero()),
            lock,
        };
        let index_json = self.layout.read_index()?;
        index.read(|view| {
            self.refuse_damage(view, &damaged, monitor)?;
            plan.refs = retention.drop.clone();
            if let Some(limit) = opts.max_size {
                let total = view.total_size()?;
                let (fitting, left) = retention.fit(limit, |refs| {
                    let gone = self.garbage_with(view, opts, refs)?;
                    let left = total.saturating_sub(gone.values().sum());
                    Ok((gone, left))
                })?;
                plan.refs = fitting;
                plan.excess = Some(left).filter(|left| *left > limit);
            }
            plan.remove = self.garbage_with(view, opts, &mut plan.refs)?;
            if !plan.remove.is_empty() {
                // The blobs that such an image needed are not known any more.
                for (name, digest) in view.missing_roots(index_json.entries())? {
                    monitor.warn(format_args!(
                        "{name} leads to {digest}, which is missing: nothing is kept for it"
                    ));
                }
            }
            Ok(())
        })?;
        Ok(plan)
    }

    /// Removes what was planned, and temporary files that nobody uses.
    ///
    /// Blobs that another program began to use since the plan was made stay.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] or [`ErrorKind::Denied`] if there is something to remove that cannot be removed.
    pub fn collect(&self, plan: GcPlan, monitor: &dyn Monitor) -> Result<GcReport> {
        if plan.lock.is_none() {
            if plan.remove.is_empty() && plan.refs.is_empty() {
                return Ok(GcReport::default());
            }
            fail!(
                ReadOnly,
                "cannot remove blobs from {}: it is not writable",
                self.layout.path().display()
            );
        }
        if !plan.refs.is_empty() {
            let tags: Vec<&str> = plan.refs.tags.iter().map(RefName::as_str).collect();
            let drops = plan.refs.drops();
            self.drop_refs("gc", &tags, |index| Ok(index.drop_entries(&drops)))?;
        }
        let report = self.remove_garbage(&plan, monitor)?;
        for lease in self.leases()?.iter().filter(|lease| !lease.is_valid()) {
            self.remove_lease(&lease.name)?;
        }
        let settings = self.settings()?;
        self.expire_reflog(settings.reflog_expire, settings.reflog_keep)?;
        self.forget_uses();
        self.bound_derived(settings.toc_max)?;
        self.layout.clean_temporary(monitor)?;
        Ok(report)
    }

    /// Removes the blobs of a plan whose refs were dropped.
    fn remove_garbage(&self, plan: &GcPlan, monitor: &dyn Monitor) -> Result<GcReport> {
        if plan.remove.is_empty() {
            return Ok(GcReport::default());
        }
        // The entries that stay are those in `index.json` now, and must be known if that is lost.
        self.record_others()?;
        let mut is_as_planned = plan.stamps.is_some() && plan.stamps == Some(self.layout.stamps()?);
        // If we die between the rows and the files, the files are found by the next listing. A full disk is no reason not to
        // free some of it, since the next command sees that the files are gone.
        let order = self.index(monitor).write(|tables| {
            let mut gone = plan.remove.clone();
            // A database that has to be made anew was planned with another one.
            if !std::mem::take(&mut is_as_planned) {
                let damaged = tables.sync(&self.layout, &Silent)?;
                self.refuse_damage(tables, &damaged, &Silent)?;
                let now = self.garbage(tables, &plan.opts, &DropRefs::default())?;
                gone.retain(|digest, _| now.contains_key(digest));
            }
            let order = parents_first(tables, &gone)?;
            // While the rows still tell which layer a table of contents is of.
            self.drop_derived(tables, &gone.keys().copied().collect())?;
            tables.invalidate_listing()?;
            // Rows go in the order of digests, which costs less.
            gone.keys().try_for_each(|digest| tables.forget(digest))?;
            for digest in gone.keys() {
                if tables.count(digest)? > 0 {
                    return Err(damage(format_args!("the count of {digest} is too high")));
                }
            }
            Ok(order)
        })?;
        let mut report = GcReport::default();
        self.layout.remove_blobs(&order, |digest| {
            let size = plan.remove[digest];
            monitor.info(format_args!("removed blob {digest}, {size} bytes"));
            report.blobs += 1;
            report.bytes += size;
        })?;
        Ok(report)
    }

    /// Returns the blobs that can go if `refs` are dropped, and with them the documents about them that stand in `index.json`
    /// without a name: such an entry keeps its document from other programs, and is no ref of its own. Those entries are added to
    /// `refs`. For the same reason an entry about a blob that stays is not dropped, though entries without a name are given up.
    fn garbage_with(
        &self,
        tables: &Rows<impl Access>,
        opts: &GcOptions,
        refs: &mut DropRefs,
    ) -> Result<BTreeMap<Digest, u64>> {
        let asked: BTreeSet<Digest> = refs.untagged.iter().copied().collect();
        let mut dropped = asked.clone();
        let gone = loop {
            let gone = self.garbage(tables, opts, refs)?;
            let about = untagged_about(tables, &gone, &dropped)?;
            if about.is_empty() {
                break gone;
            }
            dropped.extend(&about);
            refs.untagged.extend(about);
        };
        for digest in std::mem::take(&mut refs.untagged) {
            // A document that something else keeps also keeps its entry, unless that was asked to go.
            if gone.contains_key(&digest)
                || asked.contains(&digest) && !is_about_kept(tables, &digest, &gone)?
            {
                refs.untagged.push(digest);
            }
        }
        Ok(gone)
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
                fail!(
                    Corrupt,
                    "blob {digest} is damaged, so what it needs is not known; nothing is removed: {error}"
                );
            }
            monitor.warn(format_args!("blob {digest} is damaged, left alone: {error}"));
        }
        Ok(())
    }

    /// Returns the blobs that can go if `refs` are dropped, in the state of the layout that the index knows.
    pub(super) fn garbage(
        &self,
        tables: &Rows<impl Access>,
        opts: &GcOptions,
        refs: &DropRefs,
    ) -> Result<BTreeMap<Digest, u64>> {
        // A look at the entries is a parse of each.
        let mut dropped = Vec::new();
        if !refs.is_empty() {
            dropped = tables.named_by_entries(refs.drops())?;
        }
        let mut gone = Unreachable::find(tables, dropped)?;
        let grace = self.grace(opts)?;
        if !grace.is_zero() {
            gone.spare_if(tables, |digest| self.is_younger(digest, grace))?;
        }
        let mut held = self.held()?;
        held.extend(&refs.logged);
        gone.spare_if(tables, |digest| Ok(held.contains(digest)))?;
        gone.spare_referrers(tables)?;
        gone.present(tables)
    }

    fn grace(&self, opts: &GcOptions) -> Result<Duration> {
        opts.grace.map_or_else(|| Ok(self.settings()?.gc_grace), Ok)
    }

    /// Returns the digests that leases and the reflog hold.
    pub(super) fn held(&self) -> Result<HashSet<Digest>> {
        let mut out: HashSet<Digest> = self.leased()?.into_keys().collect();
        out.extend(self.reflog_roots(self.settings()?.reflog_keep)?);
        Ok(out)
    }
}

/// Returns whether a document is about a blob that is here and not `gone`.
fn is_about_kept(tables: &Rows<impl Access>, digest: &Digest, gone: &BTreeMap<Digest, u64>) -> Result<bool> {
    let subjects = tables.present_subjects(digest)?;
    Ok(subjects.iter().any(|subject| !gone.contains_key(subject)))
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
        let in_edges = tables.in_edges(referrer)?;
        if in_edges
            .iter()
            .any(|by| matches!(by, InEdge::Ref { name: None, .. }))
        {
            out.push(*referrer);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
