// SPDX-License-Identifier: Apache-2.0
//! All tables of the database. See `migrations/README.md` for what is in them.

use std::marker::PhantomData;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, ReadOnlyMultimapTable, ReadOnlyTable, ReadTransaction,
    ReadableMultimapTable, ReadableTable, Table, TableDefinition, Value, WriteTransaction,
};

use super::panics::of_database;
use crate::error::{Error, ErrorKind, Fact, Result};

type Bytes = &'static [u8];

pub(crate) const META: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("meta");
pub(crate) const DIGEST_TO_BLOB: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("digest_to_blob");
pub(crate) const DIGEST_TO_VERIFIED: TableDefinition<'_, Bytes, Bytes> =
    TableDefinition::new("digest_to_verified");
pub(crate) const PARENT_TO_CHILDREN: TableDefinition<'_, Bytes, Bytes> =
    TableDefinition::new("parent_to_children");
const CHILD_AND_MENTION: TableDefinition<'_, Bytes, ()> = TableDefinition::new("child_and_mention");
pub(crate) const REF_TO_ENTRIES: TableDefinition<'_, Bytes, &'static str> =
    TableDefinition::new("ref_to_entries");
const LAYER_TO_DIFF_ID: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new("layer_to_diff_id");
const DIFF_ID_TO_LAYER: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("diff_id_to_layer");
const START_TO_LAYER: MultimapTableDefinition<'_, Bytes, Bytes> =
    MultimapTableDefinition::new("start_to_layer");
pub(crate) const ORPHAN: TableDefinition<'_, Bytes, ()> = TableDefinition::new("orphan");

/// Right of a transaction on a table: to write, or to read alone.
pub(crate) trait Access {
    type Table<K: Key + 'static, V: Value + 'static>: ReadableTable<K, V>;
    type Multimap<K: Key + 'static, V: Key + 'static>: ReadableMultimapTable<K, V>;
}

/// The right of a write transaction.
pub(crate) struct Write<'tx>(PhantomData<&'tx ()>);

impl<'tx> Access for Write<'tx> {
    type Table<K: Key + 'static, V: Value + 'static> = Table<'tx, K, V>;
    type Multimap<K: Key + 'static, V: Key + 'static> = MultimapTable<'tx, K, V>;
}

/// The right of a read transaction.
pub(crate) struct Read;

impl Access for Read {
    type Table<K: Key + 'static, V: Value + 'static> = ReadOnlyTable<K, V>;
    type Multimap<K: Key + 'static, V: Key + 'static> = ReadOnlyMultimapTable<K, V>;
}

/// The tables of one transaction.
pub(crate) struct Rows<A: Access> {
    pub meta: A::Table<&'static str, Bytes>,
    pub blobs: A::Table<Bytes, Bytes>,
    pub verified: A::Table<Bytes, Bytes>,
    pub children: A::Table<Bytes, Bytes>,
    pub in_edges: A::Table<Bytes, ()>,
    pub refs: A::Table<Bytes, &'static str>,
    pub diff_ids: A::Table<Bytes, Bytes>,
    pub layers: A::Multimap<Bytes, Bytes>,
    pub starts: A::Multimap<Bytes, Bytes>,
    pub orphans: A::Table<Bytes, ()>,
}

/// The tables of a write transaction.
pub(crate) type Tables<'tx> = Rows<Write<'tx>>;

/// The tables of a read transaction.
pub(crate) type View = Rows<Read>;

impl<'tx> Tables<'tx> {
    /// Opens all tables, and makes those that do not exist.
    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
        Ok(Self {
            meta: tx.open_table(META)?,
            blobs: tx.open_table(DIGEST_TO_BLOB)?,
            verified: tx.open_table(DIGEST_TO_VERIFIED)?,
            children: tx.open_table(PARENT_TO_CHILDREN)?,
            in_edges: tx.open_table(CHILD_AND_MENTION)?,
            refs: tx.open_table(REF_TO_ENTRIES)?,
            diff_ids: tx.open_table(LAYER_TO_DIFF_ID)?,
            layers: tx.open_multimap_table(DIFF_ID_TO_LAYER)?,
            starts: tx.open_multimap_table(START_TO_LAYER)?,
            orphans: tx.open_table(ORPHAN)?,
        })
    }
}

impl View {
    /// Opens all tables of a database of the schema of this program.
    pub(crate) fn open(tx: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            meta: tx.open_table(META)?,
            blobs: tx.open_table(DIGEST_TO_BLOB)?,
            verified: tx.open_table(DIGEST_TO_VERIFIED)?,
            children: tx.open_table(PARENT_TO_CHILDREN)?,
            in_edges: tx.open_table(CHILD_AND_MENTION)?,
            refs: tx.open_table(REF_TO_ENTRIES)?,
            diff_ids: tx.open_table(LAYER_TO_DIFF_ID)?,
            layers: tx.open_multimap_table(DIFF_ID_TO_LAYER)?,
            starts: tx.open_multimap_table(START_TO_LAYER)?,
            orphans: tx.open_table(ORPHAN)?,
        })
    }
}

// redb has an error type for each kind of call, and all of them convert to its common one.
macro_rules! errors_of_the_database {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for Error {
            fn from(err: redb::$kind) -> Self {
                failed(err.into())
            }
        }
    )*};
}

errors_of_the_database!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    DatabaseError
);

/// Returns an error of the database as one of this crate.
fn failed(err: redb::Error) -> Error {
    let kind = match err {
        // The disk failed, and the file may be as good as it was.
        redb::Error::Io(err) if err.kind() != std::io::ErrorKind::InvalidData => {
            let err = Error::from(err).context("index database");
            return err.with_fact(Fact::IndexDatabase);
        }
        // The last five say that the file holds no data of ours.
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::Io(_)
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
