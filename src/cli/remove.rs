// SPDX-License-Identifier: Apache-2.0
//! `umoci remove`

use crate::progress::Monitor;

use super::args::ImageArg;
use super::failure::Outcome;
use super::ui::Ui;

/// removes a tag from an OCI image
///
/// Removes a tag, or a name of index.json that no tag may have. It is no error if there is no such tag. The blobs stay until umoci gc
/// is run.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>]")]
pub struct Remove {
    #[command(flatten)]
    image: ImageArg,
}

impl Remove {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = self.image.words([])?;
        let (store, tag) = self.image.open_name()?;
        store.remove_ref(&tag)?;
        ui.info(format_args!("removed tag: {tag}"));
        Ok(())
    }
}
