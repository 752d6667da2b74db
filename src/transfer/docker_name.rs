// SPDX-License-Identifier: Apache-2.0
//! Names of images as Docker, podman and skopeo take them: a repository, perhaps behind a registry, and a tag.
//!
//! The grammar is that of the library `distribution/reference`, which they share.

use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::spec::RefName;

/// Bytes of a repository with its registry, and of a tag, at most.
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;

/// The tag of a name that has none.
const LATEST: &str = "latest";

/// The name of an image in a Docker archive.
#[derive(Clone, PartialEq, Eq, Hash, Debug, derive_more::Display)]
#[display("{repository}:{tag}")]
pub struct DockerName {
    repository: String,
    tag: String,
}

impl DockerName {
    /// Returns the name for an image that has this tag in a layout whose directory has the name `layout`: a tag with a slash or colon
    /// is a name of Docker's itself, `v1` becomes `<layout>:v1`. Of a name with tag and digest the digest is left out, for which
    /// Docker has no place in an archive.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if that is no name.
    pub fn of_tag(tag: &RefName, layout: &str) -> Result<Self> {
        let pinned = tag.as_str().rsplit_once('@');
        if let Some((named, digest)) = pinned
            && digest.parse::<Digest>().is_ok()
            && named.rsplit('/').next().is_some_and(|last| last.contains(':'))
        {
            return named.parse();
        }
        if tag.as_str().contains(['/', ':']) {
            return tag.as_str().parse();
        }
        let name = Self {
            repository: layout.to_ascii_lowercase(),
            tag: tag.as_str().to_owned(),
        };
        name.checked()
    }

    /// Returns the name without what goes without saying: the registry that Docker has by default, and the library there.
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        // Docker still reads the older name of its registry.
        let hub = ["docker.io/", "index.docker.io/"];
        let rest = hub.iter().find_map(|hub| text.strip_prefix(hub)).unwrap_or(&text);
        let official = rest.strip_prefix("library/").filter(|rest| !rest.contains('/'));
        official.unwrap_or(rest).to_owned()
    }

    fn checked(self) -> Result<Self> {
        if is_repository(&self.repository) && is_tag(&self.tag) {
            return Ok(self);
        }
        fail!(Invalid, "{:?} is no name that Docker takes", self.to_string())
    }
}

impl FromStr for DockerName {
    type Err = Error;

    /// Reads `[registry[:port]/]repository[:tag]`.
    fn from_str(text: &str) -> Result<Self> {
        let (repository, tag) = match text.rsplit_once(':') {
            // A colon before a slash is that of a port.
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (text, LATEST),
        };
        let name = Self {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        };
        name.checked()
    }
}

fn is_repository(text: &str) -> bool {
    let path = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            if !is_registry(first) {
                return false;
            }
            rest
        }
        _ => text,
    };
    text.len() <= MAX_REPOSITORY && path.split('/').all(is_component)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) && host.split('.').all(is_label)
}

/// Letters and digits, with `-` between them.
pub(crate) fn is_label(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        && !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
pub(crate) fn is_component(text: &str) -> bool {
    let mut between = text.split(is_of_word).filter(|run| !run.is_empty());
    text.starts_with(is_of_word)
        && text.ends_with(is_of_word)
        && between.all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|c| c == b'-'))
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

pub(crate) fn is_tag(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_takes() {
        for (text, want) in [
            ("foo", "foo:latest"),
            ("foo:1", "foo:1"),
            ("foo/bar", "foo/bar:latest"),
            ("a/b:_x", "a/b:_x"),
            ("foo__bar--baz.x_y:A.b-", "foo__bar--baz.x_y:A.b-"),
            ("localhost/x", "localhost/x:latest"),
            ("host:5000/x", "host:5000/x:latest"),
            ("Host.com/x:1", "Host.com/x:1"),
            ("A-b:5/c/d:1", "A-b:5/c/d:1"),
            ("abcdef:1", "abcdef:1"),
        ] {
            assert_eq!(text.parse::<DockerName>().expect(text).to_string(), want);
        }
        let long = "x".repeat(256);
        for text in [
            "",
            ":",
            "foo:",
            ":1",
            "Foo",
            "Foo:1",
            "Foo/bar:1",
            "foo/Bar",
            "foo:1.0+b",
            "a:b:c",
            "a@b",
            "foo@x:1",
            "my image",
            "img_",
            "img_:v1",
            "_img:1",
            "ü:1",
            "a._b:1",
            "a___b",
            "a..b",
            "-a/b",
            "a//b",
            "a/",
            "/a",
            "host:/x",
            "host:x/y",
            "-h.com/x",
            "h..c/x",
            "foo:-x",
            "foo:.x",
            "[::1]:5000/x:1",
            &format!("foo:{long}"),
            &long,
        ] {
            assert!(text.parse::<DockerName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_of_a_layout_gets_its_name_unless_it_is_one() {
        let hex = "a".repeat(64);
        for (tag, layout, want) in [
            ("v1", "img", Some("img:v1")),
            ("v1", "My.App", Some("my.app:v1")),
            ("foo/bar", "img_", Some("foo/bar:latest")),
            ("x:1", "img_", Some("x:1")),
            ("v1", "img_", None),
            ("v1", "my image", None),
            ("v1", "Über", None),
            ("1.0+b", "img", None),
            ("a@b", "img", None),
            ("a:b:c", "img", None),
            (
                &format!("docker.io/x:1@sha256:{hex}"),
                "img",
                Some("docker.io/x:1"),
            ),
            (&format!("docker.io/x@sha256:{hex}"), "img", None),
            (&format!("h:5/x@sha256:{hex}"), "img", None),
            (&format!("v1@sha256:{hex}"), "img", None),
        ] {
            let name = DockerName::of_tag(&tag.parse().expect("tag"), layout).ok();
            assert_eq!(
                name.map(|name| name.to_string()).as_deref(),
                want,
                "{tag} in {layout}"
            );
        }
    }

    #[test]
    fn what_goes_without_saying_is_left_out() {
        for (text, want) in [
            ("docker.io/library/foo", "foo:latest"),
            ("docker.io/a/foo:1", "a/foo:1"),
            ("library/foo:1", "foo:1"),
            ("index.docker.io/foo", "foo:latest"),
            ("docker.io/library/a/b", "library/a/b:latest"),
            ("quay.io/library/foo", "quay.io/library/foo:latest"),
        ] {
            assert_eq!(text.parse::<DockerName>().expect(text).familiar(), want);
        }
    }
}
