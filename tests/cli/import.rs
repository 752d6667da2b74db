// SPDX-License-Identifier: Apache-2.0
//! `umoci import` and `umoci export`

use serde_json::json;
use umoci::digest::Digest;

use crate::support::{Env, Image};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn images_travel_between_layouts() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "other"]).ok();
    env.umoci(["init", "--layout", "into"]).ok();
    env.umoci(["import", "img:other", "--layout", "into", "--tag", "renamed"])
        .ok();
    assert_eq!(env.umoci(["ls", "--layout", "into"]).ok(), "renamed\n");
    env.umoci(["import", "img", "--layout", "into"]).ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "into"]).ok(),
        "renamed\nlatest\nother\n"
    );
    env.umoci(["export", "out:only", "--layout", "into", "--tag", "renamed"])
        .ok();
    assert_eq!(
        env.sh("ls -A out; ls out/blobs/sha256 | wc -l"),
        "blobs\nindex.json\noci-layout\n4\n"
    );
    assert_eq!(env.umoci(["ls", "--layout", "out"]).ok(), "only\n");
    env.umoci(["export", "out", "--layout", "into"]).ok();
    assert_eq!(
        env.umoci(["ls", "--layout", "out"]).ok(),
        "only\nrenamed\nlatest\nother\n"
    );
    for (words, want) in [
        (
            &["import", "img:nope", "--layout", "into"][..],
            "tag not found: nope",
        ),
        (
            &["import", "img", "--layout", "into", "--tag", "x"],
            "--tag names one image, and img has 2: say which, as img:TAG",
        ),
        (
            &["import", "none", "--layout", "into"],
            "open none: no such file or directory",
        ),
        (
            &["export", "app.tar:v1", "--layout", "into"],
            "invalid destination: \"app.tar:v1\" is called as an archive is: write oci-archive:app.tar:v1 or docker-archive:app.tar:v1 for one, oci:app.tar:v1 for a directory",
        ),
        (
            &["export", "new:x", "--layout", "into"],
            "\"new:x\" names one image, and there are 3: say which with --tag",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
    assert!(!env.path("new").exists() && !env.path("app.tar").exists());
    env.sh("mkdir app.tar");
    for to in ["app.tar", "oci:other.tar"] {
        env.umoci(["export", "--layout", "into", to]).ok();
    }
}

#[test]
fn a_document_of_an_unknown_kind_travels_with_what_it_names() {
    let image = Image::new();
    let env = &image.env;
    let blob = env.put("img", "text/plain", b"needed");
    let below = env.put("img", "text/plain", b"needed further down");
    let named = json!({"needs": {"deep": [{"digest": below["digest"], "size": 19}]}}).to_string();
    let named = env.put("img", "application/x-thing", named.as_bytes());
    // What only looks like a descriptor of something stops nothing.
    let elsewhere = json!({"digest": format!("sha256:{}", "a".repeat(64)), "size": 1});
    let wrong = json!({"digest": image.manifest()["layers"][0]["digest"], "size": 1});
    // Not a manifest of any kind that is known, though it looks like one.
    let kind = "application/vnd.example.artifact.v9+json";
    let artifact = json!({"mediaType": kind, "parts": [blob, named], "x": [elsewhere, wrong]});
    let artifact = env.put("img", kind, artifact.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [artifact]});
    let index = env.put("img", INDEX, index.to_string().as_bytes());
    let loose = env.put("img", "application/x-thing", b"{ no JSON");
    env.list("img", artifact, Some("artifact"));
    env.list("img", index, Some("index"));
    env.list("img", loose, Some("loose"));
    // A digest counts for what is there by it, whatever size stands beside it.
    for (tag, count) in [("artifact", 5), ("index", 6), ("loose", 1)] {
        env.umoci(["export", "--layout", "img", "--tag", tag, "oci-archive:a.tar"])
            .ok();
        for from in ["oci:img", "oci-archive:a.tar"] {
            env.umoci(["init", "--layout", "in"]).ok();
            env.umoci(["import", "--layout", "in", &format!("{from}:{tag}")])
                .ok();
            assert_eq!(env.blobs("in"), count, "{tag} from {from}");
            env.umoci(["gc", "--layout", "in"]).ok();
            assert_eq!(env.blobs("in"), count, "{tag} from {from}");
            env.umoci(["fsck", "--layout", "in"]).ok();
            env.sh("rm -r in");
        }
    }
}

#[test]
fn a_layer_that_is_to_be_had_elsewhere_may_be_missing() {
    for (kind, urls, is_copied) in [
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            json!(["https://x"]),
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            json!(["https://x"]),
            true,
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            json!([]),
            false,
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            json!(["https://x"]),
            false,
        ),
    ] {
        let image = Image::new();
        let env = &image.env;
        std::fs::remove_file(image.blob("layer0")).expect("remove");
        image.edit_manifest(|manifest| {
            manifest["layers"][0]["mediaType"] = kind.into();
            manifest["layers"][0]["urls"] = urls.clone();
        });
        let digest = image.manifest()["layers"][0]["digest"]
            .as_str()
            .expect("digest")
            .to_owned();
        env.umoci(["init", "--layout", "in"]).ok();
        let import = ["import", "--layout", "in", "img"];
        let export = ["export", "--layout", "img", "oci-archive:a.tar"];
        if is_copied {
            env.umoci(import).ok();
            env.umoci(["fsck", "--layout", "in"]).ok();
            env.umoci(export).ok();
            env.umoci(["import", "--layout", "in", "oci-archive:a.tar"]).ok();
            assert_eq!(env.blobs("in"), 3);
        } else {
            for words in [import, export] {
                let said = env.umoci(words).fails();
                assert!(
                    said.starts_with(&format!("copy latest: blob {digest}: ")),
                    "{said}"
                );
            }
            assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "");
        }
    }
}

