// SPDX-License-Identifier: Apache-2.0
//! Words that choose paths, as git has them (pathspecs): a path stands for itself and all below it, and so does a pattern.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, ErrorKind, Result};
use crate::node::TreePath;

/// A word that chooses paths. In a pattern `*` and `?` stand for slashes too, as in git, and `[…]` and `{a,b}` have their meaning.
#[derive(Clone, Debug)]
pub struct Pathspec {
    path: TreePath,
    /// `None` for a word without `*`, `?` and `[`.
    pattern: Option<GlobMatcher>,
}

impl Pathspec {
    /// Reads a word.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a NUL byte, or a pattern that has no end.
    pub fn parse(word: &str) -> Result<Self> {
        let path = TreePath::clean(word.as_bytes())?;
        let pattern = std::str::from_utf8(path.as_bytes())
            .ok()
            .filter(|text| text.contains(['*', '?', '[']))
            .map(glob)
            .transpose()?;
        Ok(Self { path, pattern })
    }

    /// Returns the path that the word is when taken literally.
    pub fn path(&self) -> &TreePath {
        &self.path
    }

    /// Returns whether the word chooses a path.
    pub fn matches(&self, path: &TreePath) -> bool {
        if *path == self.path || path.is_below(&self.path) {
            return true;
        }
        let Some(pattern) = &self.pattern else {
            return false;
        };
        // All below a directory that fits is chosen with it.
        pattern.is_match(OsStr::from_bytes(path.as_bytes()))
            || path
                .ancestors()
                .any(|above| !above.is_root() && pattern.is_match(OsStr::from_bytes(above.as_bytes())))
    }
}

/// Reads a pattern whose `*` stands for slashes too.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a pattern that has no end.
pub fn glob(pattern: &str) -> Result<GlobMatcher> {
    glob_with(pattern, false)
}

/// As [`glob`]; letters of both cases are the same if `any_case`.
///
/// # Errors
/// As [`glob`].
pub fn glob_with(pattern: &str, any_case: bool) -> Result<GlobMatcher> {
    let glob = GlobBuilder::new(pattern)
        .case_insensitive(any_case)
        .backslash_escape(true)
        .build();
    match glob {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(err) => {
            let text = format!("invalid pattern {pattern:?}: {}", err.kind());
            Err(Error::new(ErrorKind::Invalid, text))
        }
    }
}

/// The words of a command; none chooses all.
#[derive(Clone, Debug, Default)]
pub struct Pathspecs {
    specs: Vec<Pathspec>,
    /// For each of them, true if it has chosen something.
    used: Vec<bool>,
}

impl Pathspecs {
    /// Reads words.
    ///
    /// # Errors
    /// Those of [`Pathspec::parse`].
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let specs: Result<Vec<_>> = words.iter().map(|word| Pathspec::parse(word.as_ref())).collect();
        Ok(Self {
            used: vec![false; words.len()],
            specs: specs?,
        })
    }

    /// Returns whether there are none, so that all is chosen.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Returns whether one of the words chooses a path, and remembers which do.
    pub fn choose(&mut self, path: &TreePath) -> bool {
        let mut found = self.specs.is_empty();
        for (spec, used) in self.specs.iter().zip(&mut self.used) {
            if spec.matches(path) {
                (*used, found) = (true, true);
            }
        }
        found
    }

    /// Returns the first word that has chosen nothing.
    pub fn unused(&self) -> Option<&TreePath> {
        let mut pairs = self.specs.iter().zip(&self.used);
        pairs.find(|(_, used)| !**used).map(|(spec, _)| &spec.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_chooses_what_it_would_for_git() {
        for (word, path, want) in [
            ("etc", "etc", true),
            ("etc", "etc/passwd", true),
            ("/etc/", "etc/passwd", true),
            ("etc", "etcetera", false),
            (".", "etc/passwd", true),
            ("usr/*.so", "usr/lib/a/b.so", true),
            ("usr/*.so", "usr/lib/b.so.1", false),
            ("*.conf", "etc/x.conf", true),
            ("us?/bin", "usr/bin/sh", true),
            ("usr/[ab]*", "usr/bin/sh", true),
            ("{etc,usr}/*", "usr/x", true),
            // The word itself, where a file is called so.
            ("a[1]", "a[1]", true),
            ("a[1]", "a1", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("**/x", "a/b/x", true),
            ("ETC", "etc", false),
        ] {
            let spec = Pathspec::parse(word).expect(word);
            let path = TreePath::clean(path.as_bytes()).expect("path");
            assert_eq!(spec.matches(&path), want, "{word} {path}");
        }
        for bad in ["a[", "x*{a", "a\0b"] {
            Pathspec::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn names_that_are_no_text_are_chosen_too() {
        let path = TreePath::clean(b"etc/\xff.conf").expect("path");
        assert!(Pathspec::parse("*.conf").expect("word").matches(&path));
    }

    #[test]
    fn a_word_that_chose_nothing_is_told() {
        let mut specs = Pathspecs::parse(&["etc", "nowhere"]).expect("words");
        assert!(specs.choose(&TreePath::clean(b"etc/x").expect("path")));
        assert_eq!(specs.unused().expect("one").as_bytes(), b"nowhere");
        assert!(Pathspecs::default().choose(&TreePath::root()));
    }
}
