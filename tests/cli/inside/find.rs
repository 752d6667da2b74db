// SPDX-License-Identifier: Apache-2.0
//! `umoci find`: the answers are those of find(1) on the unpacked tree.

use super::{image, sample};

#[test]
fn expressions_find_what_find_finds() {
    let env = sample();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    for expr in [
        "",
        "-name '*.so'",
        "-iname 'X*'",
        "-type d",
        "-type f,l ! -name x.so",
        "-size +1c -type f",
        "-size 1 -type f",
        "-perm /0111",
        "-perm -0400 -type f",
        "-perm 0755",
        "-user root",
        "-uid +0",
        "-links 2 -type f",
        "'(' -name c -o -name passwd ')' -type f",
        "! -empty -type f",
        "-empty",
        "-newer etc/passwd",
        "-mtime +7",
        "-type l",
    ] {
        let program = env!("CARGO_BIN_EXE_umoci");
        let own = env.sh(&format!(
            "{program} find img -print0 {expr} | tr '\\0\\n' '\\n_' | sort"
        ));
        let want = env.sh(&format!(
            "cd b/rootfs; find . -mindepth 1 '(' {} ')' -print0 | sed -z 's,^\\./,,' | tr '\\0\\n' '\\n_' | sort",
            if expr.is_empty() { "-true" } else { expr }
        ));
        assert_eq!(own, want, "{expr}");
    }
}

#[test]
fn layers_contents_and_attributes_are_tests_too() {
    let env = sample();
    let digest = env.sh("printf 'c\\n' | sha256sum | cut -c1-64");
    for (words, want) in [
        (&["-layer", "1"][..], "etc\nopt\n"),
        (&["-layer=2"], "etc/passwd\nopt/c\n"),
        (&["-sha256", digest.trim()], "opt/c\n"),
        (&["etc", "-type", "f", "--links", "2"], "etc/hard\netc/passwd\n"),
        (&["*.so", "-size", "-9c"], "usr/lib/x.so\n"),
        (&["-name", "c", "--json=false"], "opt/c\n"),
        (&["-xattr", "*"], ""),
        (&["--", "-name", "c"], "opt/c\n"),
    ] {
        assert_eq!(
            env.umoci([&["find", "img"], words].concat()).ok(),
            want,
            "{words:?}"
        );
    }
    let json = env.umoci(["find", "img", "-name", "c", "--json"]).ok();
    assert!(
        json.starts_with(r#"{"schema":1,"path":"opt/c","type":"file","size":2,"#),
        "{json}"
    );
    assert!(
        env.umoci(["find", "img", "-name", "c", "-ls"])
            .ok()
            .starts_with('-')
    );
}

#[test]
fn users_are_those_of_the_image() {
    let env = image(&[&[
        "d etc",
        "f etc/passwd=app:x:0:0::/:\n",
        "f etc/group=staff:x:0:\n",
        "f x=",
    ]]);
    assert_eq!(
        env.umoci(["find", "img", "x", "-user", "app", "-group", "staff"])
            .ok(),
        "x\n"
    );
    let message = env.umoci(["find", "img", "-user", "root"]).fails();
    assert!(message.contains("unable to find user root"), "{message}");
}

#[test]
fn words_that_are_no_tests_are_refused() {
    let env = sample();
    for (words, want) in [
        (&["-nmae", "x"][..], "flag provided but not defined: -nmae"),
        (&["-name", "x", "etc"], "paths must precede expression: \"etc\""),
        (&["gone", "-name", "x"], "img has no gone"),
    ] {
        let message = env.umoci([&["find", "img"], words].concat()).fails();
        assert!(message.contains(want), "{words:?}: {message}");
    }
}
