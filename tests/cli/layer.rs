// SPDX-License-Identifier: Apache-2.0
//! `umoci layer`, and single layers elsewhere.

use serde_json::Value;

use crate::support::Image;

#[test]
fn layers_are_listed_from_the_lowest_with_the_step_that_made_each() {
    let image = Image::new();
    let manifest = image.manifest();
    let config = image.config();
    let text = image.env.umoci(["layer", "list", "img"]).ok();
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["LAYER", "DIGEST", "SIZE"]);
    for at in 0..2 {
        assert_eq!(rows[at + 1][0], (at + 1).to_string());
        assert_eq!(rows[at + 1][1], manifest["layers"][at]["digest"]);
        let diff_id = config["rootfs"]["diff_ids"][at].as_str().expect("diff_id");
        assert!(rows[at + 1].contains(&diff_id) && rows[at + 1].ends_with(&["umoci", "repack"]));
    }
    let json = image.env.umoci(["layer", "ls", "--json", "img:latest"]).ok();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json[1]["number"], 2);
    assert_eq!(json[1]["descriptor"], manifest["layers"][1]);
    assert_eq!(json[0]["history"]["created_by"], "umoci repack");
}

#[test]
fn a_layer_is_written_as_a_tar_and_as_it_is_stored() {
    let image = Image::new();
    let env = &image.env;
    let diff_id = image.config()["rootfs"]["diff_ids"][1]
        .as_str()
        .expect("digest")
        .to_owned();
    let digest = image.manifest()["layers"][1]["digest"]
        .as_str()
        .expect("digest")
        .to_owned();
    let ours = env!("CARGO_BIN_EXE_umoci");
    for name in ["2", &diff_id, &digest, &digest[7..17]] {
        assert_eq!(
            env.sh(&format!("{ours} layer cat img {name} | sha256sum | cut -c-64"))
                .trim(),
            &diff_id[7..]
        );
        assert_eq!(
            env.sh(&format!(
                "{ours} layer cat img {name} --compressed | sha256sum | cut -c-64"
            ))
            .trim(),
            &digest[7..]
        );
    }
    for (layer, want) in [
        ("0", "no layer 0: the image has 2"),
        ("3", "no layer 3: the image has 2"),
        (
            "top",
            "invalid layer \"top\": give its number from 1, the lowest, or its digest",
        ),
        ("1234567", "no layer 1234567 in the image"),
    ] {
        assert_eq!(env.umoci(["layer", "cat", "img", layer]).fails(), want);
    }
    // The image may stand behind an option, as other commands have it.
    assert_eq!(
        env.umoci(["layer", "list", "--image", "img"]).ok(),
        env.umoci(["layer", "list", "img"]).ok()
    );
    assert_eq!(
        env.umoci(["layer", "cat", "--image", "img", "2", "--limit", "layer=100"])
            .code,
        Some(1)
    );
    std::fs::write(image.blob("layer1"), "damaged").expect("write");
    let why = env.umoci(["layer", "cat", "img", "2"]).fails();
    assert!(why.starts_with(&format!("layer {digest}: ")), "{why}");
}

#[test]
fn a_single_layer_is_unpacked() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["raw", "unpack", "--image", "img", "--layer", "1", "one"])
        .ok();
    env.umoci(["raw", "unpack", "--image", "img", "--layer", "2", "two"])
        .ok();
    assert_eq!(env.sh("ls one/etc"), "file\nlink\npasswd\n");
    assert_eq!(env.sh("find two -type f"), "two/bin/more\n");
    // Over a tree that is there, whose root stays as it is where the layer does not speak of it.
    env.sh("chmod 1711 one; touch -d 2020-02-02 one");
    env.umoci([
        "raw",
        "unpack",
        "--rootless",
        "--image",
        "img",
        "--layer",
        "2",
        "one",
    ])
    .ok();
    assert_eq!(
        env.sh("find one -type f | wc -l; stat -c '%a %y' one | cut -c-15"),
        "3\n1711 2020-02-02\n"
    );
    let why = env
        .umoci(["raw", "unpack", "--image", "img", "--layer", "3", "three"])
        .fails();
    assert_eq!(why, "no layer 3: the image has 2");
    assert!(!env.path("three").exists());
}

#[test]
fn layers_are_annotated() {
    let image = Image::new();
    let env = &image.env;
    let annotations = |at: usize| image.manifest()["layers"][at]["annotations"].clone();
    let before = annotations(0);
    env.umoci([
        "config",
        "--image",
        "img",
        "--layer.annotation",
        "a=1",
        "--layer.annotation",
        "b=x=y",
    ])
    .ok();
    assert_eq!(annotations(0), before);
    assert!(annotations(1)["a"] == "1" && annotations(1)["b"] == "x=y");
    env.umoci([
        "config",
        "--image",
        "img",
        "--layer",
        "1",
        "--clear",
        "layer.annotations",
        "--layer.annotation",
        "c=2",
    ])
    .ok();
    assert_eq!(annotations(0), serde_json::json!({"c": "2"}));
    for (words, want) in [
        (
            &["--layer", "1"][..],
            "--layer goes with --layer.annotation or --clear=layer.annotations",
        ),
        (
            &["--layer", "9", "--layer.annotation", "a=1"],
            "no layer 9: the image has 2",
        ),
        (
            &["--layer.annotation", "a"],
            "layer.annotation: must contain '=': a",
        ),
    ] {
        let words: Vec<&str> = ["config", "--image", "img"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        assert_eq!(env.umoci(&words).fails(), want, "{words:?}");
    }
    env.umoci(["new", "--image", "img:empty"]).ok();
    let why = env
        .umoci(["config", "--image", "img:empty", "--layer.annotation", "a=1"])
        .fails();
    assert_eq!(why, "the image has no layer");
}
