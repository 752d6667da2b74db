// SPDX-License-Identifier: Apache-2.0
//! The reader of gzip that notes checkpoints on its way.

use std::io::{self, BufRead, Read};

use super::checkpoints::{Checkpoint, Checkpoints, Collector, Inside, Pressed};
use super::gunzip::Stop;
use super::joint::{Finder, Found, LONG_PROBE, LOOKAHEAD, PROBE, WINDOW};
use super::{Gunzip, Sum};

/// The last text of a member, as far as a block may refer to it.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn new(window: Vec<u8>) -> Self {
        Self(window)
    }

    pub(super) fn add(&mut self, text: &[u8]) {
        let text = &text[text.len().saturating_sub(WINDOW)..];
        let stays = WINDOW.saturating_sub(text.len()).min(self.0.len());
        self.0.drain(..self.0.len() - stays);
        self.0.extend_from_slice(text);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn window(&self) -> &[u8] {
        &self.0
    }
}

/// The text of a gzip; checkpoints are left behind.
pub(in crate::layer) struct Recorder<R> {
    inner: Gunzip<R>,
    collector: Collector,
    finder: Finder,
    tail: Tail,
    /// Offset in the text.
    at: u64,
    candidate: Option<Candidate>,
}

/// The end of a block, whose bit is not known yet.
struct Candidate {
    used: u64,
    last: u8,
    output: u64,
    sum: Sum,
    window: Vec<u8>,
    /// The text behind it.
    text: Vec<u8>,
    /// Bytes of text that are waited for.
    wanted: usize,
}

impl<R: BufRead> Recorder<R> {
    /// Reads the gzip that `input` begins with, to its end.
    pub(in crate::layer) fn new(input: R) -> Self {
        Self {
            inner: Gunzip::new(input, 0),
            collector: Collector::new(),
            finder: Finder::new(),
            tail: Tail::default(),
            at: 0,
            candidate: None,
        }
    }

    /// Returns the checkpoints, once the text was read to its end.
    pub(in crate::layer) fn finish(self) -> Option<Checkpoints> {
        self.collector.finish(self.inner.used, self.at)
    }

    fn step(&mut self, buf: &mut [u8]) -> io::Result<(usize, Stop)> {
        let is_due = self.candidate.is_none() && self.collector.is_due(self.at);
        let room = self
            .candidate
            .as_ref()
            .map_or(buf.len(), |it| it.wanted - it.text.len());
        let room = room.min(buf.len());
        let (n, stop) = self.inner.step(&mut buf[..room], is_due)?;
        let text = &buf[..n];
        self.tail.add(text);
        self.at += n as u64;
        match stop {
            Stop::Piece => self.go_on(text)?,
            Stop::Block => self.begin(),
            Stop::Member | Stop::End => self.leave_member(),
        }
        if stop == Stop::Member && self.collector.is_due(self.at) {
            self.collector.add(Checkpoint {
                input: self.inner.used,
                output: self.at,
                inside: None,
            });
        }
        Ok((n, stop))
    }

    fn leave_member(&mut self) {
        self.candidate = None;
        self.inner.kept = None;
        self.tail.clear();
    }

    fn begin(&mut self) {
        self.inner.kept = Some(Vec::new());
        self.candidate = Some(Candidate {
            used: self.inner.used,
            last: self.inner.last,
            output: self.at,
            sum: self.inner.sum,
            window: self.tail.window().to_vec(),
            text: Vec::new(),
            wanted: PROBE,
        });
    }

    /// Adds text to the candidate, which becomes a checkpoint if there is enough to prove it.
    fn go_on(&mut self, text: &[u8]) -> io::Result<()> {
        let (Some(candidate), Some(kept)) = (&mut self.candidate, &self.inner.kept) else {
            return Ok(());
        };
        candidate.text.extend_from_slice(text);
        // The threads that prove it later see no more of the blob.
        let is_near = kept.len() < LOOKAHEAD;
        if is_near && candidate.text.len() < candidate.wanted {
            return Ok(());
        }
        let found = self
            .finder
            .find(&candidate.window, candidate.last, kept, &candidate.text);
        if is_near && found == Found::Unclear && candidate.wanted == PROBE {
            candidate.wanted = LONG_PROBE;
            return Ok(());
        }
        if let (true, Found::Bit(bit)) = (is_near, found) {
            let window = Pressed::new(&candidate.window)?;
            self.collector.add(Checkpoint {
                input: candidate.used - u64::from(bit > 0),
                output: candidate.output,
                inside: Some(Inside {
                    bit,
                    sum: candidate.sum,
                    window,
                }),
            });
        }
        self.candidate = None;
        self.inner.kept = None;
        Ok(())
    }
}

impl<R: BufRead> Read for Recorder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            match self.step(buf)? {
                (0, Stop::End) => break,
                (0, _) => {}
                (n, _) => return Ok(n),
            }
        }
        Ok(0)
    }
}
