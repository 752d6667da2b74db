// SPDX-License-Identifier: Apache-2.0
//! The reflog: what each ref pointed at before, so that a change can be undone.
//!
//! A file of lines in our own directory, to which a change of refs appends before it takes effect, under the same lock:
//! no database is needed to change a ref, and its old value is not lost. Changes of other programs come into it with the next
//! change of ours, without a time (see `replay`); until then they show as a gap, which is told.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{is_same, values};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::layout::REFLOG;
use crate::spec::{RefValue, json};
use crate::store::Store;

/// A change of a ref: a line of the reflog.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// When; `None` for what was found out later.
    pub time: Option<Timestamp>,
    /// Which ref; `None` for the entries of `index.json` without a name, of which `old` went and `new` came.
    #[serde(rename = "ref")]
    pub name: Option<String>,
    /// Old value; empty if the ref did not exist.
    pub old: RefValue,
    /// New value; empty if the ref was removed.
    pub new: RefValue,
    /// The command that did it; empty if that is not known: another program, or a command that was interrupted.
    pub command: String,
    /// The user who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The state of `index.json` after it, of which all is known then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
}

impl Record {
    /// Returns the record of a change that a command makes now.
    pub(in crate::store) fn now(command: &str, name: Option<&str>, old: RefValue, new: RefValue) -> Self {
        Self {
            time: Some(Timestamp::now()),
            uid: Some(rustix::process::geteuid().as_raw()),
            ..Self::later(command, name, old, new)
        }
    }

    /// Returns the record of a change that was found out later: nobody knows its time and user.
    pub(super) fn later(command: &str, name: Option<&str>, old: RefValue, new: RefValue) -> Self {
        Self {
            name: name.map(str::to_owned),
            old,
            new,
            command: command.to_owned(),
            ..Self::default()
        }
    }

    /// The record in a line; `None` for one that is damaged.
    pub(in crate::store) fn parse(line: &[u8]) -> Option<Self> {
        json::parse(line).ok()
    }

    /// Returns the time of the record in a line, which costs less than the whole record.
    pub(super) fn time_of(line: &[u8]) -> Option<Timestamp> {
        #[derive(Deserialize)]
        struct Timed {
            time: Option<Timestamp>,
        }
        json::parse::<Timed>(line).ok()?.time
    }

    /// Whether it says only that `index.json` was compared with all that is recorded.
    pub(super) fn is_mark(&self) -> bool {
        self.name.is_none() && self.old.is_empty() && self.new.is_empty()
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.old.digests().chain(self.new.digests())
    }
}

/// Whether a line that cannot be read was cut off: its command died, or the power failed, before the change took effect.
pub(in crate::store) fn is_cut_off(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_err_and(|err| err.is_eof())
}

impl Store {
    /// Appends records; the last says what state of `index.json` it leads to, unless that was only looked at.
    pub(in crate::store) fn record(&self, records: &mut [Record], state: &Digest) -> Result<()> {
        if let Some(last) = records.last_mut().filter(|last| !last.is_mark()) {
            last.index = Some(*state);
        }
        let mut lines = Vec::new();
        for record in records {
            lines.extend(json::to_bytes(record)?);
        }
        self.layout.private_dir().append(REFLOG, &lines)
    }

    /// Gives `each` the changes of refs in the reflog, the oldest first, with their names. A line that is cut off (the power
    /// failed) is passed over.
    fn each_change(&self, mut each: impl FnMut(String, Record)) -> Result<()> {
        self.layout.private_dir().read_lines(REFLOG, |line, _| {
            if let Some(mut change) = Record::parse(line)
                && let Some(name) = change.name.take()
            {
                each(name, change);
            }
            Ok(true)
        })
    }

