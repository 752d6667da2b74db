// SPDX-License-Identifier: Apache-2.0
//! From a changed bundle to a new image: what differs from the manifest becomes a layer.

use std::sync::Arc;

use super::meta::Meta;
use super::{Bundle, manifest, tree_diff};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::fs::Root;
use crate::image::{DescriptorPath, Edit, Image, NewLayer, Target, resolve, retry_on_conflict};
use crate::layer::LayerWriter;
use crate::node::{Time, TreePath};
use crate::progress::{Counted, Counter, Monitor, Task};
use crate::rootfs::{Changes, PackOptions, pack};
use crate::spec::{Compression, Descriptor, History, Platform, REF_NAME, RefName, RefValue};
use crate::store::{Store, Txn};

/// `umoci.json` larger than this is refused, in bytes.
const MAX_META: u64 = 16 << 20;

/// Options of a repack.
#[derive(Clone, Debug, Default)]
pub struct RepackOptions {
    /// Paths below the root whose changes are left out.
    pub masks: Vec<Vec<u8>>,
    /// Do not leave out changes below the volumes of the image.
    pub no_mask_volumes: bool,
    /// Make the bundle describe the new image.
    pub refresh: bool,
    /// Replace the tag even if it points at another image than that which the bundle was unpacked from under that tag.
    pub force: bool,
    /// Refuse a bundle of an image for another platform.
    pub platform: Option<Platform>,
    /// Compression of the layer; `None` for that of the image.
    pub compression: Option<Compression>,
    /// Newer modification times in the layer become this.
    pub clamp_mtime: Option<Time>,
    /// Comments at the head of a refreshed mtree file.
    pub header: crate::mtree::Header,
}

/// Result of a repack.
#[derive(Clone, Debug)]
pub struct Repacked {
    /// From the tag to the new manifest.
    pub walk: Vec<Descriptor>,
    /// The manifest that the bundle was unpacked from.
    pub base: Descriptor,
    /// Whether there was anything to put into a layer.
    pub changed: bool,
}

/// Reads what the bundle was unpacked from.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no bundle.
pub(super) fn read_meta(bundle: &Bundle) -> Result<Meta> {
    let path = bundle.meta();
    if bundle.is_unfinished()? {
        fail!(
            NotFound,
            "{} is not whole: an unpack into it was interrupted, or goes on; unpack it again",
            bundle.path().display()
        );
    }
    let bytes = crate::fs::open_regular(&path)
        .and_then(|file| crate::fs::read_to_end(file, &path, MAX_META))
        .context(|| "read umoci.json metadata: open metadata")?;
    Meta::parse(&bytes).context(|| format!("decode metadata: {}", path.display()))
}

/// Makes a layer of what changed in the bundle's tree and tags the result.
///
/// `history` gets the author of the base image and returns the entry, or `None` for no entry.
///
/// # Errors
/// [`ErrorKind::NotFound`] if the bundle, its manifest or its base image is gone; [`ErrorKind::Conflict`] if `tag` is the
/// one it was unpacked from, and its image is not there any more. Entries beside it in an index, changed by others, stay.
pub fn repack(
    store: &Store,
    bundle: &Bundle,
    tag: &RefName,
    history: impl FnOnce(&str) -> Result<Option<History>>,
    opts: &RepackOptions,
    monitor: &dyn Monitor,
) -> Result<Repacked> {
    let meta = read_meta(bundle)?;
    let mut txn = store.begin("repack")?;
    let base = load_base(store, &meta, opts)?;
    let history = history(&base.config.value.author)?;
    let new_tag = NewTag {
        store,
        tag,
        meta: &meta,
    };
    if new_tag.is_own() && !opts.force {
        // A conflict over the tag is reported before the work.
        new_tag.place()?;
    }
    let root = open_rootfs(bundle)?.rootless(meta.id_map.rootless);

    monitor.info(format_args!("computing filesystem diff ..."));
    let scratch = || txn.scratch();
    let mut changes = Changes::new(masks(&base, opts)?, &scratch);
    let manifest = base.descriptor().clone();
    tree_diff::changes(&root, bundle, &manifest.digest, &mut changes, monitor)?;
    let changed = !changes.is_empty();
    let changes = changes.sorted()?;
    monitor.info(format_args!("... done"));

    let mut edit = Edit::new(&base);
    if changed {
        let compression = opts.compression.unwrap_or_else(|| edit.auto_compression());
        let pack_options = PackOptions {
            id_map: meta.id_map.clone(),
            clamp_mtime: opts.clamp_mtime,
        };
        let layer = NewLayer::write(&mut txn, compression, |out| {
            let task: Arc<dyn Task> = Arc::from(monitor.task("packing", None));
            let mut writer = LayerWriter::new(Counted::new(out, &task), b".");
            pack(&root, changes, &mut writer, &pack_options, monitor)?;
            writer.finish().map(|_| ())
        })
        .context(|| "create layer")?;
        monitor.count(Counter::LayersCompressed, layer.compressed.into());
        if history.is_none() {
            monitor.warn(format_args!(
                "new layer has no history entry -- this will confuse many tools!"
            ));
        }
        edit.add_layer(layer, history);
    } else {
        edit.manifest.media_type = crate::spec::MediaType::MANIFEST.into();
        edit.add_empty_history(history);
    }
    let walk = new_tag.point_at(&edit, bundle, &mut txn, opts.force, monitor)?;
    if opts.refresh {
        refresh(bundle, &root, &meta, &walk, opts, monitor).context(|| "refresh bundle")?;
    }
    Ok(Repacked {
        walk,
        base: manifest,
        changed,
    })
}

