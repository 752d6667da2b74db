// SPDX-License-Identifier: Apache-2.0
//! Layers applied to a tree by the library: what becomes of entries that stand in odd orders.

use std::collections::HashMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use umoci::error::{ErrorKind, Result};
use umoci::internals::{ExtractOptions, Extractor};
use umoci::internals::{LayerReader, Limits};
use umoci::internals::{Resolver, Root};
use umoci::progress::Silent;

use crate::support::Tar;

/// Applies archives to a new directory, as the user who runs the tests.
pub(super) fn apply(layers: &[Vec<u8>], resolver: Resolver) -> (tempfile::TempDir, Result<()>) {
    let dir = tempfile::tempdir().expect("dir");
    let result = (|| {
        let root = Root::open(dir.path())?.with_resolver(resolver);
        let mut extractor = Extractor::new(&root, ExtractOptions::default(), &Silent);
        if rustix::process::geteuid().is_root() {
            extractor.prepare()?;
        }
        for layer in layers {
            extractor.apply_layer(&mut LayerReader::new(layer.as_slice(), Limits::default()))?;
        }
        extractor.finish().map(|_| ())
    })();
    (dir, result)
}

/// Paths below `base`: `d/`, `file=content`, `link->target`, `fifo|`; a name of a file that was listed before as
/// `other==first`.
pub(super) fn listing(base: &Path) -> Vec<String> {
    let mut names: Vec<PathBuf> = Vec::new();
    let mut stack = vec![base.to_owned()];
    while let Some(dir) = stack.pop() {
        for item in std::fs::read_dir(&dir).expect("dir") {
            let full = item.expect("entry").path();
            if std::fs::symlink_metadata(&full).expect("stat").is_dir() {
                stack.push(full.clone());
            }
            names.push(full);
        }
    }
    names.sort();
    let mut inodes: HashMap<u64, String> = HashMap::new();
    let show = |full: PathBuf| {
        let name = full.strip_prefix(base).expect("below").display().to_string();
        let meta = std::fs::symlink_metadata(&full).expect("stat");
        if meta.is_dir() {
            return format!("{name}/");
        }
        if meta.nlink() > 1 {
            let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
            if *first != name {
                return format!("{name}=={first}");
            }
        }
        if meta.is_symlink() {
            format!("{name}->{}", std::fs::read_link(&full).expect("link").display())
        } else if meta.file_type().is_fifo() {
            format!("{name}|")
        } else {
            format!("{name}={}", std::fs::read_to_string(&full).expect("file"))
        }
    };
    names.into_iter().map(show).collect()
}

/// What the layers give, or the kind of error.
type Want = std::result::Result<&'static [&'static str], ErrorKind>;

fn check(cases: &[(&str, &[&[&str]], Want)]) {
    for resolver in [Resolver::Openat2, Resolver::Walk] {
        for (what, layers, want) in cases {
            let layers: Vec<Vec<u8>> = layers.iter().map(|specs| Tar::new().list(specs).end()).collect();
            let (dir, result) = apply(&layers, resolver);
            match (want, result) {
                (Ok(want), Ok(())) => assert_eq!(listing(dir.path()), *want, "{what} by {resolver:?}"),
                (Err(kind), Err(err)) => assert_eq!(err.kind(), *kind, "{what}: {err}"),
                (want, got) => panic!("{what} by {resolver:?}: {got:?}, not {want:?}"),
            }
        }
    }
}

