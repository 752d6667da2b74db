// SPDX-License-Identifier: Apache-2.0
//! The graph of blobs both ways: what a blob is, which documents and refs need it, and which are about it.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{Lease, Store};
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::index::{Access, Edge, InEdge, Index, IndexStatus, Place, Replace, Rows};
use crate::progress::Monitor;
use crate::spec::MediaType;

/// Number of blobs that are asked for at a time.
const BATCH: usize = 8192;

/// A blob in a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlobEntry {
    /// Which.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// A media type that a document or ref gives it, if any does.
    pub media_type: Option<MediaType>,
    /// Number of refs and documents that need it.
    pub references: u64,
}

/// A blob with all that leads to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BlobInfo {
    /// Which.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Every media type that documents and refs give it.
    pub media_types: Vec<MediaType>,
    /// Number of refs and documents that need it.
    pub references: u64,
    /// Documents that need it.
    pub needed_by: Vec<Digest>,
    /// Documents that are about it.
    pub referrers: Vec<Digest>,
    /// Tags that point at it; `<none>` for an entry of `index.json` without one.
    pub refs: Vec<String>,
    /// Tags of the images that hold it.
    pub images: Vec<String>,
    /// Leases that hold it, alone or with a document that needs it.
    pub leases: Vec<String>,
    /// When it came into the layout, RFC 3339.
    pub since: Option<Timestamp>,
    /// Whether its content was verified and its file not changed since.
    pub verified: bool,
}

/// In place of the name of an entry of `index.json` without one.
pub(super) const UNTAGGED: &str = "<none>";