/// Loads the image that the bundle was unpacked from.
fn load_base(store: &Store, meta: &Meta, opts: &RepackOptions) -> Result<Image> {
    let base = Image::load(store, meta.walk.clone()).map_err(|err| {
        let gone = err.kind() == ErrorKind::NotFound;
        err.context(if gone {
            "the image that the bundle was unpacked from is not in this layout (removed by gc?)"
        } else {
            "create mutator for base image"
        })
    })?;
    let platform = base.config.value.platform();
    match &opts.platform {
        Some(wanted) if !wanted.runs(&platform) => {
            fail!(Invalid, "the bundle is of an image for {platform}, not {wanted}")
        }
        _ => Ok(base),
    }
}

/// Opens the tree. A bundle of somebody else must not have what a link leads to put into an image.
fn open_rootfs(bundle: &Bundle) -> Result<Root> {
    let path = bundle.rootfs();
    if crate::fs::is_link(&path)? {
        fail!(
            Invalid,
            "{} is a link, not a directory; put the directory itself in its place",
            path.display()
        );
    }
    Root::open_no_link(&path)
}

/// The tag that a repack of a bundle is about to set.
struct NewTag<'a> {
    store: &'a Store,
    tag: &'a RefName,
    meta: &'a Meta,
}

impl NewTag<'_> {
    /// Returns whether the bundle was unpacked from this tag.
    fn is_own(&self) -> bool {
        self.meta.walk.first().and_then(Descriptor::ref_name) == Some(self.tag.as_str())
    }

    /// Returns where the image of the bundle stands below its tag now: the one that was unpacked, or what a repack of the
    /// bundle put in its place. Others may have changed what is beside it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is not there any more.
    fn place(&self) -> Result<Vec<Descriptor>> {
        let (tag, meta) = (self.tag, self.meta);
        let Some(now) = self.store.lookup(tag)?.into_iter().next() else {
            return Ok(meta.walk.clone());
        };
        let paths = resolve(self.store, &Target::Name(tag.clone()))?.paths;
        let platform = meta.walk.first().and_then(|root| root.platform.as_ref());
        let unpacked = meta.walk.last().map(|last| last.digest);
        for known in meta.repacked.iter().rev().copied().chain(unpacked) {
            let leading = paths.iter().filter(|path| path.last().digest == known);
            let leading = leading.map(DescriptorPath::to_vec);
            // Of several entries that lead there it is the one of the same platform.
            let is_other =
                |walk: &Vec<Descriptor>| walk.first().and_then(|root| root.platform.as_ref()) != platform;
            if let Some(walk) = leading.min_by_key(is_other) {
                return Ok(walk);
            }
        }
        let text = format!(
            "the tag has moved since the bundle was unpacked: tag {tag} points at {} by now",
            now.digest
        );
        Err(Error::new(ErrorKind::Conflict, text).with_fact(Fact::TagMoved))
    }

    /// Returns the place of the image of the bundle under its tag, where nothing of it is there any more: that of the only
    /// entry that is for the same platform, else of all of them.
    fn forced_place(&self) -> Result<Vec<Descriptor>> {
        let mut walk = self.meta.walk.clone();
        let is_image = walk.len() == 1;
        if let Some(root) = walk.first_mut() {
            let there = self.store.lookup(self.tag)?;
            let is_same = |entry: &&Descriptor| entry.platform.is_some() && entry.platform == root.platform;
            let same: RefValue = there.entries().iter().filter(is_same).cloned().collect();
            match same.only() {
                Some(only) if is_image => root.clone_from(only),
                _ => drop(root.annotations.remove(REF_NAME)),
            }
        }
        Ok(walk)
    }

    /// Writes the image of `edit` and points the tag at it; returns the way from the tag to its manifest.
    fn point_at(
        &self,
        edit: &Edit,
        bundle: &Bundle,
        txn: &mut Txn<'_>,
        force: bool,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Descriptor>> {
        let (tag, meta) = (self.tag, self.meta);
        let mut was = None;
        let walk = retry_on_conflict(txn, |txn| -> Result<Vec<Descriptor>> {
            let place = match self.is_own().then(|| self.place()) {
                None => meta.walk.clone(),
                Some(Err(err)) if force && err.kind() == ErrorKind::Conflict => self.forced_place()?,
                Some(place) => place?,
            };
            let walk = edit.clone().onto(place.clone()).apply(txn, tag)?;
            // Before the tag moves: a repack that is killed then must know its own work when it is run again.
            if self.is_own()
                && let Err(err) = note(bundle, meta, &place, &walk)
            {
                monitor.warn(format_args!("the bundle does not know its new image: {err}"));
            }
            was = place.first().map(|first| first.digest);
            Ok(walk)
        })?;
        let unpacked = meta.walk.first().map(|first| first.digest);
        if let Some(was) = was.filter(|was| unpacked != Some(*was) && !meta.repacked.contains(was)) {
            monitor.warn(format_args!(
                "the tag has moved since the bundle was unpacked: what is new at {was} beside its image stays"
            ));
        }
        if let (Some(first), Some(last)) = (walk.first(), walk.last()) {
            monitor.info(format_args!(
                "new image manifest created: {}->{}",
                first.digest, last.digest
            ));
            monitor.info(format_args!("created new tag for image manifest: {tag}"));
        }
        Ok(walk)
    }
}

