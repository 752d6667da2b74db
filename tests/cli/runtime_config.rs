// SPDX-License-Identifier: Apache-2.0
//! `umoci raw runtime-config`

use crate::support::{Env, Image};

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
    // A device is written to and not replaced.
    env.sh(&format!(
        "{} raw config --image img --rootfs b/rootfs /dev/stdout | cmp - c.json",
        env!("CARGO_BIN_EXE_umoci")
    ));
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

/// The configuration of an image with these members in its `config`, or why there is none.
fn config(members: &serde_json::Value) -> (Env, Result<serde_json::Value, String>) {
    let image = Image::new();
    image.edit_config(|config| config["config"] = members.clone());
    let out = image.env.umoci(["unpack", "--image", "img", "b"]);
    let found = match out.code {
        Some(0) => Ok(serde_json::from_str(&image.env.read("b/config.json")).expect("JSON")),
        _ => Err(out.fails()),
    };
    (image.env, found)
}

#[test]
fn paths_are_absolute_and_clean() {
    for (written, cwd) in [
        ("", "/"),
        ("app", "/app"),
        ("app/", "/app"),
        ("./a/../b", "/b"),
        ("../../etc", "/etc"),
        (".", "/"),
        ("/", "/"),
        ("/app", "/app"),
        ("/app/", "/app"),
        ("//a//b/.", "/a/b"),
        ("/a b", "/a b"),
    ] {
        let (_env, found) = config(&serde_json::json!({ "WorkingDir": written }));
        assert_eq!(found.expect(written)["process"]["cwd"], cwd, "{written:?}");
    }
    let volumes = ["/b/", "a", "../c", "/b", "/x/../d", "/dev/shm/x"];
    let set: serde_json::Map<_, _> = volumes
        .iter()
        .map(|v| ((*v).to_owned(), serde_json::json!({})))
        .collect();
    let (_env, found) = config(&serde_json::json!({ "Volumes": set }));
    let found = found.expect("volumes");
    let mounts = &found["mounts"].as_array().expect("list")[7..];
    let mounts: Vec<_> = mounts.iter().map(|mount| &mount["destination"]).collect();
    assert_eq!(mounts, ["/a", "/b", "/c", "/d", "/dev/shm/x"]);
}

#[test]
fn a_volume_where_nothing_can_be_mounted_is_left_out_with_a_warning() {
    for volume in [
        "",
        "/",
        ".",
        "..",
        "/proc",
        "proc/x",
        "/sys/x",
        "/dev/",
        "/a/../proc",
    ] {
        let image = Image::new();
        image.edit_config(|config| config["config"] = serde_json::json!({ "Volumes": { volume: {} } }));
        let out = image.env.umoci(["unpack", "--image", "img", "b"]);
        assert!(
            out.stderr.contains(&format!("volume {volume:?} left out")),
            "{out:?}"
        );
        out.ok();
        assert_eq!(
            image.env.sh("jq '.mounts | length' b/config.json"),
            "7\n",
            "{volume}"
        );
    }
}

#[test]
fn what_no_process_can_have_is_refused() {
    for (members, want) in [
        (
            serde_json::json!({"Env": ["A"]}),
            "parsing image.Config.Env: must contain '=': \"A\"",
        ),
        (
            serde_json::json!({"Env": [""]}),
            "parsing image.Config.Env: must contain '=': \"\"",
        ),
        (
            serde_json::json!({"Env": ["=x"]}),
            "must have non-empty name: \"=x\"",
        ),
        (
            serde_json::json!({"Env": ["A=b\u{0}c"]}),
            "must not contain a NUL byte: \"A=b\\0c\"",
        ),
        (
            serde_json::json!({"Cmd": ["a\u{0}b"]}),
            "the command of the image has a NUL byte: \"a\\0b\"",
        ),
        (
            serde_json::json!({"Entrypoint": ["\u{0}"]}),
            "the command of the image has a NUL byte",
        ),
        (
            serde_json::json!({"WorkingDir": "/\u{0}"}),
            "image.Config.WorkingDir: path contains a NUL byte",
        ),
        (
            serde_json::json!({"Volumes": {"/\u{0}": {}}}),
            "image.Config.Volumes: path contains a NUL byte",
        ),
        (
            serde_json::json!({"User": "2147483648"}),
            "user id is out of range: 2147483648",
        ),
        (
            serde_json::json!({"User": "0:2147483648"}),
            "group id is out of range: 2147483648",
        ),
    ] {
        let (_env, found) = config(&members);
        let why = found.expect_err(want);
        assert!(why.contains(want) && why.contains("config sha256:"), "{why}");
    }
}

#[test]
#[ignore = "needs root, runc and a compiler: run by tests/all.sh"]
fn a_bundle_runs_whatever_the_image_says_of_its_paths() {
    let odd = serde_json::json!({
        "WorkingDir": "app/../app/", "Cmd": ["/run-me"],
        "Volumes": {"v": {}, "/w/": {}, "": {}, "/proc": {}, "/proc/x": {}, "/sys/x": {}, "/dev": {}, "/dev/x": {}},
        "Env": ["A B=c", "N=\n"], "Labels": {"": "x", "a b\n": "\u{7}"},
    });
    let (env, found) = config(&odd);
    found.expect("a bundle");
    env.write(
        "p.c",
        "#include <unistd.h>\nint main() { char b[99]; getcwd(b, 99); write(1, b, 4); return 0; }",
    );
    env.sh("gcc -static -o b/rootfs/run-me p.c");
    env.sh("jq '.process.terminal = false' b/config.json >c && mv c b/config.json");
    let name = format!("umoci-paths-{}", std::process::id());
    let state = env.path("runc");
    let state = state.to_str().expect("utf-8");
    let out = env.run("runc", ["--root", state, "run", "--bundle", "b", &name]);
    assert_eq!(out.ok(), "/app\n");
}
