// SPDX-License-Identifier: Apache-2.0
//! `umoci cat`

use crate::inside::read_items;
use crate::node::NodeKind;

use super::super::prelude::*;
use super::ls_files::no_path;
use super::view_args::{ViewArgs, tree_path};

/// writes files of an image to stdout
///
/// Writes the contents of files in the order of the words. Symbolic links are followed inside of the image. The bytes are checked
/// against the digest in the table of contents; if they are others, or the layer is damaged, the command fails at their end.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<image-path>[:<tag>][~<n>] <path>...",
    visible_alias = "show"
)]
pub struct Cat {
    #[command(flatten)]
    view: ViewArgs,
}

impl Cat {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let (viewed, paths) = self.view.image(ui)?;
        if paths.is_empty() {
            return Err(Failure::Missing("the path".to_owned()));
        }
        let _reading = viewed.store.reading();
        for word in paths {
            let path = tree_path(word)?;
            let contents = &viewed.contents;
            let Some(item) = contents.follow(&path)? else {
                viewed.end()?;
                return Err(no_path(&path, &viewed.word));
            };
            let item = contents.content_of(item);
            match contents.node_of(item).map(|node| &node.kind) {
                Some(NodeKind::File { .. }) => {}
                None | Some(NodeKind::Dir) => refuse!("{path} is a directory"),
                Some(kind) => refuse!("{path} is no regular file, but a {}", kind.name()),
            }
            let layer = &contents.layers[item.layer as usize];
            let mut printed = Ok(());
            read_items(&viewed.store, layer, vec![item], ui, &mut |_, content| {
                printed = ui.print_all(content);
                Ok(())
            })?;
            printed?;
        }
        viewed.end()
    }
}
