// SPDX-License-Identifier: Apache-2.0
//! Documents that lie about what they are, or lead in circles.

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
        for words in [
            &["stat", "--image", "img"][..],
            &["export", "--image", "img", "copy"],
            &["import", "--layout", "new", "img:latest"],
        ] {
            let _ = room.umoci(words);
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
        ] {
            let output = room.umoci(words);
            let text = format!("{}{}", output.stdout, output.stderr);
            let control = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{name}: {text:?}");
            assert!(text.lines().count() < 6, "{name}: {text:?}");
        }
        let words = ["gc", "--layout", "img"];
        let _ = room.umoci(&words);
        room.assert_untouched(name);
    }
}
