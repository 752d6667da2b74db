// SPDX-License-Identifier: Apache-2.0
//! `umoci ls-files`

use std::fmt::Write as _;

use crate::inside::{Contents, Item, ItemBody, Pathspecs};
use crate::node::NodeKind;

use super::super::prelude::*;
use super::formats::{csv, mtree, ncdu};
use super::json::{self, put_item, put_path};
use super::quote::{quoted, quoted_bytes};
use super::view_args::{SinceArg, ViewArgs};

/// lists the files of an image
///
/// Prints each path of the tree that an unpack gives, directories included, one a line in the order of bytes; with paths, those and
/// what is below them. A path may be a pattern as for git: * and ? stand for slashes too. No layer is read if the tables of its contents
/// are there. Names with control characters, quotes or bytes above ASCII are quoted as git does; -z prints them as they are, with a NUL
/// behind each.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>][~<n>] [<path>...]")]
pub struct LsFiles {
    /// print type, mode, owner, size, time and layer of each path
    #[arg(long = "long", short = 'l')]
    long: bool,
    /// print names as they are, with a NUL behind each
    #[arg(short = 'z')]
    nul: bool,
    /// print an object of JSON for each path, one a line
    #[arg(long)]
    json: bool,
    /// print a file for another program: csv with a head, mtree for umoci raw mtree-validate and go-mtree, ncdu for ncdu -f, whose
    /// disk usage is then the share in the compressed layers
    #[arg(long, value_name = "format", value_parser = ["csv", "mtree", "ncdu"])]
    format: Option<String>,
    /// list what the archive of this layer says, in its order, whiteouts (.wh.) included; 1 is the lowest
    #[arg(long, value_name = "number")]
    layer: Option<usize>,
    /// list what a layer brought and another took away, each as it was last
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    since: SinceArg,
    #[command(flatten)]
    view: ViewArgs,
}

impl LsFiles {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if self.layer.is_some() && self.deleted {
            refuse!("--deleted and --layer may not be specified together");
        }
        let is_part = self.deleted || self.layer.is_some();
        let whole = self.format.as_deref().filter(|format| *format != "csv");
        if let Some(format) = whole.filter(|_| is_part) {
            refuse!("--format {format} is of a tree, and --layer and --deleted are of none");
        }
        let (viewed, paths) = self.view.image(ui)?;
        let contents = &viewed.contents;
        let since = self.since.layers(&viewed)?;
        let mut out = Vec::new();
        if self.format.as_deref() == Some("csv") {
            out.extend_from_slice(csv::HEAD.as_bytes());
        }
        if let Some(number) = self.layer {
            let items = number.checked_sub(1).and_then(|at| contents.layer_items(at));
            let Some(items) = items else {
                let has = counted(contents.layers.len() as u64, "layer");
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("no layer {number}: the image has {has}"),
                )
                .into());
            };
            let mut specs = Pathspecs::parse(paths)?;
            let chosen = items.iter().filter(|item| specs.choose(&item.path));
            chosen.for_each(|item| self.put(&mut out, contents, item, None));
        } else if self.deleted {
            let mut specs = Pathspecs::parse(paths)?;
            for (item, by) in contents.deleted() {
                if item.layer >= since && specs.choose(&item.path) {
                    self.put(&mut out, contents, item, Some(by));
                }
            }
        } else {
            let items = viewed.chosen(paths, since)?;
            match whole {
                Some("mtree") => mtree::write(&mut out, contents, &items, &viewed.word)?,
                Some(_) => ncdu::write(&mut out, contents, &items, &viewed.word),
                None => items
                    .iter()
                    .for_each(|item| self.put(&mut out, contents, item, None)),
            }
        }
        ui.print(out)?;
        viewed.end()
    }

    /// Writes an item, which the layer `removed_by` took away if it is gone.
    fn put(&self, out: &mut Vec<u8>, contents: &Contents, item: &Item, removed_by: Option<u32>) {
        if self.json {
            let mut line = json::line();
            put_path(&mut line, "path", &item.path);
            put_item(&mut line, contents, item);
            if let Some(by) = removed_by {
                line.insert("removed".to_owned(), (by + 1).into());
            }
            json::put_line(out, line);
        } else if self.format.is_some() {
            csv::put(out, contents, item);
        } else if self.nul {
            out.extend_from_slice(item.path_in_archive().as_bytes());
            out.push(0);
        } else if self.long {
            let mut line = long_line(contents, item);
            if let Some(by) = removed_by {
                let _ = write!(line, " (removed by layer {})", by + 1);
            }
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        } else {
            out.extend_from_slice(quoted(&item.path_in_archive()).as_bytes());
            out.push(b'\n');
        }
    }
}

/// Returns the line of an item: mode, owner, size or device, time, layer and name, as `ls -l` has them.
pub fn long_line(contents: &Contents, item: &Item) -> String {
    let node = contents.node_of(item);
    let (mode, uid, gid) = node.map_or((0o755, 0, 0), |node| (node.mode, node.uid, node.gid));
    let kind = node.map(|node| &node.kind);
    let size = match kind.and_then(NodeKind::device_number) {
        Some((major, minor)) => format!("{major},{minor}"),
        None => contents.size_of(item).to_string(),
    };
    let time = node
        .and_then(|node| json::time(node.mtime))
        .unwrap_or_else(|| "-".to_owned());
    let mut out = format!(
        "{} {uid:>5} {gid:>5} {size:>12} {time:20} {:>3} {}",
        mode_text(&item.body, kind, mode),
        item.layer + 1,
        quoted(&item.path_in_archive()),
    );
    match (&item.body, kind) {
        (ItemBody::Link { target, .. }, _) => {
            let _ = write!(out, " link to {}", quoted(target));
        }
        (_, Some(NodeKind::Symlink { target })) => {
            let _ = write!(out, " -> {}", quoted_bytes(target));
        }
        _ => {}
    }
    out
}

/// Returns the letters of `ls -l` for a type and a mode; no type is that of a directory, and a whiteout has `w` and no mode.
fn mode_text(body: &ItemBody, kind: Option<&NodeKind>, mode: u32) -> String {
    if body.is_whiteout() {
        return "w---------".to_owned();
    }
    let mut out = String::with_capacity(10);
    out.push(match kind {
        None | Some(NodeKind::Dir) => 'd',
        Some(NodeKind::File { .. }) => '-',
        Some(NodeKind::Symlink { .. }) => 'l',
        Some(NodeKind::Char { .. }) => 'c',
        Some(NodeKind::Block { .. }) => 'b',
        Some(NodeKind::Fifo) => 'p',
        Some(NodeKind::Socket) => 's',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, false) => letter.to_ascii_uppercase(),
            (true, true) => letter,
        });
    }
    out
}
