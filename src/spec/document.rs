// SPDX-License-Identifier: Apache-2.0
//! The kind of a document, told from its own members, and the blobs it names.
//!
//! A document names blobs with two strengths. A *declared* blob stands in a descriptor that its kind has a place for; it belongs
//! to the document. A *mentioned* blob is a digest in the text of a document that another reader may understand in another way, or
//! of which no reader knows the kind. [`Edges`] is the one rule for both, and takes nothing but the bytes of the document.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::json::{self, Object};
use super::{Descriptor, ImageIndex, Manifest, MediaType};
use crate::digest::Digest;
use crate::error::Result;
use crate::spec::mentions::each_digest;

/// Maximum size in bytes of a manifest, an index or a config that is read: what registries take as a manifest.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// Media types of the manifests that artifacts had before image manifests carried them. Specs: image-spec 1.1.0-rc2 and ORAS,
/// artifact manifest.
const ARTIFACTS: [&str; 2] = [
    "application/vnd.oci.artifact.manifest.v1+json",
    "application/vnd.cncf.oras.artifact.manifest.v1+json",
];

/// Members that tell the kind of a document.
const OF_KINDS: [&str; 9] = [
    "config",
    "layers",
    "manifests",
    "subject",
    "rootfs",
    "architecture",
    "os",
    "blobs",
    "fsLayers",
];

/// Members that make an object a descriptor.
const OF_DESCRIPTORS: [&str; 2] = ["digest", "mediaType"];

/// A document that declares by descriptors which blobs it needs. Its own members tell its kind, whatever its descriptor says.
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
        // The values are counted before any is parsed, which would take a hundred times their size.
        match json::check_values(bytes).and_then(|()| Object::parse(bytes)) {
            Ok(object) => Self::of(bytes, &object),
            // A blob of another kind may be anything, so a fault of its text is none of a document.
            Err(_) => Ok(None),
        }
    }

    fn of(bytes: &[u8], object: &Object<'_>) -> Result<Option<Self>> {
        // Go writes an empty list as null, so a list counts when its name stands there.
        if object.has("config") && object.get("layers").is_some() {
            return Ok(Some(Self::Manifest(Box::new(Manifest::parse(bytes)?))));
        }
        if object.has("manifests") || object.get("manifests").is_some() && !object.has("blobs") {
            return Ok(Some(Self::Index(Box::new(ImageIndex::parse(bytes)?))));
        }
        let media_type: Option<MediaType> = object.read("mediaType");
        let is_labelled = media_type.is_some_and(|own| ARTIFACTS.contains(&own.as_str()));
        let is_other = ["config", "layers", "fsLayers"]
            .iter()
            .any(|name| object.has(name));
        if !is_other && (is_labelled || object.has("blobs") && object.has("artifactType")) {
            return Ok(Some(Self::Artifact(json::parse(bytes)?)));
        }
        Ok(None)
    }

    /// Returns the descriptors of what it needs, in order. A subject is not among them: it may be anywhere.
    pub(crate) fn into_declared(self) -> Vec<Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.into_declared(),
            Self::Index(index) => index.manifests,
            Self::Artifact(artifact) => artifact.blobs,
        }
    }

    /// Returns whether every reader finds the same blobs in the document: those in its descriptors.
    fn is_plain(&self) -> bool {
        match self {
            Self::Manifest(manifest) => {
                let config = std::iter::once(&manifest.config);
                let mut named = config.chain(&manifest.layers).chain(&manifest.subject);
                named.all(is_plain_descriptor) && is_plain_rest(&manifest.extra)
            }
            Self::Index(index) => {
                let mut named = index.manifests.iter().chain(&index.subject);
                named.all(is_plain_descriptor) && is_plain_rest(&index.extra)
            }
            // Few readers know this kind.
            Self::Artifact(_) => false,
        }
    }

    fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Manifest(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
            Self::Artifact(_) => None,
        }
    }
}

/// The blobs that a document names.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    /// Descriptors of what it needs.
    pub declared: Vec<Descriptor>,
    /// Subjects of the document: one blob, but for odd documents.
    pub subjects: Vec<Digest>,
    /// Whether every other digest in its text is a mention.
    pub has_mentions: bool,
    /// Whether it is a JSON object.
    pub is_object: bool,
}

impl Edges {
    /// Returns the blobs that a document names. A manifest, an index or a config that is written plainly names those in its
    /// descriptors alone; any other document mentions every digest in its text besides.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let Ok(object) = Object::parse(bytes) else {
            return Self {
                has_mentions: true,
                ..Self::default()
            };
        };
        // A larger document is not parsed: no registry takes it, and its values would fill the memory.
        let document = match bytes.len() as u64 {
            0..=MAX_DOCUMENT => Document::of(bytes, &object).ok().flatten(),
            _ => None,
        };
        let is_clear = object.is_whole && object.doubled.is_none();
        let is_plain = is_clear
            && match &document {
                Some(document) => document.is_plain(),
                None => is_plain_config(&object),
            };
        let subjects = match &document {
            Some(document) if is_plain => document.subject().map(|one| one.digest).into_iter().collect(),
            _ => subjects(&object),
        };
        Self {
            declared: document.map(Document::into_declared).unwrap_or_default(),
            subjects,
            has_mentions: !is_plain,
            is_object: true,
        }
    }
}

/// Returns every digest in the member `subject`, however that is written.
fn subjects(object: &Object<'_>) -> Vec<Digest> {
    let mut out = Vec::new();
    for (name, value) in object.members() {
        if name == "subject" {
            // Bytes in memory can always be read.
            let _ = each_digest(value.get().as_bytes(), |digest| {
                out.push(digest);
                Ok(())
            });
        }
    }
    out
}

/// Returns whether an object is an image config to every reader, and names no blob: the digests in it are those of tars.
fn is_plain_config(object: &Object<'_>) -> bool {
    const OWN: [&str; 4] = ["config", "rootfs", "architecture", "os"];
    let is_config = object.get("rootfs").is_some()
        && (object.get("architecture").is_some() || object.get("os").is_some());
    let mut names = object.members().map(|(name, _)| name);
    let runtime: Option<Map<String, Value>> = object.read("config");
    is_config
        && names.all(|name| OWN.contains(&name) || !json::matches_any(name, &OF_KINDS))
        && (!object.has("config") || runtime.is_some_and(|config| !names_blob(&config)))
}

fn is_plain_descriptor(descriptor: &Descriptor) -> bool {
    let mut annotations = descriptor.annotations.keys();
    let platform = descriptor.platform.as_ref();
    !annotations.any(|name| json::matches_any(name, &OF_DESCRIPTORS))
        && !names_blob(&descriptor.extra)
        && !platform.is_some_and(|platform| names_blob(&platform.extra))
}

fn is_plain_rest(extra: &Map<String, Value>) -> bool {
    !extra.keys().any(|name| json::matches_any(name, &OF_KINDS))
}

/// Returns whether an object has a descriptor somewhere in it, in the eyes of any reader.
fn names_blob(object: &Map<String, Value>) -> bool {
    let mut members = object.iter();
    members.any(|(name, value)| json::matches_any(name, &OF_DESCRIPTORS) || value_names_blob(value))
}

fn value_names_blob(value: &Value) -> bool {
    match value {
        // serde_json refuses JSON of more than 128 levels, so this recursion ends.
        Value::Object(object) => names_blob(object),
        Value::Array(list) => list.iter().any(value_names_blob),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the kind of a document and the count of what it declares.
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
