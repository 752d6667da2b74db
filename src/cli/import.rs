// SPDX-License-Identifier: Apache-2.0
//! `umoci import`

use umoci::error::Error;
use umoci::progress::Monitor;
use umoci::spec::RefName;
use umoci::store::{Store, StoreOptions};
use umoci::transfer::{
    Archive, DockerArchive, OciArchive, Request, Source, StoreSink, ToOci, copy, with_referrers,
};

use super::args::{FormatArg, LayoutArg, LimitArgs, PlatformArg, ReferrersArg, positionals};
use super::failure::{Failure, Outcome};
use super::place::{Archived, Place};
use super::ui::Ui;

/// copies images from another OCI layout or an archive into this one
///
/// Copies an image, or all tagged images when no tag is named, with everything that it needs and this layout does not
/// have. Every digest is verified. Tags that exist are replaced. An import that was interrupted leaves no tag, and its
/// rerun goes on where it stopped.
///
/// The source is a layout, <dir>[:<tag>] or oci:<dir>[:<tag>], or an archive, compressed or not:
/// oci-archive:<file>[:<tag>] or docker-archive:<file>[:<name>|:@<number>]. Stdin is the file -.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <source>")]
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
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Import {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [from] = positionals(&self.rest, ["source"])?;
        let place = Place::parse(from, "source")?;
        let tag: Option<RefName> = self
            .tag
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|e: Error| e.context("invalid --tag"))?;
        let platform = self.platform.get()?;
        let platform = platform.as_ref();
        let limits = self.limits.get()?;
        let to_oci = self.format.is_oci()?;
        let referrers = self.referrers.get()?;
        let (source, requests): (Box<dyn Source>, _) = match place {
            Place::Layout(path, what) => {
                let from = Store::open(&path, StoreOptions::default())
                    .map_err(|e| e.context(format!("open {}", path.display())))?;
                let requests = match what {
                    None => all(&from, &path.display().to_string(), platform, tag, ui)?,
                    Some(target) => {
                        let name = tag.or_else(|| super::place::own_name(&target));
                        let unnamed =
                            || Failure::Arguments("an image named by its digest needs a --tag".to_owned());
                        vec![Request::find(
                            &from,
                            &target,
                            platform,
                            name.ok_or_else(unnamed)?,
                        )?]
                    }
                };
                (Box::new(from), requests)
            }
            Place::Archive(archive) => {
                let into = self.layout.open()?;
                let scratch = || into.layout().scratch();
                let tar = match archive.path() {
                    Some(path) => Archive::open(path, &limits, &scratch)?,
                    None => {
                        Archive::spool(std::io::stdin(), &limits, &scratch).map_err(|e| e.context("stdin"))?
                    }
                };
                let context = |e: Error| e.context(archive.file.clone());
                let source: Box<dyn Source> = if archive.docker {
                    Box::new(DockerArchive::new(tar, &limits).map_err(context)?)
                } else {
                    Box::new(OciArchive::new(tar).map_err(context)?)
                };
                let requests = archived(&*source, &archive, platform, tag, ui)?;
                (source, requests)
            }
        };
        let requests = if referrers {
            with_referrers(&*source, requests)?
        } else {
            requests
        };
        self.copy(&*source, requests, to_oci, ui)
    }

    fn copy(&self, source: &dyn Source, mut requests: Vec<Request>, to_oci: bool, ui: &Ui) -> Outcome {
        let into = self.layout.open()?;
        let mut converted = ToOci::new(source);
        let source: &dyn Source = if to_oci {
            let convert = |request| converted.convert(request);
            requests = requests.into_iter().map(convert).collect::<Result<_, Error>>()?;
            &converted
        } else {
            source
        };
        let sink = StoreSink::new(&into, "import")?;
        let report = copy(source, &sink, &requests, ui)?;
        sink.commit()?;
        ui.info(format_args!(
            "imported {} images: {} blobs copied, {} were there",
            requests.len(),
            report.copied,
            report.present
        ));
        Ok(())
    }
}

/// All images of a source, or its only one by another name.
fn all(
    source: &dyn Source,
    label: &str,
    platform: Option<&umoci::spec::Platform>,
    tag: Option<RefName>,
    ui: &Ui,
) -> Outcome<Vec<Request>> {
    let all = Request::all(source, platform, ui)?;
    let Some(tag) = tag else { return Ok(all) };
    match <[Request; 1]>::try_from(all) {
        Ok([one]) => Ok(vec![Request {
            name: Some(tag),
            ..one
        }]),
        Err(all) => {
            let text = format!(
                "--tag names one image, and {label} has {}: say which, as {label}:TAG",
                all.len()
            );
            Err(Failure::Arguments(text))
        }
    }
}

/// What was asked for of an archive.
fn archived(
    source: &dyn Source,
    archive: &Archived,
    platform: Option<&umoci::spec::Platform>,
    tag: Option<RefName>,
    ui: &Ui,
) -> Outcome<Vec<Request>> {
    let images = source.images()?;
    if archive.name.is_none() && images.iter().any(|image| image.name.is_some()) {
        return all(source, &archive.to_string(), platform, tag, ui);
    }
    let found = archive.find(&images)?;
    let name = match (tag, &found.name) {
        (Some(tag), _) => tag,
        (None, Some(name)) => name.parse()?,
        (None, None) => {
            let text = format!(
                "the image in {} has no name: give it one with --tag",
                archive.file
            );
            return Err(Failure::Arguments(text));
        }
    };
    let request = Request {
        name: Some(name),
        descriptor: found.descriptor.clone(),
    };
    Ok(vec![match platform {
        Some(_) => request.for_platform(source, platform)?,
        None => request,
    }])
}
