// SPDX-License-Identifier: Apache-2.0
//! The blobs that a copy needs, found before anything is copied.
//!
//! The documents are read level by level, the images first. A blob that is needed at several depths counts at the deepest, so
//! what comes deeper first is there before whatever needs it; and as no level is below the last, no circle and no index of
//! indexes is followed without end. Memory is kept only for blobs that the source or the sink has: what a document claims
//! takes none.
//!
//! A copy follows what documents declare, and what a document of an unknown kind mentions if it stands where a manifest
//! stands. The mentions in what a manifest holds are not followed: a signature names its image, and travels without it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufReader, Read as _};
use std::sync::Arc;

use super::document::{MemoryBudget, is_index};
use super::missing::MissingBlobs;
use super::{Request, Sink, Source};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::image::{ReadDocument as _, check_depth};
use crate::spec::mentions::{begins_like_json, each_digest};
use crate::spec::{Descriptor, Document, MediaClass, MediaType};
use crate::store::MAX_DOCUMENT;

/// The blobs to copy.
pub(super) struct Plan<'a> {
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    blobs: HashMap<Digest, Needed>,
    budget: MemoryBudget,
    /// Blobs that documents declare and neither side has.
    pub missing: MissingBlobs,
}

/// A blob to copy; there may be many.
pub(super) struct Needed {
    pub size: u64,
    data: Option<Box<str>>,
    media_type: MediaType,
    /// The first image that needs it.
    pub image: Arc<str>,
    /// Depth below the images.
    depth: u8,
    place: Place,
}

impl Needed {
    /// Returns whether it is a manifest or an index that stands where such documents stand, and not mere data.
    pub(super) fn is_manifest(&self) -> bool {
        self.place == Place::Image && self.media_type.is_image()
    }

    /// Returns the descriptor of the first document that names the blob, without what says nothing of its bytes.
    pub(super) fn descriptor(&self, digest: &Digest) -> Descriptor {
        Descriptor {
            data: self.data.as_deref().map(str::to_owned),
            ..Descriptor::new(self.media_type.clone(), *digest, self.size)
        }
    }
}

