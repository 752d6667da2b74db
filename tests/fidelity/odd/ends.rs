// SPDX-License-Identifier: Apache-2.0
//! Ways for an archive to end.

use super::entry::{Entry, meta, pax};

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
