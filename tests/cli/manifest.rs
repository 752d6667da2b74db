// SPDX-License-Identifier: Apache-2.0
//! `umoci manifest`, and `--platform` wherever an image is read.

use serde_json::{Value, json};

use crate::support::{Env, Image};

const ARM: &str = "linux/arm64/v8";

/// A layout with an image for amd64 (`latest`), one for arm64 (`arm`), and an index of both (`both`).
fn two_platforms() -> Image {
    let image = Image::new();
    let env = &image.env;
    env.umoci([
        "config",
        "--image",
        "img",
        "--platform.os",
        "linux",
        "--platform.arch",
        "amd64",
    ])
    .ok();
    env.umoci([
        "config",
        "--image",
        "img",
        "--tag",
        "arm",
        "--platform.arch",
        "arm64",
        "--platform.variant",
        "v8",
        "--config.user",
        "7",
    ])
    .ok();
    env.umoci(["manifest", "create", "img:both", "latest", "arm"])
        .ok();
    image
}

fn printed(env: &Env, words: &[&str]) -> Value {
    serde_json::from_str(&env.umoci(words).ok()).expect("JSON")
}

fn shown(env: &Env, name: &str) -> Value {
    printed(env, &["manifest", "show", "--json", name])["manifests"].take()
}

fn file(env: &Env, name: &str) -> Value {
    serde_json::from_str(&env.read(name)).expect("JSON")
}

/// What `index.json` says of a tag.
fn entry_of(env: &Env, tag: &str) -> Value {
    let index = file(env, "img/index.json");
    let entries = index["manifests"].as_array().expect("entries");
    let is = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    entries.iter().find(is).expect("tag").clone()
}

fn platforms(image: &Image, name: &str) -> String {
    let show = image.env.umoci(["manifest", "show", name]).ok();
    let rows = show.lines().skip(1);
    let platforms: Vec<&str> = rows.filter_map(|row| row.split_whitespace().nth(1)).collect();
    platforms.join(" ")
}

#[test]
fn an_index_is_made_changed_and_shown() {
    let image = two_platforms();
    let env = &image.env;
    assert_eq!(platforms(&image, "img:both"), format!("linux/amd64 {ARM}"));
    // Another platform for the same image, as it is given; the index may be amended, and replaced.
    env.umoci([
        "manifest",
        "add",
        "img:both",
        "latest",
        "--os",
        "windows",
        "--arch",
        "amd64",
        "--variant",
        "v2",
        "--os-version",
        "10.0.1",
        "--os-features",
        "win32k",
        "--annotation",
        "a=b",
    ])
    .ok();
    assert_eq!(
        platforms(&image, "img:both"),
        format!("linux/amd64 {ARM} windows(10.0.1+win32k)/amd64/v2")
    );
    let stat = env.umoci(["stat", "--image", "img:both"]).ok();
    assert!(stat.contains(" windows(10.0.1+win32k)/amd64/v2 "), "{stat}");
    let json = env.umoci(["manifest", "inspect", "--json", "img:both"]).ok();
    let part = r#""annotations":{"a":"b"},"platform":{"architecture":"amd64","os":"windows","os.version":"10.0.1","os.features":["win32k"],"variant":"v2"}}]}"#;
    assert!(json.ends_with(&format!("{part}\n")), "{json}");
    env.umoci(["manifest", "remove", "img:both", "windows/amd64/v2"])
        .ok();
    env.umoci([
        "manifest",
        "annotate",
        "img:both",
        ARM,
        "--variant",
        "v8.1",
        "--annotation",
        "x=y=z",
    ])
    .ok();
    env.umoci([
        "manifest",
        "annotate",
        "img:both",
        "--annotation",
        "of=index",
        "--annotation",
        "gone=1",
    ])
    .ok();
    env.umoci(["manifest", "annotate", "img:both", "--remove-annotation", "gone"])
        .ok();
    let json = env.umoci(["manifest", "show", "--json", "img:both"]).ok();
    assert!(json.contains(
        r#""annotations":{"x":"y=z"},"platform":{"architecture":"arm64","os":"linux","variant":"v8.1"}}]"#
    ));
    assert!(json.ends_with("\"annotations\":{\"of\":\"index\"}}\n"), "{json}");
    // Several indexes become one; an index may stand in another.
    env.umoci(["manifest", "create", "img:merged", "--all", "both", "arm"])
        .ok();
    assert_eq!(
        platforms(&image, "img:merged"),
        format!("linux/amd64 linux/arm64/v8.1 {ARM}")
    );
    env.umoci(["manifest", "create", "img:nested", "--nested", "both"])
        .ok();
    assert_eq!(platforms(&image, "img:nested"), "(index)");
    let stat = env.umoci(["stat", "--image", "img:nested"]).ok();
    assert!(
        stat.contains("linux/amd64") && stat.contains("linux/arm64/v8.1"),
        "{stat}"
    );
    let entry = shown(env, "img:nested")[0]["mediaType"].take();
    assert_eq!(entry, "application/vnd.oci.image.index.v1+json");
    env.umoci([
        "manifest",
        "create",
        "img:nested",
        "--amend",
        "--platform",
        ARM,
        "arm",
    ])
    .ok();
    env.umoci([
        "manifest",
        "create",
        "img:nested",
        "--force",
        "--annotation",
        "n=1",
    ])
    .ok();
    assert_eq!(platforms(&image, "img:nested"), "");
    // Images of another layout come with their blobs.
    env.umoci(["init", "--layout", "other"]).ok();
    env.umoci([
        "manifest",
        "create",
        "other:mine",
        "--all",
        "img:merged",
        "oci:img:arm",
    ])
    .ok();
    assert_eq!(platforms(&image, "img:merged"), platforms(&image, "other:mine"));
    assert_eq!(env.umoci(["ls", "--layout", "other"]).ok(), "mine\n");
    env.umoci(["fsck", "--layout", "other", "--deep"]).ok();
}

