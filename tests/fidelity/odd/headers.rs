// SPDX-License-Identifier: Apache-2.0
//! What can be odd about the header of an entry.

use super::entry::{Entry, GNU, Sum, USTAR};
use super::oddities::{Oddity, odd};

/// Adds all of it.
pub fn add(out: &mut Vec<Oddity>) {
    types(out);
    numbers(out);
    formats(out);
    names(out);
    sums(out);
}

fn types(out: &mut Vec<Oddity>) {
    let flags = b"\x001234567ADEIMNQSVXZ8 \xff";
    for &flag in flags {
        for (what, content, slash) in [
            ("", false, false),
            (" with content", true, false),
            (" with a slash", false, true),
            (" with a slash and content", true, true),
        ] {
            let value = format!("{}{what}", flag.escape_ascii());
            out.push(odd("type", value.clone(), move |e| {
                e.flag = flag;
                e.link = if matches!(flag, b'1' | b'2') {
                    b"first".to_vec()
                } else {
                    Vec::new()
                };
                if !content {
                    e.content.clear();
                }
                if slash {
                    e.name.push(b'/');
                }
            }));
            out.push(odd("type of a whiteout", value, move |e| {
                e.name = [b".wh.", e.name.as_slice()].concat();
                e.flag = flag;
                e.magic = GNU;
                if !content {
                    e.content.clear();
                }
                if slash {
                    e.name.push(b'/');
                }
            }));
        }
        // A size, and nothing that has it.
        out.push(odd(
            "size without content",
            flag.escape_ascii().to_string(),
            move |e| {
                e.flag = flag;
                e.link = b"first".to_vec();
                e.content.clear();
                e.size = Some(5);
            },
        ));
    }
    out.push(odd("type", "whiteout without a name", |e| {
        e.name = b".wh.".to_vec()
    }));
}

fn base_256(n: i128, width: usize) -> Vec<u8> {
    let mut bytes = n.to_be_bytes()[16 - width..].to_vec();
    bytes[0] |= 0x80;
    bytes
}

/// Spellings of numbers in a field of so many bytes.
fn spellings(width: usize) -> Vec<(&'static str, Vec<u8>)> {
    let fill = |text: &[u8], with: u8| {
        let mut field = text.to_vec();
        field.resize(width, with);
        field
    };
    let behind = |text: &[u8], with: u8| {
        let mut field = vec![with; width - text.len()];
        field.extend_from_slice(text);
        field
    };
    let mut out = vec![
        ("nothing", vec![0; width]),
        ("spaces", vec![b' '; width]),
        ("spaces before", behind(b"5\0", b' ')),
        ("NULs before", behind(b"5\0", 0)),
        ("digits behind NUL", [b"5\0", &vec![b'7'; width - 2][..]].concat()),
        (
            "digits behind space",
            [b"5 ", &vec![b'7'; width - 2][..]].concat(),
        ),
        ("no NUL", behind(b"5", b'0')),
        ("spaces behind", fill(b"5", b' ')),
        ("tab before", fill(b"\t5", 0)),
        ("newline behind", fill(b"5\n", 0)),
        ("NUL and space before", fill(b" \0 5", 0)),
        ("plus", fill(b"+5", 0)),
        ("minus", fill(b"-5", 0)),
        ("hexadecimal", fill(b"0x5", 0)),
        ("eight", fill(b"8", 0)),
        ("letter behind", fill(b"5x", 0)),
        ("letter before", fill(b"x5", 0)),
        ("letter behind NUL", fill(b"5\0x", 0)),
        ("letter behind space", fill(b"5 x", 0)),
        ("point", fill(b"5.0", 0)),
        ("underscore", fill(b"0_5", 0)),
        ("control character", fill(b"\x7f5", 0)),
        ("base 64", fill(b"+AAAF", 0)),
        ("base 64, below zero", fill(b"-F", 0)),
        ("base 256", base_256(5, width)),
        ("base 256, below zero", base_256(-5, width)),
        ("base 256, 2^31", base_256(1 << 31, width)),
        ("base 256, 2^32-1", base_256((1 << 32) - 1, width)),
        ("base 256, 2^32", base_256(1 << 32, width)),
        ("base 256, most", [b"\x80", &vec![0xff; width - 1][..]].concat()),
        ("base 256, least", [b"\xc0", &vec![0; width - 1][..]].concat()),
        (
            "base 256, bits in the first byte",
            [b"\x81", &vec![0; width - 2][..], &[5]].concat(),
        ),
        ("all bits", vec![0xff; width]),
    ];
    // No machine has as much: all sizes of these end beyond the archive.
    out.push(("all sevens", vec![b'7'; width]));
    out
}

