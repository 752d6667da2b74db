// SPDX-License-Identifier: Apache-2.0
//! Names in `index.json`: those that have an entry for each platform, those that are or hold a digest, those that no tag may have.

use serde_json::{Value, json};

use crate::support::Env;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A room with the layout `img`: `app` has an entry for amd64 and one for arm64, each with a file `only-ARCH`, and `other` has one.
fn flat() -> Env {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "1700000000");
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:base"]).ok();
    for arch in ["amd64", "arm64"] {
        let image = format!("img:{arch}");
        env.write("file", arch);
        let target = format!("/only-{arch}");
        env.umoci([
            "config",
            "--image",
            "img:base",
            "--tag",
            arch,
            "--architecture",
            arch,
        ])
        .ok();
        env.umoci(["insert", "--image", &image, "file", &target]).ok();
    }
    env.umoci(["config", "--image", "img:base", "--tag", "other", "--author", "z"])
        .ok();
    env.umoci(["remove", "--image", "img:base"]).ok();
    env.edit_index("img", |entries| {
        for entry in entries {
            let name = entry["annotations"][REF_NAME].as_str().expect("name").to_owned();
            if name != "other" {
                entry["annotations"][REF_NAME] = "app".into();
                entry["platform"] = json!({"os": "linux", "architecture": name, "x.own": 1});
            }
        }
    });
    env.sh("rm -rf img/.umoci");
    env
}

/// The entries of a name.
fn entries(env: &Env, layout: &str, name: &str) -> Vec<Value> {
    let index: Value = serde_json::from_str(&env.read(&format!("{layout}/index.json"))).expect("JSON");
    let all = index["manifests"].as_array().expect("entries").clone();
    all.into_iter()
        .filter(|entry| entry["annotations"][REF_NAME] == name)
        .collect()
}

/// The processors that the entries of a name are for.
fn platforms(env: &Env, layout: &str, name: &str) -> Vec<String> {
    let of = |entry: &Value| {
        entry["platform"]["architecture"]
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };
    entries(env, layout, name).iter().map(of).collect()
}

fn digest_of(entry: &Value) -> String {
    entry["digest"].as_str().expect("digest").to_owned()
}

#[test]
fn an_edit_replaces_the_entry_that_it_was_made_from_alone() {
    let env = flat();
    let before = entries(&env, "img", "app");
    env.sh("mkdir empty; tar -cf layer.tar empty");
    let by_digest = format!("w@{}", digest_of(&before[1]));
    for words in [
        &["config", "--image", "w:app", "--config.env", "A=1"][..],
        &["insert", "--image", "w:app", "file", "/new"],
        &["raw", "add-layer", "--image", "w:app", "layer.tar"],
        &["repack", "--image", "w:app", "b"],
        &["squash", "w:app"],
        &["rebase", "w:app", "--old", "w:app", "--new", "w:other"],
        &[
            "config",
            "--image",
            &by_digest,
            "--tag",
            "app",
            "--config.env",
            "A=1",
        ],
    ] {
        env.sh("rm -rf w b; cp -r img w");
        if words[0] == "squash" {
            let insert = [
                "insert",
                "--image",
                "w:app",
                "--platform",
                "linux/arm64",
                "file",
                "/more",
            ];
            env.umoci(insert).ok();
        }
        if words[0] == "repack" {
            env.umoci(["unpack", "--image", "w:app", "--platform", "linux/arm64", "b"])
                .ok();
            env.write("b/rootfs/new", "new");
        }
        let before = entries(&env, "w", "app");
        if words[0] == "rebase" {
            env.umoci(["config", "--image", "w:other", "--architecture", "arm64"])
                .ok();
        }
        let words = [words, &["--platform", "linux/arm64"]].concat();
        env.umoci(&words).ok();
        let after = entries(&env, "w", "app");
        assert_eq!(platforms(&env, "w", "app"), ["amd64", "arm64"], "{words:?}");
        assert_eq!(after[0], before[0], "{words:?}");
        assert!(after[1]["digest"] != before[1]["digest"], "{words:?}");
        assert_eq!(after[1]["platform"], before[1]["platform"], "{words:?}");
        env.umoci(["gc", "--layout", "w"]).ok();
        env.umoci(["fsck", "--layout", "w"]).ok();
        env.sh("rm -rf out");
        env.umoci(["unpack", "--image", "w:app", "--platform", "linux/amd64", "out"])
            .ok();
        assert_eq!(env.read("out/rootfs/only-amd64"), "amd64");
    }
}

