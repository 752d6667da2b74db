// SPDX-License-Identifier: Apache-2.0
//! `umoci blob`: single blobs of a layout.

use std::fmt::Write as _;
use std::fs::File;
use std::io;

use umoci::digest::Digest;
use umoci::error::{Error, ErrorKind, ResultExt};
use umoci::progress::Monitor;
use umoci::spec::{Descriptor, MediaType};

use super::args::{AlgorithmArg, LayoutArg, WholeArg, blob, duration, positionals};
use super::failure::{Failure, Outcome, one_line};
use super::table::{human_size, short};
use super::ui::Ui;

/// lists, shows and adds single blobs
#[derive(clap::Subcommand, Debug)]
pub enum Blob {
    List(List),
    Show(Show),
    Cat(Cat),
    Add(Add),
}

impl Blob {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        match self {
            Blob::List(command) => command.run(ui),
            Blob::Show(command) => command.run(ui),
            Blob::Cat(command) => command.run(ui),
            Blob::Add(command) => command.run(ui),
        }
    }
}

/// lists all blobs
///
/// Prints every blob in the order of digests: its size, how many names and documents need it, and a media type that one of them
/// gives it.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path>")]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    /// print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whole: WholeArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl List {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [] = positionals(&self.rest, [])?;
        let store = self.layout.open()?;
        // Row by row: there may be millions. So each is a table by itself, with columns as wide as any row needs.
        let mut stopped = Ok(());
        let is_cut = self.whole.is_cut(ui);
        let width = if is_cut { 12 } else { 71 };
        if !self.json {
            ui.print(format!("{:width$} {:8} {:6} MEDIA TYPE\n", "DIGEST", "SIZE", "NEEDED").as_bytes())?;
        }
        let listed = store.each_blob(ui, |entry| {
            let printed = if self.json {
                ui.print_json(&entry)
            } else {
                let media_type = entry.media_type.as_ref().map_or("-", |t| t.as_str());
                let digest = if is_cut {
                    short(&entry.digest)
                } else {
                    entry.digest.to_string()
                };
                let line = format!(
                    "{digest:width$} {:8} {:6} {}\n",
                    human_size(entry.size),
                    entry.references,
                    one_line(media_type)
                );
                ui.print(line.as_bytes())
            };
            printed.map_err(|failure| {
                stopped = Err(failure);
                Error::new(ErrorKind::Io, "stdout is closed")
            })
        });
        stopped?;
        Ok(listed?)
    }
}

/// shows what a blob is, and what leads to it
///
/// Prints size and media types of a blob, the documents that need it or are about it, the names that point at it, and the images and
/// leases that hold it. The digest may be cut to 7 or more hex digits.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <digest>")]
pub struct Show {
    #[command(flatten)]
    layout: LayoutArg,
    /// print a JSON object
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Show {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [digest] = positionals(&self.rest, ["digest"])?;
        let store = self.layout.open()?;
        let info = store.blob_info(&blob(&store, digest)?)?;
        if self.json {
            return ui.print_json(&info);
        }
        let digests = |list: &[Digest]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let names = |list: &[String]| list.iter().map(|name| one_line(name)).collect::<Vec<_>>();
        let types = info.media_types.iter().map(|t| one_line(t.as_str())).collect();
        let since = info.since.map(|time| format!("{time:.0}"));
        let mut text = String::new();
        for (name, values) in [
            ("digest", vec![info.digest.to_string()]),
            (
                "size",
                vec![format!("{} ({} bytes)", human_size(info.size), info.size)],
            ),
            ("media type", types),
            ("since", since.into_iter().collect()),
            (
                "verified",
                vec![
                    if info.verified {
                        "yes"
                    } else {
                        "not since it last changed"
                    }
                    .to_owned(),
                ],
            ),
            ("needed", vec![format!("{} times", info.references)]),
            ("needed by", digests(&info.needed_by)),
            ("referrers", digests(&info.referrers)),
            ("names", names(&info.refs)),
            ("images", names(&info.images)),
            ("leases", names(&info.leases)),
        ] {
            for (at, value) in values.iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                let _ = writeln!(text, "{name:11} {value}");
            }
        }
        ui.print(text.as_bytes())
    }
}

/// writes the content of a blob to stdout
///
/// Writes a blob as it is stored. Its digest is verified on the way; a blob that is damaged ends in an error, after the bytes were
/// written. The digest may be cut to 7 or more hex digits.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <digest>")]
pub struct Cat {
    #[command(flatten)]
    layout: LayoutArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Cat {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [digest] = positionals(&self.rest, ["digest"])?;
        let store = self.layout.open()?;
        let _reading = store.reading();
        let digest = blob(&store, digest)?;
        let size = store.layout().blob_size(&digest)?.unwrap_or(0);
        let mut reader = store.open_blob(&Descriptor::new(String::new(), digest, size))?;
        ui.print_all(&mut reader)
    }
}

/// adds a file as a blob
///
/// Stores a file, or stdin for -, as a blob, and prints its digest. Nothing leads to it yet: give it a --lease, or the next
/// umoci gc removes it. A manifest gets a name with umoci ref create --digest.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <file>|-")]
pub struct Add {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    algorithm: AlgorithmArg,
    /// media type, for the index to remember
    #[arg(long = "media-type", value_name = "type")]
    media_type: Option<String>,
    /// lease that keeps the blob from umoci gc
    #[arg(long, value_name = "name")]
    lease: Option<String>,
    /// when the lease ends, such as 24h; never if not given
    #[arg(long, value_name = "duration")]
    expires: Option<String>,
    /// print a descriptor as JSON
    #[arg(long)]
    json: bool,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Add {
    fn run(self, ui: &Ui) -> Outcome {
        self.layout.get()?;
        let [file] = positionals(&self.rest, ["file"])?;
        let time = self
            .expires
            .as_deref()
            .map(|text| duration(text, "--expires"))
            .transpose()?;
        if time.is_some() && self.lease.is_none() {
            return Err(Failure::Arguments("--expires goes with --lease only".to_owned()));
        }
        let store = self.layout.open_with(&self.algorithm)?;
        let mut txn = store.begin("blob add")?;
        let mut writer = txn.write_blob()?;
        let copied = if file == "-" {
            io::copy(&mut io::stdin().lock(), &mut writer)
        } else {
            let mut from = File::open(file).context(|| format!("open {file}"))?;
            io::copy(&mut from, &mut writer)
        };
        copied.context(|| format!("store {file}"))?;
        let media_type = self
            .media_type
            .clone()
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        let media_type = MediaType::new(media_type);
        let stored = txn.store_blob(writer)?;
        let descriptor = Descriptor::new(media_type, stored.digest, stored.size);
        if let Some(name) = &self.lease {
            txn.lease(name, &[stored.digest], time)?;
        }
        txn.commit()?;
        if stored.existed {
            ui.info(format_args!("blob {} was there already", stored.digest));
        }
        if self.json {
            return ui.print_json(&descriptor);
        }
        ui.print(format!("{}\n", stored.digest).as_bytes())
    }
}
