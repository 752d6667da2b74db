// SPDX-License-Identifier: Apache-2.0
//! Which blobs go when nobody needs the orphans: by the counts of the index, each blob and edge looked at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::digest::Digest;
use crate::error::Result;
use crate::index::{Access, InEdge, Rows, damage};

/// Blobs that go with the orphans, and with entries of `index.json` that are dropped.
#[derive(Default)]
pub(super) struct Unreachable {
    /// For each blob that was met: how many of those who need it stay.
    ref_count: HashMap<Digest, u64>,
    /// Blobs with the entries that are dropped and name them.
    dropped: HashSet<(Digest, InEdge)>,
}

impl Unreachable {
    /// Returns all that nobody needs if the entries are dropped that `dropped` names.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if counts and edges disagree: a row that was damaged must not cost
    /// a blob.
    pub(super) fn find(tables: &Rows<impl Access>, dropped: Vec<(Digest, InEdge)>) -> Result<Self> {
        let mut out = Self::default();
        for orphan in tables.orphans()? {
            if out.ref_count.insert(orphan, 0) != Some(0) {
                for child in tables.present_children(&orphan)? {
                    out.release(tables, child)?;
                }
            }
        }
        for (digest, _) in &dropped {
            out.release(tables, *digest)?;
        }
        out.dropped.extend(dropped);
        out.check(tables)?;
        Ok(out)
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.ref_count.get(digest) == Some(&0)
    }

    /// Takes away one of those who need a blob. With the last of them it goes, and what nobody else needs.
    fn release(&mut self, tables: &Rows<impl Access>, digest: Digest) -> Result<()> {
        let mut stack = vec![digest];
        while let Some(digest) = stack.pop() {
            // The count of the database is of before anything was released.
            let count = match self.ref_count.get(&digest) {
                Some(count) => *count,
                None => tables.count(&digest)?,
            };
            // Counts are exact, so one that is zero already would be a damage that the caller must not build on.
            let left = count
                .checked_sub(1)
                .ok_or_else(|| damage(format_args!("the count of {digest} is too low")))?;
            self.ref_count.insert(digest, left);
            if left == 0 {
                stack.extend(tables.present_children(&digest)?);
            }
        }
        Ok(())
    }

    /// Makes sure that nobody stays who needs a blob that goes, by what is recorded of each apart from the counts.
    fn check(&self, tables: &Rows<impl Access>) -> Result<()> {
        for digest in self.digests() {
            for in_edge in tables.in_edges(digest)? {
                let who = match &in_edge {
                    InEdge::Document(edge, parent) if edge.holds() && !self.contains(parent) => {
                        parent.to_string()
                    }
                    InEdge::Document(..) => continue,
                    InEdge::Ref { name, .. } => name.clone().unwrap_or_else(|| "index.json".to_owned()),
                };
                if !self.dropped.contains(&(*digest, in_edge)) {
                    return Err(damage(format_args!(
                        "the count of {digest} says that nobody needs it, but {who} does"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Returns the blobs that go, of those that are there with their sizes.
    pub(super) fn present(&self, tables: &Rows<impl Access>) -> Result<BTreeMap<Digest, u64>> {
        let mut out = BTreeMap::new();
        for digest in self.digests() {
            if let Some(size) = tables.size(digest)? {
                out.insert(*digest, size);
            }
        }
        Ok(out)
    }

    fn digests(&self) -> impl Iterator<Item = &Digest> {
        let gone = self.ref_count.iter().filter(|(_, count)| **count == 0);
        gone.map(|(digest, _)| digest)
    }

    /// Keeps the blobs that `is_kept` picks, and all that they need.
    pub(super) fn spare_if(
        &mut self,
        tables: &Rows<impl Access>,
        mut is_kept: impl FnMut(&Digest) -> Result<bool>,
    ) -> Result<()> {
        let digests: Vec<Digest> = self.digests().copied().collect();
        for digest in digests {
            // A blob before it in the list may have kept this one with it.
            if self.contains(&digest) && is_kept(&digest)? {
                self.spare(tables, digest)?;
            }
        }
        Ok(())
    }

    /// A document about a blob that stays, stays too, with all it needs.
    pub(super) fn spare_referrers(&mut self, tables: &Rows<impl Access>) -> Result<()> {
        // Documents about a blob that goes, and documents about one that stays.
        let mut about: HashMap<Digest, Vec<Digest>> = HashMap::new();
        let mut stay = Vec::new();
        for referrer in self.digests() {
            for subject in tables.present_subjects(referrer)? {
                if self.contains(&subject) {
                    about.entry(subject).or_default().push(*referrer);
                } else {
                    stay.push(*referrer);
                }
            }
        }
        while let Some(referrer) = stay.pop() {
            for spared in self.spare(tables, referrer)? {
                stay.extend(about.remove(&spared).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Keeps a blob that would go, and all that it needs. Returns the blobs that no longer go.
    fn spare(&mut self, tables: &Rows<impl Access>, digest: Digest) -> Result<Vec<Digest>> {
        let (mut stack, mut spared) = (vec![digest], Vec::new());
        while let Some(digest) = stack.pop() {
            if !self.contains(&digest) {
                if let Some(count) = self.ref_count.get_mut(&digest) {
                    *count += 1;
                }
                continue;
            }
            self.ref_count.insert(digest, 1);
            spared.push(digest);
            stack.extend(tables.present_children(&digest)?);
        }
        Ok(spared)
    }
}

/// Blobs in an order in which they can be removed one by one: at no moment is a document there without what it needs.
pub(super) fn parents_first(tables: &Rows<impl Access>, gone: &BTreeMap<Digest, u64>) -> Result<Vec<Digest>> {
    let mut parents: BTreeMap<Digest, usize> = gone.keys().map(|digest| (*digest, 0)).collect();
    for digest in gone.keys() {
        for child in tables.present_children(digest)? {
            parents.entry(child).and_modify(|n| *n += 1);
        }
    }
    let roots = parents.iter().filter(|(_, n)| **n == 0);
    let mut next: Vec<Digest> = roots.map(|(digest, _)| *digest).collect();
    let mut out = Vec::with_capacity(gone.len());
    while let Some(digest) = next.pop() {
        parents.remove(&digest);
        out.push(digest);
        for child in tables.present_children(&digest)? {
            if let Some(n) = parents.get_mut(&child) {
                *n -= 1;
                if *n == 0 {
                    next.push(child);
                }
            }
        }
    }
    // No document can name one that names it; whatever is left all the same goes too.
    out.extend(parents.into_keys());
    Ok(out)
}
