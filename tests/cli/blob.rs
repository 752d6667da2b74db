// SPDX-License-Identifier: Apache-2.0
//! `umoci blob`, `referrers`, `du`, `index`, `lease`, `settings`: what a store knows and keeps.

use serde_json::Value;

use crate::support::{Env, Image};

fn json(env: &Env, words: &[&str]) -> Value {
    serde_json::from_str(&env.umoci(words).ok()).expect("JSON")
}

#[test]
fn a_blob_is_listed_and_shown_with_all_that_leads_to_it() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "b"]).ok();
    let list = env.umoci(["blob", "list", "--layout", "img"]).ok();
    assert_eq!(list.lines().count(), 5, "{list}");
    let rows: Vec<Value> = env
        .umoci(["blob", "list", "--layout", "img", "--json"])
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let manifest = image.entry()["digest"].as_str().expect("digest").to_owned();
    let row = rows
        .iter()
        .find(|row| row["digest"] == *manifest)
        .expect("manifest");
    assert_eq!(row["references"], 2);
    assert_eq!(row["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    // Each as the one document that names it says.
    for child in [&image.manifest()["config"], &image.manifest()["layers"][0]] {
        let row = rows.iter().find(|row| row["digest"] == child["digest"]);
        assert_eq!(row.expect("child")["mediaType"], child["mediaType"]);
    }
    let layer = image.manifest()["layers"][0]["digest"]
        .as_str()
        .expect("digest")
        .to_owned();
    let shown = json(env, &["blob", "show", "--layout", "img", "--json", &layer[7..17]]);
    assert_eq!(shown["neededBy"], serde_json::json!([manifest]));
    assert_eq!(shown["images"], serde_json::json!(["b", "latest"]));
    assert_eq!(shown["refs"], serde_json::json!([]));
    let text = env.umoci(["blob", "show", "--layout", "img", &layer]).ok();
    assert!(
        text.contains("needed      1 times\nneeded by   sha256:"),
        "{text}"
    );
    for (name, what) in [("all", &manifest), ("one", &layer)] {
        env.umoci(["lease", "create", "--layout", "img", name, what]).ok();
    }
    let leases =
        |what: &str| json(env, &["blob", "show", "--layout", "img", "--json", what])["leases"].clone();
    assert_eq!(leases(&layer), serde_json::json!(["all", "one"]));
    assert_eq!(leases(&manifest), serde_json::json!(["all"]));
    let why = env.umoci(["blob", "show", "--layout", "img", "0000000"]).fails();
    assert_eq!(why, "no blob 0000000 in img");
}

#[test]
fn a_blob_is_added_in_every_algorithm_and_written_back() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env.write("file", "content");
    for (algorithm, length) in [("sha256", 64), ("sha512", 128), ("blake3", 64)] {
        let option = format!("--digest-algorithm={algorithm}");
        let digest = env
            .umoci(["blob", "add", "--layout", "img", &option, "file"])
            .ok();
        let digest = digest.trim();
        assert_eq!(digest.len(), algorithm.len() + 1 + length, "{digest}");
        assert_eq!(
            env.umoci(["blob", "cat", "--layout", "img", digest]).ok(),
            "content\n"
        );
    }
    env.umoci(["fsck", "--layout", "img"]).ok();
    let program = env!("CARGO_BIN_EXE_umoci");
    let piped = env.sh(&format!(
        "printf x | {program} blob add --layout img --media-type a/b --json --lease keep --expires 1h -"
    ));
    let piped: Value = serde_json::from_str(&piped).expect("JSON");
    assert_eq!(
        (piped["mediaType"].as_str(), piped["size"].as_u64()),
        (Some("a/b"), Some(1))
    );
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(
        env.umoci(["blob", "list", "--layout", "img"])
            .ok()
            .lines()
            .count(),
        2,
        "the leased one"
    );
    let digest = piped["digest"].as_str().expect("digest");
    env.sh(&format!("printf y >img/blobs/sha256/{}", &digest[7..]));
    let out = env.umoci(["blob", "cat", "--layout", "img", digest]);
    assert!(
        out.code == Some(1) && out.stderr.contains("digest mismatch"),
        "{out:?}"
    );
    for (words, want) in [
        (
            &["blob", "add", "--layout", "img", "none"][..],
            "open none: no such file or directory",
        ),
        (
            &["blob", "add", "--layout", "img", "--expires", "1h", "file"],
            "--expires goes with --lease only",
        ),
        (
            &[
                "blob",
                "add",
                "--layout",
                "img",
                "--digest-algorithm",
                "md5",
                "file",
            ],
            "invalid --digest-algorithm: \"md5\" (want sha256, sha512 or blake3)",
        ),
        (
            &["blob", "cat", "--layout", "img"],
            "invalid number of positional arguments: expected <digest>",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
}

#[test]
fn images_are_made_with_every_digest_algorithm() {
    for algorithm in ["sha512", "blake3"] {
        let env = Env::new();
        env.umoci(["init", "--layout", "img"]).ok();
        env.write("file", "x");
        let with = format!("--digest-algorithm={algorithm}");
        for words in [
            "new --image img:a",
            "insert --image img:a file /file",
            "config --image img:a --config.user 0",
            "unpack --image img:a b",
            "repack --image img:a b",
        ] {
            let mut words: Vec<&str> = words.split(' ').collect();
            if words[0] != "unpack" {
                words.insert(1, &with);
            }
            env.umoci(words).ok();
        }
        env.sh("tar cf layer.tar file");
        env.umoci(["raw", "add-layer", &with, "--image", "img:a", "layer.tar"])
            .ok();
        env.umoci(["gc", "--layout", "img"]).ok();
        env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        assert_eq!(env.sh("ls img/blobs/sha256"), "", "{algorithm}");
        let stat = json(&env, &["ref", "list", "--layout", "img", "--json"]);
        let digest = stat[0]["digest"].as_str().expect("digest").to_owned();
        assert!(digest.starts_with(algorithm), "{digest}");
        env.umoci(["ref", "create", "--layout", "img", "again", "--digest", &digest])
            .ok();
        env.umoci(["init", "--layout", "copy"]).ok();
        env.umoci(["import", "--layout", "copy", "img"]).ok();
        env.umoci(["fsck", "--layout", "copy"]).ok();
    }
}

#[test]
fn referrers_are_listed_as_a_registry_lists_them() {
    let image = Image::new();
    let env = &image.env;
    let subject = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.write("empty", "{}");
    env.umoci(["blob", "add", "--layout", "img", "--lease", "l", "empty"])
        .ok();
    let empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    for (kind, field) in [("application/sbom", "artifactType"), ("application/sig", "x")] {
        let config = format!(r#"{{"mediaType":"{kind}","digest":"{empty}","size":2}}"#);
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","{field}":"{kind}","config":{config},"layers":[{config}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":1}},"annotations":{{"k":"v"}}}}"#
        );
        env.write("referrer", text);
        env.umoci(["blob", "add", "--layout", "img", "referrer"]).ok();
    }
    let all = env.umoci(["referrers", "--layout", "img", &subject]).ok();
    assert!(
        all.contains("application/sbom") && all.contains("application/sig"),
        "{all}"
    );
    let found = json(
        env,
        &[
            "referrers",
            "--layout",
            "img",
            "--artifact-type",
            "application/sig",
            "--json",
            &subject[7..20],
        ],
    );
    assert_eq!(found["mediaType"], "application/vnd.oci.image.index.v1+json");
    let manifests = found["manifests"].as_array().expect("list");
    assert_eq!(manifests.len(), 1);
    assert_eq!(
        manifests[0]["artifactType"], "application/sig",
        "the config's type stands for it"
    );
    assert_eq!(manifests[0]["annotations"]["k"], "v");
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(
        env.umoci(["referrers", "--layout", "img", &subject]).ok(),
        all,
        "they follow their subject"
    );
}

