// SPDX-License-Identifier: Apache-2.0
//! Makes a database anew from the layout, and says where the old one was wrong.

use redb::{Database, ReadableDatabase};

use super::panics::{guarded, is_damage};
use super::queries::children_of;
use super::rows::{BlobRow, Kind, split_key};
use super::tables::{DIGEST_TO_BLOB, PARENT_TO_CHILDREN, View};
use super::{Index, Opened, in_memory, transact};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::progress::Silent;

/// Maximum number of differences that are told one by one.
const MOST: usize = 100;

const NEW: &str = "index.redb.new";

/// When a database that was filled anew takes the place of the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Replace {
    Never,
    IfDifferent,
    Always,
}

/// Record of one blob in a database, as far as it does not depend on the order in which facts were learned.
#[derive(PartialEq)]
struct Record {
    /// Size in bytes; `None` for a blob that is named and not there.
    size: Option<u64>,
    count: u64,
    children: usize,
}

impl Record {
    fn describe(record: Option<Self>) -> String {
        let Some(Self {
            size,
            count,
            children,
        }) = record
        else {
            return "nothing of it".to_owned();
        };
        let size = size.map_or_else(|| "absent".to_owned(), |size| format!("{size} bytes"));
        format!("{size}, referred to {count} times, naming {children}")
    }
}

/// Differences of two databases, one line each.
#[derive(Default)]
struct Differences {
    lines: Vec<String>,
    /// Number of those that are left out.
    more: u64,
}

impl Differences {
    fn add(&mut self, digest: &Digest, ours: Option<Record>, truth: Option<Record>) {
        if ours == truth {
            return;
        }
        if self.lines.len() == MOST {
            self.more += 1;
            return;
        }
        let (ours, truth) = (Record::describe(ours), Record::describe(truth));
        self.lines
            .push(format!("{digest}: the index said {ours}; right is {truth}"));
    }
}

/// A database that was filled from the layout just now.
struct Fresh {
    database: Database,
    is_file: bool,
}

impl Fresh {
    fn fill(database: Database, is_file: bool, layout: &Layout) -> Result<Self> {
        transact(&database, |tables| tables.sync(layout, &Silent))?;
        Ok(Self { database, is_file })
    }
}

impl Index<'_> {
    /// Fills a database from the layout, and puts it in the place of this one as `replace` says. Returns where the two differed, one
    /// line each; the last line counts those that are left out.
    ///
    /// # Errors
    /// If the new database cannot be written; nothing of it is left then.
    pub(crate) fn recount(&mut self, replace: Replace) -> Result<Vec<String>> {
        let fresh = match self.rebuilt() {
            // To look there need not be room on the disk.
            Err(err) if err.kind() == ErrorKind::NoSpace && replace == Replace::Never => {
                Fresh::fill(in_memory()?, false, self.layout)
            }
            fresh => fresh,
        }?;
        let differences = self.with_recovery(|index| compare(index.writer()?, &fresh.database))?;
        let is_wrong = replace == Replace::IfDifferent && !differences.is_empty();
        if is_wrong || replace == Replace::Always {
            self.replace_with(fresh)?;
        } else if fresh.is_file {
            drop(fresh);
            self.layout.private_dir().remove(NEW)?;
        }
        Ok(differences)
    }

    /// Fills a database from the layout: beside this one if this one is a file, else in memory.
    fn rebuilt(&mut self) -> Result<Fresh> {
        let layout = self.layout;
        if !self.is_file()? {
            return Fresh::fill(in_memory()?, false, layout);
        }
        // A file that a killed process left half filled would be opened as it is.
        layout.private_dir().remove(NEW)?;
        let fresh = guarded(|| Fresh::fill(Self::open_own(layout, NEW)?, true, layout));
        fresh.or_else(|err| {
            layout.private_dir().remove(NEW)?;
            Err(err)
        })
    }

    /// Puts `fresh` in the place of this database, and keeps what was verified.
    fn replace_with(&mut self, fresh: Fresh) -> Result<()> {
        let all = guarded(|| View::open(&self.writer()?.begin_read()?)?.all_verified());
        let verified = match all {
            // It goes anyway, and what was verified can be verified again.
            Err(err) if is_damage(&err) => Vec::new(),
            verified => verified?,
        };
        transact(&fresh.database, |tables| {
            for (digest, row) in &verified {
                // A blob that is gone may come back as another file, and would be believed then.
                if tables.is_present(digest)? {
                    tables.set_verified(digest, *row)?;
                }
            }
            Ok(())
        })?;
        if !fresh.is_file {
            self.opened = Opened::Memory(fresh.database);
            return Ok(());
        }
        let opened = std::mem::replace(&mut self.opened, Opened::Closed);
        if let Opened::Writer {
            database,
            _mark,
            _lock,
        } = opened
        {
            // Both files are closed before the rename, and the lock goes last: no other process opens the old one in between.
            guarded(|| {
                drop((database, fresh));
                Ok(())
            })?;
            self.layout.private_dir().rename(NEW, super::FILE)?;
        }
        Ok(())
    }
}

/// Returns where two databases differ.
fn compare(ours: &Database, truth: &Database) -> Result<Vec<String>> {
    let mut out = Differences::default();
    // Both are in the order of digests and too many to hold, so they are read side by side.
    let mut truth = records(truth)?.peekable();
    for ours in records(ours)? {
        let (digest, ours) = ours?;
        while let Some(missed) = truth.next_if(|next| is_before(next, &digest)) {
            let (digest, missed) = missed?;
            out.add(&digest, None, Some(missed));
        }
        let same = truth.next_if(|next| next.as_ref().is_ok_and(|(next, _)| *next == digest));
        out.add(&digest, Some(ours), same.transpose()?.map(|(_, truth)| truth));
    }
    for missed in truth {
        let (digest, missed) = missed?;
        out.add(&digest, None, Some(missed));
    }
    if out.more > 0 {
        out.lines.push(format!("and {} more", out.more));
    }
    Ok(out.lines)
}

/// Returns the record of each blob, in the order of digests.
fn records(database: &Database) -> Result<impl Iterator<Item = Result<(Digest, Record)>> + use<>> {
    let tx = database.begin_read()?;
    let blobs = tx.open_table(DIGEST_TO_BLOB)?;
    let children = tx.open_table(PARENT_TO_CHILDREN)?;
    Ok(blobs.range::<&[u8]>(..)?.map(move |item| {
        let (k, row) = item?;
        let row = BlobRow::from_bytes(row.value())?;
        let digest = split_key(k.value())?.0;
        let mut record = Record {
            size: row.is_present().then_some(row.size),
            count: row.count,
            children: 0,
        };
        if row.kind == Kind::Document {
            record.children = children_of(&children, &digest)?.len();
        }
        Ok((digest, record))
    }))
}

/// Returns whether the next record comes before that of a blob; an error does, so that it is met at once.
fn is_before(next: &Result<(Digest, Record)>, digest: &Digest) -> bool {
    next.as_ref().map_or(true, |(next, _)| next < digest)
}
