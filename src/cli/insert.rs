// SPDX-License-Identifier: Apache-2.0
//! `umoci insert`

use crate::bundle::{Insertion, insert};
use crate::image::add_layer;
use crate::node::{Time, TreePath};
use crate::progress::Monitor;
use crate::rootfs::PackOptions;

use super::args::{AlgorithmArg, CompressArg, HistoryArgs, IdMapArgs, ImageArg, PlatformArg, TagArg};
use super::failure::Outcome;
use super::result::{Made, ResultArgs};
use super::ui::Ui;

/// insert content into an OCI image
///
/// Adds a layer in which the file or directory <source> stands at <target>, without unpacking the image. The content of a
/// directory joins what the image has at <target>; with --opaque it replaces it. With --whiteout what the image has at
/// <target> is removed.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--image <image-path>[:<tag>] [--tag <new-tag>] (<source> <target> | --whiteout <target>)"
)]
pub struct Insert {
    #[command(flatten)]
    image: ImageArg,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    tag: TagArg,
    #[command(flatten)]
    id_map: IdMapArgs,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    history: HistoryArgs,
    /// hide what the image has at the target
    #[arg(long)]
    opaque: bool,
    /// remove what the image has at the target
    #[arg(long)]
    whiteout: bool,
    #[command(flatten)]
    result: ResultArgs,
}

impl Insert {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let platform = self.platform.get()?;
        let compression = self.compress.get()?;
        self.history.check()?;
        let tag = self.tag.get(&image)?;
        let what = self.what()?;
        let options = PackOptions {
            id_map: self.id_map.get()?,
            clamp_mtime: super::source_date_epoch()?.map(|sec| Time { sec, nsec: 0 }),
        };
        let store = self.image.open_with(&image, &self.algorithm)?;
        let history = self.history.get("umoci insert", "")?;
        let result = self.result.open_for(&store, &tag)?;
        let mut txn = store.begin("insert")?;
        let walk = add_layer(
            &mut txn,
            (&image.target, platform.as_ref()),
            &tag,
            compression,
            |txn, compression| Ok(insert(txn, &what, compression, &options, ui)?),
            |_| -> Outcome<_> { Ok(history.clone()) },
        )?;
        self.history.warn_if_none(ui);
        ui.info(format_args!("updated tag for image manifest: {tag}"));
        result.say(&Made::by_walk(&tag, &walk), ui)
    }

    fn what(&self) -> Outcome<Insertion> {
        let expected = if self.whiteout { 1 } else { 2 };
        if self.image.rest.len() != expected {
            refuse!("invalid number of positional arguments: expected {expected}");
        }
        if let Some(at) = self.image.rest.iter().position(String::is_empty) {
            refuse!("invalid positional argument {at}: arguments cannot be empty");
        }
        let target = |text: &str| TreePath::clean(text.as_bytes());
        Ok(match self.image.rest.as_slice() {
            [source, to] => Insertion::Tree {
                source: source.into(),
                target: target(to)?,
                opaque: self.opaque,
            },
            words => Insertion::Whiteout(target(words.first().map_or("", String::as_str))?),
        })
    }
}
