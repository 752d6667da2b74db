// SPDX-License-Identifier: Apache-2.0
//! A registry in memory, which checks what a manifest needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::fake::{Answer, Asked, Fake, ranged};
use umoci::digest::Digest;

/// The content of the registry. Repositories are not told apart.
#[derive(Default)]
pub struct Shelf {
    pub blobs: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Manifests by tag and by digest.
    pub manifests: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Whether it takes a manifest whose blobs are not there.
    pub is_careless: bool,
    /// Whether it names one missing blob at a time.
    pub names_one: bool,
    /// True if it begins an upload where a mount is asked for, also of a blob that is there.
    pub ignores_mounts: bool,
}

impl Shelf {
    /// Serves it.
    pub fn serve(self) -> (Arc<Self>, Fake) {
        let shelf = Arc::new(self);
        let served = Arc::clone(&shelf);
        (shelf, Fake::start(move |asked| served.answer(asked)))
    }

    /// Returns the size of all blobs in bytes.
    pub fn size(&self) -> u64 {
        let blobs = self.blobs.lock().expect("blobs");
        blobs.values().map(|blob| blob.len() as u64).sum()
    }

    pub fn answer(&self, asked: &Asked) -> Answer {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let last = path.rsplit('/').next().unwrap_or_default();
        match asked.method.as_str() {
            "POST" => self.begin(path, query),
            "PUT" if path.contains("/blobs/uploads/") => self.take(&asked.body),
            "PUT" => self.name(last, &asked.body),
            _ => read(
                asked,
                &self.blobs.lock().expect("blobs"),
                &self.manifests.lock().expect("manifests"),
            ),
        }
    }

    fn begin(&self, path: &str, query: &str) -> Answer {
        let wanted = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("mount="))
            .map(|digest| digest.replace("%3A", ":"));
        let is_there = wanted.is_some_and(|digest| self.blobs.lock().expect("blobs").contains_key(&digest));
        if is_there && !self.ignores_mounts {
            return Answer::new(201, "");
        }
        Answer::new(202, "").header("location", format!("{path}session"))
    }

    fn take(&self, body: &[u8]) -> Answer {
        let digest = Digest::sha256(body).to_string();
        self.blobs.lock().expect("blobs").insert(digest, body.to_vec());
        Answer::new(201, "")
    }

    fn name(&self, target: &str, manifest: &[u8]) -> Answer {
        let blobs = self.blobs.lock().expect("blobs");
        let mut manifests = self.manifests.lock().expect("manifests");
        let lost = digests_in(manifest)
            .into_iter()
            .filter(|digest| !blobs.contains_key(digest) && !manifests.contains_key(digest));
        let most = if self.names_one { 1 } else { usize::MAX };
        let lost: Vec<String> = lost.take(most).collect();
        if !lost.is_empty() && !self.is_careless {
            return unknown("MANIFEST_BLOB_UNKNOWN", &lost);
        }
        let digest = Digest::sha256(manifest).to_string();
        for name in [target.to_owned(), digest.clone()] {
            manifests.insert(name, manifest.to_vec());
        }
        Answer::new(201, "").header("docker-content-digest", digest)
    }
}

/// Answers a GET or HEAD of a blob or manifest, of those by their digests, tags of manifests included.
pub fn read(
    asked: &Asked,
    blobs: &BTreeMap<String, Vec<u8>>,
    manifests: &BTreeMap<String, Vec<u8>>,
) -> Answer {
    let path = asked.path.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.contains("/blobs/") {
        return blobs
            .get(last)
            .map_or_else(|| unknown("BLOB_UNKNOWN", &[last]), |blob| ranged(asked, blob));
    }
    if !path.contains("/manifests/") {
        return Answer::new(404, "");
    }
    let Some(bytes) = manifests.get(last) else {
        return unknown("MANIFEST_UNKNOWN", &[last]);
    };
    Answer::new(200, bytes.clone())
        .header("content-type", media_type(bytes))
        .header("docker-content-digest", Digest::sha256(bytes).to_string())
}

fn unknown(code: &str, details: &[impl AsRef<str>]) -> Answer {
    let status = if code == "MANIFEST_BLOB_UNKNOWN" { 400 } else { 404 };
    let each = details.iter().map(|detail| {
        let detail = detail.as_ref();
        format!(r#"{{"code":"{code}","message":"not here","detail":"{detail}"}}"#)
    });
    let errors: Vec<String> = each.collect();
    Answer::new(status, format!(r#"{{"errors":[{}]}}"#, errors.join(",")))
}

/// Returns the media type that a manifest gives itself.
pub fn media_type(manifest: &[u8]) -> String {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("manifest");
    manifest["mediaType"].as_str().expect("type").to_owned()
}

/// Returns the digests in a manifest.
pub fn digests_in(manifest: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(manifest).into_owned();
    let parts = text.match_indices("sha256:");
    parts.map(|(at, _)| text[at..at + 71].to_owned()).collect()
}

/// Returns the bytes of blobs that moved to and from a repository.
pub fn moved(fake: &Fake, shelf: &Shelf, repository: &str) -> u64 {
    let blobs = shelf.blobs.lock().expect("blobs");
    let prefix = format!("/v2/{repository}/blobs/");
    let asked = fake
        .asked()
        .into_iter()
        .filter(|asked| asked.path.starts_with(&prefix));
    let bytes = asked.map(|asked| match asked.method.as_str() {
        "PUT" => asked.body.len(),
        "GET" => {
            let digest = asked.path.rsplit('/').next().unwrap_or_default();
            ranged(&asked, &blobs[digest]).body.len()
        }
        _ => 0,
    });
    bytes.map(|bytes| bytes as u64).sum()
}
