// SPDX-License-Identifier: Apache-2.0
//! `umoci raw add-layer`

use crate::bundle::add_archive;
use crate::image::add_layer;

use super::super::prelude::*;
use super::super::source_date_epoch;

/// add a layer archive verbatim to an image
///
/// Adds a tar archive as the topmost layer of an image. The bytes of the archive itself never change: a plain one is compressed
/// as a whole (--compress none stores it as it is), and one that is compressed with gzip or zstd is stored as it is, unless
/// --compress says how to compress it anew. What is no archive is refused.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] [--tag <new-tag>] <newlayer.tar>")]
pub struct AddLayer {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    tag: TagArg,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    history: HistoryArgs,
}

impl AddLayer {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.change.image.get()?;
        let tag = self.tag.get(&image)?;
        let [archive] = self.change.image.words(["newlayer.tar"])?;
        // A wrong time is known before the work, as with other commands; the archive keeps its own times.
        source_date_epoch()?;
        let (store, result) = self.change.open(&image, &tag)?;
        let wanted = self.compress.wanted;
        let mut txn = store.begin("add-layer")?;
        let walk = add_layer(
            &mut txn,
            (&image.target, image.platform.as_ref()),
            &tag,
            wanted,
            |txn, compression| {
                let layer = add_archive(txn, archive.as_ref(), wanted, compression, ui)?;
                self.history.warn_if_none(ui);
                Ok(layer)
            },
            |author| self.history.get("umoci raw add-layer", author),
        )?;
        ui.info(format_args!("created new tag for image manifest: {tag}"));
        result.say_walk(&walk, ui)
    }
}
