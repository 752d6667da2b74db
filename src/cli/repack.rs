// SPDX-License-Identifier: Apache-2.0
//! `umoci repack`

use crate::bundle::{Bundle, RepackOptions, repack};

use super::prelude::*;

/// repacks an OCI runtime bundle into a reference
///
/// Makes a new layer of what changed in <bundle>/rootfs since it was unpacked, and tags the new image. The image that
/// the bundle was unpacked from must still be in the layout; it is not changed.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<new-tag>] <bundle>")]
pub struct Repack {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    history: HistoryArgs,
    /// path whose changes are left out; may be given more than once
    #[arg(long = "mask-path")]
    mask_path: Vec<String>,
    /// do not leave out changes below the volumes of the image
    #[arg(long = "no-mask-volumes")]
    no_mask_volumes: bool,
    /// make the bundle describe the new image
    #[arg(long = "refresh-bundle")]
    refresh_bundle: bool,
    /// replace the tag also if it points at another image than when the bundle was unpacked from it
    #[arg(long)]
    force: bool,
}

impl Repack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.change.image.get()?;
        let tag = image.tag()?;
        let [bundle] = self.change.image.words(["bundle"])?;
        let options = RepackOptions {
            masks: self.mask_path.iter().map(|m| m.clone().into_bytes()).collect(),
            no_mask_volumes: self.no_mask_volumes,
            refresh: self.refresh_bundle,
            force: self.force,
            platform: image.platform.clone(),
            compression: self.compress.wanted,
            clamp_mtime: super::clamp_mtime()?,
            header: super::mtree_header(),
        };
        let (store, mut result) = self.change.open(&image, tag)?;
        let bundle = Bundle::at(bundle);
        let done = repack(
            &store,
            &bundle,
            tag,
            |author| self.history.get("umoci repack", author),
            &options,
            ui,
        )?;
        // The new image has another step in its history, so the tag moves also where no layer was made.
        if !done.changed {
            result.note = "no new layer, since nothing changed in the tree; ";
        }
        result.say_walk(&done.walk, ui)
    }
}
