// SPDX-License-Identifier: Apache-2.0
//! `umoci attach` and `umoci detach`: what is said of an image.

use crate::image::{Artifact, resolve_one, resolve_root};
use crate::spec::Annotations;

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
    #[arg(long, value_parser = annotation)]
    annotation: Vec<(String, String)>,
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
        let mut annotations: Annotations = self.annotation.into_iter().collect();
        // A time that the words give is stronger than the present one: it makes the artifact reproducible.
        annotations.entry(CREATED.to_owned()).or_insert(super::now()?);
        let store = self.algorithm.open(&self.lock, &image.layout)?;
        let mut txn = store.begin("attach")?;
        // The subject is looked up within the transaction, whose lock keeps gc from taking it.
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
        ui.print(line_each([attached.digest]))
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
        // A colon may be part of the name of a file: one that exists by the whole word is meant.
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
        let writer = write_blob(txn, self.file)?;
        let mut descriptor = txn.finish_blob(writer, self.media_type)?;
        if self.file != "-" {
            let name = Path::new(self.file).file_name().unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            descriptor.annotations.insert(TITLE.to_owned(), name);
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
        let (image, digests) = match self.rest.split_first() {
            Some((image, [])) if self.all || self.artifact_type.is_some() => (image, &[][..]),
            Some((image, digests @ [_, ..])) => (image, digests),
            _ => refuse!("give an image, and digests, --artifact-type or --all"),
        };
        let ways = [!digests.is_empty(), self.artifact_type.is_some(), self.all];
        if ways.iter().filter(|way| **way).count() > 1 {
            refuse!("give only one of digests, --artifact-type and --all");
        }
        let image = self.platform.of_word(image)?;
        let store = self.lock.open(&image.layout)?;
        let mut found = store.referrers(&subject(&store, &image)?.digest)?;
        if let Some(wanted) = &self.artifact_type {
            // Referrers come in the order of their types.
            let types = found.iter().map(|one| or_dash(one.artifact_type.as_ref()));
            let mut types: Vec<String> = types.collect();
            types.dedup();
            found.retain(|one| one.artifact_type.as_ref() == Some(wanted));
            let target = &image.target;
            match (found.is_empty(), types.as_slice()) {
                (true, []) => fail!(NotFound, "nothing is attached to {target}"),
                (true, types) => fail!(
                    NotFound,
                    "nothing of the type {wanted} is attached to {target}; what is, is of the types {}",
                    types.join(", ")
                ),
                (false, _) => {}
            }
        }
        let gone = if digests.is_empty() {
            found.iter().map(|one| one.digest).collect()
        } else {
            named(&found, digests, &image)?
        };
        let gone = store.detach(&gone, ui)?;
        for digest in &gone {
            ui.info(format_args!("detached {digest}"));
        }
        ui.print(line_each(&gone))
    }
}

/// Returns the digests of the referrers of an image that begin with these texts, each once.
fn named(referrers: &[Descriptor], texts: &[String], image: &ImageRef) -> Outcome<Vec<Digest>> {
    let mut out = Vec::new();
    for text in texts {
        let prefix: DigestPrefix = text.parse()?;
        let found = referrers.iter().map(|one| one.digest);
        let found: Vec<Digest> = found.filter(|digest| prefix.matches(digest)).collect();
        let target = &image.target;
        match found.as_slice() {
            [] => fail!(NotFound, "nothing attached to {target} begins with {text}"),
            [one] if out.contains(one) => {}
            [one] => out.push(*one),
            several => fail!(
                Ambiguous,
                "{} of what is attached to {target} begin with {text}",
                several.len()
            ),
        }
    }
    Ok(out)
}
