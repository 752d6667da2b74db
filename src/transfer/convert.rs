// SPDX-License-Identifier: Apache-2.0
//! Docker's documents to OCI's on their way.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use super::{MAX_DEPTH, Named, Request, Source, read_document};
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, json};

/// A source whose images are OCI's: manifests and lists of Docker's media types are written anew, configs and layers are
/// the same blobs by another name.
pub struct ToOci<'a> {
    source: &'a dyn Source,
    documents: HashMap<Digest, Vec<u8>>,
}

impl std::fmt::Debug for ToOci<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToOci({} documents)", self.documents.len())
    }
}

impl<'a> ToOci<'a> {
    /// Wraps `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            documents: HashMap::new(),
        }
    }

    /// What to ask for instead of `request`.
    ///
    /// # Errors
    /// Those of reading its documents.
    pub fn convert(&mut self, request: Request) -> Result<Request> {
        let descriptor = self.descriptor(&request.descriptor, 0)?;
        Ok(Request {
            descriptor,
            ..request
        })
    }

    fn descriptor(&mut self, old: &Descriptor, depth: usize) -> Result<Descriptor> {
        let class = old.media_type.class();
        if depth > MAX_DEPTH {
            let text = format!(
                "image index {} is nested deeper than {MAX_DEPTH} levels",
                old.digest
            );
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let bytes = match class {
            MediaClass::Index => {
                let mut index: ImageIndex = json::parse(&read_document(self.source, old)?)
                    .context(|| format!("read image index {}", old.digest))?;
                let before = index.clone();
                index.media_type = index.media_type.to_oci();
                for entry in &mut index.manifests {
                    *entry = self.descriptor(entry, depth + 1)?;
                }
                (index != before).then(|| json::to_bytes(&index)).transpose()?
            }
            MediaClass::Manifest => {
                let mut manifest: Manifest = json::parse(&read_document(self.source, old)?)
                    .context(|| format!("read manifest {}", old.digest))?;
                let before = manifest.clone();
                manifest.media_type = manifest.media_type.to_oci();
                for part in std::iter::once(&mut manifest.config).chain(&mut manifest.layers) {
                    part.media_type = part.media_type.to_oci();
                }
                (manifest != before)
                    .then(|| json::to_bytes(&manifest))
                    .transpose()?
            }
            _ => None,
        };
        let mut new = Descriptor {
            media_type: old.media_type.to_oci(),
            ..old.clone()
        };
        if let Some(bytes) = bytes {
            new.digest = Digest::of(old.digest.algorithm(), &bytes);
            new.size = bytes.len() as u64;
            new.data = None;
            self.documents.insert(new.digest, bytes);
        }
        Ok(new)
    }
}

impl Source for ToOci<'_> {
    fn images(&self) -> Result<Vec<Named>> {
        self.source.images()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        match self.documents.get(&descriptor.digest) {
            Some(bytes) => {
                let bytes = Cursor::new(bytes.clone());
                Ok(Box::new(VerifyReader::new(
                    bytes,
                    descriptor.digest,
                    descriptor.size,
                )))
            }
            None => self.source.open(descriptor),
        }
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.documents.contains_key(&descriptor.digest) || self.source.has(descriptor)?)
    }

    fn local(&self, descriptor: &Descriptor) -> Option<PathBuf> {
        let own = self.documents.contains_key(&descriptor.digest);
        self.source.local(descriptor).filter(|_| !own)
    }
}
