// SPDX-License-Identifier: Apache-2.0
//! Many clients, other processes on the same layout, and the death of the server.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use umoci::digest::Digest;

use super::{Served, digest_of};
use crate::support::{Env, Image};

#[test]
fn no_push_loses_anything_to_a_collection() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    served.push_image("app", "base", b"shared");
    let (done, collections) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                env.umoci(["gc", "--layout", "root/app"]).ok();
                collections.fetch_add(1, Ordering::Relaxed);
            }
        });
        let pushes: Vec<_> = (0..4)
            .map(|client| {
                let served = &served;
                scope.spawn(move || {
                    for number in 0..25 {
                        let tag = format!("t{client}-{number}");
                        served.push_image("app", &tag, tag.repeat(1000).as_bytes());
                        // A tag that all fight for.
                        served.push_image("app", "latest", tag.as_bytes());
                        if number % 5 == 0 {
                            let path = format!("/v2/app/manifests/{tag}");
                            served.ask("DELETE", &path, &[], b"").is(202);
                        }
                    }
                })
            })
            .collect();
        for push in pushes {
            push.join().expect("pushes");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(collections.load(Ordering::Relaxed) > 2);
    let tags = served.get("/v2/app/tags/list").json()["tags"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(tags.len(), 2 + 4 * 20, "{tags:?}");
    for tag in tags {
        let manifest = served
            .get(&format!("/v2/app/manifests/{}", tag.as_str().unwrap()))
            .is(200)
            .json();
        for blob in [&manifest["config"], &manifest["layers"][0]] {
            let path = format!("/v2/app/blobs/{}", blob["digest"].as_str().unwrap());
            served.get(&path).is(200);
        }
    }
    assert!(!served.log().contains(" 500 "), "{}", served.log());
    env.umoci(["fsck", "--layout", "root/app"]).ok();
    assert!(
        !env.umoci(["lease", "list", "--layout", "root/app"])
            .ok()
            .contains("push-")
    );
}

#[test]
fn a_blob_waits_for_its_manifest_through_collections() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let blob = served.push_blob("app", "a/b", b"waits");
    env.umoci(["gc", "--layout", "root/app"]).ok();
    served
        .push_manifest("app", "x", &super::image(blob, vec![]))
        .is(201);
    env.umoci(["gc", "--layout", "root/app"]).ok();
    env.umoci(["fsck", "--layout", "root/app"]).ok();
    // An upload under way is nobody's garbage either.
    let begun = served.ask("POST", "/v2/app/blobs/uploads/", &[], b"").is(202);
    let location = begun.header("location").to_owned();
    served.ask("PATCH", &location, &[], b"half").is(202);
    env.umoci(["gc", "--layout", "root/app"]).ok();
    let digest = Digest::sha256(b"half and half");
    served
        .ask("PUT", &format!("{location}?digest={digest}"), &[], b" and half")
        .is(201);
}

#[test]
fn repositories_are_made_side_by_side_and_below_one_another() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let names = ["a/b/c", "a", "a/b", "d", "a/b/c/d/e"];
    thread::scope(|scope| {
        for client in 0..8_usize {
            let served = &served;
            scope.spawn(move || {
                for at in 0..names.len() {
                    let name = names[(at + client) % names.len()];
                    served.push_image(name, &format!("t{client}"), b"x");
                }
            });
        }
    });
    for name in names {
        let tags = served.get(&format!("/v2/{name}/tags/list")).is(200).json();
        assert_eq!(tags["tags"].as_array().unwrap().len(), 8, "{tags}");
        env.umoci(["fsck", "--layout", &format!("root/{name}")]).ok();
    }
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(
        served.get("/v2/_catalog").json()["repositories"],
        serde_json::json!(sorted)
    );
    // A repository that somebody removes is gone, and may come again.
    env.sh("rm -r root/d");
    served.get("/v2/d/manifests/t0").refuses(404, "MANIFEST_UNKNOWN");
    served.push_image("d", "again", b"x");
    served.get("/v2/d/manifests/again").is(200);
}

#[test]
fn a_root_that_is_gone_is_no_empty_registry() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    served.push_image("app", "v1", b"x");
    // As when its file system is unmounted: first nothing is there, then the directory below.
    for change in ["mv root away", "mkdir root"] {
        env.sh(change);
        for (method, path) in [
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/app/tags/list"),
            ("GET", "/v2/app/manifests/v1"),
            ("POST", "/v2/app/blobs/uploads/"),
            ("POST", "/v2/new/blobs/uploads/"),
        ] {
            let told = served.ask(method, path, &[], b"").is(500);
            assert!(!told.text().contains("root"), "{told:?}");
        }
        assert_eq!(env.sh("ls root 2>/dev/null || true"), "", "{change}");
    }
    assert!(served.log().contains("another directory has taken its place"));
    env.sh("rmdir root; mv away root");
    served.get("/v2/app/manifests/v1").is(200);
}

#[test]
fn a_server_that_is_killed_leaves_garbage_at_worst() {
    let image = Image::new();
    let env = &image.env;
    let served = Served::all(env);
    let before = served.push_image("app", "before", b"before");
    let blob = served.push_blob("app", "a/b", b"no manifest yet");
    // In the middle of a chunk.
    let begun = served.ask("POST", "/v2/app/blobs/uploads/", &[], b"").is(202);
    let mut stream = served.connect();
    let head = format!(
        "PATCH {} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf",
        begun.header("location")
    );
    stream.write_all(head.as_bytes()).expect("send");
    served.signal(Signal::KILL);
    drop(served);
    env.umoci(["fsck", "--layout", "root/app"]).ok();
    let served = Served::all(env);
    let found = served.get("/v2/app/manifests/before").is(200);
    assert_eq!(found.header("docker-content-digest"), digest_of(&before));
    served
        .get(begun.header("location"))
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    // The blob that was there needs not be sent again, and the rest of the push goes on.
    let path = format!("/v2/app/blobs/{}", blob["digest"].as_str().unwrap());
    served.ask("HEAD", &path, &[], b"").is(200);
    served
        .push_manifest("app", "after", &super::image(blob, vec![]))
        .is(201);
    env.umoci(["push", "--image", "img:latest", &served.name("app:latest")])
        .ok();
    env.umoci(["gc", "--layout", "root/app"]).ok();
    // What the dead server had begun is gone.
    let left = env.sh("find root/app/.umoci/tmp -name 'blob-*' | wc -l");
    assert_eq!(left, "0\n");
    env.umoci(["fsck", "--layout", "root/app"]).ok();
}

#[test]
fn a_server_that_is_told_to_stop_ends_its_requests_first() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    served.push_image("app", "v1", b"x");
    let content = b"content".repeat(1000);
    let digest = Digest::sha256(&content);
    let mut idle = served.connect();
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .expect("send");
    let mut stream = served.connect();
    let head = format!(
        "POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).expect("send");
    // The answer to the expectation says that the handler reads.
    let mut expected = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut expected).expect("continue");
    assert!(expected.starts_with(b"HTTP/1.1 100 "));
    served.signal(Signal::TERM);
    // Nobody is let in any more.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(&served.address).is_ok() {
        assert!(std::time::Instant::now() < end, "the server still listens");
    }
    stream.write_all(&content).expect("send");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(served.stop(), Some(0));
    let stored = std::fs::read(env.path(format!("root/app/blobs/sha256/{}", digest.encoded())));
    assert!(stored.expect("blob") == content);
}
