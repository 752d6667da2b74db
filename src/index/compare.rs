// SPDX-License-Identifier: Apache-2.0
//! Makes a database anew from the layout, and says where the old one was wrong.

use std::cmp::Ordering;
use std::time::Duration;

use redb::{Database, ReadableDatabase};

use super::Index;
use super::guard::is_damage;
use super::rows::{BlobRow, Kind, split_key};
use super::tables::{DIGEST_TO_BLOB, PARENT_TO_CHILD, failed};
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Layout;
use crate::progress::Monitor;

/// No more differences than this are told one by one.
const MOST: usize = 100;

const NEW: &str = "index.redb.new";

/// What the databases say of one blob, as far as it does not depend on the order in which things were learned.
#[derive(PartialEq)]
struct Said {
    present: bool,
    size: u64,
    count: u64,
    children: u64,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.present {
            write!(f, "{} bytes, ", self.size)?;
        } else {
            write!(f, "absent, ")?;
        }
        write!(f, "referred to {} times, naming {}", self.count, self.children)
    }
}

impl Index {
    /// A database that was filled from the layout just now: beside this one if this one is a file, else in memory.
    ///
    /// # Errors
    /// If the file cannot be written; nothing of it is left then.
    pub(crate) fn rebuilt(&self, layout: &Layout, monitor: &dyn Monitor) -> Result<Index> {
        if !self.is_file() {
            return Self::rebuilt_in_memory(layout, monitor);
        }
        layout.remove_private_file(NEW)?;
        let fresh = Self::open_own(layout, NEW);
        fresh
            .and_then(|fresh| fresh.filled(layout, monitor))
            .or_else(|err| {
                layout.remove_private_file(NEW)?;
                Err(err)
            })
    }

    /// As [`Index::rebuilt`], not to replace anything.
    pub(crate) fn rebuilt_in_memory(layout: &Layout, monitor: &dyn Monitor) -> Result<Index> {
        Self::in_memory()?.filled(layout, monitor)
    }

    fn filled(self, layout: &Layout, monitor: &dyn Monitor) -> Result<Self> {
        self.write(|tables| tables.sync(layout, monitor))?;
        Ok(self)
    }

    /// Puts `fresh` in the place of this database, and keeps what was verified.
    pub(crate) fn replaced_by(self, fresh: Index, layout: &Layout, monitor: &dyn Monitor) -> Result<Index> {
        let verified = match self.suppose(|tables| tables.all_verified()) {
            // It goes anyway, and what was verified can be verified again.
            Err(err) if is_damage(&err) => Vec::new(),
            verified => verified?,
        };
        fresh.write(|tables| {
            for (digest, row) in &verified {
                if tables.is_present(digest)? {
                    tables.set_verified(digest, *row)?;
                }
            }
            Ok(())
        })?;
        if !self.is_file() {
            return Ok(fresh);
        }
        let Index { database, lock } = self;
        drop(database);
        drop(fresh);
        let dir = layout.private_dir();
        layout.set_aside(&dir.join(NEW), &dir.join(super::FILE))?;
        drop(lock);
        Self::open_file(layout, Duration::from_secs(60), monitor)
    }

    /// Gives up a database that [`Index::rebuilt`] made.
    pub(crate) fn discard(self, layout: &Layout) -> Result<()> {
        drop(self);
        if Layout::has_file(&layout.private_dir().join(NEW)) {
            layout.remove_private_file(NEW)?;
        }
        Ok(())
    }

    /// Where this database differs from `truth`, one line each; the last line counts those that are left out.
    pub(crate) fn differences(&self, truth: &Index) -> Result<Vec<String>> {
        let compare = |ours: &Database| truth.database.on(|theirs| Self::compare(ours, theirs));
        self.database.on(compare)
    }

    fn compare(ours: &Database, theirs: &Database) -> Result<Vec<String>> {
        let (mut ours, mut theirs) = (Self::said(ours)?.peekable(), Self::said(theirs)?.peekable());
        let mut out = Vec::new();
        let mut more = 0_u64;
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (None, Some(_)) => Ordering::Greater,
                (Some(Ok((a, _))), Some(Ok((b, _)))) => a.cmp(b),
                // An error is met whatever comes first.
                _ => Ordering::Less,
            };
            let one = ours.next_if(|_| order.is_le()).transpose()?;
            let two = theirs.next_if(|_| order.is_ge()).transpose()?;
            let (digest, ours, truth) = match (one, two) {
                (Some((_, one)), Some((_, two))) if one == two => continue,
                (Some((digest, one)), two) => (digest, Some(one), two.map(|(_, said)| said)),
                (None, Some((digest, two))) => (digest, None, Some(two)),
                (None, None) => continue,
            };
            if out.len() < MOST {
                let text =
                    |said: Option<Said>| said.map_or_else(|| "nothing of it".to_owned(), |s| s.to_string());
                out.push(format!(
                    "{digest}: the index said {}; right is {}",
                    text(ours),
                    text(truth)
                ));
            } else {
                more += 1;
            }
        }
        if more > 0 {
            out.push(format!("and {more} more"));
        }
        Ok(out)
    }

    /// What is said of each blob, in the order of digests.
    fn said(database: &Database) -> Result<impl Iterator<Item = Result<(Digest, Said)>> + use<>> {
        let tx = database.begin_read().map_err(failed)?;
        let blobs = tx.open_table(DIGEST_TO_BLOB).map_err(failed)?;
        let children = tx.open_multimap_table(PARENT_TO_CHILD).map_err(failed)?;
        let rows = blobs.range::<&[u8]>(..).map_err(failed)?;
        Ok(rows.map(move |item| {
            let (k, row) = item.map_err(failed)?;
            let row = BlobRow::from_bytes(row.value())?;
            let said = Said {
                present: row.kind != Kind::Absent,
                size: row.size,
                count: row.count,
                children: children.get(k.value()).map_err(failed)?.len(),
            };
            Ok((split_key(k.value())?.0, said))
        }))
    }
}
