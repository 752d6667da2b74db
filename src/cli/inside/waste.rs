// SPDX-License-Identifier: Apache-2.0
//! `umoci waste`

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::inside::{Bytes, Class, Contents, Finding, StoredImage, Sums, Waste, Whole, copies, suggestions};

use super::super::prelude::*;
use super::dive;
use super::json::{self, put_path};
use super::quote::quoted;
use super::view_args::{SinceArg, ViewArgs, Viewed, end_of};

/// shows what an image has and nobody sees
///
/// Each entry of each layer is of exactly one class: live, if it is in the tree that an unpack gives; replaced by a later entry of the
/// same path with other content; the same, if the later entry has the same content and only metadata changed; or removed, as are
/// whiteouts themselves. With the ends of the archives they add up to the sizes of the layers, as tars and compressed. All but the live
/// bytes are reclaimable, for instance by umoci squash. With --since the layers of a base are left out, and summed up apart.
/// Copies of one content under several paths, and files that images mostly do without, are shown beside, and count as live.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>]\n--all <image-path>")]
pub struct WasteCommand {
    /// show all images of a layout, a line for each
    #[arg(long)]
    all: bool,
    /// how many paths, directories, copies and kinds of files are shown
    #[arg(long, value_name = "number", default_value_t = 10)]
    top: usize,
    /// print objects of JSON, one a line, which say by 'kind' what they are
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// print the document of dive
    #[arg(long, value_parser = ["dive"])]
    format: Option<String>,
    #[command(flatten)]
    since: SinceArg,
    #[command(flatten)]
    view: ViewArgs,
}

impl WasteCommand {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if self.all {
            return self.of_layout(ui);
        }
        let (viewed, rest) = self.view.image(ui)?;
        positionals(rest, [])?;
        let waste = Waste::of(&viewed.contents, self.since.layers(&viewed)? as usize);
        if self.format.is_some() {
            ui.print(dive::document(&viewed.contents, &waste))?;
        } else if self.json {
            ui.print(self.lines(&viewed.contents, &waste))?;
        } else {
            ui.print(self.text(&viewed, &waste))?;
        }
        viewed.end()
    }

    /// Shows each image of a layout; of those that cannot be seen the first is why it fails.
    fn of_layout(&self, ui: &Ui) -> Outcome {
        let [layout] = positionals(&self.view.rest, ["image-path"])?;
        let store = self.view.store(layout)?;
        let _reading = store.reading();
        let mut out = Vec::new();
        let mut table = Table::new(&["EFFICIENCY", "RECLAIMABLE", "COMPRESSED", "LAYERS", "NAME"]);
        let whole = Whole::of(&store)?;
        let mut outcome = match whole.unseen.into_iter().next() {
            Some((name, err)) => Err(err.context(format!("the answer is without {name}")).into()),
            None => Ok(()),
        };
        for StoredImage { names, digest, .. } in whole.images {
            let image = Image::find(&store, &Target::Digest(digest), None)?;
            let contents = Contents::of_image(&store, &image, 0, ui)?;
            outcome = outcome.and_then(|()| end_of(&contents));
            let sums = Waste::of(&contents, 0).own();
            if self.json {
                let mut line = kind("image");
                line.insert("names".to_owned(), names.into());
                line.insert("manifest".to_owned(), digest.to_string().into());
                put_sums(&mut line, &sums);
                json::put_line(&mut out, line);
            } else {
                table.row([
                    percent(sums.efficiency()),
                    human_size(sums.reclaimable().tar),
                    human_size(sums.reclaimable().packed),
                    contents.layers.len().to_string(),
                    one_line(&names.join(", ")),
                ]);
            }
        }
        if !self.json {
            out = table.to_string().into_bytes();
        }
        ui.print(out)?;
        outcome
    }

    /// Returns the tables for people.
    fn text(&self, viewed: &Viewed, waste: &Waste<'_>) -> String {
        let contents = &viewed.contents;
        let mut layers = Table::new(&[
            "LAYER", "SIZE", "PACKED", "LIVE", "REPLACED", "SAME", "REMOVED", "ARCHIVE", "COMMAND",
        ]);
        for (number, sums) in waste.layers.iter().enumerate().skip(waste.base) {
            layers.row(row((number + 1).to_string(), sums, &command(contents, number)));
        }
        layers.row(row("all".to_owned(), &waste.own(), ""));
        if waste.base > 0 {
            layers.row(row("base".to_owned(), &waste.of_base(), ""));
        }
        let own = waste.own();
        let mut out = format!(
            "{layers}\nefficiency {}, reclaimable {} ({} compressed)\n",
            percent(own.efficiency()),
            human_size(own.reclaimable().tar),
            human_size(own.reclaimable().packed)
        );
        let mut paths = Table::new(&["WASTED", "PACKED", "CLASS", "MADE", "HIDDEN", "PATH", "COMMAND"]);
        for finding in waste.findings.iter().take(self.top) {
            let [made, hidden] = layers_of(finding);
            paths.row([
                human_size(finding.bytes.tar),
                human_size(finding.bytes.packed),
                finding.class.name().to_owned(),
                made.to_string(),
                hidden.to_string(),
                quoted(&finding.item.path),
                command(contents, finding.hidden_by as usize),
            ]);
        }
        let mut dirs = Table::new(&["WASTED", "PACKED", "ENTRIES", "DIRECTORY"]);
        for (dir, bytes, count) in waste.directories().iter().take(self.top) {
            dirs.row([
                human_size(bytes.tar),
                human_size(bytes.packed),
                count.to_string(),
                quoted(dir),
            ]);
        }
        if !waste.findings.is_empty() && self.top > 0 {
            let _ = write!(out, "\n{paths}\n{dirs}");
        }
        out + &self.beside(contents)
    }

    /// Returns the tables of what is live and could be spared.
    fn beside(&self, contents: &Contents) -> String {
        let mut out = String::new();
        let mut table = Table::new(&["COPIES", "EXTRA", "PATH"]);
        let copies = copies(contents);
        for copies in copies.iter().take(self.top) {
            table.row([
                copies.files.len().to_string(),
                human_size(copies.extra()),
                quoted(&copies.files[0].path),
            ]);
        }
        if !copies.is_empty() && self.top > 0 {
            let _ = write!(out, "\n{table}");
        }
        let mut table = Table::new(&["BYTES", "FILES", "KIND", "ADVICE"]);
        let suggestions = suggestions(contents);
        for suggestion in suggestions.iter().take(self.top) {
            table.row([
                human_size(suggestion.bytes),
                suggestion.files.to_string(),
                suggestion.name.to_owned(),
                suggestion.advice.to_owned(),
            ]);
        }
        if !suggestions.is_empty() && self.top > 0 {
            let _ = write!(out, "\n{table}");
        }
        out
    }

    /// Returns all of it as lines of JSON.
    fn lines(&self, contents: &Contents, waste: &Waste<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, sums) in waste.layers.iter().enumerate() {
            let mut line = kind("layer");
            line.insert("layer".to_owned(), (number + 1).into());
            line.insert("base".to_owned(), (number < waste.base).into());
            let layer = &contents.layers[number];
            line.insert("digest".to_owned(), layer.descriptor.digest.to_string().into());
            line.insert("command".to_owned(), command(contents, number).into());
            put_sums(&mut line, sums);
            json::put_line(&mut out, line);
        }
        for finding in waste.findings.iter().take(self.top) {
            let mut line = kind("path");
            put_path(&mut line, "path", &finding.item.path);
            line.insert("class".to_owned(), finding.class.name().into());
            let [made, hidden] = layers_of(finding);
            line.insert("layer".to_owned(), made.into());
            line.insert("hidden_by".to_owned(), hidden.into());
            let hidden = command(contents, finding.hidden_by as usize);
            line.insert("command".to_owned(), hidden.into());
            put_bytes(&mut line, finding.bytes);
            json::put_line(&mut out, line);
        }
        for (dir, bytes, count) in waste.directories().iter().take(self.top) {
            let mut line = kind("directory");
            put_path(&mut line, "path", dir);
            line.insert("entries".to_owned(), (*count).into());
            put_bytes(&mut line, *bytes);
            json::put_line(&mut out, line);
        }
        for copies in copies(contents).iter().take(self.top) {
            let mut line = kind("copies");
            line.insert("digest".to_owned(), json::digest(&copies.digest).into());
            line.insert("size".to_owned(), copies.size.into());
            line.insert("count".to_owned(), copies.files.len().into());
            line.insert("extra".to_owned(), copies.extra().into());
            put_path(&mut line, "path", &copies.files[0].path);
            json::put_line(&mut out, line);
        }
        for suggestion in suggestions(contents).iter().take(self.top) {
            let mut line = kind("suggestion");
            line.insert("name".to_owned(), suggestion.name.into());
            line.insert("advice".to_owned(), suggestion.advice.into());
            line.insert("files".to_owned(), suggestion.files.into());
            line.insert("size".to_owned(), suggestion.bytes.into());
            json::put_line(&mut out, line);
        }
        let mut line = kind("total");
        put_sums(&mut line, &waste.own());
        json::put_line(&mut out, line);
        if waste.base > 0 {
            let mut line = kind("base");
            put_sums(&mut line, &waste.of_base());
            json::put_line(&mut out, line);
        }
        out
    }
}

