// SPDX-License-Identifier: Apache-2.0
//! All tables of the database. See `migrations/README.md` for what is in them.

use std::marker::PhantomData;
use std::ops::Bound;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, ReadOnlyMultimapTable, ReadOnlyTable, ReadTransaction,
    ReadableMultimapTable, ReadableTable, Table, TableDefinition, Value, WriteTransaction,
};

use super::guard::of_database;
use super::rows::{BlobRow, DiffId, Link, MentionKey, Piece, Row, Verified};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result};

type Bytes = &'static [u8];

/// The table that every schema has: names, and what they stand for.
pub(crate) const META: TableDefinition<'_, &'static str, Bytes> = TableDefinition::new("meta");

/// The table of refs, which every schema from 2 on has.
const REFS: &str = "ref_to_entries";

/// What a transaction gives of a table: the right to write, or to read alone.
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

/// A table of rows, which the database has as bytes; its values are of the type `R` to it.
pub(crate) struct Typed<T, K, V, R> {
    table: T,
    rows: PhantomData<(K, V, R)>,
}

impl<T: ReadableTable<Bytes, R>, K: Row, V: Row, R: Value + 'static> Typed<T, K, V, R> {
    fn of_table(table: T) -> Self {
        let rows = PhantomData;
        Self { table, rows }
    }

    fn row(value: &R::SelfType<'_>) -> Result<V> {
        V::from_bytes(R::as_bytes(value).as_ref())
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<V>> {
        let found = self.table.get(key.to_bytes().as_slice())?;
        found.map(|value| Self::row(&value.value())).transpose()
    }

    /// Returns the rows between two keys, in the order of keys.
    fn range(
        &self,
        first: Bound<Vec<u8>>,
        end: Bound<Vec<u8>>,
    ) -> Result<impl Iterator<Item = Result<(K, V)>>> {
        let bounds = (first.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let rows = self.table.range::<&[u8]>(bounds)?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            Ok((K::from_bytes(key.value())?, Self::row(&value.value())?))
        }))
    }

    pub(crate) fn rows(&self) -> Result<impl Iterator<Item = Result<(K, V)>>> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// Returns the rows after that of a key, or all.
    pub(crate) fn after(&self, key: Option<&K>) -> Result<impl Iterator<Item = Result<(K, V)>>> {
        let first = key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_bytes()));
        self.range(first, Bound::Unbounded)
    }

    /// Returns the rows whose keys begin with a digest.
    pub(crate) fn of(&self, digest: &Digest) -> Result<impl Iterator<Item = Result<(K, V)>>> {
        let first = digest.to_bytes();
        // No key goes on with this byte.
        let end = [&first[..], &[0xff]].concat();
        self.range(Bound::Included(first), Bound::Excluded(end))
    }

    pub(crate) fn len(&self) -> Result<u64> {
        Ok(self.table.len()?)
    }
}

impl<K: Row, V: Row, R: Value + 'static> Typed<Table<'_, Bytes, R>, K, V, R> {
    /// Returns whether there was no such row.
    pub(crate) fn insert(&mut self, key: &K, value: &V) -> Result<bool> {
        let (key, value) = (key.to_bytes(), value.to_bytes());
        let old = self.table.insert(key.as_slice(), R::from_bytes(&value))?;
        Ok(old.is_none())
    }

    /// Returns the row that was there.
    pub(crate) fn remove(&mut self, key: &K) -> Result<Option<V>> {
        let found = self.table.remove(key.to_bytes().as_slice())?;
        found.map(|value| Self::row(&value.value())).transpose()
    }
}

/// Several digests under each, such as the layers of a tar.
pub(crate) struct Several<T>(T);

impl<T: ReadableMultimapTable<Bytes, Bytes>> Several<T> {
    pub(crate) fn get(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let found = self.0.get(digest.to_bytes().as_slice())?;
        found
            .map(|value| <Digest as Row>::from_bytes(value?.value()))
            .collect()
    }
}

impl Several<MultimapTable<'_, Bytes, Bytes>> {
    pub(crate) fn insert(&mut self, digest: &Digest, one: &Digest) -> Result<()> {
        self.0
            .insert(digest.to_bytes().as_slice(), one.to_bytes().as_slice())?;
        Ok(())
    }

    pub(crate) fn remove(&mut self, digest: &Digest, one: &Digest) -> Result<()> {
        self.0
            .remove(digest.to_bytes().as_slice(), one.to_bytes().as_slice())?;
        Ok(())
    }
}

/// Declares the tables, each once: how it is called here, its rows, what their values are to the database, and how it is called there.
macro_rules! tables {
    ({ $($table:ident: $key:ty => $value:ty as $raw:ty = $name:expr;)* } several { $($many:ident = $called:literal;)* }) => {
        /// The tables of one transaction.
        pub(crate) struct Rows<A: Access> {
            pub meta: A::Table<&'static str, Bytes>,
            $(pub $table: Typed<A::Table<Bytes, $raw>, $key, $value, $raw>,)*
            $(pub $many: Several<A::Multimap<Bytes, Bytes>>,)*
        }

        impl<'tx> Tables<'tx> {
            /// Opens all tables, and makes those that do not exist.
            pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self> {
                Ok(Self {
                    meta: tx.open_table(META)?,
                    $($table: Typed::of_table(tx.open_table(TableDefinition::new($name))?),)*
                    $($many: Several(tx.open_multimap_table(MultimapTableDefinition::new($called))?),)*
                })
            }
        }

        impl View {
            /// Opens all tables of a database of the schema of this program.
            pub(crate) fn open(tx: &ReadTransaction) -> Result<Self> {
                Ok(Self {
                    meta: tx.open_table(META)?,
                    $($table: Typed::of_table(tx.open_table(TableDefinition::new($name))?),)*
                    $($many: Several(tx.open_multimap_table(MultimapTableDefinition::new($called))?),)*
                })
            }
        }
    };
}

tables!({
    blobs: Digest => BlobRow as Bytes = "digest_to_blob";
    verified: Digest => Verified as Bytes = "digest_to_verified";
    children: Piece => Vec<Link> as Bytes = "parent_to_children";
    mentions: MentionKey => () as () = "child_and_mention";
    refs: Vec<u8> => String as &'static str = REFS;
    diff_ids: Digest => DiffId as Bytes = "layer_to_diff_id";
    orphans: Digest => () as () = "orphan";
} several {
    layers = "diff_id_to_layer";
    starts = "start_to_layer";
});

/// The tables of a write transaction.
pub(crate) type Tables<'tx> = Rows<Write<'tx>>;

/// The tables of a read transaction.
pub(crate) type View = Rows<Read>;

/// Returns the entries of `index.json` in a database of any schema that has them, as the text of each row.
pub(crate) fn texts_of_refs(tx: &ReadTransaction) -> Result<Vec<String>> {
    let refs = tx.open_table(TableDefinition::<Bytes, &'static str>::new(REFS))?;
    refs.iter()?.map(|row| Ok(row?.1.value().to_owned())).collect()
}

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
    let err = match err {
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
