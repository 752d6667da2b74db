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

/// Privileges of a program, as an image has them and as they are for the root of a container alone, user 1337.
const CAPABILITY: &str = "0x0100000200200000000000000000000000000000";
const OF_CONTAINER: &str = "0x010000030020000000000000000000000000000039050000";

/// An ACL that lets in user 7 and group 9 of the container, and the same two as the host knows them.
const ACL: &str = "0x0200000001000600ffffffff02000600070000000400\
                   0400ffffffff080004000900000010000600ffffffff20000400ffffffff";
const ACL_OF_HOST: &str = "0x0200000001000600ffffffff02000600400500000400\
                           0400ffffffff08000400c122000010000600ffffffff20000400ffffffff";

#[test]
fn set_id_files_capabilities_and_acls_are_for_users_of_the_container_alone() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    let set = |name: &str, value: &str, file: &str| {
        env.sh(&format!("setfattr -n {name} -v {value} {file}"));
    };
    let get = |file: &str| -> Vec<String> {
        let text = env.sh(&format!("getfattr --absolute-names -e hex -d -m - {file}"));
        let lines = text.lines().skip(1).filter_map(|line| line.split_once('='));
        lines.map(|(_, value)| value.to_owned()).collect()
    };
    env.sh("mkdir t; touch t/cap t/acl t/suid; mkdir t/dir; chmod 4755 t/suid");
    set("security.capability", CAPABILITY, "t/cap");
    set("system.posix_acl_access", ACL, "t/acl");
    set("system.posix_acl_default", ACL, "t/dir");
    env.umoci(["insert", "--image", "img", "t", "/t"]).ok();
    env.umoci([&["unpack", "--image", "img"][..], &MAPS, &["b"]].concat())
        .ok();
    assert_eq!(get("b/rootfs/t/cap"), [OF_CONTAINER]);
    assert_eq!(get("b/rootfs/t/acl"), [ACL_OF_HOST]);
    assert_eq!(get("b/rootfs/t/dir"), [ACL_OF_HOST]);
    let suid = env.sh("stat -c '%a %u' b/rootfs/t/suid");
    assert_eq!(
        suid, "4755 1337\n",
        "a set-id file is for a user of the container"
    );

    let before = image.of("latest")[0].clone();
    env.umoci(["repack", "--image", "img:same", "b"]).ok();
    assert_eq!(image.of("same")[0]["layers"], before["layers"], "nothing changed");

    env.sh("cd b/rootfs/t; touch -d 2001-01-01 cap acl dir");
    env.umoci(["repack", "--image", "img:new", "b"]).ok();
    env.umoci(["raw", "unpack", "--image", "img:new", "n"]).ok();
    for (file, value) in [("cap", CAPABILITY), ("acl", ACL), ("dir", ACL)] {
        assert_eq!(get(&format!("n/t/{file}")), [value], "{file} comes back");
    }

    env.sh("setfacl -m u:5:r b/rootfs/t/acl");
    let why = env.umoci(["repack", "--image", "img:new", "b"]).fails();
    assert!(
        why.contains("t/acl: xattr system.posix_acl_access: map uid to container: host id 5 cannot"),
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
