// SPDX-License-Identifier: Apache-2.0
//! `umoci raw add-layer`

use crate::bundle::add_archive;
use crate::image::add_layer;
use crate::progress::Monitor;

use super::super::args::{AlgorithmArg, CompressArg, HistoryArgs, ImageArg, PlatformArg, TagArg};
use super::super::failure::Outcome;
use super::super::result::{Made, ResultArgs};
use super::super::source_date_epoch;
use super::super::ui::Ui;

/// add a layer archive verbatim to an image
///
/// Adds a tar archive as the topmost layer of an image. The bytes of the archive itself never change: a plain one is compressed
/// as a whole (--compress none stores it as it is), and one that is compressed with gzip or zstd is stored as it is, unless
/// --compress says how to compress it anew. What is no archive is refused.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] [--tag <new-tag>] <newlayer.tar>")]
pub struct AddLayer {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    tag: TagArg,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    result: ResultArgs,
}

impl AddLayer {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let platform = self.platform.get()?;
        let compression = self.compress.get()?;
        let is_wanted = compression.is_some();
        self.history.check()?;
        let tag = self.tag.get(&image)?;
        let [archive] = self.image.rest.as_slice() else {
            refuse!("invalid number of positional arguments: expected <newlayer.tar>");
        };
        if archive.is_empty() {
            refuse!("<new-layer.tar> path cannot be empty");
        }
        source_date_epoch()?;
        let store = self.image.open_with(&image, &self.algorithm)?;
        let result = self.result.open_for(&store, &tag)?;
        let mut txn = store.begin("add-layer")?;
        let walk = add_layer(
            &mut txn,
            (&image.target, platform.as_ref()),
            &tag,
            compression,
            |txn, compression| {
                let wanted = is_wanted.then_some(compression);
                let layer = add_archive(txn, archive.as_ref(), wanted, compression, ui)?;
                self.history.warn_if_none(ui);
                Ok(layer)
            },
            |author| -> Outcome<_> { self.history.get("umoci raw add-layer", author) },
        )?;
        ui.info(format_args!("created new tag for image manifest: {tag}"));
        result.say(&Made::by_walk(&tag, &walk), ui)
    }
}
