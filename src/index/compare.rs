// SPDX-License-Identifier: Apache-2.0
//! Makes a database anew from the layout, and says where the old one was wrong.

use std::cmp::Ordering;

use redb::{Database, ReadableDatabase};

use super::panics::{guarded, is_damage};
use super::queries::children_of;
use super::rows::{BlobRow, Kind, split_key};
use super::tables::{DIGEST_TO_BLOB, PARENT_TO_CHILDREN, Tables, View};
use super::{Index, Opened, in_memory};
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Layout;
use crate::progress::Silent;

/// Maximum number of differences that are told one by one.
const MOST: usize = 100;

const NEW: &str = "index.redb.new";

/// Record of one blob in the databases, as far as it does not depend on the order in which facts were learned.
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

/// A database that was filled from the layout just now.
pub(crate) struct Fresh {
    database: Database,
    is_file: bool,
}

impl Fresh {
    fn fill(database: Database, is_file: bool, layout: &Layout) -> Result<Self> {
        let fresh = Self { database, is_file };
        fresh.write(|tables| tables.sync(layout, &Silent).map(|_| ()))?;
        Ok(fresh)
    }

    fn write(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        work(&mut Tables::open(&tx)?)?;
        tx.set_quick_repair(true);
        Ok(tx.commit()?)
    }
}

impl Index<'_> {
    /// Fills a database from the layout: beside this one if this one is a file, else in memory.
    ///
    /// # Errors
    /// If the file cannot be written; nothing of it is left then.
    pub(crate) fn rebuilt(&mut self) -> Result<Fresh> {
        if !self.is_file()? {
            return self.rebuilt_in_memory();
        }
        let layout = self.layout;
        layout.private_dir().remove(NEW)?;
        let fresh = guarded(|| Fresh::fill(Self::open_own(layout, NEW)?, true, layout));
        fresh.or_else(|err| {
            layout.private_dir().remove(NEW)?;
            Err(err)
        })
    }

    /// As [`Index::rebuilt`], not to replace anything.
    pub(crate) fn rebuilt_in_memory(&self) -> Result<Fresh> {
        Fresh::fill(in_memory()?, false, self.layout)
    }

    /// Puts `fresh` in the place of this database, and keeps what was verified.
    pub(crate) fn replace_with(&mut self, fresh: Fresh) -> Result<()> {
        let all = guarded(|| View::open(&self.writer()?.begin_read()?)?.all_verified());
        let verified = match all {
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
            guarded(|| {
                drop((database, fresh));
                Ok(())
            })?;
            self.layout.private_dir().rename(NEW, super::FILE)?;
        }
        Ok(())
    }

    /// Gives up a database that [`Index::rebuilt`] made.
    pub(crate) fn discard(&self, fresh: Fresh) -> Result<()> {
        let is_file = fresh.is_file;
        drop(fresh);
        if is_file {
            self.layout.private_dir().remove(NEW)?;
        }
        Ok(())
    }

    /// Returns where this database differs from `truth`, one line each; the last line counts those that are left out.
    pub(crate) fn differences(&mut self, truth: &Fresh) -> Result<Vec<String>> {
        self.with_recovery(|index| Self::compare(index.writer()?, &truth.database))
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

    /// Returns the record of each blob, in the order of digests.
    fn said(database: &Database) -> Result<impl Iterator<Item = Result<(Digest, Said)>> + use<>> {
        let tx = database.begin_read()?;
        let blobs = tx.open_table(DIGEST_TO_BLOB)?;
        let children = tx.open_table(PARENT_TO_CHILDREN)?;
        let rows = blobs.range::<&[u8]>(..)?;
        Ok(rows.map(move |item| {
            let (k, row) = item?;
            let row = BlobRow::from_bytes(row.value())?;
            let digest = split_key(k.value())?.0;
            let mut said = Said {
                present: row.kind != Kind::Absent,
                size: row.size,
                count: row.count,
                children: 0,
            };
            if row.kind == Kind::Document {
                said.children = children_of(&children, &digest)?.len() as u64;
            }
            Ok((digest, said))
        }))
    }
}
