// SPDX-License-Identifier: Apache-2.0
//! Brings a database to the schema of this program, one step a version.

use redb::{Database, ReadableTable, WriteTransaction};

use super::tables::META;
use crate::error::{Error, ErrorKind, Fact, Result};

#[path = "../../migrations/0001_initial.rs"]
mod m0001_initial;
#[path = "../../migrations/0002_mentions.rs"]
mod m0002_mentions;
#[path = "../../migrations/0003_starts.rs"]
mod m0003_starts;
#[path = "../../migrations/0004_read_again.rs"]
mod m0004_read_again;
#[path = "../../migrations/0005_one_rule.rs"]
mod m0005_one_rule;

type Step = fn(&WriteTransaction) -> Result<()>;

/// The steps, in order: step N leads to schema N.
const STEPS: [Step; 5] = [
    m0001_initial::up,
    m0002_mentions::up,
    m0003_starts::up,
    m0004_read_again::up,
    m0005_one_rule::up,
];

/// The schema of this program.
pub(super) const SCHEMA: u32 = STEPS.len() as u32;

/// Returns the schema of a database; 0 for an empty one.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for one of a newer program.
pub(super) fn check(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<u32> {
    let stored = meta.get("schema")?;
    let stored = stored.and_then(|v| v.value().try_into().ok().map(u32::from_le_bytes));
    let stored = stored.unwrap_or(0);
    if stored > SCHEMA {
        let text = format!("index database of schema {stored}, this program knows {SCHEMA}");
        return Err(Error::new(ErrorKind::Unsupported, text).with_fact(Fact::IndexDatabase));
    }
    Ok(stored)
}

/// Runs the steps that the database has not seen.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a database of a newer program, which is left alone.
pub(super) fn migrate(database: &Database) -> Result<()> {
    let mut tx = database.begin_write()?;
    let stored = check(&tx.open_table(META)?)?;
    if stored == SCHEMA {
        return Ok(tx.abort()?);
    }
    for step in STEPS.iter().skip(stored as usize) {
        step(&tx)?;
    }
    tx.open_table(META)?
        .insert("schema", SCHEMA.to_le_bytes().as_slice())?;
    // As in every transaction of ours: a process may be killed right after it.
    tx.set_quick_repair(true);
    Ok(tx.commit()?)
}
