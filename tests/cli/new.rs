// SPDX-License-Identifier: Apache-2.0
//! `umoci new`

use crate::support::{Env, Image};

#[test]
fn an_existing_tag_is_replaced_by_a_blank_image() {
    let image = Image::new();
    image.env.umoci(["new", "--image", "img"]).ok();
    assert_eq!(image.env.umoci(["ls", "--layout", "img"]).ok(), "latest\n");
    assert_eq!(image.manifest()["layers"], serde_json::json!([]));
    assert!(image.config()["history"].is_null());
}

#[test]
fn the_layout_must_exist_and_the_time_be_one() {
    let env = Env::new();
    let why = env.umoci(["new", "--image", "none"]).fails();
    assert_eq!(
        why,
        "open CAS: validate: read oci-layout: none/oci-layout does not exist: invalid image detected; umoci init --layout DIR makes a layout"
    );
    assert_eq!(env.umoci(["new"]).fails(), "missing mandatory argument: --image");
    assert_eq!(
        env.umoci(["new", "--image", "x", "y"]).fails(),
        "invalid number of positional arguments: expected none"
    );
    let env = env.var("SOURCE_DATE_EPOCH", "yesterday");
    env.umoci(["init", "--layout", "img"]).ok();
    let why = env.umoci(["new", "--image", "img"]).fails();
    assert_eq!(
        why,
        "parse SOURCE_DATE_EPOCH=\"yesterday\": not a whole number of seconds"
    );
}

/// A room with an empty layout, a tree and an archive of it.
fn room() -> Env {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "1000000000");
    env.umoci(["init", "--layout", "img"]).ok();
    env.sh(
        "mkdir -p tree/etc; echo hello >tree/etc/motd; ln -s motd tree/etc/link; ln -s tree current
         find tree -exec touch -h -d @900000000 {} +; tar -C tree -cf tree.tar .",
    );
    env
}

fn manifest(env: &Env, tag: &str) -> serde_json::Value {
    let text = env
        .umoci(["stat", "--json", "--image", &format!("img:{tag}")])
        .ok();
    serde_json::from_str(&text).expect("json")
}

#[test]
fn a_directory_becomes_an_image() {
    let env = room();
    env.umoci(["new", "--image", "img:app", "--from", "tree"]).ok();
    env.umoci(["raw", "unpack", "--image", "img:app", "out"]).ok();
    assert_eq!(env.sh("diff -r --no-dereference tree out"), "");
    let app = manifest(&env, "app");
    assert_eq!(app["history"][0]["created_by"], "umoci new");
    assert_eq!(app["history"][0]["created"], "2001-09-09T01:46:40Z");
    // It is the layer that an insert makes.
    env.umoci(["new", "--image", "img:other"]).ok();
    env.umoci(["insert", "--image", "img:other", "tree", "/"]).ok();
    let layers = |of: &serde_json::Value| of["manifest"]["blob"]["layers"].clone();
    assert_eq!(layers(&app), layers(&manifest(&env, "other")));
    for from in ["current", "./tree/", "tree/../tree"] {
        env.umoci(["new", "--image", "img:again", "--from", from]).ok();
        assert_eq!(layers(&manifest(&env, "again")), layers(&app), "{from}");
    }
    let words = [
        "--compress=zstd",
        "--no-history",
        "--rootless",
        "--digest-algorithm=sha512",
    ];
    let out = env.umoci([&["new", "--image", "img:z", "--from", "tree"], &words[..]].concat());
    assert!(out.stderr.contains("no history entry"));
    let z = manifest(&env, "z");
    assert!(z["config"]["blob"]["history"].is_null());
    let kind = &z["manifest"]["blob"]["layers"][0]["mediaType"];
    assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar+zstd");
}

#[test]
fn owners_of_a_directory_are_mapped() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let env = room();
    env.sh("chown -hR 1000:1001 tree");
    for (words, want) in [
        (&["--uid-map", "0:1000:2", "--gid-map=7:1001"][..], "0:7"),
        (&[], "1000:1001"),
    ] {
        env.umoci([&["new", "--image", "img", "--from", "tree"], words].concat())
            .ok();
        env.umoci(["raw", "unpack", "--image", "img", "out"]).ok();
        assert_eq!(
            env.sh("stat -c %u:%g out/etc/motd; rm -r out"),
            format!("{want}\n")
        );
    }
}

#[test]
fn an_archive_becomes_an_image_byte_for_byte() {
    let env = room();
    let sum = format!(
        "sha256:{}",
        env.sh("sha256sum <tree.tar | cut -d' ' -f1").trim_end()
    );
    env.umoci(["new", "--image", "img:file", "--from", "tree.tar"])
        .ok();
    env.sh(&format!(
        "{} new --image img:pipe --from - <tree.tar",
        env!("CARGO_BIN_EXE_umoci")
    ));
    env.sh("mkfifo fifo; (exec >/dev/null 2>&1; cat tree.tar >fifo) &");
    env.umoci(["new", "--image", "img:fifo", "--from", "fifo"]).ok();
    for tag in ["file", "pipe", "fifo"] {
        assert_eq!(
            manifest(&env, tag)["config"]["blob"]["rootfs"]["diff_ids"][0],
            sum,
            "{tag}"
        );
    }
}

