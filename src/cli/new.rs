// SPDX-License-Identifier: Apache-2.0
//! `umoci new`

use umoci::image::Edit;
use umoci::progress::Monitor;

use super::args::{AlgorithmArg, ImageArg, positionals};
use super::failure::Outcome;
use super::ui::Ui;

/// creates a blank tagged OCI image
///
/// Creates a new image without layers and with a configuration for this machine's platform, and tags it. The layout
/// must exist (see umoci init); an existing tag is replaced.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<new-tag>]")]
pub struct New {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl New {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let tag = image.tag()?;
        let [] = positionals(&self.rest, [])?;
        let created = super::now()?;
        let store = self.image.open_with(&image, &self.algorithm)?;
        let mut txn = store.begin("new")?;
        Edit::blank(created).apply(&mut txn, tag)?;
        txn.commit()?;
        ui.info(format_args!("created new tag for image manifest: {tag}"));
        Ok(())
    }
}
