// SPDX-License-Identifier: Apache-2.0
//! Items of an image as lines of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::super::escape;
use crate::inside::{Contents, Item, ItemBody, sha256};
use crate::layer::FileDigest;
use crate::node::{Node, NodeKind, Time, TreePath};

/// Version of the lines; a field that is added leaves it as it is.
pub const SCHEMA: u32 = 1;

/// Returns the object of a line, which begins with its schema.
pub fn line() -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("schema".to_owned(), SCHEMA.into());
    out
}

/// Adds a line to an answer, with escapes for what drives a terminal.
pub fn put_line(out: &mut Vec<u8>, line: Map<String, Value>) {
    let text = Value::Object(line).to_string();
    out.extend_from_slice(escape::json(text.as_bytes()).as_bytes());
    out.push(b'\n');
}

/// Adds a path as `key`, `.` for the root; one that is no UTF-8 as `key_b64`.
pub fn put_path(out: &mut Map<String, Value>, key: &str, path: &TreePath) {
    if path.is_root() {
        out.insert(key.to_owned(), ".".into());
    } else {
        put_bytes(out, key, path.as_bytes());
    }
}

/// Adds text as `key`; what is no UTF-8 in base64 as `key_b64`.
pub fn put_bytes(out: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.insert(key.to_owned(), text.into()),
        Err(_) => out.insert(format!("{key}_b64"), STANDARD.encode(bytes).into()),
    };
}

/// Returns the digest of a file as text.
pub fn digest(digest: &FileDigest) -> Option<String> {
    sha256(digest).map(|digest| digest.to_string())
}

/// Returns a time as RFC 3339, to the second unless it has more.
pub fn time(time: Time) -> Option<String> {
    jiff::Timestamp::new(time.sec, time.nsec as i32)
        .ok()
        .map(|time| time.to_string())
}

/// Adds all that an item says but its path.
pub fn put_item(out: &mut Map<String, Value>, contents: &Contents, item: &Item) {
    let of = contents.content_of(item);
    out.insert("type".to_owned(), type_of(contents, item).into());
    out.insert("size".to_owned(), contents.size_of(item).into());
    out.insert("packed".to_owned(), contents.packed(item).into());
    out.insert("layer".to_owned(), (item.layer + 1).into());
    if let Some(node) = contents.node_of(item) {
        put_node(out, node);
    }
    if let Some(digest) = of.digest.as_ref().and_then(digest) {
        out.insert("digest".to_owned(), digest.into());
    }
    if let ItemBody::Link { target, .. } = &item.body {
        put_path(out, "link", target);
    }
}

/// Adds mode, owner, time and what else a node says.
pub fn put_node(out: &mut Map<String, Value>, node: &Node) {
    out.insert("mode".to_owned(), format!("{:04o}", node.mode).into());
    out.insert("uid".to_owned(), node.uid.into());
    out.insert("gid".to_owned(), node.gid.into());
    out.insert("mtime".to_owned(), time(node.mtime).into());
    if let NodeKind::Symlink { target } = &node.kind {
        put_bytes(out, "target", target);
    }
    if let Some((major, minor)) = node.kind.device_number() {
        out.insert("device".to_owned(), Value::from([major, minor].as_slice()));
    }
    if !node.xattrs.is_empty() {
        let names = node
            .xattrs
            .keys()
            .map(|name| String::from_utf8_lossy(name).into_owned());
        out.insert("xattrs".to_owned(), names.collect());
    }
}

/// Returns the word that mtree has for the type of an item; `whiteout` and `opaque` for those.
pub fn type_of(contents: &Contents, item: &Item) -> &'static str {
    match &item.body {
        ItemBody::Whiteout => "whiteout",
        ItemBody::Opaque => "opaque",
        ItemBody::Implied => "dir",
        _ => contents.node_of(item).map_or("file", |node| node.kind.name()),
    }
}
