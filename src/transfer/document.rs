// SPDX-License-Identifier: Apache-2.0
//! The documents of a source, read within limits.
//!
//! A descriptor in a document is a claim, which costs no memory before the source is seen to have the blob.

use std::io::Read as _;

use super::Source;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass};
use crate::store::MAX_DOCUMENT;

/// Maximum size in bytes of all blobs that stand in descriptors themselves: they are held until they are copied.
const MAX_EMBEDDED: u64 = 64 << 20;

/// Number of bytes of embedded blobs that are held.
#[derive(Debug, Default)]
pub(super) struct Embedded(u64);

impl Embedded {
    /// Adds a descriptor that is about to be held.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if the blobs are too large together.
    pub(super) fn add(&mut self, descriptor: &Descriptor) -> Result<()> {
        let bytes = descriptor.data.as_ref().map_or(0, String::len);
        self.0 = self.0.saturating_add(bytes as u64);
        if self.0 > MAX_EMBEDDED {
            let text = format!("more than {MAX_EMBEDDED} bytes of blobs are embedded in documents");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(())
    }
}

pub(super) fn is_index(descriptor: &Descriptor) -> bool {
    descriptor.media_type.class() == MediaClass::Index
}

/// Reads a manifest, an index or a config.
///
/// # Errors
/// [`ErrorKind::Limit`] if it is larger than a document may be; those of the source.
pub(super) fn read_document(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let Descriptor { digest, size, .. } = descriptor;
    if *size > MAX_DOCUMENT {
        let text = format!("{digest} is {size} bytes; documents over {MAX_DOCUMENT} bytes are not read");
        return Err(Error::new(ErrorKind::Limit, text));
    }
    let mut bytes = Vec::new();
    let read = source.open(descriptor)?.read_to_end(&mut bytes);
    read.context(|| format!("read {digest}"))?;
    Ok(bytes)
}

pub(super) fn read_index(source: &dyn Source, descriptor: &Descriptor) -> Result<ImageIndex> {
    let context = || format!("read image index {}", descriptor.digest);
    ImageIndex::parse(&read_document(source, descriptor)?).context(context)
}

pub(super) fn read_manifest(source: &dyn Source, descriptor: &Descriptor) -> Result<Manifest> {
    let context = || format!("read manifest {}", descriptor.digest);
    Manifest::parse(&read_document(source, descriptor)?).context(context)
}

/// Returns the descriptors in a manifest or index, but not its subject, which may be anywhere.
pub(super) fn children(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    if is_index(descriptor) {
        return Ok(read_index(source, descriptor)?.manifests);
    }
    let manifest = read_manifest(source, descriptor)?;
    Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
}