#[test]
fn what_is_no_entry_is_named() {
    let image = two_platforms();
    for (words, want) in [
        (
            &["create", "img:both", "arm"][..],
            "tag exists: both (--amend adds to the index, --force replaces it)",
        ),
        (&["create", "img:new", "nope"], "tag not found: nope"),
        (
            &["create", "img:new", "--all", "--nested", "both"],
            "give one of --platform, --all and --nested",
        ),
        (
            &["create", "img:new", "--platform", "linux", "both"],
            "invalid --platform: invalid platform \"linux\": write OS/ARCH[/VARIANT], such as linux/arm64",
        ),
        (
            &["create", "img:new", "--platform", "linux/s390x", "both"],
            "no image for linux/s390x at both: it leads to linux/amd64, linux/arm64/v8",
        ),
        (
            &["create"],
            "invalid number of positional arguments: expected <image-path>:<name> [<image>...]",
        ),
        (
            &["show"],
            "invalid number of positional arguments: expected <image-path>:<name>",
        ),
        (
            &["remove", "img:both"],
            "invalid number of positional arguments: expected <image-path>:<name> (<digest>|<os>/<arch>[/<variant>])...",
        ),
        (
            &["add", "img:both"],
            "invalid number of positional arguments: expected <image-path>:<name> <image>...",
        ),
        (&["add", "img:none", "arm"], "tag not found: none"),
        (
            &["add", "img:arm", "arm"],
            "arm is no image index: application/vnd.oci.image.manifest.v1+json",
        ),
        (
            &["add", "img:both", "--nested", "arm"],
            "arm is no image index: application/vnd.oci.image.manifest.v1+json",
        ),
        (
            &["add", "img:both", "arm", "--annotation", "x"],
            "invalid --annotation: \"x\": write NAME=VALUE",
        ),
        (
            &["remove", "img:both", "linux/riscv64"],
            "no entry linux/riscv64 in the index, which has linux/amd64, linux/arm64/v8",
        ),
        (
            &["remove", "img:both", "arm"],
            "no entry linux/arm in the index, which has linux/amd64, linux/arm64/v8",
        ),
        (
            &["remove", "img:both", "other"],
            "invalid entry \"other\": give a digest, or a platform such as linux/arm64",
        ),
        (
            &["annotate", "img:both", "--os", "x"],
            "a platform is that of an entry: say which",
        ),
        (&["show", "img:nothing"], "tag not found: nothing"),
        (
            &["show", "img:arm"],
            "arm is no image index: application/vnd.oci.image.manifest.v1+json",
        ),
    ] {
        let words: Vec<&str> = ["manifest"].into_iter().chain(words.iter().copied()).collect();
        assert_eq!(image.env.umoci(&words).fails(), want, "{words:?}");
    }
}

