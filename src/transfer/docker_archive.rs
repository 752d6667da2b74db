// SPDX-License-Identifier: Apache-2.0
//! Archives that `docker load` reads, as a source: those that `docker save` writes today, and the ones before with a
//! directory for each layer. `manifest.json` names the images of both.
//!
//! An image is looked at when it is wanted: only then its config is read, and those of its layers that are compressed.

use std::collections::{HashMap, hash_map};
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::archive::{Archive, ENTRY_COST, Member, compression};
use super::document::verified;
use super::{Source, SourceEntry};
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::{Error, ErrorKind, Result, ResultExt, lock};
use crate::layer::{LayerStream, Limits};
use crate::node::TreePath;
use crate::spec::json::{self, Object};
use crate::spec::{Compression, Descriptor, ImageConfig, Manifest, MediaType};
use crate::store::MAX_DOCUMENT;

/// The file that names the images.
pub(super) const MANIFEST: &str = "manifest.json";

/// Memory that an image, or a file that one names, takes beside its path, in bytes.
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

/// The images of a Docker archive, each with a manifest of Docker's media types that is made here.
#[derive(Debug)]
pub struct DockerArchive {
    archive: Archive,
    limits: Limits,
    items: Vec<Box<RawValue>>,
    entries: Vec<SourceEntry>,
    seen: Mutex<Seen>,
}

/// Images and files looked at so far, each once.
#[derive(Debug, Default)]
struct Seen {
    images: HashMap<usize, Descriptor>,
    /// Each config with its diff_ids.
    configs: HashMap<TreePath, Arc<(Descriptor, Vec<Digest>)>>,
    /// Digests of each layer that is compressed, and of the tar in it.
    sums: HashMap<TreePath, (Digest, Digest)>,
    blobs: HashMap<Digest, Blob>,
}

/// Content of a blob.
#[derive(Debug)]
enum Blob {
    /// A file of the archive.
    File(TreePath),
    /// A manifest, which the archive has in another form.
    Made(Vec<u8>),
}

