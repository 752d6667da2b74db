// SPDX-License-Identifier: Apache-2.0
//! A repository as a cache before it reads it: one request for one thing, as it came.
//!
//! No mirror is asked: the cache itself may be the mirror that the settings of this machine name.

use std::io::Read;
use std::sync::Arc;

use ureq::http::Method;

use super::download::Download;
use super::errors::refused;
use super::http::Call;
use super::repository::{Fetched, Repository};
use super::{Registry, RepositoryName};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::Descriptor;

/// A repository of a registry that a cache stands before.
#[derive(Debug)]
pub(crate) struct Origin(Arc<Repository>);

impl Origin {
    /// Returns the image of a tag; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn tag(&self, tag: &str) -> Result<Option<Descriptor>> {
        self.0.head(tag)
    }

    /// Reads a manifest or an index with its descriptor, verified; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the registry; [`ErrorKind::Corrupt`] if it is not what its digest says.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<(Descriptor, Vec<u8>)>> {
        let found = self.0.manifest(&digest.to_string())?;
        Ok(found.map(|Fetched { descriptor, bytes }| (descriptor, bytes)))
    }

    /// Returns the size of a blob in bytes; `None` if it is not there.
    ///
    /// # Errors
    /// Those of the registry; [`ErrorKind::Unsupported`] if it does not tell the size.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let look = self.0.read(true, |place| {
            let call = Call::new(Method::HEAD, place.url(&format!("blobs/{digest}"))?);
            let answer = place.send(&call, "pull")?;
            match answer.status().as_u16() {
                200 => {
                    let size = answer.headers().get("content-length");
                    let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
                    let unknown = || Error::new(ErrorKind::Unsupported, "its size is not told");
                    size.ok_or_else(unknown).map(Some)
                }
                404 => Ok(None),
                _ => Err(refused(answer)),
            }
        });
        look.context(|| format!("look for blob {digest} of {}", self.0.name))
    }

    /// Opens a blob behind its first `from` bytes, not verified; `None` if it is not there. A body that breaks off goes on where
    /// it stopped.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn blob(&self, blob: &Descriptor, from: u64) -> Result<Option<Box<dyn Read + Send>>> {
        let download = Download::begin(&self.0, blob, from)
            .context(|| format!("get blob {} of {}", blob.digest, self.0.name))?;
        Ok(download.map(|download| Box::new(download) as Box<dyn Read + Send>))
    }

    /// Returns all tags.
    ///
    /// # Errors
    /// As [`Registry::tags`].
    pub fn tags(&self) -> Result<Vec<String>> {
        self.0.tags()
    }

    /// Returns the referrers of a manifest.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.0.referrers(subject)
    }
}

impl Registry {
    /// Returns a repository at its own place alone, to read it.
    ///
    /// # Errors
    /// `ErrorKind::Denied` if `registries.conf` blocks it.
    pub(crate) fn origin(&self, name: &RepositoryName) -> Result<Origin> {
        self.at_own_place(name, "pull").map(Arc::new).map(Origin)
    }
}
