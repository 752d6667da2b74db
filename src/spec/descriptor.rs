// SPDX-License-Identifier: Apache-2.0
//! Descriptors and platforms. Spec: image-spec, descriptor and image-index.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{MediaType, Platform, REF_NAME};
use crate::digest::Digest;
use crate::error::Result;

/// Annotations, sorted by key.
pub type Annotations = BTreeMap<String, String>;

/// Points at a blob: what it is, its digest and its size in bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type of the blob.
    #[serde(rename = "mediaType", default)]
    pub media_type: MediaType,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    #[serde(default, deserialize_with = "size")]
    pub size: u64,
    /// Other sources of the blob; never fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations of this mention of the blob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// The blob itself, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Platform of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn size<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<u64, D::Error> {
    // Go reads a size as an int64 and refuses a negative one by name; a u64 would call it a wrong type.
    let size = i64::deserialize(d)?;
    let text = format_args!("invalid descriptor: descriptor size must not be negative: {size}");
    u64::try_from(size).map_err(|_| serde::de::Error::custom(text))
}

impl Descriptor {
    /// Makes a descriptor with nothing but the three required fields.
    pub fn new(media_type: impl Into<MediaType>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            data: None,
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }

    /// Returns the blob itself, if it is in the descriptor; not yet verified.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`] if it is not base64.
    pub fn embedded(&self) -> Result<Option<Vec<u8>>> {
        let decoded = self.data.as_ref().map(|data| STANDARD.decode(data));
        let digest = &self.digest;
        let decoded = decoded.transpose();
        decoded.or_else(|err| fail!(Corrupt, "invalid embedded descriptor data: {digest}: {err}"))
    }

    /// Returns whether both are one entry of a list: the digest and the platform are the same.
    pub fn is_same_entry(&self, other: &Self) -> bool {
        self.digest == other.digest && self.platform == other.platform
    }

    /// Returns the descriptor with no more than it takes to read the blob.
    pub(crate) fn bare(&self) -> Self {
        Self {
            // The embedded bytes stay, as the blob may stand nowhere else.
            data: self.data.clone(),
            ..Self::new(self.media_type.clone(), self.digest, self.size)
        }
    }

    /// Returns the same entry of a list with another blob in it: the media type, digest and size of `blob`.
    pub(crate) fn pointing_at(&self, blob: &Self) -> Self {
        Self {
            media_type: blob.media_type.clone(),
            digest: blob.digest,
            size: blob.size,
            // The embedded bytes are those of the old blob.
            data: None,
            ..self.clone()
        }
    }

    /// Returns the ref name among the annotations.
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}
