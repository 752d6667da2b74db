// SPDX-License-Identifier: Apache-2.0
//! Manifests that are pushed, and removals. Spec: distribution-spec, "Pushing Manifests" and "Content Management".

use std::io::Write as _;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, LOCATION};
use serde_json::{Value, json};

use super::answer::{Answer, Code, DOCKER_CONTENT_DIGEST, Outcome, Refusal, own};
use super::repositories::Repository;
use super::request::Request;
use super::route::{Query, Target, tag};
use super::upload::lease_name;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, lock};
use crate::spec::json::{Object, check_values};
use crate::spec::{Descriptor, Document, Edges, MAX_DOCUMENT, MediaClass, MediaType};
use crate::store::{Removal, Txn};

/// Maximum number of missing blobs that a refusal names.
const MAX_NAMED: usize = 1000;
/// Maximum number of tags that one request sets.
const MAX_TAGS: usize = 100;
const OCI_SUBJECT: HeaderName = own("oci-subject");
const OCI_TAG: HeaderName = own("oci-tag");

/// A manifest that is pushed, after a look into it.
#[derive(Debug)]
struct Pushed {
    media_type: MediaType,
    /// Blobs that must be there.
    children: Vec<Descriptor>,
    subject: Option<Digest>,
}

impl Pushed {
    /// Reads a document as the manifest or index that the request calls it. What two readers could understand in two ways is
    /// refused (CVE-2021-41190).
    fn parse(bytes: &[u8], content_type: Option<&str>) -> Outcome<Self> {
        check_values(bytes).map_err(invalid)?;
        let object = Object::parse(bytes).map_err(invalid)?;
        if !object.is_whole || object.doubled.is_some() {
            return Err(wrong("a member stands twice, or text follows the document"));
        }
        let own: Option<MediaType> = object.read("mediaType");
        let given = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let media_type = match (own, given) {
            (Some(own), Some(given)) if own.as_str() != given => {
                return Err(wrong("Content-Type and mediaType differ"));
            }
            (Some(own), _) => own,
            (None, Some(given)) => MediaType::parse(given).map_err(invalid)?,
            (None, None) => return Err(wrong("Content-Type is missing")),
        };
        let document = Document::parse(bytes).map_err(invalid)?;
        let is_version_2 = match (&document, media_type.class()) {
            (Some(Document::Manifest(manifest)), MediaClass::Manifest) => manifest.schema_version == 2,
            (Some(Document::Index(index)), MediaClass::Index) => index.schema_version == 2,
            // This kind has no version.
            (Some(Document::Artifact(_)), MediaClass::Other) => true,
            _ => return Err(wrong("the document is no manifest of the type that it is called")),
        };
        if !is_version_2 {
            return Err(wrong("schemaVersion is not 2"));
        }
        Ok(Self {
            media_type,
            children: document.map(Document::into_declared).unwrap_or_default(),
            subject: Edges::of(bytes).subjects.into_iter().next(),
        })
    }

