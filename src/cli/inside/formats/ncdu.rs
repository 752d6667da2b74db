// SPDX-License-Identifier: Apache-2.0
//! The export of ncdu, version 1.2 of its format: <https://dev.yorhel.nl/ncdu/jsonfmt>.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::inside::{Contents, Item};
use crate::node::{Node, NodeKind, TreePath};

use super::super::deltas::type_bits;

/// Adds the export of the items, which are sorted by their paths. The time of the export is 0: the same image gives the same bytes.
pub fn write(out: &mut Vec<u8>, contents: &Contents, items: &[&Item], tree: &str) {
    let version = env!("CARGO_PKG_VERSION");
    let head =
        format!("[1,2,{{\"progname\":\"umoci\",\"progver\":\"{version}\",\"timestamp\":0}},\n[{{\"name\":");
    out.extend_from_slice(head.as_bytes());
    name(out, tree.as_bytes());
    out.push(b'}');
    let mut sorted: Vec<&Item> = items
        .iter()
        .copied()
        .filter(|item| !item.path.is_root())
        .collect();
    // The order by components has all that is in a directory together.
    sorted.sort_by(|a, b| a.path.components().cmp(b.path.components()));
    let names = contents.names();
    let mut open = TreePath::root();
    for item in sorted {
        let parent = item.path.parent().unwrap_or_default();
        go_to(out, &mut open, &parent);
        out.extend_from_slice(b",\n");
        if contents.is_dir(item) {
            out.push(b'[');
            open = item.path.clone();
        }
        put(out, contents, item, &names);
    }
    go_to(out, &mut open, &TreePath::root());
    out.extend_from_slice(b"]]\n");
}

/// Closes directories, and opens others, until `dir` is the one that is open.
fn go_to(out: &mut Vec<u8>, open: &mut TreePath, dir: &TreePath) {
    while open != dir && !dir.is_below(open) {
        out.push(b']');
        *open = open.parent().unwrap_or_default();
    }
    let depth = open.components().count();
    for part in dir.components().skip(depth) {
        out.extend_from_slice(b",\n[{\"name\":");
        name(out, part);
        out.push(b'}');
    }
    open.clone_from(dir);
}

fn put(out: &mut Vec<u8>, contents: &Contents, item: &Item, names: &HashMap<*const Item, u64>) {
    out.extend_from_slice(b"{\"name\":");
    name(out, item.path.name());
    let mut rest = String::new();
    let content = contents.content_of(item);
    let _ = write!(
        rest,
        ",\"asize\":{},\"dsize\":{}",
        contents.size_of(item),
        contents.packed(content)
    );
    if let Some(node) = contents.node_of(item) {
        let Node { uid, gid, mtime, .. } = node;
        let _ = write!(
            rest,
            ",\"uid\":{uid},\"gid\":{gid},\"mode\":{},\"mtime\":{}",
            type_bits(&node.kind) | node.mode,
            mtime.sec.max(0)
        );
        let count = names.get(&std::ptr::from_ref(content)).copied().unwrap_or(1);
        if matches!(node.kind, NodeKind::File { .. }) && count > 1 {
            // The place in the archive is a number that no other file has, together with the layer.
            let ino = (u64::from(content.layer) << 40) | (content.start / 512);
            let _ = write!(rest, ",\"ino\":{ino},\"nlink\":{count},\"hlnkc\":true");
        }
        if !matches!(node.kind, NodeKind::File { .. } | NodeKind::Dir) {
            rest.push_str(",\"notreg\":true");
        }
    }
    rest.push('}');
    out.extend_from_slice(rest.as_bytes());
}

/// Adds a name as ncdu reads it: its bytes as they are, but for what JSON must escape.
fn name(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
