// SPDX-License-Identifier: Apache-2.0
//! `fsck`: looks at everything in a layout, and mends what can be mended without loss.
//!
//! Damage is data here and no error. A blob that is not what its digest says is moved aside and never deleted; a good
//! copy may be fetched from another layout. The database is closed while blobs are read, so that others can go on.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;
use serde::Serialize;

use super::Store;
use super::document::{Documents, short};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Damaged, Index, KnownBlob, Mention, Tables, Verified};
use crate::layout::{BlobName, Layout, LockMode, Stamp};
use crate::progress::{Monitor, Silent};
use crate::spec::{Descriptor, RefName};

/// So many blobs are looked at between two looks at the index.
const BATCH: usize = 8192;

/// No more refs than this are named with a finding.
const MOST_REFS: usize = 8;

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CheckOptions<'a> {
    /// Believe files that did not change since they were verified, and of others compare a faster checksum if one was
    /// recorded. Counts of the index are not compared.
    pub fast: bool,
    /// Also decompress layers and compare their diff_ids.
    pub deep: bool,
    /// Mend what can be mended.
    pub repair: bool,
    /// Layouts to fetch good copies from; only with `repair`.
    pub from: &'a [Store],
}

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, and no fault of the layout.
    Info,
    /// Something contradicts itself, but nothing is lost.
    Warning,
    /// Something is missing or wrong.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// What kind of thing a finding is.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// `oci-layout`, `index.json` or `blobs/` is missing or cannot be understood.
    Frame,
    /// A blob is not what its digest says.
    Damaged,
    /// A blob is not there.
    Missing,
    /// A blob cannot be read.
    Unreadable,
    /// A descriptor gives a wrong size.
    Size,
    /// A descriptor gives a wrong media type.
    Type,
    /// A descriptor gives a wrong platform.
    Platform,
    /// A document cannot be understood.
    Document,
    /// Layers and history do not fit.
    History,
    /// Layers and diff_ids do not fit.
    DiffId,
    /// An entry of `index.json` is no descriptor, or its name no tag.
    Ref,
    /// Something under `blobs/` is no blob.
    Stray,
    /// A blob cannot be read by all who may read the layout.
    Permissions,
    /// The index had counted wrong.
    Index,
    /// A temporary file that nobody uses.
    Temporary,
    /// More was found than is told.
    More,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing it is.
    pub problem: Problem,
    /// What it is about: a digest, a path in the layout, or an entry of `index.json`.
    pub subject: String,
    /// What is wrong, to be read after the subject.
    pub message: String,
    /// Tags of images that need it, or `<none>` for an entry without one; some, if there are many.
    pub refs: Vec<String>,
    /// Whether it was mended.
    pub repaired: bool,
    #[serde(skip)]
    pub(super) digest: Option<Digest>,
    /// The size that its descriptor gives a blob that is missing.
    #[serde(skip)]
    pub(super) wanted: Option<u64>,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        problem: Problem,
        subject: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            problem,
            subject: subject.to_string(),
            message: short(message.into()),
            refs: Vec::new(),
            repaired: false,
            digest: None,
            wanted: None,
        }
    }

    /// A fault of a blob.
    pub(super) fn of(digest: &Digest, problem: Problem, message: impl Into<String>) -> Self {
        Self {
            digest: Some(*digest),
            ..Self::new(Severity::Error, problem, digest, message)
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// How many blobs there are.
    pub blobs: u64,
    /// How many of them were read.
    pub read: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl CheckReport {
    /// Whether something is wrong that was not mended.
    pub fn is_damaged(&self) -> bool {
        let left = |f: &Finding| f.severity == Severity::Error && !f.repaired;
        self.findings.iter().any(left)
    }

    /// Whether something was mended.
    pub fn is_repaired(&self) -> bool {
        self.findings.iter().any(|f| f.repaired)
    }
}

/// What one look at a blob showed.
#[derive(Default)]
struct Looked {
    findings: Vec<Finding>,
    verified: Option<(Digest, Verified)>,
    bytes: Option<u64>,
    /// A document that was left for later.
    large: Option<Digest>,
}

impl Store {
    /// Looks at what makes a directory a layout, without which [`Store::open`] refuses it: `oci-layout`, `index.json`
    /// and `blobs/`. With `repair` it writes what is certain: an `index.json` is made anew from the entries that the
    /// index database remembers, and the broken one moved aside.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing there looks like a layout.
    pub fn check_frame(path: &Path, repair: bool) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        let layout = match Layout::open(path) {
            Ok(layout) if layout.read_index().is_ok() => return Ok(out),
            Ok(layout) => layout,
            // Something of another version is whole, but not for us.
            Err(err) if err.kind() == ErrorKind::Unsupported => return Err(err),
            Err(err) => match Layout::open_broken(path)? {
                Some(layout) => layout,
                None => return Err(err),
            },
        };
        let _lock = if repair {
            Some(layout.lock(LockMode::Exclusive, Duration::from_secs(60), "fsck")?)
        } else {
            None
        };
        for (name, message) in layout.broken_parts() {
            let mut finding = Finding::new(Severity::Error, Problem::Frame, name, message);
            if repair {
                finding.repaired = true;
                if name != "index.json" {
                    layout.mend_part(name)?;
                } else if let Some(entries) = Index::remembered(&layout).filter(|e| !e.is_empty()) {
                    layout.replace_index(&entries)?;
                } else {
                    finding.repaired = false;
                }
            }
            out.push(finding);
        }
        Ok(out)
    }

    /// Looks at everything in the layout.
    ///
    /// # Errors
    /// Only what keeps it from looking, such as [`ErrorKind::Busy`]; damage is in the report.
    pub fn check(&self, opts: &CheckOptions<'_>, monitor: &dyn Monitor) -> Result<CheckReport> {
        let _lock = if opts.repair {
            Some(
                self.layout
                    .lock(LockMode::Exclusive, self.opts.lock_timeout, "fsck")?,
            )
        } else {
            self.reading()
        };
        let mut report = CheckReport::default();
        let documents = Documents::new(&self.layout, opts.deep);
        self.check_names(&mut report.findings)?;
        self.check_refs(&documents, &mut report.findings)?;
        // One that is in memory is kept: to fill it again for each batch would cost more than all else.
        let mut memory = self.synced(&documents, monitor, &mut report.findings)?;
        let task = monitor.task("checking blobs", None);
        let (mut after, mut done) = (None, Vec::new());
        loop {
            let mut index = match memory.take() {
                Some(index) => index,
                None => self.index_or_memory(&Silent)?,
            };
            let next = |tables: &mut Tables<'_>| {
                for (digest, row) in &done {
                    tables.set_verified(digest, *row)?;
                }
                tables.blobs_after(after.as_ref(), BATCH)
            };
            let batch = self.mending(&mut index, monitor, |index| index.write(next))?;
            done.clear();
            if !index.is_file() {
                memory = Some(index);
            }
            let Some(last) = batch.last() else { break };
            after = Some(last.digest);
            let looked: Vec<Result<Looked>> = batch
                .par_iter()
                .map(|blob| {
                    let looked = self.look(&documents, blob, opts);
                    task.advance(1);
                    looked
                })
                .collect();
            report.blobs += batch.len() as u64;
            for looked in looked {
                let looked = looked?;
                report.findings.extend(looked.findings);
                if let Some(digest) = looked.large
                    && let Some(bytes) = self.layout.read_document(&digest, super::MAX_DOCUMENT)?
                {
                    report.findings.extend(documents.check_large(&digest, &bytes)?);
                }
                done.extend(looked.verified);
                report.read += u64::from(looked.bytes.is_some());
                report.bytes += looked.bytes.unwrap_or(0);
            }
        }
        drop(task);
        report.findings.extend(documents.left_out());
        // What a damaged document names is not known, so a recount would only find the same damage again.
        let is_damage = |f: &Finding| matches!(f.problem, Problem::Damaged | Problem::Unreadable);
        if !opts.fast && !report.findings.iter().any(is_damage) {
            self.check_index(opts, monitor, &mut report.findings)?;
        }
        self.check_temporary(opts, monitor, &mut report.findings)?;
        self.name_refs(memory, &mut report.findings)?;
        if opts.repair {
            self.repair(opts, &mut report.findings, monitor)?;
        }
        // What the index and the look at each blob have both met is one.
        let mut met = HashSet::new();
        let mark = |f: &Finding| Digest::sha256(format!("{} {}", f.subject, f.message).as_bytes());
        report
            .findings
            .retain(|f| f.digest.is_none() || met.insert(mark(f)));
        report
            .findings
            .sort_by(|a, b| (b.severity, &a.subject).cmp(&(a.severity, &b.subject)));
        Ok(report)
    }

    /// What stands under `blobs/`.
    fn check_names(&self, out: &mut Vec<Finding>) -> Result<()> {
        for path in self.layout.foreign_entries()? {
            let name = path.strip_prefix(self.layout.path()).unwrap_or(&path).display();
            let text = "belongs to no digest algorithm that is known";
            out.push(Finding::new(Severity::Info, Problem::Stray, name, text));
        }
        for algorithm in Algorithm::ALL {
            for name in self.layout.blobs(algorithm)? {
                if let BlobName::Stray(name) = name? {
                    let path = format!("blobs/{algorithm}/{}", name.display());
                    out.push(Finding::new(Severity::Info, Problem::Stray, path, "is no blob"));
                }
            }
        }
        Ok(())
    }

    /// The entries of `index.json`.
    fn check_refs(&self, documents: &Documents<'_>, out: &mut Vec<Finding>) -> Result<()> {
        let root = "index.json";
        let mut seen: HashSet<String> = HashSet::new();
        for (at, entry) in self.layout.read_index()?.entries().iter().enumerate() {
            let name = entry.ref_name.as_deref().unwrap_or("<none>");
            let subject = format!("{root}: entry {at} ({name})");
            if let Some(name) = &entry.ref_name {
                if name.parse::<RefName>().is_err() {
                    let text = "has a name that is no tag";
                    out.push(Finding::new(Severity::Info, Problem::Ref, &subject, text));
                }
                if !seen.insert(name.clone()) {
                    let text = "has the name of another entry";
                    out.push(Finding::new(Severity::Warning, Problem::Ref, &subject, text));
                }
            }
            let descriptor = match entry.descriptor() {
                Ok(descriptor) => descriptor,
                Err(err) => {
                    let text = format!("is no descriptor: {err}");
                    out.push(Finding::new(Severity::Error, Problem::Ref, &subject, text));
                    continue;
                }
            };
            documents.check_child(&root, &descriptor, false, out)?;
            documents.check_platform(&root, &descriptor, out);
        }
        Ok(())
    }

    /// Brings the index up to the layout; returns it if it is one in memory.
    fn synced(
        &self,
        documents: &Documents<'_>,
        monitor: &dyn Monitor,
        out: &mut Vec<Finding>,
    ) -> Result<Option<Index>> {
        let mut index = self.index_or_memory(monitor)?;
        // Strays were reported.
        let damaged = match index.sync(&self.layout, &Silent) {
            Err(err) => {
                let text = err.to_string();
                if index.renew(err, &self.layout, monitor)? {
                    let mut finding =
                        Finding::new(Severity::Error, Problem::Index, ".umoci/index.redb", text);
                    finding.repaired = true;
                    out.push(finding);
                }
                index.sync(&self.layout, &Silent)?
            }
            Ok(damaged) => damaged,
        };
        // Documents that are not what they should be are no blobs to the index, and would not be met again.
        for Damaged { digest, error } in damaged {
            let blob = KnownBlob {
                digest,
                size: 0,
                count: 0,
                opaque: false,
                verified: None,
            };
            let looked = self.look(documents, &blob, &CheckOptions::default())?;
            if looked.findings.is_empty() {
                out.push(Finding::of(&digest, Problem::Document, error));
            }
            out.extend(looked.findings);
        }
        Ok((!index.is_file()).then_some(index))
    }

    /// Looks at one blob, and at what it says if it is a document.
    fn look(&self, documents: &Documents<'_>, blob: &KnownBlob, opts: &CheckOptions<'_>) -> Result<Looked> {
        let digest = &blob.digest;
        let known = blob.verified.filter(|_| opts.fast);
        let mut out = Looked::default();
        let unchanged = |found: &Stamp| known.is_some_and(|known| known.stamp == *found);
        if blob.opaque
            && let Ok(Some(found)) = self.layout.blob_stamp(digest)
            && unchanged(&found)
        {
            return Ok(out);
        }
        let (mut file, found) = match self.layout.open_found(digest) {
            Ok(opened) => opened,
            // Who needs it says so.
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(out),
            Err(err) => return Ok(unreadable(digest, &err)),
        };
        if !self.layout.is_open_enough(found.mode) {
            let text = format!("has mode {:04o}, narrower than that of the layout", found.mode);
            let finding = Finding::of(digest, Problem::Permissions, text).info();
            out.findings.push(finding);
        }
        if !unchanged(&found.stamp) {
            match sums(&mut file, digest, found.size, known.as_ref()) {
                Ok((bytes, Ok(blake3))) => {
                    out.bytes = Some(bytes);
                    let row = Verified {
                        stamp: found.stamp,
                        blake3: Some(blake3),
                    };
                    out.verified = Some((*digest, row));
                }
                Ok((bytes, Err(text))) => {
                    out.bytes = Some(bytes);
                    out.findings.push(Finding::of(digest, Problem::Damaged, text));
                    return Ok(out);
                }
                Err(err) => return Ok(unreadable(digest, &err)),
            }
        }
        // Whether it is a document shows at its first byte; layers are not read twice.
        if found.stamp.size <= super::MAX_DOCUMENT
            && let Some(bytes) = self.layout.read_document(digest, super::MAX_DOCUMENT)?
        {
            match documents.check(digest, &bytes)? {
                Some(findings) => out.findings.extend(findings),
                None => out.large = Some(*digest),
            }
        }
        Ok(out)
    }

    /// Counts everything anew and compares.
    fn check_index(
        &self,
        opts: &CheckOptions<'_>,
        monitor: &dyn Monitor,
        out: &mut Vec<Finding>,
    ) -> Result<()> {
        let mut index = self.index()?;
        if !index.is_file() {
            return Ok(());
        }
        let fresh = match index.rebuilt(&self.layout, &Silent) {
            // To look there need not be room on the disk.
            Err(err) if err.kind() == ErrorKind::NoSpace && !opts.repair => {
                Index::rebuilt_in_memory(&self.layout, &Silent)
            }
            fresh => fresh,
        }?;
        let differences = self.mending(&mut index, monitor, |index| index.differences(&fresh))?;
        let repaired = opts.repair && !differences.is_empty();
        for text in differences {
            let mut finding = Finding::new(Severity::Error, Problem::Index, ".umoci/index.redb", text);
            finding.repaired = repaired;
            out.push(finding);
        }
        if repaired {
            index.replaced_by(fresh, &self.layout, monitor)?;
        } else {
            fresh.discard(&self.layout)?;
        }
        Ok(())
    }

    fn check_temporary(
        &self,
        opts: &CheckOptions<'_>,
        monitor: &dyn Monitor,
        out: &mut Vec<Finding>,
    ) -> Result<()> {
        let unused: Vec<_> = self
            .layout
            .unused_temporary()?
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        if opts.repair && !unused.is_empty() {
            self.layout.clean_temporary(monitor)?;
        }
        for path in unused {
            let name = path.strip_prefix(self.layout.path()).unwrap_or(&path).display();
            let mut finding = Finding::new(
                Severity::Info,
                Problem::Temporary,
                name,
                "is left of a process that died",
            );
            finding.repaired = opts.repair;
            out.push(finding);
        }
        Ok(())
    }

    /// Says which refs lead to what was found. What is missing and no ref needs is no damage.
    fn name_refs(&self, memory: Option<Index>, findings: &mut [Finding]) -> Result<()> {
        if findings.iter().all(|f| f.digest.is_none()) {
            return Ok(());
        }
        let mut index = match memory {
            Some(index) => index,
            None => self.index_or_memory(&Silent)?,
        };
        let mut name = |tables: &mut Tables<'_>| {
            for finding in findings.iter_mut() {
                let Some(digest) = finding.digest else { continue };
                let mut names = BTreeSet::new();
                let (mut stack, mut met) = (vec![digest], HashSet::from([digest]));
                while let Some(digest) = stack.pop() {
                    for mention in tables.mentions(&digest)? {
                        match mention {
                            Mention::Ref { name, .. } => {
                                names.insert(name.unwrap_or_else(|| "<none>".to_owned()));
                            }
                            Mention::Document(_, parent) => {
                                if met.insert(parent) {
                                    stack.push(parent);
                                }
                            }
                        }
                    }
                    if names.len() > MOST_REFS {
                        break;
                    }
                }
                if names.is_empty() && finding.severity == Severity::Error {
                    finding.severity = Severity::Warning;
                }
                finding.refs = names.into_iter().take(MOST_REFS).collect();
            }
            Ok(())
        };
        self.mending(&mut index, &Silent, |index| index.suppose(&mut name))
    }

    /// Mends blobs: modes, and what is damaged or missing.
    fn repair(&self, opts: &CheckOptions<'_>, findings: &mut [Finding], monitor: &dyn Monitor) -> Result<()> {
        let mut changed = BTreeSet::new();
        for finding in findings.iter_mut() {
            let Some(digest) = finding.digest else { continue };
            match finding.problem {
                Problem::Permissions => {
                    self.layout.give(&self.layout.blob_path(&digest))?;
                    finding.repaired = true;
                }
                // What cannot be read may be good, and is left where it is.
                Problem::Damaged | Problem::Missing => {
                    let size = finding.wanted;
                    if finding.problem != Problem::Missing && self.layout.blob_size(&digest)?.is_some() {
                        let aside = self.layout.quarantine(&digest)?;
                        monitor.warn(format_args!("blob {digest} was moved to {}", aside.display()));
                    }
                    changed.insert(digest);
                    finding.repaired =
                        self.layout.blob_size(&digest)?.is_some() || self.fetch(&digest, size, opts)?;
                }
                _ => {}
            }
        }
        if !changed.is_empty() {
            let mut index = self.index_or_memory(monitor)?;
            let forget = |tables: &mut Tables<'_>| {
                for digest in &changed {
                    tables.forget(digest)?;
                }
                tables.unlist_blobs()?;
                tables.sync(&self.layout, &Silent).map(|_| ())
            };
            self.mending(&mut index, monitor, |index| index.write(forget))?;
        }
        Ok(())
    }

    /// Takes a good copy of a blob from another layout; `false` if none has one.
    fn fetch(&self, digest: &Digest, size: Option<u64>, opts: &CheckOptions<'_>) -> Result<bool> {
        for other in opts.from {
            let Some(found) = other.layout.blob_size(digest)? else {
                continue;
            };
            let descriptor = Descriptor::new(String::new(), *digest, size.unwrap_or(found));
            let copied = other.layout.open_blob(&descriptor).and_then(|mut blob| {
                let mut writer = self.layout.write_blob(digest.algorithm())?;
                std::io::copy(&mut blob, &mut writer)?;
                writer.finish_as(&descriptor)
            });
            match copied {
                Ok(_) => return Ok(true),
                // That copy is no better.
                Err(err) if err.kind() == ErrorKind::Corrupt => {}
                Err(err) => return Err(err.context(format!("fetch from {}", other.layout.path().display()))),
            }
        }
        Ok(false)
    }
}

