// SPDX-License-Identifier: Apache-2.0
//! `--uid-map` and `--gid-map`, wherever they are taken.

use crate::support::Image;

const MAPS: [&str; 4] = [
    "--uid-map",
    "0:1337:65535",
    "--gid-map=0:8888:65535",
    "--rootless=false",
];

#[test]
fn owners_are_mapped_out_and_in_again() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.sh("mkdir -p t/implicit/parent; echo x >t/implicit/parent/file; chown 5:6 t/implicit/parent/file; tar -C t -cf l.tar implicit/parent/file");
    env.umoci(["raw", "add-layer", "--image", "img", "l.tar"]).ok();
    for (words, rootfs) in [
        (&["unpack"][..], "b/rootfs"),
        (&["raw", "unpack", "--keep-dirlinks"], "r"),
    ] {
        let target = rootfs.split('/').next().expect("name");
        env.umoci([words, &["--image", "img"], &MAPS, &[target]].concat())
            .ok();
        let owners = env.sh(&format!("find {rootfs} -printf '%U:%G\\n' | sort -u"));
        assert_eq!(owners, "1337:8888\n1342:8894\n", "missing parents are mapped too");
    }
    let meta = env.sh("jq -c .map_options b/umoci.json");
    assert_eq!(
        meta,
        "{\"uid_mappings\":[{\"containerID\":0,\"hostID\":1337,\"size\":65535}],\"gid_mappings\":[{\"containerID\":0,\"hostID\":8888,\"size\":65535}],\"rootless\":false}\n"
    );
    env.sh("touch b/rootfs/implicit/new; chown 1400:8900 b/rootfs/implicit/new");
    env.umoci(["repack", "--image", "img:new", "b"]).ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "n"]).ok();
    assert_eq!(
        env.sh("stat -c %u:%g n/implicit n/implicit/new n/implicit/parent/file"),
        "0:0\n63:12\n5:6\n"
    );
    env.sh("chown 1:1 b/rootfs/implicit/new");
    let why = env.umoci(["repack", "--image", "img:new", "b"]).fails();
    assert!(
        why.contains("implicit/new") && why.contains("host id 1 cannot be mapped to a container id"),
        "{why}"
    );
}

#[test]
fn an_insert_and_a_runtime_configuration_take_them_too() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.sh("echo x >f; chown 1340:8890 f");
    env.umoci([&["insert", "--image", "img"][..], &MAPS, &["f", "/f"]].concat())
        .ok();
    env.umoci(["raw", "unpack", "--image", "img", "r"]).ok();
    assert_eq!(env.sh("stat -c %u:%g r/f"), "3:2\n");
    env.umoci(
        [
            &["raw", "runtime-config", "--image", "img"][..],
            &MAPS,
            &["c.json"],
        ]
        .concat(),
    )
    .ok();
    let got = env.sh("jq -c '[.linux.namespaces[-1].type, .linux.uidMappings[0].hostID, .linux.gidMappings[0].size]' c.json");
    assert_eq!(got, "[\"user\",1337,65535]\n");
    env.umoci(["raw", "runtime-config", "--image", "img", "--rootless", "d.json"])
        .ok();
    let got = env.sh("jq -c '[[.mounts[].options // [] | .[] | select(startswith(\"gid=\"))], (.linux.resources), ([.linux.namespaces[].type] | index(\"network\"))]' d.json");
    assert_eq!(got, "[[],null,null]\n");
    for words in [
        &["unpack", "--image", "img"][..],
        &["insert", "--image", "img", "f"],
    ] {
        let why = env.umoci([words, &["--uid-map", "1:1", "x"]].concat()).fails();
        assert!(why.contains("cannot be mapped"), "{why}");
    }
}
