// SPDX-License-Identifier: Apache-2.0
//! `umoci copy` between two places of any kind.

use super::fake::{Answer, Content, Fake};
use super::shelf::{Shelf, digests_in};
use super::{Registry, requests};
use crate::support::{Env, Image};
use umoci::digest::Digest;

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_copy_within_a_registry_mounts_its_blobs() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let [from, to] = ["team/app:1", "other/app:2"].map(|path| format!("docker://{}", registry.name(path)));
    env.umoci(["copy", "img:latest", &from]).ok();
    requests(env);
    let again = ["copy", "--referrers", "no", &from, &to];
    env.umoci(again).ok();
    let first = requests(env);
    let mounts = first
        .iter()
        .filter(|line| line.starts_with("POST") && line.ends_with("201"));
    // The tag there, the manifest here, three blobs, the manifest.
    assert_eq!((first.len(), mounts.count()), (6, 3), "{first:?}");
    env.umoci(again).ok();
    assert_eq!(
        requests(env),
        [
            "HEAD /v2/other/app/manifests/2 200",
            "HEAD /v2/team/app/manifests/1 200"
        ]
    );
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_copy_to_another_registry_is_spooled_and_leaves_no_file() {
    let image = Image::with_second_layer("gzip");
    let env = &image.env;
    let here = Registry::start(env, "");
    let elsewhere = Env::new();
    let there = Registry::start(&elsewhere, "");
    let [from, to] = [&here, &there].map(|registry| format!("docker://{}", registry.name("app:1")));
    env.umoci(["copy", "img:latest", &from]).ok();
    env.sh("mkdir spool");
    let run = |words: &[&str]| {
        let spool = env.path("spool");
        let words = [&[env!("CARGO_BIN_EXE_umoci")], words].concat();
        env.run(
            "/usr/bin/env",
            [&[&*format!("TMPDIR={}", spool.display())], &words[..]].concat(),
        )
    };
    run(&["copy", &from, &to]).ok();
    assert_eq!(env.sh("ls -A spool"), "");
    env.umoci(["copy", &to, "back:1"]).ok();
    env.umoci(["fsck", "--layout", "back"]).ok();
    let raw = |place: &str| env.umoci(["stat", "--raw", place]).ok();
    assert_eq!(raw(&from), raw(&to));
    // Nothing is spooled without room for it, and nothing is there then.
    env.sh("rmdir spool");
    let line = run(&["copy", &from, &to.replace("app", "new")]).fails();
    assert!(line.contains("spool below"), "{line}");
    assert!(
        env.umoci(["stat", "--raw", &to.replace("app", "new")])
            .fails()
            .contains("no image")
    );
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn every_place_is_a_source_and_a_destination() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let remote = format!("docker://{}", registry.name("app"));
    let places = [
        "lay:1".to_owned(),
        "oci-archive:a.tar:1".to_owned(),
        format!("{remote}:1"),
        "docker-archive:d.tar:app:1".to_owned(),
    ];
    let mut from = "img:latest".to_owned();
    // Each of the first three leads to each of all.
    for pass in 0..3 {
        for to in &places {
            let is_archive = to.contains("archive");
            if &from == to {
                continue;
            }
            env.umoci(["copy", &from, to]).ok();
            if is_archive {
                env.sh("rm -f check; true");
                env.umoci(["copy", to, "check:1"]).ok();
                env.umoci(["fsck", "--layout", "check"]).ok();
                env.sh("rm -r check");
            }
        }
        from.clone_from(&places[pass]);
    }
    // Docker's archive is a source too, whose manifest is made anew.
    env.umoci(["copy", "docker-archive:d.tar", &format!("{remote}:docker")])
        .ok();
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn a_copy_replaces_nothing_where_that_is_not_wanted_and_tells_its_plan() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let [from, to] = ["a", "b"].map(|path| format!("docker://{}", registry.name(path)));
    env.umoci(["config", "--image", "img:latest", "--tag", "v2", "--author", "x"])
        .ok();
    env.umoci(["copy", "img", &from]).ok();
    let plan = env.umoci(["copy", "--dry-run", "--all-tags", &from, &to]).ok();
    assert_eq!(plan.lines().count(), 2, "{plan}");
    env.umoci(["copy", &format!("{from}:latest"), &format!("{to}:v2")])
        .ok();
    let words = ["copy", "--no-clobber", "--filter", "v*", &from, &to];
    let line = env.umoci(words).fails();
    assert!(line.contains("tag exists in") && line.contains("v2"), "{line}");
    env.umoci(["copy", "--filter", "v*", &from, &to]).ok();
    let line = env
        .umoci(["copy", &from, &format!("{to}@sha256:{}", "0".repeat(64))])
        .fails();
    assert!(line.contains("give a tag"), "{line}");
    for place in ["lay:v2", "oci-archive:a.tar:v2"] {
        env.umoci(["copy", &format!("{from}:latest"), place]).ok();
        let line = env
            .umoci(["copy", "--no-clobber", &format!("{from}:v2"), place])
            .fails();
        assert!(line.contains("exists"), "{line}");
    }
}