#[test]
fn a_changed_platform_changes_its_entry() {
    let env = flat();
    let words = [
        "config",
        "--image",
        "img:app",
        "--platform",
        "linux/arm64",
        "--architecture",
        "riscv64",
    ];
    env.umoci(words).ok();
    assert_eq!(platforms(&env, "img", "app"), ["amd64", "riscv64"]);
    assert_eq!(entries(&env, "img", "app")[1]["platform"]["x.own"], 1);
    // One that another image beside it has would make them one to every reader.
    let both = entries(&env, "img", "app");
    let both = [digest_of(&both[0]), digest_of(&both[1])];
    env.umoci(["manifest", "create", "img:all", &both[0], &both[1]])
        .ok();
    for (image, label) in [("img:app", "app"), ("img:all", "image index sha256:")] {
        let words = [
            "config",
            "--image",
            image,
            "--platform",
            "linux/riscv64",
            "--architecture",
            "amd64",
        ];
        let said = env.umoci(words).fails();
        assert!(
            said.contains(label) && said.contains("has an image for linux/amd64 already: sha256:"),
            "{said}"
        );
        // Another name gets one image of a name, and all of an index.
        let ran = env.umoci([&words[..], &["--tag", "moved"]].concat());
        assert_eq!(ran.code, Some(i32::from(image == "img:all")), "{}", ran.stderr);
    }
    assert_eq!(platforms(&env, "img", "app"), ["amd64", "riscv64"]);
}

#[test]
fn what_writes_a_name_replaces_or_removes_all_of_it() {
    let env = flat();
    for (words, left) in [
        (&["tag", "--image", "w:other", "app"][..], 1),
        (&["new", "--image", "w:app"], 1),
        (&["config", "--image", "w:other", "--tag", "app"], 1),
        (
            &[
                "ref", "create", "--layout", "w", "--force", "--from", "other", "app",
            ],
            1,
        ),
        (&["import", "--layout", "w", "--tag", "app", "img:other"], 1),
        (&["manifest", "create", "--force", "w:app", "other"], 1),
        (&["remove", "--image", "w:app"], 0),
        (&["ref", "remove", "--layout", "w", "app"], 0),
        (&["gc", "--layout", "w", "--keep", "oth*"], 0),
    ] {
        env.sh("rm -rf w; cp -r img w");
        env.umoci(words).ok();
        assert_eq!(entries(&env, "w", "app").len(), left, "{words:?}");
        // The reflog has all that went.
        env.umoci(["ref", "log", "--layout", "w", "app"]).ok();
        let log: Value =
            serde_json::from_str(&env.umoci(["ref", "log", "--layout", "w", "--json", "app"]).ok())
                .expect("JSON");
        assert_eq!(
            log[0]["old"].as_array().map(Vec::len),
            Some(2),
            "{words:?}: {log}"
        );
        if words[0] != "gc" {
            env.umoci(["ref", "restore", "--layout", "w", "app"]).ok();
            assert_eq!(
                entries(&env, "w", "app"),
                entries(&env, "img", "app"),
                "{words:?}"
            );
        }
    }
}

#[test]
fn the_log_of_a_name_tells_which_entries_changed() {
    let env = flat();
    let arm = ["--image", "img:app", "--platform", "linux/arm64"];
    let digests = || {
        entries(&env, "img", "app")
            .iter()
            .map(digest_of)
            .collect::<Vec<_>>()
    };
    let before = digests();
    env.umoci([&["config", "--author", "me"], &arm[..]].concat()).ok();
    let between = digests();
    env.umoci(["tag", "--image", "img:other", "app"]).ok();
    let after = digests();
    let log = env.umoci(["ref", "log", "--layout", "img", "app"]).ok();
    let rows: Vec<Vec<&str>> = log
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect())
        .collect();
    for (row, from, to) in [
        (&rows[0], between.join(","), after.join(",")),
        (&rows[1], before[1].clone(), between[1].clone()),
    ] {
        assert_eq!(row[row.len() - 2..], [from, to], "{log}");
    }
    assert_eq!(before[0], between[0]);
    let (_, shown) = env.on_terminal("umoci ref log --layout img app");
    for digest in [&before[1], &between[1]] {
        let short = &digest["sha256:".len()..][..12];
        assert!(
            shown.lines().nth(2).is_some_and(|row| row.contains(short)),
            "{shown}"
        );
    }
    assert!(
        !shown.contains("Z…") && shown.lines().nth(1).is_some_and(|row| row.contains("Z ")),
        "{shown}"
    );
}

