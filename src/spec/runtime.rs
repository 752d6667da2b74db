// SPDX-License-Identifier: Apache-2.0
//! The runtime configuration (`config.json` of a bundle) as plain data, in the order in which other tools write it: the fields
//! that this crate changes by name, all others as they stand in the default. Spec: runtime-spec, config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of the runtime-spec that is written: the newest that runc 1.1 and crun 1.8 know.
pub const VERSION: &str = "1.0.2";

/// A whole `config.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeConfig {
    /// Version of the runtime-spec.
    pub oci_version: String,
    /// Process of the container.
    pub process: Process,
    /// Root file system of the container.
    pub root: RuntimeRoot,
    /// Host name of the container.
    pub hostname: String,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Settings that only Linux has.
    pub linux: Linux,
}

/// The process of a container.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// As whom.
    pub user: User,
    /// The command.
    pub args: Vec<String>,
    /// The environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    // Capabilities and limits pass through as they stand in the default: no setting of an image changes them.
    /// Other fields: capabilities, resource limits.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The ids of a process.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Further groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// The root file system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuntimeRoot {
    /// Relative to the bundle.
    pub path: String,
}

/// A mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the container.
    pub destination: String,
    /// File system type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Source of the mount.
    pub source: String,
    /// Mount options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// Settings that only Linux has.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Map of user ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Map of group ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Control group limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Value>,
    /// Namespaces that the container gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Other fields: paths that are hidden or read-only.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `size` ids, from `container_id` inside to `host_id` outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// Number of ids.
    pub size: u32,
}

/// A namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// `pid`, `mount`, `user` and so on.
    #[serde(rename = "type")]
    pub kind: String,
}
