// SPDX-License-Identifier: Apache-2.0
//! Manual pages, in the language of man(7).

use std::fmt::Write as _;

use clap::Command;

use super::reference::{Group, Topic};

/// Returns the pages of the program and of each command that is shown: the name of the file, and the text.
pub fn pages(program: &Command) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open = vec![Topic::find::<&str>(program, &[])];
    while let Some(topic) = open.pop() {
        open.extend(topic.below());
        out.push((topic.name("-") + ".1", page(&topic)));
    }
    out
}

fn page(topic: &Topic<'_>) -> String {
    let name = topic.name("-");
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(
        ".TH {} 1 \"\" \"umoci {version}\" \"umoci\"\n",
        name.to_uppercase()
    );
    let _ = write!(out, ".SH NAME\n{} \\- {}\n", plain(&name), plain(&topic.about()));
    let _ = write!(out, ".SH SYNOPSIS\n{}\n", synopsis(topic));
    description(topic, &mut out);
    groups("COMMANDS", &topic.commands(), &mut out);
    let title = if topic.is_program() {
        "GLOBAL OPTIONS"
    } else {
        "OPTIONS"
    };
    groups(title, &topic.options(), &mut out);
    examples(topic, &mut out);
    pairs("EXIT STATUS", &topic.exit_codes(), &mut out);
    pairs("ENVIRONMENT", &topic.environment(), &mut out);
    pairs("FILES", &topic.files(), &mut out);
    let also: Vec<String> = see_also(topic).iter().map(|page| reference(page)).collect();
    let _ = write!(out, ".SH SEE ALSO\n{}\n", also.join(",\n"));
    out
}

fn synopsis(topic: &Topic<'_>) -> String {
    let name = format!("\\fB{}\\fR", plain(&topic.name(" ")));
    if topic.is_program() {
        return format!(
            "{name} [\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR...]"
        );
    }
    if topic.command.has_subcommands() {
        return format!("{name} \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR...]");
    }
    format!("{name} [\\fIoptions\\fR] {}", marked(&topic.operands()))
}

fn description(topic: &Topic<'_>, out: &mut String) {
    let mut paragraphs = topic.paragraphs();
    if paragraphs.is_empty() {
        let about = topic.about();
        let mut letters = about.chars();
        let first = letters
            .next()
            .map(|c| c.to_uppercase().to_string())
            .unwrap_or_default();
        paragraphs.push(first + letters.as_str() + ".");
    }
    out.push_str(".SH DESCRIPTION\n");
    for (at, paragraph) in paragraphs.iter().enumerate() {
        let gap = if at == 0 { "" } else { ".PP\n" };
        let _ = writeln!(out, "{gap}{}", marked(paragraph));
    }
    if !topic.is_program() {
        let program = reference("umoci");
        let _ = write!(
            out,
            ".PP\nThe options that stand before the command are in {program}.\n"
        );
    }
}

fn examples(topic: &Topic<'_>, out: &mut String) {
    if topic.examples().is_empty() {
        return;
    }
    out.push_str(".SH EXAMPLES\n");
    for (at, (text, command)) in topic.examples().iter().enumerate() {
        if !text.is_empty() {
            let gap = if at == 0 { "" } else { ".PP\n" };
            let _ = writeln!(out, "{gap}{}:", plain(text));
        }
        let _ = write!(out, ".PP\n.RS 4\n.nf\n{}\n.fi\n.RE\n", plain(command));
    }
}

fn groups(title: &str, groups: &[Group], out: &mut String) {
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(out, ".SH {title}");
    for (group, rows) in groups {
        if let Some(group) = group {
            let _ = writeln!(out, ".SS {}", plain(group));
        }
        for (name, text) in rows {
            let name = if title == "COMMANDS" {
                format!("\\fB{}\\fR", plain(name))
            } else {
                option(name)
            };
            let _ = write!(out, ".TP\n{name}\n{}\n", marked(text));
        }
    }
}

