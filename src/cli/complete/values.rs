// SPDX-License-Identifier: Apache-2.0
//! Candidates for values: what an option or operand wants, and what there is of it.

use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::Image;
use crate::layer::Limits;
use crate::spec::{MediaType, RefName};
use crate::store::{Store, StoreOptions};
use clap::Arg;

use super::super::args::ImageRef;
use super::super::config::CLEARABLE;
use super::super::reference::{Topic, value_name};
use super::{Candidate, Line};

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nobody can know.
    Unknown,
    /// One of these words.
    Words(Vec<String>),
    /// `DIR:TAG`.
    Image,
    /// A place of images: [`Kind::Image`] or an archive.
    Place,
    /// A tag of the layout.
    Tag,
    /// A tag of the layout, or `DIR:TAG`.
    TagOrImage,
    /// Number of a layer of the image.
    Layer,
    /// Name of a lease of the layout.
    Lease,
    /// Name of a limit.
    Limit,
    /// A layout.
    Layout,
    /// A directory.
    Directory,
    /// A file or directory.
    File,
}

const PLATFORMS: &str = "linux/386 linux/amd64 linux/arm/v6 linux/arm/v7 linux/arm64 linux/loong64 linux/mips64le \
                         linux/ppc64le linux/riscv64 linux/s390x windows/amd64";

const PROCESSORS: &str = "386 amd64 arm arm64 loong64 mips64le ppc64le riscv64 s390x";

const SIGNALS: &str = "SIGHUP SIGINT SIGKILL SIGQUIT SIGTERM SIGUSR1 SIGUSR2";

const MEDIA_TYPES: [&str; 10] = [
    MediaType::MANIFEST,
    MediaType::INDEX,
    MediaType::CONFIG,
    MediaType::EMPTY,
    MediaType::LAYER,
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    MediaType::DOCKER_MANIFEST,
    MediaType::DOCKER_LIST,
    MediaType::DOCKER_CONFIG,
];

const ARTIFACT_TYPES: &str = "application/spdx+json application/vnd.cyclonedx+json application/vnd.in-toto+json \
                              application/vnd.dev.cosign.artifact.sig.v1+json application/vnd.cncf.notary.signature";

impl Kind {
    /// What an option of the command takes.
    pub fn of_option(arg: &Arg) -> Self {
        let possible = arg.get_possible_values();
        let mut words: Vec<String> = possible.iter().map(|word| word.get_name().to_owned()).collect();
        if !words.is_empty() {
            words.sort_unstable();
            return Self::Words(words);
        }
        match (arg.get_long().unwrap_or_default(), value_name(arg)) {
            ("image" | "to", _) => Self::Image,
            ("layout", _) | ("from", "path") => Self::Layout,
            ("tag" | "old" | "new", _) | ("from", "name") => Self::Tag,
            ("lease", _) => Self::Lease,
            ("limit", _) => Self::Limit,
            (_, "number|digest") => Self::Layer,
            (_, "file" | "directory|file") | ("manifest", _) => Self::File,
            ("rootfs" | "path", _) => Self::Directory,
            ("compress", _) => Self::words("auto gzip none zstd"),
            ("clear", _) => Self::words(CLEARABLE),
            ("platform", _) => Self::words(PLATFORMS),
            ("arch" | "platform.arch", _) => Self::words(PROCESSORS),
            ("os" | "platform.os", _) => Self::words("darwin freebsd linux windows"),
            ("config.stopsignal", _) => Self::words(SIGNALS),
            ("media-type", _) => Self::words(&MEDIA_TYPES.join(" ")),
            ("artifact-type", _) => Self::words(ARTIFACT_TYPES),
            ("log", _) => Self::words("debug error fatal info warn"),
            _ => Self::Unknown,
        }
    }

    fn words(words: &str) -> Self {
        Self::Words(words.split(' ').map(str::to_owned).collect())
    }

    /// What the operand at this position of the command is, by the name that its usage has for it.
    pub fn of_operand(topic: &Topic<'_>, at: usize) -> Self {
        let usage = topic.operands();
        let operands = operands(&usage);
        let last = operands.last().filter(|name| name.ends_with("..."));
        let Some(name) = operands.get(at).or(last) else {
            return Self::Unknown;
        };
        let of_leases = topic.path.first() == Some(&"lease");
        match *name {
            "<bash|zsh|fish>" => Self::words("bash fish zsh"),
            "<number>|<digest>" => Self::Layer,
            "<source>" if topic.path == ["import"] => Self::Place,
            "<destination>" => Self::Place,
            "<source>" | "<config>" | "<newlayer.tar>" => Self::File,
            "<bundle>" | "<rootfs>" | "<directory>" => Self::Directory,
            name if name.starts_with("<name>") && of_leases => Self::Lease,
            name if name.starts_with("<name>") || name.starts_with("<name|") || name == "<new-tag>" => {
                Self::Tag
            }
            name if name.starts_with("<image-path>") => Self::Image,
            name if name.starts_with("<image>") => Self::TagOrImage,
            name if name.starts_with("<file>") => Self::File,
            name if name.contains("<os>/<arch>") => Self::words(PLATFORMS),
            _ => Self::Unknown,
        }
    }
}

/// The names of operands in words of usage such as `--image <image-path>[:<tag>] (<source> <target> | --all)`.
fn operands(usage: &str) -> Vec<&str> {
    let is_bracket = |c: char| matches!(c, '[' | '(');
    let mut out = Vec::new();
    let mut words = usage.split_whitespace();
    while let Some(word) = words.next() {
        let word = word.trim_start_matches(is_bracket);
        if word.starts_with("--") {
            words.next();
        } else if word.starts_with('<') {
            out.push(word.trim_end_matches(']').trim_end_matches(')'));
        }
    }
    out
}

