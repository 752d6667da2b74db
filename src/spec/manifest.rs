// SPDX-License-Identifier: Apache-2.0
//! Image manifests and image indexes. Spec: image-spec, manifest and image-index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json;
use super::{Annotations, Descriptor, MediaClass, MediaType};
use crate::error::Result;

/// An image manifest: a config and layers, the lowest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion", default)]
    pub schema_version: u32,
    /// Own media type; empty if not written.
    #[serde(rename = "mediaType", default, skip_serializing_if = "MediaType::is_empty")]
    pub media_type: MediaType,
    /// Type of an artifact.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// Subject of this manifest, if it is a referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An image index: manifests for several platforms, or of any kind.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ImageIndex {
    /// Always 2.
    #[serde(rename = "schemaVersion", default)]
    pub schema_version: u32,
    /// Own media type; empty if not written.
    #[serde(rename = "mediaType", default, skip_serializing_if = "MediaType::is_empty")]
    pub media_type: MediaType,
    /// Type of an artifact.
    #[serde(rename = "artifactType", default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The entries, in order of preference.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Subject of this index, if it is a referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations of the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Makes a manifest of an OCI image.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::MANIFEST.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
            extra: Map::new(),
        }
    }

    /// Returns the descriptors of what it needs: the config, then the layers.
    pub(crate) fn into_declared(self) -> Vec<Descriptor> {
        std::iter::once(self.config).chain(self.layers).collect()
    }

    /// Puts OCI's media types in the place of Docker's. The blobs of config and layers are the same under both.
    pub(crate) fn rename_to_oci(&mut self) {
        self.media_type = self.media_type.to_oci();
        for part in std::iter::once(&mut self.config).chain(&mut self.layers) {
            part.media_type = part.media_type.to_oci();
        }
    }

    /// Reads a manifest, and refuses a document that could be read as an index as well (CVE-2021-41190).
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`], naming the field; those of [`json::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = json::parse(bytes)?;
        check(MediaClass::Manifest, &manifest.media_type, &manifest.extra)?;
        Ok(manifest)
    }
}

impl ImageIndex {
    /// Returns an OCI image index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::INDEX.into(),
            manifests,
            ..Self::default()
        }
    }

    /// Reads an index, and refuses a document that could be read as a manifest as well (CVE-2021-41190).
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`], naming the field; those of [`json::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let index: Self = json::parse(bytes)?;
        check(MediaClass::Index, &index.media_type, &index.extra)?;
        Ok(index)
    }
}

/// Refuses a document that calls itself something else than `class`, and one with a member that no field took and that another
/// reader takes for one that tells the kind.
fn check(class: MediaClass, media_type: &MediaType, extra: &Map<String, Value>) -> Result<()> {
    let of_kinds = ["config", "layers", "mediaType", "manifests", "fsLayers"];
    let (what, having, members) = match class {
        MediaClass::Index => ("image", "an index with", &of_kinds[..]),
        // A manifest may list the layers of Docker's first schema besides.
        _ => ("manifest", "it has", &of_kinds[..4]),
    };
    if !media_type.is_empty() && media_type.class() != class {
        let own = media_type.as_str();
        fail!(Corrupt, "malicious {what} detected: its mediaType is {own:?}");
    }
    // serde found no such member by its exact name, and a reader that ignores case, as Go's, would.
    match extra.keys().find(|name| json::matches_any(name, members)) {
        Some(name) => fail!(Corrupt, "malicious {what} detected: {having} a field {name:?}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    #[test]
    fn unknown_fields_survive_and_known_ones_keep_their_order() {
        let text = format!(
            "{{\"schemaVersion\":2,\"config\":{CONFIG},\"layers\":[],\"annotations\":{{\"a\":\"1\"}},\"z\":1,\"b\":[null]}}\n"
        );
        let manifest: Manifest = json::parse(text.as_bytes()).expect("manifest");
        assert_eq!(
            String::from_utf8(json::to_bytes(&manifest).expect("json")).expect("utf-8"),
            text
        );
    }

    #[test]
    fn numbers_in_unknown_fields_survive_digit_by_digit() {
        let numbers = "[1.10,1e+2,-0,0.30000000000000004441,123456789012345678901234567890]";
        let config = CONFIG.replace('}', &format!(",\"n\":{numbers}}}"));
        let text = format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"n\":{numbers}}}\n");
        let manifest: Manifest = json::parse(text.as_bytes()).expect("manifest");
        let written = String::from_utf8(json::to_bytes(&manifest).expect("json")).expect("utf-8");
        assert_eq!(written, text);
    }

    #[test]
    fn a_document_of_two_meanings_is_refused() {
        let both = format!("{{\"schemaVersion\":2,\"config\":{CONFIG},\"layers\":[],\"manifests\":[]}}");
        let malicious = |err: Error| err.to_string().starts_with("malicious ");
        assert!(malicious(Manifest::parse(both.as_bytes()).expect_err("manifest")));
        assert!(malicious(ImageIndex::parse(both.as_bytes()).expect_err("index")));
        // Readers that do not care for case.
        for name in ["MANIFESTS", "manifeſts", "Layers", "mediatype"] {
            let text = format!("{{\"schemaVersion\":2,\"config\":{CONFIG},\"layers\":[],\"{name}\":[]}}");
            let err = Manifest::parse(text.as_bytes()).expect_err(name).to_string();
            assert_eq!(
                err,
                format!("malicious manifest detected: it has a field {name:?}")
            );
        }
        for name in ["Config", "LAYERS", "fslayers", "Manifests"] {
            let text = format!("{{\"schemaVersion\":2,\"manifests\":[],\"{name}\":[]}}");
            let err = ImageIndex::parse(text.as_bytes()).expect_err(name).to_string();
            assert!(err.starts_with("malicious image detected") && err.contains(name));
        }
    }

    #[test]
    fn negative_sizes_are_named() {
        let err = json::parse::<Descriptor>(CONFIG.replace(":0}", ":-5}").as_bytes()).expect_err("negative");
        assert!(
            err.to_string()
                .contains("descriptor size must not be negative: -5"),
            "{err}"
        );
    }
}
