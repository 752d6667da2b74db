// SPDX-License-Identifier: Apache-2.0
//! `umoci raw unpack`

use crate::bundle::{UnpackOptions, unpack_into};
use crate::image::Image;
use crate::progress::Monitor;

use super::super::args::{IdMapArgs, ImageArg, LayerName, LimitArgs, PlatformArg};
use super::super::failure::Outcome;
use super::super::ui::Ui;

/// unpacks a reference into a rootfs
///
/// Extracts the layers of an image to <rootfs>, over what is there if it exists. No bundle is made of it, so it cannot be
/// repacked.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] <rootfs>")]
pub struct Unpack {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    id_map: IdMapArgs,
    /// keep symlinks to directories where a layer has a directory
    #[arg(long = "keep-dirlinks")]
    keep_dirlinks: bool,
    /// unpack this layer alone: its number from 1, the lowest, or its digest
    #[arg(long, value_name = "number|digest")]
    layer: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl Unpack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let platform = self.platform.get()?;
        let [rootfs] = self.image.words(["rootfs"])?;
        let only: Option<LayerName> = self.layer.as_deref().map(str::parse).transpose()?;
        let mut options = UnpackOptions {
            id_map: self.id_map.get()?,
            keep_dirlinks: self.keep_dirlinks,
            limits: self.limits.get()?,
            ..UnpackOptions::default()
        };
        let store = self.image.open(&image)?;
        let _reading = store.reading();
        let loaded = Image::find(&store, &image.target, platform.as_ref())?;
        options.layer = only.map(|name| name.find(&loaded)).transpose()?;
        ui.warn(format_args!("unpacking rootfs ..."));
        unpack_into(&store, &loaded, rootfs.as_ref(), &options, ui)
            .map_err(|e| e.context("create rootfs"))?;
        ui.warn(format_args!("... done"));
        ui.warn(format_args!("unpacked image rootfs: {rootfs}"));
        Ok(())
    }
}
