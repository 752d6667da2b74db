// SPDX-License-Identifier: Apache-2.0
//! `umoci gc`

use serde_json::{Value, json};
use umoci::digest::Digest;

use crate::support::{Env, Image};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

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
            report["dryRun"].as_bool(),
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
    type Edit<'a> = &'a dyn Fn(&str) -> String;
    let end = |text: &str, end: &str| text.trim_end().trim_end_matches('}').to_owned() + end;
    let manifests: [(&str, Edit<'_>); 10] = [
        ("half a character", &|m| {
            end(m, r#","annotations":{"x":"\ud800"}}"#)
        }),
        ("a tab in a text", &|m| end(m, ",\"x\":\"\t\"}")),
        ("something behind the end", &|m| end(m, "} x")),
        ("the end missing", &|m| end(m, "")),
        ("very deep", &|m| {
            let (open, close) = ("[".repeat(500), "]".repeat(500));
            end(m, &format!(",\"x\":{open}{close}}}"))
        }),
        ("much space before it", &|m| " ".repeat(20_000) + m),
        ("digests that are escaped", &|m| {
            end(&m.replace("sha256:", "\\u0073ha256\\u003a"), ",}")
        }),
        ("names in upper case", &|m| {
            m.replace("\"digest\"", "\"Digest\"")
                .replace("\"layers\"", "\"Layers\"")
        }),
        ("names with a long s", &|m| {
            m.replace("\"digest\"", "\"digeſt\"")
                .replace("\"layers\"", "\"layerſ\"")
        }),
        ("a digest twice", &|m| {
            let other = Digest::sha256(b"");
            m.replace("\"digest\"", &format!("\"digest\":\"{other}\",\"DIGEST\""))
        }),
    ];
    let utf8: (&str, Edit<'_>) = ("a byte that is no UTF-8", &|m| {
        end(m, ",\"annotations\":{\"x\":\"@\"}}")
    });
    for (what, edit) in manifests.into_iter().chain([utf8]) {
        for media_type in [MANIFEST, "application/vnd.oci.artifact.manifest.v1+json"] {
            let image = Image::new();
            let env = &image.env;
            let needed = [image.blob("config"), image.blob("layer0"), image.blob("layer1")];
            let text = std::fs::read_to_string(image.blob("manifest")).expect("read");
            let mut bytes = edit(&text).into_bytes();
            for byte in bytes.iter_mut().filter(|byte| **byte == b'@') {
                *byte = 0xff;
            }
            let entry = env.put("img", media_type, &bytes);
            env.edit_index("img", Vec::clear);
            env.list("img", entry, Some("latest"));
            for _ in 0..2 {
                env.umoci(["gc", "--layout", "img"]).ok();
                assert!(needed.iter().all(|blob| blob.exists()), "{what}, {media_type}");
            }
        }
    }
}

