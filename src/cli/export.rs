// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use umoci::error::{Error, ErrorKind};
use umoci::image::Target;
use umoci::progress::Monitor;
use umoci::store::{Store, StoreOptions};
use umoci::transfer::{CopyOptions, Request, copy};

use super::args::{LayoutArg, positionals, source};
use super::failure::{Failure, Outcome};
use super::ui::Ui;

/// copies images from this layout to another OCI layout
///
/// Copies tagged images, all of them when no --tag is given, to a layout that is made if it does not exist. A new
/// layout holds just what its tags reach.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <destination>[:<new-tag>]")]
pub struct Export {
    #[command(flatten)]
    layout: LayoutArg,
    /// image to export, by tag or digest; may be given more than once (default: all tags)
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Export {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [to] = positionals(&self.rest, ["destination"])?;
        let (path, name) = source(to, "destination")?;
        let name = match name {
            Some(Target::Name(name)) => Some(name),
            Some(Target::Digest(_)) => {
                return Err(Failure::Arguments("invalid destination: a digest cannot be chosen".to_owned()));
            }
            None => None,
        };
        let from = self.layout.open()?;
        let _reading = from.reading();
        let mut requests = if self.tag.is_empty() { Request::all(&from)? } else { Vec::new() };
        for tag in &self.tag {
            let target = match tag.parse() {
                Ok(digest) => Target::Digest(digest),
                Err(_) => Target::Name(tag.parse().map_err(|e: Error| e.context("invalid --tag"))?),
            };
            let same = match &target {
                Target::Name(name) => Some(name.clone()),
                Target::Digest(_) => None,
            };
            requests.push(Request::find(&from, &target, same)?);
        }
        if let Some(name) = name {
            match requests.as_mut_slice() {
                [one] => one.name = Some(name),
                _ => {
                    let text = format!("{to:?} names one image, and there are {}: say which with --tag", requests.len());
                    return Err(Failure::Arguments(text));
                }
            }
        }
        let into = match Store::create(&path, StoreOptions::without_index()) {
            Err(err) if err.kind() == ErrorKind::Exists => Store::open(&path, StoreOptions::without_index()),
            made => made,
        }
        .map_err(|e| e.context(format!("open {}", path.display())))?;
        let report = copy(&from, &into, &requests, &CopyOptions::default(), ui)?;
        ui.info(format_args!(
            "exported {} images: {} blobs copied, {} were there",
            requests.len(),
            report.copied,
            report.present
        ));
        Ok(())
    }
}
