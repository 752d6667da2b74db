// SPDX-License-Identifier: Apache-2.0
//! Other views of an image than its tree: one layer alone, what was deleted, what came above a base.

use std::collections::HashMap;

use super::contents::{Contents, End, Item, ItemBody};
use crate::error::Result;
use crate::image::Image;
use crate::layer::{OPAQUE, WHITEOUT_PREFIX};
use crate::node::{Node, TreePath};

impl Contents {
    /// Returns the items of a layer in the order of its archive, whiteouts included, and whatever became of them later; `None` if
    /// there is no such layer. Layers are counted from 0.
    pub fn layer_items(&self, layer: usize) -> Option<&[Item]> {
        let range = self.layers.get(layer)?.items.clone();
        self.items.get(range.start as usize..range.end as usize)
    }

    /// Returns the paths that a layer brought and that are not there in the end, sorted, each as it was last, with the number of the
    /// layer that took it away.
    pub fn deleted(&self) -> Vec<(&Item, u32)> {
        let mut last: HashMap<&TreePath, &Item> = HashMap::new();
        for item in &self.items {
            if !item.body.is_whiteout() {
                last.insert(&item.path, item);
            }
        }
        let gone = last.into_values().filter_map(|item| {
            let by = self.ended_in(item)?;
            self.find(&item.path).is_none().then_some((item, by))
        });
        let mut out: Vec<_> = gone.collect();
        out.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        out
    }

    /// Returns the number of the layer that replaced or removed an item; `None` of one that is live.
    pub fn ended_in(&self, item: &Item) -> Option<u32> {
        match item.end {
            End::Live => None,
            End::Replaced(by) | End::Removed(by) => self.items.get(by as usize).map(|by| by.layer),
        }
    }

    /// Returns whether a directory is at the path of an item of the tree: a directory without an entry is one too.
    pub fn is_dir(&self, item: &Item) -> bool {
        self.node_of(item).is_none_or(Node::is_dir)
    }

    /// Returns whether `item` has the type and the content of an item of the same or of other contents. Metadata does not count.
    pub fn has_same_content(&self, item: &Item, others: &Self, other: &Item) -> bool {
        let (a, b) = (self.content_of(item), others.content_of(other));
        match (&a.body, &b.body) {
            (ItemBody::Node(of_a), ItemBody::Node(of_b)) => of_a.kind == of_b.kind && a.digest == b.digest,
            (of_a, of_b) => of_a == of_b,
        }
    }

    /// Returns the count of names that a file has in the tree, by the number of the item with its content.
    pub fn names(&self) -> HashMap<*const Item, u64> {
        let mut out = HashMap::new();
        for item in self.tree() {
            *out.entry(std::ptr::from_ref(self.content_of(item))).or_default() += 1;
        }
        out
    }
}

impl Item {
    /// Returns its path as the archive spells it: of a whiteout the name that stands for it.
    pub fn path_in_archive(&self) -> TreePath {
        let spelled = match self.body {
            ItemBody::Whiteout => {
                let dir = self.path.parent().unwrap_or_default();
                dir.join(&[WHITEOUT_PREFIX, self.path.name()].concat())
            }
            ItemBody::Opaque => self.path.join(OPAQUE),
            _ => return self.path.clone(),
        };
        spelled.unwrap_or_else(|_| self.path.clone())
    }
}

/// Returns the number of layers of `base` without its `without` upper ones, which must be the lowest layers of `image`.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) with the number of the first layer that differs, if the image does not stand
/// on the base.
pub fn layers_of_base(image: &Image, base: &Image, without: usize) -> Result<usize> {
    let [own, lower] = [image, base].map(|image| &image.config.value.rootfs.diff_ids);
    let lower = &lower[..lower.len().saturating_sub(without)];
    if !own.starts_with(lower) {
        let at = own.iter().zip(lower).take_while(|(a, b)| a == b).count() + 1;
        fail!(
            Invalid,
            "the image does not stand on this base: layer {at} differs"
        );
    }
    Ok(lower.len())
}