/// Writes into the bundle what stands in its place, and what is about to.
fn note(bundle: &Bundle, meta: &Meta, before: &[Descriptor], after: &[Descriptor]) -> Result<()> {
    let mut repacked: Vec<Digest> = ends(before)
        .filter(|known| meta.repacked.contains(known))
        .collect();
    repacked.extend(ends(after));
    repacked.dedup();
    let noted = Meta {
        repacked,
        ..meta.clone()
    };
    crate::fs::replace_file(&bundle.meta(), &noted.to_bytes()?)
}

/// Returns the digests of the tag's entry and the manifest.
fn ends(walk: &[Descriptor]) -> impl Iterator<Item = Digest> {
    [walk.first(), walk.last()]
        .into_iter()
        .flatten()
        .map(|end| end.digest)
}

fn masks(base: &Image, opts: &RepackOptions) -> Result<Vec<TreePath>> {
    let volumes = base.config.value.config.volumes.keys().map(String::as_bytes);
    let volumes = volumes.filter(|_| !opts.no_mask_volumes);
    opts.masks
        .iter()
        .map(Vec::as_slice)
        .chain(volumes)
        .map(TreePath::clean)
        .collect()
}

/// Makes the bundle describe the image that was just written.
fn refresh(
    bundle: &Bundle,
    root: &Root,
    meta: &Meta,
    walk: &[Descriptor],
    opts: &RepackOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    let (Some(old), Some(new)) = (meta.walk.last(), walk.last()) else {
        fail!(Invalid, "empty descriptor path");
    };
    // The same manifest again (nothing changed, no history) leaves the file as it is.
    if old.digest != new.digest {
        let known = manifest::Known::Before(&old.digest);
        manifest::write(root, bundle, &new.digest, &opts.header, &known, monitor)?;
    }
    let meta = Meta {
        walk: walk.to_vec(),
        id_map: meta.id_map.clone(),
        repacked: Vec::new(),
    };
    crate::fs::replace_file(&bundle.meta(), &meta.to_bytes()?)?;
    if old.digest != new.digest {
        crate::fs::remove_file(&bundle.mtree(&old.digest));
        crate::fs::remove_file(&bundle.stat_cache(&old.digest));
    }
    Ok(())
}
