// SPDX-License-Identifier: Apache-2.0
//! Pieces of a text on their way between threads.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of one buffer between threads.
pub(super) const CHUNK: usize = 256 * 1024;

/// A piece of the text, whose buffer goes back to be filled again: fresh pages are dear.
#[derive(Debug)]
pub(super) struct Chunk {
    data: Vec<u8>,
    length: usize,
    used: Sender<Vec<u8>>,
}

impl Chunk {
    pub(super) fn text(&self) -> &[u8] {
        &self.data[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let _ = self.used.send(std::mem::take(&mut self.data));
    }
}

/// The buffers of one thread that fills them.
#[derive(Debug)]
pub(super) struct Buffers {
    used: Sender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        let (used, free) = channel();
        Self { used, free }
    }

    /// Returns a buffer of [`CHUNK`] bytes of any value.
    pub(super) fn take(&self) -> Vec<u8> {
        self.free.try_recv().unwrap_or_else(|_| vec![0; CHUNK])
    }

    /// Makes a piece of the first bytes of a buffer.
    pub(super) fn chunk(&self, data: Vec<u8>, length: usize) -> Arc<Chunk> {
        let used = self.used.clone();
        Arc::new(Chunk { data, length, used })
    }

    /// Reads a piece, a short one only at the end or before an error: the text before it is given on, since the reader of the
    /// entries may find a fault of its own in it.
    pub(super) fn read(&self, text: &mut impl Read) -> (Arc<Chunk>, io::Result<()>) {
        let mut data = self.take();
        let mut length = 0;
        let result = loop {
            match text.read(&mut data[length..]) {
                Ok(0) => break Ok(()),
                Ok(n) => length += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => break Err(err),
            }
        };
        (self.chunk(data, length), result)
    }
}
