// SPDX-License-Identifier: Apache-2.0
//! Queries of the tables for a blob.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redb::{MultimapValue, ReadableMultimapTable, ReadableTable};

use super::KnownBlob;
use super::edges;
use super::rows::{BlobRow, Edge, InEdge, Kind, Link, Verified, entries, key, piece_keys, split_key};
use super::tables::{Access, Rows};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::layout::Entry;

impl<A: Access> Rows<A> {
    /// Returns the row of a blob; [`BlobRow::ABSENT`] if there is none, since such rows are not stored.
    pub(super) fn row(&self, digest: &Digest) -> Result<BlobRow> {
        let row = self.blobs.get(key(digest).as_slice())?;
        row.map_or(Ok(BlobRow::ABSENT), |row| BlobRow::from_bytes(row.value()))
    }

    /// Returns the blobs that a document names by the edges that `is_wanted` picks, each once.
    fn children_by(&self, parent: &Digest, is_wanted: impl Fn(Edge) -> bool) -> Result<Vec<Digest>> {
        let mut children = children_of(&self.children, parent)?;
        children.retain(|child| is_wanted(child.edge));
        let mut out: Vec<Digest> = children.into_iter().map(|child| child.digest).collect();
        // A blob that is named as two media types stands there twice.
        out.dedup();
        Ok(out)
    }

    /// Returns the blobs that a document declares, each once.
    pub(crate) fn declared_children(&self, parent: &Digest) -> Result<Vec<Digest>> {
        self.children_by(parent, |edge| edge == Edge::Declared)
    }

    /// Returns the blobs that a document holds and that are here: it may mention any number of others.
    pub(crate) fn present_children(&self, parent: &Digest) -> Result<Vec<Digest>> {
        self.present(self.children_by(parent, Edge::holds)?)
    }

    /// Returns the blobs that a document is about and that are here.
    pub(crate) fn present_subjects(&self, referrer: &Digest) -> Result<Vec<Digest>> {
        self.present(self.children_by(referrer, |edge| edge == Edge::Subject)?)
    }

