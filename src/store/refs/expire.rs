// SPDX-License-Identifier: Apache-2.0
//! Keeps the reflog short.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::log::{Record, is_older};
use super::replay::refuse_more;
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::REFLOG;
use crate::store::Store;

/// A reflog that is larger loses its oldest entries, in bytes.
const MAX_BYTES: u64 = 64 << 20;

impl Store {
    /// Drops lines older than `expire`, and the oldest of a reflog that has grown too large; but none that is younger than
    /// `keep`, nor the last of each name that exists, nor the last that says what became of a blob that is there.
    pub(in crate::store) fn expire_reflog(&self, expire: Duration, keep: Duration) -> Result<()> {
        // Lines stand in the order of time, as far as clocks are not set back.
        let mut is_any = false;
        self.layout.private_dir().read_lines(REFLOG, |line, rest| {
            let time = Record::time_of(line);
            is_any = time.is_some_and(|time| is_expired(time, rest, expire, keep));
            Ok(time.is_none())
        })?;
        if !is_any {
            return Ok(());
        }
        // Under the lock of refs, since somebody who changes one appends.
        let _lock = self.lock_refs()?;
        let lines = self.lines_to_keep(expire, keep)?;
        let (mut at, mut bytes) = (0, Vec::new());
        self.layout.private_dir().read_lines(REFLOG, |line, _| {
            if lines.get(at).is_none_or(|kept| *kept) {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            at += 1;
            Ok(true)
        })?;
        if lines.contains(&false) {
            self.layout.private_dir().put(REFLOG, &bytes)?;
        }
        Ok(())
    }

    /// Returns for each line whether it stays.
    fn lines_to_keep(&self, expire: Duration, keep: Duration) -> Result<Vec<bool>> {
        let mut lines = Vec::new();
        self.layout.private_dir().read_lines(REFLOG, |line, rest| {
            refuse_more(rest)?;
            // All lines are held at once, so descriptors go here.
            let line = Record::parse(line).map(|record| {
                let digests: Vec<Digest> = record.digests().collect();
                (record.time, record.name, digests)
            });
            lines.push((rest, line));
            Ok(true)
        })?;
        let index = self.layout.read_index()?;
        let live: HashSet<&str> = index.names().collect();
        // Names and digests of later lines: the lines are met from the last to the first.
        let (mut names, mut named, mut unnamed) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut kept = vec![true; lines.len()];
        let (mut time, mut is_last) = (None, true);
        for (at, (rest, record)) in lines.into_iter().enumerate().rev() {
            // A line that cannot be read is for a check to tell.
            let Some((since, name, digests)) = record else {
                continue;
            };
            time = since.or(time);
            let told = if name.is_some() { &mut named } else { &mut unnamed };
            let is_young = time.is_none_or(|time| !is_expired(time, rest, expire, keep));
            let mut is_needed = std::mem::take(&mut is_last) || is_young;
            for digest in digests {
                if told.insert(digest) && !is_needed {
                    is_needed = self.layout.blob_size(&digest)?.is_some();
                }
            }
            if let Some(name) = name {
                let is_live = live.contains(name.as_str());
                is_needed |= names.insert(name) && is_live;
            }
            kept[at] = is_needed;
        }
        Ok(kept)
    }
}

/// Returns whether a line of this time may go, from which on the reflog has `rest` bytes.
fn is_expired(time: Timestamp, rest: u64, expire: Duration, keep: Duration) -> bool {
    is_older(time, expire.max(keep)) || (rest > MAX_BYTES && is_older(time, keep))
}
