// SPDX-License-Identifier: Apache-2.0
//! Tests of layers that are compressed.

use std::io::{self, Read as _, Write as _};

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::layer::compress::{BLOCK, Encoder};
use crate::layer::{LayerStream, Limits};
use crate::spec::Compression;

/// Text that compresses somewhat, several blocks of it.
pub(crate) fn text(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..size)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at % 3 == 0 {
                (state >> 24) as u8 & 15
            } else {
                b'a'
            }
        })
        .collect()
}

pub(crate) fn encode(compression: Compression, text: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).expect("encoder");
    encoder.write_all(text).expect("write");
    encoder.finish().expect("finish").0
}

pub(crate) fn decode(compression: Compression, blob: Vec<u8>) -> Result<Vec<u8>> {
    let limits = Limits::default();
    let mut stream = LayerStream::open(io::Cursor::new(blob), compression, Algorithm::Sha256, &limits)?;
    let mut out = Vec::new();
    stream.read_to_end(&mut out)?;
    let layer = stream.finish()?;
    assert_eq!(
        (layer.digest, layer.size),
        (Digest::sha256(&out), out.len() as u64)
    );
    Ok(out)
}

#[test]
fn every_compression_round_trips() {
    for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17] {
        let text = text(size);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let blob = encode(compression, &text);
            assert!(
                decode(compression, blob).expect("decode") == text,
                "{compression:?} {size}"
            );
        }
    }
}

#[test]
fn the_bytes_are_the_same_for_any_number_of_threads_and_gzip_is_one_member() {
    let text = text(40 * BLOCK + 5);
    let zstd = encode(Compression::Zstd, &text);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("pool");
        pool.install(|| {
            assert!(encode(Compression::Zstd, &text) == zstd, "{threads} threads");
            encode(Compression::Gzip, &text)
        })
    };
    let one = with(1);
    assert!(one == with(3) && one == with(8));
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(one.as_slice())
        .read_to_end(&mut out)
        .expect("one member");
    assert!(out == text);
}
