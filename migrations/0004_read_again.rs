// SPDX-License-Identifier: Apache-2.0
//! Documents are read in another way: all counts as named where another reader may see something else.
//! Needs the blobs: what was read in documents is dropped and filled again; what took the decoding of layers is kept.

use redb::{MultimapTableHandle as _, TableHandle as _, WriteTransaction};

use crate::error::Result;
use crate::index::tables::Tables;

/// Tables of which no row comes from a document.
const KEPT: [&str; 5] = [
    "meta",
    "digest_to_verified",
    "layer_to_diff_id",
    "diff_id_to_layer",
    "start_to_layer",
];

/// Drops every other table, and what says that they are of this moment.
pub fn up(tx: &WriteTransaction) -> Result<()> {
    for table in tx.list_tables()?.collect::<Vec<_>>() {
        if !KEPT.contains(&table.name()) {
            tx.delete_table(table)?;
        }
    }
    for table in tx.list_multimap_tables()?.collect::<Vec<_>>() {
        if !KEPT.contains(&table.name()) {
            tx.delete_multimap_table(table)?;
        }
    }
    Ok(Tables::open(tx)?.meta.retain(|_, _| false)?)
}
