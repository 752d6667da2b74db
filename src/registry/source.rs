// SPDX-License-Identifier: Apache-2.0
//! A repository as the source of a copy.
//!
//! A registry vouches for what a manifest in it needs, so that nothing is asked for before it is read. Manifests are read once
//! and kept: a copy looks at them several times.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::download::Download;
use super::repository::{Fetched, Repository};
use super::upload::has_blob;
use super::{NETWORK_THREADS, Registry};
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result, ResultExt, lock};
use crate::spec::{Descriptor, MAX_DOCUMENT};
use crate::store::Store;
use crate::transfer::{Source, SourceEntry};

/// Maximum size of the manifests that are kept in bytes; more are read again.
const MAX_KEPT: usize = 64 << 20;

/// The images of a repository in a registry.
#[derive(Debug)]
pub struct RegistrySource<'a> {
    repository: Arc<Repository>,
    /// A store whose blobs need not be fetched.
    near: Option<&'a Store>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    documents: HashMap<Digest, Option<Fetched>>,
    size: usize,
}

impl<'a> RegistrySource<'a> {
    pub(super) fn new(repository: Repository, near: Option<&'a Store>) -> Self {
        Self {
            repository: Arc::new(repository),
            near,
            kept: Mutex::new(Kept::default()),
        }
    }

    /// Returns the repository.
    pub fn name(&self) -> &super::RepositoryName {
        &self.repository.name
    }

    /// Returns the descriptor of a tag or digest, as the registry gives it; the document itself is read only if it gives none.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn head(&self, target: &str) -> Result<Option<Descriptor>> {
        self.repository.head(target)
    }

    /// Reads the manifest or index of a tag or digest; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the registry; `ErrorKind::Corrupt` if it is not what its digest says.
    pub fn resolve(&self, target: &str) -> Result<Option<Descriptor>> {
        let Some(found) = self.repository.manifest(target)? else {
            return Ok(None);
        };
        let descriptor = found.descriptor.clone();
        self.keep(descriptor.digest, Some(found));
        Ok(Some(descriptor))
    }

    fn keep(&self, digest: Digest, found: Option<Fetched>) {
        let mut kept = lock(&self.kept);
        kept.size += found.as_ref().map_or(0, |found| found.bytes.len());
        if kept.size <= MAX_KEPT {
            kept.documents.insert(digest, found);
        }
    }

    /// Returns a manifest or index by its digest, read at most once as long as there is room for it.
    fn document(&self, digest: &Digest) -> Result<Option<Fetched>> {
        let kept = lock(&self.kept);
        if let Some(known) = kept.documents.get(digest) {
            return Ok(known.clone());
        }
        drop(kept);
        let found = self.repository.manifest(&digest.to_string())?;
        self.keep(*digest, found.clone());
        Ok(found)
    }

    fn near_has(&self, descriptor: &Descriptor) -> bool {
        self.near
            .is_some_and(|near| matches!(near.intact(descriptor), Ok(Some(_))))
    }
}

/// A reader whose errors say what was read, and from where.
struct Named<R> {
    inner: R,
    what: String,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf);
        read.map_err(|err| Error::from(err).context(self.what.as_str()).into())
    }
}

impl Source for RegistrySource<'_> {
    fn list(&self) -> Result<Vec<SourceEntry>> {
        Ok(SourceEntry::of_names(self.repository.tags()?))
    }

    fn descriptor(&self, entry: &SourceEntry) -> Result<Descriptor> {
        let tag = entry.name().unwrap_or_default();
        match self.repository.head(tag)? {
            Some(found) => Ok(found),
            None => fail!(NotFound, "no tag {tag} in {}", self.repository.name),
        }
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        if let Some(bytes) = descriptor.embedded()? {
            return Ok(Box::new(VerifyReader::new(io::Cursor::new(bytes), digest, size)));
        }
        if let Some(near) = self.near.filter(|_| self.near_has(descriptor)) {
            return Ok(Box::new(near.open_blob(descriptor)?));
        }
        if descriptor.media_type.is_image() {
            let Some(found) = self.document(&digest)? else {
                fail!(NotFound, "no manifest {digest} in {}", self.repository.name);
            };
            return Ok(Box::new(VerifyReader::new(
                io::Cursor::new(found.bytes),
                digest,
                size,
            )));
        }
        let what = format!("get blob {digest} of {}", self.repository.name);
        if let Some(download) = Download::begin(&self.repository, descriptor, 0).context(|| what.clone())? {
            return Ok(Box::new(Named {
                inner: VerifyReader::new(download, digest, size),
                what,
            }));
        }
        // A manifest of a kind that is not known here is one all the same.
        if size <= MAX_DOCUMENT
            && let Some(found) = self.document(&digest)?
        {
            return Ok(Box::new(VerifyReader::new(
                io::Cursor::new(found.bytes),
                digest,
                size,
            )));
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("no blob {digest} in {}", self.repository.name),
        ))
    }

    fn is_far(&self, descriptor: &Descriptor) -> bool {
        !descriptor.media_type.is_image() && descriptor.data.is_none() && !self.near_has(descriptor)
    }

    fn open_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        let what = format!("get blob {} of {}", descriptor.digest, self.repository.name);
        match Download::begin(&self.repository, descriptor, start).context(|| what.clone())? {
            Some(inner) => Ok(Box::new(Named { inner, what })),
            None => fail!(
                NotFound,
                "no blob {} in {}",
                descriptor.digest,
                self.repository.name
            ),
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        if let Some(near) = self.near
            && let Some(size) = near.layout().blob_size(digest)?
        {
            return Ok(Some(size));
        }
        let kept = lock(&self.kept);
        let known = kept.documents.get(digest).and_then(Option::as_ref);
        Ok(known.map(|found| found.descriptor.size))
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        if descriptor.data.is_some() || self.near_has(descriptor) {
            return Ok(true);
        }
        if descriptor.media_type.is_image() {
            return Ok(self.document(&descriptor.digest)?.is_some());
        }
        // Only a layer that must not be given on may be missing.
        if descriptor.media_type.is_nondistributable() {
            return self
                .repository
                .read(true, |place| {
                    Ok(has_blob(place, descriptor, "pull")?.then_some(()))
                })
                .map(|found| found.is_some());
        }
        Ok(true)
    }

    fn referrers(&self, subjects: &[Digest]) -> Result<Vec<(Digest, Descriptor)>> {
        let mut out = Vec::new();
        for subject in subjects {
            let found = self.repository.referrers(subject)?;
            out.extend(found.into_iter().map(|referrer| (*subject, referrer.bare())));
        }
        Ok(out)
    }

    fn looks_into_leaves(&self) -> bool {
        false
    }

    fn threads(&self) -> Option<usize> {
        Some(NETWORK_THREADS)
    }
}

impl Registry {
    /// Returns the images of a repository, of which those blobs are not fetched that `near` has.
    ///
    /// # Errors
    /// `ErrorKind::Denied` if `registries.conf` blocks it.
    pub fn source<'a>(
        &self,
        name: &super::RepositoryName,
        near: Option<&'a Store>,
    ) -> Result<RegistrySource<'a>> {
        Ok(RegistrySource::new(self.repository(name)?, near))
    }
}
