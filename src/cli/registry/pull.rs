// SPDX-License-Identifier: Apache-2.0
//! `umoci pull`

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::registry::{NETWORK_THREADS, Reference, Registry, RegistrySource, RepositoryName};
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, RefName, RefValue};
use crate::store::{Store, StoreOptions};
use crate::transfer::{Catalog, Request, Source, StoreSink, ToOci, copy, on_threads};

use super::super::prelude::*;
use super::super::result::{Made, Results};
use super::super::selection::{Selection, for_platform};
use super::show_warnings;

/// copies images from a registry into a layout
///
/// The image is named as docker and podman name it: [HOST[:PORT]/]PATH[:TAG][@DIGEST]. It gets the tag that it has there,
/// for all platforms, and every digest stays. The layout is made if there is none. What is there already is not fetched, and
/// a pull that was interrupted goes on where it stopped.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--layout <image-path> <image>",
    mut_arg("platform", |arg| arg.help("only the image for this platform, such as linux/arm64 (default: all)"))
)]
pub struct Pull {
    #[command(flatten)]
    copy: CopyArgs,
    /// name of the image in the layout (default: its tag in the registry)
    #[arg(long, value_name = "tag", value_parser = RefName::parse_new)]
    tag: Option<RefName>,
    #[command(flatten)]
    tags: TagsArgs,
    /// change no tag that exists: nothing is pulled if any would be replaced by another image
    #[arg(long = "no-clobber")]
    no_clobber: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Pull {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [text] = self.copy.layout.words(["image"])?;
        let (repository, image) = Reference::parse_open(text).map_err(invalid::<Error>("image"))?;
        let job = PullJob {
            copy: &self.copy,
            tag: self.tag.as_ref(),
            tags: &self.tags,
            no_clobber: self.no_clobber,
        };
        let result = self.copy.result.open()?;
        job.run(&self.registry.session()?, &repository, image, result, ui)
    }
}

/// A pull, as `umoci pull` and `umoci import` ask for it.
pub struct PullJob<'a> {
    pub copy: &'a CopyArgs,
    pub tag: Option<&'a RefName>,
    pub tags: &'a TagsArgs,
    pub no_clobber: bool,
}

impl PullJob<'_> {
    /// Copies an image of a repository, or all that are wanted, and shows the warnings of the registry.
    pub fn run(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        image: Option<Reference>,
        result: Results,
        ui: &Ui,
    ) -> Outcome {
        let done = self.pull(registry, repository, image, result, ui);
        show_warnings(registry, ui);
        done
    }

    fn pull(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        image: Option<Reference>,
        result: Results,
        ui: &Ui,
    ) -> Outcome {
        let wanted = if self.tags.is_many() {
            if image.is_some() || self.tag.is_some() {
                refuse!("--all-tags and --filter take all images of {repository}: name no tag");
            }
            self.many(registry, repository, ui)?
        } else {
            let image = image.map_or_else(|| repository.with_tag("latest"), Ok)?;
            vec![self.one(&image)?]
        };
        let path = &self.copy.layout.layout;
        let there = crate::fs::exists(path)?
            .then(|| self.copy.layout.open())
            .transpose()?;
        let source = registry.source(repository, there.as_ref())?;
        // The platforms, media types and referrers of an image show only when it is looked at.
        let is_plain =
            self.copy.platform.get().is_none() && !self.copy.is_to_oci() && !self.copy.must_have_referrers();
        let known = there.as_ref().filter(|_| is_plain);
        let (changed, kept) = changed(&source, known, wanted, ui)?;
        if self.tags.dry_run {
            return show_plan(&changed, kept.len(), ui);
        }
        // Only now: a name that does not exist in the registry makes no layout.
        let made;
        let store = if let Some(store) = &there {
            store
        } else {
            made = self.create()?;
            &made
        };
        let images = match self.copy.platform.get() {
            None => changed,
            platform => for_platform(&changed, &source, platform)?,
        };
        // The registry is asked for the referrers of each image: there is no list of all to look at.
        let catalog = Some(Catalog::default());
        let mut converted = self.copy.is_to_oci().then(|| ToOci::new(&source));
        let selection = Selection { images, catalog };
        let (mut images, along) =
            selection.settled(&source, converted.as_mut(), self.copy.has_referrers(), ui)?;
        let from: &dyn Source = converted
            .as_ref()
            .map_or(&source as _, |converted| converted as _);
        let mut sink = StoreSink::new(store, "pull")?;
        if self.no_clobber {
            sink.keep_names(&images)?;
        }
        let report = copy(from, &sink, images.iter().chain(&along), ui)?;
        let replaced = sink.commit(&images, &along, ui)?;
        images.extend(kept);
        let all = Made::by_requests(&images);
        result.say_copy("pulled", &all, Some(&report), &replaced, ui)
    }

    /// Makes the layout and opens it.
    fn create(&self) -> Outcome<Store> {
        let made = Store::create(&self.copy.layout.layout, StoreOptions::default());
        // Another pull may have been faster.
        if !matches!(&made, Err(err) if err.kind() == ErrorKind::Exists) {
            made?;
        }
        self.copy.layout.open()
    }

    /// Returns the name that an image gets, and the tag or digest that it has in the registry.
    fn one(&self, image: &Reference) -> Outcome<(RefName, String)> {
        let name = match (self.tag, image.tag()) {
            (Some(tag), _) => tag.clone(),
            (None, Some(tag)) => RefName::parse_new(tag)
                .map_err(|e| Failure::Arguments(format!("{e}: give it another name with --tag")))?,
            (None, None) => refuse!("an image named by its digest needs a --tag"),
        };
        Ok((name, image.target()))
    }

    /// Returns all images of a repository that are wanted, under their tags.
    fn many(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        ui: &Ui,
    ) -> Outcome<Vec<(RefName, String)>> {
        let mut out = Vec::new();
        for tag in registry.tags(repository)? {
            if !self.tags.has(&tag) {
                continue;
            }
            match RefName::parse_new(&tag) {
                // The lists of referrers come with their subjects.
                Ok(name) if crate::store::is_referrers_tag(&name) => {}
                Ok(name) => out.push((name, tag)),
                Err(err) => ui.left_out(format_args!("left out {repository}:{tag}: {err}")),
            }
        }
        if out.is_empty() {
            fail!(NotFound, "no tag of {repository} matches");
        }
        Ok(out)
    }
}

