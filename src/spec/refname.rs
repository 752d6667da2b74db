// SPDX-License-Identifier: Apache-2.0
//! Reference names (tags). Spec: image-spec, annotations, `org.opencontainers.image.ref.name`.

use std::str::FromStr;

use derive_more::{AsRef, Display};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A reference name that follows the grammar of the spec. Names outside of it may stand in a foreign `index.json`: they are
/// listed and can be removed, and their entries are read by digest.
///
/// A digest follows the grammar as well. Such a name is read where it stands, and never given, lest it stand in for the digest
/// that somebody means.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Display, AsRef)]
#[as_ref(str)]
pub struct RefName(String);

impl RefName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the digest that the name is, if it is one.
    pub fn as_digest(&self) -> Option<Digest> {
        self.0.parse().ok()
    }

    /// Reads a name that is to be given to something.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`] if it does not follow the grammar, or is a digest.
    pub fn parse_new(text: &str) -> Result<Self> {
        let name: Self = text.parse()?;
        name.check_new().map(|()| name)
    }

    /// Checks that the name may be given to something.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Invalid`] if it is a digest.
    pub fn check_new(&self) -> Result<()> {
        // A tag that is a digest would shadow the image that the digest names.
        if self.as_digest().is_none() {
            return Ok(());
        }
        fail!(Invalid, "{self} is a digest, and no name for an image");
    }
}

/// Returns whether a text is words of letters and digits, with one separator between two of them.
fn is_component(text: &str) -> bool {
    // The grammar has two hyphens in a row as one separator.
    let text = text.replace("--", "-");
    text.split(['-', '.', '_', ':', '@', '+'])
        .all(|word| !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric()))
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.split('/').all(is_component) {
            return Ok(Self(text.to_owned()));
        }
        fail!(Invalid, "tag contains invalid characters: {text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_no_new_name_and_one_with_a_digest_in_it_is() {
        let hex = "a".repeat(64);
        let digest: RefName = format!("sha256:{hex}").parse().expect("name");
        assert_eq!(
            digest.as_digest().map(|d| d.to_string()).as_deref(),
            Some(digest.as_str())
        );
        assert!(digest.check_new().is_err());
        for other in [
            format!("x:v1@sha256:{hex}"),
            format!("sha256-{hex}"),
            "sha256:abc".to_owned(),
        ] {
            let other: RefName = other.parse().expect("name");
            assert!(
                other.as_digest().is_none() && other.check_new().is_ok(),
                "{other}"
            );
        }
    }

    #[test]
    fn the_grammar_of_the_spec() {
        for good in ["latest", "v1.0", "a--b", "a/b/c", "x:1@y+z", "A_0"] {
            assert!(good.parse::<RefName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".AZ94n18s",
            "a..b",
            "a---b",
            "a--.b",
            "a/",
            "/a",
            "a b",
            "a\n",
            "é",
            "-a",
            "a-",
        ] {
            assert!(bad.parse::<RefName>().is_err(), "{bad}");
        }
    }
}
