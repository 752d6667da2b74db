// SPDX-License-Identifier: Apache-2.0
//! `umoci raw add-layer`

use crate::support::Image;

#[test]
fn a_finished_archive_is_added_byte_for_byte() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir t; echo x >t/added; tar --owner=0 --group=0 -C t -cf layer.tar added; : >empty.tar");
    env.umoci(["raw", "add-layer", "--image", "img", "layer.tar"])
        .ok();
    env.umoci([
        "raw",
        "add-layer",
        "--image",
        "img",
        "--compress=none",
        "empty.tar",
    ])
    .ok();
    let ids = image.config()["rootfs"]["diff_ids"].clone();
    assert_eq!(
        ids[2],
        format!("sha256:{}", env.sh("sha256sum <layer.tar | cut -d' ' -f1").trim())
    );
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    assert_eq!(env.read("b/rootfs/added"), "x\n");
    for (words, want) in [
        (&["t"][..], "new layer archive is a directory: t"),
        (
            &["none"],
            "open new layer archive: open none: no such file or directory",
        ),
        (&[""], "newlayer.tar cannot be empty"),
        (
            &[],
            "invalid number of positional arguments: expected <newlayer.tar>",
        ),
    ] {
        assert_eq!(
            env.umoci([&["raw", "add-layer", "--image", "img"], words].concat())
                .fails(),
            want,
            "{words:?}"
        );
    }
}

/// The archive `l` in other forms, and what becomes of the image.
fn added(words: &str, archive: &str) -> (Image, String) {
    let image = Image::new();
    image.env.sh(&format!(
        "mkdir t; echo x >t/added; tar --owner=0 --group=0 --mtime=@0 -C t -cf l added; {archive}"
    ));
    let words: Vec<&str> = "raw add-layer --image img"
        .split(' ')
        .chain(words.split(' ').filter(|word| !word.is_empty()))
        .chain(["f"])
        .collect();
    let out = image.env.umoci(words);
    let why = if out.code == Some(0) {
        String::new()
    } else {
        out.fails()
    };
    (image, why)
}

#[test]
fn an_archive_that_is_compressed_is_taken_for_what_it_is() {
    for (words, archive, compression, is_kept) in [
        ("", "gzip -c l >f", "+gzip", true),
        ("", "zstd -q l -o f", "+zstd", true),
        ("--compress auto", "gzip -c l >f", "+gzip", true),
        ("", "(gzip -c l; gzip -c </dev/null) >f", "+gzip", true),
        ("", "mkfifo f; (gzip -c l >f) >/dev/null 2>&1 &", "+gzip", true),
        ("", "mkfifo f; (cat l >f) >/dev/null 2>&1 &", "+zstd", false),
        (
            "--compress gzip",
            "mkfifo f; (zstd -qc l >f) >/dev/null 2>&1 &",
            "+gzip",
            false,
        ),
        ("--compress zstd", "gzip -c l >f", "+zstd", false),
        ("--compress gzip", "gzip -1 -c l >f", "+gzip", false),
        ("--compress none", "gzip -c l >f", "", false),
        ("", "cp l f", "+zstd", false),
        ("--compress none", "cp l f", "", true),
    ] {
        let (image, why) = added(words, archive);
        assert_eq!(why, "", "{words} {archive}");
        let env = &image.env;
        let layer = image.manifest()["layers"][2].clone();
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{compression}");
        assert_eq!(layer["mediaType"], media_type, "{words} {archive}");
        let sum = |file: &str| {
            format!(
                "sha256:{}",
                env.sh(&format!("sha256sum <{file} | cut -d' ' -f1")).trim()
            )
        };
        assert_eq!(
            image.config()["rootfs"]["diff_ids"][2],
            sum("l"),
            "{words} {archive}"
        );
        if !archive.contains("fifo") {
            assert_eq!(layer["digest"] == sum("f"), is_kept, "{words} {archive}");
        }
        let size = layer["annotations"]["ci.umo.uncompressed_blob_size"].as_str();
        let is_tar = compression.is_empty();
        let tar_size = env.sh("stat -c %s l");
        assert_eq!(size, (!is_tar).then_some(tar_size.trim()), "{words} {archive}");
        env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        env.umoci(["unpack", "--image", "img", "b"]).ok();
        assert_eq!(env.read("b/rootfs/added"), "x\n");
    }
}

#[test]
fn an_empty_archive_is_one() {
    for archive in [
        ": >f",
        "gzip </dev/null >f",
        "zstd -q </dev/null >f",
        "head -c 10240 /dev/zero >f",
    ] {
        let (image, why) = added("", archive);
        assert_eq!(why, "", "{archive}");
        image.env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        image.env.umoci(["unpack", "--image", "img", "b"]).ok();
    }
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    for (archive, want) in [
        (
            "echo no tar at all >f",
            "new layer archive f is no tar archive, or a broken one: ",
        ),
        (
            "seq 1000 >f",
            "new layer archive f is no tar archive, or a broken one: ",
        ),
        (
            "head -c 513 l >f",
            "new layer archive f is no tar archive, or a broken one: unexpected end of layer",
        ),
        (
            "seq 1000 | gzip >f",
            "new layer archive f is no tar archive, or a broken one: ",
        ),
        (
            "gzip -c l | gzip >f",
            "new layer archive f is no tar archive, or a broken one: ",
        ),
        (
            "gzip -c l | head -c 60 >f",
            "new layer archive f is no tar archive, or a broken one: decompress: ",
        ),
        (
            "zstd -qc l | head -c 60 >f",
            "new layer archive f is no tar archive, or a broken one: decompress: ",
        ),
        (
            "xz -c l >f",
            "new layer archive f: it is compressed with xz, which is not handled: decompress it first",
        ),
        (
            "bzip2 -c l >f",
            "new layer archive f: it is compressed with bzip2, which is not handled: decompress it first",
        ),
    ] {
        for words in ["", "--compress gzip", "--compress none"] {
            let (image, why) = added(words, archive);
            assert!(why.starts_with(want), "{words} {archive}: {why}");
            let blobs = image.env.blobs("img");
            assert_eq!(image.env.umoci(["gc", "--layout", "img"]).ok(), "", "{archive}");
            assert_eq!(image.env.blobs("img"), blobs, "{archive}");
        }
    }
}
