// SPDX-License-Identifier: Apache-2.0
//! Documents that lie about what they are, or lead in circles.

use umoci::digest::Digest;

use super::{Room, Who, ways};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn documents_that_lie_are_refused() {
    let descriptor = |digest: &str, size: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{size}}}"#
        )
    };
    let good = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let manifest = |digest: &str, size: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[]}}"#,
            descriptor(digest, size)
        )
    };
    let nested = |n: usize| format!("{{\"schemaVersion\":2,\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let both = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
        descriptor(good, "2")
    );
    let cases: Vec<(&str, &str, String, &str)> = vec![
        (
            "a manifest that is an index too",
            MANIFEST,
            both.clone(),
            "malicious manifest",
        ),
        ("an index that is a manifest too", INDEX, both, "malicious image"),
        (
            "a digest of an unknown algorithm",
            MANIFEST,
            manifest("md5:d41d8cd98f00b204e9800998ecf8427e", "2"),
            "md5",
        ),
        (
            "a digest in upper case",
            MANIFEST,
            manifest(&good.to_uppercase(), "2"),
            "SHA256",
        ),
        (
            "a digest with upper case digits",
            MANIFEST,
            manifest(&good.replace("ff8a", "FF8A"), "2"),
            "FF8A",
        ),
        (
            "a digest that is a path",
            MANIFEST,
            manifest("sha256:../../../../outside/secret", "10"),
            "outside/secret",
        ),
        (
            "a digest with a path for an algorithm",
            MANIFEST,
            manifest("../../outside:secret", "10"),
            "outside",
        ),
        (
            "a digest that is too short",
            MANIFEST,
            manifest("sha256:44136fa355b3", "2"),
            "44136fa355b3",
        ),
        ("a negative size", MANIFEST, manifest(good, "-1"), "size"),
        (
            "a size that no blob can have",
            MANIFEST,
            manifest(good, "9223372036854775807"),
            "9223372036854775807",
        ),
        (
            "a size that is text",
            MANIFEST,
            manifest(good, "\"2\""),
            "expected i64",
        ),
        (
            "arrays in arrays without end",
            MANIFEST,
            nested(200_000),
            "recursion limit",
        ),
        (
            "a document that is no JSON",
            MANIFEST,
            "\u{1b}[31mred".to_owned(),
            "expected value",
        ),
        (
            "a document that ends early",
            MANIFEST,
            manifest(good, "2")[..80].to_owned(),
            "EOF",
        ),
    ];
    for (who, resolver) in ways() {
        for (what, media_type, document, words) in &cases {
            let room = Room::new(who, resolver);
            room.put(b"{}");
            room.tag(media_type, document.as_bytes());
            let line = room.unpack(&[]).fails();
            assert!(line.contains(words), "{what}: {line}");
            assert!(!line.chars().any(char::is_control), "{what}: {line:?}");
            room.assert_cleaned(what);
            room.assert_untouched(what);
        }
    }
}

#[test]
fn indexes_without_end_are_refused() {
    let entry =
        |digest: &str, size: usize| format!(r#"{{"mediaType":"{INDEX}","digest":"{digest}","size":{size}}}"#);
    for (who, resolver) in ways() {
        // A thousand levels.
        let room = Room::new(who, resolver);
        let mut document = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
        for _ in 0..1000 {
            let digest = room.put(document.as_bytes());
            let child = entry(&digest.to_string(), document.len());
            document = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
        }
        room.tag(INDEX, document.as_bytes());
        let line = room.unpack(&[]).fails();
        assert!(line.contains("nested deeper than 32 levels"), "{line}");
        room.umoci(&["init", "--layout", "new"]).ok();
        for words in [
            &["stat", "--image", "img"][..],
            &["export", "--layout", "img", "copy"],
            &["import", "--layout", "new", "img:latest"],
        ] {
            let line = room.umoci(words).fails();
            assert!(line.contains("nested deeper than 32 levels"), "{line}");
        }
        room.env.sh("rm -rf work/copy work/new work/img/.umoci");
        room.assert_cleaned("levels");
        // One that names itself cannot have the right digest.
        let room = Room::new(who, resolver);
        let own = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let child = entry(own, 300);
        let document = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
        room.tag(INDEX, document.as_bytes());
        room.env.write(
            &format!("work/img/blobs/sha256/{}", &own[7..]),
            format!("{document:<300}"),
        );
        let line = room.unpack(&[]).fails();
        assert!(line.contains("digest mismatch"), "{line}");
        room.assert_untouched("levels");
    }
}

/// An entry of an index.
fn entry(media_type: &str, digest: &impl std::fmt::Display, size: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
}

/// An index with these entries.
fn index(entries: &[String]) -> String {
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
}

/// An image, its documents made longer by blanks; returns its entry.
fn padded(room: &Room, manifest: usize, config: usize) -> String {
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#
        .to_owned()
        + &" ".repeat(config);
    let digest = room.put(config.as_bytes());
    let config = entry(
        "application/vnd.oci.image.config.v1+json",
        &digest,
        config.len(),
        "",
    );
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[]}}"#)
        + &" ".repeat(manifest);
    entry(MANIFEST, &room.put(text.as_bytes()), text.len(), "")
}

