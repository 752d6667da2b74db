// SPDX-License-Identifier: Apache-2.0
//! Collections beside a database that was altered behind its back, byte by byte.

use std::collections::BTreeMap;

use crate::progress::Silent;
use crate::spec::{Manifest, MediaType, json};
use crate::store::{CheckOptions, Finding, GcOptions, Problem, Store, StoreOptions};

#[test]
fn whatever_byte_of_the_database_is_altered_commands_end_as_without_it() {
    let dir = tempfile::tempdir().expect("dir");
    let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
    let mut txn = store.begin("test").expect("begin");
    let layer = txn.put(b"layer", MediaType::LAYER).expect("put");
    let config = txn
        .put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)
        .expect("put");
    let bytes = json::to_bytes(&Manifest::new(config, vec![layer])).expect("json");
    let manifest = txn.put(&bytes, MediaType::MANIFEST).expect("put");
    txn.set_ref(&"t".parse().expect("name"), manifest);
    txn.commit().expect("commit");
    let collect = |dry: bool| {
        let plan = store.plan_gc(&GcOptions::default(), &Silent)?;
        if dry {
            return Ok(());
        }
        store.collect(plan, &Silent).map(|_| ())
    };
    collect(false).expect("gc");
    let blobs = || -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(store.layout().path().join("blobs/sha256")).expect("list");
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            let file = file.expect("entry");
            let name = file.file_name().into_string().expect("name");
            (name, std::fs::read(file.path()).expect("read"))
        };
        files.map(read).collect()
    };
    let whole = blobs();
    let path = store.layout().private_dir().join("index.redb");
    let good = std::fs::read(&path).expect("read");
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut lost = Vec::new();
    let step = used.len() / 200 + 1;
    // What a table is made of: read when it is opened, while others are open.
    let kind = |at: &usize| good[at + 1..].starts_with(b"&[u8]");
    let kinds = (0..good.len() - 1).filter(kind);
    let damage: Vec<usize> = used.iter().copied().step_by(step).chain(kinds).collect();
    for (n, at) in damage.iter().enumerate() {
        let mut bytes = good.clone();
        bytes[*at] ^= [0xff, 1, 0x80, 0x7f][n % 4];
        std::fs::write(&path, bytes).expect("damage");
        let _ = store.index_status();
        collect(true).unwrap_or_else(|err| panic!("plan, byte {at}: {err}"));
        collect(false).unwrap_or_else(|err| panic!("gc, byte {at}: {err}"));
        if n % 8 == 0 {
            let repair = CheckOptions {
                repair: true,
                ..CheckOptions::default()
            };
            let found = store.check(&repair, &Silent);
            let found = found.unwrap_or_else(|err| panic!("fsck, byte {at}: {err}"));
            let is_left = |f: &Finding| f.problem == Problem::Index && !f.repaired;
            let left = found.findings.iter().find(|f| is_left(f));
            assert!(left.is_none(), "byte {at}: {left:?}");
        }
        if blobs() != whole {
            lost.push(*at);
            for (name, bytes) in &whole {
                let path = store.layout().path().join("blobs/sha256").join(name);
                std::fs::write(path, bytes).expect("restore");
            }
        }
    }
    assert_eq!(lost, Vec::<usize>::new(), "blobs are lost");
}
