// SPDX-License-Identifier: Apache-2.0
//! `umoci init`

use crate::progress::Monitor;
use crate::store::{Store, StoreOptions};

use super::args::LayoutArg;
use super::failure::Outcome;
use super::ui::Ui;

/// create a new OCI layout
///
/// Creates a new OCI image layout at the given path, which must not exist. It contains no tags or blobs.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct Init {
    #[command(flatten)]
    layout: LayoutArg,
}

impl Init {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let path = self.layout.get()?;
        let [] = self.layout.words([])?;
        Store::create(&path, StoreOptions::default()).map_err(|e| e.context("image layout creation"))?;
        ui.info(format_args!("created new OCI image: {}", path.display()));
        Ok(())
    }
}
