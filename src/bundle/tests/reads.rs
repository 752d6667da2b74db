// SPDX-License-Identifier: Apache-2.0
//! Tests of what each job reads: every byte once, or not at all.

use crate::bundle::*;
use crate::digest::Digest;
use crate::fs::IdMap;
use crate::image::{Edit, Image, NewLayer, Target, stat};
use crate::node::TreePath;
use crate::progress::tests::Recorder;
use crate::rootfs::PackOptions;
use crate::spec::{Compression, RefName};
use crate::store::{Store, StoreOptions};

/// Options for whoever runs the tests.
fn own_ids() -> UnpackOptions {
    let id = |id: u32| vec![IdMap::parse_mapping(&format!("0:{id}")).expect("map")];
    let id_map = IdMap {
        uids: id(rustix::process::geteuid().as_raw()),
        gids: id(rustix::process::getegid().as_raw()),
        rootless: true,
    };
    UnpackOptions {
        id_map,
        ..UnpackOptions::default()
    }
}

/// Returns how many bytes of files were read to tell what changed in a tree, and what is in it.
fn read_again(recorder: &Recorder) -> u64 {
    recorder.passed("comparing") + recorder.passed("reading the tree")
}

fn load(store: &Store, tag: &RefName) -> Image {
    Image::find(store, &Target::Name(tag.clone()), None).expect("image")
}

#[test]
fn unpack_reads_all_once_and_stat_no_layer() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::create(&dir.path().join("layout"), StoreOptions::default()).expect("layout");
    let tag: RefName = "a".parse().expect("tag");
    // Small files, one that is written as it is read, and one with a hole.
    let source = dir.path().join("tree");
    std::fs::create_dir(&source).expect("mkdir");
    for (name, content) in [
        ("empty", Vec::new()),
        ("small", b"content".to_vec()),
        ("large", vec![7; 700_000]),
        ("hole", [vec![0; 600_000], vec![1; 1000]].concat()),
    ] {
        std::fs::write(source.join(name), content).expect("write");
    }
    let mut txn = store.begin("test").expect("begin");
    let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
    let tree = Insertion::Tree {
        source: source.clone(),
        target: TreePath::root(),
        opaque: false,
    };
    let options = PackOptions {
        id_map: own_ids().id_map,
        ..PackOptions::default()
    };
    let layer = insert(&mut txn, &tree, Compression::Gzip, &options, &Recorder::default()).expect("insert");
    edit.add_layer(layer, None);
    edit.apply(&mut txn, &tag).expect("apply");
    txn.commit().expect("commit");

    let image = load(&store, &tag);
    let stored: u64 = image.manifest.value.layers.iter().map(|l| l.size).sum();
    let recorder = Recorder::default();
    let bundle = unpack(&store, &image, &dir.path().join("bundle"), &own_ids(), &recorder).expect("unpack");
    // Content is hashed while it is written, so no file is read for the manifest of the tree.
    assert_eq!(recorder.passed("unpacking"), stored);
    assert_eq!(recorder.passed("reading the tree"), 0);
    for name in ["empty", "small", "large", "hole"] {
        let read = |dir: &Path| std::fs::read(dir.join(name)).expect(name);
        assert!(read(&bundle.rootfs()) == read(&source), "{name}");
    }
    // Nor does the first look at the tree read what was written last.
    let recorder = Recorder::default();
    let options = RepackOptions::default();
    let done = repack(&store, &bundle, &tag, |_| Ok(None), &options, &recorder).expect("repack");
    assert_eq!((done.changed, read_again(&recorder)), (false, 0));
    // A layer that is no archive at all makes no difference to `stat`.
    let layer = image.manifest.value.layers[0].digest;
    std::fs::write(
        dir.path().join("layout/blobs/sha256").join(layer.encoded()),
        vec![0; stored as usize],
    )
    .expect("damage");
    stat(&store, &Target::Name(tag), None).expect("stat");
}

