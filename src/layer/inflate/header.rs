// SPDX-License-Identifier: Apache-2.0
//! The header of a gzip member, read and left behind. Spec: RFC 1952.

use std::io::{self, BufRead};

use zlib_rs::crc32::crc32;

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Number of deflate, the only method that there is.
const DEFLATE: u8 = 8;

// Flags of what follows the fixed part.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// Reads the header of a member; returns its size in bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if there is none, or one of another version; those of the reader.
pub(super) fn skip(input: &mut impl BufRead) -> io::Result<u64> {
    let mut header = Header {
        input,
        read: 0,
        crc: 0,
    };
    let [first, second, method, flags, _time @ .., _level, _system] = header.bytes::<10>()?;
    if [first, second] != MAGIC || method != DEFLATE || flags & RESERVED != 0 {
        return Err(invalid("invalid gzip header"));
    }
    if flags & EXTRA != 0 {
        let size = u16::from_le_bytes(header.bytes()?);
        header.pass(|_, passed| usize::from(size) - passed)?;
    }
    for field in [NAME, COMMENT] {
        if flags & field != 0 {
            header.pass_text()?;
        }
    }
    if flags & HEADER_CRC != 0 {
        let want = header.crc as u16;
        if u16::from_le_bytes(header.bytes()?) != want {
            return Err(invalid("the gzip header has another checksum than it says"));
        }
    }
    Ok(header.read)
}

pub(super) fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A header while it is read.
struct Header<'a, R> {
    input: &'a mut R,
    read: u64,
    crc: u32,
}

impl<R: BufRead> Header<'_, R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut out = [0; N];
        self.input.read_exact(&mut out)?;
        self.read += N as u64;
        self.crc = crc32(self.crc, &out);
        Ok(out)
    }

    /// Passes over bytes until `wanted`, which is told what comes next and how much was passed, wants no more.
    fn pass(&mut self, wanted: impl Fn(&[u8], usize) -> usize) -> io::Result<()> {
        let mut passed = 0;
        loop {
            let next = self.input.fill_buf()?;
            let wanted = wanted(next, passed);
            if wanted == 0 {
                return Ok(());
            }
            let n = wanted.min(next.len());
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.crc = crc32(self.crc, &next[..n]);
            self.input.consume(n);
            self.read += n as u64;
            passed += n;
        }
    }

    /// Passes over a text that ends with a zero, of any size: nothing of it is kept.
    fn pass_text(&mut self) -> io::Result<()> {
        self.pass(|next, _| {
            next.iter()
                .position(|&byte| byte == 0)
                .unwrap_or(next.len().max(1))
        })?;
        self.bytes::<1>().map(drop)
    }
}
