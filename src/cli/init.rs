// SPDX-License-Identifier: Apache-2.0
//! `umoci init`

use super::prelude::*;

/// create a new OCI layout
///
/// Creates a new OCI image layout at the given path, which must not exist. It contains no tags or blobs.
#[derive(clap::Args, Debug)]
pub struct Init {
    #[command(flatten)]
    layout: LayoutArg,
}

impl Init {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [] = self.layout.words([])?;
        let path = &self.layout.layout;
        Store::create(path, StoreOptions::default()).context(|| "image layout creation")?;
        ui.info(format_args!("created new OCI image: {}", path.display()));
        Ok(())
    }
}
