// SPDX-License-Identifier: Apache-2.0
//! The reader of gzip: members one after another, zeros behind the last one tolerated.

use std::io::{self, BufRead, Read};

use zlib_rs::crc32::{crc32, crc32_combine};
use zlib_rs::{Inflate, InflateFlush, Status};

use super::header::{self, invalid};
use super::joint::{self, WINDOW_BITS};

/// The text of all members of a gzip.
#[derive(derive_more::Debug)]
#[debug("Gunzip")]
pub(in crate::layer) struct Gunzip<R> {
    input: R,
    inflate: Inflate,
    state: State,
    /// Sum of the text of this member so far.
    pub(super) sum: Sum,
    /// Offset in the gzip behind the last byte that was used.
    pub(super) used: u64,
    /// The last byte that was used.
    pub(super) last: u8,
    /// Bytes that were used since somebody wished to know them.
    pub(super) kept: Option<Vec<u8>>,
}

/// Part that comes next in the input.
enum State {
    Header,
    Body,
    Trailer,
    End,
    /// Bytes that are no deflate stream.
    Bad,
}

/// Why a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// No room is left, or another piece of the input has to be read.
    Piece,
    /// A block ended; the byte that was used last may belong to the next one in part.
    Block,
    /// A member ended, and another one follows.
    Member,
    /// All members ended.
    End,
}

/// Checksum and size of the text of a member, as its end has them: the size modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::layer) struct Sum {
    pub(super) crc: u32,
    pub(super) size: u32,
}

impl Sum {
    /// Adds the text that follows.
    pub(in crate::layer) fn add(&mut self, text: &[u8]) {
        self.crc = crc32(self.crc, text);
        self.size = self.size.wrapping_add(text.len() as u32);
    }

    /// Adds the text that follows and has this sum, of less than 4 GiB.
    pub(in crate::layer) fn append(&mut self, next: Self) {
        self.crc = crc32_combine(self.crc, next.crc, u64::from(next.size));
        self.size = self.size.wrapping_add(next.size);
    }

    /// Returns the end of a member.
    pub(in crate::layer) fn to_bytes(self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..4].copy_from_slice(&self.crc.to_le_bytes());
        out[4..].copy_from_slice(&self.size.to_le_bytes());
        out
    }
}

impl<R: BufRead> Gunzip<R> {
    /// Begins with the header of a member, which stands at `at` in the gzip, where `input` is.
    pub(in crate::layer) fn new(input: R, at: u64) -> Self {
        Self {
            input,
            inflate: Inflate::new(false, WINDOW_BITS),
            state: State::Header,
            sum: Sum::default(),
            used: at,
            last: 0,
            kept: None,
        }
    }

    /// Begins within a member: with the block at `bit` of the byte at `at` in the gzip, where `input` is. The text before has this
    /// sum, and ends with `window`.
    pub(super) fn resume(input: R, at: u64, bit: u8, sum: Sum, window: &[u8]) -> io::Result<Self> {
        let mut gunzip = Self::new(input, at);
        gunzip.state = State::Body;
        gunzip.sum = sum;
        let byte = if bit == 0 { None } else { Some(gunzip.byte()?) };
        joint::enter(&mut gunzip.inflate, window, bit, byte)
            .ok_or_else(|| invalid("no block begins here"))?;
        Ok(gunzip)
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        self.used += 1;
        Ok(byte[0])
    }

    /// Writes text to `out`, which has room, and returns how much, and why it ends: at the latest with the next block if
    /// `at_blocks` says so. An end of a block at which there is no more input or no more room may be passed over.
    pub(super) fn step(&mut self, out: &mut [u8], at_blocks: bool) -> io::Result<(usize, Stop)> {
        match self.state {
            State::Header => {
                self.begin_member()?;
                self.inflate(out, at_blocks)
            }
            State::Body => self.inflate(out, at_blocks),
            State::Trailer => Ok((0, self.end_member()?)),
            State::End => Ok((0, Stop::End)),
            State::Bad => {
                let why = self.inflate.error_message();
                Err(invalid(why.unwrap_or("corrupt deflate stream")))
            }
        }
    }

    fn begin_member(&mut self) -> io::Result<()> {
        self.used += header::skip(&mut self.input)?;
        self.inflate.reset(false);
        self.sum = Sum::default();
        self.state = State::Body;
        Ok(())
    }

    fn inflate(&mut self, out: &mut [u8], at_blocks: bool) -> io::Result<(usize, Stop)> {
        let flush = if at_blocks {
            InflateFlush::Block
        } else {
            InflateFlush::NoFlush
        };
        let input = self.input.fill_buf()?;
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, out, flush);
        let read = (self.inflate.total_in() - read) as usize;
        let written = (self.inflate.total_out() - written) as usize;
        if let Some(&last) = input[..read].last() {
            self.last = last;
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&input[..read]);
            }
        }
        let (is_cut, is_within) = (input.is_empty(), read < input.len() && written < out.len());
        self.input.consume(read);
        self.used += read as u64;
        self.sum.add(&out[..written]);
        let Ok(status) = status else {
            // The text before the fault is given on.
            self.state = State::Bad;
            return Ok((written, Stop::Piece));
        };
        match status {
            Status::StreamEnd => self.state = State::Trailer,
            _ if read == 0 && written == 0 && is_cut => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the gzip stream is cut",
                ));
            }
            _ if read == 0 && written == 0 => return Err(invalid("corrupt deflate stream")),
            // With input and room left it stops for nothing else.
            _ if at_blocks && is_within => return Ok((written, Stop::Block)),
            _ => {}
        }
        Ok((written, Stop::Piece))
    }

    fn end_member(&mut self) -> io::Result<Stop> {
        let mut trailer = [0; 8];
        self.input.read_exact(&mut trailer)?;
        self.used += 8;
        if trailer != self.sum.to_bytes() {
            return Err(invalid("a gzip member has another checksum or size than it says"));
        }
        // Another member may follow; zeros that pad the stream are tolerated, as gunzip does.
        if matches!(self.input.fill_buf()?.first(), Some(1..)) {
            self.state = State::Header;
            return Ok(Stop::Member);
        }
        self.skip_zeros()?;
        self.state = State::End;
        Ok(Stop::End)
    }

    fn skip_zeros(&mut self) -> io::Result<()> {
        while let buffer @ [_, ..] = self.input.fill_buf()? {
            if buffer.iter().any(|&c| c != 0) {
                fail!(Corrupt, "trailing garbage behind the gzip stream");
            }
            let n = buffer.len();
            self.input.consume(n);
            self.used += n as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            match self.step(buf, false)? {
                (0, Stop::End) => break,
                (0, _) => {}
                (n, _) => return Ok(n),
            }
        }
        Ok(0)
    }
}
