// SPDX-License-Identifier: Apache-2.0
//! Reads: blobs, manifests, tags, referrers, and the list of repositories.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE,
    LINK, RANGE,
};
use hyper::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::json;

use super::answer::{Answer, BlobFile, Code, Content, DOCKER_CONTENT_DIGEST, Outcome, Refusal, own};
use super::repositories::{Repositories, Repository};
use super::request::number;
use super::route::{Query, Target};
use crate::digest::Digest;
use crate::error::{Error, ResultExt};
use crate::spec::json::Object;
use crate::spec::{Descriptor, Document, ImageIndex, MAX_DOCUMENT, MediaType, RefName, json};

/// Maximum number of names in a page of a list. Clients that ask for no number may not know of pages.
const MAX_PAGE: usize = 10_000;
/// Maximum size of a page of referrers in bytes, as clients take manifests of that size.
const MAX_REFERRERS: usize = MAX_DOCUMENT as usize;
/// Content that is called by its digest never changes.
const IMMUTABLE: &str = "max-age=31536000, immutable";
const OCI_FILTERS_APPLIED: HeaderName = own("oci-filters-applied");
/// Characters that do not stand for themselves in a query.
const IN_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'&')
    .add(b'+')
    .add(b'%');

/// Returns a blob, or the part of it that the request asks for.
pub(super) fn blob(repository: &Repository, digest: &Digest, headers: &HeaderMap) -> Outcome {
    match open_blob(repository, digest)? {
        Some(file) => Ok(blob_in(file, digest, headers)),
        None => Err(no_blob()),
    }
}

/// Opens a blob that is here. A file that is open stays readable, also if it is collected meanwhile: no lock is needed.
pub(super) fn open_blob(repository: &Repository, digest: &Digest) -> Result<Option<BlobFile>, Error> {
    let found = repository.store.layout().open_found(digest).if_there()?;
    Ok(found.map(|(file, found)| BlobFile {
        file: Arc::new(file),
        size: found.len(),
        growth: None,
    }))
}

pub(super) fn no_blob() -> Box<Refusal> {
    Refusal::new(Code::BlobUnknown, "there is no such blob")
}

/// As [`blob`], of a blob whose file is known.
pub(super) fn blob_in(file: BlobFile, digest: &Digest, headers: &HeaderMap) -> Answer {
    match blob_known(digest, headers) {
        (answer, true) => answer,
        (answer, false) => part(answer, file, headers, digest),
    }
}

/// Returns the answer about a blob as far as it needs no file, and whether the client has the blob already.
pub(super) fn blob_known(digest: &Digest, headers: &HeaderMap) -> (Answer, bool) {
    let etag = format!("\"{digest}\"");
    let whole = Answer::new(StatusCode::OK)
        .header(DOCKER_CONTENT_DIGEST, digest)
        .header(ETAG, &etag)
        .header(ACCEPT_RANGES, "bytes")
        .header(CACHE_CONTROL, IMMUTABLE)
        .header(CONTENT_TYPE, "application/octet-stream");
    if is_known(headers, &etag) {
        return (not_modified(whole), true);
    }
    (whole, false)
}

/// Gives an answer the part of a file that is asked for. Spec: RFC 9110, section 14.
fn part(mut answer: Answer, file: BlobFile, headers: &HeaderMap, digest: &Digest) -> Answer {
    // A part of something else than the client has begun with would be useless.
    let is_meant = headers
        .get(IF_RANGE)
        .is_none_or(|known| *known == format!("\"{digest}\""));
    let range = headers
        .get(RANGE)
        .filter(|_| is_meant)
        .and_then(|range| range.to_str().ok());
    let size = file.size;
    let (offset, length) = match range.map_or(Range::Whole, |range| Range::parse(range, size)) {
        Range::Whole => (0, size),
        Range::Part(offset, length) => {
            answer.status = StatusCode::PARTIAL_CONTENT;
            let last = offset + length - 1;
            answer = answer.header(CONTENT_RANGE, format_args!("bytes {offset}-{last}/{size}"));
            (offset, length)
        }
        Range::Nowhere => {
            answer.status = StatusCode::RANGE_NOT_SATISFIABLE;
            answer.headers.remove(CONTENT_TYPE);
            return answer.header(CONTENT_RANGE, format_args!("bytes */{size}"));
        }
    };
    answer.content = Content::File { file, offset, length };
    answer
}

/// The part of a blob that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    Whole,
    /// Offset and length in bytes.
    Part(u64, u64),
    Nowhere,
}

impl Range {
    /// Reads the header of a request. Several parts at a time, and what cannot be read, are answered with the whole, as the
    /// standard allows.
    fn parse(text: &str, size: u64) -> Self {
        let Some((first, last)) = text
            .strip_prefix("bytes=")
            .filter(|parts| !parts.contains(','))
            .and_then(|part| part.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last && first < size => {
                Self::Part(first, last.min(size - 1) - first + 1)
            }
            (Some(first), None) if last.is_empty() && first < size => Self::Part(first, size - first),
            (None, Some(count)) if first.is_empty() && count > 0 && size > 0 => {
                let count = count.min(size);
                Self::Part(size - count, count)
            }
            (Some(_), Some(_)) => Self::Nowhere,
            (Some(_), None) if last.is_empty() => Self::Nowhere,
            (None, Some(_)) if first.is_empty() => Self::Nowhere,
            _ => Self::Whole,
        }
    }
}

