// SPDX-License-Identifier: Apache-2.0
//! An image or index changed where it stands, also while others change it: nobody's change is lost.

use super::{Edit, Image, NewLayer, Target};
use crate::error::{Error, ErrorKind};
use crate::spec::{Compression, Descriptor, History, Platform, REF_NAME, RefName};
use crate::store::Txn;

/// Each time that somebody else was first a change is made again; so often, at most.
const MAX_ATTEMPTS: usize = 1000;

/// Changes the image that `target` leads to for `platform`, points `tag` at the result, and commits. Returns the way from the
/// tag to the new manifest.
///
/// `edit` makes the change. Where the image is found by `tag` itself, or by the digest of one of its entries, the result takes
/// the place of that entry. If another process changes it meanwhile, `edit` is called again, with the image that is there then.
///
/// # Errors
/// Those of `edit`, of [`Image::find`] and of [`Edit::apply`]; [`ErrorKind::Conflict`] if others change the tag all the time.
pub fn change<E: From<Error>>(
    txn: &mut Txn<'_>,
    target: &Target,
    platform: Option<&Platform>,
    tag: &RefName,
    mut edit: impl FnMut(&mut Txn<'_>, &Image) -> std::result::Result<Edit, E>,
) -> std::result::Result<Vec<Descriptor>, E> {
    retry_on_conflict(txn, |txn| {
        let mut image = Image::find(txn.store(), target, platform)?;
        if let Some(root) = image.walk.first_mut()
            && !is_called(root, target)
        {
            let there = txn.store().lookup(tag)?;
            match there.entries().iter().find(|entry| entry.digest == root.digest) {
                Some(own) => root.clone_from(own),
                // An image of the past replaces all entries that are there.
                None => drop(root.annotations.remove(REF_NAME)),
            }
        }
        let edit = edit(txn, &image)?;
        Ok(edit.apply(txn, tag)?)
    })
}

/// Returns whether an entry has the name by which it was asked for.
fn is_called(entry: &Descriptor, target: &Target) -> bool {
    matches!(target, Target::Name(name) if entry.ref_name() == Some(name.as_str()))
}

/// Adds a layer on top of an image, as [`change`] changes it.
///
/// `make` writes the layer in this compression, or that of the image for `None`; it is called once, whatever becomes of the
/// tag meanwhile. `history` gets the author of the image and returns the step, or `None` for no step.
///
/// # Errors
/// Those of `make`, of `history`, and of [`change`].
pub fn add_layer<E: From<Error>>(
    txn: &mut Txn<'_>,
    (target, platform): (&Target, Option<&Platform>),
    tag: &RefName,
    compression: Option<Compression>,
    make: impl FnOnce(&mut Txn<'_>, Compression) -> std::result::Result<NewLayer, E>,
    history: impl Fn(&str) -> std::result::Result<Option<History>, E>,
) -> std::result::Result<Vec<Descriptor>, E> {
    let base = Edit::new(&Image::find(txn.store(), target, platform)?);
    // A fault of the history is found before the work.
    history(&base.config.author)?;
    let layer = make(txn, compression.unwrap_or_else(|| base.auto_compression()))?;
    change(txn, target, platform, tag, |_, image| {
        let mut edit = Edit::new(image);
        let history = history(&edit.config.author)?;
        edit.add_layer(layer.clone(), history);
        Ok(edit)
    })
}

/// Prepares what is to become of refs and commits it, again and again until nobody else was first.
///
/// # Errors
/// Those of `prepare`, and of [`Txn::attempt`].
pub(crate) fn retry_on_conflict<'s, T, E: From<Error>>(
    txn: &mut Txn<'s>,
    mut prepare: impl FnMut(&mut Txn<'s>) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let mut attempts = 1;
    loop {
        let out = prepare(txn)?;
        // Only a lost race is worth another attempt: any other error would come back.
        match txn.attempt() {
            Err(err) if err.kind() == ErrorKind::Conflict && attempts < MAX_ATTEMPTS => attempts += 1,
            Err(err) => return Err(err.into()),
            Ok(()) => return Ok(out),
        }
    }
}
