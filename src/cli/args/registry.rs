// SPDX-License-Identifier: Apache-2.0
//! Access to registries, and the images and tags in them that a command is about.

use std::path::PathBuf;

use clap::Args;

use crate::error::Error;
use crate::registry::{CredentialFiles, Reference, Registry, RegistryOptions};

use super::super::failure::{Outcome, invalid};
use super::values::pattern;

/// How registries are reached.
#[derive(Args, Debug)]
pub struct RegistryArgs {
    /// file of credentials (default: those of podman and docker)
    #[arg(long, value_name = "file", help_heading = "registry")]
    pub authfile: Option<PathBuf>,
    /// speak plain HTTP to the registry; registries on this machine may do so anyway
    #[arg(long = "plain-http", help_heading = "registry")]
    pub plain_http: bool,
}

impl RegistryArgs {
    /// Returns the settings of this user and machine, with the options of the command.
    pub fn options(&self) -> Outcome<RegistryOptions> {
        let mut options = RegistryOptions::default_of(&variable)?;
        if let Some(file) = &self.authfile {
            options.credentials = CredentialFiles::named(file.clone());
        }
        options.plain_http = self.plain_http;
        Ok(options)
    }

    /// Begins a session with registries.
    pub fn session(&self) -> Outcome<Registry> {
        Ok(Registry::new(self.options()?))
    }
}

/// Returns an environment variable that is set to something.
pub fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(Into::into)
}

/// Returns the directory for large temporary files, as the containers tools choose it: `/tmp` may be in memory.
pub fn spool_dir() -> PathBuf {
    variable("TMPDIR").unwrap_or_else(|| "/var/tmp".into())
}

/// Returns the image in a registry that a word means, if it means one.
pub fn remote(word: &str) -> Outcome<Option<Reference>> {
    if !word.starts_with("docker://") {
        return Ok(None);
    }
    Ok(Some(word.parse().map_err(invalid::<Error>("image"))?))
}

/// Which tags of a repository are meant, and whether anything is done.
#[derive(Args, Debug, Default)]
pub struct TagsArgs {
    /// all tags
    #[arg(long = "all-tags")]
    pub all_tags: bool,
    /// all tags that the pattern matches, such as 'v1.*'; may be given more than once
    #[arg(long, value_name = "pattern", value_parser = pattern)]
    pub filter: Vec<glob::Pattern>,
    /// say what would be copied, and copy nothing
    #[arg(long = "dry-run", conflicts_with = "json")]
    pub dry_run: bool,
}

impl TagsArgs {
    /// Returns whether several tags may be meant.
    pub fn is_many(&self) -> bool {
        self.all_tags || !self.filter.is_empty()
    }

    /// Returns whether a tag is meant.
    pub fn has(&self, tag: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|filter| filter.matches(tag))
    }
}