/// Returns whether the client has this content already.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter();
    let mut tags = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    tags.any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
}

fn not_modified(mut answer: Answer) -> Answer {
    answer.status = StatusCode::NOT_MODIFIED;
    answer.headers.remove(CONTENT_TYPE);
    answer
}

/// A manifest that is to be had.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

/// Returns the manifest of a tag or digest.
pub(super) fn manifest(repository: &Repository, target: &Target, headers: &HeaderMap) -> Outcome {
    let found = find_manifest(repository, target)?.ok_or_else(no_manifest)?;
    note_use(repository, target);
    Ok(manifest_in(found, target, headers))
}

pub(super) fn no_manifest() -> Box<Refusal> {
    Refusal::new(Code::ManifestUnknown, "there is no such manifest")
}

/// Notes that somebody wants the image of a tag: gc can keep tags by their last use.
pub(super) fn note_use(repository: &Repository, target: &Target) {
    if let Target::Tag(tag) = target
        && let Ok(name) = tag.parse::<RefName>()
    {
        repository.store.note_use(&name);
    }
}

/// As [`manifest`], of one that was found.
pub(super) fn manifest_in(found: Found, target: &Target, headers: &HeaderMap) -> Answer {
    let etag = format!("\"{}\"", found.digest);
    let cache = match target {
        Target::Digest(_) => IMMUTABLE,
        Target::Tag(_) => "no-cache",
    };
    let answer = Answer::new(StatusCode::OK)
        .header(DOCKER_CONTENT_DIGEST, found.digest)
        .header(ETAG, &etag)
        .header(CACHE_CONTROL, cache)
        .header(CONTENT_TYPE, &found.media_type);
    if is_known(headers, &etag) {
        return not_modified(answer);
    }
    answer.bytes(found.bytes)
}

/// Finds a manifest: one that an entry of `index.json` names, or a document below it.
pub(super) fn find_manifest(repository: &Repository, target: &Target) -> Result<Option<Found>, Error> {
    let listing = repository.listing()?;
    let digest = match target {
        Target::Digest(digest) => *digest,
        Target::Tag(tag) => match listing.tags.get(tag) {
            Some(image) => image.digest,
            None => return Ok(None),
        },
    };
    let Some(size) = repository.store.layout().blob_size(&digest)? else {
        return Ok(None);
    };
    if size > MAX_DOCUMENT || !repository.has_manifest(&listing, &digest)? {
        return Ok(None);
    }
    let plain = Descriptor::new(MediaType::default(), digest, size);
    let bytes = repository.store.read(&plain)?;
    let named = listing.images.get(&digest);
    Ok(media_type(&bytes, named).map(|media_type| Found {
        digest,
        media_type,
        bytes: bytes.into(),
    }))
}

/// Returns the media type of a manifest: its own, else the one that an entry gives it, else that of its shape; `None` if it is no
/// manifest.
fn media_type(bytes: &[u8], named: Option<&MediaType>) -> Option<MediaType> {
    let object = Object::parse(bytes).ok()?;
    let own: Option<String> = object.read("mediaType");
    let own = own.and_then(|own| MediaType::parse(&own).ok());
    let named = named.filter(|named| MediaType::parse(named.as_str()).is_ok());
    own.or_else(|| named.cloned())
        .or_else(|| match Document::parse(bytes).ok()?? {
            Document::Manifest(_) => Some(MediaType::MANIFEST.into()),
            Document::Index(_) => Some(MediaType::INDEX.into()),
            Document::Artifact(_) => None,
        })
}

/// Returns the tags. Spec: distribution-spec, "Listing Tags".
pub(super) fn tags(repository: &Repository, query: &Query) -> Outcome {
    let listing = repository.listing()?;
    tags_in(&repository.name, listing.tags.keys(), query)
}

/// As [`tags`], of tags that are known, in order.
pub(super) fn tags_in<'a>(name: &str, tags: impl Iterator<Item = &'a String>, query: &Query) -> Outcome {
    let (names, next) = page(tags, &format!("/v2/{name}/tags/list"), query)?;
    let answer = Answer::json(StatusCode::OK, &json!({ "name": name, "tags": names }));
    Ok(linked(answer, next))
}

/// Returns the names of the repositories.
pub(super) fn catalog(repositories: &Repositories, query: &Query) -> Outcome {
    let names = repositories.names()?;
    let (names, next) = page(names.iter(), "/v2/_catalog", query)?;
    let answer = Answer::json(StatusCode::OK, &json!({ "repositories": names }));
    Ok(linked(answer, next))
}

