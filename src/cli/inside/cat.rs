// SPDX-License-Identifier: Apache-2.0
//! `umoci cat`

use std::io::BufWriter;

use crate::inside::{Item, Pathspec, Selected, extract, read_items, write_tar};
use crate::node::{Node, NodeKind, TreePath};

use super::super::prelude::*;
use super::view_args::{ViewArgs, Viewed, no_path, tree_path};

/// writes files of an image to stdout, or below a directory
///
/// Writes the contents of files in the order of the words. Symbolic links are followed inside of the image. A path may be a pattern, as
/// for ls-files, whose files are written in the order of their paths. A directory is written as a tar, together with all else that is
/// asked for. The bytes are checked against the digest in the table of contents; if they are others, or the layer is damaged, the command
/// fails at their end. The one word image:path means the same as two.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<image-path>[:<tag>][~<n>] <path>...",
    visible_alias = "show"
)]
pub struct Cat {
    /// write files and trees below this directory of the host, by their paths in the image; owners and devices only as root
    #[arg(short = 'o', long = "output", value_name = "directory")]
    output: Option<PathBuf>,
    /// write the target of a symbolic link that a path is, and do not follow it
    #[arg(long = "raw-link")]
    raw_link: bool,
    #[command(flatten)]
    view: ViewArgs,
}

impl Cat {
    /// Runs the command.
    pub fn run(mut self, ui: &Ui) -> Outcome {
        if let [word] = self.view.rest.as_slice()
            && let Some((image, path)) = image_and_path(word)
        {
            self.view.rest = vec![image, path];
        }
        let (viewed, paths) = self.view.image(ui)?;
        if paths.is_empty() {
            return Err(Failure::Missing("the path".to_owned()));
        }
        let _reading = viewed.store.reading();
        let (mut items, mut is_tree) = (Vec::new(), false);
        for word in paths {
            if tree_path(word)?.is_root() {
                // The root may have no entry of its own.
                is_tree = true;
                items.extend(viewed.contents.tree());
            } else {
                items.extend(self.meant(&viewed, word)?);
            }
        }
        is_tree |= items.iter().any(|item| viewed.contents.is_dir(item));
        match &self.output {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .map_err(|err| Error::from(err).context(format!("create directory {}", dir.display())))?;
                extract(
                    &viewed.store,
                    &viewed.selected(&items, &|_, node| own(node, ui)),
                    ui,
                    dir,
                )?;
            }
            None if is_tree => print_tar(&viewed, &items, ui)?,
            None => items.iter().try_for_each(|item| print(&viewed, item, ui))?,
        }
        viewed.end()
    }

    /// Returns the items that a word means.
    fn meant<'v>(&self, viewed: &'v Viewed, word: &str) -> Outcome<Vec<&'v Item>> {
        let (path, contents) = (tree_path(word)?, &viewed.contents);
        let found = if self.raw_link {
            contents.find(&path)
        } else {
            contents.follow(&path)?
        };
        if let Some(item) = found {
            return Ok(vec![item]);
        }
        let spec = Pathspec::parse(word)?;
        let tree = contents.tree().filter(|item| spec.matches(&item.path));
        let files = tree.filter(|item| contents.content_of(item).digest.is_some());
        let files: Vec<&Item> = files.collect();
        if files.is_empty() {
            viewed.end()?;
            return Err(no_path(&path, &viewed.word));
        }
        Ok(files)
    }
}

impl Viewed {
    /// Returns the items with all that is below them, each once.
    fn selected<'a>(
        &'a self,
        items: &[&'a Item],
        adapt: &'a (dyn Fn(&TreePath, &mut Node) -> bool + Sync),
    ) -> Selected<'a> {
        let contents = &self.contents;
        let mut all: Vec<&Item> = items.iter().flat_map(|item| contents.below(&item.path)).collect();
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        all.dedup_by(|a, b| a.path == b.path);
        // The directory of the host that stands for the root keeps what it has.
        all.retain(|item| !item.path.is_root());
        Selected {
            contents,
            items: all,
            adapt,
        }
    }
}

/// Writes the content of a file, or the target of a link.
fn print(viewed: &Viewed, item: &Item, ui: &Ui) -> Outcome {
    let contents = &viewed.contents;
    match contents.node_of(item).map(|node| &node.kind) {
        Some(NodeKind::File { .. }) => {}
        Some(NodeKind::Symlink { target }) => return ui.print_all(&mut target.as_slice()),
        Some(kind) => refuse!("{} is no regular file, but a {}", item.path, kind.name()),
        None => refuse!("{} is a directory", item.path),
    }
    let item = contents.content_of(item);
    let layer = &contents.layers[item.layer as usize];
    let mut printed = Ok(());
    read_items(&viewed.store, layer, vec![item], ui, &mut |_, content| {
        printed = ui.print_all(content);
        Ok(())
    })?;
    printed
}

/// Writes items, with all that is below them, as a tar.
fn print_tar(viewed: &Viewed, items: &[&Item], ui: &Ui) -> Outcome {
    let selected = viewed.selected(items, &|_, _| true);
    let (mut reader, writer) = std::io::pipe().map_err(Error::from)?;
    std::thread::scope(|scope| {
        let written =
            scope.spawn(|| write_tar(&viewed.store, &selected, ui, BufWriter::new(writer)).map(drop));
        let printed = ui.print_all(&mut reader);
        // Without a reader the writer comes to its end.
        drop(reader);
        let written = written
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        printed?;
        Ok(written?)
    })
}

/// Makes a node one that the user may write: without root it is the user's own, and has no attributes that only root sets.
fn own(node: &mut Node, ui: &Ui) -> bool {
    let user = rustix::process::geteuid();
    if user.is_root() && !crate::fs::in_user_namespace() {
        return true;
    }
    if node.kind.device_number().is_some() {
        ui.warn(format_args!("a device is left out: only root makes devices"));
        return false;
    }
    node.uid = user.as_raw();
    node.gid = rustix::process::getegid().as_raw();
    node.xattrs.retain(|name, _| name.starts_with(b"user."));
    true
}

/// Splits `LAYOUT:PATH`, `LAYOUT:TAG:PATH` and `LAYOUT@DIGEST:PATH`.
fn image_and_path(word: &str) -> Option<(String, String)> {
    let mut colons = word.match_indices(':').map(|(at, _)| at);
    let first = colons.next()?;
    // That of the algorithm of a digest, or that before a tag, comes first if there are two.
    let at = colons.next().unwrap_or(first);
    let (image, path) = (&word[..at], &word[at + 1..]);
    (!image.is_empty() && !path.is_empty()).then(|| (image.to_owned(), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_an_image_and_a_path() {
        for (word, want) in [
            ("store:app:etc/passwd", Some(("store:app", "etc/passwd"))),
            ("store:etc/passwd", Some(("store", "etc/passwd"))),
            ("store:app~1:a:b", Some(("store:app~1", "a:b"))),
            (
                "store@sha256:00:etc/passwd",
                Some(("store@sha256:00", "etc/passwd")),
            ),
            ("store", None),
            ("store:", None),
        ] {
            let found = image_and_path(word);
            let found = found
                .as_ref()
                .map(|(image, path)| (image.as_str(), path.as_str()));
            assert_eq!(found, want, "{word}");
        }
    }
}