/// A document that is a manifest to others only, or that they have for another kind, keeps all that stands in it.
#[test]
fn nothing_is_collected_of_documents_that_others_have_for_something_else() {
    for (what, document) in [
        (
            "an entry of docker save",
            r#"{"Config":"X","RepoTags":["a:b"],"Layers":["Y"]}"#,
        ),
        (
            "docker inspect",
            r#"{"Id":"X","Os":"linux","Architecture":"a","RootFS":{"Layers":["Y"]}}"#,
        ),
        ("a list", r#"{"Manifests":["X","Y"]}"#),
        (
            "a manifest and more",
            r#"{"config":{},"layers":[],"LAYERS":["X",{"digest":"Y"}]}"#,
        ),
        (
            "a media type twice",
            r#"{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"M","MediaType":"application/vnd.oci.image.layer.v1.tar"}]}"#,
        ),
    ] {
        let env = Env::new();
        env.umoci(["init", "--layout", "img"]).ok();
        let digest = |entry: &Value| entry["digest"].as_str().expect("digest").to_owned();
        let (x, y) = (env.put("img", "t/x", b"x"), env.put("img", "t/y", b"y"));
        let manifest = format!(r#"{{"config":{x},"layers":[{y}]}}"#);
        let manifest = env.put("img", MANIFEST, manifest.as_bytes());
        let text = document
            .replace("\"X\"", &format!("{:?}", digest(&x)))
            .replace("\"Y\"", &format!("{:?}", digest(&y)))
            .replace("\"M\"", &format!("{:?}", digest(&manifest)));
        if !what.starts_with("a media type") {
            std::fs::remove_file(env.path(format!("img/blobs/sha256/{}", &digest(&manifest)[7..])))
                .expect("remove");
        }
        let before = env.blobs("img") + 1;
        let entry = env.put("img", "application/x-thing", text.as_bytes());
        env.list("img", entry, Some("t"));
        env.umoci(["gc", "--layout", "img"]).ok();
        assert_eq!(env.blobs("img"), before, "{what}");
    }
}

/// What one image has for a layer may be a document to another, whichever is met first.
#[test]
fn a_layer_that_is_a_document_to_somebody_keeps_what_it_names() {
    let document = "application/vnd.example.doc+json";
    let others: Vec<Value> = (0..70_000)
        .map(|n| json!({"digest": Digest::sha256(format!("{n}").as_bytes()).to_string(), "size": 1}))
        .collect();
    for (what, media_type, between) in [
        ("a config", document, &[][..]),
        ("a manifest", MANIFEST, &[]),
        ("a manifest, behind very many", MANIFEST, &others),
    ] {
        for looks_first in [false, true] {
            let env = Env::new();
            env.umoci(["init", "--layout", "img"]).ok();
            let needed = env.put("img", "t/x", b"needed");
            let inner = json!({"any": needed}).to_string();
            let mut inner = env.put("img", "application/vnd.oci.image.layer.v1.tar", inner.as_bytes());
            let config = env.put("img", "t/c", b"{}");
            let one = json!({"config": config, "layers": [inner]}).to_string();
            let one = env.put("img", MANIFEST, one.as_bytes());
            env.list("img", one, Some("one"));
            if looks_first {
                env.umoci(["blob", "list", "--layout", "img"]).ok();
            }
            let as_layer = inner.clone();
            inner["mediaType"] = media_type.into();
            let list = [&[as_layer][..], between, &[inner]].concat();
            let two = env.put("img", "t/i", json!({"manifests": list}).to_string().as_bytes());
            env.list("img", two, Some("two"));
            let before = env.blobs("img");
            env.umoci(["gc", "--layout", "img"]).ok();
            assert_eq!(env.blobs("img"), before, "{what}, {looks_first}");
            env.umoci(["fsck", "--layout", "img"]).ok();
        }
    }
}

/// A file that is empty or zeros stops a collection, whoever needs it, and is read again when it is whole.
#[test]
fn a_document_that_was_empty_when_it_was_seen_is_read_when_it_is_whole() {
    for hold in ["tag", "lease"] {
        for is_empty in [true, false] {
            let env = Env::new();
            env.umoci(["init", "--layout", "img"]).ok();
            let needed = env.put("img", "t/x", b"needed");
            let text = json!({"any": needed}).to_string();
            let artifact = env.put("img", "application/vnd.example.artifact+json", text.as_bytes());
            let digest = artifact["digest"].as_str().expect("digest").to_owned();
            let file = format!("img/blobs/sha256/{}", &digest[7..]);
            env.write(&file, vec![0; if is_empty { 0 } else { text.len() }]);
            if hold == "tag" {
                env.list("img", artifact, Some("t"));
            } else {
                env.umoci(["lease", "create", "--layout", "img", "hold", &digest])
                    .ok();
            }
            env.umoci(["blob", "list", "--layout", "img"]).ok();
            for _ in 0..2 {
                let why = env.umoci(["gc", "--layout", "img"]).fails();
                assert!(
                    why.contains(&digest) && why.contains("is damaged"),
                    "{hold}: {why}"
                );
                assert_eq!(env.blobs("img"), 2, "{hold}");
            }
            env.write(&file, &text);
            env.umoci(["gc", "--layout", "img"]).ok();
            assert_eq!(env.blobs("img"), 2, "{hold}");
            env.umoci(["fsck", "--layout", "img"]).ok();
        }
    }
}

#[test]
fn an_entry_that_has_a_tag_to_others_is_not_untagged() {
    let image = Image::new();
    let env = &image.env;
    let text = env.read("img/index.json");
    env.write(
        "img/index.json",
        text.replace("\"annotations\"", "\"Annotations\""),
    );
    env.umoci(["gc", "--layout", "img", "--untagged"]).ok();
    assert!(env.read("img/index.json").contains("Annotations"));
    assert_eq!(env.blobs("img"), 4);
}

/// Quotes and escapes in an entry make nothing of it unclear: what an annotation names is not kept for it.
#[test]
fn what_annotations_of_a_well_formed_image_name_is_not_kept() {
    let image = Image::new();
    let env = &image.env;
    let base = env.put("img", "t/x", b"base");
    env.edit_index("img", |entries| {
        let annotations = &mut entries[0]["annotations"];
        annotations["org.opencontainers.image.base.digest"] = base["digest"].clone();
        annotations["org.opencontainers.image.description"] = "a \"b\" \\ Digest".into();
    });
    env.umoci(["gc", "--layout", "img"]).ok();
    assert_eq!(env.blobs("img"), 4);
    env.umoci(["gc", "--layout", "img", "--full"]).ok();
    assert!(!env.path("img/.umoci/index.redb.new").exists());
}

/// In whatever order the blobs are met, and whoever looks first.
#[test]
fn what_is_named_as_a_manifest_after_it_was_seen_is_looked_at_again() {
    type First = fn(&Env, &Value);
    let first: [(&str, First); 4] = [
        ("as a file", |env, _| {
            drop(env.umoci(["blob", "list", "--layout", "img"]).ok())
        }),
        ("as a layer", |env, manifest| {
            let mut layer = manifest.clone();
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
            let text = json!({"config": layer, "layers": [layer]}).to_string();
            let other = env.put("img", MANIFEST, text.as_bytes());
            env.list("img", other, Some("other"));
            env.umoci(["blob", "list", "--layout", "img"]).ok();
        }),
        ("in a lease", |env, manifest| {
            let digest = manifest["digest"].as_str().expect("digest");
            env.umoci(["lease", "create", "--layout", "img", "hold", digest])
                .ok();
        }),
        ("by a check", |env, _| {
            drop(env.umoci(["fsck", "--layout", "img"]))
        }),
    ];
    for (what, first) in first {
        for is_damaged in [false, true] {
            let env = &Env::new();
            env.umoci(["init", "--layout", "img"]).ok();
            let layer = env.put("img", "application/vnd.oci.image.layer.v1.tar", b"x");
            let manifest = json!({"config": layer, "layers": [layer]}).to_string();
            let manifest = env.put("img", MANIFEST, manifest.as_bytes());
            let path = |entry: &Value| {
                let digest = entry["digest"].as_str().expect("digest");
                env.path(format!("img/blobs/sha256/{}", &digest[7..]))
            };
            if is_damaged {
                let size = std::fs::metadata(path(&manifest)).expect("size").len();
                std::fs::write(path(&manifest), vec![0; size as usize]).expect("write");
            }
            first(env, &manifest);
            let index = json!({"manifests": [manifest]}).to_string();
            let index = env.put("img", "application/vnd.oci.image.index.v1+json", index.as_bytes());
            env.list("img", index, Some("index"));
            for _ in 0..3 {
                let done = env.umoci(["gc", "--layout", "img"]);
                if is_damaged {
                    let why = done.fails();
                    assert!(why.contains("digest mismatch"), "{what}: {why}");
                } else {
                    done.ok();
                }
                assert!(path(&layer).exists(), "{what}, damaged: {is_damaged}");
                let _ = env.umoci(["fsck", "--layout", "img"]);
            }
        }
    }
}

#[test]
fn an_entry_whose_digest_cannot_be_read_stops_a_collection() {
    for edit in [
        r#".manifests[0].digest |= "sha256:" + (.[7:] | ascii_upcase)"#,
        r#".manifests[0].digest |= "SHA256:" + .[7:]"#,
        ".manifests[0].digest |= .[7:]",
        ".manifests[0].digest |= .[:-1]",
        ".manifests[0].digest = null",
        "del(.manifests[0].digest)",
        r#".manifests[0] = "x""#,
        ".manifests[0] = null",
    ] {
        let image = Image::new();
        let env = &image.env;
        env.sh(&format!(
            "jq -c '{edit}' img/index.json >less; cp less img/index.json"
        ));
        for words in [vec![], vec!["--dry-run"], vec!["--full"]] {
            let gc = ["gc", "--layout", "img"].into_iter().chain(words);
            let why = env.umoci(gc.collect::<Vec<_>>()).fails();
            assert!(why.contains("index.json"), "{edit}: {why}");
            assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "4", "{edit}");
        }
        // Without any entry that names something the file is as one that was emptied.
        if !edit.contains("digest") {
            assert_eq!(env.umoci(["fsck", "--repair", "--layout", "img"]).code, Some(4));
            assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "latest\n", "{edit}");
        }
        env.umoci(["rm", "--image", "img:latest"]).ok();
        env.umoci(["gc", "--layout", "img"]).ok();
        assert_eq!(env.sh("ls img/blobs/sha256 | wc -l").trim(), "0", "{edit}");
    }
}

