// SPDX-License-Identifier: Apache-2.0
//! `umoci list`

use super::prelude::*;

/// lists the set of tags in an OCI layout
///
/// Prints the tags of a layout, one a line, in the order of its index.json.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    /// print a JSON array of names
    #[arg(long)]
    json: bool,
}

impl List {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let names = store.names()?;
        ui.show(self.json, &names, line_each(texts(&names)))
    }
}
