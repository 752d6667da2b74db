// SPDX-License-Identifier: Apache-2.0
//! The endpoints of the distribution-spec, one by one.

use serde_json::{Value, json};
use umoci::digest::{Algorithm, Digest};

use super::{INDEX, MANIFEST, Served, digest_of, image};
use crate::support::Env;

#[test]
fn a_blob_is_read_whole_in_part_or_not_again() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let blob = served.push_blob("a/b", "a/b", &content);
    let path = format!("/v2/a/b/blobs/{}", blob["digest"].as_str().unwrap());
    let whole = served.get(&path).is(200);
    assert_eq!(whole.body, content);
    assert_eq!(
        whole.header("docker-content-digest"),
        blob["digest"].as_str().unwrap()
    );
    let head = served.ask("HEAD", &path, &[], b"").is(200);
    assert_eq!((head.header("content-length"), head.body.len()), ("1000000", 0));
    for (range, status, part, told) in [
        ("bytes=0-0", 206, &content[..1], "bytes 0-0/1000000"),
        (
            "bytes=500-1499",
            206,
            &content[500..1500],
            "bytes 500-1499/1000000",
        ),
        (
            "bytes=999990-",
            206,
            &content[999_990..],
            "bytes 999990-999999/1000000",
        ),
        (
            "bytes=-10",
            206,
            &content[999_990..],
            "bytes 999990-999999/1000000",
        ),
        (
            "bytes=999990-2000000",
            206,
            &content[999_990..],
            "bytes 999990-999999/1000000",
        ),
        ("bytes=1000000-", 416, &[], "bytes */1000000"),
        ("bytes=5-1", 416, &[], "bytes */1000000"),
        ("bytes=0-1,5-6", 200, &content, ""),
        ("nonsense", 200, &content, ""),
    ] {
        let found = served.ask("GET", &path, &[("range", range)], b"").is(status);
        assert_eq!(found.header("content-range"), told, "{range}");
        assert_eq!(found.header("content-length"), part.len().to_string(), "{range}");
        assert!(found.body == part, "{range}");
        let head = served.ask("HEAD", &path, &[("range", range)], b"").is(status);
        assert!(head.body.is_empty(), "{range}");
    }
    let etag = whole.header("etag");
    let known = served.ask("GET", &path, &[("if-none-match", etag)], b"").is(304);
    assert!(known.body.is_empty());
    let other = [("range", "bytes=0-0"), ("if-range", "\"other\"")];
    served.ask("GET", &path, &other, b"").is(200);
    let missing = format!("/v2/a/b/blobs/{}", Digest::sha256(b"missing"));
    served.get(&missing).refuses(404, "BLOB_UNKNOWN");
    served
        .get(&missing.replace("a/b", "none"))
        .refuses(404, "BLOB_UNKNOWN");
    assert!(served.ask("HEAD", &missing, &[], b"").is(404).body.is_empty());
}

