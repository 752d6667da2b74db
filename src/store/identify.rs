// SPDX-License-Identifier: Apache-2.0
//! What is this digest? Which media type a blob has is decided by whoever names it, and tagging a bare digest makes
//! us the one who names it: so evidence is weighed, and what stays unclear is refused (CVE-2021-41190).

use std::fmt;
use std::io::Read;

use serde_json::{Map, Value};

use super::{MAX_DOCUMENT, Store};
use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::index::Mention;
use crate::layout::BlobName;
use crate::spec::json::{self, Object};
use crate::spec::{Compression, Descriptor, MediaClass, MediaType};

/// What was found out about a blob.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// A descriptor for it: media type, digest, size; platform and artifact type where they can be told.
    pub descriptor: Descriptor,
    /// How its media type was found.
    pub evidence: Evidence,
}

/// How a media type was found, the strongest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// The document says so itself.
    Declared,
    /// The caller said so.
    Given,
    /// Documents in the layout name the blob so.
    Recorded,
    /// The document has the shape of it.
    Shape,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Declared => "by its mediaType",
            Evidence::Given => "as given",
            Evidence::Recorded => "as documents of the layout name it",
            Evidence::Shape => "by its shape",
        })
    }
}

/// What the bytes themselves say.
enum Probe {
    Document(Map<String, Value>),
    Other(&'static str),
}

fn refuse(digest: &Digest, why: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{digest} cannot be tagged: {why}"),
    )
}

impl Store {
    /// The blob whose digest begins so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
    pub(crate) fn find(&self, prefix: &DigestPrefix) -> Result<Digest> {
        let missing = || self.no_blob(prefix);
        if let Some(digest) = prefix.exact() {
            return self
                .layout
                .blob_size(&digest)?
                .map(|_| digest)
                .ok_or_else(missing);
        }
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL
            .into_iter()
            .filter(|a| prefix.algorithm().is_none_or(|p| p == *a))
        {
            for name in self.layout.blobs(algorithm)? {
                if let BlobName::Digest(digest) = name?
                    && prefix.matches(&digest)
                {
                    found.push(digest);
                }
            }
        }
        match found.as_slice() {
            [] => Err(missing()),
            [one] => Ok(*one),
            _ => {
                found.sort_unstable();
                let names: Vec<String> = found.iter().take(4).map(ToString::to_string).collect();
                let text = format!("digest is ambiguous: {prefix} (it could be {})", names.join(", "));
                Err(Error::new(ErrorKind::Ambiguous, text))
            }
        }
    }

