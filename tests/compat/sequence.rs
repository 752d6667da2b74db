// SPDX-License-Identifier: Apache-2.0
//! The same sequence of commands with the packaged umoci, with ours, and with both in turns: the images are the same
//! after every step, and either goes on where the other stopped. What differs by intent is in
//! docs/umoci-differences.md.

use serde_json::Value;

use crate::support::{Env, Tree};

const DATE: &str = "2001-02-03T04:05:06Z";

enum Step {
    Umoci(&'static [&'static str]),
    Shell(&'static str),
}
use Step::{Shell, Umoci};

const STEPS: &[Step] = &[
    Umoci(&["init", "--layout", "img"]),
    Umoci(&["new", "--image", "img:a"]),
    Umoci(&["unpack", "--image", "img:a", "b"]),
    Shell(
        "cd b/rootfs; mkdir -p etc usr/bin d/e; echo root:x:0:0::/root:/bin/sh >etc/passwd; echo u:x:1000:100::/home/u:/ >>etc/passwd
         echo g:x:100: >etc/group; echo more:x:7:u >>etc/group; echo prog >usr/bin/prog; chmod 4755 usr/bin/prog; ln usr/bin/prog usr/bin/link
         ln -s ../etc usr/etc; mkfifo d/fifo; mknod d/null c 1 3; setfattr -n user.x -v y d/e; chown 12:34 d/e
         touch \"d/with space\"; mkdir -p d/long/$(printf 'x%.0s' $(seq 120))/$(printf 'y%.0s' $(seq 110))
         find . -depth -exec touch -h -d @1000000000 {} +",
    ),
    Umoci(&["repack", "--refresh-bundle", "--image", "img:a", "--history.created", DATE, "--history.author", "me", "b"]),
    Shell("cd b/rootfs; rm -r d/e; echo changed >etc/group; mv usr/bin/link usr/bin/moved; mv usr/bin/prog usr/bin/away; touch -d @1100000000 etc etc/group d usr/bin"),
    Umoci(&["repack", "--refresh-bundle", "--image", "img:a", "--history.created", DATE, "--history.comment", "c", "b"]),
    Umoci(&["repack", "--image", "img:same", "--history.created", DATE, "b"]),
    Umoci(&[
        "config", "--image", "img:a", "--tag", "c", "--config.user", "u", "--config.cmd", "x", "--config.cmd", "-y",
        "--config.entrypoint", "e", "--config.env", "A=1", "--config.env", "PATH=/bin", "--config.label", "k=v",
        "--config.workingdir", "/w", "--config.volume", "/v", "--config.exposedports", "80/tcp", "--config.stopsignal", "TERM",
        "--author", "z", "--created", DATE, "--architecture", "arm64", "--os", "linux", "--manifest.annotation", "m=n",
        "--history.created", DATE, "--history.created_by", "by hand",
    ]),
    Umoci(&["config", "--image", "img:c", "--clear", "config.env", "--config.env", "B=2", "--history.created", DATE]),
    Umoci(&["config", "--image", "img:c", "--no-history", "--config.label", "l="]),
    Shell("mkdir -p src/sub; echo 1 >src/one; echo 2 >src/sub/two; find src -depth -exec touch -d @1000000000 {} +"),
    Umoci(&["insert", "--image", "img:c", "--history.created", DATE, "src", "/opt/src"]),
    Umoci(&["insert", "--image", "img:c", "--whiteout", "--history.created", DATE, "/opt/src/one"]),
    Umoci(&["insert", "--image", "img:c", "--opaque", "--history.created", DATE, "src/sub", "/opt/src"]),
    Shell("tar --mtime=@1000000000 --owner=0 --group=0 --sort=name -cf l.tar src"),
    Umoci(&["raw", "add-layer", "--image", "img:c", "--history.created", DATE, "l.tar"]),
    Umoci(&["tag", "--image", "img:c", "d"]),
    Umoci(&["rm", "--image", "img:same"]),
    Umoci(&["unpack", "--image", "img:d", "b2"]),
    Shell("cd b2/rootfs; rm -r opt d; echo file >file; ln -s etc link; mkdir v; touch -d @1200000000 v/masked; touch -h -d @1200000000 file link v ."),
    Umoci(&["repack", "--image", "img:e", "--mask-path", "/src", "--history.created", DATE, "b2"]),
    Umoci(&["raw", "runtime-config", "--image", "img:d", "--rootfs", "b2/rootfs", "rc.json"]),
    Umoci(&["raw", "unpack", "--image", "img:e", "r"]),
    Umoci(&["rm", "--image", "img:a"]),
    Umoci(&["gc", "--layout", "img"]),
];