#[test]
fn usage_adds_up_and_says_what_gc_would_free() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", vec![b'x'; 100_000]);
    env.umoci([
        "insert",
        "--image",
        "img:latest",
        "--tag",
        "big",
        "--compress",
        "none",
        "file",
        "/file",
    ])
    .ok();
    env.write("other", vec![b'y'; 50_000]);
    env.umoci([
        "insert",
        "--image",
        "img:big",
        "--tag",
        "gone",
        "--compress",
        "none",
        "other",
        "/other",
    ])
    .ok();
    env.umoci(["rm", "--image", "img:gone"]).ok();
    let usage = json(env, &["du", "--layout", "img", "--json"]);
    let bytes = |name: &str| usage[name].as_u64().expect("bytes");
    assert_eq!(
        bytes("total"),
        bytes("alone") + bytes("shared") + bytes("garbage") + bytes("spared")
    );
    assert_eq!(usage["images"][0]["name"], "big", "the largest comes first");
    assert!(usage["images"][0]["alone"].as_u64().expect("bytes") > 100_000);
    assert_eq!(usage["images"][0]["shared"], usage["images"][1]["shared"]);
    let freed = json(env, &["gc", "--layout", "img", "--json"]);
    assert_eq!(freed["bytes"].as_u64(), Some(bytes("garbage")));
    let on_disk: u64 = env
        .sh("cat img/blobs/sha256/* | wc -c")
        .trim()
        .parse()
        .expect("number");
    assert_eq!(on_disk, bytes("total") - bytes("garbage"));
    let text = env.umoci(["du", "--layout", "img"]).ok();
    assert!(
        text.starts_with("ALONE ") && text.contains("garbage 0B\n"),
        "{text}"
    );
}

