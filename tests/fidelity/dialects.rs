// SPDX-License-Identifier: Apache-2.0
//! Every dialect of tar, read entry by entry.

use std::io::Read;

use umoci::error::{ErrorKind, Result};
use umoci::internals::{Entry, EntryBody, LayerReader, Limits};
use umoci::internals::{Node, NodeKind, Time};

use crate::support::Tar;

fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = LayerReader::new(tar, Limits::default());
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        out.push((entry, content));
    }
    reader.drain()?;
    Ok(out)
}

/// The only entry, which is a node.
fn node(tar: Tar, what: &str) -> (Vec<u8>, Node, Vec<u8>) {
    let mut all = read(&tar.end()).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(all.len(), 1, "{what}");
    let (entry, content) = all.remove(0);
    match entry.body {
        EntryBody::Node(node) => (entry.path.as_bytes().to_vec(), node, content),
        other => panic!("{what}: {other:?}"),
    }
}

fn put(block: &mut [u8], at: usize, text: &[u8]) {
    block[at..at + text.len()].copy_from_slice(text);
}

const GNU: &[u8] = b"ustar  \0";
const V7: &[u8] = &[0; 8];

fn at(sec: i64, nsec: u32) -> Time {
    Time { sec, nsec }
}

#[test]
fn fields_of_every_header_format() {
    let long = "d/".repeat(60) + "f";
    let ustar = Tar::new().entry(b"f", b'0', b"x", |b| put(b, 345, &b"d/".repeat(60)[..119]));
    assert_eq!(node(ustar, "ustar prefix").0, long.as_bytes());
    let gnu_long = |flag, text: &[u8]| {
        Tar::new().entry(b"././@LongLink", flag, &[text, b"\0"].concat(), |b| {
            put(b, 257, GNU)
        })
    };
    let tar = gnu_long(b'L', long.as_bytes()).entry(b"cut", b'0', b"x", |b| put(b, 257, GNU));
    assert_eq!(node(tar, "GNU long name").0, long.as_bytes());
    let target = vec![b't'; 4095];
    let tar = gnu_long(b'K', &target).entry(b"l", b'2', b"", |b| put(b, 257, GNU));
    assert_eq!(node(tar, "GNU long target").1.kind, NodeKind::Symlink { target });
    // GNU has times where the prefix of ustar is.
    let tar = Tar::new().entry(b"f", b'0', b"x", |b| {
        put(b, 257, GNU);
        put(b, 345, b"00000000017\x0000000000021\0");
    });
    let (name, got, _) = node(tar, "GNU times");
    assert_eq!(
        (name.as_slice(), got.atime, got.mtime.sec),
        (&b"f"[..], Some(at(15, 0)), 0o7_346_545_000)
    );
    let star = Tar::new().entry(b"f", b'0', b"x", |b| {
        put(b, 345, b"pre");
        put(b, 476, b"00000000017\x0000000000021\0");
        put(b, 508, b"tar\0");
    });
    let (name, got, _) = node(star, "star");
    assert_eq!((name.as_slice(), got.atime), (&b"pre/f"[..], Some(at(15, 0))));
    for (name, flag, kind) in [
        (&b"f"[..], b'\0', NodeKind::File { size: 1 }),
        (b"f", b'0', NodeKind::File { size: 1 }),
        (b"f", b'7', NodeKind::File { size: 1 }),
        (b"d/", b'\0', NodeKind::Dir),
        (b"d/", b'0', NodeKind::File { size: 1 }),
        (b"d/", b'7', NodeKind::Dir),
        (b"d", b'5', NodeKind::Dir),
        (b"p", b'6', NodeKind::Fifo),
    ] {
        for magic in [V7, GNU, b"ustar\x0000"] {
            let tar = Tar::new().entry(name, flag, b"x", |b| {
                put(b, 257, magic);
                // Old writers store the type of the file in the mode.
                put(b, 100, b"0100644");
            });
            // What is no file has no content, whatever size it states.
            let tar = if matches!(kind, NodeKind::File { .. }) {
                tar
            } else {
                Tar::new().raw(&tar.end()[..512])
            };
            let (_, got, _) = node(tar, "v7");
            assert_eq!(
                (got.kind, got.mode, got.atime),
                (kind.clone(), 0o644, None),
                "{flag} {magic:?}"
            );
        }
    }
    for (what, flag, kind) in [
        ("char", b'3', NodeKind::Char { major: 5, minor: 259 }),
        ("block", b'4', NodeKind::Block { major: 5, minor: 259 }),
    ] {
        let tar = Tar::new().entry(b"dev", flag, b"", |b| {
            put(b, 329, b"0000005\x000000403\0");
        });
        assert_eq!(node(tar, what).1.kind, kind);
        let tar = Tar::new().entry(b"dev", flag, b"", |b| {
            put(b, 257, GNU);
            put(b, 329, &[0x80, 0, 0, 0, 0, 0, 0, 5, 0x80, 0, 0, 0, 0, 0, 1, 3]);
        });
        assert_eq!(node(tar, what).1.kind, kind, "base 256");
    }
}

