// SPDX-License-Identifier: Apache-2.0
//! `umoci ls-files`: what it lists, and in which forms.

use super::{add_image, image, lose_layer, sample};
use crate::support::Env;

fn list(env: &Env, words: &[&str]) -> Vec<String> {
    let out = env.umoci([&["ls-files", "img"], words].concat()).ok();
    out.lines().map(str::to_owned).collect()
}

#[test]
fn paths_choose_as_in_git() {
    let env = sample();
    for (words, want) in [
        (&["opt"][..], &["opt", "opt/c"][..]),
        (&["/opt/"], &["opt", "opt/c"]),
        (&["*.so", "opt/c"], &["opt/c", "usr/lib/x.so"]),
        (&["us?"], &["usr", "usr/lib", "usr/lib/x.so"]),
        (&["etc/{hard,link}*"], &["etc/hard"]),
    ] {
        assert_eq!(list(&env, words), want, "{words:?}");
    }
    let message = env.umoci(["ls-files", "img", "etc", "*.nothing"]).fails();
    assert!(message.contains("img has no *.nothing"), "{message}");
    let message = env.umoci(["ls-files", "img", "a[*"]).fails();
    assert!(message.contains("invalid pattern"), "{message}");
}

#[test]
fn names_that_are_hostile_stay_on_one_line() {
    let env = sample();
    let want = [r#""a\nb""#, r#""a\"b,c""#, r#""\342\200\256txt""#];
    assert_eq!(list(&env, &["a?b*", "*txt"]), want);
    let raw = env.umoci(["ls-files", "-z", "img", "a?b*"]).ok();
    assert_eq!(raw.trim_end(), "a\nb\0a\"b,c\0");
    let csv = list(&env, &["--format", "csv", "a?b*"]);
    assert!(csv[1].starts_with(r#""""a\nb""",file,"#), "{csv:?}");
    assert!(csv[2].starts_with(r#""a""b,c",file,"#), "{csv:?}");
    assert_eq!(csv.len(), 3);
}

#[test]
fn a_layer_alone_is_listed_as_its_archive_is() {
    let env = sample();
    let want = ["etc/passwd", "etc/.wh.old", "opt/.wh..wh..opq", "opt/c"];
    assert_eq!(list(&env, &["--layer", "2"]), want);
    assert_eq!(list(&env, &["--layer", "2", "opt"]), want[2..]);
    let long = list(&env, &["--layer", "2", "-l"]);
    assert!(long[1].starts_with("w---------"), "{long:?}");
    let json = env.umoci(["ls-files", "img", "--layer=2", "--json"]).ok();
    assert!(json.contains(r#""path":"etc/old","type":"whiteout""#), "{json}");
    for number in ["0", "4"] {
        let message = env.umoci(["ls-files", "img", "--layer", number]).fails();
        assert!(message.contains(&format!("no layer {number}: the image has 3 layers")));
    }
}

#[test]
fn what_was_deleted_is_told_with_its_layer() {
    let env = sample();
    assert_eq!(list(&env, &["--deleted"]), ["etc/old", "opt/a", "opt/b"]);
    let long = list(&env, &["--deleted", "-l", "opt"]);
    assert!(
        long.iter().all(|line| line.ends_with("(removed by layer 2)")),
        "{long:?}"
    );
    let json = env.umoci(["ls-files", "img", "--deleted", "--json", "etc"]).ok();
    assert!(
        json.contains(r#""removed":2"#) && json.contains(r#""layer":1"#),
        "{json}"
    );
    // A path that came back is not gone, and one that a directory's end took is.
    let env = image(&[
        &["d a", "f a/x=1", "f b=1"],
        &["w a", "w b"],
        &["f b=2", "d c", "f c/x=1"],
        &["f c=file"],
    ]);
    assert_eq!(list(&env, &["--deleted"]), ["a", "a/x", "c/x"]);
}

#[test]
fn a_base_is_left_out() {
    let env = image(&[&["f a=1", "f b=1"], &["f b=2", "f c=2"]]);
    add_image(&env, "base", &[&["f a=1", "f b=1"]]);
    add_image(&env, "other", &[&["f a=2"]]);
    for base in ["base", "img:base", "latest~1"] {
        assert_eq!(list(&env, &["--since", base]), ["b", "c"], "{base}");
    }
    let message = env.umoci(["ls-files", "img", "--since", "other"]).fails();
    assert!(
        message.contains("--since other: the image does not stand on this base: layer 1 differs"),
        "{message}"
    );
    let message = env.umoci(["ls-files", "img", "a", "--since", "base"]).fails();
    assert!(message.contains("img has no a"), "{message}");
}

#[test]
fn a_manifest_of_the_tree_is_that_of_its_unpack() {
    let env = sample();
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    let manifest = env.umoci(["ls-files", "img", "--format", "mtree"]).ok();
    env.write("tree.mtree", manifest);
    let validate = "raw mtree-validate --rootless -p b/rootfs -f tree.mtree";
    env.umoci(validate.split(' ')).ok();
    env.sh("echo more >>b/rootfs/opt/c; chmod 700 b/rootfs/etc");
    let told = env.umoci(validate.split(' '));
    assert_eq!(told.code, Some(1));
    assert!(
        told.stdout.contains("opt/c") && told.stdout.contains("etc"),
        "{}",
        told.stdout
    );
}

#[test]
fn an_export_for_ncdu_has_each_path_once() {
    let env = sample();
    let export = env.umoci(["ls-files", "img", "--format", "ncdu"]).ok();
    let export: serde_json::Value = serde_json::from_str(&export).expect("JSON");
    let mut names = Vec::new();
    collect(&export[3], "", &mut names);
    names.sort();
    let listed = env.umoci(["ls-files", "-z", "img"]).ok();
    let mut want: Vec<&str> = listed.trim_end().split_terminator('\0').collect();
    want.sort_unstable();
    assert_eq!(names, want);
    let again = env
        .umoci(["ls-files", "img", "usr/lib/x.so", "--format", "ncdu"])
        .ok();
    assert!(
        again.contains("[{\"name\":\"usr\"},\n[{\"name\":\"lib\"},\n{\"name\":\"x.so\""),
        "{again}"
    );
}

/// Adds the paths below a directory of an export.
fn collect(dir: &serde_json::Value, at: &str, names: &mut Vec<String>) {
    let children = dir.as_array().expect("directory").iter().skip(1);
    for child in children {
        let about = if child.is_array() { &child[0] } else { child };
        let name = about["name"].as_str().expect("name");
        let path = if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}/{name}")
        };
        names.push(path.clone());
        if child.is_array() {
            collect(child, &path, names);
        }
    }
}

#[test]
#[ignore = "needs ncdu"]
fn ncdu_opens_the_export() {
    let env = sample();
    env.umoci(["ls-files", "img", "--format", "ncdu"]).ok();
    let program = env!("CARGO_BIN_EXE_umoci");
    let back = env.sh(&format!(
        "{program} ls-files img --format ncdu >x.ncdu; ncdu -f x.ncdu -o -"
    ));
    for name in ["passwd", "x.so", "a\\\"b,c"] {
        assert!(back.contains(name), "{name}: {back}");
    }
}

#[test]
fn a_layer_that_is_gone_is_named() {
    let env = sample();
    let digest = lose_layer(&env, "img", 2);
    let out = env.umoci(["ls-files", "img", "gone"]);
    let message = out.fails();
    assert!(
        message.contains(&format!("the answer is without layer {digest}")),
        "{message}"
    );
}
