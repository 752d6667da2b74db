// SPDX-License-Identifier: Apache-2.0
//! Help pages, in the layout that users of the command know.

use std::fmt::Write as _;

use clap::Command;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm, fill};

use super::reference::{Group, Topic};

/// Width of paragraphs where no terminal says how much there is, in characters.
const TEXT_WIDTH: usize = 79;

/// Minimum of columns for text beside a name: with fewer it stands below.
const LEAST_TEXT: usize = 24;

/// Margin of text that stands below its name.
const BELOW_NAME: &str = "        ";

/// Returns the page of the command that `path` leads to, or of the program for an empty path.
///
/// On a terminal of `width` columns no line is longer, as far as its words allow. Without a width paragraphs have lines of
/// 79 characters, and each command and option has one.
pub fn page(program: &Command, path: &[String], width: Option<usize>) -> String {
    let topic = Topic::find(program, path);
    let mut page = Page {
        out: String::new(),
        width,
    };
    page.section("NAME", &format!("{} - {}", topic.name(" "), topic.about()));
    page.section("USAGE", &usage(&topic));
    if topic.is_program() {
        page.section("VERSION", env!("CARGO_PKG_VERSION"));
        page.section("AUTHOR", "the umoci authors");
    }
    for paragraph in topic.paragraphs() {
        page.paragraph(&paragraph);
    }
    page.examples(&topic);
    page.groups("ENVIRONMENT", &[(None, topic.environment())]);
    page.groups("COMMANDS", &topic.commands());
    if let Some(category) = topic.category() {
        page.section("CATEGORY", &category);
    }
    if topic.is_program() {
        page.groups("GLOBAL OPTIONS", &topic.options());
    } else if page.groups("OPTIONS", &topic.options()) {
        // The pages of the Go tool end so.
        page.out.push_str("   \n");
    }
    page.out
}

fn usage(topic: &Topic<'_>) -> String {
    let name = topic.name(" ");
    let usage = if topic.is_program() {
        format!("{name} [global options] command [command options] [arguments...]")
    } else if topic.command.has_subcommands() {
        format!("{name} command [command options] [arguments...]")
    } else {
        format!("{name} [command options] {}", topic.operands())
    };
    usage.trim_end().to_owned()
}

/// A page that grows.
struct Page {
    out: String,
    /// Columns of the terminal, if there is one.
    width: Option<usize>,
}

impl Page {
    /// Begins a section, behind an empty line unless it is the first.
    fn title(&mut self, title: &str) {
        let gap = if self.out.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.out, "{gap}{title}:");
    }

    fn section(&mut self, title: &str, text: &str) {
        self.title(title);
        self.hang("   ", "", 0, text);
    }

    fn paragraph(&mut self, text: &str) {
        let text = fill(text, between_words(self.width.unwrap_or(TEXT_WIDTH)));
        let _ = writeln!(self.out, "\n{text}");
    }

    /// Writes the examples: what each does, and below it the line to type.
    fn examples(&mut self, topic: &Topic<'_>) {
        if topic.examples().is_empty() {
            return;
        }
        self.title("EXAMPLES");
        for (text, command) in topic.examples() {
            if !text.is_empty() {
                self.hang("   ", "", 0, &format!("{text}:"));
            }
            // A command is one line, however long: it is there to be copied.
            let _ = writeln!(self.out, "     {command}");
        }
    }

    /// Writes names with their texts in a column beside them, by group; `false` if there are none.
    fn groups(&mut self, title: &str, groups: &[Group]) -> bool {
        let names = groups.iter().flat_map(|(_, rows)| rows).map(|(name, _)| name);
        // All groups of a page share one column.
        let Some(width) = names.map(|name| name.chars().count()).max() else {
            return false;
        };
        self.title(title);
        for (at, (group, rows)) in groups.iter().enumerate() {
            if let Some(group) = group {
                let gap = if at == 0 { "" } else { "\n" };
                let _ = writeln!(self.out, "{gap}   {group}:");
            }
            let indent = if group.is_some() { "     " } else { "   " };
            for (name, text) in rows {
                self.hang(indent, name, width, text);
            }
        }
        true
    }

    /// Writes `text` beside `name`, which has `width` columns, or below it where the terminal is narrow.
    fn hang(&mut self, indent: &str, name: &str, width: usize, text: &str) {
        // A file or pipe gets one line for each name: a program finds it with grep.
        let columns = self.width.unwrap_or(usize::MAX);
        let beside = format!("{indent}{name:width$}  ");
        let head = if width == 0 {
            indent
        } else if columns >= beside.len() + LEAST_TEXT {
            &beside
        } else {
            let _ = writeln!(self.out, "{indent}{name}");
            BELOW_NAME
        };
        let margin = " ".repeat(head.len());
        let options = between_words(columns).initial_indent(head);
        let options = options.subsequent_indent(&margin);
        let _ = writeln!(self.out, "{}", fill(text, options));
    }
}

/// Returns how text is cut into lines of at most `width` columns: between words, where a longer word is a line of its own.
fn between_words<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit)
}

#[cfg(test)]
mod tests {
    use super::super::definition;
    use super::*;

    /// Paths of the program and of all commands that are shown.
    fn paths(topic: &Topic<'_>) -> Vec<Vec<String>> {
        let own = topic.path.iter().map(|name| (*name).to_owned()).collect();
        let below = topic.below().flat_map(|below| paths(&below));
        std::iter::once(own).chain(below).collect()
    }

    #[test]
    fn pages_fit_the_terminal_and_say_the_same_on_any() {
        let program = definition();
        for path in paths(&Topic::find::<&str>(&program, &[])) {
            let words = |width| {
                let page = page(&program, &path, width);
                page.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            for width in [30, 40, 60, 80, 200] {
                let page = page(&program, &path, Some(width));
                let examples = Topic::find(&program, &path).examples();
                let is_long = |line: &&str| {
                    let is_word = line.split_whitespace().count() == 1 || line.trim_start().starts_with("--");
                    line.chars().count() > width
                        && !is_word
                        && !examples.iter().any(|(_, e)| line.trim() == *e)
                };
                assert_eq!(page.lines().find(is_long), None, "{path:?} on {width} columns");
                assert_eq!(words(Some(width)), words(None), "{path:?}");
            }
        }
    }

    #[test]
    fn text_is_cut_between_words() {
        for (text, width, want) in [
            ("", 5, &[""][..]),
            ("a bc def", 5, &["a bc", "def"]),
            ("a bc def", 8, &["a bc def"]),
            ("longer a", 3, &["longer", "a"]),
            ("é é é", 3, &["é é", "é"]),
        ] {
            assert_eq!(textwrap::wrap(text, between_words(width)), want, "{text:?}");
        }
    }
}
