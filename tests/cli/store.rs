// SPDX-License-Identifier: Apache-2.0
//! `umoci init`, `new`, `gc`, `import` and `export`.

use crate::support::{Env, Image};

#[test]
fn a_new_layout_and_a_blank_image_have_known_bytes() {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "0");
    env.umoci(["init", "--layout", "deep/img"]).ok();
    assert_eq!(
        env.umoci(["init", "--layout", "deep/img"]).fails(),
        "image layout creation: path already exists: deep/img"
    );
    env.umoci(["new", "--image", "deep/img:blank"]).ok();
    let config = env.sh("cat deep/img/blobs/sha256/$(cat deep/img/blobs/sha256/$(jq -r .manifests[0].digest deep/img/index.json | cut -d: -f2) | jq -r .config.digest | cut -d: -f2)");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            config,
            "{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}\n"
        );
    }
    let modes = env.sh("stat -c '%a %n' deep/img/index.json deep/img/oci-layout deep/img/blobs/sha256/*");
    assert!(
        modes.lines().all(|l| l.starts_with("644 ")),
        "others may read it: {modes}"
    );
}

#[test]
fn gc_tells_what_it_would_do_and_does_it() {
    let image = Image::new();
    let env = &image.env;
    assert_eq!(
        env.umoci(["gc", "--layout", "img", "--dry-run"]).ok(),
        "would remove 0 blobs, 0B\n"
    );
    env.umoci(["rm", "--image", "img"]).ok();
    let plan = env.umoci(["gc", "--layout", "img", "--dry-run"]).ok();
    assert!(
        plan.ends_with("B\n") && plan.contains("would remove 4 blobs"),
        "{plan}"
    );
    assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4");
    let report: serde_json::Value =
        serde_json::from_str(&env.umoci(["gc", "--layout", "img", "--json"]).ok()).expect("JSON");
    assert_eq!(
        (
            report["dry_run"].as_bool(),
            report["blobs"].as_array().map(Vec::len)
        ),
        (Some(false), Some(4))
    );
    assert_eq!(env.sh("ls img/blobs/sha256"), "");
    assert_eq!(env.umoci(["gc", "--layout", "img"]).ok(), "");
}

#[test]
fn an_unreadable_index_database_changes_nothing() {
    let image = Image::new();
    let env = &image.env;
    env.sh("rm -rf img/.umoci/index.redb; mkdir img/.umoci/index.redb");
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256"), "");
}

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
            "open none: validate: read oci-layout: none/oci-layout does not exist: invalid image detected",
        ),
        (
            &["export", "new:x", "--layout", "into"],
            "\"new:x\" names one image, and there are 3: say which with --tag",
        ),
    ] {
        assert_eq!(env.umoci(words).fails(), want, "{words:?}");
    }
    assert!(!env.path("new").exists());
}
