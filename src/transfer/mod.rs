// SPDX-License-Identifier: Apache-2.0
//! Images in and out: copying between stores, directories and archives.
//!
//! Every copy is [`copy`] from a [`Source`] to a [`Sink`]. Invariants: bytes are verified on their way; what a document
//! needs is in the sink before the document, and all of it before the tag, so that an interrupted copy leaves no tag
//! and its rerun goes on where it stopped.

mod oci_dir;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

pub use oci_dir::StoreSink;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{Target, resolve_one, resolve_root};
use crate::progress::{Counted, Counter, Monitor, Task};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, Platform, RefName, json};
use crate::store::{MAX_DOCUMENT, Store};

/// Indexes nested deeper than this are refused.
const MAX_DEPTH: usize = 32;

/// Where images come from.
pub trait Source: Sync {
    /// The one descriptor that `name` stands for.
    fn resolve(&self, name: &RefName) -> Result<Descriptor>;

    /// Opens a blob. Its last read fails if it is not what the descriptor says.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;

    /// The file that holds the blob, where there is one that a sink may share.
    fn local(&self, _descriptor: &Descriptor) -> Option<PathBuf> {
        None
    }
}

/// Where images go.
pub trait Sink: Sync {
    /// Whether the blob is there already.
    fn has(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Takes a blob in, and refuses it if it is not what the descriptor says.
    fn put(&self, descriptor: &Descriptor, body: &mut dyn Read) -> Result<()>;

    /// Takes a blob in from a file without copying bytes; `false` if that cannot be done here.
    fn adopt(&self, _descriptor: &Descriptor, _file: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Names a descriptor, once all is there.
    fn tag(&self, name: &RefName, descriptor: &Descriptor) -> Result<()>;
}

/// An image to copy.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in the sink.
    pub name: RefName,
    /// What it is.
    pub descriptor: Descriptor,
}

impl Request {
    /// What `target` stands for in `store`, to be called `name`: an index with all its images, or its image for
    /// `platform` alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
    pub fn find(store: &Store, target: &Target, platform: Option<&Platform>, name: RefName) -> Result<Self> {
        if platform.is_some() {
            let mut walk = resolve_one(store, target, platform)?;
            let descriptor = walk.pop();
            let descriptor =
                descriptor.ok_or_else(|| Error::new(ErrorKind::Invalid, "empty descriptor path"))?;
            return Ok(Self { name, descriptor });
        }
        let descriptor = resolve_root(store, target)?;
        Ok(Self { name, descriptor })
    }

    /// All tagged images of `store`, by their own names, of indexes the image for `platform` alone if there is one. Names that no tag may have, and names that stand for several
    /// images, are left out with a warning.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a tag that points at what is no descriptor; those of [`Request::find`] with a platform.
    pub fn all(store: &Store, platform: Option<&Platform>, monitor: &dyn Monitor) -> Result<Vec<Self>> {
        let mut out: Vec<Self> = Vec::new();
        let mut first: HashMap<RefName, Digest> = HashMap::new();
        let mut ambiguous = HashSet::new();
        for entry in store.refs()? {
            let Some(name) = entry.name else { continue };
            let name: RefName = match name.parse() {
                Ok(name) => name,
                Err(err) => {
                    monitor.warn(format_args!("left out: {err}"));
                    continue;
                }
            };
            let descriptor = entry.descriptor?;
            match first.get(&name) {
                None => {
                    first.insert(name.clone(), descriptor.digest);
                    out.push(Self { name, descriptor });
                }
                Some(digest) if *digest == descriptor.digest => {}
                Some(_) => {
                    if ambiguous.insert(name.clone()) {
                        monitor.warn(format_args!("left out: tag is ambiguous: {name}"));
                    }
                }
            }
        }
        out.retain(|request| !ambiguous.contains(&request.name));
        if platform.is_some() {
            let find = |request: Self| {
                Self::find(store, &Target::Name(request.name.clone()), platform, request.name)
            };
            return out.into_iter().map(find).collect();
        }
        Ok(out)
    }
}

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CopyReport {
    /// Blobs that were copied or shared.
    pub copied: u64,
    /// Blobs that were there already.
    pub present: u64,
    /// Bytes of the blobs that were copied or shared.
    pub bytes: u64,
}

/// Copies images with all they need, in parallel over blobs, and names them at the end.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the source lacks a blob, [`ErrorKind::Corrupt`] if one is damaged; no name is set then.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    what: &[Request],
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    let report = fetch(source, sink, what, monitor)?;
    for request in what {
        sink.tag(&request.name, &request.descriptor)?;
    }
    Ok(report)
}

