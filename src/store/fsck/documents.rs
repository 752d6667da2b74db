// SPDX-License-Identifier: Apache-2.0
//! Checks documents: their descriptors are true, and configs fit their layers.
//!
//! A document may be named any number of times, by documents that each name any number: what it says of itself is read once.
//! Parsed, it may be a hundred times its size, so large ones are left for one thread, which takes them one by one.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::finding::{Finding, Problem, Severity, short};
use crate::digest::{Algorithm, Digest};
use crate::error::{ErrorKind, Result, lock};
use crate::layer::{LayerReader, LayerStream, Limits, check_entries};
use crate::layout::{BlobReader, Layout};
use crate::spec::json::Object;
use crate::spec::{Compression, Descriptor, Document, ImageConfig, Manifest, MediaClass, json};
use crate::store::summary::is_of_its_size;
use crate::store::{MAX_DOCUMENT, Summaries};

/// Maximum number of faults of documents in a report.
const MAX_FINDINGS: usize = 50_000;

/// A media type that a document gives itself is compared up to here, in bytes.
const MAX_TYPE: usize = 300;

/// Documents of more bytes than this are not parsed by several threads at a time.
pub(super) const LARGE: u64 = 64 << 10;

/// A blob as a descriptor names it.
type Key = (Digest, u64);

/// The documents of a layout, and what is known of them by now.
pub(super) struct Documents<'a> {
    layout: &'a Layout,
    deep: bool,
    /// The media type that each gives itself.
    types: Mutex<HashMap<Digest, Known<Option<String>>>>,
    /// Counts in configs; `None` for one that says nothing of layers, as the `{}` of an artifact.
    configs: Mutex<HashMap<Key, Known<Option<LayerCounts>>>>,
    /// Digests of the tars of layers.
    layers: Mutex<HashMap<(Key, Compression, Algorithm), Known<Digest>>>,
    platforms: Mutex<Summaries<'a>>,
    told: AtomicUsize,
    /// The worst of what was not told.
    untold: Mutex<Option<Severity>>,
}

/// Known content of a blob.
#[derive(Clone, Debug)]
enum Known<T> {
    Is(T),
    /// Why it cannot be understood.
    Wrong(String),
    /// Which limit it is over, or what of it only others know.
    Beyond(String),
    /// It cannot be read, which is told of it as a blob.
    Unread,
}

/// Counts of layers that a config tells.
#[derive(Clone, Debug)]
struct LayerCounts {
    diff_ids: usize,
    /// Steps of the history that made one; `None` without a history.
    steps: Option<usize>,
}

/// Returns the value of `key` in `known`; one that is missing comes from `find`, which other threads may call at the same time.
fn remembered<K: Eq + Hash, V: Clone>(
    known: &Mutex<HashMap<K, V>>,
    key: K,
    find: impl FnOnce() -> Result<V>,
) -> Result<V> {
    if let Some(value) = lock(known).get(&key) {
        return Ok(value.clone());
    }
    // The lock is not held meanwhile, since a layer may take minutes.
    let value = find()?;
    lock(known).insert(key, value.clone());
    Ok(value)
}

impl<'a> Documents<'a> {
    /// Those of `layout`; with `deep`, layers are read too.
    pub(super) fn new(layout: &'a Layout, deep: bool) -> Self {
        Self {
            layout,
            deep,
            types: Mutex::default(),
            configs: Mutex::default(),
            layers: Mutex::default(),
            platforms: Mutex::new(Summaries::in_layout(layout)),
            told: AtomicUsize::new(0),
            untold: Mutex::default(),
        }
    }