#[test]
#[ignore = "needs docker-registry: run by tests/all.sh"]
fn an_index_that_is_there_spares_the_questions_for_its_blobs() {
    let image = Image::new();
    let env = &image.env;
    let registry = Registry::start(env, "");
    let change = ["config", "--image", "img:latest", "--architecture"];
    for name in ["arm64", "riscv64"] {
        env.umoci([&change[..], &[name, "--tag", name]].concat()).ok();
    }
    env.umoci(["manifest", "create", "img:two", "latest", "arm64"])
        .ok();
    env.umoci(["manifest", "create", "img:three", "latest", "arm64", "riscv64"])
        .ok();
    let name = registry.name("multi");
    env.umoci(["push", "--referrers", "no", "--image", "img:two", &name])
        .ok();
    requests(env);
    env.umoci(["push", "--referrers", "no", "--image", "img:three", &name])
        .ok();
    let third = requests(env);
    // The tag, the index and its three images are asked for; of the new one three blobs and a manifest go, then the index.
    let sent = third.iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!((third.len(), sent), (1 + 1 + 3 + (3 + 1) + 1 + 1, 3), "{third:?}");
    // By another tag it is one question and the tag.
    env.umoci(["tag", "--image", "img:three", "other"]).ok();
    env.umoci(["push", "--referrers", "no", "--image", "img:other", &name])
        .ok();
    let other = requests(env);
    assert_eq!(other.len(), 3, "{other:?}");
}

/// Makes a registry that grants each mount and has lost every blob until it is sent, and says so by `detail`.
fn forgetful(detail: fn(&str) -> String) -> Fake {
    let sent = std::sync::Mutex::new(std::collections::BTreeSet::new());
    Fake::start(move |asked| {
        let mut sent = sent.lock().expect("sent");
        let path = asked.path.clone();
        if asked.method == "POST" && path.contains("mount=") {
            return Answer::new(201, "");
        }
        if asked.method == "POST" {
            return Answer::new(202, "").header("location", "/v2/up");
        }
        if asked.method == "PUT" && path.starts_with("/v2/up") {
            sent.insert(Digest::sha256(&asked.body).to_string());
            return Answer::new(201, "");
        }
        if asked.method == "PUT" {
            let lost = digests_in(&asked.body)
                .into_iter()
                .filter(|digest| !sent.contains(digest));
            let errors: Vec<String> = lost
                .map(|digest| {
                    format!(
                        r#"{{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{}}}"#,
                        detail(&digest)
                    )
                })
                .collect();
            if errors.is_empty() {
                return Answer::new(201, "");
            }
            return Answer::new(400, format!(r#"{{"errors":[{}]}}"#, errors.join(",")));
        }
        // It also says that it has them all.
        if asked.method == "HEAD" && path.contains("/blobs/") {
            return Answer::new(200, "");
        }
        Answer::new(404, "")
    })
}

#[test]
fn blobs_that_a_registry_lost_are_sent_after_all() {
    let details: [fn(&str) -> String; 3] = [
        |digest| format!("\"{digest}\""),
        |digest| format!("{{\"Digest\":\"{digest}\"}}"),
        |_| "null".to_owned(),
    ];
    for detail in details {
        let fake = forgetful(detail);
        let image = Image::new();
        let name = format!("{}/a:1", fake.address);
        let words = ["push", "--referrers", "no", "--image", "img:latest", &name];
        image.env.umoci(words).ok();
        let lines = fake.lines();
        let tags = lines.iter().filter(|line| *line == "PUT /v2/a/manifests/1");
        assert!((2..=3).contains(&tags.count()), "{lines:?}");
        let sent = lines.iter().filter(|line| line.starts_with("PUT /v2/up"));
        assert_eq!(sent.count(), 3, "{lines:?}");
    }
}

#[test]
fn a_registry_that_loses_blobs_for_ever_is_given_up() {
    let fake = Fake::start(|asked| match asked.method.as_str() {
        "POST" if asked.path.contains("mount=") => Answer::new(201, ""),
        "POST" => Answer::new(202, "").header("location", "/v2/up"),
        "PUT" if asked.path.starts_with("/v2/up") => Answer::new(201, ""),
        "PUT" => Answer::new(
            400,
            r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"gone"}]}"#,
        ),
        _ => Answer::new(404, ""),
    });
    let image = Image::new();
    let name = format!("{}/a:1", fake.address);
    let line = image.env.umoci(["push", "--image", "img:latest", &name]).fails();
    assert!(line.contains("gone"), "{line}");
    assert!(fake.lines().len() < 100, "{}", fake.lines().len());
}

