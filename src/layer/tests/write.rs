// SPDX-License-Identifier: Apache-2.0
//! Tests of the bytes of layers.

use std::io::Read as _;

use crate::digest::Digest;
use crate::layer::write::pax_name;
use crate::layer::{EntryBody, LayerReader, LayerWriter, Limits, WHITEOUT_PREFIX};
use crate::node::{Node, NodeKind, Time, TreePath, Xattrs};

fn path(text: &str) -> TreePath {
    TreePath::clean(text.as_bytes()).expect("path")
}

fn node(kind: NodeKind, mode: u32, mtime: i64) -> Node {
    Node {
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime: Time { sec: mtime, nsec: 0 },
        atime: None,
        xattrs: Xattrs::new(),
    }
}

fn link(target: &str) -> NodeKind {
    NodeKind::Symlink {
        target: target.as_bytes().to_vec(),
    }
}

#[test]
fn the_bytes_are_those_of_known_layers() {
    const T: i64 = 859_293_600;
    let mut w = LayerWriter::new(Vec::new(), b".");
    let add = |w: &mut LayerWriter<Vec<u8>>, name: &str, kind: NodeKind, mode: u32, mut data: &[u8]| {
        w.node(&path(name), &node(kind, mode, T), &mut data).expect(name);
    };
    add(&mut w, ".", NodeKind::Dir, 0o755, b"");
    add(&mut w, "bin", link("/usr/bin"), 0o777, b"");
    add(&mut w, "etc", NodeKind::Dir, 0o755, b"");
    add(&mut w, "run", link("/var/run"), 0o777, b"");
    add(&mut w, "usr", NodeKind::Dir, 0o755, b"");
    add(&mut w, "usr/bin", NodeKind::Dir, 0o755, b"");
    add(
        &mut w,
        "usr/bin/ash",
        NodeKind::File { size: 16 },
        0o755,
        b"#!/usr/bin/true\n",
    );
    for name in ["usr/bin/bash", "usr/bin/sh"] {
        let file = node(NodeKind::File { size: 16 }, 0o755, T);
        w.hard_link(&path(name), &path("usr/bin/ash"), &file).expect(name);
    }
    add(&mut w, "var", NodeKind::Dir, 0, b"");
    add(&mut w, "var/run", NodeKind::Dir, 0o755, b"");
    add(&mut w, "var/run/test.fifo", NodeKind::Fifo, 0o644, b"");
    let tar = w.finish().expect("tar");
    let want = "sha256:b30a031a2b1c4616735cf8dd5d08ddebcbbff91e1d6b9fc740a2fec18af57b27";
    assert_eq!(
        (tar.len(), Digest::sha256(&tar).to_string().as_str()),
        (7680, want)
    );

    const U: i64 = 859_297_200;
    let mut w = LayerWriter::new(Vec::new(), b"/");
    let add = |w: &mut LayerWriter<Vec<u8>>, name: &str, kind: NodeKind, mode: u32, mut data: &[u8]| {
        w.node(&path(name), &node(kind, mode, U), &mut data).expect(name);
    };
    add(&mut w, "/", NodeKind::Dir, 0o700, b"");
    add(
        &mut w,
        "file",
        NodeKind::File { size: 11 },
        0o644,
        b"dummy data\n",
    );
    for dir in ["foo", "foo/bar", "foo/bar/baz"] {
        add(&mut w, dir, NodeKind::Dir, 0o755, b"");
    }
    add(&mut w, "link", link("foo"), 0o777, b"");
    let tar = w.finish().expect("tar");
    let want = "sha256:fed175d40baef89fc092180d169b2ba5865d41e757fd003376b6c6cff950cab7";
    assert_eq!(
        (tar.len(), Digest::sha256(&tar).to_string().as_str()),
        (4608, want)
    );

    let mut w = LayerWriter::new(Vec::new(), b"/");
    w.opaque(&path("foo")).expect("opaque");
    w.node(&path("foo"), &node(NodeKind::Dir, 0o700, U + 120), &mut &b""[..])
        .expect("foo");
    let tar = w.finish().expect("tar");
    let want = "sha256:08e462cdc23c300ea2d13c1504caf28e63e7cffb35eaece4639d644f131c0c7e";
    assert_eq!(
        (tar.len(), Digest::sha256(&tar).to_string().as_str()),
        (2048, want)
    );
}