fn pairs(title: &str, rows: &[(&str, &str)], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, ".SH {title}");
    for (name, text) in rows {
        let name = if name.contains('<') {
            marked(name)
        } else {
            format!("\\fB{}\\fR", plain(name))
        };
        let _ = write!(out, ".TP\n{name}\n{}\n", marked(text));
    }
}

/// Pages about what belongs to a command: those above and below it, and those that its text names.
fn see_also(topic: &Topic<'_>) -> Vec<String> {
    let mut out: Vec<String> = topic.below().map(|below| below.name("-")).collect();
    if topic.is_program() {
        return out;
    }
    out.push("umoci".to_owned());
    if topic.path.len() > 1 {
        out.push(format!("umoci-{}", topic.path[0]));
    }
    let rows = topic
        .options()
        .into_iter()
        .flat_map(|(_, rows)| rows)
        .map(|(_, text)| text);
    let texts: Vec<String> = topic.paragraphs().into_iter().chain(rows).collect();
    let words: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '-'))
        .collect();
    let named = words.windows(3).filter(|words| words[0] == "umoci");
    out.extend(named.filter_map(|words| topic.page_of(&words[1..])));
    out.retain(|page| *page != topic.name("-"));
    out.sort();
    out.dedup();
    out
}

/// The name of a page with its section.
fn reference(page: &str) -> String {
    format!("\\fB{}\\fR(1)", plain(page))
}

/// An option with the word for its value, such as `--quiet, -q` or `--log value`.
fn option(names: &str) -> String {
    let word = |word: &str| match word.trim_end_matches(',') {
        name if name.starts_with('-') => format!("\\fB{}\\fR{}", plain(name), &word[name.len()..]),
        _ => format!("\\fI{}\\fR", plain(word)),
    };
    names.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Text with options in bold, and words in angle brackets in italics.
fn marked(text: &str) -> String {
    let mut out = String::new();
    for (at, word) in text.split_whitespace().enumerate() {
        let gap = if at == 0 { "" } else { " " };
        out.push_str(gap);
        let bare = word.trim_start_matches(['(', '[']);
        if bare.starts_with("--") {
            let name = bare.trim_end_matches([',', ';', ':', '.', ')', ']']);
            let before = &word[..word.len() - bare.len()];
            let _ = write!(
                out,
                "{before}\\fB{}\\fR{}",
                plain(name),
                plain(&bare[name.len()..])
            );
        } else {
            out.push_str(&plain(word).replace('<', "\\fI").replace('>', "\\fR"));
        }
    }
    // A line that begins so would be a request.
    if out.starts_with(['.', '\'']) {
        format!("\\&{out}")
    } else {
        out
    }
}

/// Text as it is: a dash is one that can be copied, and a backslash is one.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_request_and_keeps_its_dashes() {
        for (text, want) in [
            (".umoci/tmp", "\\&.umoci/tmp"),
            ("'x' a\\b", "\\&'x' a\\eb"),
            (
                "take --tag, or (--from <file>)",
                "take \\fB\\-\\-tag\\fR, or (\\fB\\-\\-from\\fR \\fIfile\\fR)",
            ),
        ] {
            assert_eq!(marked(text), want);
        }
        assert_eq!(option("--quiet, -q"), "\\fB\\-\\-quiet\\fR, \\fB\\-q\\fR");
    }

    #[test]
    fn a_page_names_the_pages_that_its_text_speaks_of() {
        let program = super::super::definition();
        for (path, want) in [
            (
                &["new"][..],
                &[
                    "umoci",
                    "umoci-import",
                    "umoci-init",
                    "umoci-insert",
                    "umoci-raw-add-layer",
                ][..],
            ),
            (&["lease", "list"], &["umoci", "umoci-gc", "umoci-lease"]),
            (
                &["ref", "log"],
                &["umoci", "umoci-gc", "umoci-ref", "umoci-settings"],
            ),
        ] {
            assert_eq!(see_also(&Topic::find(&program, path)), want, "{path:?}");
        }
    }
}
