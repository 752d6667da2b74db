// SPDX-License-Identifier: Apache-2.0
//! Refs by name, one table of who names a blob, and what was verified. Needs the blobs: all is dropped and filled again.

use redb::WriteTransaction;

use crate::error::Result;
use crate::index::tables::Tables;

/// Drops every table, and makes those of the second schema.
pub fn up(tx: &WriteTransaction) -> Result<()> {
    for table in tx.list_tables()?.collect::<Vec<_>>() {
        tx.delete_table(table)?;
    }
    for table in tx.list_multimap_tables()?.collect::<Vec<_>>() {
        tx.delete_multimap_table(table)?;
    }
    Tables::open(tx).map(|_| ())
}
