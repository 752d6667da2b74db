// SPDX-License-Identifier: Apache-2.0
//! `umoci ls-files`

use std::fmt::Write as _;

use crate::inside::{Contents, Item, ItemBody};
use crate::node::{NodeKind, TreePath};

use super::super::prelude::*;
use super::json::{self, put_item, put_path};
use super::quote::{quoted, quoted_bytes};
use super::view_args::{ViewArgs, tree_path};

/// lists the files of an image
///
/// Prints each path of the tree that an unpack gives, directories included, one a line in the order of bytes; with paths, those and
/// what is below them. No layer is read if the tables of its contents are there. Names with control characters, quotes or bytes above
/// ASCII are quoted as git does; -z prints them as they are, with a NUL behind each.
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
    #[command(flatten)]
    view: ViewArgs,
}

impl LsFiles {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (viewed, paths) = self.view.image(ui)?;
        let contents = &viewed.contents;
        let mut out = Vec::new();
        if paths.is_empty() {
            let tree = contents.tree().filter(|item| !item.path.is_root());
            tree.for_each(|item| self.put(&mut out, contents, item));
        }
        for word in paths {
            let path = tree_path(word)?;
            let mut found = contents.below(&path).peekable();
            if found.peek().is_none() && viewed.contents.unseen.is_empty() {
                return Err(no_path(&path, &viewed.word));
            }
            found.for_each(|item| self.put(&mut out, contents, item));
        }
        ui.print(out)?;
        viewed.end()
    }

    fn put(&self, out: &mut Vec<u8>, contents: &Contents, item: &Item) {
        if self.json {
            let mut line = json::line();
            put_path(&mut line, "path", &item.path);
            put_item(&mut line, contents, item);
            json::put_line(out, line);
        } else if self.nul {
            out.extend_from_slice(item.path.as_bytes());
            out.push(0);
        } else if self.long {
            out.extend_from_slice(long_line(contents, item).as_bytes());
        } else {
            out.extend_from_slice(quoted(&item.path).as_bytes());
            out.push(b'\n');
        }
    }
}

/// Returns the failure for a path that an image does not have.
pub fn no_path(path: &TreePath, image: &str) -> Failure {
    Error::new(ErrorKind::NotFound, format!("{image} has no {path}")).into()
}

/// Returns the line of an item: mode, owner, size or device, time, layer and name, as `ls -l` has them.
fn long_line(contents: &Contents, item: &Item) -> String {
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
        mode_text(kind, mode),
        item.layer + 1,
        quoted(&item.path),
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
    out.push('\n');
    out
}

/// Returns the letters of `ls -l` for a type and a mode; no type is that of a directory.
fn mode_text(kind: Option<&NodeKind>, mode: u32) -> String {
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
