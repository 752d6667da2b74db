// SPDX-License-Identifier: Apache-2.0
//! `umoci gc`

use crate::support::Image;

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
fn a_damaged_index_database_is_a_warning_and_no_panic() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["gc", "--layout", "img"]).ok();
    let path = env.path("img/.umoci/index.redb");
    let mut bytes = std::fs::read(&path).expect("read");
    // The kinds of keys and values of the tables.
    for at in 1..bytes.len() {
        if bytes[at..].starts_with(b"&[u8]") {
            bytes[at - 1] = 0xff;
        }
    }
    std::fs::write(&path, bytes).expect("write");
    let done = env.umoci(["gc", "--layout", "img"]);
    let line = done.stderr.trim();
    assert!(
        line.contains("set aside as img/.umoci/index.redb.damaged") && !line.contains('\n'),
        "{line}"
    );
    done.ok();
    assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4");
    let again = env.umoci(["gc", "--layout", "img"]);
    assert_eq!(again.stderr, "");
    again.ok();
}

#[test]
fn who_holds_the_layout_is_named_when_the_wait_is_over() {
    let image = Image::new();
    let env = &image.env;
    let held = std::fs::File::open(env.path("img/.umoci/lock")).expect("lock file");
    held.lock_shared().expect("lock");
    let why = env
        .umoci(["gc", "--layout", "img", "--lock-timeout", "0"])
        .fails();
    assert!(
        why.contains("img/.umoci/lock is locked by process") && why.contains("--lock-timeout waits longer"),
        "{why}"
    );
    env.umoci(["stat", "--image", "img"]).ok();
    env.umoci(["tag", "--image", "img", "beside"]).ok();
    held.unlock().expect("unlock");
    held.lock().expect("lock");
    let why = env
        .umoci(["tag", "--image", "img", "more", "--lock-timeout", "0"])
        .fails();
    assert!(why.contains("is locked by process"), "{why}");
    drop(held);
    env.umoci(["gc", "--layout", "img", "--lock-timeout", "0"]).ok();
}

#[test]
fn tags_that_nothing_keeps_go_and_can_be_brought_back() {
    let image = Image::new();
    let env = &image.env;
    env.write("file", "x");
    for tag in ["release-1", "nightly"] {
        env.umoci([
            "insert",
            "--image",
            "img:latest",
            "--tag",
            tag,
            "file",
            &format!("/{tag}"),
        ])
        .ok();
    }
    env.umoci(["settings", "--layout", "img", "--reflog-keep", "1h"])
        .ok();
    let plan = env
        .umoci([
            "gc",
            "--layout",
            "img",
            "--dry-run",
            "--keep",
            "release-*",
            "--keep",
            "latest",
        ])
        .ok();
    assert!(plan.starts_with("tag nightly\nwould remove 0 blobs"), "{plan}");
    let all = env
        .umoci(["gc", "--layout", "img", "--dry-run", "--json", "--keep", "30d"])
        .ok();
    assert!(all.contains("\"tags\":[]"), "{all}");
    // What is most likely a slip removes nothing.
    for (keep, says) in [
        (&[""][..], "invalid --keep: an empty pattern keeps nothing"),
        (
            &["latest", "30"],
            "no tag is called \"30\", and it is no duration such as 30d; nothing is removed",
        ),
        (
            &["latest", "30 Days"],
            "no tag is called \"30 Days\", and it is no duration such as 30d; nothing is removed",
        ),
        (&["LATEST"], "of 3 tags none is kept; nothing is removed"),
    ] {
        let keep = keep.iter().flat_map(|keep| ["--keep", keep]);
        let why = env
            .umoci(["gc", "--layout", "img"].into_iter().chain(keep))
            .fails();
        assert_eq!(why, says);
        assert_eq!(env.umoci(["ls", "--layout", "img"]).ok().lines().count(), 3);
    }
    env.umoci(["gc", "--layout", "img", "--keep", "release-*", "--keep", "latest"])
        .ok();
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\nrelease-1\n");
    env.umoci(["ref", "restore", "--layout", "img", "nightly"]).ok();
    env.umoci(["stat", "--image", "img:nightly"]).ok();
    let why = env
        .umoci(["gc", "--layout", "img", "--keep", "a[", "--dry-run"])
        .fails();
    assert!(
        why.starts_with("invalid --keep: neither a duration nor a pattern: \"a[\""),
        "{why}"
    );
}

#[test]
fn entries_that_lost_their_tag_go_when_asked_and_a_full_count_is_believed() {
    let image = Image::new();
    let env = &image.env;
    env.sh("jq -c 'del(.manifests[0].annotations)' img/index.json >i && mv i img/index.json");
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(
        env.sh("ls img/blobs/sha256 | wc -l").trim(),
        "4",
        "an entry without a tag keeps its image"
    );
    env.umoci(["gc", "--layout", "img", "--full"]).ok();
    assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4");
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    assert_eq!(
        env.sh("ls img/blobs/sha256; jq -c .manifests img/index.json"),
        "[]\n"
    );
}

