// SPDX-License-Identifier: Apache-2.0
//! Edits of an image: a value that collects changes and writes them as new documents, up to the tag.

use std::io::{self, Write};

use serde_json::Value;

use super::Image;
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::Encoder;
use crate::layout::BlobWriter;
use crate::spec::{
    Compression, Descriptor, History, ImageConfig, Manifest, MediaClass, MediaType, Platform, RefName,
    UNCOMPRESSED_SIZE, json,
};
use crate::store::Txn;

/// Size of the buffer between the tar writer and what hashes and compresses it.
const BUFFER: usize = 256 * 1024;

/// A tar up to this size is looked up before it is compressed, in bytes.
const HELD: usize = 16 << 20;

/// Changes to one image, not yet written.
///
/// Begins as a copy of an image's documents ([`Edit::new`]) or with none ([`Edit::blank`]); all fields of `manifest` and
/// `config` may be changed, those that this crate does not know (`extra`) are kept. [`Edit::apply`] writes the result as
/// new blobs: the image that it began with stays as it is. See [the example](crate::image).
#[derive(Clone, Debug)]
pub struct Edit {
    walk: Vec<Descriptor>,
    /// The manifest as it will be; digest and size of its `config` are filled in when it is written. Layers are added
    /// with [`Edit::add_layer`], which keeps the config in step.
    pub manifest: Manifest,
    /// The config as it will be.
    pub config: ImageConfig,
}

/// A layer that was written, not yet part of an image.
///
/// Made by [`NewLayer::write`], or from a directory or archive by `bundle::insert` and `bundle::add_archive`.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// As a manifest names it: media type, digest and size in bytes as stored, and the uncompressed size as the annotation
    /// [`UNCOMPRESSED_SIZE`] where it differs.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Whether it was compressed for this, and not taken from the store, which had one of the same tar.
    pub compressed: bool,
}

impl NewLayer {
    /// Compresses and stores what `tar` writes, which must be an uncompressed tar archive; that is not checked.
    ///
    /// A small one of which the store has a layer already is not compressed again.
    ///
    /// The same archive gives the same bytes on any machine and number of threads. Memory does not grow with its size.
    ///
    /// # Errors
    /// Whatever `tar` returns, or a failure to store ([`ErrorKind::NoSpace`], [`ErrorKind::Denied`] and others). Nothing is
    /// left behind then.
    pub fn write(
        txn: &mut Txn<'_>,
        compression: Compression,
        tar: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Self> {
        let sink = Sink {
            txn,
            compression,
            held: Vec::new(),
            encoder: None,
        };
        let mut hashed = io::BufWriter::with_capacity(BUFFER, DigestWriter::new(sink, Algorithm::Sha256));
        tar(&mut hashed)?;
        let hashed = hashed
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .context(|| "write layer")?;
        let (sink, diff_id, uncompressed) = hashed.finish();
        let (stored, compressed) = sink.finish(&diff_id)?;
        let media_type = MediaType::layer(compression);
        let mut descriptor = Descriptor::new(media_type, stored.digest, stored.size);
        if stored.size != uncompressed {
            descriptor
                .annotations
                .insert(UNCOMPRESSED_SIZE.to_owned(), uncompressed.to_string());
        }
        txn.add(&descriptor)?;
        txn.note_diff_id(&stored.digest, &diff_id);
        Ok(Self {
            descriptor,
            diff_id,
            compressed,
        })
    }
}

/// Takes a tar and holds it while it is small: where the store has a layer of it already, nothing is compressed.
struct Sink<'t, 's> {
    txn: &'t Txn<'s>,
    compression: Compression,
    held: Vec<u8>,
    encoder: Option<Encoder<BlobWriter>>,
}

impl Sink<'_, '_> {
    fn encoder(&mut self) -> Result<&mut Encoder<BlobWriter>> {
        match &mut self.encoder {
            Some(encoder) => Ok(encoder),
            slot => {
                let mut encoder = Encoder::new(self.txn.write_blob()?, self.compression)?;
                encoder.write_all(&std::mem::take(&mut self.held))?;
                Ok(slot.insert(encoder))
            }
        }
    }

