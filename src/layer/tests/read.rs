// SPDX-License-Identifier: Apache-2.0
//! Tests of the dialects and faults of archives.

use std::io::Read as _;

use crate::error::{ErrorKind, Result};
use crate::layer::{Entry, EntryBody, LayerReader, Limits, pax};
use crate::node::{NodeKind, Time, TreePath};

fn block(name: &str, flag: u8, size: &str, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut b = vec![0; 512];
    b[..name.len()].copy_from_slice(name.as_bytes());
    b[100..107].copy_from_slice(b"0000644");
    b[108..115].copy_from_slice(b"0000000");
    b[116..123].copy_from_slice(b"0000000");
    b[124..124 + size.len()].copy_from_slice(size.as_bytes());
    b[136..147].copy_from_slice(b"00000000000");
    b[156] = flag;
    b[257..265].copy_from_slice(b"ustar\x0000");
    edit(&mut b);
    let sum: u32 = b
        .iter()
        .enumerate()
        .map(|(i, &c)| if (148..156).contains(&i) { 32 } else { u32::from(c) })
        .sum();
    b[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    b
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(data.len().next_multiple_of(512), 0);
    out
}

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

fn with_pax(records: &[(&str, &str)], name: &str, content: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        pax::write(&mut data, key.as_bytes(), value.as_bytes());
    }
    let header = block("x", b'x', &format!("{:011o}", data.len()), |_| ());
    [
        header,
        padded(&data),
        block(name, b'0', &format!("{:011o}", content.len()), |_| ()),
        padded(content),
    ]
    .concat()
}

#[test]
fn pax_overrides_the_header() {
    let records = [
        ("path", "long/name"),
        ("mtime", "-1.25"),
        ("uid", "4000000"),
        ("SCHILY.xattr.user.a", "v"),
    ];
    let got = read(&with_pax(&records, "short", b"data")).expect("tar");
    let EntryBody::Node(node) = &got[0].0.body else {
        panic!()
    };
    assert_eq!(got[0].0.path.as_bytes(), b"long/name");
    assert_eq!(
        (node.uid, node.mtime),
        (
            4_000_000,
            Time {
                sec: -2,
                nsec: 750_000_000
            }
        )
    );
    assert_eq!(
        (node.xattrs[&b"user.a"[..]].as_slice(), got[0].1.as_slice()),
        (&b"v"[..], &b"data"[..])
    );
}

