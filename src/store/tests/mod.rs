// SPDX-License-Identifier: Apache-2.0
//! Tests of the store as a whole.

mod damaged_index;
mod model;
mod power_loss;

use super::*;
use crate::digest::Digest;
use crate::layout::Journal;
use crate::progress::Silent;
use crate::spec::MediaType;
use crate::spec::{Manifest, RefName, json};

/// A store on a disk that dies after so many steps.
fn cut(path: &Path, steps: usize) -> (Store, Journal) {
    let disk = Journal::new(steps);
    let layout = Layout::open_on(path, Box::new(disk.clone())).expect("open");
    (
        Store {
            layout,
            opts: StoreOptions::default(),
        },
        disk,
    )
}

fn write(store: &Store, name: &str) -> Result<()> {
    let mut txn = store.begin("test")?;
    let layer = txn.put(name.as_bytes(), MediaType::LAYER)?;
    let config = txn.put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)?;
    let manifest = txn.put(
        &json::to_bytes(&Manifest::new(config, vec![layer]))?,
        MediaType::MANIFEST,
    )?;
    txn.set_ref(&name.parse()?, manifest);
    txn.commit()
}

/// Every tag leads to a manifest that has all its blobs, whole.
fn assert_whole(store: &Store) -> Vec<String> {
    for entry in store.refs().expect("refs") {
        let manifest = store
            .read(&entry.descriptor().expect("descriptor"))
            .expect("manifest");
        let manifest: Manifest = json::parse(&manifest).expect("JSON");
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            store.read(blob).expect("blob");
        }
    }
    store.names().expect("names")
}

#[test]
fn a_death_between_any_two_steps_leaves_at_worst_garbage() {
    for steps in 0.. {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("img");
        let store = Store::create(&path, StoreOptions::default()).expect("create");
        write(&store, "old").expect("old");
        write(&store, "gone").expect("gone");
        store.remove_ref("gone").expect("remove");
        drop(store);

        let (dying, _) = cut(&path, steps);
        let written = write(&dying, "new");
        let collected = match dying.plan_gc(&GcOptions::default(), &Silent) {
            Ok(plan) if written.is_ok() => dying.collect(plan, &Silent).map(|_| ()),
            Ok(_) => Ok(()),
            Err(err) => Err(err),
        };
        drop(dying);

        let store = Store::open(&path, StoreOptions::default()).expect("open");
        let names = assert_whole(&store);
        assert!(names.contains(&"old".to_owned()), "after {steps} steps");
        assert!(
            written.is_err() || names.contains(&"new".to_owned()),
            "what a finished command wrote is there"
        );
        write(&store, "new").expect("rerun");
        let plan = store.plan_gc(&GcOptions::default(), &Silent).expect("plan");
        store.collect(plan, &Silent).expect("collect");
        assert_eq!(assert_whole(&store), ["old", "new"]);
        let blobs = store.layout().blobs(Algorithm::Sha256).expect("blobs").count();
        assert_eq!(
            blobs, 5,
            "after {steps} steps: two layers, two manifests, one config"
        );
        if written.is_ok() && collected.is_ok() {
            assert!(steps > 10, "some steps were cut");
            return;
        }
    }
}

#[test]
fn blobs_are_durable_before_the_ref_names_them() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("img");
    drop(Store::create(&path, StoreOptions::default()).expect("create"));
    let (store, done) = cut(&path, usize::MAX);
    write(&store, "t").expect("write");
    let mut done = done.done(&path);
    done.retain(|step| step != "sync directory .umoci");
    let blob = ["create temp", "sync temp", "rename to", "sync directory"];
    let begins = |(step, want): (&String, &str)| step.starts_with(want);
    let (blobs, rest) = done.split_at(3 * blob.len());
    assert!(blobs.iter().zip(blob.into_iter().cycle()).all(begins), "{done:?}");
    let index = [
        "sync directory blobs",
        "sync directory blobs/sha256",
        "create temp",
    ];
    assert_eq!(rest[..3], index, "{done:?}");
    assert!(
        rest[2..].iter().zip(blob).all(begins) && rest.len() == 6,
        "{done:?}"
    );
    assert_eq!(rest[4], "rename to index.json");
}

#[test]
fn many_blobs_are_made_durable_together_and_before_the_first_has_its_name() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("img");
    drop(Store::create(&path, StoreOptions::default()).expect("create"));
    let (store, done) = cut(&path, usize::MAX);
    let mut txn = store.begin("test").expect("begin");
    for n in 0..100_u8 {
        let blob = Descriptor::new(MediaType::LAYER, Digest::sha256(&[n]), 1);
        let mut writer = txn.write_blob().expect("writer");
        std::io::Write::write_all(&mut writer, &[n]).expect("write");
        txn.stage(writer.stage_as(&blob).expect("stage")).expect("stage");
    }
    txn.commit().expect("commit");
    let done = done.done(&path);
    let kinds: Vec<&str> = done
        .iter()
        .map(|step| step.split(' ').next().expect("verb"))
        .collect();
    let runs: Vec<(&str, usize)> = kinds
        .chunk_by(|a, b| a == b)
        .map(|run| (run[0], run.len()))
        .collect();
    assert_eq!(
        runs,
        [("create", 100), ("sync", 1), ("rename", 100), ("sync", 1)],
        "{done:?}"
    );
    assert_eq!(
        store.layout().blobs(Algorithm::Sha256).expect("blobs").count(),
        100
    );
}

#[test]
fn a_look_between_the_reflog_and_the_index_json_that_it_leads_to_is_no_newer_witness() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("img");
    let store = Store::create(&path, StoreOptions::default()).expect("create");
    write(&store, "t").expect("old");
    write(&store, "new").expect("new");
    let name: RefName = "t".parse().expect("name");
    let [old, new] = [name.as_str(), "new"].map(|name| store.lookup(name).expect("value"));
    let log = |(): &mut (), state: &Digest| {
        let change = refs::Record::now("test", Some("t"), old.clone(), new.clone());
        store.record(&mut [change], state)?;
        store.index(&Silent).sync().map(drop)
    };
    let changed =
        store
            .layout
            .update_index_logged(Duration::ZERO, |index, _| index.set_ref(&name, new.clone()), log);
    changed.expect("change");
    std::fs::write(path.join("index.json"), "{").expect("tear");
    Store::check_frame(&path, StoreOptions::default(), true, &Silent).expect("repair");
    assert_eq!(
        store.lookup(&name).expect("value").digests().collect::<Vec<_>>(),
        new.digests().collect::<Vec<_>>()
    );
}
