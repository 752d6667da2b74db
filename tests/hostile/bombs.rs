// SPDX-License-Identifier: Apache-2.0
//! Little input that wants to become much: each ends, and no program here may have more than 200 MB of data.

use std::io::Write as _;

use umoci::digest::{Algorithm, Digest};
use umoci::internals::Hasher;

use super::{Layer, Room, Who, ways};
use crate::support::Tar;

/// A gzip layer of a tar given in pieces.
fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> Layer {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for piece in pieces {
        hasher.update(&piece);
        out.write_all(&piece).expect("gzip");
    }
    Layer {
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip",
        blob: out.finish().expect("gzip"),
        diff_id: hasher.finish(),
    }
}

#[test]
fn a_gigabyte_of_zeros_takes_neither_memory_nor_disk() {
    const SIZE: usize = 1 << 30;
    let header = Tar::new().entry(b"zeros", b'0', b"", |b| {
        b[124..135].copy_from_slice(format!("{SIZE:011o}").as_bytes());
    });
    let header = header.end()[..512].to_vec();
    let zeros = std::iter::repeat_n(vec![0; 1 << 20], SIZE >> 20);
    let layer = gzip(std::iter::once(header).chain(zeros).chain([vec![0; 1024]]));
    assert!(layer.blob.len() < 10 << 20);
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    room.image_of(&[layer]);
    // Who knows that his images are small can say so.
    let line = room.unpack(&["--limit", "layer=100000000"]).fails();
    assert!(
        line.contains("layer") && line.contains("over the limit of 100000000 bytes"),
        "{line}"
    );
    assert!(line.contains("--limit layer=BYTES"), "{line}");
    room.assert_cleaned("zeros");
    room.unpack(&[]).ok();
    let size = room
        .env
        .sh("stat -c %s work/b/rootfs/zeros; du -k work/b/rootfs/zeros | cut -f1");
    let numbers: Vec<usize> = size
        .split_whitespace()
        .map(|n| n.parse().expect("number"))
        .collect();
    assert!(numbers[0] == SIZE && numbers[1] < 1024, "{size}");
}

/// A layer of a few blocks: a sparse file that ends with a byte behind a hole of `size` bytes.
fn hole(size: u64) -> Vec<u8> {
    let (real, map) = (format!("{}", size + 1), format!("{size},1"));
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", real.as_bytes()),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.map", map.as_bytes()),
        ("GNU.sparse.name", b"holes"),
    ];
    Tar::new().pax(&records).entry(b"f", b'0', b"x", |_| ()).end()
}

#[test]
fn holes_cost_nothing_where_no_digest_is_wanted() {
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(&[hole(60_000_000_000)]);
        let rootless: &[&str] = if who == Who::Plain { &["--rootless"] } else { &[] };
        let raw =
            |more: &[&str]| room.umoci(&[&["raw", "unpack", "--image", "img", "r"], rootless, more].concat());
        let line = raw(&[]).stderr;
        assert!(
            line.contains("over the limit of 8589934592 bytes") && line.contains("--limit sparse=BYTES"),
            "{line}"
        );
        // To read or hash as many zeros takes a minute.
        let begin = std::time::Instant::now();
        raw(&["--limit", "sparse=100000000000"]).ok();
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
        let size = room
            .env
            .sh("stat -c '%s %b' work/r/holes; tail -c 1 work/r/holes");
        let words: Vec<&str> = size.split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("60000000001", "x"), "{size}");
        assert!(words[1].parse::<u64>().expect("blocks") < 100, "{size}");
    }
}

#[test]
fn a_hole_is_hashed_as_the_zeros_that_it_stands_for() {
    const SIZE: usize = 3 << 20;
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    room.image(&[hole(SIZE as u64)]);
    room.unpack(&[]).ok();
    let mtree = room.env.sh("cat work/b/sha256_*.mtree");
    let content = [vec![0; SIZE], b"x".to_vec()].concat();
    let digest = Digest::sha256(&content).encoded();
    assert!(
        mtree.contains(&format!("sha256digest={digest}")),
        "{digest}\n{mtree}"
    );
}

#[test]
fn headers_that_claim_much_are_refused() {
    let claim = |flag: u8| {
        Tar::new()
            .entry(b"x", flag, b"", |b| b[124..135].copy_from_slice(b"30000000000"))
            .end()
    };
    let records = |key: &str, value: &[u8], times: usize| {
        let mut tar = Tar::new();
        for _ in 0..times {
            tar = tar.pax(&[(key, value)]);
        }
        tar.entry(b"f", b'0', b"", |_| ()).end()
    };
    let sparse = |real: &str| {
        let records: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.size", real.as_bytes()),
            ("GNU.sparse.map", b"0,0"),
        ];
        Tar::new().pax(&records).entry(b"f", b'0', b"", |_| ()).end()
    };
    let big = vec![b'v'; 1 << 20];
    let deep = vec![b"a/".repeat(30_000); 1].concat();
    let attributes = {
        let mut tar = Tar::new();
        for n in 0..100 {
            tar = tar.pax(&[("SCHILY.xattr.user.a", &big)]);
            tar = tar.entry(format!("d{n}").as_bytes(), b'5', b"", |_| ());
        }
        tar.end()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "directories with large attributes",
            attributes,
            "--limit directories=BYTES",
        ),
        ("an extended header of 3 GB", claim(b'x'), "--limit header=BYTES"),
        ("a long name of 3 GB", claim(b'L'), "--limit header=BYTES"),
        ("a global header of 3 GB", claim(b'g'), "--limit header=BYTES"),
        (
            "a file of 3 GB that is not there",
            claim(b'0'),
            "unexpected end of layer",
        ),
        (
            "many extended headers for one entry",
            records("comment", &big, 5),
            "--limit header=BYTES",
        ),
        (
            "an attribute that no file system takes",
            records("SCHILY.xattr.user.a", &big, 1),
            "user.a",
        ),
        ("a path of 60,000 bytes", odd_path(&deep), "--limit path=BYTES"),
        (
            "a hole of 2^62 bytes",
            sparse("4611686018427387904"),
            "--limit sparse=BYTES",
        ),
        (
            "a hole of 2^64 bytes",
            sparse("18446744073709551616"),
            "GNU.sparse.size",
        ),
    ];
    for (who, resolver) in ways() {
        for (what, tar, words) in &cases {
            let room = Room::new(who, resolver);
            room.image(std::slice::from_ref(tar));
            let line = room.unpack(&[]).fails();
            assert!(line.contains(words), "{what}, {who:?}: {line}");
            room.assert_cleaned(what);
            room.assert_untouched(what);
        }
    }
}

