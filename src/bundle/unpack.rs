// SPDX-License-Identifier: Apache-2.0
//! From an image to a bundle: layers in order, then the runtime configuration, the manifest of the tree, `umoci.json`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::meta::Meta;
use super::runtime::{RuntimeOptions, resolv_conf, runtime_config};
use super::unfinished::Mark;
use super::{Bundle, manifest};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::fs::{IdMap, Root};
use crate::image::{Image, Layer};
use crate::layer::{LayerReader, LayerStream, Limits};
use crate::progress::{Counter, Monitor, Task};
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
    /// Only the layer at this place, from 0, the lowest.
    pub layer: Option<usize>,
    /// Limits of what a layer may ask for.
    pub limits: Limits,
    /// Comments at the head of the mtree file.
    pub header: crate::mtree::Header,
}

impl UnpackOptions {
    /// Options for a user without privileges: all files belong to whoever runs this process, and [`super::repack`] puts the
    /// owners of the image back. `UnpackOptions::default()` is for root.
    pub fn rootless() -> Self {
        Self {
            id_map: IdMap::of_this_user(),
            ..Self::default()
        }
    }
}

/// Unpacks `image` into a new bundle at `path`.
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
    let bundle = Bundle::at(path);
    // A fault of the image is found before anything is made.
    image.layers()?;
    let made = crate::fs::make_dirs(path)?;
    let manifest = image.descriptor().digest;
    let result = begin(&bundle, &manifest, opts.id_map.rootless, monitor).and_then(|mark| {
        let result =
            crate::fs::set_mode(path, 0o700).and_then(|()| fill(store, image, &bundle, opts, monitor));
        if result.is_err() {
            clean(&bundle, &manifest, opts.id_map.rootless, monitor);
        }
        mark.remove();
        result
    });
    if result.is_err() && made {
        crate::fs::remove_empty_dir(path);
    }
    result.context(|| "create runtime bundle")?;
    monitor.info(format_args!("unpacked image bundle: {}", path.display()));
    Ok(bundle)
}

/// Marks the bundle as one that is being unpacked. Files that a killed unpack left there are removed first.
///
/// # Errors
/// [`ErrorKind::Exists`](crate::error::ErrorKind::Exists) if the bundle has anything of what is to be made,
/// [`ErrorKind::Busy`](crate::error::ErrorKind::Busy) if another process is at it.
fn begin(bundle: &Bundle, manifest: &Digest, rootless: bool, monitor: &dyn Monitor) -> Result<Mark> {
    if !bundle.is_unfinished()? {
        refuse_existing(bundle, manifest)?;
    }
    let mut mark = Mark::take(bundle)?;
    // Once more: until now another process may have been at it.
    let left = mark.left()?;
    if let Some(left) = left
        && bundle.is_unfinished()?
    {
        monitor.info(format_args!(
            "removing what an interrupted unpack left in {}",
            bundle.path().display()
        ));
        clean(bundle, &left, rootless, monitor);
    }
    let begun = refuse_existing(bundle, manifest).and_then(|()| mark.note(manifest));
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

fn refuse_existing(bundle: &Bundle, manifest: &Digest) -> Result<()> {
    for file in [bundle.config(), bundle.meta(), bundle.mtree(manifest)] {
        if crate::fs::exists(&file)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            fail!(Exists, "{name} already exists in {}", bundle.path().display());
        }
    }
    if crate::fs::exists(&bundle.rootfs())? {
        fail!(
            Exists,
            "detecting rootfs: {} already exists",
            bundle.rootfs().display()
        );
    }
    Ok(())
}

