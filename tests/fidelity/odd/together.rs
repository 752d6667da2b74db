// SPDX-License-Identifier: Apache-2.0
//! What is odd about several things taken together, of which none need be odd alone: an archive of the generator may have
//! them without their being chosen.

use super::Odd;
use super::entry::{Entry, GNU, meta, pax, record};
use super::headers::MAGICS;
use super::oddities::{Oddity, odd};
use super::sparse::packed;

/// Adds those that are not made otherwise, each in an archive of its own.
pub fn add(out: &mut Vec<Oddity>) {
    out.push(odd("headers", "broken, owner", |e| {
        e.before.extend(meta(b'x', b"6 abc\n"));
        e.before.extend(pax(b'x', &[("uid", b"77")]));
    }));
    out.push(odd("headers", "long target, broken", |e| {
        e.before.extend(meta(b'K', b"target\0"));
        let data = [record("mtime", b"5"), b"9 path=x".to_vec()].concat();
        e.before.extend(meta(b'x', &data));
    }));
    let map: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"2000"),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.map", b"0,512"),
    ];
    let whole_map: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"2000"),
        ("GNU.sparse.numblocks", b"3"),
        ("GNU.sparse.map", b"0,512,1024,3,2000,0"),
    ];
    out.push(odd("headers", "sparse map, volume", move |e| {
        e.before.extend(pax(b'x', &map));
        e.before.extend(meta(b'V', b""));
    }));
    out.push(odd("sparse map", "of the padding too", move |e| {
        e.before.extend(pax(b'x', &map));
    }));
    out.push(odd("sparse map", "of the next entry too", |e| {
        let map: [(&str, &[u8]); 3] = [
            ("GNU.sparse.size", b"2000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"0,512,1024,900"),
        ];
        e.before.extend(pax(b'x', &map));
        // An entry without content is all that the map takes.
        e.content = packed();
        e.size = Some(e.content.len() as u64);
        e.content.resize(1024, 0);
        let mut next = Entry::new(b"next");
        next.content.clear();
        next.write(&mut e.content);
    }));
    out.push(odd(
        "target of a link",
        "what never comes, of a name that does",
        |e| {
            let mut link = Entry::new(&e.name);
            (link.flag, link.link) = (b'1', b"nothing".to_vec());
            link.content.clear();
            link.write(&mut e.before);
        },
    ));
    out.push(odd("size of a link", "behind an extended header", |e| {
        e.before.extend(pax(b'x', &[("comment", b"c")]));
        (e.flag, e.link, e.size) = (b'1', b"first".to_vec(), Some(5));
        e.content.clear();
    }));
    for key in ["GNU.sparse.size", "GNU.sparse.realsize"] {
        for (value, content) in [("more", &b""[..]), ("less", b"hellohello")] {
            let value = format!("{value} than the content, {key}");
            out.push(odd("GNU.sparse.size", value, move |e| {
                e.before.extend(pax(b'x', &[(key, b"5")]));
                e.content = content.to_vec();
            }));
        }
    }
    out.push(odd("sparse map", "of a header without magic", move |e| {
        e.before.extend(pax(b'x', &whole_map));
        e.magic = [0; 8];
        e.content = packed();
    }));
    out.push(odd(
        "sparse map",
        "of a header without magic, before garbage",
        move |e| {
            e.before.extend(pax(b'x', &whole_map));
            e.magic = [0; 8];
            e.content = packed();
            e.size = Some(e.content.len() as u64);
            e.content.resize(1024, 0);
            e.content.extend([b'g'; 1024]);
        },
    ));
    for flag in b"123456" {
        let value = format!("of type {}", char::from(*flag));
        out.push(odd("sparse map", value, move |e| {
            e.before.extend(pax(b'x', &map));
            e.flag = *flag;
            e.link = b"first".to_vec();
            e.content.clear();
        }));
    }
    for (subject, value, flag, key) in [
        ("long target", "and linkpath with a NUL", b'K', "linkpath"),
        ("headers", "long name, path with a NUL", b'L', "path"),
    ] {
        out.push(odd(subject, value, move |e| {
            e.before.extend(meta(flag, b"long\0"));
            e.before.extend(pax(b'x', &[(key, b"5\0")]));
            e.flag = if flag == b'K' { b'2' } else { b'0' };
            e.content.clear();
        }));
    }
    for (value, key, text) in [
        ("empty", "SCHILY.xattr.user.a", &b""[..]),
        ("of libarchive", "LIBARCHIVE.xattr.user.a", b"MQ=="),
    ] {
        out.push(odd("xattr of a fifo", value, move |e| {
            e.before.extend(pax(b'x', &[(key, text)]));
            e.flag = b'6';
            e.content.clear();
        }));
    }
    for (value, uid) in [
        ("-5", "-5"),
        ("2^32", "4294967296"),
        ("2^63-1", "9223372036854775807"),
    ] {
        out.push(odd("PAX uid of a link", value, move |e| {
            e.before.extend(pax(b'x', &[("uid", uid.as_bytes())]));
            (e.flag, e.link) = (b'1', b"first".to_vec());
            e.content.clear();
        }));
    }
    out.push(odd("type of a whiteout", "S with a broken map", |e| {
        e.name = [b".wh.", e.name.as_slice()].concat();
        (e.flag, e.magic) = (b'S', GNU);
        e.content.clear();
        e.before.extend(pax(b'x', &[("GNU.sparse.map", b"5")]));
    }));
    out.push(odd("type of a whiteout", "0 with a prefix", |e| {
        e.name = [b".wh.", e.name.as_slice()].concat();
        e.fields.push((345, b"pre".to_vec()));
    }));
    out.push(odd("size without content", "with a slash", |e| {
        e.name.push(b'/');
        e.content.clear();
        e.size = Some(5);
    }));
    out.push(odd("long name", "slash at the end, no content", |e| {
        e.before.extend(meta(b'L', b"d/\0"));
        e.content.clear();
    }));
    out.push(odd("size of a directory", "below zero, type NUL", |e| {
        e.name.push(b'/');
        e.flag = 0;
        e.content.clear();
        e.fields.push((124, vec![0xff; 12]));
    }));
    out.push(odd("PAX uid", "over one out of range", |e| {
        e.fields.push((108, vec![0xff; 8]));
        e.before.extend(pax(b'x', &[("uid", b"5")]));
    }));
    out.push(odd("PAX size", "over spaces", |e| {
        e.fields.push((124, vec![b' '; 12]));
        e.before.extend(pax(b'x', &[("size", b"5")]));
    }));
    out.push(odd("mode", "below zero, of a device", |e| {
        e.flag = b'3';
        e.content.clear();
        e.fields.push((100, vec![0xff; 8]));
    }));
}

