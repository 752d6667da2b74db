// SPDX-License-Identifier: Apache-2.0
//! `umoci fsck`

use std::fmt::Write as _;

use crate::store::{CheckOptions, CheckReport, Finding, Problem};

use super::failure::{DAMAGED, REPAIRED};
use super::location::open_other;
use super::prelude::*;

/// checks a layout, and mends it
///
/// Reads every blob and compares it with its digest; checks what documents say of each other, index.json, names under
/// blobs/, the counts of the index database, settings, leases and the reflog. Prints what it finds, with the tags that are concerned. Exit code 0: nothing
/// is wrong; 2: something is, and was not mended; 4: all that was wrong is mended.
///
/// With --repair it mends what can be mended without loss: the index database, the counts, modes, temporary files. A damaged blob
/// is moved to .umoci/quarantine and never deleted; with --from a good copy is fetched from another layout. An index.json that was
/// torn, or emptied while images of the reflog are there, is made anew of what the reflog, the index database, the rest of the file and the blobs tell, and of one that is whole, entries that name nothing are dropped; a manifest whose name nothing
/// tells is listed, and gets an entry without a name. A member of the file that is cut is lost, and told. Names that may be older than they were are told of as well.
#[derive(clap::Args, Debug)]
pub struct Fsck {
    #[command(flatten)]
    layout: LayoutArg,
    /// believe files that did not change since they were verified, and do not recount
    #[arg(long)]
    fast: bool,
    /// also read the entries of layers and compare their diff_ids
    #[arg(long, conflicts_with = "fast")]
    deep: bool,
    /// mend what can be mended
    #[arg(long)]
    repair: bool,
    /// with --repair: fetch good copies from this layout; may be given more than once
    #[arg(long, value_name = "path")]
    from: Vec<std::path::PathBuf>,
    /// print the findings as JSON
    #[arg(long)]
    json: bool,
}

impl Fsck {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = self.layout.words([])?;
        if !self.from.is_empty() && !self.repair {
            refuse!("--from goes with --repair only");
        }
        // A wrong path is known before a long check.
        let from = self.from.iter().map(|path| open_other(path));
        let from: Vec<Store> = from.collect::<Outcome<_>>()?;
        let findings = Store::check_frame(&self.layout.layout, StoreOptions::default(), self.repair, ui)?;
        // Without oci-layout and index.json nothing else can be looked at.
        let mut frame = findings.iter().filter(|found| found.problem == Problem::Frame);
        let is_open = frame.all(|found| found.repaired);
        let mut found = CheckReport::default();
        if is_open {
            let options = CheckOptions {
                fast: self.fast,
                deep: self.deep,
                repair: self.repair,
                from: &from,
            };
            found = self.layout.open()?.check(&options, ui)?;
        }
        found.findings.splice(0..0, findings);
        let (result, outcome) = match (found.is_damaged(), found.is_repaired()) {
            (true, _) => ("damaged", Err(Failure::Found(DAMAGED))),
            (_, true) => ("repaired", Err(Failure::Found(REPAIRED))),
            _ => ("clean", Ok(())),
        };
        let (blobs, read, bytes) = (found.blobs, found.read, found.bytes);
        let json = json!({
            "result": result, "blobs": blobs, "read": read, "bytes": bytes, "findings": found.findings
        });
        let mut text: String = found.findings.iter().map(line).collect();
        let size = human_size(bytes);
        let _ = if is_open {
            writeln!(text, "{result}: {blobs} blobs, {read} of them read, {size}")
        } else {
            writeln!(text, "{result}: blobs are looked at once it is a layout again")
        };
        // Findings are data and go to stdout; the exit code alone says that there are any.
        ui.show(self.json, &json, text)?;
        if found.is_damaged() && !self.repair {
            ui.info(format_args!("--repair mends what can be mended"));
        }
        outcome
    }
}

/// Returns the line about a finding.
fn line(finding: &Finding) -> String {
    let mended = if finding.repaired { " (mended)" } else { "" };
    let (subject, message) = (one_line(&finding.subject), one_line(&finding.message));
    let mut text = format!("{}{mended}: {subject} {message}", finding.severity);
    if !finding.refs.is_empty() {
        let _ = write!(text, " [{}", texts(&finding.refs).join(" "));
        if finding.more_refs > 0 {
            let _ = write!(text, " and {} more", finding.more_refs);
        }
        text.push(']');
    }
    text + "\n"
}
