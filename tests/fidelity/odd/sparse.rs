// SPDX-License-Identifier: Apache-2.0
//! What can be odd about a sparse file.

use super::entry::{Entry, GNU, padded, pax};
use super::oddities::{Oddity, odd};

/// What the maps of sparse files speak of: a block of data, and three bytes.
pub fn packed() -> Vec<u8> {
    [&[b'd'; 512][..], b"END"].concat()
}

/// Makes an entry a sparse file of the old format.
fn old_map(e: &mut Entry, pieces: &[(u64, u64)], more: &[&[(u64, u64)]], real: u64) {
    let field = |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    e.flag = b'S';
    e.magic = GNU;
    e.content = packed();
    e.fields.push((386, pieces.iter().flat_map(field).collect()));
    e.fields.push((482, vec![u8::from(!more.is_empty())]));
    e.fields.push((483, format!("{real:011o}\0").into_bytes()));
    for (at, pieces) in more.iter().enumerate() {
        let mut block: Vec<u8> = pieces.iter().flat_map(field).collect();
        block.resize(512, 0);
        block[504] = u8::from(at + 1 < more.len());
        e.map.extend(block);
    }
}

/// Adds all of it.
pub fn add(out: &mut Vec<Oddity>) {
    type Pieces = &'static [(u64, u64)];
    let maps: [(&str, Pieces, &'static [Pieces], u64); 12] = [
        ("in order", &[(0, 512), (1024, 3), (2000, 0)], &[], 2000),
        ("no end", &[(0, 512), (1024, 3)], &[], 2000),
        ("less than the content", &[(0, 512)], &[], 2000),
        ("more than the content", &[(0, 512), (1024, 900)], &[], 2000),
        ("beyond the end", &[(0, 512), (1999, 3)], &[], 2000),
        ("out of order", &[(1024, 512), (0, 3)], &[], 2000),
        ("overlapping", &[(0, 512), (3, 3)], &[], 2000),
        (
            "another block",
            &[(0, 128), (128, 128), (256, 128), (384, 128)],
            &[&[(1024, 3), (2000, 0)]],
            2000,
        ),
        (
            "another block behind the end",
            &[(0, 512), (1024, 3)],
            &[&[(2000, 0)]],
            2000,
        ),
        ("nothing", &[], &[], 0),
        ("nothing but a hole", &[], &[], 5),
        ("an empty piece", &[(0, 512), (600, 0), (1024, 3)], &[], 2000),
    ];
    for (value, pieces, more, real) in maps {
        out.push(odd("old sparse map", value, move |e| {
            old_map(e, pieces, more, real)
        }));
    }
    for (value, pieces) in [
        ("whole blocks", &[(0, 512), (2048, 512), (4096, 0)][..]),
        ("whole blocks, no end", &[(0, 512), (2048, 512)]),
    ] {
        out.push(odd("old sparse map", value, move |e| {
            old_map(e, pieces, &[], 4096);
            e.content = vec![b'd'; 1024];
        }));
    }
    let version =
        |major: &'static str, minor: &'static str| [("GNU.sparse.major", major), ("GNU.sparse.minor", minor)];
    type Pairs = Vec<(&'static str, &'static str)>;
    let text = |pairs: &[(&'static str, &'static str)]| -> Pairs {
        pairs
            .iter()
            .map(|(key, value)| match *key {
                "major" => ("GNU.sparse.major", *value),
                "minor" => ("GNU.sparse.minor", *value),
                "size" => ("GNU.sparse.size", *value),
                "real" => ("GNU.sparse.realsize", *value),
                "count" => ("GNU.sparse.numblocks", *value),
                "map" => ("GNU.sparse.map", *value),
                "name" => ("GNU.sparse.name", *value),
                "at" => ("GNU.sparse.offset", *value),
                "of" => ("GNU.sparse.numbytes", *value),
                other => panic!("{other}"),
            })
            .collect()
    };
    let whole = "0,512,1024,3,2000,0";
    let in_records: Vec<(&str, Pairs)> = vec![
        ("0.1", text(&[("size", "2000"), ("count", "3"), ("map", whole)])),
        ("0.1 without count", text(&[("size", "2000"), ("map", whole)])),
        (
            "0.1, count too small",
            text(&[("size", "2000"), ("count", "2"), ("map", whole)]),
        ),
        (
            "0.1, count too large",
            text(&[("size", "2000"), ("count", "4"), ("map", whole)]),
        ),
        ("0.1 without size", text(&[("count", "3"), ("map", whole)])),
        (
            "0.1, size too small",
            text(&[("size", "1000"), ("count", "3"), ("map", whole)]),
        ),
        (
            "0.1 with a name",
            text(&[
                ("size", "2000"),
                ("count", "3"),
                ("map", whole),
                ("name", "other"),
            ]),
        ),
        (
            "0.1, overlapping",
            text(&[("size", "2000"), ("count", "2"), ("map", "0,512,3,3")]),
        ),
        (
            "0.1, out of order",
            text(&[("size", "2000"), ("count", "2"), ("map", "1024,512,0,3")]),
        ),
        (
            "0.1, less than the content",
            text(&[("size", "2000"), ("count", "1"), ("map", "0,512")]),
        ),
        (
            "0.1, more than the content",
            text(&[("size", "2000"), ("count", "2"), ("map", "0,512,1024,900")]),
        ),
        (
            "0.1, comma at the end",
            text(&[("size", "2000"), ("count", "3"), ("map", "0,512,1024,3,2000,0,")]),
        ),
        (
            "0.1 with realsize",
            text(&[("real", "2000"), ("count", "3"), ("map", whole)]),
        ),
        (
            "0.1 with both sizes",
            text(&[("real", "1999"), ("size", "2000"), ("count", "3"), ("map", whole)]),
        ),
        (
            "0.0",
            text(&[
                ("size", "2000"),
                ("count", "2"),
                ("at", "0"),
                ("of", "512"),
                ("at", "1024"),
                ("of", "3"),
            ]),
        ),
        (
            "0.0 without count",
            text(&[
                ("size", "2000"),
                ("at", "0"),
                ("of", "512"),
                ("at", "1024"),
                ("of", "3"),
            ]),
        ),
        (
            "0.0, length first",
            text(&[
                ("size", "2000"),
                ("count", "2"),
                ("of", "512"),
                ("at", "0"),
                ("of", "3"),
                ("at", "1024"),
            ]),
        ),
        (
            "0.0, no last length",
            text(&[
                ("size", "2000"),
                ("count", "2"),
                ("at", "0"),
                ("of", "512"),
                ("at", "1024"),
            ]),
        ),
    ];
    for (value, pairs) in in_records {
        for (prefix, named) in [
            ("", None),
            ("version given, ", Some(version("0", "1"))),
            ("version 2.0, ", Some(version("2", "0"))),
        ] {
            let pairs: Pairs = named.into_iter().flatten().chain(pairs.clone()).collect();
            out.push(odd(
                "sparse map in records",
                format!("{prefix}{value}"),
                move |e| {
                    let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(k, v)| (*k, v.as_bytes())).collect();
                    e.before.extend(pax(b'x', &pairs));
                    e.content = packed();
                },
            ));
        }
    }
    for (value, map) in [
        ("in order", "3\n0\n512\n1024\n3\n2000\n0\n"),
        ("cut", "3\n0\n512\n"),
        ("space before", " 2\n0\n512\n1024\n3\n"),
        ("plus", "+2\n0\n512\n1024\n3\n"),
        ("below zero", "2\n0\n-512\n1024\n3\n"),
        ("nothing", "0\n"),
        ("count too small", "2\n0\n512\n1024\n3\n2000\n0\n"),
        ("text behind", "2\n0\n512\n1024\n3\nxyz"),
        ("carriage returns", "2\r\n0\r\n512\r\n1024\r\n3\r\n"),
        ("count without end", "99999999999\n"),
        ("empty line", "\n2\n0\n512\n"),
        ("less than the content", "1\n0\n512\n"),
        ("more than the content", "2\n0\n512\n1024\n900\n"),
        ("overlapping", "2\n0\n512\n3\n3\n"),
        ("out of order", "2\n1024\n512\n0\n3\n"),
        ("zeros before", "02\n00\n0512\n1024\n03\n"),
    ] {
        out.push(odd("sparse map in content", value, move |e| {
            let pairs: [(&str, &[u8]); 4] = [
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"2000"),
            ];
            e.before.extend(pax(b'x', &pairs));
            let mut content = Vec::new();
            padded(map.as_bytes(), &mut content);
            content.extend(packed());
            e.content = content;
        }));
    }
}