impl DockerArchive {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Corrupt`] if it is not as it should be, [`ErrorKind::Limit`]
    /// if there are too many names in it.
    pub fn new(archive: Archive, limits: &Limits) -> Result<Self> {
        let bytes = archive.read_list(MANIFEST, MAX_DOCUMENT);
        let bytes = bytes.context(|| "not a Docker archive")?;
        let items = archive.parse_list(&bytes, FILE_COST).context(|| MANIFEST)?;
        let entries = read_names(&archive, &items).context(|| MANIFEST)?;
        Ok(Self {
            archive,
            limits: limits.clone(),
            items,
            entries,
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Looks at an image: reads its config, and through those layers that are compressed.
    fn look(&self, number: usize) -> Result<Descriptor> {
        // The lock is held until the image is known: two threads would hash the same layers twice.
        let mut seen = self.seen();
        if let Some(known) = seen.images.get(&number) {
            return Ok(known.clone());
        }
        let Some(item) = self.items.get(number) else {
            fail!(NotFound, "the archive has no image @{number}");
        };
        let item: Item = json::parse(item.get().as_bytes())?;
        let known = seen.config(self, &item.config)?;
        let (config, diff_ids) = &*known;
        let files = item.layers.unwrap_or_default();
        if files.len() != diff_ids.len() {
            let (layers, diff_ids, config) = (files.len(), diff_ids.len(), item.config);
            let text = format!("{layers} layers in {MANIFEST}, but {diff_ids} diff_ids in {config}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let mut layers = Vec::new();
        for (file, diff_id) in files.iter().zip(diff_ids) {
            let layer = seen.layer(self, &TreePath::clean(file.as_bytes())?, diff_id);
            layers.push(layer.context(|| format!("layer {file}"))?);
        }
        let mut manifest = Manifest::new(config.clone(), layers);
        // The config and layers are Docker's, so the manifest is too; a conversion to OCI comes later, if one is wanted.
        manifest.media_type = MediaType::DOCKER_MANIFEST.into();
        let bytes = json::to_bytes(&manifest)?;
        let size = bytes.len() as u64;
        if size > MAX_DOCUMENT {
            let why = format!("documents over {MAX_DOCUMENT} bytes are not read");
            fail!(Limit, "its manifest would be {size} bytes; {why}");
        }
        let descriptor = Descriptor::new(MediaType::DOCKER_MANIFEST, Digest::sha256(&bytes), size);
        seen.add_blob(self, descriptor.digest, Blob::Made(bytes))?;
        seen.images.insert(number, descriptor.clone());
        Ok(descriptor)
    }
}

impl Seen {
    fn config(&mut self, of: &DockerArchive, file: &str) -> Result<Arc<(Descriptor, Vec<Digest>)>> {
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
        of.archive.hold(size_of_val(diff_ids.as_slice()) as u64)?;
        self.add_blob(of, digest, Blob::File(path.clone()))?;
        let descriptor = Descriptor::new(MediaType::DOCKER_CONFIG, digest, bytes.len() as u64);
        let config = Arc::new((descriptor, diff_ids));
        self.configs.insert(path, Arc::clone(&config));
        Ok(config)
    }

    /// Returns the descriptor of the layer in a file. An uncompressed one is the blob of its diff_id, checked when it is copied.
    fn layer(&mut self, of: &DockerArchive, path: &TreePath, diff_id: &Digest) -> Result<Descriptor> {
        let member = of.archive.member(path)?;
        let mut magic = Vec::new();
        member.clone().take(8).read_to_end(&mut magic)?;
        let compression = compression(&magic)?;
        let (mut media_type, mut digest) = (MediaType::DOCKER_LAYER.to_owned(), *diff_id);
        if compression != Compression::None {
            let algorithm = diff_id.algorithm();
            let (blob, tar) = match self.sums.get(path) {
                Some(sums) if sums.1.algorithm() == algorithm => *sums,
                _ => sums(&member, compression, algorithm, &of.limits)?,
            };
            self.sums.insert(path.clone(), (blob, tar));
            if tar != *diff_id {
                fail!(Corrupt, "diffid mismatch: got {tar} expected {diff_id}");
            }
            media_type = format!("{media_type}.{}", compression.name());
            digest = blob;
        }
        self.add_blob(of, digest, Blob::File(path.clone()))?;
        Ok(Descriptor::new(media_type, digest, member.left()))
    }

    /// Notes where a blob is, unless that is known.
    fn add_blob(&mut self, of: &DockerArchive, digest: Digest, blob: Blob) -> Result<()> {
        if let hash_map::Entry::Vacant(place) = self.blobs.entry(digest) {
            // A path is held as the key of another map as well.
            let size = match &blob {
                Blob::File(path) => 2 * path.as_bytes().len(),
                Blob::Made(bytes) => bytes.len(),
            };
            of.archive.hold(FILE_COST + size as u64)?;
            place.insert(blob);
        }
        Ok(())
    }
}

/// Returns an entry for each name of each image, and one for an image without a name.
fn read_names(archive: &Archive, items: &[Box<RawValue>]) -> Result<Vec<SourceEntry>> {
    let mut out = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let item = Object::parse(item.get().as_bytes())?;
        // Only the names are parsed here; paths of layers, which may be many, wait until an image is wanted.
        let tags = item.get("RepoTags").unwrap_or("null");
        let mut names: Vec<Option<String>> = archive.parse_list(tags.as_bytes(), ENTRY_COST)?;
        if names.is_empty() {
            archive.hold(ENTRY_COST)?;
            names.push(None);
        }
        for name in names {
            let entry = None;
            out.push(SourceEntry { number, name, entry });
        }
    }
    Ok(out)
}

/// Returns the digests of a compressed layer and of the tar in it.
fn sums(
    member: &Member,
    compression: Compression,
    algorithm: Algorithm,
    limits: &Limits,
) -> Result<(Digest, Digest)> {
    // The file is read twice; that is rare, since Docker writes layers as they are.
    let mut reader = BufReader::with_capacity(256 * 1024, member.clone());
    let mut blob = DigestWriter::new(io::sink(), Algorithm::Sha256);
    io::copy(&mut reader, &mut blob)?;
    let (_, digest, _) = blob.finish();
    let tar = LayerStream::open(member.clone(), compression, algorithm, limits)?.finish()?;
    Ok((digest, tar.digest))
}

impl Source for DockerArchive {
    fn list(&self) -> Result<Vec<SourceEntry>> {
        Ok(self.entries.clone())
    }

    fn descriptor(&self, entry: &SourceEntry) -> Result<Descriptor> {
        self.look(entry.number).context(|| match entry.name() {
            Some(name) => format!("image {name} of the archive"),
            None => format!("image @{} of the archive", entry.number),
        })
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let digest = &descriptor.digest;
        match self.seen().blobs.get(digest) {
            Some(Blob::File(path)) => Ok(verified(self.archive.member(path)?, descriptor)),
            Some(Blob::Made(bytes)) => Ok(verified(io::Cursor::new(bytes.clone()), descriptor)),
            None => fail!(NotFound, "the archive has no blob {digest}"),
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(match self.seen().blobs.get(digest) {
            Some(Blob::File(path)) => Some(self.archive.member(path)?.left()),
            Some(Blob::Made(bytes)) => Some(bytes.len() as u64),
            None => None,
        })
    }
}
