// SPDX-License-Identifier: Apache-2.0
//! `umoci.json`: what a bundle was unpacked from, and with which id maps.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Result;
use crate::fs::IdMap;
use crate::spec::{Descriptor, json};

/// The one version that exists.
const VERSION: &str = "2";

/// The content of `umoci.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    umoci_version: String,
    from_descriptor_path: Walk,
    /// The id maps of the tree.
    #[serde(rename = "map_options")]
    pub id_map: IdMap,
    #[serde(default, skip_serializing)]
    whiteout_mode: i64,
    /// Digests that repacks put in the place of the image that the bundle was unpacked from, before the last repack and after it:
    /// that of the tag's entry, and that of the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repacked: Vec<Digest>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Walk {
    descriptor_walk: Vec<Descriptor>,
}

impl Meta {
    /// Makes the file for a bundle that is as new.
    pub fn new(walk: Vec<Descriptor>, id_map: IdMap) -> Self {
        Self {
            umoci_version: VERSION.to_owned(),
            from_descriptor_path: Walk {
                descriptor_walk: walk,
            },
            id_map,
            whiteout_mode: 0,
            repacked: Vec::new(),
        }
    }

    /// Returns the way from the entry in `index.json` down to the manifest, which is last; never empty.
    pub fn walk(&self) -> &[Descriptor] {
        &self.from_descriptor_path.descriptor_walk
    }

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
        let meta: Self = json::parse(bytes)?;
        if meta.whiteout_mode != 0 {
            fail!(Unsupported, "unsupported whiteout_mode {}", meta.whiteout_mode);
        }
        if meta.walk().is_empty() {
            fail!(Corrupt, "descriptor_walk is empty");
        }
        Ok(meta)
    }

    /// Returns the file, as one line.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        json::to_bytes(self)
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
