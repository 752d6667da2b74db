// SPDX-License-Identifier: Apache-2.0
//! `umoci diff`

use serde_json::Value;

use crate::inside::{
    CompareOptions, Delta, Fields, LayerDelta, Paths, Side, ValueDelta, compare, config_deltas,
    hash_undecided, layer_deltas,
};

use super::super::prelude::*;
use super::view_args::{ViewArgs, end_of, tree_path};
use super::{deltas, json, patch};

/// compares two images, layers or bundles
///
/// Prints the paths that differ: A added, D removed, M with other bytes, T of another type, m with other mode, owner, time, attributes
/// or names alone. Each side is an image, layer:<layout>@<digest> or bundle:<directory>; with paths, only those and what is below them
/// count. On a terminal --stat is the form, elsewhere --name-status; forms may be combined.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<old> <new> [<path>...]")]
pub struct Diff {
    /// print letter and path
    #[arg(long)]
    name_status: bool,
    /// print letter, path, sizes and a line of sums
    #[arg(long)]
    stat: bool,
    /// print the bytes that came, those that went, and the path
    #[arg(long)]
    numstat: bool,
    /// print types, modes, digests, letter and path
    #[arg(long)]
    raw: bool,
    /// print a patch of files that are text
    #[arg(long, short = 'p')]
    patch: bool,
    /// compare the configs and annotations of two images
    #[arg(long)]
    config: bool,
    /// compare the lists of layers
    #[arg(long)]
    layers: bool,
    /// compare trees, configs and annotations without times, history and names
    #[arg(long)]
    semantic: bool,
    /// leave differences out: type, size, content, target, device, mode, owner, uid, gid, mtime, xattrs, links
    #[arg(long, value_name = "field,...", value_parser = fields)]
    ignore: Vec<Fields>,
    /// show a file that went and came under another name as one (R)
    #[arg(long, short = 'M')]
    find_renames: bool,
    /// exit with 1 if there are differences
    #[arg(long)]
    exit_code: bool,
    /// print nothing, and exit with 1 if there are differences
    #[arg(long)]
    quiet: bool,
    /// print names as they are, with a NUL behind each
    #[arg(short = 'z')]
    nul: bool,
    /// print an object of JSON for each difference, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArgs,
}

/// Reads words of `--ignore`.
fn fields(text: &str) -> Result<Fields, String> {
    let mut out = Fields::NONE;
    for word in text.split(',') {
        let field = Fields::named(word).ok_or_else(|| format!("{word:?} is no field"))?;
        out = out.and(field);
    }
    Ok(out)
}

