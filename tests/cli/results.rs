// SPDX-License-Identifier: Apache-2.0
//! What commands say of the images that they made or moved: `--json`, `--digestfile`.

use serde_json::Value;

use crate::support::{Env, Image};

/// The digest that a tag has in the `index.json` of a layout.
fn digest(env: &Env, layout: &str, tag: &str) -> String {
    let index: Value = serde_json::from_str(&env.read(&format!("{layout}/index.json"))).expect("JSON");
    let entries = index["manifests"].as_array().expect("entries");
    let is = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
    let entry = entries.iter().find(is).expect("tag");
    entry["digest"].as_str().expect("digest").to_owned()
}

/// Runs a line without a result, with each kind, and with the kinds that do not go together.
fn check(env: &Env, line: &str, layout: &str, tag: &str) {
    let words = || line.split(' ');
    let quiet = env.umoci(words());
    assert_eq!((quiet.stderr.as_str(), quiet.stdout.as_str()), ("", ""), "{line}");
    quiet.ok();
    let said: Value = serde_json::from_str(&env.umoci(words().chain(["--json"])).ok()).expect("JSON");
    let now = digest(env, layout, tag);
    let images = said["images"].as_array().expect("images");
    let found = images.iter().find(|image| image["name"] == tag).expect("the tag");
    assert_eq!(found["digest"], now, "{line}");
    assert!(found["size"].is_u64() && found["mediaType"].is_string(), "{said}");
    env.umoci(words().chain(["--digestfile", "digest"])).ok();
    let now = digest(env, layout, tag);
    assert!(env.read("digest").lines().any(|line| line == now), "{line}");
    let printed = env.umoci(words().chain(["--digestfile", "-"])).ok();
    let now = digest(env, layout, tag);
    assert!(printed.lines().any(|line| line == now), "{line}");
    let why = env.umoci(words().chain(["--digestfile", "-", "--json"])).fails();
    assert_eq!(
        why,
        "--json and --digestfile - both write to stdout: give one of them"
    );
}

/// Commands that make or move an image, with the layout that they change and a tag that they set there.
const LINES: [(&str, &str, &str); 14] = [
    ("new --image img:new", "img", "new"),
    ("config --image img --tag c --author me", "img", "c"),
    ("insert --image img --tag i file /file", "img", "i"),
    ("raw add-layer --image img --tag l layer.tar", "img", "l"),
    ("repack --image img:r b", "img", "r"),
    ("squash img --tag s", "img", "s"),
    ("rebase img --old base --new new --tag m", "img", "m"),
    ("tag --image img t", "img", "t"),
    ("ref create --layout img f --from latest --force", "img", "f"),
    ("manifest create img:index latest --force", "img", "index"),
    (
        "manifest annotate img:both linux/amd64 --annotation a=b",
        "img",
        "both",
    ),
    ("import --layout in img:latest", "in", "latest"),
    ("import --layout in img", "in", "c"),
    ("export --layout img out --tag latest", "out", "latest"),
];

#[test]
fn every_command_that_makes_or_moves_an_image_tells_its_digest() {
    let image = Image::new();
    let env = &image.env;
    env.sh("tar -cf layer.tar --files-from /dev/null; echo x >file");
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.umoci(["init", "--layout", "in"]).ok();
    env.umoci(["tag", "--image", "img", "base"]).ok();
    env.umoci(["manifest", "create", "img:both", "latest"]).ok();
    for (line, layout, tag) in LINES {
        check(env, line, layout, tag);
    }
    env.umoci(["config", "--image", "img", "--author", "other"]).ok();
    for (line, _, _) in LINES {
        let before = env.sh("sha256sum img/index.json; ls img/blobs/sha256");
        let words = line.split(' ').chain(["--digestfile", "none/digest"]);
        assert_eq!(
            env.umoci(words).fails(),
            "--digestfile: create none/digest: no such file or directory",
            "{line}"
        );
        assert_eq!(
            env.sh("sha256sum img/index.json; ls img/blobs/sha256"),
            before,
            "{line}"
        );
    }
    let before = env.umoci(["ref", "restore", "--layout", "img", "latest", "--digestfile", "-"]);
    assert_eq!(before.ok().trim(), digest(env, "img", "latest"));
}

