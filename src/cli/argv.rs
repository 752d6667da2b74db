// SPDX-License-Identifier: Apache-2.0
//! Words of the command line in the grammar of Go's `flag` package, turned into words that clap reads one way only.
//!
//! One dash or two, `--name value` or `--name=value`, booleans with `=false`, options before and behind arguments,
//! values that begin with a dash: all end as `--name=value … -- arguments`, so clap never guesses.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command};

use super::failure::command_elsewhere;
use super::reference::takes_value;
use crate::image::nearest;

/// The request that the words make.
#[derive(Debug)]
pub enum Request {
    /// Run clap on these words, the program's name first.
    Run {
        /// The command that is run.
        path: Vec<String>,
        /// The words.
        words: Vec<OsString>,
    },
    /// Print the help of the command that this path leads to (empty: of the program).
    Help(Vec<String>),
    /// Print the version.
    Version,
    /// The name of a command or help topic that does not exist, and the one that it may have been meant to be.
    UnknownTopic(String, Option<String>),
    /// There is no option of this name for the command of the path.
    UnknownOption {
        /// Command whose help is printed.
        path: Vec<String>,
        /// The name.
        name: String,
    },
    /// The words do not fit; the path says whose help to print.
    Usage {
        /// Command whose help is printed.
        path: Vec<String>,
        /// Message about the word that does not fit.
        error: String,
    },
}

/// A part of a command line.
pub enum Part<'a> {
    /// A command that there is, below those before it.
    Command(&'a Command),
    /// Another word where a command is wanted, such as `help`.
    NoCommand(String),
    /// An option by one of its names, and its value if one is there.
    Option(Option<&'a Arg>, String, Option<OsString>),
    /// A word of the command.
    Operand(OsString),
}

/// The parts of a command line, read against the definition of the program.
pub struct Parts<'a, 'w> {
    command: &'a Command,
    words: std::slice::Iter<'w, OsString>,
    /// `--` was among the words.
    pub is_rest: bool,
}

impl<'a, 'w> Parts<'a, 'w> {
    /// Begins with the words behind the program's name.
    pub fn new(program: &'a Command, words: &'w [OsString]) -> Self {
        Self {
            command: program,
            words: words.iter(),
            is_rest: false,
        }
    }
}

impl<'a> Iterator for Parts<'a, '_> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let mut word = self.words.next()?;
        // Only the first `--` ends the options; a second one is an operand.
        if word == "--" && !self.is_rest {
            self.is_rest = true;
            word = self.words.next()?;
        }
        if self.is_rest || !(is_option(word) || self.command.has_subcommands()) {
            return Some(Part::Operand(word.clone()));
        }
        if !is_option(word) {
            let name = word.to_string_lossy();
            let Some(next) = self.command.find_subcommand(&*name) else {
                return Some(Part::NoCommand(name.into_owned()));
            };
            self.command = next;
            return Some(Part::Command(next));
        }
        // One dash or two mean the same to Go, also before a name of several letters.
        let bytes = word.as_bytes();
        let mut parts = bytes[if bytes.starts_with(b"--") { 2 } else { 1 }..].splitn(2, |&c| c == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let value = parts.next().map(|value| OsStr::from_bytes(value).to_owned());
        let arg = find(self.command, &name);
        // A command of expressions has words with dashes that are none of its options.
        if arg.is_none()
            && !is_help(&name)
            && self
                .command
                .get_positionals()
                .any(Arg::is_allow_hyphen_values_set)
        {
            return Some(Part::Operand(word.clone()));
        }
        // A word that looks like an option is the value too, where one is wanted.
        let is_behind = value.is_none() && arg.is_some_and(takes_value);
        let behind = is_behind.then(|| self.words.next().cloned()).flatten();
        Some(Part::Option(arg, name, value.or(behind)))
    }
}

/// Returns whether a word is an option: a lone dash is stdin, and so is one with a media type behind a colon.
pub fn is_option(word: &OsStr) -> bool {
    matches!(word.as_bytes(), [b'-', next, ..] if *next != b':')
}

/// Reads the words behind the program's name against the definition of the program.
pub fn read(program: &Command, words: &[OsString]) -> Request {
    let mut out = vec![OsString::from("umoci")];
    let mut path: Vec<String> = Vec::new();
    let mut command = program;
    let mut arguments: Vec<OsString> = Vec::new();
    let mut help = false;
    let mut seen = HashMap::new();
    // The order of the words stays: options of the program have to come before the command, those of a command behind it.
    for part in Parts::new(program, words) {
        match part {
            Part::Operand(word) => arguments.push(word),
            Part::Command(next) => {
                command = next;
                path.push(next.get_name().to_owned());
                out.push(next.get_name().into());
            }
            // The names behind it lead to the page: `umoci help raw unpack` and `umoci raw help unpack`.
            Part::NoCommand(name) if is_help(&name) => help = true,
            Part::NoCommand(name) => return unknown(command, &name),
            // Help goes before all else, also where other words do not fit.
            Part::Option(_, name, _) if is_help(&name) => help = true,
            Part::Option(_, name, _) if path.is_empty() && (name == "version" || name == "v") => {
                return Request::Version;
            }
            Part::Option(None, name, _) => return Request::UnknownOption { path, name },
            Part::Option(Some(arg), name, value) => match option(arg, name, value, &mut seen) {
                Ok(word) => out.extend(word),
                Err(error) => return Request::Usage { path, error },
            },
        }
    }
    if help || (command.has_subcommands() && arguments.is_empty()) {
        return Request::Help(path);
    }
    // Behind the two dashes clap takes every word as it is.
    if !arguments.is_empty() {
        out.push("--".into());
        out.extend(arguments);
    }
    Request::Run { path, words: out }
}

