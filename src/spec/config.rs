// SPDX-License-Identifier: Apache-2.0
//! The image config. Spec: image-spec, config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Platform;
use crate::digest::Digest;

/// The config of an image.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Author of the image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Processor, in Go's names.
    pub architecture: String,
    /// Operating system, in Go's names.
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the processor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Execution parameters of its containers.
    pub config: ContainerConfig,
    /// The layers by their uncompressed digests.
    // The config of an artifact is often `{}`, which must not read as that of an image without layers.
    #[serde(default = "RootFs::unsaid")]
    pub rootfs: RootFs,
    /// Origin of each layer, and changes that made no layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Execution parameters of the containers of an image.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, each a name or a number.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports such as `80/tcp`; the values are empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: ObjectSet,
    /// `NAME=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First words of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Last words of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths that should be volumes; the values are empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: ObjectSet,
    /// Working directory of the command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows: the command is escaped already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Fields that we do not know (Docker's `Healthcheck`, `OnBuild`, `Shell` and others).
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A set that is spelled as an object of objects.
pub type ObjectSet = BTreeMap<String, Map<String, Value>>;

/// The layers of an image by their uncompressed digests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`; empty in a document that does not say it, as the `{}` of an artifact.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digest of each uncompressed layer, the lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            // The image-spec has no other value.
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
            extra: Map::new(),
        }
    }
}

impl RootFs {
    /// Makes the value for a config that has none.
    fn unsaid() -> Self {
        Self {
            kind: String::new(),
            ..Self::default()
        }
    }

    /// Returns whether it says nothing: its config may be that of an artifact.
    pub fn is_unsaid(&self) -> bool {
        self.kind.is_empty() && self.diff_ids.is_empty()
    }
}

/// One step in the making of an image.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By what command.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether this step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Fields that we do not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Makes a history agree with the count of layers: the steps for which no layer is left have made none, and layers that no step
/// speaks of get one each at the end.
pub(crate) fn settle_history(history: &mut Vec<History>, layers: usize) {
    // History is optional in the image-spec, so it may be absent or speak of fewer layers than there are.
    let mut missing = layers;
    for step in history.iter_mut().filter(|h| !h.empty_layer) {
        match missing.checked_sub(1) {
            Some(left) => missing = left,
            None => step.empty_layer = true,
        }
    }
    let unknown = History {
        comment: "no history of this layer".to_owned(),
        ..History::default()
    };
    history.extend(std::iter::repeat_n(unknown, missing));
}

impl ImageConfig {
    /// Returns a config that says no more than the platform.
    pub(crate) fn for_platform(platform: Platform) -> Self {
        Self {
            architecture: platform.architecture,
            os: platform.os,
            os_version: platform.os_version,
            os_features: platform.os_features,
            variant: platform.variant,
            ..Self::default()
        }
    }

    /// Returns the operating system and processor together.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
            extra: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    #[test]
    fn docker_fields_and_nulls_survive_an_edit() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Healthcheck":{"Test":["NONE"]},"OnBuild":null},"rootfs":{"type":"layers","diff_ids":[]},"container_config":{"x":1}}"#;
        let mut config: ImageConfig = json::parse(text.as_bytes()).expect("config");
        config.config.user = "nobody".to_owned();
        let out = String::from_utf8(json::to_bytes(&config).expect("json")).expect("utf-8");
        for kept in [
            r#""Healthcheck":{"Test":["NONE"]}"#,
            r#""OnBuild":null"#,
            r#""container_config":{"x":1}"#,
            r#""User":"nobody""#,
        ] {
            assert!(out.contains(kept), "{kept} in {out}");
        }
    }

    #[test]
    fn a_blank_config_has_the_fields_that_other_tools_need() {
        let out = json::to_bytes(&ImageConfig::default()).expect("json");
        let want = "{\"architecture\":\"\",\"os\":\"\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}\n";
        assert_eq!(String::from_utf8(out).expect("utf-8"), want);
    }
}