fn numbers(out: &mut Vec<Oddity>) {
    for (subject, at, width, flag) in [
        ("mode", 100, 8, b'0'),
        ("uid", 108, 8, b'0'),
        ("gid", 116, 8, b'0'),
        ("size", 124, 12, b'0'),
        ("mtime", 136, 12, b'0'),
        ("major", 329, 8, b'3'),
        ("minor", 337, 8, b'4'),
        ("major of a file", 329, 8, b'0'),
        ("uid of a link", 108, 8, b'1'),
        ("size of a link", 124, 12, b'1'),
        ("size of a symlink", 124, 12, b'2'),
        ("size of a directory", 124, 12, b'5'),
        ("size of a fifo", 124, 12, b'6'),
        ("size of an empty file", 124, 12, 0),
    ] {
        for (value, field) in spellings(width) {
            out.push(odd(subject, value, move |e| {
                if flag != b'0' {
                    e.flag = flag;
                    e.content.clear();
                    e.link = if flag == b'1' || flag == b'2' {
                        b"first".to_vec()
                    } else {
                        Vec::new()
                    };
                }
                e.fields.push((at, field.clone()));
            }));
        }
    }
}

/// What a header may have for its magic and version.
pub const MAGICS: [(&str, [u8; 8]); 12] = [
    ("none", [0; 8]),
    ("ustar", USTAR),
    ("GNU", GNU),
    ("ustar without version", *b"ustar\0\0\0"),
    ("ustar with spaces", *b"ustar\0  "),
    ("ustar of version 99", *b"ustar\x0099"),
    ("ustar, space and NUL", *b"ustar \0\0"),
    ("ustar, space and version", *b"ustar 00"),
    ("GNU without NUL", *b"ustar  0"),
    ("upper case", *b"USTAR\x0000"),
    ("something else", *b"junkjunk"),
    ("cut", *b"usta\0\0\0\0"),
];

fn formats(out: &mut Vec<Oddity>) {
    for (value, magic) in MAGICS {
        out.push(odd("magic", value, move |e| e.magic = magic));
        out.push(odd("magic of a device", value, move |e| {
            e.magic = magic;
            e.flag = b'3';
            e.content.clear();
        }));
        out.push(odd("magic and prefix", value, move |e| {
            e.magic = magic;
            e.fields.push((345, b"pre".to_vec()));
        }));
        out.push(odd("magic and times", value, move |e| {
            e.magic = magic;
            e.fields.push((345, b"00000000017\x0000000000021\0".to_vec()));
        }));
        out.push(odd("magic and star", value, move |e| {
            e.magic = magic;
            e.fields.push((345, b"pre".to_vec()));
            e.fields.push((476, b"00000000017\x0000000000021\0".to_vec()));
            e.fields.push((508, b"tar\0".to_vec()));
        }));
    }
}