#[test]
fn numbers_in_every_spelling() {
    let base256 = |n: i128, size: usize| {
        let mut bytes = n.to_be_bytes()[16 - size..].to_vec();
        bytes[0] |= 0x80;
        bytes
    };
    for (what, mtime, want) in [
        ("octal", b"00000000017\0".to_vec(), 15),
        ("spaces before and behind", b"       17  \0".to_vec(), 15),
        ("all twelve digits", b"777777777777".to_vec(), 0o777_777_777_777),
        ("base 256", base256(1 << 40, 12), 1 << 40),
        ("below zero", base256(-5, 12), -5),
        ("long ago", base256(-(1 << 40), 12), -(1 << 40)),
        ("nothing", vec![0; 12], 0),
    ] {
        let tar = Tar::new().entry(b"f", b'0', b"", |b| {
            put(b, 136, &mtime);
            put(b, 108, &base256(4_000_000_000, 8));
            put(b, 116, b" 17 \0\0\0\0");
        });
        let (_, got, _) = node(tar, what);
        assert_eq!(
            (got.mtime, got.uid, got.gid),
            (at(want, 0), 4_000_000_000, 15),
            "{what}"
        );
    }
    // A file of more than 8 GiB, whose content is not looked at.
    for (what, tar) in [
        (
            "base 256",
            Tar::new().entry(b"f", b'0', b"", |b| put(b, 124, &base256(9 << 30, 12))),
        ),
        (
            "PAX",
            Tar::new()
                .pax(&[("size", b"9663676416")])
                .entry(b"f", b'0', b"", |_| ()),
        ),
    ] {
        let tar = tar.end();
        let mut reader = LayerReader::new(tar.as_slice(), Limits::default());
        let entry = reader.next_entry().expect(what).expect(what);
        let EntryBody::Node(got) = entry.body else {
            panic!("{what}")
        };
        assert_eq!(got.kind, NodeKind::File { size: 9 << 30 }, "{what}");
        assert!(
            reader
                .next_entry()
                .expect_err(what)
                .to_string()
                .contains("unexpected end of layer")
        );
    }
}

