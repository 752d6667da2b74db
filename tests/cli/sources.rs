// SPDX-License-Identifier: Apache-2.0
//! What `umoci import` and `umoci export` find in a layout or archive: names, numbers, images without a name, odd entries.

use serde_json::{Value, json};

use crate::support::{Env, Image};

const OURS: &str = env!("CARGO_BIN_EXE_umoci");

/// What a command that succeeded said on stderr.
fn warned(env: &Env, words: &[&str]) -> String {
    let ran = env.umoci(words);
    assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
    ran.stderr
}

/// Packs a layout as it is.
fn pack(env: &Env, layout: &str, archive: &str) {
    env.sh(&format!(
        "tar -cf {archive} -C {layout} oci-layout index.json blobs"
    ));
}

#[test]
fn an_odd_entry_concerns_nobody_else() {
    let image = Image::new();
    let env = &image.env;
    let odd = json!({"mediaType": "a/b", "digest": format!("sha384:{}", "a".repeat(96)), "size": 1});
    env.list("img", odd.clone(), Some("odd"));
    env.list("img", odd, None);
    env.list("img", json!({"size": "?"}), Some("number"));
    pack(env, "img", "a.tar");
    for words in [
        &["import", "--layout", "in", "img"][..],
        &["import", "--layout", "in", "oci-archive:a.tar"],
        &["export", "--layout", "img", "in"],
        &["export", "--layout", "img", "oci-archive:out.tar"],
        &["export", "--layout", "img", "docker-archive:out.tar"],
    ] {
        env.umoci(["init", "--layout", "in"]).ok();
        let said = warned(env, words);
        assert_eq!(
            said.matches("left out: index.json: entry").count(),
            3,
            "{words:?}: {said}"
        );
        assert!(
            said.contains("entry \"odd\": ") && said.contains("sha384"),
            "{said}"
        );
        if words.contains(&"in") {
            assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "latest\n", "{words:?}");
        }
        env.sh("rm -r in");
    }
    env.umoci(["init", "--layout", "in"]).ok();
    for from in ["img", "oci-archive:a.tar"] {
        assert_eq!(
            warned(env, &["import", "--layout", "in", &format!("{from}:latest")]),
            ""
        );
        let said = env
            .umoci(["import", "--layout", "in", &format!("{from}:odd")])
            .fails();
        assert!(said.contains("entry \"odd\": "), "{said}");
    }
    let said = env
        .umoci(["export", "--layout", "img", "--tag", "odd", "out"])
        .fails();
    assert!(said.contains("entry \"odd\": "), "{said}");
}

#[test]
fn an_image_without_a_name_gets_one_or_is_missed() {
    let image = Image::new();
    let env = &image.env;
    let nameless = |entries: &mut Vec<Value>| {
        for entry in entries {
            entry.as_object_mut().expect("object").remove("annotations");
        }
    };
    // One, two, none, and one beside one with a name; what is about an image is not missed.
    env.write("file", "content");
    env.umoci(["attach", "--to", "img", "--artifact-type", "a/b", "file"])
        .ok();
    env.sh("cp -r img one; cp -r img some; cp -r img none");
    env.umoci(["config", "--image", "some", "--tag", "other", "--author", "x"])
        .ok();
    env.sh("cp -r some two");
    env.edit_index("one", nameless);
    env.edit_index("two", nameless);
    env.edit_index("none", |entries| {
        entries.retain(|entry| entry.get("artifactType").is_some())
    });
    env.edit_index("some", |entries| nameless(&mut entries[..1].to_vec()));
    env.edit_index("some", |entries| {
        let at = entries
            .iter()
            .position(|entry| entry["annotations"].to_string().contains("latest"));
        entries[at.expect("latest")]
            .as_object_mut()
            .expect("object")
            .remove("annotations");
    });
    for layout in ["one", "two", "none", "some"] {
        pack(env, layout, &format!("{layout}.tar"));
    }
    env.umoci(["init", "--layout", "in"]).ok();
    let want = image.entry()["digest"].as_str().expect("digest").to_owned();
    for (from, take) in [
        ("one", "one@DIGEST"),
        ("oci-archive:one.tar", "oci-archive:one.tar:@N"),
    ] {
        let import = ["import", "--layout", "in", from];
        let said = env.umoci(import).fails();
        assert_eq!(
            said,
            format!("the image in {from} has no name: give it one with --tag")
        );
        let named = [&import[..], &["--tag", "new"]].concat();
        env.umoci(named).ok();
        let list = env.umoci(["ref", "list", "--layout", "in"]).ok();
        assert!(list.contains(&want) && list.contains("new"), "{list}");
        for words in [&import[..], &["import", "--layout", "in", "--tag", "new", from]] {
            let words: Vec<String> = words.iter().map(|word| word.replace("one", "two")).collect();
            let (from, take) = (from.replace("one", "two"), take.replace("one", "two"));
            let said = env.umoci(words).fails();
            assert!(
                said.starts_with(&format!("the 2 images in {from} have no names: ")),
                "{said}"
            );
            assert!(said.contains(&want), "{said}");
            assert!(
                said.ends_with(&format!("; take one as {take} with --tag NAME")),
                "{said}"
            );
        }
        let from = from.replace("one", "none");
        let said = env.umoci(["import", "--layout", "in", &from]).fails();
        assert_eq!(said, format!("there is no image in {from}"));
        let from = from.replace("none", "some");
        let said = warned(env, &["import", "--layout", "in", &from]);
        let take = take.replace("one", "some");
        let want =
            format!("left out 1 image without a name in {from}: {want}; take one as {take} with --tag NAME");
        assert!(said.contains(&want), "{said}");
        assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "new\nother\n");
    }
    let number = usize::from(
        !env.read("two/index.json")
            .split("},{")
            .next()
            .expect("entry")
            .contains(&want),
    );
    let first = format!("oci-archive:two.tar:@{number}");
    env.umoci(["import", "--layout", "in", "--tag", "first", &first])
        .ok();
    let said = env.umoci(["import", "--layout", "in", &first]).fails();
    assert_eq!(
        said,
        format!("the image @{number} in oci-archive:two.tar has no name: give it one with --tag")
    );
    for to in ["out", "oci-archive:out", "docker-archive:out"] {
        let said = env.umoci(["export", "--layout", "one", to]).fails();
        assert_eq!(
            said,
            format!("the image in one has no name: give it one, as {to}:NAME")
        );
        let said = env
            .umoci(["export", "--layout", "two", &format!("{to}:x")])
            .fails();
        assert!(
            said.starts_with("the 2 images in two have no names: sha256:")
                && said.ends_with("; take one with --tag DIGEST"),
            "{said}"
        );
        let said = env.umoci(["export", "--layout", "none", to]).fails();
        assert_eq!(said, "there is no image in none");
        assert!(!env.path("out").exists());
        env.umoci(["export", "--layout", "one", &format!("{to}:new")])
            .ok();
        env.umoci(["init", "--layout", "back"]).ok();
        env.umoci(["import", "--layout", "back", &to.replace("out", "out:new")])
            .ok();
        let name = if to.starts_with("docker") {
            "new:latest\n"
        } else {
            "new\n"
        };
        assert_eq!(env.umoci(["ls", "--layout", "back"]).ok(), name);
        env.sh("rm -r out back");
        env.umoci(["export", "--layout", "two", "--tag", &want, &format!("{to}:new")])
            .ok();
        env.sh("rm -r out");
        let said = warned(env, &["export", "--layout", "some", to]);
        let want = format!(
            "left out 1 image without a name in some: {want}; take one with --tag DIGEST, as {to}:NAME"
        );
        assert!(said.contains(&want), "{said}");
        env.sh("rm -r out");
    }
}

