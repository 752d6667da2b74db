// SPDX-License-Identifier: Apache-2.0
//! The documents of a source, read within limits.
//!
//! A descriptor in a document is a claim, which costs no memory before the source is seen to have the blob.

use std::io::Read;

use super::Source;
use crate::digest::VerifyReader;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::ReadDocument;
use crate::spec::{Descriptor, MediaClass};
use crate::store::MAX_DOCUMENT;

/// Maximum size in bytes of all blobs that stand in descriptors themselves: they are held until they are copied.
const MAX_EMBEDDED: u64 = 64 << 20;

/// Budget for the blobs that stand in descriptors themselves, in bytes: the count of those that are held.
#[derive(Debug, Default)]
pub(super) struct MemoryBudget(u64);

impl MemoryBudget {
    /// Charges a descriptor that is about to be held.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if the blobs are too large together.
    pub(super) fn charge(&mut self, descriptor: &Descriptor) -> Result<()> {
        let bytes = descriptor.data.as_ref().map_or(0, String::len);
        self.0 = self.0.saturating_add(bytes as u64);
        if self.0 > MAX_EMBEDDED {
            let text = format!("more than {MAX_EMBEDDED} bytes of blobs are embedded in documents");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(())
    }
}

impl ReadDocument for dyn Source + '_ {
    fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        // The size is checked first: the reader below believes it, and ends with an error where the blob has another.
        if *size > MAX_DOCUMENT {
            let text = format!("{digest} is {size} bytes; documents over {MAX_DOCUMENT} bytes are not read");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let mut bytes = Vec::new();
        let read = self.open(descriptor)?.read_to_end(&mut bytes);
        read.context(|| format!("read {digest}"))?;
        Ok(bytes)
    }
}

pub(super) fn is_index(descriptor: &Descriptor) -> bool {
    descriptor.media_type.class() == MediaClass::Index
}

/// Returns a blob that verifies itself as it is read.
pub(super) fn verified(blob: impl Read + Send + 'static, descriptor: &Descriptor) -> Box<dyn Read + Send> {
    Box::new(VerifyReader::new(blob, descriptor.digest, descriptor.size))
}
