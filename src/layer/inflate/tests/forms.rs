// SPDX-License-Identifier: Apache-2.0
//! Forms of gzip that are made here.

use std::io::Write as _;

use zlib_rs::{Deflate, DeflateFlush, Status};

use super::super::Sum;
use super::{check, check_points, layer_text, stream};
use crate::error::ErrorKind;
use crate::layer::Encoder;
use crate::layer::tests::{decode, encode};
use crate::spec::Compression;

/// Compresses a text as raw deflate, with a flush of this kind after each part of `step` bytes.
fn deflate(text: &[u8], level: i32, step: usize, flush: DeflateFlush) -> Vec<u8> {
    let mut deflate = Deflate::new(level, false, 15);
    let mut out = vec![0; text.len() + text.len() / 8 + text.len() / step * 16 + 4096];
    let mut parts = text.chunks(step).peekable();
    while let Some(part) = parts.next() {
        let flush = if parts.peek().is_some() {
            flush
        } else {
            DeflateFlush::Finish
        };
        let written = deflate.total_out() as usize;
        let status = deflate
            .compress(part, &mut out[written..], flush)
            .expect("deflate");
        assert!(parts.peek().is_some() || status == Status::StreamEnd);
    }
    out.truncate(deflate.total_out() as usize);
    out
}

/// Returns a gzip member with this header and body.
pub(super) fn member(header: &[u8], body: &[u8], text: &[u8]) -> Vec<u8> {
    let mut sum = Sum::default();
    sum.add(text);
    [header, body, &sum.to_bytes()].concat()
}

pub(super) const PLAIN: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

fn gzip(text: &[u8], level: i32) -> Vec<u8> {
    member(
        &PLAIN,
        &deflate(text, level, 1 << 30, DeflateFlush::NoFlush),
        text,
    )
}

/// Returns headers with all fields that there are, each with what it is called.
fn headers() -> [(&'static str, Vec<u8>); 5] {
    let with = |flags: u8, fields: &[u8]| {
        let mut header = PLAIN.to_vec();
        header[3] = flags;
        header.extend_from_slice(fields);
        if flags & 2 != 0 {
            header.extend_from_slice(&(zlib_rs::crc32::crc32(0, &header) as u16).to_le_bytes());
        }
        header
    };
    [
        ("name", with(8, b"layer.tar\0")),
        ("extra field", with(4, b"\x04\0abcd")),
        ("comment and text flag", with(17, b"a comment\0")),
        ("header checksum", with(2, b"")),
        ("all fields", with(31, b"\x02\0xyname\0comment\0")),
    ]
}

#[test]
fn every_level_is_read_at_every_place() {
    let text = layer_text(14 << 20);
    for level in [0, 2, 6, 9] {
        check(&format!("level {level}"), &gzip(text, level), text, true);
    }
    // The level 1 of zlib-rs makes one block of it all.
    check("one block", &gzip(text, 1), text, false);
}

#[test]
fn flushed_blocks_begin_at_bytes() {
    let text = layer_text(9 << 20);
    for (flush, step) in [
        (DeflateFlush::SyncFlush, 100_000),
        (DeflateFlush::FullFlush, 131_072),
    ] {
        let blob = member(&PLAIN, &deflate(text, 6, step, flush), text);
        check(&format!("{flush:?}"), &blob, text, true);
    }
}

#[test]
fn several_members_are_one_text() {
    let text = layer_text(12 << 20);
    for size in [1000, 1 << 20, 5 << 20] {
        let members: Vec<u8> = text.chunks(size).flat_map(|part| gzip(part, 6)).collect();
        check(&format!("members of {size} bytes"), &members, text, true);
        let padded = [members, vec![0; 5000]].concat();
        check("padded", &padded, text, true);
    }
}

#[test]
fn our_encoder_knows_its_checkpoints() {
    let text = layer_text((17 << 20) + 12_345);
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip).expect("encoder");
    encoder.write_all(text).expect("write");
    let (blob, points) = encoder.finish().expect("finish");
    let points = points.expect("checkpoints");
    assert!(points.points.len() >= 3, "{}", points.points.len());
    check_points("noted while written", &blob, text, points, 1000);
    check("noted while read", &blob, text, true);
}

