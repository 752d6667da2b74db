// SPDX-License-Identifier: Apache-2.0
//! Images made by the same commands have the same bytes as those of the tool that this one replaces.

use crate::support::Env;

fn diff_ids(env: &Env, image: &str) -> String {
    env.sh(&format!(
        "{} stat --image {image} --json | jq -r '.config.blob.rootfs.diff_ids[]'",
        env!("CARGO_BIN_EXE_umoci")
    ))
}

fn config(env: &Env, image: &str) -> String {
    env.sh(&format!(
        "d=$({} stat --image {image} --json | jq -r .config.descriptor.digest | cut -d: -f2); cat {}/blobs/sha256/$d",
        env!("CARGO_BIN_EXE_umoci"),
        image.split(':').next().expect("layout")
    ))
}

#[test]
fn every_common_type_of_entry_repacked() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.umoci(["unpack", "--rootless", "--image", "img", "b"]).ok();
    env.sh(
        "umask 022; cd b/rootfs; mkdir -p usr/bin etc var/run; mkfifo -m 644 var/run/test.fifo
         printf '#!/usr/bin/true\\n' >usr/bin/bash; chmod 755 usr/bin/bash; ln usr/bin/bash usr/bin/sh; ln usr/bin/bash usr/bin/ash
         ln -s /usr/bin bin; ln -s /var/run run
         find . -depth -exec touch -h -d 1997-03-25T12:40:00Z {} +; chmod 000 var",
    );
    env.umoci([
        "repack",
        "--image",
        "img",
        "--history.created=1997-03-25T13:40:00+01:00",
        "b",
    ])
    .ok();
    let date = "1997-03-25T13:40:00+01:00";
    let words = [
        "--config.user=1000:100",
        "--config.cmd=/bin/sh",
        "--os=linux",
        "--architecture=amd64",
    ];
    let times = [format!("--created={date}"), format!("--history.created={date}")];
    let words = ["config", "--image", "img"]
        .into_iter()
        .chain(words)
        .chain(times.iter().map(String::as_str));
    env.umoci(words).ok();
    assert_eq!(
        diff_ids(&env, "img"),
        "sha256:b30a031a2b1c4616735cf8dd5d08ddebcbbff91e1d6b9fc740a2fec18af57b27\n"
    );
    let config = config(&env, "img");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            umoci::digest::Digest::sha256(config.as_bytes()).to_string(),
            "sha256:f4a39a97d97aa834da7ad2d92940f9636a57e3d9b3cc7c53242451b02a6cea89",
            "{config}"
        );
    }
}

#[test]
fn inserts_of_two_compressions_and_a_full_config() {
    let env = Env::new();
    let date = "1997-03-25T13:40:00Z";
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.sh(&format!(
        "umask 022; mkdir -m 700 d e; cd d; printf 'dummy data\\n' >file; mkdir -p foo/bar/baz; ln -s foo link
         find . -depth -exec touch -h -d {date} {{}} +; touch -d 1997-03-25T13:42:00Z ../e"
    ));
    let root = rustix::process::geteuid().is_root();
    let rootless = if root { "--rootless=false" } else { "--rootless" };
    env.umoci([
        "insert",
        "--image",
        "img",
        rootless,
        "--history.author",
        "Aleksa Sarai <cyphar@cyphar.com>",
        "--history.comment",
        "basic insert",
        "--history.created",
        date,
        "d",
        "/",
    ])
    .ok();
    env.umoci([
        "insert",
        "--image",
        "img",
        rootless,
        "--opaque",
        "--compress=zstd",
        "--history.author",
        "Foo Bar <foo\tbar\nbaz@fake.email>",
        "--history.comment",
        "whiteout /",
        "--history.created",
        "1997-03-25T13:42:00Z",
        "--history.created_by",
        "umoci insert --opaque",
        "e",
        "/foo",
    ])
    .ok();
    env.umoci([
        "config",
        "--image",
        "img",
        "--author",
        "Aleksa Sarai <cyphar@cyphar.com>",
        "--created",
        "2025-09-05T13:05:10.12345+10:00",
        "--architecture",
        "riscv64",
        "--os",
        "gnu+linux",
        "--config.user",
        "foo:bar",
        "--config.exposedports",
        "80/tcp",
        "--config.exposedports",
        "8080/udp",
        "--config.env",
        "HOME=/",
        "--config.env",
        "SHELL=/bin/false",
        "--config.env",
        "AAA=1234",
        "--config.env",
        "ESCAPED=a\tb\nc\u{b}d\re",
        "--config.entrypoint",
        "/bin/sh",
        "--config.entrypoint",
        "-c",
        "--config.cmd",
        "true",
        "--config.volume",
        "/tmp",
        "--config.volume",
        "/var",
        "--config.volume",
        "/with, comma",
        "--config.workingdir",
        "/tmp",
        "--config.stopsignal",
        "SIGKILL",
        "--manifest.annotation",
        "ci.umo.abc=foobar\tbaz",
        "--manifest.annotation",
        "ci.umo.xyz=hello world",
        "--history.author",
        "Hello World <another dummy email@foo.com>",
        "--history.comment",
        "dummy configuration",
        "--history.created",
        "2025-09-05T13:05:10.12345+10:00",
    ])
    .ok();
    assert_eq!(
        diff_ids(&env, "img"),
        "sha256:fed175d40baef89fc092180d169b2ba5865d41e757fd003376b6c6cff950cab7\n\
         sha256:08e462cdc23c300ea2d13c1504caf28e63e7cffb35eaece4639d644f131c0c7e\n"
    );
    assert_eq!(config(&env, "img"), include_str!("../fixtures/stat-config.json"));
}
