// SPDX-License-Identifier: Apache-2.0
//! The kind of a document, told from its own members, and what it declares.

use serde::Deserialize;

use super::json;
use super::{Descriptor, ImageIndex, Manifest, MediaType};
use crate::error::Result;

/// Media types of the manifests that artifacts had before image manifests carried them. Specs: image-spec 1.1.0-rc2 and ORAS,
/// artifact manifest.
const ARTIFACTS: [&str; 2] = [
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.cncf.oras.artifact.manifest.v1+json",
];

/// A document that declares by descriptors what it needs. Its own members tell its kind, whatever its descriptor says.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(Box<Manifest>),
    Index(Box<ImageIndex>),
    Artifact(Artifact),
}

/// An artifact manifest: blobs, without a config.
#[derive(Debug, Deserialize)]
pub(crate) struct Artifact {
    #[serde(default)]
    pub blobs: Vec<Descriptor>,
}

impl Document {
    /// Reads a document; `None` if it is a config, of a kind that is not known, or no JSON object.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`] if it has the members of a kind and cannot be read as that, or may be read as
    /// another one as well.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Ok(members) = json::members(bytes) else {
            return Ok(None);
        };
        let has = |name: &str| members.get(name).is_some_and(|value| value.get() != "null");
        // Lists of nothing may be written as null.
        if has("config") && members.contains_key("layers") {
            let manifest: Box<Manifest> = json::parse(bytes)?;
            manifest.check()?;
            return Ok(Some(Self::Manifest(manifest)));
        }
        if has("manifests") || members.contains_key("manifests") && !has("blobs") {
            let index: Box<ImageIndex> = json::parse(bytes)?;
            index.check()?;
            return Ok(Some(Self::Index(index)));
        }
        let media_type = members.get("mediaType").map(|value| value.get());
        let media_type: Option<MediaType> = media_type.and_then(|text| serde_json::from_str(text).ok());
        let is_labelled = media_type.is_some_and(|own| ARTIFACTS.contains(&own.as_str()));
        let is_other = ["config", "layers", "fsLayers"].into_iter().any(has);
        if !is_other && (is_labelled || has("blobs") && has("artifactType")) {
            return Ok(Some(Self::Artifact(json::parse(bytes)?)));
        }
        Ok(None)
    }

    /// The descriptors of what it needs, in order. A subject is not among them: it may be anywhere.
    pub(crate) fn into_declared(self) -> Vec<Descriptor> {
        match self {
            Self::Manifest(manifest) => std::iter::once(manifest.config).chain(manifest.layers).collect(),
            Self::Index(index) => index.manifests,
            Self::Artifact(artifact) => artifact.blobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of a document and the count of what it declares.
    fn kind(text: &str) -> Result<Option<(&'static str, usize)>> {
        let found = Document::parse(text.as_bytes())?;
        Ok(found.map(|document| {
            let name = match document {
                Document::Manifest(_) => "manifest",
                Document::Index(_) => "index",
                Document::Artifact(_) => "artifact",
            };
            (name, document.into_declared().len())
        }))
    }

    #[test]
    fn members_tell_the_kind() {
        let one = r#"{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
        for (text, want) in [
            (r#"{"config":D,"layers":[D,D]}"#, Some(("manifest", 3))),
            (r#"{"config":D,"layers":null}"#, Some(("manifest", 1))),
            (r#"{"manifests":[D],"subject":D}"#, Some(("index", 1))),
            (r#"{"manifests":null}"#, Some(("index", 0))),
            (r#"{"artifactType":"a/b","blobs":[D]}"#, Some(("artifact", 1))),
            (
                r#"{"artifactType":"a/b","blobs":[D],"layers":null}"#,
                Some(("artifact", 1)),
            ),
            (
                r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[D],"subject":D}"#,
                Some(("artifact", 1)),
            ),
            (
                r#"{"mediaType":"application/vnd.cncf.oras.artifact.manifest.v1+json"}"#,
                Some(("artifact", 0)),
            ),
            (r#"{"blobs":[D]}"#, None),
            (r#"{"artifactType":"a/b","blobs":[D],"fsLayers":[]}"#, None),
            (r#"{"os":"linux","rootfs":{},"config":{}}"#, None),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None),
            ("[]", None),
            ("no JSON", None),
        ] {
            assert_eq!(kind(&text.replace('D', one)).expect(text), want, "{text}");
        }
        for text in [
            r#"{"config":{},"layers":[]}"#,
            r#"{"manifests":[D],"config":null}"#,
            r#"{"manifests":[{}]}"#,
            r#"{"config":D,"layers":[],"manifests":[]}"#,
            r#"{"artifactType":"a/b","blobs":[7]}"#,
        ] {
            kind(&text.replace('D', one)).expect_err(text);
        }
    }
}
