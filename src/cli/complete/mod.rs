// SPDX-License-Identifier: Apache-2.0
//! Completion of a command line that is being typed: one engine that the scripts of all shells ask.
//!
//! A script calls `umoci __complete WORDS`, where the last word is the one that is typed and may be empty. Each candidate is a
//! line with the whole word, and behind a tab a text about it, if there is one. The engine knows the grammar of [`argv`],
//! which no shell and no generator of scripts does, so a script only splits words and quotes the answer.

mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use super::argv::{self, Part, Parts};
use super::reference::{Topic, takes_value, text};

/// Word that asks for candidates, in the place of a command.
pub const ASK: &str = "__complete";

/// Scripts by the shell that they are for.
pub const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("umoci.bash")),
    ("zsh", include_str!("umoci.zsh")),
    ("fish", include_str!("umoci.fish")),
];

/// Maximum number of candidates: nobody reads more, and a shell is slow to sort them.
const MAX_CANDIDATES: usize = 1000;

/// A word that may stand where the cursor is, and a text about it.
type Candidate = (String, String);

/// Returns the candidates for the last of `words`, one a line.
///
/// A place that cannot be read (no layout, a directory without permission) has no candidates.
pub fn answer(program: &Command, words: &[OsString]) -> String {
    let Some((typed, before)) = words.split_last() else {
        return String::new();
    };
    let typed = typed.to_string_lossy();
    let mut found = Line::read(program, before).candidates(&typed);
    // A word with such a character is two lines to the shell.
    found.retain(|(word, _)| word.starts_with(&*typed) && !word.contains(char::is_control));
    found.sort();
    found.dedup();
    let lines = found.iter().map(|(word, about)| match about.as_str() {
        "" => format!("{word}\n"),
        _ => format!("{word}\t{about}\n"),
    });
    lines.take(MAX_CANDIDATES).collect()
}

/// The words before the cursor.
struct Line<'a> {
    topic: Topic<'a>,
    /// Options and their values, by long name.
    options: Vec<(&'a str, String)>,
    operands: Vec<String>,
    /// The option whose value comes next.
    waiting: Option<&'a Arg>,
    /// `--` was among the words.
    is_rest: bool,
    /// `help` was among the words: names of commands follow.
    is_help: bool,
}

impl<'a> Line<'a> {
    /// Reads words as [`argv::read`] does, and passes over what that refuses.
    fn read(program: &'a Command, words: &[OsString]) -> Self {
        let mut line = Self {
            topic: Topic::find::<&str>(program, &[]),
            options: Vec::new(),
            operands: Vec::new(),
            waiting: None,
            is_rest: false,
            is_help: false,
        };
        let mut parts = Parts::new(program, words);
        for part in parts.by_ref() {
            match part {
                Part::Command(next) => {
                    line.topic.command = next;
                    line.topic.path.push(next.get_name());
                }
                // A word that is no command stays without effect: the next one is read in its place.
                Part::NoCommand(name) => line.is_help |= argv::is_help(&name),
                Part::Operand(word) => line.operands.push(word.to_string_lossy().into_owned()),
                Part::Option(Some(arg), _, None) if takes_value(arg) => line.waiting = Some(arg),
                Part::Option(Some(arg), _, value) => {
                    let value = value.unwrap_or_default().to_string_lossy().into_owned();
                    line.options.push((arg.get_long().unwrap_or_default(), value));
                }
                // An option that does not exist: whether a word of its own follows cannot be told.
                Part::Option(None, ..) => {}
            }
        }
        line.is_rest = parts.is_rest;
        line
    }

    fn candidates(&self, typed: &str) -> Vec<Candidate> {
        // A value comes first: it may look like an option, and argv takes it as a value all the same.
        if let Some(arg) = self.waiting {
            return self.values(&values::of_option(arg), typed);
        }
        if !self.is_rest && (argv::is_option(typed.as_ref()) || typed == "-") {
            return match typed.split_once('=') {
                Some((name, value)) => self.values_behind(name, value),
                None => self.options(),
            };
        }
        if self.topic.command.has_subcommands() {
            return self.commands();
        }
        // Help takes names of commands alone.
        if self.is_help {
            return Vec::new();
        }
        // Options are offered unasked only where no operand is left to be typed.
        let wanted = values::of_operand(&self.topic, self.operands.len());
        let found = self.values(wanted, typed);
        if found.is_empty() && typed.is_empty() {
            self.options()
        } else {
            found
        }
    }

