// SPDX-License-Identifier: Apache-2.0
//! A repository as a cache that many builders share: an entry is an image, or an index, under a tag made of its key.
//!
//! There is no other state on the shared side, so the last writer of a key wins, and none waits for another. A new entry
//! has nearly all its blobs there: its manifest is sent first, and the registry names the blobs that are missing. That is a
//! question for all of them in one request, and one that a garbage collection of the registry does not make wrong.
//!
//! The config of an image is sent last. A registry that takes manifests whose blobs are missing is known by it: it took the
//! manifest and has no config.

use std::collections::HashSet;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::repository::{Put, Repository};
use super::upload::{has_blob, upload};
use super::{NETWORK_THREADS, Registry, RepositoryName};
use crate::digest::Digest;
use crate::error::{Error, Result, ResultExt};
use crate::image::check_depth;
use crate::spec::{Descriptor, Document, MediaClass, RefName};
use crate::store::Store;
use crate::transfer::{Body, on_threads};

/// Maximum number of times that a manifest is sent beyond once for each of its parts: a collection may remove them meanwhile.
const MAX_ROUNDS: usize = 8;

/// The outcome of storing an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CachePut {
    /// True if the key had the same image already.
    pub was_there: bool,
    /// Blobs that were sent, and their bytes.
    pub sent: (u64, u64),
}

/// Returns the tag of the entry for a key.
///
/// # Errors
/// `ErrorKind::Invalid` for an empty key.
pub fn cache_tag(key: &str) -> Result<RefName> {
    if key.is_empty() {
        fail!(Invalid, "invalid key: it is empty");
    }
    format!("c-{}", Digest::sha256(key.as_bytes()).encoded()).parse()
}

impl Registry {
    /// Stores an image or index of a store, with all that it needs, as the entry of a tag.
    ///
    /// # Errors
    /// Those of the registry and of the store.
    pub fn cache_put(
        &self,
        name: &RepositoryName,
        tag: &RefName,
        store: &Store,
        image: &Descriptor,
    ) -> Result<CachePut> {
        let repository = self.own_repository(name)?;
        let found = repository.head(tag.as_str())?;
        if found.is_some_and(|found| found.digest == image.digest) {
            return Ok(CachePut {
                was_there: true,
                ..CachePut::default()
            });
        }
        let job = PutJob {
            repository,
            store,
            is_careful: AtomicBool::new(false),
            sent: (AtomicU64::new(0), AtomicU64::new(0)),
        };
        job.put(tag.as_str(), image, 0)?;
        let (blobs, bytes) = (&job.sent.0, &job.sent.1);
        Ok(CachePut {
            was_there: false,
            sent: (blobs.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)),
        })
    }
}

/// The way of an entry to the registry.
struct PutJob<'a> {
    repository: Repository,
    store: &'a Store,
    /// True once the registry has refused a manifest for the want of blobs, which shows that it looks.
    is_careful: AtomicBool,
    sent: (AtomicU64, AtomicU64),
}

