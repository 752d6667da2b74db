// SPDX-License-Identifier: Apache-2.0
//! A table of items as RFC 4180 has it, but for line ends, which are those of Unix.

use crate::inside::{Contents, Item};
use crate::node::NodeKind;

use super::super::json;
use super::super::quote::quoted_bytes;

/// First line of the file.
pub const HEAD: &str = "path,type,mode,uid,gid,size,mtime,layer,packed,digest,target\n";

/// Adds the line of an item. A name with control characters, or one that is no UTF-8, is quoted as in other lines.
pub fn put(out: &mut Vec<u8>, contents: &Contents, item: &Item) {
    let node = contents.node_of(item);
    let text = |value: Option<String>| value.unwrap_or_default();
    let target = node.and_then(|node| match &node.kind {
        NodeKind::Symlink { target } => Some(cell(target)),
        _ => None,
    });
    let path: &[u8] = if item.path.is_root() {
        b"."
    } else {
        item.path.as_bytes()
    };
    let cells = [
        cell(path),
        json::type_of(contents, item).to_owned(),
        text(node.map(|node| format!("{:04o}", node.mode))),
        text(node.map(|node| node.uid.to_string())),
        text(node.map(|node| node.gid.to_string())),
        contents.size_of(item).to_string(),
        text(node.and_then(|node| json::time(node.mtime))),
        (item.layer + 1).to_string(),
        contents.packed(item).to_string(),
        text(contents.content_of(item).digest.as_ref().and_then(json::digest)),
        text(target),
    ];
    out.extend_from_slice(cells.join(",").as_bytes());
    out.push(b'\n');
}

fn cell(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => quoted_bytes(bytes),
    };
    if text.contains([',', '"', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}
