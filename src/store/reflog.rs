// SPDX-License-Identifier: Apache-2.0
//! The reflog: what each ref pointed at before, so that a change can be undone.
//!
//! A file of lines in our own directory, to which a change of refs appends before it takes effect, under the same lock:
//! no database is needed to change a ref, and what it was is never lost. Changes that other programs make are not in
//! it; they show as a gap between one line and the next, and are told so.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::IndexJson;
use crate::spec::{Descriptor, RefName, json};

const FILE: &str = "reflog";

/// A reflog that is larger loses its oldest entries, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A change of a ref.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefChange {
    /// When, RFC 3339; `None` for one that was found out later.
    pub time: Option<Timestamp>,
    /// Which.
    #[serde(rename = "ref")]
    pub name: String,
    /// What it pointed at before; `None` if it did not exist.
    pub old: Option<Descriptor>,
    /// What it pointed at since; `None` if it was removed.
    pub new: Option<Descriptor>,
    /// The command that did it; empty if that is not known: another program, or a command that was interrupted.
    pub command: String,
    /// The user who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

fn digest(descriptor: Option<&Descriptor>) -> Option<Digest> {
    descriptor.map(|d| d.digest)
}

/// What `name` points at in `index`.
fn current(index: &IndexJson, name: &str) -> Option<Descriptor> {
    let mut named = index.entries().iter().rev();
    named
        .find(|entry| entry.ref_name.as_deref() == Some(name))
        .and_then(|entry| entry.descriptor().ok())
}

impl Store {
    /// Points refs at descriptors, or removes them for `None`, all in one rewrite of `index.json`; `more` may refuse
    /// after a look at what it is, or change more. Says how many entries went.
    pub(super) fn change_refs(
        &self,
        command: &str,
        changes: &[(RefName, Option<Descriptor>)],
        more: impl Fn(&mut IndexJson) -> Result<()>,
    ) -> Result<usize> {
        if changes.is_empty() || changes.iter().any(|(_, new)| new.is_some()) {
            // Blobs that were found may have been named by a process that died before it synced the name.
            self.layout.sync_blob_names()?;
        }
        let edit = |index: &mut IndexJson| {
            more(index)?;
            let mut lines = String::new();
            let old: HashMap<&str, Option<Descriptor>> = if changes.len() == 1 {
                let name = changes[0].0.as_str();
                HashMap::from([(name, current(index, name))])
            } else {
                let wanted: HashSet<&str> = changes.iter().map(|(n, _)| n.as_str()).collect();
                let named = index.entries().iter().filter_map(|entry| {
                    let name = wanted.get(entry.ref_name.as_deref()?)?;
                    Some((*name, entry.descriptor().ok()))
                });
                named.collect()
            };
            for (name, new) in changes {
                let old = old.get(name.as_str()).cloned().flatten();
                if digest(old.as_ref()) != digest(new.as_ref()) {
                    let change = RefChange {
                        time: Some(Timestamp::now()),
                        name: name.as_str().to_owned(),
                        old,
                        new: new.clone(),
                        command: command.to_owned(),
                        uid: Some(rustix::process::geteuid().as_raw()),
                    };
                    let line = serde_json::to_string(&change);
                    lines += &line.map_err(|e| Error::new(ErrorKind::Invalid, format!("write JSON: {e}")))?;
                    lines.push('\n');
                }
            }
            Ok((index.set_refs(changes)?, lines))
        };
        let log = |(_, lines): &(usize, String)| self.layout.append_private(FILE, lines.as_bytes());
        let (gone, _) = self
            .layout
            .update_index_logged(self.opts.lock_timeout, edit, log)?;
        Ok(gone)
    }

    /// Gives `each` the changes in the reflog, the oldest first. A line that is cut off (the power failed) is passed over.
    fn each_change(&self, mut each: impl FnMut(RefChange)) -> Result<()> {
        self.layout.read_private_lines(FILE, |line, _| {
            if let Some(change) = parse(line) {
                each(change);
            }
            Ok(true)
        })
    }

    /// The changes of `name`, the newest first: `log[n].old` is what it was `n + 1` changes ago.
    pub fn reflog(&self, name: &RefName) -> Result<Vec<RefChange>> {
        let now = current(&self.layout.read_index()?, name.as_str());
        let quoted = serde_json::Value::from(name.as_str()).to_string();
        let quoted = format!("\"ref\":{quoted}");
        let mut out: Vec<RefChange> = Vec::new();
        self.layout.read_private_lines(FILE, |line, _| {
            // Most lines are of other refs, and a look is cheaper than a parse.
            if line.windows(quoted.len()).any(|w| w == quoted.as_bytes())
                && let Some(change) = parse(line).filter(|change| change.name == name.as_str())
            {
                bridge(&mut out, name, change.old.clone());
                out.push(change);
            }
            Ok(true)
        })?;
        if !out.is_empty() {
            bridge(&mut out, name, now);
        }
        out.reverse();
        Ok(out)
    }

