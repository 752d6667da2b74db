// SPDX-License-Identifier: Apache-2.0
//! `umoci manifest`: image indexes, which name an image for each platform.

use std::ops::RangeBounds;

use crate::image::{EntrySelector, EntrySource, IndexEdit, resolve_index, retry_on_conflict};
use crate::spec::{Annotations, ImageIndex, MediaClass, json};
use crate::store::Summaries;
use crate::transfer::{Request, StoreSink, copy};

use super::location::open_other;
use super::prelude::*;
use super::result::Results;

commands! {
    /// makes and edits image indexes, which name an image for each platform
    Manifest {
        Create(Create),
        Add(Add),
        Remove(Remove),
        Annotate(Annotate),
        #[command(visible_alias = "inspect")]
        Show(Show),
    }
}

/// The part of each image that becomes an entry.
#[derive(clap::Args, Debug)]
struct PartArgs {
    #[command(flatten)]
    platform: PlatformArg,
    /// add all images of an index, with what is said of them
    #[arg(long)]
    all: bool,
    /// add an index as one entry
    #[arg(long)]
    nested: bool,
}

impl PartArgs {
    fn get(&self) -> Outcome<EntrySource> {
        match (self.platform.get().cloned(), self.all, self.nested) {
            (platform, false, false) => Ok(EntrySource::One(platform)),
            (None, true, false) => Ok(EntrySource::All),
            (None, false, true) => Ok(EntrySource::Nested),
            _ => refuse!("give one of --platform, --all and --nested"),
        }
    }
}

/// Facts about an entry.
#[derive(clap::Args, Debug)]
struct EntryArgs {
    /// operating system of the entry
    #[arg(long)]
    os: Option<String>,
    /// processor of the entry
    #[arg(long)]
    arch: Option<String>,
    /// variant of the processor
    #[arg(long)]
    variant: Option<String>,
    /// version of the operating system
    #[arg(long = "os-version")]
    os_version: Option<String>,
    /// feature of the operating system that the image needs; may be given more than once
    #[arg(long = "os-features")]
    os_features: Vec<String>,
    /// annotation NAME=VALUE; may be given more than once
    #[arg(long, value_parser = annotation)]
    annotation: Vec<(String, String)>,
}

impl EntryArgs {
    fn names_platform(&self) -> bool {
        let words = [&self.os, &self.arch, &self.variant, &self.os_version];
        words.iter().any(|word| word.is_some()) || !self.os_features.is_empty()
    }

    fn apply(&self, entry: &mut Descriptor) -> Outcome {
        entry.annotations.extend(self.annotation.iter().cloned());
        if !self.names_platform() {
            return Ok(());
        }
        // The words on the command line replace single fields of the platform in the image's config.
        let mut platform = entry.platform.take().unwrap_or_default();
        replace([
            (&mut platform.os, &self.os),
            (&mut platform.architecture, &self.arch),
            (&mut platform.variant, &self.variant),
            (&mut platform.os_version, &self.os_version),
        ]);
        if !self.os_features.is_empty() {
            platform.os_features.clone_from(&self.os_features);
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            refuse!("a platform needs both --os and --arch");
        }
        entry.platform = Some(platform);
        Ok(())
    }
}

