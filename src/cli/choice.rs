// SPDX-License-Identifier: Apache-2.0
//! Which images of a source `umoci import` and `umoci export` copy, and what comes along.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::progress::{Monitor, Silent};
use crate::spec::{Platform, RefName};
use crate::transfer::{Catalog, Request, Source, SourceEntry, ToOci, referrers};

use super::failure::Outcome;
use super::table::counted;
use super::ui::Ui;

/// What is to be copied.
#[derive(Debug, Default)]
pub struct Choice {
    /// The images that are asked for.
    pub images: Vec<Request>,
    /// The entries of the source, if all of it is copied.
    pub catalog: Option<Catalog>,
}

/// Maximum number of entries that a message names.
const MAX_NAMED: usize = 8;

/// Returns the labels of entries as a list; of many the first ones.
fn labels<'a>(listed: impl ExactSizeIterator<Item = &'a SourceEntry>) -> String {
    let more = listed.len().saturating_sub(MAX_NAMED);
    let mut labels: Vec<String> = listed.take(MAX_NAMED).map(SourceEntry::label).collect();
    labels.extend((more > 0).then(|| format!("and {more} more")));
    labels.join(", ")
}

impl From<Request> for Choice {
    fn from(image: Request) -> Self {
        let (images, catalog) = (vec![image], None);
        Self { images, catalog }
    }
}

impl Choice {
    /// Returns all images of a source that have a name, or its only one if that has none and gets one; of indexes the image for
    /// `platform` alone if there is one.
    ///
    /// Messages call the source `from`; `naming` is what gives a name to an image without one, and `choosing` what takes one of
    /// several such images.
    pub fn all(
        source: &dyn Source,
        platform: Option<&Platform>,
        gets_name: bool,
        from: &str,
        (naming, choosing): (&str, &str),
        ui: &Ui,
    ) -> Outcome<Self> {
        let mut catalog = Catalog::of(source, ui)?;
        match (catalog.named.len(), catalog.unnamed.as_slice()) {
            (0, []) => fail!(NotFound, "there is no image in {from}"),
            (0, [one]) if gets_name => catalog.named.push(Request::unnamed(source.descriptor(one)?)),
            (0, [one]) => match one.name() {
                None => refuse!("the image in {from} has no name: {naming}"),
                Some(name) => {
                    refuse!("the image in {from} has the name {name:?}, which no tag may have: {naming}")
                }
            },
            (0, several) => {
                let named = several.iter().any(|listed| listed.name().is_some());
                let names = if named {
                    "names that a tag may have"
                } else {
                    "names"
                };
                let labels = labels(several.iter());
                refuse!(
                    "the {} images in {from} have no {names}: {labels}; {choosing}",
                    several.len()
                );
            }
            (_, some) => {
                let all = some.iter().chain(&catalog.renamed);
                let (odd, unnamed): (Vec<&SourceEntry>, Vec<_>) =
                    all.partition(|listed| listed.name().is_some());
                let images = counted(unnamed.len() as u64, "image");
                let entries = match odd.len() {
                    1 => format!("1 entry of {from} whose name"),
                    n => format!("{n} entries of {from} whose names"),
                };
                for (found, what) in [
                    (unnamed, format!("{images} without a name in {from}")),
                    (odd, format!("{entries} no tag may have")),
                ] {
                    if !found.is_empty() {
                        let labels = labels(found.into_iter());
                        ui.left_out(format_args!("left out {what}: {labels}; {choosing}"));
                    }
                }
            }
        }
        match catalog.others.len() {
            0 => {}
            1 => ui.left_out(format_args!(
                "left out 1 entry of {from} that has no name and is no image"
            )),
            n => ui.left_out(format_args!(
                "left out {n} entries of {from} that have no names and are no images"
            )),
        }
        let images = match platform {
            Some(_) => for_platform(&catalog.named, source, platform)?,
            None => std::mem::take(&mut catalog.named),
        };
        let catalog = Some(catalog);
        Ok(Self { images, catalog })
    }

    /// Adds images. A name that is there already gets their entries too.
    pub fn add(&mut self, request: Request) {
        let mut known = self.images.iter_mut();
        match known.find(|known| known.name.is_some() && known.name == request.name) {
            Some(known) => {
                let entries = known.value.entries().iter().cloned();
                known.value = entries.chain(request.value).collect();
            }
            None => self.images.push(request),
        }
    }

    /// Gives `name` to the only image.
    ///
    /// # Errors
    /// How many there are, if there is not just one.
    pub fn call(&mut self, name: &RefName) -> std::result::Result<(), usize> {
        match self.images.as_mut_slice() {
            [only] => only.name = Some(name.clone()),
            images => return Err(images.len()),
        }
        Ok(())
    }

    /// Returns the images, and what comes along if that is wanted; converted if that is wanted.
    pub fn settled(
        self,
        source: &dyn Source,
        mut converted: Option<&mut ToOci<'_>>,
        with_referrers: bool,
        ui: &Ui,
    ) -> Outcome<(Vec<Request>, Vec<Request>)> {
        let Self { mut images, catalog } = self;
        let mut along = Vec::new();
        if with_referrers {
            let is_whole = catalog.is_some();
            let catalog = catalog.map_or_else(|| Catalog::of(source, &Silent), Ok)?;
            let mut is_changed = |descriptor: &_| match &mut converted {
                Some(converted) => converted.changes(descriptor),
                None => Ok(false),
            };
            along = referrers(source, &catalog, &images, is_whole, &mut is_changed, ui)?;
            if is_whole && converted.is_none() {
                let mut left: HashSet<Digest> = catalog.attached.iter().map(|(_, one)| one.digest).collect();
                for digest in images.iter().chain(&along).flat_map(|one| one.value.digests()) {
                    left.remove(&digest);
                }
                if !left.is_empty() {
                    let artifacts = counted(left.len() as u64, "artifact");
                    ui.left_out(format_args!(
                        "left out {artifacts} attached to images that are not copied"
                    ));
                }
            }
        }
        if let Some(converted) = converted {
            for request in images.iter_mut().chain(&mut along) {
                *request = converted.convert(request.clone())?;
            }
        }
        Ok((images, along))
    }
}

/// Returns the requests for the images for `platform` alone.
pub fn for_platform(
    requests: &[Request],
    source: &dyn Source,
    platform: Option<&Platform>,
) -> Outcome<Vec<Request>> {
    let mut out = Vec::new();
    for request in requests {
        out.push(request.for_platform(source, platform)?);
    }
    Ok(out)
}