    /// Checks the manifest, index or artifact in `bytes`; any other document declares nothing. `None` if it, or a config that it
    /// names, has more bytes than `largest`: one of more than [`LARGE`] is to be checked by one thread.
    pub(super) fn check(&self, digest: &Digest, bytes: &[u8], largest: u64) -> Result<Option<Vec<Finding>>> {
        if bytes.len() as u64 > largest {
            return Ok(None);
        }
        let mut out = Vec::new();
        match Document::parse(bytes) {
            Ok(Some(Document::Manifest(manifest))) if manifest.config.size > largest => return Ok(None),
            Ok(Some(Document::Manifest(manifest))) => self.check_manifest(digest, &manifest, &mut out)?,
            Ok(Some(Document::Index(index))) => {
                for descriptor in &index.manifests {
                    // An index may name platforms that are not here.
                    self.check_child(digest, descriptor, true, &mut out)?;
                    self.check_platform(digest, descriptor, &mut out);
                }
            }
            Ok(Some(Document::Artifact(artifact))) => {
                for blob in &artifact.blobs {
                    self.check_child(digest, blob, !blob.urls.is_empty(), &mut out)?;
                }
            }
            Ok(None) => {}
            Err(err) => self.tell(&mut out, Finding::of(digest, Problem::Document, err.to_string())),
        }
        Ok(Some(out))
    }

    /// Returns the faults that were left out, as one finding.
    pub(super) fn left_out(&self) -> Option<Finding> {
        let severity = (*lock(&self.untold))?;
        let text = format!(
            "have more faults than the {MAX_FINDINGS} that are told; check again when these are mended"
        );
        Some(Finding::new(Problem::More, "documents", text).with_severity(severity))
    }

    fn tell(&self, out: &mut Vec<Finding>, finding: Finding) {
        // A few bytes of JSON are enough for a fault, so a hostile layout could fill the memory with findings.
        if self.told.fetch_add(1, Ordering::Relaxed) < MAX_FINDINGS {
            out.push(finding);
        } else {
            let mut untold = lock(&self.untold);
            *untold = (*untold).max(Some(finding.severity));
        }
    }

    fn check_manifest(&self, digest: &Digest, manifest: &Manifest, out: &mut Vec<Finding>) -> Result<()> {
        let (config, layers) = (&manifest.config, &manifest.layers);
        self.check_child(digest, config, false, out)?;
        for layer in layers {
            // A layer that stands elsewhere need not be here.
            self.check_child(digest, layer, !layer.urls.is_empty(), out)?;
        }
        // The config of an artifact is of a kind of its own, and speaks of no layers.
        if config.media_type.class() != MediaClass::Config {
            return Ok(());
        }
        let LayerCounts { diff_ids, steps } = match self.config(config)? {
            Known::Is(Some(counts)) => counts,
            Known::Wrong(why) | Known::Beyond(why) => {
                let text = format!("config {}: {why}", config.digest);
                self.tell(out, Finding::of(digest, Problem::Document, text));
                return Ok(());
            }
            Known::Is(None) | Known::Unread => return Ok(()),
        };
        let count = layers.len();
        if count != diff_ids {
            let text = format!("{count} layers, but its config has {diff_ids} diff_ids");
            self.tell(out, Finding::of(digest, Problem::DiffId, text));
        } else if let Some(steps) = steps.filter(|steps| *steps != count) {
            let text = format!("{count} layers, but its history speaks of {steps}");
            self.tell(out, Finding::of(digest, Problem::History, text).warning());
        }
        if self.deep {
            self.check_layers(digest, manifest, out)?;
        }
        Ok(())
    }

    /// Reads all layers of an image, some at a time.
    fn check_layers(&self, digest: &Digest, manifest: &Manifest, out: &mut Vec<Finding>) -> Result<()> {
        let Ok(bytes) = self.layout.read_blob(&manifest.config, MAX_DOCUMENT) else {
            return Ok(());
        };
        let diff_ids = json::parse::<ImageConfig>(&bytes)?.rootfs.diff_ids;
        // Which layer a diff_id is of is not known where their counts differ.
        let is_clear = diff_ids.len() == manifest.layers.len();
        let layers: Vec<_> = manifest.layers.iter().enumerate().collect();
        let found: Result<Vec<Option<Finding>>> = layers
            .into_par_iter()
            .map(|(at, layer)| self.check_layer(digest, layer, diff_ids.get(at).filter(|_| is_clear)))
            .collect();
        let found = found?.into_iter().flatten();
        found.for_each(|finding| self.tell(out, finding));
        Ok(())
    }

    /// Returns the counts in a config.
    fn config(&self, descriptor: &Descriptor) -> Result<Known<Option<LayerCounts>>> {
        // Data that is embedded in a descriptor is of that alone.
        if descriptor.data.is_some() {
            return self.read_config(descriptor);
        }
        let key = (descriptor.digest, descriptor.size);
        remembered(&self.configs, key, || self.read_config(descriptor))
    }