impl PutJob<'_> {
    /// Sends a document under a tag or its digest, with what it needs and the registry lacks.
    fn put(&self, target: &str, document: &Descriptor, depth: usize) -> Result<()> {
        // The limit bounds this recursion.
        check_depth(&document.digest, depth)?;
        let bytes = self.store.read(document)?;
        let is_index = document.media_type.class() == MediaClass::Index;
        let declared = Document::parse(&bytes)?.map(Document::into_declared);
        let parts = self.parts(declared.unwrap_or_default())?;
        let mut rounds = 0;
        loop {
            rounds += 1;
            let lacking = match self.repository.put_manifest(target, document, &bytes)? {
                Put::Stored { .. } => match self.unchecked(&parts, is_index)? {
                    None => return Ok(()),
                    Some(parts) => parts,
                },
                Put::Lacking { error, .. } if rounds > parts.len() + MAX_ROUNDS => return Err(error),
                Put::Lacking { blobs, error } => {
                    self.is_careful.store(true, Ordering::Relaxed);
                    named(&parts, &blobs, error)?
                }
            };
            self.send(&lacking, is_index, depth)?;
        }
    }

    /// Returns the parts of a document that are to be there: not those that embed their bytes, nor those that the store lacks too.
    fn parts(&self, declared: Vec<Descriptor>) -> Result<Vec<Part>> {
        let mut out = Vec::new();
        let mut met = HashSet::new();
        for blob in declared {
            let is_here = self.store.layout().blob_size(&blob.digest)?.is_some();
            if is_here && met.insert(blob.digest) {
                out.push(Part { blob, is_asked: true });
            }
        }
        Ok(out)
    }

    /// Returns the parts of a document that was taken, if it was taken by a registry that does not look for them and lacks some.
    fn unchecked(&self, parts: &[Part], is_index: bool) -> Result<Option<Vec<Part>>> {
        if self.is_careful.swap(true, Ordering::Relaxed) || parts.is_empty() {
            return Ok(None);
        }
        let place = self.repository.own()?;
        let is_there = if is_index {
            let there = on_threads(NETWORK_THREADS, parts, |part| {
                Ok(self.repository.head(&part.blob.digest.to_string())?.is_some())
            })?;
            there.into_iter().all(|is_there| is_there)
        } else {
            has_blob(place, &last_of(parts).blob, "pull,push")?
        };
        Ok((!is_there).then(|| parts.to_vec()))
    }

    /// Sends parts of a document: of an index images, else blobs, the config last.
    fn send(&self, parts: &[Part], is_index: bool, depth: usize) -> Result<()> {
        if is_index {
            return parts
                .iter()
                .try_for_each(|part| self.put(&part.blob.digest.to_string(), &part.blob, depth + 1));
        }
        let config = last_of(parts);
        let (last, layers): (Vec<&Part>, Vec<&Part>) = parts
            .iter()
            .partition(|part| part.blob.digest == config.blob.digest);
        on_threads(NETWORK_THREADS, &layers, |part| self.send_blob(part))?;
        last.into_iter().try_for_each(|part| self.send_blob(part))
    }

    fn send_blob(&self, part: &Part) -> Result<()> {
        let place = self.repository.own()?;
        let body = StoredBody {
            store: self.store,
            blob: &part.blob,
        };
        // A mount from the repository itself asks for the blob and begins the upload with one request.
        let from = part.is_asked.then_some(&place.name);
        if upload(place, &part.blob, from, &body)? {
            self.sent.0.fetch_add(1, Ordering::Relaxed);
            self.sent.1.fetch_add(part.blob.size, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A blob or document that another document declares.
#[derive(Clone)]
struct Part {
    blob: Descriptor,
    /// True if the registry is asked for it before it is sent.
    is_asked: bool,
}

/// Returns the parts that the registry named as missing; all, to ask for each, if it named none of them.
fn named(parts: &[Part], missing: &[Digest], refusal: Error) -> Result<Vec<Part>> {
    if parts.is_empty() {
        return Err(refusal);
    }
    let missing: HashSet<&Digest> = missing.iter().collect();
    let named = parts.iter().filter(|part| missing.contains(&part.blob.digest));
    let named: Vec<Part> = named
        .map(|part| Part {
            is_asked: false,
            ..part.clone()
        })
        .collect();
    Ok(if named.is_empty() { parts.to_vec() } else { named })
}

/// Returns the part that is sent after all others: the config, which a manifest declares first.
fn last_of(parts: &[Part]) -> &Part {
    &parts[0]
}

/// A blob of the store.
struct StoredBody<'a> {
    store: &'a Store,
    blob: &'a Descriptor,
}

impl Body for StoredBody<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>> {
        let blob = self.store.open_blob(self.blob);
        Ok(Box::new(blob.context(|| format!("blob {}", self.blob.digest))?))
    }
}