#[test]
fn sparse_files_of_every_dialect_are_filled_with_zeros() {
    let want = [&[0; 512][..], b"DATA", &[0; 508], b"END"].concat();
    let size = "1027";
    let map01 = [
        ("GNU.sparse.size", size),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.map", "512,4,1024,3"),
        ("GNU.sparse.name", "f"),
    ];
    let map00 = [
        ("GNU.sparse.size", size),
        ("GNU.sparse.offset", "512"),
        ("GNU.sparse.numbytes", "4"),
        ("GNU.sparse.offset", "1024"),
        ("GNU.sparse.numbytes", "3"),
    ];
    let map10 = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", size),
        ("GNU.sparse.name", "f"),
    ];
    let packed = b"DATAEND";
    let in_content = [padded(b"2\n512\n4\n1024\n3\n"), packed.to_vec()].concat();
    let old = block("f", b'S', "00000000007", |b| {
        b[257..265].copy_from_slice(b"ustar  \0");
        for (at, text) in [
            (386, "00000001000\x0000000000004"),
            (410, "00000002000\x0000000000003"),
            (483, "00000002003"),
        ] {
            b[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
    });
    for (what, tar) in [
        ("0.0", with_pax(&map00, "f", packed)),
        ("0.1", with_pax(&map01, "GNUSparseFile.0/f", packed)),
        ("1.0", with_pax(&map10, "GNUSparseFile.0/f", &in_content)),
        ("old", [old, padded(packed)].concat()),
    ] {
        let got = read(&tar).expect(what);
        assert_eq!(got[0].0.path.as_bytes(), b"f", "{what}");
        assert!(got[0].1 == want, "{what}: {:?}", got[0].1.len());
        let EntryBody::Node(node) = &got[0].0.body else {
            panic!()
        };
        assert_eq!(node.kind, NodeKind::File { size: 1027 }, "{what}");
    }
}

#[test]
fn whiteouts_are_told_by_their_names() {
    for (name, want) in [
        ("d/.wh.f", Ok(("d/f", EntryBody::Whiteout))),
        ("d/.wh..wh..opq", Ok(("d", EntryBody::Opaque))),
        (".wh..wh..opq", Ok(("", EntryBody::Opaque))),
        ("d/.wh..wh.plnk", Ok(("d/.wh.plnk", EntryBody::Whiteout))),
        ("d/.wh.", Err(ErrorKind::Corrupt)),
        ("d/.wh...", Err(ErrorKind::UnsafePath)),
        ("d/.wh..", Err(ErrorKind::UnsafePath)),
    ] {
        let got = read(&block(name, b'0', "00000000000", |_| ()))
            .map(|mut e| e.remove(0).0)
            .map_err(|e| e.kind());
        let want = want.map(|(path, body)| Entry {
            path: TreePath::clean(path.as_bytes()).expect("path"),
            body,
        });
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn odd_archives() {
    let file = || [block("f", b'0', "00000000001", |_| ()), padded(b"x")].concat();
    for (what, tar, want) in [
        ("nothing at all", Vec::new(), Some(0)),
        ("no end marker", file(), Some(1)),
        ("no padding at the end", file()[..513].to_vec(), Some(1)),
        (
            "garbage behind the end",
            [file(), vec![0; 1024], b"garbage".to_vec()].concat(),
            Some(1),
        ),
        (
            "global header",
            [
                block("g", b'g', "00000000006", |_| ()),
                padded(b"6 a=b\n"),
                file(),
            ]
            .concat(),
            Some(1),
        ),
        (
            "contiguous file",
            block("c", b'7', "00000000000", |_| ()),
            Some(1),
        ),
        ("cut in a header", file()[..700].to_vec()[..300].to_vec(), None),
        ("cut in content", file()[..512].to_vec(), None),
        ("unknown type", block("u", b'Q', "00000000000", |_| ()), Some(1)),
        ("another volume", block("u", b'M', "00000000000", |_| ()), None),
        (
            "wrong checksum",
            [b"x".to_vec(), file()[1..].to_vec()].concat(),
            None,
        ),
        (
            "negative size",
            block("n", b'0', "", |b| b[124..136].fill(0xff)),
            None,
        ),
        (
            "negative size of a directory",
            block("d", b'5', "", |b| b[124..136].fill(0xff)),
            Some(1),
        ),
        (
            "negative size of a directory by its slash",
            block("d/", 0, "", |b| b[124..136].fill(0xff)),
            None,
        ),
        (
            "sparse map of a directory",
            [
                &with_pax(&[("GNU.sparse.map", "0,1")], "", b"")[..1024],
                &block("d", b'5', "0", |_| ()),
            ]
            .concat(),
            None,
        ),
        ("huge header", block("x", b'x', "77777777777", |_| ()), None),
    ] {
        assert_eq!(read(&tar).ok().map(|e| e.len()), want, "{what}");
    }
}

#[test]
fn content_is_skipped_where_an_entry_has_one() {
    // A type that says what it is has no content, whatever size it states; nor has a directory of the old kind.
    for (name, flag) in [
        ("d/", 0),
        ("d/", b'7'),
        ("d", b'5'),
        ("l", b'2'),
        ("p", b'6'),
        (".wh.x", b'5'),
        (".wh.x/", 0),
    ] {
        let tar = [
            block(name, flag, "00000000700", |_| ()),
            block("f", b'0', "0", |_| ()),
        ]
        .concat();
        let got = read(&tar).expect(name);
        assert_eq!(got[1].0.path.as_bytes(), b"f", "{name} {flag}");
    }
    for (name, flag) in [
        ("f", 0),
        ("d", b'D'),
        (".wh.x", b'0'),
        (".wh.x", b'Q'),
        (".wh..wh..opq", 0),
    ] {
        let first = [block(name, flag, "00000000700", |_| ()), padded(&[1; 448])].concat();
        let got = read(&[first, block("g", b'0', "0", |_| ())].concat()).expect(name);
        assert_eq!(got[1].0.path.as_bytes(), b"g", "{name} {flag}");
    }
}

#[test]
fn only_the_name_of_a_whiteout_counts() {
    for flag in [b'1', b'2', b'3', b'5', b'x' + 1] {
        let tar = block("d/.wh.f", flag, "0", |b| {
            b[108..116].copy_from_slice(&[0xff; 8]);
            b[257..265].fill(0);
        });
        assert_eq!(
            read(&tar).expect("whiteout")[0].0.body,
            EntryBody::Whiteout,
            "{flag}"
        );
    }
}

#[test]
fn an_empty_record_takes_the_value_back() {
    let records = [
        ("path", "long"),
        ("uid", "7"),
        ("path", ""),
        ("uid", ""),
        ("linkpath", ""),
    ];
    let got = read(&with_pax(&records, "short", b"")).expect("tar");
    let EntryBody::Node(node) = &got[0].0.body else {
        panic!()
    };
    assert_eq!((got[0].0.path.as_bytes(), node.uid), (&b"short"[..], 0));
}

#[test]
fn the_prefix_of_a_name_needs_only_the_magic() {
    for (version, last, want) in [("00", "", "pre/f"), ("\0\0", "", "pre/f"), ("  ", "", "pre/f")] {
        let tar = block("f", b'0', "0", |b| {
            b[263..265].copy_from_slice(version.as_bytes());
            b[345..348].copy_from_slice(b"pre");
            b[508..508 + last.len()].copy_from_slice(last.as_bytes());
        });
        assert_eq!(read(&tar).expect("tar")[0].0.path.as_bytes(), want.as_bytes());
    }
    let star = block("f", b'0', "0", |b| {
        b[345..476].fill(b'p');
        b[476..487].copy_from_slice(b"00000000000");
        b[508..512].copy_from_slice(b"tar\0");
    });
    assert_eq!(read(&star).expect("star")[0].0.path.as_bytes().len(), 131 + 2);
}

#[test]
fn limits_name_themselves() {
    let limits = |edit: fn(&mut Limits)| {
        let mut limits = Limits::default();
        edit(&mut limits);
        limits
    };
    let long = with_pax(&[("path", &"p".repeat(300))], "f", b"x");
    let behind = [block("f", b'0', "0", |_| ()), vec![0; 1 << 20]].concat();
    let cases: [(&[u8], Limits, &str); 3] = [
        (&long, limits(|l| l.path_bytes = 200), "path of 300 bytes"),
        (&long, limits(|l| l.header_bytes = 200), "extended header of"),
        (&behind, limits(|l| l.layer_bytes = Some(4096)), "layer of"),
    ];
    for (tar, limits, want) in cases {
        let mut reader = LayerReader::new(tar, limits);
        let mut all = || -> Result<()> {
            while reader.next_entry()?.is_some() {}
            reader.drain()
        };
        let err = all().expect_err(want);
        assert_eq!(err.kind(), ErrorKind::Limit);
        assert!(err.to_string().contains(want), "{err}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        flag in proptest::prelude::any::<u8>(),
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1500),
        header in proptest::collection::vec((0_usize..512, proptest::prelude::any::<u8>()), 0..20),
    ) {
        let first = block("x", flag, "00000002000", |b| {
            for (at, byte) in header {
                b[at] = byte;
            }
        });
        let _ = read(&[first, padded(&data), block("f", b'0', "0", |_| ())].concat());
    }
}
