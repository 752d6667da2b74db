// SPDX-License-Identifier: Apache-2.0
//! Words of the command line in the grammar of Go's `flag` package, turned into words that clap reads one way only.
//!
//! One dash or two, `--name value` or `--name=value`, booleans with `=false`, options before and behind arguments,
//! values that begin with a dash: all end as `--name=value … -- arguments`, so clap never guesses.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

use super::reference::takes_value;
use crate::image::nearest;

/// What the words ask for.
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
    /// The words do not fit; the path says whose help to print.
    Usage {
        /// Command whose help is printed.
        path: Vec<String>,
        /// What is wrong.
        error: String,
    },
}

/// Reads the words behind the program's name against the definition of the program.
pub fn read(program: &Command, words: &[OsString]) -> Request {
    let mut out = vec![OsString::from("umoci")];
    let mut path: Vec<String> = Vec::new();
    let mut command = program;
    let mut arguments: Vec<OsString> = Vec::new();
    let mut help = false;
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut words = words.iter();

    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            arguments.extend(words.by_ref().cloned());
            break;
        }
        // No option begins with a colon: stdin with a media type does.
        if bytes.len() < 2 || bytes[0] != b'-' || bytes[1] == b':' {
            if command.has_subcommands() {
                let name = word.to_string_lossy();
                if name == "help" || name == "h" {
                    return topic(
                        program,
                        &path,
                        words.map(|w| w.to_string_lossy().into_owned()).collect(),
                    );
                }
                let Some(next) = command.find_subcommand(&*name) else {
                    return unknown(command, &name);
                };
                command = next;
                path.push(next.get_name().to_owned());
                out.push(next.get_name().into());
                continue;
            }
            arguments.push(word.clone());
            continue;
        }
        let name = &bytes[if bytes.starts_with(b"--") { 2 } else { 1 }..];
        let (name, mut value) = match name.iter().position(|&c| c == b'=') {
            Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]).to_owned())),
            None => (name, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let usage = |error| Request::Usage {
            path: path.clone(),
            error,
        };
        if name == "help" || name == "h" {
            help = true;
            continue;
        }
        if path.is_empty() && (name == "version" || name == "v") {
            return Request::Version;
        }
        let Some(arg) = find(command, &name) else {
            return usage(format!("flag provided but not defined: -{name}"));
        };
        let long = arg.get_long().unwrap_or_default();
        let other_form = |(id, other): &&(String, String)| *id == arg.get_id().as_str() && *other != name;
        if let Some((_, other)) = seen.iter().find(other_form) {
            let (first, second) = (other.min(&name), other.max(&name));
            return usage(format!("Cannot use two forms of the same flag: {first} {second}"));
        }
        seen.push((arg.get_id().to_string(), name.clone()));
        if !takes_value(arg) {
            let text = value.map_or("true".into(), |value| value.to_string_lossy().into_owned());
            match go_bool(&text) {
                Some(true) => out.push(format!("--{long}").into()),
                Some(false) => {}
                None => return usage(format!("invalid boolean value {text:?} for -{name}: parse error")),
            }
            continue;
        }
        if value.is_none() {
            value = words.next().cloned();
        }
        let Some(value) = value else {
            return usage(format!("flag needs an argument: -{name}"));
        };
        let mut joined = format!("--{long}=").into_bytes();
        joined.extend_from_slice(value.as_bytes());
        out.push(OsString::from_vec(joined));
    }
    if help || (command.has_subcommands() && arguments.is_empty()) {
        return Request::Help(path);
    }
    if !arguments.is_empty() {
        out.push("--".into());
        out.extend(arguments);
    }
    Request::Run { path, words: out }
}

/// Returns that `command` has no command `name` below it.
fn unknown(command: &Command, name: &str) -> Request {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let names = shown.flat_map(|below| std::iter::once(below.get_name()).chain(below.get_visible_aliases()));
    Request::UnknownTopic(name.to_owned(), nearest(name, names).map(str::to_owned))
}

/// `umoci help [TOPIC]` and `umoci raw help [TOPIC]`.
fn topic(program: &Command, path: &[String], topics: Vec<String>) -> Request {
    let mut command = program;
    let mut found = Vec::new();
    for name in path.iter().chain(topics.iter().filter(|t| !t.starts_with('-'))) {
        let Some(next) = command.find_subcommand(name) else {
            return unknown(command, name);
        };
        command = next;
        found.push(next.get_name().to_owned());
    }
    Request::Help(found)
}

/// Finds an option by any of its names.
pub fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let mut shorts = arg
            .get_short_and_visible_aliases()
            .unwrap_or_default()
            .into_iter();
        arg.get_long() == Some(name)
            || arg.get_all_aliases().unwrap_or_default().contains(&name)
            || shorts.any(|short| name.chars().eq([short]))
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
            (&["rm", "--nope"][..], "flag provided but not defined: -nope"),
            (&["rm", "--image"], "flag needs an argument: -image"),
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
