// SPDX-License-Identifier: Apache-2.0
//! The data of a report: a head and columns; see the module for their form.

use std::collections::HashMap;
use std::io::Write as _;

use serde::Serialize;

use super::paths::{self, Key, PathColumns};
use super::{Report, ReportImage};
use crate::digest::Digest;
use crate::error::Result;
use crate::inside::contents::{Contents, End, Item, ItemBody};
use crate::layer::Encoder;
use crate::node::{Node, NodeKind};
use crate::spec::Compression;

/// Version of the data.
const SCHEMA: u32 = 1;

/// Bytes of a block of a tar.
const BLOCK: u64 = 512;

/// Data that the page learns at once.
#[derive(Serialize)]
pub struct Head {
    schema: u32,
    /// Number of paths, with the root.
    paths: u32,
    layers: Vec<HeadLayer>,
    images: Vec<HeadImage>,
    others: Vec<HeadOther>,
    /// Layers of `others`: digest and size in bytes.
    shelf: Vec<(String, u64)>,
    /// Names and lengths in bytes of the columns.
    columns: Vec<(&'static str, usize)>,
}

/// A layer on certain other layers.
#[derive(Serialize)]
struct HeadLayer {
    digest: String,
    diff_id: String,
    /// Bytes of the blob.
    size: u64,
    /// Bytes of the tar.
    tar: u64,
    command: String,
    created: String,
    /// Number of its entries.
    entries: usize,
}

#[derive(Serialize)]
struct HeadImage {
    name: String,
    digest: String,
    platform: String,
    /// Numbers of its layers, the lowest first.
    layers: Vec<u32>,
    /// Number of its hidden entries.
    hidden: usize,
    /// Layers that could not be read, by their place in the image, each with the reason.
    unseen: Vec<(usize, String)>,
}

#[derive(Serialize)]
struct HeadOther {
    name: String,
    /// Numbers of its layers on the shelf.
    layers: Vec<u32>,
}

/// A layer of the report, and the first image that has it.
struct Stacked<'a> {
    contents: &'a Contents,
    /// Its place in that image.
    number: usize,
}

/// The layers of all images, each once.
#[derive(Default)]
struct Stacks<'a> {
    layers: Vec<Stacked<'a>>,
    /// For each image the numbers of its layers.
    images: Vec<Vec<u32>>,
}

/// An entry of the report: numbers of its layer in [`Stacks`] and of its item in the contents.
type EntryRef = (u32, u32);

#[derive(Default)]
struct Columns {
    paths: PathColumns,
    node: Vec<u8>,
    kind: Vec<u8>,
    size0: Vec<u8>,
    size1: Vec<u8>,
    size2: Vec<u8>,
    blocks: Vec<u8>,
    content: Vec<u8>,
    meta: Vec<u8>,
    at: Vec<u8>,
    fate: Vec<u8>,
    by: Vec<u8>,
}

/// An entry whose place in the tree of paths is known.
struct Placed {
    node: u32,
    item: u32,
    content: u32,
    meta: u32,
}

/// Returns the data of a report, compressed.
pub fn encode(report: &Report<'_>) -> Result<Vec<u8>> {
    let stacks = Stacks::of(&report.images);
    let mut columns = Columns::default();
    let placed = columns.place(&stacks);
    for (layer, entries) in stacks.layers.iter().zip(&placed) {
        columns.add_layer(layer, entries);
    }
    let mut images = Vec::new();
    for (image, layers) in report.images.iter().zip(&stacks.images) {
        let hidden = columns.add_fates(image.contents, layers, &placed);
        images.push(HeadImage::new(image, layers.clone(), hidden));
    }
    let layers = stacks.layers.iter().zip(&placed);
    let (others, shelf) = shelve(report);
    let paths = columns.paths.count + 1;
    let columns = columns.list();
    let head = Head {
        schema: SCHEMA,
        paths,
        layers: layers.map(|(layer, entries)| layer.head(entries.len())).collect(),
        images,
        others,
        shelf,
        columns: columns.iter().map(|(name, bytes)| (*name, bytes.len())).collect(),
    };
    let head = serde_json::to_vec(&head).map_err(std::io::Error::from)?;
    let mut out = Encoder::new(Vec::new(), Compression::Gzip)?;
    out.write_all(&(head.len() as u32).to_le_bytes())?;
    out.write_all(&head)?;
    for (_, bytes) in &columns {
        out.write_all(bytes)?;
    }
    Ok(out.finish()?.0)
}

