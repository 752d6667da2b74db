// SPDX-License-Identifier: Apache-2.0
//! `umoci.json`: what a bundle was unpacked from, and with which id maps.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Result;
use crate::fs::IdMap;
use crate::spec::runtime::IdMapping;
use crate::spec::{Descriptor, json};

/// The one version that exists.
const VERSION: &str = "2";

/// The content of `umoci.json`.
#[derive(Clone, Debug)]
pub struct Meta {
    /// From the entry in `index.json` down to the manifest, which is last; never empty.
    pub walk: Vec<Descriptor>,
    /// The id maps of the tree.
    pub id_map: IdMap,
    /// Digests that repacks put in the place of the image that the bundle was unpacked from, before the last repack and after it:
    /// that of the tag's entry, and that of the manifest.
    pub repacked: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    umoci_version: String,
    from_descriptor_path: Walk,
    map_options: MapOptions,
    #[serde(default, skip_serializing)]
    whiteout_mode: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    repacked: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Walk {
    descriptor_walk: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
struct MapOptions {
    uid_mappings: Option<Vec<IdMapping>>,
    gid_mappings: Option<Vec<IdMapping>>,
    #[serde(default)]
    rootless: bool,
}

impl Meta {
    /// Parses the file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported) for another version,
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) for what is not such a document.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            umoci_version: String,
        }
        let version = json::parse::<Version>(bytes)?.umoci_version;
        if version != VERSION {
            fail!(Unsupported, "unsupported umoci.json version {version:?}");
        }
        // Only now all of it: a document of another version may have any shape.
        let document: Document = json::parse(bytes)?;
        if document.whiteout_mode != 0 {
            fail!(
                Unsupported,
                "unsupported whiteout_mode {}",
                document.whiteout_mode
            );
        }
        let walk = document.from_descriptor_path.descriptor_walk;
        if walk.is_empty() {
            fail!(Corrupt, "descriptor_walk is empty");
        }
        let maps = document.map_options;
        Ok(Self {
            walk,
            id_map: IdMap {
                uids: maps.uid_mappings.unwrap_or_default(),
                gids: maps.gid_mappings.unwrap_or_default(),
                rootless: maps.rootless,
            },
            repacked: document.repacked,
        })
    }

    /// Returns the file, as one line.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        json::to_bytes(&Document {
            umoci_version: VERSION.to_owned(),
            from_descriptor_path: Walk {
                descriptor_walk: self.walk.clone(),
            },
            map_options: MapOptions {
                // umoci in Go writes `null` for no maps.
                uid_mappings: Some(self.id_map.uids.clone()).filter(|maps| !maps.is_empty()),
                gid_mappings: Some(self.id_map.gids.clone()).filter(|maps| !maps.is_empty()),
                rootless: self.id_map.rootless,
            },
            whiteout_mode: 0,
            repacked: self.repacked.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "{\"umoci_version\":\"2\",\"from_descriptor_path\":{\"descriptor_walk\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"size\":0}]},\"map_options\":{\"uid_mappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":1}],\"gid_mappings\":null,\"rootless\":true}}\n";

    #[test]
    fn the_file_round_trips() {
        let meta = Meta::parse(FILE.as_bytes()).expect("meta");
        assert_eq!(
            String::from_utf8(meta.to_bytes().expect("json")).expect("utf-8"),
            FILE
        );
    }

    #[test]
    fn other_versions_and_empty_walks_are_refused() {
        for (from, to, want) in [
            ("\"2\"", "\"1\"", "unsupported umoci.json version \"1\""),
            (
                "\"rootless\":true}",
                "\"rootless\":true},\"whiteout_mode\":1",
                "unsupported whiteout_mode 1",
            ),
        ] {
            let err = Meta::parse(FILE.replace(from, to).as_bytes()).expect_err(want);
            assert_eq!(err.to_string(), want);
        }
        let empty = r#"{"umoci_version":"2","from_descriptor_path":{"descriptor_walk":[]},"map_options":{}}"#;
        assert_eq!(
            Meta::parse(empty.as_bytes()).expect_err("empty").to_string(),
            "descriptor_walk is empty"
        );
    }
}
