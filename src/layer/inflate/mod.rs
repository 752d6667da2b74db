// SPDX-License-Identifier: Apache-2.0
//! gzip: its text, in one pass, from any place on, or on all cores.
//!
//! A *checkpoint* is a place between two blocks at which decoding can begin: the bit at which the next block begins, and the last
//! 32 KiB of text before it, its *window*. All that a decoder does from there on follows from these two and from the bytes behind.
//!
//! Invariants: a text that came to its end without an error is what the checksums and sizes of all members say; the sizes that a header
//! declares take no memory. Checkpoints decide over no byte of a whole text, though they may be old or forged: `spans.rs` decodes the text
//! between two of them, and takes it only if that text begins at a place that is proven and ends at the next one with the window, checksum
//! and bit that stand there. The bit is found again from the bytes by `joint.rs`, not believed. The start of the gzip is proven; so each
//! text that is taken, by induction, is what a decoder gives that began there. At the first place that does not prove right, decoding goes
//! on from the last one that did, without checkpoints. Only [`Checkpoints::read_at`] believes them, and its caller checks what it reads.

mod checkpoints;
mod file;
mod gunzip;
mod header;
mod joint;
mod record;
mod spans;
#[cfg(test)]
mod tests;

pub use checkpoints::Checkpoints;
pub(super) use checkpoints::{Collector, Pressed, SPACING};
pub(super) use gunzip::{Gunzip, Sum};
pub(super) use joint::{WINDOW, WINDOW_BITS};
pub(super) use record::Recorder;
pub(super) use spans::Spans;
