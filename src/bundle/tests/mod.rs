// SPDX-License-Identifier: Apache-2.0
//! Tests of bundles as a whole.

mod reads;

use super::*;
use crate::fs::IdMap;
use crate::image::{Edit, Image, Target};
use crate::node::TreePath;
use crate::progress::tests::{Recorder, TaskRecord};
use crate::rootfs::PackOptions;
use crate::spec::Compression;
use crate::store::{Store, StoreOptions};

/// A bar must not stand still for as long as a layer takes.
#[test]
fn long_tasks_say_how_many_bytes_have_passed() {
    const SIZE: usize = 5_000_000;
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("file");
    std::fs::write(&file, vec![7; SIZE]).expect("file");
    let store = Store::create(&dir.path().join("layout"), StoreOptions::default()).expect("layout");
    let tag = "a".parse().expect("tag");
    let id = |id: u32| vec![IdMap::parse_mapping(&format!("0:{id}")).expect("map")];
    let id_map = IdMap {
        uids: id(rustix::process::geteuid().as_raw()),
        gids: id(rustix::process::getegid().as_raw()),
        rootless: true,
    };
    let task = |recorder: &Recorder, name: &str| -> TaskRecord {
        let task = recorder.tasks().into_iter().find(|t| t.name == name);
        let task = task.expect(name);
        assert!(task.steps.iter().all(|&n| n < 2 << 20), "{task:?}");
        task
    };
    let passed = |task: &TaskRecord| task.steps.iter().sum::<u64>();

    let recorder = Recorder::default();
    let mut txn = store.begin("test").expect("begin");
    let options = PackOptions {
        id_map: id_map.clone(),
        ..PackOptions::default()
    };
    let tree = Insertion::Tree {
        source: file.clone(),
        target: TreePath::clean(b"f").expect("path"),
        opaque: false,
    };
    let layer = insert(&mut txn, &tree, Compression::None, &options, &recorder).expect("insert");
    let size = layer.descriptor.size;
    assert_eq!(passed(&task(&recorder, "packing")), size);
    let tar = dir
        .path()
        .join("layout/blobs/sha256")
        .join(layer.diff_id.encoded());
    let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
    edit.add_layer(layer, None);
    edit.apply(&mut txn, &tag).expect("apply");

    let recorder = Recorder::default();
    add_archive(&mut txn, &tar, None, Compression::Gzip, &recorder).expect("add");
    let added = task(&recorder, "packing");
    assert_eq!((passed(&added), added.total), (size, Some(size)));
    txn.commit().expect("commit");

    let recorder = Recorder::default();
    let image = Image::find(&store, &Target::Name(tag.clone()), None).expect("image");
    let options = UnpackOptions {
        id_map,
        ..UnpackOptions::default()
    };
    let bundle = unpack(&store, &image, &dir.path().join("b"), &options, &recorder).expect("unpack");
    let unpacked = task(&recorder, "unpacking");
    assert_eq!((passed(&unpacked), unpacked.total), (size, Some(size)));
    assert!(unpacked.steps.len() > 3, "{unpacked:?}");

    let recorder = Recorder::default();
    std::fs::rename(&file, bundle.rootfs().join("g")).expect("rename");
    let options = RepackOptions {
        compression: Some(Compression::Gzip),
        ..RepackOptions::default()
    };
    repack(&store, &bundle, &tag, |_| Ok(None), &options, &recorder).expect("repack");
    let packed = passed(&task(&recorder, "packing"));
    assert!(packed > SIZE as u64 && packed < SIZE as u64 + 10_000, "{packed}");
    assert!(!task(&recorder, "comparing").steps.is_empty());
}
