// SPDX-License-Identifier: Apache-2.0
//! Results of a command, the images that it made or moved: `--json`, `--digestfile`, and a line on a terminal.

use std::io::Write as _;

use crate::digest::Digest;
use crate::error::{Error, ResultExt as _};
use crate::fs::PendingFile;
use crate::progress::Monitor;
use crate::spec::{Descriptor, MediaType, RefName, RefValue};
use crate::store::Store;
use crate::transfer::{CopyReport, DockerImage, Request};
use serde::Serialize;
use serde_json::json;

use super::failure::Outcome;
use super::table::{counted, human_size, line_each};
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

    /// Returns the images that were written to a Docker archive.
    pub fn by_docker(images: &[DockerImage]) -> Vec<Self> {
        let made = images.iter();
        let made = made.map(|image| Self::new(Some(&image.name.to_string()), &image.descriptor));
        made.collect()
    }

    /// Returns the images that were copied.
    pub fn by_requests(requests: &[Request]) -> Vec<Self> {
        let made = requests.iter().flat_map(|request| {
            let name = request.name.as_ref().map(RefName::as_str);
            Self::by_value(name, &request.value)
        });
        made.collect()
    }

    /// Returns the images that a name points at.
    fn by_value(name: Option<&str>, value: &RefValue) -> Vec<Self> {
        let entries = value.entries().iter();
        entries.map(|entry| Self::new(name, entry)).collect()
    }
}

impl ResultArgs {
    /// Opens the places that results go to, so that one which cannot be written is known before any work is done.
    pub fn open(&self) -> Outcome<Results> {
        let digests_on_stdout = self.digestfile.as_deref() == Some("-");
        if self.json && digests_on_stdout {
            refuse!("--json and --digestfile - both write to stdout: give one of them");
        }
        // The file is written aside and named at the end: a run that fails leaves the old one.
        let file = self.digestfile.as_deref().filter(|_| !digests_on_stdout);
        let file = file.map(|file| PendingFile::output(file.as_ref())).transpose();
        Ok(Results {
            json: self.json,
            digests_on_stdout,
            digestfile: file.context(|| "--digestfile")?,
            tag: None,
            note: "",
        })
    }

    /// Opens the places of [`ResultArgs::open`] for a command that sets `tag`, whose value before is noted.
    pub fn open_for(&self, store: &Store, tag: impl AsRef<str>) -> Outcome<Results> {
        Ok(Results {
            tag: Some((tag.as_ref().to_owned(), store.lookup(tag))),
            ..self.open()?
        })
    }
}

/// The places that results go to, open.
pub struct Results {
    json: bool,
    digests_on_stdout: bool,
    digestfile: Option<PendingFile>,
    /// The tag that the command sets, and its value before.
    tag: Option<(String, Result<RefValue, Error>)>,
    /// Words for a person before those about the tag.
    pub note: &'static str,
}

impl Results {
    /// Returns whether anything is written to stdout.
    pub fn is_on_stdout(&self) -> bool {
        self.json || self.digests_on_stdout
    }

    fn name(&self) -> Option<&str> {
        self.tag.as_ref().map(|(tag, _)| tag.as_str())
    }

    /// Returns the image that the tag points at by now, where `walk` leads from there to the manifest.
    pub fn made(&self, walk: &[Descriptor]) -> Vec<Made> {
        let made = walk.first().map(|first| Made {
            manifest: walk[1..].last().map(|last| last.digest),
            ..Made::new(self.name(), first)
        });
        made.into_iter().collect()
    }

    /// Says what became of the tag, from which `walk` leads to the manifest.
    pub fn say_walk(self, walk: &[Descriptor], ui: &Ui) -> Outcome {
        let made = self.made(walk);
        self.say(&made, ui)
    }

    /// Says what became of the tag, which has these entries.
    pub fn say_value(self, value: &RefValue, ui: &Ui) -> Outcome {
        let made = Made::by_value(self.name(), value);
        self.say(&made, ui)
    }

    fn say(self, made: &[Made], ui: &Ui) -> Outcome {
        let done = match &self.tag {
            Some((_, Ok(before))) if before.is_empty() => "created",
            Some((_, Ok(before))) if before.digests().eq(made.iter().map(|one| one.digest)) => "kept",
            _ => "replaced",
        };
        // Without a terminal the log tells the same.
        for one in made.iter().filter(|_| ui.has_person()) {
            let name = one.name.as_deref().unwrap_or("<none>");
            ui.done(format_args!("{}{done} tag {name}: {}", self.note, one.digest));
        }
        self.write(made, &json!({ "images": made }), ui)
    }

    /// Says what was copied, `done` being the word for it; a Docker archive has no report of its blobs.
    pub fn say_copy(
        self,
        done: &str,
        made: &[Made],
        report: Option<&CopyReport>,
        replaced: &[RefName],
        ui: &Ui,
    ) -> Outcome {
        let images = counted(made.len() as u64, "image");
        let blobs = report.map_or_else(String::new, |report| {
            let (copied, size) = (counted(report.copied, "blob"), human_size(report.bytes));
            format!(": {copied} copied ({size}), {} there before", report.present)
        });
        ui.done(format_args!("{done} {images}{blobs}"));
        // No other line says that a tag has lost its image.
        let replaced: Vec<&str> = replaced.iter().map(RefName::as_str).collect();
        if !replaced.is_empty() {
            let s = if replaced.len() == 1 { "" } else { "s" };
            ui.warn(format_args!("replaced tag{s} {}", replaced.join(", ")));
        }
        let json = Copied {
            images: made,
            report,
            replaced,
            messages: ui.left_out_lines(),
        };
        self.write(made, &json, ui)
    }

    /// Writes the digests to their file, and `json` if that is asked for.
    pub fn write(self, made: &[Made], json: &impl Serialize, ui: &Ui) -> Outcome {
        let digests = line_each(made.iter().map(|made| made.digest));
        if self.digests_on_stdout {
            ui.print(&digests)?;
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
struct Copied<'a> {
    images: &'a [Made],
    #[serde(flatten)]
    report: Option<&'a CopyReport>,
    /// Names that pointed at something else before.
    replaced: Vec<&'a str>,
    /// All that the copy does not have of what was asked for, in words.
    #[serde(rename = "leftOutMessages")]
    messages: Vec<String>,
}
