// SPDX-License-Identifier: Apache-2.0
//! The index database: what every blob is and who refers to it. Derived from the layout at any time.
//!
//! Invariants: a count is the number of refs plus strong edges that lead to a blob, as far as documents were read;
//! a row never says that a blob may go, only that nobody is known to need it, and the caller makes sure under the lock
//! that the database has caught up. Without a file (read-only layout, held by another process, newer schema) the same
//! code works on a database in memory. Private to the crate.

mod backend;
mod compare;
mod counts;
mod edges;
mod guard;
mod learn;
mod migrate;
mod peek;
mod queries;
mod rows;
mod status;
pub(crate) mod tables;

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use redb::{Database, ReadableDatabase, WriteTransaction, backends::InMemoryBackend};

#[cfg(debug_assertions)]
pub use edges::edges_of;
pub(crate) use learn::{Damaged, Orphan, end_of_reflog};
#[cfg(debug_assertions)]
pub use rows::read_any_row;
pub use status::IndexStatus;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, LayoutLock, Stamp};
use crate::progress::{Monitor, Silent};
use backend::Backend;
pub use guard::PanicFate;
pub(crate) use guard::damage;
use guard::{Held, guarded, is_damage, is_of_database, keep};
pub(crate) use peek::Remembered;
use peek::is_meta;
pub(crate) use rows::{Edge, Mention, Verified};
pub(crate) use tables::Tables;
use tables::failed;

const FILE: &str = "index.redb";

/// Bytes of pages that the database may keep in memory.
const CACHE: usize = 12 << 20;

/// How long a command waits for another one that has the database open, before it goes on without.
const WAIT: Duration = Duration::from_secs(5);

/// A blob that is there, as the database knows it.
#[derive(Clone, Debug)]
pub(crate) struct KnownBlob {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// Refs and documents that need it.
    pub count: u64,
    /// Whether it was looked into and is no document.
    pub opaque: bool,
    pub verified: Option<Verified>,
}

/// An open database, for one transaction.
pub(crate) struct Index {
    database: Held,
    /// `None` if the database is in memory.
    lock: Option<LayoutLock>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Index")
    }
}

impl Index {
    /// Opens the database of the layout, or one in memory where that cannot be had. A damaged one is set aside.
    pub(crate) fn open(layout: &Layout, monitor: &dyn Monitor) -> Result<Self> {
        match Self::open_file(layout, WAIT, monitor) {
            Ok(index) => Ok(index),
            Err(err) => {
                match err.kind() {
                    ErrorKind::ReadOnly | ErrorKind::Denied => {}
                    _ => monitor.info(format_args!("going on without the index database: {err}")),
                }
                Self::in_memory()
            }
        }
    }

    /// As [`Index::open`], without making a database that is not there.
    pub(crate) fn open_if_there(layout: &Layout) -> Result<Self> {
        if Layout::has_file(&layout.private_dir().join(FILE)) {
            Self::open(layout, &Silent)
        } else {
            Self::in_memory()
        }
    }

    /// Opens the database of the layout; it is no error worth a word if that cannot be had.
    pub(crate) fn open_file(layout: &Layout, wait: Duration, monitor: &dyn Monitor) -> Result<Self> {
        let lock = layout.lock_database(wait)?;
        let path = layout.private_file(FILE)?;
        let existed = Layout::has_file(&path);
        // Opening to write changes the file, so what must be left alone is found out by reading.
        let newer = || -> Result<u32> {
            let tx = Self::open_to_read(layout)?.begin_read().map_err(failed)?;
            migrate::check(&tx.open_table(tables::META).map_err(failed)?)
        };
        if existed
            && let Err(err) = guarded(newer)
            && err.kind() == ErrorKind::Unsupported
        {
            return Err(err);
        }
        let mut index = match Self::open_own(layout, FILE) {
            Err(err) if err.kind() == ErrorKind::Corrupt && existed => {
                Self::set_aside(layout, &err, monitor)?;
                Self::open_own(layout, FILE)?
            }
            index => index?,
        };
        index.lock = Some(lock);
        Ok(index)
    }

