// SPDX-License-Identifier: Apache-2.0
//! The bytes that each image of a layout holds alone, those that it shares, and those that a collection would free.

use std::collections::HashMap;

use serde::Serialize;

use super::gc::DropRefs;
use super::graph::{UNTAGGED, subject_of};
use super::{GcOptions, Store};
use crate::digest::Digest;
use crate::error::Result;
use crate::index::{Access, Rows};
use crate::progress::Monitor;

/// Bytes that an image takes of the layout.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImageUsage {
    /// Its tag; `<none>` for an entry of `index.json` without one.
    pub name: String,
    /// Digest of its manifest or index.
    pub digest: Digest,
    /// Bytes that no other entry needs: freed if the tag goes.
    pub alone: u64,
    /// Bytes that other entries need too.
    pub shared: u64,
}

/// Bytes that a layout holds. The four parts add up to `total`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Usage {
    /// The entries of `index.json`, the one that holds most alone first.
    pub images: Vec<ImageUsage>,
    /// Bytes that one entry holds alone, over all entries.
    pub alone: u64,
    /// Bytes that several entries share, each blob once.
    pub shared: u64,
    /// Bytes that `gc` would free.
    pub garbage: u64,
    /// Bytes that no entry leads to and `gc` spares.
    pub spared: u64,
    /// All blobs.
    pub total: u64,
}

/// A part of a digest that is long enough to tell blobs apart: many of them are held in memory at once.
type Short = [u8; 16];

fn short(digest: &Digest) -> Short {
    let mut out = [0; 16];
    out.copy_from_slice(&digest.as_bytes()[..16]);
    out
}

/// Holder of a blob that several roots lead to, in place of the number of a root.
const SEVERAL: u32 = u32::MAX;

/// Blob of a [`ReachableSet`].
#[derive(Default)]
struct Node {
    size: u64,
    /// Numbers of the blobs that live with it: those that it needs, and those that are about it.
    with: Box<[u32]>,
    /// The root whose walk met it last.
    met: Option<u32>,
    /// The root that holds it alone, or [`SEVERAL`].
    holder: Option<u32>,
}

/// Blobs that roots lead to, by small numbers. Each is asked of the index once, however many images hold it.
#[derive(Default)]
struct ReachableSet {
    numbers: HashMap<Short, u32>,
    nodes: Vec<Node>,
}

impl ReachableSet {
    /// Returns the number of a blob, after all that lives with it was taken in; `None` if it is not there.
    fn take(&mut self, tables: &Rows<impl Access>, root: &Digest) -> Result<Option<u32>> {
        let mut stack = Vec::new();
        let root = self.number(tables, root, &mut stack)?;
        while let Some((number, digest)) = stack.pop() {
            let mut next = tables.present_children(&digest)?;
            // Only documents are subjects, and a layer has more mentions than one would care to look through.
            if tables.is_document(&digest)? {
                next.extend(subject_of(tables, &digest)?);
            }
            let mut with = Vec::new();
            for digest in next {
                with.extend(self.number(tables, &digest, &mut stack)?);
            }
            self.nodes[number as usize].with = with.into();
        }
        Ok(root)
    }

    fn number(
        &mut self,
        tables: &Rows<impl Access>,
        digest: &Digest,
        new: &mut Vec<(u32, Digest)>,
    ) -> Result<Option<u32>> {
        if let Some(number) = self.numbers.get(&short(digest)) {
            return Ok(Some(*number));
        }
        let Some(size) = tables.size(digest)? else {
            return Ok(None);
        };
        let number = self.nodes.len() as u32;
        self.numbers.insert(short(digest), number);
        self.nodes.push(Node {
            size,
            ..Node::default()
        });
        new.push((number, *digest));
        Ok(Some(number))
    }

    /// Makes a root a holder of a blob and of all that lives with it. Returns the bytes of these.
    fn hold(&mut self, root: u32, blob: u32) -> u64 {
        let (mut stack, mut bytes) = (vec![blob], 0);
        while let Some(blob) = stack.pop() {
            let node = &mut self.nodes[blob as usize];
            // Marks of earlier walks need not be cleared, since each root has a number of its own.
            if node.met.replace(root) == Some(root) {
                continue;
            }
            bytes += node.size;
            node.holder = node.holder.map_or(Some(root), |_| Some(SEVERAL));
            stack.extend(&node.with);
        }
        bytes
    }
}

impl Store {
    /// Returns the bytes that each image holds alone and shares, and those that a collection would free.
    pub(crate) fn usage(&self, monitor: &dyn Monitor) -> Result<Usage> {
        let mut images = Vec::new();
        for entry in self.layout.read_index()?.entries() {
            if let Ok(descriptor) = entry.descriptor() {
                images.push(ImageUsage {
                    name: entry.ref_name.as_deref().unwrap_or(UNTAGGED).to_owned(),
                    digest: descriptor.digest,
                    alone: 0,
                    shared: 0,
                });
            }
        }
        self.index(monitor).read(|tables| {
            let mut out = Usage {
                images: images.clone(),
                ..Usage::default()
            };
            let mut reachable = ReachableSet::default();
            for (root, image) in out.images.iter_mut().enumerate() {
                if let Some(blob) = reachable.take(tables, &image.digest)? {
                    // Bytes count as shared until all roots are known.
                    image.shared = reachable.hold(root as u32, blob);
                }
            }
            for Node { size, holder, .. } in &reachable.nodes {
                match holder {
                    None => {}
                    Some(SEVERAL) => out.shared += size,
                    Some(root) => {
                        out.alone += size;
                        let image = &mut out.images[*root as usize];
                        image.alone += size;
                        image.shared -= size;
                    }
                }
            }
            // The collection below takes as much memory again.
            drop(reachable);
            let garbage = self.garbage(tables, &GcOptions::default(), &DropRefs::default())?;
            out.garbage = garbage.values().sum();
            out.total = tables.total_size()?;
            out.spared = out.total.saturating_sub(out.alone + out.shared + out.garbage);
            out.images
                .sort_by(|a, b| (b.alone, b.shared, &a.name).cmp(&(a.alone, a.shared, &b.name)));
            Ok(out)
        })
    }
}