#[test]
fn the_past_of_a_name_is_chosen_from_by_platform() {
    let env = flat();
    let was = entries(&env, "img", "app");
    env.umoci([
        "config",
        "--image",
        "img:app",
        "--platform",
        "linux/arm64",
        "--author",
        "x",
    ])
    .ok();
    env.umoci(["tag", "--image", "img:app@{1}", "old"]).ok();
    let digests = |entries: &[Value]| entries.iter().map(digest_of).collect::<Vec<_>>();
    assert_eq!(digests(&entries(&env, "img", "old")), digests(&was));
    let stat = env
        .umoci([
            "stat",
            "--json",
            "--image",
            "img:app@{1}",
            "--platform",
            "linux/arm64",
        ])
        .ok();
    assert!(stat.contains(&digest_of(&was[1])), "{stat}");
}

#[test]
fn copies_carry_all_entries_of_a_name() {
    let env = flat();
    env.umoci(["export", "--layout", "img", "oci-archive:all.tar"])
        .ok();
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "app",
        "oci-archive:app.tar:copy",
    ])
    .ok();
    env.umoci(["export", "--layout", "img", "exported"]).ok();
    for (words, name) in [
        (&["import", "--layout", "w", "img"][..], "app"),
        (&["import", "--layout", "w", "--tag", "copy", "img:app"], "copy"),
        (&["import", "--layout", "w", "oci-archive:all.tar"], "app"),
        (&["import", "--layout", "w", "oci-archive:all.tar:app"], "app"),
        (&["import", "--layout", "w", "oci-archive:app.tar"], "copy"),
        (&["import", "--layout", "w", "exported"], "app"),
        (
            &[
                "import", "--layout", "w", "--format", "oci", "--tag", "x", "img:app",
            ],
            "x",
        ),
        (&["export", "--layout", "img", "--tag", "app", "w:copy"], "copy"),
    ] {
        env.sh("rm -rf w");
        env.umoci(["init", "--layout", "w"]).ok();
        let ran = env.umoci(words);
        assert_eq!(ran.stderr, "", "{words:?}");
        ran.ok();
        assert_eq!(platforms(&env, "w", name), ["amd64", "arm64"], "{words:?}");
        env.umoci(["fsck", "--layout", "w"]).ok();
    }
    for (words, name) in [
        (&["tag", "--image", "img:app", "two"][..], "two"),
        (
            &["ref", "create", "--layout", "img", "--from", "app", "three"],
            "three",
        ),
    ] {
        env.umoci(words).ok();
        assert_eq!(platforms(&env, "img", name), ["amd64", "arm64"], "{words:?}");
    }
    let listed = env.umoci(["ls", "--layout", "img"]).ok();
    assert_eq!(listed, "app\napp\nother\ntwo\ntwo\nthree\nthree\n");
    assert_eq!(env.peer(["ls", "--layout", "img"]).ok(), listed);
}

#[test]
fn one_platform_of_a_name_is_one_image() {
    let env = flat();
    env.umoci(["init", "--layout", "w"]).ok();
    env.umoci(["export", "--layout", "img", "oci-archive:all.tar"])
        .ok();
    let arm = digest_of(&entries(&env, "img", "app")[1]);
    for words in [
        &["import", "--layout", "w", "img:app"][..],
        &["import", "--layout", "w", "oci-archive:all.tar:app"],
        &["export", "--layout", "img", "--tag", "app", "w:app"],
        &["tag", "--image", "img:app", "app"],
    ] {
        let ran = env.umoci([words, &["--platform", "linux/arm64"]].concat());
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        let layout = if words[0] == "tag" { "img" } else { "w" };
        let drops = ran.stderr.contains("app has linux/amd64 no more");
        assert_eq!(drops, words[0] == "tag", "{words:?}: {}", ran.stderr);
        let found = entries(&env, layout, "app");
        assert_eq!((found.len(), digest_of(&found[0])), (1, arm.clone()), "{words:?}");
    }
    let env = flat();
    for arch in ["amd64", "arm64"] {
        let platform = format!("linux/{arch}");
        let to = format!("docker-archive:{arch}.tar:app");
        env.umoci([
            "export",
            "--layout",
            "img",
            "--tag",
            "app",
            "--platform",
            &platform,
            &to,
        ])
        .ok();
        let config = env.sh(&format!("tar -xOf {arch}.tar --wildcards '*.json'"));
        assert!(
            config.contains(&format!("\"architecture\":\"{arch}\"")),
            "{config}"
        );
    }
    let export = [
        "export",
        "--layout",
        "img",
        "docker-archive:one.tar",
        "--tag",
        "app",
        "--json",
    ];
    let said: Value = serde_json::from_str(&env.umoci(export).ok()).expect("JSON");
    let left_out = "left out of app: 1 of its 2 images, for other platforms; a Docker archive holds one";
    assert_eq!(said["leftOutMessages"], json!([left_out]));
    let stat = env.umoci(["stat", "--image", "img:app"]).ok();
    assert!(
        stat.contains("linux/amd64") && stat.contains("linux/arm64"),
        "{stat}"
    );
    env.umoci(["manifest", "create", "--all", "img:index", "app"])
        .ok();
    let shown = env.umoci(["manifest", "show", "img:index"]).ok();
    assert!(
        shown.contains("linux/amd64") && shown.contains("linux/arm64"),
        "{shown}"
    );
}

