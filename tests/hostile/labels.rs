// SPDX-License-Identifier: Apache-2.0
//! Layers whose bytes are not what their media type says, and layers that no reader gets to the end of.

use serde_json::{Value, json};
use umoci::digest::Digest;
use umoci::spec::MediaType;

use crate::support::{Env, Tar};

fn tar() -> Vec<u8> {
    Tar::new().list(&["f file=x"]).end()
}

/// The bytes, as a program puts them out that compresses.
fn through(program: &str, bytes: &[u8]) -> Vec<u8> {
    let env = Env::in_memory();
    env.write("in", bytes);
    env.sh(&format!("{program} <in >out"));
    std::fs::read(env.path("out")).expect("out")
}

/// A layout `img` with the image `img:t` of two layers, of which this one is the upper.
fn image(label: &str, blob: &[u8], diff_id: &[u8]) -> (Env, String) {
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    let layer = env.put("img", &format!("{}{label}", MediaType::LAYER), blob);
    let base = Tar::new().list(&["d base"]).end();
    let diff_ids = [&base[..], diff_id].map(|tar| Digest::sha256(tar).to_string());
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = env.put("img", MediaType::CONFIG, config.to_string().as_bytes());
    let digest = layer["digest"].as_str().expect("digest").to_owned();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [env.put("img", MediaType::LAYER, &base), layer]});
    let entry = env.put("img", MediaType::MANIFEST, manifest.to_string().as_bytes());
    env.list("img", entry, Some("t"));
    (env, digest)
}

const READERS: [&str; 6] = [
    "unpack --image img:t b",
    "raw unpack --image img:t r",
    "raw unpack --layer 2 --image img:t l",
    "layer cat img:t 2",
    "squash img:t --tag s",
    "export docker-archive:x.tar:t --layout img",
];

#[test]
fn a_layer_is_named_as_what_it_is() {
    let plain = tar();
    let packed = |program: &str| through(program, &plain);
    for (label, blob, found, said) in [
        ("", packed("gzip"), "compressed with gzip", "a plain tar archive"),
        (
            "",
            packed("zstd -q"),
            "compressed with zstd",
            "a plain tar archive",
        ),
        ("", packed("xz"), "compressed with xz", "a plain tar archive"),
        (
            "",
            packed("bzip2"),
            "compressed with bzip2",
            "a plain tar archive",
        ),
        (
            "+gzip",
            plain.clone(),
            "a plain tar archive",
            "compressed with gzip",
        ),
        (
            "+gzip",
            vec![0; 1024],
            "a plain tar archive",
            "compressed with gzip",
        ),
        (
            "+gzip",
            packed("zstd -q"),
            "compressed with zstd",
            "compressed with gzip",
        ),
        (
            "+gzip",
            packed("xz"),
            "compressed with xz",
            "compressed with gzip",
        ),
        (
            "+zstd",
            plain.clone(),
            "a plain tar archive",
            "compressed with zstd",
        ),
        (
            "+zstd",
            packed("gzip"),
            "compressed with gzip",
            "compressed with zstd",
        ),
    ] {
        // Whether the diff_id is that of the tar or of the bytes, as programs write it that look at nothing.
        for diff_id in [&plain, &blob] {
            let (env, digest) = image(label, &blob, diff_id);
            let want = format!("it is {found}, but its media type says {said}");
            for line in READERS {
                let out = env.umoci(line.split(' '));
                assert_eq!((out.code, out.stdout.as_str()), (Some(1), ""), "{line}: {out:?}");
                let why = out.stderr.trim_end();
                assert!(why.contains(&digest) && why.ends_with(&want), "{line}: {why}");
            }
            let out = env.umoci(["fsck", "--deep", "--layout", "img"]);
            assert_eq!(out.code, Some(2), "{out:?}");
            let line = format!(
                "error: {digest} cannot be unpacked as {}{label}: {want}",
                MediaType::LAYER
            );
            assert!(out.stdout.contains(&line), "{out:?}");
            env.umoci(["fsck", "--layout", "img"]).ok();
        }
    }
}

#[test]
fn a_blob_that_is_damaged_is_that_and_not_mislabelled() {
    let plain = tar();
    let (env, digest) = image("", &plain, &plain);
    let path = format!("img/blobs/sha256/{}", &digest[7..]);
    let mut gzip = through("gzip", &plain);
    gzip.resize(plain.len(), 0);
    env.write(&path, &gzip);
    let why = env.umoci(["unpack", "--image", "img:t", "b"]).fails();
    assert!(why.contains("verified reader digest mismatch"), "{why}");
}

#[test]
fn a_name_may_begin_as_compressed_bytes_do() {
    let tar = Tar::new().entry(b"\x1f\x8b\x08", b'0', b"x", |_| ()).end();
    let (env, _) = image("", &tar, &tar);
    env.umoci(["unpack", "--image", "img:t", "b"]).ok();
    env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
}

#[test]
fn a_deep_check_reads_the_entries_of_layers() {
    let whole = tar();
    let bad_sum = Tar::new().list(&["f a=x"]).entry(b"b", b'0', b"", |_| ()).plain();
    let mut bad_sum = bad_sum;
    bad_sum[1024] ^= 1;
    for (what, bytes, code, want) in [
        ("whole", whole.clone(), 0, "clean: "),
        ("no end", whole[..1024].to_vec(), 0, "clean: "),
        ("empty", Vec::new(), 0, "clean: "),
        ("cut", whole[..512].to_vec(), 2, "unexpected end of layer"),
        ("text", b"no tar at all\n".to_vec(), 2, "unexpected end of layer"),
        ("long text", b"no tar at all\n".repeat(99), 2, "tar header"),
        ("a wrong checksum", bad_sum, 2, "wrong checksum"),
        (
            "an entry of an unknown type",
            Tar::new().entry(b"x", b'M', b"", |_| ()).end(),
            0,
            "is beyond",
        ),
    ] {
        for (label, program) in [("", "cat"), ("+gzip", "gzip"), ("+zstd", "zstd -q")] {
            if bytes.is_empty() && label.is_empty() {
                continue;
            }
            let (env, digest) = image(label, &through(program, &bytes), &bytes);
            env.umoci(["fsck", "--layout", "img"]).ok();
            let out = env.umoci(["fsck", "--deep", "--layout", "img"]);
            assert_eq!(out.code, Some(code), "{what}{label}: {out:?}");
            assert!(out.stdout.contains(want), "{what}{label}: {out:?}");
            assert!(
                code == 0
                    || out
                        .stdout
                        .contains(&format!("error: {digest} cannot be unpacked")),
                "{out:?}"
            );
        }
    }
}

#[test]
fn layers_of_other_types_are_data_to_a_deep_check() {
    let (env, _) = image("+encrypted", b"secret", b"tar");
    let told = env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
    assert!(told.starts_with("clean: "), "{told}");
    // A file that is called a layer by a program that calls any file so, beside a config that is no image's.
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    let layer = env.put("img", MediaType::LAYER, b"any file");
    let config = env.put("img", "application/vnd.unknown.config.v1+json", b"{}");
    let manifest: Value = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let entry = env.put("img", MediaType::MANIFEST, manifest.to_string().as_bytes());
    env.list("img", entry, Some("t"));
    let told = env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
    assert!(told.starts_with("clean: "), "{told}");
}
