// SPDX-License-Identifier: Apache-2.0
//! Layouts and archives that images are copied to, and the names that they get there.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Stdout, Write};

use crate::fs::PendingFile;
use crate::layer::{Encoder, Limits};
use crate::spec::Compression;
use crate::transfer::{
    CopyReport, DockerImage, DockerName, OciArchiveSink, Request, Source, StoreSink, copy,
    write_docker_archive,
};

use super::location::{ArchiveRef, Location};
use super::prelude::*;
use super::result::Made;
use super::selection::for_platform;

/// A copy to a layout or an archive.
pub struct Delivery<'a> {
    pub source: &'a dyn Source,
    /// The platform of the images in a Docker archive.
    pub platform: Option<&'a Platform>,
    pub compress: Compression,
    /// The path whose name the repositories of a Docker archive have.
    pub home: &'a Path,
    pub no_clobber: bool,
    /// The verb for the reflog of a layout.
    pub verb: &'static str,
}

/// The images that were copied, the report of their blobs, and the names that pointed elsewhere before.
pub type Delivered = (Vec<Made>, Option<CopyReport>, Vec<RefName>);

impl Delivery<'_> {
    /// Copies images with `along`, their referrers, which a Docker archive has no place for.
    pub fn to(
        &self,
        place: &Location,
        name: Option<Name>,
        images: &[Request],
        along: &[Request],
        ui: &Ui,
    ) -> Outcome<Delivered> {
        match place {
            Location::Layout(path, _) => {
                let into = (path.as_path(), self.verb, self.no_clobber);
                let (report, replaced) = to_layout(self.source, images, along, into, ui)?;
                Ok((Made::by_requests(images), Some(report), replaced))
            }
            Location::Archive(archive) => {
                if self.no_clobber && !archive.is_stdout() && crate::fs::exists(Path::new(&archive.file))? {
                    fail!(Exists, "{} exists", archive.file);
                }
                let (made, report) = self.to_archive(archive, name, images, along, ui)?;
                Ok((made, report, Vec::new()))
            }
            Location::Registry(..) => refuse!("a registry is no file"),
        }
    }

    fn to_archive(
        &self,
        archive: &ArchiveRef,
        name: Option<Name>,
        images: &[Request],
        along: &[Request],
        ui: &Ui,
    ) -> Outcome<(Vec<Made>, Option<CopyReport>)> {
        let source = self.source;
        if archive.docker {
            let requests = for_platform(images, source, self.platform)?;
            let images = for_docker(requests, name, archive, self.home)?;
            to_archive(archive, self.compress, |out| {
                let limits = Limits::default();
                Ok(write_docker_archive(source, &images, &limits, out, ui)?)
            })?;
            return Ok((Made::by_docker(&images), None));
        }
        let mut report = None;
        to_archive(archive, self.compress, |out| {
            let sink = OciArchiveSink::new(out)?;
            report = Some(copy(source, &sink, images.iter().chain(along), ui)?);
            Ok(sink.finish(images, along)?)
        })?;
        Ok((Made::by_requests(images), report))
    }
}

/// The name that the destination gives to the only image.
pub enum Name {
    Tag(RefName),
    Docker(DockerName),
}

/// Returns the name in the words for the destination, if one is there.
pub fn new_name(to: &Location) -> Outcome<Option<Name>> {
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

/// Copies to a layout, which is made if it is not there; returns with the report the names that pointed elsewhere before.
fn to_layout(
    source: &dyn Source,
    images: &[Request],
    along: &[Request],
    (path, verb, no_clobber): (&Path, &str, bool),
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
    let copied = StoreSink::new(&into, verb).and_then(|mut sink| {
        if no_clobber {
            sink.keep_names(images)?;
        }
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