/// Returns that `command` has no command `name` below it.
fn unknown(command: &Command, name: &str) -> Request {
    // A hidden command is not proposed.
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let names = shown.flat_map(Command::get_name_and_visible_aliases);
    // The words of another program say more than a name that looks alike.
    let near = command_elsewhere(name).or_else(|| nearest(name, names));
    Request::UnknownTopic(name.to_owned(), near.map(str::to_owned))
}

/// Returns whether a command or option of this name asks for help.
pub fn is_help(name: &str) -> bool {
    name == "help" || name == "h"
}

/// Returns an option as clap reads it, or nothing for a switch that is off.
///
/// # Errors
/// Words about what does not fit. `seen` has the names by which options were given before.
fn option(
    arg: &Arg,
    name: String,
    value: Option<OsString>,
    seen: &mut HashMap<String, String>,
) -> Result<Option<OsString>, String> {
    // One letter may be all of its names.
    let long = match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => format!("-{}", arg.get_short().unwrap_or_default()),
    };
    // The same option may be given again, and the last value counts; by another of its names Go refuses it.
    let first = seen.entry(long.clone()).or_insert_with(|| name.clone());
    if *first != name {
        let (first, second) = (name.as_str().min(first), name.as_str().max(first));
        return Err(format!("Cannot use two forms of the same flag: {first} {second}"));
    }
    if takes_value(arg) {
        let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
        let mut word = OsString::from(format!("{long}="));
        word.push(value);
        return Ok(Some(word));
    }
    // Of an option whose value may be left out it stands behind an equals sign.
    if arg.is_require_equals_set() {
        let mut word = OsString::from(long);
        if let Some(value) = value {
            word.push("=");
            word.push(value);
        }
        return Ok(Some(word));
    }
    // A switch takes a value behind an equals sign alone, as in Go: `--json false` would be a switch and an operand.
    let text = value.map_or("true".into(), |value| value.to_string_lossy().into_owned());
    match go_bool(&text) {
        Some(is_on) => Ok(is_on.then(|| long.into())),
        None => Err(format!("invalid boolean value {text:?} for -{name}: parse error")),
    }
}

/// Finds an option by any of its names.
pub fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
        arg.get_long() == Some(name)
            || arg.get_all_aliases().unwrap_or_default().contains(&name)
            || shorts.iter().any(|short| name.chars().eq([*short]))
    })
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn program() -> Command {
        Command::new("umoci")
            .arg(Arg::new("verbose").long("verbose").action(ArgAction::SetTrue))
            .arg(Arg::new("log").long("log"))
            .subcommand(
                Command::new("remove")
                    .alias("rm")
                    .arg(Arg::new("image").long("image"))
                    .arg(Arg::new("os").long("platform.os").alias("os"))
                    .arg(Arg::new("json").long("json").action(ArgAction::SetTrue))
                    .arg(Arg::new("rest").num_args(0..)),
            )
            .subcommand(Command::new("raw").subcommand(Command::new("unpack")))
    }

    fn run(words: &[&str]) -> Request {
        read(&program(), &words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_spelling_of_an_option_becomes_one() {
        for words in [
            &["rm", "--image", "a:b", "x"][..],
            &["rm", "-image=a:b", "x"],
            &["remove", "x", "-image", "a:b"],
            &["rm", "--image=a:b", "--", "x"],
            &["rm", "--json=false", "--image=a:b", "x"],
        ] {
            let Request::Run { words: out, .. } = run(words) else {
                panic!("{words:?}")
            };
            assert_eq!(out, ["umoci", "remove", "--image=a:b", "--", "x"], "{words:?}");
        }
    }

    #[test]
    fn a_value_may_begin_with_a_dash_or_be_empty() {
        let Request::Run { words: out, .. } = run(&["--log", "info", "rm", "--image", "-c", "--image", ""])
        else {
            panic!()
        };
        assert_eq!(out, ["umoci", "--log=info", "remove", "--image=-c", "--image="]);
    }

    #[test]
    fn stdin_is_an_argument_also_with_a_media_type() {
        let Request::Run { words: out, .. } = run(&["rm", "-", "-:a/b"]) else {
            panic!()
        };
        assert_eq!(out, ["umoci", "remove", "--", "-", "-:a/b"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (words, want) in [
            (&["rm", "--image"][..], "flag needs an argument: -image"),
            (
                &["rm", "--json=maybe"],
                "invalid boolean value \"maybe\" for -json: parse error",
            ),
            (
                &["rm", "--os=a", "--platform.os=b"],
                "Cannot use two forms of the same flag: os platform.os",
            ),
        ] {
            let Request::Usage { error, .. } = run(words) else {
                panic!("{words:?}")
            };
            assert_eq!(error, want);
        }
        assert!(matches!(run(&["rm", "--nope"]), Request::UnknownOption { name, .. } if name == "nope"));
    }

    #[test]
    fn help_is_found_wherever_it_stands() {
        for (words, want) in [
            (&[][..], &[][..]),
            (&["-h"], &[]),
            (&["help"], &[]),
            (&["raw"], &["raw"]),
            (&["rm", "x", "-h"], &["remove"]),
            (&["help", "rm"], &["remove"]),
            (&["help", "rm", "x"], &["remove"]),
            (&["help", "raw", "unpack"], &["raw", "unpack"]),
            (&["raw", "help", "unpack"], &["raw", "unpack"]),
        ] {
            let Request::Help(path) = run(words) else {
                panic!("{words:?}")
            };
            assert_eq!(path, want, "{words:?}");
        }
        assert!(matches!(run(&["foo"]), Request::UnknownTopic(name, None) if name == "foo"));
        assert!(matches!(run(&["help", "foo"]), Request::UnknownTopic(..)));
        assert!(matches!(run(&["--version"]), Request::Version));
    }
}
