// SPDX-License-Identifier: Apache-2.0
//! The paths and queries of the protocol as values. Spec: distribution-spec, "Endpoints".
//!
//! A path is cut at its slashes first and decoded once, each part by itself, and read from the right: the name of a repository may
//! have any number of parts.

use percent_encoding::percent_decode_str;

use super::answer::{Code, Outcome, Refusal};
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::layout::PARTS;
use crate::transfer::docker_name::{is_component, is_tag};

/// Maximum length of the name of a repository in bytes. Spec: distribution-spec, "Pulling manifests", for the name with its host.
const MAX_NAME: usize = 255;
/// Number of letters of an upload's name.
pub(super) const UPLOAD_NAME: usize = 32;
/// Names in the paths of the protocol and of layouts, of which no part of a name may be one.
const RESERVED: [&str; 5] = ["blobs", "manifests", "tags", "referrers", "uploads"];

/// The object of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// A look whether the server is up, for those who operate it.
    Health,
    /// Counters.
    Metrics,
    /// `/v2/`
    Ping,
    Catalog,
    Blob(String, Digest),
    Manifest(String, Target),
    Tags(String),
    Referrers(String, Digest),
    Uploads(String),
    Upload(String, String),
}

/// A manifest as a request names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Tag(String),
    Digest(Digest),
}

impl Route {
    /// Reads the path of a request.
    pub fn parse(path: &str) -> Outcome<Self> {
        match path {
            "/healthz" => return Ok(Self::Health),
            "/metrics" => return Ok(Self::Metrics),
            "/v2" | "/v2/" => return Ok(Self::Ping),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Err(not_found());
        };
        let parts: Vec<String> = rest.split('/').map(decode_part).collect::<Outcome<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", upload] => {
                Ok(Self::Upload(repository(name)?, upload_name(upload)?))
            }
            [name @ .., "blobs", text] => Ok(Self::Blob(repository(name)?, digest(text)?)),
            [name @ .., "referrers", text] => Ok(Self::Referrers(repository(name)?, digest(text)?)),
            [name @ .., "manifests", text] => Ok(Self::Manifest(repository(name)?, Target::parse(text)?)),
            _ => Err(not_found()),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Outcome<Self> {
        // A digest has a colon, and no tag has one.
        if text.contains(':') {
            return digest(text).map(Self::Digest);
        }
        tag(text).map(Self::Tag)
    }
}

fn not_found() -> Box<Refusal> {
    Refusal::new(Code::Unsupported, "the server has no such path").status(hyper::StatusCode::NOT_FOUND)
}

/// Decodes a part of a path.
fn decode_part(part: &str) -> Outcome<String> {
    let decoded = percent_decode_str(part).decode_utf8();
    match decoded {
        Ok(text) if !text.contains('/') && !text.chars().any(char::is_control) => Ok(text.into_owned()),
        _ => Err(Refusal::new(Code::NameInvalid, "the path cannot be read")),
    }
}

/// Returns the name of a repository.
fn repository(parts: &[&str]) -> Outcome<String> {
    let name = parts.join("/");
    if is_repository(&name) {
        return Ok(name);
    }
    Err(Refusal::new(
        Code::NameInvalid,
        "want lower-case letters and digits with . _ - between, and / between parts",
    ))
}

/// Returns whether a repository may have this name.
pub(super) fn is_repository(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.split('/').all(is_part)
}

/// Returns whether a part of a name is neither a word of the protocol nor a part of a layout.
fn is_part(part: &str) -> bool {
    is_component(part) && !RESERVED.contains(&part) && !PARTS.contains(&part)
}

/// Reads a digest.
pub(super) fn digest(text: &str) -> Outcome<Digest> {
    text.parse().map_err(|err: crate::error::Error| {
        let message = match err.kind() {
            ErrorKind::Unsupported => "the digest is of an algorithm that is not known here",
            _ => "this is no digest",
        };
        Refusal::new(Code::DigestInvalid, message)
    })
}

/// Reads a tag.
pub(super) fn tag(text: &str) -> Outcome<String> {
    if is_tag(text) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(
        Code::TagInvalid,
        "want a digest, or a tag: up to 128 of A-Z a-z 0-9 _ . -, the first no . or -",
    ))
}

