// SPDX-License-Identifier: Apache-2.0
//! The documents of a source: read within limits, and named by as little as it takes to read them.
//!
//! What a document names is a claim, which costs no memory before the source is seen to have it.

use super::Source;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, MediaType};
use crate::store::MAX_DOCUMENT;

/// Blobs that stand in documents themselves are kept until they are copied, but not more than so many bytes.
const MAX_EMBEDDED: u64 = 64 << 20;

/// The media types of manifests and indexes.
const KINDS: [&str; 4] = [
    MediaType::INDEX,
    MediaType::MANIFEST,
    MediaType::DOCKER_LIST,
    MediaType::DOCKER_MANIFEST,
];

/// A document, and which of the media types of manifests and indexes it is read as.
pub(super) type Key = (Digest, &'static str);

/// A manifest or index of a source. There may be many.
#[derive(Clone)]
pub(super) struct Document {
    pub key: Key,
    size: u64,
    data: Option<Box<str>>,
}

impl Document {
    /// `None` if it is neither a manifest nor an index.
    pub(super) fn of(descriptor: &Descriptor) -> Option<Self> {
        let kind = KINDS.into_iter().find(|kind| descriptor.media_type == *kind)?;
        Some(Self {
            key: (descriptor.digest, kind),
            size: descriptor.size,
            data: descriptor.data.as_deref().map(Box::from),
        })
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of it that are kept here.
    pub(super) fn embedded(&self) -> u64 {
        self.data.as_ref().map_or(0, |data| data.len() as u64)
    }

    pub(super) fn is_index(&self) -> bool {
        matches!(self.key.1, MediaType::INDEX | MediaType::DOCKER_LIST)
    }

    /// What it takes to read it.
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor {
            data: self.data.as_deref().map(str::to_owned),
            ..Descriptor::new(self.key.1, self.key.0, self.size)
        }
    }
}

/// How many bytes of blobs that stand in documents are kept.
#[derive(Debug, Default)]
pub(super) struct Embedded(u64);

impl Embedded {
    /// Adds bytes that are about to be kept.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if that is too much.
    pub(super) fn add(&mut self, bytes: u64) -> Result<()> {
        self.0 = self.0.saturating_add(bytes);
        if self.0 > MAX_EMBEDDED {
            let text = format!("more than {MAX_EMBEDDED} bytes of blobs are embedded in documents");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(())
    }
}

/// Reads a manifest, an index or a config.
///
/// # Errors
/// [`ErrorKind::Limit`] if it is larger than a document may be; those of the source.
pub(super) fn read_document(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest = descriptor.digest;
    if descriptor.size > MAX_DOCUMENT {
        let text = format!(
            "{digest} is {} bytes; documents over {MAX_DOCUMENT} bytes are not read",
            descriptor.size
        );
        return Err(Error::new(ErrorKind::Limit, text));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut source.open(descriptor)?, &mut bytes)
        .context(|| format!("read {digest}"))?;
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

/// What a manifest or index needs. A subject is not followed: it may be anywhere.
pub(super) fn children(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    if descriptor.media_type.class() == MediaClass::Index {
        return Ok(read_index(source, descriptor)?.manifests);
    }
    let manifest = read_manifest(source, descriptor)?;
    Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
}
