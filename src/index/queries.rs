// SPDX-License-Identifier: Apache-2.0
//! What the tables say of a blob.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map};

use super::KnownBlob;
use super::edges;
use super::rows::{BlobRow, Edge, Kind, Link, Mention, MentionKey, Row as _, Verified, entries};
use super::tables::{Access, Rows};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::layout::Entry;
use crate::spec::MediaType;

impl<A: Access> Rows<A> {
    pub(super) fn row(&self, digest: &Digest) -> Result<BlobRow> {
        Ok(self.blobs.get(digest)?.unwrap_or(BlobRow::ABSENT))
    }

    /// Returns the edges of a document, in the order of strength and digest.
    pub(super) fn links(&self, parent: &Digest) -> Result<Vec<Link>> {
        let mut out = Vec::new();
        let mut pieces = 0;
        for piece in self.children.of(parent)? {
            out.extend(piece?.1);
            pieces += 1;
        }
        if pieces > 1 {
            out.sort_unstable();
            out.dedup();
        }
        Ok(out)
    }

    /// Returns the blobs that a document names by the edges that `is_wanted` picks, each once.
    fn children_by(&self, parent: &Digest, is_wanted: impl Fn(Edge) -> bool) -> Result<Vec<Digest>> {
        let children = self.links(parent)?.into_iter();
        let mut out: Vec<Digest> = children
            .filter(|child| is_wanted(child.edge))
            .map(|child| child.digest)
            .collect();
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
        let mut out = Vec::new();
        for digest in self.children_by(parent, Edge::holds)? {
            if self.is_present(&digest)? {
                out.push(digest);
            }
        }
        Ok(out)
    }

    /// Returns the blobs that a document is about.
    pub(crate) fn subjects(&self, referrer: &Digest) -> Result<Vec<Digest>> {
        self.children_by(referrer, |edge| edge == Edge::Subject)
    }