#[test]
fn a_platform_picks_the_image_wherever_one_is_read() {
    let image = two_platforms();
    let env = &image.env;
    std::fs::write(env.path("file"), "content").expect("write");
    std::fs::write(env.path("layer.tar"), [0; 1024]).expect("write");
    let found = printed(
        env,
        &[
            "stat",
            "--image",
            "img:both",
            "--platform",
            "linux/arm64",
            "--json",
        ],
    );
    assert_eq!(found["config"]["blob"]["config"]["User"], "7");
    env.umoci(["unpack", "--image", "img:both", "--platform", ARM, "bundle"])
        .ok();
    let walk = file(env, "bundle/umoci.json")["from_descriptor_path"]["descriptor_walk"].take();
    assert!(
        walk[0]["platform"].is_null() && walk[1]["platform"]["architecture"] == "arm64",
        "{walk}"
    );
    for words in [
        &[
            "config",
            "--image",
            "img:both",
            "--tag",
            "new",
            "--platform",
            ARM,
            "--config.cmd",
            "x",
        ][..],
        &[
            "insert",
            "--image",
            "img:both",
            "--tag",
            "new",
            "--platform",
            ARM,
            "file",
            "/file",
        ],
        &[
            "raw",
            "add-layer",
            "--image",
            "img:both",
            "--tag",
            "new",
            "--platform",
            ARM,
            "layer.tar",
        ],
        &["repack", "--image", "img:new", "--platform", ARM, "bundle"],
    ] {
        env.umoci(words).ok();
        let (new, old) = (shown(env, "img:new"), shown(env, "img:both"));
        assert_eq!(new[1]["platform"]["architecture"], "arm64", "{words:?}");
        assert_ne!(new[1], old[1], "{words:?}");
        // The other image is the same, and the way to it.
        assert_eq!(new[0], old[0], "{words:?}");
    }
    env.umoci(["raw", "unpack", "--image", "img:both", "--platform", ARM, "tree"])
        .ok();
    env.umoci([
        "raw",
        "runtime-config",
        "--image",
        "img:both",
        "--platform",
        "linux/amd64",
        "c.json",
    ])
    .ok();
    env.umoci(["init", "--layout", "in"]).ok();
    env.umoci(["import", "img:both", "--layout", "in", "--platform", ARM])
        .ok();
    env.umoci([
        "export",
        "out",
        "--layout",
        "img",
        "--tag",
        "both",
        "--platform",
        ARM,
    ])
    .ok();
    for layout in ["in", "out"] {
        let found = printed(env, &["stat", "--image", &format!("{layout}:both"), "--json"]);
        assert_eq!(found["config"]["blob"]["architecture"], "arm64");
    }
    for (words, want) in [
        (
            &[
                "unpack",
                "--image",
                "img:both",
                "--platform",
                "linux/arm/v7",
                "none",
            ][..],
            "no image for linux/arm/v7 at both: it leads to linux/amd64, linux/arm64/v8",
        ),
        (
            &["unpack", "--image", "img:latest", "--platform", ARM, "none"],
            "no image for linux/arm64/v8 at latest: it leads to linux/amd64",
        ),
        (
            &[
                "repack",
                "--image",
                "img:x",
                "--platform",
                "linux/amd64",
                "bundle",
            ],
            "the bundle is of an image for linux/arm64/v8, not linux/amd64",
        ),
        (
            &["export", "no", "--layout", "img", "--platform", ARM],
            "no image for linux/arm64/v8 at latest: it leads to linux/amd64",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
}

#[test]
fn without_a_platform_the_first_image_for_this_machine_is_taken() {
    let image = Image::new();
    let env = &image.env;
    for (tag, os, arch) in [
        ("other", "linux", "s390x"),
        ("said", "unknown", "unknown"),
        ("first", std::env::consts::OS, ""),
    ] {
        let mut words = vec![
            "config",
            "--image",
            "img",
            "--tag",
            tag,
            "--platform.os",
            os,
            "--author",
            tag,
        ];
        if !arch.is_empty() {
            words.extend(["--platform.arch", arch]);
        }
        env.umoci(words).ok();
    }
    env.umoci([
        "config", "--image", "img", "--tag", "second", "--author", "second",
    ])
    .ok();
    let author = |name: &str| {
        let bundle = format!("b.{name}");
        env.umoci(["unpack", "--image", &format!("img:{name}"), &bundle])
            .ok();
        file(env, &format!("{bundle}/config.json"))["annotations"]["org.opencontainers.image.author"].take()
    };
    env.umoci([
        "manifest",
        "create",
        "img:index",
        "--platform",
        "linux/s390x",
        "other",
    ])
    .ok();
    env.umoci(["manifest", "add", "img:index", "--all", "said"]).ok();
    // What only says something of the image beside it does not count.
    assert_eq!(author("index"), "other");
    let added = env.umoci(["manifest", "add", "img:index", "--all", "first", "second"]);
    assert!(
        added
            .stderr
            .contains("is in the index already, and its first entry is what is taken")
    );
    env.umoci(["tag", "--image", "img:index", "again"]).ok();
    assert_eq!(author("again"), "first");
}

#[test]
fn a_tag_that_moved_is_not_overwritten_by_a_repack() {
    let image = two_platforms();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img:both", "--platform", ARM, "b"])
        .ok();
    let edit = |name: &str| std::fs::write(env.path(format!("b/rootfs/{name}")), name).expect("write");
    edit("one");
    // The same bundle as often as wanted, refreshed or not.
    env.umoci(["repack", "--image", "img:both", "b"]).ok();
    edit("two");
    env.umoci(["repack", "--image", "img:both", "b"]).ok();
    env.umoci(["repack", "--image", "img:both", "--refresh-bundle", "b"])
        .ok();
    edit("three");
    env.umoci(["repack", "--image", "img:both", "b"]).ok();
    // What somebody else changes beside it stays, and is told of.
    env.umoci(["config", "--image", "img:both", "--author", "somebody else"])
        .ok();
    let theirs = shown(env, "img:both")[0].clone();
    let done = env.umoci(["repack", "--image", "img:both", "b"]);
    assert!(
        done.stderr
            .contains("the tag has moved since the bundle was unpacked: what is new at sha256:"),
        "{}",
        done.stderr
    );
    done.ok();
    assert_eq!(shown(env, "img:both")[0], theirs);
    let done = env.umoci(["repack", "--image", "img:both", "b"]);
    assert_eq!(done.stderr, "");
    // What they change in its own place is not overwritten.
    env.umoci([
        "config",
        "--image",
        "img:both",
        "--platform",
        ARM,
        "--author",
        "somebody else",
    ])
    .ok();
    let tags = env.umoci(["ref", "list", "--layout", "img"]).ok();
    let said = env.umoci(["repack", "--image", "img:both", "b"]).fails();
    assert!(
        said.starts_with("the tag has moved since the bundle was unpacked: tag both points at sha256:")
            && said.ends_with("; give another tag, or --force to replace what is there"),
        "{said}"
    );
    assert_eq!(env.umoci(["ref", "list", "--layout", "img"]).ok(), tags);
    env.umoci(["repack", "--image", "img:new", "b"]).ok();
    env.umoci(["repack", "--image", "img:both", "--force", "b"]).ok();
    // A tag that is gone is made again.
    env.umoci(["rm", "--image", "img:both"]).ok();
    env.umoci(["repack", "--image", "img:both", "b"]).ok();
}

#[test]
fn a_platform_that_changes_changes_in_the_entry_too() {
    let image = two_platforms();
    let env = &image.env;
    let platforms = || {
        let entries = shown(env, "img:both");
        [entries[0]["platform"].clone(), entries[1]["platform"].clone()]
    };
    let amd = json!({"architecture": "amd64", "os": "linux"});
    env.umoci([
        "config",
        "--image",
        "img:both",
        "--platform",
        ARM,
        "--author",
        "x",
    ])
    .ok();
    let arm = json!({"architecture": "arm64", "os": "linux", "variant": "v8"});
    assert_eq!(platforms(), [amd.clone(), arm]);
    env.umoci([
        "config",
        "--image",
        "img:both",
        "--platform",
        ARM,
        "--platform.arch",
        "riscv64",
        "--platform.variant",
        "",
    ])
    .ok();
    assert_eq!(
        platforms(),
        [amd, json!({"architecture": "riscv64", "os": "linux"})]
    );
}

#[test]
fn an_index_names_what_is_there_or_holds_it() {
    let image = two_platforms();
    let env = &image.env;
    let [entry, manifest, _] = image.of("arm");
    let file = format!(
        "img/blobs/sha256/{}",
        &entry["digest"].as_str().expect("digest")[7..]
    );
    let bytes = env.read(&file);
    env.sh(&format!("rm {file}"));
    let why = env.umoci(["manifest", "create", "img:new", "arm"]).fails();
    assert!(
        why.contains(&entry["digest"].as_str().expect("digest")[7..]),
        "{why}"
    );
    // An entry may hold what it names.
    env.write("manifest", &bytes);
    env.sh("base64 -w0 <manifest >data");
    let data = env.read("data");
    env.sh(&format!(
        "jq '.manifests |= map(if .digest == {} then .data = \"{}\" else . end)' img/index.json >i; mv i img/index.json",
        entry["digest"],
        data.trim()
    ));
    env.umoci(["manifest", "create", "img:new", "arm"]).ok();
    assert_eq!(shown(env, "img:new")[0]["data"], data.trim());
    let stat = printed(env, &["stat", "--json", "--image", "img:new"]);
    assert_eq!(stat["manifest"]["blob"], manifest);
}

#[test]
fn what_index_json_says_of_an_index_survives_its_edits() {
    let image = two_platforms();
    let env = &image.env;
    env.sh("jq '.manifests |= map(if .annotations[\"org.opencontainers.image.ref.name\"] == \"both\" then . + {\"x-own\": [1.50], \"urls\": [\"https://example.com\"]} else . end)' img/index.json >i; mv i img/index.json");
    let before = entry_of(env, "both");
    env.umoci(["manifest", "annotate", "img:both", ARM, "--annotation", "a=b"])
        .ok();
    let after = entry_of(env, "both");
    assert_ne!(before["digest"], after["digest"]);
    for field in ["x-own", "urls", "annotations", "mediaType"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[test]
fn the_nearest_variant_is_taken_before_the_first_that_runs() {
    let image = two_platforms();
    let env = &image.env;
    for variant in ["v5", "v7", "v6"] {
        env.umoci([
            "config",
            "--image",
            "img",
            "--tag",
            variant,
            "--platform.arch",
            "arm",
            "--platform.variant",
            variant,
        ])
        .ok();
    }
    env.umoci(["manifest", "create", "img:all", "v5", "v7", "v6"])
        .ok();
    for (wanted, taken) in [("v7", "v7"), ("v6", "v6"), ("v5", "v5"), ("v8", "v7")] {
        let stat = printed(
            env,
            &[
                "stat",
                "--json",
                "--image",
                "img:all",
                "--platform",
                &format!("linux/arm/{wanted}"),
            ],
        );
        assert_eq!(stat["config"]["blob"]["variant"], taken, "{wanted}");
    }
}
