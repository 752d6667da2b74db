// SPDX-License-Identifier: Apache-2.0
//! The other side of a copy, in skopeo's words: a layout, an archive or a registry, and the image in it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Error, ResultExt as _, shortlist};
use crate::image::Target;
use crate::layer::Limits;
use crate::registry::{Reference, RepositoryName};
use crate::spec::RefValue;
use crate::store::{Store, StoreOptions};
use crate::transfer::{Archive, DockerArchive, DockerName, OciArchive, Source, SourceEntry, Spool};

use super::args::ImageRef;
use super::failure::{Outcome, invalid};

/// The source or destination of a copy.
#[derive(Debug)]
pub enum Location {
    /// `DIR[:TAG]`, `DIR@DIGEST` or the same behind `oci:`.
    Layout(PathBuf, Option<Target>),
    /// `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`.
    Archive(ArchiveRef),
    /// `docker://[HOST[:PORT]/]PATH[:TAG][@DIGEST]`; no image if the repository stands alone.
    Registry(RepositoryName, Option<Reference>),
}

/// An archive, and which image of it if one is named.
#[derive(Debug)]
pub struct ArchiveRef {
    /// Docker's, not OCI's.
    pub docker: bool,
    /// The file; `-` is stdin or stdout.
    pub file: String,
    /// A name in the archive; else `@N`, which counts from 0, or a digest, perhaps behind an `@`.
    pub name: Option<String>,
}

impl Location {
    /// Reads the words; `what` names them in messages.
    pub fn parse(text: &str, what: &str) -> Outcome<Self> {
        for (transport, docker) in [("oci-archive:", false), ("docker-archive:", true)] {
            let Some(rest) = text.strip_prefix(transport) else {
                continue;
            };
            let mut parts = rest.splitn(2, ':').map(str::to_owned);
            let (file, name) = (parts.next().unwrap_or_default(), parts.next());
            if file.is_empty() || name.as_deref() == Some("") {
                refuse!("invalid {what}: {text:?} (want a file, and perhaps a name behind a colon)");
            }
            return Ok(Location::Archive(ArchiveRef { docker, file, name }));
        }
        if let Some(rest) = text.strip_prefix("docker://") {
            let (repository, image) = Reference::parse_open(rest).map_err(invalid::<Error>(what))?;
            return Ok(Location::Registry(repository, image));
        }
        elsewhere(text, what)?;
        if what == "destination" {
            check_archive(text)?;
        }
        if let Some(text) = text.strip_prefix("oci:") {
            return Self::layout(text, what);
        }
        check_registry(text, what)?;
        Self::layout(text, what)
    }

    fn layout(text: &str, what: &str) -> Outcome<Self> {
        // A directory may have a colon in its name, and is the layout then.
        if !text.contains([':', '@']) || Path::new(text).is_dir() {
            return Ok(Location::Layout(text.into(), None));
        }
        let image = ImageRef::parse(text).map_err(invalid(what))?;
        let is_named = text.len() > image.layout.as_os_str().len();
        Ok(Location::Layout(image.layout, is_named.then_some(image.target)))
    }
}

/// Transports that skopeo knows and umoci does not.
const ELSEWHERE: &str = "docker docker-daemon containers-storage dir atomic ostree sif tarball";

/// Refuses what is neither a layout nor an archive, with the way there.
fn elsewhere(text: &str, what: &str) -> Outcome {
    let Some((place, rest)) = text.split_once(':') else {
        return Ok(());
    };
    // A layout may have such a name too, but no tag begins so.
    let is_layout = !rest.starts_with("//") && (place == "docker" || Path::new(place).exists());
    if !ELSEWHERE.split(' ').any(|other| other == place) || is_layout {
        return Ok(());
    }
    let way = match what {
        "destination" => format!("export to a layout, then run skopeo copy oci:DIR:TAG {text}"),
        _ => format!("run skopeo copy {text} oci:DIR:TAG first, and take DIR:TAG"),
    };
    refuse!(
        "invalid {what}: {text:?} is no layout, archive or registry, and umoci knows no other place: {way}"
    )
}

/// Refuses what begins with a host and its port, as an image of a registry does, unless a directory is there.
fn check_registry(text: &str, what: &str) -> Outcome {
    let Some((host, port)) = text.split_once('/').and_then(|(first, _)| first.split_once(':')) else {
        return Ok(());
    };
    if host.is_empty() || port.parse::<u16>().is_err() || Path::new(host).is_dir() {
        return Ok(());
    }
    refuse!(
        "invalid {what}: {text:?} is called as an image of a registry is: write docker://{text} for one, oci:{text} for a directory"
    )
}