/// Pushes an image to `a:1` and returns the requests so far.
fn push(env: &Env, fake: &Fake) -> Vec<String> {
    let name = format!("{}/a:1", fake.address);
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    fake.lines()
}

#[test]
fn large_blobs_are_asked_for_where_some_may_be_there() {
    let image = Image::new();
    let env = &image.env;
    for n in ["1", "2", "3"] {
        env.sh(&format!("mkdir d{n}; head -c 9000000 /dev/urandom >d{n}/file"));
        image.insert(&format!("d{n}"));
    }
    // A registry that has everything but the tag, and forgets all large blobs but so many.
    let table = [
        ("nothing is there", 0, false, (1, 6)),
        ("a push broke off", 3, false, (3, 3)),
        ("the tag has another image", 1, true, (3, 5)),
    ];
    for (what, kept, has_tag, (questions, sent)) in table {
        let (shelf, fake) = Shelf {
            ignores_mounts: true,
            ..Shelf::default()
        }
        .serve();
        let begun = push(env, &fake);
        let mut large = 0;
        shelf.blobs.lock().expect("blobs").retain(|_, blob| {
            large += usize::from(blob.len() > 8 << 20);
            blob.len() <= 8 << 20 || large <= kept
        });
        let other = has_tag.then(|| ("1".to_owned(), Content::new(1).manifest));
        *shelf.manifests.lock().expect("manifests") = other.into_iter().collect();
        let lines = push(env, &fake).split_off(begun.len());
        let [heads, puts] = ["HEAD", "PUT"].map(|method| {
            let start = format!("{method} /v2/a/blobs/");
            lines.iter().filter(|line| line.starts_with(&start)).count()
        });
        assert_eq!((heads, puts), (questions, sent), "{what}: {lines:?}");
    }
}

#[test]
fn an_upload_that_comes_too_early_waits_as_long_as_the_registry_asks() {
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let content = Content::new(1000);
    let fake = Fake::start(move |asked| {
        if asked.method == "PUT" && refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
            return Answer::new(429, "").header("retry-after", "0");
        }
        match asked.method.as_str() {
            "POST" => Answer::new(202, "").header("location", "/v2/up"),
            "PUT" => Answer::new(201, ""),
            _ => content.answer(asked),
        }
    });
    let env = Env::new();
    let [from, to] = ["a/b:1", "c/d:2"].map(|name| format!("docker://{}/{name}", fake.address));
    env.umoci(["copy", "--referrers", "no", &from, &to]).ok();
    // A request that was not looked at is sent again in the session that it belongs to.
    let begun = fake
        .lines()
        .iter()
        .filter(|line| line.starts_with("POST"))
        .count();
    assert_eq!(begun, 2, "{:?}", fake.lines());
}
