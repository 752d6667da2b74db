// SPDX-License-Identifier: Apache-2.0
//! `umoci export`

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use umoci::error::{Error, ErrorKind};
use umoci::fs::PendingFile;
use umoci::image::Target;
use umoci::layer::{Encoder, Limits};
use umoci::progress::Monitor;
use umoci::spec::{Compression, RefName};
use umoci::store::{Store, StoreOptions};
use umoci::transfer::{
    OciArchiveSink, Request, Source, StoreSink, ToOci, copy, with_referrers, write_docker_archive,
};

use super::args::{FormatArg, LayoutArg, PlatformArg, ReferrersArg, positionals};
use super::failure::{Failure, Outcome};
use super::place::{Archived, Place, own_name};
use super::ui::Ui;

/// copies images from this layout to another OCI layout or an archive
///
/// Copies tagged images, all of them when no --tag is given, to a layout that is made if it does not exist. A new
/// layout holds just what its tags reach.
///
/// The destination is a layout, <dir>[:<new-tag>] or oci:<dir>[:<new-tag>], or a new archive:
/// oci-archive:<file>[:<new-tag>] or docker-archive:<file>[:<name>:<tag>]. Stdout is the file -. An archive that exists is
/// replaced when the new one is whole; a pipe or device is written to as it is. A Docker archive has images for one platform;
/// there a tag like v1 becomes <name of the layout>:v1.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <destination>")]
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
    #[arg(long, value_name = "value", default_value = "none")]
    compress: String,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Export {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [to] = positionals(&self.rest, ["destination"])?;
        let place = Place::parse(to, "destination")?;
        let to_oci = self.format.is_oci()?;
        // A Docker archive has no place for them.
        let referrers = self.referrers.get()? && !matches!(&place, Place::Archive(archive) if archive.docker);
        let compression = self.compression(&place)?;
        let name = match &place {
            Place::Layout(_, None) => None,
            Place::Layout(_, Some(Target::Name(name))) => Some(name.clone()),
            Place::Layout(_, Some(Target::Digest(_) | Target::Past(..))) => {
                return Err(Failure::Arguments(
                    "invalid destination: give a tag; digests and the past cannot be chosen".to_owned(),
                ));
            }
            Place::Archive(archive) => archive.name.as_deref().map(str::parse).transpose()?,
        };
        let from = self.layout.open()?;
        let _reading = from.reading();
        let mut requests = self.requests(&from, name, to, ui)?;
        if referrers {
            requests = with_referrers(&from, requests)?;
        }
        let mut converted = ToOci::new(&from);
        let source: &dyn Source = if to_oci {
            let convert = |request| converted.convert(request);
            requests = requests.into_iter().map(convert).collect::<Result<_, Error>>()?;
            &converted
        } else {
            &from
        };
        match &place {
            Place::Layout(path, _) => to_layout(source, path, &requests, ui),
            Place::Archive(archive) => {
                if archive.docker {
                    requests = self.for_docker(source, requests, from.layout().path())?;
                }
                to_archive(source, archive, &requests, compression, ui)
            }
        }
    }

    fn compression(&self, place: &Place) -> Outcome<Compression> {
        match (self.compress.as_str(), place) {
            ("none", _) => Ok(Compression::None),
            ("gzip", Place::Archive(_)) => Ok(Compression::Gzip),
            ("zstd", Place::Archive(_)) => Ok(Compression::Zstd),
            ("gzip" | "zstd", Place::Layout(..)) => {
                let text = "--compress is for an archive, and the destination is a layout".to_owned();
                Err(Failure::Arguments(text))
            }
            (other, _) => {
                let text = format!("invalid --compress: {other:?} (want none, gzip or zstd)");
                Err(Failure::Arguments(text))
            }
        }
    }

    /// One image each, by names that Docker takes.
    fn for_docker(
        &self,
        source: &dyn Source,
        requests: Vec<Request>,
        layout: &Path,
    ) -> Outcome<Vec<Request>> {
        let platform = self.platform.get()?;
        let whole = layout.canonicalize().unwrap_or_else(|_| layout.to_owned());
        let repository = whole
            .file_name()
            .map(|name| name.to_string_lossy().to_lowercase());
        let one = |request: Request| {
            let mut request = request.for_platform(source, platform.as_ref())?;
            if let (Some(name), Some(repository)) = (&request.name, &repository)
                && !name.as_str().contains(':')
            {
                request.name = format!("{repository}:{name}").parse().ok();
            }
            Ok(request)
        };
        requests.into_iter().map(one).collect()
    }

    /// The images that were asked for, by their names at the destination.
    fn requests(&self, from: &Store, new: Option<RefName>, to: &str, ui: &Ui) -> Outcome<Vec<Request>> {
        let platform = self.platform.get()?;
        let platform = platform.as_ref();
        let mut requests = if self.tag.is_empty() {
            Request::all(from, platform, ui)?
        } else {
            Vec::new()
        };
        for tag in &self.tag {
            let target: Target = tag.parse().map_err(|e: Error| e.context("invalid --tag"))?;
            let unnamed =
                || Failure::Arguments(format!("an image named by its digest needs a name: {to}:TAG"));
            let name = new.clone().or_else(|| own_name(&target)).ok_or_else(unnamed)?;
            requests.push(Request::find(from, &target, platform, name)?);
        }
        if let Some(name) = new {
            match requests.as_mut_slice() {
                [one] => one.name = Some(name),
                several => {
                    let n = several.len();
                    let text = format!("{to:?} names one image, and there are {n}: say which with --tag");
                    return Err(Failure::Arguments(text));
                }
            }
        }
        Ok(requests)
    }
}

