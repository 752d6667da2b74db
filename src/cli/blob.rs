// SPDX-License-Identifier: Apache-2.0
//! `umoci blob`: single blobs of a layout.

use crate::store::parse_duration;

use super::prelude::*;
use super::table::short;

commands! {
    /// lists, shows and adds single blobs
    Blob {
        List(List),
        Show(Show),
        Cat(Cat),
        Add(Add),
    }
}

/// lists all blobs
///
/// Prints every blob in the order of digests: its size, how many names and documents need it, and a media type that one of them
/// gives it. With --json each is an object in a line of its own.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    output: TableArgs,
}

impl List {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, []) = self.layout.open_words([])?;
        let is_cut = self.output.is_cut(ui);
        let width = if is_cut { 12 } else { 71 };
        if !self.output.json {
            let (digest, size, needed) = ("DIGEST", "SIZE", "NEEDED");
            ui.print(format!("{digest:width$} {size:8} {needed:6} MEDIA TYPE\n"))?;
        }
        // There may be millions of blobs, too many for a table in memory. So each row is printed at once, in columns as wide as
        // any row needs.
        store.each_blob(ui, |entry| {
            if self.output.json {
                return ui.print_json(&entry);
            }
            let digest = if is_cut {
                short(&entry.digest)
            } else {
                entry.digest.to_string()
            };
            let (size, needed) = (human_size(entry.size), entry.references);
            let media_type = or_dash(entry.media_type);
            ui.print(format!("{digest:width$} {size:8} {needed:6} {media_type}\n"))
        })
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
}

impl Show {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, [digest]) = self.layout.open_words(["digest"])?;
        let info = store.blob_info(&blob(&store, digest)?)?;
        let size = format!("{} ({} bytes)", human_size(info.size), info.size);
        let since = info.since.map(|time| format!("{time:.0}"));
        let verified = if info.verified {
            "yes"
        } else {
            "not since it last changed"
        };
        let text = lines([
            ("digest", vec![info.digest.to_string()]),
            ("size", vec![size]),
            ("media type", texts(&info.media_types)),
            ("since", since.into_iter().collect()),
            ("verified", vec![verified.to_owned()]),
            ("needed", vec![format!("{} times", info.references)]),
            ("needed by", texts(&info.needed_by)),
            ("referrers", texts(&info.referrers)),
            ("names", texts(&info.refs)),
            ("images", texts(&info.images)),
            ("leases", texts(&info.leases)),
        ]);
        ui.show(self.json, &info, text)
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
}

impl Cat {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, [digest]) = self.layout.open_words(["digest"])?;
        // The lock keeps gc from taking the blob between the look-up and the last byte.
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
    #[arg(long, value_name = "duration", value_parser = parse_duration)]
    expires: Option<Duration>,
    /// print a descriptor as JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    fn run(self, ui: &Ui) -> Outcome {
        let [file] = self.layout.words(["file"])?;
        if self.expires.is_some() && self.lease.is_none() {
            refuse!("--expires goes with --lease only");
        }
        let store = self.algorithm.open(&self.layout.lock, &self.layout.layout)?;
        let mut txn = store.begin("blob add")?;
        let writer = write_blob(&txn, file)?;
        let media_type = self.media_type.as_deref().unwrap_or("application/octet-stream");
        let stored = txn.store_blob(writer)?;
        let descriptor = Descriptor::new(media_type.to_owned(), stored.digest, stored.size);
        // The lease comes with the commit, so no gc finds the blob without it.
        if let Some(name) = &self.lease {
            txn.lease(name, &[stored.digest], self.expires)?;
        }
        txn.commit()?;
        if stored.existed {
            ui.info(format_args!("blob {} was there already", stored.digest));
        }
        ui.show(self.json, &descriptor, line_each([stored.digest]))
    }
}
