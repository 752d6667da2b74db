// SPDX-License-Identifier: Apache-2.0
//! What there is to know of an image without opening a layer.

use serde::Serialize;
use serde_json::Value;

use super::{Target, Walk, resolve, resolve_one};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, History, ImageConfig, Manifest, MediaClass, Platform, RefValue, json};
use crate::store::{Store, Summaries, Summary};

/// What a tag or digest turned out to be.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Stat {
    /// One image.
    Image(Box<ImageStat>),
    /// An index, or the entries of a name, that lead to several images or to none.
    Index(Box<IndexStat>),
}

/// A document beside the descriptor that names it.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// The descriptor.
    pub descriptor: Descriptor,
    /// The document as stored, unknown fields and key order included.
    pub blob: Value,
}

/// One image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageStat {
    /// The manifest.
    pub manifest: Part,
    /// The config, if it is a document that we can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Part>,
    /// The history, if there is an image config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<HistoryStat>>,
    /// The manifest, parsed.
    #[serde(skip)]
    pub parsed_manifest: Manifest,
    /// The config, parsed, if it is an image config.
    #[serde(skip)]
    pub parsed_config: Option<ImageConfig>,
}

/// A step of the history with the layer that it made.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryStat {
    /// The layer; `null` if the step made none.
    pub layer: Option<Descriptor>,
    /// Digest of the uncompressed layer; empty if the step made none.
    pub diff_id: String,
    /// The step.
    #[serde(flatten)]
    pub entry: History,
}

/// An image index, or a name with several entries.
#[derive(Clone, Debug, Serialize)]
pub struct IndexStat {
    /// The index; `None` if the name has several entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Part>,
    /// Where it leads to, in order.
    pub manifests: Vec<PlatformStat>,
}

/// One image of an index.
#[derive(Clone, Debug, Serialize)]
pub struct PlatformStat {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Platform, as the index has it.
    pub platform: Option<Platform>,
    /// Bytes of the manifest, its config and its layers; `null` if the manifest is not in the layout.
    pub size: Option<u64>,
}

/// Looks at what `target` leads to, or at the image of it for `platform`. No layer is read.
///
/// # Errors
/// As [`resolve`] and [`resolve_one`], and [`ErrorKind::Unsupported`] if there is neither an image manifest nor an index.
pub fn stat(store: &Store, target: &Target, platform: Option<&Platform>) -> Result<Stat> {
    if platform.is_some() {
        let walk = resolve_one(store, target, platform)?;
        let last = walk.last().ok_or_else(empty)?;
        return Ok(Stat::Image(Box::new(stat_image(store, last)?)));
    }
    let found = resolve(store, target)?;
    match found.walks.as_slice() {
        [walk] => Ok(Stat::Image(Box::new(stat_image(store, walk.last())?))),
        walks => Ok(Stat::Index(Box::new(stat_index(store, &found.roots, walks)?))),
    }
}

/// Looks at what has the entries `roots`, from which `walks` lead to images (see [`resolve`]).
///
/// # Errors
/// Those of reading the index, if there is just one. An image that cannot be read has no size.
pub fn stat_index(store: &Store, roots: &RefValue, walks: &[Walk]) -> Result<IndexStat> {
    let index = match roots.only() {
        Some(root) => {
            let named = || format!("read image index {}", root.digest);
            let bytes = store.read(root).context(named)?;
            Some(Part {
                descriptor: root.clone(),
                blob: json::parse(&bytes).context(named)?,
            })
        }
        None => None,
    };
    let mut summaries = Summaries::in_store(store);
    let images = walks.iter().map(Walk::last);
    Ok(IndexStat {
        index,
        manifests: images.map(|image| platform_stat(&mut summaries, image)).collect(),
    })
}

fn empty() -> Error {
    Error::new(ErrorKind::Invalid, "empty descriptor path")
}

fn platform_stat(summaries: &mut Summaries<'_>, descriptor: &Descriptor) -> PlatformStat {
    let Summary { platform, size } = summaries.of(descriptor);
    PlatformStat {
        digest: descriptor.digest,
        media_type: descriptor.media_type.as_str().to_owned(),
        platform,
        size,
    }
}

fn stat_image(store: &Store, descriptor: &Descriptor) -> Result<ImageStat> {
    if descriptor.media_type.class() != MediaClass::Manifest {
        let text = format!(
            "invalid saved from descriptor: descriptor does not point to ispec.MediaTypeImageManifest: not implemented: {}",
            descriptor.media_type
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let manifest = super::load_manifest(store, descriptor)?;
    let config = &manifest.value.config;
    let readable = config.data.is_some()
        || !matches!(
            config.media_type.class(),
            MediaClass::Other | MediaClass::Layer(_) | MediaClass::UnknownLayer
        );
    let named = || format!("read config {}", config.digest);
    let bytes = if readable {
        Some(store.read(config).context(named)?)
    } else {
        None
    };
    let is_config = config.media_type.class() == MediaClass::Config;
    let parsed = match &bytes {
        Some(bytes) if is_config => Some(json::parse::<ImageConfig>(bytes).context(named)?),
        _ => None,
    };
    let history = parsed.as_ref().map(|c| history(&manifest.value, c));
    let config = match bytes {
        Some(bytes) => Some(Part {
            descriptor: config.clone(),
            blob: json::parse(&bytes).context(named)?,
        }),
        None => None,
    };
    Ok(ImageStat {
        manifest: Part {
            descriptor: descriptor.clone(),
            blob: json::parse(&manifest.bytes)?,
        },
        config,
        history,
        parsed_manifest: manifest.value,
        parsed_config: parsed,
    })
}

/// Pairs each step that made a layer with the next layer and diff_id; a history that is longer than the layers
/// leaves its last steps without.
fn history(manifest: &Manifest, config: &ImageConfig) -> Vec<HistoryStat> {
    let mut layers = manifest.layers.iter();
    let mut diff_ids = config.rootfs.diff_ids.iter();
    let stat = |entry: &History| {
        let (layer, diff_id) = if entry.empty_layer {
            (None, None)
        } else {
            (layers.next().cloned(), diff_ids.next())
        };
        let diff_id = diff_id.map(ToString::to_string).unwrap_or_default();
        HistoryStat {
            layer,
            diff_id,
            entry: entry.clone(),
        }
    };
    config.history.iter().map(stat).collect()
}
