// SPDX-License-Identifier: Apache-2.0
//! Differences of paths as lines, in git's forms.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::inside::{Delta, Spot, Status, sha256};
use crate::node::{NodeKind, TreePath};

use super::super::table::{counted, human_size};
use super::json::{self, put_node, put_path};
use super::quote::quoted;

/// Characters of the graph behind the largest difference.
const GRAPH: u64 = 20;

/// Columns where stdout is no terminal.
const COLUMNS: usize = 80;

/// Adds a path of a line: quoted with an end of line behind it, or as it is with a NUL.
fn put_name(out: &mut Vec<u8>, path: &TreePath, nul: bool) {
    if nul {
        out.extend_from_slice(path.as_bytes());
        out.push(0);
    } else {
        out.extend_from_slice(quoted(path).as_bytes());
        out.push(b'\n');
    }
}

/// Adds the names of a difference behind what stands before them: the old one too of what was renamed.
fn put_names(out: &mut Vec<u8>, delta: &Delta<'_>, nul: bool) {
    if let (Status::Renamed, Some(old)) = (delta.status, &delta.old) {
        put_name(out, &old.path, nul);
        if let Some(last) = out.last_mut().filter(|_| !nul) {
            *last = b'\t';
        }
    }
    put_name(out, delta.path(), nul);
}

/// Adds the path of a difference alone.
pub fn put_name_only(out: &mut Vec<u8>, delta: &Delta<'_>, nul: bool) {
    put_name(out, delta.path(), nul);
}

/// Adds letter and path.
pub fn put_name_status(out: &mut Vec<u8>, delta: &Delta<'_>, nul: bool) {
    out.extend_from_slice(letters(delta).as_bytes());
    out.push(if nul { 0 } else { b'\t' });
    put_names(out, delta, nul);
}

/// Returns the letter, with the likeness of what was renamed.
fn letters(delta: &Delta<'_>) -> String {
    let letter = delta.status.letter();
    match delta.status {
        Status::Renamed => format!("{letter}100"),
        _ => letter.to_string(),
    }
}

/// Adds the bytes that came and those that went, and the path.
pub fn put_numstat(out: &mut Vec<u8>, delta: &Delta<'_>, nul: bool) {
    let (came, went) = bytes(delta);
    out.extend_from_slice(format!("{came}\t{went}\t").as_bytes());
    put_names(out, delta, nul);
}

/// Returns the bytes that a layer with the difference brings, and those that it hides: a file is there as a whole or not.
fn bytes(delta: &Delta<'_>) -> (u64, u64) {
    let weight = |spot: &Option<Spot<'_>>| spot.as_ref().map_or(0, Spot::weight);
    match delta.status {
        Status::Metadata | Status::Renamed => (0, 0),
        _ => (weight(&delta.new), weight(&delta.old)),
    }
}

/// Adds types, modes, digests, letter and path, as `git diff --raw` does with whole digests.
pub fn put_raw(out: &mut Vec<u8>, delta: &Delta<'_>, nul: bool) {
    let (old, new) = (delta.old.as_ref(), delta.new.as_ref());
    let text = format!(
        ":{:06o} {:06o} {} {} {}",
        old.map_or(0, full_mode),
        new.map_or(0, full_mode),
        content_digest(old),
        content_digest(new),
        letters(delta)
    );
    out.extend_from_slice(text.as_bytes());
    out.push(if nul { 0 } else { b'\t' });
    put_names(out, delta, nul);
}

/// Returns the type and mode of a path as `st_mode` has them; 0 for a whiteout.
pub fn full_mode(spot: &Spot<'_>) -> u32 {
    let Some(node) = spot.node() else {
        return if spot.type_name() == "dir" { 0o040_755 } else { 0 };
    };
    let bits = type_bits(&node.kind);
    // A link has no mode of its own.
    match node.kind {
        NodeKind::Symlink { .. } => bits,
        _ => bits | node.mode,
    }
}

/// Returns the type as `st_mode` has it.
pub fn type_bits(kind: &NodeKind) -> u32 {
    match kind {
        NodeKind::File { .. } => 0o100_000,
        NodeKind::Dir => 0o040_000,
        NodeKind::Symlink { .. } => 0o120_000,
        NodeKind::Char { .. } => 0o020_000,
        NodeKind::Block { .. } => 0o060_000,
        NodeKind::Fifo => 0o010_000,
        NodeKind::Socket => 0o140_000,
    }
}

/// Returns the SHA-256 of the content, or of the target of a link; zeros for none.
pub fn content_digest(spot: Option<&Spot<'_>>) -> String {
    let digest = spot.and_then(|spot| match spot.node().map(|node| &node.kind) {
        Some(NodeKind::Symlink { target }) => Some(Digest::sha256(target)),
        _ => spot.digest.as_ref().and_then(sha256),
    });
    digest.map_or_else(|| "0".repeat(64), |digest| digest.encoded().clone())
}

