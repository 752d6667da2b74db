// SPDX-License-Identifier: Apache-2.0
//! The server as a cache before another registry.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use umoci::digest::Digest;

use super::{INDEX, Served, Told, image};
use crate::registry::fake::{Answer, Asked, Fake};
use crate::registry::{Registry, requests, shelf};
use crate::support::Env;

/// The content of an origin, which a test changes between requests.
#[derive(Clone, Default)]
struct Origin {
    blobs: BTreeMap<String, Vec<u8>>,
    /// Manifests by tag and by digest.
    manifests: BTreeMap<String, Vec<u8>>,
}

impl Origin {
    /// Has the image `v1` with layers of these sizes.
    fn new(layers: &[usize]) -> (Self, Value) {
        let mut content = Self::default();
        let manifest = content.add("v1", layers);
        (content, manifest)
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::sha256(&bytes).to_string();
        let out = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        out
    }

    fn document(&mut self, tag: Option<&str>, document: &Value) -> Value {
        let media_type = document["mediaType"].as_str().expect("type").to_owned();
        let bytes = document.to_string().into_bytes();
        let digest = Digest::sha256(&bytes).to_string();
        let out = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        for target in tag.into_iter().chain([&*digest]) {
            self.manifests.insert(target.to_owned(), bytes.clone());
        }
        out
    }

    /// Adds an image, and returns its manifest.
    fn add(&mut self, tag: &str, layers: &[usize]) -> Value {
        let layers: Vec<Vec<u8>> = (0..layers.len())
            .map(|at| noise(layers[at], &format!("{tag}{at}")))
            .collect();
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| Digest::sha256(layer).to_string())
            .collect();
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = self.blob(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().into_bytes(),
        );
        let layer_type = "application/vnd.oci.image.layer.v1.tar";
        let layers = layers
            .into_iter()
            .map(|layer| self.blob(layer_type, layer))
            .collect();
        let manifest = image(config, layers);
        self.document(Some(tag), &manifest);
        manifest
    }

    fn answer(&self, asked: &Asked) -> Answer {
        if asked.path.contains("/tags/list") {
            let tags = self.manifests.keys().filter(|target| !target.contains(':'));
            return Answer::new(200, json!({ "tags": tags.rev().collect::<Vec<_>>() }).to_string());
        }
        shelf::read(asked, &self.blobs, &self.manifests)
    }
}

/// Returns bytes that differ by `seed`.
fn noise(size: usize, seed: &str) -> Vec<u8> {
    let seed = Digest::sha256(seed.as_bytes()).to_string().into_bytes();
    (0..size)
        .map(|at| seed[at % seed.len()] ^ (at.wrapping_mul(2_654_435_761) >> 9) as u8)
        .collect()
}

fn digests(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("layers").iter();
    std::iter::once(&manifest["config"])
        .chain(layers)
        .map(|blob| blob["digest"].as_str().expect("digest").to_owned())
        .collect()
}

/// Starts an origin that gives the first half of a blob of 1,000,000 bytes, and the other once `gate` is free.
fn pausing(content: &Origin, gate: &Arc<Mutex<()>>) -> Fake {
    let (origin, gate) = (content.clone(), Arc::clone(gate));
    Fake::start(move |asked| {
        let mut answer = origin.answer(asked);
        if answer.body.len() == 1_000_000 {
            answer.pause = Some((500_000, Arc::clone(&gate)));
        }
        answer
    })
}

/// A cache of `origin` below `root` of the room.
fn cache(env: &Env, origin: &str, more: &[&str]) -> Served {
    std::fs::create_dir_all(env.path("root")).expect("root");
    let words = [&["--root", "root", "--upstream", origin], more].concat();
    Served::start(env, &words)
}

/// Pulls as clients do: the manifest, then all blobs; returns the manifest.
fn pull(served: &Served, content: &Origin, name: &str, tag: &str) -> Value {
    let told = served.get(&format!("/v2/{name}/manifests/{tag}")).is(200);
    assert_eq!(told.body, content.manifests[tag]);
    let manifest = told.json();
    for digest in digests(&manifest) {
        let told = served.get(&format!("/v2/{name}/blobs/{digest}")).is(200);
        assert!(told.body == content.blobs[&digest], "{digest}");
    }
    manifest
}

/// Waits for what another thread or process does.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

/// Returns whether the layout has a tag.
fn has_tag(env: &Env, tag: &str) -> bool {
    let index = std::fs::read_to_string(env.path("root/a/b/index.json")).unwrap_or_default();
    index.contains(&format!("\"{tag}\""))
}