const MIB: usize = 1 << 20;

#[test]
fn indexes_that_multiply_take_neither_time_nor_memory() {
    type Make = fn(&Room) -> String;
    let cases: [(&str, Make, &str); 8] = [
        (
            "ten entries of ten entries, nine times",
            |room| {
                let mut child = padded(room, 0, 0);
                for _ in 0..9 {
                    let text = index(&vec![child; 10]);
                    child = entry(INDEX, &room.put(text.as_bytes()), text.len(), "");
                }
                index(&[child])
            },
            "",
        ),
        (
            "a large entry above many",
            |room| {
                let absent = |n: usize| entry(MANIFEST, &Digest::sha256(&n.to_le_bytes()), 7, "");
                let mut below: Vec<String> = (0..20_000).map(absent).collect();
                below.push(padded(room, 0, 0));
                let text = index(&below);
                let said = format!(r#","annotations":{{"a":"{}"}}"#, "x".repeat(MIB));
                index(&[entry(INDEX, &room.put(text.as_bytes()), text.len(), &said)])
            },
            "",
        ),
        (
            "many entries for one large image",
            |room| index(&vec![padded(room, 4 * MIB - 1000, 4 * MIB - 1000); 20_000]),
            "",
        ),
        (
            "many entries of a wrong size for one large image",
            |room| {
                let image = padded(room, 4 * MIB - 1000, 0);
                let digest = image.split('"').nth(7).expect("digest");
                let wrong = |n: usize| entry(MANIFEST, &digest, MIB + n, "");
                index(&(0..20_000).map(wrong).collect::<Vec<_>>())
            },
            "no image for",
        ),
        (
            "many images with one large config",
            |room| {
                index(
                    &(0..500)
                        .map(|n| padded(room, n, 4 * MIB - 1000))
                        .collect::<Vec<_>>(),
                )
            },
            "",
        ),
        (
            "many large indexes",
            |room| {
                let one = |n: usize| {
                    let said = format!(r#","annotations":{{"a":"{n}{}"}}"#, "x".repeat(3 * MIB));
                    let text = index(&[entry(MANIFEST, &Digest::sha256(b""), 0, &said)]);
                    entry(INDEX, &room.put(text.as_bytes()), text.len(), "")
                };
                index(&(0..6).map(one).collect::<Vec<_>>())
            },
            "image indexes of more than 16777216 bytes together",
        ),
        (
            "as many entries as have room",
            |_| {
                let absent = |n| {
                    format!(
                        r#"{{"digest":"{}","size":1}}"#,
                        Digest::sha256(&usize::to_le_bytes(n))
                    )
                };
                index(&(0..43_000).map(absent).collect::<Vec<_>>())
            },
            "no image for",
        ),
        (
            "values without end",
            |_| {
                format!(
                    r#"{{"x":[0{}],"schemaVersion":2,"manifests":[]}}"#,
                    ",0".repeat(2 * MIB - 100)
                )
            },
            "image indexes of more than 300000 JSON values together",
        ),
    ];
    let (who, resolver) = ways()[0];
    for (what, make, refused) in cases {
        let room = Room::new(who, resolver);
        let document = make(&room);
        room.tag(INDEX, document.as_bytes());
        // The entries of the index itself, of which no more is read.
        let shown = room.umoci(&["manifest", "show", "img:latest"]);
        if what == "values without end" {
            let line = shown.fails();
            assert!(line.contains("values"), "{what}: {line}");
        } else {
            shown.ok();
        }
        for (words, reads, picks) in [
            (&["stat", "--image", "img"][..], true, false),
            (&["stat", "--image", "img", "--json"], true, false),
            (&["tag", "--image", "img", "other"], true, false),
            (
                &["unpack", "--image", "img", "--platform", "linux/amd64", "b"],
                true,
                true,
            ),
            (&["ref", "list", "--layout", "img"], false, false),
            (&["referrers", "img"], false, false),
            (&["du", "--layout", "img"], false, false),
            (&["gc", "--layout", "img"], false, false),
            (&["fsck", "--layout", "img"], false, false),
        ] {
            let out = room.umoci(words);
            // Sizes and documents of which fsck has something to say.
            if words[0] == "fsck"
                && out.code == Some(2)
                && (what.contains("wrong") || what.contains("values"))
            {
                continue;
            }
            if !refused.is_empty() && reads && (picks || refused.starts_with("image indexes")) {
                let line = out.fails();
                assert!(line.contains(refused), "{what}: {words:?}: {line}");
            } else {
                out.ok();
            }
        }
        room.assert_untouched(what);
    }
}

#[test]
fn what_is_about_what_is_about_an_image_takes_no_time() {
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    let image = padded(&room, 0, 0);
    let empty = entry("application/vnd.oci.empty.v1+json", &room.put(b"{}"), 2, "");
    let mut entries = vec![image];
    for n in 0..5000 {
        let text = format!(
            r#"{{"schemaVersion":2,"artifactType":"a/b","config":{empty},"layers":[],"subject":{},"n":{n}}}"#,
            entries.last().expect("entry")
        );
        entries.push(entry(MANIFEST, &room.put(text.as_bytes()), text.len(), ""));
    }
    room.tag(INDEX, b"{}");
    for tagged in [true, false] {
        let name = r#","annotations":{"org.opencontainers.image.ref.name":"latest"}}"#;
        if tagged {
            let first = entries[0].strip_suffix('}').expect("entry").to_owned() + name;
            entries.insert(0, first);
        } else {
            // The image itself is no longer listed.
            entries.drain(..2);
        }
        room.env.write("work/img/index.json", index(&entries));
        for words in [
            &["du", "--layout", "img"][..],
            &["ref", "list", "--layout", "img"],
            &["gc", "--layout", "img", "--dry-run"],
            &["gc", "--layout", "img", "--dry-run", "--untagged"],
            &["gc", "--layout", "img"],
            &["fsck", "--layout", "img"],
        ] {
            room.umoci(words).ok();
        }
        let left = room.env.sh("ls work/img/blobs/sha256 | wc -l");
        assert_eq!(left.trim(), if tagged { "5003" } else { "0" });
    }
    room.assert_untouched("chain");
}

#[test]
fn documents_of_any_size_are_not_read_into_memory() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.tag(MANIFEST, b"{}");
        // What the descriptor claims is refused before anything is read; a file that is larger is not read further.
        let index = room.env.read("work/img/index.json");
        room.env.write(
            "work/img/index.json",
            index.replace("\"size\":2", "\"size\":3000000000"),
        );
        let line = room.unpack(&[]).fails();
        assert!(line.contains("larger than"), "{line}");
        room.env.sh("truncate -s 3G work/img/index.json");
        let line = room.unpack(&[]).fails();
        assert!(line.contains("index.json"), "{line}");
        room.assert_untouched("size");
    }
}

