// SPDX-License-Identifier: Apache-2.0
//! Stamps of the layout in the database, which tell whether it knows the layout as it is now.

use redb::{ReadableDatabase, ReadableTable};

use super::rows::stamp_to_bytes;
use super::tables::{META, Tables};
use crate::digest::Algorithm;
use crate::error::Result;
use crate::layout::{Layout, Stamp};

/// Follows a stamp that was noted too early to be trusted.
const YOUNG: u8 = 1;

/// Returns the stamps of the layout, each with the row of `meta` that has it.
pub(super) fn stamps(layout: &Layout) -> Result<Vec<(String, Stamp)>> {
    let mut out = vec![(INDEX_JSON.to_owned(), layout.index_stamp()?)];
    let dirs = layout.blob_dirs()?.into_iter();
    out.extend(dirs.map(|(algorithm, stamp)| (dir_stamp(algorithm), stamp)));
    Ok(out)
}

/// The row of `meta` with the stamp of `index.json`.
pub(super) const INDEX_JSON: &str = "index_json";

/// Returns the row of `meta` with the stamp of a directory of blobs.
pub(super) fn dir_stamp(algorithm: Algorithm) -> String {
    format!("blobs/{algorithm}")
}

/// Returns whether the database knows the layout as it is now.
pub(super) fn has_stamps(database: &impl ReadableDatabase, layout: &Layout) -> Result<bool> {
    let meta = database.begin_read()?.open_table(META)?;
    for (name, stamp) in stamps(layout)? {
        if !is_meta(&meta, &name, &stamp_to_bytes(&stamp))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns whether a row of `meta` has this value.
pub(super) fn is_meta(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
    value: &[u8],
) -> Result<bool> {
    let found = meta.get(name)?;
    Ok(found.is_some_and(|v| v.value() == value))
}

impl Tables<'_> {
    pub(super) fn has_stamp(&self, name: &str, stamp: &Stamp) -> Result<bool> {
        is_meta(&self.meta, name, &stamp_to_bytes(stamp))
    }

    pub(super) fn set_stamp(&mut self, name: &str, stamp: &Stamp) -> Result<()> {
        let mut value = stamp_to_bytes(stamp);
        if !stamp.is_settled() {
            // Not equal to any stamp, so that all is read again; the status sees what was read last.
            value.push(YOUNG);
        }
        self.meta.insert(name, value.as_slice())?;
        Ok(())
    }
}
