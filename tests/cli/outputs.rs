// SPDX-License-Identifier: Apache-2.0
//! Where `umoci export` writes to: files, links, pipes, devices, descriptors; directories that are there or not.

use crate::support::{Env, Image};

const OURS: &str = env!("CARGO_BIN_EXE_umoci");

#[test]
fn what_is_no_file_takes_the_archive_as_it_comes() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["export", "--layout", "img", "oci-archive:want"]).ok();
    for (what, script) in [
        ("a fifo", "mkfifo p; cat p >got & X p; wait; test -p p"),
        ("a device", "X /dev/null; test -c /dev/null; cp want got"),
        ("a pipe", "X /dev/stdout | cat >got"),
        (
            "a file at a position",
            "(printf '123'; X /dev/stdout; printf '45') >all; tail -c +4 all | head -c -2 >got",
        ),
        (
            "a file to append to",
            "printf '123' >all; X /dev/stdout >>all; tail -c +4 all >got",
        ),
        ("a descriptor of a pipe", "X /dev/fd/5 5>&1 | cat >got"),
        ("a descriptor of a file", "X /dev/fd/5 5>got"),
        (
            "a descriptor to append to",
            "printf '123' >all; X /proc/self/fd/5 5>>all; tail -c +4 all >got",
        ),
        (
            "a descriptor of a file without a name",
            "exec 5<>gone; rm gone; X /dev/fd/5; cat /dev/fd/5 >got",
        ),
        (
            "a link to a fifo",
            "ln -s p l; cat p >got & X l; wait; test -L l -a -p p",
        ),
        (
            "a device with a link to it",
            "ln -s /dev/null n; X n; test -L n -a -c /dev/null; cp want got",
        ),
    ] {
        let script = script.replace("X ", &format!("{OURS} export --layout img oci-archive:"));
        env.sh(&format!(
            "rm -f got; {script}; cmp want got || {{ echo '{what}' >&2; exit 1; }}"
        ));
    }
    assert_eq!(env.sh("ls | grep -c tmp || true"), "0\n");
}

#[test]
fn a_link_is_followed_and_a_file_keeps_its_mode() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["export", "--layout", "img", "oci-archive:want"]).ok();
    env.sh(
        "test $(stat -c %a want) = 644; mkdir d; echo old >d/file; chmod 640 d/file; ln d/file d/other
            ln -s d/file link; ln -s $PWD/link again; ln -s d/new dangling",
    );
    for to in ["again", "dangling"] {
        env.umoci(["export", "--layout", "img", &format!("oci-archive:{to}")])
            .ok();
    }
    env.sh(
        "cmp want d/file; cmp want d/new; test $(stat -c %a d/file) = 640; test $(cat d/other) = old
            test -L link -a -L again -a -L dangling; test $(ls d | wc -l) = 3",
    );
}

#[test]
fn a_place_that_takes_no_archive_is_refused_before_anything_is_written() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir dir; ln -s loop loop; ln -s dir link");
    for (to, want) in [
        ("dir", "dir is a directory"),
        ("link", "link is a directory"),
        ("new/", "new/ names a directory"),
        ("loop", "open loop: too many levels of symbolic links"),
        ("img/index.json/x", "open img/index.json/x: not a directory"),
    ] {
        let said = env
            .umoci(["export", "--layout", "img", &format!("oci-archive:{to}")])
            .fails();
        assert_eq!(said, want);
    }
    assert_eq!(env.sh("ls -A . dir"), ".:\ndir\nimg\nlink\nloop\n\ndir:\n");
}

#[test]
fn an_export_that_is_killed_leaves_nothing_behind() {
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.write("old", "old");
    for to in ["new", "old"] {
        // A file that grows over this limit kills whoever writes it.
        env.sh(&format!("code=0; (ulimit -c 0 -f 1; exec {OURS} export --layout img oci-archive:{to}) || code=$?; test $code = 153"));
    }
    assert_eq!(env.sh("ls -A; cat old"), "img\nold\nold\n");
}

#[test]
fn an_empty_directory_becomes_a_layout_and_a_failed_export_leaves_none() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir -m 700 empty; mkdir full; touch full/x");
    let said = env.umoci(["init", "--layout", "empty"]).fails();
    assert!(said.contains("path already exists"), "{said}");
    for to in ["empty", "a/b"] {
        env.umoci(["export", "--layout", "img", to]).ok();
        assert_eq!(env.sh(&format!("ls -A {to}")), "blobs\nindex.json\noci-layout\n");
        env.umoci(["fsck", "--layout", to]).ok();
    }
    assert_eq!(env.sh("stat -c %a empty empty/blobs"), "700\n700\n");
    env.sh("rm -r a; rm -r empty/*");
    env.umoci(["init", "--layout", "there"]).ok();
    std::fs::remove_file(image.blob("layer1")).expect("remove");
    for to in ["empty", "a/b", "there", "full"] {
        let before = env.sh(&format!("find {to} ! -path '*/.umoci*' 2>/dev/null || true"));
        env.umoci(["export", "--layout", "img", &format!("{to}:new")])
            .fails();
        let after = env.sh(&format!("find {to} ! -path '*/.umoci*' 2>/dev/null || true"));
        assert_eq!(after, before);
    }
    assert_eq!(env.sh("ls -A empty"), "");
}

#[test]
fn a_place_that_takes_no_more_is_named() {
    let image = Image::new();
    for (script, want) in [
        ("X - >/dev/full", "write to stdout: no space left on device"),
        ("X /dev/full", "write /dev/full: no space left on device"),
        ("exec 3> >(:); wait $!; X - >&3", "write to stdout: broken pipe"),
    ] {
        for kind in ["oci-archive", "docker-archive"] {
            let script = script.replace("X ", &format!("{OURS} export --layout img {kind}:"));
            let why = image.env.run("bash", ["-c", &script]).fails();
            assert!(why.ends_with(want), "{kind}: {why}");
        }
    }
}
