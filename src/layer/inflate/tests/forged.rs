// SPDX-License-Identifier: Apache-2.0
//! Checkpoints that are not those of the blob: the text is the right one all the same.

use super::super::Checkpoints;
use super::super::checkpoints::{Checkpoint, Pressed};
use super::{layer_text, record, stream};
use crate::digest::Digest;
use crate::layer::tests::encode;
use crate::spec::Compression;

/// Changes checkpoints; `other` has those of another blob.
type Forge = fn(&mut Checkpoints, other: &Checkpoints);

fn forge_window(point: &mut Checkpoint, change: fn(&mut Vec<u8>)) {
    if let Some(inside) = &mut point.inside {
        let mut window = inside.window.window().expect("window");
        change(&mut window);
        inside.window = Pressed::new(&window).expect("compress");
    }
}

fn inside(points: &mut Checkpoints, number: usize) -> &mut super::super::checkpoints::Inside {
    points.points[number].inside.as_mut().expect("within a member")
}

const FORGED: [(&str, Forge); 18] = [
    ("a byte of a window", |points, _| {
        forge_window(&mut points.points[1], |window| window[31_000] ^= 1);
    }),
    ("a byte of the last window", |points, _| {
        let last = points.points.len() - 1;
        forge_window(&mut points.points[last], |window| window[0] ^= 1);
    }),
    ("a short window", |points, _| {
        forge_window(&mut points.points[0], |window| window.truncate(100));
    }),
    ("no window", |points, _| {
        forge_window(&mut points.points[0], Vec::clear)
    }),
    ("a window that is no zstd", |points, _| {
        inside(points, 1).window = Pressed(vec![9; 100]);
    }),
    ("a bit", |points, _| {
        let bit = &mut inside(points, 1).bit;
        *bit = (*bit + 1) % 8;
    }),
    ("a bit and its byte", |points, _| {
        points.points[1].input += 1;
        inside(points, 1).bit = 1;
    }),
    ("a checksum", |points, _| inside(points, 0).sum.crc ^= 1),
    ("a size", |points, _| inside(points, 0).sum.size ^= 1),
    ("the last checksum", |points, _| {
        let last = points.points.len() - 1;
        inside(points, last).sum.crc ^= 1;
    }),
    ("an offset of the blob", |points, _| points.points[1].input += 700),
    ("an offset of the text", |points, _| points.points[1].output += 1),
    ("an earlier offset of the text", |points, _| {
        points.points[0].output -= 1
    }),
    ("a member where none begins", |points, _| {
        points.points[1].inside = None
    }),
    ("windows of two places swapped", |points, _| {
        let window = inside(points, 0).window.clone();
        let other = std::mem::replace(&mut inside(points, 1).window, window);
        inside(points, 0).window = other;
    }),
    ("a place missing", |points, _| drop(points.points.remove(1))),
    ("a place behind the end", |points, _| {
        let mut behind = points.points[0].clone();
        behind.input += 1 << 40;
        behind.output += 1 << 40;
        points.text_size = behind.output;
        points.points.push(behind);
    }),
    ("those of another blob", |points, other| *points = other.clone()),
];

#[test]
fn forged_checkpoints_give_the_text_of_the_blob() {
    let text = layer_text(14 << 20);
    let blob = encode(Compression::Gzip, text);
    let points = record(&blob, text).expect("checkpoints");
    let mut other = text.to_vec();
    for byte in &mut other {
        *byte ^= 0x20;
    }
    let other = record(&encode(Compression::Gzip, &other), &other).expect("checkpoints");
    for (what, forge) in FORGED {
        let mut points = points.clone();
        forge(&mut points, &other);
        let (out, finished) = stream(blob.clone(), Some(points));
        assert!(out == text, "{what}");
        let finished = finished.expect(what);
        assert_eq!(finished.digest, Digest::sha256(text), "{what}");
        // Without a place the next one proves right as well.
        assert_eq!(finished.is_stale, what != "a place missing", "{what}");
    }
}

#[test]
fn files_that_are_cut_altered_or_foreign_are_refused() {
    let text = layer_text(9 << 20);
    let blob = encode(Compression::Gzip, text);
    let digest = Digest::sha256(&blob);
    let file = record(&blob, text).expect("checkpoints").encode(&digest);
    assert!(Checkpoints::decode(&file, &Digest::sha256(b"other")).is_err());
    assert!(Checkpoints::decode(b"", &digest).is_err());
    for at in (0..file.len()).step_by(97) {
        let mut changed = file.clone();
        changed[at] ^= 4;
        assert!(Checkpoints::decode(&changed, &digest).is_err(), "altered at {at}");
        assert!(Checkpoints::decode(&file[..at], &digest).is_err(), "cut at {at}");
    }
}

/// A block that is stored may begin at several bits, of which the last bit says whether it is the last one: 64 KiB later.
#[test]
fn a_forged_bit_of_a_stored_block_is_found_out() {
    let text = layer_text(9 << 20);
    let mut state = 5_u64;
    let noise: Vec<u8> = text
        .iter()
        .map(|byte| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(u64::from(*byte) | 1);
            (state >> 40) as u8
        })
        .collect();
    let blob = encode(Compression::Gzip, &noise);
    let points = record(&blob, &noise).expect("checkpoints");
    for bit in 1..8 {
        let mut forged = points.clone();
        forged.points[0].input -= 1;
        forged.points[0].inside.as_mut().expect("inside").bit = bit;
        let (out, finished) = stream(blob.clone(), Some(forged));
        assert!(out == noise && finished.expect("whole").is_stale, "bit {bit}");
    }
}