/// Returns how often the origin was asked for each path with GET.
fn gets(fake: &Fake) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for asked in fake
        .asked()
        .iter()
        .filter(|asked| asked.method == "GET" && asked.path.len() > 4)
    {
        *out.entry(asked.path.clone()).or_default() += 1;
    }
    out
}

#[test]
fn many_clients_at_once_cost_the_origin_one_request_for_each_digest() {
    let env = Env::in_memory();
    let (content, _) = Origin::new(&[300_000, 0, 1, 1_000_000]);
    let origin = content.clone();
    let fake = Fake::start(move |asked| origin.answer(asked));
    let served = cache(&env, &fake.address, &[]);
    let start = std::sync::Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                pull(&served, &content, "a/b", "v1")
            });
        }
    });
    let gets = gets(&fake);
    // An empty blob is known without a question.
    assert_eq!(gets.len(), 1 + 4, "{gets:?}");
    assert!(gets.values().all(|count| *count == 1), "{gets:?}");
    let heads = fake
        .lines()
        .iter()
        .filter(|line| line.starts_with("HEAD"))
        .count();
    assert_eq!(heads, 1, "{:?}", fake.lines());
    until("the tag", || has_tag(&env, "v1"));
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
    assert!(
        !env.umoci(["lease", "list", "--layout", "root/a/b"])
            .ok()
            .contains("push-")
    );
    env.umoci(["stat", "--image", "root/a/b:v1"]).ok();
}

#[test]
fn bytes_pass_on_while_they_come() {
    let env = Env::in_memory();
    let (content, manifest) = Origin::new(&[1_000_000]);
    let layer = digests(&manifest)[1].clone();
    let gate = Arc::new(Mutex::new(()));
    let fake = pausing(&content, &gate);
    let served = cache(&env, &fake.address, &[]);
    let closed = gate.lock().expect("gate");
    served.get("/v2/a/b/manifests/v1").is(200);
    let ask = |range: &str| {
        let mut stream = served.connect();
        let head =
            format!("GET /v2/a/b/blobs/{layer} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{range}\r\n");
        stream.write_all(head.as_bytes()).expect("send");
        stream
    };
    let mut streams = [
        ask(""),
        ask(""),
        ask("range: bytes=100000-299999\r\n"),
        ask("range: bytes=-10\r\n"),
    ];
    let mut got: Vec<Vec<u8>> = vec![Vec::new(); 4];
    // One goes away, which must not stop the others.
    drop(ask(""));
    for (at, wanted) in [(0, 500_000), (1, 500_000), (2, 200_000)] {
        let mut buffer = vec![0; 65536];
        while got[at].len() < wanted {
            let n = streams[at].read(&mut buffer).expect("the first half");
            assert!(n > 0);
            got[at].extend(&buffer[..n]);
        }
    }
    drop(closed);
    let bytes = &content.blobs[&layer];
    for (at, wanted) in [
        (0, &bytes[..]),
        (1, bytes),
        (2, &bytes[100_000..300_000]),
        (3, &bytes[999_990..]),
    ] {
        streams[at].read_to_end(&mut got[at]).expect("the rest");
        let told = Told::parse(&got[at]);
        assert_eq!(told.status, if at < 2 { 200 } else { 206 });
        assert!(told.body == wanted, "{at}");
    }
    assert_eq!(gets(&fake)[&format!("/v2/a/b/blobs/{layer}")], 1);
}

#[test]
fn a_blob_that_is_wrong_or_breaks_off_never_ends() {
    for fault in ["wrong", "long", "cut"] {
        let env = Env::in_memory();
        let (content, manifest) = Origin::new(&[400_000]);
        let layer = digests(&manifest)[1].clone();
        let is_broken = Arc::new(AtomicBool::new(true));
        let (origin, broken) = (content.clone(), Arc::clone(&is_broken));
        let fake = Fake::start(move |asked| {
            let mut answer = origin.answer(asked);
            if asked.path.contains("/blobs/") && answer.body.len() > 100_000 && broken.load(Ordering::Relaxed)
            {
                match fault {
                    "wrong" => answer.body[200_000] ^= 1,
                    "long" => answer.body.push(0),
                    _ if asked.headers.contains_key("range") => answer = Answer::new(404, ""),
                    _ => answer = answer.cut(250_000),
                }
            }
            answer
        });
        let served = cache(&env, &fake.address, &[]);
        served.get("/v2/a/b/manifests/v1").is(200);
        let path = format!("/v2/a/b/blobs/{layer}");
        let raw =
            served.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(raw.starts_with("HTTP/1.1 200 "), "{fault}: {raw:.100}");
        assert!(raw.contains("content-length: 400000"), "{fault}: {raw:.500}");
        until("the failure", || {
            served.log().contains(&format!("blob {layer} of a/b: "))
        });
        let there = env.path(format!("root/a/b/blobs/sha256/{}", &layer[7..]));
        assert!(!there.exists(), "{fault}");
        // The next one begins anew, or goes on.
        is_broken.store(false, Ordering::Relaxed);
        assert!(served.get(&path).is(200).body == content.blobs[&layer], "{fault}");
        let ranges: Vec<_> = fake
            .asked()
            .into_iter()
            .filter_map(|asked| asked.headers.get("range").cloned())
            .collect();
        assert_eq!(
            ranges.last().map(String::as_str),
            (fault == "cut").then_some("bytes=250000-399999"),
            "{fault}"
        );
        pull(&served, &content, "a/b", "v1");
    }
}