/// Appends a number as LEB128.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Returns the layers of images that are shown by their layers alone: by number on a shelf that has each once.
fn shelve(report: &Report<'_>) -> (Vec<HeadOther>, Vec<(String, u64)>) {
    let mut shelf = Vec::new();
    let mut numbers = HashMap::new();
    let mut others = Vec::new();
    for image in &report.others {
        let mut layers = Vec::new();
        for (digest, size) in &image.layers {
            let number = *numbers.entry(*digest).or_insert_with(|| {
                shelf.push((digest.to_string(), *size));
                shelf.len() as u32 - 1
            });
            layers.push(number);
        }
        let name = image.name.clone();
        others.push(HeadOther { name, layers });
    }
    (others, shelf)
}

impl<'a> Stacks<'a> {
    fn of(images: &[ReportImage<'a>]) -> Self {
        let mut out = Self::default();
        // A layer on other layers may hold other paths, by the links that it meets; one that could not be read holds none.
        let mut numbers: HashMap<(Option<u32>, Digest, bool), u32> = HashMap::new();
        for image in images {
            let mut layers = Vec::new();
            for (number, layer) in image.contents.layers.iter().enumerate() {
                let seen = image.contents.unseen.iter().all(|(unseen, _)| *unseen != number);
                let key = (layers.last().copied(), layer.diff_id, seen);
                layers.push(*numbers.entry(key).or_insert_with(|| {
                    out.layers.push(Stacked {
                        contents: image.contents,
                        number,
                    });
                    out.layers.len() as u32 - 1
                }));
            }
            out.images.push(layers);
        }
        out
    }

    fn item(&self, (layer, item): EntryRef) -> (&'a Contents, &'a Item) {
        let contents = self.layers[layer as usize].contents;
        (contents, &contents.items[item as usize])
    }
}

impl Stacked<'_> {
    fn head(&self, entries: usize) -> HeadLayer {
        let layer = &self.contents.layers[self.number];
        let step = layer.history.as_ref();
        HeadLayer {
            digest: layer.descriptor.digest.to_string(),
            diff_id: layer.diff_id.to_string(),
            size: layer.descriptor.size,
            tar: layer.tar_size,
            command: step.map_or_else(String::new, |step| step.created_by.clone()),
            created: step.and_then(|step| step.created.clone()).unwrap_or_default(),
            entries,
        }
    }
}

impl HeadImage {
    fn new(image: &ReportImage<'_>, layers: Vec<u32>, hidden: usize) -> Self {
        let unseen = image.contents.unseen.iter();
        Self {
            name: image.name.clone(),
            digest: image.digest.to_string(),
            platform: image.platform.clone(),
            layers,
            hidden,
            unseen: unseen.map(|(number, err)| (*number, err.to_string())).collect(),
        }
    }
}

impl Columns {
    /// Makes the tree of paths; returns the entries of each layer in its order.
    fn place(&mut self, stacks: &Stacks<'_>) -> Vec<Vec<Placed>> {
        let mut entries: Vec<(Key, EntryRef)> = Vec::new();
        for (number, layer) in stacks.layers.iter().enumerate() {
            let items = layer.contents.layers[layer.number].items.clone();
            entries.extend(items.map(|item| {
                let path = &layer.contents.items[item as usize].path;
                (paths::key(path.as_bytes()), (number as u32, item))
            }));
        }
        paths::sort(&mut entries);
        let mut out: Vec<Vec<Placed>> = stacks.layers.iter().map(|_| Vec::new()).collect();
        for same_path in entries.chunk_by(|a, b| a.0 == b.0) {
            let node = self.paths.add(&same_path[0].0);
            let mut contents = Vec::new();
            let mut metas = Vec::new();
            for (_, entry) in same_path {
                let (layer, item) = *entry;
                out[layer as usize].push(Placed {
                    node,
                    item,
                    content: version(&mut contents, stacks.item(*entry), same_content),
                    meta: version(&mut metas, stacks.item(*entry), same_meta),
                });
            }
        }
        out
    }

