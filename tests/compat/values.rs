// SPDX-License-Identifier: Apache-2.0
//! Values in documents that only Go's reader takes for what they stand for, beside the packaged umoci.

use serde_json::{Value, json};
use umoci::digest::Digest;
use umoci::spec::MediaType;

use crate::support::{Env, Tar};

/// A layout `img` with one image, `img:t`: a layer with a file, a config and a manifest as they are given. `null` for a config
/// is the usual one.
fn image(config: Value, manifest: impl FnOnce(&mut Value)) -> Env {
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    let tar = Tar::new().list(&["f file=x"]).end();
    let layer = env.put("img", MediaType::LAYER, &tar);
    let mut whole = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&tar).to_string()]},
        "history": [{"created": "2020-01-01T00:00:00Z"}],
    });
    match config {
        Value::Object(members) if members.contains_key("rootfs") || members.is_empty() => {
            whole = Value::Object(members)
        }
        Value::Object(members) => whole.as_object_mut().expect("object").extend(members),
        _ => {}
    }
    let config = env.put("img", MediaType::CONFIG, whole.to_string().as_bytes());
    let mut document = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    manifest(&mut document);
    let entry = env.put("img", MediaType::MANIFEST, document.to_string().as_bytes());
    env.list("img", entry, Some("t"));
    env
}

const EDITS: [&str; 3] = [
    "stat --image img:t",
    "config --image img:t --tag n --author me",
    "insert --image img:t --tag m f /g",
];

/// Which of the commands succeed.
fn outcome(env: &Env, run: impl Fn(&[&str]) -> bool) -> Vec<bool> {
    env.write("f", "f");
    let unpack = ["unpack --image img:t b"];
    let commands = EDITS.iter().chain(&unpack);
    commands
        .map(|line| run(&line.split(' ').collect::<Vec<_>>()))
        .collect()
}

fn ours(env: &Env) -> Vec<bool> {
    outcome(env, |words| env.umoci(words).code == Some(0))
}

fn theirs(env: &Env) -> Vec<bool> {
    outcome(env, |words| env.peer(words).code == Some(0))
}

const ALL: [bool; 4] = [true; 4];
/// What has no operating system, or says nothing of layers, runs nowhere.
const NO_BUNDLE: [bool; 4] = [true, true, true, false];

#[test]
fn null_stands_for_the_empty_value_as_in_the_go_tool() {
    let cases = [
        (json!({"config": {"Labels": {"a": null}}}), ALL),
        (json!({"config": {"Cmd": ["sh", null]}}), ALL),
        (json!({"config": {"Entrypoint": [null]}}), ALL),
        (json!({"config": {"Env": [null]}}), NO_BUNDLE),
        (
            json!({"config": {"Env": null, "Volumes": null, "Labels": null, "ExposedPorts": null}}),
            ALL,
        ),
        (
            json!({"config": {"User": null, "WorkingDir": null, "StopSignal": null, "ArgsEscaped": null}}),
            ALL,
        ),
        (
            json!({"config": {"Volumes": {"/v": null}, "ExposedPorts": {"80/tcp": null}}}),
            ALL,
        ),
        (
            json!({"config": null, "author": null, "variant": null, "created": null}),
            ALL,
        ),
        (
            json!({"os.features": [null], "os.version": null, "architecture": null}),
            ALL,
        ),
        (json!({"os": null}), NO_BUNDLE),
        (json!({"history": null}), ALL),
        (json!({"history": []}), ALL),
        (
            json!({"history": [{"created": "2020-01-01T00:00:00Z", "created_by": null, "empty_layer": null}]}),
            ALL,
        ),
    ];
    for (config, want) in cases {
        let [we, they] = [ours, theirs].map(|run| run(&image(config.clone(), |_| ())));
        assert_eq!((&we[..], &they[..]), (&want[..], &want[..]), "{config}");
        let env = image(config.clone(), |_| ());
        for words in [
            "fsck --layout img",
            "fsck --deep --layout img",
            "list --layout img",
            "du --layout img",
        ] {
            env.umoci(words.split(' ')).ok();
        }
    }
}

#[test]
fn null_in_a_manifest_is_empty_too() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, [bool; 4]); 5] = [
        (|m| m["annotations"] = Value::Null, ALL),
        (|m| m["annotations"] = json!({"a": null}), ALL),
        (|m| m["layers"][0]["annotations"] = Value::Null, ALL),
        (|m| m["layers"][0]["urls"] = Value::Null, ALL),
        (|m| m["mediaType"] = Value::Null, ALL),
    ];
    for (number, (edit, want)) in cases.into_iter().enumerate() {
        let [we, they] = [ours, theirs].map(|run| run(&image(Value::Null, edit)));
        assert_eq!((&we[..], &they[..]), (&want[..], &want[..]), "case {number}");
        image(Value::Null, edit).umoci(["fsck", "--layout", "img"]).ok();
    }
    // Here the other one is beside itself: it panics over a step of the history without a layer.
    let no_layers: [Edit; 2] = [
        |m| m["layers"] = Value::Null,
        |m| drop(m.as_object_mut().expect("object").remove("layers")),
    ];
    for edit in no_layers {
        assert_eq!(ours(&image(Value::Null, edit))[..3], [true; 3]);
    }
}

