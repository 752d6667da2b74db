// SPDX-License-Identifier: Apache-2.0
//! `umoci import`

use crate::transfer::{Source, Spool, StoreSink, ToOci, copy};

use super::location::{Location, check_layout, open_other};
use super::prelude::*;
use super::registry::pull::PullJob;
use super::registry::wanted::Wish;
use super::result::{Made, Results};
use super::selection::{Naming, Selection};

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
    layout: LayoutArg,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    toc: TocArg,
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
        let [from] = self.layout.words(["source"])?;
        let from = &expand(from, &self.layout.layout, ui)?;
        let place = Location::parse(from, "source")?;
        let limits = self.limits.get()?;
        let result = self.copy.result.open()?;
        let naming = Naming {
            name: self.tag.as_ref(),
            platform: self.copy.platform.get(),
            option: "--tag",
            how: "with --tag",
            choice: "with --tag NAME",
        };
        match place {
            Location::Layout(path, target) => {
                check_layout(&path)?;
                let from = open_other(&path)?;
                // Held to the end: umoci gc of another process must not remove a blob before it is copied.
                let _reading = from.reading();
                let selection = naming.of_layout(&from, target, ui)?;
                let into = self.layout.open()?;
                self.copy(&from, selection, true, &into, (result, ui))
            }
            Location::Archive(archive) => {
                // The layout comes first: an archive on stdin is spooled into it.
                let into = self.layout.open()?;
                let source = archive.open(&limits, &Spool::Layout(into.layout()))?;
                let selection = naming.of_archive(&*source, &archive, ui)?;
                // A Docker archive has no place for referrers.
                self.copy(&*source, selection, !archive.docker, &into, (result, ui))
            }
            Location::Registry(repository, image) => {
                let pull = PullJob {
                    path: &self.layout.layout,
                    lock: &self.layout.lock,
                    copy: &self.copy,
                    toc: &self.toc,
                    wish: Wish {
                        tag: self.tag.as_ref(),
                        tags: &TagsArgs::default(),
                    },
                    no_clobber: self.no_clobber,
                    words: ("import", "imported"),
                };
                pull.run(&self.registry.session()?, &repository, image, result, ui)
            }
        }
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
        self.toc.make(into, &images, ui)?;
        let made = Made::by_requests(&images);
        result.say_copy("imported", &made, Some(&report), &replaced, ui)
    }
}
