// SPDX-License-Identifier: Apache-2.0
//! What can be odd about the headers before an entry.

use super::entry::{Entry, meta, pax, record};
use super::oddities::{Oddity, odd};

/// Adds all of it.
pub fn add(out: &mut Vec<Oddity>) {
    pax_values(out);
    pax_syntax(out);
    orders(out);
}

fn pax_values(out: &mut Vec<Oddity>) {
    let values: [(&str, &[u8]); 24] = [
        ("empty", b""),
        ("5", b"5"),
        ("-5", b"-5"),
        ("+5", b"+5"),
        ("space before", b" 5"),
        ("space behind", b"5 "),
        ("5.5", b"5.5"),
        ("letter", b"x"),
        ("05", b"05"),
        ("NUL behind", b"5\0"),
        ("letter behind NUL", b"5\0x"),
        ("1e1", b"1e1"),
        ("2^32", b"4294967296"),
        ("2^63-1", b"9223372036854775807"),
        ("2^64", b"18446744073709551616"),
        ("hexadecimal", b"0x5"),
        (".5", b".5"),
        ("5.", b"5."),
        ("-.5", b"-.5"),
        ("-0.5", b"-0.5"),
        ("ten decimals", b"5.1234567891"),
        ("letter behind point", b"5.x"),
        ("no UTF-8", b"\xff"),
        ("newline", b"5\n6"),
    ];
    for (key, subject) in [
        ("path", "path"),
        ("linkpath", "linkpath"),
        ("size", "PAX size"),
        ("uid", "PAX uid"),
        ("gid", "PAX gid"),
        ("mtime", "PAX mtime"),
        ("atime", "PAX atime"),
        ("ctime", "PAX ctime"),
        ("uname", "uname"),
        ("comment", "comment"),
        ("hdrcharset", "hdrcharset"),
        ("SCHILY.xattr.user.a", "xattr"),
        ("LIBARCHIVE.xattr.user.a", "xattr of libarchive"),
        ("GNU.sparse.size", "GNU.sparse.size"),
        ("GNU.sparse.realsize", "GNU.sparse.realsize"),
        ("GNU.sparse.name", "GNU.sparse.name"),
        ("GNU.sparse.map", "GNU.sparse.map"),
        ("GNU.sparse.numblocks", "GNU.sparse.numblocks"),
        ("GNU.sparse.major", "GNU.sparse.major"),
    ] {
        let prepare = move |e: &mut Entry| {
            if key == "linkpath" {
                e.flag = b'2';
                e.link = b"own".to_vec();
                e.content.clear();
            }
        };
        for (value, bytes) in values {
            out.push(odd(subject, value, move |e| {
                prepare(e);
                e.before.extend(pax(b'x', &[(key, bytes)]));
            }));
        }
        for (value, first, second) in [
            ("twice", "6", "5"),
            ("taken back", "6", ""),
            ("taken back and said", "", "5"),
        ] {
            out.push(odd(subject, value, move |e| {
                prepare(e);
                e.before
                    .extend(pax(b'x', &[(key, first.as_bytes()), (key, second.as_bytes())]));
            }));
        }
    }
    for flag in b"123456" {
        for (value, size) in [("5", "5"), ("below zero", "-5"), ("letter", "x")] {
            let value = format!("{value}, type {}", char::from(*flag));
            out.push(odd("PAX size of no file", value, move |e| {
                e.flag = *flag;
                e.content.clear();
                e.link = b"first".to_vec();
                e.before.extend(pax(b'x', &[("size", size.as_bytes())]));
            }));
        }
    }
    out.push(odd("PAX size", "more than the header says", |e| {
        e.content = vec![b'm'; 600];
        e.size = Some(5);
        e.before.extend(pax(b'x', &[("size", b"600")]));
    }));
    out.push(odd("PAX size", "over one below zero", |e| {
        e.fields.push((124, vec![0xff; 12]));
        e.before.extend(pax(b'x', &[("size", b"5")]));
    }));
    out.push(odd("PAX size", "less than the header says", |e| {
        e.before.extend(pax(b'x', &[("size", b"3")]))
    }));
    out.push(odd("xattr", "both ways", |e| {
        let both: [(&str, &[u8]); 2] = [
            ("SCHILY.xattr.user.a", b"1"),
            ("LIBARCHIVE.xattr.user.a", b"Mg=="),
        ];
        e.before.extend(pax(b'x', &both));
    }));
    out.push(odd("xattr", "of a fifo", |e| {
        e.flag = b'6';
        e.content.clear();
        e.before.extend(pax(b'x', &[("SCHILY.xattr.user.a", b"1")]));
    }));
    out.push(odd("xattr", "without a name", |e| {
        e.before.extend(pax(b'x', &[("SCHILY.xattr.", b"1")]))
    }));
    out.push(odd("xattr", "equals sign in the name", |e| {
        e.before.extend(pax(b'x', &[("SCHILY.xattr.user.a=b", b"1")]));
    }));
}

