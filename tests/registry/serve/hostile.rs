// SPDX-License-Identifier: Apache-2.0
//! Clients that mean harm, as raw bytes on a socket.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use umoci::digest::Digest;

use super::{INDEX, MANIFEST, Served};
use crate::support::Env;

/// Everything below the room that is no part of a layout that was asked for.
fn strays(env: &Env) -> String {
    env.sh("find . -path ./root -prune -o -type f -print | grep -v serve.log || true; ls root")
}

#[test]
fn no_path_leads_out_of_the_repositories() {
    let env = Env::in_memory();
    env.write("secret", "secret");
    let served = Served::all(&env);
    served.push_image("app", "v1", b"x");
    for path in [
        "/v2/../secret",
        "/v2/../../secret/tags/list",
        "/v2/app/../../secret/manifests/x",
        "/v2/%2e%2e/%2e%2e/secret/tags/list",
        "/v2/app%2f..%2f..%2fsecret/tags/list",
        "/v2/app/blobs/..%2f..%2f..%2fsecret",
        "/v2/app/blobs/sha256:..%2f..%2fsecret",
        "/v2/app/manifests/..",
        "/v2/app/manifests/%2e%2e%2f%2e%2e",
        "/v2/app/.umoci/reflog/manifests/x",
        "/v2/app/blobs/sha256/manifests/x",
        "/v2/app/index.json/manifests/x",
        "/v2//app/manifests/v1",
        "/v2/app//manifests/v1",
        "/v2/APP/manifests/v1",
        "/v2/app\\..\\x/manifests/v1",
        "/v2/app%00/manifests/v1",
        "/v2/app/manifests/v1%0d%0aset-cookie:%20x",
        "//secret",
        "/secret",
        "*",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let headers = [("content-type", MANIFEST)];
            let told = served.ask(method, path, &headers, b"{}");
            assert!((400..500).contains(&told.status), "{method} {path}: {told:?}");
            assert!(!told.text().contains("secret:") && !told.headers.contains_key("set-cookie"));
        }
    }
    let long = format!("/v2/{}/tags/list", "a/".repeat(1000));
    served.get(&long).is(400);
    assert_eq!(strays(&env), "./secret\napp\n");
    assert!(!served.log().contains('\u{0}'));
}

#[test]
fn requests_that_say_two_things_end_the_connection() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    served.push_image("app", "v1", b"x");
    let inner = "DELETE /v2/app/manifests/v1 HTTP/1.1\r\nhost: x\r\n\r\n";
    let both = |encoding: &str, length: usize, body: &str| {
        format!(
            "POST /v2/app/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\ntransfer-encoding: {encoding}\r\n\r\n{body}"
        )
    };
    for bytes in [
        // By the length the second request is a part of the body; by the chunks it is one of its own.
        both("chunked", 5 + inner.len(), &format!("0\r\n\r\n{inner}")),
        both("identity", 0, inner),
        both("xchunked", 0, inner),
        both("gzip, chunked", 5, &format!("0\r\n\r\n{inner}")),
        both(" chunked", 5 + inner.len(), &format!("0\r\n\r\n{inner}")),
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 9\r\n\r\n{inner}"),
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{inner}"),
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0x9\r\n\r\n{inner}"),
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n{inner}"),
        format!("POST /v2/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{inner}"),
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nbad header: x\r\n\r\n{inner}"),
        format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n folded: x\r\n\r\n{inner}"),
        format!("GET /v2/\0 HTTP/1.1\r\nhost: x\r\n\r\n{inner}"),
        format!("GET /v2/ HTTP/9.9\r\nhost: x\r\n\r\n{inner}"),
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let answer = served.raw(bytes.as_bytes());
        assert!(answer.matches("HTTP/1.1").count() <= 1, "{bytes:?}\n{answer}");
        served.get("/v2/app/manifests/v1").is(200);
    }
}

#[test]
fn heads_without_end_are_cut_off() {
    let env = Env::in_memory();
    let served = Served::start(&env, &["--root", ".", "--header-timeout", "1s"]);
    for bytes in [
        format!("GET /v2/ HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET /v2/ HTTP/1.1\r\n{}\r\n", "x: x\r\n".repeat(10_000)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)),
    ] {
        let answer = served.raw(bytes.as_bytes());
        let refused = ["HTTP/1.1 431 ", "HTTP/1.1 414 ", "HTTP/1.1 400 "];
        assert!(
            answer.is_empty() || refused.iter().any(|r| answer.starts_with(r)),
            "{answer}"
        );
    }
    // A head that never ends, and a connection on which nothing comes.
    for begin in ["GET /v2/ HTTP/1.1\r\nhost: x\r\nx: ", ""] {
        let since = Instant::now();
        served.raw(begin.as_bytes());
        assert!(since.elapsed() < Duration::from_secs(20), "{begin}");
    }
}