fn to_layout(source: &dyn Source, path: &Path, requests: &[Request], ui: &Ui) -> Outcome {
    let (into, made) = match Store::create(path, StoreOptions::without_index()) {
        Err(err) if err.kind() == ErrorKind::Exists => (Store::open(path, StoreOptions::default()), false),
        made => (made, true),
    };
    let into = into.map_err(|e| e.context(format!("open {}", path.display())))?;
    let sink = StoreSink::new(&into, "export")?;
    let report = copy(source, &sink, requests, ui)?;
    sink.commit()?;
    if made {
        into.remove_private()?;
    }
    ui.info(format_args!(
        "exported {} images: {} blobs copied, {} were there",
        requests.len(),
        report.copied,
        report.present
    ));
    Ok(())
}

fn to_archive(
    source: &dyn Source,
    archive: &Archived,
    requests: &[Request],
    compression: Compression,
    ui: &Ui,
) -> Outcome {
    if requests.is_empty() {
        let text = "there is no image to export".to_owned();
        return Err(Error::new(ErrorKind::NotFound, text).into());
    }
    if archive.is_stdout() {
        let out = std::io::stdout();
        if out.is_terminal() {
            let text = "an archive is not for a terminal: redirect stdout, or name a file".to_owned();
            return Err(Failure::Arguments(text));
        }
        let out = Encoder::new(out, compression)?;
        let mut out = write(source, archive.docker, requests, out, ui)?.finish()?;
        out.flush().map_err(Failure::stdout)?;
    } else {
        let file = PendingFile::output(Path::new(&archive.file))?;
        let out = Encoder::new(file, compression)?;
        write(source, archive.docker, requests, out, ui)?
            .finish()?
            .commit()?;
    }
    ui.info(format_args!("exported {} images", requests.len()));
    Ok(())
}

fn write<W: Write + Send>(
    source: &dyn Source,
    docker: bool,
    requests: &[Request],
    out: W,
    ui: &Ui,
) -> Outcome<W> {
    if docker {
        return Ok(write_docker_archive(
            source,
            requests,
            &Limits::default(),
            out,
            ui,
        )?);
    }
    let sink = OciArchiveSink::new(out)?;
    copy(source, &sink, requests, ui)?;
    Ok(sink.finish()?)
}
