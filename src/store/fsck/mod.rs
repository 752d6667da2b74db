// SPDX-License-Identifier: Apache-2.0
//! `fsck`: looks at everything in a layout, and mends what can be mended without loss.
//!
//! Damage is data here and no error. A blob that is not what its digest says is moved aside and never deleted; a good
//! copy may be fetched from another layout. The database is closed while blobs are read, so that others can go on.

mod blobs;
mod documents;
mod finding;
mod frame;
mod own_files;
mod remake;
mod repair;

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

pub use finding::{Finding, Problem, Severity};

use blobs::Looked;
use documents::Documents;

use super::graph::holders;
use super::{MAX_DOCUMENT, Store};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::index::{Damaged, Index, Replace};
use crate::layout::BlobName;
use crate::progress::{Monitor, Silent};
use crate::spec::{RefName, json};

/// Subject of a finding about the index database.
const DATABASE: &str = ".umoci/index.redb";

/// Number of blobs that are read between two looks at the index.
const BATCH: usize = 8192;

/// Maximum number of refs that are named with a finding.
const MOST_REFS: usize = 8;

/// Maximum number of refs that are counted with a finding.
const MAX_COUNTED: usize = 100_000;

/// Maximum count of those who name something that are looked at to count refs, for all findings together.
const MAX_LOOKED_AT: usize = 2_000_000;

/// Options of a check.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CheckOptions<'a> {
    /// Believe files that did not change since they were verified, and of others compare a faster checksum if one was
    /// recorded. Counts of the index are not compared.
    pub fast: bool,
    /// Also read the entries of layers, and compare their diff_ids.
    pub deep: bool,
    /// Mend what can be mended.
    pub repair: bool,
    /// Layouts to fetch good copies from; only with `repair`.
    pub from: &'a [Store],
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// Number of blobs in the layout.
    pub blobs: u64,
    /// Number of blobs that were read.
    pub read: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl CheckReport {
    /// Returns whether something is wrong that was not mended.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(Finding::is_damage)
    }

    /// Returns whether something was mended.
    pub fn is_repaired(&self) -> bool {
        self.findings.iter().any(|f| f.repaired)
    }
}

impl Store {
    /// Looks at everything in the layout. Serves `umoci fsck` alone.
    ///
    /// # Errors
    /// Only what keeps it from looking, such as [`Busy`](crate::error::ErrorKind::Busy); damage is in the report.
    #[doc(hidden)]
    pub fn check(&self, opts: &CheckOptions<'_>, monitor: &dyn Monitor) -> Result<CheckReport> {
        let lock = opts.repair.then(|| self.lock_exclusive("fsck")).transpose()?;
        let _lock = lock.or_else(|| self.reading());
        let mut report = CheckReport::default();
        let documents = Documents::new(&self.layout, opts.deep);
        self.check_names(&mut report.findings)?;
        self.check_refs(opts.repair, &documents, &mut report.findings)?;
        let mut index = self.index(&Silent);
        self.synced(&mut index, &documents, &mut report.findings)?;
        self.check_blobs(&mut index, &documents, opts.fast, monitor, &mut report)?;
        report.findings.extend(documents.left_out());
        // The blobs that a damaged document names are not known, so a recount would only find the same damage again.
        let mut problems = report.findings.iter().map(|finding| finding.problem);
        if !opts.fast && !problems.any(|problem| matches!(problem, Problem::Damaged | Problem::Unreadable)) {
            check_index(&mut index, opts.repair, &mut report.findings)?;
        }
        index.close();
        self.check_own_files(opts.repair, &mut report.findings)?;
        self.check_temporary(opts.repair, monitor, &mut report.findings)?;
        name_refs(&mut index, &mut report.findings)?;
        drop(index);
        if opts.repair {
            self.repair(opts, &mut report.findings, monitor)?;
        }
        // The index and the look at a blob may both have met the same fault of it.
        let mut met = HashSet::new();
        let findings = &mut report.findings;
        findings.retain(|f| f.digest.is_none() || met.insert((f.subject.clone(), f.message.clone())));
        findings.sort_by(|a, b| (b.severity, place(a)).cmp(&(a.severity, place(b))));
        Ok(report)
    }

