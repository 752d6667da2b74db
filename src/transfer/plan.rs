// SPDX-License-Identifier: Apache-2.0
//! What a copy needs, found out before anything is copied.
//!
//! The documents are read level by level, the images first. A blob that is needed at several depths counts at the deepest, so
//! what comes deeper first is there before whatever needs it; and as no level is below the last, no circle and no index of
//! indexes is followed without end. Memory is kept only for blobs that the source or the sink has: what a document claims
//! takes none.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io::Cursor;

use serde::Deserialize;

use super::document::{Embedded, children, read_document};
use super::{MAX_DEPTH, Request, Sink, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::index::{Content, read_links};
use crate::spec::{Descriptor, MediaClass, MediaType, json};
use crate::store::MAX_DOCUMENT;

/// The blobs to copy.
pub(super) struct Plan {
    blobs: HashMap<Digest, Needed>,
    /// Media types and names of images, of which many blobs have the same.
    texts: Vec<String>,
    known: HashMap<String, u32>,
    embedded: Embedded,
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
    /// [`ErrorKind::NotFound`] if neither has something, [`ErrorKind::Corrupt`] if a document is damaged or two disagree,
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
        };
        let mut level = Vec::new();
        for request in what {
            let of = plan.intern(&request.label());
            plan.need(&request.descriptor, of, 0, &mut level)
                .context(|| format!("copy {}", request.label()))?;
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
        Ok(plan)
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

    /// Notes a blob at this depth; one that may be a document and is not known there is added to `level`.
    fn need(&mut self, found: &Descriptor, of: u32, depth: u8, level: &mut Vec<Digest>) -> Result<()> {
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
            let old = known.media_type;
            let is_deeper = known.depth < depth;
            known.depth = known.depth.max(depth);
            // What one document has for a mere file may be an image to another.
            let reading = Reading::of(&found.media_type);
            let is_news = reading > Reading::of(&MediaType::from(self.text(old)));
            if is_news {
                self.blobs.entry(digest).and_modify(|b| b.media_type = media_type);
            }
            if is_news || (is_deeper && reading > Reading::Nothing) {
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
        };
        self.blobs.insert(digest, needed);
        if Reading::of(&found.media_type) > Reading::Nothing {
            level.push(digest);
        }
        Ok(())
    }

    /// Notes what a document names, which is then at this depth.
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
        let (document, of) = (blob.descriptor(), needed.of);
        let image = blob.image().to_owned();
        let context = || format!("copy {image}");
        let named = match Reading::of(&document.media_type) {
            Reading::Needs => children(source, &document).map(|named| (named, true)),
            _ => mentions(source, &document, depth == 1),
        };
        let (named, is_known) = named.context(context)?;
        for child in named {
            let known = self.blobs.get(&child.digest);
            let is_there = match known {
                Some(known) => is_known || known.size == child.size,
                None => source.has(&child)?,
            };
            if !is_there {
                // What a document of a kind that is not known names may be anything.
                if !is_known || is_elsewhere(&child) {
                    continue;
                }
                if !sink.has(&child)? {
                    let missing = || format!("blob {}", child.digest);
                    source.open(&child).context(missing).context(context)?;
                }
            }
            self.need(&child, of, depth, level).context(context)?;
        }
        Ok(())
    }
}

/// What is read in a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reading {
    /// Nothing: it names no others.
    Nothing,
    /// What it mentions, if it is a document.
    Mentions,
    /// What it needs.
    Needs,
}

impl Reading {
    fn of(media_type: &MediaType) -> Self {
        match media_type.class() {
            MediaClass::Manifest | MediaClass::Index => Self::Needs,
            MediaClass::Descriptor | MediaClass::Other => Self::Mentions,
            MediaClass::Config | MediaClass::Layer(_) | MediaClass::UnknownLayer | MediaClass::Empty => {
                Self::Nothing
            }
        }
    }
}

/// Whether this is a layer that must not be given on, and says where it is to be had. Spec: image-spec, layer,
/// "Non-Distributable Layers".
fn is_elsewhere(layer: &Descriptor) -> bool {
    !layer.urls.is_empty() && layer.media_type.is_nondistributable()
}

/// What a document of a type that is not known names by digest and size; nothing if it is no JSON document, or larger than
/// one is read. With it, whether it needs that: an image (`is_root`) which is a manifest or index by its own account is one,
/// whatever it is listed as. Below images, that may be the word of a descriptor that stands by itself, or of data.
fn mentions(source: &dyn Source, descriptor: &Descriptor, is_root: bool) -> Result<(Vec<Descriptor>, bool)> {
    #[derive(Deserialize)]
    struct Own {
        #[serde(rename = "mediaType")]
        media_type: MediaType,
    }
    if descriptor.size > MAX_DOCUMENT {
        return Ok((Vec::new(), false));
    }
    let bytes = read_document(source, descriptor)?;
    if is_root
        && let Ok(Own { media_type }) = json::parse(&bytes)
        && Reading::of(&media_type) == Reading::Needs
    {
        let document = Descriptor {
            media_type,
            ..descriptor.clone()
        };
        match children(source, &document) {
            Err(err) if err.kind() == ErrorKind::Corrupt => {}
            named => return Ok((named?, true)),
        }
    }
    let Content::Document { links } = read_links(Cursor::new(&bytes), &descriptor.digest, descriptor.size)?
    else {
        return Ok((Vec::new(), false));
    };
    let named = links
        .into_iter()
        .filter_map(|link| Some(Descriptor::new(link.media_type, link.digest, link.size?)));
    Ok((named.collect(), false))
}
