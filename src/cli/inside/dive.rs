// SPDX-License-Identifier: Apache-2.0
//! The document of dive (`dive --json`), for programs that read it.

use std::collections::BTreeMap;

use crate::inside::{Contents, Item, ItemBody, Waste};
use crate::node::NodeKind;

use super::super::prelude::*;
use super::waste::command;

/// Bits of Go's file modes: of each type, and of setuid, setgid and sticky.
const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    layer: Vec<Layer>,
    image: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    index: usize,
    id: String,
    digest_id: String,
    size_bytes: u64,
    command: String,
    file_list: Vec<File>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    path: String,
    type_flag: u8,
    link_name: String,
    size: u64,
    #[serde(rename = "fileMode")]
    mode: u32,
    uid: u32,
    gid: u32,
    is_dir: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    size_bytes: u64,
    inefficient_bytes: u64,
    efficiency_score: f64,
    file_reference: Vec<Reference>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Reference {
    count: u64,
    size_bytes: u64,
    file: String,
}

/// Returns the document, with our sums: each byte that nobody sees counts once.
pub fn document(contents: &Contents, waste: &Waste<'_>) -> String {
    let layers = contents.layers.iter().enumerate().map(|(index, layer)| {
        let items = contents.layer_items(index).unwrap_or_default();
        Layer {
            index,
            id: layer.descriptor.digest.encoded(),
            digest_id: layer.diff_id.to_string(),
            size_bytes: layer.tar_size,
            command: command(contents, index),
            file_list: items.iter().map(|item| file(contents, item)).collect(),
        }
    });
    let mut wasted: BTreeMap<&[u8], Reference> = BTreeMap::new();
    for finding in &waste.findings {
        let found = wasted.entry(finding.item.path.as_bytes()).or_default();
        found.count += 1;
        found.size_bytes += finding.bytes.tar;
        found.file = format!("/{}", String::from_utf8_lossy(finding.item.path.as_bytes()));
    }
    let mut references: Vec<Reference> = wasted.into_values().collect();
    references.sort_by_key(|reference| std::cmp::Reverse(reference.size_bytes));
    let own = waste.own();
    let document = Document {
        layer: layers.collect(),
        image: Summary {
            size_bytes: contents.layers.iter().map(|layer| layer.tar_size).sum(),
            inefficient_bytes: own.reclaimable().tar,
            efficiency_score: own.efficiency(),
            file_reference: references,
        },
    };
    let text = json!(document).to_string();
    super::super::escape::json(text.as_bytes()) + "\n"
}

/// Returns a file of dive's list: a whiteout by its name in the tar.
fn file(contents: &Contents, item: &Item) -> File {
    let node = contents.node_of(item);
    let kind = node.map(|node| &node.kind);
    let (type_flag, type_bits, link_name) = match (&item.body, kind) {
        (ItemBody::Link { target, .. }, _) => {
            (b'1', 0, String::from_utf8_lossy(target.as_bytes()).into_owned())
        }
        (_, Some(NodeKind::Symlink { target })) => {
            (b'2', SYMLINK, String::from_utf8_lossy(target).into_owned())
        }
        (_, Some(NodeKind::Char { .. })) => (b'3', DEVICE | CHAR, String::new()),
        (_, Some(NodeKind::Block { .. })) => (b'4', DEVICE, String::new()),
        (_, Some(NodeKind::Dir)) => (b'5', DIR, String::new()),
        (_, Some(NodeKind::Fifo)) => (b'6', FIFO, String::new()),
        _ => (b'0', 0, String::new()),
    };
    let bits = node.map_or(0, |node| node.mode);
    let mut mode = type_bits | bits & 0o777;
    for (bit, special) in [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)] {
        if bits & bit != 0 {
            mode |= special;
        }
    }
    File {
        path: String::from_utf8_lossy(item.path_in_archive().as_bytes()).into_owned(),
        type_flag,
        link_name,
        size: match kind {
            Some(NodeKind::File { size }) if type_flag == b'0' => *size,
            _ => 0,
        },
        mode,
        uid: node.map_or(0, |node| node.uid),
        gid: node.map_or(0, |node| node.gid),
        is_dir: type_flag == b'5',
    }
}
