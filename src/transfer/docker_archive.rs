// SPDX-License-Identifier: Apache-2.0
//! Archives as `docker save` writes and `docker load` reads them: that of today, and the one before it with a directory for
//! each layer. What names the images of both is `manifest.json`.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, compression};
use super::{Named, Request, Source, read_document};
use crate::digest::{Algorithm, Digest, Hasher, VerifyReader};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::Section;
use crate::layer::{LayerStream, LayerWriter, Limits};
use crate::node::{Node, NodeKind, TreePath};
use crate::progress::{Counted, Monitor, Task};
use crate::spec::{Compression, Descriptor, ImageConfig, Manifest, MediaClass, MediaType, json};
use crate::store::MAX_DOCUMENT;

const MANIFEST: &str = "manifest.json";

/// `manifest.json` larger than this is refused, in bytes.
const MAX_MANIFEST: u64 = 64 << 20;

/// One image in `manifest.json`.
#[derive(Serialize, Deserialize)]
struct Item {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    repo_tags: Option<Vec<String>>,
    #[serde(rename = "Layers", default)]
    layers: Option<Vec<String>>,
}

/// The images of a Docker archive, each with a manifest of Docker's media types that is made here.
#[derive(Debug)]
pub struct DockerArchive {
    archive: Archive,
    images: Vec<Named>,
    manifests: HashMap<Digest, Vec<u8>>,
    /// Where each blob is.
    blobs: HashMap<Digest, TreePath>,
}

impl DockerArchive {
    /// Reads `manifest.json` and the configs, and looks at each layer: one that is compressed is read through.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if a file is missing, [`ErrorKind::Corrupt`] if counts or digests disagree.
    pub fn new(archive: Archive, limits: &Limits) -> Result<Self> {
        let path = TreePath::clean(MANIFEST.as_bytes())?;
        let items = archive
            .read(&path, MAX_MANIFEST)
            .context(|| "not a Docker archive")?;
        let items: Vec<Item> = json::parse(&items).context(|| MANIFEST)?;
        let mut out = Self {
            archive,
            images: Vec::new(),
            manifests: HashMap::new(),
            blobs: HashMap::new(),
        };
        // A layer that several images have is looked at once.
        let mut known: HashMap<(TreePath, Digest), Descriptor> = HashMap::new();
        for (at, item) in items.into_iter().enumerate() {
            let name = item.repo_tags.iter().flatten().next().cloned();
            let context = || {
                format!(
                    "image {} of the archive",
                    name.unwrap_or_else(|| format!("@{at}"))
                )
            };
            out.add(item, &mut known, limits).context(context)?;
        }
        Ok(out)
    }

