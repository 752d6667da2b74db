// SPDX-License-Identifier: Apache-2.0
//! The documents of a source: read within limits, and named by as little as it takes to read them.
//!
//! What a document says is a claim. It costs no memory before the source is seen to have it, and no more than a few times the
//! bytes that it stands in.

use std::collections::HashMap;

use super::{MAX_DEPTH, Source};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, MediaType, json};
use crate::store::MAX_DOCUMENT;

/// JSON values in a document, each of which takes far more memory than the two bytes that it may be written in. A document
/// full of descriptors has fewer.
const MAX_VALUES: usize = 500_000;

/// Descriptors on all ways from an index to its images: of an index of indexes there may be more than of anything else.
const MAX_WAYS: u64 = 100_000;

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
    check_values(&bytes).context(|| digest.to_string())?;
    Ok(bytes)
}

/// Refuses JSON of so many values that parsing it would take too much memory.
///
/// # Errors
/// [`ErrorKind::Limit`].
pub(super) fn check_values(bytes: &[u8]) -> Result<()> {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    if count > MAX_VALUES {
        let text = format!("a document of {count} values; those of over {MAX_VALUES} values are not read");
        return Err(Error::new(ErrorKind::Limit, text));
    }
    Ok(())
}

pub(super) fn read_index(source: &dyn Source, descriptor: &Descriptor) -> Result<ImageIndex> {
    let context = || format!("read image index {}", descriptor.digest);
    let index: ImageIndex = json::parse(&read_document(source, descriptor)?).context(context)?;
    index.check().context(context)?;
    Ok(index)
}

pub(super) fn read_manifest(source: &dyn Source, descriptor: &Descriptor) -> Result<Manifest> {
    let context = || format!("read manifest {}", descriptor.digest);
    let manifest: Manifest = json::parse(&read_document(source, descriptor)?).context(context)?;
    manifest.check().context(context)?;
    Ok(manifest)
}

/// What a manifest or index needs. A subject is not followed: it may be anywhere.
pub(super) fn children(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<Descriptor>> {
    if descriptor.media_type.class() == MediaClass::Index {
        return Ok(read_index(source, descriptor)?.manifests);
    }
    let manifest = read_manifest(source, descriptor)?;
    Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
}

/// Refuses an index from which so many ways lead to images that they cannot all be looked at.
///
/// # Errors
/// [`ErrorKind::Limit`]; those of the source.
pub(super) fn check_ways(source: &dyn Source, root: &Descriptor) -> Result<()> {
    let mut level: HashMap<Key, (Document, u64)> = HashMap::new();
    level.extend(
        Document::of(root)
            .filter(Document::is_index)
            .map(|document| (document.key, (document, 1))),
    );
    let mut all: u64 = 0;
    for depth in 2..=MAX_DEPTH as u64 + 1 {
        let mut below: HashMap<Key, (Document, u64)> = HashMap::new();
        for (document, ways) in level.into_values() {
            for child in read_index(source, &document.descriptor())?.manifests {
                all = all.saturating_add(ways.saturating_mul(depth));
                if all > MAX_WAYS {
                    let text = format!(
                        "too many ways lead from {} to images: the index of them is too large",
                        root.digest
                    );
                    return Err(Error::new(ErrorKind::Limit, text));
                }
                if let Some(child) = Document::of(&child).filter(Document::is_index) {
                    let (_, known) = below.entry(child.key).or_insert((child, 0));
                    *known = known.saturating_add(ways);
                }
            }
        }
        level = below;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_texts() {
        let of = |unit: &str, n: usize| format!("[{}]", vec![unit; n].join(","));
        for (text, is_read) in [
            (of("0", MAX_VALUES), true),
            (of("0", MAX_VALUES + 1), false),
            (of("[]", MAX_VALUES / 2 + 1), false),
            (of(r#"",\",[{""#, MAX_VALUES / 2), true),
            (of(r#""\\",1"#, MAX_VALUES / 2 + 1), false),
        ] {
            assert_eq!(check_values(text.as_bytes()).is_ok(), is_read, "{}", &text[..20]);
        }
    }
}
