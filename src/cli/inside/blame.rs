// SPDX-License-Identifier: Apache-2.0
//! `umoci blame`

use serde_json::{Map, Value};

use crate::inside::{
    Contents, Event, Status, Texts, events, last_changes, origins, read_numbers, real_path, versions,
};
use crate::node::TreePath;

use super::super::prelude::*;
use super::super::table::short;
use super::json;
use super::quote::quoted;
use super::view_args::{ViewArgs, Viewed, no_path, tree_path};

/// tells which layers a file is from
///
/// Prints a line for the layer that brought the bytes of a path, one for each layer above that changed mode, owner, time or attributes
/// alone, and one for the layer that removed it; also of a path that is gone. Of a directory each name in it is told with the layer
/// that changed it last. With --patch each line of a text is told with the layer that brought it.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>] <path>")]
pub struct Blame {
    /// print each line of a text with the layer that brought it
    #[arg(long, short = 'p')]
    patch: bool,
    /// print the names in a directory as they are, with layer and name ended by a NUL
    #[arg(short = 'z')]
    nul: bool,
    /// print objects of JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    view: ViewArgs,
}

impl Blame {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (viewed, paths) = self.view.image(ui)?;
        let [path] = positionals(paths, ["the path"])?;
        let path = real_path(&viewed.contents, &tree_path(path)?)?;
        let item = viewed.contents.find(&path);
        let is_dir = item.is_some_and(|item| viewed.contents.is_dir(item));
        let mut out = Vec::new();
        if self.patch {
            self.lines(&viewed, &path, &mut out, ui)?;
        } else if is_dir || path.is_root() {
            for (path, layer) in last_changes(&viewed.contents, &path) {
                self.put_child(&mut out, &viewed.contents, &path, layer);
            }
        } else {
            let events = events(&viewed.contents, &path);
            if events.is_empty() {
                viewed.end()?;
                return Err(no_path(&path, &viewed.word));
            }
            for event in &events {
                self.put_event(&mut out, &viewed.contents, event);
            }
        }
        ui.print(out)?;
        viewed.end()
    }

    fn put_child(&self, out: &mut Vec<u8>, contents: &Contents, path: &TreePath, layer: usize) {
        if self.json {
            let mut line = json::line();
            json::put_path(&mut line, "path", path);
            put_layer(&mut line, contents, layer);
            json::put_line(out, line);
        } else if self.nul {
            out.extend_from_slice((layer + 1).to_string().as_bytes());
            out.push(0);
            out.extend_from_slice(path.as_bytes());
            out.push(0);
        } else {
            let text = format!("{} {}\n", head(contents, layer), quoted(path));
            out.extend_from_slice(text.as_bytes());
        }
    }

    fn put_event(&self, out: &mut Vec<u8>, contents: &Contents, event: &Event<'_>) {
        if self.json {
            let mut line = json::line();
            super::deltas::put_delta(&mut line, &event.delta);
            if let Some(by) = event.by {
                json::put_path(&mut line, "removed_by", by);
            }
            put_layer(&mut line, contents, event.layer);
            json::put_line(out, line);
            return;
        }
        let end = if self.nul { '\0' } else { '\n' };
        let step = contents.layers[event.layer].history.as_ref();
        let step = one_line(step.map_or("", |step| &step.created_by));
        let text = format!("{} {:<12} {step}", head(contents, event.layer), word(event));
        out.extend_from_slice(text.trim_end().as_bytes());
        out.push(end as u8);
    }

    /// Prints the lines of a text.
    fn lines(&self, viewed: &Viewed, path: &TreePath, out: &mut Vec<u8>, ui: &Ui) -> Outcome {
        let contents = &viewed.contents;
        let versions = versions(contents, path);
        if versions.is_empty() {
            viewed.end()?;
            if events(contents, path).is_empty() {
                return Err(no_path(path, &viewed.word));
            }
            refuse!("{path} is no regular file");
        }
        let numbers: Vec<u32> = versions.iter().map(|(_, number)| *number).collect();
        let _reading = viewed.store.reading();
        let mut texts = Texts::read(|each| read_numbers(&viewed.store, contents, &numbers, ui, each))?;
        // A version that is no text is one whose lines are all new in the next.
        let mut all = Vec::with_capacity(numbers.len());
        for number in &numbers {
            all.push(texts.get(*number)?);
        }
        if let Some(None) = all.last() {
            refuse!("{path} is binary");
        }
        let all: Vec<Vec<u8>> = all.into_iter().map(Option::unwrap_or_default).collect();
        let lines = all.last().map(|text| text.split_inclusive(|byte| *byte == b'\n'));
        let lines = lines.into_iter().flatten().zip(origins(&all));
        for (number, (text, origin)) in lines.enumerate() {
            let layer = versions[origin].0;
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            if self.json {
                let mut line = json::line();
                line.insert("line".to_owned(), (number + 1).into());
                json::put_bytes(&mut line, "text", text);
                put_layer(&mut line, contents, layer);
                json::put_line(out, line);
                continue;
            }
            out.extend_from_slice(format!("{} {:>4}) ", head(contents, layer), number + 1).as_bytes());
            if ui.width().is_some() {
                out.extend_from_slice(one_line(&String::from_utf8_lossy(text)).as_bytes());
            } else {
                out.extend_from_slice(text);
            }
            out.push(if self.nul { 0 } else { b'\n' });
        }
        Ok(())
    }
}

/// Returns the begin of a line: number, digest and time of a layer.
fn head(contents: &Contents, layer: usize) -> String {
    let of = &contents.layers[layer];
    let created = of.history.as_ref().and_then(|step| step.created.as_deref());
    // The day is enough for people; programs read JSON.
    let day: String = one_line(created.unwrap_or("-")).chars().take(10).collect();
    format!("{:>3} {} {day:<10}", layer + 1, short(&of.descriptor.digest))
}

/// Returns what a layer did to a path.
fn word(event: &Event<'_>) -> String {
    match event.delta.status {
        Status::Metadata => event.delta.fields.names().collect::<Vec<_>>().join(","),
        Status::Removed => match event.by {
            Some(by) if by == event.delta.path() => "removed by whiteout".to_owned(),
            Some(by) => format!("removed with {}", quoted(by)),
            None => "removed".to_owned(),
        },
        _ => "content".to_owned(),
    }
}

fn put_layer(out: &mut Map<String, Value>, contents: &Contents, number: usize) {
    let layer = &contents.layers[number];
    out.insert("layer".to_owned(), (number + 1).into());
    out.insert("digest".to_owned(), layer.descriptor.digest.to_string().into());
    if let Some(history) = &layer.history {
        out.insert("created".to_owned(), history.created.clone().into());
        out.insert("created_by".to_owned(), history.created_by.as_str().into());
    }
}
