// SPDX-License-Identifier: Apache-2.0
//! Images written as an archive that `docker load` reads.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use super::Source;
use super::archive_writer::ArchiveWriter;
use super::docker_archive::{Item, MANIFEST};
use super::docker_name::DockerName;
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::image::{Image, Layer};
use crate::layer::{LayerStream, Limits};
use crate::progress::{Monitor, Task};
use crate::spec::{Compression, Descriptor, json};

/// An image for a Docker archive.
#[derive(Clone, Debug)]
pub struct DockerImage {
    /// Its name there.
    pub name: DockerName,
    /// Its descriptor; an image for one platform.
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
        archive: ArchiveWriter::new(out),
        written: HashSet::new(),
        task,
    };
    let mut items: Vec<Item> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for DockerImage { name, descriptor } in what {
        let item = writer.image(descriptor).context(|| format!("copy {name}"))?;
        // Docker lists an image once, with all of its names.
        let at = *places.entry(item.config.clone()).or_insert(items.len());
        if at == items.len() {
            items.push(item);
        }
        let names = items[at].repo_tags.get_or_insert_default();
        if !names.contains(&name.to_string()) {
            names.push(name.to_string());
        }
    }
    writer.archive.bytes(MANIFEST, &json::to_bytes(&items)?)?;
    writer.archive.finish()
}

struct Writer<'a, W> {
    source: &'a dyn Source,
    limits: &'a Limits,
    archive: ArchiveWriter<W>,
    written: HashSet<String>,
    task: Arc<dyn Task>,
}

impl<W: Write> Writer<'_, W> {
    fn image(&mut self, descriptor: &Descriptor) -> Result<Item> {
        let image = Image::read(self.source, vec![descriptor.clone()])?;
        let mut layers = Vec::new();
        for layer in image.layers()? {
            // The diff_id names the file, so images with the same tar share one file.
            let name = format!("{}.tar", layer.diff_id.encoded());
            if self.written.insert(name.clone()) {
                self.layer(&name, &layer).context(|| layer.label())?;
            }
            layers.push(name);
        }
        let config = format!("{}.json", Digest::sha256(&image.config.bytes).encoded());
        if self.written.insert(config.clone()) {
            self.archive.bytes(&config, &image.config.bytes)?;
        }
        Ok(Item {
            config,
            repo_tags: None,
            layers: Some(layers),
        })
    }

    fn layer(&mut self, name: &str, layer: &Layer<'_>) -> Result<()> {
        let size = match layer.compression {
            Compression::None => layer.descriptor.size,
            // The size of the tar stands before it.
            _ => layer.finish(self.open(layer)?)?.size,
        };
        let mut stream = self.open(layer)?;
        let read = self.archive.file(name, size, &mut stream);
        layer.end(stream, read).map(drop)
    }

    fn open(&self, layer: &Layer<'_>) -> Result<LayerStream> {
        layer.decode(self.source.open(layer.descriptor)?, self.limits, &self.task)
    }
}
