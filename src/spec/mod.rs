// SPDX-License-Identifier: Apache-2.0
//! The documents of the image-spec and the runtime-spec as plain data. Opens nothing.
//!
//! Invariants: fields that we do not know survive in `extra`; one rule, `document::Edges`, says which blobs a document names; JSON
//! leaves through [`json`] alone, so the same value always gives the same bytes; a document whose bytes matter travels as [`Raw`].

#[doc(hidden)]
pub mod json;

mod config;
mod descriptor;
mod document;
mod lenient;
mod manifest;
mod media_type;
pub(crate) mod mentions;
mod platform;
mod ref_value;
mod refname;
pub(crate) mod runtime;

pub(crate) use config::settle_history;
pub use config::{ContainerConfig, History, ImageConfig, RootFs};
pub(crate) use descriptor::Annotations;
pub use descriptor::Descriptor;
pub(crate) use document::{Document, Edges, MAX_DOCUMENT};
pub use manifest::{ImageIndex, Manifest};
pub(crate) use media_type::MediaClass;
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
pub use ref_value::RefValue;
pub use refname::RefName;

use crate::error::Result;

/// Annotation that names a descriptor of `index.json`. Spec: image-spec, annotations.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation on layers that we make: size in bytes of the uncompressed tar, in decimal.
pub const UNCOMPRESSED_SIZE: &str = "ci.umo.uncompressed_blob_size";

/// Version of the image-spec that this crate follows.
pub const IMAGE_SPEC_VERSION: &str = "1.1.1";

/// A document with the very bytes it was read from, so that its digest never depends on writing it again.
#[derive(Clone, Debug)]
pub struct Raw<T> {
    /// The bytes as stored.
    pub bytes: Vec<u8>,
    /// Value that was parsed from them.
    pub value: T,
}

impl<T: serde::de::DeserializeOwned> Raw<T> {
    /// Parses `bytes`.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let value = json::parse(&bytes)?;
        Ok(Self { bytes, value })
    }
}
