// SPDX-License-Identifier: Apache-2.0
//! `umoci unpack` and `umoci repack`.

use crate::support::{Env, Image};

const OURS: &str = env!("CARGO_BIN_EXE_umoci");

/// What the room looks like, apart from what the harm itself changed.
fn listing(env: &Env) -> String {
    env.sh("find . -path ./img/.umoci -prune -o -print | sort")
}

#[test]
fn a_bundle_has_the_files_that_runtimes_and_repack_need() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    assert_eq!(
        env.sh("cat b/rootfs/etc/file b/rootfs/bin/more; stat -c %a b; ls b/rootfs/etc"),
        "data\nmore\n700\nfile\npasswd\n"
    );
    let digest = image.entry()["digest"]
        .as_str()
        .expect("digest")
        .replace(':', "_");
    assert_eq!(
        env.sh("ls b"),
        format!("config.json\nrootfs\n{digest}.mtree\numoci.json\n")
    );
    assert_eq!(
        env.sh("jq -c '[.ociVersion, .process.args, .process.env[-1], .root.path]' b/config.json")
            .trim(),
        r#"["1.0.2",["sh"],"HOME=/root","rootfs"]"#
    );
    let meta = env.read("b/umoci.json");
    assert!(
        meta.starts_with(
            "{\"umoci_version\":\"2\",\"from_descriptor_path\":{\"descriptor_walk\":[{\"mediaType\":"
        ),
        "{meta}"
    );
    assert!(
        meta.ends_with("\"map_options\":{\"uid_mappings\":null,\"gid_mappings\":null,\"rootless\":false}}\n"),
        "{meta}"
    );
}

