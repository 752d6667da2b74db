// SPDX-License-Identifier: Apache-2.0
//! Images in and out: copying between stores, directories and archives.
//!
//! Every copy is [`copy`] from a [`Source`] to a [`Sink`]. Invariants: bytes are verified on their way; what a document
//! needs is in the sink before the document, and all of it before the tag, so that an interrupted copy leaves no tag
//! and its rerun goes on where it stopped.

mod about;
mod archive;
mod convert;
mod docker_archive;
mod docker_name;
mod docker_writer;
mod document;
mod left_out;
mod oci_archive;
mod oci_dir;
mod offer;
mod plan;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

pub(crate) use about::referrers;
pub use archive::Archive;
pub(crate) use convert::ToOci;
#[doc(hidden)]
pub use docker_archive::DockerArchive;
pub(crate) use docker_name::DockerName;
pub(crate) use docker_writer::{DockerImage, write_docker_archive};
use document::read_document;
pub(crate) use left_out::{LeftOut, LeftOuts};
#[doc(hidden)]
pub use oci_archive::OciArchive;
pub use oci_archive::OciArchiveSink;
pub use oci_dir::StoreSink;
pub(crate) use offer::Listed;
#[doc(hidden)]
pub use offer::Offer;
use plan::{Blob, Plan};

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{MAX_DEPTH, Target, pick, resolve_one, resolve_whole};
use crate::progress::{Counted, Counter, Monitor, Task};
use crate::spec::{Descriptor, Platform, RefName, RefValue};
use crate::store::Store;

/// Where images come from.
pub trait Source: Sync {
    /// All entries, in order.
    fn list(&self) -> Result<Cow<'_, [Listed]>>;

    /// What an entry of [`Source::list`] is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if that cannot be told, which does not concern the others.
    fn descriptor(&self, listed: &Listed) -> Result<Descriptor> {
        let none = || {
            Error::new(
                ErrorKind::Invalid,
                format!("entry {} is of another source", listed.number),
            )
        };
        listed.own().ok_or_else(none)?
    }

    /// Opens a blob. Its last read fails if it is not what the descriptor says.
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>>;

    /// Size in bytes of the blob that is there by this digest, if one is.
    fn size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Whether the blob is there, or in its descriptor, as far as that shows without reading it.
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(descriptor.data.is_some() || self.size(&descriptor.digest)? == Some(descriptor.size))
    }

    /// What is about any of `subjects` and has no entry, where the source can tell.
    fn referrers(&self, _subjects: &[Digest]) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

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

    /// Gives a name to all that has it, once that is there, or lists it without a name.
    fn tag(&self, name: Option<&RefName>, value: &RefValue) -> Result<()>;

    /// As [`Sink::tag`], for what was not asked for by this name: what the sink has by it stays, or comes together with it.
    fn tag_along(&self, name: &RefName, value: &RefValue) -> Result<()> {
        self.tag(Some(name), value)
    }

    /// Whether blobs are to come one after the other, in the same order each time.
    fn in_order(&self) -> bool {
        false
    }
}

/// An image or index to copy. There are several of one name where the name has several entries.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name in the sink, if it is to have one.
    pub name: Option<RefName>,
    /// What it is.
    pub descriptor: Descriptor,
}

impl Request {
    /// What `target` stands for in `store`, to be called `name` if at all: each of its entries, an index with all its images;
    /// or its image for `platform` alone.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if several fit `platform`,
    /// [`ErrorKind::Corrupt`] if an entry of the name is no descriptor and all are asked for.
    pub fn find(
        store: &Store,
        target: &Target,
        platform: Option<&Platform>,
        name: impl Into<Option<RefName>>,
    ) -> Result<Vec<Self>> {
        let found = match platform {
            Some(_) => last(resolve_one(store, target, platform)?)?.into(),
            None => resolve_whole(store, target)?,
        };
        let name = name.into();
        let request = |descriptor| Self {
            name: name.clone(),
            descriptor,
        };
        Ok(found.into_iter().map(request).collect())
    }

