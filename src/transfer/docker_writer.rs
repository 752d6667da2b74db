// SPDX-License-Identifier: Apache-2.0
//! Images written as an archive that `docker load` reads.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::Arc;

use super::Source;
use super::docker_archive::{Item, MANIFEST};
use super::docker_name::DockerName;
use super::document::{read_document, read_manifest};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::{LayerStream, LayerWriter, Limits};
use crate::node::{Node, NodeKind, TreePath};
use crate::progress::{Counted, Monitor, Task};
use crate::spec::{Compression, Descriptor, ImageConfig, MediaClass, json};

/// An image for a Docker archive.
#[derive(Clone, Debug)]
pub struct DockerImage {
    /// Its name there.
    pub name: DockerName,
    /// What it is; an image for one platform.
    pub descriptor: Descriptor,
}

/// Writes images as a Docker archive to `out`: each name as a tag, layers uncompressed and shared between images; the same
/// images give the same bytes. A layer that is compressed is decompressed twice, since its size stands before it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for what is no image, such as an index; those of source and `out`.
pub fn write_docker_archive<W: Write>(
    source: &dyn Source,
    what: &[DockerImage],
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
    let mut places: HashMap<String, usize> = HashMap::new();
    for DockerImage { name, descriptor } in what {
        let item = writer.image(descriptor).context(|| format!("copy {name}"))?;
        let at = *places.entry(item.config.clone()).or_insert(items.len());
        if at == items.len() {
            items.push(item);
        }
        let names = items[at].repo_tags.get_or_insert_default();
        if !names.contains(&name.to_string()) {
            names.push(name.to_string());
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
        let manifest = read_manifest(self.source, descriptor)?;
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