    // A hostile document of 16 MiB mentions 200,000 digests; a caller that walks on needs none that is not there.
    fn present(&self, digests: Vec<Digest>) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        for digest in digests {
            if self.is_present(&digest)? {
                out.push(digest);
            }
        }
        Ok(out)
    }

    /// Returns the size in bytes of a blob that was seen.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let row = self.row(digest)?;
        Ok(row.is_present().then_some(row.size))
    }

    /// Returns the rows of the edges into a blob one by one, in their order: a layer that all images share has very many.
    pub(super) fn in_edge_rows(&self, child: &Digest) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
        // The digest of a child begins the key of each edge into it.
        let prefix = key(child);
        let rows = self.in_edges.range(prefix.as_slice()..)?;
        Ok(rows.map_while(move |item| match item {
            Ok((k, _)) => k
                .value()
                .strip_prefix(prefix.as_slice())
                .map(|row| Ok(row.to_vec())),
            Err(err) => Some(Err(err.into())),
        }))
    }

    /// Returns the edges into a blob.
    pub(crate) fn in_edges(&self, child: &Digest) -> Result<Vec<InEdge>> {
        let rows = self.in_edge_rows(child)?;
        rows.map(|row| InEdge::from_bytes(&row?)).collect()
    }

    /// Returns the entries of `index.json` that lead to what is not there, each by its name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for an entry in which no digest can be read, since what it needs is not known.
    pub(crate) fn missing_roots(&self, entries: &[Entry]) -> Result<Vec<(String, Digest)>> {
        let mut out = Vec::new();
        for entry in entries {
            match entry.descriptor() {
                Ok(descriptor) if !self.is_present(&descriptor.digest)? => {
                    let name = entry.ref_name.as_deref().unwrap_or("an entry without a tag");
                    out.push((name.to_owned(), descriptor.digest));
                }
                // A missing row authorises no removal: with a digest that cannot be read any blob could be the one that is needed.
                Err(err) if edges::of_unclear(entry.raw()).is_empty() => {
                    let text = "what an entry needs is not known, so nothing is removed";
                    let err = Error::new(ErrorKind::Corrupt, format!("{text}: {err}"));
                    if entry.is_nothing() {
                        return Err(err.with_fact(Fact::EmptyEntry));
                    }
                    return Err(err);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(out)
    }

    /// Returns every media type that documents and refs give to a blob.
    pub(crate) fn media_types(&self, digest: &Digest) -> Result<Vec<String>> {
        let mut out = BTreeSet::new();
        for in_edge in self.in_edges(digest)? {
            match in_edge {
                InEdge::Ref { media_type, .. } => drop(out.insert(media_type)),
                InEdge::Document(_, parent) => out.extend(self.media_types_in(&parent, digest)?),
            }
        }
        // An edge without a media type says nothing of the blob.
        out.remove("");
        Ok(out.into_iter().collect())
    }

    /// Returns a media type that a document or ref gives to a blob.
    pub(crate) fn media_type(&self, digest: &Digest) -> Result<Option<String>> {
        for row in self.in_edge_rows(digest)? {
            let media_type = match InEdge::from_bytes(&row?)? {
                InEdge::Ref { media_type, .. } => Some(media_type),
                InEdge::Document(_, parent) => self.media_types_in(&parent, digest)?.pop(),
            };
            if let Some(media_type) = media_type.filter(|media_type| !media_type.is_empty()) {
                return Ok(Some(media_type));
            }
        }
        Ok(None)
    }

    /// As [`Tables::media_type`] for many blobs; a document that names many of them is gone through once.
    pub(crate) fn media_type_of_each(&self, blobs: &[Digest]) -> Result<HashMap<Digest, String>> {
        // Without the grouping a document of 65,000 edges would be read once for each blob that it names.
        let mut first: BTreeMap<Digest, HashSet<Digest>> = BTreeMap::new();
        let mut others = Vec::new();
        for digest in blobs {
            let mut rows = self.in_edge_rows(digest)?;
            let Some(row) = rows.next() else { continue };
            let is_grouped = match InEdge::from_bytes(&row?)? {
                InEdge::Document(_, parent) => first.entry(parent).or_default().insert(*digest),
                InEdge::Ref { .. } => false,
            };
            // A blob that one document alone names has no other media type, so that document is not gone through again.
            if !is_grouped || rows.next().is_some() {
                others.push(digest);
            }
        }
        let mut out = HashMap::new();
        for (parent, named) in first {
            for child in children_of(&self.children, &parent)? {
                if named.contains(&child.digest) && !child.media_type.is_empty() {
                    out.entry(child.digest).or_insert(child.media_type);
                }
            }
        }
        for digest in others {
            if !out.contains_key(digest)
                && let Some(media_type) = self.media_type(digest)?
            {
                out.insert(*digest, media_type);
            }
        }
        Ok(out)
    }

    /// Returns the media types that a document gives to a blob.
    fn media_types_in(&self, parent: &Digest, digest: &Digest) -> Result<Vec<String>> {
        let mut named = children_of(&self.children, parent)?;
        named.retain(|child| child.digest == *digest && !child.media_type.is_empty());
        Ok(named.into_iter().map(|child| child.media_type).collect())
    }

    /// Returns the layers that were made of the tar with this diff_id.
    pub(crate) fn layers_of(&self, diff_id: &Digest) -> Result<Vec<Digest>> {
        digests(self.layers.get(key(diff_id).as_slice())?)
    }

    /// Returns the layers that were made of a tar that begins with the bytes that `start` is a digest of.
    pub(crate) fn layers_of_start(&self, start: &Digest) -> Result<Vec<Digest>> {
        digests(self.starts.get(key(start).as_slice())?)
    }

    /// Returns whether a blob is a JSON document.
    pub(crate) fn is_document(&self, digest: &Digest) -> Result<bool> {
        Ok(self.row(digest)?.kind == Kind::Document)
    }

    /// Returns the verification record of a blob.
    pub(crate) fn verified(&self, digest: &Digest) -> Result<Option<Verified>> {
        let found = self.verified.get(key(digest).as_slice())?;
        found.map(|v| Verified::from_bytes(v.value())).transpose()
    }

    /// Returns the next `most` blobs that are there, in the order of digests.
    pub(crate) fn blobs_after(&self, after: Option<&Digest>, most: usize) -> Result<Vec<KnownBlob>> {
        use std::ops::Bound;
        // The database is closed between two calls, so the place in it is kept as a digest and not as a cursor.
        let start = after.map(key);
        let start = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.blobs.range::<&[u8]>((start, Bound::Unbounded));
        let mut out = Vec::new();
        for item in rows? {
            let (k, row) = item?;
            let row = BlobRow::from_bytes(row.value())?;
            if !row.is_present() {
                continue;
            }
            let digest = split_key(k.value())?.0;
            out.push(KnownBlob {
                digest,
                size: row.size,
                count: row.count,
                opaque: matches!(row.kind, Kind::Opaque | Kind::Plain),
                verified: self.verified(&digest)?,
            });
            if out.len() == most {
                break;
            }
        }
        Ok(out)
    }

    /// Returns the bytes of all blobs.
    pub(crate) fn total_size(&self) -> Result<u64> {
        let mut total = 0;
        for item in self.blobs.iter()? {
            let row = BlobRow::from_bytes(item?.1.value())?;
            total += if row.is_present() { row.size } else { 0 };
        }
        Ok(total)
    }

    /// Returns the records of all verified blobs.
    pub(crate) fn all_verified(&self) -> Result<Vec<(Digest, Verified)>> {
        let rows = self.verified.iter()?.map(|item| {
            let (k, row) = item?;
            Ok((split_key(k.value())?.0, Verified::from_bytes(row.value())?))
        });
        rows.collect()
    }

    /// Returns the number of references to a blob by refs and documents.
    pub(crate) fn count(&self, digest: &Digest) -> Result<u64> {
        Ok(self.row(digest)?.count)
    }

    /// Returns whether a blob was seen.
    pub(crate) fn is_present(&self, digest: &Digest) -> Result<bool> {
        Ok(self.row(digest)?.is_present())
    }

    /// Returns the blobs that nobody is known to need.
    pub(crate) fn orphans(&self) -> Result<Vec<Digest>> {
        let rows = self.orphans.iter()?;
        rows.map(|item| Ok(split_key(item?.0.value())?.0)).collect()
    }

    /// Returns the blobs that the entries of `index.json` name that `is_wanted` picks, as often as they do.
    pub(crate) fn named_by_entries(
        &self,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<(Digest, InEdge)>> {
        let mut out = Vec::new();
        for item in self.refs.iter()? {
            for entry in entries(item?.1.value())?.iter().filter(|entry| is_wanted(entry)) {
                let links = edges::of_entry(entry).into_iter();
                out.extend(links.map(|link| (link.digest, InEdge::of_entry(entry, &link))));
            }
        }
        Ok(out)
    }
}

/// Returns the edges of a document, in the order of strength and digest.
pub(super) fn children_of(
    children: &impl ReadableTable<&'static [u8], &'static [u8]>,
    parent: &Digest,
) -> Result<Vec<Link>> {
    let (first, last) = piece_keys(parent);
    let mut out = Vec::new();
    let mut pieces = 0;
    for piece in children.range(first.as_slice()..=last.as_slice())? {
        out.extend(Link::list_from_bytes(piece?.1.value())?);
        pieces += 1;
    }
    // Each piece is sorted by itself, and the same edge may stand in several.
    if pieces > 1 {
        out.sort_unstable();
        out.dedup();
    }
    Ok(out)
}

/// Returns the digests that stand in a multimap.
fn digests(found: MultimapValue<'_, &'static [u8]>) -> Result<Vec<Digest>> {
    found.map(|value| Ok(split_key(value?.value())?.0)).collect()
}