fn fill(
    store: &Store,
    image: &Image,
    bundle: &Bundle,
    opts: &UnpackOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.info(format_args!("unpacking bundle ..."));
    let root = Root::create(&bundle.rootfs(), 0o755)?.rootless(opts.id_map.rootless);
    let digests = unpack_rootfs(store, image, &root, opts, true, monitor).context(|| "unpack rootfs")?;
    monitor.info(format_args!("... done"));

    let options = RuntimeOptions {
        rootfs: Some(&root),
        root_path: "rootfs".to_owned(),
        id_map: &opts.id_map,
        resolv_conf: resolv_conf(&opts.id_map)?,
    };
    let config = runtime_config(&image.config.value, &options, monitor).context(|| {
        let digest = &image.manifest.value.config.digest;
        format!("unpack config.json: generate config.json: config {digest}")
    })?;
    crate::fs::write_new(&bundle.config(), &json::to_pretty(&config)?)?;

    monitor.info(format_args!("computing filesystem manifest ..."));
    let digest = &image.descriptor().digest;
    let known = manifest::Known::Unpacked(&digests);
    manifest::write(&root, bundle, digest, &opts.header, &known, monitor)?;
    monitor.info(format_args!("... done"));

    let meta = Meta {
        walk: image.walk.clone(),
        id_map: opts.id_map.clone(),
        repacked: Vec::new(),
    };
    crate::fs::write_new(&bundle.meta(), &meta.to_bytes()?)
}

/// Removes what an unpack of `manifest` has made that did not come to its end.
fn clean(bundle: &Bundle, manifest: &Digest, rootless: bool, monitor: &dyn Monitor) {
    crate::fs::remove_file(&bundle.meta());
    crate::fs::remove_file(&bundle.mtree(manifest));
    crate::fs::remove_file(&bundle.stat_cache(manifest));
    crate::fs::remove_file(&bundle.config());
    remove_incomplete(&bundle.rootfs(), rootless, monitor);
}

fn remove_incomplete(tree: &Path, rootless: bool, monitor: &dyn Monitor) {
    if let Err(err) = crate::fs::remove_tree(tree, rootless) {
        monitor.warn(format_args!(
            "cannot remove the incomplete {}: {err}",
            tree.display()
        ));
    }
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
    let made = !crate::fs::exists(path)?;
    let root = if made {
        Root::create(path, 0o755)?
    } else {
        Root::open(path)?
    };
    let root = root.rootless(opts.id_map.rootless);
    let result = unpack_rootfs(store, image, &root, opts, false, monitor).map(|_| ());
    drop(root);
    if result.is_err() && made {
        remove_incomplete(path, opts.id_map.rootless, monitor);
    }
    result
}

/// Unpacks the layers of `image` over the tree at `root`, which is an empty or an older one.
///
/// Returns the digests of the files that were written, if they are wanted, so that nobody need read them again.
fn unpack_rootfs(
    store: &Store,
    image: &Image,
    root: &Root,
    opts: &UnpackOptions,
    digests: bool,
    monitor: &dyn Monitor,
) -> Result<FileDigests> {
    let mut layers = image.layers()?;
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
    loop {
        while ahead.len() <= LAYERS_AHEAD
            && let Some(next) = unopened.next()
        {
            ahead.push_back((next, next.open(store, &opts.limits, &task)));
        }
        let Some((layer, stream)) = ahead.pop_front() else {
            return extractor.finish();
        };
        let digest = &layer.descriptor.digest;
        monitor.info(format_args!("unpack layer: {digest}"));
        stream
            .and_then(|stream| apply(stream, layer, &mut extractor, &opts.limits, monitor))
            .context(|| format!("layer {digest}"))?;
    }
}

fn apply(
    stream: LayerStream,
    layer: &Layer<'_>,
    extractor: &mut Extractor<'_>,
    limits: &Limits,
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.count(Counter::LayersDecompressed, 1);
    monitor.count(Counter::BlobBytesRead, layer.descriptor.size);
    let mut reader = LayerReader::new(stream, limits.clone());
    // A broken archive is blamed on the blob where the blob is not what it should be.
    let read = extractor.apply_layer(&mut reader).and_then(|()| reader.drain());
    layer.end(reader.into_inner(), read).map(drop)
}
