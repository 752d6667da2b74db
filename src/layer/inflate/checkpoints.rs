// SPDX-License-Identifier: Apache-2.0
//! Checkpoints of one gzip blob, and the choice of where they are.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zstd::bulk::{Compressor, Decompressor};

use super::file;
use super::joint::{LONG_PROBE, WINDOW};
use super::{Gunzip, Sum};
use crate::digest::Digest;
use crate::error::Result;
use crate::layer::decode_error;

/// Bytes of text between two checkpoints, at least.
pub(in crate::layer) const SPACING: u64 = 4 << 20;

/// Maximum number of checkpoints of a blob; where there would be more, every second one goes. Each takes some 11 KiB.
pub(super) const MAX_POINTS: usize = 2048;

/// Part of the blob, one of so many, that the file of its checkpoints may take.
const SHARE: u64 = 100;

/// Bytes of the file for its head, and for a checkpoint beside its window.
const HEAD_COST: u64 = 256;
const POINT_COST: u64 = 33;

/// Level at which windows are compressed.
const ZSTD_LEVEL: i32 = 3;

/// Bytes of the buffer of a random read.
const BUFFER: usize = 64 * 1024;

/// A place in a gzip at which decoding can begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::layer) struct Checkpoint {
    /// Offset in the gzip of the byte in which the block begins, or of the header of a member.
    pub(super) input: u64,
    /// Offset in the text.
    pub(super) output: u64,
    /// The state of the decoder; `None` before the header of a member.
    pub(super) inside: Option<Inside>,
}

/// The state of a decoder between two blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Inside {
    /// Bit of the byte at which the block begins, from the lowest one.
    pub(super) bit: u8,
    /// Sum of the text of the member so far.
    pub(super) sum: Sum,
    pub(super) window: Pressed,
}

/// A window, compressed by zstd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::layer) struct Pressed(pub(super) Vec<u8>);

impl Pressed {
    /// Compresses a window of at most 32 KiB.
    pub(in crate::layer) fn new(window: &[u8]) -> Result<Self> {
        Ok(Self(Compressor::new(ZSTD_LEVEL)?.compress(window)?))
    }

    /// Returns the window.
    ///
    /// # Errors
    /// Those of zstd, of a window that was read from a file.
    pub(super) fn window(&self) -> io::Result<Vec<u8>> {
        Decompressor::new()?.decompress(&self.0, WINDOW)
    }
}

impl Checkpoint {
    /// Begins to decode here, where `input` is.
    pub(super) fn resume<R: io::BufRead>(&self, input: R) -> io::Result<Gunzip<R>> {
        match &self.inside {
            None => Ok(Gunzip::new(input, self.input)),
            Some(inside) => {
                let window = inside.window.window()?;
                Gunzip::resume(input, self.input, inside.bit, inside.sum, &window)
            }
        }
    }

    /// Returns the beginning of a gzip.
    pub(super) fn start() -> Self {
        Self {
            input: 0,
            output: 0,
            inside: None,
        }
    }
}

/// Places in one gzip blob at which decoding can begin, in order. There are none in a small one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoints {
    /// Size of the blob in bytes.
    pub(super) blob_size: u64,
    /// Size of the text in bytes.
    pub(super) text_size: u64,
    pub(super) points: Vec<Checkpoint>,
}