/// Returns a page of sorted names, and the path of the next one.
fn page<'a>(
    names: impl Iterator<Item = &'a String>,
    path: &str,
    query: &Query,
) -> Outcome<(Vec<&'a str>, Option<String>)> {
    let count = match query.get("n") {
        None => MAX_PAGE,
        Some(text) => match number(text) {
            Some(count) => usize::try_from(count).unwrap_or(MAX_PAGE).min(MAX_PAGE),
            None => {
                return Err(Refusal::new(Code::Unsupported, "n is no number").status(StatusCode::BAD_REQUEST));
            }
        },
    };
    let last = query.get("last");
    // The name need not be there: the list may have changed since.
    let mut rest = names
        .map(String::as_str)
        .filter(|name| last.is_none_or(|last| *name > last));
    let names: Vec<&str> = rest.by_ref().take(count).collect();
    let next = names.last().filter(|_| rest.next().is_some()).map(|last| {
        let last = utf8_percent_encode(last, IN_QUERY);
        format!("{path}?n={count}&last={last}")
    });
    Ok((names, next))
}

fn linked(answer: Answer, next: Option<String>) -> Answer {
    match next {
        Some(next) => answer.header(LINK, format_args!("<{next}>; rel=\"next\"")),
        None => answer,
    }
}

/// Returns the referrers of a manifest, also of one that is not there. Spec: distribution-spec, "Listing Referrers".
pub(super) fn referrers(
    repository: Option<&Repository>,
    name: &str,
    digest: &Digest,
    query: &Query,
) -> Outcome {
    // A repository that is not there yet has none: clients ask before they push.
    let found = match repository {
        Some(repository) => repository.store.referrers_in_registry(digest)?,
        None => Vec::new(),
    };
    referrers_in(found, name, digest, query)
}

/// As [`referrers`], of referrers that are known, by their digests.
pub(super) fn referrers_in(
    mut found: Vec<Descriptor>,
    name: &str,
    digest: &Digest,
    query: &Query,
) -> Outcome {
    let filter = query.get("artifactType");
    if let Some(filter) = filter {
        found.retain(|one| one.artifact_type.as_deref() == Some(filter));
    }
    if let Some(last) = query.get("last").and_then(|last| last.parse::<Digest>().ok()) {
        found.retain(|one| one.digest > last);
    }
    let kept = fitting(&found)?;
    let next = (kept < found.len()).then(|| {
        let filter = filter.map(|filter| format!("&artifactType={}", utf8_percent_encode(filter, IN_QUERY)));
        let last = found[kept - 1].digest;
        format!(
            "/v2/{name}/referrers/{digest}?last={last}{}",
            filter.unwrap_or_default()
        )
    });
    found.truncate(kept);
    let index = ImageIndex::new(found);
    let mut answer = Answer::new(StatusCode::OK)
        .header(CONTENT_TYPE, MediaType::INDEX)
        .bytes(json::to_bytes(&index)?);
    if filter.is_some() {
        answer = answer.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    Ok(linked(answer, next))
}

/// Returns how many of these descriptors go into a page; one always does.
fn fitting(descriptors: &[Descriptor]) -> Result<usize, Error> {
    let mut size = 0;
    for (at, descriptor) in descriptors.iter().enumerate() {
        size += json::to_bytes(descriptor)?.len();
        if size > MAX_REFERRERS && at > 0 {
            return Ok(at);
        }
    }
    Ok(descriptors.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_the_whole_or_nowhere() {
        for (text, want) in [
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=500-1499", Range::Part(500, 500)),
            ("bytes=500-", Range::Part(500, 500)),
            ("bytes=-500", Range::Part(500, 500)),
            ("bytes=-5000", Range::Part(0, 1000)),
            ("bytes=999-2000", Range::Part(999, 1)),
            ("bytes=0-99999999999999999999999", Range::Part(0, 1000)),
            ("bytes=1000-", Range::Nowhere),
            ("bytes=500-0", Range::Nowhere),
            ("bytes=5000-10000", Range::Nowhere),
            ("bytes=99999999999999999999999-", Range::Nowhere),
            ("bytes=-0", Range::Nowhere),
            ("bytes=0-1,5-6", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=+1-5", Range::Whole),
            ("lines=1-2", Range::Whole),
            ("", Range::Whole),
        ] {
            assert_eq!(Range::parse(text, 1000), want, "{text}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Range::Nowhere);
        assert_eq!(Range::parse("bytes=-1", 0), Range::Nowhere);
    }

    #[test]
    fn a_manifest_is_called_what_it_is() {
        let config = r#"{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;
        let manifest = format!(r#"{{"config":{config},"layers":[]}}"#);
        let named = MediaType::from("x/y");
        let odd = MediaType::from("x\r\ny");
        for (text, named, want) in [
            (r#"{"mediaType":"a/b"}"#, Some(&named), Some("a/b")),
            (r#"{"mediaType":"a\nb"}"#, Some(&named), Some("x/y")),
            (r#"{"mediaType":7}"#, Some(&odd), None),
            (&manifest, None, Some(MediaType::MANIFEST)),
            (r#"{"manifests":[]}"#, None, Some(MediaType::INDEX)),
            (r#"{"os":"linux"}"#, None, None),
            ("no JSON", Some(&named), None),
        ] {
            let found = media_type(text.as_bytes(), named);
            assert_eq!(found.as_ref().map(MediaType::as_str), want, "{text}");
        }
    }
}