#[test]
fn a_compressed_archive_keeps_its_bytes_unless_compression_is_asked_for() {
    let env = room();
    env.sh("gzip -k -9 tree.tar; zstd -q -k tree.tar");
    let sum = |file: &str| {
        env.sh(&format!("sha256sum <{file} | cut -d' ' -f1"))
            .trim_end()
            .to_owned()
    };
    for (file, more, kept) in [
        ("tree.tar.gz", &[][..], true),
        ("tree.tar.zst", &[], true),
        ("tree.tar.gz", &["--compress", "none"], false),
        ("tree.tar.zst", &["--compress", "gzip"], false),
    ] {
        env.umoci([&["new", "--image", "img:c", "--from", file], more].concat())
            .ok();
        let shown = manifest(&env, "c");
        assert_eq!(
            shown["config"]["blob"]["rootfs"]["diff_ids"][0],
            format!("sha256:{}", sum("tree.tar")),
            "{file} {more:?}"
        );
        let index = env.sh("jq -r '.manifests[] | select(.annotations[\"org.opencontainers.image.ref.name\"] == \"c\") | .digest' img/index.json");
        let text = env.read(&format!(
            "img/blobs/sha256/{}",
            index.trim_end().trim_start_matches("sha256:")
        ));
        let layer = format!("sha256:{}", sum(file));
        assert_eq!(text.contains(&layer), kept, "{file} {more:?}: {text}");
    }
}

#[test]
fn the_platform_is_spelled_as_images_spell_it() {
    let env = room();
    for (platform, want) in [
        ("linux/arm64", "linux arm64 v8"),
        ("arm64", "linux arm64 v8"),
        ("linux/aarch64", "linux arm64 v8"),
        ("linux/arm/v6", "linux arm v6"),
        ("linux/armhf", "linux arm v7"),
        ("linux/x86_64", "linux amd64 null"),
        ("linux/amd64/v3", "linux amd64 v3"),
        ("linux/riscv64", "linux riscv64 null"),
        ("windows(10.0.20348.1)/amd64", "windows amd64 null"),
    ] {
        env.umoci(["new", "--image", "img:p", "--platform", platform])
            .ok();
        let config = &manifest(&env, "p")["config"]["blob"];
        let [os, arch, variant] =
            ["os", "architecture", "variant"].map(|f| config[f].as_str().unwrap_or("null").to_owned());
        assert_eq!(format!("{os} {arch} {variant}"), want, "{platform}");
        env.umoci(["stat", "--image", "img:p", "--platform", platform])
            .ok();
    }
}

#[test]
fn what_makes_no_image_leaves_none() {
    let env = room();
    let before = env.read("img/index.json");
    for (words, want) in [
        (&["--from", "none"][..], "none: no such file or directory"),
        (&["--from", ""], "invalid --from: path is empty"),
        (
            &["--from", "tree.tar", "--rootless"],
            "maps of ids and --rootless go with a directory, and tree.tar is an archive",
        ),
        (
            &["--platform", "a b"],
            "invalid --platform: invalid platform \"a b\": write OS/ARCH[/VARIANT], such as linux/arm64",
        ),
        (
            &["--from", "tree", "--history.created", "x"],
            "parsing --history.created: not a time of RFC 3339: \"x\"",
        ),
        (&["--compress", "zstd"], "missing mandatory argument: --from"),
        (&["--uid-map", "0:1"], "missing mandatory argument: --from"),
        (&["--history.comment", "x"], "missing mandatory argument: --from"),
        (&["--no-history"], "missing mandatory argument: --from"),
    ] {
        assert_eq!(
            env.umoci([&["new", "--image", "img:x"], words].concat()).fails(),
            want,
            "{words:?}"
        );
    }
    assert_eq!(env.read("img/index.json"), before);
}

#[test]
fn images_are_not_taken_for_the_files_of_one() {
    let env = room();
    env.umoci(["new", "--image", "img:app", "--from", "tree"]).ok();
    for to in ["oci-archive:oci.tar", "docker-archive:docker.tar", "oci:copy"] {
        env.umoci(["export", "--layout", "img", "--tag", "app", to]).ok();
    }
    env.sh("gzip -k docker.tar; printf '[{}]' >manifest.json; tar -cf files.tar manifest.json");
    let before = env.read("img/index.json");
    let archive = |file: &str| {
        format!(
            "{file} is an archive of images: umoci import takes it as oci-archive:{file} or docker-archive:{file}"
        )
    };
    for (words, want) in [
        (&["oci.tar"][..], archive("oci.tar")),
        (&["docker.tar"], archive("docker.tar")),
        (&["docker.tar.gz"], archive("docker.tar.gz")),
        (&["docker.tar.gz", "--compress", "zstd"], archive("docker.tar.gz")),
        (
            &["copy"],
            "copy is an OCI layout: umoci import copy copies the images in it".to_owned(),
        ),
    ] {
        let words = [&["new", "--image", "img:x", "--from"], words].concat();
        assert_eq!(env.umoci(&words).fails(), want, "{words:?}");
    }
    assert_eq!(env.read("img/index.json"), before);
    env.umoci(["new", "--image", "img:x", "--from", "files.tar"]).ok();
    env.umoci(["raw", "add-layer", "--image", "img:x", "oci.tar"])
        .ok();
}
