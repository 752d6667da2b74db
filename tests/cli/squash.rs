// SPDX-License-Identifier: Apache-2.0
//! `umoci squash` and `umoci rebase`.

use serde_json::{Value, json};

use crate::compat::schema::check_layout;
use crate::support::{Env, Image, Tree};

/// An image of three layers, the third of which changes, removes and adds; with a step that made no layer.
fn image() -> Image {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--config.user", "1"]).ok();
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    env.sh("echo other >b/rootfs/etc/file; rm -r b/rootfs/bin; ln b/rootfs/etc/passwd b/rootfs/etc/shadow");
    env.umoci(["repack", "--image", "img", "b"]).ok();
    env.sh("rm -r b");
    image
}

fn unpacked(env: &Env, image: &str) -> Tree {
    env.sh("rm -rf out");
    env.umoci(["raw", "unpack", "--rootless", "--image", image, "out"])
        .ok();
    Tree::read(&env.path("out"))
}

fn layers(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["digest"].to_string()).collect()
}

/// All that is in a layout but our own directory, with digests of what the files hold.
fn files(env: &Env) -> String {
    env.sh("cd img; find . -path ./.umoci -prune -o -type f -exec sha256sum {} + | sort")
}

#[test]
fn layers_become_one_with_the_same_tree() {
    let image = image();
    let env = &image.env;
    let before = unpacked(env, "img");
    let old = layers(&image.manifest());
    for (from, digest_of, count) in [(None, None, 1), (Some("2"), None, 2), (None, Some(1), 2)] {
        let digest = digest_of.map(|at: usize| old[at].trim_matches('"').to_owned());
        let from = from.or(digest.as_deref());
        let mut words = vec!["squash", "img", "--tag", "one"];
        words.extend(from.iter().flat_map(|from| ["--from", from]));
        env.umoci(words).ok();
        check_layout(env);
        env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        unpacked(env, "img:one").assert_same(&before, "squashed");
        let stat: Value =
            serde_json::from_str(&env.umoci(["stat", "--json", "--image", "img:one"]).ok()).expect("JSON");
        let steps = stat["history"].as_array().expect("history");
        let made = steps.iter().filter(|step| step["empty_layer"] != true).count();
        assert_eq!(made, count, "{stat}");
        let list = env.umoci(["layer", "list", "img:one"]).ok();
        assert_eq!(list.lines().count(), 1 + count);
        assert_eq!(
            list.contains(old[0].trim_matches('"')),
            count == 2,
            "what is below stays"
        );
    }
    assert_eq!(layers(&image.manifest()), old, "the tag that it was made from");
}

#[test]
fn the_history_says_what_was_merged() {
    let image = image();
    let env = &image.env;
    let steps = image.config()["history"].clone();
    env.umoci(["squash", "--image", "img", "--history.comment", "small"])
        .ok();
    let merged = image.config()["history"].clone();
    let by = |at: usize| steps[at]["created_by"].as_str().expect("text").to_owned();
    assert_eq!(merged.as_array().expect("steps").len(), 2);
    assert_eq!(merged[0], steps[2], "a step that made no layer stays");
    assert_eq!(merged[1]["created_by"], "umoci squash");
    assert_eq!(merged[1]["created"], steps[3]["created"]);
    assert_eq!(
        merged[1]["comment"],
        format!("small; {}; {}; {}", by(0), by(1), by(3))
    );
}

#[test]
fn a_dry_run_writes_nothing_and_prints_what_is_written() {
    for words in [
        &["squash", "img", "--compress", "zstd"][..],
        &["rebase", "img", "--old", "old", "--new", "new"],
    ] {
        let image = bases();
        let env = &image.env;
        let before = files(env);
        let plan = env.umoci(words.iter().chain(&["--dry-run"])).ok();
        assert_eq!(files(env), before);
        env.umoci(words).ok();
        let mut told: Vec<&str> = plan
            .lines()
            .filter_map(|line| line.strip_prefix("write "))
            .map(|line| line.split([':', ' ']).nth(1).expect("digest"))
            .collect();
        told.sort_unstable();
        let after = files(env);
        let mut written: Vec<&str> = after
            .lines()
            .filter(|line| !before.contains(line) && line.contains("/blobs/"))
            .map(|line| &line[..64])
            .collect();
        written.sort_unstable();
        assert_eq!(told, written, "{plan}");
        let [entry, ..] = image.of("latest");
        let tag = format!("tag latest {}", entry["digest"].as_str().expect("digest"));
        assert_eq!(plan.lines().last(), Some(tag.as_str()));
    }
}

