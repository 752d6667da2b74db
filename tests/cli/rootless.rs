// SPDX-License-Identifier: Apache-2.0
//! The same work as a plain user, with `--rootless`.

use std::os::unix::fs::chown;

use crate::support::{Env, Image};

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
}
