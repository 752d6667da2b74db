// SPDX-License-Identifier: Apache-2.0
//! The changes that each layer makes to the tree below it, and those of one path over all layers.

use std::collections::BTreeMap;

use super::compare::Paths;
use super::contents::{Contents, End};
use super::delta::{Delta, Fields, Spot, Status, delta, join};
use super::side::spot;
use crate::error::Result;
use crate::image::Image;
use crate::node::TreePath;
use crate::spec::History;

/// A step of the history of an image, with the layer that it made.
#[derive(Debug)]
pub struct Step<'a> {
    /// Its step in the history of the config, if there is one.
    pub history: Option<&'a History>,
    /// Number of the layer; `None` of a step that made none.
    pub layer: Option<usize>,
}

/// Returns the steps of the history of an image, the lowest first: one for each of the layers, and those that made none.
pub fn steps<'a>(image: &'a Image, contents: &'a Contents) -> Vec<Step<'a>> {
    let count = contents.layers.len();
    let mut out = Vec::new();
    let mut made = 0;
    for history in &image.config.value.history {
        if history.empty_layer {
            out.push(Step {
                history: Some(history),
                layer: None,
            });
            continue;
        }
        if made == count {
            break;
        }
        out.push(Step {
            history: Some(history),
            layer: Some(made),
        });
        made += 1;
    }
    // Without its upper layers an image is what it was before all that came later.
    if count < image.manifest.value.layers.len() {
        while out.pop_if(|step| step.layer.is_none()).is_some() {}
    }
    out.extend((made..count).map(|layer| Step {
        history: None,
        layer: Some(layer),
    }));
    out
}

/// Returns for each layer the paths that differ once it lies on those below, in the order of paths.
pub fn changes<'a>(contents: &'a Contents, paths: &Paths) -> Vec<Vec<Delta<'a>>> {
    let layers = contents.layers.len();
    let (mut came, mut went) = (vec![Vec::new(); layers], vec![Vec::new(); layers]);
    for (item, number) in contents.items.iter().zip(0u32..) {
        if item.body.is_whiteout() || !paths.has(&item.path) {
            continue;
        }
        let end = contents.ended_in(item);
        // An entry that its own layer took away was never seen.
        if end == Some(item.layer) {
            continue;
        }
        // A directory that needs no entry is no change, but it may go.
        came[item.layer as usize].push(number);
        if let Some(end) = end {
            went[end as usize].push(number);
        }
    }
    let sides = went.into_iter().zip(came);
    let deltas = sides.map(|(went, came)| {
        let pairs = join(spots(contents, went), spots(contents, came));
        pairs
            .filter_map(|(old, new)| delta(old, new, Fields::LINKS))
            .collect()
    });
    deltas.collect()
}

fn spots(contents: &Contents, numbers: Vec<u32>) -> Vec<Spot<'_>> {
    let mut out: Vec<Spot<'_>> = numbers.into_iter().map(|number| spot(contents, number)).collect();
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// Counts of the changes of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub added: u64,
    /// With other bytes, of another type, or with other metadata.
    pub modified: u64,
    pub removed: u64,
    /// Bytes by which the tree grew.
    pub growth: i64,
}

impl Counts {
    /// Counts changes.
    pub fn of(deltas: &[Delta<'_>]) -> Self {
        let mut out = Self::default();
        for delta in deltas {
            match delta.status {
                Status::Added => out.added += 1,
                Status::Removed => out.removed += 1,
                _ => out.modified += 1,
            }
            out.growth += delta.growth();
        }
        out
    }
}

/// Something that a layer did to one path.
#[derive(Debug)]
pub struct Event<'a> {
    /// Number of the layer, from 0.
    pub layer: usize,
    pub delta: Delta<'a>,
    /// Of what was removed, the path of the whiteout, or of what took the place of a directory, that did it.
    pub by: Option<&'a TreePath>,
}

/// Returns all that layers did to what is or was at `path`, the lowest first, from the layer on that brought its bytes. Nothing if no
/// layer has the path.
pub fn events<'a>(contents: &'a Contents, path: &TreePath) -> Vec<Event<'a>> {
    let by_layer = changes(contents, &Paths(vec![path.clone()]))
        .into_iter()
        .enumerate();
    let all = by_layer.flat_map(|(layer, deltas)| deltas.into_iter().map(move |delta| (layer, delta)));
    let all = all.filter(|(_, delta)| delta.path() == path);
    let mut out: Vec<Event<'_>> = all
        .map(|(layer, delta)| Event {
            layer,
            by: delta
                .old
                .as_ref()
                .filter(|_| delta.status == Status::Removed)
                .and_then(|old| remover(contents, old)),
            delta,
        })
        .collect();
    let brings = |event: &Event<'_>| !matches!(event.delta.status, Status::Metadata | Status::Removed);
    if let Some(first) = out.iter().rposition(brings) {
        out.drain(..first);
    }
    out
}

/// Returns the path of the item that removed a spot.
fn remover<'a>(contents: &'a Contents, spot: &Spot<'_>) -> Option<&'a TreePath> {
    let gone = contents
        .items
        .iter()
        .filter(|item| item.path == *spot.path && Some(item.layer) == spot.layer);
    let mut by = gone.filter_map(|item| match item.end {
        End::Removed(by) => Some(&contents.items[by as usize].path),
        _ => None,
    });
    by.next_back()
}

/// Returns the contents that a file had since it came last, the oldest first: the number of the layer and of the item.
pub fn versions(contents: &Contents, path: &TreePath) -> Vec<(usize, u32)> {
    let by_layer = changes(contents, &Paths(vec![path.clone()]))
        .into_iter()
        .enumerate();
    let mut out = Vec::new();
    for (layer, deltas) in by_layer {
        for delta in deltas.iter().filter(|delta| delta.path() == path) {
            if matches!(delta.status, Status::Added | Status::Type) {
                out.clear();
            }
            let file = delta.new.as_ref().filter(|spot| spot.is_file());
            if let Some(spot) = file.filter(|_| delta.status != Status::Metadata) {
                out.push((layer, spot.content));
            }
        }
    }
    out
}

/// Returns the names in the directory `dir`, each with the number of the layer that changed it last: of a file its bytes, of a directory
/// anything in it.
pub fn last_changes(contents: &Contents, dir: &TreePath) -> BTreeMap<TreePath, usize> {
    let mut out = BTreeMap::new();
    let depth = dir.components().count() + 1;
    for (layer, deltas) in changes(contents, &Paths(vec![dir.clone()])).iter().enumerate() {
        for delta in deltas {
            let path = delta.path();
            if !path.is_below(dir) {
                continue;
            }
            let is_child = path.components().count() == depth;
            let is_dir = delta.new.as_ref().is_some_and(|new| new.type_name() == "dir");
            if is_child && delta.status == Status::Metadata && !is_dir {
                continue;
            }
            let above = path.ancestors().find(|above| above.components().count() == depth);
            out.insert(above.unwrap_or_else(|| path.clone()), layer);
        }
    }
    out.retain(|path, _| contents.find(path).is_some());
    out
}

/// Returns where `path` really is, with the links to directories on the way followed; it need not be there.
///
/// # Errors
/// Those of [`Contents::follow`].
pub fn real_path(contents: &Contents, path: &TreePath) -> Result<TreePath> {
    let Some(parent) = path.parent() else {
        return Ok(path.clone());
    };
    match contents.follow(&parent)? {
        Some(dir) => dir.path.join(path.name()),
        None => Ok(path.clone()),
    }
}
