// SPDX-License-Identifier: Apache-2.0
//! The images of a source that `umoci import` and `umoci export` copy, and the referrers that come along.

use std::collections::HashSet;

use crate::digest::Digest;
use crate::error::shortlist;
use crate::image::Target;
use crate::progress::{Monitor, Silent};
use crate::spec::{Platform, RefName};
use crate::store::Store;
use crate::transfer::{Catalog, Request, Source, SourceEntry, ToOci, referrers};

use super::failure::{Failure, Outcome};
use super::location::ArchiveRef;
use super::table::counted;
use super::ui::Ui;

/// Images that are to be copied.
#[derive(Debug, Default)]
pub struct Selection {
    /// The images that are asked for.
    pub images: Vec<Request>,
    /// The entries of the source, if all of it is copied.
    pub catalog: Option<Catalog>,
}

impl From<Request> for Selection {
    fn from(image: Request) -> Self {
        let (images, catalog) = (vec![image], None);
        Self { images, catalog }
    }
}

impl Selection {
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
        match (catalog.named.is_empty(), catalog.unnamed.as_slice()) {
            (true, []) => fail!(NotFound, "there is no image in {from}"),
            (true, [one]) if gets_name => catalog.named.push(Request::unnamed(source.descriptor(one)?)),
            (true, unnamed) => return Err(nameless(unnamed, from, naming, choosing)),
            (false, _) => tell_nameless(&catalog, from, choosing, ui),
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
        // A sink would take two requests of one name for one after the other, and the second would replace the first.
        match known.find(|known| known.name.is_some() && known.name == request.name) {
            Some(known) => {
                let entries = known.value.entries().iter().cloned();
                known.value = entries.chain(request.value).collect();
            }
            None => self.images.push(request),
        }
    }

    /// Returns the images, and their referrers if these are wanted; converted if that is wanted.
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
            // The images were named one by one: entries that are left out are no news then.
            let catalog = catalog.map_or_else(|| Catalog::of(source, &Silent), Ok)?;
            let changing = converted.as_deref_mut();
            along = referrers(source, &catalog, &images, is_whole, changing, ui)?;
            // Of single images nobody expects the referrers of others, and a conversion has told its own.
            if is_whole && converted.is_none() {
                tell_left_behind(&catalog, images.iter().chain(&along), ui);
            }
        }
        // After the referrers were found, by the digests that the source has.
        if let Some(converted) = converted {
            for request in images.iter_mut().chain(&mut along) {
                *request = converted.convert(request.clone())?;
            }
        }
        Ok((images, along))
    }
}

/// How the images of a source are named where they are copied to.
#[derive(Clone, Copy)]
pub struct Naming<'a> {
    /// The name of the only image, if one is given.
    pub name: Option<&'a RefName>,
    pub platform: Option<&'a Platform>,
    /// The option or operand that has the name, for messages; how it gives one, and how it does so to one of several.
    pub option: &'a str,
    pub how: &'a str,
    pub choice: &'a str,
}