    /// Opens the database in a file of our own, by a caller that holds the lock of the database.
    fn open_own(layout: &Layout, name: &str) -> Result<Self> {
        let mut file = layout.open_own(name)?;
        // Its first bytes are written last: one that was being made when a process died or the disk was full.
        let mut first = [0; 9];
        if file.file().read_at(&mut first, 0)? > 0 && first == [0; 9] {
            drop(file);
            layout.remove_private_file(name)?;
            file = layout.open_own(name)?;
        }
        let open = || -> Result<Database> {
            let backend = Backend::new(file).map_err(failed)?;
            Database::builder()
                .set_cache_size(CACHE)
                .create_with_backend(backend)
                .map_err(failed)
        };
        let database = Held::new(guarded(open)?);
        database.on(Self::migrate)?;
        layout.give(&layout.private_dir().join(name))?;
        Ok(Self { database, lock: None })
    }

    /// Whether the database is a file of the layout.
    pub(crate) fn is_file(&self) -> bool {
        self.lock.is_some()
    }

    /// A database in memory, which knows nothing yet.
    pub(crate) fn in_memory() -> Result<Self> {
        let builder = Database::builder();
        let database = builder
            .create_with_backend(InMemoryBackend::new())
            .map_err(failed)?;
        let database = Held::new(database);
        database.on(Self::migrate)?;
        Ok(Self { database, lock: None })
    }

    fn migrate(database: &Database) -> Result<()> {
        let tx = database.begin_write().map_err(failed)?;
        let (mut tx, out) = keep(tx, |tx| migrate::migrate(tx));
        if !out? {
            return tx.abort().map_err(failed);
        }
        tx.set_quick_repair(true);
        tx.commit().map_err(failed)
    }

    /// Catches up with the layout; see [`Tables::sync`]. Nothing is written if it is of this moment already.
    pub(crate) fn sync(&self, layout: &Layout, monitor: &dyn Monitor) -> Result<Vec<Damaged>> {
        if self.is_current(layout)? {
            return Ok(Vec::new());
        }
        self.write(|tables| tables.sync(layout, monitor))
    }

    fn is_current(&self, layout: &Layout) -> Result<bool> {
        self.database.on(|database| Self::has_stamps(database, layout))
    }

    fn has_stamps(database: &Database, layout: &Layout) -> Result<bool> {
        let tx = database.begin_read().map_err(failed)?;
        let meta = tx.open_table(tables::META).map_err(failed)?;
        let has = |name: &str, stamp: &Stamp| is_meta(&meta, name, &rows::stamp_to_bytes(stamp));
        if !has("index_json", &layout.index_stamp()?)? {
            return Ok(false);
        }
        for (algorithm, stamp) in layout.blob_dirs()? {
            if !has(learn::dir_stamp(algorithm), &stamp)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs `work` on what the tables would be if it had changed them; nothing is.
    pub(crate) fn suppose<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        self.in_transaction(work, |tx, out| {
            tx.abort().map_err(failed)?;
            out
        })
    }

    /// Runs `work` in one transaction, which is durable when this returns, or never was.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        self.in_transaction(work, |mut tx, out| {
            let out = out?;
            tx.set_quick_repair(true);
            tx.commit().map_err(failed)?;
            Ok(out)
        })
    }

    fn in_transaction<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>) -> Result<T>,
        end: impl FnOnce(WriteTransaction, Result<T>) -> Result<T>,
    ) -> Result<T> {
        self.database.on(|database| {
            let tx = database.begin_write().map_err(failed)?;
            let (tx, out) = keep(tx, |tx| keep(Tables::open(tx)?, work).1);
            if out.as_ref().is_err_and(is_damage) {
                // To end it would be to write to a damaged file.
                std::mem::forget(tx);
                return out;
            }
            end(tx, out)
        })
    }

    /// After `err` of this database: sets its file aside and goes on with a new one, or with one in memory where that
    /// cannot be had. Whether there is a new file.
    ///
    /// # Errors
    /// `err`, if it is not of the database, or of one in memory.
    pub(crate) fn renew(&mut self, err: Error, layout: &Layout, monitor: &dyn Monitor) -> Result<bool> {
        if !is_of_database(&err) || !self.is_file() {
            return Err(err);
        }
        let mut new = Err(err);
        if let Err(err) = &new
            && is_damage(err)
        {
            let set_aside = Self::set_aside(layout, err, monitor);
            new = set_aside.and_then(|()| Self::open_own(layout, FILE));
        }
        match new {
            Ok(index) => {
                self.database = index.database;
                Ok(true)
            }
            Err(err) => {
                monitor.warn(format_args!("{err}; going on with a new one in memory"));
                *self = Self::in_memory()?;
                Ok(false)
            }
        }
    }

    /// Moves a damaged file out of the way, for a person to look at.
    fn set_aside(layout: &Layout, err: &Error, monitor: &dyn Monitor) -> Result<()> {
        let aside = layout.private_dir().join("index.redb.damaged");
        monitor.warn(format_args!(
            "{err}; set aside as {} and made anew",
            aside.display()
        ));
        layout.set_aside(&layout.private_file(FILE)?, &aside)
    }
}