/// Times that were not given become one word, digests of compressed bytes vanish.
fn normal(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["digest", "size", "annotations"] {
                if map.contains_key("digest") {
                    map.remove(key);
                }
            }
            if let Some(created) = map.get_mut("created").filter(|c| *c != DATE) {
                *created = "now".into();
            }
            map.remove("digest");
            map.values_mut().for_each(normal);
        }
        Value::Array(list) => list.iter_mut().for_each(normal),
        _ => {}
    }
}

/// Digest of a layer's archive without the zeros at its end.
fn content(env: &Env, digest: &Value) -> String {
    use std::io::Read;
    let hex = digest
        .as_str()
        .and_then(|d| d.strip_prefix("sha256:"))
        .expect("digest");
    let file = std::fs::File::open(env.path("img/blobs/sha256").join(hex)).expect("layer");
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(file)
        .read_to_end(&mut tar)
        .expect("gzip");
    let end = tar.iter().rposition(|&c| c != 0).map_or(0, |at| at + 1);
    umoci::digest::Digest::sha256(&tar[..end]).to_string()
}

/// What there is to compare after a step.
fn summary(env: &Env) -> Vec<String> {
    let mut out = Vec::new();
    if !env.path("img/index.json").exists() {
        return out;
    }
    let index: Value = serde_json::from_str(&env.read("img/index.json")).expect("index.json");
    let document = |digest: &Value| -> Value {
        let hex = digest
            .as_str()
            .and_then(|d| d.strip_prefix("sha256:"))
            .expect("digest")
            .to_owned();
        serde_json::from_str(&env.read(&format!("img/blobs/sha256/{hex}"))).expect("document")
    };
    // The packaged one writes `null` for no manifests.
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let manifest = document(&entry["digest"]);
        let mut config = document(&manifest["config"]["digest"]);
        normal(&mut config);
        // The packaged one does not end the archives that it inserts, so what counts is what is in them.
        let layers = manifest["layers"].as_array().into_iter().flatten();
        config["rootfs"]["diff_ids"] = layers.map(|layer| content(env, &layer["digest"])).collect();
        out.push(format!(
            "{} {}",
            entry["annotations"]["org.opencontainers.image.ref.name"], manifest["annotations"]
        ));
        let types = manifest["layers"]
            .as_array()
            .expect("layers")
            .iter()
            .map(|l| l["mediaType"].to_string());
        out.extend(types);
        out.push(config.to_string());
    }
    if index["manifests"].as_array().is_some_and(|m| m.len() == 3) {
        out.push(env.sh("ls img/blobs/sha256 | wc -l"));
    }
    out
}

/// The parts of a runtime configuration that an image decides. The contract has one namespace more than the old tool.
fn runtime(env: &Env, file: &str) -> String {
    env.sh(&format!("jq -cS '[.process.args,.process.cwd,.process.user,(.process.env|sort),.root.path,[.mounts[].destination],([.linux.namespaces[].type] - [\"cgroup\"])]' {file}"))
}

/// Lines of an mtree file that speak of the tree.
fn mtree(env: &Env, bundle: &str) -> String {
    env.sh(&format!("grep -hv '^#' {bundle}/*.mtree"))
}

