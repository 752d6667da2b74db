// SPDX-License-Identifier: Apache-2.0
//! Several layers merged to one give the same tree, on whatever stands below.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use umoci::bundle::TreePath;
use umoci::error::Result;
use umoci::internals::Resolver;
use umoci::internals::{LayerReader, LayerTree, LayerWriter, Limits};

use super::layers::{apply, listing};
use super::model::cases;
use crate::support::Tar;

/// The layers from the one at `from` upward as one.
fn merged(layers: &[Vec<u8>], from: usize) -> Result<Vec<u8>> {
    let mut merge = LayerTree::new(from, Limits::default());
    for tar in layers {
        merge.add_layer(&mut LayerReader::new(tar.as_slice(), Limits::default()))?;
    }
    merge.finalize()?;
    let mut out = LayerWriter::new(Vec::new(), b".");
    merge.write_first(&mut out)?;
    for (number, tar) in layers.iter().enumerate() {
        if merge.needs(number)? {
            merge.write(number, tar.as_slice(), &mut out).1?;
        }
    }
    merge.finish()?;
    out.finish()
}

/// What [`listing`] says, and the times of the directories, by which those without an entry are told apart.
fn tree(base: &Path) -> Vec<String> {
    let mut out = listing(base);
    for line in &mut out {
        if let Some(dir) = line.strip_suffix('/') {
            let time = std::fs::symlink_metadata(base.join(dir)).expect("stat").mtime();
            line.push_str(&time.to_string());
        }
    }
    out
}

#[test]
fn an_empty_directory_of_the_name_of_a_whiteout_is_refused() {
    let one = |specs: &[&[&str]], from| merged(&tars(specs), from).map_err(|err| err.to_string());
    let gone: &[&[&str]] = &[&["f d/.wh.x/y=1", "f z=1"], &["w d/.wh.x/y"]];
    let err = one(gone, 0).expect_err("nothing says that it is there");
    assert!(err.starts_with("the directory d/.wh.x is empty"), "{err}");
    for kept in [
        &[&["f d/.wh.x/y=1"][..], &["f z=1"]][..],
        &[&["f d/.wh.x/y/z=1"], &["w d/.wh.x/y/z"]],
        &[&["f d/.wh.x/.wh.y/z=1"], &["f z=1"]],
        &[&["f d/.wh.x/y=1"], &["w d/.wh.x"]],
    ] {
        one(kept, 0).expect("all of it can be said");
        let (want, got) = both(&tars(kept), 0).expect("a tree");
        assert_eq!(want, got);
    }
}

#[test]
fn a_hard_link_whose_target_gives_way_to_it_is_refused_as_when_it_is_unpacked() {
    let cases: &[&[&[&str]]] = &[
        &[&["f a=1", "h a/x=a"]],
        &[&["f d/f=1", "h d=d/f"]],
        &[&["f a=1"], &["h a/x=a"]],
        &[&["f d/f=1"], &["h d=d/f"]],
        &[&["f d/f=1", "l e=d"], &["h d=e/f"]],
    ];
    for case in cases {
        let layers = tars(case);
        let (_dir, unpacked) = apply(&layers, Resolver::Openat2);
        assert!(unpacked.is_err(), "{case:?}");
        for from in 0..layers.len() {
            assert!(merged(&layers, from).is_err(), "{case:?} from {from}");
        }
    }
}

/// The tree of the layers, and that of them with those from `from` upward merged; `None` if they give no tree.
fn both(layers: &[Vec<u8>], from: usize) -> Option<(Vec<String>, Vec<String>)> {
    let (dir, result) = apply(layers, Resolver::Openat2);
    let one = merged(layers, from);
    result.ok()?;
    let want = tree(dir.path());
    let (dir, result) = apply(
        &[&layers[..from], &[one.expect("merged")]].concat(),
        Resolver::Openat2,
    );
    result.expect("the merged layer applied");
    Some((want, tree(dir.path())))
}

fn tars(layers: &[&[&str]]) -> Vec<Vec<u8>> {
    layers.iter().map(|specs| Tar::new().list(specs).end()).collect()
}

