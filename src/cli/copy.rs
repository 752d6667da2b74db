// SPDX-License-Identifier: Apache-2.0
//! `umoci copy`

use std::collections::HashMap;

use crate::registry::{Reference, RepositoryName};
use crate::spec::Compression;
use crate::transfer::{Catalog, Source, Spool, ToOci};

use super::destination::{Delivery, Name, new_name};
use super::location::{ArchiveRef, Location, check_layout, open_other};
use super::prelude::*;
use super::registry::pull::PullJob;
use super::registry::push::PushJob;
use super::registry::show_warnings;
use super::registry::wanted::{Wish, changed, show_plan};
use super::result::{Made, Results};
use super::selection::{Naming, Selection, for_platform};

/// copies images from any place to any other
///
/// Source and destination are each a layout, <dir>[:<tag>], an archive, oci-archive:<file>[:<tag>] or
/// docker-archive:<file>[:<name>], or a registry, docker://<name>. An image keeps its name unless the destination gives another.
/// Without a tag all images of a layout or an archive are copied, and of a registry the image latest.
///
/// Nothing is unpacked or converted unless that is asked for, every digest stays, and what is attached to the images goes
/// along. What the destination has is not sent again. From one repository to another of the same registry blobs are mounted;
/// other blobs from a registry to a registry wait in a file without a name in $TMPDIR or /var/tmp until they are whole.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<source> <destination>",
    mut_arg("platform", |arg| arg.help("only the image for this platform, such as linux/arm64 (default: all; for a Docker archive the first for this machine)"))
)]
pub struct Copy {
    #[command(flatten)]
    how: CopyArgs,
    #[command(flatten)]
    tags: TagsArgs,
    /// change no tag and no archive that exists: nothing is copied if any would be replaced
    #[arg(long = "no-clobber")]
    no_clobber: bool,
    /// compression of an archive that is written: none, gzip or zstd
    #[arg(long, default_value = "none")]
    compress: Compression,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    remotes: RemotesArg,
    #[command(flatten)]
    registry: RegistryArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// The destination of a copy, as it was given.
struct To<'a> {
    text: &'a str,
    place: Location,
    name: Option<Name>,
}

