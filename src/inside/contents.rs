// SPDX-License-Identifier: Apache-2.0
//! All layers of an image over one another: each entry with its fate, and the tree that is there in the end.

use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{Image, Layer, Target, resolve};
use crate::layer::{
    EntryBody, Fate, FateOf, FileDigest, LayerReader, LayerStream, LayerTree, Limits, Outcome, Toc,
    TocBuilder, TocEntry,
};
use crate::node::{Node, NodeKind, Trail, TreePath};
use crate::progress::{Counted, Monitor, Task};
use crate::spec::{Compression, Descriptor, History, MediaType};
use crate::store::Store;

/// The contents of the layers of an image.
#[derive(Debug)]
pub struct Contents {
    /// The layers, the lowest first.
    pub layers: Vec<ContentLayer>,
    /// The entries of all layers in the order of the layers and their archives, then the directories without an entry.
    pub items: Vec<Item>,
    /// Layers that could not be read, each with the reason; they count as empty.
    pub unseen: Vec<(usize, Error)>,
    /// Numbers of the items that are there in the end, in the order of their paths.
    live: Vec<u32>,
}

/// A layer of [`Contents`].
#[derive(Clone, Debug)]
pub struct ContentLayer {
    /// As the manifest has it.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    pub compression: Compression,
    /// Size of the uncompressed tar in bytes; 0 of a layer that could not be read.
    pub tar_size: u64,
    /// The step of the history that made it, if the config tells.
    pub history: Option<History>,
    /// Its items, but for directories without an entry.
    pub items: Range<u32>,
}

/// An entry of a layer, or a directory that a layer needs and has no entry for.
#[derive(Clone, Debug)]
pub struct Item {
    /// Number of the layer.
    pub layer: u32,
    /// Its path with all links on the way followed; of a whiteout the path that it hides, of an opaque one the directory.
    pub path: TreePath,
    pub body: ItemBody,
    /// SHA-256 of the content, of a regular file.
    pub digest: Option<FileDigest>,
    /// Offset in bytes of its headers in the tar.
    pub start: u64,
    /// Bytes of its headers, its content and what pads it in the tar.
    pub span: u64,
    /// Number of the item at this path whose place it took.
    pub before: Option<u32>,
    pub end: End,
}

/// Statement of an item about its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ItemBody {
    Node(Node),
    /// Another name of the item `content`.
    Link {
        /// The path as the entry has it.
        target: TreePath,
        /// `None` if the layers have no such file.
        content: Option<u32>,
    },
    Whiteout,
    Opaque,
    /// A directory without an entry: 0755, owner 0:0, time 0.
    Implied,
}

/// State of an item once all layers lie over one another. Whiteouts are always live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Live,
    /// This item took its place.
    Replaced(u32),
    /// This item removed it, or a directory above: a whiteout, or something in the place of a directory.
    Removed(u32),
}

impl Contents {
    /// Returns the contents of `image` without its `without` upper layers. Tables of contents that are not there are made, by reading
    /// the layer.
    ///
    /// # Errors
    /// Those of [`Image::layers`], and of layers that cannot be laid over one another; a layer that is damaged or missing is no error,
    /// but one of [`Contents::unseen`].
    pub fn of_image(store: &Store, image: &Image, without: usize, monitor: &dyn Monitor) -> Result<Self> {
        let mut layers = image.layers()?;
        if without > layers.len() {
            let has = layers.len();
            fail!(
                NotFound,
                "the image has {has} layers, so none is left without {without} of them"
            );
        }
        layers.truncate(layers.len() - without);
        let tocs = each_toc(store, &layers, monitor, |_, toc| toc);
        let steps = image.config.value.history.iter();
        let mut steps = steps.filter(|step| !step.empty_layer).cloned();
        let layers = layers.iter().map(|layer| ContentLayer {
            history: steps.next(),
            ..ContentLayer::of(layer)
        });
        Self::of_tocs(layers.collect(), tocs)
    }

