// SPDX-License-Identifier: Apache-2.0
//! `umoci completions` and `umoci man`: made from the one definition of the command line.

use std::path::Path;

use clap_complete::Shell;

use super::args::positionals;
use super::failure::{Failure, Outcome};
use super::ui::Ui;

/// prints a completion script for a shell
///
/// Prints a script for bash, zsh or fish that completes commands and options. For bash: source <(umoci completions bash)
#[derive(clap::Args, Debug)]
#[command(override_usage = "<bash|zsh|fish>")]
pub struct Completions {
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Completions {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [name] = positionals(&self.rest, ["shell"])?;
        let shell = match name {
            "bash" => Shell::Bash,
            "zsh" => Shell::Zsh,
            "fish" => Shell::Fish,
            other => {
                return Err(Failure::Arguments(format!(
                    "unknown shell {other:?}: give bash, zsh or fish"
                )));
            }
        };
        let mut out = Vec::new();
        clap_complete::generate(shell, &mut super::definition(), "umoci", &mut out);
        ui.print(&out)
    }
}

/// writes the manual pages to a directory
///
/// Writes a page for the program and one for each command, umoci-COMMAND.1. The directory is made if it does not exist.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<directory>")]
pub struct Man {
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Man {
    /// Runs the command.
    pub fn run(self, _ui: &Ui) -> Outcome {
        let [directory] = positionals(&self.rest, ["directory"])?;
        let directory = Path::new(directory);
        umoci::fs::make_dirs(directory)?;
        let program = super::definition();
        let mut pages = vec![("umoci".to_owned(), &program)];
        while let Some((name, command)) = pages.pop() {
            for child in command.get_subcommands() {
                pages.push((format!("{name}-{}", child.get_name()), child));
            }
            let mut page = Vec::new();
            let command = command.clone().display_name(name.clone());
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            rendered.map_err(|e| umoci::error::Error::from(e).context("write a manual page"))?;
            umoci::fs::replace_file(&directory.join(format!("{name}.1")), &page)?;
        }
        Ok(())
    }
}
