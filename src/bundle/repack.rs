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
use crate::progress::{Counted, Monitor, Task};
use crate::rootfs::{Changes, PackOptions, Packer};
use crate::spec::{Compression, Descriptor, History, Platform, REF_NAME, RefName, RefValue};
use crate::store::{Store, Txn};

/// `umoci.json` larger than this is refused, in bytes.
const MAX_META: u64 = 16 << 20;

/// Options of a repack.
#[derive(Clone, Debug, Default)]
pub struct RepackOptions {
    /// Paths below the root, in any spelling, at and below which changes are left out.
    pub masks: Vec<Vec<u8>>,
    /// Do not leave out changes below the volumes of the image.
    pub no_mask_volumes: bool,
    /// Make the bundle describe the new image.
    pub refresh: bool,
    /// Replace the tag even if it points at another image than that which the bundle was unpacked from under that tag.
    pub force: bool,
    /// Refuse, as [`ErrorKind::Invalid`], a bundle of an image for another platform. `None` takes any.
    pub platform: Option<Platform>,
    /// Compression of the layer; `None` for that of the image.
    pub compression: Option<Compression>,
    /// The latest modification time that a file may have in the layer: a later one becomes this. `None` keeps all.
    pub clamp_mtime: Option<Time>,
    /// Comments at the head of a refreshed mtree file.
    pub header: crate::mtree::Header,
}

/// Result of a repack.
#[derive(Clone, Debug)]
pub struct Repacked {
    /// From the entry of the tag in `index.json` down to the new manifest, which is last: one descriptor, and one more for each
    /// image index on the way.
    pub walk: Vec<Descriptor>,
    /// True if the tree differs from the image; else the new image has the layers of the old one.
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
/// `history` gets the author of the base image, which may be empty, and returns the entry, or `None` for no entry. It is called
/// before any work.
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
    let job = Repack {
        store,
        bundle,
        tag,
        meta: &meta,
        opts,
        monitor,
    };
    let mut txn = store.begin("repack")?;
    let base = job.load_base()?;
    let history = history(&base.config.value.author)?;
    if job.is_own_tag() && !opts.force {
        // A conflict over the tag is reported before the work.
        job.place()?;
    }
    let root = open_rootfs(bundle, &meta)?;
    let mut edit = Edit::new(&base);
    let changed = job.add_changes(&base, &root, &mut edit, history, &mut txn)?;
    let walk = job.point_tag(&edit, &mut txn)?;
    if opts.refresh {
        job.refresh(&root, &walk).context(|| "refresh bundle")?;
    }
    Ok(Repacked { walk, changed })
}

/// Returns the paths whose changes are left out: those that are given, in any spelling, and the volumes of the image. At run time
/// something else is mounted on a volume, which belongs to no image.
pub(super) fn masks<'a>(
    given: &'a [Vec<u8>],
    volumes: impl Iterator<Item = &'a String>,
) -> Result<Vec<TreePath>> {
    let given = given.iter().map(Vec::as_slice);
    given
        .chain(volumes.map(String::as_bytes))
        .map(TreePath::clean)
        .collect()
}

/// Opens the tree. A bundle of somebody else must not have what a link leads to put into an image.
pub(super) fn open_rootfs(bundle: &Bundle, meta: &Meta) -> Result<Root> {
    let path = bundle.rootfs();
    if crate::fs::is_link(&path)? {
        let path = path.display();
        let text = format!("{path} is a link, not a directory; put the directory itself in its place");
        fail!(Invalid, "{text}");
    }
    Ok(Root::open_no_link(&path)?.rootless(meta.id_map.rootless))
}

/// A repack under way: what it was called with, and what the bundle says of itself.
struct Repack<'a> {
    store: &'a Store,
    bundle: &'a Bundle,
    tag: &'a RefName,
    meta: &'a Meta,
    opts: &'a RepackOptions,
    monitor: &'a dyn Monitor,
}

