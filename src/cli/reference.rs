// SPDX-License-Identifier: Apache-2.0
//! Facts about the commands for help pages, manual pages and completion: those of the one definition, and those that a
//! definition has no place for.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// Rows of a name and its text, and what they have in common; the rows of no group come first.
pub type Group = (Option<String>, Vec<Row>);

/// A command, or the program itself.
#[derive(Debug)]
pub struct Topic<'a> {
    program: &'a Command,
    /// Its definition.
    pub command: &'a Command,
    /// Names of the commands that lead to it, without that of the program.
    pub path: Vec<&'a str>,
}

/// Commands of the Go tool, by the first word: their wrong calls print the help on stdout as well.
const OF_THE_GO_TOOL: [&str; 12] = [
    "config", "unpack", "repack", "gc", "init", "new", "tag", "remove", "list", "stat", "raw", "insert",
];

/// Examples by command, variables, exit codes, files and categories: below the title of each section its pairs, the second half indented.
const FACTS: &str = include_str!("reference.txt");

/// Two texts that belong together: a name and what it means, or a sentence and a command line.
pub type Row = (String, String);

/// Returns the pairs of a section; a second half that follows another has no first one.
fn pairs(section: &str) -> Vec<Row> {
    // A section that is not there has no pairs: not every command has examples.
    let lines = FACTS.lines();
    let lines = lines.skip_while(|line| line.strip_prefix("== ") != Some(section));
    let mut out = Vec::new();
    let mut first = "";
    for line in lines.skip(1).take_while(|line| !line.starts_with("== ")) {
        match line.strip_prefix("    ") {
            Some(second) => out.push((std::mem::take(&mut first).to_owned(), second.to_owned())),
            None => first = line,
        }
    }
    out
}

impl<'a> Topic<'a> {
    /// Finds the command that `path` leads to, as far as it leads.
    pub fn find<S: AsRef<str>>(program: &'a Command, path: &[S]) -> Self {
        let mut topic = Self {
            program,
            command: program,
            path: Vec::new(),
        };
        for name in path {
            let Some(next) = topic.command.find_subcommand(name.as_ref()) else {
                break;
            };
            topic.command = next;
            topic.path.push(next.get_name());
        }
        topic
    }

    /// Returns the topics of the commands below that are shown.
    pub fn below(&self) -> impl Iterator<Item = Topic<'a>> + use<'a, '_> {
        let shown = self.command.get_subcommands().filter(|c| !c.is_hide_set());
        shown.map(|command| Self {
            program: self.program,
            command,
            path: self.path.iter().copied().chain([command.get_name()]).collect(),
        })
    }

    /// Returns the name of the page of the command that `words` lead to from the program, as far as they lead.
    pub fn page_of(&self, words: &[&str]) -> Option<String> {
        let found = Self::find(self.program, words);
        (!found.is_program()).then(|| found.name("-"))
    }

    /// Returns whether it is the program itself.
    pub fn is_program(&self) -> bool {
        self.path.is_empty()
    }

    /// Returns whether the Go tool has it too.
    pub fn is_of_the_go_tool(&self) -> bool {
        self.path.first().is_none_or(|name| OF_THE_GO_TOOL.contains(name))
    }

    /// Returns the words that call it, with `separator` between them.
    pub fn name(&self, separator: &str) -> String {
        [&["umoci"], self.path.as_slice()].concat().join(separator)
    }

    /// Returns the one line about it.
    pub fn about(&self) -> String {
        text(self.command.get_about())
    }

    /// Returns the words behind its name and its options.
    pub fn operands(&self) -> String {
        text(self.command.get_overridden_usage())
    }

    /// Returns the paragraphs that explain it.
    pub fn paragraphs(&self) -> Vec<String> {
        let long = text(self.command.get_long_about());
        // clap has the one line before the paragraphs.
        let text = long.strip_prefix(&self.about()).unwrap_or(&long);
        let paragraphs = text.split("\n\n").map(|p| p.trim().to_owned());
        paragraphs.filter(|p| !p.is_empty()).collect()
    }

    /// Returns the kind of thing that it is about, of a command of the program.
    pub fn category(&self) -> Option<String> {
        let [name] = self.path[..] else { return None };
        let mut categories = pairs("categories").into_iter();
        let found = categories.find(|(_, names)| names.split(' ').any(|other| other == name));
        Some(found?.0)
    }

    /// Returns the commands below, with the names that each has.
    pub fn commands(&self) -> Vec<Group> {
        if !self.command.has_subcommands() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for topic in self.below() {
            let names = topic.command.get_name_and_visible_aliases().join(", ");
            add(&mut out, topic.category(), names, topic.about());
        }
        let help = "Shows a list of commands or help for one command".to_owned();
        add(&mut out, None, "help, h", help);
        // By category, as the pages of the Go tool have them; the rows without one come first.
        out.sort_by(|(one, _), (other, _)| one.cmp(other));
        out
    }

    /// Returns the options that are shown.
    pub fn options(&self) -> Vec<Group> {
        let mut out = Vec::new();
        for arg in self.arguments() {
            let group = arg.get_help_heading().map(str::to_owned);
            add(&mut out, group, names(arg), help(arg));
        }
        if self.is_program() {
            add(&mut out, None, "--help, -h", "show help".to_owned());
            add(&mut out, None, "--version, -v", "print the version".to_owned());
        }
        // The sort is stable: groups stay in the order of the definition.
        out.sort_by_key(|(group, _)| group.is_some());
        out
    }

    /// Returns the options that are shown, as they are defined.
    pub fn arguments(&self) -> impl Iterator<Item = &'a Arg> + use<'a> {
        let all = self.command.get_arguments();
        // Without a long name it is the argument that takes the operands.
        all.filter(|arg| !arg.is_hide_set() && arg.get_long().is_some())
    }

    /// Returns the examples.
    pub fn examples(&self) -> Vec<Row> {
        pairs(&self.name(" "))
    }

    /// Returns the environment variables that mean something to it, with what they mean.
    pub fn environment(&self) -> Vec<Row> {
        let is_dated = self.arguments().any(|arg| arg.get_id() == "history_created");
        let mut out = Vec::new();
        if self.is_program() || is_dated || self.path == ["attach"] {
            out.extend(pairs("variables of documents"));
        }
        if self.is_program() {
            out.extend(pairs("variables"));
        }
        out
    }

    /// Returns its exit codes.
    pub fn exit_codes(&self) -> Vec<Row> {
        pairs(match self.path[..] {
            // Its codes tell damage from repairs.
            ["fsck"] => "exit codes of fsck",
            ["cache", "get"] => "exit codes of cache get",
            _ => "exit codes",
        })
    }

    /// Returns the files that it reads and writes by itself; names in angle brackets stand for words of the command.
    pub fn files(&self) -> Vec<Row> {
        let mut out = Vec::new();
        if matches!(self.path[..], [] | ["unpack" | "repack"]) {
            out.extend(pairs("files of a bundle"));
        }
        if !matches!(self.path[..], ["completions" | "man"]) {
            out.extend(pairs("files of a layout"));
        }
        out
    }
}

