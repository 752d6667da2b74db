// SPDX-License-Identifier: Apache-2.0
//! The main job on a real Debian image that the packaged umoci has made, with skopeo, runc, crun and the packaged umoci
//! looking at each result.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Env, Tree};

const NEEDS: &str = "UMOCI_TEST_IMAGE names no image; run tests/all.sh";

/// A room with the real image as `debian:debian`.
pub(super) fn room() -> Env {
    let image = std::env::var_os("UMOCI_TEST_IMAGE")
        .map(PathBuf::from)
        .expect(NEEDS);
    assert!(rustix::process::geteuid().is_root(), "needs root");
    let env = Env::new();
    env.sh(&format!("cp -a {} debian", image.display()));
    env
}

/// A room with the image imported and named by its digest alone, unpacked to `bundle`.
fn unpacked() -> Env {
    let env = room();
    env.umoci(["init", "--layout", "store"]).ok();
    env.umoci([
        "import",
        "debian:debian",
        "--layout",
        "store",
        "--tag",
        "imported",
    ])
    .ok();
    let digest = env
        .sh("jq -r '.manifests[0].digest' store/index.json")
        .trim()
        .to_owned();
    env.umoci(["rm", "--image", "store:imported"]).ok();
    env.umoci(["ref", "create", "--layout", "store", "old", "--digest", &digest])
        .ok();
    env.umoci(["unpack", "--image", "store:old", "bundle"]).ok();
    env
}

/// Changes of every kind to the tree in `$1`.
const CHANGES: &str = r#"
    cd "$1"
    echo new >etc/new; mkdir -p opt/made/deep; echo x >opt/made/deep/file
    echo changed >>etc/passwd-changed; echo more >>etc/debian_version
    rm usr/bin/perl* etc/issue.net; rm -r usr/share/man
    mv usr/share/common-licenses opt/licenses
    rm -r usr/share/locale; echo now a file >usr/share/locale
    rm etc/host.conf; mkdir etc/host.conf; echo y >etc/host.conf/inside
    mkdir -p srv/target; echo keep >srv/target/kept
    rm -r usr/share/dpkg; ln -s /srv/target usr/share/dpkg
    rm etc/os-release; echo plain >etc/os-release
    ln usr/bin/tar usr/bin/tar.hardlink
    mkfifo run/pipe; chmod 4755 usr/bin/head; chmod 1777 opt/made
    mknod opt/null c 1 3
    setfattr -n user.note -v "hello world" etc/new
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 usr/bin/cat
    chown 1000:1001 opt/made/deep/file
    touch -d '2001-02-03 04:05:06' opt/made/deep
    printf 'odd' >"opt/made/name with
newline"
    chmod 000 opt/made/deep
"#;

fn change(env: &Env, rootfs: &str) {
    env.run("/bin/bash", ["-euc", CHANGES, "change", rootfs]).ok();
}

fn tree(env: &Env, name: &str) -> Tree {
    Tree::read(&env.path(name))
}

/// Digests that a document leads to, itself included.
fn reach(env: &Env, layout: &str, digest: &str, out: &mut BTreeSet<String>) {
    let hex = digest.strip_prefix("sha256:").expect("sha256");
    if !out.insert(hex.to_owned()) {
        return;
    }
    let Ok(bytes) = std::fs::read(env.path(layout).join("blobs/sha256").join(hex)) else {
        panic!("{digest} is missing")
    };
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
        return;
    };
    let children = ["manifests", "layers"]
        .iter()
        .filter_map(|k| document[k].as_array())
        .flatten();
    for child in children.chain([&document["config"]]) {
        if let Some(digest) = child["digest"].as_str() {
            reach(env, layout, digest, out);
        }
    }
}

