// SPDX-License-Identifier: Apache-2.0
//! The database beside its layout: older and newer schemas, documents of any size, files that were not made to the end.

mod edges;
mod read_only;

use redb::ReadableTable as _;

use std::time::Duration;

use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::index::rows::key;
use crate::index::{Access, FILE, Index, Place, Replace, Rows, Tables, migrate, queries, rows};
use crate::layout::Layout;
use crate::progress::tests::Recorder;
use crate::progress::{Monitor, Silent};

impl<A: Access> Rows<A> {
    /// Returns every row as digest, count and whether it is an orphan.
    pub(crate) fn dump(&self) -> Result<Vec<(Digest, u64, bool)>> {
        let mut out = Vec::new();
        for item in self.blobs.iter()? {
            let (k, row) = item?;
            let is_orphan = self.orphans.get(k.value())?.is_some();
            let count = rows::BlobRow::from_bytes(row.value())?.count;
            out.push((rows::split_key(k.value())?.0, count, is_orphan));
        }
        Ok(out)
    }
}

impl Tables<'_> {
    /// Loses the row of a blob, as a changed bit in its key would.
    pub(crate) fn lose_row(&mut self, digest: &Digest) -> Result<()> {
        self.invalidate_listing()?;
        self.blobs.remove(key(digest).as_slice())?;
        Ok(())
    }

    /// Makes a count wrong.
    pub(crate) fn miscount(&mut self, digest: &Digest, by: i64) -> Result<()> {
        self.add_count(digest, by)
    }
}

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

fn file<'a>(layout: &'a Layout, monitor: &'a dyn Monitor) -> Index<'a> {
    Index::new(layout, Place::FileOnly, monitor).waiting(Duration::ZERO)
}

fn dump(index: &mut Index<'_>) -> Vec<(Digest, u64, bool)> {
    index.read(Rows::dump).expect("dump")
}

/// The differences of a database to one that is filled now.
fn differences(index: &mut Index<'_>) -> Result<Vec<String>> {
    index.recount(Replace::Never)
}

#[test]
fn a_database_of_every_older_schema_is_brought_up_to_date() {
    for schema in 1..migrate::SCHEMA {
        let (_dir, layout) = stored_by(schema);
        let monitor = Recorder::default();
        let mut index = file(&layout, &monitor);
        let mut fresh = Index::new(&layout, Place::Memory, &Silent);
        assert_eq!(dump(&mut index), dump(&mut fresh), "schema {schema}");
        assert_eq!(dump(&mut index).len(), 5);
        assert!(monitor.warnings().is_empty(), "{:?}", monitor.warnings());
    }
}

#[test]
fn what_schema_3_overlooked_in_documents_is_found() {
    let (_dir, layout) = stored_by(3);
    let mut fresh = Index::new(&layout, Place::Memory, &Silent);
    let all = dump(&mut fresh);
    let mut index = file(&layout, &Silent);
    dump(&mut index);
    let overlook = index.write(|tables| {
        for (digest, _, _) in &all {
            tables.children.remove(rows::piece_keys(digest).0.as_slice())?;
        }
        let schema = 3_u32.to_le_bytes();
        tables.meta.insert("schema", schema.as_slice())?;
        Ok(())
    });
    overlook.expect("write");
    assert!(!differences(&mut index).expect("compare").is_empty());
    drop(index);
    let mut index = file(&layout, &Silent);
    assert_eq!(dump(&mut index), all);
    assert_eq!(differences(&mut index).expect("compare"), Vec::<String>::new());
}