    /// Candidates for an option and its value in one word.
    fn values_behind(&self, name: &str, value: &str) -> Vec<Candidate> {
        let Some(arg) = argv::find(self.topic.command, name.trim_start_matches('-')) else {
            return Vec::new();
        };
        values::behind(&format!("{name}="), self.values(&values::of_option(arg), value))
    }

    fn commands(&self) -> Vec<Candidate> {
        let below = self.topic.below();
        let below = below.map(|below| (below.command.get_name().to_owned(), below.about()));
        let help = (!self.is_help).then(|| ("help".to_owned(), "shows help for a command".to_owned()));
        below.chain(help).collect()
    }

    /// Returns the options that are not there yet, and those that may be given again.
    fn options(&self) -> Vec<Candidate> {
        let mut out = vec![("--help".to_owned(), "show help".to_owned())];
        for arg in self.topic.arguments() {
            let name = arg.get_long().unwrap_or_default();
            let is_given = self.options.iter().any(|(given, _)| *given == name);
            if !is_given || matches!(arg.get_action(), ArgAction::Append) {
                out.push((format!("--{name}"), text(arg.get_help())));
            }
        }
        out
    }

    /// Returns the layout that the words before the cursor name.
    fn layout(&self) -> Option<PathBuf> {
        // Of an option that was given twice the last one counts, as clap takes it.
        let mut options = self.options.iter().rev();
        let option = options.find(|(name, _)| ["layout", "image", "to"].contains(name));
        let text = option.map(|(_, text)| text).or(self.operands.first())?;
        Some(values::real_path(text.split([':', '@']).next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::definition;
    use super::*;

    fn words(typed: &[&str]) -> Vec<String> {
        let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
        let answer = answer(&definition(), &typed);
        answer
            .lines()
            .filter_map(|line| line.split('\t').next().map(str::to_owned))
            .collect()
    }

    #[test]
    fn commands_and_options_are_those_that_help_shows() {
        assert!(
            words(&["re"])
                .iter()
                .eq(["rebase", "ref", "referrers", "remove", "repack", "report"])
        );
        assert!(
            words(&["raw", ""])
                .iter()
                .eq(["add-layer", "help", "runtime-config", "unpack"])
        );
        assert!(words(&["help", "ls", ""]).is_empty());
        assert!(words(&["help", "ra"]).iter().eq(["raw"]));
        assert_eq!(words(&["--cpu"]), Vec::<String>::new(), "hidden");
        assert!(words(&["init", "--l"]).iter().eq(["--layout", "--lock-timeout"]));
        assert!(
            words(&["init", "--layout", "x", "--l"])
                .iter()
                .eq(["--lock-timeout"])
        );
        assert!(
            words(&["config", "--config.env", "A=b", "--config.en"])
                .iter()
                .eq(["--config.entrypoint", "--config.env"])
        );
        assert!(words(&["init", "-"]).contains(&"--layout".to_owned()));
        assert!(words(&["-q", "--log", "info", "ini"]).iter().eq(["init"]));
    }

    #[test]
    fn values_are_those_that_the_option_takes() {
        for (typed, want) in [
            (&["repack", "--compress", "z"][..], &["zstd"][..]),
            (&["repack", "-compress=z"], &["-compress=zstd"]),
            (&["--log", "w"], &["warn"]),
            (&["--progress="], &["--progress=auto", "--progress=never"]),
            (&["unpack", "--platform", "linux/arm6"], &["linux/arm64"]),
            (
                &["config", "--clear", "config.e"],
                &["config.entrypoint", "config.env", "config.exposedports"],
            ),
            (&["unpack", "--limit", "h"], &["header="]),
            (&["completions", "z"], &["zsh"]),
            (
                &["blob", "add", "--media-type", "application/vnd.oci.image.i"],
                &["application/vnd.oci.image.index.v1+json"],
            ),
            // A value that nobody can know, and one that looks like an option.
            (&["config", "--author", ""], &[]),
            (&["config", "--config.cmd", "--no"], &[]),
        ] {
            assert_eq!(words(typed), want, "{typed:?}");
        }
    }
}
