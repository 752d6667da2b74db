// SPDX-License-Identifier: Apache-2.0
//! `umoci ref`: names of a layout, by digest where wanted.

use std::collections::HashSet;

use crate::image::resolve_whole;

use super::prelude::*;

commands! {
    /// creates, lists and removes names in an OCI layout
    Ref {
        Create(Create),
        #[command(visible_alias = "rm")]
        Remove(Remove),
        #[command(visible_alias = "ls")]
        List(super::ref_list::List),
        Log(Log),
        Restore(Restore),
    }
}

/// names a digest or another name
///
/// Gives a name to the image manifest or image index with a digest, whether anything refers to it or not. The digest
/// may be cut to 7 or more hex digits while it is unambiguous. The media type is that which the layout's documents
/// record for the blob, else what the blob itself says; where that is not enough, the error says what to give.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <name> (--digest <digest> | --from <other>)")]
pub struct Create {
    #[command(flatten)]
    layout: LayoutArg,
    /// digest to name, such as sha256:6c3c624b58db, or 7 or more hex digits of it
    #[arg(long, value_name = "digest")]
    digest: Option<DigestPrefix>,
    /// name whose target gets the new name too; name@{N} is what it was N changes ago
    #[arg(long, value_name = "name")]
    from: Option<Target>,
    /// media type of the blob, where it cannot be told
    #[arg(long = "media-type", value_name = "type")]
    media_type: Option<String>,
    /// replace the name if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    result: ResultArgs,
}

impl Create {
    fn run(self, ui: &Ui) -> Outcome {
        let [name] = self.layout.words(["name"])?;
        let name = RefName::parse_new(name)?;
        let store = self.layout.open()?;
        let result = self.result.open_for(&store, &name)?;
        let (target, why) = match (&self.digest, &self.from) {
            (Some(prefix), None) => {
                let given = self.media_type.as_deref().map(MediaType::from);
                let detected = store.detect(&store.find(prefix)?, given.as_ref())?;
                (detected.descriptor.into(), detected.evidence.to_string())
            }
            (None, Some(other)) => {
                if self.media_type.is_some() {
                    refuse!("--media-type goes with --digest only");
                }
                (resolve_whole(&store, other)?, format!("as {other}"))
            }
            _ => refuse!("give either --digest or --from"),
        };
        // A name may have an entry for each platform.
        let types = target.entries().iter().map(|entry| entry.media_type.to_string());
        let types: Vec<String> = types.collect();
        let said = format!("{name} -> {} ({}, {why})", digests(&target), types.join(","));
        if self.force {
            store.set_ref(&name, target.clone())?
        } else {
            store.create_ref(&name, target.clone())?
        }
        ui.info(format_args!("created ref: {said}"));
        result.say_value(&target, ui)
    }
}

/// Returns the digests of what a name points at, as one word; `-` for nothing.
fn digests(value: &RefValue) -> String {
    let digests: Vec<String> = value.digests().map(|digest| digest.to_string()).collect();
    or_dash(Some(digests.join(",")).filter(|text| !text.is_empty()))
}

/// Returns the entries of `value` whose digests `other` does not have.
fn only_in(value: &RefValue, other: &RefValue) -> RefValue {
    let there: HashSet<Digest> = other.digests().collect();
    let entries = value.entries().iter().cloned();
    entries.filter(|entry| !there.contains(&entry.digest)).collect()
}

/// Returns the digests that a change took and those that it brought; all of them where they stayed, and something else changed.
fn changed(old: &RefValue, new: &RefValue) -> [String; 2] {
    let changed = [only_in(old, new), only_in(new, old)];
    if changed.iter().all(RefValue::is_empty) {
        return [digests(old), digests(new)];
    }
    changed.map(|value| digests(&value))
}

/// removes names
///
/// Removes names, which must exist, all of them in one step or none. A word with *, ? or [ is a pattern of names. A name that no tag may
/// have is removed as well, by its text as it stands in index.json. The blobs stay until umoci gc is run.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <name|pattern>...")]
pub struct Remove {
    #[command(flatten)]
    layout: LayoutArg,
    /// print what would be removed, and remove nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
}