impl Naming<'_> {
    /// Returns an image of a layout, or all of them if none is named.
    pub fn of_layout(&self, from: &Store, target: Option<Target>, ui: &Ui) -> Outcome<Selection> {
        let Some(target) = target else {
            return self.all(from, &from.layout().path().display().to_string(), "@DIGEST", ui);
        };
        let Some(name) = self.name.or_else(|| target.name()).cloned() else {
            refuse!(
                "an image named by its digest needs a name: give it one {}",
                self.how
            );
        };
        Ok(Request::find(from, &target, self.platform, Some(name))?.into())
    }

    /// Returns an image of an archive, or all of them if none is named.
    pub fn of_archive(&self, source: &dyn Source, archive: &ArchiveRef, ui: &Ui) -> Outcome<Selection> {
        match &archive.name {
            None => self.all(source, &archive.to_string(), ":@N", ui),
            Some(name) => Ok(self.one(source, archive, name)?.into()),
        }
    }

    /// Returns all images of a source, or its only one by another name.
    fn all(&self, source: &dyn Source, label: &str, suffix: &str, ui: &Ui) -> Outcome<Selection> {
        let choosing = format!("take one as {label}{suffix} {}", self.choice);
        let naming = format!("give it one {}", self.how);
        let words = (naming.as_str(), choosing.as_str());
        let gets_name = self.name.is_some();
        let mut selection = Selection::all(source, self.platform, gets_name, label, words, ui)?;
        match (selection.images.as_mut_slice(), self.name) {
            (_, None) => {}
            ([only], tag) => only.name = tag.cloned(),
            (several, _) => {
                let (n, option) = (several.len(), self.option);
                refuse!("{option} names one image, and {label} has {n}: say which, as {label}:TAG");
            }
        }
        Ok(selection)
    }

    /// Returns the image of an archive that was asked for by its name there.
    fn one(&self, source: &dyn Source, archive: &ArchiveRef, name: &str) -> Outcome<Request> {
        let (own, value) = archive.find(source, name)?;
        let name = match (self.name.cloned(), own) {
            (Some(tag), _) => Some(tag),
            (None, Some(own)) => match RefName::parse_new(&own) {
                Ok(own) => Some(own),
                Err(err) => refuse!("{err}: give it another name {}", self.how),
            },
            (None, None) => {
                refuse!(
                    "the image {name} in {archive} has no name: give it one {}",
                    self.how
                )
            }
        };
        let request = Request { name, value };
        // Without --platform an index is copied whole, not for this machine alone.
        Ok(match self.platform {
            None => request,
            platform => request.for_platform(source, platform)?,
        })
    }
}

/// Returns the failure for a source none of whose images has a name that a tag may have.
fn nameless(unnamed: &[SourceEntry], from: &str, naming: &str, choosing: &str) -> Failure {
    Failure::Arguments(match (unnamed, unnamed.iter().find_map(SourceEntry::name)) {
        ([_], None) => format!("the image in {from} has no name: {naming}"),
        ([_], Some(name)) => {
            format!("the image in {from} has the name {name:?}, which no tag may have: {naming}")
        }
        (_, name) => {
            let n = unnamed.len();
            let names = name.map_or("names", |_| "names that a tag may have");
            let labels = shortlist(unnamed.iter().map(SourceEntry::label));
            format!("the {n} images in {from} have no {names}: {labels}; {choosing}")
        }
    })
}

/// Names the entries that are left out because they have no name, or one that no tag may have.
fn tell_nameless(catalog: &Catalog, from: &str, choosing: &str, ui: &Ui) {
    let all = catalog.unnamed.iter().chain(&catalog.renamed);
    let (odd, unnamed): (Vec<&SourceEntry>, Vec<_>) = all.partition(|listed| listed.name().is_some());
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
            let labels = shortlist(found.into_iter().map(SourceEntry::label));
            ui.left_out(format_args!("left out {what}: {labels}; {choosing}"));
        }
    }
}

/// Says how many referrers in the source are not among those that are copied.
fn tell_left_behind<'a>(catalog: &Catalog, copied: impl Iterator<Item = &'a Request>, ui: &Ui) {
    let mut left: HashSet<Digest> = catalog.attached.iter().map(|(_, one)| one.digest).collect();
    for digest in copied.flat_map(|one| one.value.digests()) {
        left.remove(&digest);
    }
    tell_artifacts(&left, "images that are not copied", ui);
}

/// Says how many artifacts are left out, if there are any.
pub fn tell_artifacts(left_out: &HashSet<Digest>, attached_to: &str, ui: &Ui) {
    if !left_out.is_empty() {
        let artifacts = counted(left_out.len() as u64, "artifact");
        ui.left_out(format_args!("left out {artifacts} attached to {attached_to}"));
    }
}

/// Returns the requests for the images for `platform` alone.
pub fn for_platform(
    requests: &[Request],
    source: &dyn Source,
    platform: Option<&Platform>,
) -> Outcome<Vec<Request>> {
    let requests = requests.iter();
    let chosen = requests.map(|request| request.for_platform(source, platform));
    Ok(chosen.collect::<Result<_, _>>()?)
}
