// SPDX-License-Identifier: Apache-2.0
//! `umoci list-tags`

use super::super::args::repository;
use super::super::prelude::*;
use super::show_warnings;

/// lists the tags of a repository in a registry
///
/// Prints the tags, one a line, in the order of the registry. Nothing is fetched but the list.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<repository>")]
pub struct ListTags {
    /// only tags that the pattern matches, such as 'v1.*'
    #[arg(long, value_name = "pattern", value_parser = pattern)]
    filter: Option<glob::Pattern>,
    /// print a JSON array of names
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remotes: RemotesArg,
    #[command(flatten)]
    registry: RegistryArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl ListTags {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [text] = positionals(&self.rest, ["repository"])?;
        let repository = repository(&self.remotes.expand(text, ui)?, "repository")?;
        let registry = self.registry.session()?;
        let mut tags = registry.tags(&repository)?;
        if let Some(filter) = &self.filter {
            tags.retain(|tag| filter.matches(tag));
        }
        show_warnings(&registry, ui);
        let lines: String = tags.iter().map(|tag| one_line(tag) + "\n").collect();
        ui.show(self.json, &tags, lines)
    }
}