#[test]
fn what_is_ambiguous_is_refused_with_the_platforms() {
    let env = flat();
    env.edit_index("img", |entries| {
        entries[2]["annotations"][REF_NAME] = "app".into()
    });
    env.edit_index("img", |entries| {
        entries[2]["platform"] = entries[1]["platform"].clone()
    });
    let found = entries(&env, "img", "app");
    for words in [
        &["unpack", "--platform", "linux/arm64", "--image", "img:app", "b"][..],
        &["config", "--platform", "linux/arm64", "--image", "img:app"],
        &[
            "export",
            "--platform",
            "linux/arm64",
            "--layout",
            "img",
            "--tag",
            "app",
            "out",
        ],
        &[
            "export",
            "--platform",
            "linux/arm64",
            "--layout",
            "img",
            "docker-archive:out",
        ],
        &["attach", "--to", "img:app", "--artifact-type", "a/b", "file"],
    ] {
        let said = env.umoci(words).fails();
        // Where all are for the platform that is wanted, it tells none of them.
        let hint = match words[0] {
            "attach" => "; --platform takes one of them, and so does the path with @DIGEST",
            "export" => "; --tag DIGEST takes one of them",
            _ => "; the path with @DIGEST takes one of them",
        };
        for want in ["ambiguous: app (it leads to ", "linux/arm64 sha256:", hint] {
            assert!(said.contains(want), "{words:?}: {said}");
        }
    }
    for words in [
        &["manifest", "add", "img:app", "app"][..],
        &["manifest", "show", "img:app"],
    ] {
        let said = env.umoci(words).fails();
        assert!(
            said.contains("app is no image index: it has several entries, linux/amd64, linux/arm64 sha256:"),
            "{said}"
        );
    }
    // A digest takes one of them, and the edit its place.
    let image = format!("img@{}", digest_of(&found[2]));
    env.umoci(["config", "--image", &image, "--tag", "app", "--author", "me"])
        .ok();
    let after = entries(&env, "img", "app");
    assert_eq!(after[..2], found[..2]);
    assert!(after.len() == 3 && after[2]["digest"] != found[2]["digest"]);
}

#[test]
fn the_nearest_variant_is_taken_wherever_it_stands() {
    for layout in ["flat", "reversed"] {
        let env = flat();
        env.edit_index("img", |entries| {
            for (entry, variant) in entries.iter_mut().zip(["v6", "v7"]) {
                entry["platform"] = json!({"os": "linux", "architecture": "arm", "variant": variant});
            }
            if layout == "reversed" {
                entries.swap(0, 1);
            }
        });
        let v7 = entries(&env, "img", "app")
            .into_iter()
            .find(|entry| entry["platform"]["variant"] == "v7");
        let stat = env
            .umoci([
                "stat",
                "--json",
                "--platform",
                "linux/arm/v7",
                "--image",
                "img:app",
            ])
            .ok();
        assert!(stat.contains(&digest_of(&v7.expect("v7"))), "{layout}: {stat}");
    }
}