#[test]
fn a_tar_that_the_store_has_a_layer_of_is_not_compressed_again() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("layout");
    let store = Store::create(&path, StoreOptions::default()).expect("layout");
    let write = |compression, tag: &str| {
        let mut txn = store.begin("test").expect("begin");
        let layer = NewLayer::write(&mut txn, compression, |out| Ok(out.write_all(&[0; 10240])?));
        let layer = layer.expect("layer");
        let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
        edit.add_layer(layer.clone(), None);
        edit.apply(&mut txn, &tag.parse().expect("tag")).expect("apply");
        txn.commit().expect("commit");
        layer
    };
    let first = write(Compression::Gzip, "a");
    let again = write(Compression::Gzip, "b");
    assert!(first.compressed && !again.compressed);
    assert_eq!(
        (&first.descriptor, first.diff_id),
        (&again.descriptor, again.diff_id)
    );
    assert!(write(Compression::Zstd, "c").compressed, "another compression");
    // A blob that is not what it should be is not used; it is mended.
    let blob = path.join("blobs/sha256").join(first.descriptor.digest.encoded());
    let good = std::fs::read(&blob).expect("blob");
    std::fs::write(&blob, vec![1; good.len()]).expect("damage");
    assert!(write(Compression::Gzip, "d").compressed);
    assert!(std::fs::read(&blob).expect("blob") == good);
    std::fs::remove_dir_all(path.join(".umoci")).expect("forget");
    assert!(write(Compression::Gzip, "e").compressed, "nothing is known");
}

#[test]
fn a_large_tar_is_compared_with_the_layer_that_begins_as_it_does() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("layout");
    let store = Store::create(&path, StoreOptions::default()).expect("layout");
    let tar: Vec<u8> = (0..20_000_000_u32).map(|n| (n >> 9) as u8).collect();
    let count = std::cell::Cell::new(0);
    let write = |store: &Store, tar: &[u8]| {
        let mut txn = store.begin("test").expect("begin");
        let layer = NewLayer::write(&mut txn, Compression::Gzip, |out| {
            Ok(tar.chunks(99_999).try_for_each(|piece| out.write_all(piece))?)
        });
        let layer = layer.expect("layer");
        let mut edit = Edit::blank("2026-01-02T03:04:05Z".to_owned());
        edit.add_layer(layer.clone(), None);
        count.set(count.get() + 1);
        let tag = format!("t{}", count.get()).parse().expect("tag");
        edit.apply(&mut txn, &tag).expect("apply");
        txn.commit().expect("commit");
        layer
    };
    let first = write(&store, &tar);
    assert!(first.compressed);
    let mut other = tar.clone();
    other[19_000_000] ^= 1;
    for (what, changed, compressed) in [
        ("the same", tar.clone(), false),
        ("another byte", other, true),
        ("cut off", tar[..19_999_999].to_vec(), true),
        ("more", [&tar[..], b"x"].concat(), true),
        ("another start", [b"x", &tar[..]].concat(), true),
    ] {
        let layer = write(&store, &changed);
        assert_eq!(layer.compressed, compressed, "{what}");
        assert_eq!(layer.diff_id, Digest::sha256(&changed), "{what}");
        // The bytes are those that any store gets.
        let fresh = Store::create(&dir.path().join(what), StoreOptions::default()).expect("layout");
        assert_eq!(write(&fresh, &changed).descriptor, layer.descriptor, "{what}");
    }
    // A layer that is damaged, wherever, is not used, and is mended.
    let blob = path.join("blobs/sha256").join(first.descriptor.digest.encoded());
    let good = std::fs::read(&blob).expect("blob");
    for at in [20, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        std::fs::write(&blob, bad).expect("damage");
        let layer = write(&store, &tar);
        assert_eq!(
            (layer.compressed, layer.descriptor),
            (true, first.descriptor.clone()),
            "{at}"
        );
        assert!(std::fs::read(&blob).expect("blob") == good, "{at}");
    }
    assert!(!write(&store, &tar).compressed);
}