#[test]
fn a_blob_that_looks_like_a_document_is_learned_in_little_memory_whatever_is_in_it() {
    let room = Room::new(Who::Root, "openat2");
    let layer = Digest::sha256(b"needed");
    let (text, number) = ("x".repeat(140 * MIB), "1".repeat(140 * MIB));
    let document = format!(r#"{{"{text}":0,"number":{number},"digest":"{layer}"}}"#);
    let kept = room.put(b"needed");
    let odd = entry(
        "application/vnd.example.odd",
        &room.put(document.as_bytes()),
        document.len(),
        "",
    );
    let manifest = format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{odd},"layers":[]}}"#);
    room.tag(MANIFEST, manifest.as_bytes());
    room.umoci(&["gc", "--layout", "img", "--grace", "0s"]).ok();
    room.umoci(&["blob", "show", "--layout", "img", &kept.to_string()])
        .ok();
    room.umoci(&["init", "--layout", "new"]).ok();
    room.umoci(&["import", "--layout", "new", "img:latest"]).ok();
    room.assert_untouched("long");
}

#[test]
fn names_of_refs_neither_lead_anywhere_nor_drive_a_terminal() {
    let room = Room::new(Who::Plain, "openat2");
    room.tag(MANIFEST, b"{}");
    let index = room.env.read("work/img/index.json");
    for name in [
        "../../outside/secret",
        "/etc/passwd",
        "a\\u001b[31mb",
        "a\\nb",
        "a\\u009bb",
        "\\u202egnp.exe",
        "",
    ] {
        room.env.write(
            "work/img/index.json",
            index.replace("\"latest\"", &format!("\"{name}\"")),
        );
        for words in [
            &["list", "--layout", "img"][..],
            &["ref", "list", "--layout", "img"],
            &["list", "--layout", "img", "--json"],
            &["ref", "list", "--layout", "img", "--json"],
        ] {
            let output = room.umoci(words);
            let text = format!("{}{}", output.stdout, output.stderr);
            let harm = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert_eq!(text.find(harm), None, "{name}: {text:?}");
            assert!(text.lines().count() < 6, "{name}: {text:?}");
        }
        let words = ["gc", "--layout", "img"];
        let _ = room.umoci(&words);
        room.assert_untouched(name);
    }
}
