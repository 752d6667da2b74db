// SPDX-License-Identifier: Apache-2.0
//! Tests of our own directory: links in it, and files that are larger than we write them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::digest::{Algorithm, Digest};
use crate::error::{ErrorKind, Result};
use crate::layout::Layout;

/// Moves what is at `path` out of the layout, and puts a link to it in its place.
fn lead_out(dir: &Path, path: &Path) -> PathBuf {
    let outside = dir.join("outside");
    std::fs::rename(path, &outside).expect("move");
    std::os::unix::fs::symlink(&outside, path).expect("link");
    outside
}

fn is_refused<T: std::fmt::Debug>(result: Result<T>, link: &Path) {
    let err = result.expect_err("link");
    assert_eq!(err.kind(), ErrorKind::Invalid);
    let want = format!(
        "{} is a link that leads elsewhere, so nothing is ",
        link.display()
    );
    assert!(err.to_string().contains(&want), "{err}");
}

#[test]
fn blobs_behind_a_link_are_read_but_neither_removed_nor_moved_away() {
    for link in ["blobs", "blobs/sha256"] {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        let mut writer = layout.write_blob(Algorithm::Sha256).expect("writer");
        writer.write_all(b"content").expect("write");
        let digest = writer.finish().expect("finish").digest;
        let link = layout.path().join(link);
        lead_out(dir.path(), &link);
        is_refused(layout.remove_blobs([&digest], |_| {}), &link);
        is_refused(layout.quarantine(&digest), &link);
        is_refused(layout.remove_blobs([&Digest::sha256(b"other")], |_| {}), &link);
        assert_eq!(layout.blob_size(&digest).expect("size"), Some(7));
    }
}

#[test]
fn files_of_our_own_that_are_larger_than_we_write_them_are_named_and_not_read() {
    let dir = tempfile::tempdir().expect("dir");
    let layout = Layout::create(&dir.path().join("img")).expect("create");
    layout.private_dir().put("file", b"one\ntwo\nthree").expect("put");
    let path = layout.private_dir().join("file");
    let mut lines = Vec::new();
    let mut each = |line: &[u8], rest: u64| {
        lines.push((String::from_utf8_lossy(line).into_owned(), rest));
        Ok(true)
    };
    layout.private_dir().read_lines("file", &mut each).expect("lines");
    layout
        .private_dir()
        .read_lines("none", &mut each)
        .expect("no file");
    let want = [("one", 13), ("two", 9), ("three", 5)];
    assert_eq!(lines, want.map(|(line, rest)| (line.to_owned(), rest)));
    let last = layout.private_dir().last_line("file").expect("last");
    assert_eq!(last.as_deref(), Some(&b"three"[..]));
    let file = File::options().write(true).open(&path).expect("open");
    file.set_len(900 << 20).expect("holes");
    for err in [
        layout.private_dir().read("file").map(|_| ()),
        layout.private_dir().read_lines("file", |_, _| Ok(true)),
    ] {
        let err = err.expect_err("too large");
        assert_eq!(err.kind(), ErrorKind::Limit);
        let text = err.to_string();
        assert!(
            text.contains(&*path.to_string_lossy()) && text.contains("remove"),
            "{text}"
        );
    }
}

#[test]
fn a_file_of_our_own_behind_a_link_is_not_removed() {
    for link in [".umoci", ".umoci/leases"] {
        let dir = tempfile::tempdir().expect("dir");
        let layout = Layout::create(&dir.path().join("img")).expect("create");
        layout.private_dir().put("leases/x.json", b"{}").expect("put");
        let link = layout.path().join(link);
        let outside = lead_out(dir.path(), &link);
        let below = Path::new("leases/x.json");
        let victim = outside.join(if link.ends_with("leases") {
            Path::new("x.json")
        } else {
            below
        });
        is_refused(layout.private_dir().remove("leases/x.json"), &link);
        for name in ["leases/x.json", "leases/y.json"] {
            assert_eq!(
                layout.private_dir().put(name, b"new").expect_err("link").kind(),
                ErrorKind::Invalid
            );
        }
        if link.ends_with(".umoci") {
            for result in [
                layout.private_dir().put("settings.json", b"new"),
                layout.private_dir().append("reflog", b"line\n"),
            ] {
                assert_eq!(result.expect_err("link").kind(), ErrorKind::Invalid);
            }
        }
        assert_eq!(std::fs::read(victim).expect("still there"), b"{}");
    }
}
