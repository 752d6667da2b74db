// SPDX-License-Identifier: Apache-2.0
//! Differences of texts as a patch, in git's form: `git apply` and `patch -p1` read it.

use std::fmt::Write as _;

use crate::inside::{Delta, Side, Spot, Status, Texts, unified};
use crate::node::NodeKind;

use super::super::prelude::*;
use super::deltas::{content_digest, full_mode};
use super::quote::quoted_bytes;

/// Digits of a digest in a patch.
const DIGITS: usize = 12;

/// The texts of both sides of a comparison.
struct Both {
    old: Texts,
    new: Texts,
}

/// Prints the patch that makes the new side of the old one. Directories, devices and what is said about files beside their modes have
/// no place in it.
pub fn print(old: &Side, new: &Side, deltas: &[Delta<'_>], ui: &Ui) -> Outcome {
    let wanted = |pick: fn(&Delta<'_>) -> Option<u32>| -> Vec<u32> {
        let mut all: Vec<u32> = deltas.iter().filter_map(pick).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let mut texts = Both {
        old: Texts::of_side(old, &wanted(|delta| file_to_read(delta, delta.old.as_ref())), ui)?,
        new: Texts::of_side(new, &wanted(|delta| file_to_read(delta, delta.new.as_ref())), ui)?,
    };
    for delta in deltas {
        let patch = match (delta.status, &delta.old, &delta.new) {
            // Of another type, it goes and comes again.
            (Status::Type, old, new) => {
                let mut out = one(delta, old.as_ref(), None, &mut texts)?;
                out.extend(one(delta, None, new.as_ref(), &mut texts)?);
                out
            }
            (_, old, new) => one(delta, old.as_ref(), new.as_ref(), &mut texts)?,
        };
        if ui.width().is_none() {
            ui.print(patch)?;
            continue;
        }
        let text = String::from_utf8_lossy(&patch);
        ui.print(line_each(text.lines().map(one_line)))?;
    }
    Ok(())
}

/// Returns the number of a file whose content the patch needs.
fn file_to_read(delta: &Delta<'_>, spot: Option<&Spot<'_>>) -> Option<u32> {
    let has_text = !matches!(delta.status, Status::Metadata | Status::Renamed);
    let spot = spot.filter(|spot| has_text && spot.is_file())?;
    Some(spot.content)
}

/// Returns the patch of one path.
fn one(
    delta: &Delta<'_>,
    old: Option<&Spot<'_>>,
    new: Option<&Spot<'_>>,
    texts: &mut Both,
) -> Outcome<Vec<u8>> {
    let (old, new) = (
        old.filter(|spot| is_patched(spot)),
        new.filter(|spot| is_patched(spot)),
    );
    let modes = [old.map(full_mode), new.map(full_mode)];
    let Some(spot) = new.or(old) else {
        return Ok(Vec::new());
    };
    if delta.status == Status::Metadata && modes[0] == modes[1] {
        return Ok(Vec::new());
    }
    let old_name = name("a/", old.unwrap_or(spot));
    let new_name = name("b/", spot);
    let mut head = format!("diff --git {old_name} {new_name}\n");
    let mode = match modes {
        [None, Some(mode)] => format!("new file mode {mode:06o}\n"),
        [Some(mode), None] => format!("deleted file mode {mode:06o}\n"),
        [Some(was), Some(is)] if was != is => format!("old mode {was:06o}\nnew mode {is:06o}\n"),
        _ => String::new(),
    };
    head += &mode;
    if delta.status == Status::Renamed {
        let [from, to] = [old, new].map(|spot| spot.map_or_else(String::new, |spot| name("", spot)));
        let _ = write!(
            head,
            "similarity index 100%\nrename from {from}\nrename to {to}\n"
        );
    }
    if matches!(delta.status, Status::Renamed | Status::Metadata) {
        return Ok(head.into_bytes());
    }
    let short = |spot| content_digest(spot)[..DIGITS].to_owned();
    let _ = writeln!(head, "index {}..{}", short(old), short(new));
    let old_text = text_of(old, &mut texts.old)?;
    let new_text = text_of(new, &mut texts.new)?;
    let none = "/dev/null".to_owned();
    let old_name = old.map_or(none.clone(), |_| old_name);
    let new_name = new.map_or(none, |_| new_name);
    let (Some(old_text), Some(new_text)) = (old_text, new_text) else {
        return Ok((head + &format!("Binary files {old_name} and {new_name} differ\n")).into_bytes());
    };
    let hunks = unified(&old_text, &new_text);
    let mut out = head.into_bytes();
    if !hunks.is_empty() {
        // Behind a name with a space stands a tab, so that it ends.
        let end = |name: &str| {
            if name.contains(' ') && !name.starts_with('"') {
                "\t"
            } else {
                ""
            }
        };
        let (old_end, new_end) = (end(&old_name), end(&new_name));
        out.extend(format!("--- {old_name}{old_end}\n+++ {new_name}{new_end}\n").into_bytes());
        out.extend(hunks);
    }
    Ok(out)
}

fn is_patched(spot: &Spot<'_>) -> bool {
    matches!(spot.type_name(), "file" | "link")
}

fn name(side: &str, spot: &Spot<'_>) -> String {
    quoted_bytes(&[side.as_bytes(), spot.path.as_bytes()].concat())
}

/// Returns the text of a file, or the target of a link; no text where nothing is, `None` for a binary file.
fn text_of(spot: Option<&Spot<'_>>, texts: &mut Texts) -> Outcome<Option<Vec<u8>>> {
    let Some(spot) = spot else {
        return Ok(Some(Vec::new()));
    };
    match spot.node().map(|node| &node.kind) {
        Some(NodeKind::Symlink { target }) => Ok(Some(target.clone())),
        _ => Ok(texts.get(spot.content)?),
    }
}