#[test]
fn the_same_entry_twice_is_one() {
    let env = flat();
    env.edit_index("img", |entries| entries.push(entries[2].clone()));
    env.edit_index("img", |entries| entries.push(entries[0].clone()));
    assert_eq!(entries(&env, "img", "other").len(), 2);
    env.umoci(["init", "--layout", "w"]).ok();
    env.umoci(["import", "--layout", "w", "img"]).ok();
    assert_eq!(
        (entries(&env, "w", "other").len(), entries(&env, "w", "app").len()),
        (1, 2)
    );
    env.umoci(["config", "--image", "img:other", "--author", "x"])
        .ok();
    env.umoci([
        "config",
        "--image",
        "img:app",
        "--platform",
        "linux/amd64",
        "--author",
        "x",
    ])
    .ok();
    assert_eq!(entries(&env, "img", "other").len(), 1);
    assert_eq!(platforms(&env, "img", "app"), ["amd64", "arm64"]);
}

#[test]
fn an_entry_that_is_no_descriptor_hides_no_other_and_stays() {
    let env = flat();
    env.list("img", json!({"size": "?"}), Some("app"));
    env.list("img", json!({"size": "?"}), Some("other"));
    env.umoci(["unpack", "--image", "img:app", "--platform", "linux/arm64", "b"])
        .ok();
    env.write("b/rootfs/new", "new");
    env.umoci(["repack", "--image", "img:app", "b"]).ok();
    env.umoci(["config", "--image", "img:other", "--author", "x"])
        .ok();
    assert_eq!(platforms(&env, "img", "app"), ["amd64", "arm64", "-"]);
    assert_eq!(entries(&env, "img", "other").len(), 2);
    // A copy by that name would not be whole.
    env.umoci(["init", "--layout", "w"]).ok();
    for words in [
        &["import", "--layout", "w", "img:app"][..],
        &["tag", "--image", "img:app", "copy"],
        &["tag", "--image", "img:app", "app"],
        &["ref", "create", "--layout", "img", "--from", "app", "copy"],
    ] {
        let said = env.umoci(words).fails();
        assert!(said.contains("entry \"app\""), "{words:?}: {said}");
    }
    assert_eq!(platforms(&env, "img", "app"), ["amd64", "arm64", "-"]);
}

#[test]
fn a_bundle_finds_its_own_entry_whatever_became_of_the_others() {
    let unpacked = || {
        let env = flat();
        env.umoci(["unpack", "--image", "img:app", "--platform", "linux/arm64", "b"])
            .ok();
        env.write("b/rootfs/new", "new");
        env
    };
    let change = |env: &Env, platform| {
        env.umoci([
            "config",
            "--image",
            "img:app",
            "--platform",
            platform,
            "--author",
            "x",
        ])
        .ok();
        entries(env, "img", "app")
    };
    let repack = ["repack", "--image", "img:app", "b"];
    // The other one.
    let env = unpacked();
    let before = change(&env, "linux/amd64");
    env.umoci(repack).ok();
    let after = entries(&env, "img", "app");
    assert!(after[0] == before[0] && after[1]["digest"] != before[1]["digest"]);
    env.write("b/rootfs/newer", "newer");
    env.umoci(repack).ok();
    assert_eq!(entries(&env, "img", "app")[0], before[0]);
    // Its own.
    let env = unpacked();
    let before = change(&env, "linux/arm64");
    let said = env.umoci(repack).fails();
    assert!(said.contains("the tag has moved since"), "{said}");
    env.umoci([&repack[..], &["--force"]].concat()).ok();
    let after = entries(&env, "img", "app");
    assert!(after.len() == 2 && after[0] == before[0] && after[1]["digest"] != before[1]["digest"]);
    // One image by two platforms.
    let env = unpacked();
    env.edit_index("img", |entries| {
        let mut twin = entries[1].clone();
        twin["platform"]["variant"] = "v8".into();
        entries.insert(0, twin);
    });
    let before = entries(&env, "img", "app");
    env.umoci(repack).ok();
    let after = entries(&env, "img", "app");
    assert_eq!(after[..2], before[..2]);
    assert!(after[2]["digest"] != before[2]["digest"]);
}

/// Lets the only image of a new layout have this name.
fn called(name: &str) -> (Env, String) {
    let env = Env::new().var("SOURCE_DATE_EPOCH", "1700000000");
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:plain"]).ok();
    env.umoci(["init", "--layout", "in"]).ok();
    env.edit_index("img", |entries| entries[0]["annotations"][REF_NAME] = name.into());
    env.sh("tar -cf img.tar -C img oci-layout index.json blobs");
    let digest = digest_of(&entries(&env, "img", name)[0]);
    (env, digest)
}