impl<'a> Plan<'a> {
    /// Finds out what the images `what` need of `source`, to have them in `sink`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if neither has a part of an image, or any image of an index; [`ErrorKind::Corrupt`] if a document is
    /// damaged or two disagree, [`ErrorKind::Limit`] for indexes nested too deep.
    pub(super) fn new(source: &'a dyn Source, sink: &'a dyn Sink, what: Vec<&Request>) -> Result<Self> {
        let mut plan = Self {
            source,
            sink,
            blobs: HashMap::new(),
            budget: MemoryBudget::default(),
            missing: MissingBlobs::default(),
        };
        let mut roots = Vec::new();
        for request in what {
            let label: Arc<str> = request.label().into();
            let entries = request.value.entries().iter();
            roots.extend(entries.map(|root| (root, Arc::clone(&label))));
        }
        let mut level = Vec::new();
        for (root, label) in &roots {
            plan.add_root(root, label, &mut level)
                .context(|| format!("copy {label}"))?;
        }
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            // Several documents of the level above may lead to one. The order stays, as it tells which image is blamed.
            let mut met = HashSet::new();
            level.retain(|digest| met.insert(*digest));
            let whole = sink.whole(&plan.documents(&level))?;
            level.retain(|digest| !whole.contains(digest));
            for digest in std::mem::take(&mut level) {
                plan.expand(&digest, depth, &mut level)?;
            }
        }
        // Only a copy that lacks something can lack all.
        if !plan.missing.is_empty() {
            for (root, label) in roots {
                plan.refuse_hollow(root).context(|| format!("copy {label}"))?;
            }
        }
        Ok(plan)
    }

    /// Returns the size of all blobs in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blobs.values().map(|b| b.size).fold(0, u64::saturating_add)
    }

    /// Returns the blobs by level, what is needed before what needs it; of each level large ones first, so that no core idles
    /// at the end.
    pub(super) fn levels(&self) -> impl Iterator<Item = Vec<(&Digest, &Needed)>> {
        let deepest = self.blobs.values().map(|b| b.depth).max().unwrap_or(0);
        (0..=deepest).rev().map(|depth| {
            let at_depth = self.blobs.iter().filter(|(_, needed)| needed.depth == depth);
            let mut blobs: Vec<_> = at_depth.collect();
            blobs.sort_unstable_by_key(|(digest, needed)| (Reverse(needed.size), *digest));
            blobs
        })
    }

    /// Returns those of some blobs that stand where manifests and indexes stand.
    fn documents(&self, digests: &[Digest]) -> Vec<Descriptor> {
        let needed = digests
            .iter()
            .filter_map(|digest| Some((digest, self.blobs.get(digest)?)));
        let documents = needed.filter(|(_, needed)| needed.is_manifest());
        documents
            .map(|(digest, needed)| needed.descriptor(digest))
            .collect()
    }

    /// Notes an image that is asked for.
    fn add_root(&mut self, root: &Descriptor, label: &Arc<str>, level: &mut Vec<Digest>) -> Result<()> {
        if !self.source.has(root)? {
            let opened = self.source.open(root);
            opened.context(|| format!("blob {}", root.digest))?;
        }
        if self.need(root, label, 0, Place::Image)? {
            level.push(root.digest);
        }
        Ok(())
    }

    /// Notes a blob at this depth. Returns whether that is news, so that it is to be looked into: it may be a document.
    fn need(&mut self, found: &Descriptor, image: &Arc<str>, depth: u8, place: Place) -> Result<bool> {
        let digest = found.digest;
        check_depth(&digest, depth.into())?;
        let Some(known) = self.blobs.get_mut(&digest) else {
            self.budget.charge(found)?;
            let needed = Needed {
                size: found.size,
                data: found.data.as_deref().map(Box::from),
                media_type: found.media_type.clone(),
                image: Arc::clone(image),
                depth,
                place,
            };
            self.blobs.insert(digest, needed);
            return Ok(true);
        };
        if known.size != found.size {
            let (one, other) = (known.size, found.size);
            fail!(Corrupt, "{digest} is said to be of {one} and of {other} bytes");
        }
        let was = (known.depth, known.place);
        known.depth = known.depth.max(depth);
        known.place = known.place.max(place);
        // A blob that is a mere file to one document may be an image to another.
        let is_image = found.media_type.is_image() && !known.media_type.is_image();
        if is_image {
            known.media_type.clone_from(&found.media_type);
        }
        Ok(is_image || was != (known.depth, known.place))
    }

    /// Notes the blobs that a document leads to, which are then at this depth.
    fn expand(&mut self, digest: &Digest, depth: u8, level: &mut Vec<Digest>) -> Result<()> {
        let Some(needed) = self.blobs.get(digest) else {
            return Ok(());
        };
        let (document, image) = (needed.descriptor(digest), Arc::clone(&needed.image));
        let context = || format!("copy {image}");
        let below = Below::of(self.source, &document, needed.place).context(context)?;
        for child in &below.blobs {
            let found = self.find(child, below.is_sparse);
            let found = found
                .context(|| format!("blob {}", child.digest))
                .context(context)?;
            let Some(is_in_source) = found else {
                self.missing.add(&image, digest, child);
                continue;
            };
            if self.need(child, &image, depth, below.place).context(context)? && is_in_source {
                level.push(child.digest);
            }
        }
        Ok(())
    }

    /// Returns whether the source has a blob of a document, or else the sink; `None` if neither has it and the copy may lack it.
    fn find(&self, blob: &Descriptor, is_sparse: bool) -> Result<Option<bool>> {
        if self.source.has(blob)? {
            return Ok(Some(true));
        }
        // There is nothing to read it from. It was whole when it came there, with what is below it.
        if self.sink.has(blob)? {
            return Ok(Some(false));
        }
        let may_lack = is_sparse || is_elsewhere(blob);
        if may_lack && self.source.size(&blob.digest)?.is_none() {
            return Ok(None);
        }
        // A blob that can be opened all the same (bytes of another size) is read by the copy, which reports the fault.
        self.source.open(blob)?;
        Ok(Some(true))
    }

    /// Refuses an index of which nothing is there: a copy of it would be a name for nothing.
    fn refuse_hollow(&self, root: &Descriptor) -> Result<()> {
        let mut met = HashSet::from([root.digest]);
        let mut stack = vec![root.clone()];
        let mut missing = None;
        while let Some(index) = stack.pop() {
            let below = Below::of(self.source, &index, Place::Image)?;
            if !below.is_sparse || below.blobs.is_empty() {
                return Ok(());
            }
            for child in below.blobs {
                if !self.blobs.contains_key(&child.digest) {
                    missing.get_or_insert(child);
                } else if !is_index(&child) {
                    return Ok(());
                } else if met.insert(child.digest) {
                    stack.push(child);
                }
            }
        }
        let Some(child) = missing else { return Ok(()) };
        let opened = self.source.open(&child).map(drop);
        opened.context(|| format!("blob {}", child.digest))
    }
}