    /// Of each name, or image without one, the image for `platform` alone (this machine's for `None`) if it leads to several.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none for it, [`ErrorKind::Ambiguous`] if there are several.
    pub fn for_platform(
        requests: &[Self],
        source: &dyn Source,
        platform: Option<&Platform>,
    ) -> Result<Vec<Self>> {
        let read = |descriptor: &Descriptor| read_document(source, descriptor);
        let one = |(name, value): (Option<RefName>, RefValue)| {
            let label = label(name.as_ref(), value.entries());
            let walk = pick(value.entries(), platform, &label, &read)?;
            Ok(Self {
                name,
                descriptor: last(walk)?,
            })
        };
        by_name(requests).into_iter().map(one).collect()
    }

    /// What it is called in messages.
    fn label(&self) -> String {
        label(self.name.as_ref(), std::slice::from_ref(&self.descriptor))
    }
}

fn label(name: Option<&RefName>, entries: &[Descriptor]) -> String {
    let digest = || entries.first().map(|first| first.digest.to_string());
    let name = name.map(|name| name.as_str().to_owned());
    name.or_else(digest).unwrap_or_default()
}

/// What each name is to have, in the order in which they come first; what has no name stands by itself.
fn by_name(requests: &[Request]) -> Vec<(Option<RefName>, RefValue)> {
    let mut out: Vec<(Option<RefName>, Vec<Descriptor>)> = Vec::new();
    let mut places: HashMap<&RefName, usize> = HashMap::new();
    for Request { name, descriptor } in requests {
        let next = out.len();
        let place = name.as_ref().map(|name| *places.entry(name).or_insert(next));
        match place.and_then(|at| out.get_mut(at)) {
            Some((_, entries)) => entries.push(descriptor.clone()),
            None => out.push((name.clone(), vec![descriptor.clone()])),
        }
    }
    let value = |(name, entries): (_, Vec<_>)| (name, RefValue::new(entries));
    out.into_iter().map(value).collect()
}

fn last(mut walk: Vec<Descriptor>) -> Result<Descriptor> {
    walk.pop()
        .ok_or_else(|| Error::new(ErrorKind::Invalid, "empty descriptor path"))
}

/// What was copied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// Blobs that were copied or shared.
    pub copied: u64,
    /// Blobs that were there already.
    pub present: u64,
    /// Bytes of the blobs that were copied or shared.
    pub bytes: u64,
    /// What documents declare and neither side has: the copy is as sparse as the source.
    pub left_out: LeftOuts,
}

/// Copies images with all they need, in parallel over blobs, and names them at the end. What comes `along` with those that were
/// asked for gives way to what the sink has by its name.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the source lacks a blob of an image, or every image of an index; [`ErrorKind::Corrupt`] if a blob
/// is damaged. No name is set then.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    what: &[Request],
    along: &[Request],
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    let report = transport(source, sink, what.iter().chain(along), monitor)?;
    for (name, value) in by_name(what) {
        sink.tag(name.as_ref(), &value)?;
    }
    for (name, value) in by_name(along) {
        match name {
            Some(name) => sink.tag_along(&name, &value)?,
            None => sink.tag(None, &value)?,
        }
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
    transport(source, sink, what, monitor)
}

fn transport<'a>(
    source: &dyn Source,
    sink: &dyn Sink,
    what: impl IntoIterator<Item = &'a Request>,
    monitor: &dyn Monitor,
) -> Result<CopyReport> {
    let mut plan = Plan::new(source, sink, what)?;
    let left_out = plan.take_left_out();
    left_out.tell(monitor);
    let task: Arc<dyn Task> = Arc::from(monitor.task("copying", Some(plan.size())));
    let (copied, present, bytes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    for blobs in plan.levels() {
        let copy_one = |blob: &Blob<'_>| -> Result<()> {
            let descriptor = blob.descriptor();
            let context = || format!("copy {}: blob {}", blob.image(), descriptor.digest);
            if copy_blob(source, sink, &descriptor, &task).context(context)? {
                copied.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(descriptor.size, Ordering::Relaxed);
                monitor.count(Counter::BlobsWritten, 1);
                monitor.count(Counter::BlobBytesWritten, descriptor.size);
            } else {
                present.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        if sink.in_order() {
            blobs.iter().try_for_each(copy_one)?;
        } else {
            blobs.par_iter().try_for_each(copy_one)?;
        }
    }
    Ok(CopyReport {
        copied: copied.into_inner(),
        present: present.into_inner(),
        bytes: bytes.into_inner(),
        left_out,
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
