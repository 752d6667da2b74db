// SPDX-License-Identifier: Apache-2.0
//! What a copy needs, found out before anything is copied.
//!
//! The documents are read level by level, the images first. A blob that is needed at several depths counts at the deepest, so
//! what comes deeper first is there before whatever needs it; and as no level is below the last, no circle and no index of
//! indexes is followed without end. Memory is kept only for blobs that the source or the sink has: what a document claims
//! takes none.
//!
//! A copy follows what documents declare, and what a document of an unknown kind mentions if it stands where a manifest
//! stands. The mentions in what a manifest holds are not followed: a signature names its image, and travels without it.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read as _};

use super::document::{Embedded, children};
use super::left_out::LeftOuts;
use super::{MAX_DEPTH, Request, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::mentions::each_mention;
use crate::spec::{Descriptor, Document, MediaClass, MediaType};
use crate::store::MAX_DOCUMENT;

/// The blobs to copy.
pub(super) struct Plan {
    blobs: HashMap<Digest, Needed>,
    /// Media types and names of images, of which many blobs have the same.
    texts: Vec<String>,
    known: HashMap<String, u32>,
    embedded: Embedded,
    left_out: LeftOuts,
}

/// A blob to copy; there may be many.
struct Needed {
    size: u64,
    data: Option<Box<str>>,
    /// Which text is its media type.
    media_type: u32,
    /// Which text is the first image that needs it.
    of: u32,
    /// How far it is below the images.
    depth: u8,
    place: Place,
}

/// A blob of a [`Plan`].
#[derive(Clone, Copy)]
pub(super) struct Blob<'a> {
    plan: &'a Plan,
    digest: &'a Digest,
    needed: &'a Needed,
}

impl Blob<'_> {
    /// As the first document has it that names it, without what says nothing of its bytes.
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor {
            data: self.needed.data.as_deref().map(str::to_owned),
            ..Descriptor::new(
                self.plan.text(self.needed.media_type),
                *self.digest,
                self.needed.size,
            )
        }
    }

    /// The first image that needs it.
    pub(super) fn image(&self) -> &str {
        self.plan.text(self.needed.of)
    }
}