#[test]
fn a_slow_body_is_cut_off_and_what_came_is_kept() {
    let env = Env::in_memory();
    std::fs::create_dir(env.path("root")).expect("root");
    let served = Served::start(&env, &["--root", "root", "--write", "--body-window", "1s"]);
    let content = b"0123456789".repeat(300);
    let digest = Digest::sha256(&content);
    let begun = served.ask("POST", "/v2/app/blobs/uploads/", &[], b"").is(202);
    let location = begun.header("location").to_owned();
    let mut stream = served.connect();
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).expect("send");
    stream.write_all(&content[..500]).expect("send");
    // The rest never comes.
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(served.get(&location).is(204).header("range"), "0-499");
    // One that goes away in the middle.
    let mut stream = served.connect();
    stream.write_all(head.as_bytes()).expect("send");
    stream.write_all(&content[500..900]).expect("send");
    drop(stream);
    let end = Instant::now() + Duration::from_secs(20);
    while served.get(&location).header("range") != "0-899" {
        assert!(Instant::now() < end, "what came is not kept");
    }
    let range = format!("900-{}", content.len() - 1);
    let put = format!("{location}?digest={digest}");
    // The request that went away may still be seen to its end.
    while served
        .ask("PUT", &put, &[("content-range", &range)], &content[900..])
        .status
        != 201
    {
        assert!(Instant::now() < end, "the upload does not go on");
    }
    // A client that asks for much and takes nothing.
    let large = vec![1; 32 << 20];
    let blob = served.push_blob("app", "a/b", &large);
    let mut stream = served.connect();
    let get = format!(
        "GET /v2/app/blobs/{} HTTP/1.1\r\nhost: x\r\n\r\n",
        blob["digest"].as_str().unwrap()
    );
    stream.write_all(get.as_bytes()).expect("send");
    let end = Instant::now() + Duration::from_secs(20);
    while !served.log().contains(" bytes of 33554432") {
        assert!(Instant::now() < end, "{}", served.log());
        std::thread::yield_now();
    }
}

#[test]
fn uploads_have_a_number_a_size_and_an_owner() {
    let env = Env::in_memory();
    std::fs::create_dir(env.path("root")).expect("root");
    let limits = ["--max-uploads", "8", "--max-blob", "1000"];
    let served = Served::start(&env, &[&["--root", "root", "--write"][..], &limits].concat());
    let begin = |name: &str| served.ask("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    let (one, two) = (begin("app").is(202), begin("app").is(202));
    let told = begin("app").refuses(429, "TOOMANYREQUESTS");
    assert_eq!(told.header("retry-after"), "60");
    served.ask("DELETE", two.header("location"), &[], b"").is(204);
    begin("app").is(202);
    // The upload of one repository is none of another.
    served
        .push_manifest(
            "other",
            "x",
            &serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }),
        )
        .is(201);
    let location = one.header("location");
    let other = location.replace("/app/", "/other/");
    served
        .ask("PATCH", &other, &[], b"x")
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    // Two that would be too large, of which one does not say so.
    served
        .ask("PATCH", location, &[], &[0; 1001])
        .refuses(413, "SIZE_INVALID");
    served.get(location).is(204);
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n");
    let answer = served.raw(&[head.as_bytes(), &[0; 1001], b"\r\n0\r\n\r\n"].concat());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    served.get(location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(env.sh("find root/app/blobs -type f | wc -l"), "0\n");
}

#[test]
fn what_only_looks_like_a_manifest_is_not_taken() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let manifest = served.push_image("app", "v1", b"x").to_string();
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let both = manifest.replace("\"layers\"", "\"manifests\":[],\"layers\"");
    let twice = manifest.replace("\"layers\"", "\"config\":{},\"layers\"");
    for (text, content_type) in [
        ("", MANIFEST),
        ("{}", MANIFEST),
        ("[]", INDEX),
        ("\u{1f}\u{8b}", MANIFEST),
        (&manifest, INDEX),
        (&manifest, "text/html"),
        (&manifest, "application/vnd.docker.distribution.manifest.v1+json"),
        (index, MANIFEST),
        (&both, MANIFEST),
        (&twice, MANIFEST),
        (
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}"#,
            INDEX,
        ),
        (
            r#"{"schemaVersion":2,"manifests":[{"digest":"md5:0","size":1}]}"#,
            INDEX,
        ),
        (r#"{"schemaVersion":2,"manifests":[]}{"x":1}"#, INDEX),
    ] {
        for target in ["x", &Digest::sha256(text.as_bytes()).to_string()] {
            let path = format!("/v2/app/manifests/{target}");
            let headers = [("content-type", content_type)];
            served
                .ask("PUT", &path, &headers, text.as_bytes())
                .refuses(400, "MANIFEST_INVALID");
        }
    }
    // As a blob it may come, and is not a manifest for that.
    let fake = served.push_blob("app", "a/b", both.as_bytes());
    let path = format!("/v2/app/manifests/{}", fake["digest"].as_str().unwrap());
    served.get(&path).refuses(404, "MANIFEST_UNKNOWN");
    assert_eq!(
        served.get("/v2/app/tags/list").json()["tags"],
        serde_json::json!(["v1"])
    );
    env.umoci(["fsck", "--layout", "root/app"]).ok();
}

#[test]
fn a_pipe_in_the_place_of_a_blob_is_not_waited_for() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    served.push_image("app", "v1", b"x");
    let digest = Digest::sha256(b"pipe");
    env.sh(&format!("mkfifo root/app/blobs/sha256/{}", digest.encoded()));
    // A person has damaged the layout: the log says so, and the client learns no path.
    let told = served
        .get(&format!("/v2/app/blobs/{digest}"))
        .refuses(500, "UNKNOWN");
    assert!(!told.text().contains("sha256"), "{}", told.text());
    assert!(served.log().contains("is not a regular file"), "{}", served.log());
}