#[test]
fn what_schema_2_knew_of_tars_is_known_and_forgotten_with_the_layer() {
    let (_dir, layout) = stored_by(2);
    let mut index = file(&layout, &Silent);
    let layer: Digest = "sha256:20311cb3e6d95c5658d39d6c6a0e7f135560437b9b863fb7886c7ccc7bafeca2"
        .parse()
        .expect("digest");
    let mut write =
        |run: &dyn Fn(&mut Tables<'_>) -> Result<Vec<Digest>>| index.write(|t| run(t)).expect("index");
    let tar = write(&|tables| {
        let row = tables.diff_ids.get(key(&layer).as_slice())?;
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
    let mut index = file(&layout, &Silent);
    let before = dump(&mut index);
    let (there, _, _) = before[0];
    let many = (0..150_000_u32).map(|n| format!(r#""{}","#, Digest::sha256(&n.to_le_bytes())));
    let text = format!(
        r#"{{"first":["{there}","{there}"],"many":[{}{{"mediaType":"x/y","digest":"{there}"}}]}}"#,
        many.collect::<String>()
    );
    let large = Digest::sha256(text.as_bytes());
    let path = layout.blob_path(&large);
    std::fs::write(&path, &text).expect("write");
    let counts = |index: &mut Index<'_>| {
        let read = |tables: &mut Tables<'_>| {
            Ok((
                tables.count(&there)?,
                queries::children_of(&tables.children, &large)?.len(),
            ))
        };
        index.write(|tables| read(tables)).expect("read")
    };
    let (count, _) = counts(&mut index);
    dump(&mut index);
    assert_eq!(
        counts(&mut index),
        (count + 1, 150_001),
        "named thrice, counted once"
    );
    assert_eq!(differences(&mut index).expect("compare"), Vec::<String>::new());
    std::fs::remove_file(path).expect("remove");
    assert_eq!(dump(&mut index), before);
    assert_eq!(counts(&mut index), (count, 0));
}

#[test]
fn a_database_that_was_not_made_to_the_end_is_made_without_a_word() {
    let (_dir, layout) = stored();
    let path = layout.private_dir().join(FILE);
    for len in [1, 4096, 70_000] {
        std::fs::write(&path, vec![0; len]).expect("write");
        let monitor = Recorder::default();
        let mut index = file(&layout, &monitor);
        assert_eq!(dump(&mut index).len(), 5);
        assert!(monitor.warnings().is_empty(), "{:?}", monitor.warnings());
    }
}

#[test]
fn a_database_of_a_newer_program_is_left_alone() {
    let (_dir, layout) = stored();
    let mut index = file(&layout, &Silent);
    let newer = (migrate::SCHEMA + 1).to_le_bytes();
    let set = index.write(|tables| {
        let inserted = tables.meta.insert("schema", newer.as_slice());
        Ok(inserted.map(|_| ())?)
    });
    set.expect("set");
    drop(index);
    let path = layout.private_dir().join(FILE);
    let before = std::fs::read(&path).expect("read");
    let err = file(&layout, &Silent).sync().expect_err("newer");
    assert_eq!(err.kind(), ErrorKind::Unsupported, "{err}");
    assert!(Index::peek(&layout, "a").is_none());
    let mut index = Index::new(&layout, Place::File, &Silent);
    assert_eq!(dump(&mut index).len(), 5);
    assert!(
        std::fs::read(&path).expect("read") == before,
        "not a byte was written"
    );
}

#[test]
fn a_name_is_looked_up_without_reading_index_json() {
    let (_dir, layout) = stored();
    assert!(Index::peek(&layout, "a").is_none(), "an older schema");
    let mut index = file(&layout, &Silent);
    // As long ago as it takes for a stamp to be trusted.
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options()
        .append(true)
        .open(layout.path().join("index.json"))
        .expect("open");
    file.set_modified(old).expect("touch");
    let known = |index: &mut Index| {
        let stamp = rows::stamp_to_bytes(&layout.index_stamp().expect("stamp"));
        let set = index.write(|tables| {
            tables.sync(&layout, &Silent)?;
            tables.meta.insert("index_json", stamp.as_slice())?;
            Ok(())
        });
        set.expect("sync");
    };
    known(&mut index);
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

#[test]
fn the_second_death_in_a_row_over_a_database_sets_it_aside() {
    let (_dir, layout) = stored();
    let mark = layout.private_dir().join("index.open");
    let aside = layout.private_dir().join("index.redb.damaged");
    for deaths in 0..=2 {
        std::fs::write(&mark, vec![b'.'; deaths]).expect("write");
        let monitor = Recorder::default();
        let mut index = file(&layout, &monitor);
        index.write(|tables| tables.dump()).expect("open");
        let open = std::fs::metadata(&mark).expect("open").len();
        assert_eq!(open, if deaths == 2 { 1 } else { deaths as u64 + 1 });
        assert_eq!(monitor.warnings().len(), usize::from(deaths == 2), "{deaths}");
        assert_eq!(aside.exists(), deaths == 2);
        drop(index);
        assert!(!mark.exists(), "closed");
    }
    assert_eq!(dump(&mut file(&layout, &Silent)).len(), 5);
}