/// Returns a line for each difference with sizes and a graph, and a line of sums.
pub fn stat(deltas: &[Delta<'_>], width: Option<usize>) -> String {
    let names: Vec<String> = deltas.iter().map(stat_name).collect();
    let most = width.unwrap_or(COLUMNS).saturating_sub(40).max(20);
    let column = names.iter().map(String::len).max().unwrap_or_default().min(most);
    let largest = deltas.iter().map(bytes).map(|(came, went)| came.max(went)).max();
    let mut out = String::new();
    for (delta, name) in deltas.iter().zip(names) {
        let name = cut_front(&name, column);
        let text = stat_text(delta, largest.unwrap_or_default());
        let _ = writeln!(out, " {name:column$} | {} {text}", delta.status.letter());
    }
    out + &sums(deltas)
}

fn stat_name(delta: &Delta<'_>) -> String {
    match (delta.status, &delta.old) {
        (Status::Renamed, Some(old)) => format!("{} => {}", quoted(&old.path), quoted(delta.path())),
        _ => quoted(delta.path()),
    }
}

/// Returns the end of a name that is too long, as git does. Quoted names are ASCII.
fn cut_front(name: &str, width: usize) -> String {
    if name.len() <= width {
        return name.to_owned();
    }
    format!("...{}", &name[name.len() - (width - 3)..])
}

fn stat_text(delta: &Delta<'_>, largest: u64) -> String {
    let (came, went) = bytes(delta);
    let fields = delta.fields.names().collect::<Vec<_>>().join(",");
    let size = match delta.status {
        Status::Added => human_size(came),
        Status::Removed => human_size(went),
        Status::Modified => format!("{} -> {}", human_size(went), human_size(came)),
        Status::Type => {
            let name = |spot: &Option<Spot<'_>>| spot.as_ref().map_or("", Spot::type_name);
            return format!("{} -> {}", name(&delta.old), name(&delta.new));
        }
        Status::Metadata => return fields,
        Status::Renamed => return format!("renamed {fields}").trim_end().to_owned(),
    };
    let graph = bar('+', came, largest) + &bar('-', went, largest);
    format!("{size} {graph}").trim_end().to_owned()
}

/// Returns a bar for so many bytes: at least one mark for any, as many as fit for the largest.
fn bar(mark: char, bytes: u64, largest: u64) -> String {
    let length = u128::from(bytes) * u128::from(GRAPH) / u128::from(largest.max(1));
    let length = if bytes > 0 { (length as usize).max(1) } else { 0 };
    mark.to_string().repeat(length)
}

/// Returns the line of sums.
fn sums(deltas: &[Delta<'_>]) -> String {
    let count = |status: &[Status]| {
        deltas
            .iter()
            .filter(|delta| status.contains(&delta.status))
            .count()
    };
    let mut out = format!(" {} changed", counted(deltas.len() as u64, "path"));
    for (status, word) in [
        (&[Status::Added][..], "added"),
        (&[Status::Modified, Status::Type], "modified"),
        (&[Status::Metadata], "metadata only"),
        (&[Status::Renamed], "renamed"),
        (&[Status::Removed], "removed"),
    ] {
        match count(status) {
            0 => {}
            count => {
                let _ = write!(out, ", {count} {word}");
            }
        }
    }
    let growth = deltas.iter().map(Delta::growth).sum();
    let _ = writeln!(out, " ({})", signed_size(growth));
    out
}

/// Returns a size with its sign.
pub fn signed_size(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{}", human_size(bytes.unsigned_abs()))
}

/// Adds all that a difference says to an object: `status`, `path`, `old_path` of what was renamed, `fields`, `old` and `new`.
pub fn put_delta(out: &mut Map<String, Value>, delta: &Delta<'_>) {
    out.insert("status".to_owned(), delta.status.letter().to_string().into());
    put_path(out, "path", delta.path());
    if let (Status::Renamed, Some(old)) = (delta.status, &delta.old) {
        put_path(out, "old_path", &old.path);
    }
    if delta.old.is_some() && delta.new.is_some() {
        out.insert("fields".to_owned(), delta.fields.names().collect());
    }
    for (key, spot) in [("old", &delta.old), ("new", &delta.new)] {
        if let Some(spot) = spot {
            out.insert(key.to_owned(), spot_object(spot).into());
        }
    }
}

fn spot_object(spot: &Spot<'_>) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("type".to_owned(), spot.type_name().into());
    out.insert("size".to_owned(), spot.size().into());
    if let Some(layer) = spot.layer {
        out.insert("layer".to_owned(), (layer + 1).into());
    }
    if let Some(node) = spot.node() {
        put_node(&mut out, node);
    }
    if let Some(digest) = spot.digest.as_ref().and_then(json::digest) {
        out.insert("digest".to_owned(), digest.into());
    }
    if let Some(first) = spot.first.filter(|first| **first != *spot.path) {
        put_path(&mut out, "link", first);
    }
    out
}
