// SPDX-License-Identifier: Apache-2.0
//! Images in and out: copying between layouts, archives and registries.
//!
//! Every copy is [`copy`] from a [`Source`] to a [`Sink`], but for one into a Docker archive, which has a writer of its own.
//! Invariants: bytes are verified on their way; the blobs that a document needs are in the sink before the document, and all of
//! them before the tag, so that an interrupted copy leaves no tag and its rerun goes on where it stopped.
//!
//! # The steps of a copy
//!
//! 1. A caller makes a [`Request`] for each image: of one name ([`Request::find`], [`Request::for_platform`]), or of all that
//!    [`Source::list`] has (`Catalog`). `referrers` adds requests for what is attached to them.
//! 2. `Plan` reads the documents of the requests from the source, and asks both sides which blobs they have ([`Source::has`],
//!    [`Source::size`], [`Sink::has`], [`Sink::whole`]). Nothing is written yet.
//! 3. Level by level, the deepest first, each blob that the sink lacks goes from [`Source::open`] to [`Sink::put`], several at a
//!    time unless the sink wants them [in order](Sink::in_order); manifests and indexes go by [`Sink::put_manifest`]. Where both
//!    sides are files, [`Sink::adopt`] takes the one that [`Source::local`] gives. A blob that [comes from far](Source::is_far) may
//!    go on in its middle ([`Source::open_from`]).
//! 4. The sink gives the images their names, all at once, by a method of its own: a store commits, an archive ends with its index.
//!
//! # A new source or sink
//!
//! A source needs `list`, `open` and `size`; `descriptor` as well if its list has names without digests, as the tags of a registry
//! or the images of a Docker archive. All methods take `&self` and are called from several threads. `open` must verify what it
//! gives (`document::verified`), since the plan reads documents by it, and an archive takes what it gets. A sink needs `has` and `put`;
//! `has` may answer `false` for a blob that is there, and the blob is written again. Errors need no context: [`copy`] names the
//! image and the blob. A source that is not cheap to ask should remember its answers, as the plan asks for one blob more than
//! once; behind a network it also says how many [`threads`](Source::threads) it wants, and does not let
//! [leaves](Source::looks_into_leaves) be looked into.

mod archive;
mod archive_writer;
mod catalog;
mod convert;
mod docker_archive;
pub(crate) mod docker_name;
mod docker_writer;
mod document;
mod missing;
mod oci_archive;
mod oci_dir;
mod plan;
mod referrers;

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde::Serialize;

pub use archive::{Archive, Spool};
#[doc(hidden)]
pub use catalog::Catalog;
pub(crate) use catalog::SourceEntry;
pub(crate) use convert::ToOci;
#[doc(hidden)]
pub use docker_archive::DockerArchive;
pub(crate) use docker_name::DockerName;
pub(crate) use docker_writer::{DockerImage, write_docker_archive};
pub(crate) use missing::MissingBlobs;
#[doc(hidden)]
pub use oci_archive::OciArchive;
pub use oci_archive::OciArchiveSink;
pub use oci_dir::StoreSink;
use plan::{Needed, Plan};
pub(crate) use referrers::referrers;

use crate::digest::Digest;
use crate::error::{Result, ResultExt, lock};
use crate::image::{Target, pick, resolve_one, resolve_whole};
use crate::progress::{Counted, Monitor, Task};
use crate::spec::{Descriptor, Platform, RefName, RefValue};
use crate::store::{Store, is_referrers_tag};

/// Source of images.
pub trait Source: Sync {
    /// Returns all entries, in order.
    fn list(&self) -> Result<Vec<SourceEntry>>;

    /// Returns the descriptor of an entry of [`Source::list`].
    ///
    /// # Errors
    /// `ErrorKind::Corrupt` if it cannot be told, which does not concern the other entries.
    fn descriptor(&self, entry: &SourceEntry) -> Result<Descriptor> {
        entry
            .own()
            .unwrap_or_else(|| fail!(Invalid, "entry {} is of another source", entry.number))
    }

    /// Opens a blob. Its last read fails if it is not what the descriptor says.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;

    /// Returns whether a blob comes from far away, so that a part of it is worth to be kept.
    fn is_far(&self, _descriptor: &Descriptor) -> bool {
        false
    }

