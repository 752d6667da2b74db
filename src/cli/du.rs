// SPDX-License-Identifier: Apache-2.0
//! `umoci du`

use crate::inside::Duplicates;
use crate::store::Usage;

use super::inside::quoted;
use super::prelude::*;

/// Contents that --contents tells by path.
const LARGEST: usize = 20;

/// shows what each image holds alone and shares
///
/// Prints for each entry of index.json what would be freed if it went alone, and what it shares with others; then the
/// totals, which add up: held alone, shared (each blob once), garbage that umoci gc would remove, and what no entry leads to
/// but a lease, a grace or the reflog spares.
#[derive(clap::Args, Debug)]
pub struct Du {
    #[command(flatten)]
    layout: LayoutArg,
    /// show instead what the files of all layers share: the same content in several layers, and what takes most by its copies
    #[arg(long)]
    contents: bool,
    #[command(flatten)]
    output: TableArgs,
}

impl Du {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        if self.contents {
            return self.contents(&store, ui);
        }
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

    fn contents(&self, store: &Store, ui: &Ui) -> Outcome {
        let _reading = store.reading();
        let found = Duplicates::of(store, LARGEST, ui)?;
        let mut totals = Table::new(&["BYTES", "COUNT", "OF"]);
        for (bytes, count, of) in [
            (
                found.packed_of_images,
                found.layers_of_images,
                "layers, as each image has them (compressed)",
            ),
            (found.packed, found.layers, "layers, each once (compressed)"),
            (found.bytes, found.files, "files in these layers"),
            (found.distinct, found.contents, "contents, each once"),
            (
                found.within,
                found.copies_within,
                "copies in the layer that has the content already",
            ),
            (
                found.across,
                found.copies_across,
                "copies in layers that share nothing",
            ),
        ] {
            totals.row([human_size(bytes), count.to_string(), of.to_owned()]);
        }
        let mut table = Table::new(&["SAVED", "SIZE", "COPIES", "LAYERS", "PATH"]);
        for one in &found.largest {
            table.row([
                human_size(one.size.saturating_mul(one.copies - 1)),
                human_size(one.size),
                one.copies.to_string(),
                one.layers.to_string(),
                quoted(&one.path),
            ]);
        }
        let table = self.output.fit(table, ui);
        ui.show(self.output.json, &found, format_args!("{totals}\n{table}"))?;
        match found.unseen.first() {
            None => Ok(()),
            Some((name, err)) => {
                let text = format!("the answer is without {}: {err}", one_line(name));
                Err(Error::new(err.kind(), text).into())
            }
        }
    }
}