impl Copy {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [from, to] = positionals(&self.rest, ["source", "destination"])?;
        let (from, to) = self.expanded(from, to, ui)?;
        let to = to.as_str();
        let from = Location::parse(&from, "source")?;
        let place = Location::parse(to, "destination")?;
        let name = new_name(&place)?;
        let to = To {
            text: to,
            place,
            name,
        };
        let result = self.how.result.open()?;
        self.check(&to, &result)?;
        let how = format!("as {}:NAME", to.text);
        let naming = Naming {
            name: match &to.name {
                Some(Name::Tag(name)) => Some(name),
                _ => None,
            },
            platform: self.how.platform.get(),
            option: "the destination",
            how: &how,
            choice: &how,
        };
        match from {
            Location::Layout(path, target) => {
                check_layout(&path)?;
                let from = open_other(&path)?;
                // Held to the end: umoci gc of another process must not remove a blob before it is copied.
                let _reading = from.reading();
                let selection = naming.of_layout(&from, target, ui)?;
                self.send(&from, &path, selection, to, (result, ui))
            }
            Location::Archive(archive) => {
                let source = archive.open(&self.limits.get()?, &Spool::Dir(&spool_dir()))?;
                let selection = naming.of_archive(&*source, &archive, ui)?;
                self.send(&*source, Path::new(&archive.file), selection, to, (result, ui))
            }
            Location::Registry(repository, image) => {
                let name = naming.name.cloned();
                self.fetch(&repository, image, name.as_ref(), to, (result, ui))
            }
        }
    }

    /// Returns both words with the places of remotes, which are those of a layout on the other side if there is one.
    fn expanded(&self, from: &str, to: &str, ui: &Ui) -> Outcome<(String, String)> {
        let layouts = [to, from].map(|other| match Location::parse(other, "layout") {
            Ok(Location::Layout(path, _)) if path.join("oci-layout").exists() => path,
            _ => self.remotes.path().to_owned(),
        });
        let [of_source, of_destination] = &layouts;
        Ok((expand(from, of_source, ui)?, expand(to, of_destination, ui)?))
    }

    /// Refuses options that do not fit the destination.
    fn check(&self, to: &To<'_>, result: &Results) -> Outcome {
        let archive = match &to.place {
            Location::Archive(archive) => Some(archive),
            _ => None,
        };
        if archive.is_some_and(|archive| archive.docker) && self.how.must_have_referrers() {
            refuse!("a Docker archive holds no referrers: use oci-archive:, or --referrers no");
        }
        if archive.is_none() && self.compress != Compression::None {
            refuse!("--compress is for an archive, and the destination is none");
        }
        if result.is_on_stdout() && archive.is_some_and(ArchiveRef::is_stdout) {
            refuse!("the archive and the result both go to stdout: write one of them to a file");
        }
        Ok(())
    }

    /// Copies images of a layout or an archive, which lies at `home`.
    fn send(
        &self,
        source: &dyn Source,
        home: &Path,
        mut selection: Selection,
        to: To<'_>,
        (result, ui): (Results, &Ui),
    ) -> Outcome {
        if !self.tags.filter.is_empty() {
            selection.images.retain(|image| {
                let name = image.name.as_ref();
                name.is_some_and(|name| self.tags.has(name.as_str()))
            });
            if selection.images.is_empty() {
                fail!(NotFound, "no tag of {} matches", home.display());
            }
        }
        let n = selection.images.len();
        if to.name.is_some() && n != 1 {
            refuse!("{:?} names one image, and there are {n}", to.text);
        }
        let mut converted = self.how.is_to_oci().then(|| ToOci::new(source));
        let (images, along) = selection.settled(source, converted.as_mut(), self.has_referrers(&to), ui)?;
        let source = converted.as_ref().map_or(source, |converted| converted);
        if let Location::Registry(repository, _) = &to.place {
            let registry = self.registry.session()?;
            let made = Made::by_requests(&images);
            let job = PushJob {
                registry: &registry,
                sink: registry.sink(repository)?,
                repository,
                dry_run: self.tags.dry_run,
                no_clobber: self.no_clobber,
            };
            return match job.run(source, images, &along, ui)? {
                (None, _) => Ok(()),
                (report, replaced) => result.say_copy("copied", &made, report.as_ref(), &replaced, ui),
            };
        }
        if self.tags.dry_run {
            return show_plan(&images, 0, ui);
        }
        let delivery = Delivery {
            source,
            platform: self.how.platform.get(),
            compress: self.compress,
            home,
            no_clobber: self.no_clobber,
            verb: "copy",
        };
        let (made, report, replaced) = delivery.to(&to.place, to.name, &images, &along, ui)?;
        result.say_copy("copied", &made, report.as_ref(), &replaced, ui)
    }

    /// Returns whether referrers are copied; a Docker archive has no place for them.
    fn has_referrers(&self, to: &To<'_>) -> bool {
        let is_docker = matches!(&to.place, Location::Archive(archive) if archive.docker);
        self.how.has_referrers() && !is_docker
    }

    /// Copies images of a registry.
    fn fetch(
        &self,
        repository: &RepositoryName,
        image: Option<Reference>,
        name: Option<&RefName>,
        to: To<'_>,
        (result, ui): (Results, &Ui),
    ) -> Outcome {
        let registry = self.registry.session()?;
        let wish = Wish {
            tag: name,
            tags: &self.tags,
        };
        if let Location::Layout(path, _) = &to.place {
            let job = PullJob {
                path,
                lock: &self.lock,
                copy: &self.how,
                toc: &TocArg::default(),
                wish,
                no_clobber: self.no_clobber,
                words: ("copy", "copied"),
            };
            return job.run(&registry, repository, image, result, ui);
        }
        let wanted = wish.of(&registry, repository, image, ui)?;
        let source = registry.source(repository, None)?;
        let mut sink = None;
        let mut here: HashMap<RefName, Digest> = HashMap::new();
        if let Location::Registry(other, _) = &to.place {
            let mut into = registry.sink(other)?.from_repository(repository, spool_dir());
            let names: Vec<RefName> = wanted.images.iter().map(|(name, _)| name.clone()).collect();
            let tags = into.tags(&names)?.iter();
            // The platforms, media types and referrers of an image show only when it is looked at.
            if self.how.platform.get().is_none() && !self.how.is_to_oci() && !self.how.must_have_referrers() {
                here.extend(tags.filter_map(|(name, digest)| Some((name.clone(), (*digest)?))));
            }
            sink = Some((into, other));
        }
        // A registry vouches for what a tag in it leads to.
        let (changed, kept) = changed(&source, &here, &wanted, ui, |_| Ok(true))?;
        if self.tags.dry_run {
            show_warnings(&registry, ui);
            return show_plan(&changed, kept.len(), ui);
        }
        let images = match self.how.platform.get() {
            None => changed,
            platform => for_platform(&changed, &source, platform)?,
        };
        // The registry is asked for the referrers of each image: there is no list of all to look at.
        let mut catalog = Catalog::default();
        if self.has_referrers(&to) {
            let must = self.how.must_have_referrers();
            catalog.referrers = wanted.named_referrers(&source, &images, must)?;
        }
        let catalog = Some(catalog);
        let selection = Selection { images, catalog };
        let mut converted = self.how.is_to_oci().then(|| ToOci::new(&source));
        let (images, along) = selection.settled(&source, converted.as_mut(), self.has_referrers(&to), ui)?;
        let from: &dyn Source = converted
            .as_ref()
            .map_or(&source as _, |converted| converted as _);
        let Some((sink, other)) = sink else {
            let delivery = Delivery {
                source: from,
                platform: self.how.platform.get(),
                compress: self.compress,
                home: Path::new(repository.path()),
                no_clobber: self.no_clobber,
                verb: "copy",
            };
            let done = delivery.to(&to.place, to.name, &images, &along, ui);
            show_warnings(&registry, ui);
            let (made, report, replaced) = done?;
            return result.say_copy("copied", &made, report.as_ref(), &replaced, ui);
        };
        let job = PushJob {
            registry: &registry,
            sink,
            repository: other,
            dry_run: false,
            no_clobber: self.no_clobber,
        };
        let (report, replaced) = job.run(from, images.clone(), &along, ui)?;
        let all: Vec<_> = images.into_iter().chain(kept).collect();
        result.say_copy("copied", &Made::by_requests(&all), report.as_ref(), &replaced, ui)
    }
}