/// The index that a command is about.
#[derive(clap::Args, Debug)]
struct IndexArg {
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    result: ResultArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl IndexArg {
    /// Returns the name, and what stands behind it: a number of words in `range`; `usage` is what the command wants.
    fn name_and_rest(&self, usage: &str, range: impl RangeBounds<usize>) -> Outcome<(ImageRef, &[String])> {
        let (name, rest) = match self.rest.split_first() {
            Some((name, rest)) if range.contains(&rest.len()) => (name, rest),
            _ => refuse!("invalid number of positional arguments: expected {usage}"),
        };
        let name = ImageRef::parse(name).map_err(invalid("name"))?;
        // A digest or a name of the past cannot be changed.
        name.tag()?;
        if rest.iter().any(String::is_empty) {
            refuse!("image cannot be empty");
        }
        Ok((name, rest))
    }

    /// Opens the layout, and what the result goes to.
    fn open(&self, name: &ImageRef) -> Outcome<(Store, Results)> {
        let store = self.lock.open(&name.layout)?;
        let result = self.result.open_for(&store, name.tag()?)?;
        Ok((store, result))
    }
}

/// Returns the entries for `words`, after the blobs of those from other layouts came.
fn entries(
    store: &Store,
    sink: &StoreSink<'_>,
    words: &[String],
    part: &EntrySource,
    ui: &Ui,
) -> Outcome<Vec<Descriptor>> {
    let mut out = Vec::new();
    for word in words {
        out.extend(match Near::parse(word, store)? {
            Near::Own(target) => IndexEdit::entries(store, &target, part)?,
            Near::Other(image) => from_other(sink, &image, part, ui)?,
        });
    }
    Ok(out)
}

/// Adds entries to an index, with a warning for a platform that is there.
fn add(edit: &mut IndexEdit, entries: &[Descriptor], ui: &Ui) {
    for one in entries {
        let mut old = edit.index.manifests.iter();
        let first = old.find(|old| old.platform == one.platform && old.digest != one.digest);
        // Attestations share the platform unknown/unknown, which nobody asks for.
        if let (Some(first), Some(platform)) = (first, &one.platform)
            && !platform.is_unknown()
        {
            ui.warn(format_args!(
                "{platform} is in the index already, and its first entry is what is taken: {}",
                first.digest
            ));
        }
        edit.add(one.clone());
    }
}

fn from_other(
    sink: &StoreSink<'_>,
    image: &ImageRef,
    part: &EntrySource,
    ui: &Ui,
) -> Outcome<Vec<Descriptor>> {
    let from = open_other(&image.layout)?;
    // Held until the blobs are copied: umoci gc of another process must not remove them before.
    let _reading = from.reading();
    let found = IndexEdit::entries(&from, &image.target, part)?;
    let requests: Vec<Request> = found.iter().cloned().map(Request::unnamed).collect();
    copy(&from, sink, &requests, ui)?;
    Ok(found)
}

/// makes an image index
///
/// Makes an index of images and gives it a name. An image is a tag or digest of the same layout, or <dir>:<tag> of another
/// one, whose blobs are copied. Of an image that is an index itself the image for this machine becomes an entry, that for
/// --platform, all of them with --all, or the index as one entry with --nested. Several indexes are merged by --all.
#[derive(clap::Args, Debug)]
#[command(override_usage = Self::USAGE)]
pub struct Create {
    #[command(flatten)]
    part: PartArgs,
    /// annotation NAME=VALUE of the index; may be given more than once
    #[arg(long, value_parser = annotation)]
    annotation: Vec<(String, String)>,
    /// add to the index if the name exists
    #[arg(long)]
    amend: bool,
    /// replace the name if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    index: IndexArg,
}

impl Create {
    const USAGE: &str = "<image-path>:<name> [<image>...]";

    fn run(self, ui: &Ui) -> Outcome {
        let (name, words) = self.index.name_and_rest(Self::USAGE, 0..)?;
        let tag = name.tag()?;
        let part = self.part.get()?;
        let (store, result) = self.index.open(&name)?;
        // Now, so that nothing is copied in vain, and again when the tag is set: it may have come meanwhile.
        self.check(&store, tag)?;
        let sink = StoreSink::new(&store, "manifest create")?;
        let entries = entries(&store, &sink, words, &part, ui)?;
        change(sink.into_txn(), &name, (result, ui), |txn| {
            let exists = self.check(&store, tag)?;
            let mut edit = if exists && self.amend {
                IndexEdit::load(&store, tag)?
            } else {
                IndexEdit::default()
            };
            // The commit fails if another process gives the name to something first.
            if !exists && !self.force {
                txn.expect_ref(tag, Vec::new());
            }
            add(&mut edit, &entries, ui);
            edit.index.annotations.extend(self.annotation.iter().cloned());
            Ok(edit)
        })
    }

