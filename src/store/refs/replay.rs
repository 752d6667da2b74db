// SPDX-License-Identifier: Apache-2.0
//! The reflog as a whole: what it says stands in `index.json`, and how it is kept complete.
//!
//! Invariant: a line that has a state (the BLAKE3 of an `index.json`) says that the lines up to it tell all that stood there.
//! Each change of ours begins with a look at the last line: where its state is not what was found, another program was at work,
//! or a command died, and what differs is recorded first.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::log::Record;
use super::{is_same, values};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result, shortlist};
use crate::index::end_of_reflog;
use crate::layout::{IndexJson, Layout, LayoutLock, Lock, LockMode, REFLOG};
use crate::spec::{Descriptor, RefValue};
use crate::store::Store;

/// Maximum size of a reflog that is replayed, in bytes: all names and what they point at are held.
const MAX_REPLAY: u64 = 256 << 20;

/// The command that put entries without a name in the place of names that are lost.
const LOST: &str = "fsck";

pub(in crate::store) fn refuse_more(rest: u64) -> Result<()> {
    if rest > MAX_REPLAY {
        fail!(
            Limit,
            "the reflog is larger than {MAX_REPLAY} bytes; remove it or lines from it"
        );
    }
    Ok(())
}

/// State that all lines together tell.
#[derive(Debug, Default)]
pub(in crate::store) struct Replayed {
    /// Value of each name, with the number of the line that says so.
    pub names: HashMap<String, (u64, RefValue)>,
    /// Entries without a name.
    pub unnamed: BTreeMap<Digest, Descriptor>,
    /// Those of them that stand there because their names are lost.
    pub lost: HashSet<Digest>,
    /// Every name, and every digest, that a line speaks of.
    pub known: HashSet<String>,
    pub spoken: HashSet<Digest>,
    /// Whether all that stood in `index.json` at the last line is known.
    pub is_whole: bool,
    /// Lines that cannot be read, also one that is cut off, after the last comparison with `index.json`.
    pub damaged: u64,
    /// Ends that the reflog had, one for each line.
    pub ends: HashSet<Digest>,
    pub end: Option<Digest>,
    lines: u64,
    /// The last state that is recorded, and the one before.
    state: Option<Digest>,
    before: Option<Digest>,
}

impl Replayed {
    fn add(&mut self, record: Record) {
        self.spoken.extend(record.digests());
        // A record without a state is one of several that were written together, and not the last of them.
        if let Some(state) = record.index {
            self.is_whole = true;
            self.before = self.state.replace(state);
            // The differences that stand before a mark tell what the damaged lines did.
            if record.is_mark() {
                self.damaged = 0;
            }
        }
        let Some(name) = record.name else {
            for digest in record.old.digests() {
                self.unnamed.remove(&digest);
                self.lost.remove(&digest);
            }
            for descriptor in record.new.entries() {
                if record.command == LOST {
                    self.lost.insert(descriptor.digest);
                }
                self.unnamed.insert(descriptor.digest, descriptor.clone());
            }
            return;
        };
        self.known.insert(name.clone());
        if record.new.is_empty() {
            self.names.remove(&name);
        } else {
            self.names.insert(name, (self.lines, record.new));
        }
    }

    /// The records by which this becomes what stands in `index`.
    fn differences(&self, index: &IndexJson, command: &str) -> Vec<Record> {
        let found = BTreeMap::from_iter(values(index, &index.names().collect::<Vec<_>>()));
        let known = self.names.keys();
        let mut gone: Vec<&String> = known.filter(|name| !found.contains_key(*name)).collect();
        // A map without an order holds the names, and the same file must lead to the same lines.
        gone.sort_unstable();
        let mut out = Vec::new();
        for name in gone.into_iter().chain(found.keys()) {
            let old = self
                .names
                .get(name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default();
            let new = found.get(name).cloned().unwrap_or_default();
            if !is_same(&old, &new) {
                out.push(Record::later(command, Some(name), old, new));
            }
        }
        let known = self.unnamed.values().cloned().collect();
        if let Some((old, new)) = of_unnamed(known, unnamed(index)) {
            out.push(Record::later(command, None, old, new));
        }
        out
    }
}

/// Returns the entries of `index.json` without a name.
pub(in crate::store) fn unnamed(index: &IndexJson) -> Vec<Descriptor> {
    let unnamed = index.entries().iter().filter(|entry| entry.ref_name.is_none());
    unnamed.filter_map(|entry| entry.descriptor().ok()).collect()
}

/// Which entries without a name went, and which came; `None` if there are none.
pub(in crate::store) fn of_unnamed(
    old: Vec<Descriptor>,
    new: Vec<Descriptor>,
) -> Option<(RefValue, RefValue)> {
    let [before, after]: [HashSet<Digest>; 2] =
        [&old, &new].map(|entries| entries.iter().map(|entry| entry.digest).collect());
    let gone = RefValue::new(old.into_iter().filter(|d| !after.contains(&d.digest)));
    let come = RefValue::new(new.into_iter().filter(|d| !before.contains(&d.digest)));
    (!gone.is_empty() || !come.is_empty()).then_some((gone, come))
}

impl Store {
    /// Reads the whole reflog.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if it is too large for that.
    pub(in crate::store) fn replay(&self) -> Result<Replayed> {
        let mut out = Replayed::default();
        self.layout.private_dir().read_lines(REFLOG, |line, rest| {
            refuse_more(rest)?;
            out.lines += 1;
            let end = end_of_reflog(line);
            out.ends.insert(end);
            out.end = Some(end);
            match Record::parse(line) {
                Some(record) => out.add(record),
                None => out.damaged += u64::from(!line.is_empty()),
            }
            Ok(true)
        })?;
        Ok(out)
    }

