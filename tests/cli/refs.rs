// SPDX-License-Identifier: Apache-2.0
//! `umoci ref`, and digests in place of tags

use crate::support::Image;

#[test]
fn a_bare_digest_gets_a_name() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.umoci(["rm", "--image", "img"]).ok();
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "");
    env.umoci(["ref", "create", "--layout", "img", "full", "--digest", &digest])
        .ok();
    env.umoci([
        "ref",
        "create",
        "--layout",
        "img",
        "--digest",
        &digest[7..14],
        "short",
    ])
    .ok();
    env.umoci(["ref", "create", "--layout", "img", "--from", "full", "copy"])
        .ok();
    env.umoci(["tag", "--image", &format!("img@{digest}"), "tagged"])
        .ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "img"]).ok(),
        "full\nshort\ncopy\ntagged\n"
    );
    assert_eq!(
        env.umoci(["ls", "--layout", "img", "--json"]).ok(),
        "[\"full\",\"short\",\"copy\",\"tagged\"]\n"
    );
    let list = env.umoci(["ref", "list", "--layout", "img", "--json"]).ok();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    for row in &rows {
        assert_eq!(row["digest"], digest.as_str());
        assert_eq!(row["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(
            (&row["platform"]["os"], row["size"].as_u64() > Some(100)),
            (&"linux".into(), true)
        );
    }
    for (remove, name) in [
        ("remove", "full"),
        ("rm", "short"),
        ("rm", "copy"),
        ("remove", "tagged"),
    ] {
        env.umoci(["ref", remove, "--layout", "img", name]).ok();
    }
    for list in ["list", "ls"] {
        let listed = env.umoci(["ref", list, "--layout", "img", "--json"]).ok();
        assert_eq!(listed, "[]\n");
    }
    let help = env.umoci(["ref", "-h"]).ok();
    assert!(
        help.contains("remove, rm ") && help.contains("list, ls "),
        "{help}"
    );
}

