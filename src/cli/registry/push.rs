// SPDX-License-Identifier: Apache-2.0
//! `umoci push`

use crate::error::shortlist;
use crate::registry::{Reference, Registry, RegistrySink, RepositoryName};
use crate::store::{Store, is_referrers_tag};
use crate::transfer::{CopyReport, Request, Source, ToOci};

use super::super::args::{ImageRef, layout_path};
use super::super::prelude::*;
use super::super::result::Made;
use super::super::selection::Selection;
use super::show_warnings;
use super::wanted::show_plan;

/// copies images from a layout to a registry
///
/// The image gets the tag that the destination names, or else the tag that it has in the layout. Every digest stays, and
/// what the registry has is not sent. What is attached to the image goes along.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--image <image-path>[:<tag>] <destination>",
    mut_arg("platform", |arg| arg.help("only the image for this platform, such as linux/arm64 (default: all)"))
)]
pub struct Push {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest'
    #[arg(long, value_parser = ImageRef::parse, conflicts_with = "layout")]
    image: Option<ImageRef>,
    /// path to an OCI layout, of which --all-tags or --filter are pushed
    #[arg(long, value_parser = layout_path)]
    layout: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    platform: PlatformArg,
    /// media types of the images: keep (as they are) or oci (Docker's become OCI's)
    #[arg(long, value_name = "format", default_value = "keep", value_parser = ["keep", "oci"])]
    format: String,
    /// copy what is attached to the images too: yes or no
    #[arg(long, value_name = "yes|no", default_value = "yes", value_parser = ["yes", "no"])]
    referrers: String,
    #[command(flatten)]
    tags: TagsArgs,
    /// change no tag that exists in the registry: nothing is pushed if any would be replaced by another image
    #[arg(long = "no-clobber")]
    no_clobber: bool,
    #[command(flatten)]
    result: ResultArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Push {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if let ([image, to], None) = (self.rest.as_slice(), &self.image) {
            refuse!("name the image by an option: --image {image} {to}");
        }
        let [text] = positionals(&self.rest, ["destination"])?;
        let layout = self
            .image
            .as_ref()
            .map(|image| &image.layout)
            .or(self.layout.as_ref());
        let text = &expand(text, layout.map_or(Path::new("."), PathBuf::as_path), ui)?;
        let (repository, image) = Reference::parse_open(text).map_err(invalid::<Error>("destination"))?;
        if image.as_ref().is_some_and(|image| image.digest().is_some()) {
            refuse!("invalid destination: give a tag; the digest is that of the image");
        }
        self.push(&self.registry.session()?, &repository, image.as_ref(), ui)
    }

    fn push(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        to: Option<&Reference>,
        ui: &Ui,
    ) -> Outcome {
        let result = self.result.open()?;
        let (store, images) = match (&self.image, &self.layout) {
            (Some(image), _) if !self.tags.is_many() => {
                let store = self.lock.open(&image.layout)?;
                let request = self.one(&store, image, to)?;
                (store, vec![request])
            }
            (None, Some(layout)) if self.tags.is_many() => {
                if to.is_some() {
                    refuse!("--all-tags and --filter push under the tags of the layout: name no tag");
                }
                let store = self.lock.open(layout)?;
                let images = self.many(&store, repository, ui)?;
                (store, images)
            }
            (None, None) => return Err(Failure::Missing("--image".to_owned())),
            _ => refuse!("give --image with one image, or --layout with --all-tags or --filter"),
        };
        // Held to the end: umoci gc of another process must not remove a blob before it is sent.
        let _reading = store.reading();
        let catalog = None;
        let mut converted = (self.format == "oci").then(|| ToOci::new(&store));
        let selection = Selection { images, catalog };
        let (images, along) = selection.settled(&store, converted.as_mut(), self.referrers == "yes", ui)?;
        let source: &dyn Source = converted.as_ref().map_or(&store as _, |converted| converted as _);
        let made = Made::by_requests(&images);
        let job = PushJob {
            registry,
            sink: registry.sink(repository)?,
            repository,
            dry_run: self.tags.dry_run,
            no_clobber: self.no_clobber,
        };
        match job.run(source, images, &along, ui)? {
            (None, _) => Ok(()),
            (report, replaced) => result.say_copy("pushed", &made, report.as_ref(), &replaced, ui),
        }
    }

    /// Returns the image by the tag that it gets.
    fn one(&self, store: &Store, image: &ImageRef, to: Option<&Reference>) -> Outcome<Request> {
        let name = match (to.and_then(Reference::tag), &image.target) {
            (Some(tag), _) => tag.parse::<RefName>()?,
            (None, Target::Name(name)) => name.clone(),
            (None, _) => refuse!("invalid destination: an image named by its digest needs a tag there"),
        };
        let platform = image.platform.as_ref().or_else(|| self.platform.get());
        Ok(Request::find(store, &image.target, platform, Some(name))?)
    }

    /// Returns the images of the layout that are wanted, under their tags. A tag that no registry takes is left out and named.
    fn many(&self, store: &Store, repository: &RepositoryName, ui: &Ui) -> Outcome<Vec<Request>> {
        let mut out = Vec::new();
        for name in store.names()? {
            let Ok(name) = name.parse::<RefName>() else {
                continue;
            };
            if !self.tags.has(name.as_str()) || is_referrers_tag(&name) {
                continue;
            }
            let target = Target::Name(name.clone());
            let found = Request::find(store, &target, self.platform.get(), Some(name))?;
            match repository.takes(&found) {
                Ok(()) => out.push(found),
                Err(err) => ui.left_out(format_args!("left out: {err}")),
            }
        }
        if out.is_empty() {
            fail!(NotFound, "no tag of {} matches", store.layout().path().display());
        }
        Ok(out)
    }
}

/// A push, as `umoci push`, `umoci export` and `umoci copy` ask for it.
pub struct PushJob<'a> {
    pub registry: &'a Registry,
    pub sink: RegistrySink,
    pub repository: &'a RepositoryName,
    pub dry_run: bool,
    pub no_clobber: bool,
}

impl PushJob<'_> {
    /// Copies images to the repository under their names with `along`, their referrers, and shows the warnings of the registry.
    /// Returns the report of the copy, none for a dry run, and the tags that led to something else before.
    pub fn run(
        mut self,
        source: &dyn Source,
        images: Vec<Request>,
        along: &[Request],
        ui: &Ui,
    ) -> Outcome<(Option<CopyReport>, Vec<RefName>)> {
        let done = self.push(source, images, along, ui);
        show_warnings(self.registry, ui);
        done
    }

    fn push(
        &mut self,
        source: &dyn Source,
        images: Vec<Request>,
        along: &[Request],
        ui: &Ui,
    ) -> Outcome<(Option<CopyReport>, Vec<RefName>)> {
        let count = images.len();
        let missing = self.sink.missing(images)?;
        let replaced = self.sink.replaced(&missing);
        if self.no_clobber && !replaced.is_empty() {
            let (repository, names) = (self.repository, shortlist(&replaced));
            fail!(Exists, "tag exists in {repository}: {names}; no tag is changed");
        }
        if self.dry_run {
            show_plan(&missing, count - missing.len(), ui)?;
            return Ok((None, replaced));
        }
        // The referrers of an image that is there may be new.
        let report = self.sink.copy(source, &missing, along, ui)?;
        Ok((Some(report), replaced))
    }
}