    /// Returns the records that must come before a change of `index`, which has this state: all that the reflog does not know of it.
    pub(in crate::store) fn catch_up(
        &self,
        index: &IndexJson,
        state: &Digest,
        command: &str,
    ) -> Result<Vec<Record>> {
        let last = self.layout.private_dir().last_line(REFLOG)?;
        let known = last
            .as_deref()
            .and_then(Record::parse)
            .and_then(|last| last.index);
        let is_empty = index.is_emptied();
        if known == Some(*state) || (last.is_none() && is_empty) {
            return Ok(Vec::new());
        }
        let replayed = match self.replay() {
            // A change of a ref need not wait for somebody to cut it.
            Err(err) if err.kind() == ErrorKind::Limit => return Ok(Vec::new()),
            replayed => replayed?,
        };
        if is_empty {
            self.refuse_emptied(&replayed, state)?;
        }
        let mut out = replayed.differences(index, command);
        // The mark says that all is known up to here, also where nothing differs.
        let mark = Record::now(command, None, RefValue::default(), RefValue::default());
        out.push(Record {
            index: Some(*state),
            ..mark
        });
        Ok(out)
    }

    /// Returns the names of the reflog whose images are here, and the digests of its entries without a name that are.
    pub(in crate::store) fn names_here(&self, replayed: &Replayed) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for (name, (_, value)) in &replayed.names {
            if self.is_any_here(value.digests())? {
                out.push(name.clone());
            }
        }
        out.sort_unstable();
        for digest in replayed.unnamed.keys() {
            if self.is_any_here([*digest])? {
                out.push(digest.to_string());
            }
        }
        Ok(out)
    }

    fn is_any_here(&self, digests: impl IntoIterator<Item = Digest>) -> Result<bool> {
        for digest in digests {
            if self.layout.blob_size(&digest)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses an `index.json` without entries that name anything while images of the reflog are here: a program that writes the file in place was
    /// interrupted, and everything would be garbage. A file that is as it was before the last record was not emptied: a command
    /// of ours died before its change took effect.
    fn refuse_emptied(&self, replayed: &Replayed, state: &Digest) -> Result<()> {
        let names = self.names_here(replayed)?;
        if names.is_empty() || replayed.before.unwrap_or_else(Layout::state_when_new) == *state {
            return Ok(());
        }
        let text = format!(
            "{} has no entries, but images that the reflog has a name for are here: {}",
            self.layout.path().join("index.json").display(),
            shortlist(names)
        );
        Err(Error::new(ErrorKind::Corrupt, text).with_fact(Fact::TornIndex))
    }

    /// Fails if `index.json` is torn or was emptied.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] with [`Fact::TornIndex`].
    pub(in crate::store) fn check_entries(&self) -> Result<()> {
        // A look at the state of a file that has entries would be a read of the reflog for nothing.
        let file = self.layout.read_index_file()?;
        if file.index.is_emptied() {
            self.catch_up(&file.index, &file.state, "")?;
        }
        Ok(())
    }

    /// Records what other programs did to `index.json` since our last change.
    pub(in crate::store) fn record_others(&self) -> Result<()> {
        let _lock = self.lock_refs()?;
        let file = self.layout.read_index_file()?;
        self.record(&mut self.catch_up(&file.index, &file.state, "")?, &file.state)
    }

    /// Keeps other commands of ours from changing a ref.
    pub(in crate::store) fn lock_refs(&self) -> Result<LayoutLock> {
        let timeout = self.opts.lock_timeout;
        self.layout.take_lock(Lock::Refs, LockMode::Exclusive, timeout)
    }
}
