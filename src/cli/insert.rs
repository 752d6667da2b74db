// SPDX-License-Identifier: Apache-2.0
//! `umoci insert`

use crate::bundle::{Insertion, insert};
use crate::image::add_layer;
use crate::node::TreePath;
use crate::rootfs::PackOptions;

use super::prelude::*;

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
    change: ChangeArgs,
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
}

impl Insert {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.change.image.get()?;
        let compression = self.compress.wanted;
        let tag = self.tag.get(&image)?;
        let insertion = self.insertion()?;
        let options = PackOptions {
            id_map: self.id_map.get()?,
            clamp_mtime: super::clamp_mtime()?,
        };
        let history = self.history.get("umoci insert", "")?;
        let (store, result) = self.change.open(&image, &tag)?;
        let mut txn = store.begin("insert")?;
        let walk = add_layer(
            &mut txn,
            (&image.target, image.platform.as_ref()),
            &tag,
            compression,
            |txn, compression| insert(txn, &insertion, compression, &options, ui),
            |_| Ok(history.clone()),
        )?;
        self.history.warn_if_none(ui);
        ui.info(format_args!("updated tag for image manifest: {tag}"));
        result.say_walk(&walk, ui)
    }

    /// Returns the change that the words ask for.
    fn insertion(&self) -> Outcome<Insertion> {
        let words = self.change.image.rest.as_slice();
        // The words are those of the Go tool, which counts from 0.
        let expected = if self.whiteout { 1 } else { 2 };
        if words.len() != expected {
            refuse!("invalid number of positional arguments: expected {expected}");
        }
        if let Some(at) = words.iter().position(String::is_empty) {
            refuse!("invalid positional argument {at}: arguments cannot be empty");
        }
        let target = words.last().map_or("", String::as_str);
        let target = TreePath::clean(target.as_bytes())?;
        Ok(match words {
            [source, _] => Insertion::Tree {
                source: source.into(),
                target,
                opaque: self.opaque,
            },
            _ => Insertion::Whiteout(target),
        })
    }
}