    /// The layer, and whether it had to be compressed.
    fn finish(mut self, diff_id: &Digest) -> Result<(Descriptor, bool)> {
        let media_type = MediaType::layer(self.compression);
        if self.encoder.is_none()
            && let Some(known) = self.txn.layer_of(diff_id, self.compression)
        {
            return Ok((known, false));
        }
        self.encoder()?;
        let Some(encoder) = self.encoder else {
            return Err(Error::new(ErrorKind::Io, "no layer was begun"));
        };
        let stored = encoder.finish()?.finish()?;
        Ok((Descriptor::new(media_type, stored.digest, stored.size), true))
    }
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.encoder.is_none() && self.held.len() + buf.len() <= HELD {
            self.held.extend_from_slice(buf);
            return Ok(buf.len());
        }
        self.encoder()?.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Edit {
    /// Starts from an image. One of Docker's media types becomes an OCI image, with the same layers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it has no image manifest or no image config.
    pub fn new(image: &Image) -> Result<Self> {
        let config_type = &image.manifest.value.config.media_type;
        for (media_type, want) in [
            (&image.descriptor().media_type, MediaClass::Manifest),
            (config_type, MediaClass::Config),
        ] {
            if media_type.class() != want {
                let text = format!("unsupported source type: {media_type}");
                return Err(Error::new(ErrorKind::Unsupported, text));
            }
        }
        let mut manifest = image.manifest.value.clone();
        if image.descriptor().media_type.is_docker() || config_type.is_docker() {
            manifest.media_type = MediaType::MANIFEST.into();
            for part in std::iter::once(&mut manifest.config).chain(&mut manifest.layers) {
                part.media_type = part.media_type.to_oci();
            }
        }
        Ok(Self {
            walk: image.walk.clone(),
            manifest,
            config: image.config.value.clone(),
        })
    }

    /// A new image for this machine's platform, without layers and without history.
    ///
    /// `created` is a time as RFC 3339 writes it; [`crate::image::time`] makes and checks such.
    pub fn blank(created: String) -> Self {
        let platform = Platform::host();
        let config = ImageConfig {
            created: Some(created),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            ..ImageConfig::default()
        };
        let nothing = Digest::sha256(b"");
        Self {
            walk: vec![Descriptor::new(MediaType::MANIFEST, nothing, 0)],
            manifest: Manifest::new(Descriptor::new(MediaType::CONFIG, nothing, 0), Vec::new()),
            config,
        }
    }

    /// Appends a layer, with its history entry if there is one.
    ///
    /// With an entry, the history of what is below is made to agree with the layers first; see
    /// [`Edit::add_empty_history`].
    pub fn add_layer(&mut self, layer: NewLayer, history: Option<History>) {
        if history.is_some() {
            self.settle_history();
        }
        self.config.rootfs.diff_ids.push(layer.diff_id);
        self.manifest.layers.push(layer.descriptor);
        self.config.history.extend(history.map(|h| History {
            empty_layer: false,
            ..h
        }));
    }

    /// Notes a change that makes no layer.
    ///
    /// As many steps as there are layers have made one: layers that no step speaks of get an entry each, behind the steps
    /// that are there, and steps for which no layer is left (the last ones, as [`stat`](super::stat()) has it) have made
    /// none. `None` leaves the history as it is.
    pub fn add_empty_history(&mut self, history: Option<History>) {
        if history.is_some() {
            self.settle_history();
        }
        self.config.history.extend(history.map(|h| History {
            empty_layer: true,
            ..h
        }));
    }

    fn settle_history(&mut self) {
        let mut missing = self.manifest.layers.len();
        for step in self.config.history.iter_mut().filter(|h| !h.empty_layer) {
            match missing.checked_sub(1) {
                Some(left) => missing = left,
                None => step.empty_layer = true,
            }
        }
        let unknown = History {
            comment: "no history of this layer".to_owned(),
            ..History::default()
        };
        self.config.history.extend(std::iter::repeat_n(unknown, missing));
    }

    /// The compression for a new layer when none is asked for: that of the topmost compressed layer, else gzip.
    pub fn auto_compression(&self) -> Compression {
        let known = self
            .manifest
            .layers
            .iter()
            .rev()
            .find_map(|layer| match layer.media_type.class() {
                MediaClass::Layer(Compression::None) => None,
                MediaClass::Layer(compression) => Some(compression),
                _ => None,
            });
        known.unwrap_or(Compression::Gzip)
    }

    /// Writes config, manifest and the indexes above it, and points `tag` at the result.
    ///
    /// Returns the new way from the tag to the manifest. Nothing is tagged before the transaction is committed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] or [`ErrorKind::Corrupt`] if an index above the manifest is gone or damaged, and what keeps
    /// blobs from being written.
    pub fn apply(self, txn: &mut Txn<'_>, tag: &RefName) -> Result<Vec<Descriptor>> {
        let Edit {
            mut walk,
            mut manifest,
            config,
        } = self;
        let config_type = manifest.config.media_type.clone();
        manifest.config = txn.put(&json::to_bytes(&config)?, config_type)?;
        let mut old = walk
            .last()
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "empty descriptor path"))?;
        let mut new = txn.put(&json::to_bytes(&manifest)?, old.media_type.to_oci())?;
        for at in (0..walk.len()).rev() {
            let replaced = Descriptor {
                media_type: new.media_type.clone(),
                digest: new.digest,
                size: new.size,
                data: None,
                ..walk[at].clone()
            };
            let before = std::mem::replace(&mut walk[at], replaced);
            debug_assert_eq!(before.digest, old.digest);
            if at == 0 {
                break;
            }
            let parent = &walk[at - 1];
            let bytes = txn
                .store()
                .read(parent)
                .context(|| format!("read image index {}", parent.digest))?;
            let bytes = replace_child(&bytes, &old.digest, &new)?;
            old = parent.clone();
            new = txn.put(&bytes, parent.media_type.to_oci())?;
        }
        walk[0]
            .annotations
            .insert(crate::spec::REF_NAME.to_owned(), tag.as_str().to_owned());
        txn.set_ref(tag, walk[0].clone());
        Ok(walk)
    }
}