    /// Opens the bytes of a blob behind the first `start`, which are not verified then.
    fn open_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let mut bytes = self.open(descriptor)?;
        io::copy(&mut (&mut bytes).take(start), &mut io::sink())?;
        Ok(bytes)
    }

    /// Size in bytes of the blob that is there by this digest, if one is.
    fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Returns whether the blob is there, or in its descriptor, as far as that shows without reading it.
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(descriptor.data.is_some() || self.size(&descriptor.digest)? == Some(descriptor.size))
    }

    /// Returns the referrers of any of `subjects` that have no entry, each behind its subject, where the source can tell.
    fn referrers(&self, _subjects: &[Digest]) -> Result<Vec<(Digest, Descriptor)>> {
        Ok(Vec::new())
    }

    /// Returns the file that holds the blob, where there is one that a sink may share.
    fn local(&self, _descriptor: &Descriptor) -> Option<PathBuf> {
        None
    }

    /// Returns whether a blob that no document calls a manifest is looked into, as it may be one all the same. Each costs a
    /// request where the source is far away.
    fn looks_into_leaves(&self) -> bool {
        true
    }

    /// Returns the number of blobs to copy at the same time where the network is what takes the time; `None` leaves it to
    /// the cores.
    fn threads(&self) -> Option<usize> {
        None
    }
}

/// Bytes that can be read from their start again.
pub trait Body: Sync {
    /// Opens the bytes at their start.
    fn open(&self) -> Result<Box<dyn Read + Send + '_>>;

    /// As [`Source::is_far`].
    fn is_far(&self) -> bool {
        false
    }

    /// Opens the bytes behind the first `start`, as [`Source::open_from`].
    fn open_from(&self, start: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut bytes = self.open()?;
        io::copy(&mut (&mut bytes).take(start), &mut io::sink())?;
        Ok(bytes)
    }
}

/// Destination of the blobs of images. Each sink names the images in its own way, after the copy.
pub trait Sink: Sync {
    /// Returns whether the blob is there already.
    fn has(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Returns those of some manifests and indexes that are there with all that they need, where the sink can tell that at once.
    /// Nothing below them is looked at then.
    fn whole(&self, _documents: &[Descriptor]) -> Result<HashSet<Digest>> {
        Ok(HashSet::new())
    }

    /// Takes a blob in, and refuses it if it is not what the descriptor says. Returns `false` if it was there already.
    fn put(&self, descriptor: &Descriptor, body: &dyn Body) -> Result<bool>;

    /// As [`Sink::put`], for a document that stands where manifests and indexes stand.
    fn put_manifest(&self, descriptor: &Descriptor, body: &dyn Body) -> Result<bool> {
        self.put(descriptor, body)
    }

    /// Takes a blob in from a file without copying bytes; `false` if that cannot be done here.
    fn adopt(&self, _descriptor: &Descriptor, _file: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Returns whether blobs are to come one after the other, in the same order each time.
    fn in_order(&self) -> bool {
        false
    }

    /// As [`Source::threads`].
    fn threads(&self) -> Option<usize> {
        None
    }
}

/// Images and indexes to copy: all entries of a name, or one without a name.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name in the sink, if there is to be one.
    pub name: Option<RefName>,
    /// The entries of the name, or the one without a name.
    pub value: RefValue,
}

impl Request {
    /// Returns the request for a descriptor that gets no name.
    pub fn unnamed(descriptor: Descriptor) -> Self {
        Self {
            name: None,
            value: descriptor.into(),
        }
    }

    /// Returns the request for what `target` stands for in `store`, an index with all its images; or for its image for
    /// `platform` alone.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` if there is none, `ErrorKind::Ambiguous` if several fit `platform`,
    /// `ErrorKind::Corrupt` if an entry of the name is no descriptor and all are asked for.
    pub fn find(
        store: &Store,
        target: &Target,
        platform: Option<&Platform>,
        name: Option<RefName>,
    ) -> Result<Self> {
        let value = match platform {
            Some(_) => resolve_one(store, target, platform)?.into_last().into(),
            None => resolve_whole(store, target)?,
        };
        Ok(Self { name, value })
    }

    /// Returns the request for the image for `platform` alone (this machine's for `None`) if this one leads to several.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` if there is none for it, `ErrorKind::Ambiguous` if there are several.
    pub fn for_platform(&self, source: &dyn Source, platform: Option<&Platform>) -> Result<Self> {
        let image = pick(source, self.value.entries(), platform, &self.label())?;
        Ok(Self {
            name: self.name.clone(),
            value: image.into_last().into(),
        })
    }

    fn is_of_referrers(&self) -> bool {
        self.name.as_ref().is_some_and(is_referrers_tag)
    }