#[test]
fn a_blob_comes_in_every_way_that_the_spec_has() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let begin = |query: &str| {
        let told = served
            .ask("POST", &format!("/v2/a/blobs/uploads/{query}"), &[], b"")
            .is(202);
        told.header("location").to_owned()
    };
    let check = |content: &[u8], digest: &Digest| {
        let found = served.get(&format!("/v2/a/blobs/{digest}")).is(200);
        assert!(found.body == content);
    };
    // All at once, behind a POST; also of another algorithm, of which the server learns at the end.
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3] {
        for query in ["", "?digest-algorithm=sha512"] {
            let content = format!("{algorithm}{query}").repeat(10_000).into_bytes();
            let digest = Digest::of(algorithm, &content);
            let told = served
                .ask("PUT", &format!("{}?digest={digest}", begin(query)), &[], &content)
                .is(201);
            assert_eq!(told.header("location"), format!("/v2/a/blobs/{digest}"));
            assert_eq!(told.header("docker-content-digest"), digest.to_string());
            check(&content, &digest);
        }
    }
    // An empty blob.
    let empty = Digest::sha256(b"");
    served
        .ask("PUT", &format!("{}?digest={empty}", begin("")), &[], b"")
        .is(201);
    check(b"", &empty);
    // In chunks, the last one with the PUT or before; a chunk in the wrong place leaves the upload as it was.
    for with_put in [true, false] {
        let content = format!("chunks {with_put}").repeat(100).into_bytes();
        let digest = Digest::sha256(&content);
        let location = begin("");
        let patch = |location: &str, range: &str, body: &[u8]| {
            served.ask("PATCH", location, &[("content-range", range)], body)
        };
        let told = patch(&location, "0-99", &content[..100]).is(202);
        assert_eq!(told.header("range"), "0-99");
        let location = told.header("location").to_owned();
        for range in ["0-99", "200-299", "99-198", "101-200"] {
            let told = patch(&location, range, &content[..100]).refuses(416, "BLOB_UPLOAD_INVALID");
            assert_eq!(
                (told.header("range"), told.header("location")),
                ("0-99", location.as_str())
            );
        }
        for range in ["100-", "x-y", "", "100-1000", "100", "+100-+199"] {
            patch(&location, range, &content[100..200]).is(400);
        }
        let told = served.get(&location).is(204);
        assert_eq!(told.header("range"), "0-99");
        let rest = &content[100..];
        let range = format!("100-{}", content.len() - 1);
        let put = format!("{location}?digest={digest}");
        if with_put {
            served
                .ask("PUT", &put, &[("content-range", &range)], rest)
                .is(201);
        } else {
            patch(&location, &range, rest).is(202);
            served.ask("PUT", &put, &[], b"").is(201);
        }
        check(&content, &digest);
        served.get(&location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    }
    // As a stream, whose length nobody tells.
    let content = b"stream ".repeat(1000);
    let digest = Digest::sha256(&content);
    let location = begin("");
    let head = format!(
        "PATCH {location} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunk = format!("{:x}\r\n", content.len());
    let answer = served.raw(&[head.as_bytes(), chunk.as_bytes(), &content, b"\r\n0\r\n\r\n"].concat());
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    served
        .ask("PUT", &format!("{location}?digest={digest}"), &[], b"")
        .is(201);
    check(&content, &digest);
    // Given up.
    let location = begin("");
    served.ask("DELETE", &location, &[], b"").is(204);
    served
        .ask("PATCH", &location, &[], b"x")
        .refuses(404, "BLOB_UPLOAD_UNKNOWN");
    // Of another digest than was said.
    let location = begin("");
    let wrong = Digest::sha256(b"other");
    served
        .ask("PUT", &format!("{location}?digest={wrong}"), &[], b"content")
        .refuses(400, "DIGEST_INVALID");
    served.get(&location).refuses(404, "BLOB_UPLOAD_UNKNOWN");
    let post = format!("/v2/a/blobs/uploads/?digest={wrong}");
    served
        .ask("POST", &post, &[], b"content")
        .refuses(400, "DIGEST_INVALID");
    for query in [
        "?digest=sha256:x",
        "?digest=md5:d41d8cd98f00b204e9800998ecf8427e",
        "?digest-algorithm=md5",
    ] {
        let post = format!("/v2/a/blobs/uploads/{query}");
        served
            .ask("POST", &post, &[], b"content")
            .refuses(400, "DIGEST_INVALID");
    }
    // No temporary file is left of all that.
    let left = env.sh("find root/a/.umoci/tmp -type f | wc -l");
    assert_eq!(left, "0\n");
    env.umoci(["fsck", "--layout", "root/a"]).ok();
}

#[test]
fn a_blob_of_another_repository_is_taken_from_there() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    for (size, from) in [(100, "?from=one&"), (200_000, "?from=one&"), (100_001, "?")] {
        let content = vec![7; size];
        let blob = served.push_blob("one", "a/b", &content);
        let digest = blob["digest"].as_str().unwrap();
        let post = format!("/v2/two/blobs/uploads/{from}mount={digest}");
        let told = served.ask("POST", &post, &[], b"").is(201);
        assert_eq!(told.header("location"), format!("/v2/two/blobs/{digest}"));
        let found = served.get(&format!("/v2/two/blobs/{digest}")).is(200);
        assert!(found.body == content);
        // One that is there already needs no source.
        served
            .ask(
                "POST",
                &format!("/v2/two/blobs/uploads/?mount={digest}"),
                &[],
                b"",
            )
            .is(201);
    }
    let held = env.umoci(["lease", "list", "--layout", "root/two"]).ok();
    assert_eq!(held.matches("push-sha256-").count(), 3, "{held}");
    let missing = Digest::sha256(b"missing");
    for from in ["one", "none", "../etc", "A"] {
        let post = format!("/v2/two/blobs/uploads/?mount={missing}&from={from}");
        let told = served.ask("POST", &post, &[], b"").is(202);
        assert!(told.header("location").starts_with("/v2/two/blobs/uploads/"));
    }
    // A damaged one is not spread.
    let blob = served.push_blob("one", "a/b", b"damaged");
    let digest = blob["digest"].as_str().unwrap();
    env.write(&format!("root/one/blobs/sha256/{}", &digest[7..]), "dAmaged");
    let post = format!("/v2/two/blobs/uploads/?mount={digest}&from=one");
    served.ask("POST", &post, &[], b"").is(202);
}

