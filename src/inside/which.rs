// SPDX-License-Identifier: Apache-2.0
//! Images of a store that have a path or a content.
//!
//! Each layer is looked at once, however many images share it: for a content at the beginnings of its digests alone. Only of images with
//! such a layer the layers are laid over one another, without the files that can decide nothing.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::changes::real_path;
use super::contents::{Contents, Item};
use super::whole::{StoredImage, Whole};
use crate::digest::Digest;
use crate::error::Result;
use crate::layer::{EntryBody, FileDigest, Toc, TocEntry};
use crate::node::{NodeKind, TreePath};
use crate::progress::Monitor;
use crate::store::Store;

/// A path or a content that is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// A path of the tree; links on the way to it are followed.
    Path(TreePath),
    Content(FileDigest),
}

/// A place in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Number of the image among those of the store.
    pub image: usize,
    /// The path, with all links on the way followed.
    pub path: TreePath,
    /// Number of the layer in the image that brought it, the lowest is 0.
    pub layer: u32,
    /// Digest of that layer.
    pub blob: Digest,
    /// SHA-256 of the content, of a regular file.
    pub digest: Option<FileDigest>,
    /// Bytes of the content.
    pub size: u64,
    /// The word that mtree has for the type.
    pub kind: &'static str,
}

impl Whole {
    /// Returns all places of the store that have what is wanted, in the order of images and paths. Layers that could not be read are then
    /// among those that were not seen.
    ///
    /// # Errors
    /// Those of layers that cannot be laid over one another.
    pub fn which(&mut self, store: &Store, wanted: &Wanted, monitor: &dyn Monitor) -> Result<Vec<Found>> {
        let candidates = self.candidates(store, wanted, monitor);
        let images = self.images.iter().enumerate();
        let images = images.filter(|(_, image)| image.layers.iter().any(|layer| candidates.contains(layer)));
        let images: Vec<(usize, StoredImage)> = images.map(|(at, image)| (at, image.clone())).collect();
        let layers: HashSet<u32> = images
            .iter()
            .flat_map(|(_, image)| image.layers.iter().copied())
            .collect();
        let mut layers: Vec<u32> = layers.into_iter().collect();
        layers.sort_unstable();
        // A file matters by its own name, or where another layer has a directory or link of the same name.
        let names = self.each_toc(store, &layers, monitor, |_, toc| names_of(&toc, wanted));
        let names: HashSet<Vec<u8>> = names.into_iter().flat_map(|(_, names)| names).collect();
        let known = self.unseen.len();
        let tocs = self.each_toc(store, &layers, monitor, |_, toc| reduced(toc, wanted, &names));
        // The layers that cannot be read were told of by the first pass.
        self.unseen.truncate(known);
        let tocs: HashMap<u32, Toc> = tocs.into_iter().collect();
        let found = images.par_iter().map(|(at, image)| {
            let contents = self.contents(image, |layer| tocs.get(&layer).cloned())?;
            places(&contents, wanted, *at)
        });
        let found: Result<Vec<Vec<Found>>> = found.collect();
        Ok(found?.into_iter().flatten().collect())
    }

    /// Returns the layers that may have brought what is wanted.
    fn candidates(&mut self, store: &Store, wanted: &Wanted, monitor: &dyn Monitor) -> HashSet<u32> {
        let all: Vec<u32> = (0..self.layers.len() as u32).collect();
        let Wanted::Content(digest) = wanted else {
            // Links can bring any layer to a path, but none without its last name.
            let found = self.each_toc(store, &all, monitor, |_, toc| has(&toc, wanted));
            return found
                .into_iter()
                .filter_map(|(layer, has)| has.then_some(layer))
                .collect();
        };
        let seen = all.par_iter().map(|number| {
            let layer = &self.layers[*number as usize];
            let prefixes = store.digest_prefixes(&layer.diff_id)?;
            Some(prefixes.iter().any(|prefix| digest.starts_with(prefix)))
        });
        let seen: Vec<Option<bool>> = seen.collect();
        let unknown: Vec<u32> = all
            .iter()
            .zip(&seen)
            .filter_map(|(layer, seen)| seen.is_none().then_some(*layer))
            .collect();
        let read = self.each_toc(store, &unknown, monitor, |_, toc| has(&toc, wanted));
        let read = read.into_iter().filter_map(|(layer, has)| has.then_some(layer));
        let seen = all
            .iter()
            .zip(&seen)
            .filter_map(|(layer, seen)| (*seen == Some(true)).then_some(*layer));
        seen.chain(read).collect()
    }
}

/// Returns whether an entry may be what is wanted.
fn may_be(entry: &TocEntry, wanted: &Wanted) -> bool {
    match wanted {
        // A directory may be there by what is in it alone.
        Wanted::Path(path) => entry.entry.path.components().any(|name| name == path.name()),
        Wanted::Content(digest) => entry.digest == Some(*digest),
    }
}

fn has(toc: &Toc, wanted: &Wanted) -> bool {
    // The root is in each tree.
    matches!(wanted, Wanted::Path(path) if path.is_root())
        || toc.entries.iter().any(|entry| may_be(entry, wanted))
}

/// Returns whether an entry can change what others are or where they stand: it is no file.
fn is_structure(entry: &TocEntry) -> bool {
    match &entry.entry.body {
        EntryBody::Node(node) => matches!(node.kind, NodeKind::Dir | NodeKind::Symlink { .. }),
        EntryBody::Whiteout | EntryBody::Opaque | EntryBody::HardLink { .. } => true,
    }
}

/// Returns the last parts of the paths that matter.
fn names_of(toc: &Toc, wanted: &Wanted) -> HashSet<Vec<u8>> {
    let entries = toc.entries.iter();
    let entries = entries.filter(|entry| is_structure(entry) || may_be(entry, wanted));
    let paths = entries.flat_map(|entry| match &entry.entry.body {
        // A link without its file would be damage.
        EntryBody::HardLink { target } => vec![&entry.entry.path, target],
        _ => vec![&entry.entry.path],
    });
    paths.map(|path| path.name().to_vec()).collect()
}

/// Returns the part of a table that can decide: what is no file, and files with a name that matters.
fn reduced(mut toc: Toc, wanted: &Wanted, names: &HashSet<Vec<u8>>) -> Toc {
    toc.entries.retain(|entry| {
        is_structure(entry) || may_be(entry, wanted) || names.contains(entry.entry.path.name())
    });
    toc
}

/// Returns the places of an image.
fn places(contents: &Contents, wanted: &Wanted, image: usize) -> Result<Vec<Found>> {
    let items = match wanted {
        Wanted::Path(path) => at_path(contents, path)?.into_iter().collect(),
        Wanted::Content(digest) => {
            let tree = contents.tree();
            let items = tree.filter(|item| contents.content_of(item).digest == Some(*digest));
            items.collect::<Vec<_>>()
        }
    };
    let found = items.into_iter().map(|item| Found {
        image,
        path: item.path.clone(),
        layer: item.layer,
        blob: contents.layers[item.layer as usize].descriptor.digest,
        digest: contents.content_of(item).digest,
        size: contents.size_of(item),
        kind: contents
            .node_of(item)
            .map_or(NodeKind::Dir.name(), |node| node.kind.name()),
    });
    Ok(found.collect())
}

/// Returns what stands at a path. The last part is not followed: a link is an answer itself.
fn at_path<'a>(contents: &'a Contents, path: &TreePath) -> Result<Option<&'a Item>> {
    Ok(contents.find(&real_path(contents, path)?))
}
