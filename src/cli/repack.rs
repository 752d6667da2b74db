// SPDX-License-Identifier: Apache-2.0
//! `umoci repack`

use crate::bundle::{Bundle, RepackOptions, repack};
use crate::node::Time;

use super::args::{AlgorithmArg, CompressArg, HistoryArgs, ImageArg, PlatformArg};
use super::failure::{Call, Failure, Outcome};
use super::result::{Made, ResultArgs};
use super::ui::Ui;

/// repacks an OCI runtime bundle into a reference
///
/// Makes a new layer of what changed in <bundle>/rootfs since it was unpacked, and tags the new image. The image that
/// the bundle was unpacked from must still be in the layout; it is not changed.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<new-tag>] <bundle>")]
pub struct Repack {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
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
    #[command(flatten)]
    result: ResultArgs,
}

impl Repack {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let tag = image.tag()?;
        let compression = self.compress.get()?;
        self.history.check()?;
        let [bundle] = self.image.words(["bundle"])?;
        let options = RepackOptions {
            masks: self.mask_path.iter().map(|m| m.clone().into_bytes()).collect(),
            no_mask_volumes: self.no_mask_volumes,
            refresh: self.refresh_bundle,
            force: self.force,
            platform: self.platform.get()?,
            compression,
            clamp_mtime: super::source_date_epoch()?.map(|sec| Time { sec, nsec: 0 }),
            header: super::mtree_header(),
        };
        let store = self.image.open_with(&image, &self.algorithm)?;
        let result = self.result.open_for(&store, tag)?;
        let history = |author: &str| match self.history.get("umoci repack", author) {
            Ok(history) => Ok(history),
            Err(Failure::Error(err)) => Err(err),
            Err(other) => fail!(Invalid, "{}", other.message(&Call::default()).unwrap_or_default()),
        };
        let done = repack(&store, &Bundle::at(bundle), tag, history, &options, ui)?;
        let same = "no new layer, since nothing changed in the tree; ";
        let note = if done.changed { "" } else { same };
        result.say_after(note, &Made::by_walk(tag, &done.walk), ui)
    }
}
