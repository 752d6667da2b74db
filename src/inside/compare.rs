// SPDX-License-Identifier: Apache-2.0
//! The differences between two sides.

use super::contents::Contents;
use super::delta::{Delta, Fields, Spot, SpotKind, delta, join, pair_renames};
use super::side::Side;
use crate::error::Result;
use crate::node::{NodeKind, TreePath};
use crate::progress::Monitor;

/// Choice of what differs.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// Differences that are none.
    pub ignore: Fields,
    /// True if files that went and came again under another name are one difference.
    pub renames: bool,
    pub paths: Paths,
}

/// Paths that a question is about, each with all below it; none are all.
#[derive(Clone, Debug, Default)]
pub struct Paths(pub Vec<TreePath>);

impl Paths {
    /// Returns whether a path is one of them.
    pub fn has(&self, path: &TreePath) -> bool {
        self.0.is_empty() || self.0.iter().any(|top| path == top || path.is_below(top))
    }
}

/// Reads the files of bundles about which nothing but their contents decides, for [`compare`].
///
/// # Errors
/// Paths of a bundle that cannot be read.
pub fn hash_undecided(
    old: &mut Side,
    new: &mut Side,
    opts: &CompareOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    let [of_old, of_new] = undecided(old, new, opts);
    old.hash(&of_old, monitor)?;
    new.hash(&of_new, monitor)
}

/// Returns the paths at which two sides differ, in the order of paths.
pub fn compare<'a>(old: &'a Side, new: &'a Side, opts: &CompareOptions) -> Vec<Delta<'a>> {
    let deltas = pairs(old, new, &opts.paths).filter_map(|(old, new)| delta(old, new, opts.ignore));
    let mut deltas: Vec<Delta<'_>> = deltas.collect();
    if opts.renames {
        pair_renames(&mut deltas);
    }
    deltas
}

type Pair<'a> = (Option<Spot<'a>>, Option<Spot<'a>>);

/// Returns what stands at each path of the two sides that may differ.
fn pairs<'a>(old: &'a Side, new: &'a Side, paths: &Paths) -> impl Iterator<Item = Pair<'a>> {
    let same = match (old, new) {
        (Side::Image { contents: old, .. }, Side::Image { contents: new, .. }) => same_items(old, new),
        _ => Vec::new(),
    };
    let is_same = |number: u32| same.get(number as usize).copied().unwrap_or_default();
    let spots = [old.spots(is_same), new.spots(is_same)];
    let is_asked = |spots: Vec<Spot<'a>>| -> Vec<Spot<'a>> {
        spots.into_iter().filter(|spot| paths.has(&spot.path)).collect()
    };
    let [old_spots, new_spots] = spots.map(is_asked);
    let rootless = [old.is_rootless(), new.is_rootless()];
    join(old_spots, new_spots)
        .filter(has_root)
        .map(move |pair| as_devices(pair, rootless))
}

/// Returns for each item of the layers that two images share whether it is part of both trees.
fn same_items(old: &Contents, new: &Contents) -> Vec<bool> {
    let layers = old.layers.iter().zip(&new.layers).enumerate();
    let shared = layers.take_while(|(number, (old_layer, new_layer))| {
        let is_unseen = |contents: &Contents| contents.unseen.iter().any(|(unseen, _)| unseen == number);
        old_layer.diff_id == new_layer.diff_id && !is_unseen(old) && !is_unseen(new)
    });
    let count = shared.last().map_or(0, |(_, (layer, _))| layer.items.end);
    let mut both = vec![0u8; count as usize];
    for contents in [old, new] {
        for number in contents.live() {
            if let Some(known) = both.get_mut(*number as usize) {
                *known += 1;
            }
        }
    }
    both.into_iter().map(|known| known == 2).collect()
}

/// Returns whether a pair tells something: the root itself counts only where both sides have an entry for it.
fn has_root((old, new): &Pair<'_>) -> bool {
    let is_root = |spot: &Spot<'_>| spot.path.is_root();
    let is_entry = |spot: &Spot<'_>| matches!(spot.kind, SpotKind::Node(_));
    match (old, new) {
        (Some(old), Some(new)) => !is_root(old) || (is_entry(old) && is_entry(new)),
        (Some(spot), None) | (None, Some(spot)) => !is_root(spot),
        (None, None) => false,
    }
}

/// Takes the empty file that a device is in a bundle without root for the device.
fn as_devices((old, new): Pair<'_>, rootless: [bool; 2]) -> Pair<'_> {
    let is_device = |spot: &Spot<'_>| {
        let kind = spot.node().map(|node| &node.kind);
        kind.is_some_and(|kind| kind.device_number().is_some())
    };
    let is_stub =
        |spot: &Spot<'_>| matches!(spot.node(), Some(node) if node.kind == (NodeKind::File { size: 0 }));
    match (&old, &new) {
        (Some(stub), Some(device)) if rootless[0] && is_stub(stub) && is_device(device) => (new.clone(), new),
        (Some(device), Some(stub)) if rootless[1] && is_stub(stub) && is_device(device) => (old.clone(), old),
        _ => (old, new),
    }
}

/// Returns the files of both sides whose contents must be read to compare them.
fn undecided(old: &Side, new: &Side, opts: &CompareOptions) -> [Vec<u32>; 2] {
    let mut out = [Vec::new(), Vec::new()];
    if [old, new].iter().all(|side| side.contents().is_some()) {
        return out;
    }
    let is_unknown = |spot: &Spot<'_>| spot.is_file() && spot.digest.is_none();
    for (old, new) in pairs(old, new, &opts.paths) {
        let decides = match (&old, &new) {
            (Some(old), Some(new)) => old.is_file() && new.is_file() && old.size() == new.size(),
            // A file that came or went has a digest for renames alone.
            _ => opts.renames,
        };
        if decides {
            out[0].extend(old.filter(is_unknown).map(|spot| spot.content));
            out[1].extend(new.filter(is_unknown).map(|spot| spot.content));
        }
    }
    out
}
