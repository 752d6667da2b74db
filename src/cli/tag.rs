// SPDX-License-Identifier: Apache-2.0
//! `umoci tag`

use umoci::error::Error;
use umoci::image::{Walk, resolve};
use umoci::progress::Monitor;
use umoci::spec::RefName;
use umoci::transfer::Request;

use super::args::{ImageArg, positionals};
use super::failure::{Failure, Outcome};
use super::ui::Ui;

/// creates a new tag in an OCI image
///
/// Creates a new tag that points at what the tag (or digest) of --image points at. An existing tag is replaced.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] <new-tag>")]
pub struct Tag {
    #[command(flatten)]
    image: ImageArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Tag {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let [new] = positionals(&self.rest, ["new tag"])?;
        let new: RefName = new
            .parse()
            .map_err(|e: Error| Failure::Arguments(format!("new tag is an invalid reference: {e}")))?;
        let store = self.image.open(&image)?;
        let mut walks = resolve(&store, &image.target)?.walks;
        // One image is named itself, also behind an index; several are named by their index.
        let only = if walks.len() == 1 {
            walks.pop().map(Walk::into_last)
        } else {
            None
        };
        let descriptor = match only {
            Some(only) => only,
            None => Request::find(&store, &image.target, None, new.clone())?.descriptor,
        };
        store.set_ref(&new, descriptor)?;
        ui.info(format_args!(
            "created new tag: {:?} -> {:?}",
            new.as_str(),
            image.target.to_string()
        ));
        Ok(())
    }
}
