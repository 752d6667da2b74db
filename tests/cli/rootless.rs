// SPDX-License-Identifier: Apache-2.0
//! The same work as a plain user, with `--rootless`, and as root of a user namespace.

use std::os::unix::fs::chown;

use crate::support::{Env, Image, Tree};

const PLAIN: &str = "65534";

/// A room of a plain user, and the program in it. Only root can become somebody else.
fn room() -> Option<Env> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let Image { env } = Image::new();
    env.sh(&format!(
        "cp {} program; chown -R {PLAIN}:{PLAIN} .",
        env!("CARGO_BIN_EXE_umoci")
    ));
    chown(env.path("."), Some(65534), Some(65534)).expect("chown");
    Some(env)
}

/// Runs a script as the plain user; `umoci` is the program.
fn plain(env: &Env, script: &str) -> String {
    let script = format!("umoci() {{ ./program \"$@\"; }}; umask 022; {script}");
    let words = [
        "--reuid",
        PLAIN,
        "--regid",
        PLAIN,
        "--clear-groups",
        "bash",
        "-euo",
        "pipefail",
        "-c",
        &script,
    ];
    env.run("setpriv", words).ok()
}

#[test]
fn a_tree_with_owners_and_locked_directories_round_trips() {
    let Some(env) = room() else { return };
    // A layer with owners that a plain user cannot give, and a device.
    env.sh(
        "mkdir -p t/owned; echo x >t/owned/file; chown 992:123 t/owned/file; mknod t/null c 1 3
         tar -C t -cf layer.tar . && chown 65534 layer.tar",
    );
    plain(
        &env,
        "umoci raw add-layer --image img layer.tar; umoci unpack --rootless --image img b 2>warnings",
    );
    assert!(
        env.read("warnings")
            .contains("creating empty file in place of device 1:3")
    );
    assert_eq!(
        plain(
            &env,
            "getfattr --only-values -n user.rootlesscontainers b/rootfs/owned/file | od -An -tx1"
        )
        .trim(),
        "08 e0 07 10 7b"
    );
    plain(
        &env,
        "cd b/rootfs; mkdir -p locked/deep; echo y >locked/deep/file; chmod 000 locked/deep/file locked/deep locked
         echo z >owned/file; cd ../..; umoci repack --image img:new b 2>/dev/null
         umoci unpack --rootless --image img:new c 2>/dev/null",
    );
    assert_eq!(
        plain(&env, "stat -c '%a %n' b/rootfs/locked c/rootfs/locked"),
        "0 b/rootfs/locked\n0 c/rootfs/locked\n"
    );
    assert_eq!(
        env.sh("cat c/rootfs/locked/deep/file c/rootfs/owned/file; stat -c %a c/rootfs/locked/deep/file"),
        "y\nz\n0\n"
    );
    // As root again: the owners are those of the image.
    env.umoci(["unpack", "--image", "img:new", "r"]).ok();
    assert_eq!(
        env.sh("stat -c '%u:%g %n' r/rootfs/owned/file r/rootfs/locked"),
        "992:123 r/rootfs/owned/file\n0:0 r/rootfs/locked\n"
    );
    let again = plain(
        &env,
        "umoci repack --refresh-bundle --image img:same c 2>/dev/null; umoci stat --image img:same --json | jq -c '[.history[-1].empty_layer, (.manifest.blob.layers|length)]'",
    );
    assert_eq!(again, "[true,4]\n", "nothing changed, so there is no new layer");
}

