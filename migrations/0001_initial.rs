// SPDX-License-Identifier: Apache-2.0
//! Makes every table of the first schema.

use redb::{MultimapTableDefinition, TableDefinition, WriteTransaction};

use crate::error::Result;

type Bytes = &'static [u8];

/// Makes the tables.
pub fn up(tx: &WriteTransaction) -> Result<()> {
    for name in ["digest_to_blob", "layer_to_diff_id", "layer_path_to_entry"] {
        tx.open_table(TableDefinition::<Bytes, Bytes>::new(name))?;
    }
    for name in [
        "digest_to_media_type",
        "parent_to_child",
        "child_to_parent",
        "diff_id_to_layer",
    ] {
        tx.open_multimap_table(MultimapTableDefinition::<Bytes, Bytes>::new(name))?;
    }
    for name in ["ref_to_descriptor", "seq_to_reflog"] {
        tx.open_table(TableDefinition::<u64, Bytes>::new(name))?;
    }
    tx.open_table(TableDefinition::<&'static str, Bytes>::new("meta"))?;
    tx.open_table(TableDefinition::<&'static str, Bytes>::new("lease_to_digests"))?;
    tx.open_table(TableDefinition::<Bytes, ()>::new("orphan"))?;
    Ok(())
}
