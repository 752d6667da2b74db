// SPDX-License-Identifier: Apache-2.0
//! `umoci settings`: what a layout is set to.

use std::time::Duration;

use crate::store::{format_duration, parse_duration};

use super::prelude::*;

/// shows and changes the settings of a layout
///
/// Prints the settings of a layout, after a change if one is asked for. They stand in .umoci/settings.json, and hold for
/// everybody who uses the layout with umoci. Durations are written as 45s, 30m, 24h, 7d, 2w; 0 is none.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
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
        settings.gc_grace = self.gc_grace.unwrap_or(before.gc_grace);
        settings.reflog_keep = self.reflog_keep.unwrap_or(before.reflog_keep);
        settings.reflog_expire = self.reflog_expire.unwrap_or(before.reflog_expire);
        if settings != before {
            store.set_settings(settings)?;
        }
        let rows = [
            ("gc.grace", format_duration(settings.gc_grace)),
            ("reflog.keep", format_duration(settings.reflog_keep)),
            ("reflog.expire", format_duration(settings.reflog_expire)),
        ];
        let mut table = Table::new(&["SETTING", "VALUE"]);
        let mut map = serde_json::Map::new();
        for (name, value) in rows {
            map.insert(name.to_owned(), value.as_str().into());
            table.row([name.to_owned(), value]);
        }
        ui.show(self.json, &map, table)
    }
}