#[test]
fn the_index_is_shown_and_rebuilt() {
    let image = Image::new();
    let env = &image.env;
    let text = env.umoci(["index", "status", "--layout", "img"]).ok();
    let schema = json(env, &["index", "status", "--layout", "img", "--json"])["schema"].clone();
    assert!(
        text.starts_with(&format!("schema      {schema} of {schema}\n")) && text.contains("blobs       4\n"),
        "{text}"
    );
    env.umoci(["fsck", "--layout", "img"]).ok();
    env.umoci(["index", "rebuild", "--layout", "img"]).ok();
    let status = json(env, &["index", "status", "--layout", "img", "--json"]);
    assert_eq!(
        (status["blobs"].as_u64(), status["edges"].as_u64()),
        (Some(4), Some(3))
    );
    assert_eq!(status["verified"], 4, "what was verified is kept");
    // Also if the layout has just been written.
    let current = |env: &Env| {
        let status = json(env, &["index", "status", "--layout", "img", "--json"]);
        (status["refsCurrent"].as_bool(), status["blobsCurrent"].as_bool())
    };
    assert_eq!(current(env), (Some(true), Some(true)));
    env.umoci(["tag", "--image", "img", "other"]).ok();
    assert_eq!(current(env), (Some(false), Some(true)));
    env.put("img", "x/y", b"a new blob");
    assert_eq!(current(env), (Some(false), Some(false)));
    env.umoci(["rm", "--image", "img:other"]).ok();
    env.sh("rm img/blobs/sha256/$(printf 'a new blob' | sha256sum | cut -d' ' -f1)");
    env.sh("rm -r img/.umoci");
    let why = env.umoci(["index", "status", "--layout", "img"]).fails();
    assert!(why.contains("index.redb does not exist"), "{why}");
    env.umoci(["index", "rebuild", "--layout", "img"]).ok();
    env.umoci(["index", "status", "--layout", "img"]).ok();
}

