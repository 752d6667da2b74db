// SPDX-License-Identifier: Apache-2.0
//! Which blobs go when nobody needs the orphans: by the counts of the index, each blob and edge looked at once.

use std::collections::{BTreeMap, HashMap};

use crate::digest::Digest;
use crate::error::Result;
use crate::index::{Access, Mention, Rows, damage};

/// Blobs that go with the orphans.
#[derive(Default)]
pub(in crate::store) struct Doomed {
    /// For each blob that was met: how many of those who need it stay.
    held: HashMap<Digest, u64>,
}

impl Doomed {
    pub(in crate::store) fn is_doomed(&self, digest: &Digest) -> bool {
        self.held.get(digest) == Some(&0)
    }

    /// Every blob that was met.
    pub(in crate::store) fn met(&self) -> Vec<Digest> {
        self.held.keys().copied().collect()
    }

    /// An orphan goes, and with it what nobody else needs.
    pub(in crate::store) fn add(&mut self, tables: &Rows<impl Access>, orphan: Digest) -> Result<()> {
        if self.held.insert(orphan, 0) == Some(0) {
            return Ok(());
        }
        let mut stack = vec![orphan];
        while let Some(digest) = stack.pop() {
            for child in tables.present_children(&digest)? {
                let count = match self.held.get(&child) {
                    Some(count) => *count,
                    None => tables.count(&child)?,
                };
                // Counts are exact, so one that is zero already would be a damage that the caller must not build on.
                let left = count
                    .checked_sub(1)
                    .ok_or_else(|| damage(format_args!("the count of {child} is too low")))?;
                self.held.insert(child, left);
                if left == 0 {
                    stack.push(child);
                }
            }
        }
        Ok(())
    }

    /// Makes sure that nobody stays who needs a blob that goes, by what is recorded of each apart from the counts: a row that
    /// was damaged must not cost a blob.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the two disagree.
    pub(in crate::store) fn check(&self, tables: &Rows<impl Access>) -> Result<()> {
        for digest in self.doomed() {
            for mention in tables.mentions(digest)? {
                let who = match mention {
                    Mention::Document(edge, parent) if edge.holds() && !self.is_doomed(&parent) => {
                        parent.to_string()
                    }
                    Mention::Ref { name, .. } => name.unwrap_or_else(|| "index.json".to_owned()),
                    Mention::Document(..) => continue,
                };
                return Err(damage(format_args!(
                    "the count of {digest} says that nobody needs it, but {who} does"
                )));
            }
        }
        Ok(())
    }

    /// The blobs that go, of those that are there with their sizes.
    pub(in crate::store) fn present(&self, tables: &Rows<impl Access>) -> Result<BTreeMap<Digest, u64>> {
        let mut out = BTreeMap::new();
        for digest in self.doomed() {
            if let Some(size) = tables.size(digest)? {
                out.insert(*digest, size);
            }
        }
        Ok(out)
    }

    pub(in crate::store) fn doomed(&self) -> impl Iterator<Item = &Digest> {
        self.held
            .iter()
            .filter(|(_, held)| **held == 0)
            .map(|(digest, _)| digest)
    }

    /// A document about a blob that stays, stays too, with all it needs.
    pub(in crate::store) fn spare_referrers(&mut self, tables: &Rows<impl Access>) -> Result<()> {
        // Who is about a blob that goes, and who about one that stays.
        let mut about: HashMap<Digest, Vec<Digest>> = HashMap::new();
        let mut stay = Vec::new();
        for referrer in self.doomed() {
            for subject in tables.subjects(referrer)? {
                if self.is_doomed(&subject) {
                    about.entry(subject).or_default().push(*referrer);
                } else if tables.is_present(&subject)? {
                    stay.push(*referrer);
                }
            }
        }
        while let Some(referrer) = stay.pop() {
            for spared in self.spare(tables, referrer)? {
                if tables.is_present(&spared)? {
                    stay.extend(about.remove(&spared).unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Keeps a doomed blob, and all that it needs; says which blobs no longer go.
    pub(in crate::store) fn spare(
        &mut self,
        tables: &Rows<impl Access>,
        digest: Digest,
    ) -> Result<Vec<Digest>> {
        let (mut stack, mut spared) = (vec![digest], Vec::new());
        while let Some(digest) = stack.pop() {
            if !self.is_doomed(&digest) {
                if let Some(held) = self.held.get_mut(&digest) {
                    *held += 1;
                }
                continue;
            }
            self.held.insert(digest, 1);
            spared.push(digest);
            stack.extend(tables.present_children(&digest)?);
        }
        Ok(spared)
    }
}

/// Blobs in an order in which they can be removed one by one: at no moment is a document there without what it needs.
pub(in crate::store) fn parents_first(
    tables: &Rows<impl Access>,
    gone: BTreeMap<Digest, u64>,
) -> Result<Vec<(Digest, u64)>> {
    let mut parents: BTreeMap<Digest, usize> = gone.keys().map(|digest| (*digest, 0)).collect();
    for digest in gone.keys() {
        for child in tables.present_children(digest)? {
            parents.entry(child).and_modify(|n| *n += 1);
        }
    }
    let mut next: Vec<Digest> = parents
        .iter()
        .filter(|(_, n)| **n == 0)
        .map(|(d, _)| *d)
        .collect();
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
    Ok(out.into_iter().map(|digest| (digest, gone[&digest])).collect())
}
