// SPDX-License-Identifier: Apache-2.0
//! What can be odd about an entry of an archive, or about its end: each has a subject and a value, and is made alone or with
//! others.

/// Makes a checksum field of the sums of the bytes as unsigned and as signed numbers.
type Sum = fn(u32, i32) -> Vec<u8>;

/// An entry, as its header will be.
#[derive(Clone)]
pub struct Entry {
    /// Extended headers before it.
    pub before: Vec<u8>,
    pub name: Vec<u8>,
    pub flag: u8,
    pub link: Vec<u8>,
    pub magic: [u8; 8],
    /// What the size field says, if not the size of the content.
    pub size: Option<u64>,
    /// Bytes written over the header, by offset.
    pub fields: Vec<(usize, Vec<u8>)>,
    /// The checksum field, made of the sums of the bytes as unsigned and as signed numbers.
    pub sum: Sum,
    /// Blocks behind the header that its size does not count.
    pub map: Vec<u8>,
    pub content: Vec<u8>,
}

const USTAR: [u8; 8] = *b"ustar\x0000";
const GNU: [u8; 8] = *b"ustar  \0";

impl Entry {
    /// A regular file of five bytes.
    pub fn new(name: &[u8]) -> Self {
        Self {
            before: Vec::new(),
            name: name.to_vec(),
            flag: b'0',
            link: Vec::new(),
            magic: USTAR,
            size: None,
            fields: Vec::new(),
            sum: |unsigned, _| format!("{unsigned:06o}\0 ").into_bytes(),
            map: Vec::new(),
            content: b"hello".to_vec(),
        }
    }

    fn typed(mut self, flag: u8, content: &[u8]) -> Self {
        self.flag = flag;
        self.content = content.to_vec();
        self
    }

    /// The header block before its checksum is made.
    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, b"0000644\x000000001\x000000002\0");
        let size = self.size.unwrap_or(self.content.len() as u64);
        put(124, format!("{size:011o}\x0007346545000\0").as_bytes());
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, &self.magic);
        if matches!(self.flag, b'3' | b'4') {
            put(329, b"0000001\x000000003\0");
        }
        for (at, bytes) in &self.fields {
            put(*at, bytes);
        }
        block
    }

    /// Whether its type or content is no longer that of a plain file.
    pub fn is_told(&self) -> bool {
        let plain = Self::new(&self.name);
        (self.flag, &self.content, self.size) != (plain.flag, &plain.content, plain.size)
            || self.name.starts_with(b".wh.")
    }

    /// What is odd about the headers before it and its type, taken together.
    pub fn together(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        let mut rest = self.before.as_slice();
        while rest.len() >= 512 {
            let name = match rest[156] {
                b'x' => Some("owner"),
                b'X' => Some("Solaris path"),
                b'L' => Some("long name"),
                b'g' => Some("global owner"),
                b'V' => Some("volume"),
                _ => None,
            };
            names.extend(name);
            let size = std::str::from_utf8(&rest[124..135]).expect("octal");
            let size = usize::from_str_radix(size, 8)
                .expect("octal")
                .next_multiple_of(512);
            rest = &rest[(512 + size).min(rest.len())..];
        }
        let pairs = names
            .windows(2)
            .map(|pair| ("headers".to_owned(), format!("{}, {}", pair[0], pair[1])));
        let mut out: Vec<(String, String)> = pairs.collect();
        let has_xattr = self.before.windows(13).any(|part| part == b"SCHILY.xattr.");
        if has_xattr && matches!(self.flag, b'2' | b'3' | b'4' | b'6') {
            out.push(("xattr".to_owned(), "of a fifo".to_owned()));
        }
        out
    }

    /// Appends the entry to an archive.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.before);
        let mut block = self.header();
        block[148..156].fill(b' ');
        let unsigned = block.iter().map(|&c| u32::from(c)).sum();
        let signed = block.iter().map(|&c| i32::from(c.cast_signed())).sum();
        let sum = (self.sum)(unsigned, signed);
        block[148..156].copy_from_slice(&sum);
        out.extend_from_slice(&block);
        out.extend_from_slice(&self.map);
        padded(&self.content, out);
    }
}

