// SPDX-License-Identifier: Apache-2.0
//! Brings a database to the schema of this program, one step a version.

use redb::{ReadableTable, WriteTransaction};

use super::tables::{META, failed};
use crate::error::{Error, ErrorKind, Result};

#[path = "../../migrations/0001_initial.rs"]
mod m0001_initial;

type Step = fn(&WriteTransaction) -> Result<()>;

/// The steps, in order: step N leads to schema N.
const STEPS: [Step; 1] = [m0001_initial::up];

/// The schema of this program.
const SCHEMA: u32 = STEPS.len() as u32;

/// Runs the steps that the database has not seen.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a database of a newer program, which is left alone.
pub(super) fn migrate(tx: &WriteTransaction) -> Result<()> {
    let mut meta = tx.open_table(META).map_err(failed)?;
    let stored = meta
        .get("schema")
        .map_err(failed)?
        .and_then(|v| v.value().try_into().ok().map(u32::from_le_bytes));
    let stored = stored.unwrap_or(0);
    if stored > SCHEMA {
        let text = format!("index database of schema {stored}, this program knows {SCHEMA}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if stored == SCHEMA {
        return Ok(());
    }
    drop(meta);
    for step in STEPS.iter().skip(stored as usize) {
        step(tx)?;
    }
    meta = tx.open_table(META).map_err(failed)?;
    meta.insert("schema", SCHEMA.to_le_bytes().as_slice())
        .map_err(failed)?;
    Ok(())
}
