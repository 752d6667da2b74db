// SPDX-License-Identifier: Apache-2.0
//! Candidates for values: what an option or operand wants, and what there is of it.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::Image;
use crate::layer::Limits;
use crate::spec::RefName;
use crate::store::{Store, StoreOptions};
use clap::Arg;
use clap::builder::PossibleValue;

use super::super::args::ImageRef;
use super::super::reference::{Topic, value_name};
use super::{Candidate, Line};

/// Values of options and operands: their names, and behind a colon a kind in capitals, or words.
///
/// An option stands by its name, by `--NAME/VALUE` for a name of its value, or by `--/VALUE` for any option with such a value;
/// an operand by its name, or by `COMMAND/NAME`.
const WANTED: &str = include_str!("values.txt");

/// Returns the words that [`WANTED`] has for the first of `keys` that is in it; none where nobody can know.
fn wanted(keys: &[String]) -> &'static str {
    let found = keys.iter().find_map(|key| {
        let mut rows = WANTED.lines().filter_map(|line| line.split_once(": "));
        rows.find(|(names, _)| names.split(' ').any(|name| name == key))
    });
    found.map_or("", |(_, words)| words)
}

/// Returns the kind of value that an option takes, or its possible values.
pub fn of_option(arg: &Arg) -> String {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        let words: Vec<&str> = possible.iter().map(PossibleValue::get_name).collect();
        return words.join(" ");
    }
    // The narrow key comes first: --from takes a name here and a path there.
    let (name, value) = (arg.get_long().unwrap_or_default(), value_name(arg));
    wanted(&[
        format!("--{name}/{value}"),
        format!("--{name}"),
        format!("--/{value}"),
    ])
    .to_owned()
}

/// Returns the kind of operand at this position of the command, by the name that its usage has for it.
pub fn of_operand(topic: &Topic<'_>, at: usize) -> &'static str {
    let usage = topic.operands();
    let operands = operands(&usage);
    // The last operand may stand for any number of words.
    let last = operands.last().filter(|name| name.ends_with("..."));
    let Some(name) = operands.get(at).or(last) else {
        return "";
    };
    // `<image-path>[:<tag>]` is known by its first name.
    let name = name.split([':', '[']).next().unwrap_or_default();
    let name = name.replace(['<', '>'], "").trim_end_matches("...").to_owned();
    let command = topic.path.first().unwrap_or(&"");
    wanted(&[format!("{command}/{name}"), name])
}

/// Returns the names of operands in words of usage such as `--image <image-path>[:<tag>] (<source> <target> | --all)`.
fn operands(usage: &str) -> Vec<&str> {
    let words = usage.split_whitespace();
    let words = words.map(|word| word.trim_matches(['[', '(', ']', ')']));
    // The word behind an option is its value. A switch is followed by no operand's name but one that is there without the
    // switch too.
    let behind = std::iter::once("").chain(words.clone());
    let pairs = behind.zip(words).filter(|(before, _)| !before.starts_with("--"));
    let names = pairs.map(|(_, word)| word);
    names.filter(|word| word.starts_with('<')).collect()
}

impl Line<'_> {
    /// Returns the values of the `wanted` kind that there are, for a word that begins with `typed`.
    pub fn values(&self, wanted: &str, typed: &str) -> Vec<Candidate> {
        match wanted {
            "LIMIT" => Limits::NAMES
                .map(|(name, unit)| (format!("{name}="), unit.to_owned()))
                .into(),
            "LAYOUT" | "DIRECTORY" | "FILE" => entries(typed, wanted),
            "IMAGE" => images(typed),
            "PLACE" => places(typed),
            "TAG" => plain(self.layout().map(|path| tags(&path)).unwrap_or_default()),
            "IMAGE-OR-TAG" => [self.values("TAG", typed), images(typed)].concat(),
            "LEASE" => self.leases().unwrap_or_default(),
            "LAYER" => self.layers().unwrap_or_default(),
            // Nobody waits for a registry at the prompt.
            "REGISTRY" => Vec::new(),
            words => plain(words.split_whitespace()),
        }
    }

    fn leases(&self) -> Option<Vec<Candidate>> {
        let leases = open(&self.layout()?)?.leases().ok()?;
        Some(plain(leases.into_iter().map(|lease| lease.name)))
    }

    /// Returns the numbers of the layers of the image before the cursor.
    fn layers(&self) -> Option<Vec<Candidate>> {
        let option = self.options.iter().find(|(name, _)| *name == "image");
        let image = ImageRef::parse(option.map(|(_, text)| text).or(self.operands.first())?).ok()?;
        let store = open(&real_path(image.layout.to_str()?))?;
        let found = Image::find(&store, &image.target, None).ok()?;
        let numbered = (1..).zip(&found.manifest.value.layers);
        let layers = numbered.map(|(number, layer)| (format!("{number}"), layer.digest.to_string()));
        Some(layers.collect())
    }
}