#[test]
fn hard_links_in_every_order() {
    check(&[
        ("after its target", &[&["f a=1", "h b=a"]], Ok(&["a=1", "b==a"])),
        ("before its target", &[&["h b=a", "f a=1"]], Ok(&["a=1", "b==a"])),
        (
            "a chain, the last one first",
            &[&["h d=c", "h c=b", "h b=a", "f a=1"]],
            Ok(&["a=1", "b==a", "c==a", "d==a"]),
        ),
        (
            "in directories that have no entry",
            &[&["h x/y/b=d/a", "f d/a=1"]],
            Ok(&["d/", "d/a=1", "x/", "x/y/", "x/y/b==d/a"]),
        ),
        ("across layers", &[&["f a=1"], &["h b=a"]], Ok(&["a=1", "b==a"])),
        (
            "to a symlink",
            &[&["l a=none", "h b=a"]],
            Ok(&["a->none", "b==a"]),
        ),
        (
            "to a symlink that comes later",
            &[&["h b=a", "l a=none"]],
            Ok(&["a->none", "b==a"]),
        ),
        ("to a fifo", &[&["p a", "h b=a"]], Ok(&["a|", "b==a"])),
        (
            "to a file that a later entry replaces",
            &[&["f a=1", "h b=a", "f a=2"]],
            Ok(&["a=2", "b=1"]),
        ),
        (
            "to a file of a lower layer that a later entry replaces",
            &[&["f a=1"], &["h b=a", "f a=2"]],
            Ok(&["a=2", "b=1"]),
        ),
        (
            "to a file that is replaced and linked again",
            &[&["f a=1", "h b=a"], &["f a=2", "h b=a"]],
            Ok(&["a=2", "b==a"]),
        ),
        (
            "the link is replaced later",
            &[&["h b=a", "f a=1", "f b=2"]],
            Ok(&["a=1", "b=2"]),
        ),
        (
            "the link becomes a directory later",
            &[&["h b=a", "f b/c=2", "f a=1"]],
            Ok(&["a=1", "b/", "b/c=2"]),
        ),
        (
            "the directory of the link becomes a file later",
            &[&["h d/b=a", "f d=2", "f a=1"]],
            Ok(&["a=1", "d=2"]),
        ),
        (
            "a link before its target, where a lower layer has a tree",
            &[&["f b/x=0"], &["h b=a", "f a=1"]],
            Ok(&["a=1", "b==a"]),
        ),
        (
            "a link before its target, and an opaque directory around",
            &[&["f d/old=0"], &["h d/b=d/a", "o d", "f d/a=1", "w d/b"]],
            Ok(&["d/", "d/a=1", "d/b==d/a"]),
        ),
        ("twice", &[&["f a=1", "h b=a", "h b=a"]], Ok(&["a=1", "b==a"])),
        (
            "to another file of the same name",
            &[&["f a=1", "f c=2", "h b=a", "h b=c"]],
            Ok(&["a=1", "b=2", "c==b"]),
        ),
        ("to what never comes", &[&["h b=a"]], Err(ErrorKind::NotFound)),
        (
            "to itself, which never comes",
            &[&["h a=a"]],
            Err(ErrorKind::NotFound),
        ),
        (
            "to one another, which never come",
            &[&["h a=b", "h b=a"]],
            Err(ErrorKind::NotFound),
        ),
        (
            "to what an upper layer has only",
            &[&["h b=a"], &["f a=1"]],
            Err(ErrorKind::NotFound),
        ),
        (
            "to a directory that comes later",
            &[&["h b=a", "d a"]],
            Err(ErrorKind::Corrupt),
        ),
        (
            "to what a whiteout of the same layer hides",
            &[&["f a=1"], &["w a", "h b=a"]],
            Err(ErrorKind::NotFound),
        ),
        (
            "through a symlink of the way",
            &[&["d t", "l s=/t", "f t/a=1", "h b=s/a"]],
            Ok(&["b=1", "s->/t", "t/", "t/a==b"]),
        ),
    ]);
}

