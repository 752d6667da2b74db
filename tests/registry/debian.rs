// SPDX-License-Identifier: Apache-2.0
//! Debian's docker-registry as the other side.

use super::{Registry, requests};
use crate::support::{Env, Image};

/// Returns the digest that a tag has in a layout.
fn digest(env: &Env, layout: &str, tag: &str) -> String {
    env.umoci(["stat", "--image", &format!("{layout}:{tag}"), "--json"])
        .ok();
    env.sh(&format!(
        "jq -r '.manifests[] | select(.annotations.\"org.opencontainers.image.ref.name\" == \"{tag}\") | .digest' {layout}/index.json"
    ))
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn an_image_goes_there_and_comes_back() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("team/app");
    requests(env);
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    let pushed = requests(env);
    // The tag, each of three blobs twice, the manifest.
    assert_eq!(pushed.len(), 1 + 2 * 3 + 1, "{pushed:?}");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    assert_eq!(requests(env), ["HEAD /v2/team/app/manifests/1 200"]);
    env.umoci([
        "pull",
        "--referrers",
        "no",
        "--layout",
        "back",
        &format!("{name}:1"),
    ])
    .ok();
    assert_eq!(requests(env).len(), 4);
    env.umoci(["pull", "--layout", "back", &format!("{name}:1")]).ok();
    assert_eq!(requests(env).len(), 1);
    assert_eq!(digest(env, "img", "latest"), digest(env, "back", "1"));
    env.umoci(["fsck", "--layout", "back"]).ok();
}