fn unreadable(digest: &Digest, err: &Error) -> Looked {
    Looked {
        findings: vec![Finding::of(
            digest,
            Problem::Unreadable,
            format!("cannot be read: {err}"),
        )],
        ..Looked::default()
    }
}

/// Reads a file of about `size` bytes to its end; its BLAKE3 decides if that is known, else its digest. Returns how many
/// bytes it has, and its BLAKE3 or what is wrong.
fn sums(
    file: &mut impl std::io::Read,
    digest: &Digest,
    size: u64,
    known: Option<&Verified>,
) -> Result<(u64, std::result::Result<[u8; 32], String>)> {
    let known = known.and_then(|known| known.blake3);
    let mut blake3 = Hasher::new(Algorithm::Blake3);
    let mut own = known.is_none().then(|| Hasher::new(digest.algorithm()));
    let mut buffer = vec![0; usize::try_from(size.clamp(1 << 10, 1 << 17)).unwrap_or(1 << 17) + 1];
    let mut bytes = 0;
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(Error::from(err)),
        };
        blake3.update(&buffer[..n]);
        if let Some(own) = &mut own {
            own.update(&buffer[..n]);
        }
        bytes += n as u64;
    }
    let sum = blake3.finish();
    let mut raw = [0; 32];
    raw.copy_from_slice(sum.as_bytes());
    let sums = match (own.map(Hasher::finish), known) {
        (Some(found), _) if found == *digest => Ok(raw),
        (Some(found), _) => Err(format!("is damaged: its content has the digest {found}")),
        (None, Some(known)) if known == raw => Ok(raw),
        (None, _) => Err("is damaged: its content is not what was verified before".to_owned()),
    };
    Ok((bytes, sums))
}