#[test]
fn what_upper_layers_replace_and_hide_is_left_out() {
    let cases: &[(&str, &[&[&str]])] = &[
        (
            "files beside each other",
            &[&["f a=1"], &["f b=2"], &["d c", "f c/d=3"]],
        ),
        ("a file that is replaced", &[&["f a=1"], &["f a=2"], &["f a=3"]]),
        ("a file that goes", &[&["f a=1", "f b=1"], &["w a"]]),
        (
            "a file that goes and comes back",
            &[&["f a=1"], &["w a"], &["f a=2"]],
        ),
        (
            "a directory that goes",
            &[&["d a", "d a/b", "f a/b/c=1"], &["w a"], &["f x=1"]],
        ),
        (
            "a directory that goes and comes back",
            &[&["d a", "f a/b=1"], &["w a"], &["d a", "f a/c=2"]],
        ),
        (
            "a directory that is emptied",
            &[&["d a", "f a/b=1"], &["d a", "o a", "f a/c=2"]],
        ),
        (
            "one that is emptied without an entry",
            &[&["d a", "f a/b=1"], &["o a"], &["f a/c=2"]],
        ),
        (
            "the root emptied",
            &[&["d a", "f a/b=1"], &["f c=1"], &["o .", "f d=1"]],
        ),
        ("a directory becomes a file", &[&["d a", "f a/b=1"], &["f a=2"]]),
        ("a file becomes a directory", &[&["f a=1"], &["d a", "f a/b=2"]]),
        (
            "there and back",
            &[&["d a", "f a/b=1"], &["f a=2"], &["d a", "f a/c=3"]],
        ),
        (
            "a directory whose metadata change",
            &[&["d a", "f a/b=1"], &["d a"], &["f a/c=1"]],
        ),
        ("links to a file that stays", &[&["f a=1", "h b=a"], &["f c=1"]]),
        (
            "a link to a file of a lower layer",
            &[&["f a=1"], &["h b=a"], &["h c=b"]],
        ),
        ("a link whose file goes", &[&["f a=1", "h b=a"], &["w a"]]),
        (
            "links whose file goes",
            &[&["f a=1"], &["h b=a", "h c=a"], &["w a"]],
        ),
        (
            "links whose file is replaced",
            &[&["f a=1", "h b=a", "h c=b"], &["f a=2"]],
        ),
        (
            "a chain whose middle goes",
            &[&["f a=1", "h b=a", "h c=b"], &["w b"]],
        ),
        (
            "a chain of which two go",
            &[&["f a=1", "h b=a", "h c=b", "h d=c"], &["w a", "w c"]],
        ),
        ("a link that goes", &[&["f a=1", "h b=a"], &["w b"]]),
        (
            "a link into a directory that is made again",
            &[
                &["d d", "f a=1", "h d/b=a"],
                &["w d"],
                &["d d", "h d/c=a"],
                &["w a"],
            ],
        ),
        (
            "a link to a file of a lower layer that goes",
            &[&["f a=1"], &["h b=a"], &["w a"]],
        ),
        (
            "links to a file of a lower layer that is replaced",
            &[&["f a=1", "h c=a"], &["h b=a", "h d=b"], &["f a=2"]],
        ),
        (
            "a link before its target",
            &[&["f c=0"], &["h b=a", "f a=1"], &["f a=2"]],
        ),
        (
            "a file through a symbolic link",
            &[&["d t", "l l=t"], &["f l/x=1"], &["f l/x=2", "f l/y=1"]],
        ),
        (
            "a symbolic link that becomes a directory",
            &[&["d t", "l l=/t"], &["f l/x=1"], &["d l"]],
        ),
        (
            "a symbolic link that goes, and a directory there",
            &[&["d t", "l l=t"], &["w l", "f l/x=1"], &["d l"]],
        ),
        (
            "a whiteout through a symbolic link",
            &[&["l l=t", "f t/x=1", "f t/y=1"], &["w l/x"], &["f l/z=1"]],
        ),
        (
            "a whiteout behind what it does not hide",
            &[
                &["d a", "d a/q", "f a/q/old=1"],
                &["f a/q/new=1", "w a"],
                &["f b=1"],
            ],
        ),
        (
            "a file over a directory without an entry",
            &[&["f a/b=1"], &["f a=1"], &["f a/c=1"], &["w a/c"]],
        ),
        (
            "a directory that has the name of a whiteout",
            &[
                &["f a/.wh..wh.plnk/1=1"],
                &["f a/.wh..wh.plnk/2=2", "f b=1"],
                &["f b=2"],
            ],
        ),
        (
            "whiteouts where nothing is below",
            &[&["l a=b", "l b=a", "o a/x", "w b/y"], &["f c=1"], &["f c=2"]],
        ),
        (
            "a directory on the way to somewhere else",
            &[&["d base"], &["l l=m/../n", "f l/x=1", "w m"], &["f z=1"]],
        ),
        (
            "symbolic links and fifos",
            &[&["l a=b", "p c"], &["w a", "l c=d"]],
        ),
        (
            "a whiteout of what was never there",
            &[&["f a=1"], &["w b"], &["w c", "f b=2"]],
        ),
    ];
    for (what, layers) in cases {
        let tars = tars(layers);
        for from in 0..layers.len() - 1 {
            let (want, found) = both(&tars, from).unwrap_or_else(|| panic!("{what}"));
            assert_eq!(found, want, "{what}, merged from {from}");
        }
    }
}