    /// Size of a blob that was seen.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let row = self.row(digest)?;
        Ok(Some(row.size).filter(|_| row.kind != Kind::Absent))
    }

    /// Returns the keys of what names a blob: first those that say that it is a manifest or index.
    pub(super) fn mention_keys(&self, child: &Digest) -> Result<impl Iterator<Item = Result<MentionKey>>> {
        Ok(self.mentions.of(child)?.map(|row| Ok(row?.0)))
    }

    /// Returns what names a blob.
    pub(crate) fn mentions(&self, child: &Digest) -> Result<Vec<Mention>> {
        let keys = self.mention_keys(child)?;
        keys.map(|key| Mention::from_bytes(&key?.mention)).collect()
    }

    /// Returns the entries of `index.json` that lead to what is not there, each by its name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for an entry in which no digest can be read, since what it needs is not known.
    pub(crate) fn missing_roots(&self) -> Result<Vec<(String, Digest)>> {
        let mut out = Vec::new();
        for row in self.refs.rows()? {
            for entry in entries(&row?.1)? {
                match entry.descriptor() {
                    Ok(descriptor) if !self.is_present(&descriptor.digest)? => {
                        let name = entry.ref_name.as_deref().unwrap_or("an entry without a tag");
                        out.push((name.to_owned(), descriptor.digest));
                    }
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
        }
        Ok(out)
    }

    /// Every media type that documents and refs give to a blob.
    pub(crate) fn media_types(&self, digest: &Digest) -> Result<Vec<MediaType>> {
        let mut out = BTreeSet::new();
        for mention in self.mentions(digest)? {
            match mention {
                Mention::Ref { media_type, .. } => drop(out.insert(media_type)),
                Mention::Document(_, parent) => out.extend(self.media_types_in(&parent, digest)?),
            }
        }
        out.remove(&MediaType::default());
        Ok(out.into_iter().collect())
    }

    /// Returns a media type for each of the blobs to which a document or ref gives one. A document that names many of them is gone
    /// through once.
    pub(crate) fn media_type_of_each(&self, blobs: &[Digest]) -> Result<HashMap<Digest, MediaType>> {
        let wanted: HashSet<&Digest> = blobs.iter().collect();
        let mut by_parent: HashMap<Digest, HashMap<Digest, MediaType>> = HashMap::new();
        let mut out = HashMap::new();
        for digest in blobs {
            for key in self.mention_keys(digest)? {
                let media_type = match Mention::from_bytes(&key?.mention)? {
                    Mention::Ref { media_type, .. } => media_type,
                    Mention::Document(_, parent) => {
                        if let hash_map::Entry::Vacant(new) = by_parent.entry(parent) {
                            let links = self.links(&parent)?.into_iter();
                            let links = links.filter(|link| wanted.contains(&link.digest));
                            new.insert(links.map(|link| (link.digest, link.media_type)).collect());
                        }
                        by_parent[&parent].get(digest).cloned().unwrap_or_default()
                    }
                };
                if !media_type.is_empty() {
                    out.insert(*digest, media_type);
                    break;
                }
            }
        }
        Ok(out)
    }

    /// Returns the media types that a document gives to a blob.
    fn media_types_in(&self, parent: &Digest, digest: &Digest) -> Result<Vec<MediaType>> {
        let children = self.links(parent)?.into_iter();
        let named = children.filter(|child| child.digest == *digest && !child.media_type.is_empty());
        Ok(named.map(|child| child.media_type).collect())
    }

    /// Layers that were made of the tar with this diff_id.
    pub(crate) fn layers_of(&self, diff_id: &Digest) -> Result<Vec<Digest>> {
        self.layers.get(diff_id)
    }

    /// Layers that were made of a tar that begins with the bytes that `start` is a digest of.
    pub(crate) fn layers_of_start(&self, start: &Digest) -> Result<Vec<Digest>> {
        self.starts.get(start)
    }

    /// Whether a blob is a JSON document.
    pub(crate) fn is_document(&self, digest: &Digest) -> Result<bool> {
        Ok(self.row(digest)?.kind == Kind::Document)
    }

    /// What was verified of a blob.
    pub(crate) fn verified(&self, digest: &Digest) -> Result<Option<Verified>> {
        self.verified.get(digest)
    }

    /// The next `most` blobs that are there, in the order of digests.
    pub(crate) fn blobs_after(&self, after: Option<&Digest>, most: usize) -> Result<Vec<KnownBlob>> {
        let mut out = Vec::new();
        for row in self.blobs.after(after)? {
            let (digest, row) = row?;
            if row.kind == Kind::Absent {
                continue;
            }
            out.push(KnownBlob {
                digest,
                size: row.size,
                count: row.count,
                opaque: row.kind != Kind::Document,
                verified: self.verified(&digest)?,
            });
            if out.len() == most {
                break;
            }
        }
        Ok(out)
    }

    /// How often a blob is referred to by refs and documents.
    pub(crate) fn count(&self, digest: &Digest) -> Result<u64> {
        Ok(self.row(digest)?.count)
    }

    /// Whether a blob was seen.
    pub(crate) fn is_present(&self, digest: &Digest) -> Result<bool> {
        Ok(self.row(digest)?.kind != Kind::Absent)
    }

    /// Returns the blobs that nobody is known to need.
    pub(crate) fn orphans(&self) -> Result<Vec<Digest>> {
        self.orphans.rows()?.map(|row| Ok(row?.0)).collect()
    }

    /// Returns the blobs that the entries of `index.json` name that `is_wanted` picks, as often as they do.
    pub(crate) fn named_by_entries(
        &self,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<(Digest, Mention)>> {
        let mut out = Vec::new();
        for row in self.refs.rows()? {
            for entry in entries(&row?.1)?.iter().filter(|entry| is_wanted(entry)) {
                for link in edges::of_entry(entry) {
                    out.push((link.digest, Mention::of_entry(entry, &link)));
                }
            }
        }
        Ok(out)
    }

    /// Every row as digest, count and whether it is an orphan; for checks.
    #[cfg(test)]
    pub(crate) fn dump(&self) -> Result<Vec<(Digest, u64, bool)>> {
        let mut out = Vec::new();
        for row in self.blobs.rows()? {
            let (digest, row) = row?;
            out.push((digest, row.count, self.orphans.get(&digest)?.is_some()));
        }
        Ok(out)
    }
}
