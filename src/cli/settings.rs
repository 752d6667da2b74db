// SPDX-License-Identifier: Apache-2.0
//! `umoci settings`: what a layout is set to.

use std::time::Duration;

use serde_json::json;
use umoci::store::format_duration;

use super::args::{LayoutArg, duration, positionals};
use super::failure::Outcome;
use super::table::Table;
use super::ui::Ui;

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
    #[arg(long = "gc-grace", value_name = "duration")]
    gc_grace: Option<String>,
    /// earlier values of names keep their blobs for so long
    #[arg(long = "reflog-keep", value_name = "duration")]
    reflog_keep: Option<String>,
    /// umoci gc forgets changes of names that are older
    #[arg(long = "reflog-expire", value_name = "duration")]
    reflog_expire: Option<String>,
    /// print a JSON object
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Settings {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        let store = self.layout.open()?;
        let mut settings = store.settings()?;
        let before = settings;
        let set = |field: &mut Duration, text: &Option<String>, what: &str| -> Outcome {
            if let Some(text) = text {
                *field = duration(text, what)?;
            }
            Ok(())
        };
        set(&mut settings.gc_grace, &self.gc_grace, "--gc-grace")?;
        set(&mut settings.reflog_keep, &self.reflog_keep, "--reflog-keep")?;
        set(
            &mut settings.reflog_expire,
            &self.reflog_expire,
            "--reflog-expire",
        )?;
        if settings != before {
            store.set_settings(settings)?;
        }
        let rows = [
            ("gc.grace", settings.gc_grace),
            ("reflog.keep", settings.reflog_keep),
            ("reflog.expire", settings.reflog_expire),
        ];
        if self.json {
            let map: serde_json::Map<_, _> = rows
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(format_duration(*value))))
                .collect();
            return ui.print_json(&map);
        }
        let mut table = Table::new(&["SETTING", "VALUE"]);
        for (name, value) in rows {
            table.row([name.to_owned(), format_duration(value)]);
        }
        ui.print(table.to_string().as_bytes())
    }
}
