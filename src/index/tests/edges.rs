// SPDX-License-Identifier: Apache-2.0
//! Tests of the rule that says which blobs a document names.

use std::io::Cursor;

use crate::digest::Digest;
use crate::index::edges::{Content, MAX_HELD, MAX_WHOLE, each_link, read};
use crate::index::rows::{Edge, Link};

fn d(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn content(text: &str) -> Content {
    read(Cursor::new(text), &d(text), text.len() as u64).expect("read")
}

fn links(text: &str) -> Vec<(Edge, Digest, String)> {
    let Content::Document(links) = content(text) else {
        panic!("no document: {text}");
    };
    links
        .into_iter()
        .map(|link| (link.edge, link.digest, link.media_type))
        .collect()
}

/// Puts descriptors and digests in place of letters: `A` and `B` are descriptors, `a`, `b` and `c` digests.
fn filled(text: &str) -> String {
    let mut out = text.to_owned();
    for letter in ["a", "b", "c"] {
        let digest = d(letter);
        let descriptor = format!(r#"{{"mediaType":"t/{letter}","digest":"{digest}","size":1}}"#);
        out = out.replace(&format!("${}", letter.to_uppercase()), &descriptor);
        out = out.replace(&format!("${letter}"), &digest.to_string());
    }
    out
}

#[test]
fn a_plain_document_has_the_edges_that_it_declares() {
    let (a, b, c) = (d("a"), d("b"), d("c"));
    let declared = |digest, media_type: &str| (Edge::Declared, digest, media_type.to_owned());
    let subject = (Edge::Subject, c, String::new());
    let annotated = r#"{"mediaType":"t/a","digest":"$a","size":1,"annotations":{"x":"$c"},"urls":["$c"]}"#;
    for (text, want) in [
        (
            r#" {"config":$A,"layers":[$B],"subject":$C,"annotations":{"base":"$c"},"x":"$c"}"#.to_owned(),
            vec![declared(a, "t/a"), declared(b, "t/b"), subject.clone()],
        ),
        (
            format!(r#"{{"manifests":[{annotated}],"x":{{"digest":"$b"}}}}"#),
            vec![declared(a, "t/a")],
        ),
        (r#"{"manifests":null,"subject":$C}"#.to_owned(), vec![subject]),
        (
            r#"{"os":"linux","config":{"Labels":{"base":"$a"}},"rootfs":{"diff_ids":["$b"]}}"#.to_owned(),
            vec![],
        ),
        (r#"{"os":"linux","config":null,"rootfs":{}}"#.to_owned(), vec![]),
        ("{}".to_owned(), vec![]),
    ] {
        assert_eq!(links(&filled(&text)), want, "{text}");
    }
}

#[test]
fn a_document_of_several_readings_mentions_all_that_stands_in_it() {
    let (a, b, c) = (d("a"), d("b"), d("c"));
    for (text, declared, subjects, mentioned) in [
        // Kinds that no or few readers know.
        (r#"{"x":"$a","y":[{"digest":"$b"}]}"#, vec![], vec![], vec![a, b]),
        (
            r#"{"artifactType":"x/y","blobs":[$A],"subject":$C}"#,
            vec![a],
            vec![c],
            vec![c],
        ),
        (
            r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"$a"}]}"#,
            vec![],
            vec![],
            vec![a],
        ),
        // Members that another reader takes for those of a kind, or that stand twice.
        (
            r#"{"config":$A,"layers":[],"x":"$b","Layers":1}"#,
            vec![],
            vec![],
            vec![a, b],
        ),
        (
            r#"{"manifests":[$A],"manife\u017fts":[$B]}"#,
            vec![],
            vec![],
            vec![a, b],
        ),
        (r#"{"manifests":[$A],"blobs":[$B]}"#, vec![a], vec![], vec![b]),
        (
            r#"{"manifests":[$A],"x":1,"x":"$b","subject":$C}"#,
            vec![a],
            vec![c],
            vec![b, c],
        ),
        (
            r#"{"config":$A,"layers":[],"subject":$B,"subject":$C}"#,
            vec![],
            vec![b, c],
            vec![a, b, c],
        ),
        (r#"{"os":"","OS":"","rootfs":["$a"]}"#, vec![], vec![], vec![a]),
        (r#"{"os":"","rootfs":{},"layers":[$A]}"#, vec![], vec![], vec![a]),
        (
            r#"{"os":"","rootfs":{},"config":{"digest":"$a"}}"#,
            vec![],
            vec![],
            vec![a],
        ),
        // Descriptors within or beside others.
        (
            r#"{"manifests":[{"mediaType":"t/a","digest":"$a","size":1,"x":[{"digest":"$b"}]}]}"#,
            vec![a],
            vec![],
            vec![b],
        ),
        (
            r#"{"manifests":[{"digest":"$a","size":1,"annotations":{"Digest":"$b"}}]}"#,
            vec![a],
            vec![],
            vec![b],
        ),
        (r#"{"config":"$a","layers":["$b"]}"#, vec![], vec![], vec![a, b]),
        // Bytes that are no single JSON object.
        (r#"{"manifests":[$A]} {"x":"$b"}"#, vec![a], vec![], vec![b]),
        (r#"{"manifests":[$A],}"#, vec![], vec![], vec![a]),
        (r#" [["$a"],"$b"]"#, vec![], vec![], vec![a, b]),
        ("\u{feff}{\"x\":\"$a\"}", vec![], vec![], vec![a]),
    ] {
        let text = filled(text);
        let found = links(&text);
        let of = |edge| {
            let found = found.iter().filter(|(found, _, _)| *found == edge);
            found.map(|(_, digest, _)| *digest).collect::<Vec<_>>()
        };
        assert_eq!(of(Edge::Declared), declared, "{text}");
        assert_eq!(of(Edge::Subject), subjects, "{text}");
        assert_eq!(of(Edge::Mentioned), mentioned, "{text}");
    }
}

#[test]
fn bytes_that_are_no_document_are_opaque_and_damage_is_an_error() {
    let list = format!("[\"{}\"]\0", d("a"));
    for text in ["", "\u{1f}", "[1]", "{ not json", "{\"a\":", &list] {
        assert_eq!(content(text), Content::Opaque, "{text}");
    }
    let err = read(Cursor::new("{}"), &d("other"), 2).expect_err("damaged");
    assert!(
        err.kind() == crate::error::ErrorKind::Corrupt && err.to_string().contains("digest mismatch"),
        "{err}"
    );
}

#[test]
fn very_many_edges_are_given_and_not_held() {
    let names: Vec<String> = (0..=2 * MAX_HELD)
        .map(|n| format!("\"{}\"", d(&n.to_string())))
        .collect();
    let text = format!(r#"{{"x":[{}],"subject":"{}"}}"#, names.join(","), d("s"));
    let (digest, size) = (d(&text), text.len() as u64);
    assert_eq!(content(&text), Content::Large);
    let mut all = Vec::new();
    let take = |link: Link| {
        all.push(link);
        Ok(())
    };
    each_link(Cursor::new(&text), &digest, size, take).expect("links");
    let mentioned = all.iter().filter(|link| link.edge == Edge::Mentioned);
    assert_eq!(mentioned.count(), names.len() + 1);
    assert!(all.contains(&Link::plain(Edge::Subject, d("s"))));
    let full = || crate::error::Error::new(crate::error::ErrorKind::Io, "full");
    let err = each_link(Cursor::new(&text), &digest, size, |_| Err(full())).expect_err("stopped");
    assert_eq!(err.to_string(), "full");
}

#[test]
fn a_document_larger_than_any_is_searched_as_text() {
    let text = format!("{{\"config\":\"{}\",{}}}", d("a"), " ".repeat(MAX_WHOLE as usize));
    assert_eq!(
        content(&text),
        Content::Document(vec![Link::plain(Edge::Mentioned, d("a"))])
    );
}