fn upload_name(text: &str) -> Outcome<String> {
    let is_hex = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && text.len() == UPLOAD_NAME {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(Code::BlobUploadUnknown, "there is no such upload"))
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query; what cannot be decoded is left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A plus sign stays one: media types have it, and no value has a space.
            let name = percent_decode_str(name).decode_utf8().ok()?;
            let value = percent_decode_str(value).decode_utf8().ok()?;
            Some((name.into_owned(), value.into_owned()))
        });
        Self(pairs.collect())
    }

    /// Returns the first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().find(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Returns all values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_the_right() {
        let hex = "a".repeat(64);
        let digest: Digest = format!("sha256:{hex}").parse().expect("digest");
        let upload = "0123456789abcdef".repeat(2);
        for (path, want) in [
            ("/healthz".to_owned(), Route::Health),
            ("/v2".to_owned(), Route::Ping),
            ("/v2/".to_owned(), Route::Ping),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/tags/list".to_owned(), Route::Tags("a".to_owned())),
            ("/v2/list/tags/list".to_owned(), Route::Tags("list".to_owned())),
            (
                format!("/v2/a/b-c/d.e/blobs/sha256:{hex}"),
                Route::Blob("a/b-c/d.e".to_owned(), digest),
            ),
            (
                format!("/v2/a/blobs/sha256%3A{hex}"),
                Route::Blob("a".to_owned(), digest),
            ),
            (
                format!("/v2/a/referrers/sha256:{hex}"),
                Route::Referrers("a".to_owned(), digest),
            ),
            (
                "/v2/a/manifests/v1.0".to_owned(),
                Route::Manifest("a".to_owned(), Target::Tag("v1.0".to_owned())),
            ),
            (
                format!("/v2/a/manifests/sha256:{hex}"),
                Route::Manifest("a".to_owned(), Target::Digest(digest)),
            ),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads("a".to_owned())),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads("a".to_owned())),
            (
                format!("/v2/a/blobs/uploads/{upload}"),
                Route::Upload("a".to_owned(), upload.clone()),
            ),
        ] {
            assert_eq!(Route::parse(&path).expect(&path), want, "{path}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let hex = "a".repeat(64);
        let long = "a/".repeat(200);
        for path in [
            "",
            "/",
            "/v1/",
            "/v2//",
            "/v2/a",
            "/v2/tags/list",
            "/v2//tags/list",
            "/v2/a//b/tags/list",
            "/v2/../a/tags/list",
            "/v2/a/../../etc/tags/list",
            "/v2/a/./tags/list",
            "/v2/%2e%2e/a/tags/list",
            "/v2/%252e%252e/tags/list",
            "/v2/a%2Fb/tags/list",
            "/v2/a%2f..%2fb/tags/list",
            "/v2/a%00/tags/list",
            "/v2/a%0d%0ab/tags/list",
            "/v2/a%ff/tags/list",
            "/v2/A/tags/list",
            "/v2/a\\b/tags/list",
            "/v2/.umoci/tags/list",
            "/v2/a/.umoci/tags/list",
            "/v2/_x/tags/list",
            "/v2/a/blobs/sha256/tags/list",
            "/v2/a/index.json/tags/list",
            "/v2/oci-layout/tags/list",
            "/v2/a/manifests/..",
            "/v2/a/manifests/",
            "/v2/a/manifests/-x",
            "/v2/a/manifests/a b",
            "/v2/a/manifests/sha256:short",
            "/v2/a/blobs/latest",
            "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e",
            "/v2/a/blobs/sha256:../../../etc/passwd",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/x",
            &format!("/v2/a/blobs/sha256:{}", hex.to_uppercase()),
            &format!("/v2/{long}a/tags/list"),
            "http://other/v2/a/tags/list",
        ] {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_query_keeps_what_it_says() {
        let query = Query::parse("tag=a&tag=b&artifactType=application/x+json&n&last=%41&x=%ff");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.get("artifactType"), Some("application/x+json"));
        assert_eq!(
            (query.get("n"), query.get("last"), query.get("x")),
            (Some(""), Some("A"), None)
        );
    }
}
