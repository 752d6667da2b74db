// SPDX-License-Identifier: Apache-2.0
//! `umoci insert`

use crate::support::Image;

#[test]
fn files_directories_and_whiteouts_become_layers() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir -p src/sub; echo 1 >src/one; echo 2 >src/sub/two; ln -s one src/link; echo f >single");
    env.umoci(["insert", "--image", "img", "src", "/opt/app"]).ok();
    env.umoci([
        "insert",
        "--image",
        "img",
        "--tag",
        "next",
        "single/",
        "etc/../etc/single",
    ])
    .ok();
    env.umoci(["insert", "--image", "img:next", "--whiteout", "/opt/app/sub"])
        .ok();
    env.umoci(["insert", "--image", "img:next", "--opaque", "src/sub", "/bin"])
        .ok();
    env.sh("mkdir in; cd in; echo x >../up");
    env.umoci(["insert", "--image", "img:next", "in/../up", "/up"])
        .ok();
    env.umoci(["raw", "unpack", "--image", "img:next", "r"]).ok();
    assert_eq!(
        env.sh("cd r; find . | sort"),
        ".\n./bin\n./bin/two\n./etc\n./etc/file\n./etc/passwd\n./etc/single\n./opt\n./opt/app\n./opt/app/link\n./opt/app/one\n./up\n"
    );
    let history = env.sh(&format!(
        "{} stat --image img:next --json | jq -c '.history[-1]|[.created_by,.empty_layer,.layer!=null]'",
        env!("CARGO_BIN_EXE_umoci")
    ));
    assert_eq!(history, "[\"umoci insert\",null,true]\n");
}

#[test]
fn what_cannot_be_inserted_is_refused() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir -p bad; touch bad/.wh.x one; ln -s bad link");
    let before = env.read("img/index.json");
    for (words, want) in [
        (
            &["bad", "/"][..],
            "invalid path has whiteout prefix \".wh.\": .wh.x",
        ),
        (
            &["bad", "/.wh.y"],
            "invalid path has whiteout prefix \".wh.\": .wh.y",
        ),
        (
            &["--whiteout", "/.wh.z"],
            "invalid path has whiteout prefix \".wh.\": .wh.z",
        ),
        (&["--whiteout", "/"], "the root directory cannot be hidden"),
        (
            &["--whiteout", "a", "b"],
            "invalid number of positional arguments: expected 1",
        ),
        (&["a"], "invalid number of positional arguments: expected 2"),
        (
            &["", "b"],
            "invalid positional argument 0: arguments cannot be empty",
        ),
        (&["none", "/x"], "none: no such file or directory"),
        (
            &["one", "/"],
            "one is no directory and cannot be the root: name the target, as /one",
        ),
        (
            &["--opaque", "link", "."],
            "link is no directory and cannot be the root: name the target, as /link",
        ),
    ] {
        assert_eq!(
            env.umoci([&["insert", "--image", "img"], words].concat()).fails(),
            want,
            "{words:?}"
        );
    }
    assert_eq!(env.read("img/index.json"), before);
}
