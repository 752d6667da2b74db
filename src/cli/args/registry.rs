// SPDX-License-Identifier: Apache-2.0
//! Access to registries, and the images and tags in them that a command is about.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, shortlist};
use crate::registry::{CredentialFiles, Reference, Registry, RegistryOptions, RepositoryName};
use crate::store::{Store, StoreOptions};

use super::super::failure::{Outcome, invalid};
use super::super::ui::Ui;
use super::layout::layout_path;
use super::values::pattern;

/// Access to registries.
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

/// Which layout has the remotes, for commands that work on none
#[derive(Args, Debug)]
pub struct RemotesArg {
    /// layout whose remotes NAME::TAG means (default: the current directory)
    #[arg(long = "layout", value_name = "layout", value_parser = layout_path, help_heading = "registry")]
    layout: Option<PathBuf>,
}

impl RemotesArg {
    /// Returns the layout.
    pub fn path(&self) -> &Path {
        self.layout.as_deref().unwrap_or(Path::new("."))
    }

    /// As [`expand`].
    pub fn expand(&self, word: &str, ui: &Ui) -> Outcome<String> {
        expand(word, self.path(), ui)
    }

    /// Returns the image in a registry that a word means, if it means one.
    pub fn image(&self, word: &str, ui: &Ui) -> Outcome<Option<Reference>> {
        let word = self.expand(word, ui)?;
        if !word.starts_with("docker://") {
            return Ok(None);
        }
        Ok(Some(word.parse().map_err(invalid::<Error>("image"))?))
    }
}

/// Returns the repository that a word means: the value of `what`, an option or operand.
pub fn repository(word: &str, what: &str) -> Outcome<RepositoryName> {
    let (repository, image) = Reference::parse_open(word).map_err(invalid::<Error>(what))?;
    if let Some(image) = image {
        refuse!("invalid {what}: {image} is one image: name {repository} alone");
    }
    Ok(repository)
}

/// Returns whether a remote may have this name.
pub fn is_remote_name(name: &str) -> bool {
    let is_word = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    name.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric()) && name.bytes().all(is_word)
}

/// Returns a word with the place of a remote of a layout where it names one, as `docker://HOST/PATH:TAG` for `NAME::TAG`; any other
/// as it is. Shows which place that is.
pub fn expand(word: &str, layout: &Path, ui: &Ui) -> Outcome<String> {
    let Some((name, rest)) = word.split_once("::").filter(|(name, _)| is_remote_name(name)) else {
        return Ok(word.to_owned());
    };
    let shown = layout.display();
    let remotes = match Store::open(layout, StoreOptions::default()) {
        Ok(store) => store.remotes()?,
        Err(err) => return Err(err.context(format!("look for the remote {name}")).into()),
    };
    let Some(place) = remotes.get(name) else {
        let has = match remotes.len() {
            0 => format!("umoci settings --layout {shown} remote.{name} docker://HOST/PATH makes it"),
            _ => format!("there are {}", shortlist(remotes.keys())),
        };
        fail!(NotFound, "no remote {name} in {shown}: {has}");
    };
    ui.done(format_args!("{name} is {place}"));
    Ok(match rest {
        "" => place.clone(),
        digest if digest.starts_with('@') => format!("{place}{digest}"),
        tag => format!("{place}:{tag}"),
    })
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
