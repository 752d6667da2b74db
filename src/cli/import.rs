// SPDX-License-Identifier: Apache-2.0
//! `umoci import`

use umoci::error::Error;
use umoci::image::Target;
use umoci::progress::Monitor;
use umoci::spec::RefName;
use umoci::store::{Store, StoreOptions};
use umoci::transfer::{Request, StoreSink, copy};

use super::args::{LayoutArg, PlatformArg, positionals, source};
use super::failure::{Failure, Outcome};
use super::ui::Ui;

/// copies images from another OCI layout into this one
///
/// Copies an image, or all tagged images when no tag is named, with everything that it needs and this layout does not
/// have. Every digest is verified. Tags that exist are replaced. An import that was interrupted leaves no tag, and its
/// rerun goes on where it stopped.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <source>[:<tag>]")]
pub struct Import {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    platform: PlatformArg,
    /// name of the image in this layout (default: its name in the source)
    #[arg(long, value_name = "tag")]
    tag: Option<String>,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Import {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let platform = self.platform.get()?;
        let platform = platform.as_ref();
        let [from] = positionals(&self.rest, ["source"])?;
        let (path, what) = source(from, "source")?;
        let tag: Option<RefName> = self
            .tag
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|e: Error| e.context("invalid --tag"))?;
        let from = Store::open(&path, StoreOptions::default())
            .map_err(|e| e.context(format!("open {}", path.display())))?;
        let _reading = from.reading();
        let into = self.layout.open()?;
        let requests = match (what, tag) {
            (Some(target), tag) => {
                let own = match &target {
                    Target::Name(name) | Target::Past(name, _) => Some(name.clone()),
                    Target::Digest(_) => None,
                };
                let unnamed = || Failure::Arguments("an image named by its digest needs a --tag".to_owned());
                vec![Request::find(
                    &from,
                    &target,
                    platform,
                    tag.or(own).ok_or_else(unnamed)?,
                )?]
            }
            (None, Some(tag)) => match <[Request; 1]>::try_from(Request::all(&from, platform, ui)?) {
                Ok([one]) => vec![Request { name: tag, ..one }],
                Err(all) => {
                    let text = format!(
                        "--tag names one image, and {0} has {1}: say which, as {0}:TAG",
                        path.display(),
                        all.len()
                    );
                    return Err(Failure::Arguments(text));
                }
            },
            (None, None) => Request::all(&from, platform, ui)?,
        };
        let sink = StoreSink::new(&into, "import")?;
        let report = copy(&from, &sink, &requests, ui)?;
        sink.commit()?;
        ui.info(format_args!(
            "imported {} images: {} blobs copied, {} were there",
            requests.len(),
            report.copied,
            report.present
        ));
        Ok(())
    }
}