#[test]
fn an_image_behind_an_index_is_told_with_it_and_a_rehearsal_tells_what_would_be() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["manifest", "create", "img:both", "latest"]).ok();
    let json = |words: &[&str]| -> Value { serde_json::from_str(&env.umoci(words).ok()).expect("JSON") };
    let would = json(&["squash", "img:both", "--dry-run", "--json"]);
    assert_ne!(would["images"][0]["digest"], digest(env, "img", "both"));
    assert!(!would["blobs"].as_array().expect("blobs").is_empty());
    let said = json(&["squash", "img:both", "--json"]);
    assert_eq!(said["images"], would["images"]);
    assert_eq!(said["images"][0]["digest"], digest(env, "img", "both"));
    let shown = json(&["manifest", "show", "img:both", "--json"]);
    assert_eq!(said["images"][0]["manifest"], shown["manifests"][0]["digest"]);
}

#[test]
fn a_copy_tells_blobs_and_what_it_replaced_and_no_clobber_keeps_all() {
    let image = Image::new();
    let env = &image.env;
    let import = |more: &[&str]| {
        let words = [&["import", "--layout", "in", "img"], more].concat();
        env.umoci(words)
    };
    env.umoci(["tag", "--image", "img", "other"]).ok();
    env.umoci(["init", "--layout", "in"]).ok();
    let said: Value = serde_json::from_str(&import(&["--json"]).ok()).expect("JSON");
    assert_eq!(
        (&said["copied"], &said["present"], &said["replaced"]),
        (&4.into(), &0.into(), &serde_json::json!([]))
    );
    // The same again replaces nothing.
    let again = import(&["--no-clobber"]);
    assert_eq!(again.stderr, "");
    again.ok();
    // Another image by a name that is there, and a new name beside it.
    env.umoci(["config", "--image", "img", "--author", "me"]).ok();
    env.umoci(["tag", "--image", "img", "a-new"]).ok();
    let before = env.read("in/index.json");
    assert_eq!(
        import(&["--no-clobber"]).fails(),
        "tag exists: latest; no tag is changed"
    );
    assert_eq!(env.read("in/index.json"), before, "all or nothing");
    let replacing = import(&["--json"]);
    assert_eq!(replacing.stderr.trim(), "• replaced tag latest");
    let said: Value = serde_json::from_str(&replacing.ok()).expect("JSON");
    assert_eq!(said["replaced"], serde_json::json!(["latest"]));
    env.umoci(["config", "--image", "img", "--author", "you"]).ok();
    let quiet = env.umoci(["-q", "import", "--layout", "in", "img"]);
    assert_eq!(quiet.stderr, "");
    quiet.ok();
    let export: &[&str] = &[
        "export",
        "--layout",
        "img",
        "--tag",
        "latest",
        "in:latest",
        "--json",
    ];
    env.umoci(["config", "--image", "img", "--author", "she"]).ok();
    let said: Value = serde_json::from_str(&env.umoci(export).ok()).expect("JSON");
    assert_eq!(said["replaced"], serde_json::json!(["latest"]));
    // Archives as well.
    env.umoci(["export", "--layout", "img", "oci-archive:a.tar", "--tag", "a-new"])
        .ok();
    for (from, is_refused) in [("oci-archive:a.tar", false), ("oci-archive:a.tar:a-new", true)] {
        let tag = if is_refused { "latest" } else { "a-new" };
        let done = env.umoci(["import", "--layout", "in", "--no-clobber", "--tag", tag, from]);
        if is_refused {
            assert_eq!(done.fails(), "tag exists: latest; no tag is changed");
        } else {
            done.ok();
        }
    }
    let why = env
        .umoci(["export", "--layout", "img", "oci-archive:-", "--json"])
        .fails();
    assert_eq!(
        why,
        "the archive and the result both go to stdout: write one of them to a file"
    );
    let docker: Value = serde_json::from_str(
        &env.umoci([
            "export",
            "--layout",
            "img",
            "docker-archive:d.tar:x:1",
            "--tag",
            "latest",
            "--json",
        ])
        .ok(),
    )
    .expect("JSON");
    assert_eq!(docker["images"][0]["digest"], digest(env, "img", "latest"));
}
