// SPDX-License-Identifier: Apache-2.0
//! The list of referrers that clients keep under a tag where a registry keeps none. Spec: distribution-spec, referrers tag schema.

use std::collections::HashSet;

use super::repository::{Put, Repository};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, MediaType, RefName, json};
use crate::store::referrers_tag;

/// Maximum number of tries to change a list that somebody else changes meanwhile.
const MAX_TRIES: usize = 5;

/// Adds entries to the list of a tag.
///
/// # Errors
/// `ErrorKind::Conflict` if others change it each time; those of the registry and of a document that is no list.
pub(super) fn join(repository: &Repository, tag: &RefName, entries: &[Descriptor]) -> Result<()> {
    change(repository, tag, &|list| {
        let known: HashSet<Digest> = list.iter().map(|entry| entry.digest).collect();
        let new = entries.iter().filter(|entry| !known.contains(&entry.digest));
        list.extend(new.cloned());
    })
}

/// Removes a referrer that is not there any more from the list of its subject, if there is one.
///
/// # Errors
/// As [`join`].
pub(super) fn leave(repository: &Repository, subject: &Digest, referrer: &Digest) -> Result<()> {
    change(repository, &referrers_tag(subject, "")?, &|list| {
        list.retain(|entry| entry.digest != *referrer);
    })
}

/// Changes a list until it stays as it was left. It is read again after it was written: of two that write it at once the registry
/// keeps one.
fn change(repository: &Repository, tag: &RefName, edit: &dyn Fn(&mut Vec<Descriptor>)) -> Result<()> {
    for _ in 0..MAX_TRIES {
        let mut index = match repository.manifest(tag.as_str())? {
            None => ImageIndex::new(Vec::new()),
            Some(found) => ImageIndex::parse(&found.bytes)
                .context(|| format!("{tag} in {} is no list of referrers", repository.name))?,
        };
        let before = index.manifests.len();
        edit(&mut index.manifests);
        if index.manifests.len() == before {
            return Ok(());
        }
        let bytes = json::to_bytes(&index)?;
        let descriptor = Descriptor::new(MediaType::INDEX, Digest::sha256(&bytes), bytes.len() as u64);
        if let Put::Lacking { error, .. } = repository.put_manifest(tag.as_str(), &descriptor, &bytes)? {
            return Err(error);
        }
    }
    fail!(
        Conflict,
        "{tag} in {} was changed by others each time",
        repository.name
    )
}