#[test]
#[ignore = "needs docker-registry and skopeo: run by tests/all.sh"]
fn skopeo_reads_what_is_pushed_and_its_own_is_pulled() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:ours")])
        .ok();
    env.sh(&format!(
        "skopeo copy -q --src-tls-verify=false docker://{name}:ours oci:theirs:x
         skopeo copy -q --dest-tls-verify=false --format v2s2 oci:img:latest docker://{name}:docker"
    ));
    assert_eq!(digest(env, "img", "latest"), digest(env, "theirs", "x"));
    env.umoci(["pull", "--layout", "back", &format!("{name}:docker")])
        .ok();
    env.umoci(["fsck", "--layout", "back"]).ok();
    assert_eq!(env.umoci(["list-tags", &name]).ok(), "docker\nours\n");
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn an_index_goes_whole_and_comes_back_by_its_digest() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    image.add_index();
    let name = registry.name("multi");
    env.umoci(["push", "--image", "img:both", &name]).ok();
    let whole = digest(env, "img", "both");
    let pinned = format!("{name}@{}", whole.trim());
    env.umoci(["pull", "--layout", "back", "--tag", "x", &pinned])
        .ok();
    assert_eq!(digest(env, "back", "x"), whole);
    env.umoci([
        "pull",
        "--layout",
        "back",
        "--tag",
        "one",
        "--platform",
        "linux/arm64",
        &pinned,
    ])
    .ok();
    assert_eq!(digest(env, "back", "one"), digest(env, "img", "arm"));
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn referrers_travel_by_the_fallback_tag() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    env.write("sbom.json", "{}");
    env.umoci([
        "attach",
        "--to",
        "img:latest",
        "--artifact-type",
        "text/sbom",
        "sbom.json",
    ])
    .ok();
    let name = registry.name("signed:1");
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    env.umoci(["pull", "--layout", "back", &name]).ok();
    let listed = |image: &str| env.umoci(["referrers", "--json", image]).ok();
    let digests = |json: String| {
        env.write("r.json", json);
        env.sh("jq -r '.manifests[].digest' r.json | sort -u")
    };
    let (ours, theirs) = (digests(listed("img:latest")), digests(listed("back:1")));
    assert!(!ours.is_empty());
    assert_eq!(ours, theirs);
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn many_tags_cost_one_request_each_when_nothing_changed() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    for tag in ["v1", "v2", "v3", "w1"] {
        env.umoci(["tag", "--image", "img:latest", tag]).ok();
    }
    let name = registry.name("many");
    env.umoci(["push", "--layout", "img", "--filter", "v*", &name])
        .ok();
    env.umoci(["pull", "--layout", "back", "--all-tags", &name]).ok();
    assert_eq!(env.umoci(["ls", "--layout", "back"]).ok(), "v1\nv2\nv3\n");
    requests(env);
    env.umoci(["pull", "--layout", "back", "--all-tags", &name]).ok();
    let again = requests(env);
    assert_eq!(again.len(), 1 + 3, "{again:?}");
    let plan = env
        .umoci(["pull", "--layout", "back", "--filter", "v1", "--dry-run", &name])
        .ok();
    assert_eq!(plan, "");
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn images_stay_in_their_registry_to_be_looked_at_and_removed() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app:1");
    let place = format!("docker://{name}");
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "latest",
        "--plain-http",
        &place,
    ])
    .ok();
    requests(env);
    let config = |page: String| page.split_once("== CONFIG ==").expect("config").1.to_owned();
    let here = config(env.umoci(["stat", "--image", "img:latest"]).ok());
    assert_eq!(config(env.umoci(["stat", &place]).ok()), here);
    assert_eq!(requests(env).len(), 2);
    let raw = env.umoci(["stat", "--raw", &place]).ok();
    let digest = digest(env, "img", "latest");
    let hex = digest.trim().strip_prefix("sha256:").expect("sha256");
    assert_eq!(
        raw.trim_end(),
        env.read(&format!("img/blobs/sha256/{hex}")).trim_end()
    );
    env.umoci([
        "import",
        "--layout",
        "img",
        "--tag",
        "again",
        "--no-clobber",
        &place,
    ])
    .ok();
    let line = env
        .umoci([
            "import",
            "--layout",
            "img",
            "--tag",
            "none",
            &registry.name("docker://x"),
        ])
        .fails();
    assert!(line.contains("invalid"), "{line}");
    // This registry removes by digest alone.
    let line = env.umoci(["remove", &place]).fails();
    assert!(line.contains("400") && line.contains(&registry.address), "{line}");
    let pinned = format!("docker://{}@{}", registry.name("app"), digest.trim());
    env.umoci(["remove", &pinned]).ok();
    env.umoci(["remove", &pinned]).ok();
    assert!(
        env.umoci(["pull", "--layout", "back", &name])
            .fails()
            .contains("no image 1")
    );
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_pull_replaces_no_tag_where_that_is_not_wanted() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app:1");
    env.umoci(["push", "--image", "img:latest", "--format", "oci", &name])
        .ok();
    env.umoci(["new", "--image", "img:1"]).ok();
    let before = digest(env, "img", "1");
    let line = env
        .umoci(["pull", "--layout", "img", "--no-clobber", &name])
        .fails();
    assert!(line.contains("tag exists: 1"), "{line}");
    assert_eq!(digest(env, "img", "1"), before);
    let plan = env
        .umoci([
            "pull",
            "--layout",
            "img",
            "--dry-run",
            "--all-tags",
            &registry.name("app"),
        ])
        .ok();
    assert_eq!(plan, format!("1 {}", digest(env, "img", "latest")));
    env.umoci(["pull", "--layout", "img", "--format", "keep", &name])
        .ok();
    assert_eq!(digest(env, "img", "1"), digest(env, "img", "latest"));
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn what_goes_wrong_leaves_no_layout_and_no_tag() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app");
    let one = format!("{name}:1");
    // A name that is not there makes no layout, and neither does a dry run.
    assert!(
        env.umoci(["pull", "--layout", "new", &one])
            .fails()
            .contains("no image 1")
    );
    env.umoci(["push", "--image", "img:latest", &one]).ok();
    env.umoci(["pull", "--layout", "new", "--dry-run", &one]).ok();
    assert!(!env.path("new").exists());
    // A tag of the registry that leads to something else is replaced, or kept.
    env.umoci([
        "config",
        "--image",
        "img:latest",
        "--tag",
        "other",
        "--author",
        "x",
    ])
    .ok();
    let line = env
        .umoci(["push", "--image", "img:other", "--no-clobber", &one])
        .fails();
    assert!(
        line.contains("tag exists in") && line.ends_with("no tag is changed"),
        "{line}"
    );
    let said = env.umoci(["push", "--image", "img:other", &one]).stderr;
    assert!(said.contains("replaced tag 1"), "{said}");
    // Words in the wrong place.
    let line = env.umoci(["push", "img:other", &one]).fails();
    assert!(line.contains("--image img:other"), "{line}");
    let line = env
        .umoci(["export", "--layout", "img", "--tag", "other", &one])
        .fails();
    assert!(line.contains("docker://"), "{line}");
    let line = env
        .umoci(["pull", "--layout", "new", &format!("https://{one}")])
        .fails();
    assert!(line.contains("leave https:// out"), "{line}");
    let both = ["--filter", "1", "--filter", "2"];
    env.umoci([&["pull", "--layout", "new"], &both[..], &[&name]].concat())
        .ok();
    assert_eq!(env.umoci(["ls", "--layout", "new"]).ok(), "1\n");
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_registry_that_is_read_only_gives_and_says_so_when_it_is_to_take() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    env.umoci(["push", "--image", "img:latest", &registry.name("app:1")])
        .ok();
    drop(registry);
    let registry = Registry::read_only(env);
    let [there, new] = ["app:1", "new:1"].map(|name| registry.name(name));
    let source = format!("docker://{there}");
    let image = "img:latest";
    for words in [
        &["push", "--image", image, &new][..],
        &["copy", &source, &format!("docker://{new}")],
        &["remove", &source],
        &[
            "cache",
            "put",
            "key",
            "--image",
            image,
            "--to",
            &registry.name("cache"),
        ],
    ] {
        let line = env.umoci(words).fails();
        assert!(
            line.contains(&registry.address) && line.contains("405 ") && line.contains("may be read-only"),
            "{line}"
        );
    }
    // A push that changes nothing is none, and a pull needs nothing.
    env.umoci(["push", "--image", image, &there]).ok();
    env.umoci(["pull", "--layout", "back", &there]).ok();
    env.umoci(["fsck", "--layout", "back"]).ok();
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_rerun_moves_what_is_missing() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let name = registry.name("app:1");
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    // What an interrupted push leaves: blobs, and no tag.
    env.sh("rm -r registry/docker/registry/v2/repositories/app/_manifests");
    requests(env);
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    let again = requests(env);
    let sent = again
        .iter()
        .filter(|line| line.starts_with("PUT") && line.contains("uploads"));
    assert_eq!(sent.count(), 0, "{again:?}");
    // A layer that was lost comes again, though its tag did not change.
    env.umoci(["pull", "--layout", "back", &name]).ok();
    env.sh("rm $(find back/blobs -type f -size -1k | head -n 1) $(ls -S back/blobs/sha256/* | tail -n 1)");
    env.umoci(["pull", "--layout", "back", &name]).ok();
    env.umoci(["fsck", "--layout", "back"]).ok();
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_pull_for_a_platform_or_a_format_is_no_pull_of_the_same() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let registry = Registry::start(env, "");
    image.add_index();
    let name = registry.name("multi:both");
    env.umoci(["push", "--image", "img:both", &name]).ok();
    env.umoci(["pull", "--layout", "back", &name]).ok();
    env.umoci(["pull", "--layout", "back", "--platform", "linux/arm64", &name])
        .ok();
    assert_eq!(digest(env, "back", "both"), digest(env, "img", "arm"));
}

