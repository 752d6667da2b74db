// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, IsTerminal as _, Stdout, Write};
use std::path::Path;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::fs::PendingFile;
use crate::image::{Target, resolve};
use crate::layer::{Encoder, Limits};
use crate::progress::Monitor;
use crate::spec::{Compression, RefName};
use crate::store::{Store, StoreOptions};
use crate::transfer::{
    CopyReport, DockerImage, DockerName, OciArchiveSink, Request, Source, StoreSink, ToOci, copy,
    write_docker_archive,
};

use super::args::{FormatArg, LayoutArg, PlatformArg, ReferrersArg, one_of};
use super::choice::{Choice, Words, for_platform};
use super::failure::{Failure, Outcome, invalid};
use super::place::{Archived, Place};
use super::result::{Copied, Made, ResultArgs, report_text, warn_replaced};
use super::table::counted;
use super::ui::Ui;

/// Compressions of an archive.
const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

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
    platform: PlatformArg,
    /// image to export, by tag or digest; may be given more than once (default: all tags)
    #[arg(long, value_name = "tag")]
    tag: Vec<String>,
    #[command(flatten)]
    format: FormatArg,
    #[command(flatten)]
    referrers: ReferrersArg,
    /// compression of an archive: none, gzip or zstd
    #[arg(long, default_value = "none", value_parser = one_of(COMPRESSIONS, Compression::name))]
    compress: Compression,
    #[command(flatten)]
    result: ResultArgs,
}