#[test]
fn the_last_entry_of_a_path_counts_and_types_change_at_any_depth() {
    check(&[
        ("twice the same", &[&["f a=1", "f a=2"]], Ok(&["a=2"])),
        ("file, link, file", &[&["f a=1", "l a=x", "f a=3"]], Ok(&["a=3"])),
        (
            "a directory twice keeps its children",
            &[&["d d", "f d/a=1", "d d"]],
            Ok(&["d/", "d/a=1"]),
        ),
        (
            "file to directory to file",
            &[&["f a=1", "f a/b/c=2", "f a=3"]],
            Ok(&["a=3"]),
        ),
        (
            "deep down in one layer",
            &[&["f x/y/z=1", "f x/y/z/a=2", "f x/y=3", "f x/y/b=4"]],
            Ok(&["x/", "x/y/", "x/y/b=4"]),
        ),
        (
            "deep down across layers",
            &[&["f x/y/z=1"], &["f x/y/z/a=2"], &["f x/y=3"], &["f x/y/b=4"]],
            Ok(&["x/", "x/y/", "x/y/b=4"]),
        ),
        (
            "a tree by a fifo and back",
            &[&["f t/u/v=1"], &["p t"], &["d t"]],
            Ok(&["t/"]),
        ),
        (
            "a link by a directory in one layer",
            &[&["d t", "l d=t", "d d", "f d/x=1"]],
            Ok(&["d/", "d/x=1", "t/"]),
        ),
        (
            "entries without parents",
            &[&["l a/b/l=../x", "p a/c/p", "h z/h=a/b/l"]],
            Ok(&["a/", "a/b/", "a/b/l->../x", "a/c/", "a/c/p|", "z/", "z/h==a/b/l"]),
        ),
        (
            "the root, however it is spelled",
            &[&["d ./", "d /", "d .", "d a/..", "f ./a=1", "f /b=2", "f ../c=3"]],
            Ok(&["a=1", "b=2", "c=3"]),
        ),
        ("the root as a link", &[&["l ./=x"]], Err(ErrorKind::UnsafePath)),
        (
            "the root as a hard link",
            &[&["f a=1", "h .=a"]],
            Err(ErrorKind::UnsafePath),
        ),
    ]);
}

#[test]
fn whiteouts_hide_lower_layers_and_nothing_else() {
    check(&[
        ("a file", &[&["f a=1", "f b=2"], &["w a"]], Ok(&["b=2"])),
        (
            "a directory with locked ones in it",
            &[&["f d/e/f=1", "d d/e"], &["w d"]],
            Ok(&[]),
        ),
        (
            "what never existed",
            &[&["f a=1"], &["w b", "w x/y/z", "w a/b"]],
            Ok(&["a=1"]),
        ),
        (
            "in the lowest layer",
            &[&["w a", "f a=1", "o d", "f d/b=2"]],
            Ok(&["a=1", "d/", "d/b=2"]),
        ),
        (
            "before the new file",
            &[&["f a=1"], &["w a", "f a=2"]],
            Ok(&["a=2"]),
        ),
        (
            "after the new file",
            &[&["f a=1"], &["f a=2", "w a"]],
            Ok(&["a=2"]),
        ),
        (
            "after a new directory with a new child",
            &[&["f d/old=1"], &["d d", "f d/new=2", "w d"]],
            Ok(&["d/", "d/new=2"]),
        ),
        (
            "opaque before its siblings",
            &[&["f d/a=1", "f d/s/b=1"], &["o d", "f d/s/c=2"]],
            Ok(&["d/", "d/s/", "d/s/c=2"]),
        ),
        (
            "opaque after its siblings",
            &[&["f d/a=1", "f d/s/b=1"], &["f d/s/c=2", "o d"]],
            Ok(&["d/", "d/s/", "d/s/c=2"]),
        ),
        (
            "opaque between its siblings, and twice",
            &[&["f d/a=1"], &["f d/b=2", "o d", "f d/c=3", "o d"]],
            Ok(&["d/", "d/b=2", "d/c=3"]),
        ),
        (
            "opaque root",
            &[&["f a=1", "f d/b=1"], &["f c=2", "o ."]],
            Ok(&["c=2"]),
        ),
        (
            "opaque directory that is a file below",
            &[&["f d=1"], &["o d", "f d/a=2"]],
            Ok(&["d/", "d/a=2"]),
        ),
        (
            "opaque, then only the directory",
            &[&["f d/a=1"], &["o d", "d d"]],
            Ok(&["d/"]),
        ),
        (
            "odd names",
            &[&["f .wh=1", "f .wha=1"], &["w .wh.plnk", "w .wh.aufs", "w .wh"]],
            Ok(&[".wha=1"]),
        ),
        ("of nothing", &[&["f d/.wh.=1"]], Err(ErrorKind::Corrupt)),
        (
            "of the directory itself",
            &[&["f d/.wh..=1"]],
            Err(ErrorKind::UnsafePath),
        ),
        (
            "of the directory above",
            &[&["f d/.wh...=1"]],
            Err(ErrorKind::UnsafePath),
        ),
        (
            "of a name of a hard-linked file",
            &[&["f a=1", "h b=a"], &["w a"]],
            Ok(&["b=1"]),
        ),
        (
            "a file again in a later layer",
            &[&["f a=1"], &["w a"], &["f a=3"]],
            Ok(&["a=3"]),
        ),
    ]);
}