/// A header of an archive, with what it holds.
struct Part<'a> {
    flag: u8,
    data: &'a [u8],
}

impl Part<'_> {
    fn is_extended(&self) -> bool {
        matches!(self.flag, b'x' | b'X')
    }

    fn is_long(&self) -> bool {
        matches!(self.flag, b'L' | b'K')
    }

    fn has(&self, text: &str) -> bool {
        self.data.windows(text.len()).any(|part| part == text.as_bytes())
    }

    /// Whether these are no records in order.
    fn is_broken(&self) -> bool {
        let at = |text: &[u8]| self.data.windows(text.len()).position(|part| part == text);
        if at(b"GNU.sparse.numbytes")
            .is_some_and(|n| at(b"GNU.sparse.offset").is_none_or(|offset| n < offset))
        {
            return true;
        }
        let mut rest = self.data;
        while !rest.is_empty() {
            let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
            let length = std::str::from_utf8(&rest[..digits])
                .ok()
                .and_then(|n| n.parse().ok());
            let record = length
                .and_then(|n: usize| rest.get(digits..n))
                .unwrap_or_default();
            let key = record
                .strip_prefix(b" ")
                .and_then(|r| r.split(|&c| c == b'=').next());
            let is_key =
                key.is_some_and(|key| !key.is_empty() && !key.contains(&0) && key.len() < record.len() - 1);
            let is_text = matches!(key, Some(b"path" | b"linkpath" | b"uname"));
            if !is_key || !record.ends_with(b"\n") || (is_text && record.contains(&0)) {
                return true;
            }
            rest = &rest[digits + record.len()..];
        }
        false
    }
}

/// The headers of an entry, its own last.
fn parts(entry: &Entry) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = entry.before.as_slice();
    while rest.len() >= 512 {
        let size = std::str::from_utf8(&rest[124..135]).expect("octal");
        let size = usize::from_str_radix(size, 8).expect("octal");
        let data = &rest[512..(512 + size).min(rest.len())];
        out.push(Part {
            flag: rest[156],
            data,
        });
        rest = &rest[(512 + size.next_multiple_of(512)).min(rest.len())..];
    }
    let (flag, data) = (entry.flag, entry.content.as_slice());
    out.push(Part { flag, data });
    out
}

