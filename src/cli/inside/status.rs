// SPDX-License-Identifier: Apache-2.0
//! `umoci status`

use std::collections::HashSet;
use std::fmt::Write as _;

use crate::bundle::{Bundle, StatusOptions, Unsaved, status};
use crate::node::{ChangeKind, Inode};

use super::super::prelude::*;
use super::json::{self, put_path};
use super::quote::quoted;

/// shows what a repack of a bundle would put into a layer
///
/// Prints a line for each entry that the next layer would have: A for a path that is new, M for one that has changed, with the keywords
/// of mtree that differ, D for one that is gone (the topmost directory stands for all below it). The layout is not needed: volumes of
/// the image, below which changes are left out, are taken from config.json of the bundle. Nothing is written but the cache that the
/// next repack has the use of. -s and --porcelain print no keywords and no sum; the lines of --porcelain stay as they are.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<bundle>")]
pub struct Status {
    /// print letters and paths alone
    #[arg(long, short = 's')]
    short: bool,
    /// print letters and paths for programs; the version of the lines, v1, may stand behind an equals sign
    #[arg(
        long,
        value_name = "version",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "v1",
        value_parser = ["v1"]
    )]
    porcelain: Option<String>,
    /// print letters and paths as they are, with a NUL behind each
    #[arg(short = 'z')]
    nul: bool,
    /// print an object of JSON for each path, one a line
    #[arg(long)]
    json: bool,
    /// exit with 1 if there are changes
    #[arg(long = "exit-code")]
    exit_code: bool,
    /// path whose changes are left out; may be given more than once
    #[arg(long = "mask-path")]
    mask_path: Vec<String>,
    /// do not leave out changes below the volumes of the image
    #[arg(long = "no-mask-volumes")]
    no_mask_volumes: bool,
    /// The words.
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Status {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [bundle] = positionals(&self.rest, ["bundle"])?;
        let options = StatusOptions {
            masks: self.mask_path.iter().map(|m| m.clone().into_bytes()).collect(),
            no_mask_volumes: self.no_mask_volumes,
        };
        let mut out = Vec::new();
        let (mut paths, mut bytes, mut linked) = (0, 0_u64, HashSet::new());
        let mut each = |entry: Unsaved| {
            paths += 1;
            // The content of a file with several names is in the layer once.
            let file = entry.now.as_ref().and_then(Inode::linked_file);
            if file.is_none_or(|file| linked.insert(file)) {
                bytes += entry.size();
            }
            self.put(&mut out, &entry);
            Ok(())
        };
        status(&Bundle::at(bundle), &options, &mut each, ui)?;
        let is_for_programs = self.short || self.porcelain.is_some() || self.nul || self.json;
        if !is_for_programs {
            out.extend_from_slice(summary(paths, bytes).as_bytes());
        }
        ui.print(out)?;
        if self.exit_code && paths > 0 {
            return Err(Failure::Found(1));
        }
        Ok(())
    }

    fn put(&self, out: &mut Vec<u8>, entry: &Unsaved) {
        let letter = match entry.kind {
            ChangeKind::Added => "A",
            ChangeKind::Modified => "M",
            ChangeKind::Removed => "D",
        };
        if self.json {
            let mut line = json::line();
            put_path(&mut line, "path", &entry.path);
            line.insert("status".to_owned(), letter.into());
            if let Some(inode) = &entry.now {
                line.insert("type".to_owned(), inode.node.kind.name().into());
                line.insert("size".to_owned(), entry.size().into());
            }
            line.insert("keywords".to_owned(), entry.keywords.clone().into());
            json::put_line(out, line);
        } else if self.nul {
            out.extend_from_slice(letter.as_bytes());
            out.push(b' ');
            let root: &[u8] = b".";
            let path = entry.path.as_bytes();
            out.extend_from_slice(if entry.path.is_root() { root } else { path });
            out.push(0);
        } else {
            let mut line = format!("{letter} {}", quoted(&entry.path));
            let with_keywords = !self.short && self.porcelain.is_none() && !entry.keywords.is_empty();
            if with_keywords {
                let _ = write!(line, " ({})", one_line(&entry.keywords.join(" ")));
            }
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
    }
}

fn summary(paths: u64, bytes: u64) -> String {
    match paths {
        0 => "nothing changed\n".to_owned(),
        _ => format!(
            "{} to pack, with {bytes} bytes of content\n",
            counted(paths, "path")
        ),
    }
}
