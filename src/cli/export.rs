// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use std::collections::{BTreeMap, HashSet};

use crate::image::resolve;
use crate::spec::Compression;
use crate::transfer::{Request, Source, ToOci};

use super::destination::{Delivery, Name, new_name};
use super::location::{ArchiveRef, Location};
use super::prelude::*;
use super::registry::push::PushJob;
use super::result::Made;
use super::selection::{Selection, for_platform, tell_artifacts};

/// copies images from this layout to another OCI layout or an archive
///
/// Copies tagged images, all of them when no --tag is given, to a layout that is made if it does not exist. A new
/// layout holds just what its tags reach.
///
/// The destination is a layout, <dir>[:<new-tag>] or oci:<dir>[:<new-tag>], or a new archive:
/// oci-archive:<file>[:<new-tag>] or docker-archive:<file>[:<name>[:<tag>]]. Stdout is the file -. An archive that exists is
/// replaced when the new one is whole; a pipe or device is written to as it is. A Docker archive has images for one platform,
/// by names that Docker takes; there a tag like v1 becomes <name of the layout>:v1.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--layout <image-path> <destination>",
    mut_arg("platform", |arg| arg.help("which image to take of those that a name leads to, such as linux/arm64 (default: all of them; for a Docker archive the first for this machine)"))
)]
pub struct Export {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    copy: CopyArgs,
    /// image to export, by tag or digest; may be given more than once (default: all tags)
    #[arg(long, value_name = "tag")]
    tag: Vec<Target>,
    /// compression of an archive: none, gzip or zstd
    #[arg(long, default_value = "none")]
    compress: Compression,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Export {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [to] = self.layout.words(["destination"])?;
        let to = &expand(to, &self.layout.layout, ui)?;
        let place = Location::parse(to, "destination")?;
        let archive = match &place {
            Location::Archive(archive) => Some(archive),
            Location::Layout(..) | Location::Registry(..) => None,
        };
        let docker = archive.is_some_and(|archive| archive.docker);
        if docker && self.copy.must_have_referrers() {
            refuse!("a Docker archive holds no referrers: use oci-archive:, or --referrers no");
        }
        if archive.is_none() && self.compress != Compression::None {
            refuse!("--compress is for an archive, and the destination is none");
        }
        let name = new_name(&place)?;
        let result = self.copy.result.open()?;
        if result.is_on_stdout() && archive.is_some_and(ArchiveRef::is_stdout) {
            refuse!("the archive and the result both go to stdout: write one of them to a file");
        }
        let from = self.layout.open()?;
        // Held to the end: umoci gc of another process must not remove a blob before it is copied.
        let _reading = from.reading();
        let selection = self.select(&from, name.as_ref(), to, ui)?;
        if docker {
            // An export that fails leaves nothing out.
            let chosen = for_platform(&selection.images, &from, self.copy.platform.get())?;
            if self.copy.has_referrers() {
                warn_left_out(&from, selection.images.iter().chain(&chosen), ui);
            }
            warn_platforms(&from, &selection.images, ui)?;
        }
        let mut converted = self.copy.is_to_oci().then(|| ToOci::new(&from));
        let referrers = self.copy.has_referrers() && !docker;
        let (images, along) = selection.settled(&from, converted.as_mut(), referrers, ui)?;
        let source: &dyn Source = converted.as_ref().map_or(&from as _, |converted| converted as _);
        let (made, report, replaced) = if let Location::Registry(repository, _) = &place {
            let registry = self.registry.session()?;
            let job = PushJob {
                registry: &registry,
                sink: registry.sink(repository)?,
                repository,
                dry_run: false,
                no_clobber: false,
            };
            let (report, replaced) = job.run(source, images.clone(), &along, ui)?;
            (Made::by_requests(&images), report, replaced)
        } else {
            let delivery = Delivery {
                source,
                platform: self.copy.platform.get(),
                compress: self.compress,
                home: from.layout().path(),
                no_clobber: false,
                verb: "export",
            };
            delivery.to(&place, name, &images, &along, ui)?
        };
        result.say_copy("exported", &made, report.as_ref(), &replaced, ui)
    }

    /// Returns the images that were asked for, by their names at the destination.
    fn select(&self, from: &Store, name: Option<&Name>, to: &str, ui: &Ui) -> Outcome<Selection> {
        let (platform, gets_name) = (self.copy.platform.get(), name.is_some());
        let mut selection = Selection::default();
        if self.tag.is_empty() {
            let label = from.layout().path().display().to_string();
            let naming = format!("give it one, as {to}:NAME");
            let mut choosing = "take one with --tag DIGEST".to_owned();
            if !gets_name {
                choosing = format!("{choosing}, as {to}:NAME");
            }
            selection = Selection::all(from, platform, gets_name, &label, (&naming, &choosing), ui)?;
        }
        for target in &self.tag {
            // A digest, or a name that no tag may have, is no name to give to the copy.
            let own = target.name().cloned();
            if own.is_none() && !gets_name {
                refuse!("an image named by its digest needs a name: {to}:TAG");
            }
            selection.add(Request::find(from, target, platform, own)?);
        }
        match (selection.images.as_mut_slice(), name) {
            ([only], Some(Name::Tag(name))) => only.name = Some(name.clone()),
            // A Docker archive names the images when it is written.
            (_, None) | ([_], Some(Name::Docker(_))) => {}
            (several, _) => {
                let n = several.len();
                refuse!("{to:?} names one image, and there are {n}: say which with --tag");
            }
        }
        Ok(selection)
    }
}

/// Says how much is attached to images, for which a Docker archive has no place.
fn warn_left_out<'a>(from: &Store, images: impl Iterator<Item = &'a Request>, ui: &Ui) {
    let mut left_out: HashSet<Digest> = HashSet::new();
    for subject in images.flat_map(|image| image.value.digests()) {
        // A damaged list of them is no reason to keep an image that needs none.
        let attached = from.referrers(&subject).unwrap_or_default();
        left_out.extend(attached.iter().map(|one| one.digest));
    }
    tell_artifacts(&left_out, "the images: a Docker archive holds no referrers", ui);
}

/// Says of which images a Docker archive gets one platform of several.
fn warn_platforms(from: &Store, requests: &[Request], ui: &Ui) -> Outcome {
    let mut images: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests {
        let mut count = 0;
        for digest in request.value.digests() {
            let paths = resolve(from, &Target::Digest(digest))?.paths;
            // Attestations of BuildKit are no images for another platform.
            count += paths.iter().filter(|path| !path.is_unknown()).count();
        }
        images.insert(request.label(), count);
    }
    for (name, count) in images.into_iter().filter(|(_, count)| *count > 1) {
        let others = count - 1;
        ui.left_out(format_args!(
            "left out of {name}: {others} of its {count} images, for other platforms; a Docker archive holds one"
        ));
    }
    Ok(())
}
