// SPDX-License-Identifier: Apache-2.0
//! Bytes of files that several layers of a store have.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use super::read::sha256;
use super::whole::Whole;
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::{EntryBody, FileDigest};
use crate::node::{NodeKind, TreePath};
use crate::progress::Monitor;
use crate::store::Store;

/// Number of layers whose tables are held at a time.
const BATCH: usize = 64;

/// Contents of the files of all layers of a store. The parts of each line add up.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Duplicates {
    /// Images, and their layers: as each image has them, and each once.
    pub images: u64,
    pub layers_of_images: u64,
    pub layers: u64,
    /// Compressed bytes of the layers: as each image has them, and each once.
    pub packed_of_images: u64,
    pub packed: u64,
    /// Files of all different layers, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Different contents among them, and their bytes, each once.
    pub contents: u64,
    pub distinct: u64,
    /// Further copies in the layer that has the content already, and their bytes.
    pub copies_within: u64,
    pub within: u64,
    /// Copies in other layers, and their bytes.
    pub copies_across: u64,
    pub across: u64,
    /// Contents that take most by their copies.
    pub largest: Vec<Duplicate>,
    /// Images and layers that could not be read, by name.
    #[serde(skip)]
    pub unseen: Vec<(String, Error)>,
}

/// A content that several files have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Duplicate {
    pub digest: Digest,
    /// Size of one copy in bytes.
    pub size: u64,
    /// Files that have it, and layers with such a file.
    pub copies: u64,
    pub layers: u64,
    /// Path of the first one.
    #[serde(serialize_with = "text")]
    pub path: TreePath,
}

/// Facts about a content, collected while layers are read.
struct Seen {
    size: u64,
    copies: u32,
    layers: u32,
    /// The layer that had it last, and the first one.
    last: u32,
    first: u32,
}

impl Duplicates {
    /// Reads the tables of all layers; those that are not there are made. Memory grows with the number of different contents, some 64
    /// bytes for each. Tells the `largest` contents by path.
    ///
    /// # Errors
    /// Those of `index.json`.
    pub fn of(store: &Store, largest: usize, monitor: &dyn Monitor) -> crate::error::Result<Self> {
        let mut whole = Whole::of(store)?;
        let mut out = Self {
            images: whole.images.len() as u64,
            layers: whole.layers.len() as u64,
            ..Self::default()
        };
        for image in &whole.images {
            out.layers_of_images += image.layers.len() as u64;
            let sizes = image
                .layers
                .iter()
                .map(|layer| whole.layers[*layer as usize].descriptor.size);
            out.packed_of_images = sizes.fold(out.packed_of_images, u64::saturating_add);
        }
        let sizes = whole.layers.iter().map(|layer| layer.descriptor.size);
        out.packed = sizes.fold(0, u64::saturating_add);
        let mut seen: HashMap<FileDigest, Seen> = HashMap::new();
        let all: Vec<u32> = (0..whole.layers.len() as u32).collect();
        for batch in all.chunks(BATCH) {
            let files = whole.each_toc(store, batch, monitor, |_, toc| {
                let files = toc.entries.iter().filter_map(|entry| match &entry.entry.body {
                    EntryBody::Node(node) => match node.kind {
                        NodeKind::File { size } if size > 0 => Some((entry.digest?, size)),
                        _ => None,
                    },
                    _ => None,
                });
                files.collect::<Vec<_>>()
            });
            for (layer, files) in files {
                for (digest, size) in files {
                    out.add(&mut seen, layer, digest, size);
                }
            }
        }
        out.contents = seen.len() as u64;
        let mut copied: Vec<(&FileDigest, &Seen)> = seen.iter().filter(|(_, seen)| seen.copies > 1).collect();
        copied.sort_unstable_by_key(|(digest, seen)| (std::cmp::Reverse(seen.saved()), **digest));
        copied.truncate(largest);
        out.largest = Self::named(store, &mut whole, &copied, monitor);
        out.unseen = whole.unseen;
        Ok(out)
    }

    fn add(&mut self, seen: &mut HashMap<FileDigest, Seen>, layer: u32, digest: FileDigest, size: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        let Some(known) = seen.get_mut(&digest) else {
            self.distinct = self.distinct.saturating_add(size);
            let new = Seen {
                size,
                copies: 1,
                layers: 1,
                last: layer,
                first: layer,
            };
            seen.insert(digest, new);
            return;
        };
        known.copies = known.copies.saturating_add(1);
        if known.last == layer {
            self.copies_within += 1;
            self.within = self.within.saturating_add(size);
        } else {
            self.copies_across += 1;
            self.across = self.across.saturating_add(size);
            known.layers += 1;
            known.last = layer;
        }
    }

    /// Returns contents with the path that the first layer has for each.
    fn named(
        store: &Store,
        whole: &mut Whole,
        copied: &[(&FileDigest, &Seen)],
        monitor: &dyn Monitor,
    ) -> Vec<Duplicate> {
        let mut layers: Vec<u32> = copied.iter().map(|(_, seen)| seen.first).collect();
        layers.sort_unstable();
        layers.dedup();
        let wanted: HashMap<&FileDigest, u32> = copied
            .iter()
            .map(|(digest, seen)| (*digest, seen.first))
            .collect();
        let known = whole.unseen.len();
        let paths = whole.each_toc(store, &layers, monitor, |layer, toc| {
            let files = toc
                .digests()
                .filter(|(_, digest)| wanted.get(digest) == Some(&layer));
            let files = files.map(|(at, digest)| (*digest, toc.entries[at].entry.path.clone()));
            files.collect::<Vec<_>>()
        });
        // The layers that cannot be read were told of by the first pass.
        whole.unseen.truncate(known);
        let mut names: HashMap<FileDigest, TreePath> = HashMap::new();
        for (digest, path) in paths.into_iter().flat_map(|(_, files)| files) {
            names.entry(digest).or_insert(path);
        }
        let named = copied.iter().filter_map(|(digest, seen)| {
            Some(Duplicate {
                digest: sha256(digest)?,
                size: seen.size,
                copies: seen.copies.into(),
                layers: seen.layers.into(),
                path: names.get(*digest).cloned().unwrap_or_default(),
            })
        });
        named.collect()
    }
}

impl Seen {
    fn saved(&self) -> u64 {
        self.size.saturating_mul(u64::from(self.copies) - 1)
    }
}

/// Writes a path as text; bytes that are no UTF-8 are escaped.
fn text<S: Serializer>(path: &TreePath, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(path)
}
