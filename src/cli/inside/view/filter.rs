// SPDX-License-Identifier: Apache-2.0
//! The filter of paths: a part of a name, or a glob.

use glob::{MatchOptions, Pattern};

use super::tree::Paths;

/// A filter that was applied to all paths.
#[derive(Debug)]
pub struct Filter {
    pub text: String,
    /// For each path, whether it or one above it fits.
    pub passes: Vec<bool>,
    /// The paths that fit themselves.
    pub hits: Vec<u32>,
}

/// Globs match as those of a shell do, but for names that begin with a dot.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// A text to look for.
enum Needle<'t> {
    Glob(Pattern),
    Part(&'t str),
}

impl Filter {
    /// Applies `text` to all paths: a glob if it has `*`, `?` or `[`, else a part of the name. With a slash it is compared with the
    /// whole path, which begins with a slash, else with the last name.
    ///
    /// # Errors
    /// The reason why a glob is none.
    pub fn new(text: String, paths: &Paths<'_>) -> Result<Self, String> {
        let needle = if text.contains(['*', '?', '[']) {
            let rooted = if text.contains('/') && !text.starts_with('/') && !text.starts_with("**") {
                format!("/{text}")
            } else {
                text.clone()
            };
            let pattern = Pattern::new(&rooted).map_err(|err| err.to_string())?;
            Needle::Glob(pattern)
        } else {
            Needle::Part(&text)
        };
        let is_path = text.contains('/');
        let mut passes = vec![false; paths.nodes.len()];
        let mut hits = Vec::new();
        // A path stands behind its parent, so the answer about that is there.
        for (number, node) in paths.nodes.iter().enumerate().skip(1) {
            let fits = if is_path {
                needle.fits(&String::from_utf8_lossy(&paths.path(number as u32)))
            } else {
                needle.fits(&String::from_utf8_lossy(node.name))
            };
            if fits {
                hits.push(number as u32);
            }
            passes[number] = fits || passes[node.parent as usize];
        }
        Ok(Self { text, passes, hits })
    }
}

impl Needle<'_> {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Glob(pattern) => pattern.matches_with(text, OPTIONS),
            Self::Part(part) => text.contains(part),
        }
    }
}
