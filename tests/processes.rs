// SPDX-License-Identifier: Apache-2.0
//! Many processes on one layout: each ends as if they had run one after the other.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::{Env, Image};

/// Processes that work at the same time.
const WORKERS: u32 = 8;

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Runs commands in the room of `env` one after the other; returns the tags that must be there, with their digests.
fn worker(env: &Env, number: u32, seed: u64, commands: u32, peer: bool) -> BTreeMap<String, String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 {
        random.below(1);
    }
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let digest = |tag: &str| {
        let refs = env.umoci(["ref", "list", "--layout", "img", "--json"]).ok();
        let refs: serde_json::Value = serde_json::from_str(&refs).expect("JSON");
        let named = refs.as_array().into_iter().flatten().find(|r| r["name"] == tag);
        let named = named
            .unwrap_or_else(|| panic!("seed {seed}: worker {number}: {tag} was written and is not there"));
        named["digest"].as_str().expect("digest").to_owned()
    };
    let bundle = format!("bundle-{number}");
    env.umoci(["unpack", "--image", "source:latest", &bundle]).ok();
    for at in 0..commands {
        let tag = format!("w{number}-{}", random.below(4));
        let image = format!("img:{tag}");
        let text = format!("{number} {at}");
        match random.below(if peer { 11 } else { 9 }) {
            0 => drop(
                env.umoci(["import", "--layout", "img", "--tag", &tag, "source:latest"])
                    .ok(),
            ),
            1 => drop(env.umoci(["tag", "--image", "img:latest", &tag]).ok()),
            2 => {
                env.write(&format!("file-{number}"), &text);
                let file = format!("file-{number}");
                env.umoci(["insert", "--image", "img:latest", "--tag", &tag, &file, "/file"])
                    .ok();
            }
            3 => {
                let option = format!("--config.label=n={text}");
                env.umoci(["config", "--image", "img:latest", "--tag", &tag, &option])
                    .ok();
            }
            4 => {
                // The bundle's image is in another layout, and this one has it too.
                env.write(&format!("{bundle}/rootfs/file"), &text);
                env.umoci(["repack", "--image", &image, &bundle]).ok();
            }
            5 => {
                env.umoci(["rm", "--image", &image]).ok();
                tags.remove(&tag);
                continue;
            }
            6 => {
                let option = if random.below(2) == 0 {
                    "--untagged"
                } else {
                    "--json"
                };
                env.umoci(["gc", "--layout", "img", option]).ok();
                continue;
            }
            7 => {
                env.umoci(["ls", "--layout", "img"]).ok();
                env.umoci(["stat", "--image", "img:latest"]).ok();
                continue;
            }
            8 => {
                env.umoci(["fsck", "--fast", "--layout", "img"]).ok();
                continue;
            }
            9 => {
                env.peer(["ls", "--layout", "img"]).ok();
                continue;
            }
            _ => {
                env.peer(["stat", "--image", "img:latest"]).ok();
                continue;
            }
        }
        tags.insert(tag.clone(), digest(&tag));
    }
    tags
}

fn work(seed: u64, commands: u32, peer: bool) {
    let Image { env } = Image::new();
    env.umoci(["init", "--layout", "source"]).ok();
    env.umoci(["import", "--layout", "source", "img:latest"]).ok();
    let env = &env;
    let tags: Vec<BTreeMap<String, String>> = std::thread::scope(|scope| {
        let start = |n: u32| scope.spawn(move || worker(env, n, seed + u64::from(n), commands, peer));
        let workers: Vec<_> = (0..WORKERS).map(start).collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| panic!("seed {seed}")))
            .collect()
    });
    let out = env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
    assert!(out.starts_with("clean: "), "seed {seed}: {out}");
    env.umoci(["gc", "--layout", "img"]).ok();
    env.umoci(["fsck", "--layout", "img"]).ok();
    let refs = env.umoci(["ref", "list", "--layout", "img", "--json"]).ok();
    let refs: serde_json::Value = serde_json::from_str(&refs).expect("JSON");
    let found: BTreeMap<&str, &str> = refs
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            (
                r["name"].as_str().expect("name"),
                r["digest"].as_str().expect("digest"),
            )
        })
        .collect();
    let mut count = 1;
    for (tag, digest) in tags.iter().flatten() {
        assert_eq!(
            found.get(tag.as_str()),
            Some(&digest.as_str()),
            "seed {seed}: {tag}"
        );
        env.umoci(["stat", "--image", &format!("img:{tag}")]).ok();
        count += 1;
    }
    assert_eq!(found.len(), count, "seed {seed}: tags that were removed are gone");
}

#[test]
fn eight_processes_lose_nothing_of_one_another() {
    work(1, 12, false);
}

#[test]
#[ignore = "needs the packaged umoci: run by tests/all.sh"]
fn eight_processes_and_the_packaged_umoci_that_reads_lose_nothing() {
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(7, |since| since.as_secs());
    work(seed, 150, true);
}

