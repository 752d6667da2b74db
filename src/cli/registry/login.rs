// SPDX-License-Identifier: Apache-2.0
//! `umoci login` and `umoci logout`

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::registry::{CredentialFiles, Credentials, Registry, RegistryOptions};

use super::super::prelude::*;
use super::show_warnings;

/// logs in to a registry
///
/// Asks the registry whether it takes the user and the password, and writes them to auth.json, or to the credential helper
/// that is set there for the host.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<registry>")]
pub struct Login {
    /// name of the user
    #[arg(long, short = 'u', value_name = "name")]
    username: Option<String>,
    /// read the password from stdin
    #[arg(long = "password-stdin")]
    password_stdin: bool,
    #[command(flatten)]
    remotes: RemotesArg,
    #[command(flatten)]
    registry: RegistryArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// logs out of a registry
///
/// Removes the credentials for a registry from auth.json or from its credential helper. It is no error if there are none.
#[derive(clap::Args, Debug)]
#[command(override_usage = "[<registry>]")]
pub struct Logout {
    /// log out of all registries in auth.json
    #[arg(long)]
    all: bool,
    /// file of credentials (default: those of podman and docker)
    #[arg(long, value_name = "file")]
    authfile: Option<PathBuf>,
    #[command(flatten)]
    remotes: RemotesArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Login {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [word] = positionals(&self.rest, ["registry"])?;
        let host = &self.remotes.host(word, ui)?;
        let user = match &self.username {
            Some(user) => user.clone(),
            None if self.password_stdin => refuse!("--password-stdin needs --username"),
            None => ask("Username: ", true)?,
        };
        let password = if self.password_stdin {
            read_line()?
        } else {
            ask("Password: ", false)?
        };
        if user.is_empty() || password.is_empty() {
            refuse!("a login needs a user and a password");
        }
        // In the file a colon ends the name.
        if user.contains(':') {
            refuse!("invalid --username: {user:?} (a name has no colon)");
        }
        let mut options = self.registry.options()?;
        // A login makes the file that --authfile names.
        let files = match &self.registry.authfile {
            Some(file) => CredentialFiles::optional(file.clone()),
            None => options.credentials.clone(),
        };
        let credentials = Credentials::Password { user, password };
        options.credentials = CredentialFiles::fixed(credentials.clone());
        check(options, host, ui)?;
        let file = files.store(host, &credentials)?;
        ui.done(format_args!("logged in to {host}: {}", file.display()));
        Ok(())
    }
}

fn check(options: RegistryOptions, host: &str, ui: &Ui) -> Outcome {
    let registry = Registry::new(options);
    let checked = registry.check_login(host);
    show_warnings(&registry, ui);
    Ok(checked?)
}

impl Logout {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let files = match &self.authfile {
            Some(file) => CredentialFiles::named(file.clone()),
            None => CredentialFiles::default_of(&variable),
        };
        if self.all {
            let [] = positionals(&self.rest, [])?;
            let count = files.erase_all()?;
            ui.done(format_args!(
                "logged out of {}",
                counted(count as u64, "registry")
            ));
            return Ok(());
        }
        let [word] = positionals(&self.rest, ["registry"])?;
        let host = &self.remotes.host(word, ui)?;
        if files.erase(host)? {
            ui.done(format_args!("logged out of {host}"));
        } else {
            ui.warn(format_args!("there were no credentials for {host}"));
        }
        Ok(())
    }
}

impl RemotesArg {
    /// Returns the registry that a word means: that of a remote, or its own.
    fn host(&self, word: &str, ui: &Ui) -> Outcome<String> {
        let place = self.expand(word, ui)?;
        if place == word {
            return host_of(word).map(str::to_owned);
        }
        let image: crate::registry::Reference = place.parse().map_err(invalid::<Error>("registry"))?;
        Ok(image.repository().host().to_owned())
    }
}

/// Returns the registry of a word, which may be a URL as docker takes it, or have a path below which the credentials count.
fn host_of(text: &str) -> Outcome<&str> {
    let text = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text);
    let text = text
        .strip_prefix("docker://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let probe = format!("{text}/login");
    match probe.parse::<crate::registry::RepositoryName>() {
        Ok(name) if name.host() == text || text.starts_with(&format!("{}/", name.host())) => Ok(text),
        Ok(_) if crate::registry::is_hub(text) => Ok(text),
        _ => refuse!("invalid registry: {text:?} (want HOST[:PORT])"),
    }
}

fn read_line() -> Outcome<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(Error::from)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks the person at the terminal.
fn ask(question: &str, is_shown: bool) -> Outcome<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        refuse!("there is no terminal to ask for it: give --username and --password-stdin");
    }
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    if is_shown {
        return read_line();
    }
    let before = tcgetattr(&stdin).map_err(Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &hidden).map_err(Error::from)?;
    let line = read_line();
    tcsetattr(&stdin, OptionalActions::Now, &before).map_err(Error::from)?;
    eprintln!();
    line
}