fn add(groups: &mut Vec<Group>, group: Option<String>, name: impl Into<String>, text: String) {
    let name = name.into();
    match groups.iter_mut().find(|(other, _)| *other == group) {
        Some((_, rows)) => rows.push((name, text)),
        None => groups.push((group, vec![(name, text)])),
    }
}

/// Returns whether a word follows the option.
pub fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// Returns the word for the value of an option. The name of its field, which stands in capitals, is none.
pub fn value_name(arg: &Arg) -> &str {
    match arg.get_value_names() {
        Some([name, ..]) if !name.starts_with(char::is_uppercase) => name,
        _ => "value",
    }
}

/// Returns all spellings of an option, with the word for its value.
fn names(arg: &Arg) -> String {
    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
    let long = long.iter().map(|name| format!("--{name}"));
    let names = long.chain(short.iter().map(|name| format!("-{name}")));
    let mut out = names.collect::<Vec<_>>().join(", ");
    if takes_value(arg) {
        let _ = write!(out, " {}", value_name(arg));
    }
    out
}

/// Returns the characters of a text of clap's, or none where there is no text.
pub fn text(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn help(arg: &Arg) -> String {
    let mut out = text(arg.get_help());
    // A switch has a default value as well, which says nothing.
    if let Some(default) = arg.get_default_values().first().filter(|_| takes_value(arg)) {
        let _ = write!(out, " (default: {:?})", default.to_string_lossy());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{argv, definition};
    use super::*;

    /// Calls `look` for the program and each command that is shown.
    fn visit<'a>(topic: &Topic<'a>, look: &mut impl FnMut(&Topic<'a>)) {
        look(topic);
        topic.below().for_each(|below| visit(&below, look));
    }

    /// Commands that have examples.
    fn commands() -> impl Iterator<Item = &'static str> {
        let titles = FACTS.lines().filter_map(|line| line.strip_prefix("== "));
        titles.filter(|title| title.split(' ').next() == Some("umoci"))
    }

    #[test]
    fn each_command_has_examples_of_itself() {
        let program = definition();
        visit(&Topic::find::<&str>(&program, &[]), &mut |topic| {
            if topic.command.has_subcommands() && !topic.is_program() {
                return;
            }
            let name = topic.name(" ");
            let examples = topic.examples();
            assert!(!examples.is_empty(), "{name} has no example");
            assert!(examples.iter().all(|(_, line)| line.contains(&name)), "{name}");
        });
        for name in commands() {
            let words: Vec<&str> = name.split_whitespace().skip(1).collect();
            assert_eq!(
                Topic::find(&program, &words).path,
                words,
                "no such command: {name}"
            );
        }
    }

    #[test]
    fn a_group_has_its_own_options_alone() {
        let program = definition();
        let groups = Topic::find(&program, &["insert"]).options();
        let count = |name: &str| {
            let is = |group: &&Group| group.0.as_deref() == Some(name);
            groups.iter().find(is).map(|(_, rows)| rows.len())
        };
        assert_eq!((count("owners"), count("history")), (Some(3), Some(5)));
    }

    #[test]
    fn examples_fit_the_definition() {
        let program = definition();
        for (_, line) in commands().flat_map(pairs) {
            let (_, call) = line.split_once("umoci ").expect("a call");
            let call = call.split([')', '|', '>']).next().expect("words");
            let words: Vec<OsString> = call
                .split_whitespace()
                .map(|word| word.trim_matches('\'').into())
                .collect();
            match argv::read(&program, &words) {
                argv::Request::Run { words, .. } => {
                    program.clone().try_get_matches_from(words).expect(&line);
                }
                argv::Request::Help(_) => {}
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
