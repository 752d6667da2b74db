// SPDX-License-Identifier: Apache-2.0
//! Pulls and pushes that are killed at any instant: the rerun succeeds, and moves what is missing. `UMOCI_LONG=1` kills 200 of each.

use std::ffi::OsStr;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::fake::{Answer, Content, Fake, ranged};
use super::pull;
use super::shelf::{Shelf, moved};
use crate::support::{Env, Image};
use umoci::digest::Digest;

/// Size of the buffer that a blob passes on its way to its file, in bytes.
const BUFFER: u64 = 256 * 1024;

fn rounds() -> usize {
    if std::env::var_os("UMOCI_LONG").is_some() {
        200
    } else {
        12
    }
}

fn spawn<S: AsRef<OsStr>>(env: &Env, words: &[S]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_umoci"))
        .args(words)
        .current_dir(env.path(""))
        .env_clear()
        .env("HOME", env.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("umoci")
}

/// Runs the program and kills it at an instant before it would have ended, mostly; returns how long it could run.
fn kill_within(env: &Env, words: &[String], most: Duration) -> Duration {
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let time = most * u32::try_from(random % 1000).expect("small") / 1000;
    let mut child = spawn(env, words);
    std::thread::sleep(time);
    child.kill().expect("kill");
    child.wait().expect("wait");
    time
}

/// Returns the bytes of blobs that a pull has brought: whole ones, and the parts of others.
fn brought(layout: &Path, blobs: &[String]) -> u64 {
    let size = |path: std::path::PathBuf| path.metadata().map(|found| found.len());
    let each = blobs.iter().map(|digest| {
        let whole = layout.join("blobs").join(digest.replace(':', "/"));
        let part = layout.join(".umoci/partial").join(digest.replace(':', "-"));
        size(whole).or_else(|_| size(part)).unwrap_or(0)
    });
    each.sum()
}

/// Makes an image with two layers of some hundred kilobytes in `img`.
fn image() -> Image {
    let image = Image::new();
    for n in ["1", "2"] {
        image
            .env
            .sh(&format!("mkdir d{n}; head -c 700000 /dev/urandom >d{n}/file"));
        image.insert(&format!("d{n}"));
    }
    image
}

#[test]
fn a_pull_that_is_killed_goes_on_with_what_came() {
    let image = image();
    let env = &image.env;
    let (shelf, fake) = Shelf::default().serve();
    let name = format!("{}/a:1", fake.address);
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    let blobs: Vec<String> = shelf.blobs.lock().expect("blobs").keys().cloned().collect();
    let begin = Instant::now();
    env.umoci(["pull", "--referrers", "no", "--layout", "L", &name])
        .ok();
    let most = begin.elapsed();
    for round in 0..rounds() {
        env.sh("rm -rf L");
        let [first, second] = ["first", "second"].map(|run| format!("{run}{round}"));
        let words = |run: &str| {
            let name = format!("{}/{run}:1", fake.address);
            ["pull", "--referrers", "no", "--layout", "L", &name].map(str::to_owned)
        };
        let time = kill_within(env, &words(&first), most);
        let there = brought(&env.path("L"), &blobs);
        env.umoci(words(&second)).ok();
        assert_eq!(
            moved(&fake, &shelf, &second) + there,
            shelf.size(),
            "round {round}, killed after {time:?}: what moved and what was there"
        );
        env.umoci(["fsck", "--layout", "L"]).ok();
        assert!(env.sh("ls -A L/.umoci/partial").is_empty());
    }
}

#[test]
fn a_push_that_is_killed_sends_the_blobs_that_are_missing() {
    let image = image();
    let env = &image.env;
    let (shelf, fake) = Shelf::default().serve();
    let name = format!("{}/a:1", fake.address);
    let begin = Instant::now();
    env.umoci(["push", "--image", "img:latest", &name]).ok();
    let (most, size) = (begin.elapsed(), shelf.size());
    for round in 0..rounds() {
        shelf.blobs.lock().expect("blobs").clear();
        shelf.manifests.lock().expect("manifests").clear();
        let [first, second] = ["first", "second"].map(|run| format!("{run}{round}"));
        let words = |run: &str| {
            let name = format!("{}/{run}:1", fake.address);
            ["push", "--image", "img:latest", &name].map(str::to_owned)
        };
        let time = kill_within(env, &words(&first), most);
        let there = shelf.size();
        env.umoci(words(&second)).ok();
        let sent = moved(&fake, &shelf, &second);
        assert!(
            sent + there <= size && shelf.size() == size,
            "round {round}, killed after {time:?}: {sent} bytes moved, {there} of {size} were there"
        );
        assert!(shelf.manifests.lock().expect("manifests").contains_key("1"));
        env.umoci(["fsck", "--layout", "img"]).ok();
    }
}

#[test]
fn all_but_a_buffer_of_what_came_is_kept() {
    let size = 3_000_000;
    let content = Content::new(size);
    let layer = Digest::sha256(&content.layer).to_string();
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let stop = 2_000_000;
    let wanted = layer.clone();
    let fake = Fake::start(move |asked| {
        let answer = content.answer(asked);
        let is_first =
            asked.path.ends_with(&wanted) && tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        Answer {
            stall: is_first.then_some(stop),
            ..answer
        }
    });
    let env = Env::new();
    let name = format!("{}/a/b:1", fake.address);
    let mut child = spawn(&env, &["pull", "--referrers", "no", "--layout", "L", &name]);
    let least = stop as u64 - BUFFER;
    let end = Instant::now() + Duration::from_secs(60);
    while brought(&env.path("L"), std::slice::from_ref(&layer)) < least {
        assert!(Instant::now() < end, "the bytes did not come");
        std::thread::yield_now();
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    pull(&env, &fake).ok();
    env.umoci(["fsck", "--layout", "L"]).ok();
    let asked = fake.asked();
    // The config may have been on its way as well, and is asked for in any order.
    let of_layer = asked.iter().rfind(|asked| asked.path.ends_with(&layer));
    let range = of_layer
        .and_then(|asked| asked.headers.get("range"))
        .expect("range");
    let (start, last) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .expect("closed");
    assert!(start.parse::<u64>().expect("start") >= least);
    assert_eq!(last.parse::<usize>().expect("last"), size - 1);
}

#[test]
fn a_part_that_is_of_no_use_ends_in_a_whole_download() {
    let content = || Content::new(500_000);
    let digest = Digest::sha256(&content().layer).to_string();
    let part = format!("L/.umoci/partial/{}", digest.replace(':', "-"));
    let good = content().layer;
    let wrong = vec![7; 500_000];
    // What is there, and whether the server has ranges: all, none, or none and an error for who asks.
    let parts: [&[u8]; 5] = [
        &good[..100_000],
        &wrong[..100_000],
        &wrong,
        &[&good[..], b"x"].concat(),
        b"",
    ];
    for (at, bytes) in parts.into_iter().enumerate() {
        for ranges in [206, 200, 416] {
            let content = content();
            let fake = Fake::start(move |asked| {
                let answer = content.answer(asked);
                match (answer.status, ranges) {
                    (206, 200) => Answer::new(200, content.layer.clone()),
                    (206, 416) => Answer::new(416, ""),
                    _ => answer,
                }
            });
            let env = Env::new();
            env.umoci(["init", "--layout", "L"]).ok();
            env.write(&part, bytes);
            pull(&env, &fake).ok();
            env.umoci(["fsck", "--layout", "L"]).ok();
            let path = env.path("L/blobs").join(digest.replace(':', "/"));
            assert_eq!(
                std::fs::read(path).expect("blob"),
                ranged(&fake.asked()[0], &good).body,
                "part {at}, status {ranges}"
            );
            assert!(!env.path(&part).exists());
        }
    }
}

#[test]
fn two_pulls_of_one_image_do_not_wait_for_each_other() {
    let content = Content::new(800_000);
    let fake = Fake::start(move |asked| content.answer(asked));
    let env = Env::new();
    env.umoci(["init", "--layout", "L"]).ok();
    let name = format!("{}/a/b:1", fake.address);
    let words = ["pull", "--referrers", "no", "--layout", "L", &name];
    let children: Vec<Child> = (0..4).map(|_| spawn(&env, &words)).collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    env.umoci(["fsck", "--layout", "L"]).ok();
}
