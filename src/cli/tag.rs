// SPDX-License-Identifier: Apache-2.0
//! `umoci tag`

use crate::image::{resolve, resolve_one, resolve_whole};

use super::prelude::*;

/// creates a new tag in an OCI image
///
/// Creates a new tag that points at what the tag (or digest) of --image points at, all of it where that has an entry for each
/// platform. An existing tag is replaced, all of it: with --platform a tag that is given its own name has that platform alone then.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--image <image-path>[:<tag>] <new-tag>",
    mut_arg("platform", |arg| arg.help("which image to tag of those that the name leads to, such as linux/arm64 (default: all of them)")),
)]
pub struct Tag {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    result: ResultArgs,
}

impl Tag {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.image.get()?;
        let [new] = self.image.words(["new tag"])?;
        let new = RefName::parse_new(new)
            .map_err(|e: Error| Failure::Arguments(format!("new tag is an invalid reference: {e}")))?;
        let store = self.image.open(&image)?;
        let result = self.result.open_for(&store, &new)?;
        // One image is named itself, also behind an index; several are named by their indexes, or entries.
        let mut dropped = Vec::new();
        let value: RefValue = if image.platform.is_some() {
            let chosen = resolve_one(&store, &image.target, image.platform.as_ref())?.into_last();
            if image.target == Target::Name(new.clone()) {
                dropped = other_platforms(&store, &image.target, &chosen)?;
            }
            chosen.into()
        } else {
            resolve_whole(&store, &image.target)?;
            let mut found = resolve(&store, &image.target)?;
            match (found.paths.pop(), found.paths.is_empty()) {
                (Some(only), true) => only.into_last().into(),
                _ => found.roots,
            }
        };
        // Commands that take an image want both, this one takes the tag alone; a colon is allowed in tags.
        if let Some((layout, tag)) = new.as_str().split_once(':')
            && Path::new(layout) == image.layout
            && !image.target.to_string().starts_with(&format!("{layout}:"))
        {
            ui.warn(format_args!(
                "the new tag is called {new}, with the name of the layout: write {tag} for {tag:?}"
            ));
        }
        store.set_ref(&new, value.clone())?;
        if !dropped.is_empty() {
            ui.warn(format_args!("{new} has {} no more", dropped.join(", ")));
        }
        let old = image.target.to_string();
        ui.info(format_args!("created new tag: {:?} -> {old:?}", new.as_str()));
        result.say_value(&value, ui)
    }
}

/// Returns the platforms of the images of `target` other than `chosen`.
fn other_platforms(store: &Store, target: &Target, chosen: &Descriptor) -> Outcome<Vec<String>> {
    let images = resolve(store, target)?.paths;
    let others = images.iter().filter(|path| path.last().digest != chosen.digest);
    let platforms = others.filter_map(|path| store.platform(path.last()));
    // Attestations of a builder stand beside images under an unknown platform, and nobody misses them by that name.
    let known = platforms.filter(|platform| !platform.is_unknown());
    Ok(known.map(|platform| platform.to_string()).collect())
}
