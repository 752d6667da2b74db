// SPDX-License-Identifier: Apache-2.0
//! Platform and size of images in a list. However often an image is named, its documents are read once.

use std::collections::{HashMap, HashSet};

use serde_json::Map;

use super::{MAX_DOCUMENT, Store};
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Layout;
use crate::spec::{Descriptor, Document, Manifest, MediaClass, Platform, json};

/// The name of a platform that a config gives may be so long, in bytes; a longer one is none.
const MAX_NAME: usize = 200;

/// Maximum number of blobs that are counted for one image or index.
const MAX_NEEDED: usize = 1 << 18;

/// Platform and size of an image, as far as its documents can be read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// The platform: that of the descriptor, else that of the config.
    pub platform: Option<Platform>,
    /// Bytes of the manifest, its config and its layers; `None` for what is no image.
    pub size: Option<u64>,
}

type Read<'a> = dyn Fn(&Descriptor) -> Result<Vec<u8>> + Send + 'a;

/// A document as a descriptor names it.
type Key = (Digest, u64);

/// Summaries of images that are asked for one after the other.
pub struct Summaries<'a> {
    read: Box<Read<'a>>,
    /// Summaries of manifests, with the platforms of their configs.
    manifests: HashMap<Key, Summary>,
    configs: HashMap<Key, Option<Platform>>,
}

impl Store {
    /// The platform of an image: that of its descriptor, else that of its config, as far as these can be read.
    pub(crate) fn platform(&self, descriptor: &Descriptor) -> Option<Platform> {
        Summaries::in_store(self).platform(descriptor)
    }
}

impl<'a> Summaries<'a> {
    /// Of images whose documents are read by `read`.
    pub fn new(read: impl Fn(&Descriptor) -> Result<Vec<u8>> + Send + 'a) -> Self {
        Self {
            read: Box::new(read),
            manifests: HashMap::new(),
            configs: HashMap::new(),
        }
    }

    /// Of images of a store.
    pub fn in_store(store: &'a Store) -> Self {
        Self::in_layout(&store.layout)
    }

    pub(super) fn in_layout(layout: &'a Layout) -> Self {
        Self::new(|descriptor| {
            if !is_of_its_size(layout, descriptor)? {
                let (digest, size) = (&descriptor.digest, descriptor.size);
                fail!(Corrupt, "blob {digest} is not of {size} bytes");
            }
            layout.read_blob(descriptor, MAX_DOCUMENT)
        })
    }

    /// The summary of what `descriptor` names.
    pub fn of(&mut self, descriptor: &Descriptor) -> Summary {
        let found = self.manifest(descriptor);
        Summary {
            platform: descriptor.platform.clone().or(found.platform),
            ..found
        }
    }

    /// The platform alone, for which nothing is read if the descriptor has it.
    pub fn platform(&mut self, descriptor: &Descriptor) -> Option<Platform> {
        let said = descriptor.platform.clone();
        said.or_else(|| self.manifest(descriptor).platform)
    }

    /// Bytes of all that `descriptor` needs as its documents say, each blob once: of an image its manifest, config and layers, of
    /// an index the images in it. A document that cannot be read needs nothing else. `None` if there are too many blobs to count.
    pub fn total(&self, descriptor: &Descriptor) -> Option<u64> {
        let (mut met, mut total) = (HashSet::new(), 0_u64);
        let mut stack = vec![(descriptor.clone(), true)];
        while let Some((next, is_document)) = stack.pop() {
            if !met.insert(next.digest) {
                continue;
            }
            // An index can name any number of blobs that are not here.
            if met.len() > MAX_NEEDED {
                return None;
            }
            total = total.saturating_add(next.size);
            if !is_document || !next.media_type.is_image() {
                continue;
            }
            let document = (self.read)(&next).and_then(|bytes| Document::parse(&bytes));
            if let Ok(Some(document)) = document {
                let is_index = matches!(document, Document::Index(_));
                stack.extend(document.into_declared().into_iter().map(|blob| (blob, is_index)));
            }
        }
        Some(total)
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Summary {
        if descriptor.media_type.class() != MediaClass::Manifest {
            return Summary::default();
        }
        let key = (descriptor.digest, descriptor.size);
        if let Some(known) = self.manifests.get(&key) {
            return known.clone();
        }
        let mut known = Summary::default();
        if let Ok(manifest) = (self.read)(descriptor).and_then(|bytes| Manifest::parse(&bytes)) {
            let below = std::iter::once(&manifest.config).chain(&manifest.layers);
            // A manifest may name any sizes.
            known.size = Some(below.fold(descriptor.size, |sum, blob| sum.saturating_add(blob.size)));
            known.platform = self.config(&manifest.config);
        }
        self.manifests.insert(key, known.clone());
        known
    }

    fn config(&mut self, descriptor: &Descriptor) -> Option<Platform> {
        // The config of an artifact may be anything, and may have members of these names.
        if descriptor.media_type.class() != MediaClass::Config {
            return None;
        }
        let key = (descriptor.digest, descriptor.size);
        let known = self.configs.entry(key);
        known
            .or_insert_with(|| read_platform(&(self.read)(descriptor).ok()?))
            .clone()
    }
}

/// Returns the platform in a config.
fn read_platform(config: &[u8]) -> Option<Platform> {
    let mut platform: Platform = json::parse(config).ok()?;
    // All other members of the config are taken as more of the platform.
    platform.extra = Map::new();
    Some(platform).filter(|platform| platform.to_string().len() <= MAX_NAME)
}

/// Returns whether a blob has the size that its descriptor gives it: that it has not would else show at the end of a read.
pub(super) fn is_of_its_size(layout: &Layout, descriptor: &Descriptor) -> Result<bool> {
    Ok(descriptor.data.is_some() || layout.blob_size(&descriptor.digest)? == Some(descriptor.size))
}