#[test]
fn a_name_with_a_digest_in_it_works_everywhere() {
    let hex = "a".repeat(64);
    for name in [
        format!("docker.io/library/x:v1@sha256:{hex}"),
        format!("docker.io/library/x@sha256:{hex}"),
        format!("v1@sha256:{hex}"),
        format!("x@sha256:{}", &hex[1..]),
    ] {
        let (env, _) = called(&name);
        let image = format!("img:{name}");
        let archive = format!("oci-archive:img.tar:{name}");
        for words in [
            &["stat", "--image", &image][..],
            &["unpack", "--image", &image, "b"],
            &["repack", "--image", &image, "b"],
            &["config", "--image", &image, "--author", "x"],
            &["insert", "--image", &image, "img.tar", "/x"],
            &["squash", &image],
            &["tag", "--image", &image, "other"],
            &["raw", "unpack", "--image", &image, "tree"],
            &["layer", "list", &image],
            &["import", "--layout", "in", &image],
            &["import", "--layout", "in", &archive],
            &["import", "--layout", "in", "img"],
            &["export", "--layout", "img", "--tag", &name, "oci-archive:o.tar"],
            &[
                "export",
                "--layout",
                "img",
                "--tag",
                &name,
                &format!("new:{name}"),
            ],
            &["manifest", "create", "img:index", &name],
            &["manifest", "create", &format!("in:{name}-index"), &image],
            &["rebase", &image, "--old", &name, "--new", &image],
            &["attach", "--to", &image, "--artifact-type", "a/b", "img.tar"],
            &["referrers", &image],
            &["ref", "create", "--layout", "img", "--from", &name, "from"],
            &["ref", "log", "--layout", "img", &name],
            &["stat", "--image", &format!("{image}@{{1}}")],
            &["ref", "restore", "--layout", "img", &name],
            &["remove", "--image", &image],
            &["ref", "restore", "--layout", "img", &name],
            &["ref", "remove", "--layout", "img", &name],
        ] {
            let ran = env.umoci(words);
            assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        }
        assert!(entries(&env, "img", &name).is_empty());
        assert_eq!(entries(&env, "in", &name).len(), 1);
        let said = env.umoci(["stat", "--image", &image]).fails();
        assert!(said.starts_with("tag not found: "), "{said}");
    }
    let (env, _) = called(&format!("docker.io/library/x:v1@sha256:{hex}"));
    env.umoci(["export", "--layout", "img", "docker-archive:d.tar"])
        .ok();
    assert!(
        env.sh("tar -xOf d.tar manifest.json")
            .contains("[\"docker.io/library/x:v1\"]")
    );
}

#[test]
fn a_tag_and_a_digest_together_are_explained() {
    let (env, digest) = called("v1");
    let said = env
        .umoci(["stat", "--image", &format!("img:v1@{digest}")])
        .fails();
    assert!(
        said.contains("the tag is \"v1\", or give the digest alone"),
        "{said}"
    );
}

#[test]
fn behind_a_colon_a_name_is_before_a_digest_and_behind_an_at_sign_never() {
    let (env, digest) = called("plain");
    let of = |image: &str| env.umoci(["stat", "--json", "--image", image]);
    // Without such a name it is the digest.
    assert_eq!(of(&format!("img:{digest}")).ok(), of("img:plain").ok());
    env.umoci([
        "config",
        "--image",
        "img:plain",
        "--tag",
        "evil",
        "--author",
        "evil",
    ])
    .ok();
    env.edit_index("img", |entries| {
        entries[1]["annotations"][REF_NAME] = digest.clone().into()
    });
    let evil = of(&format!("img:{digest}")).ok();
    assert!(evil.contains("evil"));
    assert_eq!(of(&format!("img@{digest}")).ok(), of("img:plain").ok());
    assert_eq!(
        env.umoci(["ls", "--layout", "img"]).ok(),
        format!("plain\n{digest}\n")
    );
    env.umoci(["ref", "create", "--layout", "img", "--digest", &digest, "named"])
        .ok();
    assert_eq!(entries(&env, "img", "named")[0]["digest"], digest);
    env.umoci(["ref", "create", "--layout", "img", "--from", &digest, "from"])
        .ok();
    let from = digest_of(&entries(&env, "img", "from")[0]);
    assert!(from != digest && evil.contains(&from), "{evil}");
    // It is taken by another name, and removed.
    env.umoci(["init", "--layout", "w"]).ok();
    let image = format!("img:{digest}");
    env.umoci(["import", "--layout", "w", "--tag", "x", &image]).ok();
    env.umoci(["config", "--image", &image, "--tag", "y", "--author", "me"])
        .ok();
    env.umoci(["remove", "--image", &image]).ok();
    assert!(entries(&env, "img", &digest).is_empty());
    env.edit_index("img", |entries| {
        entries[1]["annotations"][REF_NAME] = digest.clone().into()
    });
    env.umoci(["ref", "rm", "--layout", "img", &digest]).ok();
    assert!(entries(&env, "img", &digest).is_empty());
}

