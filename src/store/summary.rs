// SPDX-License-Identifier: Apache-2.0
//! What there is to say of images in a list: platform and size. However often an image is named, its documents are read once.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{MAX_DOCUMENT, Store};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::spec::{Descriptor, MediaClass, Platform, json};

/// The name of a platform that a config gives may be so long, in bytes; a longer one is none.
const MAX_NAME: usize = 200;

/// More blobs than this are not counted for one image or index.
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
    manifests: HashMap<Key, Known>,
    configs: HashMap<Key, Option<Platform>>,
}

/// What a manifest says: the platform in its config, and the bytes of all that it names.
#[derive(Clone, Default)]
struct Known {
    platform: Option<Platform>,
    below: Option<u64>,
}

/// As much of a manifest as is needed here: all of it may be a hundred times as large.
#[derive(Deserialize)]
struct Manifest {
    config: Named,
    layers: Option<Vec<Sized>>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    digest: Digest,
    size: u64,
    data: Option<String>,
}

#[derive(Deserialize)]
struct Sized {
    size: u64,
}

/// What a manifest or index needs.
#[derive(Deserialize)]
struct Needs {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// As much of a config.
#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    os: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    #[serde(rename = "os.features")]
    os_features: Option<Vec<String>>,
    variant: Option<String>,
}

impl Config {
    fn platform(self) -> Platform {
        Platform {
            architecture: self.architecture.unwrap_or_default(),
            os: self.os.unwrap_or_default(),
            os_version: self.os_version.unwrap_or_default(),
            os_features: self.os_features.unwrap_or_default(),
            variant: self.variant.unwrap_or_default(),
            ..Platform::default()
        }
    }
}

impl std::fmt::Debug for Summaries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Summaries")
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
            // That a size is wrong would only show at the end.
            let (digest, size) = (&descriptor.digest, descriptor.size);
            if descriptor.data.is_none() && layout.blob_size(digest)? != Some(size) {
                let text = format!("blob {digest} is not of {size} bytes");
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            layout.read_blob(descriptor, MAX_DOCUMENT)
        })
    }

    /// The summary of what `descriptor` names.
    pub fn of(&mut self, descriptor: &Descriptor) -> Summary {
        let Known { platform, below } = self.manifest(descriptor);
        Summary {
            platform: descriptor.platform.clone().or(platform),
            size: below.map(|below| descriptor.size.saturating_add(below)),
        }
    }

    /// The platform alone, for which nothing is read if the descriptor has it.
    pub fn platform(&mut self, descriptor: &Descriptor) -> Option<Platform> {
        let said = descriptor.platform.clone();
        said.or_else(|| self.manifest(descriptor).platform)
    }

    /// Bytes of all that `descriptor` needs as its documents say, each blob once: of an image its manifest, config and layers, of
    /// an index the images in it. What cannot be read needs nothing else. `None` if there are too many blobs to count.
    pub fn total(&self, descriptor: &Descriptor) -> Option<u64> {
        let (mut met, mut total) = (HashSet::new(), 0_u64);
        let mut stack = vec![(descriptor.clone(), true)];
        while let Some((next, is_document)) = stack.pop() {
            if !met.insert(next.digest) {
                continue;
            }
            if met.len() > MAX_NEEDED {
                return None;
            }
            total = total.saturating_add(next.size);
            if !is_document || !matches!(next.media_type.class(), MediaClass::Manifest | MediaClass::Index) {
                continue;
            }
            let bytes = (self.read)(&next).ok();
            let Some(needs) = bytes.and_then(|bytes| json::parse::<Needs>(&bytes).ok()) else {
                continue;
            };
            let blobs = needs.config.into_iter().chain(needs.layers.into_iter().flatten());
            stack.extend(blobs.map(|blob| (blob, false)));
            stack.extend(needs.manifests.into_iter().flatten().map(|below| (below, true)));
        }
        Some(total)
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Known {
        if descriptor.media_type.class() != MediaClass::Manifest {
            return Known::default();
        }
        let key = (descriptor.digest, descriptor.size);
        if let Some(known) = self.manifests.get(&key) {
            return known.clone();
        }
        let bytes = (self.read)(descriptor).ok();
        let manifest = bytes.and_then(|bytes| json::parse::<Manifest>(&bytes).ok());
        let known = manifest.map(|Manifest { config, layers }| {
            let sizes = layers.iter().flatten().map(|layer| layer.size);
            let named = Descriptor {
                data: config.data,
                ..Descriptor::new(config.media_type.unwrap_or_default(), config.digest, config.size)
            };
            Known {
                below: Some(sizes.fold(config.size, u64::saturating_add)),
                platform: self.config(&named),
            }
        });
        let known = known.unwrap_or_default();
        self.manifests.insert(key, known.clone());
        known
    }

    fn config(&mut self, descriptor: &Descriptor) -> Option<Platform> {
        if descriptor.media_type.class() != MediaClass::Config {
            return None;
        }
        let read = || {
            let config: Config = json::parse(&(self.read)(descriptor).ok()?).ok()?;
            Some(config.platform()).filter(|platform| platform.to_string().len() <= MAX_NAME)
        };
        let key = (descriptor.digest, descriptor.size);
        self.configs.entry(key).or_insert_with(read).clone()
    }
}
