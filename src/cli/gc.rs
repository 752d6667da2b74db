// SPDX-License-Identifier: Apache-2.0
//! `umoci gc`

use std::fmt::Write as _;

use serde::Serialize;
use umoci::digest::Digest;
use umoci::store::GcOptions;

use super::args::{LayoutArg, positionals};
use super::failure::Outcome;
use super::table::human_size;
use super::ui::Ui;

/// garbage-collects an OCI image's blobs
///
/// Removes every blob that no entry of index.json leads to, and temporary files that killed processes left behind.
/// Other processes of umoci that work on the layout are waited for.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Gc {
    #[command(flatten)]
    layout: LayoutArg,
    /// print what would be removed, and remove nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
    /// print what was removed as JSON
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

#[derive(Serialize)]
struct Removed {
    digest: Digest,
    size: u64,
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    blobs: Vec<Removed>,
    bytes: u64,
}

impl Gc {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        let store = self.layout.open()?;
        let plan = store.plan_gc(&GcOptions::default(), ui)?;
        let blobs: Vec<Removed> = plan
            .remove()
            .iter()
            .map(|(digest, size)| Removed {
                digest: *digest,
                size: *size,
            })
            .collect();
        let report = Report {
            dry_run: self.dry_run,
            bytes: blobs.iter().map(|b| b.size).sum(),
            blobs,
        };
        if !self.dry_run {
            store.collect(plan, ui)?;
        }
        if self.json {
            return ui.print_json(&report);
        }
        if !self.dry_run {
            return Ok(());
        }
        let mut text = String::new();
        for blob in &report.blobs {
            let _ = writeln!(text, "{} {}", blob.digest, human_size(blob.size));
        }
        let _ = writeln!(
            text,
            "would remove {} blobs, {}",
            report.blobs.len(),
            human_size(report.bytes)
        );
        ui.print(text.as_bytes())
    }
}
