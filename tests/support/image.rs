// SPDX-License-Identifier: Apache-2.0
//! A small image, and ways to harm it.

use std::path::PathBuf;

use serde_json::Value;
use umoci::digest::Digest;

use super::Env;

/// A room with `img:latest`: two layers, gzip and zstd, a few files of several types.
pub struct Image {
    pub env: Env,
}

impl Image {
    pub fn new() -> Self {
        Self::with_second_layer("zstd")
    }

    pub fn with_second_layer(compression: &str) -> Self {
        let env = Env::new().var("SOURCE_DATE_EPOCH", "1700000000");
        env.umoci(["init", "--layout", "img"]).ok();
        env.umoci(["new", "--image", "img"]).ok();
        env.umoci(["unpack", "--image", "img", "b"]).ok();
        env.sh("cd b/rootfs; mkdir -p etc bin; echo root:x:0:0::/root:/bin/sh >etc/passwd; echo data >etc/file; ln -s file etc/link");
        env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
            .ok();
        env.sh("cd b/rootfs; echo more >bin/more; rm etc/link");
        env.umoci(["repack", "--compress", compression, "--image", "img", "b"])
            .ok();
        env.sh("rm -r b");
        env.umoci(["gc", "--layout", "img"]).ok();
        Self { env }
    }

    /// Makes `img:arm`, the image as one for arm64, and the index `img:both` of it and `img:latest`.
    pub fn add_index(&self) {
        let arm = [
            "config",
            "--image",
            "img:latest",
            "--tag",
            "arm",
            "--architecture",
            "arm64",
        ];
        self.env.umoci(arm).ok();
        self.env
            .umoci(["manifest", "create", "img:both", "latest", "arm"])
            .ok();
    }

    /// Gives `img:latest` a layer with a directory.
    pub fn insert(&self, dir: &str) {
        let target = format!("/{dir}");
        self.env
            .umoci(["insert", "--image", "img:latest", dir, &target])
            .ok();
    }

    /// The entry of `index.json`.
    pub fn entry(&self) -> Value {
        serde_json::from_str::<Value>(&self.env.read("img/index.json")).expect("index.json")["manifests"][0]
            .clone()
    }

    /// Entry, manifest and config of a tag.
    pub fn of(&self, tag: &str) -> [Value; 3] {
        let index: Value = serde_json::from_str(&self.env.read("img/index.json")).expect("index.json");
        let entries = index["manifests"].as_array().expect("entries");
        let is = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let entry = entries.iter().find(is).expect("tag");
        let manifest = self.document(&entry["digest"]);
        let config = self.document(&manifest["config"]["digest"]);
        [entry.clone(), manifest, config]
    }

    /// The size in the entry of a tag.
    pub fn of_size(&self, tag: &str) -> u64 {
        let index: Value = serde_json::from_str(&self.env.read("img/index.json")).expect("index.json");
        let is = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let entry = index["manifests"].as_array().expect("entries").iter().find(is);
        entry.expect("tag")["size"].as_u64().expect("size")
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.env
            .path("img/blobs/sha256")
            .join(digest.strip_prefix("sha256:").expect("sha256"))
    }

    fn document(&self, digest: &Value) -> Value {
        let bytes = std::fs::read(self.path(digest.as_str().expect("digest"))).expect("blob");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    pub fn manifest(&self) -> Value {
        self.document(&self.entry()["digest"])
    }

    pub fn config(&self) -> Value {
        self.document(&self.manifest()["config"]["digest"])
    }

    /// File of the manifest, of the config, or of a layer (`layer0`, `layer1`).
    pub fn blob(&self, what: &str) -> PathBuf {
        let manifest = self.manifest();
        let digest = match what {
            "manifest" => self.entry()["digest"].clone(),
            "config" => manifest["config"]["digest"].clone(),
            layer => manifest["layers"][layer
                .strip_prefix("layer")
                .expect("layer")
                .parse::<usize>()
                .expect("number")]["digest"]
                .clone(),
        };
        self.path(digest.as_str().expect("digest"))
    }

    fn put(&self, document: &Value) -> (String, usize) {
        let bytes = serde_json::to_vec(document).expect("JSON");
        let digest = Digest::sha256(&bytes).to_string();
        std::fs::write(self.path(&digest), &bytes).expect("write");
        (digest, bytes.len())
    }

    /// Puts an edited manifest in the place of the present one, its descriptor right.
    pub fn edit_manifest(&self, edit: impl FnOnce(&mut Value)) {
        let mut manifest = self.manifest();
        edit(&mut manifest);
        let (digest, size) = self.put(&manifest);
        self.edit_entry(|entry| {
            entry["digest"] = digest.into();
            entry["size"] = size.into();
        });
    }

    /// Puts an edited config in the place of the present one.
    pub fn edit_config(&self, edit: impl FnOnce(&mut Value)) {
        let mut config = self.config();
        edit(&mut config);
        let (digest, size) = self.put(&config);
        self.edit_manifest(|manifest| {
            manifest["config"]["digest"] = digest.into();
            manifest["config"]["size"] = size.into();
        });
    }

    pub fn edit_entry(&self, edit: impl FnOnce(&mut Value)) {
        let mut index: Value = serde_json::from_str(&self.env.read("img/index.json")).expect("index.json");
        edit(&mut index["manifests"][0]);
        self.env.write("img/index.json", index.to_string());
    }
}
