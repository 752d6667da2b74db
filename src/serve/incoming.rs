// SPDX-License-Identifier: Apache-2.0
//! Manifests from the origin that wait for their blobs.
//!
//! An image enters its layout as by a push: its blobs first, each under a lease, then the manifest with its entry. Until then the
//! manifest is held in memory alone, so that at no time anything in the layout names what is not there, whatever a client asks for
//! and in which order; one that is dropped is fetched again. An index enters with the first of its images: most clients want only
//! one of them.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::pull::Found;
use super::push::write;
use super::repositories::Repository;
use super::upload::lease_name;
use crate::digest::Digest;
use crate::error::{Result, lock};
use crate::layout::Layout;
use crate::spec::{Descriptor, Document};

/// Maximum size of the manifests that wait, in bytes.
const MAX_HELD: usize = 64 << 20;

/// The manifests of all repositories that wait.
#[derive(Debug, Default)]
pub(super) struct Incoming(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    waiting: HashMap<(String, Digest), Waiting>,
    size: usize,
    /// The number of the next one.
    next: u64,
}

/// A manifest that waits for its blobs.
#[derive(Debug)]
struct Waiting {
    /// They go in the order in which they came.
    number: u64,
    found: Found,
    needs: Vec<Need>,
    /// True for an index, for which one of the documents that it names is enough.
    is_index: bool,
    tags: Vec<String>,
}

#[derive(Clone, Debug)]
struct Need {
    blob: Descriptor,
    is_layer: bool,
}

/// A manifest that enters.
#[derive(Debug)]
struct Entering {
    found: Found,
    needs: Vec<Descriptor>,
    tags: Vec<String>,
    /// True if nothing else that enters leads to it.
    is_root: bool,
}

impl Waiting {
    fn new(number: u64, found: Found) -> Self {
        let document = Document::parse(&found.bytes).ok().flatten();
        let is_index = matches!(document, Some(Document::Index(_)));
        let needs: Vec<Need> = match document {
            Some(Document::Manifest(manifest)) => {
                let config = Need {
                    blob: manifest.config.bare(),
                    is_layer: false,
                };
                let layers = manifest.layers.iter().map(|layer| Need {
                    blob: layer.bare(),
                    is_layer: true,
                });
                // The config comes last: one that came says nothing of whether the image is wanted.
                layers.chain([config]).collect()
            }
            other => other
                .map(Document::into_declared)
                .unwrap_or_default()
                .iter()
                .map(|blob| Need {
                    blob: blob.bare(),
                    is_layer: !is_index,
                })
                .collect(),
        };
        Self {
            number,
            found,
            needs,
            is_index,
            tags: Vec::new(),
        }
    }

    fn size(&self) -> usize {
        // A descriptor in memory takes about as much as its text.
        2 * self.found.bytes.len()
    }

