// SPDX-License-Identifier: Apache-2.0
//! All tables of the database. See `migrations/README.md` for what is in them.

use redb::{MultimapTable, MultimapTableDefinition, Table, TableDefinition, WriteTransaction};

use crate::error::{Error, ErrorKind, Result};

type Bytes = &'static [u8];

pub(crate) const META: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("meta");
const DIGEST_TO_BLOB: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("digest_to_blob");
const DIGEST_TO_MEDIA_TYPE: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("digest_to_media_type");
const PARENT_TO_CHILD: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("parent_to_child");
const CHILD_TO_PARENT: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("child_to_parent");
const REF_TO_DESCRIPTOR: TableDefinition<'_, u64, Bytes> = TableDefinition::new("ref_to_descriptor");
const SEQ_TO_REFLOG: TableDefinition<'_, u64, Bytes> = TableDefinition::new("seq_to_reflog");
const LAYER_TO_DIFF_ID: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("layer_to_diff_id");
const DIFF_ID_TO_LAYER: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("diff_id_to_layer");
const LAYER_PATH_TO_ENTRY: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("layer_path_to_entry");
const LEASE_TO_DIGESTS: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("lease_to_digests");
const ORPHAN: TableDefinition<'_, Bytes, ()> = TableDefinition::new("orphan");

/// The tables that are worked on, open in one write transaction.
pub(crate) struct Tables<'tx> {
    pub meta: Table<'tx, &'static str, Bytes>,
    pub blobs: Table<'tx, Bytes, Bytes>,
    pub media_types: MultimapTable<'tx, Bytes, Bytes>,
    pub children: MultimapTable<'tx, Bytes, Bytes>,
    pub parents: MultimapTable<'tx, Bytes, Bytes>,
    pub refs: Table<'tx, u64, Bytes>,
    pub diff_ids: Table<'tx, Bytes, Bytes>,
    pub layers: MultimapTable<'tx, Bytes, Bytes>,
    pub orphans: Table<'tx, Bytes, ()>,
}

impl<'tx> Tables<'tx> {
    /// Opens all tables, and makes those that do not exist.
    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        tx.open_table(SEQ_TO_REFLOG).map_err(failed)?;
        tx.open_table(LAYER_PATH_TO_ENTRY).map_err(failed)?;
        tx.open_table(LEASE_TO_DIGESTS).map_err(failed)?;
        Ok(Self {
            meta: tx.open_table(META).map_err(failed)?,
            blobs: tx.open_table(DIGEST_TO_BLOB).map_err(failed)?,
            media_types: tx.open_multimap_table(DIGEST_TO_MEDIA_TYPE).map_err(failed)?,
            children: tx.open_multimap_table(PARENT_TO_CHILD).map_err(failed)?,
            parents: tx.open_multimap_table(CHILD_TO_PARENT).map_err(failed)?,
            refs: tx.open_table(REF_TO_DESCRIPTOR).map_err(failed)?,
            diff_ids: tx.open_table(LAYER_TO_DIFF_ID).map_err(failed)?,
            layers: tx.open_multimap_table(DIFF_ID_TO_LAYER).map_err(failed)?,
            orphans: tx.open_table(ORPHAN).map_err(failed)?,
        })
    }
}

/// An error of the database as ours.
pub(crate) fn failed(err: impl Into<redb::Error>) -> Error {
    let err = err.into();
    let kind = match &err {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => {
            ErrorKind::Corrupt
        }
        redb::Error::DatabaseAlreadyOpen => ErrorKind::Busy,
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        redb::Error::Io(io) => return Error::from(std::io::Error::from(io.kind())).context("index database"),
        redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_) => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("index database: {err}"))
}
