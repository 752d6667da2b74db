// SPDX-License-Identifier: Apache-2.0
//! Images of Docker's media types: read as they are, and an edit makes an OCI image of them.

use serde_json::{Value, json};

use crate::compat::schema::check_layout;
use crate::support::Image;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// `img:latest` as Docker would write it, with fields in the config that only Docker knows.
fn image() -> Image {
    let image = Image::with_second_layer("gzip");
    image.edit_config(|config| {
        config["docker_version"] = "1".into();
        config["config"]["Healthcheck"] = json!({"Test": ["NONE"]});
    });
    image.edit_manifest(|manifest| {
        manifest["mediaType"] = MANIFEST.into();
        manifest["config"]["mediaType"] = CONFIG.into();
        for layer in manifest["layers"].as_array_mut().expect("layers") {
            layer["mediaType"] = LAYER.into();
        }
    });
    image.edit_entry(|entry| entry["mediaType"] = MANIFEST.into());
    image
}

#[test]
fn every_edit_makes_an_oci_image_of_it() {
    // The layers that were there and what is to come.
    for (script, layers) in [
        ("umoci config --image img --config.user 1", 2),
        ("umoci insert --image img --rootless src /s", 3),
        ("umoci raw add-layer --image img layer.tar", 3),
        (
            "umoci unpack --rootless --image img b; umoci repack --image img b",
            2,
        ),
        (
            "umoci unpack --rootless --image img b; echo x >b/rootfs/x; umoci repack --image img b",
            3,
        ),
    ] {
        let image = image();
        let env = &image.env;
        env.sh("mkdir src; tar -cf layer.tar src");
        let program = env!("CARGO_BIN_EXE_umoci");
        let before = image.manifest();
        env.sh(&script.replace("umoci ", &format!("{program} ")));

        assert_eq!(check_layout(env), 1, "{script}");
        assert_eq!(
            image.entry()["mediaType"],
            "application/vnd.oci.image.manifest.v1+json"
        );
        let (manifest, config) = (image.manifest(), image.config());
        assert_eq!(manifest["mediaType"], image.entry()["mediaType"], "{script}");
        let now = manifest["layers"].as_array().expect("layers");
        assert_eq!(now.len(), layers, "{script}");
        for (layer, old) in now.iter().zip(before["layers"].as_array().expect("layers")) {
            assert_eq!(layer["digest"], old["digest"], "{script}");
        }
        for layer in now {
            assert_eq!(
                layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip",
                "{script}"
            );
        }
        assert_eq!(
            (
                &config["docker_version"],
                &config["config"]["Healthcheck"]["Test"][0]
            ),
            (&json!("1"), &json!("NONE")),
            "{script}"
        );
        env.umoci(["raw", "unpack", "--rootless", "--image", "img", "tree"])
            .ok();
    }
}

#[test]
fn what_is_only_read_stays_as_it_is() {
    let image = image();
    let before = image.entry();
    for words in [
        &["stat", "--image", "img"][..],
        &["tag", "--image", "img", "other"],
        &["gc", "--layout", "img"],
        &["raw", "config", "--image", "img", "config.json"],
    ] {
        image.env.umoci(words).ok();
    }
    assert_eq!(image.entry(), before);
}

#[test]
fn a_list_above_becomes_an_index_and_keeps_its_other_entries() {
    let image = image();
    let mut child = image.entry();
    child.as_object_mut().expect("object").remove("annotations");
    child["platform"] = json!({"architecture": "amd64", "os": "linux"});
    // Another kind of document beside it, so that the list leads to one image.
    let other = json!({"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json", "digest": "", "size": 0});
    let empty = json!({"schemaVersion": 2, "mediaType": LIST, "manifests": []}).to_string();
    let put = |text: &str| {
        let digest = umoci::digest::Digest::sha256(text.as_bytes()).to_string();
        image
            .env
            .write(&format!("img/blobs/{}", digest.replace(':', "/")), text);
        digest
    };
    let mut other = other;
    other["digest"] = put(&empty).into();
    other["size"] = empty.len().into();
    let list = json!({"schemaVersion": 2, "mediaType": LIST, "manifests": [other, child]}).to_string();
    let digest = put(&list);
    image.edit_entry(|entry| {
        entry["mediaType"] = LIST.into();
        entry["digest"] = digest.into();
        entry["size"] = list.len().into();
    });

    image
        .env
        .umoci(["config", "--image", "img", "--config.user", "1"])
        .ok();
    let entry = image.entry();
    assert_eq!(entry["mediaType"], "application/vnd.oci.image.index.v1+json");
    let file = format!(
        "img/blobs/{}",
        entry["digest"].as_str().expect("digest").replace(':', "/")
    );
    let index: Value = serde_json::from_str(&image.env.read(&file)).expect("JSON");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["manifests"][0], other);
    assert_eq!(
        index["manifests"][1]["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(index["manifests"][1]["platform"], child["platform"]);
    image
        .env
        .umoci(["unpack", "--rootless", "--image", "img", "b"])
        .ok();
}