#[test]
fn what_cannot_be_squashed_is_said() {
    let image = image();
    let env = &image.env;
    for (words, want) in [
        (&["img", "--from", "4"][..], "no layer 4: the image has 3"),
        (&["img:none"], "tag not found: none"),
    ] {
        let words: Vec<&str> = ["squash"].iter().chain(words).copied().collect();
        assert_eq!(env.umoci(&words).fails(), want);
    }
    // Where there is nothing to merge, as in a second run, all stays.
    let before = image.of("latest");
    for words in [
        &["img", "--from", "3"][..],
        &["img", "--tag", "same", "--from", "3"],
    ] {
        let words: Vec<&str> = ["--log=info", "squash"].iter().chain(words).copied().collect();
        let done = env.umoci(&words);
        assert!(
            done.stderr
                .contains("there is nothing to merge: the image has 3 layers"),
            "{}",
            done.stderr
        );
        done.ok();
    }
    assert_eq!(image.of("latest"), before);
    assert_eq!(image.of("same")[1..], before[1..]);
    env.umoci(["new", "--image", "img:empty"]).ok();
    env.umoci(["squash", "img:empty"]).ok();
}

/// An image on the base `old`, and a base `new` of two layers that stands on nothing of the old.
fn bases() -> Image {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "old"]).ok();
    env.sh("mkdir -p add/etc new/etc; echo mine >add/etc/mine; echo new >new/etc/base");
    env.umoci([
        "insert",
        "--rootless",
        "--image",
        "img",
        "add/etc/mine",
        "/etc/mine",
    ])
    .ok();
    env.umoci(["config", "--image", "img", "--config.cmd", "mine"])
        .ok();
    env.umoci(["new", "--image", "img:new"]).ok();
    for path in ["/etc", "/usr"] {
        env.umoci([
            "insert",
            "--rootless",
            "--image",
            "img:new",
            "--history.comment",
            path,
            "new/etc",
            path,
        ])
        .ok();
    }
    image
}

#[test]
fn a_rebased_image_has_the_new_base_and_all_of_its_own() {
    let image = bases();
    let env = &image.env;
    let before = image.of("latest");
    let [_, _, new] = image.of("new");
    env.umoci([
        "rebase", "img", "--old", "old", "--new", "img:new", "--tag", "moved",
    ])
    .ok();
    check_layout(env);
    env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
    assert_eq!(image.of("latest"), before, "the tag that it was made from");
    env.umoci(["raw", "unpack", "--rootless", "--image", "img:moved", "out"])
        .ok();
    assert_eq!(
        env.sh("find out -type f | sort"),
        "out/etc/base\nout/etc/mine\nout/usr/base\n"
    );
    let [_, _, moved] = image.of("moved");
    let steps = |config: &Value| config["history"].as_array().expect("steps").clone();
    let [_, _, old] = image.of("old");
    let own = &steps(&before[2])[steps(&old).len()..];
    assert_eq!(own.len(), 2);
    assert_eq!(steps(&moved), [&steps(&new), own].concat());
    assert_eq!(moved["config"], json!({"Cmd": ["mine"]}));
    // A second time it stands there already, where the new base goes on from the old one.
    env.umoci([
        "insert",
        "--rootless",
        "--image",
        "img:new",
        "--tag",
        "newer",
        "new/etc",
        "/opt",
    ])
    .ok();
    let once = [
        "rebase",
        "img:moved",
        "--tag",
        "newest",
        "--old",
        "new",
        "--new",
        "newer",
    ];
    env.umoci(once).ok();
    let newest = image.of("newest");
    env.umoci(["rebase", "img:newest", "--old", "new", "--new", "newer"])
        .ok();
    assert_eq!(image.of("newest"), newest);
    // The same again, where the base is another one and does not go on from the old.
    let moved = image.of("moved");
    env.umoci(["rebase", "img:moved", "--old", "old", "--new", "new"])
        .ok();
    assert_eq!(image.of("moved"), moved);
    // And back, onto the base that it had.
    env.umoci([
        "rebase",
        "img:newest",
        "--tag",
        "back",
        "--old",
        "newer",
        "--new",
        "new",
    ])
    .ok();
    assert_eq!(image.of("back")[1..], image.of("moved")[1..]);
    env.umoci(["rebase", "--image", "img:moved", "--old", "new", "--new", "old"])
        .ok();
    assert_eq!(image.of("moved")[1..], before[1..]);
}