/// A few bytes of an archive can ask for thousands of directories, each with a path of thousands of bytes.
#[test]
fn directories_in_directories_end_at_a_limit() {
    let mut tar = Tar::new();
    for n in 0..60 {
        tar = tar.pax(&[("path", &[format!("{n}/").as_bytes(), &b"a/".repeat(700)].concat())]);
        tar = tar.entry(b"d", b'5', b"", |_| ());
    }
    let tar = tar.end();
    for (who, resolver) in ways() {
        let room = Room::new(who, resolver);
        room.image(std::slice::from_ref(&tar));
        let line = room.unpack(&["--limit", "directories=400000"]).fails();
        assert!(line.contains("--limit directories=BYTES"), "{line}");
        room.assert_cleaned("directories");
    }
}

fn odd_path(path: &[u8]) -> Vec<u8> {
    Tar::new()
        .pax(&[("path", path)])
        .entry(b"d", b'5', b"", |_| ())
        .end()
}

/// A frame says how much memory it wants before it says anything else.
#[test]
fn a_zstd_window_over_the_limit_is_refused() {
    for (who, resolver) in ways() {
        for log in [28_u8, 31, 41] {
            let mut blob = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3];
            // One raw block, the last, of no bytes.
            blob.extend([1, 0, 0]);
            let room = Room::new(who, resolver);
            room.image_of(&[Layer {
                media_type: "application/vnd.oci.image.layer.v1.tar+zstd",
                blob,
                diff_id: Digest::sha256(b""),
            }]);
            let line = room.unpack(&[]).fails();
            assert!(
                line.contains("memory") || line.contains("window"),
                "2^{log}: {line}"
            );
            assert!(
                line.contains("--limit zstd-window=LOG2") || log > 31,
                "2^{log}: {line}"
            );
            room.assert_cleaned("window");
        }
    }
}

#[test]
fn tens_of_thousands_of_entries_take_little_memory() {
    let (who, resolver) = ways()[0];
    let room = Room::new(who, resolver);
    let header = |name: String| {
        let end = Tar::new().entry(name.as_bytes(), b'0', b"", |_| ()).end();
        end[..512].to_vec()
    };
    let files = |prefix: &'static str| (0..15_000).map(move |n| header(format!("{prefix}{}/{n}", n % 100)));
    let lower = gzip(files("d").chain([vec![0; 1024]]));
    let upper = gzip(
        files("d")
            .chain((0..15_000).map(|_| header("same".to_owned())))
            .chain([vec![0; 1024]]),
    );
    room.image_of(&[lower, upper]);
    // Counted over all layers.
    let line = room.unpack(&["--limit", "entries=40000"]).fails();
    assert!(
        line.contains("image of 40001 entries is over the limit") && line.contains("--limit entries=COUNT"),
        "{line}"
    );
    room.assert_cleaned("entries");
    room.unpack(&[]).ok();
    assert_eq!(room.env.sh("find work/b/rootfs -type f | wc -l").trim(), "15001");
}

#[test]
fn a_squash_of_paths_without_end_is_quick_or_ends_at_a_limit() {
    let (who, resolver) = ways()[0];
    let deep = |depth: usize, files: usize| {
        // A file that becomes a directory: from then on things are gone.
        let tar = Tar::new().list(&["f z=1", "d z"]);
        let path = |n: usize| [&b"a/".repeat(depth)[..], n.to_string().as_bytes()].concat();
        (0..files)
            .fold(tar, |tar, n| tar.any(&path(n), b'0', b"x", b""))
            .end()
    };
    for (what, layers, words, want) in [
        (
            "deep",
            vec![deep(1500, 20), deep(1500, 20)],
            &["squash", "img"][..],
            None,
        ),
        (
            "deeper",
            vec![deep(15_000, 1), deep(15_000, 1)],
            &["squash", "img"],
            Some("--limit directories=BYTES"),
        ),
        (
            "deeper below what is merged",
            vec![deep(15_000, 9), deep(1, 1), deep(1, 1)],
            &["squash", "img", "--from", "2", "--limit", "entries=10000"],
            Some("--limit entries=COUNT"),
        ),
    ] {
        let room = Room::new(who, resolver);
        room.image(&layers);
        let done = room.umoci(words);
        match want {
            None => drop(done.ok()),
            Some(want) => {
                let line = done.fails();
                assert!(line.contains(want), "{what}: {line}");
                assert!(line.len() < 5000, "{what}: {} bytes", line.len());
            }
        }
        room.assert_cleaned(what);
    }
}
