// SPDX-License-Identifier: Apache-2.0
//! The edges of the graph that start at a blob, told from its bytes by the rule of [`Edges`].
//!
//! Documents of the size of manifests are read whole. Of a larger one no more than the text is searched, as a stream, and edges are
//! given one by one: neither the size of a document nor the number of digests in it takes memory.

use std::collections::HashSet;
use std::io::{BufReader, Read, Seek};

use super::rows::{Edge, Kind, Link};
use crate::digest::{Digest, VerifyReader};
use crate::error::Result;
use crate::layout::Entry;
use crate::spec::Edges;
use crate::spec::mentions::{begins_like_json, each_digest};

/// The content of a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// No JSON document.
    Opaque,
    /// No JSON document, and what its digest says.
    Plain,
    /// A JSON document, or what begins like one and names something.
    Document(Vec<Link>),
    /// A document of more than [`MAX_HELD`] edges; [`each_link`] gives them.
    Large,
}

impl Content {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Content::Opaque => Kind::Opaque,
            Content::Plain => Kind::Plain,
            Content::Document(_) | Content::Large => Kind::Document,
        }
    }
}

/// Maximum number of edges that are held at a time, about 8 MiB. No document of a known kind has as many.
pub(super) const MAX_HELD: usize = 65_536;

/// Maximum size in bytes of a document that is read as one. The subject of a larger one is a mention like any other.
pub(super) const MAX_WHOLE: u64 = 16 << 20;

/// Reads a blob of `size` bytes as far as needed. A document is verified against its digest.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a document that is not what its digest says.
pub(crate) fn read(file: impl Read + Seek, digest: &Digest, size: u64) -> Result<Content> {
    let (mut links, mut is_large) = (Vec::new(), false);
    let is_object = each_link(file, digest, size, |link| {
        is_large = links.len() == MAX_HELD;
        if !is_large {
            links.push(link);
        }
        Ok(())
    })?;
    Ok(if is_large {
        Content::Large
    } else if links.is_empty() && !is_object {
        // A text with a brace before it.
        Content::Opaque
    } else {
        Content::Document(links)
    })
}

/// Gives the edges that start at a blob one by one; those of a document that is damaged are given too. Returns whether the blob is a
/// JSON object.
///
/// # Errors
/// Those of [`read`], when all was given, and those of `give`.
pub(crate) fn each_link(
    mut file: impl Read + Seek,
    digest: &Digest,
    size: u64,
    mut give: impl FnMut(Link) -> Result<()>,
) -> Result<bool> {
    // Most blobs are layers, of which no more than this buffer is read.
    if !begins_like_json(&mut BufReader::with_capacity(512, &mut file))? {
        return Ok(false);
    }
    file.rewind()?;
    let mut verified = VerifyReader::new(file, *digest, size);
    if size > MAX_WHOLE {
        each_digest(&mut verified, |digest| give(Link::plain(Edge::Mentioned, digest)))?;
        verified.finish()?;
        return Ok(false);
    }
    let mut bytes = Vec::new();
    verified.read_to_end(&mut bytes)?;
    verified.finish()?;
    // The bytes are verified before they are understood: the edges of a damaged document would be recorded for good.
    let edges = Edges::of(&bytes);
    let declared: HashSet<Digest> = edges.declared.iter().map(|child| child.digest).collect();
    let mut links = edges.declared.iter().map(Link::declared);
    links.try_for_each(&mut give)?;
    for subject in &edges.subjects {
        give(Link::plain(Edge::Subject, *subject))?;
    }
    // Some reader may understand such a document in another way, so all digests in it keep their blobs.
    if edges.has_mentions {
        each_digest(&*bytes, |digest| {
            // A declared edge says more of the same blob.
            if declared.contains(&digest) {
                return Ok(());
            }
            give(Link::plain(Edge::Mentioned, digest))
        })?;
    }
    Ok(edges.is_object)
}

/// Returns the edges of an entry of `index.json`. One that is no descriptor, or not to all readers, keeps every digest in its text.
pub(super) fn of_entry(entry: &Entry) -> Vec<Link> {
    let text = entry.raw();
    let Ok(descriptor) = entry.descriptor() else {
        return of_unclear(text);
    };
    let mut out = vec![Link::declared(&descriptor)];
    if entry.is_unclear() {
        let others = of_unclear(text).into_iter();
        out.extend(others.filter(|link| link.digest != descriptor.digest));
    }
    out
}

/// Returns the mentions in the text of an entry of `index.json` that readers understand in several ways.
pub(crate) fn of_unclear(entry: &str) -> Vec<Link> {
    let mut out = Vec::new();
    // Text in memory can always be read.
    let _ = each_digest(entry.as_bytes(), |digest| {
        out.push(Link::plain(Edge::Declared, digest));
        Ok(())
    });
    out
}
