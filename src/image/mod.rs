// SPDX-License-Identifier: Apache-2.0
//! An image as a value: its manifest and config, the way from `index.json` to it, and edits of it; also new layers, image indexes
//! and artifacts.
//!
//! Invariant: an [`Image`] holds the verified bytes of its documents; a change makes new documents and never
//! alters a blob. Knows nothing of trees on disk.
//!
//! # Example: change the configuration of an image
//!
//! ```
//! use umoci::image::{Edit, Image, Target};
//! use umoci::spec::History;
//! use umoci::store::{Store, StoreOptions};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! let store = Store::create(&dir.path().join("layout"), StoreOptions::default())?;
//! # let mut txn = store.begin("example")?;
//! # Edit::blank("2026-01-02T03:04:05Z".to_owned()).apply(&mut txn, &"app".parse()?)?;
//! # txn.commit()?;
//! let app = Target::Name("app".parse()?);
//! let image = Image::find(&store, &app, None)?;
//!
//! let mut edit = Edit::new(&image);
//! edit.config.config.cmd = vec!["/bin/app".to_owned()];
//! edit.config.config.env.push("LANG=C".to_owned());
//! edit.config.config.labels.insert("stage".to_owned(), "test".to_owned());
//! edit.add_empty_history(Some(History {
//!     created: Some("2026-01-02T03:04:05Z".to_owned()),
//!     created_by: "example".to_owned(),
//!     ..History::default()
//! }));
//! let mut txn = store.begin("example")?;
//! edit.apply(&mut txn, &"app".parse()?)?;
//! txn.commit()?;
//!
//! let changed = Image::find(&store, &app, None)?;
//! assert_eq!(changed.config.value.config.cmd, ["/bin/app"]);
//! assert!(changed.config.value.history[0].empty_layer);
//! # Ok::<(), umoci::error::Error>(())
//! ```

mod artifact;
mod change;
mod edit;
mod index_edit;
mod new_layer;
mod select;
mod squash;
mod stat;
pub(crate) mod time;

pub(crate) use artifact::Artifact;
pub(crate) use change::retry_on_conflict;
pub use change::{add_layer, change};
pub use edit::Edit;
pub(crate) use index_edit::{EntrySelector, EntrySource, IndexEdit};
pub use new_layer::NewLayer;
pub use select::Target;
pub(crate) use select::images_below;
pub(crate) use select::{
    DescriptorPath, Resolved, nearest, pick, resolve, resolve_index, resolve_one, resolve_root, resolve_whole,
};
pub use squash::squash;
pub(crate) use stat::{ImageStat, IndexStat, Stat, stat};

use std::io::Read;
use std::sync::Arc;

use self::select::MAX_DEPTH;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::{Finished, LayerStream, Limits, StreamOptions};
use crate::progress::{Counted, Task};
use crate::spec::{
    Compression, Descriptor, ImageConfig, ImageIndex, Manifest, MediaClass, MediaType, Platform, Raw, RootFs,
};
use crate::store::Store;

/// An image manifest with its config, and the descriptors that lead to it.
///
/// Got with [`Image::find`]; changed with an [`Edit`].
#[derive(Clone, Debug)]
pub struct Image {
    /// From the entry in `index.json` down to the manifest, which is last: one descriptor, and one more for each image
    /// index on the way. Never empty.
    pub walk: Vec<Descriptor>,
    /// The manifest, as bytes and as data. Spec: image-spec, manifest.
    pub manifest: Raw<Manifest>,
    /// The config, as bytes and as data. Spec: image-spec, config.
    pub config: Raw<ImageConfig>,
}

/// One layer of an image: what the manifest and the config say of it.
#[derive(Clone, Debug)]
pub(crate) struct Layer<'a> {
    /// As the manifest has it; `size` is in bytes as stored.
    pub descriptor: &'a Descriptor,
    /// Digest of the uncompressed tar, which is checked when the layer is unpacked.
    pub diff_id: Digest,
    /// Compression, by the media type.
    pub compression: Compression,
}

