// SPDX-License-Identifier: Apache-2.0
//! The requests of our own client: a row is a command, and all that it asks for.
//!
//! No request takes a compressed answer, which has neither the size nor the digest that are known, and none but those for
//! manifests and lists of referrers says what it accepts: some registries refuse uploads that do.

use super::content::{Content, content};
use crate::registry::fake::{Answer, Asked, Fake};
use crate::registry::shelf::Shelf;
use crate::support::Env;

/// A command, and its requests.
struct Row {
    name: &'static str,
    /// The words of the command; `HOST` is the registry, and `L` a layout that has `1`, which is `image` with a referrer, and `large`.
    words: &'static str,
    /// What the registry has, as [`serve`] takes it.
    there: &'static [&'static str],
    /// What the registry answers otherwise than one without a list of referrers.
    answer: fn(&Content, &Asked) -> Option<Answer>,
    /// `METHOD PATH | HEADER: VALUE …`, sorted, as many of them are sent side by side. Objects stand for their digests.
    requests: &'static [&'static str],
}

/// Types of manifests that are accepted.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Headers that a row names wherever they are sent.
const HEADERS: [&str; 6] = [
    "accept",
    "authorization",
    "content-length",
    "content-range",
    "content-type",
    "range",
];

const ROWS: &[Row] = &[
    Row {
        name: "a pull by tag",
        words: "pull --layout M HOST/a/b:1",
        there: &["image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/blobs/{config}",
            "GET /v2/a/b/blobs/{layer}",
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/referrers/{image} | accept: INDEX",
        ],
    },
    Row {
        name: "a pull by digest",
        words: "pull --referrers no --layout M --tag x HOST/a/b@{image}",
        there: &["image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/blobs/{config}",
            "GET /v2/a/b/blobs/{layer}",
            "GET /v2/a/b/manifests/{image} | accept: MANIFESTS",
        ],
    },
    Row {
        name: "a pull of what is there",
        words: "pull --referrers no --layout L HOST/a/b:1",
        there: &["image"],
        answer: nothing_else,
        requests: &["HEAD /v2/a/b/manifests/1 | accept: MANIFESTS"],
    },
    Row {
        name: "a pull of an image for a platform",
        words: "pull --referrers no --platform linux/arm64 --layout M HOST/a/b:1",
        there: &["index"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/blobs/{arm-config}",
            "GET /v2/a/b/blobs/{arm-layer}",
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{arm} | accept: MANIFESTS",
        ],
    },
    Row {
        name: "a pull with a referrer of the list",
        words: "pull --layout M HOST/a/b:1",
        there: &["referrer", "image"],
        answer: lists_referrers,
        requests: &[
            "GET /v2/a/b/blobs/{config}",
            "GET /v2/a/b/blobs/{empty-object}",
            "GET /v2/a/b/blobs/{layer}",
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{referrer} | accept: MANIFESTS",
            "GET /v2/a/b/referrers/{image} | accept: INDEX",
            "GET /v2/a/b/referrers/{referrer} | accept: INDEX",
        ],
    },
    Row {
        name: "a pull with a referrer of the fallback tag",
        words: "pull --layout M HOST/a/b:1",
        there: &["referrers", "image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/blobs/{config}",
            "GET /v2/a/b/blobs/{empty-object}",
            "GET /v2/a/b/blobs/{layer}",
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{referrer as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{referrer} | accept: MANIFESTS",
            "GET /v2/a/b/referrers/{image} | accept: INDEX",
        ],
    },
    Row {
        name: "a push",
        words: "push --referrers no --image L:1 HOST/a/b:1",
        there: &[],
        answer: nothing_else,
        requests: &[
            "HEAD /v2/a/b/manifests/1 | accept: MANIFESTS",
            "POST /v2/a/b/blobs/uploads/?mount={config}&from=a%2Fb | content-length: 0",
            "POST /v2/a/b/blobs/uploads/?mount={layer}&from=a%2Fb | content-length: 0",
            "PUT /v2/a/b/blobs/uploads/session?digest={config} | content-length: 151 | content-type: application/octet-stream",
            "PUT /v2/a/b/blobs/uploads/session?digest={layer} | content-length: 1024 | content-type: application/octet-stream",
            "PUT /v2/a/b/manifests/1 | content-length: 397 | content-type: MANIFEST",
        ],
    },
    Row {
        name: "a push of what is there",
        words: "push --referrers no --image L:1 HOST/a/b:1",
        there: &["image"],
        answer: nothing_else,
        requests: &["HEAD /v2/a/b/manifests/1 | accept: MANIFESTS"],
    },
    Row {
        name: "a push of a large layer in chunks, where one request is refused",
        words: "push --referrers no --image L:large HOST/a/b:1",
        there: &[],
        answer: wants_chunks,
        requests: &[
            "HEAD /v2/a/b/blobs/{large-layer}",
            "HEAD /v2/a/b/manifests/1 | accept: MANIFESTS",
            "PATCH /v2/a/b/blobs/uploads/session | content-length: 4194304 | content-range: 0-4194303 | content-type: application/octet-stream",
            "POST /v2/a/b/blobs/uploads/ | content-length: 0",
            "POST /v2/a/b/blobs/uploads/?mount={large-config}&from=a%2Fb | content-length: 0",
            "POST /v2/a/b/blobs/uploads/?mount={large-layer}&from=a%2Fb | content-length: 0",
            "PUT /v2/a/b/blobs/uploads/next?state=x&digest={large-layer} | content-length: 1 | content-range: 4194304-4194304 | content-type: application/octet-stream",
            "PUT /v2/a/b/blobs/uploads/session?digest={large-config} | content-length: 151 | content-type: application/octet-stream",
            "PUT /v2/a/b/blobs/uploads/session?digest={large-layer} | content-length: 4194305 | content-type: application/octet-stream",
            "PUT /v2/a/b/manifests/1 | content-length: 400 | content-type: MANIFEST",
        ],
    },
    Row {
        name: "a push with a referrer, which the registry lists",
        words: "push --image L:1 HOST/a/b:1",
        there: &["image"],
        answer: lists_subjects,
        requests: &[
            "HEAD /v2/a/b/manifests/1 | accept: MANIFESTS",
            "HEAD /v2/a/b/manifests/{referrer} | accept: MANIFESTS",
            "POST /v2/a/b/blobs/uploads/?mount={empty-object}&from=a%2Fb | content-length: 0",
            "PUT /v2/a/b/blobs/uploads/session?digest={empty-object} | content-length: 2 | content-type: application/octet-stream",
            "PUT /v2/a/b/manifests/{referrer} | content-length: 601 | content-type: MANIFEST",
        ],
    },
    Row {
        name: "a push with a referrer, which the client lists under the fallback tag",
        words: "push --image L:1 HOST/a/b:1",
        there: &["image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "HEAD /v2/a/b/manifests/1 | accept: MANIFESTS",
            "HEAD /v2/a/b/manifests/{referrer} | accept: MANIFESTS",
            "POST /v2/a/b/blobs/uploads/?mount={empty-object}&from=a%2Fb | content-length: 0",
            "PUT /v2/a/b/blobs/uploads/session?digest={empty-object} | content-length: 2 | content-type: application/octet-stream",
            "PUT /v2/a/b/manifests/{image as a tag} | content-length: 299 | content-type: INDEX",
            "PUT /v2/a/b/manifests/{referrer} | content-length: 601 | content-type: MANIFEST",
        ],
    },
    Row {
        name: "a copy within the registry",
        words: "copy --referrers no docker://HOST/a/b:1 docker://HOST/c/d:2",
        there: &["image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
            "HEAD /v2/c/d/manifests/2 | accept: MANIFESTS",
            "POST /v2/c/d/blobs/uploads/?mount={config}&from=a%2Fb | content-length: 0",
            "POST /v2/c/d/blobs/uploads/?mount={layer}&from=a%2Fb | content-length: 0",
            "PUT /v2/c/d/manifests/2 | content-length: 397 | content-type: MANIFEST",
        ],
    },
    Row {
        name: "a list of tags in pages",
        words: "list-tags HOST/a/b",
        there: &[],
        answer: has_pages_of_tags,
        requests: &[
            "GET /v2/a/b/tags/list?n=1000",
            "GET /v2/a/b/tags/list?n=1000&last=b",
        ],
    },
    Row {
        name: "a look at an image",
        words: "stat docker://HOST/a/b:1",
        there: &["image"],
        answer: nothing_else,
        requests: &[
            "GET /v2/a/b/blobs/{config}",
            "GET /v2/a/b/manifests/1 | accept: MANIFESTS",
        ],
    },
    Row {
        name: "a removal of a tag",
        words: "remove docker://HOST/a/b:1",
        there: &["image"],
        answer: removes,
        requests: &["DELETE /v2/a/b/manifests/1"],
    },
    Row {
        name: "a removal of a digest",
        words: "remove docker://HOST/a/b@{image}",
        there: &["image"],
        answer: removes,
        requests: &[
            "DELETE /v2/a/b/manifests/{image}",
            "GET /v2/a/b/manifests/{image} | accept: MANIFESTS",
        ],
    },
    Row {
        name: "a removal of a referrer, which the client lists under the fallback tag",
        words: "remove docker://HOST/a/b@{referrer}",
        there: &["referrers", "image"],
        answer: removes,
        requests: &[
            "DELETE /v2/a/b/manifests/{referrer}",
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{image as a tag} | accept: MANIFESTS",
            "GET /v2/a/b/manifests/{referrer} | accept: MANIFESTS",
            "PUT /v2/a/b/manifests/{image as a tag} | content-length: 89 | content-type: INDEX",
        ],
    },
    Row {
        name: "a removal of what cannot be read",
        words: "remove docker://HOST/a/b@{half-an-image}",
        there: &[],
        answer: removes_half_an_image,
        requests: &[
            "DELETE /v2/a/b/manifests/{half-an-image}",
            "GET /v2/a/b/manifests/{half-an-image} | accept: MANIFESTS",
        ],
    },
];

fn nothing_else(_: &Content, _: &Asked) -> Option<Answer> {
    None
}

/// Answers with the list of referrers of `image`, which is the only one that has some.
fn lists_referrers(content: &Content, asked: &Asked) -> Option<Answer> {
    let (_, subject) = asked.path.split_once("/referrers/")?;
    let has_some = subject == content["image"].digest("sha256");
    let list = &content[if has_some { "referrers" } else { "empty-index" }];
    Some(Answer::new(200, list.bytes.clone()).header("content-type", INDEX))
}

/// Takes no blob of more than 4 MiB with one request.
fn wants_chunks(_: &Content, asked: &Asked) -> Option<Answer> {
    match asked.method.as_str() {
        "PUT" if asked.body.len() > 4 << 20 => Some(Answer::new(413, "")),
        "PATCH" => Some(Answer::new(202, "").header("location", "/v2/a/b/blobs/uploads/next?state=x")),
        "PUT" if asked.headers.contains_key("content-range") => Some(Answer::new(201, "")),
        // The shelf lacks the blob that came in chunks.
        "PUT" if asked.path.contains("/manifests/") => Some(Answer::new(201, "")),
        _ => None,
    }
}

/// Takes manifests with a subject into the list of its referrers.
fn lists_subjects(content: &Content, asked: &Asked) -> Option<Answer> {
    let is_referrer = asked.method == "PUT" && asked.body == content["referrer"].bytes;
    let subject = content["image"].digest("sha256");
    is_referrer.then(|| Answer::new(201, "").header("oci-subject", subject))
}

fn has_pages_of_tags(_: &Content, asked: &Asked) -> Option<Answer> {
    match asked.path.as_str() {
        "/v2/a/b/tags/list?n=1000" => {
            let next = "</v2/a/b/tags/list?n=1000&last=b>; rel=\"next\"";
            Some(Answer::new(200, r#"{"name":"a/b","tags":["a","b"]}"#).header("link", next))
        }
        "/v2/a/b/tags/list?n=1000&last=b" => Some(Answer::new(200, r#"{"name":"a/b","tags":["c"]}"#)),
        _ => None,
    }
}

fn removes(_: &Content, asked: &Asked) -> Option<Answer> {
    (asked.method == "DELETE").then(|| Answer::new(202, ""))
}

fn removes_half_an_image(content: &Content, asked: &Asked) -> Option<Answer> {
    let half = Answer::new(200, content["half-an-image"].bytes.clone()).header("content-type", MANIFEST);
    removes(content, asked).or(Some(half))
}

/// Serves images and all that they need; the last is also the tag `1`, and a list of referrers the fallback tag.
fn serve(images: &[&str], answer: fn(&Content, &Asked) -> Option<Answer>) -> Fake {
    let content = content();
    let shelf = Shelf::default();
    for image in images {
        store(&shelf, &content, image);
        let tag = match *image {
            "referrers" => content["image"].digest("sha256").replace(':', "-"),
            _ => "1".to_owned(),
        };
        let bytes = content[image].bytes.clone();
        shelf.manifests.lock().expect("manifests").insert(tag, bytes);
    }
    Fake::start(move |asked| answer(&content, asked).unwrap_or_else(|| shelf.answer(asked)))
}

fn store(shelf: &Shelf, content: &Content, name: &str) {
    let object = &content[name];
    for below in &object.needs {
        store(shelf, content, below);
    }
    let place = if object.media_type.is_empty() {
        &shelf.blobs
    } else {
        &shelf.manifests
    };
    let mut place = place.lock().expect("objects");
    place.insert(object.digest("sha256"), object.bytes.clone());
}

/// Returns a request as rows have it.
fn written(asked: &Asked, content: &Content) -> String {
    let encoding = asked.headers.get("accept-encoding").map(String::as_str);
    assert_eq!(encoding, Some("identity"), "{asked:?}");
    let mut out = format!("{} {}", asked.method, asked.path);
    for name in HEADERS {
        let value = asked.headers.get(name).filter(|value| *value != "*/*");
        out += &value.map_or_else(String::new, |value| format!(" | {name}: {value}"));
    }
    for (name, object) in content {
        let digest = object.digest("sha256");
        let written = [digest.clone(), digest.replace(':', "%3A")];
        for digest in written {
            out = out.replace(&digest, &format!("{{{name}}}"));
        }
        out = out.replace(&digest.replace(':', "-"), &format!("{{{name} as a tag}}"));
    }
    out.replace(MANIFESTS, "MANIFESTS")
        .replace(INDEX, "INDEX")
        .replace(MANIFEST, "MANIFEST")
}

#[test]
fn our_client_asks_for_no_more_than_it_needs() {
    let content = content();
    let origin = Env::in_memory();
    for (image, tag) in [("image", "1"), ("large-image", "large")] {
        let fake = serve(&["referrer", image], lists_referrers);
        let name = format!("{}/a/b:1", fake.address);
        origin.umoci(["pull", "--layout", "L", "--tag", tag, &name]).ok();
    }
    let mut out = Vec::new();
    for row in ROWS {
        let env = Env::in_memory();
        env.sh(&format!("cp -r {} L", origin.path("L").display()));
        let fake = serve(row.there, row.answer);
        let mut words = row.words.replace("HOST", &fake.address);
        for name in ["image", "referrer", "half-an-image"] {
            words = words.replace(&format!("{{{name}}}"), &content[name].digest("sha256"));
        }
        env.umoci(words.split(' ')).ok();
        let mut found: Vec<String> = fake
            .asked()
            .iter()
            .map(|asked| written(asked, &content))
            .collect();
        found.sort();
        if found != row.requests {
            out.push(format!("{}:\n{}", row.name, found.join("\n")));
        }
    }
    assert!(out.is_empty(), "{}", out.join("\n\n"));
}

#[test]
fn an_upload_that_goes_elsewhere_takes_no_credentials_along() {
    let storage = Fake::start(|_| Answer::new(201, ""));
    let elsewhere = format!("http://{}/store?key=x", storage.address);
    let fake = Fake::start(move |asked| {
        let has_proof = asked.headers.contains_key("authorization");
        match (has_proof, asked.method.as_str()) {
            (false, _) => Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""),
            (true, "POST") => Answer::new(202, "").header("location", elsewhere.clone()),
            (true, "PUT") => Answer::new(201, ""),
            _ => Answer::new(404, ""),
        }
    });
    let env = Env::in_memory();
    // user:password
    let auth = r#"{"auth":"dXNlcjpwYXNzd29yZA=="}"#;
    let config = format!(r#"{{"auths":{{"{}":{auth}}}}}"#, fake.address);
    env.write(".docker/config.json", config);
    env.umoci(["init", "--layout", "L"]).ok();
    env.umoci(["new", "--image", "L:1"]).ok();
    let name = format!("{}/a/b:1", fake.address);
    env.umoci(["push", "--image", "L:1", &name]).ok();
    let asked = storage.asked();
    let [one] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(one.path.starts_with("/store?key=x&digest=sha256"), "{one:?}");
    assert!(!one.headers.contains_key("authorization"), "{one:?}");
}