    /// Looks at all blobs, in batches, and records those that are as they should be.
    fn check_blobs(
        &self,
        index: &mut Index<'_>,
        documents: &Documents<'_>,
        fast: bool,
        monitor: &dyn Monitor,
        report: &mut CheckReport,
    ) -> Result<()> {
        let task = monitor.task("checking blobs", None);
        let (mut after, mut done) = (None, Vec::new());
        loop {
            let batch = index.write(|tables| {
                for (digest, row) in &done {
                    tables.set_verified(digest, *row)?;
                }
                tables.blobs_after(after.as_ref(), BATCH)
            })?;
            done.clear();
            // Other commands get the database while the blobs are read.
            index.close();
            let Some(last) = batch.last() else { return Ok(()) };
            after = Some(last.digest);
            let looked: Vec<Result<Looked>> = batch
                .par_iter()
                .map(|blob| {
                    let looked = self.look(documents, &blob.digest, fast.then_some(blob));
                    task.advance(1);
                    looked
                })
                .collect();
            report.blobs += batch.len() as u64;
            for looked in looked {
                let looked = looked?;
                report.findings.extend(looked.findings);
                // Large documents are parsed here, where no other thread has one in memory.
                if let Some(digest) = looked.large
                    && let Some(bytes) = self.layout.read_document(&digest, MAX_DOCUMENT)?
                {
                    let found = documents.check(&digest, &bytes, u64::MAX)?;
                    report.findings.extend(found.into_iter().flatten());
                }
                done.extend(looked.verified);
                report.read += u64::from(looked.bytes.is_some());
                report.bytes += looked.bytes.unwrap_or(0);
            }
        }
    }

    /// Checks the names under `blobs/`.
    fn check_names(&self, out: &mut Vec<Finding>) -> Result<()> {
        for path in self.layout.foreign_entries()? {
            let name = path.strip_prefix(self.layout.path()).unwrap_or(&path).display();
            let text = "belongs to no digest algorithm that is known";
            out.push(Finding::new(Problem::Stray, name, text).info());
        }
        for algorithm in Algorithm::ALL {
            for name in self.layout.blobs(algorithm)? {
                if let BlobName::Stray(name) = name? {
                    let path = format!("blobs/{algorithm}/{}", name.display());
                    out.push(Finding::new(Problem::Stray, path, "is no blob").info());
                }
            }
        }
        Ok(())
    }

    /// The entries of `index.json`; with `repair`, those that name nothing are dropped.
    fn check_refs(&self, repair: bool, documents: &Documents<'_>, out: &mut Vec<Finding>) -> Result<()> {
        let root = "index.json";
        let mut is_dropped = false;
        let mut seen: HashMap<(String, Option<Vec<u8>>), Digest> = HashMap::new();
        for (at, entry) in self.layout.read_index()?.entries().iter().enumerate() {
            let descriptor = entry.descriptor();
            let name = match (&entry.ref_name, &descriptor) {
                (Some(name), _) => name.clone(),
                (None, Ok(descriptor)) => descriptor.digest.to_string(),
                (None, Err(_)) => "<none>".to_owned(),
            };
            let subject = format!("{root}: entry {at} ({name})");
            if let Some(name) = &entry.ref_name
                && name.parse::<RefName>().is_err()
            {
                let text = format!(
                    "has the name {name:?}, which no tag may have: it is removed by that, and read by its digest alone"
                );
                out.push(Finding::new(Problem::Ref, &subject, text).info());
            }
            let descriptor = match descriptor {
                Ok(descriptor) => descriptor,
                Err(err) => {
                    // An entry that may name something to another reader stays.
                    let is_nothing = repair && entry.is_nothing();
                    is_dropped |= is_nothing;
                    let text = format!("is no descriptor: {err}");
                    out.push(Finding::new(Problem::Ref, &subject, text).repaired(is_nothing));
                    continue;
                }
            };
            documents.check_child(&root, &descriptor, false, out)?;
            documents.check_platform(&root, &descriptor, out);
            // A name may have an entry for each platform.
            let platform = descriptor.platform.as_ref().map(json::to_bytes).transpose()?;
            if let Some(name) = &entry.ref_name
                && let Some(other) = seen.insert((name.clone(), platform), descriptor.digest)
            {
                out.push(if other == descriptor.digest {
                    Finding::new(Problem::Ref, &subject, "is there twice").info()
                } else {
                    let text = "has the name and the platform of another entry";
                    Finding::new(Problem::Ref, &subject, text).warning()
                });
            }
        }
        if is_dropped {
            self.drop_nothing()?;
        }
        Ok(())
    }