impl Image {
    /// Returns the image that `target` leads to, for `platform` if it leads to several; see `resolve_one`.
    ///
    /// # Errors
    /// Those of `resolve_one` and [`Image::load`].
    pub fn find(store: &Store, target: &Target, platform: Option<&Platform>) -> Result<Self> {
        Self::load(store, resolve_one(store, target, platform)?.to_vec())
    }

    /// Reads manifest and config at the end of `walk`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an empty walk, [`ErrorKind::Unsupported`] if it does not end at an image manifest or the
    /// config is of a foreign type, [`ErrorKind::NotFound`] if a blob is missing, [`ErrorKind::Corrupt`] if one is not
    /// what its descriptor says or could be read as an index too.
    pub fn load(store: &Store, walk: Vec<Descriptor>) -> Result<Self> {
        Self::read(store, walk)
    }

    /// As [`Image::load`], from any reader of documents.
    pub(crate) fn read<R: ReadDocument + ?Sized>(from: &R, walk: Vec<Descriptor>) -> Result<Self> {
        let Some(last) = walk.last() else {
            fail!(Invalid, "empty descriptor path");
        };
        if last.media_type.class() != MediaClass::Manifest {
            let has = &last.media_type;
            let why = "descriptor does not point to ispec.MediaTypeImageManifest: not implemented";
            fail!(Unsupported, "{why}: {has}");
        }
        let manifest = from.read_manifest(last)?;
        let descriptor = &manifest.value.config;
        // An artifact may have a config of any type, which is no image config even where it parses as one.
        if descriptor.media_type.class() != MediaClass::Config {
            let (want, has) = (MediaType::CONFIG, &descriptor.media_type);
            fail!(Unsupported, "config blob is not correct mediatype {want}: {has}");
        }
        let config = from.read_document(descriptor).and_then(Raw::<ImageConfig>::parse);
        let config = config.context(reading("config", descriptor))?;
        Ok(Self {
            walk,
            manifest,
            config,
        })
    }

    /// Returns the descriptor of the manifest.
    pub fn descriptor(&self) -> &Descriptor {
        self.walk.last().unwrap_or(&self.manifest.value.config)
    }

    /// Returns the layers, the lowest first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a layer or compression that cannot be read, [`ErrorKind::Corrupt`] if the
    /// counts of layers and diff_ids differ.
    pub(crate) fn layers(&self) -> Result<Vec<Layer<'_>>> {
        let rootfs = &self.config.value.rootfs;
        // The config of an artifact has no rootfs, and its layers need not be tars.
        if rootfs.kind != "layers" {
            let (digest, kind) = (&self.manifest.value.config.digest, &rootfs.kind);
            fail!(Unsupported, "config {digest}: unsupported rootfs.type: {kind}");
        }
        check_count(&self.manifest.value, rootfs)?;
        let layers = self.manifest.value.layers.iter().zip(&rootfs.diff_ids);
        let layers = layers.map(|(descriptor, diff_id)| layer(descriptor, *diff_id));
        layers.collect()
    }
}

/// Refuses a config that does not speak of the layers of its manifest, one by one.
fn check_count(manifest: &Manifest, rootfs: &RootFs) -> Result<()> {
    let (layers, diff_ids) = (manifest.layers.len(), rootfs.diff_ids.len());
    if layers == diff_ids {
        return Ok(());
    }
    let config = &manifest.config.digest;
    let has = format!("has {diff_ids} members, and its manifest {layers} layers");
    fail!(Corrupt, "config {config}: rootfs.diff_ids {has}")
}

