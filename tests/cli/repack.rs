// SPDX-License-Identifier: Apache-2.0
//! `umoci repack`

use crate::support::{Env, Image};

fn layers(image: &Image) -> usize {
    image.manifest()["layers"].as_array().map_or(0, Vec::len)
}

#[test]
fn masked_paths_and_volumes_are_left_out() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["config", "--image", "img", "--config.volume", "/vol"])
        .ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("cd b/rootfs; mkdir vol tmp voltest; touch vol/x tmp/y voltest/z");
    env.umoci([
        "repack",
        "--image",
        "img:masked",
        "--mask-path",
        "/tmp",
        "--mask-path=/",
        "b",
    ])
    .ok();
    env.umoci(["repack", "--image", "img:some", "--mask-path", "/tmp", "b"])
        .ok();
    env.umoci(["repack", "--image", "img:all", "--no-mask-volumes", "b"])
        .ok();
    let top = |tag: &str| {
        env.umoci(["raw", "unpack", "--image", &format!("img:{tag}"), tag])
            .ok();
        env.sh(&format!("ls {tag}"))
    };
    assert_eq!(top("masked"), "bin\netc\n");
    assert_eq!(top("some"), "bin\netc\nvoltest\n");
    assert_eq!(top("all"), "bin\netc\ntmp\nvol\nvoltest\n");
}

#[test]
fn the_compression_is_that_of_the_image_unless_told() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    for (compress, want) in [
        ("auto", "+zstd"),
        ("gzip", "+gzip"),
        ("none", ""),
        ("auto", "+gzip"),
    ] {
        env.sh(&format!("echo {compress} {want} >b/rootfs/file"));
        env.umoci([
            "repack",
            "--refresh-bundle",
            "--image",
            "img",
            "--compress",
            compress,
            "b",
        ])
        .ok();
        let media_type = image.manifest()["layers"][layers(&image) - 1]["mediaType"].clone();
        assert_eq!(
            media_type,
            format!("application/vnd.oci.image.layer.v1.tar{want}"),
            "{compress}"
        );
    }
}

#[test]
fn nothing_changed_makes_an_empty_step_and_keeps_the_bundle() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    let before = env.sh("ls b");
    let digest = image.entry()["digest"].clone();
    env.umoci([
        "repack",
        "--refresh-bundle",
        "--no-history",
        "--image",
        "img",
        "b",
    ])
    .ok();
    assert_eq!(
        (image.entry()["digest"].clone(), env.sh("ls b")),
        (digest, before)
    );
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    assert_eq!(
        (layers(&image), &image.config()["history"][2]["empty_layer"]),
        (2, &true.into())
    );
    env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
        .ok();
    assert_eq!(image.config()["history"].as_array().map(Vec::len), Some(4));
}

