// SPDX-License-Identifier: Apache-2.0
//! Layouts as other programs might leave them: blobs and entries written by hand.

use serde_json::{Value, json};
use umoci::digest::Digest;

use super::Env;

impl Env {
    /// Writes a blob to a layout; returns its descriptor.
    pub fn put(&self, layout: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        self.write(&format!("{layout}/blobs/sha256/{}", digest.encoded()), bytes);
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Appends an entry to the `index.json` of a layout, by a name if it is to have one.
    pub fn list(&self, layout: &str, mut entry: Value, name: Option<&str>) {
        if let Some(name) = name {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        self.edit_index(layout, |entries| entries.push(entry));
    }

    /// Edits the entries in the `index.json` of a layout.
    pub fn edit_index(&self, layout: &str, edit: impl FnOnce(&mut Vec<Value>)) {
        let file = format!("{layout}/index.json");
        let mut index: Value = serde_json::from_str(&self.read(&file)).expect("JSON");
        edit(index["manifests"].as_array_mut().expect("entries"));
        self.write(&file, index.to_string());
    }

    /// Count of the blobs in a layout.
    pub fn blobs(&self, layout: &str) -> usize {
        self.sh(&format!("ls {layout}/blobs/sha256")).lines().count()
    }
}
