// SPDX-License-Identifier: Apache-2.0
//! From an image to a bundle: layers in order, then the runtime configuration, the manifest of the tree, `umoci.json`.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::meta::Meta;
use super::runtime::runtime_config;
use super::unfinished::Mark;
use super::{Bundle, manifest};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::fs::{IdMap, Root};
use crate::image::{Image, Layer};
use crate::layer::{LayerReader, LayerStream, Limits};
use crate::progress::{Monitor, Task};
use crate::rootfs::{ExtractOptions, Extractor, FileDigests};
use crate::spec::json;
use crate::store::Store;

/// Layers that are decoded while one is applied; each takes what [`LayerStream`] holds.
const LAYERS_AHEAD: usize = 2;

/// Options of an unpack.
#[derive(Clone, Debug, Default)]
pub struct UnpackOptions {
    /// Ids in the container to ids on the host, and whether to work without privileges.
    pub id_map: IdMap,
    /// Keep a symlink that leads to a directory where a layer has a directory.
    pub keep_dirlinks: bool,
    /// Only the layer at this place, counted from 0, the lowest; no layer at all if there is none at that place.
    pub layer: Option<usize>,
    /// Limits of what a layer may ask for.
    pub limits: Limits,
    /// Comments at the head of the mtree file.
    pub header: crate::mtree::Header,
}

impl UnpackOptions {
    /// Returns options for a user without privileges: all files belong to whoever runs this process, and [`super::repack`] puts the
    /// owners of the image back. `UnpackOptions::default()` is for root.
    pub fn rootless() -> Self {
        Self {
            id_map: IdMap::of_this_user(),
            ..Self::default()
        }
    }
}

/// Unpacks `image` into a new bundle at `path`, a directory of mode 0700 that may exist and hold other files.
///
/// # Errors
/// [`ErrorKind::Exists`](crate::error::ErrorKind::Exists) if the bundle has a `config.json` or a `rootfs` already,
/// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if another process unpacks into it. A failure removes what was made and
/// nothing else; what an unpack leaves that is killed, the next one into the same bundle removes.
pub fn unpack(
    store: &Store,
    image: &Image,
    path: &Path,
    opts: &UnpackOptions,
    monitor: &dyn Monitor,
) -> Result<Bundle> {
    let job = Unpacking {
        store,
        image,
        opts,
        monitor,
    };
    let bundle = Bundle::at(path);
    // A fault of the image is found before anything is made.
    image.layers()?;
    let made = crate::fs::make_dirs(path)?;
    let result = job.fill_marked(&bundle);
    if result.is_err() && made {
        crate::fs::remove_empty_dir(path);
    }
    result.context(|| "create runtime bundle")?;
    monitor.info(format_args!("unpacked image bundle: {}", path.display()));
    Ok(bundle)
}

/// Refuses a bundle that has anything of what an unpack of `manifest` makes.
fn refuse_existing(bundle: &Bundle, manifest: &Digest) -> Result<()> {
    for file in [bundle.config(), bundle.meta(), bundle.mtree(manifest)] {
        if crate::fs::exists(&file)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            fail!(Exists, "{name} already exists in {}", bundle.path().display());
        }
    }
    let rootfs = bundle.rootfs();
    if crate::fs::exists(&rootfs)? {
        fail!(Exists, "detecting rootfs: {} already exists", rootfs.display());
    }
    Ok(())
}

/// Unpacks the layers of `image` to the directory at `path`, over what is in it if it exists.
///
/// A failure removes the directory only if it was made here.
pub fn unpack_into(
    store: &Store,
    image: &Image,
    path: &Path,
    opts: &UnpackOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    image.layers()?;
    let job = Unpacking {
        store,
        image,
        opts,
        monitor,
    };
    let made = !crate::fs::exists(path)?;
    let root = if made {
        Root::create(path, 0o755)?
    } else {
        Root::open(path)?
    };
    let result = job.fill_rootfs(&root.rootless(opts.id_map.rootless), false);
    if result.is_err() && made {
        job.remove_tree(path);
    }
    result.map(drop)
}