    /// Finds out what the blob `digest` is, to name it as an image; `given` is what the caller says.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not there, [`ErrorKind::Corrupt`] if it is damaged or could be both a manifest
    /// and an index, [`ErrorKind::Ambiguous`] or [`ErrorKind::Unsupported`] if it stays unclear or is no image; the
    /// text says what to do.
    pub fn identify(&self, digest: &Digest, given: Option<&MediaType>) -> Result<Verdict> {
        let size = self.layout.blob_size(digest)?;
        let size = size.ok_or_else(|| self.no_blob(digest))?;
        let document = match self
            .probe(digest, size)
            .context(|| format!("identify {digest}"))?
        {
            Probe::Document(document) => document,
            Probe::Other(what) => return Err(self.not_an_image(digest, what)),
        };
        let (media_type, evidence) = self.weigh(digest, &document, given)?;
        let mut descriptor = Descriptor::new(media_type, *digest, size);
        let text = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
        };
        descriptor.artifact_type = text("artifactType").map(str::to_owned);
        descriptor.platform = self
            .platform(&descriptor)
            .filter(|p| !p.os.is_empty() && !p.architecture.is_empty());
        Ok(Verdict { descriptor, evidence })
    }

    /// Reads the blob, verified, as far as it takes to tell what it is.
    fn probe(&self, digest: &Digest, size: u64) -> Result<Probe> {
        // What is read and what is checked is the same open file.
        let mut blob = self
            .layout
            .open_blob(&Descriptor::new(String::new(), *digest, size))?;
        let mut bytes = Vec::new();
        blob.by_ref().take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
        let is_object = bytes.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'{');
        if !is_object || bytes.len() as u64 > MAX_DOCUMENT {
            return Ok(Probe::Other(magic(&bytes)));
        }
        blob.finish()?;
        let members = match json::parse(&bytes) {
            Ok(members) => members,
            Err(err) if err.kind() == ErrorKind::Limit => return Err(err),
            Err(_) => return Ok(Probe::Other("text that begins like JSON and is none")),
        };
        // One byte string must not have two meanings.
        if let Some(name) = Object::parse(&bytes)?.doubled {
            let text = format!("{digest}: member {name:?} stands twice");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(Probe::Document(members))
    }

    fn weigh(
        &self,
        digest: &Digest,
        document: &Map<String, Value>,
        given: Option<&MediaType>,
    ) -> Result<(MediaType, Evidence)> {
        let has = |name: &str| document.contains_key(name);
        let manifest_like = has("config") || has("layers") || has("fsLayers");
        let index_like = has("manifests");
        if manifest_like && index_like {
            let text = format!("{digest} could be read as a manifest and as an index; it is refused");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let declared = document
            .get("mediaType")
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
            .map(MediaType::from);
        if let (Some(declared), Some(given)) = (&declared, given)
            && declared != given
        {
            let why = format!("it says that it is {declared}, not {given}");
            return Err(refuse(digest, why));
        }
        let fits = |class: MediaClass| match class {
            MediaClass::Manifest => {
                document.get("config").is_some_and(Value::is_object)
                    && document.get("layers").is_some_and(Value::is_array)
            }
            MediaClass::Index => document.get("manifests").is_some_and(Value::is_array),
            _ => true,
        };
        if let Some(declared) = declared {
            return match declared.class() {
                class @ (MediaClass::Manifest | MediaClass::Index) if fits(class) => {
                    Ok((declared, Evidence::Declared))
                }
                MediaClass::Manifest | MediaClass::Index => {
                    let text = format!("{digest} says that it is {declared}, but does not look like one");
                    Err(Error::new(ErrorKind::Corrupt, text))
                }
                _ if given.is_some() => Ok((declared, Evidence::Given)),
                MediaClass::Other => {
                    let text = format!("it says that it is {declared}, which is not known to be an image");
                    Err(refuse(digest, text).with_fact(Fact::MediaTypeUnclear))
                }
                _ => Err(self.not_an_image(digest, "no image by its own mediaType")),
            };
        }
        let shape = if manifest_like && fits(MediaClass::Manifest) && version_is_2(document) {
            Some(MediaClass::Manifest)
        } else if index_like && fits(MediaClass::Index) && version_is_2(document) {
            Some(MediaClass::Index)
        } else {
            None
        };
        if let Some(given) = given {
            return match (given.class(), shape) {
                (MediaClass::Manifest | MediaClass::Index, shape) if shape == Some(given.class()) => {
                    Ok((given.clone(), Evidence::Given))
                }
                (MediaClass::Manifest | MediaClass::Index, _) => {
                    Err(refuse(digest, format!("it does not look like a {given}")))
                }
                (MediaClass::Other | MediaClass::Descriptor, None) => Ok((given.clone(), Evidence::Given)),
                _ => Err(refuse(digest, format!("{given} is no type of an image"))),
            };
        }
        self.weigh_recorded(digest, document, shape)
    }

    /// For a document that does not say what it is: what others call it, else what it looks like.
    fn weigh_recorded(
        &self,
        digest: &Digest,
        document: &Map<String, Value>,
        shape: Option<MediaClass>,
    ) -> Result<(MediaType, Evidence)> {
        let recorded: Vec<MediaType> = self
            .recorded_types(digest)?
            .into_iter()
            .map(MediaType::new)
            .collect();
        match recorded.as_slice() {
            [] => {}
            [one] => {
                return match one.class() {
                    class @ (MediaClass::Manifest | MediaClass::Index) if shape == Some(class) => {
                        Ok((one.clone(), Evidence::Recorded))
                    }
                    MediaClass::Manifest | MediaClass::Index => {
                        let text = format!("{digest} is named as {one}, but does not look like one");
                        Err(Error::new(ErrorKind::Corrupt, text))
                    }
                    MediaClass::Other => Ok((one.clone(), Evidence::Recorded)),
                    _ => Err(self.not_an_image(digest, &format!("it is named as {one}"))),
                };
            }
            several => {
                let names: Vec<&str> = several.iter().map(MediaType::as_str).collect();
                let text = format!("{digest} has several media types: {}", names.join(", "));
                return Err(Error::new(ErrorKind::Ambiguous, text).with_fact(Fact::MediaTypeUnclear));
            }
        }
        let config_type = document
            .get("config")
            .and_then(|c| c.get("mediaType"))
            .and_then(Value::as_str);
        match shape {
            Some(MediaClass::Manifest) if config_type == Some(MediaType::DOCKER_CONFIG) => {
                let text =
                    format!("{digest} is a manifest that does not say whether it is Docker's or OCI's");
                Err(Error::new(ErrorKind::Ambiguous, text).with_fact(Fact::MediaTypeUnclear))
            }
            Some(MediaClass::Manifest) => Ok((MediaType::MANIFEST.into(), Evidence::Shape)),
            Some(MediaClass::Index) => Ok((MediaType::INDEX.into(), Evidence::Shape)),
            _ if document.get("rootfs").is_some_and(Value::is_object) => {
                Err(self.not_an_image(digest, "an image config"))
            }
            _ if document.contains_key("imageLayoutVersion") => {
                Err(self.not_an_image(digest, "the head of a layout"))
            }
            _ if document.is_empty() => Err(self.not_an_image(digest, "the empty document")),
            _ => {
                let err = refuse(digest, "it is a JSON document of an unknown type");
                Err(err.with_fact(Fact::MediaTypeUnclear))
            }
        }
    }

    /// The media types that documents of the layout give to a blob.
    fn recorded_types(&self, digest: &Digest) -> Result<Vec<String>> {
        self.read_index(|view| view.media_types(digest))
    }

    /// The refusal of what is no manifest or index, with the manifests that have it.
    fn not_an_image(&self, digest: &Digest, what: &str) -> Error {
        let parents = self.read_index(|view| view.mentions(digest)).unwrap_or_default();
        let names: Vec<String> = parents
            .iter()
            .filter_map(|mention| match mention {
                Mention::Document(_, parent) => Some(parent.to_string()),
                Mention::Ref { .. } => None,
            })
            .take(4)
            .collect();
        let hint = match names.as_slice() {
            [] => String::new(),
            [one] => format!("; the manifest that has it is {one}"),
            several => format!("; manifests that have it are {}", several.join(", ")),
        };
        refuse(
            digest,
            format!("it is {what}, not an image manifest or index{hint}"),
        )
    }
}

fn version_is_2(document: &Map<String, Value>) -> bool {
    document.get("schemaVersion").and_then(Value::as_u64) == Some(2)
}

/// What bytes that are no document look like.
fn magic(bytes: &[u8]) -> &'static str {
    match Compression::of_magic(bytes) {
        Compression::Gzip => return "gzip data, such as a layer",
        Compression::Zstd => return "zstd data, such as a layer",
        Compression::None => {}
    }
    if bytes.get(257..262) == Some(b"ustar") {
        "a tar archive, such as a layer"
    } else if bytes.len() as u64 > MAX_DOCUMENT {
        "larger than any manifest"
    } else {
        "no JSON document"
    }
}
