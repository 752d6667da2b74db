// SPDX-License-Identifier: Apache-2.0
//! Finds out the media type of a bare digest. A media type is decided by the program that names a blob, and tagging a digest makes
//! us the one who names it: so evidence is weighed, and what stays unclear is refused (CVE-2021-41190).

use std::fmt;
use std::io::Read;

use super::{MAX_DOCUMENT, Store};
use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt, shortlist};
use crate::index::InEdge;
use crate::layer::Sniffed;
use crate::layout::BlobName;
use crate::spec::json::{self, Object};
use crate::spec::{Compression, Descriptor, MediaClass, MediaType};

/// Result of an identification.
#[derive(Clone, Debug)]
pub(crate) struct Detected {
    /// A descriptor for it: media type, digest, size; platform and artifact type where they can be told.
    pub descriptor: Descriptor,
    /// Evidence for its media type.
    pub evidence: Evidence,
}

/// Evidence for a media type, the strongest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, derive_more::Display)]
pub enum Evidence {
    /// The document says so itself.
    #[display("by its mediaType")]
    Declared,
    /// The caller said so.
    #[display("as given")]
    Given,
    /// Documents in the layout name the blob so.
    #[display("as documents of the layout name it")]
    Recorded,
    /// The document has the shape of it.
    #[display("by its shape")]
    Shape,
}

fn refuse(digest: &Digest, why: impl fmt::Display) -> Error {
    let text = format!("{digest} cannot be tagged: {why}");
    Error::new(ErrorKind::Unsupported, text)
}

/// Returns the text in a member of a document; an empty one says nothing.
fn text_of(document: &Object<'_>, name: &str) -> Option<String> {
    document.read(name).filter(|text: &String| !text.is_empty())
}

/// Returns whether the members of a document are those of a manifest or index. Their values are for a reader to check.
fn fits(document: &Object<'_>, class: MediaClass) -> bool {
    let begins_with = [("config", '{'), ("layers", '['), ("manifests", '[')]
        .map(|(name, mark)| document.get(name).is_some_and(|value| value.starts_with(mark)));
    match class {
        MediaClass::Manifest => begins_with[0] && begins_with[1],
        MediaClass::Index => begins_with[2],
        _ => false,
    }
}

impl Store {
    /// Returns the blob whose digest begins so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
    pub(crate) fn find(&self, prefix: &DigestPrefix) -> Result<Digest> {
        let mut found = Vec::new();
        if let Some(digest) = prefix.exact() {
            found.extend(self.layout.blob_size(&digest)?.map(|_| digest));
        } else {
            let mut algorithms = Algorithm::ALL.to_vec();
            algorithms.retain(|algorithm| prefix.algorithm().is_none_or(|own| own == *algorithm));
            for algorithm in algorithms {
                for name in self.layout.blobs(algorithm)? {
                    match name? {
                        BlobName::Digest(digest) if prefix.matches(&digest) => found.push(digest),
                        _ => {}
                    }
                }
            }
        }
        // A directory lists its names in no order.
        found.sort_unstable();
        match found.as_slice() {
            [] => Err(self.no_blob(prefix)),
            [one] => Ok(*one),
            several => {
                let names = shortlist(several);
                fail!(Ambiguous, "digest is ambiguous: {prefix} (it could be {names})")
            }
        }
    }

    /// Returns a descriptor for the blob `digest`, to name it as an image; `given` is the media type that the caller says.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not there, [`ErrorKind::Corrupt`] if it is damaged or could be both a manifest
    /// and an index, [`ErrorKind::Ambiguous`] or [`ErrorKind::Unsupported`] if it stays unclear or is no image; the
    /// text says what to do.
    pub fn identify(&self, digest: &Digest, given: Option<&MediaType>) -> Result<Descriptor> {
        Ok(self.detect(digest, given)?.descriptor)
    }