#[test]
fn a_cache_that_was_filled_outlives_its_origin() {
    let env = Env::in_memory();
    let (mut content, _) = Origin::new(&[1000, 2000]);
    let v1 = content.manifests["v1"].clone();
    let state = Arc::new(Mutex::new((content.clone(), 0)));
    let origin = Arc::clone(&state);
    let fake = Fake::start(move |asked| {
        let (content, status) = &*origin.lock().expect("state");
        match status {
            0 => content.answer(asked),
            status => Answer::new(*status, "").header("retry-after", "3600"),
        }
    });
    let served = cache(&env, &fake.address, &["--revalidate", "0s"]);
    let manifest = pull(&served, &content, "a/b", "v1");
    until("the tag", || has_tag(&env, "v1"));
    // A tag moves as it does there, while the old image stays by its digest.
    content.manifests.remove("v1");
    content.add("v2", &[500]);
    let moved = content.manifests["v2"].clone();
    content.manifests.insert("v1".to_owned(), moved);
    state.lock().expect("state").0 = content.clone();
    // Nobody has asked for its blobs yet, so the layout still has the old one.
    served.get("/v2/a/b/manifests/v1").is(200);
    state.lock().expect("state").1 = 429;
    let stale = served.get("/v2/a/b/manifests/v1").is(200);
    assert_eq!(stale.body, v1);
    assert!(served.log().contains("stale: a/b:v1 is "), "{}", served.log());
    state.lock().expect("state").1 = 0;
    pull(&served, &content, "a/b", "v1");
    until("v1", || {
        served.get("/v2/a/b/manifests/v1").body == content.manifests["v2"]
    });
    until("the new image", || {
        !env.umoci(["lease", "list", "--layout", "root/a/b"])
            .ok()
            .contains("push-")
    });
    for status in [429, 0] {
        state.lock().expect("state").1 = status;
        let old = Digest::sha256(&v1);
        served.get(&format!("/v2/a/b/manifests/{old}")).is(200);
        for digest in digests(&manifest) {
            served.get(&format!("/v2/a/b/blobs/{digest}")).is(200);
        }
        served.get("/v2/a/b/manifests/v1").is(200);
        let tags = served.get("/v2/a/b/tags/list").is(200).json();
        let wanted = if status == 0 {
            json!(["v1", "v2"])
        } else {
            json!(["v1"])
        };
        assert_eq!(tags["tags"], wanted);
        let index = served.get(&format!("/v2/a/b/referrers/{old}")).is(200);
        assert_eq!(index.header("content-type"), INDEX);
    }
    // What was never here, and what is not there, are not the same.
    state.lock().expect("state").1 = 429;
    served
        .get("/v2/a/b/manifests/other")
        .refuses(429, "TOOMANYREQUESTS");
    state.lock().expect("state").1 = 0;
    served
        .get("/v2/a/b/manifests/other")
        .refuses(404, "MANIFEST_UNKNOWN");
    state.lock().expect("state").1 = 403;
    served.get("/v2/a/b/manifests/v1").refuses(403, "DENIED");
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
}

