// SPDX-License-Identifier: Apache-2.0
//! `umoci attach` and `umoci detach`: what is said of an image.

use std::path::Path;

use crate::digest::{Digest, DigestPrefix};
use crate::image::{Artifact, resolve_one, resolve_root};
use crate::spec::{Descriptor, MediaType};
use crate::store::{Store, Txn};

use super::prelude::*;

/// Annotation for the name of a file. Spec: image-spec, annotations.
const TITLE: &str = "org.opencontainers.image.title";

/// Annotation for the time at which something was made. Spec: image-spec, annotations.
const CREATED: &str = "org.opencontainers.image.created";

/// Returns the image that something is about.
pub fn subject(store: &Store, image: &ImageRef) -> Outcome<Descriptor> {
    if image.platform.is_none() {
        return Ok(resolve_root(store, &image.target)?);
    }
    Ok(resolve_one(store, &image.target, image.platform.as_ref())?.into_last())
}

/// attaches files to an image: a signature, an SBOM, an attestation
///
/// Makes an artifact of the files, about an image or image index, and prints its digest. A file may have its media type behind
/// a colon: sbom.json:application/spdx+json; the file - is stdin, which has no name. What is attached is kept as long as the image, is listed by umoci referrers,
/// and travels with the image when that is copied.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "--to <image-path>[:<tag>] --artifact-type <type> [<file>[:<media-type>]...]",
    mut_arg("platform", |arg| arg.help("image of an index that the artifact is about, such as linux/arm64 (default: the index itself)")),
)]
pub struct Attach {
    /// image that the artifact is about
    #[arg(long, value_name = "image", value_parser = ImageRef::parse)]
    to: ImageRef,
    #[command(flatten)]
    platform: PlatformArg,
    /// what kind of artifact it is: a media type, such as application/spdx+json
    #[arg(long = "artifact-type", value_name = "type", value_parser = MediaType::parse)]
    artifact_type: MediaType,
    /// annotation NAME=VALUE of the artifact; may be given more than once
    #[arg(long)]
    annotation: Vec<String>,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    #[command(flatten)]
    lock: LockArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Attach {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let image = self.platform.of(self.to);
        let files = self.rest.iter().map(|word| Content::parse(word));
        let files = files.collect::<Outcome<Vec<Content<'_>>>>()?;
        if files.iter().filter(|file| file.file == "-").count() > 1 {
            refuse!("stdin (-) can be attached once only");
        }
        let mut annotations = annotations(&self.annotation)?;
        annotations.entry(CREATED.to_owned()).or_insert(super::now()?);
        let store = self.lock.open_with(&image.layout, self.algorithm.get())?;
        let mut txn = store.begin("attach")?;
        let subject = subject(&store, &image)?;
        let layers = files.into_iter().map(|file| file.store(&mut txn));
        let artifact = Artifact {
            media_type: self.artifact_type.to_string(),
            layers: layers.collect::<Outcome<_>>()?,
            annotations,
        };
        let attached = artifact.attach(&mut txn, &subject)?;
        txn.commit()?;
        ui.info(format_args!("attached {} to {}", attached.digest, subject.digest));
        ui.print(format!("{}\n", attached.digest))
    }
}

/// A file that becomes part of an artifact.
struct Content<'a> {
    /// Its path; `-` for stdin.
    file: &'a str,
    media_type: MediaType,
}

impl<'a> Content<'a> {
    /// Reads `FILE[:MEDIA/TYPE]`.
    fn parse(word: &'a str) -> Outcome<Self> {
        let (file, media_type) = match word.rsplit_once(':') {
            Some((file, media_type)) if media_type.contains('/') && !Path::new(word).exists() => {
                (file, media_type)
            }
            _ => (word, "application/octet-stream"),
        };
        let media_type = MediaType::parse(media_type).context(|| format!("invalid media type of {file}"))?;
        Ok(Self { file, media_type })
    }