    /// As [`Store::identify`], with the evidence.
    pub(crate) fn detect(&self, digest: &Digest, given: Option<&MediaType>) -> Result<Detected> {
        let size = self.layout.blob_size(digest)?;
        let size = size.ok_or_else(|| self.no_blob(digest))?;
        let mut bytes = Vec::new();
        let sniffed = self.sniff(digest, size, &mut bytes);
        let document = match sniffed.context(|| format!("identify {digest}"))? {
            Ok(document) => document,
            Err(data) => return Err(self.not_an_image(digest, data)),
        };
        let (media_type, evidence) = self.detect_type(digest, &document, given)?;
        let mut descriptor = Descriptor::new(media_type, *digest, size);
        descriptor.artifact_type = text_of(&document, "artifactType");
        // Half a platform is of no use to a reader that chooses by it.
        descriptor.platform = self
            .platform(&descriptor)
            .filter(|p| !p.os.is_empty() && !p.architecture.is_empty());
        Ok(Detected { descriptor, evidence })
    }

    /// Reads the blob into `bytes`, verified, as far as it takes to tell what it is: a JSON object, or data that looks like something
    /// else, in words.
    fn sniff<'b>(
        &self,
        digest: &Digest,
        size: u64,
        bytes: &'b mut Vec<u8>,
    ) -> Result<std::result::Result<Object<'b>, &'static str>> {
        // One open file is read and checked, so that nobody can change it in between.
        let plain = Descriptor::new(String::new(), *digest, size);
        let mut blob = self.layout.open_blob(&plain)?;
        blob.by_ref().take(MAX_DOCUMENT + 1).read_to_end(bytes)?;
        let is_object = bytes.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'{');
        // A layer may be large, so data of other kinds is not read to its end, and the digest not checked.
        if !is_object || bytes.len() as u64 > MAX_DOCUMENT {
            return Ok(Err(kind_of(bytes)));
        }
        blob.finish()?;
        json::check_values(bytes)?;
        match Object::parse(bytes) {
            Err(_) => Ok(Err("text that begins like JSON and is none")),
            // One byte string must not have two meanings.
            Ok(Object {
                doubled: Some(name), ..
            }) => fail!(Corrupt, "{digest}: member {name:?} stands twice"),
            Ok(document) => Ok(Ok(document)),
        }
    }

    /// Returns the media type that a document gives itself; its shape, the layout and the caller count where it gives none.
    fn detect_type(
        &self,
        digest: &Digest,
        document: &Object<'_>,
        given: Option<&MediaType>,
    ) -> Result<(MediaType, Evidence)> {
        let is_manifest_like = ["config", "layers", "fsLayers"]
            .iter()
            .any(|name| document.get(name).is_some());
        if is_manifest_like && document.get("manifests").is_some() {
            let text = format!("{digest} could be read as a manifest and as an index; it is refused");
            fail!(Corrupt, "{text}");
        }
        if let Some(declared) = text_of(document, "mediaType").map(MediaType::from) {
            if let Some(given) = given.filter(|given| **given != declared) {
                let why = format!("it says that it is {declared}, not {given}");
                return Err(refuse(digest, why));
            }
            return match declared.class() {
                class if fits(document, class) => Ok((declared, Evidence::Declared)),
                MediaClass::Manifest | MediaClass::Index => {
                    let text = format!("{digest} says that it is {declared}, but does not look like one");
                    fail!(Corrupt, "{text}")
                }
                _ if given.is_some() => Ok((declared, Evidence::Given)),
                MediaClass::Other => {
                    let why = format!("it says that it is {declared}, which is not known to be an image");
                    Err(refuse(digest, why).with_fact(Fact::MediaTypeUnclear))
                }
                _ => Err(self.not_an_image(digest, "no image by its own mediaType")),
            };
        }
        // Docker's first schema has members of the same names, and needs another reader.
        let is_version_2 = document.read("schemaVersion") == Some(2_u64);
        let shape = [MediaClass::Manifest, MediaClass::Index]
            .into_iter()
            .find(|class| is_version_2 && fits(document, *class));
        if let Some(given) = given {
            return match (given.class(), shape) {
                (class, Some(shape)) if class == shape => Ok((given.clone(), Evidence::Given)),
                (MediaClass::Manifest | MediaClass::Index, _) => {
                    Err(refuse(digest, format!("it does not look like a {given}")))
                }
                (MediaClass::Other | MediaClass::Descriptor, None) => Ok((given.clone(), Evidence::Given)),
                _ => Err(refuse(digest, format!("{given} is no type of an image"))),
            };
        }
        self.type_by_layout(digest, document, shape)
    }

    /// For a document that does not say what it is: what others call it, else what it looks like.
    fn type_by_layout(
        &self,
        digest: &Digest,
        document: &Object<'_>,
        shape: Option<MediaClass>,
    ) -> Result<(MediaType, Evidence)> {
        let recorded = self.read_index(|view| view.media_types(digest))?;
        let recorded: Vec<MediaType> = recorded.into_iter().map(MediaType::from).collect();
        match recorded.as_slice() {
            [] => self.type_by_shape(digest, document, shape),
            [one] => match one.class() {
                class if shape == Some(class) => Ok((one.clone(), Evidence::Recorded)),
                MediaClass::Manifest | MediaClass::Index => {
                    fail!(Corrupt, "{digest} is named as {one}, but does not look like one")
                }
                MediaClass::Other => Ok((one.clone(), Evidence::Recorded)),
                _ => Err(self.not_an_image(digest, &format!("it is named as {one}"))),
            },
            // Each may be right for the document that gives it.
            several => {
                let text = format!("{digest} has several media types: {}", shortlist(several));
                Err(Error::new(ErrorKind::Ambiguous, text).with_fact(Fact::MediaTypeUnclear))
            }
        }
    }

    /// For a document that nobody names: its shape alone.
    fn type_by_shape(
        &self,
        digest: &Digest,
        document: &Object<'_>,
        shape: Option<MediaClass>,
    ) -> Result<(MediaType, Evidence)> {
        let config_type = document
            .object("config")
            .and_then(|config| config.read::<String>("mediaType"));
        match shape {
            Some(MediaClass::Manifest) if config_type.as_deref() == Some(MediaType::DOCKER_CONFIG) => {
                let text =
                    format!("{digest} is a manifest that does not say whether it is Docker's or OCI's");
                Err(Error::new(ErrorKind::Ambiguous, text).with_fact(Fact::MediaTypeUnclear))
            }
            Some(MediaClass::Manifest) => Ok((MediaType::MANIFEST.into(), Evidence::Shape)),
            Some(MediaClass::Index) => Ok((MediaType::INDEX.into(), Evidence::Shape)),
            _ if document.object("rootfs").is_some() => Err(self.not_an_image(digest, "an image config")),
            _ if document.get("imageLayoutVersion").is_some() => {
                Err(self.not_an_image(digest, "the head of a layout"))
            }
            _ if document.members().next().is_none() => Err(self.not_an_image(digest, "the empty document")),
            _ => {
                let err = refuse(digest, "it is a JSON document of an unknown type");
                Err(err.with_fact(Fact::MediaTypeUnclear))
            }
        }
    }

    /// The refusal of what is no manifest or index, with the manifests that have it.
    fn not_an_image(&self, digest: &Digest, what: &str) -> Error {
        let parents = self.read_index(|view| view.in_edges(digest)).unwrap_or_default();
        let names = parents.iter().filter_map(|by| match by {
            InEdge::Document(_, parent) => Some(parent),
            InEdge::Ref { .. } => None,
        });
        let hint = match names.clone().count() {
            0 => String::new(),
            1 => format!("; the manifest that has it is {}", shortlist(names)),
            _ => format!("; manifests that have it are {}", shortlist(names)),
        };
        let why = format!("it is {what}, not an image manifest or index{hint}");
        refuse(digest, why)
    }
}

/// Returns the kind that bytes look like which are no document.
fn kind_of(bytes: &[u8]) -> &'static str {
    match Sniffed::of(bytes) {
        Sniffed::Compressed(Compression::Gzip) => "gzip data, such as a layer",
        Sniffed::Compressed(_) => "zstd data, such as a layer",
        Sniffed::Tar => "a tar archive, such as a layer",
        _ if bytes.len() as u64 > MAX_DOCUMENT => "larger than any manifest",
        _ => "no JSON document",
    }
}
