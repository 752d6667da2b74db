// SPDX-License-Identifier: Apache-2.0
//! `umoci new`

use std::path::{Path, PathBuf};

use crate::bundle::{Insertion, add_archive, insert};
use crate::error::Error;
use crate::fs::IdMap;
use crate::image::{Edit, NewLayer};
use crate::node::{Time, TreePath};
use crate::progress::Monitor;
use crate::rootfs::PackOptions;
use crate::spec::{Compression, Platform};
use crate::store::Txn;

use super::args::{AlgorithmArg, CompressArg, HistoryArgs, IdMapArgs, ImageArg, PlatformArg};
use super::failure::Outcome;
use super::result::{Made, ResultArgs};
use super::ui::Ui;

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
    image: ImageArg,
    /// make the first layer of this directory or tar archive, '-' for an archive on stdin
    #[arg(long, value_name = "directory|file")]
    from: Option<String>,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    id_map: IdMapArgs,
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    result: ResultArgs,
}

impl New {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let tag = image.tag()?;
        let platform = self.platform.get()?;
        let platform = platform.map_or_else(Platform::host, |p| p.spelled());
        let compression = self.compress.get()?;
        self.history.check()?;
        let [] = self.image.words([])?;
        let content = self.content()?;
        let created = super::now()?;
        let history = self.history.get("umoci new", "")?;
        let store = self.image.open_with(&image, &self.algorithm)?;
        let result = self.result.open_for(&store, tag)?;
        let mut txn = store.begin("new")?;
        let mut edit = Edit::blank_for(platform, created);
        if let Some(content) = content {
            let automatic = edit.auto_compression();
            let layer = content.write(&mut txn, compression, automatic, ui)?;
            if layer.holds_images {
                let from = self.from.as_deref().unwrap_or_default();
                refuse!(
                    "{from} is an archive of images: umoci import takes it as oci-archive:{from} or docker-archive:{from}"
                );
            }
            self.history.warn_if_none(ui);
            edit.add_layer(layer, history);
        }
        let walk = edit.apply(&mut txn, tag)?;
        txn.commit()?;
        ui.info(format_args!("created new tag for image manifest: {tag}"));
        result.say(&Made::by_walk(tag, &walk), ui)
    }

    fn content(&self) -> Outcome<Option<Content>> {
        let Some(from) = self.from.as_deref() else {
            return Ok(None);
        };
        let id_map = self.id_map.get()?;
        let path = Path::new(match from {
            "" => refuse!("invalid --from: path is empty"),
            "-" => "/dev/stdin",
            path => path,
        });
        if path.join("oci-layout").exists() {
            refuse!("{from} is an OCI layout: umoci import {from} copies the images in it");
        }
        if path.is_dir() {
            // The directory behind a link is what is wanted, and not the link.
            let path = path.canonicalize().map_err(|e| Error::from(e).context(from))?;
            return Ok(Some(Content::Tree(path, id_map)));
        }
        if !crate::fs::exists(path)? {
            fail!(NotFound, "{from}: no such file or directory");
        }
        if id_map != IdMap::default() {
            refuse!("maps of ids and --rootless go with a directory, and {from} is an archive");
        }
        Ok(Some(Content::Archive(path.to_owned())))
    }
}

/// What the first layer is made of.
enum Content {
    /// A directory, and whose its files are in the image.
    Tree(PathBuf, IdMap),
    /// A tar archive.
    Archive(PathBuf),
}

impl Content {
    /// Writes the layer, compressed as `wanted`. Without a wish, a compressed archive keeps its bytes, and all else is compressed
    /// in the `automatic` way.
    fn write(
        self,
        txn: &mut Txn<'_>,
        wanted: Option<Compression>,
        automatic: Compression,
        ui: &Ui,
    ) -> Outcome<NewLayer> {
        let compression = wanted.unwrap_or(automatic);
        let (source, id_map) = match self {
            Content::Archive(path) => return Ok(add_archive(txn, &path, wanted, automatic, ui)?),
            Content::Tree(source, id_map) => (source, id_map),
        };
        let options = PackOptions {
            id_map,
            clamp_mtime: super::source_date_epoch()?.map(|sec| Time { sec, nsec: 0 }),
        };
        let tree = Insertion::Tree {
            source,
            target: TreePath::root(),
            opaque: false,
        };
        Ok(insert(txn, &tree, compression, &options, ui)?)
    }
}