fn names(out: &mut Vec<Oddity>) {
    for (value, name) in [
        ("two slashes", &b"//x"[..]),
        ("a point", b"/./x"),
        ("space", b" x "),
        ("newline", b"\nx"),
        ("backslash", b"\\x"),
        ("no UTF-8", b"\xff\xfe"),
        ("NUL", b"\0x"),
        ("star", b"*"),
        ("slash at the end", b"/"),
        ("slashes at the end", b"//"),
    ] {
        for flag in [b'0', b'5', 0, b'7', b'2', b'6'] {
            out.push(odd(
                "name",
                format!("{value}, type {}", flag.escape_ascii()),
                move |e| {
                    e.name = [e.name.as_slice(), name].concat();
                    e.flag = flag;
                    if flag != b'0' {
                        e.content.clear();
                    }
                    if flag == b'2' {
                        e.link = b"first".to_vec();
                    }
                },
            ));
        }
    }
    out.push(odd("name", "point before", |e| {
        e.name = [b"./", e.name.as_slice()].concat()
    }));
    out.push(odd("name", "the root", |e| {
        *e = Entry::new(b"./").typed(b'5', b"")
    }));
    out.push(odd("name", "100 bytes", |e| {
        e.name = [e.name.as_slice(), &[b'n'; 99]].concat()
    }));
    for (value, prefix) in [
        ("", "pre"),
        ("slash", "pre/"),
        ("point", "."),
        ("slashes", "pre//"),
        ("NUL", "\0x"),
    ] {
        out.push(odd("prefix", value, move |e| e.fields.push((345, prefix.into()))));
    }
    out.push(odd("prefix", "155 bytes", |e| {
        e.fields.push((345, [b'p'; 155].to_vec()))
    }));
    for (value, link) in [
        ("none", &b""[..]),
        ("absolute", b"/first"),
        ("point", b"./first"),
        ("slash at the end", b"first/"),
        ("NUL", b"first\0x"),
        ("100 bytes", &[b't'; 100]),
        ("no UTF-8", b"\xff"),
        ("what comes later", b"last"),
        ("what never comes", b"nothing"),
    ] {
        for (subject, flag) in [("target of a link", b'1'), ("target of a symlink", b'2')] {
            out.push(odd(subject, value, move |e| {
                e.flag = flag;
                e.content.clear();
                e.link = link.to_vec();
            }));
        }
    }
    out.push(odd("name of the owner", "one that the system has", |e| {
        e.fields.push((265, b"daemon".to_vec()));
        e.fields.push((297, b"daemon".to_vec()));
    }));
    out.push(odd("twice", "the same file", |e| {
        let mut first = Vec::new();
        Entry {
            content: b"before".to_vec(),
            ..Entry::new(&e.name)
        }
        .write(&mut first);
        e.before.extend(first);
    }));
    out.push(odd("twice", "a directory first", |e| {
        let mut first = Vec::new();
        Entry::new(&e.name).typed(b'5', b"").write(&mut first);
        e.before.extend(first);
    }));
}

fn sums(out: &mut Vec<Oddity>) {
    let sums: [(&str, Sum); 13] = [
        ("eight digits", |n, _| format!("{n:08o}").into_bytes()),
        ("spaces before", |n, _| format!("{n:6o}\0 ").into_bytes()),
        ("spaces behind", |n, _| format!("{n:06o}  ").into_bytes()),
        ("seven digits", |n, _| format!("{n:07o}\0").into_bytes()),
        ("NULs before", |n, _| format!("\0\0{n:05o}\0").into_bytes()),
        ("tab before", |n, _| format!("\t{n:06o}\0").into_bytes()),
        ("base 256", |n, _| base_256(i128::from(n), 8)),
        ("letters behind NUL", |n, _| format!("{n:05o}\0xx").into_bytes()),
        ("letters behind space", |n, _| format!("{n:05o} xx").into_bytes()),
        ("letters", |n, _| format!("{n:05o}xxx").into_bytes()),
        ("wrong", |n, _| format!("{:06o}\0 ", n + 1).into_bytes()),
        ("none", |_, _| vec![0; 8]),
        ("spaces", |_, _| vec![b' '; 8]),
    ];
    for (value, sum) in sums {
        out.push(odd("checksum", value, move |e| e.sum = sum));
    }
    out.push(odd("checksum", "of signed bytes", |e| {
        e.name.push(0xe9);
        e.sum = |_, n| format!("{n:06o}\0 ").into_bytes();
    }));
}