fn padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// An entry that speaks of another one.
fn meta(flag: u8, content: &[u8]) -> Vec<u8> {
    let mut entry = Entry::new(b"meta").typed(flag, content);
    if matches!(flag, b'L' | b'K') {
        entry.magic = GNU;
    }
    let mut out = Vec::new();
    entry.write(&mut out);
    out
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = rest + (rest + rest.to_string().len()).to_string().len();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn records(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    pairs.iter().flat_map(|(key, value)| record(key, value)).collect()
}

fn pax(flag: u8, pairs: &[(&str, &[u8])]) -> Vec<u8> {
    meta(flag, &records(pairs))
}

/// One way for an entry to be odd.
pub struct Oddity {
    pub subject: &'static str,
    pub value: String,
    pub apply: Box<dyn Fn(&mut Entry) + Send + Sync>,
}

impl Oddity {
    /// Whether it changes the type or the content of an entry.
    pub fn says_what_it_is(&self) -> bool {
        let mut entry = Entry::new(b"a");
        (self.apply)(&mut entry);
        entry.is_told()
    }
}

fn odd(
    subject: &'static str,
    value: impl Into<String>,
    apply: impl Fn(&mut Entry) + Send + Sync + 'static,
) -> Oddity {
    Oddity {
        subject,
        value: value.into(),
        apply: Box::new(apply),
    }
}

/// All of them.
pub fn all() -> Vec<Oddity> {
    let mut out = Vec::new();
    types(&mut out);
    numbers(&mut out);
    formats(&mut out);
    names(&mut out);
    sums(&mut out);
    pax_values(&mut out);
    pax_syntax(&mut out);
    orders(&mut out);
    sparse(&mut out);
    out
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

fn formats(out: &mut Vec<Oddity>) {
    for (value, magic) in [
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
    ] {
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

/// What the maps of sparse files speak of: a block of data, and three bytes.
fn packed() -> Vec<u8> {
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

fn sparse(out: &mut Vec<Oddity>) {
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

/// One way for an archive to end, or to go on; it gets the entries, without an end.
pub struct End {
    pub value: &'static str,
    pub apply: fn(&mut Vec<u8>),
}

fn more(out: &mut Vec<u8>) {
    Entry::new(b"behind").write(out);
}

fn zeros(out: &mut Vec<u8>, n: usize) {
    out.resize(out.len() + n, 0);
}

/// All ends; the first is that of an archive in order.
pub fn ends() -> Vec<End> {
    let end = |value, apply| End { value, apply };
    vec![
        end("two zero blocks", |out| zeros(out, 1024)),
        end("none", |_| ()),
        end("one zero block", |out| zeros(out, 512)),
        end("one and a half", |out| zeros(out, 768)),
        end("half a zero block", |out| zeros(out, 256)),
        end("twenty zero blocks", |out| zeros(out, 10_240)),
        end("one zero block, then an entry", |out| {
            zeros(out, 512);
            more(out);
            zeros(out, 1024);
        }),
        end("the end, then an entry", |out| {
            zeros(out, 1024);
            more(out);
            zeros(out, 1024);
        }),
        end("twenty zero blocks, then an entry", |out| {
            zeros(out, 10_240);
            more(out);
            zeros(out, 1024);
        }),
        end("one zero block, then garbage", |out| {
            zeros(out, 512);
            out.extend([b'g'; 512]);
        }),
        end("one zero block, then a few bytes", |out| {
            zeros(out, 512);
            out.extend(b"few");
        }),
        end("the end, then garbage", |out| {
            zeros(out, 1024);
            out.extend([b'g'; 512]);
        }),
        end("the end, then a few bytes", |out| {
            zeros(out, 1024);
            out.extend(b"few");
        }),
        end("a few bytes", |out| out.extend(b"few")),
        end("garbage", |out| out.extend([b'g'; 512])),
        end("garbage, then an entry", |out| {
            out.extend([b'g'; 512]);
            more(out);
            zeros(out, 1024);
        }),
        end("no padding of the last file", |out| {
            Entry {
                content: Vec::new(),
                size: Some(5),
                ..Entry::new(b"cut")
            }
            .write(out);
            out.extend(b"hello");
        }),
        end("half the padding of the last file", |out| {
            Entry {
                content: Vec::new(),
                size: Some(5),
                ..Entry::new(b"cut")
            }
            .write(out);
            out.extend(b"hello");
            zeros(out, 100);
        }),
        end("cut in the content", |out| {
            Entry {
                content: Vec::new(),
                size: Some(5),
                ..Entry::new(b"cut")
            }
            .write(out);
            out.extend(b"he");
        }),
        end("cut behind a header", |out| {
            Entry {
                content: Vec::new(),
                size: Some(5),
                ..Entry::new(b"cut")
            }
            .write(out);
        }),
        end("cut in a header", |out| {
            more(out);
            out.truncate(out.len() - 1024 + 300);
        }),
        end("an extended header for nothing", |out| {
            out.extend(pax(b'x', &[("path", b"nothing")]));
            zeros(out, 1024);
        }),
        end("an extended header, and no end", |out| {
            out.extend(pax(b'x', &[("path", b"nothing")]))
        }),
        end("a long name for nothing", |out| {
            out.extend(meta(b'L', b"nothing\0"));
            zeros(out, 1024);
        }),
        end("a global header", |out| {
            out.extend(pax(b'g', &[("comment", b"c")]));
            zeros(out, 1024);
        }),
    ]
}
