// SPDX-License-Identifier: Apache-2.0
//! `umoci index`: the index database beside a layout.

use super::prelude::*;

commands! {
    /// shows and rebuilds the index database of a layout
    Index {
        Status(Status),
        Rebuild(Rebuild),
    }
}

/// State of a part that changed since the database saw it, and of one that did not.
const STATES: [&str; 2] = ["to be read again", "up to date"];

/// shows what the index database knows
///
/// Prints what the index database is and knows, and whether it has seen the layout as it is now. If it has not, the next command
/// that needs it lets it catch up.
#[derive(clap::Args, Debug)]
pub struct Status {
    #[command(flatten)]
    layout: LayoutArg,
    /// print JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let status = store.index_status()?;
        let rows = [
            ("schema", format!("{} of {}", status.schema, status.newest_schema)),
            ("file", human_size(status.file_bytes)),
            ("index.json", STATES[usize::from(status.refs_current)].to_owned()),
            ("blobs/", STATES[usize::from(status.blobs_current)].to_owned()),
            ("refs", status.refs.to_string()),
            ("blobs", status.blobs.to_string()),
            ("edges", status.edges.to_string()),
            ("orphans", status.orphans.to_string()),
            ("verified", status.verified.to_string()),
        ];
        let text = lines(rows.map(|(name, value)| (name, vec![value])));
        ui.show(self.json, &status, text)
    }
}

/// makes the index database anew
///
/// Reads the whole layout and makes a new index database. Warns of everything that the old one had counted wrong.
#[derive(clap::Args, Debug)]
pub struct Rebuild {
    #[command(flatten)]
    layout: LayoutArg,
}

impl Rebuild {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        // A wrong count is a fault of ours or damage, and in either case a reason to look further.
        for text in store.rebuild_index(ui)? {
            ui.warn(format_args!("{text}"));
        }
        Ok(())
    }
}
