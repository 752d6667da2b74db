// SPDX-License-Identifier: Apache-2.0
//! `umoci gc`

use crate::store::{GcOptions, GcPlan, Keep, parse_duration};

use super::prelude::*;

/// garbage-collects an OCI image's blobs
///
/// Removes every blob that no entry of index.json leads to, and temporary files that killed processes left behind. Spared is
/// what a lease, a grace or the reflog protects (umoci lease, umoci settings). Other processes of umoci that work on the
/// layout are waited for.
///
/// Tags stay unless rules are given. --keep says what stays of all tags, --keep-last of those that match its pattern; the others go.
/// With --max-size they go only as far as need be, and without any rule all tags may go for it.
#[derive(clap::Args, Debug)]
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
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// remove every tag that no --keep keeps: a pattern such as 'release-*', or a duration such as 30d for tags changed
    /// within it; may be given more than once
    #[arg(long, value_name = "pattern|duration")]
    keep: Vec<Keep>,
    /// of the tags that match a pattern (default: all) keep those that were changed last, so many of them, and remove the others
    /// that match and no --keep keeps; may be given more than once
    #[arg(long = "keep-last", value_name = "[pattern=]count", value_parser = Keep::last)]
    keep_last: Vec<Keep>,
    /// remove tags, those that were used least recently first, only until all blobs have at most so many bytes, such as 20GB; what
    /// --keep and --keep-last keep stays
    #[arg(long = "max-size", value_name = "bytes", value_parser = crate::store::parse_size)]
    max_size: Option<u64>,
    /// believe no count of the index: count everything anew, and say where it was wrong
    #[arg(long)]
    full: bool,
    /// print what was removed as JSON
    #[arg(long)]
    json: bool,
}

impl Gc {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let options = GcOptions {
            grace: self.grace,
            untagged: self.untagged,
            keep: [self.keep, self.keep_last].concat(),
            max_size: self.max_size,
            full: self.full,
        };
        let plan = store.plan_gc(&options, ui)?;
        for text in plan.differences() {
            ui.warn(format_args!("{text}"));
        }
        // The collection takes the plan, so all that is told later is noted now.
        let bytes: u64 = plan.remove().values().sum();
        let (size, count) = (human_size(bytes), plan.remove().len());
        let tags = texts(plan.tags());
        let excess = plan.excess();
        let blobs = plan.remove().iter();
        let blobs = blobs.map(|(digest, size)| json!({ "digest": digest, "size": size }));
        let json = json!({
            "dryRun": self.dry_run,
            "tags": tags,
            "untagged": plan.untagged(),
            "blobs": blobs.collect::<Vec<_>>(),
            "bytes": bytes,
            // Bytes that stay, if they are more than --max-size.
            "excess": excess,
            "differences": plan.differences(),
        });
        let text = self.dry_run.then(|| plan_text(&plan));
        if !self.dry_run {
            store.collect(plan, ui)?;
        }
        if self.json {
            ui.print_json(&json)?;
        } else if let Some(text) = text {
            ui.print(format!("{text}would remove {count} blobs, {size}\n"))?;
        } else {
            for tag in &tags {
                ui.warn(format_args!("removed tag: {tag}"));
            }
            ui.done(format_args!("removed {}, {size}", counted(count as u64, "blob")));
        }
        // A size that cannot be reached is an error only after all that may go is gone.
        match excess.map(human_size) {
            Some(size) => fail!(
                Limit,
                "{size} stay, more than --max-size: tags that are kept, entries that are no tags, leases, a grace or the reflog hold them"
            ),
            None => Ok(()),
        }
    }
}

/// Returns a line for everything that the plan removes.
fn plan_text(plan: &GcPlan) -> String {
    let tags = plan.tags().iter().map(|tag| format!("tag {tag}"));
    let untagged = plan.untagged().iter().map(|digest| format!("untagged {digest}"));
    let blobs = plan.remove().iter();
    let blobs = blobs.map(|(digest, size)| format!("{digest} {}", human_size(*size)));
    line_each(tags.chain(untagged).chain(blobs))
}
