// SPDX-License-Identifier: Apache-2.0
//! The blobs that a copy leaves out because nobody has them.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use crate::digest::Digest;
use crate::progress::Monitor;
use crate::spec::{Descriptor, Platform};

/// Maximum number of blobs that are named: a document may claim any number.
const MAX_NAMED: usize = 1000;

/// Maximum number of blobs that a monitor is told, a line each.
const MAX_TOLD: usize = 20;

/// A blob that a document declares, that neither side of a copy has, and that the copy can do without: an image of a sparse
/// index, or a layer that is to be had elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MissingBlob {
    /// The image that was asked for, by its name or else its digest.
    pub image: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// The platform that its descriptor gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Digest of the document that declares it.
    pub declared_by: Digest,
}

impl fmt::Display for MissingBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "left out of {}: {}", self.image, self.digest)?;
        if let Some(platform) = &self.platform {
            write!(f, " ({platform})")?;
        }
        write!(f, " is not in the source, and {} declares it", self.declared_by)
    }
}

/// The blobs that a copy left out, each once. As JSON they are the list of those that are named.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
#[non_exhaustive]
pub struct MissingBlobs {
    /// The first thousand of them.
    pub named: Vec<MissingBlob>,
    /// Whether there are more.
    #[serde(skip)]
    pub more: bool,
    #[serde(skip)]
    known: HashSet<Digest>,
}

impl MissingBlobs {
    /// Returns whether the copy is whole.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Tells a monitor, in a few lines.
    pub(super) fn tell(&self, monitor: &dyn Monitor) {
        for one in self.named.iter().take(MAX_TOLD) {
            monitor.left_out(format_args!("{one}"));
        }
        if let Some(rest @ 1..) = self.named.len().checked_sub(MAX_TOLD) {
            let or_more = if self.more { " or more" } else { "" };
            monitor.left_out(format_args!(
                "left out: {rest}{or_more} other blobs that are not in the source"
            ));
        }
    }

    /// Notes what `parent` declares for `image`.
    pub(super) fn add(&mut self, image: &str, parent: &Digest, child: &Descriptor) {
        if self.known.contains(&child.digest) {
            return;
        }
        // A blob beyond the limit is not remembered either, as that would take memory without end.
        if self.named.len() == MAX_NAMED {
            self.more = true;
            return;
        }
        self.known.insert(child.digest);
        self.named.push(MissingBlob {
            image: image.to_owned(),
            digest: child.digest,
            platform: child.platform.clone(),
            declared_by: *parent,
        });
    }
}