#[test]
fn entries_are_copied_to_the_byte_and_whiteouts_come_first() {
    let odd = Tar::new()
        .pax(&[
            ("mtime", b"981173106.123456789"),
            ("SCHILY.xattr.user.x", b"y"),
            ("comment", b"odd"),
        ])
        .entry(b"a", b'0', b"content", |_| ());
    let lower = odd.clone().list(&["f b=1"]).end();
    let upper = Tar::new().list(&["w b", "f c=2"]).end();
    let below = Tar::new().list(&["f b=0"]).end();
    let one = merged(&[below, lower, upper], 1).expect("merged");
    let mut whiteout = LayerWriter::new(Vec::new(), b".");
    whiteout
        .whiteout(&TreePath::clean(b"b").expect("path"))
        .expect("whiteout");
    let whiteout = whiteout.finish().expect("layer")[..512].to_vec();
    assert_eq!(
        one,
        [whiteout, odd.plain(), Tar::new().list(&["f c=2"]).end()].concat()
    );
    // The last entry of an archive may lack its padding.
    let cut = Tar::new().entry(b"a", b'0', &[b'x'; 100], |_| ()).plain()[..612].to_vec();
    let upper = Tar::new().list(&["f c=2"]).end();
    let one = merged(&[cut, upper], 0).expect("merged");
    let want = Tar::new()
        .entry(b"a", b'0', &[b'x'; 100], |_| ())
        .list(&["f c=2"])
        .end();
    assert_eq!(one, want);
}

/// Layers of random entries over few paths, so that they meet. Hard links lead to what some entry made, mostly.
pub(super) fn layers() -> impl Strategy<Value = Vec<Vec<String>>> {
    let path = prop_oneof![
        4 => "[abc]",
        3 => "[ab]/[abc]",
        1 => "[ab]/[ab]/[ab]",
    ];
    let target = prop_oneof![3 => path.clone(), 1 => "/[abc]", 1 => r"\.\./[ab]", 1 => r"[ab]/\.\./[abc]"];
    let entry = (0..14u8, path.clone(), path, target, any::<u16>());
    prop::collection::vec(prop::collection::vec(entry, 1..6), 2..5).prop_map(|layers| {
        let mut files: Vec<String> = Vec::new();
        let mut spell = |(kind, path, other, target, value): (u8, String, String, String, u16)| match kind {
            0..4 => {
                files.push(path.clone());
                format!("f {path}={}", value % 9)
            }
            4..6 => format!("d {path}"),
            6..8 => format!("l {path}={target}"),
            8..10 => {
                let other = files
                    .get(usize::from(value) % (files.len() + 1))
                    .unwrap_or(&other);
                let spec = format!("h {path}={other}");
                files.push(path);
                spec
            }
            10..13 => format!("w {path}"),
            _ => format!("o {path}"),
        };
        let mut layer = |entries: Vec<_>| entries.into_iter().map(&mut spell).collect();
        layers.into_iter().map(&mut layer).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(400),
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_layers_merged_give_the_same_tree(layers in layers(), from in 0..3usize) {
        let tar = |specs: &Vec<String>| {
            let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
            Tar::new().list(&specs).end()
        };
        let tars: Vec<Vec<u8>> = layers.iter().map(tar).collect();
        let both = both(&tars, from.min(layers.len() - 2));
        // Layers that give no tree are no case.
        prop_assume!(both.is_some());
        let (want, found) = both.unwrap_or_default();
        prop_assert_eq!(found, want);
    }
}
