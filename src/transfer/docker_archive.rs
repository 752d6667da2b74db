// SPDX-License-Identifier: Apache-2.0
//! Archives that `docker load` reads, as a source: those that `docker save` writes today, and the ones before with a
//! directory for each layer. What names the images of both is `manifest.json`.
//!
//! An image is looked at when it is wanted: only then its config is read, and those of its layers that are compressed.

use std::borrow::Cow;
use std::collections::{HashMap, hash_map};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::archive::{Archive, Count, ENTRY_COST, Member, compression};
use super::{Listed, Source};
use crate::digest::{Algorithm, Digest, Hasher, VerifyReader};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::{LayerStream, Limits};
use crate::node::TreePath;
use crate::spec::{Compression, Descriptor, ImageConfig, Manifest, MediaType, json};
use crate::store::MAX_DOCUMENT;

/// The file that names the images.
pub(super) const MANIFEST: &str = "manifest.json";

/// What is held of an image, or of a file that one names, costs so much in memory, beside its path, in bytes.
const FILE_COST: u64 = 256;

/// One image in `manifest.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Item {
    #[serde(rename = "Config")]
    pub config: String,
    #[serde(rename = "RepoTags", default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    pub layers: Option<Vec<String>>,
}

/// The names of an image alone.
#[derive(Deserialize)]
struct Tags<T> {
    #[serde(rename = "RepoTags", default = "Option::default")]
    repo_tags: Option<T>,
}

/// The images of a Docker archive, each with a manifest of Docker's media types that is made here.
#[derive(Debug)]
pub struct DockerArchive {
    archive: Archive,
    limits: Limits,
    items: Vec<Box<RawValue>>,
    listed: Vec<Listed>,
    seen: Mutex<Seen>,
}

/// What was looked at so far, each thing once.
#[derive(Debug, Default)]
struct Seen {
    images: HashMap<usize, Descriptor>,
    configs: HashMap<TreePath, Arc<Config>>,
    layers: HashMap<TreePath, Layer>,
    manifests: HashMap<Digest, Vec<u8>>,
    /// Where each blob is.
    blobs: HashMap<Digest, TreePath>,
}

#[derive(Debug)]
struct Config {
    descriptor: Descriptor,
    diff_ids: Vec<Digest>,
}

/// A file that is a layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    size: u64,
    compression: Compression,
    /// Digests of the file and of the tar in it, once they are known of one that is compressed.
    sums: Option<(Digest, Digest)>,
}