#[test]
fn a_manifest_is_had_by_tag_and_digest_as_long_as_it_is_named() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let first = served.push_image("app", "v1", b"first");
    let (text, digest) = (first.to_string(), digest_of(&first));
    for target in ["v1", &digest] {
        let path = format!("/v2/app/manifests/{target}");
        let found = served.get(&path).is(200);
        assert_eq!(
            (found.text(), found.header("content-type")),
            (text.clone(), MANIFEST)
        );
        assert_eq!(found.header("docker-content-digest"), digest);
        let head = served.ask("HEAD", &path, &[], b"").is(200);
        assert_eq!(
            (head.header("content-length"), head.body.len()),
            (&*text.len().to_string(), 0)
        );
        let known = [("if-none-match", found.header("etag"))];
        served.ask("GET", &path, &known, b"").is(304);
    }
    // It is also a blob; a blob is no manifest.
    served.get(&format!("/v2/app/blobs/{digest}")).is(200);
    for blob in [&first["config"], &first["layers"][0]] {
        let path = format!("/v2/app/manifests/{}", blob["digest"].as_str().unwrap());
        served.get(&path).refuses(404, "MANIFEST_UNKNOWN");
    }
    // A tag that moves leaves the image to those who know its digest.
    let second = served.push_image("app", "v1", b"second");
    assert_eq!(served.get("/v2/app/manifests/v1").text(), second.to_string());
    served.get(&format!("/v2/app/manifests/{digest}")).is(200);
    // An image below an index, which no entry names.
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": MANIFEST, "digest": digest, "size": text.len() },
    ]});
    served.push_manifest("app", "both", &index).is(201);
    env.umoci(["gc", "--layout", "root/app", "--untagged"]).ok();
    served.get(&format!("/v2/app/manifests/{digest}")).is(200);
    served
        .ask("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"")
        .refuses(405, "UNSUPPORTED");
    // Removals: a tag alone, and an image with its tags.
    let path = |target: &str| format!("/v2/app/manifests/{target}");
    served.ask("DELETE", &path("both"), &[], b"").is(202);
    served.get(&path("both")).refuses(404, "MANIFEST_UNKNOWN");
    served
        .ask("DELETE", &path("both"), &[], b"")
        .refuses(404, "MANIFEST_UNKNOWN");
    served.get(&path(&digest_of(&index))).is(200);
    served.ask("DELETE", &path(&digest_of(&index)), &[], b"").is(202);
    served
        .get(&path(&digest_of(&index)))
        .refuses(404, "MANIFEST_UNKNOWN");
    served.get(&path(&digest)).refuses(404, "MANIFEST_UNKNOWN");
    served.ask("DELETE", &path(&digest_of(&second)), &[], b"").is(202);
    served.get(&path("v1")).refuses(404, "MANIFEST_UNKNOWN");
    // A blob goes when nothing needs it.
    let config = format!("/v2/app/blobs/{}", first["config"]["digest"].as_str().unwrap());
    served
        .ask("DELETE", &config, &[], b"")
        .refuses(405, "UNSUPPORTED");
    env.umoci(["gc", "--layout", "root/app"]).ok();
    served.get(&config).is(404);
    let blob = served.push_blob("app", "a/b", b"lone");
    let blob = format!("/v2/app/blobs/{}", blob["digest"].as_str().unwrap());
    served.ask("DELETE", &blob, &[], b"").is(202);
    served.ask("DELETE", &blob, &[], b"").refuses(404, "BLOB_UNKNOWN");
    env.umoci(["fsck", "--layout", "root/app"]).ok();
}