impl Line<'_> {
    /// What there is of a kind, for a value that begins with `typed`.
    pub fn values(&self, kind: &Kind, typed: &str) -> Vec<Candidate> {
        match kind {
            Kind::Unknown => Vec::new(),
            Kind::Words(words) => plain(words.iter().cloned()),
            Kind::Limit => about(
                Limits::NAMES
                    .iter()
                    .map(|(name, unit)| (format!("{name}="), *unit)),
            ),
            Kind::Layout => entries(typed, Wanted::Layouts),
            Kind::Directory => entries(typed, Wanted::Directories),
            Kind::File => entries(typed, Wanted::Files),
            Kind::Image => images(typed),
            Kind::Place => places(typed),
            Kind::Tag => plain(self.layout().map(|path| tags(&path)).unwrap_or_default()),
            Kind::TagOrImage => {
                let mut out = self.values(&Kind::Tag, typed);
                out.extend(images(typed));
                out
            }
            Kind::Lease => self.leases(),
            Kind::Layer => self.layers(),
        }
    }

    fn leases(&self) -> Vec<Candidate> {
        let store = self.layout().and_then(|path| open(&path));
        let leases = store.and_then(|store| store.leases().ok()).unwrap_or_default();
        plain(leases.into_iter().map(|lease| lease.name))
    }

    /// Numbers of the layers of the image before the cursor.
    fn layers(&self) -> Vec<Candidate> {
        let option = self.options.iter().find(|(name, _)| *name == "image");
        let text = option.map(|(_, text)| text).or(self.operands.first());
        let image = text.and_then(|text| ImageRef::parse(text, "image").ok());
        let found = image.and_then(|image| {
            let store = open(&real_path(image.layout.to_str()?))?;
            Image::find(&store, &image.target, None).ok()
        });
        let layers = found.map(|image| image.manifest.value.layers).unwrap_or_default();
        about(
            layers
                .iter()
                .zip(1..)
                .map(|(layer, number)| (number.to_string(), layer.digest.to_string())),
        )
    }
}

fn about(words: impl IntoIterator<Item = (String, impl Into<String>)>) -> Vec<Candidate> {
    words
        .into_iter()
        .map(|(word, about)| (word, about.into()))
        .collect()
}

fn plain(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<Candidate> {
    about(words.into_iter().map(|word| (word.into(), "")))
}

/// `DIR:` of layouts and `DIR/` of other directories, or `DIR:TAG` once a layout is named.
fn images(typed: &str) -> Vec<Candidate> {
    match typed.split_once(':') {
        None => entries(typed, Wanted::Images),
        Some((path, _)) => {
            let tags = tags(&real_path(path)).into_iter();
            plain(tags.map(|tag| format!("{path}:{tag}")))
        }
    }
}

/// As [`images`], also behind the name of a transport.
fn places(typed: &str) -> Vec<Candidate> {
    const TRANSPORTS: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
    let transport = TRANSPORTS.iter().find(|transport| typed.starts_with(**transport));
    let Some(transport) = transport else {
        let mut out = images(typed);
        out.extend(plain(TRANSPORTS));
        return out;
    };
    let rest = &typed[transport.len()..];
    let mut out = match *transport {
        "oci:" => images(rest),
        _ => entries(rest, Wanted::Files),
    };
    for (word, _) in &mut out {
        word.insert_str(0, transport);
    }
    out
}

/// Opens a layout to look at it: without the database, and without waiting for anybody.
fn open(path: &Path) -> Option<Store> {
    let options = StoreOptions {
        lock_timeout: Duration::ZERO,
        ..StoreOptions::without_index()
    };
    Store::open(path, options).ok()
}

/// The tags of a layout that a command can take. Others, which may stand in a layout too, would be strange words to a shell.
fn tags(layout: &Path) -> Vec<String> {
    let names = open(layout).and_then(|store| store.names().ok());
    let mut names = names.unwrap_or_default();
    names.retain(|name| name.parse::<RefName>().is_ok());
    names
}

/// The path that a word stands for: the shell has not replaced `~` in it.
pub fn real_path(word: &str) -> PathBuf {
    match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(word),
    }
}

/// Which entries of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Files,
    Directories,
    /// Layouts, and directories on the way to them.
    Layouts,
    /// The same, with the colon before a tag.
    Images,
}

/// The entries of the directory that `typed` leads to.
fn entries(typed: &str, wanted: Wanted) -> Vec<Candidate> {
    let at = typed.rfind('/').map_or(0, |at| at + 1);
    let (above, start) = typed.split_at(at);
    let dir = if above.is_empty() { "." } else { above };
    let Ok(entries) = fs::read_dir(real_path(dir)) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry_word(&entry.ok()?, wanted, start));
    about(names.map(|(name, about)| (format!("{above}{name}"), about)))
}

/// The word for an entry whose name begins with `start`, if it is wanted.
fn entry_word(entry: &DirEntry, wanted: Wanted, start: &str) -> Option<(String, &'static str)> {
    let name = entry.file_name().into_string().ok()?;
    if !name.starts_with(start) || name.starts_with('.') && !start.starts_with('.') {
        return None;
    }
    if !entry.path().is_dir() {
        return (wanted == Wanted::Files).then_some((name, ""));
    }
    let is_layout = || entry.path().join("oci-layout").is_file();
    match wanted {
        Wanted::Images if is_layout() => Some((name + ":", "layout")),
        Wanted::Layouts if is_layout() => Some((name, "layout")),
        _ => Some((name + "/", "")),
    }
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
                let unknown = Kind::of_operand(&topic, at) == Kind::Unknown;
                let free = name.starts_with("<digest>") || *name == "<target>";
                assert!(!unknown || free, "{}: {name}", topic.name(" "));
            }
        }
    }
}
