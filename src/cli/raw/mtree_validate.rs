// SPDX-License-Identifier: Apache-2.0
//! `umoci raw mtree-validate`

use crate::bundle::{read_mtree, validate};
use crate::fs::Root;
use crate::mtree::{Keyword, Keywords};

use super::super::prelude::*;

/// compare a directory with an mtree manifest
///
/// Prints a line for each path that differs, and fails if there is any.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--manifest <file> --path <directory>")]
pub struct MtreeValidate {
    /// manifest to compare with
    #[arg(long, short = 'f', visible_alias = "file")]
    manifest: Option<String>,
    /// directory to compare
    #[arg(long, short = 'p')]
    path: Option<String>,
    /// keywords to compare beside those of the manifest
    #[arg(long = "add-keywords", short = 'K')]
    add_keywords: Vec<String>,
    /// keywords to compare instead of those of the manifest
    #[arg(long = "use-keywords", short = 'k')]
    use_keywords: Vec<String>,
    /// compare the keywords that umoci itself uses
    #[arg(long = "umoci-keywords")]
    umoci_keywords: bool,
    /// work without privileges
    #[arg(long)]
    rootless: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl MtreeValidate {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = positionals(&self.rest, [])?;
        let (Some(manifest), Some(path)) = (&self.manifest, &self.path) else {
            // The words are those of the Go tool, which names its options by their second names.
            let missing = match (&self.manifest, &self.path) {
                (None, None) => r#"flags "file, path""#,
                (None, _) => r#"flag "file""#,
                _ => r#"flag "path""#,
            };
            return Err(Failure::Usage(format!("Required {missing} not set")));
        };
        for (option, value) in [("manifest", manifest), ("path", path)] {
            if value.is_empty() {
                refuse!("--{option} must be a valid path");
            }
        }
        let recorded = read_mtree(manifest.as_ref())?;
        let mut keywords = if !self.use_keywords.is_empty() {
            Keywords::parse(&self.use_keywords.join(","))?
        } else if self.umoci_keywords {
            Keywords::umoci()
        } else {
            recorded.keywords().clone()
        };
        for keyword in Keywords::parse(&self.add_keywords.join(","))?.iter() {
            keywords.add(*keyword);
        }
        keywords.add(Keyword::Type);
        let root = Root::open(path.as_ref())?.rootless(self.rootless);
        let found = validate(&recorded, &root, &keywords)?;
        if found.is_empty() {
            return Ok(());
        }
        ui.print(line_each(&found))?;
        fail!(Invalid, "validation failed: {} differences found", found.len())
    }
}