#[test]
fn a_manifest_is_taken_when_all_that_it_names_is_there() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let there = served.push_blob("app", "a/b", b"there");
    let absent = |bytes: &[u8], media_type: &str| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let (one, two) = (absent(b"one", "a/b"), absent(b"two", "a/b"));
    let told = served
        .push_manifest("app", "x", &image(one.clone(), vec![there.clone(), two.clone()]))
        .refuses(404, "MANIFEST_BLOB_UNKNOWN");
    let missing: Vec<Value> = told.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["detail"]["digest"].clone())
        .collect();
    assert_eq!(missing, [one["digest"].clone(), two["digest"].clone()]);
    // Of another size than it is.
    let mut lies = there.clone();
    lies["size"] = json!(4);
    served
        .push_manifest("app", "x", &image(lies, vec![]))
        .refuses(400, "MANIFEST_INVALID");
    // A layer that must not be given on, and a subject, may be missing.
    let foreign = absent(
        b"foreign",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    );
    let mut manifest = image(there.clone(), vec![foreign]);
    manifest["subject"] = one.clone();
    let told = served.push_manifest("app", "x", &manifest).is(201);
    assert_eq!(told.header("oci-subject"), one["digest"].as_str().unwrap());
    assert_eq!(told.header("docker-content-digest"), digest_of(&manifest));
    assert_eq!(
        told.header("location"),
        format!("/v2/app/manifests/{}", digest_of(&manifest))
    );
    // Under its digest, with tags of the query, also such that no ref of a layout has.
    let manifest = image(there.clone(), vec![]);
    let digest = digest_of(&manifest);
    let told = served
        .push_manifest("app", &format!("{digest}?tag=a&tag=b..c&tag=_d-"), &manifest)
        .is(201);
    assert!(told.headers.contains_key("oci-tag"));
    served
        .push_manifest("app", &format!("{digest}?tag=-a"), &manifest)
        .refuses(400, "TAG_INVALID");
    let tags = served.get("/v2/app/tags/list").is(200).json();
    assert_eq!(tags, json!({ "name": "app", "tags": ["_d-", "a", "b..c", "x"] }));
    served
        .push_manifest("app", &Digest::sha256(b"other").to_string(), &manifest)
        .refuses(400, "DIGEST_INVALID");
    let too_large = vec![b' '; (4 << 20) + 1];
    served
        .ask(
            "PUT",
            "/v2/app/manifests/x",
            &[("content-type", MANIFEST)],
            &too_large,
        )
        .refuses(413, "SIZE_INVALID");
    // The lease of a blob ends with the manifest that names it.
    assert!(
        !env.umoci(["lease", "list", "--layout", "root/app"])
            .ok()
            .contains("push-")
    );
}