impl DockerArchive {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Corrupt`] if it is not as it should be, [`ErrorKind::Limit`]
    /// if there are too many names in it.
    pub fn new(archive: Archive, limits: &Limits) -> Result<Self> {
        let path = TreePath::clean(MANIFEST.as_bytes())?;
        let bytes = archive
            .read_list(&path, MAX_DOCUMENT)
            .context(|| "not a Docker archive")?;
        // Images and names are counted before any takes memory.
        let count: Count = json::parse_large(&bytes).context(|| MANIFEST)?;
        archive.kept().add(bytes.len() as u64 + count.0 * FILE_COST)?;
        let items: Vec<Box<RawValue>> = json::parse_large(&bytes).context(|| MANIFEST)?;
        let mut listed = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let item = item.get().as_bytes();
            let count: Tags<Count> = json::parse_large(item).context(|| MANIFEST)?;
            let count = count.repo_tags.map_or(1, |count| count.0.max(1));
            archive.kept().add(count * ENTRY_COST)?;
            let tags: Tags<Vec<String>> = json::parse_large(item).context(|| MANIFEST)?;
            let mut names: Vec<Option<String>> =
                tags.repo_tags.unwrap_or_default().into_iter().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            listed.extend(names.into_iter().map(|name| Listed::image(number, name)));
        }
        Ok(Self {
            archive,
            limits: limits.clone(),
            items,
            listed,
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at an image: reads its config, and through those layers that are compressed.
    fn look(&self, number: usize) -> Result<Descriptor> {
        let mut seen = self.seen();
        if let Some(known) = seen.images.get(&number) {
            return Ok(known.clone());
        }
        let none = || Error::new(ErrorKind::NotFound, format!("the archive has no image @{number}"));
        let item: Item = json::parse(self.items.get(number).ok_or_else(none)?.get().as_bytes())?;
        let config = seen.config(self, &item.config)?;
        let files = item.layers.unwrap_or_default();
        if files.len() != config.diff_ids.len() {
            let text = format!(
                "{} layers in {MANIFEST}, but {} diff_ids in {}",
                files.len(),
                config.diff_ids.len(),
                item.config
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let mut layers = Vec::new();
        for (file, diff_id) in files.iter().zip(&config.diff_ids) {
            let layer = seen.layer(self, &TreePath::clean(file.as_bytes())?, diff_id);
            layers.push(layer.context(|| format!("layer {file}"))?);
        }
        let mut manifest = Manifest::new(config.descriptor.clone(), layers);
        manifest.media_type = MediaType::DOCKER_MANIFEST.into();
        let bytes = json::to_bytes(&manifest)?;
        let size = bytes.len() as u64;
        if size > MAX_DOCUMENT {
            let text = format!(
                "its manifest would be {size} bytes; documents over {MAX_DOCUMENT} bytes are not read"
            );
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let descriptor = Descriptor::new(MediaType::DOCKER_MANIFEST, Digest::sha256(&bytes), size);
        if let hash_map::Entry::Vacant(place) = seen.manifests.entry(descriptor.digest) {
            self.archive.kept().add(size + FILE_COST)?;
            place.insert(bytes);
        }
        seen.images.insert(number, descriptor.clone());
        Ok(descriptor)
    }
}

impl Seen {
    fn config(&mut self, of: &DockerArchive, file: &str) -> Result<Arc<Config>> {
        let path = TreePath::clean(file.as_bytes())?;
        if let Some(known) = self.configs.get(&path) {
            return Ok(Arc::clone(known));
        }
        let bytes = of.archive.read(&path, MAX_DOCUMENT)?;
        let digest = Digest::sha256(&bytes);
        // The old layout calls the config by its digest.
        let name = file.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        if name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit()) && name != digest.encoded() {
            let text = format!("{file} is not what its name says: it has the digest {digest}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let parsed: ImageConfig = json::parse(&bytes).context(|| file.to_owned())?;
        let diff_ids = parsed.rootfs.diff_ids;
        of.archive
            .kept()
            .add(diff_ids.len() as u64 * size_of::<Digest>() as u64)?;
        self.found(of, digest, &path)?;
        let config = Arc::new(Config {
            descriptor: Descriptor::new(MediaType::DOCKER_CONFIG, digest, bytes.len() as u64),
            diff_ids,
        });
        self.configs.insert(path, Arc::clone(&config));
        Ok(config)
    }

    /// What the layer in a file is. An uncompressed one is the blob of its diff_id, which is checked when it is copied.
    fn layer(&mut self, of: &DockerArchive, path: &TreePath, diff_id: &Digest) -> Result<Descriptor> {
        let member = of.archive.member(path)?;
        let mut layer = if let Some(known) = self.layers.get(path) {
            *known
        } else {
            let mut magic = Vec::new();
            member.clone().take(8).read_to_end(&mut magic)?;
            Layer {
                size: member.left(),
                compression: compression(&magic)?,
                sums: None,
            }
        };
        let (media_type, digest) = if layer.compression == Compression::None {
            (MediaType::DOCKER_LAYER.to_owned(), *diff_id)
        } else {
            let known = layer
                .sums
                .filter(|(_, tar)| tar.algorithm() == diff_id.algorithm());
            let (own, tar) = match known {
                Some(sums) => sums,
                None => sums(member, layer.compression, diff_id.algorithm(), &of.limits)?,
            };
            layer.sums = Some((own, tar));
            if tar != *diff_id {
                let text = format!("diffid mismatch: got {tar} expected {diff_id}");
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            (
                format!("{}.{}", MediaType::DOCKER_LAYER, layer.compression.name()),
                own,
            )
        };
        self.found(of, digest, path)?;
        self.layers.insert(path.clone(), layer);
        Ok(Descriptor::new(media_type, digest, layer.size))
    }

    /// Notes where a blob is.
    fn found(&mut self, of: &DockerArchive, digest: Digest, path: &TreePath) -> Result<()> {
        if let hash_map::Entry::Vacant(place) = self.blobs.entry(digest) {
            of.archive
                .kept()
                .add(FILE_COST + 2 * path.as_bytes().len() as u64)?;
            place.insert(path.clone());
        }
        Ok(())
    }
}

/// The digests of a compressed layer and of the tar in it, in one pass.
fn sums(
    member: Member,
    compression: Compression,
    algorithm: Algorithm,
    limits: &Limits,
) -> Result<(Digest, Digest)> {
    let hasher = Arc::new(Mutex::new(Hasher::new(Algorithm::Sha256)));
    let blob = Summed {
        inner: member,
        hasher: Arc::clone(&hasher),
    };
    // It is read to its end, whatever the decoder makes of it.
    let (tar, _) = LayerStream::open(blob, compression, algorithm, limits)?.finish()?;
    let hasher = std::mem::replace(
        &mut *hasher.lock().unwrap_or_else(PoisonError::into_inner),
        Hasher::new(Algorithm::Sha256),
    );
    Ok((hasher.finish(), tar))
}

/// Hashes what is read.
struct Summed {
    inner: Member,
    hasher: Arc<Mutex<Hasher>>,
}

impl Read for Summed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hasher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(&buf[..n]);
        Ok(n)
    }
}

impl Source for DockerArchive {
    fn list(&self) -> Result<Cow<'_, [Listed]>> {
        Ok(Cow::Borrowed(&self.listed))
    }

    fn descriptor(&self, listed: &Listed) -> Result<Descriptor> {
        let name = || {
            listed
                .name()
                .map_or_else(|| format!("@{}", listed.number), str::to_owned)
        };
        self.look(listed.number)
            .context(|| format!("image {} of the archive", name()))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        let seen = self.seen();
        if let Some(bytes) = seen.manifests.get(&digest) {
            let bytes = io::Cursor::new(bytes.clone());
            return Ok(Box::new(VerifyReader::new(bytes, digest, size)));
        }
        let none = || Error::new(ErrorKind::NotFound, format!("the archive has no blob {digest}"));
        let member = self.archive.member(seen.blobs.get(&digest).ok_or_else(none)?)?;
        Ok(Box::new(VerifyReader::new(member, digest, size)))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let seen = self.seen();
        if let Some(bytes) = seen.manifests.get(digest) {
            return Ok(Some(bytes.len() as u64));
        }
        let Some(path) = seen.blobs.get(digest) else {
            return Ok(None);
        };
        Ok(Some(self.archive.member(path)?.left()))
    }
}