#[test]
fn every_pax_record() {
    let tar = Tar::new()
        .pax(&[
            ("path", b"d\xc3\xa9/\xff\n"),
            ("uid", b"4000000000"),
            ("gid", b"3000000"),
            ("uname", b"somebody"),
            ("gname", b"some group"),
            ("mtime", b"-1.25"),
            ("atime", b"10000000000.000000001"),
            ("ctime", b"5"),
            ("comment", b"a=b\nc"),
            ("charset", b"ISO-IR 10646 2000 UTF-8"),
            ("hdrcharset", b"BINARY"),
            ("realtime.any", b"1"),
            ("SCHILY.fflags", b"nodump"),
            ("SCHILY.acl.access", b"user::rw-"),
            ("SCHILY.dev", b"1"),
            ("SCHILY.xattr.user.a", b"\0\n=\xff"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.user.b=c", b"d"),
            ("LIBARCHIVE.xattr.user.sp%20ace", b"dg=="),
            ("LIBARCHIVE.xattr.user.a", b"bm90IHRoaXM="),
            ("LIBARCHIVE.xattr.user.pad", b"AAE"),
            ("LIBARCHIVE.creationtime", b"5"),
            ("RHT.security.selinux", b"system_u:object_r:etc_t:s0"),
            ("X-VENDOR.unknown", b"x"),
        ])
        .entry(b"short", b'0', b"data", |_| ());
    let (name, got, content) = node(tar, "all");
    assert_eq!(
        (name.as_slice(), content.as_slice()),
        (&b"d\xc3\xa9/\xff\n"[..], &b"data"[..])
    );
    assert_eq!((got.uid, got.gid), (4_000_000_000, 3_000_000));
    assert_eq!(
        (got.mtime, got.atime),
        (at(-2, 750_000_000), Some(at(10_000_000_000, 1)))
    );
    let xattrs: Vec<(&[u8], &[u8])> = got
        .xattrs
        .iter()
        .map(|(k, v)| (k.as_slice(), v.as_slice()))
        .collect();
    let want: [(&[u8], &[u8]); 5] = [
        (b"user.a", b"\0\n=\xff"),
        (b"user.b", b"c=d"),
        (b"user.empty", b""),
        (b"user.pad", b"\0\x01"),
        (b"user.sp ace", b"v"),
    ];
    assert_eq!(xattrs, want);
    for (text, want) in [
        ("1", Some(at(1, 0))),
        ("1.", Some(at(1, 0))),
        ("1.5", Some(at(1, 500_000_000))),
        ("-1", Some(at(-1, 0))),
        ("-0.5", Some(at(-1, 500_000_000))),
        ("1.1234567899999", Some(at(1, 123_456_789))),
        ("99999999999999999999", None),
        ("x", None),
        ("1.x", Some(at(1, 0))),
        ("1.-5", Some(at(1, 0))),
        ("1 ", Some(at(1, 0))),
        (".5", None),
        ("+1", Some(at(1, 0))),
        ("+1x", None),
    ] {
        let tar = Tar::new()
            .pax(&[("mtime", text.as_bytes())])
            .entry(b"f", b'0', b"", |_| ())
            .end();
        let got = read(&tar).map(|mut all| match all.remove(0).0.body {
            EntryBody::Node(node) => node.mtime,
            other => panic!("{other:?}"),
        });
        assert_eq!(got.ok(), want, "{text}");
    }
    let long = vec![b'l'; 4095];
    let tar = Tar::new()
        .pax(&[("linkpath", &long)])
        .entry(b"l", b'2', b"", |_| ());
    assert_eq!(
        node(tar, "linkpath").1.kind,
        NodeKind::Symlink { target: long.clone() }
    );
    let tar = Tar::new()
        .pax(&[("linkpath", b"d/target")])
        .entry(b"h", b'1', b"", |_| ())
        .end();
    assert!(
        matches!(&read(&tar).expect("hard link")[0].0.body, EntryBody::HardLink { target } if target.as_bytes() == b"d/target")
    );
    // Of two headers for one entry the last counts; those of one entry say nothing of the next.
    let tar = Tar::new()
        .pax(&[("uid", b"5"), ("path", b"one")])
        .pax(&[("gid", b"6"), ("path", b"two")])
        .entry(b"f", b'0', b"", |_| ())
        .entry(b"g", b'0', b"", |_| ());
    let all = read(&tar.end()).expect("two headers");
    let owner = |at: usize| match &all[at].0.body {
        EntryBody::Node(node) => (all[at].0.path.as_bytes(), node.uid, node.gid),
        other => panic!("{other:?}"),
    };
    assert_eq!((owner(0), owner(1)), ((&b"two"[..], 0, 6), (&b"g"[..], 0, 0)));
}

#[test]
fn sparse_files_of_every_version() {
    // Data, hole, data, hole at the end.
    let want = [&b"DATA"[..], &[0; 1020], b"END", &[0; 973]].concat();
    let packed = b"DATAEND";
    let old = |pieces: &[(u64, u64)], more: &[&[(u64, u64)]], real: u64, packed: &[u8]| {
        let field = |b: &mut [u8], at: usize, (offset, length): (u64, u64)| {
            put(b, at, format!("{offset:011o}\0{length:011o}\0").as_bytes());
        };
        let mut tar = Tar::new().entry(b"f", b'S', b"", |b| {
            put(b, 257, GNU);
            put(b, 124, format!("{:011o}", packed.len()).as_bytes());
            for (n, piece) in pieces.iter().enumerate() {
                field(b, 386 + 24 * n, *piece);
            }
            b[482] = u8::from(!more.is_empty());
            put(b, 483, format!("{real:011o}\0").as_bytes());
        });
        for (n, block) in more.iter().enumerate() {
            let mut b = [0; 512];
            for (at, piece) in block.iter().enumerate() {
                field(&mut b, 24 * at, *piece);
            }
            b[504] = u8::from(n + 1 < more.len());
            tar = tar.raw(&b);
        }
        tar.data(packed)
    };
    let pax = |records: &[(&str, &[u8])], content: &[u8]| {
        Tar::new()
            .pax(records)
            .entry(b"GNUSparseFile.0/f", b'0', content, |_| ())
    };
    let in_content = |map: &[u8], data: &[u8]| {
        let mut out = map.to_vec();
        out.resize(map.len().next_multiple_of(512), 0);
        [out, data.to_vec()].concat()
    };
    let tail: [(u64, u64); 2] = [(1024, 3), (2000, 0)];
    for (what, tar) in [
        ("old", old(&[(0, 4), (1024, 3), (2000, 0)], &[], 2000, packed)),
        (
            "old with more blocks",
            old(&[(0, 1), (1, 1), (2, 1), (3, 1)], &[&tail], 2000, packed),
        ),
        (
            "old, with more content than the map speaks of",
            old(&[(0, 4), (1024, 3), (2000, 0)], &[], 2000, b"DATAEND and more"),
        ),
        (
            "0.0",
            pax(
                &[
                    ("GNU.sparse.size", b"2000"),
                    ("GNU.sparse.numblocks", b"3"),
                    ("GNU.sparse.offset", b"0"),
                    ("GNU.sparse.numbytes", b"4"),
                    ("GNU.sparse.offset", b"1024"),
                    ("GNU.sparse.numbytes", b"3"),
                    ("GNU.sparse.offset", b"2000"),
                    ("GNU.sparse.numbytes", b"0"),
                    ("path", b"f"),
                ],
                packed,
            ),
        ),
        (
            "0.1",
            pax(
                &[
                    ("GNU.sparse.size", b"2000"),
                    ("GNU.sparse.numblocks", b"3"),
                    ("GNU.sparse.map", b"0,4,1024,3,2000,0"),
                    ("GNU.sparse.name", b"f"),
                ],
                packed,
            ),
        ),
        (
            "1.0",
            pax(
                &[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"f"),
                    ("GNU.sparse.realsize", b"2000"),
                ],
                &in_content(b"3\n0\n4\n1024\n3\n2000\n0\n", packed),
            ),
        ),
    ] {
        let after = read(&tar.list(&["f after=here"]).end()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let (first, content) = &after[0];
        assert_eq!(first.path.as_bytes(), b"f", "{what}");
        assert!(*content == want, "{what}: {} bytes", content.len());
        assert_eq!(after[1].1, b"here", "{what}");
    }
    for (what, tar) in [
        ("old, all hole", old(&[(3000, 0)], &[], 3000, b"")),
        (
            "0.1, no pieces",
            pax(
                &[
                    ("GNU.sparse.major", b"0"),
                    ("GNU.sparse.minor", b"1"),
                    ("GNU.sparse.size", b"3000"),
                    ("GNU.sparse.name", b"f"),
                    ("GNU.sparse.numblocks", b"0"),
                    ("GNU.sparse.map", b""),
                ],
                b"",
            ),
        ),
        (
            "1.0, no pieces",
            pax(
                &[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"f"),
                    ("GNU.sparse.realsize", b"3000"),
                ],
                &in_content(b"0\n", b""),
            ),
        ),
    ] {
        assert_eq!(node(tar, what).2, vec![0; 3000], "{what}");
    }
    for (what, tar) in [
        ("beyond the end", old(&[(0, 4), (1999, 3)], &[], 2000, packed)),
        ("out of order", old(&[(1024, 4), (0, 3)], &[], 2000, packed)),
        ("overlapping", old(&[(0, 4), (3, 3)], &[], 2000, packed)),
        (
            "more data than said",
            old(&[(0, 4), (1024, 300)], &[], 2000, packed),
        ),
        (
            "a number of 2^64",
            pax(
                &[
                    ("GNU.sparse.size", b"18446744073709551615"),
                    ("GNU.sparse.map", b"18446744073709551615,1"),
                ],
                b"x",
            ),
        ),
    ] {
        let err = read(&tar.end()).expect_err(what);
        assert_eq!(err.kind(), ErrorKind::Corrupt, "{what}: {err}");
    }
}