/// An image on its way to the disk.
#[derive(Clone, Copy)]
struct Unpacking<'a> {
    store: &'a Store,
    image: &'a Image,
    opts: &'a UnpackOptions,
    monitor: &'a dyn Monitor,
}

impl Unpacking<'_> {
    fn manifest(&self) -> &Digest {
        &self.image.descriptor().digest
    }

    /// Makes all of a bundle under its mark, or nothing.
    fn fill_marked(&self, bundle: &Bundle) -> Result<()> {
        let mark = self.begin(bundle)?;
        // Before any file of the image: its set-id programs and devices are for nobody else on this machine.
        let private = crate::fs::set_mode(bundle.path(), 0o700);
        let result = private.and_then(|()| self.fill(bundle));
        if result.is_err() {
            self.clean(bundle, self.manifest());
        }
        // Last: without the mark no later unpack would know what a half-removed bundle is.
        mark.remove();
        result
    }

    /// Marks the bundle as one that is being unpacked. Files that a killed unpack left there are removed first.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`](crate::error::ErrorKind::Exists) if the bundle has anything of what is to be made,
    /// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if another process is at it.
    fn begin(&self, bundle: &Bundle) -> Result<Mark> {
        if !bundle.is_unfinished()? {
            // Before the mark is made: a bundle that is in use is not even touched.
            refuse_existing(bundle, self.manifest())?;
        }
        let mut mark = Mark::take(bundle)?;
        // Once more: until now another process may have been at it.
        let left = mark.left()?;
        if let Some(left) = left
            && bundle.is_unfinished()?
        {
            let path = bundle.path().display();
            self.monitor
                .info(format_args!("removing what an interrupted unpack left in {path}"));
            self.clean(bundle, &left);
        }
        let begun = refuse_existing(bundle, self.manifest()).and_then(|()| mark.note(self.manifest()));
        match begun {
            Ok(()) => Ok(mark),
            Err(err) => {
                // An older mark stays: the next unpack needs it to remove the files beside it.
                if left.is_none() {
                    mark.remove();
                }
                Err(err)
            }
        }
    }

    fn fill(&self, bundle: &Bundle) -> Result<()> {
        let Self {
            image, opts, monitor, ..
        } = *self;
        monitor.info(format_args!("unpacking bundle ..."));
        let root = Root::create(&bundle.rootfs(), 0o755)?.rootless(opts.id_map.rootless);
        let digests = self.fill_rootfs(&root, true).context(|| "unpack rootfs")?;
        monitor.info(format_args!("... done"));

        let config = &image.config.value;
        let config = runtime_config(config, Some(&root), "rootfs", &opts.id_map, monitor).context(|| {
            let digest = &image.manifest.value.config.digest;
            format!("unpack config.json: generate config.json: config {digest}")
        })?;
        crate::fs::write_new(&bundle.config(), &json::to_pretty(&config)?)?;

        // After all that writes into the tree: the manifest has its times.
        monitor.info(format_args!("computing filesystem manifest ..."));
        let known = manifest::Known::Unpacked(&digests);
        manifest::write(&root, bundle, self.manifest(), &opts.header, &known, monitor)?;
        monitor.info(format_args!("... done"));

        // Last of all files: with it the bundle is whole, whatever becomes of the mark.
        let meta = Meta::new(image.walk.clone(), opts.id_map.clone());
        crate::fs::write_new(&bundle.meta(), &meta.to_bytes()?)
    }

    /// Removes what an unpack of `manifest` has made that did not come to its end.
    fn clean(&self, bundle: &Bundle, manifest: &Digest) {
        // First the file that says that the bundle is whole: a clean-up that is cut short must not leave it.
        crate::fs::remove_file(&bundle.meta());
        crate::fs::remove_file(&bundle.mtree(manifest));
        crate::fs::remove_file(&bundle.stat_cache(manifest));
        crate::fs::remove_file(&bundle.config());
        self.remove_tree(&bundle.rootfs());
    }

    fn remove_tree(&self, tree: &Path) {
        if let Err(err) = crate::fs::remove_tree(tree, self.opts.id_map.rootless) {
            let path = tree.display();
            self.monitor
                .warn(format_args!("cannot remove the incomplete {path}: {err}"));
        }
    }

    /// Unpacks the layers over the tree at `root`, which is an empty or an older one.
    ///
    /// Returns the digests of the files that were written, if they are wanted, so that nobody need read them again.
    fn fill_rootfs(&self, root: &Root, digests: bool) -> Result<FileDigests> {
        let Self { opts, monitor, .. } = *self;
        let mut layers = self.image.layers()?;
        if let Some(only) = opts.layer {
            layers = layers.into_iter().skip(only).take(1).collect();
        }
        let extract = ExtractOptions {
            id_map: opts.id_map.clone(),
            keep_dirlinks: opts.keep_dirlinks,
            limits: opts.limits.clone(),
            digests,
        };
        let mut extractor = Extractor::new(root, extract, monitor);
        // A layer over a tree says of the root what it says, and no more.
        if opts.layer.is_none() || !extractor.look()? {
            extractor.prepare()?;
        }
        let total = layers.iter().map(|l| l.descriptor.size).sum();
        let task: Arc<dyn Task> = Arc::from(monitor.task("unpacking", Some(total)));
        let mut ahead = VecDeque::new();
        let mut unopened = layers.iter();
        // `None` where nothing may be kept of what the layers turn out to be.
        let known = self.store.keeps_derived().then(|| {
            let pairs = layers
                .iter()
                .map(|layer| (layer.descriptor.digest, layer.diff_id));
            self.store.known_tars(&pairs.collect::<Vec<_>>())
        });
        // Layers of which the index does not know yet which tars they hold, with the digests of these.
        let mut new = Vec::new();
        loop {
            // An open layer is decoded by threads of its own while an earlier one is applied here.
            while ahead.len() <= LAYERS_AHEAD
                && let Some(next) = unopened.next()
            {
                ahead.push_back((next, self.open(next, known.as_ref(), &task)));
            }
            let Some((layer, stream)) = ahead.pop_front() else {
                self.store.note_layers(&new);
                return extractor.finish();
            };
            let digest = &layer.descriptor.digest;
            monitor.info(format_args!("unpack layer: {digest}"));
            stream
                .and_then(|stream| self.apply(stream, layer, known.is_some(), &mut extractor))
                .context(|| format!("layer {digest}"))?;
            if known.as_ref().is_some_and(|known| !known.contains(digest)) {
                new.push((*digest, layer.diff_id));
            }
        }
    }

    /// Begins to decode a layer, without a look at derived files where nothing is kept.
    fn open(
        &self,
        layer: &Layer<'_>,
        known: Option<&HashSet<Digest>>,
        task: &Arc<dyn Task>,
    ) -> Result<LayerStream> {
        let limits = &self.opts.limits;
        let Some(known) = known else {
            return layer.open(self.store, limits, task);
        };
        let is_known = known.contains(&layer.descriptor.digest);
        layer.open_derived(self.store, is_known, limits, task)
    }

    /// Applies a layer, and keeps what is derived from it if it `keeps` anything.
    fn apply(
        &self,
        stream: LayerStream,
        layer: &Layer<'_>,
        keeps: bool,
        extractor: &mut Extractor<'_>,
    ) -> Result<()> {
        if keeps && !self.store.has_toc(&layer.diff_id) {
            extractor.begin_toc();
        }
        let mut reader = LayerReader::new(stream, self.opts.limits.clone());
        // A broken archive is blamed on the blob where the blob is not what it should be.
        let read = extractor.apply_layer(&mut reader).and_then(|()| reader.drain());
        let finished = layer.end(reader.into_inner(), read)?;
        if keeps {
            let (store, blob) = (self.store, &layer.descriptor.digest);
            store.keep_noted(blob, &finished, self.monitor);
        }
        if let Some(toc) = extractor.take_toc() {
            let bytes = toc.finish(&layer.diff_id, finished.size)?;
            self.store.keep_toc(&layer.diff_id, &bytes, self.monitor);
        }
        Ok(())
    }
}
