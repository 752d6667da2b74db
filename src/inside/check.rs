// SPDX-License-Identifier: Apache-2.0
//! Rules that an image has to keep, and what breaks them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::GlobMatcher;

use super::contents::{Contents, Item};
use super::waste::{Finding, Waste};
use crate::error::Result;
use crate::node::{NodeKind, TreePath};

/// Maximum number of findings of a rule about sums: those are the largest, and all of them are what is wrong.
const MAX_LARGEST: usize = 10;

/// Bits of setuid and setgid.
const SETID: u32 = 0o6000;

/// A rule that an image has to keep.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Maximum part of the bytes of entries that nobody sees.
    MaxWaste(f64),
    /// Maximum bytes of entries that nobody sees.
    MaxWasteBytes(u64),
    /// Minimum part of the bytes of entries that is live.
    MinEfficiency(f64),
    /// Maximum size of all layers, compressed, in bytes.
    MaxSize(u64),
    /// Maximum number of layers.
    MaxLayers(u64),
    /// No entry of a layer has such a path: a pattern without a slash is about the last name. One that a later layer removed is in the
    /// image all the same.
    Forbid(GlobMatcher),
    /// No file that was not in so many lower layers has the bits of setuid or setgid.
    ForbidSetuid(u32),
    /// There is something at the path, links followed.
    Require(TreePath),
}

/// An entry of the image that breaks a rule.
#[derive(Clone, Copy, Debug)]
pub struct Culprit<'a> {
    /// The entry.
    pub item: &'a Item,
    /// Number of the layer that hid it, if one did.
    pub hidden_by: Option<u32>,
    /// Bytes that nobody sees, for rules about these.
    pub bytes: Option<u64>,
}

/// The verdict on a rule.
#[derive(Debug)]
pub struct Verdict<'a> {
    /// True if the image breaks it.
    pub is_broken: bool,
    /// Value of the image, for rules about a number.
    pub value: Option<f64>,
    /// Entries that break it; of rules about waste the largest ones.
    pub culprits: Vec<Culprit<'a>>,
}

impl Rule {
    /// Judges an image. `waste` is that of its layers above the base, if it has one.
    ///
    /// # Errors
    /// A loop of links on the way to a path that is required.
    pub fn judge<'a>(&self, contents: &'a Contents, waste: &Waste<'a>) -> Result<Verdict<'a>> {
        let own = waste.own();
        Ok(match self {
            Self::MaxWaste(most) => of_waste(waste, 1.0 - own.efficiency(), |value| value > *most),
            Self::MinEfficiency(least) => of_waste(waste, own.efficiency(), |value| value < *least),
            Self::MaxWasteBytes(most) => {
                let bytes = own.reclaimable().tar;
                of_waste(waste, number(bytes), |_| bytes > *most)
            }
            Self::MaxSize(most) => {
                let layers = contents.layers.iter();
                let size = layers
                    .map(|layer| layer.descriptor.size)
                    .fold(0, u64::saturating_add);
                of_number(size, *most)
            }
            Self::MaxLayers(most) => of_number(contents.layers.len() as u64, *most),
            Self::Forbid(pattern) => of_culprits(forbidden(contents, waste.base, pattern)),
            Self::ForbidSetuid(base) => of_culprits(setuid(contents, *base)),
            Self::Require(path) => Verdict {
                is_broken: contents.follow(path)?.is_none(),
                value: None,
                culprits: Vec::new(),
            },
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is shown, and not compared")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

fn of_number(value: u64, most: u64) -> Verdict<'static> {
    Verdict {
        is_broken: value > most,
        value: Some(number(value)),
        culprits: Vec::new(),
    }
}

fn of_culprits(culprits: Vec<Culprit<'_>>) -> Verdict<'_> {
    Verdict {
        is_broken: !culprits.is_empty(),
        value: None,
        culprits,
    }
}

fn of_waste<'a>(waste: &Waste<'a>, value: f64, is_broken: impl Fn(f64) -> bool) -> Verdict<'a> {
    let is_broken = is_broken(value);
    let largest = waste
        .findings
        .iter()
        .take(if is_broken { MAX_LARGEST } else { 0 });
    let culprit = |finding: &Finding<'a>| Culprit {
        item: finding.item,
        hidden_by: Some(finding.hidden_by),
        bytes: Some(finding.bytes.tar),
    };
    Verdict {
        is_broken,
        value: Some(value),
        culprits: largest.map(culprit).collect(),
    }
}

/// Returns the entries of layers above the `base` lowest ones that have a path which a pattern forbids.
fn forbidden<'a>(contents: &'a Contents, base: usize, pattern: &GlobMatcher) -> Vec<Culprit<'a>> {
    let is_of_names = !pattern.glob().glob().contains('/');
    let fits = |item: &&Item| {
        let text = if is_of_names {
            item.path.name()
        } else {
            item.path.as_bytes()
        };
        item.layer as usize >= base && !item.body.is_whiteout() && pattern.is_match(OsStr::from_bytes(text))
    };
    let found = contents.items.iter().filter(fits);
    found
        .map(|item| Culprit {
            item,
            hidden_by: contents.ended_in(item),
            bytes: None,
        })
        .collect()
}

/// Returns the files of the tree with the bits of setuid or setgid that came above the `base` lowest layers.
fn setuid(contents: &Contents, base: u32) -> Vec<Culprit<'_>> {
    let found = contents.tree().filter(|item| {
        let node = contents.node_of(item);
        item.layer >= base
            && node.is_some_and(|node| matches!(node.kind, NodeKind::File { .. }) && node.mode & SETID != 0)
    });
    found
        .map(|item| Culprit {
            item,
            hidden_by: None,
            bytes: None,
        })
        .collect()
}
