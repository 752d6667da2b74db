// SPDX-License-Identifier: Apache-2.0
//! All tables of the database. See `migrations/README.md` for what is in them.

use std::mem::ManuallyDrop;

use redb::{MultimapTable, MultimapTableDefinition, Table, TableDefinition, WriteTransaction};

use super::guard::of_database;
use crate::error::{Error, ErrorKind, Fact, Result};

type Bytes = &'static [u8];

pub(crate) const META: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("meta");
pub(crate) const DIGEST_TO_BLOB: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("digest_to_blob");
pub(crate) const DIGEST_TO_VERIFIED: TableDefinition<'_, Bytes, Bytes> =
    TableDefinition::new("digest_to_verified");
pub(crate) const PARENT_TO_CHILD: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("parent_to_child");
const CHILD_TO_MENTION: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("child_to_mention");
pub(crate) const REF_TO_ENTRIES: TableDefinition<'_, Bytes, &'static str> =
    TableDefinition::new("ref_to_entries");
const LAYER_TO_DIFF_ID: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("layer_to_diff_id");
const DIFF_ID_TO_LAYER: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("diff_id_to_layer");
const START_TO_LAYER: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("start_to_layer");
pub(crate) const ORPHAN: TableDefinition<'_, Bytes, ()> = TableDefinition::new("orphan");

/// The tables, open in one write transaction.
pub(crate) struct Tables<'tx> {
    pub meta: Table<'tx, &'static str, Bytes>,
    pub blobs: Table<'tx, Bytes, Bytes>,
    pub verified: Table<'tx, Bytes, Bytes>,
    pub children: MultimapTable<'tx, Bytes, Bytes>,
    pub mentions: MultimapTable<'tx, Bytes, Bytes>,
    pub refs: Table<'tx, Bytes, &'static str>,
    pub diff_ids: Table<'tx, Bytes, Bytes>,
    pub layers: MultimapTable<'tx, Bytes, Bytes>,
    pub starts: MultimapTable<'tx, Bytes, Bytes>,
    pub orphans: Table<'tx, Bytes, ()>,
}

impl<'tx> Tables<'tx> {
    /// Opens all tables, and makes those that do not exist. Those opened are left behind if a later one makes the
    /// database panic.
    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        let meta = ManuallyDrop::new(tx.open_table(META).map_err(failed)?);
        let blobs = ManuallyDrop::new(tx.open_table(DIGEST_TO_BLOB).map_err(failed)?);
        let verified = ManuallyDrop::new(tx.open_table(DIGEST_TO_VERIFIED).map_err(failed)?);
        let children = ManuallyDrop::new(tx.open_multimap_table(PARENT_TO_CHILD).map_err(failed)?);
        let mentions = ManuallyDrop::new(tx.open_multimap_table(CHILD_TO_MENTION).map_err(failed)?);
        let refs = ManuallyDrop::new(tx.open_table(REF_TO_ENTRIES).map_err(failed)?);
        let diff_ids = ManuallyDrop::new(tx.open_table(LAYER_TO_DIFF_ID).map_err(failed)?);
        let layers = ManuallyDrop::new(tx.open_multimap_table(DIFF_ID_TO_LAYER).map_err(failed)?);
        let starts = ManuallyDrop::new(tx.open_multimap_table(START_TO_LAYER).map_err(failed)?);
        let orphans = ManuallyDrop::new(tx.open_table(ORPHAN).map_err(failed)?);
        Ok(Self {
            meta: ManuallyDrop::into_inner(meta),
            blobs: ManuallyDrop::into_inner(blobs),
            verified: ManuallyDrop::into_inner(verified),
            children: ManuallyDrop::into_inner(children),
            mentions: ManuallyDrop::into_inner(mentions),
            refs: ManuallyDrop::into_inner(refs),
            diff_ids: ManuallyDrop::into_inner(diff_ids),
            layers: ManuallyDrop::into_inner(layers),
            starts: ManuallyDrop::into_inner(starts),
            orphans: ManuallyDrop::into_inner(orphans),
        })
    }
}

/// An error of the database as ours.
pub(crate) fn failed(err: impl Into<redb::Error>) -> Error {
    let err = match err.into() {
        redb::Error::Io(io) if io.kind() != std::io::ErrorKind::InvalidData => {
            let err = Error::from(io).context("index database");
            return err.with_fact(Fact::IndexDatabase);
        }
        err => err,
    };
    let kind = match &err {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted => {
            ErrorKind::Corrupt
        }
        redb::Error::DatabaseAlreadyOpen => ErrorKind::Busy,
        // What is left of them: the file holds no data of ours.
        redb::Error::Io(_)
        | redb::Error::LockPoisoned(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_) => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    of_database(kind, err)
}
