// SPDX-License-Identifier: Apache-2.0
//! `umoci log`

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::inside::{Contents, Counts, Delta, Paths, Step, changes, steps};

use super::super::prelude::*;
use super::super::table::short;
use super::view_args::{ViewArgs, tree_path};
use super::{deltas, json};

/// shows the layers of an image with what each of them changed
///
/// Prints the layers from the top: digest, time, sizes, the paths that it added (+), changed (~) and removed (-), the bytes by which
/// the tree grew, and the step of the history that made it; steps that made no layer too. With paths, only the layers that changed
/// something at or below them. --stat, --name-status and --name-only tell the paths.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>] [<path>...]")]
pub struct Log {
    /// print a line for each layer
    #[arg(long)]
    oneline: bool,
    /// print letter, path and sizes of what each layer changed
    #[arg(long)]
    stat: bool,
    /// print letter and path of what each layer changed
    #[arg(long)]
    name_status: bool,
    /// print the path of what each layer changed
    #[arg(long)]
    name_only: bool,
    /// print digests and names alone, with a NUL behind each, and one more behind each layer
    #[arg(short = 'z')]
    nul: bool,
    /// print an object of JSON for each step, one a line; with --name-status, --name-only or --stat with all changes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArgs,
}

/// A step and what its layer changed.
struct Shown<'a> {
    step: Step<'a>,
    deltas: Vec<Delta<'a>>,
    /// Why the layer could not be seen.
    unseen: Option<String>,
}

impl Log {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (viewed, words) = self.view.image(ui)?;
        let paths = words
            .iter()
            .map(|word| tree_path(word))
            .collect::<Outcome<Vec<_>>>()?;
        let contents = &viewed.contents;
        let by_path = !paths.is_empty();
        let mut deltas = changes(contents, &Paths(paths));
        let mut out = Vec::new();
        for step in steps(&viewed.image, contents).into_iter().rev() {
            let deltas = step
                .layer
                .map_or_else(Vec::new, |layer| std::mem::take(&mut deltas[layer]));
            let unseen = contents
                .unseen
                .iter()
                .find(|(number, _)| Some(*number) == step.layer);
            let shown = Shown {
                step,
                deltas,
                unseen: unseen.map(|(_, err)| err.to_string()),
            };
            if !by_path || !shown.deltas.is_empty() {
                self.put(&mut out, contents, &shown, ui);
            }
        }
        ui.print(out)?;
        viewed.end()
    }

    fn put(&self, out: &mut Vec<u8>, contents: &Contents, shown: &Shown<'_>, ui: &Ui) {
        if self.json {
            json::put_line(out, self.object(contents, shown));
        } else if self.nul {
            self.put_raw(out, contents, shown);
        } else if self.oneline {
            out.extend_from_slice(one(contents, shown).as_bytes());
            self.put_paths(out, shown, ui);
        } else {
            if !out.is_empty() {
                out.push(b'\n');
            }
            out.extend_from_slice(block(contents, shown, ui).as_bytes());
            if self.stat || self.name_status || self.name_only {
                out.push(b'\n');
            }
            self.put_paths(out, shown, ui);
        }
    }

    fn put_paths(&self, out: &mut Vec<u8>, shown: &Shown<'_>, ui: &Ui) {
        if self.name_status {
            shown
                .deltas
                .iter()
                .for_each(|delta| deltas::put_name_status(out, delta, self.nul));
        }
        if self.name_only {
            shown
                .deltas
                .iter()
                .for_each(|delta| deltas::put_name_only(out, delta, self.nul));
        }
        if self.stat && !shown.deltas.is_empty() {
            out.extend_from_slice(deltas::stat(&shown.deltas, ui.width()).as_bytes());
        }
    }

    /// Adds the digest and the names of a layer with a NUL behind each; a step without a layer has neither.
    fn put_raw(&self, out: &mut Vec<u8>, contents: &Contents, shown: &Shown<'_>) {
        let Some(layer) = shown.step.layer else {
            return;
        };
        out.extend_from_slice(contents.layers[layer].descriptor.digest.to_string().as_bytes());
        out.push(0);
        if self.name_status {
            shown
                .deltas
                .iter()
                .for_each(|delta| deltas::put_name_status(out, delta, true));
        } else if self.name_only {
            shown
                .deltas
                .iter()
                .for_each(|delta| deltas::put_name_only(out, delta, true));
        }
        out.push(0);
    }

    fn object(&self, contents: &Contents, shown: &Shown<'_>) -> Map<String, Value> {
        let mut out = json::line();
        if let Some(number) = shown.step.layer {
            let layer = &contents.layers[number];
            out.insert("layer".to_owned(), (number + 1).into());
            out.insert("digest".to_owned(), layer.descriptor.digest.to_string().into());
            out.insert("diff_id".to_owned(), layer.diff_id.to_string().into());
            out.insert("size".to_owned(), layer.descriptor.size.into());
            if let Some(err) = &shown.unseen {
                out.insert("error".to_owned(), err.as_str().into());
            } else {
                let counts = Counts::of(&shown.deltas);
                out.insert("tar_size".to_owned(), layer.tar_size.into());
                out.insert("added".to_owned(), counts.added.into());
                out.insert("modified".to_owned(), counts.modified.into());
                out.insert("removed".to_owned(), counts.removed.into());
                out.insert("growth".to_owned(), counts.growth.into());
            }
        }
        if let Some(history) = shown.step.history {
            out.insert("created".to_owned(), history.created.clone().into());
            out.insert("created_by".to_owned(), history.created_by.as_str().into());
        }
        if self.stat || self.name_status || self.name_only {
            let changes = shown.deltas.iter().map(|delta| {
                let mut change = Map::new();
                deltas::put_delta(&mut change, delta);
                Value::from(change)
            });
            out.insert("changes".to_owned(), changes.collect());
        }
        out
    }
}