#[test]
fn headers_for_all_and_what_stands_behind_the_end() {
    let file = || Tar::new().list(&["f a=1"]);
    // As `git archive` begins.
    let git = Tar::new()
        .entry(
            b"pax_global_header",
            b'g',
            b"52 comment=0123456789012345678901234567890123456789\n",
            |_| (),
        )
        .list(&["d p/", "f p/a=1"]);
    let all = read(&git.end()).expect("git archive");
    assert_eq!(
        all.iter().map(|(e, _)| e.path.as_bytes()).collect::<Vec<_>>(),
        [&b"p"[..], b"p/a"]
    );
    // A global header speaks of all entries behind it, until the next one.
    let global = |records: &[u8]| Tar::new().entry(b"g", b'g', records, |_| ());
    let tar = global(b"8 uid=5\n")
        .list(&["f a=1"])
        .pax(&[("uid", b"6")])
        .list(&["f b=2"])
        .raw(&global(b"8 gid=7\n").plain())
        .list(&["f c=3"]);
    let owners: Vec<(u32, u32)> = read(&tar.end())
        .expect("global headers")
        .into_iter()
        .map(|(entry, _)| match entry.body {
            EntryBody::Node(node) => (node.uid, node.gid),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(owners, [(5, 0), (6, 0), (0, 7)]);
    for (what, tar, want) in [
        ("one zero block and the end", file().raw(&[0; 512]), 1),
        (
            "two zero blocks, then another archive",
            file().raw(&[0; 1024]).list(&["f b=2"]),
            1,
        ),
        (
            "garbage of no whole block",
            file().raw(&[0; 1024]).raw(b"garbage"),
            1,
        ),
        (
            "garbage of many blocks",
            file().raw(&[0; 1024]).raw(&[0xa5; 10_000]),
            1,
        ),
        ("padded to 10 KiB", file().raw(&[0; 10_240 - 1024]), 1),
        ("no end", file(), 1),
        (
            "no padding of the last file",
            Tar::new().raw(&file().end()[..513]),
            1,
        ),
        ("nothing", Tar::new(), 0),
        ("only the end", Tar::new().raw(&[0; 1024]), 0),
        ("a header for nothing", file().pax(&[("path", b"x")]), 1),
    ] {
        let bytes = tar.end();
        // The end that the archive itself has, and not another one.
        let bytes = &bytes[..bytes.len() - 1024];
        assert_eq!(
            read(bytes).unwrap_or_else(|e| panic!("{what}: {e}")).len(),
            want,
            "{what}"
        );
    }
}
