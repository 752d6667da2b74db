// SPDX-License-Identifier: Apache-2.0
//! The file of checkpoints: magic, version, digest of the blob, sizes, the places as differences, the windows, and a BLAKE3 of it all.
//! See docs/format.md.

use super::Sum;
use super::checkpoints::{Checkpoint, Checkpoints, Inside, MAX_POINTS, Pressed};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::layer::bad;

const MAGIC: &[u8; 8] = b"umociCPT";

/// Version of the format; files of another are made anew.
const VERSION: u64 = 1;

/// Bytes of the sum at the end.
const SUM: usize = 32;

/// Maximum size in bytes of a window as it is stored: zstd adds a little to what it cannot compress.
const MAX_WINDOW: usize = 33 * 1024;

/// Number that stands for the header of a member where else the bit of a block stands.
const MEMBER: u8 = 8;

fn damaged() -> Error {
    bad("damaged file of checkpoints")
}

pub(super) fn encode(points: &Checkpoints, blob: &Digest) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, VERSION);
    let name = blob.to_string();
    put(&mut out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    for number in [points.blob_size, points.text_size, points.points.len() as u64] {
        put(&mut out, number);
    }
    let (mut input, mut output) = (0, 0);
    for point in &points.points {
        put(&mut out, point.input - input);
        put(&mut out, point.output - output);
        (input, output) = (point.input, point.output);
        out.push(point.inside.as_ref().map_or(MEMBER, |inside| inside.bit));
        if let Some(Inside { sum, window, .. }) = &point.inside {
            out.extend_from_slice(&sum.to_bytes());
            put(&mut out, window.0.len() as u64);
        }
    }
    for inside in points.points.iter().filter_map(|point| point.inside.as_ref()) {
        out.extend_from_slice(&inside.window.0);
    }
    let sum = Digest::of(Algorithm::Blake3, &out);
    out.extend_from_slice(sum.as_bytes());
    out
}

pub(super) fn decode(bytes: &[u8], blob: &Digest) -> Result<Checkpoints> {
    let told = bytes.len().checked_sub(SUM).ok_or_else(damaged)?;
    let (told, sum) = bytes.split_at(told);
    if Digest::of(Algorithm::Blake3, told).as_bytes() != sum {
        return Err(damaged());
    }
    let mut rest = told.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let name = blob.to_string();
    if take(&mut rest)? != VERSION || take(&mut rest)? != name.len() as u64 {
        return Err(damaged());
    }
    rest = rest.strip_prefix(name.as_bytes()).ok_or_else(damaged)?;
    let [blob_size, text_size, count] = [(); 3].map(|()| take(&mut rest));
    let (blob_size, text_size, count) = (blob_size?, text_size?, count?);
    if count > MAX_POINTS as u64 {
        return Err(damaged());
    }
    let mut points: Vec<Checkpoint> = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..count {
        let last = points.last().map_or((0, 0), |point| (point.input, point.output));
        let (point, size) = read_point(&mut rest, last)?;
        if point.input > blob_size || point.output > text_size {
            return Err(damaged());
        }
        points.push(point);
        sizes.push(size);
    }
    for (point, size) in points.iter_mut().zip(sizes) {
        let (window, more) = rest.split_at_checked(size).ok_or_else(damaged)?;
        rest = more;
        if let Some(inside) = &mut point.inside {
            inside.window.0.extend_from_slice(window);
        }
    }
    if !rest.is_empty() {
        return Err(damaged());
    }
    Ok(Checkpoints {
        blob_size,
        text_size,
        points,
    })
}

/// Reads a place behind `last`, a pair of offsets; its window comes later, in as many bytes as is returned.
fn read_point(rest: &mut &[u8], last: (u64, u64)) -> Result<(Checkpoint, usize)> {
    let input = last.0.checked_add(take(rest)?).ok_or_else(damaged)?;
    // The text of two places differs, or none would be between them.
    let more = take(rest)?;
    let output = last
        .1
        .checked_add(more)
        .filter(|_| more > 0)
        .ok_or_else(damaged)?;
    let [bit] = take_array(rest)?;
    let mut size = 0;
    let inside = match bit {
        0..MEMBER => {
            let [crc, length] = [take_array(rest)?, take_array(rest)?].map(u32::from_le_bytes);
            size = usize::try_from(take(rest)?).map_err(|_| damaged())?;
            Some(Inside {
                bit,
                sum: Sum { crc, size: length },
                window: Pressed(Vec::new()),
            })
        }
        MEMBER => None,
        _ => return Err(damaged()),
    };
    if size > MAX_WINDOW {
        return Err(damaged());
    }
    Ok((
        Checkpoint {
            input,
            output,
            inside,
        },
        size,
    ))
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (array, more) = rest.split_first_chunk().ok_or_else(damaged)?;
    *rest = more;
    Ok(*array)
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn take(rest: &mut &[u8]) -> Result<u64> {
    take_array(rest).map(u64::from_le_bytes)
}