#[test]
fn two_users_of_one_group_share_a_layout() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let env = Env::new();
    env.sh("chmod 755 .; mkdir shared a b; chgrp 4321 shared; chmod 2775 shared; chown 1001:4321 a; chown 1002:4321 b");
    env.sh(&format!(
        "cp {} program; chmod 755 program",
        env!("CARGO_BIN_EXE_umoci")
    ));
    let run = |uid: u32, words: &str| {
        let script = format!(
            "umask 002; cd {}; exec setpriv --reuid {uid} --regid 4321 --clear-groups ./program {words}",
            env.path("").display()
        );
        let out = Command::new("bash").args(["-c", &script]).output().expect("bash");
        assert!(
            out.status.success(),
            "{uid}: {words}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    run(1001, "init --layout shared/img");
    env.sh("chmod 2775 shared/img");
    env.sh("rm -r shared/img/.umoci; chmod 2775 shared/img/blobs shared/img/blobs/sha256");
    for (uid, tag) in [(1001, "one"), (1002, "two"), (1001, "three"), (1002, "four")] {
        run(uid, &format!("new --image shared/img:{tag}"));
        run(
            uid,
            &format!("config --image shared/img:{tag} --config.user {uid}"),
        );
        run(uid, &format!("tag --image shared/img:{tag} {tag}-again"));
    }
    run(1002, "rm --image shared/img:one-again");
    run(1001, "gc --layout shared/img");
    run(
        1002,
        "lease create --layout shared/img l $(ls shared/img/blobs/sha256 | head -1)",
    );
    run(1001, "fsck --layout shared/img --repair");
    run(1002, "fsck --layout shared/img");
    let names = env.umoci(["ls", "--layout", "shared/img"]).ok();
    assert_eq!(names.lines().count(), 7, "{names}");
}

/// Runs a job for each number below `WORKERS` at the same time.
fn at_once(job: impl Fn(u32) + Sync) {
    std::thread::scope(|scope| {
        for n in 0..WORKERS {
            let job = &job;
            scope.spawn(move || job(n));
        }
    });
}

#[test]
fn changes_of_one_tag_made_at_once_are_all_there() {
    let image = Image::new();
    let env = &image.env;
    // Of an image: each adds a variable or a layer.
    for n in 0..WORKERS {
        env.write(&format!("f{n}"), n.to_string());
    }
    at_once(|n| {
        let words = if n % 2 == 0 {
            vec![
                "config".to_owned(),
                "--image=img".to_owned(),
                format!("--config.env=V{n}=1"),
            ]
        } else {
            [
                "insert",
                "--rootless",
                "--image",
                "img",
                &format!("f{n}"),
                &format!("/f{n}"),
            ]
            .map(str::to_owned)
            .to_vec()
        };
        env.umoci(words).ok();
    });
    let [_, manifest, config] = image.of("latest");
    assert_eq!(
        manifest["layers"].as_array().map(Vec::len),
        Some(2 + WORKERS as usize / 2)
    );
    let text = config["config"]["Env"].to_string();
    for n in (0..WORKERS).step_by(2) {
        assert!(text.contains(&format!("V{n}=1")), "{text}");
    }
    // Of an index: each adds an entry, then changes the image of its own platform.
    env.umoci(["manifest", "create", "img:all"]).ok();
    let arch = |n: u32| format!("arch{n}");
    at_once(|n| {
        let arch = arch(n);
        env.umoci([
            "config",
            "--image",
            "img",
            "--tag",
            &arch,
            "--platform.arch",
            &arch,
        ])
        .ok();
        env.umoci(["manifest", "add", "img:all", &arch]).ok();
        let platform = format!("linux/{arch}");
        for author in ["a", "b"] {
            env.umoci([
                "config",
                "--image",
                "img:all",
                "--platform",
                &platform,
                "--author",
                author,
            ])
            .ok();
        }
    });
    let index = env.umoci(["stat", "--image", "img:all", "--json"]).ok();
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    assert_eq!(
        index["manifests"].as_array().map(Vec::len),
        Some(WORKERS as usize),
        "{index}"
    );
    // Of bundles: each is repacked into the place of its own platform.
    at_once(|n| {
        let (bundle, platform) = (format!("b{n}"), format!("linux/{}", arch(n)));
        env.umoci([
            "unpack",
            "--rootless",
            "--image",
            "img:all",
            "--platform",
            &platform,
            &bundle,
        ])
        .ok();
        env.write(&format!("{bundle}/rootfs/mine"), &platform);
        env.umoci(["repack", "--image", "img:all", &bundle]).ok();
    });
    at_once(|n| {
        let (tree, platform) = (format!("t{n}"), format!("linux/{}", arch(n)));
        env.umoci([
            "raw",
            "unpack",
            "--rootless",
            "--image",
            "img:all",
            "--platform",
            &platform,
            &tree,
        ])
        .ok();
        assert_eq!(env.read(&format!("{tree}/mine")), platform);
        let stat = env
            .umoci(["stat", "--image", "img:all", "--platform", &platform])
            .ok();
        assert!(stat.contains("Author: b"), "{stat}");
    });
    env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
}