#[cfg(test)]
mod tests {
    use redb::{ReadableMultimapTable as _, ReadableTable as _};

    use super::rows::key;
    use super::*;
    use crate::progress::Recorder;

    /// A layout whose database a program of schema 1 has written.
    fn stored() -> (tempfile::TempDir, Layout) {
        stored_by(1)
    }

    fn stored_by(schema: u32) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("dir");
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        let archive = format!("{fixtures}/layout-schema-{schema}.tar.gz");
        let tar = std::process::Command::new("tar")
            .args(["-xzf", &archive, "-C"])
            .arg(dir.path())
            .status();
        assert!(tar.expect("tar").success());
        let layout = Layout::open(&dir.path().join("layout")).expect("open");
        (dir, layout)
    }

    fn dump(index: &Index, layout: &Layout) -> Vec<(Digest, u64, bool)> {
        let all = index.write(|tables| {
            tables.sync(layout, &Silent)?;
            tables.dump()
        });
        all.expect("dump")
    }

    #[test]
    fn a_database_of_every_older_schema_is_brought_up_to_date() {
        for schema in 1..migrate::SCHEMA {
            let (_dir, layout) = stored_by(schema);
            let monitor = Recorder::default();
            let index = Index::open_file(&layout, Duration::ZERO, &monitor).expect("open");
            let fresh = Index::in_memory().expect("index");
            assert_eq!(dump(&index, &layout), dump(&fresh, &layout), "schema {schema}");
            assert_eq!(dump(&index, &layout).len(), 5);
            assert!(monitor.warnings().is_empty(), "{:?}", monitor.warnings());
        }
    }

    #[test]
    fn what_schema_3_overlooked_in_documents_is_found() {
        let (_dir, layout) = stored_by(3);
        let fresh = Index::in_memory().expect("index");
        let all = dump(&fresh, &layout);
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        dump(&index, &layout);
        let overlook = index.write(|tables| {
            for (digest, _, _) in &all {
                tables
                    .children
                    .remove_all(key(digest).as_slice())
                    .map_err(failed)?;
            }
            let schema = 3_u32.to_le_bytes();
            tables.meta.insert("schema", schema.as_slice()).map_err(failed)?;
            Ok(())
        });
        overlook.expect("write");
        assert!(!index.differences(&fresh).expect("compare").is_empty());
        drop(index);
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        assert_eq!(dump(&index, &layout), all);
        assert_eq!(index.differences(&fresh).expect("compare"), Vec::<String>::new());
    }

    #[test]
    fn what_schema_2_knew_of_tars_is_known_and_forgotten_with_the_layer() {
        let (_dir, layout) = stored_by(2);
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        let layer: Digest = "sha256:20311cb3e6d95c5658d39d6c6a0e7f135560437b9b863fb7886c7ccc7bafeca2"
            .parse()
            .expect("digest");
        let write =
            |run: &dyn Fn(&mut Tables<'_>) -> Result<Vec<Digest>>| index.write(|t| run(t)).expect("index");
        let tar = write(&|tables| {
            let row = tables.diff_ids.get(key(&layer).as_slice()).map_err(failed)?;
            Ok(vec![rows::split_key(row.expect("row").value())?.0])
        })[0];
        assert_eq!(write(&|tables| tables.layers_of(&tar)), [layer]);
        let start = Digest::of(crate::digest::Algorithm::Blake3, b"");
        let noted = write(&|tables| {
            tables.note_diff_id(&layer, &tar, Some(&start))?;
            tables.layers_of_start(&start)
        });
        assert_eq!(noted, [layer]);
        let left = write(&|tables| {
            tables.forget(&layer)?;
            Ok([tables.layers_of_start(&start)?, tables.layers_of(&tar)?].concat())
        });
        assert_eq!(left, []);
    }

    #[test]
    fn a_document_that_names_more_than_is_held_is_learned_and_forgotten_as_any_other() {
        let (_dir, layout) = stored();
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        let before = dump(&index, &layout);
        let (there, _, _) = before[0];
        let many = (0..150_000_u32).map(|n| format!(r#""{}","#, Digest::sha256(&n.to_le_bytes())));
        let text = format!(
            r#"{{"first":["{there}","{there}"],"many":[{}{{"mediaType":"x/y","digest":"{there}"}}]}}"#,
            many.collect::<String>()
        );
        let large = Digest::sha256(text.as_bytes());
        let path = layout.blob_path(&large);
        std::fs::write(&path, &text).expect("write");
        let counts = || {
            let read = |tables: &mut Tables<'_>| {
                let children = tables.children.get(key(&large).as_slice()).map_err(failed)?;
                Ok((tables.count(&there)?, children.len()))
            };
            index.write(|tables| read(tables)).expect("read")
        };
        let (count, _) = counts();
        dump(&index, &layout);
        assert_eq!(counts(), (count + 1, 150_001), "named thrice, counted once");
        let fresh = Index::in_memory().expect("index");
        dump(&fresh, &layout);
        assert_eq!(index.differences(&fresh).expect("compare"), Vec::<String>::new());
        std::fs::remove_file(path).expect("remove");
        assert_eq!(dump(&index, &layout), before);
        assert_eq!(counts(), (count, 0));
    }

    #[test]
    fn a_database_that_was_not_made_to_the_end_is_made_without_a_word() {
        let (_dir, layout) = stored();
        let path = layout.private_dir().join(FILE);
        for len in [1, 4096, 70_000] {
            std::fs::write(&path, vec![0; len]).expect("write");
            let monitor = Recorder::default();
            let index = Index::open_file(&layout, Duration::ZERO, &monitor).expect("open");
            assert_eq!(dump(&index, &layout).len(), 5);
            assert!(monitor.warnings().is_empty(), "{:?}", monitor.warnings());
        }
    }

    #[test]
    fn a_database_of_a_newer_program_is_left_alone() {
        let (_dir, layout) = stored();
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        let newer = (migrate::SCHEMA + 1).to_le_bytes();
        let set = index.write(|tables| {
            let inserted = tables.meta.insert("schema", newer.as_slice());
            inserted.map(|_| ()).map_err(failed)
        });
        set.expect("set");
        drop(index);
        let path = layout.private_dir().join(FILE);
        let before = std::fs::read(&path).expect("read");
        let err = Index::open_file(&layout, Duration::ZERO, &Silent).expect_err("newer");
        assert_eq!(err.kind(), ErrorKind::Unsupported, "{err}");
        assert!(Index::peek(&layout, "a").is_none());
        let index = Index::open(&layout, &Silent).expect("in memory");
        assert_eq!(dump(&index, &layout).len(), 5);
        assert!(
            std::fs::read(&path).expect("read") == before,
            "not a byte was written"
        );
    }

    #[test]
    fn a_name_is_looked_up_without_reading_index_json() {
        let (_dir, layout) = stored();
        assert!(Index::peek(&layout, "a").is_none(), "an older schema");
        let index = Index::open_file(&layout, Duration::ZERO, &Silent).expect("open");
        // As long ago as it takes for a stamp to be trusted.
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let file = std::fs::File::options()
            .append(true)
            .open(layout.path().join("index.json"))
            .expect("open");
        file.set_modified(old).expect("touch");
        let known = |index: &Index| {
            let stamp = rows::stamp_to_bytes(&layout.index_stamp().expect("stamp"));
            let set = index.write(|tables| {
                tables.sync_refs(&layout)?;
                tables
                    .meta
                    .insert("index_json", stamp.as_slice())
                    .map_err(failed)?;
                Ok(())
            });
            set.expect("sync");
        };
        known(&index);
        assert!(Index::peek(&layout, "a").is_none(), "held by a writer");
        drop(index);
        let found = Index::peek(&layout, "a").expect("known");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].raw(),
            layout.read_index().expect("index").entries()[0].raw()
        );
        assert!(Index::peek(&layout, "none").expect("known").is_empty());
        file.set_modified(old - Duration::from_secs(1)).expect("touch");
        assert!(Index::peek(&layout, "a").is_none(), "another state of the file");
    }
}