#[test]
fn no_command_makes_a_name_that_is_a_digest() {
    let (env, own) = called("plain");
    for digest in [
        format!("sha256:{}", "b".repeat(64)),
        format!("sha512:{}", "b".repeat(128)),
        own,
    ] {
        let image = format!("img:{digest}");
        env.umoci(["unpack", "--image", "img:plain", "b"]).ok();
        for words in [
            &["tag", "--image", "img:plain", &digest][..],
            &["new", "--image", &image],
            &["config", "--image", "img:plain", "--tag", &digest],
            &["config", "--image", &image],
            &[
                "insert",
                "--image",
                "img:plain",
                "--tag",
                &digest,
                "img.tar",
                "/x",
            ],
            &["repack", "--image", &image, "b"],
            &["squash", "img:plain", "--tag", &digest],
            &["ref", "create", "--layout", "img", "--from", "plain", &digest],
            &["ref", "restore", "--layout", "img", &digest],
            &["import", "--layout", "in", "--tag", &digest, "img:plain"],
            &[
                "import",
                "--layout",
                "in",
                "--tag",
                &digest,
                "oci-archive:img.tar",
            ],
            &[
                "export",
                "--layout",
                "img",
                "--tag",
                "plain",
                &format!("new:{digest}"),
            ],
            &[
                "export",
                "--layout",
                "img",
                "--tag",
                "plain",
                &format!("oci-archive:new:{digest}"),
            ],
            &["manifest", "create", &image, "plain"],
        ] {
            let said = env.umoci(words).fails();
            assert!(said.contains("digest"), "{words:?}: {said}");
        }
        assert!(!env.path("new").exists());
        for layout in ["img", "in"] {
            assert!(entries(&env, layout, &digest).is_empty());
        }
        env.sh("rm -r b");
    }
}

#[test]
fn a_name_that_no_tag_may_have_is_none() {
    let hex = "a".repeat(64);
    for name in [
        format!("@sha256:{hex}"),
        format!("sha256:{hex}"),
        String::new(),
        "<none>:<none>".to_owned(),
        "a b".to_owned(),
        ".hidden".to_owned(),
        "a\nb".to_owned(),
        "a__b".to_owned(),
        "x@{1}".to_owned(),
        "[x]".to_owned(),
    ] {
        let (env, digest) = called(&name);
        for from in [
            "oci-archive:img.tar".to_owned(),
            "oci-archive:img.tar:@0".to_owned(),
            format!("oci-archive:img.tar:@{digest}"),
            format!("oci-archive:img.tar:{digest}"),
            "img".to_owned(),
            format!("img@{digest}"),
            format!("img:{digest}"),
        ] {
            let said = env.umoci(["import", "--layout", "in", &from]).fails();
            assert!(said.contains("--tag"), "{name:?}, {from}: {said}");
            let ran = env.umoci(["import", "--layout", "in", "--tag", "x", &from]);
            assert_eq!(ran.code, Some(0), "{name:?}, {from}: {}", ran.stderr);
            assert_eq!(entries(&env, "in", "x").len(), 1, "{name:?}, {from}");
            env.umoci(["remove", "--image", "in:x"]).ok();
        }
        let said = env
            .umoci(["export", "--layout", "img", "oci-archive:o.tar"])
            .fails();
        let why = if name.is_empty() {
            "has no name"
        } else {
            "which no tag may have"
        };
        assert!(
            said.contains(&format!("{why}: give it one, as oci-archive:o.tar:NAME")),
            "{said}"
        );
        env.umoci(["export", "--layout", "img", "oci-archive:o.tar:x"])
            .ok();
        env.umoci(["export", "--layout", "img", "out:x"]).ok();
        assert_eq!(env.umoci(["ls", "--layout", "out"]).ok(), "x\n");
        // One beside it is not kept from travelling, and it is missed.
        env.umoci(["tag", "--image", &format!("img@{digest}"), "plain"])
            .ok();
        env.umoci(["config", "--image", "img:plain", "--author", "x"])
            .ok();
        let ran = env.umoci(["import", "--layout", "in", "img"]);
        let entry = format!("left out 1 entry of img whose name no tag may have: {name:?} ({digest}); ");
        let want = if name.is_empty() {
            format!("left out 1 image without a name in img: {digest}; ")
        } else {
            entry.clone()
        } + "take one as img@DIGEST with --tag NAME";
        assert!(ran.stderr.contains(&want), "{name:?}: {}", ran.stderr);
        assert_eq!(entries(&env, "in", "plain").len(), 1);
        // Also where its image travels by another name.
        if !name.is_empty() {
            env.umoci(["tag", "--image", &format!("img@{digest}"), "plain"])
                .ok();
            let ran = env.umoci(["export", "--layout", "img", "oci-archive:o.tar"]);
            assert!(ran.stderr.contains(&entry), "{name:?}: {}", ran.stderr);
        }
        env.umoci(["gc", "--layout", "img"]).ok();
        env.umoci(["stat", "--image", &format!("img@{digest}")]).ok();
    }
}

