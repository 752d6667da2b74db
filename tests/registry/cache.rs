// SPDX-License-Identifier: Apache-2.0
//! A repository as a cache of many builders.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Answer, Fake};
use super::shelf::{Shelf, digests_in};
use super::{Registry, requests};
use crate::support::{Env, Image, Output};

fn put(env: &Env, key: &str, image: &str, to: &str) -> Output {
    env.umoci(["cache", "put", key, "--image", image, "--to", to])
}

fn get(env: &Env, key: &str, layout: &str, from: &str) -> Output {
    env.umoci(["cache", "get", key, "--layout", layout, "--from", from])
}

/// Makes an image with a base of several layers, and one with a layer more.
fn image() -> Image {
    let image = Image::new();
    for n in 0..4 {
        image.env.sh(&format!("mkdir d{n}; echo {n} >d{n}/file"));
        image.insert(&format!("d{n}"));
    }
    image
        .env
        .umoci(["insert", "--image", "img:latest", "--tag", "next", "d0", "/more"])
        .ok();
    image
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn entries_cost_few_requests() {
    let image = image();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let cache = registry.name("cache");
    requests(env);
    assert_eq!(get(env, "key", "there", &cache).code, Some(2));
    assert_eq!(requests(env).len(), 1);
    assert!(!env.path("there").exists(), "a miss makes no layout");
    put(env, "key", "img:latest", &cache).ok();
    let first = requests(env);
    // Two layers of the image, four more, and the config; the registry names all in one refusal.
    assert_eq!(first.len(), 2 * 7 + 3, "{first:?}");
    put(env, "key", "img:latest", &cache).ok();
    assert_eq!(requests(env).len(), 1);
    // Two of the blobs are new.
    put(env, "next", "img:next", &cache).ok();
    let next = requests(env);
    assert!(next.len() <= 3 * 2 + 2, "{next:?}");
    put(env, "same", "img:next", &cache).ok();
    assert_eq!(requests(env).len(), 3);
    // A hit makes it.
    get(env, "key", "there", &cache).ok();
    assert_eq!(requests(env).len(), 1 + 7);
    get(env, "next", "there", &cache).ok();
    assert_eq!(requests(env).len(), 1 + 2);
    get(env, "next", "there", &cache).ok();
    assert_eq!(requests(env).len(), 1);
    env.umoci(["fsck", "--layout", "there"]).ok();
    // Any program can look at an entry.
    let tag = format!("c-{}", env.sh("printf next | sha256sum | cut -c 1-64").trim());
    assert_eq!(env.umoci(["ls", "--layout", "there"]).ok().lines().count(), 2);
    env.umoci(["stat", &format!("docker://{cache}:{tag}")]).ok();
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn an_index_is_an_entry_too() {
    let image = image();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let cache = registry.name("cache");
    image.add_index();
    env.umoci(["init", "--layout", "there"]).ok();
    put(env, "key", "img:both", &cache).ok();
    get(env, "key", "there", &cache).ok();
    env.umoci(["fsck", "--layout", "there"]).ok();
    let digest = |layout: &str| env.umoci(["ref", "list", "--layout", layout, "--json"]).ok();
    let wanted = env.sh("jq -r '.manifests[] | select(.annotations.\"org.opencontainers.image.ref.name\" == \"both\") | .digest' img/index.json");
    assert!(digest("there").contains(wanted.trim()));
}

#[test]
fn an_entry_of_which_something_is_missing_is_a_miss() {
    let image = image();
    let env = &image.env;
    let (shelf, fake) = Shelf::default().serve();
    let cache = format!("{}/cache", fake.address);
    put(env, "key", "img:latest", &cache).ok();
    let names: Vec<String> = shelf.blobs.lock().expect("blobs").keys().cloned().collect();
    for name in names {
        let lost = shelf.blobs.lock().expect("blobs").remove(&name).expect("blob");
        env.umoci(["init", "--layout", "there"]).ok();
        let out = get(env, "key", "there", &cache);
        assert_eq!((out.code, out.stdout.as_str()), (Some(2), ""), "{}", out.stderr);
        assert_eq!(env.umoci(["ls", "--layout", "there"]).ok(), "");
        env.sh("rm -r there");
        shelf.blobs.lock().expect("blobs").insert(name, lost);
    }
    // A failure is another thing than a miss.
    let broken = Fake::start(|_| Answer::new(401, ""));
    env.umoci(["init", "--layout", "there"]).ok();
    get(env, "key", "there", &format!("{}/cache", broken.address)).fails();
    for place in ["s3://bucket/cache", "h.example/cache:1", "h.example/UPPER"] {
        assert!(
            put(env, "key", "img:latest", place)
                .fails()
                .contains("invalid --to")
        );
    }
    assert!(put(env, "", "img:latest", &cache).fails().contains("empty"));
}

#[test]
fn a_registry_that_does_not_look_gets_all_blobs_the_config_last() {
    let image = image();
    let shelf = Shelf {
        is_careless: true,
        ..Shelf::default()
    };
    let (shelf, fake) = shelf.serve();
    let cache = format!("{}/cache", fake.address);
    put(&image.env, "key", "img:latest", &cache).ok();
    let manifests = shelf.manifests.lock().expect("manifests");
    let blobs = shelf.blobs.lock().expect("blobs");
    let manifest = manifests.values().next().expect("manifest");
    assert!(
        digests_in(manifest)
            .iter()
            .all(|digest| blobs.contains_key(digest))
    );
    let mut sent = fake
        .asked()
        .into_iter()
        .filter(|asked| asked.path.contains("/uploads/session"));
    let last = sent.next_back().expect("blobs").body;
    assert!(String::from_utf8_lossy(&last).contains("rootfs"));
}

#[test]
fn a_registry_that_names_one_blob_at_a_time_is_asked_as_often() {
    let image = image();
    let shelf = Shelf {
        names_one: true,
        ..Shelf::default()
    };
    let (_, fake) = shelf.serve();
    put(
        &image.env,
        "key",
        "img:latest",
        &format!("{}/cache", fake.address),
    )
    .ok();
    assert_eq!(fake.lines().len(), 3 * 7 + 2, "{:?}", fake.lines());
}

#[test]
fn a_collector_at_every_turn_loses_no_entry() {
    let image = image();
    let env = &image.env;
    for every in [17, 23, 31, 40] {
        let shelf = std::sync::Arc::new(Shelf::default());
        let (served, turns) = (std::sync::Arc::clone(&shelf), AtomicUsize::new(0));
        let alone = Mutex::new(());
        let fake = Fake::start(move |asked| {
            let _alone = alone.lock().expect("alone");
            // Turns that are far apart on average, and in no step with the rounds of the client.
            let turn = turns.fetch_add(1, Ordering::SeqCst).wrapping_mul(2_654_435_761) >> 9;
            if turn % every == 0 {
                collect(&served);
            }
            served.answer(asked)
        });
        let cache = format!("{}/cache", fake.address);
        for (key, name) in [("a", "img:latest"), ("b", "img:next")] {
            put(env, key, name, &cache).ok();
        }
        collect(&shelf);
        env.umoci(["init", "--layout", "there"]).ok();
        for key in ["a", "b"] {
            get(env, key, "there", &cache).ok();
        }
        env.umoci(["fsck", "--layout", "there"]).ok();
        env.sh("rm -r there");
    }
}

/// Removes the blobs that no manifest needs.
fn collect(shelf: &Shelf) {
    let mut blobs = shelf.blobs.lock().expect("blobs");
    let manifests = shelf.manifests.lock().expect("manifests");
    let needed: Vec<_> = manifests.values().map(|bytes| digests_in(bytes)).collect();
    blobs.retain(|digest, _| needed.iter().any(|digests| digests.contains(digest)));
}

#[test]
fn the_last_of_many_writers_wins_and_none_fails() {
    let image = image();
    let env = &image.env;
    let (shelf, fake) = Shelf::default().serve();
    let cache = format!("{}/cache", fake.address);
    let umoci = env!("CARGO_BIN_EXE_umoci");
    env.sh(&format!(
        "pids=(); for n in $(seq 8); do tag=latest; [ $((n % 2)) = 0 ] || tag=next
             {umoci} cache put key --image img:$tag --to {cache} & pids+=($!); done
         for pid in \"${{pids[@]}}\"; do wait $pid; done"
    ));
    env.umoci(["init", "--layout", "there"]).ok();
    get(env, "key", "there", &cache).ok();
    env.umoci(["fsck", "--layout", "there"]).ok();
    // The tag and two digests.
    assert_eq!(shelf.manifests.lock().expect("manifests").len(), 3);
}
