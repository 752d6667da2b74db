// SPDX-License-Identifier: Apache-2.0
//! `umoci completions` and `umoci man`

use super::complete::SCRIPTS;
use super::manual;
use super::prelude::*;

/// prints a completion script for a shell
///
/// Prints a script for bash, zsh or fish that completes commands, options, their values, and the tags of a layout behind
/// its colon. The script asks the program itself, so it need not be made anew for another version.
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
        match SCRIPTS.iter().find(|(shell, _)| *shell == name) {
            Some((_, script)) => ui.print(script),
            None => refuse!("unknown shell {name:?}: give bash, zsh or fish"),
        }
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
        // Pages of an older version are replaced one by one, each as a whole.
        crate::fs::make_dirs(directory)?;
        for (name, page) in manual::pages(&super::definition()) {
            crate::fs::replace_file(&directory.join(name), page.as_bytes())?;
        }
        Ok(())
    }
}