    /// Refuses a manifest of which a blob is missing or has another size than it says. A layer that must not be given on may
    /// be missing, and so may a subject.
    fn check_children(&self, repository: &Repository) -> Outcome<()> {
        let mut missing = Vec::new();
        for child in &self.children {
            match repository.store.layout().blob_size(&child.digest)? {
                Some(size) if size == child.size => {}
                Some(_) => return Err(wrong(&format!("{} has another size", child.digest))),
                None if child.media_type.is_nondistributable() => {}
                None => missing.push(child),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let errors = missing.iter().take(MAX_NAMED).map(|child| {
            let detail = json!({ "digest": child.digest, "mediaType": child.media_type, "size": child.size });
            (
                Code::ManifestBlobUnknown,
                format!("{} is not here", child.digest),
                detail,
            )
        });
        Err(Refusal::of(errors.collect()))
    }
}

fn invalid(err: Error) -> Box<Refusal> {
    wrong(&err.to_string())
}

fn wrong(why: &str) -> Box<Refusal> {
    Refusal::of(vec![(Code::ManifestInvalid, why.to_owned(), Value::Null)])
}

/// Takes a manifest under a tag, or under its digest and the tags of the query.
pub(super) fn manifest(
    repository: &Repository,
    target: &Target,
    request: &mut Request,
    query: &Query,
) -> Outcome {
    let bytes = request.small_body(MAX_DOCUMENT)?;
    let pushed = Pushed::parse(&bytes, request.header(&CONTENT_TYPE))?;
    let tags = match target {
        Target::Tag(name) => vec![name.clone()],
        Target::Digest(_) => query.all("tag").map(tag).collect::<Outcome<_>>()?,
    };
    if tags.len() > MAX_TAGS {
        let refusal = Refusal::new(Code::TagInvalid, format!("more than {MAX_TAGS} tags"));
        return Err(refusal.status(StatusCode::URI_TOO_LONG));
    }
    let algorithm = match target {
        Target::Digest(wanted) => wanted.algorithm(),
        Target::Tag(_) => Algorithm::Sha256,
    };
    let digest = Digest::of(algorithm, &bytes);
    if matches!(target, Target::Digest(wanted) if *wanted != digest) {
        return Err(Refusal::new(
            Code::DigestInvalid,
            "the manifest has another digest",
        ));
    }
    store(repository, &pushed, digest, &bytes, &tags)?;
    let name = &repository.name;
    let mut answer = Answer::new(StatusCode::CREATED)
        .header(LOCATION, format_args!("/v2/{name}/manifests/{digest}"))
        .header(DOCKER_CONTENT_DIGEST, digest);
    if let Some(subject) = &pushed.subject {
        answer = answer.header(OCI_SUBJECT, subject);
    }
    if matches!(target, Target::Digest(_)) {
        for tag in &tags {
            answer = answer.header(OCI_TAG, tag);
        }
    }
    Ok(answer)
}

/// Writes a manifest and its entries of `index.json`, and ends the leases of the blobs that it names.
fn store(
    repository: &Repository,
    pushed: &Pushed,
    digest: Digest,
    bytes: &[u8],
    tags: &[String],
) -> Outcome<()> {
    repository.store.give_way()?;
    // From the look at the blobs to the entry that leads to them no collection comes between.
    let mut txn = repository.store.begin("push")?;
    pushed.check_children(repository)?;
    let image = Descriptor::new(pushed.media_type.clone(), digest, bytes.len() as u64);
    write(&mut txn, &image, bytes)?;
    for child in &pushed.children {
        if let Some(verified) = repository.take_verified(&child.digest) {
            txn.add_intact(child, verified);
        }
    }
    for tag in tags {
        txn.tag(tag, image.clone());
    }
    if tags.is_empty() {
        txn.list(image);
    }
    let committing = lock(&repository.commits);
    txn.commit()?;
    drop(committing);
    for child in &pushed.children {
        repository.store.remove_lease(&lease_name(&child.digest))?;
    }
    Ok(())
}

/// Writes a manifest of which digest and size are known.
pub(super) fn write(txn: &mut Txn<'_>, image: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
    let mut writer = txn.write_blob_as(image.digest.algorithm())?;
    writer.write_all(bytes)?;
    txn.stage(writer.stage_as(image)?)
}

/// Removes a tag, or a manifest with all its tags.
pub(super) fn remove_manifest(repository: &Repository, target: &Target) -> Outcome {
    let committing = lock(&repository.commits);
    let digest = match target {
        Target::Tag(name) if repository.store.untag(name)? => return Ok(Answer::new(StatusCode::ACCEPTED)),
        Target::Tag(_) => return Err(unknown()),
        Target::Digest(digest) => digest,
    };
    let listing = repository.listing()?;
    if !repository.has_manifest(&listing, digest)? {
        return Err(unknown());
    }
    let is_listed = repository.store.unlist(digest, &listing.tags_of(digest))?;
    // A push waits for the commits with the lock of the layout in its hand, which the removal waits for.
    drop(committing);
    // A referrer would else stay as long as its subject, and go on to be listed by other programs.
    match repository.store.remove_unneeded(digest) {
        Ok(Removal::Needed(by)) if !is_listed => Err(needed(digest, &by)),
        // A collection removes it later.
        Err(err) if is_listed && err.kind() == ErrorKind::Busy => Ok(Answer::new(StatusCode::ACCEPTED)),
        removal => Ok(removal.map(|_| Answer::new(StatusCode::ACCEPTED))?),
    }
}

/// Removes a blob that no manifest needs.
pub(super) fn remove_blob(repository: &Repository, digest: &Digest) -> Outcome {
    // The lease of its upload is that of the client who now wants it to go.
    repository.store.remove_lease(&lease_name(digest))?;
    match repository.store.remove_unneeded(digest)? {
        Removal::Done => Ok(Answer::new(StatusCode::ACCEPTED)),
        Removal::Absent => Err(Refusal::new(Code::BlobUnknown, "there is no such blob")),
        Removal::Needed(by) => Err(needed(digest, &by)),
    }
}

fn unknown() -> Box<Refusal> {
    Refusal::new(Code::ManifestUnknown, "there is no such manifest")
}

fn needed(digest: &Digest, by: &str) -> Box<Refusal> {
    Refusal::new(Code::Unsupported, format!("{digest} is needed by {by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: &str = r#"{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    fn parse(text: &str, content_type: Option<&str>) -> Outcome<Pushed> {
        Pushed::parse(text.replace('D', BLOB).as_bytes(), content_type)
    }

    #[test]
    fn manifests_are_taken_with_their_children_and_subject() {
        let artifact = "application/vnd.oci.artifact.manifest.v1+json";
        for (text, content_type, children, has_subject) in [
            (
                r#"{"schemaVersion":2,"config":D,"layers":[D]}"#,
                MediaType::MANIFEST,
                2,
                false,
            ),
            (
                r#"{"schemaVersion":2,"config":D,"layers":[],"subject":D}"#,
                MediaType::DOCKER_MANIFEST,
                1,
                true,
            ),
            (
                r#"{"schemaVersion":2,"manifests":[D,D],"subject":D,"x":1}"#,
                MediaType::INDEX,
                2,
                true,
            ),
            (
                r#"{"schemaVersion":2,"manifests":[]}"#,
                MediaType::DOCKER_LIST,
                0,
                false,
            ),
            (
                r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[D]}"#,
                artifact,
                1,
                false,
            ),
        ] {
            let found = parse(text, Some(&format!("{content_type}; charset=utf-8"))).expect(text);
            assert_eq!(found.media_type, content_type, "{text}");
            assert_eq!(
                (found.children.len(), found.subject.is_some()),
                (children, has_subject),
                "{text}"
            );
        }
        let own =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert_eq!(parse(own, None).expect("own").media_type, MediaType::INDEX);
    }

    #[test]
    fn what_only_looks_like_a_manifest_is_refused() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        let many = format!(
            r#"{{"schemaVersion":2,"manifests":[],"x":[{}1]}}"#,
            "1,".repeat(400_000)
        );
        for (text, content_type) in [
            ("", Some(MediaType::MANIFEST)),
            ("[]", Some(MediaType::MANIFEST)),
            ("no JSON", Some(MediaType::MANIFEST)),
            (r#"{"schemaVersion":2,"config":D,"layers":[]}"#, None),
            (
                r#"{"schemaVersion":2,"config":D,"layers":[]}"#,
                Some(MediaType::INDEX),
            ),
            (r#"{"schemaVersion":2,"config":D,"layers":[]}"#, Some("text/html")),
            (r#"{"schemaVersion":2,"config":D,"layers":[]}"#, Some("")),
            (
                r#"{"schemaVersion":1,"config":D,"layers":[]}"#,
                Some(MediaType::MANIFEST),
            ),
            (r#"{"config":D,"layers":[]}"#, Some(MediaType::MANIFEST)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, Some(MediaType::MANIFEST)),
            (
                r#"{"schemaVersion":2,"config":D,"layers":[],"manifests":[]}"#,
                Some(MediaType::MANIFEST),
            ),
            (
                r#"{"schemaVersion":2,"config":D,"layers":[],"Layers":[]}"#,
                Some(MediaType::MANIFEST),
            ),
            (
                r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
                Some(MediaType::INDEX),
            ),
            (r#"{"schemaVersion":2,"manifests":[]} {}"#, Some(MediaType::INDEX)),
            (r#"{"schemaVersion":2,"manifests":[{}]}"#, Some(MediaType::INDEX)),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#,
                Some(MediaType::INDEX),
            ),
            (
                r#"{"os":"linux","rootfs":{},"config":{}}"#,
                Some(MediaType::CONFIG),
            ),
            (r#"{"a":1}"#, Some("application/vnd.example+json")),
            (&deep, Some(MediaType::MANIFEST)),
            (&many, Some(MediaType::INDEX)),
        ] {
            let err = parse(text, content_type).expect_err(text);
            assert_eq!(err.into_answer().status, StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
