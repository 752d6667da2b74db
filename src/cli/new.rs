// SPDX-License-Identifier: Apache-2.0
//! `umoci new`

use crate::bundle::{Insertion, add_archive, insert};
use crate::fs::IdMap;
use crate::image::{Edit, NewLayer};
use crate::node::TreePath;
use crate::rootfs::PackOptions;
use crate::spec::Compression;

use super::prelude::*;

/// creates a tagged OCI image, blank or of a directory or archive
///
/// Creates a new image and tags it. The layout must exist (see umoci init); an existing tag is replaced.
///
/// The image has no layers, or with --from one: the content of a directory, as umoci insert packs it, or a tar archive, which is
/// stored as umoci raw add-layer stores it. For images in an archive or another layout see umoci import.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--image <image-path>[:<new-tag>] [--from <directory>|<file>]",
    mut_arg("platform", |arg| arg.help("platform of the new image, such as linux/arm64 (default: this machine's)")),
    mut_args(|arg| if arg.get_help_heading().is_some() { arg.requires("from") } else { arg }),
    mut_arg("compress", |arg| arg.requires("from"))
)]
pub struct New {
    #[command(flatten)]
    change: ChangeArgs,
    /// make the first layer of this directory or tar archive, '-' for an archive on stdin
    #[arg(long, value_name = "directory|file")]
    from: Option<String>,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    id_map: IdMapArgs,
    #[command(flatten)]
    history: HistoryArgs,
}

impl New {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.change.image.get()?;
        let tag = image.tag()?;
        let platform = image.platform.as_ref();
        let platform = platform.map_or_else(Platform::host, Platform::spelled);
        let [] = self.change.image.words([])?;
        let created = super::now()?;
        let history = self.history.get("umoci new", "")?;
        let (store, result) = self.change.open(&image, tag)?;
        let mut txn = store.begin("new")?;
        let mut edit = Edit::blank_for(platform, created);
        if let Some(from) = self.from.as_deref() {
            let automatic = edit.auto_compression();
            let layer = self.layer(from, &mut txn, automatic, ui)?;
            self.history.warn_if_none(ui);
            edit.add_layer(layer, history);
        }
        let walk = edit.apply(&mut txn, tag)?;
        txn.commit()?;
        ui.info(format_args!("created new tag for image manifest: {tag}"));
        result.say_walk(&walk, ui)
    }

    /// Writes the content of a directory, or a tar archive, as a layer, compressed in the `automatic` way unless another one is
    /// asked for.
    fn layer(&self, from: &str, txn: &mut Txn<'_>, automatic: Compression, ui: &Ui) -> Outcome<NewLayer> {
        let id_map = self.id_map.get()?;
        let path = Path::new(match from {
            "" => refuse!("invalid --from: path is empty"),
            "-" => "/dev/stdin",
            path => path,
        });
        // Files of a layout as content of an image are hardly meant, and an image of images is easily made by a mistake.
        if path.join("oci-layout").exists() {
            refuse!("{from} is an OCI layout: umoci import {from} copies the images in it");
        }
        if path.is_dir() {
            let tree = Insertion::Tree {
                // Of a link the directory behind it is wanted, and not the link.
                source: path.canonicalize().context(|| from)?,
                target: TreePath::root(),
                opaque: false,
            };
            let options = PackOptions {
                id_map,
                clamp_mtime: super::clamp_mtime()?,
            };
            let compression = self.compress.wanted.unwrap_or(automatic);
            return Ok(insert(txn, &tree, compression, &options, ui)?);
        }
        if !crate::fs::exists(path)? {
            fail!(NotFound, "{from}: no such file or directory");
        }
        if id_map != IdMap::default() {
            refuse!("maps of ids and --rootless go with a directory, and {from} is an archive");
        }
        let layer = add_archive(txn, path, self.compress.wanted, automatic, ui)?;
        if layer.holds_images {
            refuse!(
                "{from} is an archive of images: umoci import takes it as oci-archive:{from} or docker-archive:{from}"
            );
        }
        Ok(layer)
    }
}
