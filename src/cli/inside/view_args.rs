// SPDX-License-Identifier: Apache-2.0
//! Images that a command looks into, and the paths in them.

use crate::bundle::Bundle;
use crate::inside::{Contents, Item, Pathspecs, Side, layers_of_base};
use crate::node::TreePath;

use super::super::prelude::*;

/// The images and paths that a command looks at, as words.
#[derive(clap::Args, Debug)]
pub struct ViewArgs {
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    pub lock: LockArg,
    /// The words.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}

impl ViewArgs {
    /// Returns the image that the first word names, and the other words.
    pub fn image(&self, ui: &Ui) -> Outcome<(Viewed, &[String])> {
        match self.rest.split_first() {
            Some((word, rest)) if !word.is_empty() => Ok((self.open(word, ui)?, rest)),
            _ => Err(Failure::Missing("the image".to_owned())),
        }
    }

    /// Opens a layout.
    pub fn store(&self, layout: &str) -> Outcome<Store> {
        let layout = layout_path(layout).map_err(invalid("layout"))?;
        self.lock.open(&layout)
    }

    /// Opens the image that a word names.
    pub fn open(&self, word: &str, ui: &Ui) -> Outcome<Viewed> {
        let (store, image, contents) = self.open_image(word, ui)?;
        Ok(Viewed {
            store,
            contents,
            image,
            word: word.to_owned(),
        })
    }

    /// Opens what a word names to compare it: an image, `layer:LAYOUT@DIGEST` or `bundle:DIR`.
    pub fn side(&self, word: &str, ui: &Ui) -> Outcome<Side> {
        if let Some(dir) = word.strip_prefix("bundle:") {
            return Ok(Side::of_bundle(&Bundle::at(dir), ui)?);
        }
        let Some(layer) = word.strip_prefix("layer:") else {
            let (store, image, contents) = self.open_image(word, ui)?;
            return Ok(Side::Image {
                store,
                image: Box::new(image),
                contents,
            });
        };
        let layer = self.platform.of_word(layer)?;
        let Target::Digest(digest) = layer.target else {
            refuse!("invalid layer: {word:?} (want layer:<layout>@<digest>)");
        };
        let store = self.lock.open(&layer.layout)?;
        let _reading = store.reading();
        let contents = Contents::of_layer(&store, &digest, ui)?;
        Ok(Side::Layer { store, contents })
    }

    /// Opens the image that a word names, and the contents of its layers.
    pub fn open_image(&self, word: &str, ui: &Ui) -> Outcome<(Store, Image, Contents)> {
        let (name, without) = without_layers(word)?;
        let image = self.platform.of_word(name)?;
        let store = self.lock.open(&image.layout)?;
        // A collection must not take layers away while they are read.
        let reading = store.reading();
        let image = image.find(&store)?;
        let contents = Contents::of_image(&store, &image, without, ui)?;
        drop(reading);
        Ok((store, image, contents))
    }
}

/// `--since BASE`
#[derive(clap::Args, Debug)]
pub struct SinceArg {
    /// leave out what this image has, on which the other one stands: a tag or digest of the same layout, or another image
    #[arg(long, value_name = "image")]
    since: Option<String>,
}

/// An image that is open, and its contents.
#[derive(Debug)]
pub struct Viewed {
    pub store: Store,
    pub contents: Contents,
    /// The image itself.
    pub image: Image,
    /// The word that named it.
    pub word: String,
}

impl SinceArg {
    /// Returns how many lower layers of the image are left out: those of the base.
    pub fn layers(&self, viewed: &Viewed) -> Outcome<u32> {
        let base = self.since.as_ref();
        base.map_or(Ok(0), |word| viewed.layers_of_base(word, "--since"))
    }
}

impl Viewed {
    /// Returns the number of lower layers that the image has of the base that a word names, which is the value of `option`.
    pub fn layers_of_base(&self, word: &str, option: &str) -> Outcome<u32> {
        let (name, without) = without_layers(word)?;
        // The base of an image for one platform is that for the same platform.
        let platform = Some(self.image.config.value.platform()).filter(|platform| !platform.os.is_empty());
        let base = match Near::parse(name, &self.store)? {
            Near::Own(target) => Image::find(&self.store, &target, platform.as_ref())?,
            Near::Other(image) => {
                let store = Store::open(&image.layout, StoreOptions::default())?;
                Image::find(&store, &image.target, platform.as_ref())?
            }
        };
        let count = layers_of_base(&self.image, &base, without);
        Ok(count.context(|| format!("{option} {word}"))? as u32)
    }

    /// Returns the items of the tree that the words choose, in the order of paths and without the root, from the layer `since` on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a word that chooses nothing, unless a layer could not be seen.
    pub fn chosen(&self, words: &[String], since: u32) -> Outcome<Vec<&Item>> {
        let mut specs = Pathspecs::parse(words)?;
        let tree = self.contents.tree().filter(|item| item.layer >= since);
        let tree = tree.filter(|item| !(specs.is_empty() && item.path.is_root()));
        let mut items: Vec<&Item> = tree.collect();
        items.retain(|item| specs.choose(&item.path));
        match specs.unused() {
            Some(path) if self.contents.unseen.is_empty() => Err(no_path(path, &self.word)),
            _ => Ok(items),
        }
    }

    /// Ends a command whose answer was printed: with a failure if a layer could not be seen.
    pub fn end(&self) -> Outcome {
        end_of(&self.contents)
    }
}

/// Ends a command whose answer about `contents` was printed: with a failure if a layer could not be seen.
pub fn end_of(contents: &Contents) -> Outcome {
    let Some((number, err)) = contents.unseen.first() else {
        return Ok(());
    };
    let more = contents.unseen.len() - 1;
    let layer = &contents.layers[*number].descriptor.digest;
    let others = if more > 0 {
        format!(" and {}", counted(more as u64, "other layer"))
    } else {
        String::new()
    };
    let text = format!("the answer is without layer {layer}{others}: {err}");
    Err(Error::new(err.kind(), text).into())
}

/// Splits `~N` from the word of an image; `~` alone is `~1`.
fn without_layers(word: &str) -> Outcome<(&str, usize)> {
    let Some((name, count)) = word.rsplit_once('~') else {
        return Ok((word, 0));
    };
    // A directory may be called so, and no tag is.
    if Path::new(word).is_dir() || count.contains(['/', ':']) {
        return Ok((word, 0));
    }
    match count {
        "" => Ok((name, 1)),
        _ => match count.parse() {
            Ok(count) => Ok((name, count)),
            Err(_) => refuse!("invalid image: {word:?} (behind ~ stands a number of layers)"),
        },
    }
}

/// Reads a path in an image.
pub fn tree_path(word: &str) -> Outcome<TreePath> {
    TreePath::clean(word.as_bytes()).map_err(invalid("path"))
}

/// Returns the failure for a path that an image does not have.
pub fn no_path(path: &TreePath, image: &str) -> Failure {
    Error::new(ErrorKind::NotFound, format!("{image} has no {path}")).into()
}
