// SPDX-License-Identifier: Apache-2.0
//! Commands that are killed, and what the next one makes of what they left.

use crate::support::{Env, Image};

const OURS: &str = env!("CARGO_BIN_EXE_umoci");

/// An image with a file so large that a process dies of it under `ulimit -f 1`.
fn image() -> Image {
    let image = Image::new();
    let env = &image.env;
    env.sh("head -c 100000 /dev/zero | tr '\\0' x >large");
    env.umoci(["insert", "--image", "img", "--tag", "large", "large", "/large"])
        .ok();
    image
}

/// Unpacks `img:large` into `bundle` until the first large file.
fn killed(env: &Env, bundle: &str) {
    env.sh(&format!(
        "code=0; (ulimit -c 0 -f 1; exec {OURS} unpack --image img:large {bundle}) || code=$?; test $code = 153"
    ));
}

#[test]
fn an_unpack_that_was_killed_is_taken_up_by_the_next() {
    let image = image();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img:large", "want"]).ok();
    env.sh("mkdir b; echo mine >b/mine");
    for (tag, other) in [("large", false), ("latest", true), ("large", false)] {
        killed(env, "b");
        assert_eq!(
            env.sh("test -d b/rootfs && ls -A b"),
            ".umoci-unfinished\nmine\nrootfs\n"
        );
        // What is half is nothing to repack.
        let why = env.umoci(["repack", "--image", "img:new", "b"]).fails();
        assert!(
            why.contains("b is not whole: an unpack into it was interrupted"),
            "{why}"
        );
        env.umoci(["unpack", "--image", &format!("img:{tag}"), "b"]).ok();
        assert_eq!(env.read("b/mine"), "mine\n");
        if !other {
            env.sh("diff -r want/rootfs b/rootfs; diff <(ls -A want) <(ls -A b | grep -v mine)");
        }
        env.umoci(["repack", "--image", "img:new", "b"]).ok();
        env.sh("find b -mindepth 1 ! -name mine -delete");
    }
}

#[test]
fn only_what_an_unpack_left_half_is_removed() {
    let image = image();
    let env = &image.env;
    // A whole bundle with a mark that was left at the last moment.
    env.umoci(["unpack", "--image", "img", "whole"]).ok();
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.write("whole/.umoci-unfinished", format!("{digest}\n"));
    env.write("whole/rootfs/mine", "mine");
    let why = env.umoci(["unpack", "--image", "img", "whole"]).fails();
    assert!(why.contains("config.json already exists in whole"), "{why}");
    env.umoci(["repack", "--image", "img:new", "whole"]).ok();
    // A tree of somebody else.
    env.sh("mkdir -p foreign/rootfs; touch foreign/rootfs/mine");
    let why = env.umoci(["unpack", "--image", "img", "foreign"]).fails();
    assert!(why.contains("foreign/rootfs already exists"), "{why}");
    assert_eq!(env.sh("cat whole/rootfs/mine; ls -A foreign"), "minerootfs\n");
    // A bundle that another process is at.
    killed(env, "b");
    let held = std::fs::File::open(env.path("b/.umoci-unfinished")).expect("mark");
    held.lock().expect("lock");
    let before = env.sh("find b");
    let why = env.umoci(["unpack", "--image", "img", "b"]).fails();
    assert!(
        why.contains("b/.umoci-unfinished is locked by another process"),
        "{why}"
    );
    assert_eq!(env.sh("find b"), before);
    drop(held);
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    // One that cannot be unpacked leaves nothing.
    std::fs::remove_file(image.blob("layer0")).expect("remove");
    killed_or_failed_leaves_nothing(env);
}

fn killed_or_failed_leaves_nothing(env: &Env) {
    env.umoci(["unpack", "--image", "img", "broken"]).fails();
    env.sh("test ! -e broken; mkdir broken");
    env.umoci(["unpack", "--image", "img", "broken"]).fails();
    assert_eq!(env.sh("ls -A broken"), "");
}

#[test]
fn a_tree_that_was_half_unpacked_is_whole_after_the_next_time() {
    let image = image();
    let env = &image.env;
    env.umoci(["raw", "unpack", "--image", "img:large", "want"]).ok();
    env.sh(&format!(
        "code=0; (ulimit -c 0 -f 1; exec {OURS} raw unpack --image img:large tree) || code=$?; test $code = 153"
    ));
    env.umoci(["raw", "unpack", "--image", "img:large", "tree"]).ok();
    env.sh("diff -r want tree");
}