#[test]
fn what_cannot_be_named_is_refused_with_a_way_out() {
    let image = Image::new();
    let env = &image.env;
    let manifest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let config = image.manifest()["config"]["digest"]
        .as_str()
        .expect("digest")
        .to_owned();
    let layer = image.manifest()["layers"][0]["digest"]
        .as_str()
        .expect("digest")
        .to_owned();
    let put = |text: &str| {
        let digest = umoci::digest::Digest::sha256(text.as_bytes());
        env.write(&format!("img/blobs/sha256/{}", digest.encoded()), text);
        digest.to_string()
    };
    let both = put(r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#);
    let unknown = put(r#"{"some":"thing"}"#);
    let twice = put(r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#);
    let none = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    for (digest, want) in [
        (
            layer.as_str(),
            "gzip data, such as a layer, not an image manifest or index; the manifest that has it is",
        ),
        (
            &config,
            "not an image manifest or index; the manifest that has it is",
        ),
        (
            &both,
            "could be read as a manifest and as an index; it is refused",
        ),
        (
            &unknown,
            "JSON document of an unknown type; --media-type says what it is",
        ),
        (&twice, "stands twice"),
        (none, "no blob sha256:000"),
        (
            "sha256:12345",
            "want [ALGORITHM:] and 7 or more lower-case hex digits",
        ),
    ] {
        let why = env
            .umoci(["ref", "create", "--layout", "img", "x", "--digest", digest])
            .fails();
        assert!(why.contains(want), "{digest}: {why}");
    }
    let create = |more: &[&str]| env.umoci([&["ref", "create", "--layout", "img"], more].concat());
    let why = create(&["latest", "--digest", &manifest]).fails();
    assert_eq!(why, "tag exists: latest; --force replaces it");
    create(&["latest", "--digest", &manifest, "--force"]).ok();
    let why = create(&[
        "x",
        "--digest",
        &manifest,
        "--media-type",
        "application/vnd.oci.image.index.v1+json",
    ])
    .fails();
    assert!(
        why.contains("it says that it is application/vnd.oci.image.manifest.v1+json, not"),
        "{why}"
    );
    create(&["x", "--digest", &unknown, "--media-type", "application/x"]).ok();
    assert_eq!(create(&["x"]).fails(), "give either --digest or --from");
    assert!(
        create(&["a b", "--digest", &manifest])
            .fails()
            .contains("tag contains invalid characters")
    );
    assert_eq!(
        env.umoci(["ref", "remove", "--layout", "img", "gone"]).fails(),
        "tag not found: gone"
    );
}

#[test]
fn an_ambiguous_prefix_names_the_candidates() {
    let image = Image::new();
    let env = &image.env;
    let manifest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let twin = format!("{}{}", &manifest[7..20], "0".repeat(51));
    env.write(&format!("img/blobs/sha256/{twin}"), "x");
    let why = env
        .umoci([
            "ref",
            "create",
            "--layout",
            "img",
            "x",
            "--digest",
            &manifest[7..16],
        ])
        .fails();
    assert!(
        why.contains("digest is ambiguous") && why.contains(&twin) && why.contains(&manifest),
        "{why}"
    );
}

#[test]
fn what_a_name_was_before_can_be_seen_used_and_restored() {
    let image = Image::new();
    let env = &image.env;
    let program = env!("CARGO_BIN_EXE_umoci");
    let digest = |target: &str| {
        env.sh(&format!(
            "{program} stat --image 'img:{target}' --json | jq -r .manifest.descriptor.digest"
        ))
    };
    let one = digest("latest");
    env.umoci(["config", "--image", "img", "--config.user", "me"])
        .ok();
    let two = digest("latest");
    assert!(one != two && digest("latest@{0}") == two && digest("latest@{1}") == one);
    env.umoci(["ref", "create", "--layout", "img", "old", "--from", "latest@{1}"])
        .ok();
    assert_eq!(digest("old"), one);
    env.umoci(["unpack", "--image", "img:latest@{1}", "b"]).ok();
    env.umoci(["init", "--layout", "copy"]).ok();
    env.umoci(["import", "--layout", "copy", "img:latest@{1}"]).ok();
    assert_eq!(env.umoci(["ls", "--layout", "copy"]).ok(), "latest\n");
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["ref", "restore", "--layout", "img", "latest"]).ok();
    assert_eq!(digest("latest"), two);
    env.umoci(["ref", "restore", "--layout", "img", "latest@{3}"])
        .ok();
    assert_eq!(digest("latest"), one);
    let log = env.umoci(["ref", "log", "--layout", "img", "latest"]).ok();
    let commands: Vec<&str> = log
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(commands[..4], ["ref", "ref", "remove", "config"], "{log}");
    let log = env
        .umoci(["ref", "log", "--layout", "img", "--json", "latest"])
        .ok();
    assert!(log.starts_with("[{\"time\":\""), "{log}");
    for (words, want) in [
        (
            &["stat", "--image", "img:latest@{99}"][..],
            "latest@{99}: the reflog knows ",
        ),
        (
            &["stat", "--image", "img:none@{1}"],
            "none@{1}: nothing is recorded of this ref",
        ),
        (
            &["stat", "--image", "img:latest@{x}"],
            "invalid --image: not a count of changes: \"latest@{x}\"",
        ),
        (
            &["config", "--image", "img:latest@{1}", "--config.user", "x"],
            "invalid --image: latest@{1} is of the past",
        ),
        (
            &["ref", "log", "--layout", "img", "none"],
            "nothing is recorded of none",
        ),
        (
            &["ref", "restore", "--layout", "img", "none"],
            "none@{1}: nothing is recorded of this ref",
        ),
        (
            &["ref", "log", "--layout", "img", "img:old"],
            "nothing is recorded of img:old; write old without its layout",
        ),
        (
            &["ref", "restore", "--layout", "img", "img:old"],
            "img:old@{1}: nothing is recorded of this ref; write old without its layout",
        ),
        (
            &["ref", "remove", "--layout", "img", "img:old"],
            "tag not found: img:old; write old without its layout",
        ),
        (
            &["ref", "restore", "--layout", "img", "latest@{x}"],
            "not a count of changes: \"latest@{x}\"",
        ),
    ] {
        let why = env.umoci(words).fails();
        assert!(why.contains(want), "{words:?}: {why}");
    }
}

#[test]
fn names_are_listed_by_pattern_and_in_order_with_age_and_size() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", "x".repeat(50_000));
    for (tag, compress) in [("r-2", "none"), ("r-1", "gzip")] {
        let words = [
            "insert",
            "--image",
            "img",
            "--tag",
            tag,
            "--compress",
            compress,
            "file",
            "/f",
        ];
        env.umoci(words).ok();
    }
    env.umoci(["manifest", "create", "img:all", "latest", "r-2"]).ok();
    let changed = |tag: &str, year: u32| {
        env.sh(&format!(
            r#"jq -c 'if .ref == "{tag}" then .time = "{year}-01-01T00:00:00Z" else . end' img/.umoci/reflog >r && mv r img/.umoci/reflog"#
        ));
    };
    for (tag, year) in [("r-2", 2003), ("r-1", 2001), ("latest", 2002), ("all", 2004)] {
        changed(tag, year);
    }
    env.sh("rm -r img/.umoci/used");
    env.umoci(["stat", "--image", "img:r-1"]).ok();
    let list = |words: &[&str]| -> Vec<serde_json::Value> {
        let words = [&["ref", "list", "--layout", "img", "--json"], words].concat();
        serde_json::from_str(&env.umoci(words).ok()).expect("JSON")
    };
    let names = |words: &[&str]| -> String {
        let names: Vec<String> = list(words)
            .iter()
            .map(|row| row["name"].as_str().expect("name").to_owned())
            .collect();
        names.join(" ")
    };
    for (words, want) in [
        (&[][..], "latest r-2 r-1 all"),
        (&["--filter", "r-*"], "r-2 r-1"),
        (&["--filter", "r-1", "--filter", "l*"], "latest r-1"),
        (&["--filter", "none"], ""),
        (&["--sort", "name"], "all latest r-1 r-2"),
        (&["--sort", "age"], "all r-2 latest r-1"),
        (&["--sort", "size"], "all r-2 r-1 latest"),
        (&["--sort", "used"], "r-1 all r-2 latest"),
    ] {
        assert_eq!(names(words), want, "{words:?}");
    }
    // The size is that of all blobs, each once.
    let sum = |tag: &str| -> u64 {
        let [entry, manifest, _] = image.of(tag);
        let layers = manifest["layers"].as_array().expect("layers").iter();
        let size = |d: &serde_json::Value| d["size"].as_u64().expect("size");
        size(&entry) + size(&manifest["config"]) + layers.map(size).sum::<u64>()
    };
    let rows = list(&[]);
    assert_eq!(rows[0]["size"], sum("latest"));
    assert_eq!(rows[1]["size"], sum("r-2"));
    let [_, manifest, _] = image.of("latest");
    let shared: u64 = manifest["layers"]
        .as_array()
        .expect("layers")
        .iter()
        .map(|l| l["size"].as_u64().expect("size"))
        .sum();
    assert_eq!(
        rows[3]["size"],
        image.of_size("all") + sum("latest") + sum("r-2") - shared
    );
    assert_eq!(
        (&rows[0]["changed"], &rows[0]["used"]),
        (&"2002-01-01T00:00:00Z".into(), &serde_json::Value::Null)
    );
    assert!(rows[2]["used"].is_string());
    let table = env.umoci(["ref", "list", "--layout", "img"]).ok();
    assert!(
        table.starts_with("NAME   DIGEST ") && table.contains(" AGE "),
        "{table}"
    );
    let why = env
        .umoci(["ref", "list", "--layout", "img", "--sort", "x"])
        .fails();
    assert_eq!(why, "invalid --sort: \"x\" (want name, age, size or used)");
    let why = env
        .umoci(["ref", "list", "--layout", "img", "--filter", "a["])
        .fails();
    assert!(why.starts_with("invalid --filter: no pattern: \"a[\""), "{why}");
}

#[test]
fn several_names_and_patterns_are_removed_at_once_or_none() {
    let image = Image::new();
    let env = &image.env;
    for tag in ["n-1", "n-2", "n-3", "other"] {
        env.umoci(["tag", "--image", "img", tag]).ok();
    }
    let remove = |words: &[&str]| env.umoci([&["ref", "remove", "--layout", "img"], words].concat());
    let names = || env.umoci(["ls", "--layout", "img"]).ok();
    let all = names();
    assert_eq!(
        remove(&["n-*", "other", "n-1", "--dry-run"]).ok(),
        "n-1\nn-2\nn-3\nother\n"
    );
    for (words, want) in [
        (&["n-1", "gone"][..], "tag not found: gone"),
        (&["n-1", "x-*"], "tag not found: x-*"),
        (&["n-1", "n-["], "invalid pattern: no pattern: \"n-[\": "),
        (
            &["n-1", ""],
            "invalid number of positional arguments: expected <name>...",
        ),
        (&[], "invalid number of positional arguments: expected <name>..."),
    ] {
        let why = remove(words).fails();
        assert!(why.starts_with(want), "{words:?}: {why}");
    }
    assert_eq!(names(), all);
    // Twice in index.json is one name.
    env.list("img", image.entry(), Some("n-2"));
    assert_eq!(remove(&["n-[12]", "other"]).ok(), "");
    assert_eq!(names(), "latest\nn-3\n");
    env.umoci(["ref", "restore", "--layout", "img", "other"]).ok();
    assert_eq!(names(), "latest\nn-3\nother\n");
}