#[test]
fn the_same_input_gives_the_same_digests() {
    // One image: whether a directory's own time changed in it depends on when the clock went on to the next second.
    let image = Image::new();
    image.env.sh("mv img first");
    let repacked = |_| {
        image.env.sh("rm -rf img b; cp -a first img");
        image.env.umoci(["unpack", "--image", "img", "b"]).ok();
        // Newer files are clamped to SOURCE_DATE_EPOCH.
        image
            .env
            .sh("cd b/rootfs; head -c 3000000 /dev/zero | tr '\\0' x >big; mkdir d; touch d/f");
        image.env.umoci(["repack", "--image", "img", "b"]).ok();
        image.entry()["digest"].clone()
    };
    let digests: Vec<_> = (0..2).map(repacked).collect();
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_layer_without_history_is_warned_about_and_a_short_history_is_filled() {
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    env.sh("touch b/rootfs/one");
    let out = env.umoci([
        "repack",
        "--refresh-bundle",
        "--no-history",
        "--image",
        "img",
        "b",
    ]);
    assert!(
        out.stderr.contains("new layer has no history entry"),
        "{}",
        out.stderr
    );
    out.ok();
    env.sh("touch b/rootfs/two");
    env.umoci([
        "repack",
        "--image",
        "img",
        "--history.created_by",
        "me",
        "--history.created",
        "2020-01-02T03:04:05Z",
        "b",
    ])
    .ok();
    let config = image.config();
    let steps = config["history"]
        .as_array()
        .expect("history")
        .iter()
        .filter(|h| h["empty_layer"] != true)
        .count();
    assert_eq!((steps, layers(&image)), (4, 4));
    assert_eq!(
        (
            &config["history"][3]["created_by"],
            &config["history"][3]["created"]
        ),
        (&"me".into(), &"2020-01-02T03:04:05Z".into())
    );
}

#[test]
fn what_a_bundle_lacks_is_named() {
    let image = Image::new();
    let env = &image.env;
    let fresh = || {
        env.sh(&format!(
            "rm -rf b; {} unpack --image img b",
            env!("CARGO_BIN_EXE_umoci")
        ))
    };
    for (harm, want) in [
        ("rm -r b/rootfs", "b/rootfs: no such file or directory"),
        ("rm b/*.mtree", ".mtree: no such file or directory"),
        ("echo '{}' >b/umoci.json", "unsupported umoci.json version \"\""),
        ("echo nonsense >b/umoci.json", "invalid JSON"),
        (
            "touch b/rootfs/.wh.x",
            "invalid path has whiteout prefix \".wh.\": .wh.x",
        ),
        ("echo 'bad\\q size=1' >$(echo b/*.mtree)", "invalid mtree: line 1"),
    ] {
        fresh();
        env.sh(harm);
        let before = env.read("img/index.json");
        let why = env.umoci(["repack", "--image", "img:new", "b"]).fails();
        assert!(why.contains(want), "{harm}: {why}");
        assert_eq!(env.read("img/index.json"), before);
    }
    fresh();
    env.umoci(["rm", "--image", "img"]).ok();
    env.umoci(["gc", "--layout", "img"]).ok();
    let why = env.umoci(["repack", "--image", "img:new", "b"]).fails();
    assert!(why.contains("is not in this layout (removed by gc?)"), "{why}");
}

#[test]
fn sockets_are_left_out() {
    let env = Env::new();
    env.umoci(["init", "--layout", "img"]).ok();
    env.umoci(["new", "--image", "img"]).ok();
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    let _socket = std::os::unix::net::UnixListener::bind(env.path("b/rootfs/sock")).expect("socket");
    env.sh("touch b/rootfs/file");
    let out = env.umoci(["repack", "--image", "img", "b"]);
    assert!(out.stderr.contains("socket left out: sock"), "{}", out.stderr);
    out.ok();
    env.umoci(["raw", "unpack", "--image", "img", "r"]).ok();
    assert_eq!(env.sh("ls r"), "file\n");
}

/// Entries of the layer that a repack to `img:n` makes, as `tar -tv` shows them; none if it makes no layer.
fn repacked(image: &Image) -> String {
    let env = &image.env;
    env.umoci(["repack", "--image", "img:n", "--compress", "none", "b"])
        .ok();
    let [_, manifest, _] = image.of("n");
    let layers = manifest["layers"].as_array().expect("layers");
    if layers.len() == layers_of(image) {
        return String::new();
    }
    let digest = layers[layers.len() - 1]["digest"].as_str().expect("digest");
    env.sh(&format!("tar -tvf img/blobs/sha256/{}", &digest[7..]))
}

fn layers_of(image: &Image) -> usize {
    let [_, manifest, _] = image.of("latest");
    manifest["layers"].as_array().map_or(0, Vec::len)
}

#[test]
fn another_device_number_is_a_change() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // A node that looks the same but for its number, and what is done to it.
    const TIMES: &str = "touch -d @1000000000 b/rootfs/dev b/rootfs/dev/* && touch -d @1000000000 b/rootfs";
    let again = |node: &str| format!("rm b/rootfs/dev/x && mknod b/rootfs/dev/x {node} && {TIMES}");
    for (peer, change, want) in [
        (false, "true".to_owned(), ""),
        (false, again("c 1 3"), ""),
        (false, again("c 1 5"), "1,5"),
        (false, again("c 5 3"), "5,3"),
        (false, again("b 1 3"), "1,3"),
        (false, format!("rm b/.*.stat; {}", again("c 1 5")), "1,5"),
        (false, "cp -a b c; rm -r b; mv c b".to_owned(), ""),
        (true, "true".to_owned(), ""),
        (true, again("c 1 5"), "1,5"),
    ] {
        let image = Image::with_second_layer("gzip");
        let env = &image.env;
        env.sh(&format!(
            "mkdir -p b/rootfs/dev && mknod b/rootfs/dev/x c 1 3 && {TIMES} && tar --owner=0 --group=0 -C b/rootfs -cf l ./dev && rm -r b"
        ));
        env.umoci(["raw", "add-layer", "--image", "img", "l"]).ok();
        if peer {
            env.peer(["unpack", "--image", "img", "b"]).ok();
        } else {
            env.umoci(["unpack", "--image", "img", "b"]).ok();
        }
        env.sh(&format!("touch -r b/rootfs t; ({change}); touch -r t b/rootfs"));
        let told = repacked(&image);
        // A directory that was copied may be of another size.
        let told: Vec<&str> = told.lines().filter(|line| line.contains(" dev/x")).collect();
        assert_eq!(told.is_empty(), want.is_empty(), "{peer} {change}: {told:?}");
        assert!(
            told.iter().all(|line| line.contains(want)),
            "{peer} {change}: {told:?}"
        );
    }
}