impl Diff {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [old, new, paths @ ..] = self.view.rest.as_slice() else {
            let what = if self.view.rest.is_empty() {
                "the old image"
            } else {
                "the new image"
            };
            return Err(Failure::Missing(what.to_owned()));
        };
        let paths = paths.iter().map(|word| tree_path(word)).collect::<Outcome<_>>()?;
        let mut old = self.view.side(old, ui)?;
        let mut new = self.view.side(new, ui)?;
        let mut differs = false;
        if self.layers {
            differs |= self.layers(&old, &new, ui)?;
        }
        if self.config || self.semantic {
            differs |= self.configs(&old, &new, ui)?;
        }
        if self.semantic || !(self.config || self.layers) {
            differs |= self.trees(&mut old, &mut new, Paths(paths), ui)?;
        }
        for side in [&old, &new] {
            side.contents().map_or(Ok(()), end_of)?;
        }
        if differs && (self.exit_code || self.quiet) {
            return Err(Failure::Found(1));
        }
        Ok(())
    }

    /// Compares the trees; returns whether they differ.
    fn trees(&self, old: &mut Side, new: &mut Side, paths: Paths, ui: &Ui) -> Outcome<bool> {
        let mut ignore = self
            .ignore
            .iter()
            .fold(Fields::NONE, |all, field| all.and(*field));
        if self.semantic {
            ignore = ignore.and(Fields::MTIME);
        }
        let opts = CompareOptions {
            ignore,
            renames: self.find_renames,
            paths,
        };
        hash_undecided(old, new, &opts, ui)?;
        let found = compare(old, new, &opts);
        if !self.quiet {
            self.print(old, new, &found, ui)?;
        }
        Ok(!found.is_empty())
    }

    /// Prints differences in all forms that are asked for.
    fn print(&self, old: &Side, new: &Side, found: &[Delta<'_>], ui: &Ui) -> Outcome {
        let has_form = self.name_status || self.stat || self.numstat || self.raw || self.patch;
        let by_default = !has_form && !self.json;
        // Programs read what a NUL ends.
        let is_for_person = ui.width().is_some() && !self.nul;
        let mut out = Vec::new();
        for (put, is_wanted) in [
            (put_json as fn(&mut Vec<u8>, &Delta<'_>, bool), self.json),
            (deltas::put_raw, self.raw),
            (
                deltas::put_name_status,
                self.name_status || (by_default && !is_for_person),
            ),
            (deltas::put_numstat, self.numstat),
        ] {
            found
                .iter()
                .filter(|_| is_wanted)
                .for_each(|delta| put(&mut out, delta, self.nul));
        }
        if !found.is_empty() && (self.stat || (by_default && is_for_person)) {
            out.extend(deltas::stat(found, ui.width()).into_bytes());
        }
        ui.print(out)?;
        if !self.patch {
            return Ok(());
        }
        // Layers must stay while they are read.
        let _locks = [old, new].map(|side| side.store().and_then(Store::reading));
        patch::print(old, new, found, ui)
    }

    /// Compares configs and annotations; returns whether they differ.
    fn configs(&self, old: &Side, new: &Side, ui: &Ui) -> Outcome<bool> {
        let (Some(old), Some(new)) = (old.image(), new.image()) else {
            // A layer and a bundle have none, so that the trees alone have a meaning.
            if self.config {
                refuse!("--config compares images");
            }
            return Ok(false);
        };
        let found = config_deltas(old, new, self.semantic)?;
        if !self.quiet {
            let mut out = Vec::new();
            for delta in &found {
                self.put_value(&mut out, delta);
            }
            ui.print(out)?;
        }
        Ok(!found.is_empty())
    }

    fn put_value(&self, out: &mut Vec<u8>, delta: &ValueDelta) {
        let status = match (&delta.old, &delta.new) {
            (None, _) => 'A',
            (_, None) => 'D',
            _ => 'M',
        };
        if self.json {
            let mut line = json::line();
            line.insert("status".to_owned(), status.to_string().into());
            line.insert("config".to_owned(), delta.name.as_str().into());
            for (key, value) in [("old", &delta.old), ("new", &delta.new)] {
                if let Some(value) = value {
                    line.insert(key.to_owned(), value.clone());
                }
            }
            json::put_line(out, line);
            return;
        }
        let values = [&delta.old, &delta.new].map(|value| value.as_ref().map(Value::to_string));
        let values: Vec<String> = values.into_iter().flatten().collect();
        let text = one_line(&format!("{status} {} {}", delta.name, values.join(" -> ")));
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }

    /// Compares the lists of layers; returns whether they differ.
    fn layers(&self, old: &Side, new: &Side, ui: &Ui) -> Outcome<bool> {
        let (Some(old), Some(new)) = (old.contents(), new.contents()) else {
            refuse!("--layers compares images");
        };
        let found = layer_deltas(&old.layers, &new.layers);
        let differs = found.iter().any(|delta| {
            let [old, new] = delta.digests();
            old != new
        });
        if !self.quiet {
            let mut out = Vec::new();
            for delta in &found {
                self.put_layer(&mut out, delta);
            }
            ui.print(out)?;
        }
        Ok(differs)
    }

    fn put_layer(&self, out: &mut Vec<u8>, delta: &LayerDelta<'_>) {
        let Some(layer) = delta.new.or(delta.old) else {
            return;
        };
        let digests = delta.digests();
        // The same tar may be compressed in two ways.
        let status = match digests {
            [Some(_), None] => "-",
            [None, _] => "+",
            [old, new] if old != new => "~",
            _ => "=",
        };
        let step = layer.history.as_ref().map(|step| step.created_by.as_str());
        if self.json {
            let mut line = json::line();
            line.insert("status".to_owned(), status.into());
            for (key, digest) in ["old", "new"].into_iter().zip(digests) {
                if let Some(digest) = digest {
                    line.insert(key.to_owned(), digest.to_string().into());
                }
            }
            line.insert("diff_id".to_owned(), layer.diff_id.to_string().into());
            line.insert("size".to_owned(), layer.descriptor.size.into());
            line.insert("tar_size".to_owned(), layer.tar_size.into());
            line.insert("created_by".to_owned(), step.into());
            json::put_line(out, line);
            return;
        }
        let (digest, size) = (layer.descriptor.digest, human_size(layer.descriptor.size));
        let step = one_line(step.unwrap_or_default());
        let text = format!("{status} {digest} {size:>9} {step}");
        out.extend_from_slice(text.trim_end().as_bytes());
        out.push(b'\n');
    }
}

fn put_json(out: &mut Vec<u8>, delta: &Delta<'_>, _nul: bool) {
    let mut line = json::line();
    deltas::put_delta(&mut line, delta);
    json::put_line(out, line);
}
