// SPDX-License-Identifier: Apache-2.0
//! `umoci gc`

use std::fmt::Write as _;

use crate::digest::Digest;
use crate::error::Error;
use crate::progress::Monitor;
use crate::store::{GcOptions, Keep};
use serde::Serialize;

use super::args::{LayoutArg, duration, optional, size};
use super::failure::{Outcome, invalid};
use super::table::{counted, human_size};
use super::ui::Ui;

/// garbage-collects an OCI image's blobs
///
/// Removes every blob that no entry of index.json leads to, and temporary files that killed processes left behind. Spared is
/// what a lease, a grace or the reflog protects (umoci lease, umoci settings). Other processes of umoci that work on the
/// layout are waited for.
///
/// Tags stay unless rules are given. --keep says what stays of all tags, --keep-last of those that match its pattern; the others go.
/// With --max-size they go only as far as need be, and without any rule all tags may go for it.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Gc {
    #[command(flatten)]
    layout: LayoutArg,
    /// print what would be removed, and remove nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
    /// also drop entries of index.json that have no tag, as skopeo leaves them when it replaces one; those of what is attached
    /// to an image that stays are kept
    #[arg(long)]
    untagged: bool,
    /// spare blobs that came within this time, such as 24h (default: as the layout is set)
    #[arg(long, value_name = "duration")]
    grace: Option<String>,
    /// remove every tag that no --keep keeps: a pattern such as 'release-*', or a duration such as 30d for tags changed
    /// within it; may be given more than once
    #[arg(long, value_name = "pattern|duration")]
    keep: Vec<String>,
    /// of the tags that match a pattern (default: all) keep those that were changed last, so many of them, and remove the others
    /// that match and no --keep keeps; may be given more than once
    #[arg(long = "keep-last", value_name = "[pattern=]count")]
    keep_last: Vec<String>,
    /// remove tags, those that were used least recently first, only until all blobs have at most so many bytes, such as 20GB; what
    /// --keep and --keep-last keep stays
    #[arg(long = "max-size", value_name = "bytes")]
    max_size: Option<String>,
    /// believe no count of the index: count everything anew, and say where it was wrong
    #[arg(long)]
    full: bool,
    /// print what was removed as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Removed {
    digest: Digest,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    tags: Vec<String>,
    untagged: Vec<Digest>,
    blobs: Vec<Removed>,
    bytes: u64,
    /// Bytes that stay, if they are more than --max-size.
    excess: Option<u64>,
    differences: Vec<String>,
}

impl Gc {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = self.layout.words([])?;
        let mut keep = Vec::new();
        for text in &self.keep {
            keep.push(text.parse().map_err(invalid::<Error>("--keep"))?);
        }
        for text in &self.keep_last {
            keep.push(Keep::last(text).map_err(invalid("--keep-last"))?);
        }
        let options = GcOptions {
            grace: optional(self.grace.as_ref(), "--grace", duration)?,
            untagged: self.untagged,
            keep,
            max_size: optional(self.max_size.as_ref(), "--max-size", size)?,
            full: self.full,
        };
        let store = self.layout.open()?;
        let plan = store.plan_gc(&options, ui)?;
        for text in plan.differences() {
            ui.warn(format_args!("{text}"));
        }
        let blobs = plan.remove().iter();
        let blobs: Vec<Removed> = blobs.map(|(&digest, &size)| Removed { digest, size }).collect();
        let report = Report {
            dry_run: self.dry_run,
            tags: plan.tags().iter().map(ToString::to_string).collect(),
            untagged: plan.untagged().to_vec(),
            differences: plan.differences().to_vec(),
            excess: plan.excess(),
            bytes: blobs.iter().map(|b| b.size).sum(),
            blobs,
        };
        if !self.dry_run {
            store.collect(plan, ui)?;
        }
        if self.json {
            ui.print_json(&report)?;
        } else if self.dry_run {
            ui.print(report.plan().as_bytes())?;
        } else {
            for tag in &report.tags {
                ui.warn(format_args!("removed tag: {tag}"));
            }
            ui.done(format_args!(
                "removed {}, {}",
                counted(report.blobs.len() as u64, "blob"),
                human_size(report.bytes)
            ));
        }
        match report.excess.map(human_size) {
            Some(size) => fail!(
                Limit,
                "{size} stay, more than --max-size: tags that are kept, entries that are no tags, leases, a grace or the reflog hold them"
            ),
            None => Ok(()),
        }
    }
}

impl Report {
    /// The plan for a person.
    fn plan(&self) -> String {
        let mut text = String::new();
        for tag in &self.tags {
            let _ = writeln!(text, "tag {tag}");
        }
        for digest in &self.untagged {
            let _ = writeln!(text, "untagged {digest}");
        }
        for blob in &self.blobs {
            let _ = writeln!(text, "{} {}", blob.digest, human_size(blob.size));
        }
        let size = human_size(self.bytes);
        let _ = writeln!(text, "would remove {} blobs, {size}", self.blobs.len());
        text
    }
}