    /// Returns the name for messages: that in the sink, else a digest.
    pub fn label(&self) -> String {
        match (&self.name, self.value.entries()) {
            (Some(name), _) => name.as_str().to_owned(),
            (None, [first, ..]) => first.digest.to_string(),
            (None, []) => String::new(),
        }
    }
}

/// Report of a copy.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CopyReport {
    /// Blobs that were copied or shared.
    pub copied: u64,
    /// Bytes of the blobs that were copied or shared.
    pub bytes: u64,
    /// Blobs that were there already.
    pub present: u64,
    /// Blobs that documents declare and neither side has: the copy is as sparse as the source.
    pub left_out: MissingBlobs,
}

/// Copies the blobs of images with all they need, in parallel. The images get no name: `commit` or `finish` of the sink names
/// them, once the copy is whole.
///
/// # Errors
/// `ErrorKind::NotFound` if the source lacks a blob of an image, or every image of an index; `ErrorKind::Corrupt` if a blob
/// is damaged.
pub fn copy<'a>(
    source: &dyn Source,
    sink: &dyn Sink,
    what: impl IntoIterator<Item = &'a Request>,
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    let plan = Plan::new(source, sink, what.into_iter().collect())?;
    plan.missing.tell(monitor);
    let task = Arc::from(monitor.task("copying", Some(plan.size())));
    let left_out = plan.missing.clone();
    let report = Mutex::new(CopyReport {
        left_out,
        ..CopyReport::default()
    });
    let job = CopyJob {
        source,
        sink,
        task,
        report,
    };
    // A document comes after the blobs that it needs, which are of deeper levels.
    for blobs in plan.levels() {
        // The bytes of an archive depend on the order of its blobs, and must be the same each time.
        match source.threads().max(sink.threads()) {
            _ if sink.in_order() => blobs.iter().try_for_each(|blob| job.copy(blob))?,
            Some(threads) => on_threads(threads, &blobs, |blob| job.copy(blob)).map(drop)?,
            None => blobs.par_iter().try_for_each(|blob| job.copy(blob))?,
        }
    }
    Ok(job.report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The two sides of a copy, and its progress.
struct CopyJob<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    task: Arc<dyn Task>,
    report: Mutex<CopyReport>,
}

impl CopyJob<'_> {
    /// Copies one blob, unless the sink has it.
    fn copy(&self, (digest, needed): &(&Digest, &Needed)) -> Result<()> {
        let is_new = self
            .copy_blob(&needed.descriptor(digest), needed.is_manifest())
            .context(|| format!("copy {}: blob {digest}", needed.image))?;
        let mut report = lock(&self.report);
        if is_new {
            report.copied += 1;
            report.bytes += needed.size;
        } else {
            report.present += 1;
        }
        Ok(())
    }

    /// Copies one blob; returns `false` if the sink had it.
    fn copy_blob(&self, blob: &Descriptor, is_manifest: bool) -> Result<bool> {
        let is_there = self.sink.has(blob)?;
        // A file that both sides can share costs no bytes on the way.
        let is_done = is_there
            || match self.source.local(blob) {
                Some(file) => self.sink.adopt(blob, &file)?,
                None => false,
            };
        if is_done {
            self.task.advance(blob.size);
            return Ok(!is_there);
        }
        let body = SourceBody { job: self, blob };
        if is_manifest {
            self.sink.put_manifest(blob, &body)
        } else {
            self.sink.put(blob, &body)
        }
    }
}

/// A blob of the source, whose bytes the task counts as they pass.
struct SourceBody<'a> {
    job: &'a CopyJob<'a>,
    blob: &'a Descriptor,
}

impl Body for SourceBody<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>> {
        let inner = self.job.source.open(self.blob)?;
        Ok(Box::new(Counted::new(inner, &self.job.task)))
    }

    fn is_far(&self) -> bool {
        self.job.source.is_far(self.blob)
    }

    fn open_from(&self, start: u64) -> Result<Box<dyn Read + Send + '_>> {
        let inner = self.job.source.open_from(self.blob, start)?;
        self.job.task.advance(start);
        Ok(Box::new(Counted::new(inner, &self.job.task)))
    }
}

/// Runs `work` for each item on threads of their own, and returns the results in the order of the items. No more items are
/// begun after the first error.
///
/// The threads wait for a network most of the time; on those of rayon they would keep compression from its cores.
pub(crate) fn on_threads<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<R>)>> = Mutex::default();
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            lock(&results).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The first error in the order of the items is the one that is told, whichever came first.
    results.sort_by_key(|(at, result)| (result.is_ok(), *at));
    results.into_iter().map(|(_, result)| result).collect()
}