    /// What `name` pointed at `steps` changes ago; 0 is now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it did not exist then, or the reflog does not reach back so far.
    pub fn past(&self, name: &RefName, steps: usize) -> Result<Descriptor> {
        let missing = |why: String| Error::new(ErrorKind::NotFound, format!("{name}@{{{steps}}}: {why}"));
        if steps == 0 {
            return self
                .lookup(name)?
                .pop()
                .ok_or_else(|| missing("tag not found".to_owned()));
        }
        let log = self.reflog(name)?;
        let change = log.get(steps - 1).ok_or_else(|| {
            missing(match log.len() {
                0 => "nothing is recorded of this ref".to_owned(),
                1 => "the reflog knows 1 change of this ref".to_owned(),
                n => format!("the reflog knows {n} changes of this ref"),
            })
        })?;
        change
            .old
            .clone()
            .ok_or_else(|| missing("the ref did not exist then".to_owned()))
    }

    /// When each ref was last changed, as far as the reflog tells.
    pub(super) fn last_changes(&self) -> Result<HashMap<String, Timestamp>> {
        let mut out = HashMap::new();
        self.each_change(|change| {
            if let Some(time) = change.time {
                out.insert(change.name, time);
            }
        })?;
        Ok(out)
    }

    /// What entries not older than `keep` hold on to.
    pub(super) fn reflog_roots(&self, keep: Duration) -> Result<Vec<Digest>> {
        if keep.is_zero() {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        self.each_change(|change| {
            if change.time.is_some_and(|time| !is_older(time, keep)) {
                out.extend(digest(change.old.as_ref()));
                out.extend(digest(change.new.as_ref()));
            }
        })?;
        Ok(out)
    }

    /// Drops entries older than `expire`, and the oldest of a reflog that has grown too large; but none that is younger
    /// than `keep`.
    pub(super) fn expire_reflog(&self, expire: Duration, keep: Duration) -> Result<()> {
        // Lines stand in the order of time, as far as clocks are not set back.
        let expired = |rest: u64, line: &RefChange| {
            let is_old = |age| line.time.is_some_and(|time| is_older(time, age));
            is_old(expire.max(keep)) || (rest > MAX_BYTES && is_old(keep))
        };
        let mut is_any = false;
        self.layout.read_private_lines(FILE, |line, rest| {
            let first = parse(line);
            is_any = first.as_ref().is_some_and(|first| expired(rest, first));
            Ok(first.is_none())
        })?;
        if !is_any {
            return Ok(());
        }
        // Under the lock of refs, since somebody who changes one appends.
        self.layout.with_refs_locked(self.opts.lock_timeout, || {
            let mut kept = 0;
            self.layout.read_private_lines(FILE, |line, rest| {
                let is_kept = parse(line).is_some_and(|line| !expired(rest, &line));
                if is_kept {
                    kept = rest;
                }
                Ok(!is_kept)
            })?;
            self.layout.keep_private_end(FILE, kept)
        })
    }
}

/// The change in a line of the reflog; `None` for one that is cut off.
fn parse(line: &[u8]) -> Option<RefChange> {
    json::parse(line).ok()
}

/// Adds the change that must have happened for `next` to follow on the last one.
fn bridge(out: &mut Vec<RefChange>, name: &RefName, next: Option<Descriptor>) {
    if let Some(last) = out.last()
        && digest(last.new.as_ref()) != digest(next.as_ref())
    {
        out.push(RefChange {
            time: None,
            name: name.as_str().to_owned(),
            old: last.new.clone(),
            new: next,
            command: String::new(),
            uid: None,
        });
    }
}

/// Whether `time` is longer ago than `age`.
pub(super) fn is_older(time: Timestamp, age: Duration) -> bool {
    let now = Timestamp::now();
    now.as_second().saturating_sub(time.as_second()) > i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::MediaType;
    use crate::store::StoreOptions;

    struct Fixture {
        _dir: tempfile::TempDir,
        store: Store,
        name: RefName,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        Fixture {
            _dir: dir,
            store,
            name: "t".parse().expect("name"),
        }
    }

    impl Fixture {
        fn point(&self, text: &str) -> Descriptor {
            let mut txn = self.store.begin("test").expect("begin");
            let descriptor = txn.put(text.as_bytes(), MediaType::MANIFEST).expect("put");
            txn.set_ref(&self.name, descriptor.clone());
            txn.commit().expect("commit");
            descriptor
        }

        fn past(&self, steps: usize) -> Result<Digest> {
            self.store.past(&self.name, steps).map(|d| d.digest)
        }
    }

    #[test]
    fn every_earlier_value_can_be_named_also_after_the_ref_is_gone() {
        let f = fixture();
        let (one, two) = (f.point("{\"n\":1}").digest, f.point("{\"n\":2}").digest);
        assert_eq!(f.past(0).expect("now"), two);
        assert_eq!(f.past(1).expect("before"), one);
        assert!(
            f.past(2)
                .expect_err("new then")
                .to_string()
                .contains("did not exist")
        );
        assert!(
            f.past(3)
                .expect_err("unknown")
                .to_string()
                .contains("knows 2 changes")
        );
        f.store.remove_ref(&f.name).expect("remove");
        assert!(f.past(0).is_err());
        assert_eq!(f.past(1).expect("before the removal"), two);
        let commands: Vec<_> = f
            .store
            .reflog(&f.name)
            .expect("log")
            .into_iter()
            .map(|c| c.new.is_some())
            .collect();
        assert_eq!(commands, [false, true, true]);
    }

    #[test]
    fn a_change_that_changes_nothing_and_one_of_another_ref_leave_no_trace() {
        let f = fixture();
        f.point("{\"n\":1}");
        f.point("{\"n\":1}");
        f.store
            .remove_ref(&"other".parse().expect("name"))
            .expect("remove");
        assert_eq!(f.store.reflog(&f.name).expect("log").len(), 1);
        assert!(
            f.store
                .reflog(&"other".parse().expect("name"))
                .expect("log")
                .is_empty()
        );
    }

    #[test]
    fn what_another_program_did_shows_as_a_gap_that_is_told() {
        let f = fixture();
        let one = f.point("{\"n\":1}").digest;
        let foreign = Descriptor::new(MediaType::MANIFEST, Digest::sha256(b"theirs"), 6);
        f.store
            .layout()
            .update_index(Duration::ZERO, |index| index.set_ref(&f.name, foreign.clone()))
            .expect("foreign");
        assert_eq!(f.past(1).expect("before"), one);
        let three = f.point("{\"n\":3}").digest;
        assert_eq!(f.past(0).expect("now"), three);
        assert_eq!(f.past(1).expect("theirs"), foreign.digest);
        assert_eq!(f.past(2).expect("ours"), one);
        let log = f.store.reflog(&f.name).expect("log");
        assert!(log[1].command.is_empty() && log[1].time.is_none(), "{log:?}");
    }

    #[test]
    fn a_line_that_was_cut_off_harms_no_other() {
        let f = fixture();
        let one = f.point("{\"n\":1}").digest;
        let path = f.store.layout().private_dir().join(FILE);
        let mut text = std::fs::read_to_string(&path).expect("read");
        text += "{\"time\":\"2026-01-";
        std::fs::write(&path, &text).expect("write");
        let two = f.point("{\"n\":2}").digest;
        assert_eq!((f.past(0).expect("now"), f.past(1).expect("before")), (two, one));
    }

    #[test]
    fn old_entries_expire_and_young_ones_hold_their_blobs() {
        let f = fixture();
        f.point("{\"n\":1}");
        f.point("{\"n\":2}");
        let hour = Duration::from_secs(3600);
        assert_eq!(f.store.reflog_roots(Duration::ZERO).expect("roots"), []);
        assert_eq!(f.store.reflog_roots(hour).expect("roots").len(), 3);
        f.store.expire_reflog(hour, Duration::ZERO).expect("expire");
        assert_eq!(f.store.reflog(&f.name).expect("log").len(), 2);
        let path = f.store.layout().private_dir().join(FILE);
        let year = Timestamp::now().to_string()[..4].to_owned();
        let old = std::fs::read_to_string(&path)
            .expect("read")
            .replacen(&year, "2001", 1);
        std::fs::write(&path, old).expect("write");
        f.store.expire_reflog(hour, Duration::ZERO).expect("expire");
        assert_eq!(f.store.reflog(&f.name).expect("log").len(), 1);
    }
}