/// What is odd about the entries of an archive taken together, of which so much was chosen.
pub fn found(entries: &[Entry], chosen: &[Odd]) -> Vec<Odd> {
    let mut out = Vec::new();
    let parts: Vec<Part<'_>> = entries.iter().flat_map(parts).collect();
    let is_header = |part: &Part<'_>| part.is_extended() || part.is_long() || part.flag == b'g';
    for group in parts.split_inclusive(|part| !is_header(part)) {
        out.extend(of_headers(group));
    }
    out.extend(entries.iter().flat_map(of_entry));
    out.extend(of_all(&parts));
    let is_more =
        |(subject, value): &Odd| subject == "old sparse map" || value.ends_with("more than the content");
    let has_map = |part: &Part<'_>| part.flag == b'S' || part.has("GNU.sparse.");
    let is_cut = parts.iter().any(|part| part.has(" size=")) || entries.iter().any(Entry::has_own_size);
    if is_cut && parts.iter().any(has_map) {
        out.push(said("sparse map", "of the padding too"));
    }
    if entries.iter().any(|e| e.header()[108] >= 0x80) && parts.iter().any(|p| p.has(" uid=")) {
        out.push(said("PAX uid", "over one out of range"));
    }
    if chosen.iter().any(is_more) {
        out.push(said("sparse map", "of the next entry too"));
    }
    if entries.len() > 1 && out.contains(&said("sparse map", "of a header without magic")) {
        out.push(said("sparse map", "of a header without magic, before garbage"));
    }
    if parts.iter().any(Part::is_extended) && entries.iter().any(|e| e.flag == b'1' && states_size(e)) {
        out.push(said("size of a link", "behind an extended header"));
    }
    out
}

fn said(subject: &str, value: &str) -> Odd {
    (subject.to_owned(), value.to_owned())
}

