// SPDX-License-Identifier: Apache-2.0
//! `umoci import`

use crate::transfer::{Request, Source, StoreSink, ToOci, copy};

use super::location::{ArchiveRef, Location, check_layout, open_other};
use super::prelude::*;
use super::registry::pull::PullJob;
use super::result::{Made, Results};
use super::selection::Selection;

/// copies images from another OCI layout or an archive into this one
///
/// Copies an image, or all tagged images when no tag is named, with everything that it needs and this layout does not
/// have. Every digest is verified. Tags that exist are replaced. An import that was interrupted leaves no tag, and its
/// rerun goes on where it stopped.
///
/// The source is a layout, <dir>[:<tag>|@<digest>] or oci:<dir>[:<tag>|@<digest>], or an archive, compressed or not:
/// oci-archive:<file>[:<tag>|:@<number>] or docker-archive:<file>[:<name>|:@<number>]; @0 is the first image. Stdin is the file -. An image of a registry is docker://<name>, as for umoci pull.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--layout <image-path> <source>",
    mut_arg("platform", |arg| arg.help("which image to take of those that a name leads to, such as linux/arm64 (default: all of them)"))
)]
pub struct Import {
    #[command(flatten)]
    copy: CopyArgs,
    /// name of the image in this layout (default: its name in the source)
    #[arg(long, value_name = "tag", value_parser = RefName::parse_new)]
    tag: Option<RefName>,
    #[command(flatten)]
    limits: LimitArgs,
    /// change no tag that exists: nothing is imported if any would be replaced by another image
    #[arg(long = "no-clobber")]
    no_clobber: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Import {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [from] = self.copy.layout.words(["source"])?;
        let place = Location::parse(from, "source")?;
        let limits = self.limits.get()?;
        let result = self.copy.result.open()?;
        match place {
            Location::Layout(path, target) => {
                check_layout(&path)?;
                let from = open_other(&path)?;
                // Held to the end: umoci gc of another process must not remove a blob before it is copied.
                let _reading = from.reading();
                let selection = match target {
                    None => self.all(&from, &path.display().to_string(), "@DIGEST", ui)?,
                    Some(target) => {
                        let Some(name) = self.tag.clone().or_else(|| target.name().cloned()) else {
                            refuse!("an image named by its digest needs a --tag");
                        };
                        Request::find(&from, &target, self.copy.platform.get(), Some(name))?.into()
                    }
                };
                let into = self.copy.layout.open()?;
                self.copy(&from, selection, true, &into, (result, ui))
            }
            Location::Archive(archive) => {
                // The layout comes first: an archive on stdin is spooled into it.
                let into = self.copy.layout.open()?;
                let source = archive.open(&limits, into.layout())?;
                let selection = match &archive.name {
                    None => self.all(&*source, &archive.to_string(), ":@N", ui)?,
                    Some(name) => self.one(&*source, &archive, name)?.into(),
                };
                // A Docker archive has no place for referrers.
                self.copy(&*source, selection, !archive.docker, &into, (result, ui))
            }
            Location::Registry(repository, image) => {
                let pull = PullJob {
                    copy: &self.copy,
                    tag: self.tag.as_ref(),
                    tags: &TagsArgs::default(),
                    no_clobber: self.no_clobber,
                };
                pull.run(&self.registry.session()?, &repository, image, result, ui)
            }
        }
    }

    /// Returns all images of a source, or its only one by another name.
    fn all(&self, source: &dyn Source, label: &str, suffix: &str, ui: &Ui) -> Outcome<Selection> {
        let choosing = format!("take one as {label}{suffix} with --tag NAME");
        let words = ("give it one with --tag", choosing.as_str());
        let gets_name = self.tag.is_some();
        let mut selection = Selection::all(source, self.copy.platform.get(), gets_name, label, words, ui)?;
        match (selection.images.as_mut_slice(), &self.tag) {
            (_, None) => {}
            ([only], tag) => only.name.clone_from(tag),
            (several, _) => {
                let n = several.len();
                refuse!("--tag names one image, and {label} has {n}: say which, as {label}:TAG");
            }
        }
        Ok(selection)
    }

    /// Returns the image of an archive that was asked for by its name there.
    fn one(&self, source: &dyn Source, archive: &ArchiveRef, name: &str) -> Outcome<Request> {
        let (own, value) = archive.find(source, name)?;
        let name = match (self.tag.clone(), own) {
            (Some(tag), _) => Some(tag),
            (None, Some(own)) => match RefName::parse_new(&own) {
                Ok(own) => Some(own),
                Err(err) => refuse!("{err}: give it another name with --tag"),
            },
            (None, None) => refuse!("the image {name} in {archive} has no name: give it one with --tag"),
        };
        let request = Request { name, value };
        // Without --platform an index is copied whole, not for this machine alone.
        Ok(match self.copy.platform.get() {
            None => request,
            platform => request.for_platform(source, platform)?,
        })
    }

    fn copy(
        &self,
        source: &dyn Source,
        selection: Selection,
        may_have_referrers: bool,
        into: &Store,
        (result, ui): (Results, &Ui),
    ) -> Outcome {
        let mut converted = self.copy.is_to_oci().then(|| ToOci::new(source));
        let with_referrers = may_have_referrers && self.copy.has_referrers();
        let (images, along) = selection.settled(source, converted.as_mut(), with_referrers, ui)?;
        let source = converted.as_ref().map_or(source, |converted| converted);
        let mut sink = StoreSink::new(into, "import")?;
        // Before the copy, so that nothing is copied in vain; `commit` looks again.
        if self.no_clobber {
            sink.keep_names(&images)?;
        }
        let report = copy(source, &sink, images.iter().chain(&along), ui)?;
        let replaced = sink.commit(&images, &along, ui)?;
        let made = Made::by_requests(&images);
        result.say_copy("imported", &made, Some(&report), &replaced, ui)
    }
}
