// SPDX-License-Identifier: Apache-2.0
//! Values and operands, from words as typed.

use clap::Args;
use serde::Serialize;

use super::super::failure::Outcome;
use super::super::table::Table;
use super::super::ui::Ui;

/// `--json` and `--no-trunc`, of commands that print a table
#[derive(Args, Debug)]
pub struct TableArgs {
    /// print JSON
    #[arg(long)]
    pub json: bool,
    /// print digests and texts whole on a terminal too
    #[arg(long = "no-trunc")]
    no_trunc: bool,
}

impl TableArgs {
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

    /// Prints the table, or the value that it shows as JSON.
    pub fn show(&self, value: &impl Serialize, table: Table, ui: &Ui) -> Outcome {
        ui.show(self.json, value, self.fit(table, ui))
    }
}

/// Reads a pattern of names.
pub fn pattern(text: &str) -> Result<glob::Pattern, String> {
    glob::Pattern::new(text).map_err(|e| format!("no pattern: {text:?}: {}", e.msg))
}

/// Replaces each field for which an option is given.
pub fn replace<const N: usize>(fields: [(&mut String, &Option<String>); N]) {
    for (field, value) in fields {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
}

/// Reads an annotation, `NAME=VALUE`.
pub fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?}: write NAME=VALUE")),
    }
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