/// The bytes of an image index in which every entry of digest `old` names `new` instead; all else stays. A list of
/// Docker's becomes an image index.
fn replace_child(index: &[u8], old: &Digest, new: &Descriptor) -> Result<Vec<u8>> {
    let mut document: Value = json::parse(index)?;
    if let Some(own) = document.get_mut("mediaType")
        && *own == MediaType::DOCKER_LIST
    {
        *own = MediaType::INDEX.into();
    }
    let old = old.to_string();
    let entries = document
        .get_mut("manifests")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for entry in entries.filter_map(Value::as_object_mut) {
        if entry.get("digest").and_then(Value::as_str) == Some(&old) {
            entry.insert("digest".to_owned(), new.digest.to_string().into());
            entry.insert("size".to_owned(), new.size.into());
            if let Some(kind) = entry.get_mut("mediaType") {
                *kind = new.media_type.as_str().into();
            }
            entry.shift_remove("data");
        }
    }
    json::to_bytes(&document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entry_of_the_changed_child_is_replaced() {
        let (old, other) = (Digest::sha256(b"old"), Digest::sha256(b"other"));
        let new = Descriptor::new(MediaType::MANIFEST, Digest::sha256(b"new"), 7);
        let text = format!(
            r#"{{"x":1,"manifests":[{{"digest":"{other}","size":1,"y":[2]}},{{"size":3,"digest":"{old}","data":"AA==","z":0}}]}}"#
        );
        let got = replace_child(text.as_bytes(), &old, &new).expect("index");
        let want = format!(
            "{{\"x\":1,\"manifests\":[{{\"digest\":\"{other}\",\"size\":1,\"y\":[2]}},{{\"size\":7,\"digest\":\"{}\",\"z\":0}}]}}\n",
            new.digest
        );
        assert_eq!(String::from_utf8(got).expect("utf-8"), want);
    }
}
