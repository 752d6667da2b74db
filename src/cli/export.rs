// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, IsTerminal as _, Stdout, Write};

use crate::fs::PendingFile;
use crate::image::resolve;
use crate::layer::{Encoder, Limits};
use crate::spec::Compression;
use crate::transfer::{
    CopyReport, DockerImage, DockerName, OciArchiveSink, Request, Source, StoreSink, ToOci, copy,
    write_docker_archive,
};

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
        let [to] = self.copy.layout.words(["destination"])?;
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
        let from = self.copy.layout.open()?;
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
        let (made, report, replaced) = match &place {
            Location::Registry(repository, _) => {
                let registry = self.registry.session()?;
                let job = PushJob {
                    registry: &registry,
                    repository,
                    dry_run: false,
                    no_clobber: false,
                };
                let (report, replaced) = job.run(source, images.clone(), &along, ui)?;
                (Made::by_requests(&images), report, replaced)
            }
            Location::Layout(path, _) => {
                let (report, replaced) = to_layout(source, &images, &along, path, ui)?;
                (Made::by_requests(&images), Some(report), replaced)
            }
            Location::Archive(archive) if archive.docker => {
                let requests = for_platform(&images, source, self.copy.platform.get())?;
                let images = for_docker(requests, name, archive, from.layout().path())?;
                to_archive(archive, self.compress, |out| {
                    let limits = Limits::default();
                    Ok(write_docker_archive(source, &images, &limits, out, ui)?)
                })?;
                (Made::by_docker(&images), None, Vec::new())
            }
            Location::Archive(archive) => {
                let mut report = None;
                to_archive(archive, self.compress, |out| {
                    let sink = OciArchiveSink::new(out)?;
                    report = Some(copy(source, &sink, images.iter().chain(&along), ui)?);
                    Ok(sink.finish(&images, &along)?)
                })?;
                (Made::by_requests(&images), report, Vec::new())
            }
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

/// The name that the destination gives to the only image.
enum Name {
    Tag(RefName),
    Docker(DockerName),
}

/// Returns the name in the words for the destination, if one is there.
fn new_name(to: &Location) -> Outcome<Option<Name>> {
    let name = match to {
        Location::Layout(_, Some(Target::Name(name))) if name.check_new().is_ok() => {
            Ok(Name::Tag(name.clone()))
        }
        Location::Layout(_, Some(_)) => {
            refuse!("invalid destination: give a tag; digests and the past cannot be chosen");
        }
        Location::Archive(ArchiveRef {
            name: Some(name),
            docker: true,
            ..
        }) => name.parse().map(Name::Docker),
        Location::Archive(ArchiveRef { name: Some(name), .. }) => RefName::parse_new(name).map(Name::Tag),
        Location::Registry(_, Some(image)) => match image.tag() {
            Some(tag) if image.digest().is_none() => RefName::parse_new(tag).map(Name::Tag),
            _ => refuse!("invalid destination: give a tag; the digest is that of the image"),
        },
        Location::Layout(_, None) | Location::Archive(_) | Location::Registry(_, None) => return Ok(None),
    };
    Ok(Some(name.map_err(invalid("destination"))?))
}

/// Returns the images, each for one platform by now, by names that Docker takes.
fn for_docker(
    requests: Vec<Request>,
    given: Option<Name>,
    archive: &ArchiveRef,
    layout: &Path,
) -> Outcome<Vec<DockerImage>> {
    // The layout may be called `.`, which names nothing.
    let whole = layout.canonicalize().unwrap_or_else(|_| layout.to_owned());
    let layout = whole.file_name().unwrap_or_default().to_string_lossy();
    let mut tags: HashMap<DockerName, RefName> = HashMap::new();
    let mut out = Vec::new();
    for Request { name, value } in requests {
        let name = match (&given, name) {
            (Some(Name::Docker(name)), _) => name.clone(),
            (_, Some(tag)) => {
                let name = DockerName::of_tag(&tag, &layout).map_err(|e| {
                    Failure::Arguments(format!("{e}: name it, as {archive}:NAME[:TAG] with --tag {tag}"))
                })?;
                // Docker keeps one image by a name, and the second would replace the first without a word.
                if let Some(other) = tags.insert(name.clone(), tag.clone()) {
                    refuse!("both {other} and {tag} would be {name}: say which with --tag");
                }
                name
            }
            (_, None) => refuse!("name the image, as {archive}:NAME[:TAG]"),
        };
        out.extend(value.into_iter().map(|descriptor| DockerImage {
            name: name.clone(),
            descriptor,
        }));
    }
    Ok(out)
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

/// Copies to a layout, which is made if it is not there; returns with the report the names that pointed elsewhere before.
fn to_layout(
    source: &dyn Source,
    images: &[Request],
    along: &[Request],
    path: &Path,
    ui: &Ui,
) -> Outcome<(CopyReport, Vec<RefName>)> {
    // A directory that was there before stays, also where the export fails.
    let keep_dir = crate::fs::exists(path)?;
    let (into, made) = match Store::create_in(path, StoreOptions::without_index()) {
        Err(err) if err.kind() == ErrorKind::Exists => (Store::open(path, StoreOptions::default()), false),
        made => (made, true),
    };
    // A new layout has no index database and no other private file: it may be made for another tool.
    let into = into.context(|| format!("open {}", path.display()))?;
    let copied = StoreSink::new(&into, "export").and_then(|sink| {
        let report = copy(source, &sink, images.iter().chain(along), ui)?;
        Ok((report, sink.commit(images, along, ui)?))
    });
    if !made {
        return Ok(copied?);
    }
    match copied {
        Ok(done) => Ok(into.remove_private().map(|()| done)?),
        Err(err) => {
            if let Err(err) = into.discard(keep_dir) {
                ui.warn(format_args!("cannot remove what was written: {err}"));
            }
            Err(err.into())
        }
    }
}

/// Writes by `write` to where the archive is to be.
fn to_archive(
    archive: &ArchiveRef,
    compression: Compression,
    write: impl for<'a> FnOnce(Tar<'a>) -> Outcome<Tar<'a>>,
) -> Outcome {
    if archive.is_stdout() {
        let mut out = Out(std::io::stdout());
        if out.0.is_terminal() {
            refuse!("an archive is not for a terminal: redirect stdout, or name a file");
        }
        write(Encoder::new(&mut out as _, compression)?)?.finish()?;
        return Ok(out.flush().map_err(Error::from)?);
    }
    // The file of this name is replaced at `commit`, so an archive that exists stays whole where this one fails.
    let mut out = PendingFile::output(Path::new(&archive.file))?;
    write(Encoder::new(&mut out as _, compression)?)?.finish()?;
    Ok(out.commit()?)
}

/// An archive that is being written.
type Tar<'a> = Encoder<&'a mut (dyn Write + Send)>;

/// Stdout, whose errors say so.
struct Out(Stdout);

impl Write for Out {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_all(buf).context(|| "write to stdout")?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.0.flush().context(|| "write to stdout")?)
    }
}