#[test]
fn an_image_enters_as_a_whole_whatever_is_asked_for() {
    let env = Env::in_memory();
    let mut content = Origin::default();
    let one = content.add("one", &[1000, 2000]);
    let two = content.add("two", &[3000]);
    let mut children = Vec::new();
    for (tag, architecture) in [("one", "amd64"), ("two", "arm64")] {
        let bytes = content.manifests.remove(tag).expect("image");
        children.push(json!({
            "mediaType": shelf::media_type(&bytes), "digest": Digest::sha256(&bytes), "size": bytes.len(),
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
    content.document(Some("multi"), &index);
    let origin = content.clone();
    let fake = Fake::start(move |asked| origin.answer(asked));
    let served = cache(&env, &fake.address, &[]);
    // A look at tags and manifests makes nothing.
    served.get("/v2/a/b/manifests/multi").is(200);
    served
        .get("/v2/a/c/manifests/none")
        .refuses(404, "MANIFEST_UNKNOWN");
    served
        .ask("HEAD", &format!("/v2/a/d/blobs/{}", digests(&one)[0]), &[], b"")
        .is(200);
    assert_eq!(env.sh("find root -mindepth 1"), "");
    let manifest = |child: &Value| format!("/v2/a/b/manifests/{}", child["digest"].as_str().unwrap());
    served.get(&manifest(&children[0])).is(200);
    // Of a client that has the first layer already.
    let last = digests(&one)[2].clone();
    served.get(&format!("/v2/a/b/blobs/{last}")).is(200);
    until("the tag", || has_tag(&env, "multi"));
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
    // The other image comes later, below the index that is there.
    served.get(&manifest(&children[1])).is(200);
    for digest in digests(&two) {
        env.umoci(["fsck", "--layout", "root/a/b"]).ok();
        served.get(&format!("/v2/a/b/blobs/{digest}")).is(200);
    }
    let second = children[1]["digest"].as_str().unwrap();
    let path = env.path(format!("root/a/b/blobs/sha256/{}", &second[7..]));
    until("the second image", || path.exists());
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
    // A manifest that is asked for as a blob stands in nobody's way.
    let whole = Digest::sha256(index.to_string().as_bytes());
    served.get(&format!("/v2/a/e/blobs/{whole}"));
    env.umoci(["gc", "--layout", "root/a/b"]).ok();
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
    let gets = gets(&fake);
    assert!(
        gets.iter()
            .all(|(path, count)| path.contains("/a/e/") || *count == 1),
        "{gets:?}"
    );
}

#[test]
fn collections_take_nothing_that_comes() {
    let env = Env::in_memory();
    let mut content = Origin::default();
    let tags: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    for tag in &tags {
        content.add(tag, &[50_000, 60_000]);
    }
    let origin = content.clone();
    let fake = Fake::start(move |asked| origin.answer(asked));
    let served = cache(&env, &fake.address, &[]);
    pull(&served, &content, "a/b", "t0");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                env.umoci(["gc", "--layout", "root/a/b"]).ok();
                env.umoci(["fsck", "--layout", "root/a/b"]).ok();
            }
        });
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (served, content, tags) = (&served, &content, &tags);
                scope.spawn(move || {
                    for tag in tags.iter().skip(client) {
                        pull(served, content, "a/b", tag);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("pulls");
        }
        is_done.store(true, Ordering::Relaxed);
    });
    for tag in &tags {
        until(tag, || has_tag(&env, tag));
    }
    let gets = gets(&fake);
    assert!(gets.values().all(|count| *count == 1), "{gets:?}");
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
}

#[test]
fn a_cache_that_is_killed_goes_on() {
    let env = Env::in_memory();
    let (content, manifest) = Origin::new(&[1_000_000, 1000]);
    let [_, large, small] = digests(&manifest).try_into().expect("three");
    let gate = Arc::new(Mutex::new(()));
    let fake = pausing(&content, &gate);
    let closed = gate.lock().expect("gate");
    let served = cache(&env, &fake.address, &[]);
    served.get("/v2/a/b/manifests/v1").is(200);
    let mut stream = served.connect();
    let head = format!("GET /v2/a/b/blobs/{large} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("send");
    served.get(&format!("/v2/a/b/blobs/{small}")).is(200);
    let part = env.path(format!("root/a/b/.umoci/partial/sha256-{}", &large[7..]));
    until("half", || part.metadata().is_ok_and(|part| part.len() == 500_000));
    served.signal(Signal::KILL);
    drop((served, closed));
    env.umoci(["gc", "--layout", "root/a/b"]).ok();
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
    let served = cache(&env, &fake.address, &[]);
    // A client that has the manifest goes on with the blobs.
    let told = served.get(&format!("/v2/a/b/blobs/{large}")).is(200);
    assert!(told.body == content.blobs[&large]);
    pull(&served, &content, "a/b", "v1");
    until("the tag", || has_tag(&env, "v1"));
    let asked = fake.asked();
    let last = asked
        .iter()
        .rfind(|asked| asked.method == "GET" && asked.path.ends_with(&large));
    assert_eq!(last.unwrap().headers["range"], "bytes=500000-999999");
    assert_eq!(gets(&fake)[&format!("/v2/a/b/blobs/{small}")], 1);
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
}

#[test]
fn the_operator_logs_in_and_the_client_need_not() {
    let env = Env::in_memory();
    let (content, _) = Origin::new(&[1000]);
    let origin = content.clone();
    let fake = Fake::start(move |asked| {
        // "ci:secret"
        if asked.headers.get("authorization").map(String::as_str) == Some("Basic Y2k6c2VjcmV0") {
            return origin.answer(asked);
        }
        Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\"")
    });
    let auths = json!({ "auths": { fake.address.clone(): { "auth": "Y2k6c2VjcmV0" } } });
    env.write("auth.json", auths.to_string());
    let served = cache(
        &env,
        &format!("{}/team", fake.address),
        &["--authfile", "auth.json"],
    );
    // What a client sends is for the cache alone.
    let other = [("authorization", "Basic b3RoZXI6eA==")];
    served.ask("GET", "/v2/app/manifests/v1", &other, b"").is(200);
    pull(&served, &content, "app", "v1");
    assert!(
        fake.lines()
            .iter()
            .all(|line| line.contains("/v2/team/app/") || line.ends_with(" /v2/")),
        "{:?}",
        fake.lines()
    );
    drop(served);
    let served = cache(&env, &format!("{}/team", fake.address), &["--revalidate", "0s"]);
    served.get("/v2/app/manifests/v1").refuses(403, "DENIED");
    served.get("/v2/other/manifests/v1").refuses(403, "DENIED");
}

#[test]
fn a_cache_takes_no_pushes_and_fills_named_layouts() {
    let env = Env::in_memory();
    let (content, _) = Origin::new(&[1000]);
    let origin = content.clone();
    let fake = Fake::start(move |asked| origin.answer(asked));
    env.umoci(["init", "--layout", "store"]).ok();
    let served = Served::start(&env, &["a/b=store", "--upstream", &fake.address]);
    pull(&served, &content, "a/b", "v1");
    served.get("/v2/a/c/manifests/v1").refuses(404, "NAME_UNKNOWN");
    served
        .ask("POST", "/v2/a/b/blobs/uploads/", &[], b"")
        .refuses(405, "UNSUPPORTED");
    served
        .ask("PUT", "/v2/a/b/manifests/v1", &[], b"{}")
        .refuses(405, "UNSUPPORTED");
    served
        .ask("DELETE", "/v2/a/b/manifests/v1", &[], b"")
        .refuses(405, "UNSUPPORTED");
    until("the tag", || {
        env.umoci(["list", "--layout", "store"]).ok().contains("v1")
    });
    for (words, why) in [
        (vec!["--upstream", "team", "store"], "want HOST or HOST/PATH"),
        (
            vec!["--upstream", "https://docker.io", "store"],
            "leave https:// out",
        ),
        (vec!["--upstream", "docker.io", "--write", "store"], "--write"),
        (vec!["--revalidate", "1m", "store"], "--upstream"),
    ] {
        let words: Vec<&str> = ["serve", "--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(words)
            .collect();
        let output = env.umoci(&words);
        assert!(output.stderr.contains(why), "{}", output.stderr);
    }
}

#[test]
#[ignore = "needs skopeo and docker-registry: run by tests/all.sh"]
fn skopeo_pulls_through() {
    let env = Env::in_memory();
    env.sh("mkdir -p r/etc && echo one > r/etc/motd");
    env.umoci(["init", "--layout", "L"]).ok();
    env.umoci(["new", "--image", "L:v1", "--from", "r"]).ok();
    let registry = Registry::start(&env, "");
    env.umoci(["push", "--image", "L:v1", &registry.name("a/b:v1")])
        .ok();
    requests(&env);
    let served = cache(&env, &registry.address, &[]);
    for copy in ["one", "two"] {
        let from = format!("docker://{}", served.name("a/b:v1"));
        env.sh(&format!(
            "skopeo copy -q --src-tls-verify=false {from} oci:{copy}:v1"
        ));
    }
    let seen = requests(&env);
    let blobs = seen
        .iter()
        .filter(|line| line.starts_with("GET") && line.contains("/blobs/"))
        .count();
    assert_eq!(blobs, 2, "{seen:?}");
    until("the tag", || has_tag(&env, "v1"));
    env.umoci(["fsck", "--layout", "root/a/b"]).ok();
}