#[test]
fn a_rebuild_on_a_full_disk_leaves_the_old_index_and_says_so() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.umoci(["index", "rebuild", "--layout", "img"]).ok();
    env.sh("mkdir small && mount -t tmpfs -o size=1m tmpfs small && cp -a img small/img");
    env.sh("dd if=/dev/zero of=small/fill bs=1k 2>/dev/null || true");
    let done = env.umoci(["index", "rebuild", "--layout", "small/img"]);
    let checked = env.umoci(["fsck", "--layout", "small/img"]);
    let left = env.sh("ls small/img/.umoci; rm small/fill");
    let again = env.umoci(["index", "rebuild", "--layout", "small/img"]);
    env.sh("umount small");
    let why = done.fails();
    assert!(why.contains("index.redb.new: no space left on device"), "{why}");
    assert!(left.contains("index.redb\n") && !left.contains(".new"), "{left}");
    again.ok();
    checked.ok();
}

#[test]
fn an_index_that_was_never_finished_is_made_anew_and_nothing_is_written_through_its_name() {
    let image = Image::new();
    let env = &image.env;
    env.sh("head -c 9000 /dev/zero >precious; echo data >>precious; ln -f precious img/.umoci/index.redb");
    env.umoci(["gc", "--layout", "img"]).ok();
    env.umoci(["index", "status", "--layout", "img"]).ok();
    assert_eq!(
        env.sh("tail -n 1 precious | tail -c 5; stat -c %s precious"),
        "data\n9005\n"
    );
}

#[test]
fn a_lease_keeps_an_image_until_it_ends() {
    let image = Image::new();
    let env = &image.env;
    let digest = image.entry()["digest"].as_str().expect("digest").to_owned();
    env.umoci([
        "lease",
        "create",
        "--layout",
        "img",
        "--expires",
        "1h",
        "hold",
        &digest[7..20],
    ])
    .ok();
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4");
    let leases = json(env, &["lease", "list", "--layout", "img", "--json"]);
    assert_eq!(
        (leases[0]["name"].as_str(), leases[0]["digests"][0].as_str()),
        (Some("hold"), Some(&*digest))
    );
    let text = env.umoci(["lease", "list", "--layout", "img"]).ok();
    assert!(text.contains("hold ") && text.contains(&digest), "{text}");
    for (words, want) in [
        (
            &["lease", "create", "--layout", "img", "hold"][..],
            "invalid number of positional arguments: expected <name> <digest>...",
        ),
        (
            &[
                "lease",
                "create",
                "--layout",
                "img",
                "--expires",
                "soon",
                "a",
                &digest,
            ],
            "invalid --expires: not a duration: \"soon\" (write 45s, 30m, 24h, 7d, 2w, or several as 1h30m)",
        ),
        (
            &["lease", "remove", "--layout", "img", "none"],
            "lease not found: none",
        ),
        (
            &["lease", "create", "--layout", "img", "../up", &digest],
            "name of a lease: tag contains invalid characters: \"../up\"",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
    env.umoci(["lease", "remove", "--layout", "img", "hold"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256"), "");
}

#[test]
fn settings_are_shown_changed_and_obeyed() {
    let image = Image::new();
    let env = &image.env;
    let shown = env.umoci(["settings", "--layout", "img"]).ok();
    assert_eq!(
        shown,
        "SETTING       VALUE\ngc.grace      0\nreflog.keep   0\nreflog.expire 90d\ntoc.max       2GiB\n"
    );
    env.umoci([
        "settings",
        "--layout",
        "img",
        "--gc-grace",
        "1h",
        "--reflog-keep=0",
        "--reflog-expire=2w",
    ])
    .ok();
    let shown = json(env, &["settings", "--layout", "img", "--json"]);
    assert_eq!(
        shown,
        serde_json::json!({"gc.grace": "1h", "reflog.keep": "0", "reflog.expire": "14d", "toc.max": "2GiB"})
    );
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4");
    env.umoci(["gc", "--layout", "img", "--grace", "0"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256"), "");
    env.write("img/.umoci/settings.json", "{\"gc.grace\":\"soon\"}");
    let why = env.umoci(["gc", "--layout", "img"]).fails();
    assert!(
        why.starts_with("img/.umoci/settings.json: gc.grace: not a duration"),
        "{why}"
    );
}
