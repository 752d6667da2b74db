// SPDX-License-Identifier: Apache-2.0
//! Tests of gzip: texts in the forms that compressors give them, read in each of the ways.

mod forged;
mod forms;
mod programs;

use std::io::{BufReader, Cursor, Read as _};
use std::sync::LazyLock;

use super::{Checkpoints, Recorder};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::layer::Limits;
use crate::layer::decode::{Finished, LayerStream, StreamOptions};
use crate::spec::Compression;

/// Returns a text as layers have them: some that compresses well, some that does not, zeros. `size` is in bytes, of 20 MiB at most.
fn layer_text(size: usize) -> &'static [u8] {
    static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| make_text(20 << 20));
    &TEXT[..size]
}

fn make_text(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut out = Vec::with_capacity(size + 4096);
    while out.len() < size {
        let kind = random() % 8;
        let length = 64 + random() as usize % 150_000;
        match kind {
            0 => out.extend((0..length).map(|_| random() as u8)),
            1 => out.resize(out.len() + length, 0),
            _ => {
                while length > 0 && out.len() % 150_000 < length {
                    let from = random() as usize % out.len().max(1);
                    let to = (from + random() as usize % 60).min(out.len());
                    out.extend_from_within(from..to);
                    out.extend_from_slice(format!("{} ", random() % 5000).as_bytes());
                }
                out.push(b'\n');
            }
        }
    }
    out.truncate(size);
    out
}

/// Returns the checkpoints of a gzip, whose text is `text`.
fn record(blob: &[u8], text: &[u8]) -> Option<Checkpoints> {
    let mut recorder = Recorder::new(BufReader::with_capacity(64 * 1024, blob));
    let mut out = Vec::new();
    recorder.read_to_end(&mut out).expect("gzip");
    assert!(out == text, "the text that was read on the way");
    recorder.finish()
}

/// Reads a gzip through a stream with these checkpoints.
fn stream(blob: Vec<u8>, checkpoints: Option<Checkpoints>) -> (Vec<u8>, Result<Finished>) {
    let options = StreamOptions {
        checkpoints,
        ..StreamOptions::default()
    };
    let (blob, limits) = (Cursor::new(blob), Limits::default());
    let stream = LayerStream::open_with(blob, Compression::Gzip, Algorithm::Sha256, &limits, options);
    let mut stream = stream.expect("open");
    let mut out = Vec::new();
    stream.read_to_end(&mut out).expect("errors come at the end");
    (out, stream.finish())
}

/// Reads `blob` in each way that there is, and compares with `text`: in order, on all cores, and at places of all kinds.
fn check(what: &str, blob: &[u8], text: &[u8], want_checkpoints: bool) {
    let points = record(blob, text);
    assert_eq!(points.is_some(), want_checkpoints, "{what}: checkpoints");
    let Some(points) = points else {
        return;
    };
    check_points(what, blob, text, points, 100);
}

fn check_points(what: &str, blob: &[u8], text: &[u8], points: Checkpoints, reads: usize) {
    let digest = Digest::sha256(blob);
    let file = points.encode(&digest);
    assert!(
        file.len() * 100 <= blob.len(),
        "{what}: {} of {} bytes",
        file.len(),
        blob.len()
    );
    assert_eq!(Checkpoints::decode(&file, &digest).expect("own file"), points);
    let mut state = 7_u64;
    for number in 0..reads {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = (state >> 33) as usize;
        // Most reads are near a checkpoint, or the test would inflate gigabytes.
        let near = points.points.get(number % points.points.len());
        let offset = match (number, near) {
            (0, _) => 0,
            (1, _) => text.len(),
            (2, _) => text.len() + 5,
            (20.., Some(point)) => point.output as usize + random % 40_000,
            _ => random % text.len(),
        };
        let mut read = Vec::new();
        let at = points.read_at(Cursor::new(blob), offset as u64).expect("read");
        at.take(5000).read_to_end(&mut read).expect("read");
        let want = text.get(offset..).unwrap_or_default();
        assert!(read == want[..want.len().min(5000)], "{what}: at {offset}");
    }
    let (out, finished) = stream(blob.to_vec(), Some(points));
    let finished = finished.expect("whole");
    assert!(out == text, "{what}: decoded on all cores");
    assert_eq!(
        (finished.digest, finished.size),
        (Digest::sha256(text), text.len() as u64)
    );
    assert!(!finished.is_stale, "{what}: all checkpoints prove right");
}