#[test]
fn a_locked_directory_may_be_replaced_by_something_else() {
    let Some(env) = room() else { return };
    env.sh("mkdir -p dir/c file/c link implied/c; touch file/c/x later; chmod 000 dir/c; ln -s later link/c; mkdir -p again/c; touch again/c/y
         echo c >c; touch .wh.c
         tar -C dir -cf dir.tar c; tar -C file -cf x.tar c/x; tar -cf file.tar c; tar -C link -cf link.tar c later 2>/dev/null || tar -C link -cf link.tar c
         tar -cf gone.tar .wh.c; tar -C again -cf again.tar c/y; chown 65534 *.tar");
    for (name, layers, want) in [
        ("a file", &["dir", "x", "file"][..], "644 regular file\n"),
        ("a link", &["dir", "x", "link"], "777 symbolic link\n"),
        (
            "a whiteout and a file",
            &["dir", "x", "gone", "file"],
            "644 regular file\n",
        ),
        (
            "another directory",
            &["dir", "x", "gone", "again"],
            "755 directory\n",
        ),
        ("nothing", &["dir", "x"], "0 directory\n"),
    ] {
        let mut add = String::new();
        for layer in layers {
            add += "umoci raw add-layer --image img:t ";
            add += layer;
            add += ".tar; ";
        }
        let script = format!(
            "rm -rf b; umoci tag --image img t; {add} umoci unpack --rootless --image img:t b; stat -c '%a %F' b/rootfs/c"
        );
        assert_eq!(plain(&env, &script), want, "{name}");
    }
}

#[test]
fn without_the_option_the_error_points_at_it() {
    let Some(env) = room() else { return };
    let out = env.run(
        "setpriv",
        [
            "--reuid",
            PLAIN,
            "--regid",
            PLAIN,
            "--clear-groups",
            "./program",
            "unpack",
            "--image",
            "img",
            "b",
        ],
    );
    assert_eq!(out.code, Some(1));
    assert!(
        out.stderr.contains("maybe --rootless will help") && out.stderr.contains("operation not permitted"),
        "{}",
        out.stderr
    );
    assert!(!env.path("b").exists());
    // A command without that option has no such way out.
    env.sh("chmod 700 img; chown 0 img");
    let words = [
        "--reuid",
        PLAIN,
        "--regid",
        PLAIN,
        "--clear-groups",
        "./program",
        "ls",
        "--layout",
        "img",
    ];
    let why = env.run("setpriv", words).fails();
    assert!(why.contains("permission denied"), "{why}");
}

/// A room in which a user namespace can be made; without one the kernel forbids it, which `tests/all.sh` does not accept.
fn namespace_room() -> Option<Env> {
    let Image { env } = Image::new();
    env.sh(&format!("cp {} program", env!("CARGO_BIN_EXE_umoci")));
    let out = env.run("unshare", ["--user", "--map-root-user", "true"]);
    if out.code == Some(0) {
        return Some(env);
    }
    assert!(
        std::env::var_os("UMOCI_TEST_IMAGE").is_none(),
        "no user namespaces here, and this test needs them: {}",
        out.stderr
    );
    eprintln!("skipped: the kernel forbids user namespaces: {}", out.stderr);
    None
}

const FUNCTION: &str = "set -euo pipefail; umask 022; umoci() { ./program \"$@\"; }";

/// Runs a script as the root of a user namespace that has no other owner.
fn narrow(env: &Env, script: &str) -> String {
    let script = format!("{FUNCTION}; {script}");
    env.run(
        "unshare",
        ["--user", "--map-root-user", "bash", "-c", script.as_str()],
    )
    .ok()
}

/// Runs a script as the root of a user namespace with the 65536 owners that a container has; root of the host only.
/// As what `--map-auto` makes for users that have such a range.
fn wide(env: &Env, script: &str) -> String {
    env.write("script", format!("{FUNCTION}; {script}"));
    env.sh("coproc NS { exec unshare --user bash -c 'echo; read -r _'; }
         pid=$NS_PID; read -r _ <&\"${NS[0]}\"
         echo 0 100000 65536 >/proc/$pid/uid_map; echo 0 100000 65536 >/proc/$pid/gid_map
         nsenter --target $pid --user bash script; echo >&\"${NS[1]}\"")
}

/// Unpacks, changes, repacks and unpacks again in a room; `b` is the bundle that was changed and `c` is the new one.
const SEQUENCE: &str = "umoci unpack --image img b
    cd b/rootfs; echo new >etc/new; rm etc/file; mkdir -p deep/er; ln etc/new deep/er/link; chmod 2750 deep
    mkfifo fifo; ln -s new etc/soft
    find . -depth ! -name null -exec touch -h -d @1600000000 {} +; cd ../..
    umoci repack --compress gzip --image img:new --refresh-bundle b; umoci unpack --image img:new c
    umoci repack --image img:same c; umoci gc --layout img
    umoci stat --image img:same --json | jq -c '[.history[-1].empty_layer, (.manifest.blob.layers|length)]'";

#[test]
fn root_of_a_user_namespace_unpacks_and_repacks() {
    let Some(env) = namespace_room() else { return };
    // Nothing changed in the end, so the last repack makes no layer.
    assert_eq!(narrow(&env, SEQUENCE), "[true,3]\n");
    Tree::read(&env.path("b/rootfs")).assert_same(&Tree::read(&env.path("c/rootfs")), "there and back");
    assert_eq!(
        env.sh("stat -c '%a %F' b/rootfs/deep b/rootfs/fifo"),
        "2750 directory\n644 fifo\n"
    );
    assert_eq!(env.read("c/rootfs/deep/er/link"), "new\n");
    assert!(!env.path("c/rootfs/etc/file").exists());
    // Whoever made the namespace owns what its root wrote, and in the image it is root's.
    let owner = env.sh("tar -tvzf img/blobs/sha256/$(jq -r '.manifests[-1].digest[7:]' img/index.json | xargs -I@ jq -r '.layers[-1].digest[7:]' img/blobs/sha256/@) | awk '{ print $2 }' | sort -u");
    assert_eq!(owner, "0/0\n");
}

#[test]
fn a_layout_whose_owner_the_user_namespace_lacks_is_written_like_by_any_user_who_may() {
    let Some(env) = namespace_room() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    env.sh("rm -r img/.umoci; chown -R 1234:1234 img; chmod -R a+rwX img");
    narrow(
        &env,
        "umoci tag --image img again; umoci config --image img --config.user 7; umoci gc --layout img",
    );
    assert_eq!(env.umoci(["ls", "--layout", "img"]).ok(), "again\nlatest\n");
}

#[test]
fn an_owner_that_the_user_namespace_lacks_points_at_rootless() {
    let Some(env) = namespace_room() else { return };
    env.sh("mkdir t; echo x >t/file; tar -C t --owner=992 --group=123 -cf layer.tar file");
    env.umoci(["raw", "add-layer", "--image", "img", "layer.tar"])
        .ok();
    let words = [
        "--user",
        "--map-root-user",
        "./program",
        "unpack",
        "--image",
        "img",
        "b",
    ];
    let out = env.run("unshare", words);
    assert_eq!(out.code, Some(1), "{}", out.stderr);
    let lines: Vec<&str> = out.stderr.lines().collect();
    assert!(
        lines.len() == 2
            && lines[0].contains("umoci encountered a permission error: maybe --rootless will help?")
            && lines[1].contains("chown: file: this user namespace has no owner 992:123"),
        "{}",
        out.stderr
    );
    assert!(!env.path("b").exists(), "what was made is gone again");

    narrow(
        &env,
        "umoci unpack --rootless --image img b; echo y >b/rootfs/more; umoci repack --image img:new b
         umoci unpack --rootless --image img:new c",
    );
    assert_eq!(
        env.sh("getfattr --only-values -n user.rootlesscontainers c/rootfs/file | od -An -tx1")
            .trim(),
        "08 e0 07 10 7b"
    );
    assert_eq!(env.read("c/rootfs/more"), "y\n");
}

#[test]
fn a_user_namespace_with_a_range_of_owners_keeps_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a range of owners to a user namespace");
        return;
    }
    let Some(env) = namespace_room() else { return };
    env.sh(
        "mkdir t; echo x >t/file; chown 992:123 t/file; mknod t/null c 1 3; tar -C t -cf layer.tar .
         chown -R 100000:100000 .",
    );
    let sequence = SEQUENCE.replace("mkfifo fifo", "mkfifo fifo; chown 7:8 fifo; echo z >>file");
    assert_eq!(
        wide(
            &env,
            &format!("umoci raw add-layer --image img layer.tar; {sequence} 2>>warnings")
        ),
        "[true,4]\n"
    );
    Tree::read(&env.path("b/rootfs")).assert_same(&Tree::read(&env.path("c/rootfs")), "there and back");
    let owners = "stat -c '%u:%g %F %n' file fifo null etc/new";
    assert_eq!(
        env.sh(&format!("cd c/rootfs; {owners}")),
        "100992:100123 regular file file\n100007:100008 fifo fifo\n100000:100000 regular empty file null\n100000:100000 regular file etc/new\n"
    );
    // On the host: the owners of the image, and the device that nobody touched.
    env.umoci(["unpack", "--image", "img:same", "r"]).ok();
    assert_eq!(
        env.sh(&format!("cd r/rootfs; {owners}")),
        "992:123 regular file file\n7:8 fifo fifo\n0:0 character special file null\n0:0 regular file etc/new\n"
    );
}