/// Splits images into those that the store does not have under their names, and the others.
///
/// A name that is there is asked for first: an image that did not change costs no more than that. The others are read, on
/// several threads, and kept by the source.
fn changed(
    source: &RegistrySource<'_>,
    store: Option<&Store>,
    wanted: Vec<(RefName, String)>,
    ui: &Ui,
) -> Outcome<(Vec<Request>, Vec<Request>)> {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let known = store.map_or_else(|| Ok(HashMap::new()), |store| store.lookup_all(&names))?;
    let task = ui.task("looking", Some(wanted.len() as u64));
    let found = on_threads(NETWORK_THREADS, &wanted, |(name, target)| {
        task.advance(1);
        let here = known.get(name.as_str()).and_then(RefValue::only);
        look(source, store.zip(here), target)
    })?;
    let (mut changed, mut kept) = (Vec::new(), Vec::new());
    for ((name, _), (descriptor, is_here)) in wanted.into_iter().zip(found) {
        let request = Request {
            name: Some(name),
            value: descriptor.into(),
        };
        if is_here { &mut kept } else { &mut changed }.push(request);
    }
    Ok((changed, kept))
}

/// Returns the image of a tag or digest, and whether it is `here` and intact.
fn look(
    source: &RegistrySource<'_>,
    here: Option<(&Store, &Descriptor)>,
    target: &str,
) -> Result<(Descriptor, bool), Error> {
    if let Some((store, here)) = here
        && source
            .head(target)?
            .is_some_and(|there| there.digest == here.digest)
        && is_whole(store, here)?
    {
        return Ok((here.clone(), true));
    }
    match source.resolve(target)? {
        Some(descriptor) => Ok((descriptor, false)),
        None => fail!(NotFound, "no image {target} in {}", source.name()),
    }
}

/// Returns whether an image or index is there with all that it declares.
fn is_whole(store: &Store, root: &Descriptor) -> Result<bool, Error> {
    if store.intact(root)?.is_none() {
        return Ok(false);
    }
    if root.media_type.class() == MediaClass::Index {
        for child in ImageIndex::parse(&store.read(root)?)?.manifests {
            if !is_whole(store, &child)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if root.media_type.class() != MediaClass::Manifest {
        return Ok(true);
    }
    let manifest = Manifest::parse(&store.read(root)?)?;
    for part in manifest.layers.iter().chain([&manifest.config]) {
        let is_there = part.data.is_some() || store.layout().blob_size(&part.digest)? == Some(part.size);
        if !is_there && !part.media_type.is_nondistributable() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints the names and digests of the images that would be copied.
fn show_plan(changed: &[Request], kept: usize, ui: &Ui) -> Outcome {
    let mut text = String::new();
    for Request { name, value } in changed {
        let name = name.as_ref().map_or("", RefName::as_str);
        for digest in value.digests() {
            let _ = writeln!(text, "{name} {digest}");
        }
    }
    ui.print(text)?;
    let changed = counted(changed.len() as u64, "image");
    ui.done(format_args!("would copy {changed}; {kept} are there already"));
    Ok(())
}