#[test]
fn what_is_attached_keeps_its_entry_as_long_as_its_image_stays() {
    let image = Image::new();
    let env = &image.env;
    let attach = |to: &str| {
        let words = ["attach", "--to", to, "--artifact-type", "example/a"];
        env.umoci(words).ok().trim().to_owned()
    };
    env.umoci(["config", "--image", "img", "--tag", "other", "--author", "x"])
        .ok();
    let one = attach("img");
    let above = attach(&format!("img@{one}"));
    let other = attach("img:other");
    let listed = || env.sh("jq -r '.manifests[].digest' img/index.json");
    let before = listed();
    // An image that lost its tag goes, and what is about it.
    env.umoci(["rm", "--image", "img:other"]).ok();
    let plan = env
        .umoci(["gc", "--layout", "img", "--untagged", "--dry-run"])
        .ok();
    assert!(plan.starts_with(&format!("untagged {other}\n")), "{plan}");
    assert!(plan.contains("would remove 3 blobs"), "{plan}");
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    let kept: Vec<&str> = [one.as_str(), &above].to_vec();
    assert_eq!(
        listed().lines().skip(1).collect::<Vec<_>>(),
        kept,
        "before: {before}"
    );
    assert!(!env.sh("ls img/blobs/sha256").contains(&other[7..]));
    env.umoci(["fsck", "--layout", "img"]).ok();
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    assert_eq!(listed(), "");
    // Of what nobody here has, an entry is what keeps it, and is dropped when asked.
    let env = &Image::new().env;
    let one = env
        .umoci(["attach", "--to", "img", "--artifact-type", "example/a"])
        .ok();
    env.sh("jq -c 'del(.manifests[0])' img/index.json >i && mv i img/index.json");
    env.sh(&format!(
        "jq -r .subject.digest img/blobs/sha256/{} | cut -d: -f2 | xargs -i rm img/blobs/sha256/{{}}",
        &one.trim()[7..]
    ));
    env.umoci(["gc", "--layout", "img"]).ok();
    assert!(env.read("img/index.json").contains(one.trim()));
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    assert_eq!(
        env.sh("jq -c .manifests img/index.json; ls img/blobs/sha256"),
        "[]\n"
    );
}

/// What other readers understand, or may, is not garbage.
#[test]
fn nothing_is_collected_of_documents_that_only_others_understand() {
    let manifests: [(&str, &[u8]); 6] = [
        ("a byte that is no UTF-8", b",\"annotations\":{\"x\":\"\xff\"}}"),
        ("half a character", b",\"annotations\":{\"x\":\"\\ud800\"}}"),
        ("a tab in a text", b",\"x\":\"\t\"}"),
        ("something behind the end", b"} x"),
        ("the end missing", b""),
        ("a name in upper case", b",\"X\":1}"),
    ];
    for (what, end) in manifests {
        let image = Image::new();
        let env = &image.env;
        let needed = [image.blob("config"), image.blob("layer0"), image.blob("layer1")];
        let mut bytes = std::fs::read(image.blob("manifest")).expect("read");
        while bytes.pop() != Some(b'}') {}
        bytes.extend_from_slice(end);
        if what.starts_with("a name") {
            let text = String::from_utf8(bytes).expect("text");
            bytes = text
                .replace("\"digest\"", "\"Digest\"")
                .replace("\"layers\"", "\"Layers\"")
                .into();
        }
        let entry = env.put("img", "application/vnd.oci.image.manifest.v1+json", &bytes);
        env.edit_index("img", Vec::clear);
        env.list("img", entry, Some("latest"));
        let done = env.umoci(["gc", "--layout", "img"]);
        if matches!(what, "a name in upper case" | "something behind the end") {
            done.ok();
        } else {
            let why = done.fails();
            assert!(
                why.contains("is listed as a manifest or index and is no JSON document"),
                "{why}"
            );
        }
        assert!(needed.iter().all(|blob| blob.exists()), "{what}");
    }
}

#[test]
fn nothing_is_collected_of_an_index_json_that_only_others_understand() {
    for (what, from, to) in [
        (
            "half a character",
            "\"annotations\":{",
            "\"annotations\":{\"x\":\"\\ud800\",",
        ),
        ("another spelling", "\"manifests\"", "\"Manifests\""),
        (
            "another spelling beside",
            "\"manifests\"",
            "\"manifests\":[],\"MANIFESTS\"",
        ),
    ] {
        let image = Image::new();
        let env = &image.env;
        let path = env.path("img/index.json");
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).expect("write");
        let done = env.umoci(["gc", "--layout", "img"]);
        if what.starts_with("another") {
            let why = done.fails();
            assert!(why.contains("is not spelled \"manifests\""), "{why}");
        } else {
            done.ok();
        }
        assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4", "{what}");
    }
}
