// SPDX-License-Identifier: Apache-2.0
//! Images for several platforms: a real one of Debian for two processors, and the examples of the image-spec.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::real_image::room;
use crate::support::{Env, Image};

const ARM: &str = "linux/arm64/v8";

/// What of an ELF file says for which processor it is.
fn machine(env: &Env, file: &str) -> u16 {
    let bytes = std::fs::read(env.path(file)).expect(file);
    assert_eq!(&bytes[..4], b"\x7fELF", "{file}");
    u16::from_le_bytes([bytes[18], bytes[19]])
}

/// The entries of an index as they are spelled.
fn entries(document: &str) -> Vec<String> {
    let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(document).expect("JSON");
    let entries: Vec<Box<RawValue>> = serde_json::from_str(document["manifests"].get()).expect("entries");
    entries.iter().map(|entry| entry.get().to_owned()).collect()
}

fn index(env: &Env, name: &str) -> String {
    env.umoci(["manifest", "show", "--json", name]).ok()
}

/// Digests of all that an image consists of, by path.
fn blobs(env: &Env, entry: &str) -> BTreeMap<String, Vec<u8>> {
    let entry: Value = serde_json::from_str(entry).expect("JSON");
    let read = |digest: &Value| {
        let name = digest.as_str().expect("digest").replace(':', "/");
        let bytes = std::fs::read(env.path(format!("store/blobs/{name}"))).expect("blob");
        (name, bytes)
    };
    let (name, manifest) = read(&entry["digest"]);
    let parsed: Value = serde_json::from_slice(&manifest).expect("JSON");
    let layers = parsed["layers"].as_array().expect("layers").iter();
    let parts = layers
        .chain([&parsed["config"]])
        .map(|part| read(&part["digest"]));
    parts.chain([(name, manifest)]).collect()
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn a_debian_for_two_processors_is_made_unpacked_and_edited_on_one_side() {
    let env = room();
    // Its packages are unpacked, none of their programs is run.
    env.sh(
        "mmdebstrap --quiet --variant=extract --architectures=arm64 --include=base-files,busybox,libc6 bookworm arm.tar",
    );
    env.umoci(["init", "--layout", "store"]).ok();
    env.umoci(["import", "debian:debian", "--layout", "store", "--tag", "here"])
        .ok();
    env.umoci(["new", "--image", "store:arm"]).ok();
    env.umoci(["raw", "add-layer", "--image", "store:arm", "arm.tar"])
        .ok();
    env.sh("rm arm.tar");
    let platform = [
        "--platform.os",
        "linux",
        "--platform.arch",
        "arm64",
        "--platform.variant",
        "v8",
    ];
    env.umoci(["config", "--image", "store:arm"].iter().chain(&platform))
        .ok();
    env.umoci(["manifest", "create", "store:debian", "here", "arm"])
        .ok();
    let stat = env.umoci(["stat", "--image", "store:debian"]).ok();
    assert!(stat.contains(ARM), "{stat}");

    env.umoci(["unpack", "--image", "store:debian", "here"]).ok();
    env.umoci(["unpack", "--image", "store:debian", "--platform", ARM, "arm"])
        .ok();
    assert_eq!(machine(&env, "arm/rootfs/bin/busybox"), 183, "AArch64");
    assert_eq!(
        machine(&env, "here/rootfs/bin/sh"),
        machine(&env, env!("CARGO_BIN_EXE_umoci")),
        "the first image for this machine"
    );

    let before = entries(&index(&env, "store:debian"));
    let other = blobs(&env, &before[0]);
    env.sh("echo changed >arm/rootfs/etc/changed; rm -r arm/rootfs/usr/share/doc");
    env.umoci(["repack", "--image", "store:debian", "arm"]).ok();
    let after = entries(&index(&env, "store:debian"));
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    assert_eq!(blobs(&env, &after[0]), other);
    env.umoci(["fsck", "--deep", "--layout", "store"]).ok();

    // Others take it for what it is.
    env.sh("skopeo copy --quiet --all oci:store:debian oci:all:debian");
    assert_eq!(entries(&env.sh("skopeo inspect --raw oci:all:debian")), after);
    env.sh("skopeo --override-os linux --override-arch arm64 copy --quiet oci:store:debian oci:one:arm");
    env.umoci(["raw", "unpack", "--image", "one:arm", "tree"]).ok();
    assert_eq!(env.read("tree/etc/changed"), "changed\n");
    assert!(!env.path("tree/usr/share/doc").exists());
}

/// The JSON examples of a chapter of the image-spec, as Debian packages it.
fn examples(env: &Env, chapter: &str) -> Vec<String> {
    let path = format!("/usr/share/gocode/src/github.com/opencontainers/image-spec/{chapter}.md");
    let text = env.sh(&format!("cat {path}"));
    let parts = text.split("```json").skip(1);
    let found: Vec<String> = parts
        .filter_map(|part| part[part.find('\n')? + 1..].split("\n```").next())
        .filter(|example| serde_json::from_str::<Value>(example).is_ok())
        .map(|example| format!("{example}\n"))
        .collect();
    assert!(!found.is_empty(), "{path} has no examples");
    found
}

fn digest_of(env: &Env, file: &str) -> String {
    format!(
        "sha256:{}",
        env.sh(&format!("sha256sum <{file} | cut -c-64")).trim()
    )
}

#[test]
#[ignore = "needs Debian's package of the image-spec: run by tests/all.sh"]
fn the_examples_of_the_image_spec_go_in_and_out_to_the_byte() {
    let image = Image::new();
    let env = &image.env;
    // Manifests, one with a subject, and indexes, one of them with an artifact.
    let (manifests, indexes) = (examples(env, "manifest"), examples(env, "image-index"));
    assert!(manifests.iter().any(|text| text.contains("\"subject\"")));
    assert!(indexes.iter().any(|text| text.contains("\"artifactType\"")));
    for (at, example) in manifests.iter().chain(&indexes).enumerate() {
        env.write("example", example);
        let digest = digest_of(env, "example");
        env.umoci(["blob", "add", "--layout", "img", "example"]).ok();
        env.umoci([
            "ref",
            "create",
            "--layout",
            "img",
            &format!("e{at}"),
            "--digest",
            &digest,
        ])
        .ok();
        assert_eq!(
            env.umoci(["blob", "cat", "--layout", "img", &digest]).ok(),
            *example
        );
        if example.contains("\"manifests\"") {
            assert_eq!(index(env, &format!("img:e{at}")), *example);
        }
        // What they name is not there, and that is what is said of them.
        let why = env
            .umoci(["export", "--layout", "img", "--tag", &format!("e{at}"), "out"])
            .fails();
        assert!(
            why.starts_with(&format!("copy e{at} ({digest}): "))
                || why.starts_with(&format!("copy e{at}: blob ")),
            "{why}"
        );
    }
    // The index of the chapter on layouts stands in index.json: a tag comes and goes beside its entries.
    for example in examples(env, "image-layout") {
        if !example.contains("\"manifests\"") {
            assert_eq!(
                serde_json::from_str::<Value>(&example).expect("JSON"),
                serde_json::from_str::<Value>(&env.read("img/oci-layout")).expect("JSON")
            );
            continue;
        }
        let own = entries(&env.read("img/index.json"));
        let mixed = example.replacen("\"manifests\": [", &format!("\"manifests\": [{},", own[0]), 1);
        env.write("img/index.json", &mixed);
        env.umoci(["tag", "--image", "img", "more"]).ok();
        let now = entries(&env.read("img/index.json"));
        assert_eq!(now[1..4], entries(&example), "{example}");
        assert_eq!(now.len(), 5);
        env.umoci(["rm", "--image", "img:more"]).ok();
        assert_eq!(entries(&env.read("img/index.json")), now[..4]);
        assert!(
            env.read("img/index.json")
                .contains("\"com.example.index.revision\": \"r124356\"")
        );
        env.sh("rm -rf out");
    }
}

#[test]
#[ignore = "needs Debian's package of the image-spec: run by tests/all.sh"]
fn an_image_in_an_example_of_an_index_is_edited_and_all_else_stays_to_the_byte() {
    for example in examples(&Env::new(), "image-index") {
        let image = Image::new();
        let env = &image.env;
        let own = image.entry();
        let strangers = entries(&example);
        let platform = "{\n      \"architecture\": \"riscv64\", \"os\": \"linux\", \"x-field\": [1.50]}";
        let entry = format!(
            "{{\n \"mediaType\": {}, \"size\": {}, \"digest\": {}, \"platform\": {platform}}}",
            own["mediaType"], own["size"], own["digest"]
        );
        env.umoci([
            "config",
            "--image",
            "img",
            "--tag",
            "plain",
            "--platform.arch",
            "riscv64",
        ])
        .ok();
        let [plain, ..] = image.of("plain");
        let entry = entry
            .replace(&own["size"].to_string(), &plain["size"].to_string())
            .replace(&own["digest"].to_string(), &plain["digest"].to_string());
        let mixed = example.replacen("\"manifests\": [", &format!("\"manifests\": [{entry},"), 1);
        env.write("index", &mixed);
        let digest = digest_of(env, "index");
        env.umoci(["blob", "add", "--layout", "img", "index"]).ok();
        env.umoci(["ref", "create", "--layout", "img", "mixed", "--digest", &digest])
            .ok();
        env.umoci([
            "config",
            "--image",
            "img:mixed",
            "--platform",
            "linux/riscv64",
            "--author",
            "x",
        ])
        .ok();
        let after = index(env, "img:mixed");
        let now = entries(&after);
        assert_eq!(now[1..], strangers);
        assert_ne!(now[0], entry);
        assert!(
            now[0].contains("\"x-field\":[1.50]") || now[0].contains("\"x-field\": [1.50]"),
            "{}",
            now[0]
        );
        let rest = |text: &str| {
            let mut document: Value = serde_json::from_str(text).expect("JSON");
            document["manifests"].take();
            document
        };
        assert_eq!(rest(&after), rest(&example));
    }
}
