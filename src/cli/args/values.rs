// SPDX-License-Identifier: Apache-2.0
//! Values and operands, from words as typed.

use std::time::Duration;

use crate::spec::Annotations;
use crate::store::parse_duration;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::failure::{Outcome, invalid};
use super::super::table::Table;
use super::super::ui::Ui;

/// `--no-trunc`
#[derive(Args, Debug)]
pub struct WholeArg {
    /// print digests and texts whole on a terminal too
    #[arg(long = "no-trunc")]
    no_trunc: bool,
}

impl WholeArg {
    /// Returns whether tables are cut to a terminal: there is one, and `--no-trunc` was not given.
    pub fn is_cut(&self, ui: &Ui) -> bool {
        !self.no_trunc && ui.width().is_some()
    }

    /// The table as the place has room for it: cut on a terminal, whole elsewhere.
    pub fn fit(&self, table: Table, ui: &Ui) -> Table {
        match ui.width().filter(|_| !self.no_trunc) {
            Some(width) => table.fit(width),
            None => table,
        }
    }
}

/// Reads one of `all` by its name.
pub fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).try_map(move |text| {
        let found = all.into_iter().find(|one| name(*one) == text);
        found.ok_or("unknown name")
    })
}

/// Reads the value of the option called `what` with `read`, if it is given.
pub fn optional<T>(
    text: Option<&String>,
    what: &str,
    read: impl Fn(&str, &str) -> Outcome<T>,
) -> Outcome<Option<T>> {
    text.map(|text| read(text, what)).transpose()
}

/// A pattern of names as typed; `what` names the option in messages.
pub fn pattern(text: &str, what: &str) -> Outcome<glob::Pattern> {
    let no_pattern = |e: glob::PatternError| format!("no pattern: {text:?}: {}", e.msg);
    glob::Pattern::new(text)
        .map_err(no_pattern)
        .map_err(invalid(what))
}

/// A duration as typed; `what` names the option in messages.
pub fn duration(text: &str, what: &str) -> Outcome<Duration> {
    parse_duration(text).map_err(invalid(what))
}

/// A size in bytes as typed, perhaps with a unit as sizes are printed (`20GB`) or one of 1024 (`20GiB`); `what` names the option in messages.
pub fn size(text: &str, what: &str) -> Outcome<u64> {
    match bytes(text) {
        Some(bytes) => Ok(bytes),
        None => refuse!("invalid {what}: {text:?} (write bytes, or as 500MB, 20GB, 20GiB)"),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_uppercase();
    let (step, unit) = match unit.strip_suffix("IB") {
        Some(unit) => (1024_u64, unit),
        None => (1000, unit.strip_suffix('B').unwrap_or(&unit)),
    };
    let mut powers = ["", "K", "M", "G", "T"].into_iter().zip(0..);
    let (_, power) = powers.find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(step.pow(power))
}

/// `NAME=VALUE` words to annotations.
pub fn annotations(words: &[String]) -> Outcome<Annotations> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => refuse!("invalid annotation {word:?}: write NAME=VALUE"),
    };
    words.iter().map(pair).collect()
}

/// Checks the count of arguments, and that none is empty.
pub fn positionals<'a, const N: usize>(words: &'a [String], names: [&str; N]) -> Outcome<[&'a str; N]> {
    let Ok(words) = <[&String; N]>::try_from(words.iter().collect::<Vec<_>>()) else {
        let names = names.map(|name| format!("<{name}>")).join(" ");
        let expected = if N == 0 { "none" } else { &names };
        refuse!("invalid number of positional arguments: expected {expected}");
    };
    match words.iter().position(|word| word.is_empty()) {
        Some(at) => refuse!("{} cannot be empty", names[at]),
        None => Ok(words.map(String::as_str)),
    }
}
