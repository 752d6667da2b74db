// SPDX-License-Identifier: Apache-2.0
//! Tests of layouts that are made, half made, or damaged.

use std::fs::File;
use std::path::Path;

use super::layout;
use crate::error::ErrorKind;
use crate::layout::Layout;

#[test]
fn a_new_layout_has_the_files_of_the_spec_and_nothing_may_be_in_its_place() {
    let (_dir, layout) = layout();
    let read = |name: &str| std::fs::read_to_string(layout.path().join(name)).expect(name);
    assert_eq!(read("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}\n");
    assert_eq!(
        read("index.json"),
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n"
    );
    let err = Layout::create(layout.path()).expect_err("exists");
    assert_eq!(
        err.to_string(),
        format!("path already exists: {}", layout.path().display())
    );
    Layout::open(layout.path()).expect("open");
}

#[test]
fn a_damaged_layout_is_refused_with_the_name_of_what_is_wrong() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 7] = [
        (
            |p| std::fs::remove_file(p.join("oci-layout")).expect("rm"),
            "oci-layout does not exist",
        ),
        (
            |p| std::fs::write(p.join("oci-layout"), "{").expect("write"),
            "oci-layout: invalid JSON",
        ),
        (
            |p| std::fs::write(p.join("oci-layout"), "{}").expect("write"),
            "version is not supported: \"\"",
        ),
        (
            |p| std::fs::write(p.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("write"),
            "version is not supported: \"2.0.0\"",
        ),
        (
            |p| std::fs::remove_dir_all(p.join("blobs")).expect("rm"),
            "blobs does not exist",
        ),
        (
            |p| std::fs::remove_file(p.join("index.json")).expect("rm"),
            "index.json does not exist",
        ),
        (
            |p| {
                std::fs::remove_dir_all(p.join("blobs")).expect("rm");
                std::fs::write(p.join("blobs"), "").expect("write");
            },
            "blobs is no directory",
        ),
    ];
    for (damage, want) in cases {
        let (_dir, layout) = layout();
        damage(layout.path());
        let err = Layout::open(layout.path()).expect_err(want).to_string();
        assert!(
            err.contains(want) && err.ends_with("invalid image detected"),
            "{err}"
        );
    }
}

#[test]
fn what_a_killed_process_began_to_make_is_completed_and_nothing_else() {
    let cases: [(&[&str], bool); 7] = [
        (&[".umoci/"], true),
        (&[".umoci/", "blobs/", "blobs/sha256/"], true),
        (&[".umoci/", "blobs/", "blobs/sha256/", "index.json"], true),
        (&[], false),
        (&["blobs/", "blobs/sha256/", "index.json"], false),
        (
            &[
                ".umoci/",
                "blobs/",
                "blobs/sha256/",
                "blobs/sha256/x",
                "index.json",
            ],
            false,
        ),
        (&[".umoci/", "more"], false),
    ];
    for (names, completed) in cases {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("img");
        std::fs::create_dir(&path).expect("mkdir");
        for name in names {
            match name.strip_suffix('/') {
                Some(name) => std::fs::create_dir(path.join(name)).expect("mkdir"),
                None => std::fs::write(path.join(name), "{").expect("write"),
            }
        }
        match Layout::create(&path) {
            Ok(layout) => assert!(completed && layout.read_index().is_ok(), "{names:?}"),
            Err(err) => assert!(!completed && err.kind() == ErrorKind::Exists, "{names:?}: {err}"),
        }
        assert!(completed || names.iter().all(|name| path.join(name).exists()));
    }
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("img");
    std::fs::create_dir_all(path.join(".umoci")).expect("mkdir");
    let held = File::create(path.join(".umoci/lock")).expect("lock file");
    held.lock().expect("lock");
    let err = Layout::create(&path).expect_err("another process makes it");
    assert_eq!(err.kind(), ErrorKind::Exists);
    assert!(path.exists());
}