#[test]
fn a_repack_reads_only_files_that_changed_and_a_refresh_forgets_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::create(&dir.path().join("layout"), StoreOptions::default()).expect("layout");
    let tag: crate::spec::RefName = "a".parse().expect("tag");
    let mut txn = store.begin("test").expect("begin");
    Edit::blank("2026-01-02T03:04:05Z".to_owned())
        .apply(&mut txn, &tag)
        .expect("blank");
    txn.commit().expect("commit");
    let image = || load(&store, &tag);
    let path = dir.path().join("bundle");
    let bundle = unpack(&store, &image(), &path, &own_ids(), &Recorder::default()).expect("unpack");
    // A byte in each, so as many bytes as files are read.
    for n in 0..50 {
        std::fs::write(bundle.rootfs().join(n.to_string()), [n]).expect("write");
    }
    let run = |refresh: bool| {
        let recorder = Recorder::default();
        let options = RepackOptions {
            refresh,
            ..RepackOptions::default()
        };
        let done = repack(&store, &bundle, &tag, |_| Ok(None), &options, &recorder).expect("repack");
        (done.changed, read_again(&recorder))
    };
    // Packing reads all, and so does the refresh, the first time that they are seen.
    assert!(run(true).0);
    // Files as young as the last look are read again; sooner or later the clock has gone on.
    while run(false) != (false, 0) {}
    std::fs::write(bundle.rootfs().join("7"), "8").expect("write");
    let (changed, read) = run(true);
    // The one that changed: to compare, and for the new manifest.
    assert!(changed && read <= 2, "{read} files were read");
    while run(false) != (false, 0) {}
    let names: Vec<_> = std::fs::read_dir(&path)
        .expect("list")
        .map(|e| e.expect("entry").file_name())
        .collect();
    let stats = names
        .iter()
        .filter(|n| n.to_string_lossy().ends_with(".stat"))
        .count();
    assert_eq!((names.len(), stats), (5, 1), "{names:?}");
    // Without it all is read, and the result is the same.
    let cache = bundle.stat_cache(&image().descriptor().digest);
    std::fs::remove_file(&cache).expect("remove");
    assert_eq!(run(false), (false, 50));
    assert!(cache.exists());
}

/// A bundle may come from somebody else.
#[test]
fn a_repack_neither_hangs_on_nor_follows_what_stands_in_the_place_of_the_files_of_a_bundle() {
    let dir = tempfile::tempdir().expect("directory");
    let store = Store::create(&dir.path().join("layout"), StoreOptions::default()).expect("layout");
    let tag: RefName = "a".parse().expect("tag");
    let mut txn = store.begin("test").expect("begin");
    Edit::blank("2026-01-02T03:04:05Z".to_owned())
        .apply(&mut txn, &tag)
        .expect("blank");
    txn.commit().expect("commit");
    let path = dir.path().join("bundle");
    let bundle = unpack(
        &store,
        &load(&store, &tag),
        &path,
        &own_ids(),
        &Recorder::default(),
    )
    .expect("unpack");
    let run = || {
        let options = RepackOptions::default();
        repack(
            &store,
            &bundle,
            &tag,
            |_| Ok(None),
            &options,
            &Recorder::default(),
        )
    };
    let pipe = |at: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, at, mode).expect("pipe");
    };
    let device = |at: &Path| std::os::unix::fs::symlink("/dev/zero", at).expect("link");
    let aside = dir.path().join("aside");
    let digest = load(&store, &tag).descriptor().digest;
    for file in [bundle.meta(), bundle.mtree(&digest)] {
        std::fs::rename(&file, &aside).expect("move");
        for make in [&pipe as &dyn Fn(&Path), &device] {
            make(&file);
            let err = run().expect_err("no file").to_string();
            let want = format!("{} is not a regular file", file.display());
            assert!(err.contains(&want), "{err}");
            std::fs::remove_file(&file).expect("remove");
        }
        // A person may keep the file elsewhere.
        std::os::unix::fs::symlink(&aside, &file).expect("link");
        run().expect("a link to a file");
        std::fs::remove_file(&file).expect("remove");
        std::fs::rename(&aside, &file).expect("move back");
    }
    let cache = bundle.stat_cache(&digest);
    for make in [&pipe as &dyn Fn(&Path), &device] {
        let _ = std::fs::remove_file(&cache);
        make(&cache);
        run().expect("a cache may be deleted at any time");
    }
    std::fs::rename(bundle.rootfs(), &aside).expect("move");
    std::os::unix::fs::symlink(&aside, bundle.rootfs()).expect("link");
    let err = run().expect_err("link").to_string();
    let want = format!("{} is a link, not a directory; ", bundle.rootfs().display());
    assert!(err.contains(&want), "{err}");
}