#[test]
fn numbers_count_the_images_of_a_docker_archive_and_only_those_wanted_are_looked_at() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["tag", "--image", "img", "a:1"]).ok();
    env.umoci(["tag", "--image", "img", "a:2"]).ok();
    env.umoci(["config", "--image", "img", "--tag", "b:1", "--author", "x"])
        .ok();
    env.umoci(["config", "--image", "img", "--tag", "c:1", "--author", "y"])
        .ok();
    env.umoci([
        "export",
        "--layout",
        "img",
        "--tag",
        "a:1",
        "--tag",
        "a:2",
        "--tag",
        "b:1",
        "--tag",
        "c:1",
        "docker-archive:a.tar",
    ])
    .ok();
    // The last has lost its names, and the one before it a layer, which is compressed and cut off.
    env.sh("mkdir t; tar -xf a.tar -C t");
    let mut items: Value = serde_json::from_str(&env.read("t/manifest.json")).expect("JSON");
    items[2]["RepoTags"] = Value::Null;
    items[1]["Layers"][0] = "cut.tar".into();
    env.write("t/manifest.json", items.to_string());
    env.sh("gzip -nc <t/manifest.json >t/cut.gz; head -c 40 t/cut.gz >t/cut.tar; tar -cf a.tar -C t .");
    env.umoci(["init", "--layout", "in"]).ok();
    for (from, want) in [(":@0", "a:1"), (":a:2", "a:2"), (":docker.io/library/a:1", "a:1")] {
        env.umoci(["import", "--layout", "in", &format!("docker-archive:a.tar{from}")])
            .ok();
        assert!(env.umoci(["ls", "--layout", "in"]).ok().contains(want));
    }
    env.umoci([
        "import",
        "--layout",
        "in",
        "--tag",
        "last",
        "docker-archive:a.tar:@2",
    ])
    .ok();
    let said = env
        .umoci(["import", "--layout", "in", "docker-archive:a.tar:@1"])
        .fails();
    assert!(
        said.starts_with("image b:1 of the archive: layer cut.tar: "),
        "{said}"
    );
    let said = env
        .umoci(["import", "--layout", "in", "docker-archive:a.tar:@3"])
        .fails();
    assert_eq!(said, "no image @3 in a.tar, which has a:1, a:2, b:1");
}

#[test]
fn nothing_is_collected_from_a_source_while_it_is_read() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["init", "--layout", "in"]).ok();
    // It asks for the lock of its source, which somebody else has: its file is open, and nothing is copied yet.
    env.sh(&format!(
        "exec 9<img/.umoci/lock; flock -x 9
         {OURS} import --layout in img 9<&- & pid=$!
         until readlink /proc/$pid/fd/* | grep -q img/.umoci/lock; do kill -0 $pid; done
         test $(ls in/blobs/sha256 | wc -l) = 0; exec 9<&-; wait $pid"
    ));
    assert_eq!(env.umoci(["ls", "--layout", "in"]).ok(), "latest\n");
}
