// SPDX-License-Identifier: Apache-2.0
//! `umoci grep`

use regex::bytes::{Regex, RegexBuilder};

use crate::inside::{Hits, Item, Search, grep};

use super::super::prelude::*;
use super::json::{self, put_bytes, put_path};
use super::quote::quoted;
use super::view_args::{SinceArg, ViewArgs};

/// Exit code if no line was found.
const NO_MATCH: u8 = 1;

/// finds lines in the files of an image
///
/// Prints the lines of regular files that fit a regular expression (of Rust's crate regex, near to those of grep -E), each behind the path
/// of its file and a colon; with paths or patterns of paths, in those and what is below them. Each layer that has such files is read once.
/// Of a file with a NUL at its beginning only its name is told. The code is 1 if there is no such line.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<pattern> <image-path>[:<tag>][~<n>] [<path>...]")]
pub struct Grep {
    /// a pattern; may be given more than once, and the first operand is then the image
    #[arg(short = 'e', long = "regexp", value_name = "pattern")]
    patterns: Vec<String>,
    /// letters of both cases are the same
    #[arg(short = 'i', long = "ignore-case")]
    ignore_case: bool,
    /// whole words alone
    #[arg(short = 'w', long = "word-regexp")]
    word: bool,
    /// the patterns are texts
    #[arg(short = 'F', long = "fixed-strings")]
    fixed: bool,
    /// lines that do not fit
    #[arg(short = 'v', long = "invert-match")]
    invert: bool,
    /// files that are no text too
    #[arg(short = 'a', long = "text")]
    text: bool,
    /// print the number of each line
    #[arg(short = 'n', long = "line-number")]
    number: bool,
    /// print the names of files alone
    #[arg(short = 'l', long = "files-with-matches")]
    names: bool,
    /// print how many lines of each file there are
    #[arg(short = 'c', long = "count")]
    count: bool,
    /// print nothing
    #[arg(short = 'q', long = "silent")]
    silent: bool,
    /// print a NUL behind each name, and names as they are
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// print an object of JSON for each line
    #[arg(long)]
    json: bool,
    /// search what this layer brought and is still there; 1 is the lowest
    #[arg(long, value_name = "number")]
    layer: Option<u32>,
    #[command(flatten)]
    since: SinceArg,
    #[command(flatten)]
    view: ViewArgs,
}

impl Grep {
    /// Runs the command.
    pub fn run(mut self, ui: &Ui) -> Outcome {
        if self.patterns.is_empty() {
            if self.view.rest.is_empty() {
                return Err(Failure::Missing("the pattern".to_owned()));
            }
            self.patterns.push(self.view.rest.remove(0));
        }
        let search = Search {
            pattern: self.pattern()?,
            invert: self.invert,
            text: self.text,
            first: self.names || self.silent,
            count: self.count,
        };
        let (viewed, paths) = self.view.image(ui)?;
        let since = self.since.layers(&viewed)?;
        let mut items = viewed.chosen(paths, since)?;
        items.retain(|item| self.layer.is_none_or(|number| item.layer + 1 == number));
        let _reading = viewed.store.reading();
        let (found, failed) = grep(&viewed.store, &viewed.contents, &items, &search, ui);
        let mut out = Vec::new();
        let mut is_found = false;
        for item in items {
            let of = std::ptr::from_ref(viewed.contents.content_of(item));
            if let Some(hits) = found.get(&of) {
                is_found = true;
                self.put(&mut out, item, hits);
            }
        }
        ui.print(out)?;
        if let Some((number, err)) = failed.into_iter().next() {
            let layer = &viewed.contents.layers[number as usize].descriptor.digest;
            return Err(err.context(format!("the answer is without layer {layer}")).into());
        }
        viewed.end()?;
        if is_found {
            Ok(())
        } else {
            Err(Failure::Found(NO_MATCH))
        }
    }

    /// Makes one expression of all patterns.
    fn pattern(&self) -> Outcome<Regex> {
        let patterns = self.patterns.iter().map(|pattern| {
            if self.fixed {
                regex::escape(pattern)
            } else {
                format!("(?:{pattern})")
            }
        });
        // Each alone must be one: parentheses of two must not make a pair.
        if !self.fixed {
            for pattern in &self.patterns {
                Regex::new(pattern).map_err(|err| bad_pattern(pattern, &err))?;
            }
        }
        let any = patterns.collect::<Vec<_>>().join("|");
        let whole = if self.word {
            format!(r"\b{{start-half}}(?:{any})\b{{end-half}}")
        } else {
            any
        };
        let built = RegexBuilder::new(&whole)
            .multi_line(true)
            .case_insensitive(self.ignore_case)
            .build();
        built.map_err(|err| bad_pattern(&self.patterns.join("|"), &err))
    }

    fn put(&self, out: &mut Vec<u8>, item: &Item, hits: &Hits) {
        let name = if self.nul {
            item.path.as_bytes().to_vec()
        } else {
            quoted(&item.path).into_bytes()
        };
        let behind = if self.nul { 0 } else { b':' };
        if self.silent {
        } else if self.json {
            self.put_json(out, item, hits);
        } else if self.names {
            out.extend_from_slice(&name);
            out.push(if self.nul { 0 } else { b'\n' });
        } else if self.count {
            out.extend_from_slice(&name);
            out.push(behind);
            out.extend_from_slice(format!("{}\n", hits.count).as_bytes());
        } else if hits.is_binary {
            out.extend_from_slice(b"Binary file ");
            out.extend_from_slice(&name);
            out.extend_from_slice(b" matches\n");
        } else {
            for (number, line) in &hits.lines {
                out.extend_from_slice(&name);
                out.push(behind);
                if self.number {
                    out.extend_from_slice(format!("{number}:").as_bytes());
                }
                out.extend_from_slice(&shown(line));
                out.push(b'\n');
            }
        }
    }

    fn put_json(&self, out: &mut Vec<u8>, item: &Item, hits: &Hits) {
        let mut head = json::line();
        put_path(&mut head, "path", &item.path);
        head.insert("layer".to_owned(), (item.layer + 1).into());
        if self.names || self.count || hits.is_binary {
            if hits.is_binary {
                head.insert("binary".to_owned(), true.into());
            }
            if self.count {
                head.insert("count".to_owned(), hits.count.into());
            }
            return json::put_line(out, head);
        }
        for (number, text) in &hits.lines {
            let mut line = head.clone();
            line.insert("line".to_owned(), (*number).into());
            put_bytes(&mut line, "text", text);
            json::put_line(out, line);
        }
    }
}

/// Returns a line as it may reach a terminal; elsewhere its bytes are those of the file.
fn shown(line: &[u8]) -> Vec<u8> {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() {
        return one_line(&String::from_utf8_lossy(line).replace('\t', "    ")).into_bytes();
    }
    line.to_vec()
}

fn bad_pattern(pattern: &str, err: &regex::Error) -> Failure {
    // The message has the pattern and a mark below it, in several lines.
    let text = err.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    Failure::Arguments(format!(
        "invalid pattern {pattern:?}: {}",
        last.trim_start_matches("error: ")
    ))
}
