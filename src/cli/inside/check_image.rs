// SPDX-License-Identifier: Apache-2.0
//! `umoci check-image`

use std::fmt::Write as _;

use crate::inside::{Contents, Culprit, Rule, Verdict, Waste, glob};

use super::super::prelude::*;
use super::check_rules::{RuleArgs, required};
use super::json::{self, put_path};
use super::quote::quoted;
use super::view_args::{SinceArg, ViewArgs};
use super::waste::{command, percent};

/// checks that an image keeps rules
///
/// For CI: exits with 1 if a rule is broken, and names the paths that break it with the layers that brought and hid them. Rules come from
/// options, and from .umoci-check.json in the working directory, whose members are called as the options, or else from the .dive-ci that
/// is there (lowestEfficiency, highestWastedBytes, highestUserWastedPercent). Waste is that of umoci waste; with --since only layers above
/// the base are judged by rules about waste and forbidden paths. A layer that cannot be seen breaks the check.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>]")]
pub struct CheckImage {
    /// read rules from this file in place of .umoci-check.json and .dive-ci
    #[arg(long, value_name = "file")]
    rules: Option<String>,
    /// form of the verdicts
    #[arg(long, default_value = "text", value_parser = ["text", "json", "junit", "github"])]
    format: String,
    #[command(flatten)]
    given: RuleArgs,
    #[command(flatten)]
    since: SinceArg,
    #[command(flatten)]
    view: ViewArgs,
}

/// A rule with its name and its limit as text, and the verdict.
struct Judged<'a> {
    name: &'static str,
    limit: String,
    verdict: Verdict<'a>,
}

impl CheckImage {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let args = self.given.with_file(self.rules.as_deref())?;
        let (viewed, rest) = self.view.image(ui)?;
        positionals(rest, [])?;
        let setuid_base = match &args.forbid_setuid_since {
            Some(word) => Some(viewed.layers_of_base(word, "--forbid-setuid-since")?),
            None => None,
        };
        let rules = rules(&args, setuid_base)?;
        if rules.is_empty() {
            refuse!("no rules: give options such as --max-waste 5%, or a file .umoci-check.json or .dive-ci");
        }
        let contents = &viewed.contents;
        let waste = Waste::of(contents, self.since.layers(&viewed)? as usize);
        let mut judged = Vec::new();
        for (name, limit, rule) in rules {
            let verdict = rule.judge(contents, &waste)?;
            judged.push(Judged { name, limit, verdict });
        }
        ui.print(match self.format.as_str() {
            "json" => json_lines(contents, &judged),
            "junit" => junit(contents, &judged, &viewed.word),
            "github" => github(contents, &judged),
            _ => text(contents, &judged),
        })?;
        viewed.end()?;
        if judged.iter().any(|judged| judged.verdict.is_broken) {
            return Err(Failure::Found(1));
        }
        Ok(())
    }
}

/// Returns the rules that are given, each with its name and its limit as text. `setuid_base` is the count of layers that may bring
/// setuid.
fn rules(args: &RuleArgs, setuid_base: Option<u32>) -> Outcome<Vec<(&'static str, String, Rule)>> {
    let mut out = Vec::new();
    if let Some(part) = args.max_waste {
        out.push(("max-waste", percent(part), Rule::MaxWaste(part)));
    }
    if let Some(bytes) = args.max_waste_bytes {
        out.push(("max-waste-bytes", human_size(bytes), Rule::MaxWasteBytes(bytes)));
    }
    if let Some(part) = args.min_efficiency {
        out.push(("min-efficiency", percent(part), Rule::MinEfficiency(part)));
    }
    if let Some(bytes) = args.max_size {
        out.push(("max-size", human_size(bytes), Rule::MaxSize(bytes)));
    }
    if let Some(count) = args.max_layers {
        out.push(("max-layers", count.to_string(), Rule::MaxLayers(count)));
    }
    for pattern in &args.forbid {
        // Paths in an image have no slash before them.
        let matcher = glob(pattern.trim_start_matches('/'))?;
        out.push(("forbid", one_line(pattern), Rule::Forbid(matcher)));
    }
    if let (Some(word), Some(base)) = (&args.forbid_setuid_since, setuid_base) {
        out.push(("forbid-setuid-since", one_line(word), Rule::ForbidSetuid(base)));
    }
    for word in &args.require {
        out.push(("require", one_line(word), Rule::Require(required(word)?)));
    }
    Ok(out)
}

impl Judged<'_> {
    /// Returns the rule with what the image has.
    fn title(&self) -> String {
        let has = match (self.name, self.verdict.value) {
            ("max-waste" | "min-efficiency", Some(part)) => format!(", the image has {}", percent(part)),
            ("max-layers", Some(count)) => format!(", the image has {count}"),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it was a count of bytes"
            )]
            (_, Some(bytes)) => format!(", the image has {}", human_size(bytes as u64)),
            ("require", None) if self.verdict.is_broken => ": it is not there".to_owned(),
            (_, None) if self.verdict.is_broken => {
                format!(": {}", counted(self.verdict.culprits.len() as u64, "path"))
            }
            _ => String::new(),
        };
        format!("{} {}{has}", self.name, self.limit)
    }
}

