// SPDX-License-Identifier: Apache-2.0
//! The other side of a copy, in skopeo's words: a layout or an archive, and what in it.

use std::fmt;
use std::path::{Path, PathBuf};

use umoci::error::{Error, ErrorKind};
use umoci::image::Target;
use umoci::spec::RefName;
use umoci::transfer::Named;

use super::args::source;
use super::failure::{Failure, Outcome};

/// Where images are copied from or to.
#[derive(Debug)]
pub enum Place {
    /// `DIR[:TAG]`, `DIR@DIGEST` or the same behind `oci:`.
    Layout(PathBuf, Option<Target>),
    /// `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`.
    Archive(Archived),
}

/// An archive, and which image of it if one is named.
#[derive(Debug)]
pub struct Archived {
    /// Docker's, not OCI's.
    pub docker: bool,
    /// The file; `-` is stdin or stdout.
    pub file: String,
    /// A name in the archive, or `@N`, which counts from 0.
    pub name: Option<String>,
}

impl Place {
    /// Reads the words; `what` names them in messages.
    pub fn parse(text: &str, what: &str) -> Outcome<Self> {
        let archive = |rest: &str, docker| {
            let (file, name) = match rest.split_once(':') {
                Some((file, name)) => (file, Some(name.to_owned())),
                None => (rest, None),
            };
            if file.is_empty() || name.as_deref() == Some("") {
                let text =
                    format!("invalid {what}: {text:?} (want a file, and perhaps a name behind a colon)");
                return Err(Failure::Arguments(text));
            }
            Ok(Place::Archive(Archived {
                docker,
                file: file.to_owned(),
                name,
            }))
        };
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return archive(rest, false);
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return archive(rest, true);
        }
        let (path, target) = source(text.strip_prefix("oci:").unwrap_or(text), what)?;
        Ok(Place::Layout(path, target))
    }
}

impl fmt::Display for Archived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.docker {
            "docker-archive"
        } else {
            "oci-archive"
        };
        write!(f, "{transport}:{}", self.file)
    }
}

impl Archived {
    /// Whether what is written goes to stdout, at the position where that stands.
    pub fn is_stdout(&self) -> bool {
        ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].contains(&self.file.as_str())
    }

    /// The file's path to read from; `None` for stdin.
    pub fn path(&self) -> Option<&Path> {
        (self.file != "-").then(|| Path::new(&self.file))
    }

    /// The image that is named, or the only one.
    pub fn find<'a>(&self, images: &'a [Named]) -> Outcome<&'a Named> {
        let names = || {
            let names: Vec<&str> = images
                .iter()
                .filter_map(|image| image.name.as_deref())
                .take(8)
                .collect();
            if names.is_empty() {
                return format!("{} images without a name", images.len());
            }
            names.join(", ")
        };
        let fail = |kind, what: &str| {
            let text = format!("{what} in {}, which has {}", self.file, names());
            Err(Error::new(kind, text).into())
        };
        let Some(name) = &self.name else {
            return match images {
                [one] => Ok(one),
                _ => fail(ErrorKind::Ambiguous, "several images"),
            };
        };
        if let Some(at) = name.strip_prefix('@').and_then(|at| at.parse::<usize>().ok()) {
            // A name more is no image more.
            let mut distinct: Vec<&Named> = images.iter().collect();
            distinct.dedup_by_key(|image| image.descriptor.digest);
            return match distinct.get(at) {
                Some(image) => Ok(image),
                None => fail(ErrorKind::NotFound, &format!("no image {name}")),
            };
        }
        let full = |text: &str| {
            let text = if self.docker && !text.contains(':') {
                format!("{text}:latest")
            } else {
                text.to_owned()
            };
            text.trim_start_matches("docker.io/")
                .trim_start_matches("library/")
                .to_owned()
        };
        let is = |image: &&Named| {
            let own = image.name.as_deref();
            own == Some(name) || self.docker && own.is_some_and(|own| full(own) == full(name))
        };
        let mut found: Vec<&Named> = images.iter().filter(is).collect();
        found.dedup_by_key(|image| image.descriptor.digest);
        match found.as_slice() {
            [one] => Ok(one),
            [] => fail(ErrorKind::NotFound, &format!("no image {name:?}")),
            _ => fail(ErrorKind::Ambiguous, &format!("several images {name:?}")),
        }
    }
}

/// The name that a target has already.
pub fn own_name(target: &Target) -> Option<RefName> {
    match target {
        Target::Name(name) | Target::Past(name, _) => Some(name.clone()),
        Target::Digest(_) => None,
    }
}