impl Plan {
    /// Finds out what the images `what` need of `source`, to have them in `sink`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if neither has a part of an image, or any image of an index; [`ErrorKind::Corrupt`] if a document is
    /// damaged or two disagree,
    /// [`ErrorKind::Limit`] for indexes nested too deep.
    pub(super) fn new<'a>(
        source: &dyn Source,
        sink: &dyn Sink,
        what: impl IntoIterator<Item = &'a Request>,
    ) -> Result<Self> {
        let mut plan = Self {
            blobs: HashMap::new(),
            texts: Vec::new(),
            known: HashMap::new(),
            embedded: Embedded::default(),
            left_out: LeftOuts::default(),
        };
        let (mut roots, mut level) = (Vec::new(), Vec::new());
        for request in what {
            let of = plan.intern(&request.label());
            if !source.has(&request.descriptor)? {
                let opened = source.open(&request.descriptor).map(drop);
                opened
                    .context(|| format!("blob {}", request.descriptor.digest))
                    .context(|| format!("copy {}", request.label()))?;
            }
            plan.need(&request.descriptor, of, 0, Place::Image, &mut level)
                .context(|| format!("copy {}", request.label()))?;
            roots.push((&request.descriptor, of));
        }
        for depth in 1.. {
            let mut next = Vec::new();
            let mut met = HashSet::new();
            for digest in level {
                if met.insert(digest) {
                    plan.expand(source, sink, &digest, depth, &mut next)?;
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        if !plan.left_out.is_empty() {
            let mut met = HashSet::new();
            for (root, of) in roots {
                if met.insert(root.digest) {
                    plan.refuse_hollow(source, root, plan.text(of))?;
                }
            }
        }
        Ok(plan)
    }

    /// What documents declare and neither side has.
    pub(super) fn take_left_out(&mut self) -> LeftOuts {
        std::mem::take(&mut self.left_out)
    }

    /// The size of all blobs, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.blobs.values().map(|b| b.size).fold(0, u64::saturating_add)
    }

    /// The blobs by level, what is needed before what needs it; of each level large ones first, so that no core idles at the
    /// end.
    pub(super) fn levels(&self) -> impl Iterator<Item = Vec<Blob<'_>>> {
        let deepest = self.blobs.values().map(|b| b.depth).max().unwrap_or(0);
        (0..=deepest).rev().map(|depth| {
            let at_depth = self.blobs.iter().filter(|(_, needed)| needed.depth == depth);
            let mut blobs: Vec<Blob<'_>> = at_depth
                .map(|(digest, needed)| Blob {
                    plan: self,
                    digest,
                    needed,
                })
                .collect();
            blobs.sort_unstable_by_key(|b| (Reverse(b.needed.size), b.digest));
            blobs
        })
    }

    fn text(&self, at: u32) -> &str {
        self.texts.get(at as usize).map_or("", String::as_str)
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(&at) = self.known.get(text) {
            return at;
        }
        let at = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.known.insert(text.to_owned(), at);
        at
    }

    /// Notes a blob at this depth. One that is not known as such is added to `level`, since it may be a document.
    fn need(
        &mut self,
        found: &Descriptor,
        of: u32,
        depth: u8,
        place: Place,
        level: &mut Vec<Digest>,
    ) -> Result<()> {
        let digest = found.digest;
        if usize::from(depth) > MAX_DEPTH {
            let text = format!("image index above {digest} is nested deeper than {MAX_DEPTH} levels");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let media_type = self.intern(found.media_type.as_str());
        if let Some(known) = self.blobs.get_mut(&digest) {
            if known.size != found.size {
                let text = format!(
                    "{digest} is said to be of {} and of {} bytes",
                    known.size, found.size
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            let (old, is_higher) = (known.media_type, known.place < place);
            let is_deeper = known.depth < depth;
            known.depth = known.depth.max(depth);
            known.place = known.place.max(place);
            // What one document has for a mere file may be an image to another.
            let is_news = found.media_type.is_image() && !MediaType::from(self.text(old)).is_image();
            if is_news {
                self.blobs.entry(digest).and_modify(|b| b.media_type = media_type);
            }
            if is_news || is_higher || is_deeper {
                level.push(digest);
            }
            return Ok(());
        }
        let data = found.data.as_deref().map(Box::from);
        self.embedded
            .add(found.data.as_ref().map_or(0, |data| data.len() as u64))?;
        let needed = Needed {
            size: found.size,
            data,
            media_type,
            of,
            depth,
            place,
        };
        self.blobs.insert(digest, needed);
        level.push(digest);
        Ok(())
    }

    /// Notes what a document leads to, which is then at this depth.
    fn expand(
        &mut self,
        source: &dyn Source,
        sink: &dyn Sink,
        digest: &Digest,
        depth: u8,
        level: &mut Vec<Digest>,
    ) -> Result<()> {
        let Some((digest, needed)) = self.blobs.get_key_value(digest) else {
            return Ok(());
        };
        let blob = Blob {
            plan: self,
            digest,
            needed,
        };
        let (document, of, place) = (blob.descriptor(), needed.of, needed.place);
        let image = blob.image().to_owned();
        let context = || format!("copy {image}");
        let below = Below::of(source, &document, place).context(context)?;
        for child in below.blobs {
            let blob = || format!("blob {}", child.digest);
            let is_there = source.has(&child).context(blob).context(context)?;
            if below.rule == Rule::Mentioned {
                // A mention says nothing of a blob but its digest.
                if is_there
                    && self
                        .blobs
                        .get(&child.digest)
                        .is_none_or(|known| known.size == child.size)
                {
                    self.need(&child, of, depth, below.place, level)
                        .context(context)?;
                }
                continue;
            }
            if is_there {
                self.need(&child, of, depth, below.place, level)
                    .context(context)?;
            } else if sink.has(&child)? {
                // There is nothing to read it from. It was whole when it came there.
                self.need(&child, of, depth, below.place, &mut Vec::new())
                    .context(context)?;
            } else {
                let is_absent = source
                    .size(&child.digest)
                    .context(blob)
                    .context(context)?
                    .is_none();
                if is_absent && (below.rule == Rule::Present || is_elsewhere(&child)) {
                    self.left_out.add(&image, &document.digest, &child);
                } else {
                    // What can be opened all the same (bytes of another size) is read by the copy, which says what is wrong.
                    source.open(&child).context(blob).context(context)?;
                    self.need(&child, of, depth, below.place, level)
                        .context(context)?;
                }
            }
        }
        Ok(())
    }

    /// Refuses an index of which nothing is there: a copy of it would be a name for nothing.
    fn refuse_hollow(&self, source: &dyn Source, root: &Descriptor, label: &str) -> Result<()> {
        let mut met = HashSet::from([root.digest]);
        let mut stack = vec![root.clone()];
        let mut missing = None;
        while let Some(index) = stack.pop() {
            let below = Below::of(source, &index, Place::Image)?;
            if below.rule != Rule::Present || below.blobs.is_empty() {
                return Ok(());
            }
            for child in below.blobs {
                if !self.blobs.contains_key(&child.digest) {
                    missing.get_or_insert(child);
                } else if child.media_type.class() != MediaClass::Index {
                    return Ok(());
                } else if met.insert(child.digest) {
                    stack.push(child);
                }
            }
        }
        let Some(child) = missing else { return Ok(()) };
        let blob = || format!("blob {}", child.digest);
        let opened = source.open(&child).map(drop);
        opened.context(blob).context(|| format!("copy {label}"))
    }
}

/// Where a blob stands among those that are copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Among what a manifest holds: it may be a document, and is data all the same.
    Leaf,
    /// Where manifests stand: in `index.json`, in an index, or where a document of an unknown kind names it.
    Image,
}

/// How a document holds what it leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// It declares that, and is nothing without it.
    Whole,
    /// It declares that, and what is there of it is copied: an index may be sparse, and a manifest that is mere data belongs to
    /// an image that may be elsewhere.
    Present,
    /// It only mentions that, and may mean something else.
    Mentioned,
}

/// The blobs that a document leads to.
struct Below {
    blobs: Vec<Descriptor>,
    rule: Rule,
    /// Where they stand.
    place: Place,
}

impl Below {
    const NOTHING: Self = Self {
        blobs: Vec::new(),
        rule: Rule::Mentioned,
        place: Place::Leaf,
    };

    /// Reads a blob that stands in `place`. One that its descriptor calls a manifest or index is one; of all others the bytes
    /// tell, since no descriptor need be right.
    fn of(source: &dyn Source, descriptor: &Descriptor, place: Place) -> Result<Self> {
        match descriptor.media_type.class() {
            MediaClass::Manifest => return Ok(Self::whole(children(source, descriptor)?)),
            MediaClass::Index => return Ok(Self::sparse(children(source, descriptor)?)),
            _ => {}
        }
        let read = if descriptor.size <= MAX_DOCUMENT {
            document_of(source, descriptor)
        } else {
            Ok(None)
        };
        let document = match (read, place) {
            // What it is worth shows when it is copied.
            (Err(_), Place::Leaf) => None,
            (read, _) => read?,
        };
        Ok(match (document, place) {
            (Some(Document::Index(index)), Place::Image) => Self::sparse(index.manifests),
            (Some(document), Place::Image) => Self::whole(document.into_declared()),
            (Some(document), Place::Leaf) => Self {
                blobs: document.into_declared(),
                rule: Rule::Present,
                place: Place::Leaf,
            },
            (None, Place::Image) => Self::mentioned(source, descriptor)?,
            (None, Place::Leaf) => Self::NOTHING,
        })
    }

    /// Those of a manifest.
    fn whole(blobs: Vec<Descriptor>) -> Self {
        Self {
            blobs,
            rule: Rule::Whole,
            place: Place::Leaf,
        }
    }

    /// Those of an index.
    fn sparse(blobs: Vec<Descriptor>) -> Self {
        Self {
            blobs,
            rule: Rule::Present,
            place: Place::Image,
        }
    }

    /// The blobs of the source whose digests stand anywhere in a document.
    fn mentioned(source: &dyn Source, descriptor: &Descriptor) -> Result<Self> {
        let mut known = HashSet::new();
        let mut blobs = Vec::new();
        each_mention(source.open(descriptor)?, |digest| {
            if let Some(size) = source.size(&digest)?
                && known.insert(digest)
            {
                blobs.push(Descriptor::new(String::new(), digest, size));
            }
            Ok(())
        })?;
        Ok(Self {
            blobs,
            rule: Rule::Mentioned,
            place: Place::Image,
        })
    }
}

/// Reads a blob as a document that declares what it needs; `None` if it is none. Of what does not begin like one, only the
/// beginning is read.
fn document_of(source: &dyn Source, descriptor: &Descriptor) -> Result<Option<Document>> {
    let mut reader = BufReader::with_capacity(512, source.open(descriptor)?);
    let start = reader.fill_buf()?;
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(match Document::parse(&bytes) {
        Ok(document) => document,
        // One that can be read in several ways is of no kind.
        Err(err) if matches!(err.kind(), ErrorKind::Corrupt | ErrorKind::Limit) => None,
        Err(err) => return Err(err),
    })
}

/// Whether this is a layer that must not be given on, and says where it is to be had. Spec: image-spec, layer,
/// "Non-Distributable Layers".
fn is_elsewhere(layer: &Descriptor) -> bool {
    !layer.urls.is_empty() && layer.media_type.is_nondistributable()
}