    /// Stores it as a blob.
    fn store(self, txn: &mut Txn<'_>) -> Outcome<Descriptor> {
        let file = self.file;
        let writer = write_blob(txn, file)?;
        let mut descriptor = txn.finish_blob(writer, self.media_type)?;
        if file != "-" {
            let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
            descriptor.annotations.insert(TITLE.to_owned(), name.into_owned());
        }
        Ok(descriptor)
    }
}

/// removes what is attached to an image
///
/// Removes an artifact by its digest, of which 7 hex digits are enough, or all of a type, and with it what is attached to it in
/// turn. Its manifest goes at once, its files stay until umoci gc is run. What a tag, an index or a lease needs is not
/// removed; if it was asked for, nothing is.
#[derive(clap::Args, Debug)]
#[command(
    override_usage = "<image-path>[:<tag>] (<digest>... | --artifact-type <type> | --all)",
    mut_arg("platform", |arg| arg.help("image of an index that it is attached to, such as linux/arm64 (default: the index itself)")),
)]
pub struct Detach {
    #[command(flatten)]
    platform: PlatformArg,
    /// all of this artifact type
    #[arg(long = "artifact-type", value_name = "type")]
    artifact_type: Option<String>,
    /// all that is attached
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    lock: LockArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Detach {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let usage = || Failure::Arguments("give an image, and digests, --artifact-type or --all".to_owned());
        let (image, digests) = self.rest.split_first().ok_or_else(usage)?;
        let ways = [!digests.is_empty(), self.artifact_type.is_some(), self.all];
        match ways.iter().filter(|way| **way).count() {
            0 => return Err(usage()),
            1 => {}
            _ => refuse!("give only one of digests, --artifact-type and --all"),
        }
        let image = self
            .platform
            .of(ImageRef::parse(image).map_err(invalid("image"))?);
        let store = self.lock.open(&image.layout)?;
        let subject = subject(&store, &image)?;
        let mut found = store.referrers(&subject.digest)?;
        if let Some(wanted) = &self.artifact_type {
            let is_wanted = |one: &Descriptor| one.artifact_type.as_ref() == Some(wanted);
            if !found.iter().any(is_wanted) {
                return Err(none_of_type(wanted, &found, &image).into());
            }
            found.retain(is_wanted);
        }
        let mut gone: Vec<Digest> = Vec::new();
        for digest in digests {
            let prefix: DigestPrefix = digest.parse()?;
            let named = found.iter().filter(|one| prefix.matches(&one.digest));
            match named.collect::<Vec<_>>().as_slice() {
                [] => fail!(
                    NotFound,
                    "nothing attached to {} begins with {digest}",
                    image.target
                ),
                [one] if gone.contains(&one.digest) => {}
                [one] => gone.push(one.digest),
                several => fail!(
                    Ambiguous,
                    "{} of what is attached to {} begin with {digest}",
                    several.len(),
                    image.target
                ),
            }
        }
        if digests.is_empty() {
            gone.extend(found.iter().map(|one| one.digest));
        }
        let gone = store.detach(&gone, ui)?;
        for digest in &gone {
            ui.info(format_args!("detached {digest}"));
        }
        let gone: String = gone.iter().map(|digest| digest.to_string() + "\n").collect();
        ui.print(gone)
    }
}

/// Returns the error for a type that nothing is of, with the types that there are.
fn none_of_type(wanted: &str, found: &[Descriptor], image: &ImageRef) -> Error {
    let types = found
        .iter()
        .map(|one| one.artifact_type.as_deref().unwrap_or("-"));
    let mut types: Vec<&str> = types.collect();
    // They come in order.
    types.dedup();
    let (image, types) = (&image.target, types.join(", "));
    let text = match types.as_str() {
        "" => format!("nothing is attached to {image}"),
        types => {
            format!("nothing of the type {wanted} is attached to {image}; what is, is of the types {types}")
        }
    };
    Error::new(ErrorKind::NotFound, text)
}