#[test]
fn bad_input_is_named_and_nothing_is_half_written() {
    type Harm = fn(&Image);
    let cases: [(&str, Harm, &str); 19] = [
        (
            "altered layer",
            |i| flip(i, "layer0"),
            "verified reader digest mismatch",
        ),
        (
            "altered zstd layer",
            |i| flip(i, "layer1"),
            "verified reader digest mismatch",
        ),
        (
            "truncated layer",
            |i| cut(i, "layer0"),
            "verified reader digest mismatch",
        ),
        (
            "layer with a byte more",
            |i| append(i, "layer0"),
            "verified reader size mismatch",
        ),
        (
            "missing layer",
            |i| std::fs::remove_file(i.blob("layer1")).expect("rm"),
            "no such file or directory",
        ),
        (
            "altered manifest",
            |i| flip(i, "manifest"),
            "verified reader digest mismatch",
        ),
        (
            "config with a byte more",
            |i| append(i, "config"),
            "verified reader size mismatch",
        ),
        (
            "truncated config",
            |i| cut(i, "config"),
            "verified reader digest mismatch",
        ),
        (
            "wrong size in a descriptor",
            |i| i.edit_manifest(|m| m["layers"][0]["size"] = 9999.into()),
            "verified reader size mismatch",
        ),
        (
            "negative size",
            |i| i.edit_manifest(|m| m["layers"][0]["size"] = (-1).into()),
            "descriptor size must not be negative: -1",
        ),
        (
            "negative size in index.json",
            |i| i.edit_entry(|e| e["size"] = (-1).into()),
            "descriptor size must not be negative: -1",
        ),
        (
            "wrong diff_id",
            |i| i.edit_config(|c| c["rootfs"]["diff_ids"].as_array_mut().expect("ids").reverse()),
            "diffid mismatch: got sha256:",
        ),
        (
            "fewer diff_ids",
            |i| i.edit_config(|c| drop(c["rootfs"]["diff_ids"].as_array_mut().expect("ids").pop())),
            ": rootfs.diff_ids has 1 members, and its manifest 2 layers",
        ),
        (
            "other rootfs",
            |i| i.edit_config(|c| c["rootfs"]["type"] = "x".into()),
            ": unsupported rootfs.type: x",
        ),
        (
            "null for a diff_id",
            |i| i.edit_config(|c| c["rootfs"]["diff_ids"][0] = serde_json::Value::Null),
            "field \"rootfs.diff_ids[0]\": invalid digest: \"\"",
        ),
        (
            "unknown compression",
            |i| {
                i.edit_manifest(|m| {
                    m["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+xz".into()
                })
            },
            "compression method \"xz\" unsupported",
        ),
        (
            "wrong compression",
            |i| {
                i.edit_manifest(|m| {
                    m["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd".into()
                })
            },
            "it is compressed with gzip, but its media type says compressed with zstd",
        ),
        (
            "a manifest that is an index too",
            |i| i.edit_manifest(|m| m["manifests"] = serde_json::json!([])),
            "malicious manifest detected",
        ),
        (
            "a config where the manifest should be",
            |i| {
                let config = i.manifest()["config"].clone();
                i.edit_entry(|e| {
                    e["digest"] = config["digest"].clone();
                    e["size"] = config["size"].clone();
                });
            },
            "field \"config\": missing field",
        ),
    ];
    for (what, harm, want) in cases {
        let image = Image::new();
        harm(&image);
        let before = listing(&image.env);
        let why = image.env.umoci(["unpack", "--image", "img", "b"]).fails();
        assert!(why.contains(want), "{what}: {why}");
        assert!(
            why.contains("sha256:") || why.contains("index.json"),
            "{what} is named: {why}"
        );
        assert_eq!(listing(&image.env), before, "{what}");
    }
}

fn flip(image: &Image, what: &str) {
    let path = image.blob(what);
    let mut bytes = std::fs::read(&path).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("write");
}

fn cut(image: &Image, what: &str) {
    let path = image.blob(what);
    let bytes = std::fs::read(&path).expect("blob");
    std::fs::write(path, &bytes[..bytes.len() - 7]).expect("write");
}

fn append(image: &Image, what: &str) {
    let path = image.blob(what);
    let mut bytes = std::fs::read(&path).expect("blob");
    bytes.push(0);
    std::fs::write(path, bytes).expect("write");
}

#[test]
fn what_is_there_already_is_never_touched() {
    let image = Image::new();
    let env = &image.env;
    env.write("b/rootfs/precious", "data");
    assert_eq!(
        env.umoci(["unpack", "--image", "img", "b"]).fails(),
        "create runtime bundle: detecting rootfs: b/rootfs already exists"
    );
    assert_eq!(env.read("b/rootfs/precious"), "data");
    env.write("c/config.json", "{}");
    env.write("c/other", "kept");
    assert_eq!(
        env.umoci(["unpack", "--image", "img", "c"]).fails(),
        "create runtime bundle: config.json already exists in c"
    );
    env.sh("rm c/config.json");
    let manifest = format!(
        "{}.mtree",
        image.entry()["digest"]
            .as_str()
            .expect("digest")
            .replace(':', "_")
    );
    env.write(&format!("c/{manifest}"), "mine");
    let why = env.umoci(["unpack", "--image", "img", "c"]).fails();
    assert_eq!(
        why,
        format!("create runtime bundle: {manifest} already exists in c")
    );
    assert_eq!(env.read(&format!("c/{manifest}")), "mine");
    env.sh("rm c/*.mtree");
    env.umoci(["unpack", "--image", "img", "c"]).ok();
    assert_eq!(env.read("c/other"), "kept");
}

#[test]
fn wrong_arguments_are_named() {
    let image = Image::new();
    for (words, want) in [
        (&["unpack", "b"][..], "missing mandatory argument: --image"),
        (
            &["unpack", "--image", "img"],
            "invalid number of positional arguments: expected <bundle>",
        ),
        (
            &["unpack", "--image", "img", "a", "b"],
            "invalid number of positional arguments: expected <bundle>",
        ),
        (&["unpack", "--image", "img", ""], "bundle cannot be empty"),
        (&["unpack", "--image", "", "b"], "invalid --image: path is empty"),
        (
            &["unpack", "--image", "img:", "b"],
            "invalid --image: tag contains invalid characters: \"\"",
        ),
        (&["unpack", "--image", "img:nope", "b"], "tag not found: nope"),
        (
            &["unpack", "--image", "img:lates", "b"],
            "tag not found: lates (did you mean \"latest\"?)",
        ),
        (
            &["unpack", "--image", "nowhere", "b"],
            "open CAS: validate: read oci-layout: nowhere/oci-layout does not exist: invalid image detected; umoci init --layout DIR makes a layout",
        ),
        (
            &["unpack", "--image", "img", "--uid-map", "1", "b"],
            "failure parsing --uid-map 1: invalid number of fields in mapping \"1\": 1",
        ),
        (
            &["repack", "--image", "img", "none"],
            "read umoci.json metadata: open metadata: open none/umoci.json: no such file or directory",
        ),
        (
            &["repack", "--image", "img", "--compress", "lzma", "b"],
            "invalid --compress: unknown layer compression type \"lzma\"",
        ),
        (
            &[
                "repack",
                "--image",
                "img",
                "--no-history",
                "--history.author",
                "x",
                "b",
            ],
            "--no-history and --history.author may not be specified together",
        ),
    ] {
        assert_eq!(image.env.umoci(words).fails(), want, "{words:?}");
    }
    assert!(!image.env.path("b").exists());
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_a_rerun_succeeds() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir small && mount -t tmpfs -o size=256k tmpfs small");
    let out = std::panic::catch_unwind(|| {
        env.sh("head -c 1M /dev/urandom >big; umask 022");
        env.umoci(["unpack", "--image", "img", "w"]).ok();
        env.sh("mv big w/rootfs/big");
        env.umoci(["repack", "--image", "img:big", "w"]).ok();
        let why = env.umoci(["unpack", "--image", "img:big", "small/b"]).fails();
        assert!(
            why.contains("no space left on device") && why.contains("big"),
            "{why}"
        );
        assert_eq!(env.sh("ls small"), "");
        env.umoci(["init", "--layout", "small/img"]).ok();
        let why = env.umoci(["import", "img", "--layout", "small/img"]).fails();
        assert!(why.contains("no space left on device"), "{why}");
        assert_eq!(env.umoci(["ls", "--layout", "small/img"]).ok(), "");
        env.umoci(["gc", "--layout", "small/img"]).ok();
        assert_eq!(env.sh("ls small/img/blobs/sha256"), "");
        env.umoci(["import", "img:latest", "--layout", "small/img"]).ok();
        env.sh("cat /dev/zero >small/fill || true");
        let config = ["raw", "runtime-config", "--image", "img", "small/c.json"];
        let why = env.umoci(config).fails();
        assert!(
            why.contains("write small/c.json: no space left on device"),
            "{why}"
        );
        assert!(!env.path("small/c.json").exists(), "nothing half-made is left");
        env.sh("rm small/fill");
        env.umoci(config).ok();
        env.umoci(config).ok();
    });
    env.sh("umount small");
    out.expect("the test");
}

/// Of open directories and files that wait no more are kept than a process may have.
#[test]
fn few_descriptors_are_enough() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir -p src/{1..300}/x; for n in {1..300}; do echo $n >src/$n/x/f; echo $n >src/f$n; done");
    let few = |words: &str| env.sh(&format!("ulimit -n 40; exec {OURS} {words}"));
    few("insert --image img --tag more src /src");
    few("unpack --image img:more --rootless b");
    few("raw unpack --image img:more --rootless r");
    env.sh("for n in {1..300}; do echo new >b/rootfs/src/$n/x/new; done");
    few("repack --image img:new b");
    few("squash img:new");
    assert_eq!(env.sh("diff -r src r/src"), "");
}

#[test]
fn a_link_to_another_directory_does_not_take_that_ones_files_along() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("cd b/rootfs; mkdir d t; touch d/f d/g t/f t/g");
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    env.sh("cd b/rootfs; rm -r d; ln -s t d");
    env.umoci(["repack", "--image", "img:ours", "b"]).ok();
    // Neither does the layer ask for it, for the sake of tools that would follow the link.
    let layer = env.sh(&format!(
        "d=$({} stat --image img:ours --json | jq -r '.manifest.blob.layers[-1].digest' | cut -d: -f2); tar tzf img/blobs/sha256/$d",
        env!("CARGO_BIN_EXE_umoci")
    ));
    assert_eq!(layer, ".\nd\n");
    env.umoci(["unpack", "--image", "img:ours", "ours"]).ok();
    assert_eq!(env.sh("ls ours/rootfs/t"), "f\ng\n");
}

