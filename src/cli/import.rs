// SPDX-License-Identifier: Apache-2.0
//! `umoci import`

use crate::error::Error;
use crate::spec::{Platform, RefName};
use crate::store::Store;
use crate::transfer::{Archive, DockerArchive, OciArchive, Request, Source, StoreSink, ToOci, copy};

use super::args::{FormatArg, LayoutArg, LimitArgs, PlatformArg, ReferrersArg};
use super::choice::{Choice, Words};
use super::failure::{Failure, Outcome};
use super::place::{Archived, Place, check_layout, open_other};
use super::result::{Copied, Made, ResultArgs, Results, report_text, warn_replaced};
use super::ui::Ui;

/// copies images from another OCI layout or an archive into this one
///
/// Copies an image, or all tagged images when no tag is named, with everything that it needs and this layout does not
/// have. Every digest is verified. Tags that exist are replaced. An import that was interrupted leaves no tag, and its
/// rerun goes on where it stopped.
///
/// The source is a layout, <dir>[:<tag>|@<digest>] or oci:<dir>[:<tag>|@<digest>], or an archive, compressed or not:
/// oci-archive:<file>[:<tag>|:@<number>] or docker-archive:<file>[:<name>|:@<number>]; @0 is the first image. Stdin is the file -.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--layout <image-path> <source>",
    mut_arg("platform", |arg| arg.help("which image to take of those that a name leads to, such as linux/arm64 (default: all of them)"))
)]
pub struct Import {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    platform: PlatformArg,
    /// name of the image in this layout (default: its name in the source)
    #[arg(long, value_name = "tag")]
    tag: Option<String>,
    #[command(flatten)]
    format: FormatArg,
    #[command(flatten)]
    referrers: ReferrersArg,
    #[command(flatten)]
    limits: LimitArgs,
    /// change no tag that exists: nothing is imported if any would be replaced by another image
    #[arg(long = "no-clobber")]
    no_clobber: bool,
    #[command(flatten)]
    result: ResultArgs,
}

impl Import {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [from] = self.layout.words(["source"])?;
        let place = Place::parse(from, "source")?;
        let tag = self.tag.as_deref().map(RefName::parse_new).transpose();
        let tag = tag.map_err(|e| e.context("invalid --tag"))?;
        let platform = self.platform.get()?;
        let limits = self.limits.get()?;
        let result = self.result.open()?;
        match place {
            Place::Layout(path, what) => {
                check_layout(&path)?;
                let from = open_other(&path)?;
                let _reading = from.reading();
                let choice = match what {
                    None => self.all(&from, &path.display().to_string(), "@DIGEST", tag, ui)?,
                    Some(target) => {
                        let Some(name) = tag.or_else(|| target.name().cloned()) else {
                            refuse!("an image named by its digest needs a --tag");
                        };
                        let image = Request::find(&from, &target, platform.as_ref(), Some(name))?;
                        Choice {
                            images: vec![image],
                            ..Choice::default()
                        }
                    }
                };
                let into = self.layout.open()?;
                self.copy(&from, choice, self.referrers.get(), &into, (result, ui))
            }
            Place::Archive(archive) => {
                let into = self.layout.open()?;
                let tar = match archive.path() {
                    Some(path) => Archive::open(path, &limits, into.layout())?,
                    None => Archive::spool(std::io::stdin(), &limits, into.layout())
                        .map_err(|e| e.context("stdin"))?,
                };
                let context = |e: Error| e.context(archive.file.clone());
                let source: Box<dyn Source> = if archive.docker {
                    Box::new(DockerArchive::new(tar, &limits).map_err(context)?)
                } else {
                    Box::new(OciArchive::new(tar).map_err(context)?)
                };
                let choice = match &archive.name {
                    None => self.all(&*source, &archive.to_string(), ":@N", tag, ui)?,
                    Some(name) => {
                        let image = one(&*source, &archive, name, platform.as_ref(), tag)?;
                        Choice {
                            images: vec![image],
                            ..Choice::default()
                        }
                    }
                };
                // A Docker archive has no place for them.
                let referrers = self.referrers.get() && !archive.docker;
                self.copy(&*source, choice, referrers, &into, (result, ui))
            }
        }
    }

    /// All images of a source, or its only one by another name.
    fn all(
        &self,
        source: &dyn Source,
        label: &str,
        suffix: &str,
        tag: Option<RefName>,
        ui: &Ui,
    ) -> Outcome<Choice> {
        let words = Words {
            source: label.to_owned(),
            naming: "give it one with --tag".to_owned(),
            choosing: format!("take one as {label}{suffix} with --tag NAME"),
        };
        let platform = self.platform.get()?;
        let mut choice = Choice::all(source, platform.as_ref(), tag.is_some(), &words, ui)?;
        match tag.map_or(Ok(()), |tag| choice.call(&tag)) {
            Ok(()) => Ok(choice),
            Err(n) => refuse!("--tag names one image, and {label} has {n}: say which, as {label}:TAG"),
        }
    }

    fn copy(
        &self,
        source: &dyn Source,
        choice: Choice,
        referrers: bool,
        into: &Store,
        (result, ui): (Results, &Ui),
    ) -> Outcome {
        let mut converted = ToOci::new(source);
        let to_oci = self.format.is_oci();
        let (images, along) = choice.settled(source, to_oci.then_some(&mut converted), referrers, ui)?;
        let source = if to_oci { &converted } else { source };
        let mut sink = StoreSink::new(into, "import")?;
        if self.no_clobber {
            sink.keep_names(&images)?;
        }
        let report = copy(source, &sink, images.iter().chain(&along), ui)?;
        let replaced = sink.commit(&images, &along, ui)?;
        warn_replaced(&replaced, ui);
        let made = Made::by_requests(&images);
        let text = report_text(made.len(), Some(&report));
        ui.done(format_args!("imported {text}"));
        result.write(&made, &Copied::new(&made, Some(&report), &replaced, ui), ui)
    }
}

/// The image of an archive that was asked for by its name there.
fn one(
    source: &dyn Source,
    archive: &Archived,
    name: &str,
    platform: Option<&Platform>,
    tag: Option<RefName>,
) -> Outcome<Request> {
    let (own, value) = archive.find(source, name)?;
    let name = match (tag, own) {
        (Some(tag), _) => tag,
        (None, Some(own)) => RefName::parse_new(&own)
            .map_err(|e: Error| Failure::Arguments(format!("{e}: give it another name with --tag")))?,
        (None, None) => refuse!("the image {name} in {archive} has no name: give it one with --tag"),
    };
    let name = Some(name);
    let request = Request { name, value };
    Ok(match platform {
        Some(_) => request.for_platform(source, platform)?,
        None => request,
    })
}
