// SPDX-License-Identifier: Apache-2.0
//! Names of images in registries, as Docker, podman and skopeo write them.
//!
//! `[host[:port]/]path[:tag][@digest]`; the grammar and the defaults are those of the library `distribution/reference`: a first
//! part without a dot, a colon or an upper-case letter is no host, `docker.io` is the host of a name without one, and a name
//! of one part on it is below `library`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::transfer::Request;
use crate::transfer::docker_name::{is_component, is_label, is_tag};

/// Host of a name that has none.
pub(crate) const HUB: &str = "docker.io";
/// Other names of that host.
pub(crate) const HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/// Tag of a name that has neither tag nor digest.
const LATEST: &str = "latest";
/// Maximum length of a repository with its host in bytes. Spec: distribution-spec, "Pulling manifests".
const MAX_NAME: usize = 255;

/// A repository of a registry.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RepositoryName {
    host: String,
    path: String,
}

impl RepositoryName {
    /// Returns the host with its port, if it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the name within the registry, such as `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the reference of a tag here.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` if no registry takes such a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            fail!(
                Invalid,
                "invalid tag for a registry: {tag:?} (want up to 128 of A-Z a-z 0-9 _ . -, the first no . or -)"
            );
        }
        Ok(Reference {
            repository: self.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// Checks that an image can have its name as a tag here.
    ///
    /// # Errors
    /// As [`RepositoryName::with_tag`]; `ErrorKind::Ambiguous` if the name leads to several entries.
    pub(crate) fn takes(&self, image: &Request) -> Result<()> {
        let Some(tag) = &image.name else {
            return Ok(());
        };
        self.with_tag(tag.as_str())?;
        match image.value.entries() {
            [_] => Ok(()),
            several => fail!(
                Ambiguous,
                "{tag} leads to {} entries, and a tag of a registry leads to one",
                several.len()
            ),
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for RepositoryName {
    type Err = Error;

    /// Reads `[host[:port]/]path`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((scheme, rest)) = text.split_once("://") {
            fail!(
                Invalid,
                "invalid repository: {text:?} (leave {scheme}:// out, as in {rest})"
            );
        }
        let (first, rest) = text.split_once('/').unwrap_or(("", text));
        let (host, path) = if is_host_like(first) {
            (first, rest.to_owned())
        } else if text.contains('/') {
            (HUB, text.to_owned())
        } else {
            (HUB, format!("library/{text}"))
        };
        let host = if is_hub(host) { HUB } else { host };
        let path = match path.as_str() {
            // The same name with its host written out.
            name if host == HUB && !name.contains('/') => format!("library/{name}"),
            _ => path,
        };
        if text.bytes().any(|c| c.is_ascii_uppercase()) && path.to_ascii_lowercase() != path {
            fail!(
                Invalid,
                "invalid repository: {text:?} (its path must be in lower case)"
            );
        }
        // An image that is meant by its digest alone would be another one.
        let is_digest = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let is_valid = is_host(host) && path.split('/').all(is_component) && !is_digest;
        if !is_valid || host.len() + 1 + path.len() > MAX_NAME {
            fail!(Invalid, "invalid repository: {text:?} (want [HOST[:PORT]/]PATH)");
        }
        Ok(Self {
            host: host.to_owned(),
            path,
        })
    }
}

/// An image in a registry: a repository, and a tag or digest in it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reference {
    repository: RepositoryName,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the repository.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Returns the tag. One beside a digest is a label for people: the digest counts.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the reference has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the digest, or else the tag, as it stands in the path of a request.
    pub(crate) fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// Reads a reference that may be a repository alone.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` if it does not follow the grammar.
    pub fn parse_open(text: &str) -> Result<(RepositoryName, Option<Self>)> {
        let reference: Self = text.parse()?;
        let is_open = !text.contains('@') && split_tag(text).1.is_none();
        let repository = reference.repository.clone();
        Ok((repository, (!is_open).then_some(reference)))
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Reads `[host[:port]/]path[:tag][@digest]`, perhaps behind `docker://`.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(named);
        let repository: RepositoryName = name.parse()?;
        let mut out = match tag {
            Some(tag) => repository.with_tag(tag)?,
            None if digest.is_none() => repository.with_tag(LATEST)?,
            None => Self {
                repository,
                tag: None,
                digest: None,
            },
        };
        out.digest = digest;
        Ok(out)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Returns whether a host is Docker Hub by one of its names.
pub(crate) fn is_hub(host: &str) -> bool {
    HUB_NAMES.contains(&host)
}

/// Splits a tag off; a colon before a slash is that of a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Returns whether the first part of a name is a host and not the beginning of a path.
fn is_host_like(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost" || first.bytes().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(""))),
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let is_name = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        host.split('.').all(is_label)
    };
    is_port && is_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_the_defaults_of_docker() {
        let hex = "a".repeat(64);
        for (text, want) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("docker.io/debian", "docker.io/library/debian:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("docker://a/b:1", "docker.io/a/b:1"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("127.0.0.1:5000/x/y:z", "127.0.0.1:5000/x/y:z"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("[::1]/x:1", "[::1]/x:1"),
            ("Host/x:1", "Host/x:1"),
            ("quay.io/a/b/c", "quay.io/a/b/c:latest"),
            ("foo/bar", "docker.io/foo/bar:latest"),
            (&format!("q.io/a@sha256:{hex}"), &format!("q.io/a@sha256:{hex}")),
            (
                &format!("q.io/a:1@sha256:{hex}"),
                &format!("q.io/a:1@sha256:{hex}"),
            ),
        ] {
            assert_eq!(text.parse::<Reference>().expect(text).to_string(), want);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "x".repeat(256);
        let hex = "a".repeat(64);
        for text in [
            "",
            ":1",
            "x:",
            "x@",
            "x@sha256:1",
            "a//b",
            "/a",
            "a/",
            "UPPER",
            "q.io/Upper",
            "q.io/",
            "q.io:port/x",
            "q.io:70000/x",
            "q.io/a/../b",
            "q.io/a b",
            "q.io/a\u{1b}[m",
            "q.io/a:-x",
            "q.io/a:x y",
            "[::zz]/x",
            "http://q.io/x",
            &long,
            &hex,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_repository_alone_has_no_tag() {
        for (text, is_open) in [("q.io/a", true), ("q.io/a:1", false), ("h:5000/a", true)] {
            let (_, reference) = Reference::parse_open(text).expect(text);
            assert_eq!(reference.is_none(), is_open, "{text}");
        }
    }
}