#[test]
fn a_disk_that_is_full_is_named_and_not_the_archive_alone() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.sh("head -c 1M /dev/urandom >big; tar -cf a.tar big; gzip -n <a.tar >a.tar.gz; mkdir small && mount -t tmpfs -o size=256k tmpfs small");
    let out = std::panic::catch_unwind(|| {
        env.umoci(["init", "--layout", "small/img"]).ok();
        let program = env!("CARGO_BIN_EXE_umoci");
        for (from, label) in [("a.tar.gz", "a.tar.gz"), ("-", "stdin")] {
            let import =
                format!("{program} import --layout small/img oci-archive:{from} <a.tar 2>&1 || true");
            let want = format!("{label}: write a temporary file of small/img: no space left on device");
            let said = env.sh(&import);
            assert!(said.contains(&want), "{said}");
        }
        assert_eq!(env.sh("find small/img/.umoci/tmp -type f"), "");
    });
    env.sh("umount small");
    out.expect("the test");
}

#[test]
fn the_help_says_which_platforms_are_taken() {
    let env = Env::new();
    for (command, want) in [
        ("import", "(default: all of them)"),
        (
            "export",
            "(default: all of them; for a Docker archive the first for this machine)",
        ),
        ("unpack", "(default: the first for this machine)"),
    ] {
        let help = env.umoci([command, "--help"]).ok();
        let words: Vec<&str> = help.split_whitespace().collect();
        assert!(words.join(" ").contains(want), "{help}");
    }
}

/// Neither a descriptor that stands by itself nor a manifest that is mere data is one that has to be whole.
#[test]
fn what_only_looks_like_a_manifest_travels_as_data() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    let absent = |media_type: &str| json!({"mediaType": media_type, "digest": Digest::sha256(b"absent").to_string(), "size": 6});
    let descriptor = absent(MANIFEST).to_string();
    let descriptor = env.put(
        "img",
        "application/vnd.oci.descriptor.v1+json",
        descriptor.as_bytes(),
    );
    let data = json!({"mediaType": MANIFEST, "config": absent("t/c"), "layers": []}).to_string();
    let data = env.put("img", "application/x-data", data.as_bytes());
    let config = env.put("img", "application/vnd.oci.empty.v1+json", b"{}");
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [descriptor, data]}).to_string();
    let manifest = env.put("img", MANIFEST, manifest.as_bytes());
    env.list("img", manifest, Some("artifact"));
    env.list("img", descriptor, Some("descriptor"));
    for name in ["artifact", "descriptor"] {
        env.umoci(["init", "--layout", name]).ok();
        env.umoci(["import", "--layout", name, &format!("img:{name}")])
            .ok();
    }
    assert_eq!((env.blobs("artifact"), env.blobs("descriptor")), (4, 1));
}

#[test]
fn an_image_is_whole_whatever_else_it_is_called() {
    let image = Image::new();
    let env = &image.env;
    let mut entry = image.entry();
    entry["mediaType"] = "application/x-thing".into();
    env.edit_index("img", Vec::clear);
    env.list("img", entry, Some("thing"));
    let mut entry = image.entry();
    entry["mediaType"] = MANIFEST.into();
    env.list("img", entry, Some("image"));
    std::fs::remove_file(image.blob("layer0")).expect("remove");
    env.umoci(["init", "--layout", "in"]).ok();
    // It calls itself a manifest, and another entry does.
    for from in ["img", "img:thing"] {
        let said = env.umoci(["import", "--layout", "in", from]).fails();
        assert!(said.starts_with("copy thing: blob sha256:"), "{said}");
    }
}

#[test]
fn what_holds_files_and_no_images_is_refused_with_the_way_to_an_image() {
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir tree; echo 1 >tree/file; tar -C tree -czf tree.tar.gz .");
    let way = |from: &str| format!("umoci new --image LAYOUT:TAG --from {from} makes an image of");
    for (source, want) in [
        (
            "./tree",
            format!(
                "./tree is a directory and no OCI layout: {} its files",
                way("./tree")
            ),
        ),
        (
            "tree.tar.gz",
            format!(
                "tree.tar.gz is a file: write oci-archive:tree.tar.gz or docker-archive:tree.tar.gz for an archive of images; {} its files",
                way("tree.tar.gz")
            ),
        ),
        (
            "oci-archive:tree.tar.gz",
            format!(
                "tree.tar.gz: not an OCI archive: the archive has no oci-layout; {} an archive of files",
                way("FILE")
            ),
        ),
        (
            "docker-archive:tree.tar.gz",
            format!(
                "tree.tar.gz: not a Docker archive: the archive has no manifest.json; {} an archive of files",
                way("FILE")
            ),
        ),
    ] {
        assert_eq!(env.umoci(["import", source, "--layout", "img"]).fails(), want);
    }
}
