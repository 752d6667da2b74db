// SPDX-License-Identifier: Apache-2.0
//! `umoci raw unpack`

use crate::bundle::unpack_into;

use super::super::prelude::*;

/// unpacks a reference into a rootfs
///
/// Extracts the layers of an image to <rootfs>, over what is there if it exists. No bundle is made of it, so it cannot be
/// repacked.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] <rootfs>")]
pub struct Unpack {
    #[command(flatten)]
    unpack: UnpackArgs,
    /// unpack this layer alone: its number from 1, the lowest, or its digest
    #[arg(long, value_name = "number|digest")]
    layer: Option<LayerName>,
}

impl Unpack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.unpack.image.get()?;
        let [rootfs] = self.unpack.image.words(["rootfs"])?;
        let mut options = self.unpack.options()?;
        let store = self.unpack.image.open(&image)?;
        let _reading = store.reading();
        let loaded = image.find(&store)?;
        // The name of a layer means something only once the image is known.
        options.layer = self.layer.map(|name| name.find(&loaded)).transpose()?;
        ui.warn(format_args!("unpacking rootfs ..."));
        unpack_into(&store, &loaded, rootfs.as_ref(), &options, ui).context(|| "create rootfs")?;
        ui.warn(format_args!("... done"));
        ui.warn(format_args!("unpacked image rootfs: {rootfs}"));
        Ok(())
    }
}
