// SPDX-License-Identifier: Apache-2.0
//! `umoci squash` and `umoci rebase`: other layers below or instead of those of an image.

use crate::image::{Edit, change, squash};

use super::prelude::*;

/// The image that is changed, and what of it.
#[derive(clap::Args, Debug)]
struct Changed {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    tag: TagArg,
    /// print what would be written, and write nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
}

impl Changed {
    /// Makes the edit where the image stands and writes it, or says what would be written.
    fn apply(&self, verb: &str, ui: &Ui, edit: impl FnMut(&mut Txn<'_>, &Image) -> Outcome<Edit>) -> Outcome {
        let (image, []) = self.change.image.get_word([])?;
        let tag = self.tag.get(&image)?;
        let (store, result) = self.change.open(&image, &tag)?;
        // A rehearsal runs the same code with writers that only measure, so its digests are those of the real run.
        let mut txn = if self.dry_run {
            store.rehearse(verb)
        } else {
            store.begin(verb)?
        };
        let walk = change(&mut txn, &image.target, image.platform.as_ref(), &tag, edit)?;
        if !self.dry_run {
            ui.info(format_args!("updated tag for image manifest: {tag}"));
            return result.say_walk(&walk, ui);
        }
        let blobs = txn.rehearsed();
        if result.is_on_stdout() {
            let made = result.made(&walk);
            return result.write(&made, &json!({ "images": made, "blobs": blobs }), ui);
        }
        let written = blobs.iter();
        let written = written.map(|blob| format!("write {} {} {}", blob.digest, blob.size, blob.media_type));
        let tagged = walk.first().map(|first| format!("tag {tag} {}", first.digest));
        ui.print(line_each(written.chain(tagged)))
    }
}

/// merges layers of an image into one
///
/// Makes one layer of all of an image, or of those from --from upward. What upper layers replace or remove is left out; the
/// tree stays the same. The new step of the history tells in its comment what made the layers, and has the time of the last
/// of them; steps that made no layer stay. --dry-run prints the blobs that would be written and what the tag would point at.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<image-path>[:<tag>] [--from <layer>] [--tag <new-tag>]",
    mut_arg("history_created", |arg| arg.help("created time for the history entry (RFC 3339, default: that of the last merged layer)")),
)]
pub struct Squash {
    /// lowest layer to merge: its number from 1, the lowest, or its digest
    #[arg(long, value_name = "number|digest")]
    from: Option<LayerName>,
    #[command(flatten)]
    compress: CompressArg,
    #[command(flatten)]
    history: HistoryArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    changed: Changed,
}

impl Squash {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let limits = self.limits.get()?;
        self.changed.apply("squash", ui, |txn, base| {
            let from = self.from.as_ref().map_or(Ok(0), |name| name.find(base))?;
            let mut edit = Edit::new(base);
            let count = edit.manifest.layers.len();
            if count < from + 2 {
                ui.done(format_args!(
                    "there is nothing to merge: the image has {count} layers"
                ));
                return Ok(edit);
            }
            // The time of what is merged, not the present one: the same image gives the same result, and what was rehearsed.
            let mut steps = edit.config.history.iter().rev().filter(|step| !step.empty_layer);
            let time = steps.find_map(|step| step.created.clone());
            let time = time.or_else(|| edit.config.created.clone());
            let history = self.history.get_at("umoci squash", &edit.config.author, time)?;
            let compression = self.compress.wanted.unwrap_or_else(|| edit.auto_compression());
            let layer = squash(txn, base, from, compression, &limits, ui)?;
            self.history.warn_if_none(ui);
            edit.merge_layers(from, layer, history);
            Ok(edit)
        })
    }
}

/// puts an image on another base
///
/// Replaces the lowest layers of an image, which must be those of the image --old, by those of the image --new, and their
/// steps in the history. What is above stays, and so does the configuration. The bases are tags or digests of the same
/// layout. --dry-run prints the blobs that would be written and what the tag would point at.
#[derive(clap::Args, Debug)]
#[command(override_usage = "<image-path>[:<tag>] --old <base> --new <base> [--tag <new-tag>]")]
pub struct Rebase {
    /// image that this one was built on
    #[arg(long, value_name = "base")]
    old: String,
    /// image to put it on
    #[arg(long, value_name = "base")]
    new: String,
    #[command(flatten)]
    changed: Changed,
}

impl Rebase {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.changed.apply("rebase", ui, |txn, base| {
            let mut edit = Edit::new(base);
            // A base of several platforms is meant for that of the image.
            let own = edit.config.platform();
            let own = (!own.os.is_empty() && !own.architecture.is_empty()).then_some(&own);
            let old = base_image(txn.store(), &self.old, "--old", own)?;
            let new = base_image(txn.store(), &self.new, "--new", own)?;
            if !edit.rebase(&old, &new)? {
                let text = "the image stands on the new base already: nothing to do";
                ui.done(format_args!("{text}"));
            }
            Ok(edit)
        })
    }
}

/// Loads the image that an option names by a tag or digest, perhaps with the path of this layout before it.
fn base_image(store: &Store, word: &str, option: &str, platform: Option<&Platform>) -> Outcome<Image> {
    let found = match Near::parse(word, store) {
        Ok(Near::Own(target)) => Image::find(store, &target, platform),
        // An image that is not found gets the context below; a word that is no image gets the way to bring one.
        Err(Failure::Error(err)) => Err(err),
        Ok(Near::Other(_)) | Err(_) => fail!(
            Invalid,
            "{option}: {word} is no image of this layout: umoci import brings it here"
        ),
    };
    Ok(found.context(|| option)?)
}