/// As [`copy`], without naming the images: their names are for errors alone.
///
/// # Errors
/// As [`copy`].
pub fn fetch(
    source: &dyn Source,
    sink: &dyn Sink,
    what: &[Request],
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    let mut graph = Graph::default();
    for request in what {
        graph
            .add(source, &request.descriptor, &request.name, 0)
            .context(|| format!("copy {} ({})", request.name, request.descriptor.digest))?;
    }
    let total = graph
        .blobs
        .values()
        .map(|b| b.descriptor.size)
        .fold(0, u64::saturating_add);
    let task: Arc<dyn Task> = Arc::from(monitor.task("copying", Some(total)));
    let (copied, present, bytes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    // What is needed comes before what needs it.
    let highest = graph.blobs.values().map(|b| b.height).max().unwrap_or(0);
    for height in 0..=highest {
        let mut blobs: Vec<&Blob> = graph.blobs.values().filter(|b| b.height == height).collect();
        // Large ones first, so that no core idles at the end.
        blobs.sort_by_key(|b| (std::cmp::Reverse(b.descriptor.size), b.descriptor.digest));
        blobs.par_iter().try_for_each(|blob| -> Result<()> {
            let descriptor = &blob.descriptor;
            let context = || format!("copy {}: blob {}", blob.of, descriptor.digest);
            if copy_blob(source, sink, descriptor, &task).context(context)? {
                copied.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(descriptor.size, Ordering::Relaxed);
                monitor.count(Counter::BlobsWritten, 1);
                monitor.count(Counter::BlobBytesWritten, descriptor.size);
            } else {
                present.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
    }
    Ok(CopyReport {
        copied: copied.into_inner(),
        present: present.into_inner(),
        bytes: bytes.into_inner(),
    })
}

/// Copies one blob; `false` if it was there.
fn copy_blob(
    source: &dyn Source,
    sink: &dyn Sink,
    descriptor: &Descriptor,
    task: &Arc<dyn Task>,
) -> Result<bool> {
    if sink.has(descriptor)? {
        task.advance(descriptor.size);
        return Ok(false);
    }
    if let Some(file) = source.local(descriptor)
        && sink.adopt(descriptor, &file)?
    {
        task.advance(descriptor.size);
        return Ok(true);
    }
    sink.put(descriptor, &mut Counted::new(source.open(descriptor)?, task))?;
    Ok(true)
}

/// What the requested images need.
#[derive(Default)]
struct Graph {
    blobs: HashMap<Digest, Blob>,
    /// Digests on the way down, to see a cycle.
    open: HashSet<Digest>,
}

/// A blob to copy.
struct Blob {
    descriptor: Descriptor,
    /// How far it is above what needs nothing.
    height: usize,
    /// The first image that needs it.
    of: RefName,
}

impl Graph {
    /// Adds a blob that the image `of` needs, and all below it; returns its height.
    fn add(
        &mut self,
        source: &dyn Source,
        descriptor: &Descriptor,
        of: &RefName,
        depth: usize,
    ) -> Result<usize> {
        let digest = descriptor.digest;
        if let Some(known) = self.blobs.get(&digest) {
            if known.descriptor.size != descriptor.size {
                let text = format!(
                    "{digest} is said to be of {} and of {} bytes",
                    known.descriptor.size, descriptor.size
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            if known.descriptor.media_type == descriptor.media_type || known.height > 0 {
                return Ok(known.height);
            }
        }
        if depth > MAX_DEPTH || !self.open.insert(digest) {
            let text = format!("image index {digest} is nested deeper than {MAX_DEPTH} levels");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let mut height = 0;
        for child in children(source, descriptor)? {
            height = height.max(self.add(source, &child, of, depth + 1)? + 1);
        }
        self.open.remove(&digest);
        let blob = Blob {
            descriptor: descriptor.clone(),
            height,
            of: of.clone(),
        };
        self.blobs.insert(digest, blob);
        Ok(height)
    }
}

/// What a document needs. A subject is not followed: it may be anywhere.
fn children(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    let class = descriptor.media_type.class();
    if !matches!(class, MediaClass::Manifest | MediaClass::Index) {
        return Ok(Vec::new());
    }
    let digest = descriptor.digest;
    if descriptor.size > MAX_DOCUMENT {
        let text = format!(
            "{digest} is {} bytes; documents over {MAX_DOCUMENT} bytes are not read",
            descriptor.size
        );
        return Err(Error::new(ErrorKind::Limit, text));
    }
    let mut bytes = Vec::new();
    source
        .open(descriptor)?
        .read_to_end(&mut bytes)
        .context(|| format!("read {digest}"))?;
    if class == MediaClass::Index {
        let index: ImageIndex = json::parse(&bytes).context(|| format!("read image index {digest}"))?;
        index.check().context(|| format!("read image index {digest}"))?;
        return Ok(index.manifests);
    }
    let manifest: Manifest = json::parse(&bytes).context(|| format!("read manifest {digest}"))?;
    manifest.check().context(|| format!("read manifest {digest}"))?;
    Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
}