/// Returns a line about an entry: its path, its bytes, and the layers that brought and hid it.
fn line_of(contents: &Contents, culprit: &Culprit<'_>) -> String {
    let item = culprit.item;
    let mut out = quoted(&item.path);
    if let Some(bytes) = culprit.bytes {
        let _ = write!(out, ", {}", human_size(bytes));
    }
    let by = command(contents, item.layer as usize);
    let _ = write!(out, ", layer {} ({by})", item.layer + 1);
    if let Some(hidden_by) = culprit.hidden_by {
        let by = command(contents, hidden_by as usize);
        let _ = write!(out, ", hidden by layer {} ({by})", hidden_by + 1);
    }
    out
}

fn text(contents: &Contents, judged: &[Judged<'_>]) -> Vec<u8> {
    let mut out = String::new();
    for judged in judged {
        let word = if judged.verdict.is_broken { "broken" } else { "ok" };
        let _ = writeln!(out, "{word:6} {}", judged.title());
        for culprit in &judged.verdict.culprits {
            let _ = writeln!(out, "       {}", line_of(contents, culprit));
        }
    }
    out.into_bytes()
}

fn json_lines(contents: &Contents, judged: &[Judged<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for judged in judged {
        let verdict = &judged.verdict;
        let mut line = json::line();
        line.insert("rule".to_owned(), judged.name.into());
        line.insert("limit".to_owned(), judged.limit.clone().into());
        line.insert("broken".to_owned(), verdict.is_broken.into());
        if let Some(value) = verdict.value {
            line.insert("value".to_owned(), value.into());
        }
        let findings = verdict.culprits.iter().map(|culprit| {
            let mut found = serde_json::Map::new();
            put_path(&mut found, "path", &culprit.item.path);
            found.insert("layer".to_owned(), (culprit.item.layer + 1).into());
            let by = command(contents, culprit.item.layer as usize);
            found.insert("command".to_owned(), by.into());
            if let Some(hidden_by) = culprit.hidden_by {
                found.insert("hidden_by".to_owned(), (hidden_by + 1).into());
                found.insert(
                    "hidden_by_command".to_owned(),
                    command(contents, hidden_by as usize).into(),
                );
            }
            if let Some(bytes) = culprit.bytes {
                found.insert("tar".to_owned(), bytes.into());
            }
            serde_json::Value::Object(found)
        });
        line.insert("findings".to_owned(), findings.collect());
        json::put_line(&mut out, line);
    }
    out
}

/// Returns a document of JUnit: a test case for each rule, and one for a layer that could not be seen.
fn junit(contents: &Contents, judged: &[Judged<'_>], image: &str) -> Vec<u8> {
    let unseen = contents.unseen.len();
    let failures = judged.iter().filter(|judged| judged.verdict.is_broken).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{unseen}\">",
        xml(image),
        judged.len() + unseen
    );
    for judged in judged {
        let name = xml(&format!("{} {}", judged.name, judged.limit));
        let _ = write!(out, "<testcase classname=\"umoci.check-image\" name=\"{name}\">");
        if judged.verdict.is_broken {
            let _ = write!(out, "<failure message=\"{}\">", xml(&judged.title()));
            for culprit in &judged.verdict.culprits {
                let _ = writeln!(out, "{}", xml(&line_of(contents, culprit)));
            }
            out.push_str("</failure>");
        }
        out.push_str("</testcase>\n");
    }
    for (number, err) in &contents.unseen {
        let layer = &contents.layers[*number].descriptor.digest;
        let _ = writeln!(
            out,
            "<testcase classname=\"umoci.check-image\" name=\"layer {layer}\"><error message=\"{}\"/></testcase>",
            xml(&one_line(&err.to_string()))
        );
    }
    out.push_str("</testsuite></testsuites>\n");
    out.into_bytes()
}

/// Escapes text for XML, which can hold no control characters: those are escaped as on a terminal.
fn xml(text: &str) -> String {
    let mut out = String::new();
    for letter in one_line(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

/// Returns commands of workflows: an error for each broken rule, with its entries in it.
fn github(contents: &Contents, judged: &[Judged<'_>]) -> Vec<u8> {
    let mut out = String::new();
    for judged in judged.iter().filter(|judged| judged.verdict.is_broken) {
        let mut lines = vec![judged.title()];
        let culprits = judged.verdict.culprits.iter();
        lines.extend(culprits.map(|culprit| line_of(contents, culprit)));
        let lines: Vec<String> = lines.iter().map(|line| line.replace('%', "%25")).collect();
        let _ = writeln!(out, "::error title=umoci {}::{}", judged.name, lines.join("%0A"));
    }
    out.into_bytes()
}