impl Repack<'_> {
    /// Loads the image that the bundle was unpacked from.
    fn load_base(&self) -> Result<Image> {
        let base = Image::load(self.store, self.meta.walk().to_vec()).map_err(|err| {
            let gone = err.kind() == ErrorKind::NotFound;
            err.context(if gone {
                "the image that the bundle was unpacked from is not in this layout (removed by gc?)"
            } else {
                "create mutator for base image"
            })
        })?;
        let platform = base.config.value.platform();
        match &self.opts.platform {
            Some(wanted) if !wanted.runs(&platform) => {
                fail!(Invalid, "the bundle is of an image for {platform}, not {wanted}")
            }
            _ => Ok(base),
        }
    }

    /// Adds a layer of what changed in the tree, with its step of the history, to `edit`; `false` if nothing did.
    fn add_changes(
        &self,
        base: &Image,
        root: &Root,
        edit: &mut Edit,
        history: Option<History>,
        txn: &mut Txn<'_>,
    ) -> Result<bool> {
        let (opts, monitor) = (self.opts, self.monitor);
        monitor.info(format_args!("computing filesystem diff ..."));
        let volumes = base.config.value.config.volumes.keys();
        let masks = masks(&opts.masks, volumes.filter(|_| !opts.no_mask_volumes))?;
        let mut changes = Changes::new(masks, || txn.scratch());
        let manifest = &base.descriptor().digest;
        tree_diff::changes(root, self.bundle, manifest, &mut changes, monitor)?;
        let is_empty = changes.is_empty();
        let changes = changes.sorted()?;
        monitor.info(format_args!("... done"));
        if is_empty {
            edit.manifest.media_type = crate::spec::MediaType::MANIFEST.into();
            edit.add_empty_history(history);
            return Ok(false);
        }
        let compression = opts.compression.unwrap_or_else(|| edit.auto_compression());
        let pack_options = PackOptions {
            id_map: self.meta.id_map.clone(),
            clamp_mtime: opts.clamp_mtime,
        };
        let layer = NewLayer::write(txn, compression, |out| {
            let task: Arc<dyn Task> = Arc::from(monitor.task("packing", None));
            let mut writer = LayerWriter::new(Counted::new(out, &task), b".");
            Packer::new(root, &mut writer, &pack_options, monitor).changes(changes)?;
            writer.finish().map(drop)
        })
        .context(|| "create layer")?;
        if history.is_none() {
            monitor.warn(format_args!(
                "new layer has no history entry -- this will confuse many tools!"
            ));
        }
        edit.add_layer(layer, history);
        Ok(true)
    }

    /// Returns whether the bundle was unpacked from this tag.
    fn is_own_tag(&self) -> bool {
        self.meta.walk().first().and_then(Descriptor::ref_name) == Some(self.tag.as_str())
    }

    /// Returns where the image of the bundle stands below its tag now: the one that was unpacked, or what a repack of the
    /// bundle put in its place. Others may have changed what is beside it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it is not there any more.
    fn place(&self) -> Result<Vec<Descriptor>> {
        let (tag, meta) = (self.tag, self.meta);
        let Some(now) = self.store.lookup(tag)?.into_iter().next() else {
            return Ok(meta.walk().to_vec());
        };
        let paths = resolve(self.store, &Target::Name(tag.clone()))?.paths;
        let unpacked = meta.walk().last().map(|last| last.digest);
        for known in meta.repacked.iter().rev().copied().chain(unpacked) {
            let leading = paths.iter().filter(|path| path.last().digest == known);
            // Of several entries that lead there it is the one of the same platform.
            let place = leading
                .map(DescriptorPath::to_vec)
                .min_by_key(|walk| platform(walk) != platform(meta.walk()));
            if let Some(place) = place {
                return Ok(place);
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
        let mut walk = self.meta.walk().to_vec();
        let is_image = walk.len() == 1;
        if let Some(root) = walk.first_mut() {
            let there = self.store.lookup(self.tag)?;
            let entries = there.into_iter();
            let same = entries.filter(|entry| entry.platform.is_some() && entry.platform == root.platform);
            let same: RefValue = same.collect();
            match same.only() {
                Some(only) if is_image => root.clone_from(only),
                _ => drop(root.annotations.remove(REF_NAME)),
            }
        }
        Ok(walk)
    }

    /// Writes the image of `edit` and points the tag at it; returns the way from the tag to its manifest.
    fn point_tag(&self, edit: &Edit, txn: &mut Txn<'_>) -> Result<Vec<Descriptor>> {
        let (meta, monitor) = (self.meta, self.monitor);
        let mut was = None;
        let walk = retry_on_conflict(txn, |txn| -> Result<Vec<Descriptor>> {
            let place = match self.is_own_tag().then(|| self.place()) {
                None => meta.walk().to_vec(),
                Some(Err(err)) if self.opts.force && err.kind() == ErrorKind::Conflict => {
                    self.forced_place()?
                }
                Some(place) => place?,
            };
            let mut edit = edit.clone();
            edit.walk.clone_from(&place);
            let walk = edit.apply(txn, self.tag)?;
            // The tag moves as soon as this closure has returned. A repack that is killed just then must know its own work when it
            // is run again, so the bundle learns of it first.
            if self.is_own_tag()
                && let Err(err) = self.note(&place, &walk)
            {
                monitor.warn(format_args!("the bundle does not know its new image: {err}"));
            }
            was = place.first().map(|first| first.digest);
            Ok(walk)
        })?;
        let unpacked = meta.walk().first().map(|first| first.digest);
        if let Some(was) = was.filter(|was| unpacked != Some(*was) && !meta.repacked.contains(was)) {
            monitor.warn(format_args!(
                "the tag has moved since the bundle was unpacked: what is new at {was} beside its image stays"
            ));
        }
        if let (Some(first), Some(last)) = (walk.first(), walk.last()) {
            let (first, last) = (&first.digest, &last.digest);
            monitor.info(format_args!("new image manifest created: {first}->{last}"));
            monitor.info(format_args!("created new tag for image manifest: {}", self.tag));
        }
        Ok(walk)
    }

    /// Writes into the bundle what stands in its place, and what is about to.
    fn note(&self, before: &[Descriptor], after: &[Descriptor]) -> Result<()> {
        // Only the last repack may not have come to its end: what earlier ones made is not asked for any more.
        let before = ends(before).filter(|known| self.meta.repacked.contains(known));
        let mut repacked: Vec<Digest> = before.chain(ends(after)).collect();
        repacked.dedup();
        let mut noted = self.meta.clone();
        noted.repacked = repacked;
        crate::fs::replace_file(&self.bundle.meta(), &noted.to_bytes()?)
    }

    /// Makes the bundle describe the image that was just written.
    fn refresh(&self, root: &Root, walk: &[Descriptor]) -> Result<()> {
        let bundle = self.bundle;
        let (Some(old), Some(new)) = (self.meta.walk().last(), walk.last()) else {
            fail!(Invalid, "empty descriptor path");
        };
        // The same manifest again (nothing changed, no history) leaves the file as it is.
        let is_new = old.digest != new.digest;
        if is_new {
            let known = manifest::Known::Before(&old.digest);
            manifest::write(root, bundle, &new.digest, &self.opts.header, &known, self.monitor)?;
        }
        let meta = Meta::new(walk.to_vec(), self.meta.id_map.clone());
        crate::fs::replace_file(&bundle.meta(), &meta.to_bytes()?)?;
        // Until here the bundle was whole for its old image, from now on it is for the new one.
        if is_new {
            crate::fs::remove_file(&bundle.mtree(&old.digest));
            crate::fs::remove_file(&bundle.stat_cache(&old.digest));
        }
        Ok(())
    }
}

/// Returns the platform that the entry of `index.json` says.
fn platform(walk: &[Descriptor]) -> Option<&Platform> {
    walk.first()?.platform.as_ref()
}

/// Returns the digests of the tag's entry and the manifest.
fn ends(walk: &[Descriptor]) -> impl Iterator<Item = Digest> {
    walk.first().into_iter().chain(walk.last()).map(|end| end.digest)
}
