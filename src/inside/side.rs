// SPDX-License-Identifier: Apache-2.0
//! One side of a comparison: an image, a layer alone, or the tree of a bundle.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use super::contents::{Contents, Item, ItemBody};
use super::delta::{Spot, SpotKind};
use super::read::read_items;
use crate::bundle::{Bundle, BundleFile, BundleTree};
use crate::error::Result;
use crate::image::Image;
use crate::layer::{FileDigest, file_digest};
use crate::node::TreePath;
use crate::progress::{Monitor, Task};
use crate::store::Store;

/// One side of a comparison.
#[derive(Debug)]
pub enum Side {
    /// The tree of all layers.
    Image {
        store: Store,
        image: Box<Image>,
        contents: Contents,
    },
    /// The entries of one layer, with its whiteouts.
    Layer {
        store: Store,
        contents: Contents,
    },
    Bundle(Tree),
}

/// The tree of a bundle, with the digests that were taken for the comparison.
#[derive(Debug)]
pub struct Tree {
    tree: BundleTree,
    taken: HashMap<u32, FileDigest>,
}

impl Side {
    /// Reads the tree of a bundle.
    ///
    /// # Errors
    /// If it is no bundle, or cannot be read.
    pub fn of_bundle(bundle: &Bundle, monitor: &dyn Monitor) -> Result<Self> {
        Ok(Self::Bundle(Tree {
            tree: BundleTree::read(bundle, monitor)?,
            taken: HashMap::new(),
        }))
    }

    /// Returns the layers; `None` of a bundle.
    pub fn contents(&self) -> Option<&Contents> {
        match self {
            Self::Image { contents, .. } | Self::Layer { contents, .. } => Some(contents),
            Self::Bundle(_) => None,
        }
    }

    /// Returns the store of an image or a layer.
    pub fn store(&self) -> Option<&Store> {
        match self {
            Self::Image { store, .. } | Self::Layer { store, .. } => Some(store),
            Self::Bundle(_) => None,
        }
    }

    /// Returns the image; `None` of all else.
    pub fn image(&self) -> Option<&Image> {
        match self {
            Self::Image { image, .. } => Some(image),
            _ => None,
        }
    }

    /// Returns whether devices are empty files in it.
    pub fn is_rootless(&self) -> bool {
        matches!(self, Self::Bundle(tree) if tree.tree.rootless)
    }

    /// Returns all that there is, in the order of paths, without those items of an image that are the same in the other one.
    pub fn spots(&self, is_same: impl Fn(u32) -> bool) -> Vec<Spot<'_>> {
        match self {
            Self::Image { contents, .. } => image_spots(contents, is_same),
            Self::Layer { contents, .. } => layer_spots(contents),
            Self::Bundle(tree) => tree.spots(),
        }
    }

    /// Takes digests of files of a bundle by their numbers, by all cores; images and layers have theirs already.
    ///
    /// # Errors
    /// A file that cannot be read: the first one in the order of `files`.
    pub fn hash(&mut self, files: &[u32], monitor: &dyn Monitor) -> Result<()> {
        use rayon::prelude::*;
        let Self::Bundle(Tree { tree, taken }) = self else {
            return Ok(());
        };
        let task: Arc<dyn Task> = Arc::from(monitor.task("comparing", None));
        let hashed = files.par_iter().map(|number| {
            let path = &tree.files[*number as usize].path;
            Ok((*number, file_digest(&tree.hash(path, &*task)?)))
        });
        // Collected in two steps: rayon alone would return whichever error comes first in time.
        let hashed: Vec<Result<(u32, FileDigest)>> = hashed.collect();
        for hashed in hashed {
            let (number, digest) = hashed?;
            taken.insert(number, digest);
        }
        Ok(())
    }

    /// Gives the contents of files to `each`, with their numbers, in the order that is quickest.
    ///
    /// # Errors
    /// Those of [`read_items`], and of a file of a bundle that cannot be read.
    pub fn read(
        &self,
        files: &[u32],
        monitor: &dyn Monitor,
        each: &mut dyn FnMut(u32, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        let (store, contents) = match self {
            Self::Image { store, contents, .. } | Self::Layer { store, contents } => (store, contents),
            Self::Bundle(tree) => {
                for number in files {
                    let path = &tree.tree.files[*number as usize].path;
                    each(*number, &mut tree.tree.open(path)?)?;
                }
                return Ok(());
            }
        };
        read_numbers(store, contents, files, monitor, each)
    }
}