#[test]
fn an_image_on_another_base_is_refused() {
    let image = bases();
    let env = &image.env;
    let first = |tag: &str| {
        let [_, _, config] = image.of(tag);
        config["rootfs"]["diff_ids"][0]
            .as_str()
            .expect("digest")
            .to_owned()
    };
    let before = files(env);
    for (words, want) in [
        (
            &["img:new", "--old", "latest", "--new", "old"][..],
            format!(
                "the image does not stand on the old base: layer 1 of the image is {}, and of the old base {}",
                first("new"),
                first("latest")
            ),
        ),
        (
            &["img:old", "--old", "latest", "--new", "new"],
            "the image does not stand on the old base: the image has 2 layers, and the old base 3".to_owned(),
        ),
        (
            &["img", "--old", "gone", "--new", "old"],
            "--old: tag not found: gone".to_owned(),
        ),
        (
            &["img", "--old", "old", "--new", "other:new"],
            "--new: other:new is no image of this layout: umoci import brings it here".to_owned(),
        ),
        (
            &["img", "--old", "old"],
            "missing mandatory argument: --new".to_owned(),
        ),
    ] {
        let words: Vec<&str> = ["rebase"].iter().chain(words).copied().collect();
        assert_eq!(env.umoci(&words).fails(), want);
    }
    assert_eq!(files(env), before);
    env.umoci([
        "config",
        "--image",
        "img:new",
        "--tag",
        "arm",
        "--platform.arch",
        "arm64",
    ])
    .ok();
    let why = env
        .umoci(["rebase", "img", "--old", "old", "--new", "arm"])
        .fails();
    assert_eq!(
        why,
        "--new: no image for linux/amd64 at arm: it leads to linux/arm64"
    );
}

#[test]
fn steps_of_a_base_without_history_go_with_its_layers() {
    let image = bases();
    let env = &image.env;
    env.umoci(["tag", "--image", "img:new", "bare"]).ok();
    let digest = image.of("bare")[0]["digest"].clone();
    // The same base without its history, and an image that names its base.
    env.umoci([
        "config",
        "--image",
        "img",
        "--manifest.annotation",
        "org.opencontainers.image.base.digest=sha256:0",
        "--manifest.annotation",
        "org.opencontainers.image.base.name=example.com/old",
    ])
    .ok();
    let rest = image.of("latest");
    env.sh("mv img/index.json all.json; jq '.manifests |= map(select(.annotations[\"org.opencontainers.image.ref.name\"] == \"bare\"))' all.json >img/index.json");
    image.edit_config(|config| drop(config.as_object_mut().expect("object").remove("history")));
    env.sh("jq -s '.[0].manifests = [.[0].manifests[] | select(.annotations[\"org.opencontainers.image.ref.name\"] != \"bare\")] + .[1].manifests | .[0]' all.json img/index.json >i; mv i img/index.json");
    assert_ne!(image.of("bare")[0]["digest"], digest);
    assert_eq!(image.of("latest"), rest);
    env.umoci(["rebase", "img", "--old", "old", "--new", "bare"]).ok();
    let [_, manifest, config] = image.of("latest");
    let steps = config["history"].as_array().expect("steps");
    let made: Vec<&Value> = steps.iter().filter(|step| step["empty_layer"] != true).collect();
    assert_eq!(made.len(), manifest["layers"].as_array().expect("layers").len());
    for step in &made[..2] {
        assert_eq!(step["comment"], "no history of this layer");
    }
    assert_eq!(made[2]["created_by"], "umoci insert");
    let base = &manifest["annotations"];
    assert_eq!(
        base["org.opencontainers.image.base.digest"],
        image.of("bare")[0]["digest"]
    );
    assert_eq!(base["org.opencontainers.image.base.name"], Value::Null);
}

#[test]
fn layers_that_the_config_does_not_know_are_an_error() {
    for (of, want) in [
        (
            "latest",
            ": rootfs.diff_ids has 2 members, and its manifest 1 layers",
        ),
        ("old", "old base: config sha256:"),
    ] {
        let image = Image::new();
        let env = &image.env;
        env.umoci(["tag", "--image", "img", "old"]).ok();
        if of == "old" {
            env.sh("jq '.manifests |= reverse' img/index.json >i; mv i img/index.json");
        }
        image.edit_manifest(|manifest| drop(manifest["layers"].as_array_mut().expect("layers").pop()));
        let why = env
            .umoci(["rebase", "img", "--old", "old", "--new", "old"])
            .fails();
        assert!(why.contains(want), "{why}");
    }
}