    /// The changes of `name`, also of one that no tag may have, the newest first: `log[n].old` is what it was `n + 1` changes ago.
    pub(crate) fn reflog(&self, name: &str) -> Result<Vec<Record>> {
        // Of a file that is torn it tells what stood there.
        let now = match self.layout.read_index() {
            Ok(index) => Some(values(&index, &[name]).into_values().next().unwrap_or_default()),
            Err(err) if err.fact() == Some(Fact::TornIndex) => None,
            Err(err) => return Err(err),
        };
        let quoted = [b"\"ref\":", json::to_bytes(name)?.trim_ascii_end()].concat();
        let mut out: Vec<Record> = Vec::new();
        self.layout.private_dir().read_lines(REFLOG, |line, _| {
            // Most lines are of other refs, and a look is cheaper than a parse.
            if line.windows(quoted.len()).any(|w| w == quoted)
                && let Some(mut change) = Record::parse(line)
                && change.name.as_deref() == Some(name)
            {
                // The state of the file is for the replay, and no part of the change.
                change.index = None;
                bridge(&mut out, name, change.old.clone());
                out.push(change);
            }
            Ok(true)
        })?;
        if let Some(now) = now.filter(|_| !out.is_empty()) {
            bridge(&mut out, name, now);
        }
        out.reverse();
        Ok(out)
    }

    /// Returns the value that `name` had `steps` changes ago; 0 is now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it did not exist then, or the reflog does not reach back so far.
    pub(crate) fn past(&self, name: &str, steps: usize) -> Result<RefValue> {
        let found = if steps == 0 {
            Some(self.lookup(name)?)
                .filter(|now| !now.is_empty())
                .ok_or("tag not found".to_owned())
        } else {
            let log = self.reflog(name)?;
            match (log.get(steps - 1), log.len()) {
                (Some(change), _) if change.old.is_empty() => Err("the ref did not exist then".to_owned()),
                (Some(change), _) => Ok(change.old.clone()),
                (None, 0) => Err("nothing is recorded of this ref".to_owned()),
                (None, 1) => Err("the reflog knows 1 change of this ref".to_owned()),
                (None, n) => Err(format!("the reflog knows {n} changes of this ref")),
            }
        };
        found.map_err(|why| Error::new(ErrorKind::NotFound, format!("{name}@{{{steps}}}: {why}")))
    }

    /// Returns the time of the last change of each ref, as far as the reflog tells.
    pub(in crate::store) fn last_changes(&self) -> Result<HashMap<String, Timestamp>> {
        let mut out = HashMap::new();
        self.each_change(|name, change| {
            if let Some(time) = change.time {
                out.insert(name, time);
            }
        })?;
        Ok(out)
    }

    /// Returns the digests in the entries that are not older than `keep`.
    pub(in crate::store) fn reflog_roots(&self, keep: Duration) -> Result<Vec<Digest>> {
        // The default of the setting costs no read of the file.
        if keep.is_zero() {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        self.each_change(|_, change| {
            if change.time.is_some_and(|time| !is_older(time, keep)) {
                out.extend(change.digests());
            }
        })?;
        Ok(out)
    }
}

/// Adds the change that must have happened for `next` to follow on the last one.
fn bridge(out: &mut Vec<Record>, name: &str, next: RefValue) {
    if let Some(last) = out.last()
        && !is_same(&last.new, &next)
    {
        out.push(Record::later("", Some(name), last.new.clone(), next));
    }
}

/// Returns the second that was `age` ago, since 1970.
pub(in crate::store) fn seconds_ago(age: Duration) -> i64 {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    Timestamp::now().as_second().saturating_sub(age)
}

/// Returns whether `time` is longer ago than `age`.
pub(in crate::store) fn is_older(time: Timestamp, age: Duration) -> bool {
    time.as_second() < seconds_ago(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Descriptor, MediaType, RefName};
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
            let value = self.store.past(self.name.as_str(), steps)?;
            Ok(value.only().expect("one").digest)
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
        f.store.remove_ref(f.name.as_str()).expect("remove");
        assert!(f.past(0).is_err());
        assert_eq!(f.past(1).expect("before the removal"), two);
        let commands: Vec<_> = f
            .store
            .reflog(f.name.as_str())
            .expect("log")
            .into_iter()
            .map(|c| !c.new.is_empty())
            .collect();
        assert_eq!(commands, [false, true, true]);
    }

