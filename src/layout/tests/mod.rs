// SPDX-License-Identifier: Apache-2.0
//! Tests of the layout on disk, and the disk that they cut the power of.

mod create;
pub(crate) mod journal;
mod private;
pub(crate) mod volatile;

use std::fs::File;

use super::*;
use crate::error::ErrorKind;
use crate::layout::create::Room;
use crate::progress::Silent;
use crate::spec::{Descriptor, MediaType, RefName};

impl Layout {
    /// As [`Layout::update_index_logged`], without a log.
    pub(crate) fn update_index<T>(
        &self,
        timeout: Duration,
        mut edit: impl FnMut(&mut IndexJson) -> Result<T>,
    ) -> Result<T> {
        self.update_index_logged(timeout, |index, _| edit(index), |_, _| Ok(()))
    }
}

pub(super) fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().expect("dir");
    let layout = Layout::create(&dir.path().join("a/b/img")).expect("create");
    (dir, layout)
}

fn descriptor(data: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::MANIFEST, Digest::sha256(data), data.len() as u64)
}

fn name(text: &str) -> RefName {
    text.parse().expect("name")
}

#[test]
fn opening_and_reading_creates_nothing() {
    let (_dir, layout) = layout();
    std::fs::remove_dir_all(layout.private_dir()).expect("rm");
    let path = layout.path().to_owned();
    let layout = Layout::open(&path).expect("open");
    layout.read_index().expect("index");
    assert!(
        layout
            .share_lock(Lock::Layout, Duration::ZERO)
            .expect("no lock")
            .is_none()
    );
    let mut names = disk::list(&path).expect("list");
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
}

/// Writes a blob and points the tag `a` at it.
fn write(layout: &Layout) -> Result<()> {
    use std::io::Write as _;
    let mut writer = layout.write_blob(Algorithm::Sha256)?;
    writer.write_all(b"content")?;
    writer.finish()?;
    layout.update_index(Duration::ZERO, |index| {
        index.set_ref(name("a"), descriptor(b"content"))
    })
}

#[test]
fn content_is_durable_before_its_name_and_the_blob_before_the_ref() {
    let (_dir, layout) = layout();
    let journal = Journal::new(usize::MAX);
    let watched = Layout::open_on(layout.path(), Box::new(journal.clone())).expect("open");
    write(&watched).expect("write");
    let remove = watched.remove_blobs([&Digest::sha256(b"content")], |_| {});
    remove.expect("remove");
    let blob = format!("blobs/sha256/{}", Digest::sha256(b"content").encoded());
    let want = [
        "create temp",
        "sync temp",
        &format!("rename to {blob}"),
        "sync directory blobs/sha256",
        "create temp",
        "sync temp",
        "rename to index.json",
        "sync directory ",
        &format!("remove {blob}"),
        "sync directory blobs/sha256",
    ];
    assert_eq!(journal.done(layout.path()), want);
}

#[test]
fn a_disk_that_dies_between_any_two_steps_leaves_a_good_layout() {
    for most in 0..8 {
        let (_dir, layout) = layout();
        let journal = Journal::new(most);
        let dying = Layout::open_on(layout.path(), Box::new(journal)).expect("open");
        write(&dying).expect_err("dies");
        let layout = Layout::open(layout.path()).expect("open");
        for entry in layout.read_index().expect("index").entries() {
            let descriptor = entry.descriptor().expect("descriptor");
            layout
                .read_blob(&descriptor, 100)
                .expect("a ref leads to its blob");
        }
        for blob in layout.blobs(Algorithm::Sha256).expect("list") {
            assert_eq!(blob.expect("name"), BlobName::Digest(Digest::sha256(b"content")));
            layout.read_blob(&descriptor(b"content"), 100).expect("whole");
        }
        write(&layout).expect("a rerun succeeds");
    }
    for most in 0..9 {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("img");
        let journal = Journal::new(most);
        let made = Layout::create_on(&path, Box::new(journal), Room::New);
        if most == 0 {
            assert!(made.is_err());
            continue;
        }
        assert!(made.is_err() && !path.exists(), "{most}");
        Layout::create(&path).expect("a rerun succeeds");
    }
}

#[test]
fn what_is_made_belongs_to_the_owner_of_the_layout_and_is_as_open_as_it_is() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (_dir, layout) = layout();
    for mode in [0o750, 0o2775] {
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(layout.path(), Some(1234), Some(4321)).expect("chown");
        }
        std::fs::set_permissions(layout.path(), std::fs::Permissions::from_mode(mode)).expect("chmod");
        let _ = std::fs::remove_dir_all(layout.private_dir());
        let root = std::fs::metadata(layout.path()).expect("stat");
        let layout = Layout::open(layout.path()).expect("open");
        let _lock = layout
            .lock(LockMode::Shared, Duration::ZERO, "test")
            .expect("lock");
        layout
            .update_index(Duration::ZERO, |index| index.remove_refs(&["a"]))
            .expect("remove");
        write(&layout).expect("write");
        let blob = layout.write_blob(Algorithm::Sha512).expect("writer");
        let blob = layout.blob_path(&blob.finish().expect("finish").digest);
        let private = layout.private_dir();
        for path in [
            layout.path().join("index.json"),
            layout.blob_path(&Digest::sha256(b"content")),
            blob.parent().expect("parent").to_owned(),
            blob,
            private.join("lock"),
            private.join("refs.lock"),
            private.join("tmp"),
            private.as_ref().to_owned(),
        ] {
            let found = std::fs::metadata(&path).expect("stat");
            let text = path.display();
            assert_eq!((found.uid(), found.gid()), (root.uid(), root.gid()), "{text}");
            let want = if found.is_dir() { mode } else { mode & 0o666 };
            // The directory of an algorithm is made once, as the layout was then.
            if !path.ends_with("sha512") || mode == 0o750 {
                assert_eq!(found.mode() & 0o7777, want, "{text}");
            }
        }
    }
}

