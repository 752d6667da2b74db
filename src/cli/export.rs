// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use umoci::error::{Error, ErrorKind};
use umoci::image::Target;
use umoci::progress::Monitor;
use umoci::spec::RefName;
use umoci::store::{Store, StoreOptions};
use umoci::transfer::{Request, StoreSink, copy};

use super::args::{LayoutArg, PlatformArg, positionals, source};
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
    #[command(flatten)]
    platform: PlatformArg,
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
            Some(Target::Digest(_) | Target::Past(..)) => {
                return Err(Failure::Arguments(
                    "invalid destination: give a tag; digests and the past cannot be chosen".to_owned(),
                ));
            }
            None => None,
        };
        let from = self.layout.open()?;
        let _reading = from.reading();
        let requests = self.requests(&from, name, to, ui)?;
        let (into, made) = match Store::create(&path, StoreOptions::without_index()) {
            Err(err) if err.kind() == ErrorKind::Exists => {
                (Store::open(&path, StoreOptions::default()), false)
            }
            made => (made, true),
        };
        let into = into.map_err(|e| e.context(format!("open {}", path.display())))?;
        let sink = StoreSink::new(&into, "export")?;
        let report = copy(&from, &sink, &requests, ui)?;
        sink.commit()?;
        if made {
            into.remove_private()?;
        }
        ui.info(format_args!(
            "exported {} images: {} blobs copied, {} were there",
            requests.len(),
            report.copied,
            report.present
        ));
        Ok(())
    }

    /// The images that were asked for, by their names at the destination.
    fn requests(&self, from: &Store, new: Option<RefName>, to: &str, ui: &Ui) -> Outcome<Vec<Request>> {
        let platform = self.platform.get()?;
        let platform = platform.as_ref();
        let mut requests = if self.tag.is_empty() {
            Request::all(from, platform, ui)?
        } else {
            Vec::new()
        };
        for tag in &self.tag {
            let target: Target = tag.parse().map_err(|e: Error| e.context("invalid --tag"))?;
            let own = match &target {
                Target::Name(name) | Target::Past(name, _) => Some(name.clone()),
                Target::Digest(_) => None,
            };
            let unnamed =
                || Failure::Arguments(format!("an image named by its digest needs a name: {to}:TAG"));
            let name = new.clone().or(own).ok_or_else(unnamed)?;
            requests.push(Request::find(from, &target, platform, name)?);
        }
        if let Some(name) = new {
            match requests.as_mut_slice() {
                [one] => one.name = name,
                several => {
                    let n = several.len();
                    let text = format!("{to:?} names one image, and there are {n}: say which with --tag");
                    return Err(Failure::Arguments(text));
                }
            }
        }
        Ok(requests)
    }
}
