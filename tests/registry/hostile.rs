// SPDX-License-Identifier: Apache-2.0
//! A registry that lies, each lie a row: nothing wrong stands under a name afterwards, and no command hangs.

use std::time::{Duration, Instant};

use super::fake::{Answer, Asked, Content, Fake};
use crate::support::Env;
use umoci::digest::Digest;

/// A lie: the part of the requests that it is told in, what is answered, and the part of the message that names it.
type Row = (
    &'static str,
    &'static str,
    fn(&Content, &Asked) -> Answer,
    &'static str,
);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn manifest(bytes: impl Into<Vec<u8>>) -> Answer {
    Answer::new(200, bytes).header("content-type", MANIFEST)
}

/// Lies in the answers to requests of which a path contains the second word.
const ROWS: [Row; 19] = [
    (
        "other bytes in a blob",
        "blobs",
        |content, _| Answer::new(200, vec![0; content.layer.len()]),
        "digest mismatch",
    ),
    (
        "a blob that is too long",
        "blobs",
        |content, _| Answer::new(200, [&content.layer[..], b"x"].concat()),
        "mismatch",
    ),
    (
        "a blob without end",
        "blobs",
        |_, _| Answer {
            status: 200,
            endless: true,
            ..Answer::default()
        },
        "mismatch",
    ),
    (
        "a blob that is cut each time",
        "blobs",
        |content, _| Answer::new(200, content.layer.clone()).cut(0),
        "closed",
    ),
    (
        "another range",
        "blobs",
        |content, asked| match asked.headers.get("range") {
            None => Answer::new(200, content.layer.clone()).cut(10),
            Some(_) => Answer::new(206, &content.layer[..]).header("content-range", "bytes 0-9/10"),
        },
        "another part",
    ),
    ("no blob", "blobs", |_, _| Answer::new(404, ""), "no blob"),
    (
        "redirects in a circle",
        "blobs",
        |_, asked| Answer::new(307, "").header("location", asked.path.clone()),
        "redirects",
    ),
    (
        "a redirect to a file",
        "blobs",
        |_, _| Answer::new(307, "").header("location", "file:///etc/passwd"),
        "invalid Location",
    ),
    (
        "a redirect with a password",
        "blobs",
        |_, _| Answer::new(307, "").header("location", "http://a:b@127.0.0.1:1/"),
        "invalid Location",
    ),
    (
        "a manifest of another digest",
        "manifests",
        |content, _| {
            manifest(content.manifest.clone())
                .header("docker-content-digest", Digest::sha256(b"x").to_string())
        },
        "digest mismatch",
    ),
    (
        "a manifest without end",
        "manifests",
        |_, _| Answer {
            status: 200,
            endless: true,
            ..Answer::default()
        },
        "larger than",
    ),
    (
        "a page for people",
        "manifests",
        |_, _| Answer::new(200, "<html>hello</html>").header("content-type", "text/html"),
        "no manifest",
    ),
    (
        "a manifest that calls itself something else",
        "manifests",
        |_, _| {
            manifest(
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            )
        },
        "media type",
    ),
    (
        "a member twice",
        "manifests",
        |_, _| manifest(r#"{"schemaVersion":2,"config":{},"config":{}}"#),
        "config",
    ),
    (
        "an escape sequence in a message",
        "manifests",
        |_, _| {
            Answer::new(
                403,
                "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"a\\u001b[31mb\"}]}",
            )
        },
        "a [31mb",
    ),
    (
        "a challenge without a service",
        "manifests",
        |_, _| Answer::new(401, "").header("www-authenticate", "Bearer realm=\"http://127.0.0.1:1/token\""),
        "token",
    ),
    (
        "a challenge that leads to a file",
        "manifests",
        |_, _| Answer::new(401, "").header("www-authenticate", "Bearer realm=\"file:///etc/passwd\""),
        "invalid Location",
    ),
    (
        "a challenge again and again",
        "manifests",
        |_, _| Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""),
        "401",
    ),
    (
        "headers without end",
        "manifests",
        |_, _| Answer::new(200, "").header("x", "y".repeat(1 << 20)),
        "header",
    ),
];

#[test]
fn a_lie_leaves_nothing_under_a_name() {
    for (what, place, lie, says) in ROWS {
        let fake = Fake::start(move |asked| {
            let content = Content::new(100_000);
            if asked.path.contains(place) && asked.method == "GET" {
                return lie(&content, asked);
            }
            content.answer(asked)
        });
        let env = Env::new();
        let begin = Instant::now();
        let line = env
            .umoci(["pull", "--layout", "L", &format!("{}/a/b:1", fake.address)])
            .fails();
        assert!(line.contains(says), "{what}: {line}");
        assert!(line.contains(&fake.address), "{what} names no host: {line}");
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{what} took {:?}",
            begin.elapsed()
        );
        if env.path("L").exists() {
            assert_eq!(env.umoci(["ls", "--layout", "L"]).ok(), "", "{what}");
            env.umoci(["fsck", "--layout", "L"]).ok();
        }
    }
}

#[test]
fn a_list_without_end_is_given_up() {
    let circle = Fake::start(|_| {
        Answer::new(200, r#"{"tags":["a"]}"#).header("link", "</v2/a/b/tags/list>; rel=\"next\"")
    });
    let line = Env::new()
        .umoci(["list-tags", &format!("{}/a/b", circle.address)])
        .fails();
    assert!(line.contains("circle"), "{line}");
    let elsewhere = Fake::start(|_| {
        Answer::new(200, r#"{"tags":["a"]}"#).header("link", "<http://127.0.0.1:1/x>; rel=next")
    });
    let line = Env::new()
        .umoci(["list-tags", &format!("{}/a/b", elsewhere.address)])
        .fails();
    assert!(line.contains("another host"), "{line}");
}

#[test]
fn tags_that_no_registry_may_have_are_passed_over() {
    let body = r#"{"name":"a/b","tags":["1",null,"a\u001b[2J","sha256:1","../x","2","1"]}"#;
    let fake = Fake::start(move |_| Answer::new(200, body));
    let tags = Env::new()
        .umoci(["list-tags", &format!("{}/a/b", fake.address)])
        .ok();
    assert_eq!(tags, "1\n2\n");
}