#[test]
fn links_that_lead_out_of_the_layout_are_not_followed() {
    let (dir, layout) = layout();
    let victim = dir.path().join("victim");
    std::fs::create_dir_all(victim.join("precious")).expect("mkdir");
    let link = |at: &Path| {
        let _ = std::fs::remove_dir_all(at);
        std::os::unix::fs::symlink(&victim, at).expect("link");
    };
    let link_is_refused = || {
        let layout = Layout::open(layout.path()).expect("open");
        layout.clean_temporary(&Silent).expect("clean");
        let err = layout.write_blob(Algorithm::Sha256).expect_err("link");
        assert!(
            err.kind() == ErrorKind::Invalid && err.to_string().contains(".umoci"),
            "{err}"
        );
        assert_eq!(disk::list(&victim).expect("list"), ["precious"]);
    };
    link(&layout.private_dir().join("tmp"));
    link_is_refused();
    let database = layout.private_dir().join("index.redb");
    std::os::unix::fs::symlink(victim.join("new"), &database).expect("link");
    assert_eq!(
        layout.private_dir().file("index.redb").expect_err("link").kind(),
        ErrorKind::Invalid
    );
    link(layout.private_dir().as_ref());
    link_is_refused();
    std::fs::remove_file(layout.private_dir()).expect("remove");
}

#[test]
fn the_lock_of_buildkit_is_honoured_while_it_exists_and_never_made() {
    let (_dir, layout) = layout();
    let path = layout.path().join("index.json.lock");
    write(&layout).expect("no lock");
    assert!(!path.exists());
    let held = File::create(&path).expect("create");
    held.lock().expect("lock");
    assert_eq!(write(&layout).expect_err("held").kind(), ErrorKind::Busy);
    drop(held);
    write(&layout).expect("free");
}

#[test]
fn a_torn_index_is_read_again() {
    let (_dir, layout) = layout();
    let path = layout.path().join("index.json");
    let good = std::fs::read(&path).expect("read");
    std::fs::write(&path, &good[..good.len() / 2]).expect("tear");
    let mut pauses = 0;
    // The other program is done during the second pause.
    let pause = || {
        pauses += 1;
        if pauses == 2 {
            std::fs::write(&path, &good).expect("complete");
        }
    };
    layout.read_index_pausing(pause).expect("index");
    assert_eq!(pauses, 2);
}

#[test]
fn many_writers_lose_nothing() {
    let (_dir, layout) = layout();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let path = layout.path().to_owned();
            scope.spawn(move || {
                let layout = Layout::open(&path).expect("open");
                for n in 0..20 {
                    let tag = name(&format!("t{thread}-{n}"));
                    let set = |index: &mut IndexJson| index.set_ref(&tag, descriptor(b"x"));
                    layout.update_index(Duration::from_secs(60), set).expect("update");
                }
            });
        }
    });
    assert_eq!(layout.read_index().expect("index").entries().len(), 320);
}

#[test]
fn a_change_by_a_program_without_locks_is_merged() {
    let (_dir, layout) = layout();
    let path = layout.path().join("index.json");
    let mut foreign = IndexJson::parse(&std::fs::read(&path).expect("read")).expect("index");
    foreign
        .set_ref(name("theirs"), descriptor(b"theirs"))
        .expect("set");
    let mut runs = 0;
    let edit = |index: &mut IndexJson| {
        if runs == 0 {
            std::fs::write(&path, foreign.to_bytes()).expect("write in place");
        }
        runs += 1;
        index.set_ref(name("ours"), descriptor(b"ours"))
    };
    layout.update_index(Duration::ZERO, edit).expect("update");
    assert_eq!(runs, 2);
    let index = layout.read_index().expect("index");
    assert!(index.has_ref("ours") && index.has_ref("theirs"));
}

#[test]
fn a_lasting_damage_of_the_index_is_an_error_that_names_the_file() {
    let (_dir, layout) = layout();
    std::fs::write(layout.path().join("index.json"), "{\"manif").expect("write");
    let err = layout.read_index().expect_err("torn");
    assert!(
        err.kind() == ErrorKind::Corrupt && err.to_string().contains("index.json"),
        "{err}"
    );
}
