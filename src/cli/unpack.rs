// SPDX-License-Identifier: Apache-2.0
//! `umoci unpack`

use crate::bundle::{UnpackOptions, unpack};
use crate::image::Image;

use super::args::{IdMapArgs, ImageArg, LimitArgs, PlatformArg};
use super::failure::Outcome;
use super::ui::Ui;

/// unpacks a reference into an OCI runtime bundle
///
/// Extracts the layers of an image to <bundle>/rootfs and writes a runtime configuration that runc and crun accept,
/// so that the bundle can be run, or changed and given to umoci repack.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] <bundle>")]
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
    #[command(flatten)]
    limits: LimitArgs,
}

impl Unpack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let platform = self.platform.get()?;
        let [bundle] = self.image.words(["bundle"])?;
        let options = UnpackOptions {
            id_map: self.id_map.get()?,
            keep_dirlinks: self.keep_dirlinks,
            limits: self.limits.get()?,
            layer: None,
            header: super::mtree_header(),
        };
        let store = self.image.open(&image)?;
        let _reading = store.reading();
        let loaded = Image::find(&store, &image.target, platform.as_ref())?;
        unpack(&store, &loaded, bundle.as_ref(), &options, ui)?;
        Ok(())
    }
}