/// What `stat` says of each image in the room is the same with either program, as far as the packaged one says it: it
/// has the history alone, as a table and as JSON.
fn same_stat(env: &Env, what: &str) {
    if !env.path("img/index.json").exists() {
        return;
    }
    for tag in env.umoci(["ls", "--layout", "img"]).ok().lines() {
        let image = format!("img:{tag}");
        let theirs = env.peer(["stat", "--image", &image]).ok();
        let ours = env.umoci(["stat", "--image", &image]).ok();
        let (_, table) = ours.split_once("== HISTORY ==\n").expect("history");
        assert_eq!(table, theirs, "{what}: {tag}");

        let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let theirs = json(&env.peer(["stat", "--image", &image, "--json"]).ok());
        let ours = json(&env.umoci(["stat", "--image", &image, "--json"]).ok());
        // No history is no list there, and an empty one by the contract.
        let theirs = match &theirs["history"] {
            Value::Null => &Value::Array(Vec::new()),
            history => history,
        };
        assert_eq!(&ours["history"], theirs, "{what}: {tag}");
        // What the contract has beyond it are the documents themselves.
        for part in ["manifest", "config"] {
            let digest = ours[part]["descriptor"]["digest"].as_str().expect("digest");
            let file = format!("img/blobs/{}", digest.replace(':', "/"));
            assert_eq!(
                ours[part]["blob"],
                json(&env.read(&file)),
                "{what}: {tag}: {part}"
            );
        }
        assert_eq!(ours["config"]["descriptor"], ours["manifest"]["blob"]["config"]);
    }
}

#[test]
#[ignore = "needs root and the packaged umoci: run by tests/all.sh"]
fn every_step_gives_the_same_with_either_program() {
    assert!(rustix::process::geteuid().is_root(), "needs root");
    // Whether ours does the step: never, always, in turns.
    let patterns: [fn(usize) -> bool; 4] = [|_| false, |_| true, |n| n % 2 == 0, |n| n % 2 == 1];
    let rooms = patterns.map(|_| Env::new());
    for (n, step) in STEPS.iter().enumerate() {
        for (env, ours) in rooms.iter().zip(patterns) {
            match step {
                Shell(script) => drop(env.sh(&format!("umask 022; {script}"))),
                Umoci(words) if ours(n) => drop(env.umoci(*words).ok()),
                Umoci(words) => drop(env.peer(*words).ok()),
            }
        }
        let what = match step {
            Shell(script) => (*script).to_owned(),
            Umoci(words) => words.join(" "),
        };
        let want = summary(&rooms[0]);
        for (at, env) in rooms.iter().enumerate() {
            assert_eq!(summary(env), want, "step {n}, pattern {at}: {what}");
            same_stat(env, &format!("step {n}, pattern {at}: {what}"));
        }
    }
    for (at, env) in rooms.iter().enumerate().skip(1) {
        for tree in ["b/rootfs", "b2/rootfs", "r"] {
            Tree::read(&rooms[0].path(tree))
                .assert_same(&Tree::read(&env.path(tree)), &format!("{tree}, pattern {at}"));
        }
        assert_eq!(
            runtime(env, "rc.json"),
            runtime(&rooms[0], "rc.json"),
            "pattern {at}"
        );
        assert_eq!(
            runtime(env, "b2/config.json"),
            runtime(&rooms[0], "b2/config.json"),
            "pattern {at}"
        );
        assert_eq!(mtree(env, "b"), mtree(&rooms[0], "b"), "pattern {at}");
    }
}

/// The packaged one makes two files of a hard-linked file of which one name was moved; ours has both names in the layer.
#[test]
#[ignore = "needs root and the packaged umoci: run by tests/all.sh"]
fn a_file_of_which_one_name_was_moved_stays_one_file_with_ours_alone() {
    let links = |ours: bool| {
        let env = Env::new();
        let umoci = |words: &[&str]| {
            if ours {
                env.umoci(words).ok()
            } else {
                env.peer(words).ok()
            }
        };
        umoci(&["init", "--layout", "img"]);
        umoci(&["new", "--image", "img:a"]);
        umoci(&["unpack", "--image", "img:a", "b"]);
        env.sh("cd b/rootfs; echo x >one; ln one two");
        umoci(&["repack", "--refresh-bundle", "--image", "img:a", "b"]);
        env.sh("cd b/rootfs; mv two three");
        umoci(&["repack", "--image", "img:a", "b"]);
        umoci(&["unpack", "--image", "img:a", "c"]);
        env.sh("stat -c %h c/rootfs/one c/rootfs/three")
    };
    assert_eq!(
        (links(false).as_str(), links(true).as_str()),
        ("1\n1\n", "2\n2\n")
    );
}