#[test]
fn limits_are_raised_and_lowered_by_name() {
    let image = Image::new();
    let run = |limit: &str, to: &str| {
        image
            .env
            .umoci(["unpack", "--image", "img", "--rootless", "--limit", limit, to])
    };
    let line = run("layer=1000", "b").fails();
    assert!(
        line.ends_with("is over the limit of 1000 bytes (limit layer); --limit layer=BYTES raises it"),
        "{line}"
    );
    for (limit, words) in [
        ("layer", "a name, = and a number are wanted"),
        ("layer=much", "a name, = and a number are wanted"),
        ("zstd-window=9", "zstd-window is from 10 to 31, not 9"),
        (
            "size=1",
            "no limit is called \"size\"; there are header, path, sparse, directories, zstd-window, entries, layer",
        ),
    ] {
        let line = run(limit, "b").fails();
        assert!(line.contains(words), "{line}");
    }
    run("layer=10000000", "b").ok();
    let raw = [
        "raw",
        "unpack",
        "--image",
        "img",
        "--rootless",
        "--limit",
        "layer=1000",
        "r",
    ];
    let output = image.env.umoci(raw);
    assert!(
        output.code == Some(1) && output.stderr.contains("(limit layer)"),
        "{output:?}"
    );
}

#[test]
fn a_file_in_place_of_the_root_is_refused() {
    let image = Image::new();
    let env = &image.env;
    env.sh("echo x >file");
    env.sh("tar --transform='s,^file$,.,' -cf bad.tar file");
    env.umoci(["raw", "add-layer", "--image", "img", "bad.tar"]).ok();
    let why = env.umoci(["unpack", "--image", "img", "b"]).fails();
    assert!(why.contains("refusing to change type of root directory"), "{why}");
    assert!(!env.path("b").exists());
}