#[test]
fn a_changed_device_is_known_after_a_refresh() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    for node in ["c 1 3", "c 1 5", "b 7 0", "b 7 1"] {
        env.sh(&format!(
            "rm -f b/rootfs/x; mknod b/rootfs/x {node}; touch -d @1000000000 b/rootfs b/rootfs/x"
        ));
        let before = layers(&image);
        for more in [1, 1] {
            env.umoci(["repack", "--refresh-bundle", "--image", "img", "b"])
                .ok();
            assert_eq!(layers(&image), before + more, "{node}");
        }
    }
}

#[test]
fn attributes_that_a_layer_cannot_hold_are_warned_of_and_stop_nothing() {
    use std::os::unix::ffi::OsStrExt as _;
    let image = Image::new();
    let env = &image.env;
    env.umoci(["unpack", "--image", "img", "b"]).ok();
    let file = env.path("b/rootfs/etc/file");
    let set = |name: &[u8], value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, std::ffi::OsStr::from_bytes(name), value, flags)
    };
    if set(b"user.plain", b"v").is_err() {
        return;
    }
    let kept: [&[u8]; 6] = [
        b"user.a b",
        b"user.n\nl",
        b"user.\xff\xfe",
        b"user.50%",
        b"user.a",
        b"user.#*?\\",
    ];
    for name in kept {
        set(name, b"v\0=\n").expect("set");
    }
    for name in [&b"user.a=b"[..], b"user.=", b"user.a="] {
        set(name, b"w").expect("set");
    }
    set(b"user.empty", b"").expect("set");
    for insert in [false, true] {
        let out = if insert {
            env.umoci([
                "insert",
                "--image",
                "img:latest",
                "--tag",
                "n",
                "b/rootfs/etc/file",
                "/etc/file",
            ])
        } else {
            env.umoci(["repack", "--image", "img:n", "b"])
        };
        for what in [
            "the name of \"user.a=b\"",
            "the name of \"user.=\"",
            "the name of \"user.a=\"",
            "the empty value of \"user.empty\"",
        ] {
            assert!(
                out.stderr.contains(&format!("a layer cannot hold {what}")),
                "{out:?}"
            );
        }
        assert_eq!(out.stderr.lines().count(), 4, "{out:?}");
        out.ok();
        env.umoci(["fsck", "--deep", "--layout", "img"]).ok();
        env.sh("rm -rf r");
        env.umoci(["raw", "unpack", "--image", "img:n", "r"]).ok();
        let file = env.path("r/etc/file");
        let mut names = vec![0; 4096];
        let count = rustix::fs::listxattr(&file, &mut names[..]).expect("list");
        let mut names: Vec<&[u8]> = names[..count]
            .split(|&c| c == 0)
            .filter(|n| n.starts_with(b"user."))
            .collect();
        names.sort_unstable();
        let mut want = [&kept[..], &[b"user.plain"]].concat();
        want.sort_unstable();
        assert_eq!(names, want);
        let mut value = [0; 9];
        let count = rustix::fs::getxattr(&file, "user.a b", &mut value[..]).expect("get");
        assert_eq!(&value[..count], b"v\0=\n");
    }
    // What cannot be held is no change that comes again and again.
    let before = layers(&image);
    for more in [1, 1] {
        env.umoci([
            "repack",
            "--refresh-bundle",
            "--no-history",
            "--image",
            "img",
            "b",
        ])
        .ok();
        assert_eq!(layers(&image), before + more);
    }
}