/// Gives the contents of items of an image to `each`, with their numbers; each layer is read once.
///
/// # Errors
/// Those of [`read_items`].
pub fn read_numbers(
    store: &Store,
    contents: &Contents,
    files: &[u32],
    monitor: &dyn Monitor,
    each: &mut dyn FnMut(u32, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut by_layer: Vec<Vec<u32>> = vec![Vec::new(); contents.layers.len()];
    for number in files {
        by_layer[contents.items[*number as usize].layer as usize].push(*number);
    }
    for (layer, numbers) in contents.layers.iter().zip(by_layer) {
        if numbers.is_empty() {
            continue;
        }
        // Places in the tar are as good as numbers within a layer.
        let numbers: HashMap<u64, u32> = numbers
            .into_iter()
            .map(|number| (contents.items[number as usize].start, number))
            .collect();
        let items: Vec<&Item> = numbers
            .values()
            .map(|number| &contents.items[*number as usize])
            .collect();
        read_items(store, layer, items, monitor, &mut |item, content| {
            numbers
                .get(&item.start)
                .map_or(Ok(()), |number| each(*number, content))
        })?;
    }
    Ok(())
}

/// Returns an item as one of its tree.
pub fn spot(contents: &Contents, number: u32) -> Spot<'_> {
    let item = &contents.items[number as usize];
    let content = content_number(contents, number);
    let kind = match (&item.body, contents.node_of(item)) {
        (ItemBody::Whiteout, _) => SpotKind::Whiteout,
        (ItemBody::Opaque, _) => SpotKind::Opaque,
        (_, Some(node)) => SpotKind::Node(node),
        (_, None) => SpotKind::Implied,
    };
    Spot {
        path: Cow::Borrowed(&item.path),
        kind,
        digest: contents.items[content as usize].digest,
        content,
        layer: Some(item.layer),
        first: match &item.body {
            ItemBody::Link { target, .. } => Some(target),
            _ => None,
        },
    }
}

/// Returns the number of the item that has the content of an item: another one for a hard link.
fn content_number(contents: &Contents, number: u32) -> u32 {
    match contents.items[number as usize].body {
        ItemBody::Link {
            content: Some(content),
            ..
        } => content,
        _ => number,
    }
}

fn image_spots(contents: &Contents, is_same: impl Fn(u32) -> bool) -> Vec<Spot<'_>> {
    let live = contents.live();
    let linked = live
        .iter()
        .filter_map(|number| match contents.items[*number as usize].body {
            ItemBody::Link { content, .. } => content,
            _ => None,
        });
    // Of each file with several names the first one, and how many there are.
    let mut names: HashMap<u32, (&TreePath, u32)> = HashMap::new();
    let linked: HashSet<u32> = linked.collect();
    for number in live {
        let content = content_number(contents, *number);
        if linked.contains(&content) {
            let path = &contents.items[*number as usize].path;
            names.entry(content).or_insert((path, 0)).1 += 1;
        }
    }
    let numbers = live.iter().filter(|number| !is_same(**number));
    let spots = numbers.map(|number| {
        let mut spot = spot(contents, *number);
        let name = names.get(&spot.content).filter(|(_, count)| *count > 1);
        spot.first = name.map(|(first, _)| *first);
        spot
    });
    spots.collect()
}

/// Returns the entries of one layer by the names that the archive has for whiteouts.
fn layer_spots(contents: &Contents) -> Vec<Spot<'_>> {
    let seen = (0..contents.items.len() as u32).filter(|number| {
        let item = &contents.items[*number as usize];
        item.is_node() || item.body.is_whiteout()
    });
    let spots = seen.map(|number| {
        let item = &contents.items[number as usize];
        let mut spot = spot(contents, number);
        if item.body.is_whiteout() {
            spot.path = Cow::Owned(item.path_in_archive());
        }
        spot
    });
    let mut spots: Vec<Spot<'_>> = spots.collect();
    spots.sort_by(|a, b| a.path.cmp(&b.path));
    // A whiteout may stand in a layer twice.
    spots.dedup_by(|a, b| a.path == b.path);
    spots
}

impl Tree {
    fn spots(&self) -> Vec<Spot<'_>> {
        let files = &self.tree.files;
        let mut names: HashMap<(u64, u64), (&TreePath, u32)> = HashMap::new();
        for BundleFile { path, linked, .. } in files {
            if let Some(linked) = linked {
                names.entry(*linked).or_insert((path, 0)).1 += 1;
            }
        }
        let spots = files.iter().zip(0u32..).map(|(file, number)| {
            let name = file.linked.and_then(|linked| names.get(&linked));
            let known = file.digest.as_ref().map(file_digest);
            Spot {
                path: Cow::Borrowed(&file.path),
                kind: SpotKind::Node(&file.node),
                digest: self.taken.get(&number).copied().or(known),
                content: number,
                layer: None,
                first: name.filter(|(_, count)| *count > 1).map(|(first, _)| *first),
            }
        });
        spots.collect()
    }
}
