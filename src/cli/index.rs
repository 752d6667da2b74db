// SPDX-License-Identifier: Apache-2.0
//! `umoci index`: the index database beside a layout.

use std::fmt::Write as _;

use umoci::progress::Monitor;

use super::args::{LayoutArg, positionals};
use super::failure::Outcome;
use super::table::human_size;
use super::ui::Ui;

/// shows and rebuilds the index database of a layout
#[derive(clap::Subcommand, Debug)]
pub enum Index {
    Status(Status),
    Rebuild(Rebuild),
}

impl Index {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        match self {
            Index::Status(command) => command.run(ui),
            Index::Rebuild(command) => command.run(ui),
        }
    }
}

/// shows what the index database knows
///
/// Prints what the index database is and knows, and whether it has seen the layout as it is now. If it has not, the next command
/// that needs it lets it catch up.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Status {
    #[command(flatten)]
    layout: LayoutArg,
    /// print JSON
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Status {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        let status = self.layout.open()?.index_status()?;
        if self.json {
            return ui.print_json(&status);
        }
        let current = |is: bool| if is { "up to date" } else { "to be read again" };
        let mut text = String::new();
        for (name, value) in [
            ("schema", format!("{} of {}", status.schema, status.newest_schema)),
            ("file", human_size(status.file_bytes)),
            ("index.json", current(status.refs_current).to_owned()),
            ("blobs/", current(status.blobs_current).to_owned()),
            ("refs", status.refs.to_string()),
            ("blobs", status.blobs.to_string()),
            ("edges", status.edges.to_string()),
            ("orphans", status.orphans.to_string()),
            ("verified", status.verified.to_string()),
        ] {
            let _ = writeln!(text, "{name:11} {value}");
        }
        ui.print(text.as_bytes())
    }
}

/// makes the index database anew
///
/// Reads the whole layout and makes a new index database. Warns of everything that the old one had counted wrong.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Rebuild {
    #[command(flatten)]
    layout: LayoutArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Rebuild {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        for text in self.layout.open()?.rebuild_index(ui)? {
            ui.warn(format_args!("{text}"));
        }
        Ok(())
    }
}