impl Export {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let [to] = self.layout.words(["destination"])?;
        let place = Place::parse(to, "destination")?;
        let to_oci = self.format.is_oci();
        let docker = matches!(&place, Place::Archive(archive) if archive.docker);
        if docker && self.referrers.is_asked_for() {
            refuse!("a Docker archive holds no referrers: use oci-archive:, or --referrers no");
        }
        let referrers = self.referrers.get();
        let compression = self.compress;
        if matches!(place, Place::Layout(..)) && compression != Compression::None {
            refuse!("--compress is for an archive, and the destination is a layout");
        }
        let name = Name::of(&place)?;
        let result = self.result.open()?;
        if result.is_on_stdout() && matches!(&place, Place::Archive(archive) if archive.is_stdout()) {
            refuse!("the archive and the result both go to stdout: write one of them to a file");
        }
        let from = self.layout.open()?;
        let _reading = from.reading();
        let choice = self.choice(&from, &name, to, ui)?;
        if docker {
            // An export that fails leaves nothing out.
            let chosen = for_platform(&choice.images, &from, self.platform.get()?.as_ref())?;
            if referrers {
                warn_left_out(&from, &choice.images, &chosen, ui);
            }
            warn_platforms(&from, &choice, ui)?;
        }
        let mut converted = ToOci::new(&from);
        let referrers = referrers && !docker;
        let (images, along) = choice.settled(&from, to_oci.then_some(&mut converted), referrers, ui)?;
        let source: &dyn Source = if to_oci { &converted } else { &from };
        let (images, along) = (images.as_slice(), along.as_slice());
        let what = What {
            source,
            images,
            along,
        };
        let mut replaced = Vec::new();
        let (made, report) = match &place {
            Place::Layout(path, _) => {
                let (report, names) = to_layout(&what, path, ui)?;
                replaced = names;
                (Made::by_requests(images), Some(report))
            }
            Place::Archive(archive) if archive.docker => {
                let images = self.for_docker(&what, name, archive, from.layout().path())?;
                to_archive(archive, compression, |out| {
                    let limits = Limits::default();
                    Ok(write_docker_archive(source, &images, &limits, out, ui)?)
                })?;
                (Made::by_docker(&images), None)
            }
            Place::Archive(archive) => {
                let mut report = None;
                to_archive(archive, compression, |out| {
                    let sink = OciArchiveSink::new(out)?;
                    report = Some(copy(source, &sink, images.iter().chain(along), ui)?);
                    Ok(sink.finish(images, along)?)
                })?;
                (Made::by_requests(images), report)
            }
        };
        let text = report_text(made.len(), report.as_ref());
        ui.done(format_args!("exported {text}"));
        warn_replaced(&replaced, ui);
        result.write(&made, &Copied::new(&made, report.as_ref(), &replaced, ui), ui)
    }

    /// One image each, by names that Docker takes.
    fn for_docker(
        &self,
        what: &What<'_>,
        given: Name,
        archive: &Archived,
        layout: &Path,
    ) -> Outcome<Vec<DockerImage>> {
        let platform = self.platform.get()?;
        let whole = layout.canonicalize().unwrap_or_else(|_| layout.to_owned());
        let layout = whole.file_name().unwrap_or_default().to_string_lossy();
        let mut tags: HashMap<DockerName, &RefName> = HashMap::new();
        let mut out = Vec::new();
        let images = for_platform(what.images, what.source, platform.as_ref())?;
        for Request { name: own, value } in &images {
            let name = match (&given, own) {
                (Name::Docker(name), _) => name.clone(),
                (_, Some(tag)) => {
                    let name = DockerName::of_tag(tag, &layout).map_err(|e| {
                        Failure::Arguments(format!("{e}: name it, as {archive}:NAME[:TAG] with --tag {tag}"))
                    })?;
                    if let Some(other) = tags.insert(name.clone(), tag) {
                        refuse!("both {other} and {tag} would be {name}: say which with --tag");
                    }
                    name
                }
                (_, None) => refuse!("name the image, as {archive}:NAME[:TAG]"),
            };
            out.extend(value.entries().iter().cloned().map(|descriptor| DockerImage {
                name: name.clone(),
                descriptor,
            }));
        }
        Ok(out)
    }

    /// The images that were asked for, by their names at the destination.
    fn choice(&self, from: &Store, name: &Name, to: &str, ui: &Ui) -> Outcome<Choice> {
        let platform = self.platform.get()?;
        let platform = platform.as_ref();
        let gets_name = !matches!(name, Name::None);
        let mut choice = if self.tag.is_empty() {
            let named = if gets_name {
                String::new()
            } else {
                format!(", as {to}:NAME")
            };
            let words = Words {
                source: from.layout().path().display().to_string(),
                naming: format!("give it one, as {to}:NAME"),
                choosing: format!("take one with --tag DIGEST{named}"),
            };
            Choice::all(from, platform, gets_name, &words, ui)?
        } else {
            Choice::default()
        };
        for tag in &self.tag {
            let target: Target = tag.parse().map_err(|e: Error| e.context("invalid --tag"))?;
            let own = target.name().cloned();
            if own.is_none() && !gets_name {
                refuse!("an image named by its digest needs a name: {to}:TAG");
            }
            choice.add(Request::find(from, &target, platform, own)?);
        }
        let called = match name {
            Name::None => Ok(()),
            Name::Tag(name) => choice.call(name),
            Name::Docker(_) if choice.images.len() == 1 => Ok(()),
            Name::Docker(_) => Err(choice.images.len()),
        };
        match called {
            Ok(()) => Ok(choice),
            Err(n) => refuse!("{to:?} names one image, and there are {n}: say which with --tag"),
        }
    }
}

/// The name that the destination gives to the only image.
enum Name {
    None,
    Tag(RefName),
    Docker(DockerName),
}

impl Name {
    fn of(place: &Place) -> Outcome<Self> {
        Ok(match place {
            Place::Layout(_, None) | Place::Archive(Archived { name: None, .. }) => Self::None,
            Place::Layout(_, Some(Target::Name(name))) if name.check_new().is_ok() => Self::Tag(name.clone()),
            Place::Layout(_, Some(_)) => {
                refuse!("invalid destination: give a tag; digests and the past cannot be chosen");
            }
            Place::Archive(Archived {
                name: Some(name),
                docker: true,
                ..
            }) => Self::Docker(name.parse().map_err(invalid::<Error>("destination"))?),
            Place::Archive(Archived { name: Some(name), .. }) => {
                Self::Tag(RefName::parse_new(name).map_err(invalid("destination"))?)
            }
        })
    }
}