impl Store {
    /// Calls `each` for every blob of the layout, in the order of digests. The database is closed meanwhile, so `each` may
    /// take its time.
    pub fn each_blob<E: From<Error>>(
        &self,
        monitor: &dyn Monitor,
        mut each: impl FnMut(BlobEntry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut index = self.index(monitor);
        let mut after = None;
        loop {
            let batch = index.read(|tables| {
                let blobs = tables.blobs_after(after.as_ref(), BATCH)?;
                let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
                let mut media_types = tables.media_type_of_each(&digests)?;
                let blobs = blobs.into_iter().map(|blob| BlobEntry {
                    digest: blob.digest,
                    size: blob.size,
                    media_type: media_types.remove(&blob.digest).map(MediaType::from),
                    references: blob.count,
                });
                Ok(blobs.collect::<Vec<_>>())
            })?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = Some(last.digest);
            // The caller prints, and may wait for a pager for hours.
            index.close();
            batch.into_iter().try_for_each(&mut each)?;
        }
    }

    /// Returns the facts about a blob, and all that leads to it.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::ErrorKind::NotFound) if it is not there.
    pub fn blob_info(&self, digest: &Digest) -> Result<BlobInfo> {
        let stamp = self.layout.blob_stamp(digest)?;
        let stamp = stamp.ok_or_else(|| self.no_blob(digest))?;
        let mut leases = self.leases()?;
        leases.retain(Lease::is_valid);
        self.read_index(|tables| {
            let (mut needed_by, mut referrers, mut refs) = (Vec::new(), Vec::new(), BTreeSet::new());
            for in_edge in tables.in_edges(digest)? {
                match in_edge {
                    InEdge::Document(Edge::Declared | Edge::Mentioned, parent) => needed_by.push(parent),
                    InEdge::Document(Edge::Subject, parent) => referrers.push(parent),
                    InEdge::Ref { name, .. } => {
                        refs.insert(name.unwrap_or_else(|| UNTAGGED.to_owned()));
                    }
                }
            }
            let verified = tables.verified(digest)?;
            let media_types = tables.media_types(digest)?.into_iter();
            // A lease that holds an image holds every blob of it.
            let (images, documents) = holders(tables, digest, Edge::holds, |_, _| true)?;
            let documents: HashSet<Digest> = documents.into_iter().collect();
            let holding = leases
                .iter()
                .filter(|lease| lease.digests.iter().any(|digest| documents.contains(digest)));
            Ok(BlobInfo {
                digest: *digest,
                size: stamp.size,
                media_types: media_types.map(MediaType::from).collect(),
                references: tables.count(digest)?,
                needed_by,
                referrers,
                refs: refs.into_iter().collect(),
                images: images.into_iter().collect(),
                leases: holding.map(|lease| lease.name.clone()).collect(),
                since: Timestamp::new(stamp.mtime.0, 0).ok(),
                verified: verified.is_some_and(|v| v.stamp == stamp),
            })
        })
    }

    /// Returns the state of the index database; nothing is created.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::ErrorKind::NotFound) if there is none, `Busy` if another process has it open.
    pub(crate) fn index_status(&self) -> Result<IndexStatus> {
        Index::status(&self.layout)
    }

    /// Makes the index database anew from the layout; says where the old one was wrong.
    ///
    /// # Errors
    /// If its file cannot be had or written, for a reason that the monitor is told.
    pub(crate) fn rebuild_index(&self, monitor: &dyn Monitor) -> Result<Vec<String>> {
        let is_first = matches!(self.index_status().if_there(), Ok(None));
        let index = Index::new(&self.layout, Place::FileOnly, monitor);
        let mut index = index.waiting(self.opts.lock_timeout);
        // An index that lags behind the layout is not wrong, so it catches up before it is compared.
        index.sync()?;
        // The catching up has made the one that there was not.
        if is_first {
            return Ok(Vec::new());
        }
        index.recount(Replace::Always)
    }
}

/// Returns whether an entry of `index.json` leads to a blob, itself or by documents on the way.
pub(super) fn is_named(tables: &Rows<impl Access>, digest: &Digest) -> Result<bool> {
    let (names, _) = holders(tables, digest, Edge::holds, |names, _| names == 0)?;
    Ok(!names.is_empty())
}

/// Returns the manifests and indexes that are about `digest` by their subject, and are here.
pub(super) fn subject_of(tables: &Rows<impl Access>, digest: &Digest) -> Result<Vec<Digest>> {
    let mut out = Vec::new();
    for in_edge in tables.in_edges(digest)? {
        if let InEdge::Document(Edge::Subject, referrer) = in_edge
            && tables.is_present(&referrer)?
        {
            out.push(referrer);
        }
    }
    Ok(out)
}

/// Returns `roots` and the blobs that `next` leads to from there, each once, and behind the first one that leads to it.
pub(super) fn walk(
    roots: impl IntoIterator<Item = Digest>,
    mut next: impl FnMut(Digest) -> Result<Vec<Digest>>,
) -> Result<Vec<Digest>> {
    let mut met = HashSet::new();
    let mut out: Vec<Digest> = roots.into_iter().filter(|root| met.insert(*root)).collect();
    // The list of all that was met is the queue as well: the front of it is at `at`.
    let mut at = 0;
    while let Some(digest) = out.get(at) {
        out.extend(next(*digest)?.into_iter().filter(|found| met.insert(*found)));
        at += 1;
    }
    Ok(out)
}

/// Returns the names of the entries of `index.json` that lead to a blob by edges that `follows` takes, and the blob with all
/// documents on the ways. The walk ends when `goes_on` says so, which is told the count of names, and how many more edges were met.
pub(super) fn holders(
    tables: &Rows<impl Access>,
    digest: &Digest,
    follows: fn(Edge) -> bool,
    mut goes_on: impl FnMut(usize, usize) -> bool,
) -> Result<(BTreeSet<String>, Vec<Digest>)> {
    let (mut names, mut is_over) = (BTreeSet::new(), false);
    let documents = walk([*digest], |digest| {
        let mut parents = Vec::new();
        // The blobs that wait in the queue lead nowhere any more.
        if is_over {
            return Ok(parents);
        }
        let in_edges = tables.in_edges(&digest)?;
        let count = in_edges.len();
        for in_edge in in_edges {
            match in_edge {
                InEdge::Ref { name, .. } => {
                    names.insert(name.unwrap_or_else(|| UNTAGGED.to_owned()));
                }
                InEdge::Document(edge, parent) if follows(edge) => parents.push(parent),
                InEdge::Document(..) => {}
            }
        }
        is_over = !goes_on(names.len(), count);
        Ok(parents)
    })?;
    Ok((names, documents))
}
