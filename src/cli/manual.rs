// SPDX-License-Identifier: Apache-2.0
//! Manual pages, in the language of man(7).

use std::fmt::Write as _;

use clap::Command;

use super::reference::{Group, Row, Topic};

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
    let (name, version) = (topic.name("-"), env!("CARGO_PKG_VERSION"));
    let title = name.to_uppercase();
    let options = if topic.is_program() {
        "GLOBAL OPTIONS"
    } else {
        "OPTIONS"
    };
    let also: Vec<String> = see_also(topic).iter().map(|page| reference(page)).collect();
    let sections = [
        ("NAME", format!("{} \\- {}", plain(&name), plain(&topic.about()))),
        ("SYNOPSIS", synopsis(topic)),
        ("DESCRIPTION", description(topic)),
        ("COMMANDS", groups(&topic.commands(), bold)),
        (options, groups(&topic.options(), option)),
        ("EXAMPLES", examples(topic)),
        ("EXIT STATUS", rows(topic.exit_codes())),
        ("ENVIRONMENT", rows(topic.environment())),
        ("FILES", rows(topic.files())),
        ("SEE ALSO", also.join(",\n")),
    ];
    // The date of the page is left out: the same version makes the same page everywhere.
    let mut out = format!(".TH {title} 1 \"\" \"umoci {version}\" \"umoci\"\n");
    for (title, text) in sections.iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(out, ".SH {title}\n{text}");
    }
    out
}

fn synopsis(topic: &Topic<'_>) -> String {
    let words = if topic.is_program() {
        "[<global options>] <command> [<options>] [<arguments>...]".to_owned()
    } else if topic.command.has_subcommands() {
        "<command> [<options>] [<arguments>...]".to_owned()
    } else {
        format!("[<options>] {}", topic.operands())
    };
    format!("{} {}", bold(&topic.name(" ")), marked(&words))
}

fn description(topic: &Topic<'_>) -> String {
    let mut paragraphs = topic.paragraphs();
    if paragraphs.is_empty() {
        let about = topic.about();
        // man(7) wants a sentence here; the one line has neither a capital nor a stop.
        let (first, rest) = about.split_at(about.len().min(1));
        paragraphs.push(first.to_uppercase() + rest + ".");
    }
    let mut paragraphs: Vec<String> = paragraphs.iter().map(|text| marked(text)).collect();
    if !topic.is_program() {
        let program = reference("umoci");
        paragraphs.push(format!(
            "The options that stand before the command are in {program}."
        ));
    }
    paragraphs.join("\n.PP\n")
}

fn examples(topic: &Topic<'_>) -> String {
    let mut paragraphs = Vec::new();
    for (text, command) in topic.examples() {
        if !text.is_empty() {
            paragraphs.push(plain(&text) + ":");
        }
        // Without filling: a line that is broken could not be copied to a shell.
        paragraphs.push(format!(".RS 4\n.nf\n{}\n.fi\n.RE", plain(&command)));
    }
    paragraphs.join("\n.PP\n")
}

fn rows(rows: Vec<Row>) -> String {
    groups(&[(None, rows)], name_or_words)
}

fn groups(groups: &[Group], style: fn(&str) -> String) -> String {
    let mut out = Vec::new();
    for (group, rows) in groups {
        out.extend(group.as_ref().map(|group| format!(".SS {}", plain(group))));
        for (name, text) in rows {
            out.push(format!(".TP\n{}\n{}", style(name), marked(text)));
        }
    }
    out.join("\n")
}

/// Returns a name in bold, or with the words that it has in angle brackets in italics.
fn name_or_words(text: &str) -> String {
    if text.contains('<') {
        marked(text)
    } else {
        bold(text)
    }
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", plain(text))
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
    let rows = topic.options().into_iter().flat_map(|(_, rows)| rows);
    let mut texts = topic.paragraphs();
    texts.extend(rows.map(|(_, text)| text));
    let words = texts
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '-'));
    let words: Vec<&str> = words.collect();
    // A command has one word or two behind that of the program.
    let named = words.windows(3).filter(|words| words[0] == "umoci");
    out.extend(named.filter_map(|words| topic.page_of(&words[1..])));
    out.retain(|page| *page != topic.name("-"));
    out.sort();
    out.dedup();
    out
}

/// Returns the name of a page with its section.
fn reference(page: &str) -> String {
    bold(page) + "(1)"
}

/// Returns an option with the word for its value, such as `--quiet, -q` or `--log value`.
fn option(names: &str) -> String {
    let words = names.split(' ').map(|word| match word.trim_end_matches(',') {
        name if name.starts_with('-') => bold(name) + &word[name.len()..],
        _ => format!("\\fI{}\\fR", plain(word)),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Text with options in bold, and words in angle brackets in italics.
fn marked(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(marked_word).collect();
    no_request(words.join(" "))
}

fn marked_word(word: &str) -> String {
    // A bracket before an option is that of the usage.
    let bare = word.trim_start_matches(['(', '[']);
    if !bare.starts_with("--") {
        return plain(word).replace('<', "\\fI").replace('>', "\\fR");
    }
    let name = bare.trim_end_matches([',', ';', ':', '.', ')', ']']);
    let before = &word[..word.len() - bare.len()];
    format!("{before}{}{}", bold(name), plain(&bare[name.len()..]))
}

/// Text as it is: a dash is one that can be copied, and a backslash is one.
fn plain(text: &str) -> String {
    no_request(text.replace('\\', "\\e").replace('-', "\\-"))
}

/// Text at the beginning of a line, which would be a request with such a character.
fn no_request(text: String) -> String {
    let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
    guard.to_owned() + &text
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