/// Returns an entry of `index.json` under a name.
fn named(entry: &Value, name: &str) -> Value {
    let mut entry = entry.clone();
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    entry
}

#[test]
fn lists_come_in_pages() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let manifest = served.push_image("app", "t3", b"x");
    for tag in ["t1", "T2", "t2"] {
        served.push_manifest("app", tag, &manifest).is(201);
    }
    served.push_image("app/cache", "t", b"x");
    for (query, tags, next) in [
        ("", &["T2", "t1", "t2", "t3"][..], ""),
        (
            "?n=2",
            &["T2", "t1"],
            "</v2/app/tags/list?n=2&last=t1>; rel=\"next\"",
        ),
        ("?n=2&last=t1", &["t2", "t3"], ""),
        ("?last=t1a", &["t2", "t3"], ""),
        ("?n=0", &[], ""),
        ("?n=99999999999999999999", &["T2", "t1", "t2", "t3"], ""),
        ("?last=z", &[], ""),
    ] {
        let told = served.get(&format!("/v2/app/tags/list{query}")).is(200);
        assert_eq!(told.json()["tags"], json!(tags), "{query}");
        assert_eq!(told.header("link"), next, "{query}");
    }
    served.get("/v2/app/tags/list?n=x").is(400);
    // A client that asks for no number may not look for a second page.
    let entry =
        json!({ "mediaType": MANIFEST, "digest": digest_of(&manifest), "size": manifest.to_string().len() });
    let entries: Vec<Value> = (0..1500)
        .map(|number| named(&entry, &format!("t{number}")))
        .collect();
    let all = json!({ "schemaVersion": 2, "manifests": entries });
    env.write("root/app/index.json", all.to_string());
    let told = served.get("/v2/app/tags/list").is(200);
    let count = told.json()["tags"].as_array().unwrap().len();
    assert_eq!((count, told.header("link")), (1500, ""));
    served.get("/v2/none/tags/list").refuses(404, "NAME_UNKNOWN");
    let told = served.get("/v2/_catalog?n=1").is(200);
    assert_eq!(told.json(), json!({ "repositories": ["app"] }));
    assert_eq!(told.header("link"), "</v2/_catalog?n=1&last=app>; rel=\"next\"");
    assert_eq!(
        served.get("/v2/_catalog?last=app").json(),
        json!({ "repositories": ["app/cache"] })
    );
}

