// SPDX-License-Identifier: Apache-2.0
//! `umoci raw runtime-config`

use crate::support::Image;

#[test]
fn a_runtime_configuration_can_be_had_by_itself() {
    let image = Image::new();
    let env = &image.env;
    env.umoci([
        "config",
        "--image",
        "img",
        "--config.user",
        "root",
        "--config.env",
        "HOME=/here",
        "--config.volume",
        "/v",
    ])
    .ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.umoci([
        "raw",
        "runtime-config",
        "--image",
        "img",
        "--rootfs",
        "b/rootfs",
        "c.json",
    ])
    .ok();
    assert_eq!(env.read("c.json"), env.read("b/config.json"));
    // A device is written to and not replaced.
    env.sh(&format!(
        "{} raw config --image img --rootfs b/rootfs /dev/stdout | cmp - c.json",
        env!("CARGO_BIN_EXE_umoci")
    ));
    let out = env.umoci(["raw", "config", "--image", "img", "d.json"]);
    assert!(
        out.stderr
            .contains("could not parse user spec \"root\" without a rootfs"),
        "{}",
        out.stderr
    );
    out.ok();
    assert_eq!(
        env.sh("jq -c '[.root.path,.process.env,.process.user,.mounts[-1].destination]' d.json"),
        "[\".\",[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\",\"TERM=xterm\",\"HOME=/here\"],{\"uid\":0,\"gid\":0},\"/v\"]\n"
    );
    env.umoci(["config", "--image", "img", "--config.user", "nobody"])
        .ok();
    let why = env.umoci(["unpack", "--image", "img", "n"]).fails();
    assert!(
        why.ends_with("unable to find user nobody: no matching entries in passwd file"),
        "{why}"
    );
    assert!(!env.path("n").exists());
}