impl Layer<'_> {
    /// Returns its name for errors.
    pub(crate) fn label(&self) -> String {
        format!("layer {}", self.descriptor.digest)
    }

    /// Returns the uncompressed tar; [`Layer::finish`] says whether it is the right one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the blob is not there.
    pub fn open(&self, store: &Store, limits: &Limits, task: &Arc<dyn Task>) -> Result<LayerStream> {
        self.decode(store.open_blob(self.descriptor)?, limits, task)
    }

    /// As [`Layer::open`], by the checkpoints that the store has of the blob; where it has none, they are noted. The tar is not hashed
    /// if it `is_known` that the blob of this digest holds it.
    pub(crate) fn open_derived(
        &self,
        store: &Store,
        is_known: bool,
        limits: &Limits,
        task: &Arc<dyn Task>,
    ) -> Result<LayerStream> {
        let checkpoints = store.checkpoints(&self.descriptor.digest);
        let options = StreamOptions {
            record: checkpoints.is_none(),
            checkpoints,
            known: is_known.then_some(self.diff_id),
        };
        let blob = Counted::new(store.open_blob(self.descriptor)?, task);
        LayerStream::open_with(blob, self.compression, self.diff_id.algorithm(), limits, options)
    }

    /// As [`Layer::open`], of a blob that was opened elsewhere.
    pub(crate) fn decode(
        &self,
        blob: impl Read + Send + 'static,
        limits: &Limits,
        task: &Arc<dyn Task>,
    ) -> Result<LayerStream> {
        let blob = Counted::new(blob, task);
        LayerStream::open(blob, self.compression, self.diff_id.algorithm(), limits)
    }

    /// As [`Layer::finish`] after a read that came to its end; the error of any other, and what is wrong with the layer then.
    pub(crate) fn end(&self, stream: LayerStream, read: Result<()>) -> Result<Finished> {
        match read {
            Ok(()) => self.finish(stream),
            // A damaged blob breaks the archive in it: the digest that is wrong is the better error.
            Err(err) => Err(stream.blame(err)),
        }
    }

    /// Checks what was read to its end against the descriptor and the diff_id; returns the size of the tar and what was noted of it.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is not what they say.
    pub(crate) fn finish(&self, stream: LayerStream) -> Result<Finished> {
        let finished = stream.finish()?;
        if finished.digest != self.diff_id {
            let text = format!(
                "diffid mismatch: got {} expected {}",
                finished.digest, self.diff_id
            );
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(finished)
    }
}

fn layer(descriptor: &Descriptor, diff_id: Digest) -> Result<Layer<'_>> {
    let media_type = &descriptor.media_type;
    let text = match media_type.class() {
        MediaClass::Layer(compression) => {
            return Ok(Layer {
                descriptor,
                diff_id,
                compression,
            });
        }
        // OCI writes the compression behind a plus sign, and Docker behind a dot.
        MediaClass::UnknownLayer => {
            let name = media_type.as_str();
            let method = name.rsplit_once(['+', '.']).map_or("", |(_, method)| method);
            format!("unsupported layer media type {name:?}: compression method {method:?} unsupported")
        }
        _ => format!("layer data is an unsupported mediatype: {media_type}"),
    };
    fail!(Unsupported, "layer {}: {text}", descriptor.digest)
}

/// A reader of documents, which verifies them: a store, or the source of a copy.
pub(crate) trait ReadDocument: Sync {
    /// Reads a manifest, an index or a config.
    fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>>;

    /// Reads and checks the manifest that `descriptor` names.
    fn read_manifest(&self, descriptor: &Descriptor) -> Result<Raw<Manifest>> {
        let context = reading("manifest", descriptor);
        let bytes = self.read_document(descriptor).context(context)?;
        let value = Manifest::parse(&bytes).context(context)?;
        Ok(Raw { bytes, value })
    }

    /// Reads and checks the image index that `descriptor` names.
    fn read_index(&self, descriptor: &Descriptor) -> Result<ImageIndex> {
        let bytes = self.read_document(descriptor);
        let index = bytes.and_then(|bytes| ImageIndex::parse(&bytes));
        index.context(reading("image index", descriptor))
    }
}

/// Refuses a document that stands more than [`MAX_DEPTH`] levels of indexes below the image that was asked for.
pub(crate) fn check_depth(document: &Digest, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        let text = format!("image index above {document} is nested deeper than {MAX_DEPTH} levels");
        return Err(Error::new(ErrorKind::Limit, text));
    }
    Ok(())
}

impl ReadDocument for Store {
    fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.read(descriptor)
    }
}

/// Returns the context of errors that come up while a document is read.
fn reading<'a>(kind: &'a str, descriptor: &'a Descriptor) -> impl Fn() -> String + Copy + 'a {
    move || format!("read {kind} {}", descriptor.digest)
}