    /// Brings the index up to the layout, and tells of the documents that it could not read.
    fn synced(&self, index: &mut Index<'_>, documents: &Documents<'_>, out: &mut Vec<Finding>) -> Result<()> {
        let damaged = index.sync()?;
        if let Some(text) = index.was_damaged() {
            // Nothing is lost with it: all that it had is derived again.
            out.push(Finding::new(Problem::Index, DATABASE, text).repaired(true));
        }
        // Documents that are not what they should be are no blobs to the index, and would not be met again.
        for Damaged { digest, error } in damaged {
            let looked = self.look(documents, &digest, None)?;
            if looked.findings.is_empty() {
                out.push(Finding::of(&digest, Problem::Document, error));
            }
            out.extend(looked.findings);
        }
        Ok(())
    }

    fn check_temporary(&self, repair: bool, monitor: &dyn Monitor, out: &mut Vec<Finding>) -> Result<()> {
        // The open files hold locks, which would keep the files from being cleaned.
        let unused = self.layout.unused_temporary()?.into_iter();
        let unused: Vec<_> = unused.map(|(path, _)| path).collect();
        if repair && !unused.is_empty() {
            self.layout.clean_temporary(monitor)?;
        }
        for path in unused {
            let name = path.strip_prefix(self.layout.path()).unwrap_or(&path).display();
            let finding = Finding::new(Problem::Temporary, name, "is left of a process that died");
            out.push(finding.info().repaired(repair));
        }
        Ok(())
    }
}

/// Returns the key that findings of one severity are sorted by: those about entries of `index.json` stay in the order of these.
fn place(finding: &Finding) -> &str {
    let place = finding.subject.split_once(": entry ");
    place.map_or(finding.subject.as_str(), |(file, _)| file)
}

/// Counts everything anew and compares.
fn check_index(index: &mut Index<'_>, repair: bool, out: &mut Vec<Finding>) -> Result<()> {
    if !index.is_file()? {
        return Ok(());
    }
    let replace = if repair {
        Replace::IfDifferent
    } else {
        Replace::Never
    };
    let mut findings = index.recount(replace)?;
    if !repair && !findings.is_empty() {
        // Others may have written between the index and the count. What is wrong stays so.
        index.sync()?;
        let again = index.recount(replace)?;
        findings.retain(|text| again.contains(text));
    }
    let findings = findings.into_iter();
    out.extend(findings.map(|text| Finding::new(Problem::Index, DATABASE, text).repaired(repair)));
    Ok(())
}

/// Names the refs that lead to each finding. A missing blob that no ref needs is no damage.
fn name_refs(index: &mut Index<'_>, findings: &mut [Finding]) -> Result<()> {
    if findings.iter().all(|f| f.digest.is_none()) {
        return Ok(());
    }
    index.read(|tables| {
        let mut left = MAX_LOOKED_AT;
        for finding in findings.iter_mut() {
            let Some(digest) = finding.digest else { continue };
            let (names, _) = holders(
                tables,
                &digest,
                |_| true,
                |names, looked_at| {
                    left = left.saturating_sub(looked_at);
                    names <= MAX_COUNTED && (left > 0 || names <= MOST_REFS)
                },
            )?;
            if names.is_empty() && finding.severity == Severity::Error {
                finding.severity = Severity::Warning;
            }
            finding.more_refs = names.len().saturating_sub(MOST_REFS) as u64;
            finding.refs = names.into_iter().take(MOST_REFS).collect();
        }
        Ok(())
    })
}
