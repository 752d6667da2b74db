// SPDX-License-Identifier: Apache-2.0
//! Tests of looks into the database that wait for nobody.

use std::time::Duration;

use crate::digest::{Algorithm, Digest};
use crate::index::{FILE, Index, Place};
use crate::layout::{Layout, Lock, LockMode};
use crate::progress::Silent;

#[test]
fn what_is_no_regular_file_is_no_database_and_no_lock_to_wait_for() {
    let dir = tempfile::tempdir().expect("dir");
    let layout = Layout::create(&dir.path().join("img")).expect("create");
    Index::new(&layout, Place::FileOnly, &Silent)
        .sync()
        .expect("made");
    let private = layout.private_dir();
    let mkfifo = |name: &str| {
        let _ = std::fs::remove_file(private.join(name));
        let made = std::process::Command::new("mkfifo")
            .arg(private.join(name))
            .status();
        assert!(made.expect("mkfifo").success());
    };
    std::fs::rename(private.join(FILE), private.join("other")).expect("move");
    let digest = Digest::of(Algorithm::Sha256, b"");
    for kind in ["fifo", "link", "device"] {
        let _ = std::fs::remove_file(private.join(FILE));
        match kind {
            "fifo" => mkfifo(FILE),
            "link" => std::os::unix::fs::symlink("other", private.join(FILE)).expect("link"),
            _ => std::os::unix::fs::symlink("/dev/zero", private.join(FILE)).expect("link"),
        }
        assert!(Index::peek(&layout, "a").is_none(), "{kind}");
        assert!(Index::peek_verified(&layout, &digest).is_none(), "{kind}");
        assert!(Index::remembered(&layout).is_none(), "{kind}");
        let err = Index::status(&layout).expect_err(kind).to_string();
        assert!(err.contains("index.redb is not a regular file"), "{err}");
        for place in [Place::File, Place::FileIfThere] {
            let mut index = Index::new(&layout, place, &Silent);
            assert!(!index.is_file().expect("in memory"), "{kind}");
        }
    }
    for name in ["lock", "index.lock", "refs.lock"] {
        mkfifo(name);
    }
    for lock in [Lock::Layout, Lock::Refs, Lock::Database] {
        let _ = layout.take_lock(lock, LockMode::Exclusive, Duration::ZERO);
        let _ = layout.share_lock(lock, Duration::ZERO);
    }
}