    #[test]
    fn a_change_that_changes_nothing_and_one_of_another_ref_leave_no_trace() {
        let f = fixture();
        f.point("{\"n\":1}");
        f.point("{\"n\":1}");
        f.store.remove_ref("other").expect("remove");
        assert_eq!(f.store.reflog(f.name.as_str()).expect("log").len(), 1);
        assert!(f.store.reflog("other").expect("log").is_empty());
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
        let log = f.store.reflog(f.name.as_str()).expect("log");
        assert!(log[1].command.is_empty() && log[1].time.is_none(), "{log:?}");
    }

    #[test]
    fn all_entries_of_a_name_are_known_and_come_back() {
        let f = fixture();
        let mut txn = f.store.begin("test").expect("begin");
        let value: RefValue = ["linux/amd64", "linux/arm64"]
            .map(|platform| {
                let mut entry = txn.put(platform.as_bytes(), MediaType::MANIFEST).expect("put");
                entry.platform = Some(platform.parse().expect("platform"));
                entry
                    .annotations
                    .insert(crate::spec::REF_NAME.to_owned(), "t".to_owned());
                entry
            })
            .into_iter()
            .collect();
        txn.set_ref(&f.name, value.clone());
        txn.commit().expect("commit");
        f.point("{\"n\":1}");
        f.store.remove_ref(f.name.as_str()).expect("remove");
        let log = f.store.reflog(f.name.as_str()).expect("log");
        assert_eq!(
            log.iter().map(|c| c.new.entries().len()).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!(f.store.past(f.name.as_str(), 2).expect("past"), value);
        let hour = Duration::from_secs(3600);
        assert_eq!(f.store.reflog_roots(hour).expect("roots").len(), 6);
        assert_eq!(f.store.restore_ref(f.name.as_str(), 2).expect("restore"), value);
        assert_eq!(f.store.lookup(&f.name).expect("lookup"), value);
    }

    #[test]
    fn lines_of_older_releases_are_read() {
        let f = fixture();
        let one = Descriptor::new(MediaType::MANIFEST, Digest::sha256(b"1"), 1);
        let entry = serde_json::to_string(&one).expect("json");
        let lines = format!(
            "{{\"time\":\"2026-01-01T00:00:00Z\",\"ref\":\"t\",\"old\":null,\"new\":{entry},\"command\":\"tag\",\"uid\":0}}\n\
             {{\"time\":\"2026-01-02T00:00:00Z\",\"ref\":\"t\",\"old\":{entry},\"new\":null,\"command\":\"remove\",\"uid\":0}}\n"
        );
        std::fs::create_dir_all(f.store.layout().private_dir()).expect("dir");
        std::fs::write(f.store.layout().private_dir().join(REFLOG), &lines).expect("write");
        let log = f.store.reflog(f.name.as_str()).expect("log");
        assert_eq!((log[0].old.only(), log[0].new.is_empty()), (Some(&one), true));
        assert_eq!((log[1].old.is_empty(), log[1].new.only()), (true, Some(&one)));
        let written: String = log
            .iter()
            .rev()
            .map(|c| serde_json::to_string(c).expect("json") + "\n")
            .collect();
        assert_eq!(written, lines);
    }

    #[test]
    fn a_line_that_was_cut_off_harms_no_other() {
        let f = fixture();
        let one = f.point("{\"n\":1}").digest;
        let path = f.store.layout().private_dir().join(REFLOG);
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
        assert_eq!(f.store.reflog(f.name.as_str()).expect("log").len(), 2);
        let path = f.store.layout().private_dir().join(REFLOG);
        let year = Timestamp::now().to_string()[..4].to_owned();
        let old = std::fs::read_to_string(&path)
            .expect("read")
            .replacen(&year, "2001", 1);
        std::fs::write(&path, old).expect("write");
        f.store.expire_reflog(hour, Duration::ZERO).expect("expire");
        assert_eq!(f.store.reflog(f.name.as_str()).expect("log").len(), 1);
    }
}
