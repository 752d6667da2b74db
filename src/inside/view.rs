// SPDX-License-Identifier: Apache-2.0
//! Other views of an image than its tree: one layer alone, what was deleted, what came above a base.

use std::collections::HashMap;

use super::contents::{Contents, End, Item, ItemBody};
use crate::error::Result;
use crate::image::Image;
use crate::node::TreePath;

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
            if !matches!(item.body, ItemBody::Whiteout | ItemBody::Opaque) {
                last.insert(&item.path, item);
            }
        }
        let gone = last.into_values().filter_map(|item| match item.end {
            End::Live => None,
            End::Replaced(by) | End::Removed(by) => {
                let is_gone = self.find(&item.path).is_none();
                is_gone.then(|| {
                    (
                        item,
                        self.items.get(by as usize).map_or(item.layer, |by| by.layer),
                    )
                })
            }
        });
        let mut out: Vec<_> = gone.collect();
        out.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        out
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

/// Returns how many layers `image` has of `base`: all of that, which must be the lowest ones of the image.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the image does not stand on the base.
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