#[test]
fn a_repair_drops_entries_that_name_nothing_and_no_other() {
    let digest = "0123456789abcdef0123";
    for (entry, is_dropped) in [
        (r#""x""#.to_owned(), true),
        ("null".to_owned(), true),
        ("7".to_owned(), true),
        ("[]".to_owned(), true),
        ("{}".to_owned(), true),
        (r#"{"digest":null,"size":123456789012345}"#.to_owned(), true),
        (r#"{"mediaType":"a/b","annotations":{"a":"b"}}"#.to_owned(), true),
        (r#"{"digest":"x"}"#.to_owned(), false),
        (r#"{"Digest":"x"}"#.to_owned(), false),
        (
            r#"{"annotations":{"org.opencontainers.image.ref.name":"a"}}"#.to_owned(),
            false,
        ),
        (
            r#"{"Annotations":{"org.opencontainers.image.ref.name":"a"}}"#.to_owned(),
            false,
        ),
        (r#""\u0078""#.to_owned(), false),
        (format!("\"{digest}\""), false),
        (format!("[\"SHA256:{}\"]", digest.to_uppercase()), false),
    ] {
        let image = Image::new();
        let env = &image.env;
        let odd = env
            .read("img/index.json")
            .replace("\"manifests\":[", &format!("\"manifests\":[{entry},"));
        env.write("img/index.json", &odd);
        // Without garbage there is nothing to refuse.
        env.put("img", "text/plain", b"garbage");
        let gc = || env.umoci(["gc", "--layout", "img"]).fails();
        let says = "; umoci fsck --repair drops it";
        assert_eq!(gc().contains(says), is_dropped, "{entry}");
        assert_eq!(env.umoci(["fsck", "--layout", "img"]).code, Some(2), "{entry}");
        let out = env.umoci(["fsck", "--repair", "--layout", "img"]);
        assert_eq!(out.code, Some(if is_dropped { 4 } else { 2 }), "{entry}: {out:?}");
        if is_dropped {
            assert!(
                out.stdout
                    .contains("error (mended): index.json: entry 0 (<none>)"),
                "{out:?}"
            );
            assert_eq!(env.read("img/.umoci/quarantine/index.json"), odd, "{entry}");
            assert_eq!(env.umoci(["fsck", "--layout", "img"]).code, Some(0), "{entry}");
            env.umoci(["gc", "--layout", "img"]).ok();
        } else {
            assert_eq!(env.read("img/index.json"), odd, "{entry}");
            gc();
        }
        assert_eq!(
            image.env.umoci(["stat", "--image", "img:latest"]).code,
            Some(0),
            "{entry}"
        );
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
        ("another spelling with a long s", "\"manifests\"", "\"manifeſts\""),
        (
            "two digests",
            "\"digest\":\"",
            "\"digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"Digest\":\"",
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
