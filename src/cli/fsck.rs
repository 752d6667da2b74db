// SPDX-License-Identifier: Apache-2.0
//! `umoci fsck`

use std::fmt::Write as _;

use serde::Serialize;
use umoci::progress::Monitor;
use umoci::store::{CheckOptions, Finding, Problem, Store, StoreOptions};

use super::args::{LayoutArg, positionals};
use super::failure::{DAMAGED, Failure, Outcome, REPAIRED, one_line};
use super::table::human_size;
use super::ui::Ui;

/// checks a layout, and mends it
///
/// Reads every blob and compares it with its digest; checks what documents say of each other, index.json, names under
/// blobs/, the counts of the index database, settings, leases and the reflog. Prints what it finds, with the tags that are concerned. Exit code 0: nothing
/// is wrong; 2: something is, and was not mended; 4: all that was wrong is mended.
///
/// With --repair it mends what can be mended without loss: the index database, the counts, modes, temporary files. A damaged blob
/// is moved to .umoci/quarantine and never deleted; with --from a good copy is fetched from another layout. An index.json that was
/// torn, or emptied while images of the reflog are there, is made anew of what the reflog, the index database, the rest of the file and the blobs tell; a manifest whose name nothing
/// tells is listed, and gets an entry without a name. Names that may be older than they were are told of as well.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Fsck {
    #[command(flatten)]
    layout: LayoutArg,
    /// believe files that did not change since they were verified, and do not recount
    #[arg(long)]
    fast: bool,
    /// also read the entries of layers and compare their diff_ids
    #[arg(long)]
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
    #[arg(hide = true)]
    rest: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    result: &'static str,
    blobs: u64,
    read: u64,
    bytes: u64,
    findings: &'a [Finding],
}

impl Fsck {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let path = self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        if self.fast && self.deep {
            return Err(Failure::Arguments(
                "--fast and --deep contradict each other".to_owned(),
            ));
        }
        if !self.from.is_empty() && !self.repair {
            return Err(Failure::Arguments("--from goes with --repair only".to_owned()));
        }
        let mut from = Vec::new();
        for path in &self.from {
            from.push(super::place::open_other(path)?);
        }
        let mut findings = Store::check_frame(&path, StoreOptions::default(), self.repair, ui)?;
        if findings
            .iter()
            .any(|f| f.problem == Problem::Frame && !f.repaired)
        {
            return self.report(
                ui,
                "damaged",
                Report {
                    result: "damaged",
                    blobs: 0,
                    read: 0,
                    bytes: 0,
                    findings: &findings,
                },
            );
        }
        let store = self.layout.open()?;
        let mut options = CheckOptions::default();
        options.fast = self.fast;
        options.deep = self.deep;
        options.repair = self.repair;
        options.from = &from;
        let mut found = store.check(&options, ui)?;
        found.findings.splice(0..0, findings.drain(..));
        let result = if found.is_damaged() {
            "damaged"
        } else if found.is_repaired() {
            "repaired"
        } else {
            "clean"
        };
        self.report(
            ui,
            result,
            Report {
                result,
                blobs: found.blobs,
                read: found.read,
                bytes: found.bytes,
                findings: &found.findings,
            },
        )
    }

    fn report(&self, ui: &Ui, result: &str, report: Report<'_>) -> Outcome {
        if self.json {
            ui.print_json(&report)?;
        } else {
            let mut text = String::new();
            for finding in report.findings {
                let _ = write!(
                    text,
                    "{}{}: {} {}",
                    finding.severity,
                    if finding.repaired { " (mended)" } else { "" },
                    one_line(&finding.subject),
                    one_line(&finding.message)
                );
                if !finding.refs.is_empty() {
                    let names: Vec<String> = finding.refs.iter().map(|name| one_line(name)).collect();
                    let _ = write!(text, " [{}", names.join(" "));
                    if finding.more_refs > 0 {
                        let _ = write!(text, " and {} more", finding.more_refs);
                    }
                    text.push(']');
                }
                text.push('\n');
            }
            let _ = writeln!(
                text,
                "{result}: {} blobs, {} of them read, {}",
                report.blobs,
                report.read,
                human_size(report.bytes)
            );
            ui.print(text.as_bytes())?;
        }
        if result == "damaged" && !self.repair {
            ui.info(format_args!("--repair mends what can be mended"));
        }
        match result {
            "damaged" => Err(Failure::Found(DAMAGED)),
            "repaired" => Err(Failure::Found(REPAIRED)),
            _ => Ok(()),
        }
    }
}