    /// Returns the contents of the layer `digest` alone, which need not be one of an image.
    ///
    /// # Errors
    /// If there is no such blob; one that is damaged, or no layer, is one of [`Contents::unseen`].
    pub fn of_layer(store: &Store, digest: &Digest, monitor: &dyn Monitor) -> Result<Self> {
        // Of a blob that is not there, opening it tells.
        let size = store.layout().blob_size(digest)?.unwrap_or_default();
        let mut descriptor = Descriptor::new(MediaType::layer(Compression::None), *digest, size);
        let mut magic = Vec::new();
        store.open_blob(&descriptor)?.take(4).read_to_end(&mut magic)?;
        let compression = Compression::of_magic(&magic);
        descriptor.media_type = MediaType::layer(compression);
        let limits = Limits::default();
        let task: Arc<dyn Task> = Arc::from(monitor.task("reading", Some(descriptor.size)));
        let blob = Counted::new(store.open_blob(&descriptor)?, &task);
        let stream = LayerStream::open(blob, compression, digest.algorithm(), &limits)?;
        let mut reader = LayerReader::new(stream, limits);
        let mut builder = TocBuilder::default();
        let read = builder.add_all(&mut reader).and_then(|()| reader.drain());
        let stream = reader.into_inner();
        let toc = match read {
            Ok(()) => stream
                .finish()
                .and_then(|tar| Toc::decode(&builder.finish(&tar.digest, tar.size)?, &tar.digest)),
            Err(err) => Err(stream.blame(err)),
        };
        let layer = ContentLayer {
            diff_id: toc.as_ref().map_or(*digest, |toc| toc.diff_id),
            descriptor,
            compression,
            tar_size: 0,
            history: None,
            items: 0..0,
        };
        Self::of_tocs(vec![layer], vec![toc])
    }

    /// Lays layers over one another by their tables; a layer whose table is an error is one of [`Contents::unseen`].
    ///
    /// # Errors
    /// Entries that no tree can have, with the digest of their layer.
    pub fn of_tocs(mut layers: Vec<ContentLayer>, tocs: Vec<Result<Toc>>) -> Result<Self> {
        let mut tree = LayerTree::with_history(Limits::default());
        let mut unseen = Vec::new();
        let mut items = Vec::new();
        for (number, (layer, toc)) in layers.iter_mut().zip(tocs).enumerate() {
            let toc = match toc {
                Ok(toc) => toc,
                Err(err) => {
                    unseen.push((number, err));
                    Toc {
                        diff_id: layer.diff_id,
                        tar_size: 0,
                        entries: Vec::new(),
                    }
                }
            };
            layer.tar_size = toc.tar_size;
            tree.add_entries(&toc.entries)
                .context(|| format!("layer {}", layer.descriptor.digest))?;
            let begin = items.len() as u32;
            items.extend(
                toc.entries
                    .into_iter()
                    .map(|entry| Item::new(number as u32, entry)),
            );
            layer.items = begin..items.len() as u32;
        }
        let implied = tree.settle()?;
        for (number, item) in items.iter_mut().enumerate() {
            let fate = tree.fate_of(number as u32, &item.path, item.kind());
            item.settle(fate);
        }
        drop(tree);
        for (path, by) in implied {
            let layer = items.get(by as usize).map_or(0, |item| item.layer);
            items.push(Item::implied(layer, path));
        }
        let mut live: Vec<u32> = (0..items.len() as u32).collect();
        live.retain(|number| items[*number as usize].is_node());
        // Archives are in the order of a walk mostly, which is nearly that of paths.
        live.sort_by(|a, b| items[*a as usize].path.cmp(&items[*b as usize].path));
        Ok(Self {
            layers,
            items,
            unseen,
            live,
        })
    }

    /// Returns the tree that an unpack of the layers gives, in the order of paths.
    pub fn tree(&self) -> impl ExactSizeIterator<Item = &Item> + Clone {
        self.live.iter().map(|number| &self.items[*number as usize])
    }

    /// Returns the numbers of the items of [`Contents::tree`].
    pub fn live(&self) -> &[u32] {
        &self.live
    }

    /// Returns the item at `path` in the tree; links on the way are not followed.
    pub fn find(&self, path: &TreePath) -> Option<&Item> {
        let at = |number: &u32| self.items[*number as usize].path.cmp(path);
        let found = self.live.binary_search_by(at).ok()?;
        self.items.get(self.live[found] as usize)
    }

