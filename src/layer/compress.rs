// SPDX-License-Identifier: Apache-2.0
//! Layers compressed, on all cores.
//!
//! Invariants: the bytes do not depend on the number of threads; memory is bounded whatever the layer's size.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::Compression;

/// Bytes of a block that is compressed by itself, and of the text before it that it may refer to.
pub(super) const BLOCK: usize = 1 << 20;
const WINDOW: usize = 32 * 1024;

/// Maximum number of blocks that are compressed or wait at a time.
const MAX_RUNNING: usize = 32;

const GZIP_LEVEL: u32 = 6;
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

    /// Ends the stream and returns what it was written to.
    pub fn finish(self) -> Result<W> {
        match self.0 {
            Encoding::None(inner) => Ok(inner),
            Encoding::Gzip(gzip) => gzip.finish(),
            Encoding::Zstd(encoder) => Ok(encoder.finish()?),
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
    crc: Crc,
}

/// A block compressed, and the checksum of its text.
type Part = (Vec<u8>, Crc);

impl<W: Write> Gzip<W> {
    fn new(mut inner: W) -> Result<Self> {
        // No name, no time, unknown system: nothing that differs between machines.
        inner.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
        Ok(Self {
            inner,
            block: Vec::new(),
            known: 0,
            running: VecDeque::new(),
            most_running: (rayon::current_num_threads() * 2).clamp(1, MAX_RUNNING),
            crc: Crc::new(),
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
        rayon::spawn(move || {
            let (before, text) = block.split_at(known);
            let mut crc = Crc::new();
            crc.update(text);
            let _ = done.send(deflate(before, text).map(|bytes| (bytes, crc)));
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
        let (bytes, crc) = part?;
        self.inner.write_all(&bytes)?;
        self.crc.combine(&crc);
        Ok(())
    }

    fn finish(mut self) -> Result<W> {
        if self.block.len() > self.known {
            self.compress()?;
        }
        while !self.running.is_empty() {
            self.put_first()?;
        }
        // An empty last block, then checksum and size.
        self.inner.write_all(&[3, 0])?;
        self.inner.write_all(&self.crc.sum().to_le_bytes())?;
        self.inner.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.inner)
    }
}

fn deflate(dictionary: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut deflater = Compress::new(flate2::Compression::new(GZIP_LEVEL), false);
    if !dictionary.is_empty() {
        deflater.set_dictionary(dictionary).map_err(failed)?;
    }
    let mut out = Vec::with_capacity(text.len() / 2 + 1024);
    loop {
        let done = deflater.total_in() as usize;
        let status = deflater
            .compress_vec(&text[done..], &mut out, FlushCompress::Sync)
            .map_err(failed)?;
        let all_in = deflater.total_in() as usize == text.len();
        if all_in && out.len() < out.capacity() {
            return Ok(out);
        }
        if status == Status::BufError && out.len() < out.capacity() {
            return Err(failed("no progress"));
        }
        out.reserve(text.len() / 2 + 1024);
    }
}

fn failed(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("compress: {why}"))
}
