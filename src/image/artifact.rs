// SPDX-License-Identifier: Apache-2.0
//! Artifacts: manifests of anything, such as what is said of an image. Spec: image-spec, manifest, guidelines for artifact
//! usage.

use std::io::Write;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::spec::{Annotations, Descriptor, Manifest, MediaType, json};
use crate::store::Txn;

/// An artifact that is to be made.
#[derive(Clone, Debug, Default)]
pub struct Artifact {
    /// Kind of the artifact: a media type, such as `application/spdx+json`.
    pub media_type: String,
    /// Its content, blobs that are in the store.
    pub layers: Vec<Descriptor>,
    /// Annotations of its manifest.
    pub annotations: Annotations,
}

/// Returns the empty JSON document, with its content. Spec: image-spec, manifest, guidance for an empty descriptor.
fn empty() -> Descriptor {
    Descriptor {
        data: Some("e30=".to_owned()),
        ..Descriptor::new(MediaType::EMPTY, Digest::sha256(b"{}"), 2)
    }
}

impl Artifact {
    /// Writes it as a manifest about `subject`, and lists that in `index.json` without a name when the transaction is
    /// committed: other programs keep it, and ours keeps it as long as its subject.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`] if the artifact type is no media type.
    pub fn attach(self, txn: &mut Txn<'_>, subject: &Descriptor) -> Result<Descriptor> {
        MediaType::parse(&self.media_type)?;
        // Registries want the empty blob too, although each descriptor of it carries its content.
        let mut blob = txn.write_blob_as(Algorithm::Sha256)?;
        blob.write_all(b"{}")?;
        txn.finish_blob(blob, MediaType::EMPTY.into())?;
        let mut layers = self.layers;
        if layers.is_empty() {
            layers.push(empty());
        }
        let mut manifest = Manifest::new(empty(), layers);
        manifest.artifact_type = Some(self.media_type.clone());
        manifest.subject = Some(Descriptor {
            data: None,
            ..subject.bare()
        });
        manifest.annotations = self.annotations;
        let descriptor = Descriptor {
            artifact_type: Some(self.media_type),
            annotations: manifest.annotations.clone(),
            ..txn.put(&json::to_bytes(&manifest)?, MediaType::MANIFEST)?
        };
        // An entry without a name keeps the artifact alive for programs that know no referrers.
        txn.list(descriptor.clone());
        Ok(descriptor)
    }
}