#[test]
#[ignore = "needs docker-registry and skopeo: run by tests/all.sh"]
fn referrers_with_names_keep_their_form() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    env.write("sig.json", "{}");
    let words = [
        "attach",
        "--to",
        "img:latest",
        "--artifact-type",
        "text/sig",
        "sig.json",
    ];
    let artifact = env.umoci(words).ok().trim().to_owned();
    let subject = digest(env, "img", "latest").trim().replace(':', "-");
    // As cosign names a signature, and as a registry without a list of referrers has that.
    let signature = format!("{subject}.sig");
    env.umoci([
        "ref", "create", "--layout", "img", &signature, "--digest", &artifact,
    ])
    .ok();
    env.umoci(["manifest", "create", &format!("img:{subject}"), &signature])
        .ok();
    let name = registry.name("app");
    env.umoci(["push", "--image", "img:latest", &format!("{name}:1")])
        .ok();
    let raw = |tag: &str| {
        env.umoci(["stat", "--raw", &format!("docker://{name}:{tag}")])
            .ok()
    };
    let shape = |text: String| {
        env.write("raw.json", text);
        env.sh("jq -c '[.artifactType, [.manifests[]?.digest]]' raw.json")
    };
    assert_eq!(shape(raw(&signature)), "[\"text/sig\",[]]\n");
    assert_eq!(shape(raw(&subject)), format!("[null,[\"{artifact}\"]]\n"));
}
