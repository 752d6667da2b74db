// SPDX-License-Identifier: Apache-2.0
//! Results of a command, the images that it made or moved: `--json`, `--digestfile`, and a line on a terminal.

use std::io::Write as _;

use crate::digest::Digest;
use crate::error::Error;
use crate::fs::PendingFile;
use crate::progress::Monitor;
use crate::spec::{Descriptor, MediaType, RefName, RefValue};
use crate::store::Store;
use crate::transfer::{CopyReport, DockerImage, LeftOut, Request};
use serde::Serialize;
use serde_json::json;

use super::failure::Outcome;
use super::table::{counted, human_size};
use super::ui::Ui;

/// `--json` and `--digestfile` of commands that make or move images.
#[derive(clap::Args, Debug)]
pub struct ResultArgs {
    /// print name, digest and size of what was made as JSON
    #[arg(long)]
    json: bool,
    /// write the digest of what was made to a file, '-' for stdout; one a line if there are several
    #[arg(long, value_name = "file")]
    digestfile: Option<String>,
}

/// An image or index, and its name if it has one.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    name: Option<String>,
    digest: Digest,
    #[serde(rename = "mediaType")]
    media_type: MediaType,
    size: u64,
    /// The image manifest, where the name leads to it by way of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Digest>,
}

impl Made {
    fn new(name: Option<&str>, descriptor: &Descriptor) -> Self {
        Self {
            name: name.map(str::to_owned),
            digest: descriptor.digest,
            media_type: descriptor.media_type.clone(),
            size: descriptor.size,
            manifest: None,
        }
    }

    /// What `name` points at by now, from there to the manifest.
    pub fn by_walk(name: &RefName, walk: &[Descriptor]) -> Vec<Self> {
        let made = walk.first().map(|first| Self {
            manifest: walk[1..].last().map(|last| last.digest),
            ..Self::new(Some(name.as_str()), first)
        });
        made.into_iter().collect()
    }

    /// Every entry of a name.
    pub fn by_value(name: impl AsRef<str>, value: &RefValue) -> Vec<Self> {
        let entries = value.entries().iter();
        entries
            .map(|entry| Self::new(Some(name.as_ref()), entry))
            .collect()
    }

    /// Returns what was written to a Docker archive.
    pub fn by_docker(images: &[DockerImage]) -> Vec<Self> {
        let made = images.iter().map(|image| Self {
            name: Some(image.name.to_string()),
            ..Self::new(None, &image.descriptor)
        });
        made.collect()
    }

    /// Returns what was copied.
    pub fn by_requests(requests: &[Request]) -> Vec<Self> {
        let mut made = Vec::new();
        for Request { name, value } in requests {
            for entry in value.entries() {
                made.push(Self::new(name.as_ref().map(RefName::as_str), entry));
            }
        }
        made
    }
}

impl ResultArgs {
    /// Opens what the results go to. What cannot be written is known before any work is done.
    pub fn open(&self) -> Outcome<Results> {
        if self.json && self.digestfile.as_deref() == Some("-") {
            refuse!("--json and --digestfile - both write to stdout: give one of them");
        }
        let file = self.digestfile.as_deref().filter(|file| *file != "-");
        let file = file.map(|file| PendingFile::output(file.as_ref())).transpose();
        Ok(Results {
            json: self.json,
            digests_on_stdout: self.digestfile.as_deref() == Some("-"),
            digestfile: file.map_err(|e| e.context("--digestfile"))?,
            before: None,
        })
    }

    /// As [`ResultArgs::open`], for a command that sets `tag`.
    pub fn open_for(&self, store: &Store, tag: impl AsRef<str>) -> Outcome<Results> {
        Ok(Results {
            before: Some(store.lookup(tag)),
            ..self.open()?
        })
    }
}

/// The places that results go to, open.
pub struct Results {
    json: bool,
    digests_on_stdout: bool,
    digestfile: Option<PendingFile>,
    /// The value of the tag before the command, if it sets one.
    before: Option<Result<RefValue, Error>>,
}

impl Results {
    /// Whether anything is written to stdout.
    pub fn is_on_stdout(&self) -> bool {
        self.json || self.digests_on_stdout
    }

    /// Says what became of the tag.
    pub fn say(self, made: &[Made], ui: &Ui) -> Outcome {
        self.say_after("", made, ui)
    }

    /// As [`Results::say`], behind a `note` for a person.
    pub fn say_after(self, note: &str, made: &[Made], ui: &Ui) -> Outcome {
        let done = match &self.before {
            Some(Ok(before)) if before.is_empty() => "created",
            Some(Ok(before)) if before.digests().eq(made.iter().map(|one| one.digest)) => "kept",
            _ => "replaced",
        };
        // Elsewhere the steps have told it.
        for one in made.iter().filter(|_| ui.has_person()) {
            let name = one.name.as_deref().unwrap_or("<none>");
            ui.done(format_args!("{note}{done} tag {name}: {}", one.digest));
        }
        self.write(made, &json!({ "images": made }), ui)
    }

    /// Writes the digests to their file, and `json` if that is asked for.
    pub fn write(self, made: &[Made], json: &impl Serialize, ui: &Ui) -> Outcome {
        let digests: String = made.iter().map(|made| made.digest.to_string() + "\n").collect();
        if self.digests_on_stdout {
            ui.print(digests.as_bytes())?;
        }
        if let Some(mut file) = self.digestfile {
            file.write_all(digests.as_bytes()).map_err(Error::from)?;
            file.commit()?;
        }
        if self.json {
            ui.print_json(json)?;
        }
        Ok(())
    }
}

/// The JSON of a copy.
#[derive(Serialize)]
pub struct Copied<'a> {
    images: &'a [Made],
    #[serde(flatten)]
    blobs: Option<Blobs<'a>>,
    /// Names that pointed at something else before.
    replaced: Vec<&'a str>,
    /// All that the copy does not have of what was asked for, in words.
    #[serde(rename = "leftOutMessages")]
    messages: Vec<String>,
}

#[derive(Serialize)]
struct Blobs<'a> {
    /// Blobs that were copied or shared, and their bytes.
    copied: u64,
    bytes: u64,
    /// Blobs that were there.
    present: u64,
    /// Blobs that nobody has.
    #[serde(rename = "leftOut")]
    left_out: &'a [LeftOut],
}

impl<'a> Copied<'a> {
    /// What a copy did; a Docker archive has no blobs of its own.
    pub fn new(images: &'a [Made], report: Option<&'a CopyReport>, replaced: &'a [RefName], ui: &Ui) -> Self {
        let blobs = report.map(|report| Blobs {
            copied: report.copied,
            bytes: report.bytes,
            present: report.present,
            left_out: &report.left_out.named,
        });
        Self {
            images,
            blobs,
            replaced: replaced.iter().map(RefName::as_str).collect(),
            messages: ui.left_out_lines(),
        }
    }
}

/// Says which names a copy took from other images.
pub fn warn_replaced(names: &[RefName], ui: &Ui) {
    if !names.is_empty() {
        let tags = if names.len() == 1 { "tag" } else { "tags" };
        let names: Vec<&str> = names.iter().map(RefName::as_str).collect();
        ui.warn(format_args!("replaced {tags} {}", names.join(", ")));
    }
}

/// A copy in words.
pub fn report_text(images: usize, report: Option<&CopyReport>) -> String {
    let images = counted(images as u64, "image");
    let Some(report) = report else { return images };
    let (copied, size) = (counted(report.copied, "blob"), human_size(report.bytes));
    format!(
        "{images}: {copied} copied ({size}), {} there before",
        report.present
    )
}