#[test]
fn names_of_any_bytes_and_any_length() {
    let long = vec![b'n'; 255];
    let deep: Vec<u8> = vec![vec![b'd'; 200]; 30].join(&b'/');
    assert!(deep.len() > 4096);
    let names: [&[u8]; 14] = [
        b"\xff\xfe not utf-8 \x80",
        &long,
        b"new\nline",
        b"back\\slash",
        b"\\",
        b"end\\",
        b"-rf",
        b"--",
        b" lead and trail ",
        b"tab\tbell\x07esc\x1b[31m",
        b"#hash",
        b"a=b",
        b"*?[]",
        b"...",
    ];
    let mut tar = Tar::new();
    for name in names {
        tar = tar.any(name, b'0', name, b"");
    }
    let target = vec![b't'; 4095];
    tar = tar
        .any(&deep, b'0', b"deep", b"")
        .any(b"link", b'2', b"", &target);
    for resolver in [Resolver::Openat2, Resolver::Walk] {
        let (dir, result) = apply(&[tar.clone().end()], resolver);
        result.expect("apply");
        for name in names {
            let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
            assert_eq!(std::fs::read(&path).expect("file"), name, "{}", path.display());
        }
        let link = std::fs::read_link(dir.path().join("link")).expect("link");
        assert_eq!(link.into_os_string().into_vec(), target);
        let root = Root::open(dir.path()).expect("root").with_resolver(resolver);
        let path = umoci::bundle::TreePath::clean(&deep).expect("path");
        assert_eq!(root.read_file(&path, 100).expect("deep file"), b"deep");
        // And away again, which a recursion by path would not manage.
        let hide = Tar::new()
            .any(&[b".wh.".as_slice(), &[b'd'; 200]].concat(), b'0', b"", b"")
            .end();
        let mut extractor = Extractor::new(&root, ExtractOptions::default(), &Silent);
        extractor
            .apply_layer(&mut LayerReader::new(hide.as_slice(), Limits::default()))
            .expect("whiteout");
        assert!(!dir.path().join("d".repeat(200)).exists());
    }
    for (what, tar) in [
        (
            "a component of 256 bytes",
            Tar::new().any(&[b'n'; 256], b'0', b"", b""),
        ),
        (
            "a target of 4096 bytes",
            Tar::new().any(b"l", b'2', b"", &[b't'; 4096]),
        ),
        ("a symlink to nothing", Tar::new().any(b"l", b'2', b"", b"")),
    ] {
        let (_dir, result) = apply(&[tar.end()], Resolver::Openat2);
        let err = result.expect_err(what).to_string();
        assert!(err.starts_with("unpack entry "), "{what}: {err}");
    }
}

#[test]
fn links_that_wait_for_their_targets_take_limited_memory() {
    let dir = tempfile::tempdir().expect("dir");
    let root = Root::open(dir.path()).expect("root");
    let limits = Limits {
        directory_bytes: 10_000,
        ..Limits::default()
    };
    let mut tar = Tar::new();
    for n in 0..100 {
        tar = tar.list(&[&format!("h link{n}={}", "t/".repeat(100))]);
    }
    let tar = tar.end();
    let opts = ExtractOptions {
        limits: limits.clone(),
        ..ExtractOptions::default()
    };
    let err = Extractor::new(&root, opts, &Silent)
        .apply_layer(&mut LayerReader::new(tar.as_slice(), limits))
        .expect_err("limit");
    assert_eq!(err.kind(), ErrorKind::Limit, "{err}");
}
