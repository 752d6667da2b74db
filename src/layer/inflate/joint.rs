// SPDX-License-Identifier: Apache-2.0
//! The bit at which a block begins, found and entered. The inflater counts bytes; a block may begin within one.

use zlib_rs::{Inflate, InflateFlush, Status};

/// Base-2 logarithm of [`WINDOW`].
pub(in crate::layer) const WINDOW_BITS: u8 = 15;

/// Bytes of text before a block that it may refer to.
pub(in crate::layer) const WINDOW: usize = 1 << WINDOW_BITS;

/// Bytes of text behind a block's beginning that tell at which bit it begins.
pub(super) const PROBE: usize = 4 * 1024;

/// As [`PROBE`], where it may be a stored block: 64 KiB of text say nothing of whether that is the last one.
pub(super) const LONG_PROBE: usize = 72 * 1024;

/// Bytes of input that give [`LONG_PROBE`] of text, unless there are blocks without any.
pub(super) const LOOKAHEAD: usize = 80 * 1024;

/// Bits of a dynamic block without text.
const EMPTY_BITS: usize = 93;

/// A dynamic block without text, from its lowest bit on. The codes of the lengths of codes: one bit for the length 1, one for
/// repeated zeros. The codes: one bit for the end of the block and for the distance 0.
const EMPTY_BLOCK: u128 = {
    let kind = 0b10 << 1;
    let count_of_length_codes = 15 << 13;
    let lengths = (1 << (17 + 3 * 2)) | (1 << (17 + 3 * 17));
    let zeros = (1 << 74) | ((138 - 11) << 75) | (1 << 82) | ((118 - 11) << 83);
    kind | count_of_length_codes | lengths | zeros
};

/// Returns bytes that bring an inflater to this bit of `byte`, of which the bits from there on stand in the last one.
///
/// The interface cannot put single bits into the inflater. But 93 empty blocks, modulo 8, are any number of bits.
fn lead_in(bit: u8, byte: u8) -> Vec<u8> {
    // 93 modulo 8 is 5, whose inverse is 5.
    let blocks = usize::from(bit) * 5 % 8;
    let mut out = vec![0; blocks * EMPTY_BITS / 8 + 1];
    for at in (0..blocks * EMPTY_BITS).filter(|at| EMPTY_BLOCK >> (at % EMPTY_BITS) & 1 == 1) {
        out[at / 8] |= 1 << (at % 8);
    }
    if let Some(last) = out.last_mut() {
        *last |= byte & (0xff << bit);
    }
    out
}

/// Lets a new inflater go on behind a text that ends with `window`, with the block that begins at `bit` of `byte`, or, with no
/// byte, of the next one. `None` if there is no block.
pub(super) fn enter(inflate: &mut Inflate, window: &[u8], bit: u8, byte: Option<u8>) -> Option<()> {
    if !window.is_empty() {
        inflate.set_dictionary(window).ok()?;
    }
    if let Some(byte) = byte {
        let lead_in = lead_in(bit, byte);
        let status = inflate.decompress(&lead_in, &mut [], InflateFlush::NoFlush);
        if inflate.total_in() != lead_in.len() as u64 || !matches!(status, Ok(Status::Ok | Status::BufError))
        {
            return None;
        }
    }
    Some(())
}

/// The bit at which a block begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Its number in the byte that was used last; 0 for the first bit behind that byte.
    Bit(u8),
    /// More text is needed.
    Unclear,
}

/// The beginning of a stored block as far as an inflater that is behind it knows it: whether it is the last one, and whether its
/// content is told by the next byte or the one behind.
type Stored = (bool, bool);

/// Returns that of a block at this bit of `last`, or, for bit 0, of the byte behind; `None` for a block that is not stored.
fn stored(bit: u8, last: u8, next: u8) -> Option<Stored> {
    let unused = if bit == 0 { 0 } else { 8 - bit };
    let head = (u16::from_le_bytes([last, next]) >> (8 - unused)) & 0b111;
    (head >> 1 == 0).then_some((head & 1 == 1, unused >= 3))
}

/// Finds bits, by trial: the eight that there may be are tried on what follows, and the right one gives what the inflater gave that
/// came along.
pub(super) struct Finder {
    inflate: Inflate,
    text: Vec<u8>,
}

impl Finder {
    pub(super) fn new() -> Self {
        Self {
            inflate: Inflate::new(false, WINDOW_BITS),
            text: Vec::new(),
        }
    }

    /// Returns the bit at which the block began that an inflater met when it had used `last`, and behind a text that ends with
    /// `window`; then it made `text` of the bytes in `next`.
    ///
    /// This is a proof: an inflater is a function of the bit, the window and the bytes, and no other of the eight bits would have
    /// given that text, unless the inflater does the same from there on.
    pub(super) fn find(&mut self, window: &[u8], last: u8, next: &[u8], text: &[u8]) -> Found {
        let first = next.first().copied().unwrap_or_default();
        let fits: Vec<u8> = (0..8)
            .filter(|&bit| self.fits(window, bit, last, next, text))
            .collect();
        let Some((&found, others)) = fits.split_first() else {
            return Found::Unclear;
        };
        let kind = stored(found, last, first);
        if others
            .iter()
            .all(|&bit| kind.is_some() && stored(bit, last, first) == kind)
        {
            Found::Bit(found)
        } else {
            Found::Unclear
        }
    }

    fn fits(&mut self, window: &[u8], bit: u8, last: u8, next: &[u8], text: &[u8]) -> bool {
        self.inflate.reset(false);
        let byte = (bit > 0).then_some(last);
        if enter(&mut self.inflate, window, bit, byte).is_none() {
            return false;
        }
        self.text.resize(text.len(), 0);
        let (start, mut read) = (self.inflate.total_in(), 0);
        loop {
            let written = self.inflate.total_out() as usize;
            let status =
                self.inflate
                    .decompress(&next[read..], &mut self.text[written..], InflateFlush::NoFlush);
            let now = self.inflate.total_out() as usize;
            let is_stuck = now == written && (self.inflate.total_in() - start) as usize == read;
            read = (self.inflate.total_in() - start) as usize;
            if self.text[written..now] != text[written..now] || status.is_err() {
                return false;
            }
            if now == text.len() || is_stuck || status == Ok(Status::StreamEnd) {
                return now == text.len();
            }
        }
    }
}
