// SPDX-License-Identifier: Apache-2.0
//! Layers compressed, on all cores.
//!
//! Invariants: the bytes do not depend on the number of threads; memory is bounded whatever the layer's size.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use zlib_rs::{Deflate, DeflateFlush, Status};

use super::inflate::{Checkpoints, Collector, Pressed, SPACING, Sum, WINDOW, WINDOW_BITS};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::Compression;

/// Bytes of a block that is compressed by itself.
pub(super) const BLOCK: usize = 1 << 20;

/// Maximum number of blocks that are compressed or wait at a time.
const MAX_RUNNING: usize = 32;

const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Maximum number of threads that compress zstd: each takes some 30 MiB.
const ZSTD_THREADS: usize = 3;

/// Compresses what is written to it.
#[derive(derive_more::Debug)]
#[debug("Encoder")]
pub struct Encoder<W: Write>(Encoding<W>);

enum Encoding<W: Write> {
    None(W),
    Gzip(Gzip<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Writes the compressed form to `inner`.
    pub fn new(inner: W, compression: Compression) -> Result<Self> {
        Ok(Self(match compression {
            Compression::None => Encoding::None(inner),
            Compression::Gzip => Encoding::Gzip(Gzip::new(inner)?),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(inner, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                // One thread or more: the bytes are the same, but others than those of none.
                encoder.multithread(rayon::current_num_threads().clamp(1, ZSTD_THREADS) as u32)?;
                Encoding::Zstd(encoder)
            }
        }))
    }

    /// Ends the stream and returns what it was written to, and the checkpoints of a gzip that is so large that they are of use.
    pub fn finish(self) -> Result<(W, Option<Checkpoints>)> {
        match self.0 {
            Encoding::None(inner) => Ok((inner, None)),
            Encoding::Gzip(gzip) => gzip.finish(),
            Encoding::Zstd(encoder) => Ok((encoder.finish()?, None)),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoding::None(inner) => inner.write(buf),
            Encoding::Gzip(gzip) => gzip.write(buf),
            Encoding::Zstd(encoder) => encoder.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// gzip as one member, whose blocks are compressed side by side while the next one is filled: each knows the text before
/// it, and each ends with a sync flush, so that the parts can be put together.
struct Gzip<W> {
    inner: W,
    /// The last text of the block before, then the block that is being filled.
    block: Vec<u8>,
    /// Number of bytes of `block` that are text of the block before.
    known: usize,
    /// Blocks that are being compressed, in order.
    running: VecDeque<Receiver<Result<Part>>>,
    most_running: usize,
    /// Number of blocks that were begun.
    begun: u64,
    /// Bytes that were written, and the bytes and the sum of their text.
    written: u64,
    text: u64,
    sum: Sum,
    checkpoints: Collector,
}

/// A block compressed.
struct Part {
    bytes: Vec<u8>,
    /// Sum and bytes of its text.
    sum: Sum,
    text: u64,
    /// The text before it, of a block that may be a checkpoint.
    window: Option<Pressed>,
}

impl Part {
    fn new(before: &[u8], text: &[u8], is_checkpoint: bool) -> Result<Self> {
        let mut sum = Sum::default();
        sum.add(text);
        Ok(Self {
            bytes: deflate(before, text)?,
            sum,
            text: text.len() as u64,
            window: is_checkpoint.then(|| Pressed::new(before)).transpose()?,
        })
    }
}

/// Header of a member: no name, no time, unknown system; nothing that differs between machines.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

impl<W: Write> Gzip<W> {
    fn new(mut inner: W) -> Result<Self> {
        inner.write_all(&HEADER)?;
        Ok(Self {
            inner,
            block: Vec::new(),
            known: 0,
            running: VecDeque::new(),
            most_running: (rayon::current_num_threads() * 2).clamp(1, MAX_RUNNING),
            begun: 0,
            written: HEADER.len() as u64,
            text: 0,
            sum: Sum::default(),
            checkpoints: Collector::new(),
        })
    }

    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.known + BLOCK - self.block.len();
        let n = room.min(buf.len());
        self.block.extend_from_slice(&buf[..n]);
        if n == room {
            self.compress()?;
        }
        Ok(n)
    }

    fn compress(&mut self) -> Result<()> {
        let mut next = Vec::with_capacity(WINDOW + BLOCK);
        next.extend_from_slice(&self.block[self.block.len().saturating_sub(WINDOW)..]);
        let known = std::mem::replace(&mut self.known, next.len());
        let block = std::mem::replace(&mut self.block, next);
        let (done, part) = sync_channel(1);
        let is_checkpoint = self.begun > 0 && (self.begun * BLOCK as u64).is_multiple_of(SPACING);
        self.begun += 1;
        rayon::spawn(move || {
            let (before, text) = block.split_at(known);
            let _ = done.send(Part::new(before, text, is_checkpoint));
        });
        self.running.push_back(part);
        while self.running.len() > self.most_running {
            self.put_first()?;
        }
        Ok(())
    }

    /// Waits for the first of the blocks and writes it.
    fn put_first(&mut self) -> Result<()> {
        let Some(part) = self.running.pop_front() else {
            return Ok(());
        };
        let part = loop {
            match part.try_recv() {
                Ok(part) => break Ok(part),
                // Inside the pool it may be on this very thread that the block has to be compressed.
                Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => {}
                Err(_) => break part.recv(),
            }
        };
        let Ok(part) = part else {
            fail!(Io, "a thread that compresses a layer has died");
        };
        let part = part?;
        if let Some(window) = part.window
            && self.checkpoints.is_due(self.text)
        {
            self.checkpoints
                .add_block(self.written, self.text, self.sum, window);
        }
        self.inner.write_all(&part.bytes)?;
        self.written += part.bytes.len() as u64;
        self.text += part.text;
        self.sum.append(part.sum);
        Ok(())
    }

    fn finish(mut self) -> Result<(W, Option<Checkpoints>)> {
        if self.block.len() > self.known {
            self.compress()?;
        }
        while !self.running.is_empty() {
            self.put_first()?;
        }
        // An empty last block, then checksum and size.
        let mut end = vec![3, 0];
        end.extend_from_slice(&self.sum.to_bytes());
        self.inner.write_all(&end)?;
        let checkpoints = self
            .checkpoints
            .finish(self.written + end.len() as u64, self.text);
        Ok((self.inner, checkpoints))
    }
}

fn deflate(dictionary: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut deflater = Deflate::new(GZIP_LEVEL, false, WINDOW_BITS);
    if !dictionary.is_empty() {
        deflater.set_dictionary(dictionary).map_err(failed)?;
    }
    let mut out = Vec::new();
    loop {
        let (read, written) = (deflater.total_in() as usize, deflater.total_out() as usize);
        out.resize(written + text.len() / 2 + 1024, 0);
        let status = deflater
            .compress(&text[read..], &mut out[written..], DeflateFlush::SyncFlush)
            .map_err(failed)?;
        let (read, written) = (deflater.total_in() as usize, deflater.total_out() as usize);
        let has_room = written < out.len();
        if read == text.len() && has_room {
            out.truncate(written);
            return Ok(out);
        }
        if status == Status::BufError && has_room {
            return Err(failed("no progress"));
        }
    }
}

fn failed(why: impl fmt::Debug) -> Error {
    Error::new(ErrorKind::Io, format!("compress: {why:?}"))
}