impl Checkpoints {
    /// Returns the file that keeps them: at most 1 % of the blob.
    pub fn encode(&self, blob: &Digest) -> Vec<u8> {
        file::encode(self, blob)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is cut, altered or of another version, or not about `blob`.
    pub fn decode(bytes: &[u8], blob: &Digest) -> Result<Self> {
        file::decode(bytes, blob)
    }

    /// Returns the text of the blob from `offset` on, which is empty behind its end. At most the text between two checkpoints is decoded
    /// before it. Nothing is verified but the checksum at the end of a member: the caller knows a digest of what it reads.
    ///
    /// # Errors
    /// Those of the blob, and [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if decoding cannot begin there.
    pub fn read_at<R: Read + Seek>(&self, mut blob: R, offset: u64) -> Result<impl Read + use<R>> {
        let behind = self.points.partition_point(|point| point.output <= offset);
        let start = Checkpoint::start();
        let point = self.points[..behind].last().unwrap_or(&start);
        blob.seek(SeekFrom::Start(point.input))?;
        let mut text = point
            .resume(BufReader::with_capacity(BUFFER, blob))
            .map_err(decode_error)?;
        skip(&mut text, offset - point.output).map_err(decode_error)?;
        Ok(text)
    }

    /// Returns the size of the text in bytes.
    pub(in crate::layer) fn text_size(&self) -> u64 {
        self.text_size
    }

    /// Returns the offset in the blob of what stands at this offset of the text, to within some KiB: the text between two checkpoints is
    /// taken to be compressed evenly.
    pub fn blob_offset(&self, offset: u64) -> u64 {
        let behind = self.points.partition_point(|point| point.output <= offset);
        let before = self.points[..behind].last();
        let (input, output) = before.map_or((0, 0), |point| (point.input, point.output));
        let next = self.points.get(behind);
        let (next_input, next_output) = next.map_or((self.blob_size, self.text_size), |point| {
            (point.input, point.output)
        });
        let (span, text) = (
            next_input.saturating_sub(input),
            next_output.saturating_sub(output),
        );
        let share = u128::from(offset.saturating_sub(output)) * u128::from(span) / u128::from(text.max(1));
        input + (share as u64).min(span)
    }
}

/// Passes over text, in pieces that inflate well.
fn skip(text: &mut impl Read, count: u64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut text = text.take(count);
    while text.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Chooses checkpoints while a blob is read or written.
#[derive(Debug)]
pub(in crate::layer) struct Collector {
    found: Checkpoints,
    /// Offset in the text from which on another one is due.
    due: u64,
    spacing: u64,
    /// Size of the file so far.
    cost: u64,
}

impl Collector {
    pub(in crate::layer) fn new() -> Self {
        Self {
            found: Checkpoints::default(),
            due: SPACING,
            spacing: SPACING,
            cost: HEAD_COST,
        }
    }

    /// Returns whether a checkpoint at this offset of the text is of use.
    pub(in crate::layer) fn is_due(&self, output: u64) -> bool {
        output >= self.due
    }

    /// Adds a block that begins with a byte of the blob.
    pub(in crate::layer) fn add_block(&mut self, input: u64, output: u64, sum: Sum, window: Pressed) {
        let inside = Some(Inside { bit: 0, sum, window });
        self.add(Checkpoint {
            input,
            output,
            inside,
        });
    }

    /// Adds a place that is due, unless the file would become too large for the blob.
    pub(super) fn add(&mut self, point: Checkpoint) {
        let window = point.inside.as_ref().map_or(0, |inside| inside.window.0.len());
        let cost = self.cost + POINT_COST + window as u64;
        if cost > point.input / SHARE {
            // Text that is compressed well: there may be room a little later.
            self.due = point.output + self.spacing / 4;
            return;
        }
        self.cost = cost;
        self.due = point.output + self.spacing;
        self.found.points.push(point);
        if self.found.points.len() > MAX_POINTS {
            self.spacing *= 2;
            let mut number = 0;
            self.found.points.retain(|_| {
                number += 1;
                number % 2 == 0
            });
        }
    }

    /// Returns what was chosen, for a blob of these sizes; `None` if nothing was.
    pub(in crate::layer) fn finish(mut self, blob_size: u64, text_size: u64) -> Option<Checkpoints> {
        // Too little text follows on such a place to prove it.
        let points = &mut self.found.points;
        let proven = points.partition_point(|point| point.output + LONG_PROBE as u64 <= text_size);
        points.truncate(proven);
        self.found.blob_size = blob_size;
        self.found.text_size = text_size;
        (!self.found.points.is_empty()).then_some(self.found)
    }
}