    fn add_layer(&mut self, layer: &Stacked<'_>, entries: &[Placed]) {
        let mut last = 0;
        for entry in entries {
            let item = &layer.contents.items[entry.item as usize];
            let size = match &item.body {
                ItemBody::Node(_) => layer.contents.size_of(item),
                _ => 0,
            };
            let content = if item.digest.is_some() {
                size.div_ceil(BLOCK)
            } else {
                0
            };
            let blocks = (item.span / BLOCK) as i64 - 1 - content as i64;
            put(&mut self.node, u64::from(entry.node - last));
            self.kind.push(kind(&item.body));
            self.size0.push(size as u8);
            self.size1.push((size >> 8) as u8);
            put(&mut self.size2, size >> 16);
            put(&mut self.blocks, (blocks << 1 ^ blocks >> 63) as u64);
            put(&mut self.content, u64::from(entry.content));
            put(&mut self.meta, u64::from(entry.meta));
            last = entry.node;
        }
    }

    /// Adds the hidden entries of an image; returns their number.
    fn add_fates(&mut self, contents: &Contents, layers: &[u32], placed: &[Vec<Placed>]) -> usize {
        let (mut begin, mut last, mut count) = (0, 0, 0);
        for (number, layer) in layers.iter().enumerate() {
            // The entries may have been placed for another image, whose items have the same order in the layer.
            let items = contents.layers[number].items.start;
            let entries = &placed[*layer as usize];
            let first = entries.iter().map(|entry| entry.item).min().unwrap_or(0);
            for (index, entry) in entries.iter().enumerate() {
                let item = &contents.items[(items + entry.item - first) as usize];
                let (fate, by) = match item.end {
                    End::Live => continue,
                    End::Replaced(by) => (1, by),
                    End::Removed(by) => (3, by),
                };
                let by = &contents.items[by as usize];
                let same = fate == 1 && contents.has_same_content(item, contents, by);
                let at = begin + index;
                put(&mut self.at, (at - last) as u64);
                self.fate.push(if same { 2 } else { fate });
                put(&mut self.by, u64::from(by.layer));
                last = at;
                count += 1;
            }
            begin += entries.len();
        }
        count
    }

    fn list(self) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("same", self.paths.same),
            ("names", self.paths.names),
            ("up", self.paths.up),
            ("node", self.node),
            ("kind", self.kind),
            ("size0", self.size0),
            ("size1", self.size1),
            ("size2", self.size2),
            ("blocks", self.blocks),
            ("content", self.content),
            ("meta", self.meta),
            ("at", self.at),
            ("fate", self.fate),
            ("by", self.by),
        ]
    }
}

type Seen<'a> = (&'a Contents, &'a Item);

/// Returns the number of an entry among those that differ, which it joins if it is like none of them.
fn version<'a>(known: &mut Vec<Seen<'a>>, entry: Seen<'a>, same: fn(Seen<'_>, Seen<'_>) -> bool) -> u32 {
    let found = known.iter().position(|other| same(*other, entry));
    found.unwrap_or_else(|| {
        known.push(entry);
        known.len() - 1
    }) as u32
}

/// Returns whether two entries have the same type and content.
fn same_content((a_in, a): Seen<'_>, (b_in, b): Seen<'_>) -> bool {
    a_in.has_same_content(a, b_in, b)
}

/// Returns whether two entries have the same mode, owner and extended attributes.
fn same_meta((a_in, a): Seen<'_>, (b_in, b): Seen<'_>) -> bool {
    a_in.node_of(a).map(meta) == b_in.node_of(b).map(meta)
}

fn meta(node: &Node) -> (u32, u32, u32, &crate::node::Xattrs) {
    (node.mode, node.uid, node.gid, &node.xattrs)
}

fn kind(body: &ItemBody) -> u8 {
    match body {
        ItemBody::Node(node) => match node.kind {
            NodeKind::File { .. } => 0,
            NodeKind::Dir => 1,
            NodeKind::Symlink { .. } => 2,
            NodeKind::Char { .. } => 4,
            NodeKind::Block { .. } => 5,
            NodeKind::Fifo => 6,
            NodeKind::Socket => 7,
        },
        ItemBody::Implied => 1,
        ItemBody::Link { .. } => 3,
        ItemBody::Whiteout => 8,
        ItemBody::Opaque => 9,
    }
}
