// SPDX-License-Identifier: Apache-2.0
//! `umoci insert` and `umoci raw`.

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
        "single",
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
    env.sh("mkdir -p bad; touch bad/.wh.x");
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
    ] {
        assert_eq!(
            env.umoci([&["insert", "--image", "img"], words].concat()).fails(),
            want,
            "{words:?}"
        );
    }
    assert_eq!(env.read("img/index.json"), before);
}

#[test]
fn a_finished_archive_is_added_byte_for_byte() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir t; echo x >t/added; tar --owner=0 --group=0 -C t -cf layer.tar added; : >empty.tar");
    env.umoci(["raw", "add-layer", "--image", "img", "layer.tar"])
        .ok();
    env.umoci([
        "raw",
        "add-layer",
        "--image",
        "img",
        "--compress=none",
        "empty.tar",
    ])
    .ok();
    let ids = image.config()["rootfs"]["diff_ids"].clone();
    assert_eq!(
        ids[2],
        format!("sha256:{}", env.sh("sha256sum <layer.tar | cut -d' ' -f1").trim())
    );
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    assert_eq!(env.read("b/rootfs/added"), "x\n");
    for (words, want) in [
        (&["t"][..], "new layer archive is a directory: t"),
        (
            &["none"],
            "open new layer archive: open none: no such file or directory",
        ),
        (&[""], "<new-layer.tar> path cannot be empty"),
        (
            &[],
            "invalid number of positional arguments: expected <newlayer.tar>",
        ),
    ] {
        assert_eq!(
            env.umoci([&["raw", "add-layer", "--image", "img"], words].concat())
                .fails(),
            want,
            "{words:?}"
        );
    }
}

#[test]
fn raw_unpack_goes_over_what_is_there_and_never_removes_it() {
    let image = Image::new();
    let env = &image.env;
    env.write("r/mine", "kept");
    let out = env.umoci(["raw", "unpack", "--image", "img", "r"]);
    assert!(out.stderr.contains("unpacked image rootfs: r"), "{}", out.stderr);
    out.ok();
    assert_eq!(env.sh("cat r/mine r/etc/file"), "keptdata\n");
    std::fs::remove_file(image.blob("layer1")).expect("rm");
    assert_ne!(env.umoci(["raw", "unpack", "--image", "img", "r"]).code, Some(0));
    assert_eq!(env.read("r/mine"), "kept");
    assert_ne!(
        env.umoci(["raw", "unpack", "--image", "img", "fresh"]).code,
        Some(0)
    );
    assert!(!env.path("fresh").exists());
}

#[test]
fn a_tree_is_checked_against_its_manifest() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    let manifest = env.sh("ls b/*.mtree").trim().to_owned();
    let validate = |more: &[&str]| {
        env.umoci(
            [
                &["raw", "mtree-validate", "-f", &manifest, "-p", "b/rootfs"],
                more,
            ]
            .concat(),
        )
    };
    assert_eq!(validate(&[]).ok(), "");
    let out = validate(&["-K", "sha1"]);
    assert_eq!(out.code, Some(1));
    assert!(
        out.stdout
            .contains("\"etc/file\": keyword \"sha1digest\": expected ; got "),
        "{}",
        out.stdout
    );
    env.sh("rm b/rootfs/etc/file; touch b/rootfs/new");
    let out = validate(&["--use-keywords", "type"]);
    assert_eq!(
        out.stdout,
        "\"etc/file\": missing path\n\"new\": unexpected path\n"
    );
    assert!(
        out.stderr.contains("validation failed: 2 differences found"),
        "{}",
        out.stderr
    );
    assert_eq!(validate(&["-k", "bogus"]).fails(), "unknown keyword \"bogus\"");
}

#[test]
fn a_runtime_configuration_can_be_had_by_itself() {
    let image = Image::new();
    let env = &image.env;
    env.umoci([
        "config",
        "--image",
        "img",
        "--config.user",
        "root",
        "--config.env",
        "HOME=/here",
        "--config.volume",
        "/v",
    ])
    .ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.umoci([
        "raw",
        "runtime-config",
        "--image",
        "img",
        "--rootfs",
        "b/rootfs",
        "c.json",
    ])
    .ok();
    assert_eq!(env.read("c.json"), env.read("b/config.json"));
    let out = env.umoci(["raw", "config", "--image", "img", "d.json"]);
    assert!(
        out.stderr
            .contains("could not parse user spec \"root\" without a rootfs"),
        "{}",
        out.stderr
    );
    out.ok();
    assert_eq!(
        env.sh("jq -c '[.root.path,.process.env,.process.user,.mounts[-1].destination]' d.json"),
        "[\".\",[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"TERM=xterm\",\"HOME=/here\"],{\"uid\":0,\"gid\":0},\"/v\"]\n"
    );
    env.umoci(["config", "--image", "img", "--config.user", "nobody"])
        .ok();
    let why = env.umoci(["unpack", "--image", "img", "n"]).fails();
    assert!(
        why.ends_with("unable to find user nobody: no matching entries in passwd file"),
        "{why}"
    );
    assert!(!env.path("n").exists());
}

#[test]
fn completions_and_manual_pages_are_made_from_the_definition() {
    let image = Image::new();
    let env = &image.env;
    for (shell, want) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef umoci"),
        ("fish", "complete -c umoci"),
    ] {
        assert!(env.umoci(["completions", shell]).ok().contains(want), "{shell}");
    }
    env.umoci(["man", "pages"]).ok();
    for page in ["umoci", "umoci-unpack", "umoci-raw-add-layer", "umoci-ref-create"] {
        assert!(env.read(&format!("pages/{page}.1")).contains(".TH"), "{page}");
    }
}
