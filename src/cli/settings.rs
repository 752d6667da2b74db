// SPDX-License-Identifier: Apache-2.0
//! `umoci settings`: what a layout is set to.

use crate::store::{format_duration, parse_duration};

use super::prelude::*;

/// shows and changes the settings of a layout
///
/// Prints the settings of a layout, after a change if one is asked for. They stand in .umoci/settings.json, and hold for
/// everybody who uses the layout with umoci. Durations are written as 45s, 30m, 24h, 7d, 2w; 0 is none.
#[derive(clap::Args, Debug)]
pub struct Settings {
    #[command(flatten)]
    layout: LayoutArg,
    /// umoci gc spares blobs that came within this time
    #[arg(long = "gc-grace", value_name = "duration", value_parser = parse_duration)]
    gc_grace: Option<Duration>,
    /// earlier values of names keep their blobs for so long
    #[arg(long = "reflog-keep", value_name = "duration", value_parser = parse_duration)]
    reflog_keep: Option<Duration>,
    /// umoci gc forgets changes of names that are older
    #[arg(long = "reflog-expire", value_name = "duration", value_parser = parse_duration)]
    reflog_expire: Option<Duration>,
    /// print a JSON object
    #[arg(long)]
    json: bool,
}

impl Settings {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let mut settings = store.settings()?;
        let before = settings;
        let given = [self.gc_grace, self.reflog_keep, self.reflog_expire];
        for ((_, duration), given) in settings.fields().into_iter().zip(given) {
            *duration = given.unwrap_or(*duration);
        }
        // A layout that is only asked may be one that this user cannot write.
        if settings != before {
            store.set_settings(settings)?;
        }
        let mut table = Table::new(&["SETTING", "VALUE"]);
        let mut map = serde_json::Map::new();
        for (name, duration) in settings.fields() {
            let value = format_duration(*duration);
            map.insert(name.to_owned(), value.as_str().into());
            table.row([name.to_owned(), value]);
        }
        ui.show(self.json, &map, table)
    }
}