    fn read_config(&self, descriptor: &Descriptor) -> Result<Known<Option<LayerCounts>>> {
        if !is_of_its_size(self.layout, descriptor)? {
            return Ok(Known::Unread);
        }
        let Ok(bytes) = self.layout.read_blob(descriptor, MAX_DOCUMENT) else {
            return Ok(Known::Unread);
        };
        let config: ImageConfig = match json::parse(&bytes) {
            Ok(config) => config,
            Err(err) => return Ok(Known::Wrong(short(err.to_string()))),
        };
        if config.rootfs.is_unsaid() {
            return Ok(Known::Is(None));
        }
        let steps = config.history.iter().filter(|step| !step.empty_layer);
        Ok(Known::Is(Some(LayerCounts {
            diff_ids: config.rootfs.diff_ids.len(),
            steps: (!config.history.is_empty()).then(|| steps.count()),
        })))
    }

    /// Reads the entries of a layer of the image `digest`, and compares the digest of its tar. Layers of types that we do not
    /// know, as those that are encrypted, are data.
    fn check_layer(
        &self,
        digest: &Digest,
        layer: &Descriptor,
        want: Option<&Digest>,
    ) -> Result<Option<Finding>> {
        let MediaClass::Layer(compression) = layer.media_type.class() else {
            return Ok(None);
        };
        let algorithm = want.map_or(Algorithm::Sha256, Digest::algorithm);
        let key = ((layer.digest, layer.size), compression, algorithm);
        let decoded = remembered(&self.layers, key, || {
            self.read_layer(layer, compression, algorithm)
        })?;
        Ok(match (decoded, want) {
            (Known::Unread, _) | (Known::Is(_), None) => None,
            (Known::Is(found), Some(want)) if found == *want => None,
            (Known::Is(found), Some(want)) => {
                let layer = layer.digest;
                let text = format!("layer {layer} has diff_id {found}, its config says {want}");
                Some(Finding::of(digest, Problem::DiffId, text))
            }
            (Known::Wrong(why), _) => {
                let text = format!("cannot be unpacked as {}: {why}", layer.media_type);
                Some(Finding::of(&layer.digest, Problem::Layer, text))
            }
            (Known::Beyond(why), _) => {
                let text = format!("is beyond what can be unpacked: {why}");
                Some(Finding::of(&layer.digest, Problem::Layer, text).warning())
            }
        })
    }

    fn read_layer(
        &self,
        layer: &Descriptor,
        compression: Compression,
        algorithm: Algorithm,
    ) -> Result<Known<Digest>> {
        let decoded = match self.layout.open_blob(layer) {
            Ok(blob) => decode(blob, compression, algorithm),
            Err(err) => Err(err),
        };
        match decoded {
            Ok(found) => Ok(Known::Is(found)),
            Err(err) => match err.kind() {
                ErrorKind::NotFound => Ok(Known::Unread),
                ErrorKind::Corrupt | ErrorKind::UnsafePath => Ok(Known::Wrong(short(err.to_string()))),
                ErrorKind::Limit | ErrorKind::Unsupported => Ok(Known::Beyond(short(err.to_string()))),
                // A disk that fails says nothing of the layer.
                _ => Err(err),
            },
        }
    }

    /// Compares what a descriptor says of a blob with the blob.
    pub(super) fn check_child(
        &self,
        parent: &dyn fmt::Display,
        descriptor: &Descriptor,
        may_miss: bool,
        out: &mut Vec<Finding>,
    ) -> Result<()> {
        let child = descriptor.digest;
        match self.layout.blob_size(&child)? {
            // The blob stands in the descriptor itself.
            None if descriptor.data.is_some() => {}
            None => {
                let text = format!("is not there, and {parent} names it");
                let mut finding = Finding::of(&child, Problem::Missing, text);
                finding.wanted = Some(descriptor.size);
                self.tell(out, if may_miss { finding.info() } else { finding });
            }
            Some(size) if size != descriptor.size => {
                let said = descriptor.size;
                let text = format!("is {size} bytes, its descriptor in {parent} says {said}");
                self.tell(out, Finding::of(&child, Problem::Size, text));
            }
            Some(_) => self.check_type(parent, descriptor, out)?,
        }
        Ok(())
    }

