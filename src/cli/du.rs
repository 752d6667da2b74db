// SPDX-License-Identifier: Apache-2.0
//! `umoci du`

use crate::store::Usage;

use super::prelude::*;

/// shows what each image holds alone and shares
///
/// Prints for each entry of index.json what would be freed if it went alone, and what it shares with others; then the
/// totals, which add up: held alone, shared (each blob once), garbage that umoci gc would remove, and what no entry leads to
/// but a lease, a grace or the reflog spares.
#[derive(clap::Args, Debug)]
pub struct Du {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    output: TableArgs,
}

impl Du {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let usage: Usage = store.usage(ui)?;
        let mut table = Table::new(&["ALONE", "SHARED", "NAME"]);
        for image in &usage.images {
            table.row([
                human_size(image.alone),
                human_size(image.shared),
                one_line(&image.name),
            ]);
        }
        // Each blob is in one of these sums, so they add up to the total.
        let mut totals = Table::new(&["TOTAL", human_size(usage.total).as_str()]);
        for (name, bytes) in [
            ("alone", usage.alone),
            ("shared", usage.shared),
            ("garbage", usage.garbage),
            ("spared", usage.spared),
        ] {
            totals.row([name.to_owned(), human_size(bytes)]);
        }
        let table = self.output.fit(table, ui);
        ui.show(self.output.json, &usage, format_args!("{table}\n{totals}"))
    }
}