/// Returns the counts as `+120 ~4 -17 (+31MB)`.
fn counts(shown: &Shown<'_>) -> String {
    if shown.unseen.is_some() {
        return "(not readable)".to_owned();
    }
    let Counts {
        added,
        modified,
        removed,
        growth,
    } = Counts::of(&shown.deltas);
    let growth = deltas::signed_size(growth);
    format!("+{added} ~{modified} -{removed} ({growth})")
}

fn created_by(step: &Step<'_>) -> String {
    one_line(step.history.map_or("", |history| &history.created_by))
}

/// Returns the line of a step.
fn one(contents: &Contents, shown: &Shown<'_>) -> String {
    let step = created_by(&shown.step);
    let text = match shown.step.layer {
        None => format!("  - (no layer)   {step}"),
        Some(number) => {
            let digest = short(&contents.layers[number].descriptor.digest);
            format!("{:>3} {digest} {} {step}", number + 1, counts(shown))
        }
    };
    text.trim_end().to_owned() + "\n"
}

/// Returns the lines of a step.
fn block(contents: &Contents, shown: &Shown<'_>, ui: &Ui) -> String {
    let mut out = match shown.step.layer {
        None => "(no layer)\n".to_owned(),
        Some(number) => {
            let layer = &contents.layers[number];
            let sizes = [layer.descriptor.size, layer.tar_size].map(human_size);
            let (digest, number) = (layer.descriptor.digest, number + 1);
            let size = match shown.unseen {
                Some(_) => sizes[0].clone(),
                None => format!("{}, {} of tar", sizes[0], sizes[1]),
            };
            format!(
                "layer {number} {digest}\nSize:    {size}\nChanges: {}\n",
                counts(shown)
            )
        }
    };
    if let Some(created) = shown.step.history.and_then(|history| history.created.as_ref()) {
        let _ = writeln!(out, "Date:    {}", one_line(created));
    }
    let step = created_by(&shown.step);
    if !step.is_empty() {
        let _ = write!(out, "\n    {step}\n");
    }
    match shown.step.layer {
        None => ui.faint(&out),
        Some(_) => out,
    }
}