    /// Checks that a document is of the type that its descriptor gives it.
    fn check_type(
        &self,
        parent: &dyn fmt::Display,
        descriptor: &Descriptor,
        out: &mut Vec<Finding>,
    ) -> Result<()> {
        let media_type = &descriptor.media_type;
        if !media_type.is_image() {
            return Ok(());
        }
        let digest = descriptor.digest;
        let text = match remembered(&self.types, digest, || Ok(self.read_type(descriptor)))? {
            Known::Wrong(why) => format!("is {why}, but {parent} names it as {media_type}"),
            Known::Is(Some(own)) if own != media_type.as_str() => {
                format!("says that it is {own}, but {parent} names it as {media_type}")
            }
            _ => return Ok(()),
        };
        self.tell(out, Finding::of(&digest, Problem::Type, text));
        Ok(())
    }

    /// Reads the media type that a document gives itself, if any.
    fn read_type(&self, descriptor: &Descriptor) -> Known<Option<String>> {
        // Data that is embedded in the descriptor may be something else.
        let plain = Descriptor::new(String::new(), descriptor.digest, descriptor.size);
        let Ok(bytes) = self.layout.read_blob(&plain, MAX_DOCUMENT) else {
            return Known::Unread;
        };
        match json::check_values(&bytes).and_then(|()| Object::parse(&bytes)) {
            Ok(object) => {
                let own: Option<String> = object.read("mediaType");
                Known::Is(own.map(|own| own.chars().take(MAX_TYPE).collect()))
            }
            Err(err) if err.kind() == ErrorKind::Limit => Known::Wrong(err.to_string()),
            Err(_) => Known::Wrong("no JSON object".to_owned()),
        }
    }

    /// Compares the platform of a descriptor with that of the image's config.
    pub(super) fn check_platform(
        &self,
        parent: &dyn fmt::Display,
        descriptor: &Descriptor,
        out: &mut Vec<Finding>,
    ) {
        let Some(said) = &descriptor.platform else { return };
        let plain = Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size);
        let Some(found) = lock(&self.platforms).platform(&plain) else {
            return;
        };
        // Many configs have no variant, which their index adds.
        if (&said.os, &said.architecture) != (&found.os, &found.architecture) {
            let text = format!("is for {found}, but {parent} names it as for {said}");
            let finding = Finding::of(&descriptor.digest, Problem::Platform, text);
            self.tell(out, finding.warning());
        }
    }
}

/// Reads a layer to its end; returns the digest of its tar.
fn decode(blob: BlobReader, compression: Compression, algorithm: Algorithm) -> Result<Digest> {
    let limits = Limits::default();
    let stream = LayerStream::open(blob, compression, algorithm, &limits)?;
    let mut reader = LayerReader::new(stream, limits);
    match check_entries(&mut reader) {
        Ok(_) => reader.into_inner().finish().map(|layer| layer.digest),
        Err(err) => Err(reader.into_inner().blame(err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_to_tell_is_told_as_one() {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        let documents = Documents::new(&layout, false);
        documents.told.store(MAX_FINDINGS - 1, Ordering::Relaxed);
        let entry = |n: u8| format!(r#"{{"digest":"{}","size":1}}"#, Digest::sha256(&[n]));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#, entry(1), entry(2));
        let check = |text: &str| {
            let digest = Digest::sha256(text.as_bytes());
            let found = documents.check(&digest, text.as_bytes(), u64::MAX);
            found.expect("check").expect("of any size")
        };
        let found = check(&index);
        assert_eq!(found.len(), 1);
        assert_eq!(documents.left_out().expect("more").severity, Severity::Info);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, entry(3));
        let found = check(&manifest);
        assert!(found.is_empty());
        assert_eq!(documents.left_out().expect("more").severity, Severity::Error);
    }

    #[test]
    fn messages_have_an_end() {
        assert_eq!(short("é".repeat(2000)).chars().count(), 1001);
        assert_eq!(short("é".repeat(1000)).chars().count(), 1000);
    }
}