/// Refuses a destination without a transport that is called as an archive is, unless a directory is there.
fn check_archive(text: &str) -> Outcome {
    let path = text.split(':').next().unwrap_or_default();
    let mut ends = [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter();
    if !ends.any(|end| path.ends_with(end)) || Path::new(path).is_dir() {
        return Ok(());
    }
    refuse!(
        "invalid destination: {text:?} is called as an archive is: write oci-archive:{text} or docker-archive:{text} for one, oci:{text} for a directory"
    )
}

/// Opens a layout beside that which the command works on.
pub fn open_other(path: &Path) -> Outcome<Store> {
    let shown = path.display();
    if !crate::fs::exists(path)? {
        fail!(NotFound, "open {shown}: no such file or directory");
    }
    Ok(Store::open(path, StoreOptions::default()).map_err(|e| e.context(format!("open {shown}")))?)
}

/// Refuses what is there and holds no images, with the way to make an image of it.
pub fn check_layout(path: &Path) -> Outcome {
    let shown = path.display();
    let way = format!("umoci new --image LAYOUT:TAG --from {shown} makes an image of its files");
    if path.is_file() {
        refuse!(
            "{shown} is a file: write oci-archive:{shown} or docker-archive:{shown} for an archive of images; {way}"
        );
    }
    if path.is_dir() && !path.join("oci-layout").exists() {
        refuse!("{shown} is a directory and no OCI layout: {way}");
    }
    Ok(())
}

impl fmt::Display for ArchiveRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.docker { "docker" } else { "oci" };
        write!(f, "{kind}-archive:{}", self.file)
    }
}

impl ArchiveRef {
    /// Returns whether what is written goes to stdout, at the position where that stands.
    pub fn is_stdout(&self) -> bool {
        ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].contains(&self.file.as_str())
    }

    /// Opens it to read; what has to be spooled goes to `spool` meanwhile.
    pub fn open(&self, limits: &Limits, spool: &Spool<'_>) -> Result<Box<dyn Source>, Error> {
        let tar = match self.file.as_str() {
            "-" => Archive::spool(std::io::stdin(), limits, spool).context(|| "stdin")?,
            path => Archive::open(path.as_ref(), limits, spool)?,
        };
        if self.docker {
            let archive = DockerArchive::new(tar, limits).context(|| self.file.clone())?;
            return Ok(Box::new(archive));
        }
        let archive = OciArchive::new(tar).context(|| self.file.clone())?;
        Ok(Box::new(archive))
    }

    /// Returns the entries that `name`, a name in the archive or `@N`, stands for, and their name there.
    pub fn find(&self, source: &dyn Source, name: &str) -> Outcome<(Option<String>, RefValue)> {
        let listed = source.list()?;
        let at = name.strip_prefix('@');
        let number: Option<usize> = at.and_then(|at| at.parse().ok());
        let digest: Option<Digest> = at.unwrap_or(name).parse().ok();
        let is_called = listed.iter().filter(|listed| self.is_called(listed, name));
        let mut found: Vec<&SourceEntry> = is_called.collect();
        // A name comes first: an archive may have one that looks like a number or a digest.
        if found.is_empty() {
            found.extend(listed.iter().filter(|listed| {
                match (number, digest) {
                    (Some(number), _) => listed.number == number,
                    // A Docker archive names no manifest: the digest would be that of one that umoci makes.
                    (None, Some(digest)) if !self.docker => source
                        .descriptor(listed)
                        .is_ok_and(|found| found.digest == digest),
                    _ => false,
                }
            }));
        }
        let Some(first) = found.first() else {
            let label = at.map_or(format!("{name:?}"), |_| name.to_owned());
            let names = shortlist(listed.iter().filter_map(SourceEntry::name));
            let has = match names.as_str() {
                "" => format!("{} images without a name", listed.len()),
                names => names.to_owned(),
            };
            fail!(NotFound, "no image {label} in {}, which has {has}", self.file);
        };
        let entries: Result<RefValue, Error> = found.iter().map(|listed| source.descriptor(listed)).collect();
        Ok((first.name().map(str::to_owned), entries?))
    }

    /// Returns whether an entry has this name; Docker's names have parts that go without saying.
    fn is_called(&self, entry: &SourceEntry, name: &str) -> bool {
        let own = entry.name().unwrap_or_default();
        let names = [own, name].map(str::parse::<DockerName>);
        own == name
            || self.docker && matches!(names, [Ok(own), Ok(name)] if own.familiar() == name.familiar())
    }
}