#[test]
fn referrers_are_listed_at_once_by_every_convention() {
    let env = Env::in_memory();
    let served = Served::all(&env);
    let missing = Digest::sha256(b"missing");
    for name in ["none", "app"] {
        let told = served.get(&format!("/v2/{name}/referrers/{missing}")).is(200);
        assert_eq!(told.header("content-type"), INDEX);
        assert_eq!(told.json()["manifests"], json!([]));
        served.push_image("app", "v1", b"x");
    }
    let subject = served.push_image("app", "v1", b"x");
    let subject =
        json!({ "mediaType": MANIFEST, "digest": digest_of(&subject), "size": subject.to_string().len() });
    let empty = served.push_blob("app", "application/vnd.oci.empty.v1+json", b"{}");
    let artifact = |kind: &str, number: usize| {
        let mut manifest = image(empty.clone(), vec![]);
        manifest["artifactType"] = json!(kind);
        manifest["annotations"] = json!({ "number": number.to_string() });
        manifest["subject"] = subject.clone();
        manifest
    };
    let path = format!("/v2/app/referrers/{}", subject["digest"].as_str().unwrap());
    let mut known = Vec::new();
    for number in 0..6 {
        let manifest = artifact(["text/a+x", "text/b"][number % 2], number);
        served
            .push_manifest("app", &digest_of(&manifest), &manifest)
            .is(201);
        known.push(digest_of(&manifest));
        assert_eq!(
            served.get(&path).json()["manifests"].as_array().unwrap().len(),
            number + 1
        );
    }
    let list = |query: &str| {
        let told = served.get(&format!("{path}{query}")).is(200);
        let digests = told.json()["manifests"].as_array().unwrap().clone();
        let digests = digests
            .iter()
            .map(|one| one["digest"].as_str().unwrap().to_owned());
        (digests.collect::<Vec<_>>(), told)
    };
    let (found, told) = list("?artifactType=text/a%2Bx");
    assert_eq!(
        (found.len(), told.header("oci-filters-applied")),
        (3, "artifactType")
    );
    assert_eq!(told.json()["manifests"][0]["artifactType"], "text/a+x");
    assert!(told.json()["manifests"][0]["annotations"]["number"].is_string());
    assert_eq!(list("?artifactType=none").0.len(), 0);
    assert_eq!(list("?artifactType=").0.len(), 0);
    // One of a tag that a client without the list of referrers has written.
    let other = artifact("text/c", 9);
    let mut unknown = other.clone();
    unknown.as_object_mut().unwrap().remove("subject");
    served
        .push_manifest("app", &digest_of(&unknown), &unknown)
        .is(201);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [
        { "mediaType": MANIFEST, "digest": digest_of(&unknown), "size": unknown.to_string().len() },
    ]});
    let tag = subject["digest"].as_str().unwrap().replace(':', "-");
    served.push_manifest("app", &tag, &index).is(201);
    assert!(list("").0.contains(&digest_of(&unknown)));
    // What is removed is not listed any more, here or by umoci.
    served
        .ask("DELETE", &format!("/v2/app/manifests/{}", known[0]), &[], b"")
        .is(202);
    assert!(!list("").0.contains(&known[0]));
    let local = env.umoci(["referrers", "--json", "root/app:v1"]).ok();
    assert!(!local.contains(&known[0]) && local.contains(&known[1]), "{local}");
}

#[test]
fn methods_and_rights_are_those_of_the_options() {
    let env = Env::in_memory();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img:v1"]).ok();
    let served = Served::start(&env, &["img", "other=img"]);
    for name in ["img", "other"] {
        served.get(&format!("/v2/{name}/manifests/v1")).is(200);
    }
    assert_eq!(
        served.get("/v2/_catalog").json(),
        json!({ "repositories": ["img", "other"] })
    );
    let digest = Digest::sha256(b"x");
    for (method, path, status, code) in [
        ("PUT", "/v2/img/manifests/x".to_owned(), 405, "UNSUPPORTED"),
        ("POST", "/v2/img/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
        (
            "POST",
            format!("/v2/img/blobs/uploads/?mount={digest}&from=other"),
            405,
            "UNSUPPORTED",
        ),
        (
            "PATCH",
            format!("/v2/img/blobs/uploads/{}", "0".repeat(32)),
            405,
            "UNSUPPORTED",
        ),
        ("DELETE", "/v2/img/manifests/v1".to_owned(), 405, "UNSUPPORTED"),
        ("DELETE", format!("/v2/img/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("POST", "/v2/img/manifests/v1".to_owned(), 405, "UNSUPPORTED"),
        ("PATCH", format!("/v2/img/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("PUT", "/v2/".to_owned(), 405, "UNSUPPORTED"),
        ("DELETE", "/v2/img/tags/list".to_owned(), 405, "UNSUPPORTED"),
        ("BREW", "/v2/img/tags/list".to_owned(), 405, "UNSUPPORTED"),
        ("GET", "/".to_owned(), 404, "UNSUPPORTED"),
        ("GET", "/v2/img/x/list".to_owned(), 404, "UNSUPPORTED"),
    ] {
        served.ask(method, &path, &[], b"").refuses(status, code);
    }
    let metrics = served.get("/metrics").text();
    assert!(
        metrics.contains("umoci_requests_total{status=\"2xx\"}"),
        "{metrics}"
    );
    served.get("/healthz").is(200);
    assert_eq!(served.stop(), Some(0));
}