    /// Returns the item that a program in the image finds at `path`, by all symbolic links.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafePath`](crate::error::ErrorKind::UnsafePath) for a loop of links.
    pub fn follow(&self, path: &TreePath) -> Result<Option<&Item>> {
        let mut at: Vec<TreePath> = vec![TreePath::root()];
        let mut trail = Trail::to(path);
        while let Some(name) = trail.step() {
            if name == b".." {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            let here = at.last().cloned().unwrap_or_default().join(&name)?;
            let Some(item) = self.find(&here) else {
                return Ok(None);
            };
            match self.node_of(item).map(|node| &node.kind) {
                Some(NodeKind::Symlink { target }) => {
                    trail.follow(target)?;
                    if target.first() == Some(&b'/') {
                        at.truncate(1);
                    }
                }
                _ => at.push(here),
            }
        }
        Ok(at.last().and_then(|path| self.find(path)))
    }

    /// Returns the tree at and below `path`, in the order of paths.
    pub fn below(&self, path: &TreePath) -> impl Iterator<Item = &Item> {
        let start = self
            .live
            .partition_point(|number| self.items[*number as usize].path < *path);
        let rest = self.live[start..]
            .iter()
            .map(|number| &self.items[*number as usize]);
        let path = path.clone();
        // A name such as `a-b` stands between `a` and `a/c` in the order of bytes.
        rest.take_while({
            let path = path.clone();
            move |item| item.path.as_bytes().starts_with(path.as_bytes())
        })
        .filter(move |item| item.path == path || item.path.is_below(&path))
    }

    /// Returns the item that has the content and the metadata of `item`: another one for a hard link.
    pub fn content_of<'a>(&'a self, item: &'a Item) -> &'a Item {
        match item.body {
            ItemBody::Link {
                content: Some(number),
                ..
            } => self.items.get(number as usize).unwrap_or(item),
            _ => item,
        }
    }

    /// Returns the node at the path of an item; `None` for whiteouts and for directories without an entry.
    pub fn node_of<'a>(&'a self, item: &'a Item) -> Option<&'a Node> {
        match &self.content_of(item).body {
            ItemBody::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Returns the size of the content in bytes, which is that of a link's target for a link, and 0 for all else but files.
    pub fn size_of(&self, item: &Item) -> u64 {
        match self.node_of(item).map(|node| &node.kind) {
            Some(NodeKind::File { size }) => *size,
            Some(NodeKind::Symlink { target }) => target.len() as u64,
            _ => 0,
        }
    }

    /// Returns the share that an item has in the compressed bytes of its layer, as far as that can be told: by its bytes in the tar.
    pub fn packed(&self, item: &Item) -> u64 {
        let Some(layer) = self.layers.get(item.layer as usize) else {
            return 0;
        };
        let share = u128::from(item.span) * u128::from(layer.descriptor.size);
        (share / u128::from(layer.tar_size.max(1))) as u64
    }
}

impl ContentLayer {
    /// Returns a layer without items.
    pub(crate) fn of(layer: &Layer<'_>) -> Self {
        Self {
            descriptor: layer.descriptor.clone(),
            diff_id: layer.diff_id,
            compression: layer.compression,
            tar_size: 0,
            history: None,
            items: 0..0,
        }
    }

    pub(super) fn as_layer(&self) -> Layer<'_> {
        Layer {
            descriptor: &self.descriptor,
            diff_id: self.diff_id,
            compression: self.compression,
        }
    }
}

impl ItemBody {
    /// Returns whether it only hides paths of lower layers, and is in no tree.
    pub fn is_whiteout(&self) -> bool {
        matches!(self, Self::Whiteout | Self::Opaque)
    }
}

impl Item {
    /// Returns the item of an entry as if nothing else were there.
    fn new(layer: u32, entry: TocEntry) -> Self {
        Self {
            layer,
            path: entry.entry.path,
            body: match entry.entry.body {
                EntryBody::Node(node) => ItemBody::Node(node),
                EntryBody::HardLink { target } => ItemBody::Link {
                    target,
                    content: None,
                },
                EntryBody::Whiteout => ItemBody::Whiteout,
                EntryBody::Opaque => ItemBody::Opaque,
            },
            digest: entry.digest,
            start: entry.start,
            span: entry.span,
            before: None,
            end: End::Live,
        }
    }

    fn kind(&self) -> FateOf {
        match &self.body {
            ItemBody::Whiteout | ItemBody::Opaque => FateOf::Whiteout,
            ItemBody::Node(node) if node.is_dir() => FateOf::Directory,
            _ => FateOf::Other,
        }
    }

    /// Notes what all layers together made of the entry.
    fn settle(&mut self, fate: Fate) {
        self.path = fate.path;
        self.before = fate.before;
        if let ItemBody::Link { content, .. } = &mut self.body {
            *content = fate.content;
        }
        self.end = match fate.outcome {
            Outcome::Live => End::Live,
            Outcome::Replaced(by) => End::Replaced(by),
            Outcome::Removed(by) => End::Removed(by),
        };
    }

    fn implied(layer: u32, path: TreePath) -> Self {
        Self {
            layer,
            path,
            body: ItemBody::Implied,
            digest: None,
            start: 0,
            span: 0,
            before: None,
            end: End::Live,
        }
    }

    /// Returns whether it is part of the tree in the end.
    pub fn is_node(&self) -> bool {
        self.end == End::Live && !self.body.is_whiteout()
    }
}

/// Makes the tables of contents of all images that `root` leads to, an image or an index, where they are not there.
///
/// # Errors
/// Those of reading an image or a layer; what is no image has no tables.
pub fn make_tables(store: &Store, root: &Digest, monitor: &dyn Monitor) -> Result<()> {
    for path in resolve(store, &Target::Digest(*root))?.paths {
        let image = match Image::load(store, path.to_vec()) {
            // An artifact, whose layers need not be archives.
            Err(err) if err.kind() == ErrorKind::Unsupported => continue,
            image => image?,
        };
        for made in each_toc(store, &image.layers()?, monitor, |_, _| ()) {
            made?;
        }
    }
    Ok(())
}

/// Gives the tables of contents of layers to `each`, with their places among `layers`, on all cores; tables that are not there are made,
/// by reading the layer, and kept. Returns the answers in the order of the layers.
pub(super) fn each_toc<T: Send>(
    store: &Store,
    layers: &[Layer<'_>],
    monitor: &dyn Monitor,
    each: impl Fn(usize, Toc) -> T + Sync,
) -> Vec<Result<T>> {
    let missing = layers.iter().filter(|layer| !store.has_toc(&layer.diff_id));
    let total = missing
        .map(|layer| layer.descriptor.size)
        .fold(0, u64::saturating_add);
    let task: Arc<dyn Task> =
        Arc::from(monitor.task("reading layers", Some(total).filter(|total| *total > 0)));
    let answers = layers.par_iter().enumerate().map(|(at, layer)| {
        let (toc, is_new) = load_or_make(store, layer, &task, monitor)?;
        Ok((each(at, toc), is_new))
    });
    let answers: Vec<Result<(T, bool)>> = answers.collect();
    let made = layers.iter().zip(&answers);
    let made = made.filter(|(_, answer)| matches!(answer, Ok((_, true))));
    let notes: Vec<(Digest, Digest)> = made
        .map(|(layer, _)| (layer.descriptor.digest, layer.diff_id))
        .collect();
    store.note_layers(&notes);
    answers
        .into_iter()
        .map(|answer| answer.map(|(answer, _)| answer))
        .collect()
}

/// Returns the table of contents of a layer, and whether it was not there and had to be made.
fn load_or_make(
    store: &Store,
    layer: &Layer<'_>,
    task: &Arc<dyn Task>,
    monitor: &dyn Monitor,
) -> Result<(Toc, bool)> {
    match store.toc(&layer.diff_id) {
        Some(toc) => Ok((toc, false)),
        None => make(store, layer, task, monitor).map(|toc| (toc, true)),
    }
}

/// Reads a whole layer, and keeps the table of its contents.
fn make(store: &Store, layer: &Layer<'_>, task: &Arc<dyn Task>, monitor: &dyn Monitor) -> Result<Toc> {
    let limits = Limits::default();
    let mut reader = LayerReader::new(layer.open_derived(store, false, &limits, task)?, limits);
    let mut builder = TocBuilder::default();
    let read = builder.add_all(&mut reader).and_then(|()| reader.drain());
    let finished = layer.end(reader.into_inner(), read)?;
    let size = finished.size;
    store.keep_noted(&layer.descriptor.digest, &finished, monitor);
    let bytes = builder.finish(&layer.diff_id, size)?;
    store.keep_toc(&layer.diff_id, &bytes, monitor);
    Toc::decode(&bytes, &layer.diff_id)
}
