// SPDX-License-Identifier: Apache-2.0
//! Description of an image without opening a layer.

use serde::Serialize;
use serde_json::Value;

use super::{DescriptorPath, ReadDocument as _, Resolved, Target, reading, resolve, resolve_one};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::spec::{Descriptor, History, ImageConfig, Manifest, MediaClass, Platform, RefValue, json};
use crate::store::{Store, Summaries, Summary};

/// The image or index that a tag or digest leads to.
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
    /// Images that it leads to, in order.
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
/// As [`resolve`] and [`resolve_one`], and [`crate::error::ErrorKind::Unsupported`] if there is neither an image manifest nor an index.
pub fn stat(store: &Store, target: &Target, platform: Option<&Platform>) -> Result<Stat> {
    if platform.is_some() {
        let image = resolve_one(store, target, platform)?.into_last();
        return Ok(Stat::Image(Box::new(stat_image(store, &image)?)));
    }
    let Resolved { roots, paths } = resolve(store, target)?;
    match paths.as_slice() {
        [path] => Ok(Stat::Image(Box::new(stat_image(store, path.last())?))),
        paths => Ok(Stat::Index(Box::new(stat_index(store, &roots, paths)?))),
    }
}

/// Looks at what has the entries `roots`, from which `paths` lead to images (see [`resolve`]).
///
/// # Errors
/// Those of reading the index, if there is just one. An image that cannot be read has no size.
pub fn stat_index(store: &Store, roots: &RefValue, paths: &[DescriptorPath]) -> Result<IndexStat> {
    let index = match roots.only() {
        Some(root) => {
            let index = store.read(root).and_then(|bytes| Part::of(root, &bytes));
            Some(index.context(reading("image index", root))?)
        }
        None => None,
    };
    let mut summaries = Summaries::in_store(store);
    let mut manifests = Vec::new();
    for image in paths.iter().map(DescriptorPath::last) {
        let Summary { platform, size } = summaries.of(image);
        manifests.push(PlatformStat {
            digest: image.digest,
            media_type: image.media_type.to_string(),
            platform,
            size,
        });
    }
    Ok(IndexStat { index, manifests })
}

impl Part {
    fn of(descriptor: &Descriptor, bytes: &[u8]) -> Result<Self> {
        Ok(Self {
            descriptor: descriptor.clone(),
            blob: json::parse(bytes)?,
        })
    }
}

fn stat_image(store: &Store, descriptor: &Descriptor) -> Result<ImageStat> {
    if descriptor.media_type.class() != MediaClass::Manifest {
        let has = &descriptor.media_type;
        let why = "invalid saved from descriptor: descriptor does not point to ispec.MediaTypeImageManifest";
        fail!(Unsupported, "{why}: not implemented: {has}");
    }
    let manifest = store.read_manifest(descriptor)?;
    let mut out = ImageStat {
        manifest: Part::of(descriptor, &manifest.bytes)?,
        config: None,
        history: None,
        parsed_manifest: manifest.value,
        parsed_config: None,
    };
    let config = &out.parsed_manifest.config;
    let class = config.media_type.class();
    // The config of an artifact may be anything, also a large file.
    use MediaClass::{Layer, Other, UnknownLayer};
    let is_foreign = matches!(class, Other | Layer(_) | UnknownLayer);
    // A config that is embedded is small, whatever its type.
    if is_foreign && config.data.is_none() {
        return Ok(out);
    }
    let context = reading("config", config);
    let bytes = store.read(config).context(context)?;
    if class == MediaClass::Config {
        let parsed: ImageConfig = json::parse(&bytes).context(context)?;
        out.history = Some(history(&out.parsed_manifest, &parsed));
        out.parsed_config = Some(parsed);
    }
    out.config = Some(Part::of(config, &bytes).context(context)?);
    Ok(out)
}

/// Pairs each step that made a layer with the next layer and diff_id; a history that is longer than the layers
/// leaves its last steps without.
fn history(manifest: &Manifest, config: &ImageConfig) -> Vec<HistoryStat> {
    let mut layers = manifest.layers.iter();
    let mut diff_ids = config.rootfs.diff_ids.iter();
    let mut out = Vec::new();
    for entry in config.history.iter().cloned() {
        // Nothing but the order links a step to its layer.
        let (mut layer, mut diff_id) = (None, None);
        if !entry.empty_layer {
            (layer, diff_id) = (layers.next().cloned(), diff_ids.next());
        }
        out.push(HistoryStat {
            layer,
            diff_id: diff_id.map(ToString::to_string).unwrap_or_default(),
            entry,
        });
    }
    out
}