/// The blobs on disk are those that `index.json` leads to, and no other.
fn assert_no_garbage(env: &Env, layout: &str) {
    let index: Value = serde_json::from_str(&env.read(&format!("{layout}/index.json"))).expect("index.json");
    let mut reachable = BTreeSet::new();
    for entry in index["manifests"].as_array().expect("manifests") {
        reach(
            env,
            layout,
            entry["digest"].as_str().expect("digest"),
            &mut reachable,
        );
    }
    let there: BTreeSet<String> = std::fs::read_dir(env.path(layout).join("blobs/sha256"))
        .expect("blobs")
        .map(|e| e.expect("entry").file_name().into_string().expect("utf-8"))
        .collect();
    assert_eq!(there, reachable);
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn the_unpacked_tree_equals_that_of_the_packaged_umoci() {
    let env = unpacked();
    env.peer(["unpack", "--image", "debian:debian", "theirs"]).ok();
    tree(&env, "bundle/rootfs").assert_same(&tree(&env, "theirs/rootfs"), "ours and theirs");
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn a_changed_tree_becomes_an_image_that_others_read() {
    let env = unpacked();
    change(&env, "bundle/rootfs");
    env.umoci(["repack", "--image", "store:new", "bundle"]).ok();

    // Any number of layers, whiteouts only for what is gone, and none for what lies below it.
    let names = env.sh("l=$(jq -r .manifests[1].digest store/index.json | cut -d: -f2); \
         l=$(jq -r .layers[-1].digest store/blobs/sha256/$l | cut -d: -f2); tar tzf store/blobs/sha256/$l");
    let whiteouts: Vec<&str> = names.lines().filter(|n| n.contains("/.wh.")).collect();
    assert!(
        whiteouts.contains(&"usr/share/.wh.man") && whiteouts.contains(&"etc/.wh.issue.net"),
        "{whiteouts:?}"
    );
    assert!(
        !whiteouts
            .iter()
            .any(|n| n.contains("man/") || n.contains("locale")),
        "{whiteouts:?}"
    );

    let inspected: Value = serde_json::from_str(&env.sh("skopeo inspect oci:store:new")).expect("JSON");
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(3));
    env.sh("skopeo copy --quiet oci:store:new oci:copied:new");
    env.peer(["unpack", "--image", "copied:new", "theirs"]).ok();
    tree(&env, "bundle/rootfs").assert_same(
        &tree(&env, "theirs/rootfs"),
        "the changed tree and the packaged umoci's",
    );
    env.umoci(["unpack", "--image", "store:new", "ours"]).ok();
    tree(&env, "bundle/rootfs").assert_same(&tree(&env, "ours/rootfs"), "the changed tree and ours");

    // Nothing has changed since, so there is nothing to put into a layer.
    env.umoci(["repack", "--image", "store:same", "ours"]).ok();
    assert_eq!(
        env.sh("skopeo inspect oci:store:same | jq '.Layers | length'")
            .trim(),
        "3"
    );

    env.umoci(["ref", "remove", "--layout", "store", "old"]).ok();
    env.umoci(["rm", "--image", "store:same"]).ok();
    env.umoci(["gc", "--layout", "store"]).ok();
    assert_no_garbage(&env, "store");
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn a_bundle_runs_as_it_is() {
    let env = unpacked();
    let edit = "jq '.process.terminal = false | .process.args = [\"cat\", \"/etc/debian_version\"]' bundle/config.json >c && mv c bundle/config.json";
    env.sh(edit);
    let name = format!("umoci-test-{}", std::process::id());
    let out = env
        .run(
            "runc",
            [
                "--root",
                env.path("runc").to_str().expect("utf-8"),
                "run",
                "--bundle",
                "bundle",
                &name,
            ],
        )
        .ok();
    assert!(out.starts_with("12"), "{out}");
    // crun may refuse the machine, but not the configuration.
    let out = env.run(
        "crun",
        [
            "--root",
            env.path("crun").to_str().expect("utf-8"),
            "run",
            "--bundle",
            "bundle",
            &name,
        ],
    );
    if out.code != Some(0) {
        assert!(
            out.stderr.contains("cgroup") || out.stderr.contains("mount"),
            "{}",
            out.stderr
        );
    }
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn bundles_cross_over_in_both_directions() {
    let env = room();
    // Whole seconds: the packaged umoci rounds where ours cuts.
    let edit = |bundle: &str| {
        env.sh(&format!(
            "cd {bundle}/rootfs; echo edited >etc/edited; rm etc/issue; touch -d @1600000000 etc etc/edited"
        ))
    };
    env.peer(["unpack", "--image", "debian:debian", "theirs"]).ok();
    edit("theirs");
    env.umoci(["repack", "--image", "debian:by-us", "theirs"]).ok();
    env.umoci(["unpack", "--image", "debian:debian", "ours"]).ok();
    edit("ours");
    env.peer(["repack", "--image", "debian:by-them", "ours"]).ok();
    for (tag, bundle) in [("by-us", "theirs"), ("by-them", "ours")] {
        env.peer([
            "unpack",
            "--image",
            &format!("debian:{tag}"),
            &format!("peer-{tag}"),
        ])
        .ok();
        env.umoci([
            "unpack",
            "--image",
            &format!("debian:{tag}"),
            &format!("umoci-{tag}"),
        ])
        .ok();
        let want = tree(&env, &format!("{bundle}/rootfs"));
        want.assert_same(&tree(&env, &format!("peer-{tag}/rootfs")), tag);
        want.assert_same(&tree(&env, &format!("umoci-{tag}/rootfs")), tag);
    }
    // The same tree gives the same tar.
    let diff_id = |tag: &str| {
        env.sh(&format!(
            "skopeo inspect --config oci:debian:{tag} | jq -r '.rootfs.diff_ids[-1]'"
        ))
    };
    assert_eq!(diff_id("by-us"), diff_id("by-them"));
}

/// The table of `ref list` without the fifth column, which depends on the second it is printed in.
fn without_age(table: &str) -> String {
    let row = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.remove(4);
        words.join(" ")
    };
    table.lines().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn deleting_the_index_between_any_two_commands_changes_no_result() {
    let results = [false, true].map(|delete| {
        let env = room().var("SOURCE_DATE_EPOCH", "1700000000");
        let step = || {
            if delete {
                env.sh("rm -rf store/.umoci");
            }
        };
        let mut out = Vec::new();
        env.umoci(["init", "--layout", "store"]).ok();
        step();
        env.umoci(["import", "debian", "--layout", "store"]).ok();
        step();
        let digest = env.sh("jq -r '.manifests[0].digest' store/index.json").trim()[..19].to_owned();
        env.umoci(["ref", "create", "--layout", "store", "again", "--digest", &digest]).ok();
        step();
        env.umoci(["unpack", "--image", "store:again", "bundle"]).ok();
        env.sh("echo x >bundle/rootfs/x; touch -d @1600000000 bundle/rootfs/x bundle/rootfs; rm bundle/rootfs/etc/issue; touch -d @1600000000 bundle/rootfs/etc");
        step();
        env.umoci(["repack", "--image", "store:new", "bundle"]).ok();
        step();
        out.push(env.umoci(["stat", "--image", "store:new"]).ok());
        step();
        out.push(without_age(&env.umoci(["ref", "list", "--layout", "store"]).ok()));
        step();
        env.umoci(["ref", "remove", "--layout", "store", "debian"]).ok();
        step();
        env.umoci(["ref", "remove", "--layout", "store", "again"]).ok();
        step();
        out.push(env.umoci(["gc", "--layout", "store", "--dry-run"]).ok());
        step();
        env.umoci(["gc", "--layout", "store"]).ok();
        assert_no_garbage(&env, "store");
        out.push(env.read("store/index.json"));
        out
    });
    assert_eq!(results[0], results[1]);
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn a_read_only_layout_can_be_listed_shown_and_unpacked() {
    let env = room();
    env.sh("mount --bind debian debian && mount -o remount,bind,ro debian");
    let unmount = Unmount(env.path("debian"));
    let before = env.sh("find debian | sort");
    assert_eq!(env.umoci(["ls", "--layout", "debian"]).ok(), "debian\n");
    assert!(
        env.umoci(["stat", "--image", "debian:debian"])
            .ok()
            .starts_with("== MANIFEST ==")
    );
    assert!(
        env.umoci(["ref", "list", "--layout", "debian"])
            .ok()
            .contains("linux/amd64")
    );
    env.umoci(["unpack", "--image", "debian:debian", "bundle"]).ok();
    env.umoci(["gc", "--layout", "debian", "--dry-run"]).ok();
    let why = env.umoci(["tag", "--image", "debian:debian", "new"]).fails();
    assert!(why.contains("read-only file system"), "{why}");
    assert_eq!(env.sh("find debian | sort"), before);
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[ignore = "needs root and a real image: run by tests/all.sh"]
fn memory_does_not_grow_with_the_image() {
    let env = room();
    // `prlimit` would count address space; what counts is the memory that was resident at most.
    let peak = |words: &str| -> u64 {
        let script = "import resource,subprocess,sys; subprocess.check_call(sys.argv[1:]); \
             print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
        let command = format!("python3 -c '{script}' {} {words}", env!("CARGO_BIN_EXE_umoci"));
        env.sh(&command).trim().parse().expect("kilobytes")
    };
    let unpack = peak("unpack --image debian:debian bundle");
    env.sh("head -c 300M /dev/urandom >bundle/rootfs/big");
    let repack = peak("repack --image debian:big bundle");
    let again = peak("unpack --image debian:big bundle2");
    for (what, kilobytes) in [
        ("unpack", unpack),
        ("repack", repack),
        ("unpack of a large file", again),
    ] {
        assert!(kilobytes < 200_000, "{what} took {kilobytes} kB");
    }
}