/// Returns the command that made a layer, as far as the history tells.
pub fn command(contents: &Contents, layer: usize) -> String {
    let layer = contents.layers.get(layer);
    let history = layer.and_then(|layer| layer.history.as_ref());
    one_line(history.map_or("", |history| &history.created_by))
}

/// Returns the numbers of the layers that made and hid an entry, counted from 1.
fn layers_of(finding: &Finding<'_>) -> [u32; 2] {
    [finding.item.layer, finding.hidden_by].map(|layer| layer + 1)
}

/// Returns a part of 1 as a percentage, cut so that 100 % means all.
pub fn percent(part: f64) -> String {
    // The last bits of a round number may be missing from its form, which must not cost a tenth.
    format!("{:.1}%", (part * 1000.0 + 1e-6).floor() / 10.0)
}

fn row(name: String, sums: &Sums, command: &str) -> Vec<String> {
    let total = sums.total();
    let mut out = vec![name, human_size(total.tar), human_size(total.packed)];
    out.extend(Class::ALL.map(|class| human_size(sums.of(class).tar)));
    out.push(human_size(sums.archive.tar));
    out.push(command.to_owned());
    out
}

fn kind(name: &str) -> Map<String, Value> {
    let mut line = json::line();
    line.insert("kind".to_owned(), name.into());
    line
}

fn put_bytes(line: &mut Map<String, Value>, bytes: Bytes) {
    line.insert("tar".to_owned(), bytes.tar.into());
    line.insert("packed".to_owned(), bytes.packed.into());
}

/// Adds the bytes of each class, their sums and the efficiency.
fn put_sums(line: &mut Map<String, Value>, sums: &Sums) {
    put_bytes(line, sums.total());
    let classes = Class::ALL.map(|class| (class.name(), sums.of(class)));
    let others = [("archive", sums.archive), ("reclaimable", sums.reclaimable())];
    for (name, bytes) in classes.into_iter().chain(others) {
        let mut part = Map::new();
        put_bytes(&mut part, bytes);
        line.insert(name.to_owned(), part.into());
    }
    line.insert("efficiency".to_owned(), json!(sums.efficiency()));
}
