// SPDX-License-Identifier: Apache-2.0
//! `umoci unpack`

use crate::bundle::unpack;

use super::prelude::*;

/// unpacks a reference into an OCI runtime bundle
///
/// Extracts the layers of an image to <bundle>/rootfs and writes a runtime configuration that runc and crun accept,
/// so that the bundle can be run, or changed and given to umoci repack.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] <bundle>")]
pub struct Unpack {
    #[command(flatten)]
    unpack: UnpackArgs,
}

impl Unpack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.unpack.image.get()?;
        let [bundle] = self.unpack.image.words(["bundle"])?;
        let options = self.unpack.options()?;
        let store = self.unpack.image.open(&image)?;
        // Layers are opened one after another, and gc must not take one meanwhile.
        let _reading = store.reading();
        unpack(&store, &image.find(&store)?, bundle.as_ref(), &options, ui)?;
        Ok(())
    }
}