    fn add(
        &mut self,
        item: Item,
        known: &mut HashMap<(TreePath, Digest), Descriptor>,
        limits: &Limits,
    ) -> Result<()> {
        let path = TreePath::clean(item.config.as_bytes())?;
        let bytes = self.archive.read(&path, MAX_DOCUMENT)?;
        let config = Descriptor::new(
            MediaType::DOCKER_CONFIG,
            Digest::sha256(&bytes),
            bytes.len() as u64,
        );
        // The old layout calls the config by its digest.
        let name = item.config.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        if name.len() == 64 && name.bytes().all(|c| c.is_ascii_hexdigit()) && name != config.digest.encoded()
        {
            let text = format!(
                "{} is not what its name says: it has the digest {}",
                item.config, config.digest
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let parsed: ImageConfig = json::parse(&bytes).context(|| item.config.clone())?;
        let files = item.layers.unwrap_or_default();
        let diff_ids = &parsed.rootfs.diff_ids;
        if files.len() != diff_ids.len() {
            let text = format!(
                "{} layers in {MANIFEST}, but {} diff_ids in {}",
                files.len(),
                diff_ids.len(),
                item.config
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        self.blobs.insert(config.digest, path);
        let mut wanted: Vec<(TreePath, Digest)> = Vec::new();
        for (file, diff_id) in files.iter().zip(diff_ids) {
            wanted.push((TreePath::clean(file.as_bytes())?, *diff_id));
        }
        let fresh: HashSet<&(TreePath, Digest)> =
            wanted.iter().filter(|key| !known.contains_key(key)).collect();
        let found: Vec<_> = fresh
            .into_par_iter()
            .map(|key| {
                let layer = self
                    .layer(&key.0, &key.1, limits)
                    .context(|| format!("layer {}", key.0))?;
                Ok((key.clone(), layer))
            })
            .collect::<Result<_>>()?;
        for (key, layer) in found {
            self.blobs.insert(layer.digest, key.0.clone());
            known.insert(key, layer);
        }
        let layers = wanted.iter().filter_map(|key| known.get(key).cloned()).collect();
        let mut manifest = Manifest::new(config, layers);
        manifest.media_type = MediaType::DOCKER_MANIFEST.into();
        let bytes = json::to_bytes(&manifest)?;
        let descriptor = Descriptor::new(
            MediaType::DOCKER_MANIFEST,
            Digest::sha256(&bytes),
            bytes.len() as u64,
        );
        self.manifests.insert(descriptor.digest, bytes);
        let mut names: Vec<Option<String>> =
            item.repo_tags.unwrap_or_default().into_iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        self.images.extend(names.into_iter().map(|name| Named {
            name,
            descriptor: descriptor.clone(),
        }));
        Ok(())
    }

    /// What the layer in a file is. An uncompressed one is the blob of its diff_id, which is checked when it is copied.
    fn layer(&self, path: &TreePath, diff_id: &Digest, limits: &Limits) -> Result<Descriptor> {
        let section = self.archive.section(path)?;
        let size = section.left();
        let mut magic = Vec::new();
        section.clone().take(8).read_to_end(&mut magic)?;
        let compression = compression(&magic)?;
        if compression == Compression::None {
            return Ok(Descriptor::new(MediaType::DOCKER_LAYER, *diff_id, size));
        }
        let digest = sha256(section.clone())?;
        let stream = LayerStream::open(section, compression, diff_id.algorithm(), limits)?;
        let (got, _) = stream.finish()?;
        if got != *diff_id {
            let text = format!("diffid mismatch: got {got} expected {diff_id}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let media_type = format!("{}.{}", MediaType::DOCKER_LAYER, compression.name());
        Ok(Descriptor::new(media_type, digest, size))
    }
}

fn sha256(mut section: Section) -> Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match section.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

impl Source for DockerArchive {
    fn images(&self) -> Result<Vec<Named>> {
        Ok(self.images.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        if let Some(bytes) = self.manifests.get(&digest) {
            return Ok(Box::new(VerifyReader::new(
                io::Cursor::new(bytes.clone()),
                digest,
                size,
            )));
        }
        let none = || Error::new(ErrorKind::NotFound, format!("the archive has no blob {digest}"));
        let section = self.archive.section(self.blobs.get(&digest).ok_or_else(none)?)?;
        Ok(Box::new(VerifyReader::new(section, digest, size)))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let digest = &descriptor.digest;
        Ok(self.blobs.contains_key(digest) || self.manifests.contains_key(digest))
    }
}

/// Writes images as a Docker archive to `out`: each name as a tag, layers uncompressed and shared between images; the same
/// images give the same bytes. A layer that is compressed is decompressed twice, since its size stands before it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for what is no image, such as an index; those of source and `out`.
pub fn write_docker_archive<W: Write>(
    source: &dyn Source,
    what: &[Request],
    limits: &Limits,
    out: W,
    monitor: &dyn Monitor,
) -> Result<W> {
    let task: Arc<dyn Task> = Arc::from(monitor.task("writing the archive", None));
    let mut writer = Writer {
        source,
        limits,
        tar: LayerWriter::new(out, b"."),
        written: HashSet::new(),
        task,
    };
    let mut items: Vec<Item> = Vec::new();
    for request in what {
        let name = request.name.as_ref().map(|name| name.as_str().to_owned());
        let context = || format!("copy {}", name.as_deref().unwrap_or("an image"));
        let item = writer.image(&request.descriptor).context(context)?;
        match items.iter_mut().find(|known| known.config == item.config) {
            Some(known) => known.repo_tags.get_or_insert_default().extend(name),
            None => items.push(Item {
                repo_tags: name.map(|name| vec![name]),
                ..item
            }),
        }
    }
    let items = json::to_bytes(&items)?;
    writer.file(MANIFEST, items.len() as u64, &mut items.as_slice())?;
    writer.tar.finish()
}

struct Writer<'a, W> {
    source: &'a dyn Source,
    limits: &'a Limits,
    tar: LayerWriter<W>,
    written: HashSet<String>,
    task: Arc<dyn Task>,
}

impl<W: Write> Writer<'_, W> {
    fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let file = Node {
            kind: NodeKind::File { size },
            mode: 0o644,
            ..Node::dir(0)
        };
        self.tar.node(&TreePath::clean(name.as_bytes())?, &file, content)
    }

    fn image(&mut self, descriptor: &Descriptor) -> Result<Item> {
        let unsupported = |what: &Descriptor| {
            let text = format!(
                "{} is no image that Docker knows: {}",
                what.digest, what.media_type
            );
            Error::new(ErrorKind::Unsupported, text)
        };
        if descriptor.media_type.class() != MediaClass::Manifest {
            return Err(unsupported(descriptor));
        }
        let manifest: Manifest = json::parse(&read_document(self.source, descriptor)?)?;
        manifest.check()?;
        if manifest.config.media_type.class() != MediaClass::Config {
            return Err(unsupported(&manifest.config));
        }
        let bytes = read_document(self.source, &manifest.config)?;
        let config: ImageConfig = json::parse(&bytes)?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let text = format!(
                "{} layers, but {} diff_ids",
                manifest.layers.len(),
                diff_ids.len()
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let mut layers = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let name = format!("{}.tar", diff_id.encoded());
            if self.written.insert(name.clone()) {
                self.layer(&name, layer, diff_id)
                    .context(|| format!("layer {}", layer.digest))?;
            }
            layers.push(name);
        }
        let name = format!("{}.json", Digest::sha256(&bytes).encoded());
        if self.written.insert(name.clone()) {
            self.file(&name, bytes.len() as u64, &mut bytes.as_slice())?;
        }
        Ok(Item {
            config: name,
            repo_tags: None,
            layers: Some(layers),
        })
    }

    fn layer(&mut self, name: &str, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
        let MediaClass::Layer(compression) = layer.media_type.class() else {
            let text = format!("unsupported layer media type {}", layer.media_type);
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        let open = || {
            let blob = Counted::new(self.source.open(layer)?, &self.task);
            LayerStream::open(blob, compression, diff_id.algorithm(), self.limits)
        };
        let check = |stream: LayerStream| {
            let (got, size) = stream.finish()?;
            if got != *diff_id {
                let text = format!("diffid mismatch: got {got} expected {diff_id}");
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
            Ok(size)
        };
        let size = match compression {
            Compression::None => layer.size,
            _ => check(open()?)?,
        };
        let mut stream = open()?;
        if let Err(err) = self.file(name, size, &mut stream) {
            return Err(stream.blame(err));
        }
        check(stream).map(|_| ())
    }
}