    /// Returns whether the name exists, which may be so with --amend and --force alone.
    fn check(&self, store: &Store, tag: &RefName) -> Outcome<bool> {
        let exists = !store.lookup(tag)?.is_empty();
        if exists && !self.amend && !self.force {
            let text = format!("tag exists: {tag} (--amend adds to the index, --force replaces it)");
            fail!(Exists, "{text}");
        }
        Ok(exists)
    }
}

/// Makes the change to the index called `name`, again if somebody else was first.
fn change(
    mut txn: Txn<'_>,
    name: &ImageRef,
    (result, ui): (Results, &Ui),
    mut edit: impl FnMut(&mut Txn<'_>) -> Outcome<IndexEdit>,
) -> Outcome {
    let tag = name.tag()?;
    // The edit may run several times, and the count of the last run is that of what was written.
    let mut entries = 0;
    let written = retry_on_conflict(&mut txn, |txn| -> Outcome<Descriptor> {
        let edit = edit(txn)?;
        entries = edit.index.manifests.len();
        Ok(edit.apply(txn, tag)?)
    })?;
    let digest = &written.digest;
    ui.info(format_args!(
        "new image index created: {digest} with {entries} entries, tagged {tag}"
    ));
    result.say_walk(&[written], ui)
}

/// adds images to an image index
///
/// Adds images at the end of an index, as umoci manifest create does. The platform is that of the image's config unless
/// it is given.
#[derive(clap::Args, Debug)]
#[command(override_usage = Self::USAGE)]
pub struct Add {
    #[command(flatten)]
    part: PartArgs,
    #[command(flatten)]
    entry: EntryArgs,
    #[command(flatten)]
    index: IndexArg,
}

impl Add {
    const USAGE: &str = "<image-path>:<name> <image>...";

    fn run(self, ui: &Ui) -> Outcome {
        let (name, words) = self.index.name_and_rest(Self::USAGE, 1..)?;
        let part = self.part.get()?;
        let (store, result) = self.index.open(&name)?;
        let sink = StoreSink::new(&store, "manifest add")?;
        // An image that is no index is refused before anything is copied.
        IndexEdit::load(&store, name.tag()?)?;
        let mut entries = entries(&store, &sink, words, &part, ui)?;
        for entry in &mut entries {
            self.entry.apply(entry)?;
        }
        change(sink.into_txn(), &name, (result, ui), |_| {
            let mut edit = IndexEdit::load(&store, name.tag()?)?;
            add(&mut edit, &entries, ui);
            Ok(edit)
        })
    }
}

/// removes entries from an image index
///
/// Removes the entries with a digest, of which 7 hex digits are enough, or of a platform. Their blobs stay until umoci gc is
/// run.
#[derive(clap::Args, Debug)]
#[command(override_usage = Self::USAGE)]
pub struct Remove {
    #[command(flatten)]
    index: IndexArg,
}

impl Remove {
    const USAGE: &str = "<image-path>:<name> (<digest>|<os>/<arch>[/<variant>])...";

    fn run(self, ui: &Ui) -> Outcome {
        let (name, words) = self.index.name_and_rest(Self::USAGE, 1..)?;
        let entries = words.iter().map(|word| word.parse());
        let entries = entries.collect::<Result<Vec<EntrySelector>, Error>>()?;
        let (store, result) = self.index.open(&name)?;
        change(store.begin("manifest remove")?, &name, (result, ui), |_| {
            let mut edit = IndexEdit::load(&store, name.tag()?)?;
            for which in &entries {
                edit.remove(which)?;
            }
            Ok(edit)
        })
    }
}

/// changes what an image index says of an entry
///
/// Sets platform and annotations of the entries with a digest, of which 7 hex digits are enough, or of a platform; without an
/// entry, annotations of the index itself. What is not named stays; --os-features are all that there are then.
#[derive(clap::Args, Debug)]
#[command(override_usage = Self::USAGE)]
pub struct Annotate {
    #[command(flatten)]
    entry: EntryArgs,
    /// name of an annotation that goes; may be given more than once
    #[arg(long = "remove-annotation", value_name = "name")]
    remove_annotation: Vec<String>,
    #[command(flatten)]
    index: IndexArg,
}

impl Annotate {
    const USAGE: &str = "<image-path>:<name> [<digest>|<os>/<arch>[/<variant>]]";

    fn run(self, ui: &Ui) -> Outcome {
        let (name, words) = self.index.name_and_rest(Self::USAGE, ..=1)?;
        // Without an entry the annotations of the index itself are meant.
        let which: Option<EntrySelector> = words.first().map(|which| which.parse()).transpose()?;
        if which.is_none() && self.entry.names_platform() {
            refuse!("a platform is that of an entry: say which");
        }
        let (store, result) = self.index.open(&name)?;
        change(store.begin("manifest annotate")?, &name, (result, ui), |_| {
            let mut edit = IndexEdit::load(&store, name.tag()?)?;
            let Some(which) = &which else {
                self.annotate(&mut edit.index.annotations);
                return Ok(edit);
            };
            for entry in edit.find(which)? {
                self.entry.apply(entry)?;
                self.annotate(&mut entry.annotations);
            }
            Ok(edit)
        })
    }

    fn annotate(&self, annotations: &mut Annotations) {
        annotations.extend(self.entry.annotation.iter().cloned());
        // An annotation that is both set and removed is gone.
        annotations.retain(|name, _| !self.remove_annotation.contains(name));
    }
}

/// shows what is in an image index
///
/// Prints the entries of an index: digest, platform, size of the image, annotations. An index in it is one entry; umoci stat
/// shows the images below that too. --json prints the document as it is stored.
#[derive(clap::Args, Debug)]
#[command(override_usage = Self::USAGE)]
pub struct Show {
    #[command(flatten)]
    output: TableArgs,
    #[command(flatten)]
    lock: LockArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

impl Show {
    const USAGE: &str = "<image-path>:<name>";

    fn run(self, ui: &Ui) -> Outcome {
        let [name] = self.rest.as_slice() else {
            refuse!("invalid number of positional arguments: expected {}", Self::USAGE);
        };
        let name = ImageRef::parse(name).map_err(invalid("name"))?;
        let store = self.lock.open(&name.layout)?;
        let root = resolve_index(&store, &name.target)?;
        let document = store.read(&root)?;
        // The bytes as they are stored, so that they have the digest of the blob.
        if self.output.json {
            return ui.print(&document);
        }
        let index: ImageIndex = json::parse(&document)?;
        let mut summaries = Summaries::in_store(&store);
        let mut table = Table::new(&["DIGEST", "PLATFORM", "SIZE", "ANNOTATIONS"]);
        for entry in &index.manifests {
            let stat = summaries.of(entry);
            let (platform, size) = (stat.platform.map(|p| p.to_string()), stat.size.map(human_size));
            // An index in it has no size of its own, and may be there all the same.
            let (instead_of_platform, instead_of_size) = match entry.media_type.class() {
                MediaClass::Index => (Some("(index)"), None),
                _ => (None, Some("<missing>")),
            };
            let pairs = entry.annotations.iter();
            let annotations: Vec<String> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
            table.row([
                entry.digest.to_string(),
                or_dash(platform.as_deref().or(instead_of_platform)),
                or_dash(size.as_deref().or(instead_of_size)),
                one_line(&annotations.join(" ")),
            ]);
        }
        ui.print(self.output.fit(table, ui).to_string())
    }
}