fn plain(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<Candidate> {
    let words = words.into_iter().map(|word| (word.into(), String::new()));
    words.collect()
}

/// Returns the candidates with `before` in front of each word: a shell replaces the whole word that is typed.
pub fn behind(before: &str, found: Vec<Candidate>) -> Vec<Candidate> {
    let found = found.into_iter();
    let whole = found.map(|(word, about)| (format!("{before}{word}"), about));
    whole.collect()
}

/// `DIR:` of layouts and `DIR/` of other directories, or `DIR:TAG` once a layout is named.
fn images(typed: &str) -> Vec<Candidate> {
    match typed.split_once(':') {
        None => entries(typed, "IMAGE"),
        Some((path, _)) => behind(&format!("{path}:"), plain(tags(&real_path(path)))),
    }
}

/// As [`images`], also behind the name of a transport.
fn places(typed: &str) -> Vec<Candidate> {
    const TRANSPORTS: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
    for transport in TRANSPORTS {
        if let Some(rest) = typed.strip_prefix(transport) {
            let found = match transport {
                "oci:" => images(rest),
                _ => entries(rest, "FILE"),
            };
            return behind(transport, found);
        }
    }
    [images(typed), plain(TRANSPORTS)].concat()
}

/// Opens a layout to look at it: without the database, and without waiting for anybody.
fn open(path: &Path) -> Option<Store> {
    let options = StoreOptions {
        lock_timeout: Duration::ZERO,
        ..StoreOptions::without_index()
    };
    Store::open(path, options).ok()
}

/// Returns the tags of a layout that a command can take. Others, which may stand in a layout too, would be strange words to a shell.
fn tags(layout: &Path) -> Vec<String> {
    let names = open(layout).and_then(|store| store.names().ok());
    let names = names.into_iter().flatten();
    names.filter(|name| name.parse::<RefName>().is_ok()).collect()
}

/// Returns the path that a word stands for: the shell has not replaced `~` in it.
pub fn real_path(word: &str) -> PathBuf {
    match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(word),
    }
}

/// Returns the entries of the directory that `typed` leads to, for what is `wanted`: files, directories, or layouts and directories on the
/// way to them, with the colon before a tag where that is a layout of an image.
fn entries(typed: &str, wanted: &str) -> Vec<Candidate> {
    let at = typed.rfind('/').map_or(0, |at| at + 1);
    let (above, start) = typed.split_at(at);
    let dir = if above.is_empty() { "." } else { above };
    let entries = fs::read_dir(real_path(dir)).into_iter().flatten().flatten();
    let words = entries.filter_map(|entry| entry_word(&entry, wanted, start));
    behind(above, words.collect())
}

/// Returns the word for an entry whose name begins with `start`, if it is wanted.
fn entry_word(entry: &DirEntry, wanted: &str, start: &str) -> Option<Candidate> {
    let name = entry.file_name().into_string().ok()?;
    // As in a shell, a name that begins with a dot is offered to whoever typed one.
    if !name.starts_with(start) || name.starts_with('.') && !start.starts_with('.') {
        return None;
    }
    if !entry.path().is_dir() {
        return (wanted == "FILE").then_some((name, String::new()));
    }
    let is_layout = entry.path().join("oci-layout").is_file();
    Some(match wanted {
        "IMAGE" if is_layout => (name + ":", "layout".to_owned()),
        "LAYOUT" if is_layout => (name, "layout".to_owned()),
        _ => (name + "/", String::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::definition;
    use super::*;

    #[test]
    fn operands_are_named_by_the_usage() {
        for (usage, want) in [
            (
                "--image <image-path>[:<tag>] [--tag <new-tag>] (<source> <target> | --whiteout <target>)",
                &["<source>", "<target>"][..],
            ),
            (
                "--layout <image-path> [--expires <duration>] <name> <digest>...",
                &["<name>", "<digest>..."],
            ),
            (
                "<image-path>[:<tag>] <number>|<digest>",
                &["<image-path>[:<tag>", "<number>|<digest>"],
            ),
            (
                "<image-path>:<name> [<image>...]",
                &["<image-path>:<name>", "<image>..."],
            ),
            ("--layout <image-path>", &[]),
        ] {
            assert_eq!(operands(usage), want, "{usage}");
        }
    }

    #[test]
    fn each_operand_is_known() {
        let program = definition();
        let mut open = vec![Topic::find::<&str>(&program, &[])];
        while let Some(topic) = open.pop() {
            open.extend(topic.below());
            let usage = topic.operands();
            for (at, name) in operands(&usage).iter().enumerate() {
                let unknown = of_operand(&topic, at).is_empty();
                let free = [
                    "<digest>",
                    "<target>",
                    "<key>",
                    "<value>",
                    "<path>",
                    "<pattern>",
                    "<expression>",
                ];
                let free = free.iter().any(|free| name.starts_with(free));
                assert!(!unknown || free, "{}: {name}", topic.name(" "));
            }
        }
    }
}