impl Remove {
    fn run(self, ui: &Ui) -> Outcome {
        if self.layout.rest.is_empty() || self.layout.rest.iter().any(String::is_empty) {
            refuse!("invalid number of positional arguments: expected <name>...");
        }
        let store = self.layout.open()?;
        let names = self.names(&store)?;
        if self.dry_run {
            return ui.print(line_each(texts(&names)));
        }
        store.remove_refs(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        for name in names {
            ui.done(format_args!("removed ref: {name}"));
        }
        Ok(())
    }

    /// Returns the names that the words stand for, each once.
    fn names(&self, store: &Store) -> Outcome<Vec<String>> {
        let there = store.names()?;
        let mut out: Vec<String> = Vec::new();
        for word in &self.layout.rest {
            // A name that no tag may have may look like a pattern.
            let found = if there.contains(word) {
                vec![word.clone()]
            } else if word.contains(['*', '?', '[']) {
                let pattern = pattern(word).map_err(invalid("pattern"))?;
                let found = there.iter().filter(|name| pattern.matches(name));
                found.cloned().collect()
            } else {
                word.parse::<RefName>()?;
                Vec::new()
            };
            if found.is_empty() {
                fail!(NotFound, "tag not found: {word}");
            }
            out.extend(found);
        }
        // A name may match several patterns, and the layout would miss it the second time.
        let mut met = HashSet::new();
        out.retain(|name| met.insert(name.clone()));
        Ok(out)
    }
}

/// shows what a name pointed at before
///
/// Prints the changes of a name, the newest first: <name>@{N} is what it was before the change in line N. Of a name with several
/// entries only those that changed are printed. Changes by
/// other programs show as (another program), without a time. Set reflog.keep with umoci settings, or the blobs of earlier values go
/// with the next umoci gc.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <name>")]
pub struct Log {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    output: TableArgs,
}

impl Log {
    fn run(self, ui: &Ui) -> Outcome {
        let [name] = self.layout.words(["name"])?;
        let log = self.layout.open()?.reflog(name)?;
        // A program that reads JSON gets an empty list, and no error.
        if log.is_empty() && !self.output.json {
            fail!(NotFound, "nothing is recorded of {name}");
        }
        let name = one_line(name);
        let mut table = Table::new(&["BEFORE", "TIME", "COMMAND", "FROM", "TO"]);
        for (at, change) in log.iter().enumerate() {
            let [from, to] = changed(&change.old, &change.new);
            table.row([
                format!("{name}@{{{}}}", at + 1),
                or_dash(change.time.map(|time| format!("{time:.0}"))),
                if change.command.is_empty() {
                    "(another program)".to_owned()
                } else {
                    one_line(&change.command)
                },
                from,
                to,
            ]);
        }
        self.output.show(&log, table, ui)
    }
}

/// points a name at what it pointed at before
///
/// Points a name, which may have been removed, and may be one that no tag may have, at what it was N changes ago; one change if no @{N} is given. The change
/// is recorded like any other, so it can be undone too.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> <name>[@{<N>}]")]
pub struct Restore {
    #[command(flatten)]
    layout: LayoutArg,
    #[command(flatten)]
    result: ResultArgs,
}

impl Restore {
    fn run(self, ui: &Ui) -> Outcome {
        let (store, [word]) = self.layout.open_words(["name"])?;
        let (name, steps) = match word.strip_suffix('}').and_then(|word| word.rsplit_once("@{")) {
            // A name that no tag may have may end like this itself.
            Some((name, steps)) if store.reflog(word)?.is_empty() => match steps.parse() {
                Ok(steps) => (name, steps),
                Err(_) => refuse!("not a count of changes: {word:?}"),
            },
            _ => (word, 1),
        };
        // A digest has no past of its own, so the name was forgotten.
        if name.parse::<Digest>().is_ok() {
            refuse!("{word} is a digest; umoci ref create --digest names it");
        }
        let result = self.result.open_for(&store, name)?;
        let restored = store.restore_ref(name, steps)?;
        ui.info(format_args!("restored ref: {name} -> {}", digests(&restored)));
        result.say_value(&restored, ui)
    }
}
