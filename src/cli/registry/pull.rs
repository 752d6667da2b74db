// SPDX-License-Identifier: Apache-2.0
//! `umoci pull`

use std::collections::HashMap;

use crate::registry::{Reference, Registry, RepositoryName};
use crate::spec::{ImageIndex, Manifest, MediaClass};
use crate::transfer::{Catalog, Source, StoreSink, ToOci, copy};

use super::super::prelude::*;
use super::super::result::{Made, Results};
use super::super::selection::{Selection, for_platform};
use super::wanted::{Wish, changed, show_plan};
use super::{make_layout, open_if_there, show_warnings};

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
    layout: LayoutArg,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    toc: TocArg,
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
        let [text] = self.layout.words(["image"])?;
        let text = &expand(text, &self.layout.layout, ui)?;
        let (repository, image) = Reference::parse_open(text).map_err(invalid::<Error>("image"))?;
        let job = PullJob {
            path: &self.layout.layout,
            lock: &self.layout.lock,
            copy: &self.copy,
            toc: &self.toc,
            wish: Wish {
                tag: self.tag.as_ref(),
                tags: &self.tags,
            },
            no_clobber: self.no_clobber,
            words: ("pull", "pulled"),
        };
        let result = self.copy.result.open()?;
        job.run(&self.registry.session()?, &repository, image, result, ui)
    }
}

/// A pull, as `umoci pull` and `umoci import` ask for it.
pub struct PullJob<'a> {
    /// The layout, which need not be there.
    pub path: &'a Path,
    pub lock: &'a LockArg,
    pub copy: &'a CopyArgs,
    pub toc: &'a TocArg,
    pub wish: Wish<'a>,
    pub no_clobber: bool,
    /// The verb for the reflog and for the line at the end.
    pub words: (&'static str, &'static str),
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
        let wanted = self.wish.of(registry, repository, image, ui)?;
        let there = open_if_there(self.path, self.lock)?;
        let source = registry.source(repository, there.as_ref())?;
        // The platforms, media types and referrers of an image show only when it is looked at.
        let is_plain =
            self.copy.platform.get().is_none() && !self.copy.is_to_oci() && !self.copy.must_have_referrers();
        let known = there.as_ref().filter(|_| is_plain);
        let here = known.map_or_else(|| Ok(HashMap::new()), |store| digests(store, &wanted.images))?;
        let (changed, kept) = changed(&source, &here, &wanted, ui, |image| {
            known.map_or(Ok(false), |store| is_whole(store, image))
        })?;
        if self.wish.tags.dry_run {
            return show_plan(&changed, kept.len(), ui);
        }
        // Only now: a name that does not exist in the registry makes no layout.
        let made;
        let store = if let Some(store) = &there {
            store
        } else {
            made = make_layout(self.path, self.lock)?;
            &made
        };
        let images = match self.copy.platform.get() {
            None => changed,
            platform => for_platform(&changed, &source, platform)?,
        };
        // The registry is asked for the referrers of each image: there is no list of all to look at.
        let mut catalog = Catalog::default();
        if self.copy.has_referrers() {
            let must = self.copy.must_have_referrers();
            catalog.referrers = wanted.named_referrers(&source, &images, must)?;
        }
        let catalog = Some(catalog);
        let mut converted = self.copy.is_to_oci().then(|| ToOci::new(&source));
        let selection = Selection { images, catalog };
        let (mut images, along) =
            selection.settled(&source, converted.as_mut(), self.copy.has_referrers(), ui)?;
        let from: &dyn Source = converted
            .as_ref()
            .map_or(&source as _, |converted| converted as _);
        let mut sink = StoreSink::new(store, self.words.0)?;
        if self.no_clobber {
            sink.keep_names(&images)?;
        }
        let report = copy(from, &sink, images.iter().chain(&along), ui)?;
        let replaced = sink.commit(&images, &along, ui)?;
        self.toc.make(store, &images, ui)?;
        images.extend(kept);
        let all = Made::by_requests(&images);
        result.say_copy(self.words.1, &all, Some(&report), &replaced, ui)
    }
}

/// Returns the digests that the wanted names have in a store, of those that lead to one entry.
fn digests(store: &Store, wanted: &[(RefName, String)]) -> Outcome<HashMap<RefName, Digest>> {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let known = store.lookup_all(&names)?;
    let found = wanted.iter().filter_map(|(name, _)| {
        let only = known.get(name.as_str())?.only()?;
        Some((name.clone(), only.digest))
    });
    Ok(found.collect())
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