#[test]
fn a_name_that_no_tag_may_have_stays_until_it_is_removed_by_its_text() {
    for name in [
        "a__b",
        "<none>:<none>",
        "a b",
        ".hidden",
        "a\nb",
        "x@{1}",
        "[x]",
        "*",
        "é",
        "img:a/",
    ] {
        let image = format!("img:{name}");
        for remove in [
            &["ref", "remove", "--layout", "img", name][..],
            &["ref", "remove", "--layout", "img", "[!p]*"],
            &["remove", "--image", &image],
            &["rm", "--image", &image],
        ] {
            let (env, digest) = called(name);
            env.umoci(["tag", "--image", &format!("img@{digest}"), "plain"])
                .ok();
            let found = env.umoci(["fsck", "--layout", "img"]).ok();
            let told = format!("has the name {name:?}, which no tag may have: it is removed by that");
            assert!(found.contains(&told), "{found}");
            let listed = env.umoci(["ref", "list", "--layout", "img", "--json"]).ok();
            let listed: Value = serde_json::from_str(&listed).expect("JSON");
            assert_eq!(listed[0]["name"], name);
            for gc in [&["--untagged"][..], &["--keep", "plain"], &["--max-size", "1M"]] {
                env.umoci([&["gc", "--layout", "img"], gc].concat()).ok();
                assert_eq!(entries(&env, "img", name).len(), 1, "{name:?}, {gc:?}");
            }
            env.umoci(remove).ok();
            assert!(entries(&env, "img", name).is_empty(), "{remove:?}");
            assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "plain\n");
            let log = env.umoci(["ref", "log", "--layout", "img", name]).ok();
            assert!(log.contains(&digest), "{log}");
            env.umoci(["ref", "restore", "--layout", "img", name]).ok();
            assert_eq!(digest_of(&entries(&env, "img", name)[0]), digest, "{remove:?}");
            for (steps, code) in [(2, 0), (4, 1)] {
                let before = format!("{name}@{{{steps}}}");
                let ran = env.umoci(["ref", "restore", "--layout", "img", &before]);
                assert_eq!(ran.code, Some(code), "{before}: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn an_empty_name_is_none() {
    let (env, digest) = called("");
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "");
    env.umoci(["ref", "remove", "--layout", "img", "*"]).fails();
    env.umoci(["remove", "--image", "img:"]).fails();
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    assert!(entries(&env, "img", "").is_empty());
    env.umoci(["stat", "--image", &format!("img@{digest}")]).fails();
}

#[test]
fn a_docker_archive_may_have_names_that_no_tag_may_have() {
    for tags in [r#"["<none>:<none>"]"#, "null", "[]", r#"[""]"#] {
        let (env, _) = called("plain");
        env.umoci(["export", "--layout", "img", "docker-archive:d.tar:x"])
            .ok();
        env.sh("mkdir d; tar -xf d.tar -C d");
        let manifest = env.read("d/manifest.json").replace(r#"["x:latest"]"#, tags);
        env.write("d/manifest.json", manifest);
        env.sh("tar -cf d.tar -C d .");
        let said = env
            .umoci(["import", "--layout", "in", "docker-archive:d.tar"])
            .fails();
        assert!(said.contains("give it one with --tag"), "{tags}: {said}");
        env.umoci(["import", "--layout", "in", "--tag", "x", "docker-archive:d.tar"])
            .ok();
        env.umoci([
            "import",
            "--layout",
            "in",
            "--tag",
            "y",
            "docker-archive:d.tar:@0",
        ])
        .ok();
        assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "x\ny\n");
    }
}
