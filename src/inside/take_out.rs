// SPDX-License-Identifier: Apache-2.0
//! Parts of an image as an archive, each layer read once.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::contents::{Contents, Item};
use super::read::read_items;
use crate::error::{Error, Result, ResultExt};
use crate::fs::Root;
use crate::layer::{LayerReader, LayerWriter, Limits};
use crate::node::{Node, NodeKind, TreePath};
use crate::progress::Monitor;
use crate::rootfs::{ExtractOptions, Extractor};
use crate::store::Store;

/// Items of a tree, in the order of their paths, and what is done with each node before it is written.
#[derive(derive_more::Debug)]
#[debug("Selected({} items)", items.len())]
pub struct Selected<'a> {
    pub contents: &'a Contents,
    pub items: Vec<&'a Item>,
    /// Changes a node; `false` leaves it out.
    pub adapt: &'a (dyn Fn(&TreePath, &mut Node) -> bool + Sync),
}

/// Writes the items as a tar: directories, then all else without content, then files in the order of the layers, then other names of
/// files. Directories above the items are not among them unless they were selected.
///
/// # Errors
/// As [`read_items`]; those of `out`.
pub fn write_tar<W: Write>(
    store: &Store,
    selected: &Selected<'_>,
    monitor: &dyn Monitor,
    out: W,
) -> Result<W> {
    let contents = selected.contents;
    let mut tar = LayerWriter::new(out, b".");
    let mut others = Vec::new();
    // The first name of a file gets its content, and the others are links to it.
    let mut files: BTreeMap<u32, Vec<(&Item, TreePath, Node)>> = BTreeMap::new();
    let mut first: HashMap<*const Item, TreePath> = HashMap::new();
    let mut links = Vec::new();
    for item in &selected.items {
        let of = contents.content_of(item);
        let mut node = contents
            .node_of(item)
            .cloned()
            .unwrap_or_else(|| Node::dir(0o755));
        if !(selected.adapt)(&item.path, &mut node) {
            continue;
        }
        match node.kind {
            NodeKind::Dir => tar.node(&item.path, &node, &mut io::empty())?,
            NodeKind::File { .. } => {
                if let Some(target) = first.get(&std::ptr::from_ref(of)) {
                    links.push((item.path.clone(), target.clone(), node));
                } else {
                    first.insert(of, item.path.clone());
                    files
                        .entry(of.layer)
                        .or_default()
                        .push((of, item.path.clone(), node));
                }
            }
            _ => others.push((item.path.clone(), node)),
        }
    }
    for (path, node) in &others {
        tar.node(path, node, &mut io::empty())?;
    }
    for (layer, files) in files {
        let layer = &contents.layers[layer as usize];
        let items = files.iter().map(|(item, ..)| *item).collect();
        let names = files
            .iter()
            .map(|(item, path, node)| (std::ptr::from_ref(*item), (path, node)));
        let names: HashMap<*const Item, (&TreePath, &Node)> = names.collect();
        read_items(store, layer, items, monitor, &mut |item, content| {
            let Some((path, node)) = names.get(&std::ptr::from_ref(item)) else {
                return Ok(());
            };
            tar.node(path, node, content).context(|| format!("entry {path}"))
        })?;
    }
    for (path, target, node) in &links {
        tar.hard_link(path, target, node)?;
    }
    tar.finish()
}

/// Writes the items below a directory of the host, by their paths in the image. Links of the image never lead out of it, and what is
/// there already in the place of an item is replaced.
///
/// # Errors
/// As [`write_tar`]; those of the directory.
pub fn extract(store: &Store, selected: &Selected<'_>, monitor: &dyn Monitor, dir: &Path) -> Result<()> {
    let root = Root::open(dir)?;
    let mut extractor = Extractor::new(&root, ExtractOptions::default(), monitor);
    extractor.look()?;
    let (reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let written = scope.spawn(|| {
            let out = write_tar(store, selected, monitor, BufWriter::new(writer))?;
            out.into_inner().map(drop).map_err(|err| err.into_error().into())
        });
        let mut tar = LayerReader::new(reader, Limits::default());
        let read = extractor.apply_layer(&mut tar).and_then(|()| tar.drain());
        // The writer ends with an error of its own alone, which is then the cause.
        let rest = io::copy(&mut tar.into_inner(), &mut io::sink());
        let written: Result<()> = written
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(read).and(rest.map(drop).map_err(Error::from))
    })
}