/// Place of a blob among those that are copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Among what a manifest holds: it may be a document, and is data all the same.
    Leaf,
    /// A place of manifests: in `index.json`, in an index, or in a document of an unknown kind that names it.
    Image,
}

/// The blobs that a document leads to.
struct Below {
    blobs: Vec<Descriptor>,
    /// Whether those that are there are enough: an index may be sparse, and a manifest that is mere data belongs to an image
    /// that may be elsewhere.
    is_sparse: bool,
    place: Place,
}

impl Below {
    /// Reads a blob that stands in `place`. One that its descriptor calls a manifest or index is one; of all others the bytes
    /// tell, since no descriptor need be right.
    fn of(source: &dyn Source, descriptor: &Descriptor, place: Place) -> Result<Self> {
        if place == Place::Leaf && !source.looks_into_leaves() {
            return Ok(Self {
                blobs: Vec::new(),
                is_sparse: true,
                place,
            });
        }
        let (blobs, is_index) = match (descriptor.media_type.class(), place) {
            (MediaClass::Index, _) => (source.read_index(descriptor)?.manifests, true),
            (MediaClass::Manifest, _) => (source.read_manifest(descriptor)?.value.into_declared(), false),
            // A fault of mere data is found when it is copied. A manifest among it may belong to an image that is elsewhere,
            // and has no images below it.
            (_, Place::Leaf) => {
                let document = detect(source, descriptor).ok().flatten();
                return Ok(Self {
                    blobs: document.map(Document::into_declared).unwrap_or_default(),
                    is_sparse: true,
                    place,
                });
            }
            (_, Place::Image) => match detect(source, descriptor)? {
                Some(Document::Index(index)) => (index.manifests, true),
                Some(document) => (document.into_declared(), false),
                None => (mentioned(source, descriptor)?, true),
            },
        };
        let place = if is_index { Place::Image } else { Place::Leaf };
        Ok(Self {
            blobs,
            is_sparse: is_index,
            place,
        })
    }
}

/// Returns the blobs of the source whose digests stand anywhere in a document.
fn mentioned(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    let mut reader = BufReader::with_capacity(512, source.open(descriptor)?);
    if !begins_like_json(&mut reader)? {
        return Ok(Vec::new());
    }
    let mut sizes = BTreeMap::new();
    each_digest(reader, |digest| {
        sizes.extend(source.size(&digest)?.map(|size| (digest, size)));
        Ok(())
    })?;
    let blobs = sizes.into_iter();
    Ok(blobs
        .map(|(digest, size)| Descriptor::new(String::new(), digest, size))
        .collect())
}

/// Reads a blob as a document that declares what it needs; `None` if it is none. Of what does not begin like one, only the
/// beginning is read.
fn detect(source: &dyn Source, descriptor: &Descriptor) -> Result<Option<Document>> {
    if descriptor.size > MAX_DOCUMENT {
        return Ok(None);
    }
    let mut reader = BufReader::with_capacity(512, source.open(descriptor)?);
    if !begins_like_json(&mut reader)? {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    match Document::parse(&bytes) {
        // One that can be read in several ways is of no kind.
        Err(err) if matches!(err.kind(), ErrorKind::Corrupt | ErrorKind::Limit) => Ok(None),
        document => document,
    }
}

/// Returns whether this is a layer that must not be given on, and says where it is to be had. Spec: image-spec, layer,
/// "Non-Distributable Layers".
fn is_elsewhere(layer: &Descriptor) -> bool {
    !layer.urls.is_empty() && layer.media_type.is_nondistributable()
}