    /// Returns whether all is here that the document cannot do without, of which `entering` is as good as here.
    fn is_complete(&self, layout: &Layout, entering: &HashSet<Digest>) -> Result<bool> {
        if self.is_index {
            let mut is_empty = true;
            for need in &self.needs {
                is_empty = false;
                if entering.contains(&need.blob.digest) || layout.blob_size(&need.blob.digest)?.is_some() {
                    return Ok(true);
                }
            }
            return Ok(is_empty);
        }
        for Need { blob, .. } in &self.needs {
            let size = layout.blob_size(&blob.digest)?;
            if size != Some(blob.size) && !(size.is_none() && blob.media_type.is_nondistributable()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Held {
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Waiting> {
        let all = self.waiting.iter().filter(move |((own, _), _)| own == name);
        all.map(|(_, waiting)| waiting)
    }

    fn remove(&mut self, key: &(String, Digest)) {
        if let Some(gone) = self.waiting.remove(key) {
            self.size -= gone.size();
        }
    }

    /// Returns the manifests that can enter now that `came` is here, or on its way into the layout, and those above them.
    fn complete(&self, name: &str, layout: &Layout, came: &Digest) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        let mut entering = HashSet::new();
        let mut next = vec![*came];
        while let Some(came) = next.pop() {
            for waiting in self.of(name) {
                let digest = waiting.found.digest;
                let is_concerned =
                    digest == came || waiting.needs.iter().any(|need| need.blob.digest == came);
                if is_concerned && !entering.contains(&digest) && waiting.is_complete(layout, &entering)? {
                    entering.insert(digest);
                    out.push(digest);
                    next.push(digest);
                }
            }
        }
        Ok(out)
    }
}

impl Incoming {
    /// Returns a manifest that waits.
    pub fn get(&self, name: &str, digest: &Digest) -> Option<Found> {
        let held = lock(&self.0);
        let key = (name.to_owned(), *digest);
        held.waiting.get(&key).map(|waiting| waiting.found.clone())
    }

    /// Lets a manifest wait.
    pub fn hold(&self, name: &str, found: &Found) {
        let mut held = lock(&self.0);
        let key = (name.to_owned(), found.digest);
        if held.waiting.contains_key(&key) {
            return;
        }
        let waiting = Waiting::new(held.next, found.clone());
        held.next += 1;
        held.size += waiting.size();
        held.waiting.insert(key, waiting);
        while held.size > MAX_HELD && held.waiting.len() > 1 {
            let oldest = held.waiting.iter().min_by_key(|(_, waiting)| waiting.number);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            held.remove(&oldest);
        }
    }

    /// Lets a tag be set once this manifest enters, and no other one.
    pub fn tag(&self, name: &str, tag: &str, digest: &Digest) {
        let mut held = lock(&self.0);
        for ((own, other), waiting) in &mut held.waiting {
            if own == name {
                waiting.tags.retain(|known| known != tag);
                if other == digest {
                    waiting.tags.push(tag.to_owned());
                }
            }
        }
    }

    /// Returns the descriptor of a blob that a manifest needs which waits.
    pub fn needed(&self, name: &str, digest: &Digest) -> Option<Descriptor> {
        let held = lock(&self.0);
        let mut needs = held.of(name).flat_map(|waiting| &waiting.needs);
        needs
            .find(|need| need.blob.digest == *digest)
            .map(|need| need.blob.clone())
    }

    /// Returns the next blob that is not here of an image that has `layer`: a client that fetches one layer means the image, and
    /// may have other layers already.
    pub fn next_missing(&self, name: &str, layer: &Digest, layout: &Layout) -> Result<Option<Descriptor>> {
        let held = lock(&self.0);
        for waiting in held.of(name) {
            let mut needs = waiting.needs.iter();
            if !needs.any(|need| need.is_layer && need.blob.digest == *layer) {
                continue;
            }
            for Need { blob, .. } in &waiting.needs {
                if !blob.media_type.is_nondistributable() && layout.blob_size(&blob.digest)?.is_none() {
                    return Ok(Some(blob.clone()));
                }
            }
        }
        Ok(None)
    }

    /// Writes manifests that wait for nothing any more, now that the blob or manifest `came` is here, and their entries of
    /// `index.json`.
    ///
    /// # Errors
    /// Those of the layout; they wait on then.
    pub fn enter(&self, repository: &Repository, came: &Digest) -> Result<()> {
        let layout = repository.store.layout();
        if lock(&self.0).complete(&repository.name, layout, came)?.is_empty() {
            return Ok(());
        }
        repository.store.give_way()?;
        // From the look at the blobs to the entry that leads to them no collection comes between.
        let mut txn = repository.store.begin("serve")?;
        let entering = self.entering(repository, came)?;
        for one in &entering {
            let image = Descriptor::new(
                one.found.media_type.clone(),
                one.found.digest,
                one.found.bytes.len() as u64,
            );
            write(&mut txn, &image, &one.found.bytes)?;
            for need in &one.needs {
                if let Some(verified) = repository.take_verified(&need.digest) {
                    txn.add_intact(need, verified);
                }
            }
            for tag in &one.tags {
                txn.tag(tag, image.clone());
            }
            if one.tags.is_empty() && one.is_root {
                txn.list(image);
            }
        }
        let committing = lock(&repository.commits);
        txn.commit()?;
        drop(committing);
        for one in entering {
            lock(&self.0).remove(&(repository.name.clone(), one.found.digest));
            for need in one.needs {
                repository.store.remove_lease(&lease_name(&need.digest))?;
            }
        }
        Ok(())
    }

    fn entering(&self, repository: &Repository, came: &Digest) -> Result<Vec<Entering>> {
        let held = lock(&self.0);
        let digests = held.complete(&repository.name, repository.store.layout(), came)?;
        let mut out = Vec::new();
        for digest in &digests {
            let Some(waiting) = held.waiting.get(&(repository.name.clone(), *digest)) else {
                continue;
            };
            let is_below = digests.iter().any(|above| {
                let above = held.waiting.get(&(repository.name.clone(), *above));
                above.is_some_and(|above| above.needs.iter().any(|need| need.blob.digest == *digest))
            });
            out.push(Entering {
                found: waiting.found.clone(),
                needs: waiting.needs.iter().map(|need| need.blob.clone()).collect(),
                tags: waiting.tags.clone(),
                is_root: !is_below && !repository.store.is_named(digest)?,
            });
        }
        Ok(out)
    }
}