#[test]
fn an_artifact_with_the_config_of_an_image_and_nothing_in_it_is_shown_and_is_no_fault() {
    let data = |env: &Env| env.put("img", "application/octet-stream", b"data");
    for empty in [
        json!({}),
        json!({"rootfs": null}),
        json!({"rootfs": {"type": null, "diff_ids": null}}),
    ] {
        let env = image(empty.clone(), |_| ());
        let layer = data(&env);
        let artifact = |manifest: &mut Value| manifest["layers"] = json!([layer]);
        let env = image(empty.clone(), artifact);
        data(&env);
        let we = ours(&env);
        assert_eq!(we, NO_BUNDLE, "{empty}");
        let env = image(empty.clone(), artifact);
        data(&env);
        assert_eq!(theirs(&env)[1..], NO_BUNDLE[1..], "{empty}");
        let env = image(empty.clone(), artifact);
        data(&env);
        let told = env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        assert!(told.starts_with("clean: "), "{empty}: {told}");
        env.umoci(["config", "--image", "img:t", "--author", "me"]).ok();
        let told = env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        assert!(told.starts_with("clean: "), "{empty}: {told}");
    }
}

#[test]
fn a_document_that_cannot_be_used_is_named_with_its_field() {
    let cases = [
        (
            json!({"rootfs": {"type": "layers", "diff_ids": [null]}}),
            "rootfs.diff_ids[0]",
        ),
        (
            json!({"rootfs": {"type": "layers", "diff_ids": "x"}}),
            "rootfs.diff_ids",
        ),
        (json!({"rootfs": 7}), "rootfs"),
        (json!({"config": {"Env": [7]}}), "config.Env[0]"),
        (json!({"config": {"Labels": {"a": {}}}}), "config.Labels.a"),
        (json!({"config": {"Volumes": {"/v": 1}}}), "config.Volumes./v"),
        (json!({"history": [{}, {"comment": []}]}), "history[1].comment"),
    ];
    for (config, field) in cases {
        let env = image(config, |_| ());
        let manifest: Value = serde_json::from_str(&env.read("img/index.json")).expect("JSON");
        let manifest = manifest["manifests"][0]["digest"].as_str().expect("digest")[7..].to_owned();
        let manifest: Value =
            serde_json::from_str(&env.read(&format!("img/blobs/sha256/{manifest}"))).expect("JSON");
        let digest = manifest["config"]["digest"].as_str().expect("digest");
        let want = format!("config {digest}: field {field:?}: ");
        for line in EDITS
            .iter()
            .chain(&["unpack --image img:t b", "layer list img:t"])
        {
            let why = env.umoci(line.split(' ')).fails();
            assert!(why.contains(&want), "{line}: {why}");
        }
        let out = env.umoci(["fsck", "--layout", "img"]);
        assert_eq!(out.code, Some(2), "{out:?}");
        assert!(out.stdout.contains(&want), "{out:?}");
    }
    let env = image(Value::Null, |m| m["layers"][0]["digest"] = Value::Null);
    for line in EDITS {
        let why = env.umoci(line.split(' ')).fails();
        let is_named = why.contains("read manifest sha256:")
            && why.contains("field \"layers[0].digest\": invalid digest: \"\"");
        assert!(is_named, "{line}: {why}");
    }
}

#[test]
fn an_index_json_with_nulls_is_one() {
    for (text, tags) in [
        (r#"{"schemaVersion":2,"manifests":null}"#, ""),
        (
            r#"{"schemaVersion":null,"mediaType":null,"manifests":[],"annotations":null}"#,
            "",
        ),
        (r#"{"schemaVersion":2}"#, ""),
    ] {
        let env = Env::in_memory();
        env.umoci(["init", "--layout", "img"]).ok();
        env.write("img/index.json", text);
        assert_eq!(env.umoci(["list", "--layout", "img"]).ok(), tags, "{text}");
        env.umoci(["fsck", "--layout", "img"]).ok();
        env.umoci(["new", "--image", "img:a"]).ok();
        assert_eq!(env.peer(["list", "--layout", "img"]).ok(), "a\n", "{text}");
    }
}
