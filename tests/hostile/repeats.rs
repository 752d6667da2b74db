// SPDX-License-Identifier: Apache-2.0
//! Layers that have the same thing done again and again: no entry may cost what all before it have cost together.

use super::{Room, ways};
use crate::support::Tar;

/// A sparse file of version 1.0 with this map.
fn sparse(map: &str) -> Vec<u8> {
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"0"),
        ("GNU.sparse.name", b"holes"),
    ];
    let mut map = map.as_bytes().to_vec();
    map.resize(map.len().next_multiple_of(512), 0);
    Tar::new().pax(&records).entry(b"f", b'0', &map, |_| ()).end()
}

#[test]
fn a_sparse_map_of_a_million_numbers_is_read_once() {
    let (who, resolver) = ways()[0];
    for (rest, words) in [
        ("0\n".repeat(1_000_000), None),
        ("\n".repeat(1_000_000), Some("something that is no number")),
    ] {
        let room = Room::new(who, resolver);
        room.image(&[sparse(&format!("500000\n{rest}"))]);
        let output = room.unpack(&[]);
        match words {
            None => drop(output.ok()),
            Some(words) => assert!(output.fails().contains(words)),
        }
    }
}

#[test]
fn links_and_directories_that_take_turns_leave_alone_what_waits_elsewhere() {
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    let mut tar = Tar::new();
    for n in 0..10_000 {
        tar = tar.any(format!("h/{n}").as_bytes(), b'1', b"", b"late");
    }
    for _ in 0..10_000 {
        tar = tar.list(&["l x=a", "d x"]);
    }
    room.image(&[tar.list(&["f late=1"]).end()]);
    room.unpack(&[]).ok();
    assert_eq!(room.env.sh("stat -c %h work/b/rootfs/late").trim(), "10001");
}

#[test]
fn a_directory_that_is_hidden_again_and_again_is_hidden_once() {
    let (who, resolver) = ways()[0];
    for marker in ["d/.wh..wh..opq", ".wh.d"] {
        let room = Room::new(who, resolver);
        let mut upper = Tar::new();
        for n in 0..5_000 {
            upper = upper.any(format!("d/{n}").as_bytes(), b'0', b"", b"");
        }
        for _ in 0..5_000 {
            upper = upper.any(marker.as_bytes(), b'0', b"", b"");
        }
        room.image(&[Tar::new().list(&["f d/old=1"]).end(), upper.end()]);
        room.unpack(&[]).ok();
        assert_eq!(
            room.env.sh("ls work/b/rootfs/d | wc -l").trim(),
            "5000",
            "{marker}"
        );
        assert!(!room.env.path("work/b/rootfs/d/old").exists(), "{marker}");
    }
}

/// A chain of links that each go down and up so often, and files behind them.
fn chain(links: usize, detours: usize, files: usize) -> Vec<u8> {
    let mut tar = Tar::new().list(&["d a"]);
    for n in 0..links {
        let target = format!("{}l{}", "a/../".repeat(detours), n + 1);
        tar = tar.any(format!("l{n}").as_bytes(), b'2', b"", target.as_bytes());
    }
    tar = tar.list(&[&format!("d l{links}")]);
    for n in 0..files {
        tar = tar.any(format!("l0/{n}/f").as_bytes(), b'0', b"", b"");
    }
    tar.end()
}

#[test]
fn long_links_end_at_the_same_place_however_they_are_followed() {
    for (who, resolver) in ways() {
        for (tar, fails) in [
            (chain(250, 800, 40), true),
            // 4097 components behind the links, and 4095.
            (chain(241, 8, 1), true),
            (chain(195, 10, 1), false),
            (chain(255, 0, 1), false),
        ] {
            let room = Room::new(who, resolver);
            room.image(&[tar, Tar::new().list(&["f z=1"]).end()]);
            for words in [&["unpack", "--image", "img"][..], &["squash", "img"]] {
                let output = match words[0] {
                    "unpack" => room.unpack(&[]),
                    _ => room.umoci(words),
                };
                if fails {
                    let line = output.fails();
                    assert!(line.contains("too many levels of symbolic links"), "{line}");
                } else {
                    output.ok();
                }
            }
        }
    }
}

#[test]
fn whiteouts_of_deep_paths_cost_what_their_names_are_long() {
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    let deep = [&b"a/".repeat(15_000)[..], b".wh.x"].concat();
    let mut upper = Tar::new().list(&["l link=z"]);
    for _ in 0..200 {
        upper = upper.any(&deep, b'0', b"", b"");
    }
    room.image(&[Tar::new().list(&["f z=1"]).end(), upper.end()]);
    room.unpack(&[]).ok();
    room.umoci(&["squash", "img"]).ok();
}