/// What is copied.
struct What<'a> {
    source: &'a dyn Source,
    images: &'a [Request],
    along: &'a [Request],
}

/// Says how much is attached to images and to what is `chosen` of them, for which a Docker archive has no place.
fn warn_left_out(from: &Store, images: &[Request], chosen: &[Request], ui: &Ui) {
    let subjects = images
        .iter()
        .chain(chosen)
        .flat_map(|image| image.value.digests());
    let subjects: HashSet<Digest> = subjects.collect();
    let mut left_out = HashSet::new();
    for subject in subjects {
        // A damaged list of them is no reason to keep an image that needs none.
        let attached = from.referrers(&subject).unwrap_or_default();
        left_out.extend(attached.into_iter().map(|one| one.digest));
    }
    if !left_out.is_empty() {
        let artifacts = counted(left_out.len() as u64, "artifact");
        ui.left_out(format_args!(
            "left out {artifacts} attached to the images: a Docker archive holds no referrers"
        ));
    }
}

/// Says of which images a Docker archive gets one platform of several.
fn warn_platforms(from: &Store, choice: &Choice, ui: &Ui) -> Outcome {
    let mut images: BTreeMap<String, usize> = BTreeMap::new();
    for request in &choice.images {
        let mut count = 0;
        for digest in request.value.digests() {
            let paths = resolve(from, &Target::Digest(digest))?.paths;
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

/// Copies to a layout, which is made if it is not there. Returns the names that pointed elsewhere before as well.
fn to_layout(what: &What<'_>, path: &Path, ui: &Ui) -> Outcome<(CopyReport, Vec<RefName>)> {
    let keep_dir = crate::fs::exists(path)?;
    let (into, made) = match Store::create_in(path, StoreOptions::without_index()) {
        Err(err) if err.kind() == ErrorKind::Exists => (Store::open(path, StoreOptions::default()), false),
        made => (made, true),
    };
    let into = into.map_err(|e| e.context(format!("open {}", path.display())))?;
    let copied = (|| {
        let sink = StoreSink::new(&into, "export")?;
        let report = copy(what.source, &sink, what.images.iter().chain(what.along), ui)?;
        Ok::<_, Error>((report, sink.commit(what.images, what.along, ui)?))
    })();
    match copied {
        Ok(copied) if made => Ok(into.remove_private().map(|()| copied)?),
        Ok(copied) => Ok(copied),
        Err(err) => {
            if made && let Err(err) = into.discard(keep_dir) {
                ui.warn(format_args!("cannot remove what was written: {err}"));
            }
            Err(err.into())
        }
    }
}

/// Writes by `write` to where the archive is to be.
fn to_archive(
    archive: &Archived,
    compression: Compression,
    write: impl FnOnce(Encoder<Out>) -> Outcome<Encoder<Out>>,
) -> Outcome {
    let out = if archive.is_stdout() {
        let out = std::io::stdout();
        if out.is_terminal() {
            refuse!("an archive is not for a terminal: redirect stdout, or name a file");
        }
        Out::Stdout(out)
    } else {
        Out::File(PendingFile::output(Path::new(&archive.file))?)
    };
    match write(Encoder::new(out, compression)?)?.finish()? {
        Out::Stdout(mut out) => out.flush().map_err(unwritten).map_err(Error::from)?,
        Out::File(file) => file.commit()?,
    }
    Ok(())
}

/// Where an archive is written to.
enum Out {
    Stdout(Stdout),
    File(PendingFile),
}

impl Write for Out {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Out::Stdout(out) => out.write(buf).map_err(unwritten),
            Out::File(out) => out.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Stdout(out) => out.flush().map_err(unwritten),
            Out::File(out) => out.flush(),
        }
    }
}

/// The error of a write to stdout, which says so.
fn unwritten(err: io::Error) -> io::Error {
    // Whoever writes tries again then.
    if err.kind() == io::ErrorKind::Interrupted {
        return err;
    }
    Error::from(err).context("write to stdout").into()
}
