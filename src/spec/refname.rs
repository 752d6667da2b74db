// SPDX-License-Identifier: Apache-2.0
//! Reference names (tags). Spec: image-spec, annotations, `org.opencontainers.image.ref.name`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A reference name that follows the grammar of the spec. Names outside of it may stand in a foreign `index.json`,
/// are listed, and cannot be addressed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RefName(String);

impl RefName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alnum = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut at = 0;
    loop {
        if !alnum(at) {
            return false;
        }
        while alnum(at) {
            at += 1;
        }
        match bytes.get(at) {
            None => return true,
            Some(b'-') if bytes.get(at + 1) == Some(&b'-') => at += 2,
            Some(b'-' | b'.' | b'_' | b':' | b'@' | b'+') => at += 1,
            Some(_) => return false,
        }
    }
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.split('/').all(component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(
                ErrorKind::Invalid,
                format!("tag contains invalid characters: {text:?}"),
            ))
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