/// What is odd about headers and what they speak of, which is the last of them.
fn of_headers(parts: &[Part<'_>]) -> Vec<Odd> {
    let mut out = Vec::new();
    for (at, first) in parts.iter().enumerate() {
        let behind = &parts[at + 1..];
        let extended = |part: &Part<'_>| part.is_extended();
        if first.is_extended() && behind.iter().any(extended) {
            out.push(said("headers", "owner, owner"));
            if first.is_broken() {
                out.push(said("headers", "broken, owner"));
            }
        }
        if first.is_long() && behind.iter().any(|p| p.is_extended() && p.is_broken()) {
            out.push(said("headers", "long target, broken"));
        }
        for (flag, key, subject, value) in [
            (b'K', " linkpath=", "long target", "and linkpath"),
            (b'L', " path=", "headers", "long name, path"),
        ] {
            let is_of_key = |p: &&Part<'_>| p.is_extended() && p.has(key);
            // For a path its place matters.
            let others = if flag == b'K' { parts } else { behind };
            let Some(other) = others.iter().find(is_of_key).filter(|_| first.flag == flag) else {
                continue;
            };
            out.push(said(subject, value));
            if other.data.contains(&0) {
                out.push(said(subject, &format!("{value} with a NUL")));
            }
        }
        if first.is_extended() && first.has(" path=") && behind.iter().any(|p| p.flag == b'L') {
            out.push(said("headers", "path, long name"));
        }
    }
    let has_map = parts.iter().any(|p| p.is_extended() && p.has("GNU.sparse."));
    match parts.last() {
        Some(last) if has_map && last.flag == b'V' => {
            out.push(said("headers", "sparse map, volume"));
            out.push(said("sparse map", "of the next entry too"));
        }
        Some(last) if has_map && last.data.len() < 512 => out.push(said("sparse map", "of the padding too")),
        _ => (),
    }
    out
}

/// What is odd about one entry.
fn of_entry(entry: &Entry) -> Vec<Odd> {
    let parts = parts(entry);
    let names = parts.iter().filter_map(|part| match part.flag {
        b'x' => Some("owner"),
        b'X' => Some("Solaris path"),
        b'L' => Some("long name"),
        b'g' => Some("global owner"),
        b'V' => Some("volume"),
        _ => None,
    });
    let names: Vec<&str> = names.collect();
    let pairs = names.windows(2).map(|pair| said("headers", &pair.join(", ")));
    let mut out: Vec<Odd> = pairs.collect();
    let is_special = matches!(entry.flag, b'2' | b'3' | b'4' | b'6');
    let is_device = matches!(entry.flag, b'3' | b'4');
    let mut add = |holds, subject, value: &str| {
        if holds {
            out.push(said(subject, value));
        }
    };
    add(
        is_special && parts.iter().any(|p| p.has(".xattr.")),
        "xattr",
        "of a fifo",
    );
    let has_map = parts.iter().any(|p| p.has("GNU.sparse."));
    let is_of_libarchive = parts.iter().any(|p| p.has("LIBARCHIVE.xattr."));
    let is_empty = parts.iter().any(|p| p.has(".xattr.user.a=\n"));
    add(is_special && is_of_libarchive, "xattr of a fifo", "of libarchive");
    add(is_special && is_empty, "xattr of a fifo", "empty");
    let of_type = format!("of type {}", char::from(entry.flag));
    add(has_map, "sparse map", &of_type);
    add(true, "type", &entry.flag.escape_ascii().to_string());
    let is_whiteout = entry.name.starts_with(b".wh.");
    add(
        is_whiteout && has_map,
        "type of a whiteout",
        "S with a broken map",
    );
    let has_prefix = entry.header()[345..348] == *b"pre";
    add(
        is_whiteout && entry.header()[345] != 0,
        "type of a whiteout",
        "0 with a prefix",
    );
    let is_file = !matches!(entry.flag, b'1'..=b'6' | 0);
    let is_named_dir = parts.iter().any(|p| p.flag == b'L' && p.data.ends_with(b"/\0"));
    let value = if entry.content.is_empty() {
        "slash at the end, no content"
    } else {
        "slash at the end"
    };
    add(is_file && is_named_dir, "long name", value);
    let states_spaces = entry.header()[124..136] == [b' '; 12];
    add(
        states_spaces && parts.iter().any(|p| p.has(" size=")),
        "PAX size",
        "over spaces",
    );
    let has_slash = entry.name.ends_with(b"/");
    add(
        has_slash && entry.flag == b'0',
        "name",
        "slash at the end, type 0",
    );
    add(
        entry.content.is_empty() && states_size(entry) && has_slash,
        "size without content",
        "with a slash",
    );
    let is_below_zero = entry.header()[124] == 0xff;
    add(
        matches!(entry.flag, b'1'..=b'6') && is_below_zero,
        "size of a fifo",
        "all bits",
    );
    let is_star = entry.header()[508..511] == *b"tar";
    add(entry.flag == b'S' && is_star, "sparse map", "of the padding too");
    let mode = &entry.header()[100..107];
    add(
        is_device && (mode[0] == 0xff || mode == b"7777777"),
        "mode",
        "below zero, of a device",
    );
    let no_file = format!("below zero, type {}", char::from(entry.flag));
    add(
        parts.iter().any(|p| p.has(" size=-")),
        "PAX size of no file",
        &no_file,
    );
    let no_file = format!("5, type {}", char::from(entry.flag));
    add(
        parts.iter().any(|p| p.has(" size=")),
        "PAX size of no file",
        &no_file,
    );
    add(
        entry.content.is_empty() && states_size(entry),
        "size without content",
        "\\x00",
    );
    for key in ["GNU.sparse.size", "GNU.sparse.realsize"] {
        let has_size = parts.iter().any(|p| p.has(key));
        let value = format!("more than the content, {key}");
        add(has_size && entry.content.is_empty(), "GNU.sparse.size", &value);
        let value = format!("less than the content, {key}");
        add(has_size && entry.content.len() > 5, "GNU.sparse.size", &value);
    }
    let has_magic = entry.magic.starts_with(b"ustar\0");
    add(has_map && !has_magic, "sparse map", "of a header without magic");
    let magic = MAGICS.iter().find(|(_, magic)| *magic == entry.magic);
    if let Some((magic, _)) = magic {
        add(is_device, "magic of a device", magic);
        add(has_prefix, "magic and prefix", magic);
    }
    out
}

/// What is odd about headers of different entries.
fn of_all(parts: &[Part<'_>]) -> Vec<Odd> {
    let mut out = Vec::new();
    if parts
        .iter()
        .any(|p| p.flag == b'g' && (p.has(" path=") || p.has("\tpath=")))
    {
        if parts.iter().any(|p| p.flag == b'L') {
            out.push(said("headers", "global path, long name"));
        }
        if parts.iter().any(|p| p.flag == b'1') {
            out.push(said("target of a link", "what never comes, of a name that does"));
        }
    }
    out
}

/// Whether the size field of an entry is not 0.
fn states_size(entry: &Entry) -> bool {
    entry.header()[124..136]
        .iter()
        .any(|c| matches!(c, b'1'..=b'9' | 0x80..))
}