#[test]
fn what_is_written_is_read_back() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(90));
    let longer = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let deep = ["a"; 90].join("/");
    let mut wide = node(NodeKind::File { size: 3 }, 0o4755, -7);
    (wide.uid, wide.gid) = (4_000_000_000, 3_000_000);
    wide.xattrs
        .insert(b"user.bin ary".to_vec(), b"\0\n=\xff".to_vec());
    let plain = node(NodeKind::File { size: 3 }, 0o644, 1_700_000_000);
    let cases = [
        ("short", plain.clone()),
        (&long, plain.clone()),
        (&longer, plain.clone()),
        (&deep, plain.clone()),
        ("\u{e9}t\u{e9}", plain),
        ("wide", wide),
        ("link", node(link(&"t".repeat(300)), 0o777, 5)),
        ("dev", node(NodeKind::Char { major: 5, minor: 259 }, 0o600, 5)),
        ("far", node(NodeKind::Dir, 0o1777, 1 << 40)),
    ];
    let mut w = LayerWriter::new(Vec::new(), b".");
    for (name, node) in &cases {
        w.node(&path(name), node, &mut &b"abc"[..]).expect(name);
    }
    w.whiteout(&path("gone/file")).expect("whiteout");
    let tar = w.finish().expect("tar");
    let mut reader = LayerReader::new(tar.as_slice(), Limits::default());
    for (name, node) in &cases {
        let entry = reader.next_entry().expect(name).expect(name);
        assert_eq!(
            (entry.path, entry.body),
            (path(name), EntryBody::Node(node.clone())),
            "{name}"
        );
    }
    assert_eq!(
        reader.next_entry().expect("whiteout").expect("whiteout").body,
        EntryBody::Whiteout
    );
    assert!(reader.next_entry().expect("end").is_none());
}

#[test]
fn what_a_layer_cannot_hold_is_refused() {
    let mut w = LayerWriter::new(Vec::new(), b".");
    let file = node(NodeKind::File { size: 3 }, 0o644, 0);
    let mut refused = |name: &str, node: &Node, mut data: &[u8]| {
        w.node(&path(name), node, &mut data).expect_err(name).to_string()
    };
    assert_eq!(
        refused("d/.wh.x", &file, b"abc"),
        "invalid path has whiteout prefix \".wh.\": d/.wh.x"
    );
    assert!(refused("s", &node(NodeKind::Socket, 0, 0), b"").contains("socket"));
    assert!(refused("short", &file, b"ab").contains("changed size"));
    assert!(refused("long", &file, b"abcd").contains("changed size"));
    let empty = node(NodeKind::File { size: 0 }, 0o644, 0);
    assert!(refused("grown", &empty, b"a").contains("changed size"));
    let device = NodeKind::Char {
        major: 1,
        minor: 1 << 21,
    };
    assert!(refused("dev", &node(device, 0, 0), b"").contains("device number"));
}

#[test]
fn extended_headers_are_named_as_paths_are_joined() {
    for (name, want) in [
        (".", "PaxHeaders.0"),
        ("/", "/PaxHeaders.0"),
        ("f", "PaxHeaders.0/f"),
        ("d/", "d/PaxHeaders.0"),
        ("d/f", "d/PaxHeaders.0/f"),
        ("d/\u{e9}", "d/PaxHeaders.0"),
    ] {
        assert_eq!(
            String::from_utf8_lossy(&pax_name(name.as_bytes())),
            want,
            "{name}"
        );
    }
    assert_eq!(pax_name(&[b'n'; 300]).len(), 100);
}

proptest::proptest! {
    #[test]
    fn any_node_survives_the_trip_through_a_layer(
        name in "[^\0]{1,300}",
        mode in 0_u32..0o10000,
        uid: u32,
        gid: u32,
        sec in -(1_i64 << 40)..(1_i64 << 40),
        attributes in proptest::collection::btree_map("[^\0=]{1,40}", proptest::collection::vec(0_u8..=255, 1..50), 0..4),
        data in proptest::collection::vec(0_u8..=255, 0..2000),
        target in "[^\0]{1,300}",
    ) {
        let path = TreePath::clean(name.as_bytes()).expect("path");
        let hidden = path.name().starts_with(WHITEOUT_PREFIX);
        proptest::prop_assume!(!path.is_root() && !hidden);
        let xattrs: Xattrs = attributes.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
        let mtime = Time { sec, nsec: 0 };
        let file = Node { kind: NodeKind::File { size: data.len() as u64 }, mode, uid, gid, mtime, atime: None, xattrs };
        let link = Node { kind: NodeKind::Symlink { target: target.into_bytes() }, ..file.clone() };
        let mut w = LayerWriter::new(Vec::new(), b".");
        w.node(&path, &file, &mut data.as_slice()).expect("file");
        w.node(&path, &link, &mut std::io::empty()).expect("link");
        let tar = w.finish().expect("tar");
        let mut reader = LayerReader::new(tar.as_slice(), Limits::default());
        for node in [file, link] {
            let entry = reader.next_entry().expect("entry").expect("entry");
            proptest::prop_assert_eq!((&entry.path, &entry.body), (&path, &EntryBody::Node(node.clone())));
            let mut content = Vec::new();
            reader.read_to_end(&mut content).expect("content");
            proptest::prop_assert_eq!(content, if node.kind == (NodeKind::File { size: data.len() as u64 }) { data.clone() } else { Vec::new() });
        }
        proptest::prop_assert!(reader.next_entry().expect("end").is_none());
    }
}
