// SPDX-License-Identifier: Apache-2.0
//! `umoci grep`: lines of files, as git grep prints them.

use super::{image, sample};

#[test]
fn lines_are_printed_as_git_does() {
    let env = sample();
    let passwd = "root:x:0:0::/root:/bin/bash\n";
    for (words, want) in [
        (
            &["bash", "img"][..],
            format!("etc/hard:{passwd}etc/passwd:{passwd}"),
        ),
        (
            &["-n", "bash", "img", "etc/passwd"],
            format!("etc/passwd:1:{passwd}"),
        ),
        (&["-l", "bash", "img"], "etc/hard\netc/passwd\n".to_owned()),
        (&["-c", "l", "img", "a*"], "\"a\\nb\":1\n".to_owned()),
        (&["-i", "BASH", "img", "*hard"], format!("etc/hard:{passwd}")),
        (&["-F", "x:0:0", "img", "etc/hard"], format!("etc/hard:{passwd}")),
        (&["-w", "ro+t", "img", "etc/hard"], format!("etc/hard:{passwd}")),
        (
            &["-e", "^new$", "-e", "^c$", "img"],
            "\"a\\nb\":new\nopt/c:c\n".to_owned(),
        ),
        (&["-v", "new", "img", "a?b"], "\"a\\nb\":line\n".to_owned()),
        (
            &["bin", "img", "usr"],
            "Binary file usr/lib/x.so matches\n".to_owned(),
        ),
        (&["-a", "-c", "bin", "img", "usr"], "usr/lib/x.so:1\n".to_owned()),
        (
            &["-l", "--layer", "2", ".", "img"],
            "etc/passwd\nopt/c\n".to_owned(),
        ),
        (
            &["-l", "--since", "latest~1", ".", "img", "etc"],
            "etc/hard\n".to_owned(),
        ),
        (&["-q", "bash", "img"], String::new()),
    ] {
        assert_eq!(env.umoci([&["grep"], words].concat()).ok(), want, "{words:?}");
    }
    let json = env.umoci(["grep", "--json", "bash", "img", "etc/passwd"]).ok();
    assert!(
        json.contains(r#""path":"etc/passwd","layer":2,"line":1,"text":"root:"#),
        "{json}"
    );
}

#[test]
fn no_line_is_code_1_without_a_word() {
    let env = sample();
    for words in [
        &["nothing", "img"][..],
        &["-w", "oo", "img"],
        &["-q", "old", "img"],
    ] {
        let out = env.umoci([&["grep"], words].concat());
        assert_eq!(
            (out.code, out.stdout.as_str(), out.stderr.as_str()),
            (Some(1), "", ""),
            "{words:?}"
        );
    }
    for (words, want) in [
        (&["(", "img"][..], "invalid pattern \"(\": unclosed group"),
        (&["-e", "a)", "-e", "(b", "img"], "invalid pattern \"a)\""),
        (&[], "missing mandatory argument: the pattern"),
        (&["x"], "missing mandatory argument: the image"),
        (&["x", "img", "gone"], "img has no gone"),
    ] {
        let message = env.umoci([&["grep"], words].concat()).fails();
        assert!(message.contains(want), "{words:?}: {message}");
    }
}

#[test]
fn a_layer_that_is_damaged_is_named_beside_what_was_found() {
    let env = image(&[&["f a=x\n"], &["f b=x\n"]]);
    let layers = env.umoci(["layer", "list", "img", "--json"]).ok();
    let layers: serde_json::Value = serde_json::from_str(&layers).expect("JSON");
    let digest = layers[1]["descriptor"]["digest"]
        .as_str()
        .expect("digest")
        .to_owned();
    env.sh(&format!("rm img/blobs/sha256/{}", &digest[7..]));
    let out = env.umoci(["grep", "x", "img"]);
    assert_eq!((out.code, out.stdout.as_str()), (Some(1), "a:x\n"));
    assert!(
        out.stderr
            .contains(&format!("the answer is without layer {digest}")),
        "{}",
        out.stderr
    );
}