fn pax_syntax(out: &mut Vec<Oddity>) {
    for (value, data) in [
        ("no equals sign", &b"6 abc\n"[..]),
        ("no newline", b"9 path=x"),
        ("length too small", b"8 path=xy\n"),
        ("length too large", b"99 path=x\n"),
        ("length 0", b"0 path=x\n"),
        ("length below zero", b"-9 path=x\n"),
        ("length with plus", b"+10 path=x\n"),
        ("length with zero", b"010 path=x\n"),
        ("space before", b" 11 path=x\n"),
        ("tab behind the length", b"9\tpath=x\n"),
        ("two spaces behind the length", b"11  path=x\n"),
        ("text behind", b"9 path=x\njunk"),
        ("NULs behind", b"9 path=x\n\0\0\0"),
        ("text behind NUL", b"9 path=x\n\0junk"),
        ("newline behind", b"9 path=x\n\n"),
        ("no keyword", b"5 =x\n"),
        ("nothing", b""),
        ("only NULs", b"\0\0\0\0\0\0\0\0"),
        ("only a newline", b"\n"),
        ("NUL in the keyword", b"8 a\0b=x\n"),
        ("space in the keyword", b"8 a b=x\n"),
        ("equals sign in the value", b"11 path=a=b\n"),
        ("hexadecimal length", b"0x9 path=x\n"),
        ("length of 2^64", b"18446744073709551625 path=x\n"),
    ] {
        out.push(odd("extended header", value, move |e| {
            e.before.extend(meta(b'x', data))
        }));
        out.push(odd("global header", value, move |e| {
            e.before.extend(meta(b'g', data))
        }));
        out.push(odd("second record", value, move |e| {
            let data = [record("mtime", b"5"), data.to_vec()].concat();
            e.before.extend(meta(b'x', &data));
        }));
    }
}

/// Headers before one entry, in sequences.
fn orders(out: &mut Vec<Oddity>) {
    let parts: [(&str, Vec<u8>); 10] = [
        ("path", pax(b'x', &[("path", b"pax")])),
        ("owner", pax(b'x', &[("uid", b"77")])),
        (
            "time",
            pax(b'x', &[("mtime", b"5"), ("SCHILY.xattr.user.t", b"t")]),
        ),
        ("Solaris path", pax(b'X', &[("path", b"sun")])),
        ("long name", meta(b'L', b"long\0")),
        ("empty long name", meta(b'L', b"\0")),
        ("long target", meta(b'K', b"target\0")),
        ("global owner", pax(b'g', &[("uid", b"88")])),
        ("global path", pax(b'g', &[("path", b"global")])),
        ("volume", meta(b'V', b"")),
    ];
    for (one, first) in &parts {
        let first = first.clone();
        out.push(odd("headers", *one, move |e| e.before.extend(&first)));
    }
    for (one, first) in &parts {
        for (two, second) in &parts {
            let both = [first.as_slice(), second].concat();
            out.push(odd("headers", format!("{one}, {two}"), move |e| {
                e.before.extend(&both)
            }));
        }
    }
    for (value, flag, text) in [
        ("no NUL", b'L', &b"name"[..]),
        ("text behind NUL", b'L', b"ab\0cd\0"),
        ("slash at the end", b'L', b"d/\0"),
        ("newline", b'L', b"a\nb\0"),
        ("nothing", b'L', b""),
    ] {
        out.push(odd("long name", value, move |e| {
            e.before.extend(meta(flag, text))
        }));
        out.push(odd("long name of type NUL", value, move |e| {
            e.flag = 0;
            e.content.clear();
            e.before.extend(meta(flag, text));
        }));
        out.push(odd("long target", value, move |e| {
            e.flag = b'2';
            e.content.clear();
            e.link = b"own".to_vec();
            e.before.extend(meta(b'K', text));
        }));
    }
    out.push(odd("long target", "and linkpath", |e| {
        e.flag = b'2';
        e.content.clear();
        e.before.extend(meta(b'K', b"long\0"));
        e.before.extend(pax(b'x', &[("linkpath", b"pax")]));
    }));
    for (value, key, text) in [
        ("time", "mtime", "5"),
        ("size", "size", "3"),
        ("target", "linkpath", "x"),
        ("xattr", "SCHILY.xattr.user.a", "v"),
        ("comment", "comment", "c"),
    ] {
        out.push(odd("global", value, move |e| {
            e.before.extend(pax(b'g', &[(key, text.as_bytes())]))
        }));
    }
    out.push(odd("global", "taken back", |e| {
        e.before.extend(pax(b'g', &[("uid", b"77")]));
        e.before.extend(pax(b'x', &[("uid", b"")]));
    }));
    out.push(odd("global", "replaced", |e| {
        e.before.extend(pax(b'g', &[("uid", b"77")]));
        e.before.extend(pax(b'x', &[("uid", b"5")]));
    }));
}