#[test]
fn a_text_that_cannot_be_compressed_has_checkpoints_too() {
    let mut state = 1_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    let text: Vec<u8> = (0..10 << 20).map(next).collect();
    let mut encoder = Encoder::new(Vec::new(), Compression::Gzip).expect("encoder");
    encoder.write_all(&text).expect("write");
    let (blob, points) = encoder.finish().expect("finish");
    check_points(
        "noted while written",
        &blob,
        &text,
        points.expect("checkpoints"),
        100,
    );
    check("noted while read", &blob, &text, true);
}

#[test]
fn checkpoints_that_would_not_pay_are_left_out() {
    let small = layer_text(3 << 20);
    check("small", &encode(Compression::Gzip, small), small, false);
    check("empty", &encode(Compression::Gzip, b""), b"", false);
    let zeros = vec![0; 6 << 20];
    check("zeros", &gzip(&zeros, 6), &zeros, false);
}

#[test]
fn headers_are_read_and_left_behind() {
    let text = layer_text(9 << 20);
    let body = deflate(text, 6, 1 << 30, DeflateFlush::NoFlush);
    for (what, header) in headers() {
        check(what, &member(&header, &body, text), text, true);
        let short = member(&header, &deflate(b"x", 6, 1 << 30, DeflateFlush::NoFlush), b"x");
        assert_eq!(decode(Compression::Gzip, short).expect(what), b"x");
    }
}

#[test]
fn bad_headers_and_ends_are_errors() {
    let good = gzip(b"some text", 6);
    let changed = |at: usize, byte: u8| {
        let mut blob = good.clone();
        blob[at] = byte;
        blob
    };
    let [.., (_, checked), (_, all)] = headers();
    let mut wrong_sum = member(&checked, &good[10..good.len() - 8], b"some text");
    wrong_sum[4] ^= 1;
    let end = good.len();
    let table = [
        ("another method", changed(2, 7)),
        ("reserved flags", changed(3, 0x40)),
        ("another header checksum", wrong_sum),
        ("cut in the header", all[..all.len() - 1].to_vec()),
        (
            "cut in a name",
            [&PLAIN[..3], &[8, 0, 0, 0, 0, 0, 3], b"endless"].concat(),
        ),
        (
            "cut in an extra field",
            [&PLAIN[..3], &[4, 0, 0, 0, 0, 0, 3], b"\xff\xff"].concat(),
        ),
        ("cut in the body", good[..end - 9].to_vec()),
        ("cut in the end", good[..end - 3].to_vec()),
        ("another checksum", changed(end - 8, good[end - 8] ^ 1)),
        ("another size", changed(end - 1, 1)),
        ("a second member of nothing", [&good[..], &PLAIN[..5]].concat()),
    ];
    for (what, blob) in table {
        let err = decode(Compression::Gzip, blob).expect_err(what);
        assert_eq!(err.kind(), ErrorKind::Corrupt, "{what}: {err}");
    }
}

#[test]
fn a_damaged_blob_with_checkpoints_gives_the_error_that_it_gives_without() {
    let text = layer_text(13 << 20);
    let good = gzip(text, 6);
    let points = super::record(&good, text).expect("checkpoints");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    let mut wrong_sum = good.clone();
    let end = good.len();
    wrong_sum[end - 8] ^= 1;
    for (what, blob) in [
        ("cut in the middle", good[..end / 2].to_vec()),
        ("cut at the end", good[..end - 4].to_vec()),
        ("a bit in the middle", flipped),
        ("another checksum", wrong_sum),
        ("garbage behind", [&good[..], b"garbage"].concat()),
        ("empty", Vec::new()),
    ] {
        let (plain, serial) = stream(blob.clone(), None);
        let (parallel, finished) = stream(blob, Some(points.clone()));
        assert_eq!(
            finished.expect_err(what).to_string(),
            serial.expect_err(what).to_string()
        );
        assert!(plain == parallel, "{what}: as much of the text");
    }
}
