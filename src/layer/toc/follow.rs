// SPDX-License-Identifier: Apache-2.0
//! A table of contents of a tar that is on its way to somewhere else, made on a thread of its own.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{LayerReader, TocBuilder};
use crate::digest::Digest;
use crate::error::{Result, ResultExt};
use crate::layer::Limits;

/// Maximum number of pieces that wait for the thread; a piece is as large as what is written at once.
const WAITING: usize = 16;

/// Takes the bytes of a tar from its beginning, and makes the table of what is in it. A tar that cannot be read has no table, which is
/// no error of whoever writes it.
#[derive(Debug)]
pub struct TocFollower {
    pieces: Option<SyncSender<Vec<u8>>>,
    thread: JoinHandle<Result<TocBuilder>>,
}

impl TocFollower {
    /// Begins a table.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::error::ErrorKind::Io) if there is no thread to be had.
    pub fn start() -> Result<Self> {
        let (pieces, taken) = sync_channel(WAITING);
        let thread = Builder::new().name("umoci-toc".to_owned());
        let thread = thread.spawn(move || {
            let pieces = Pieces {
                taken,
                piece: io::Cursor::default(),
            };
            let mut reader = LayerReader::new(pieces, Limits::default());
            let mut builder = TocBuilder::default();
            builder.add_all(&mut reader)?;
            reader.drain()?;
            Ok(builder)
        });
        Ok(Self {
            pieces: Some(pieces),
            thread: thread.context(|| "start a thread")?,
        })
    }

    /// Returns the file of the table, of a tar that has turned out to have this digest and size; `None` if it cannot be read.
    pub fn finish(mut self, diff_id: &Digest, tar_size: u64) -> Option<Vec<u8>> {
        self.pieces = None;
        let builder = self.thread.join().ok()?.ok()?;
        builder.finish(diff_id, tar_size).ok()
    }
}

impl Write for TocFollower {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // A thread that has met a broken archive takes no more.
        if let Some(pieces) = &self.pieces
            && pieces.send(buf.to_vec()).is_err()
        {
            self.pieces = None;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces of a tar as one stream.
struct Pieces {
    taken: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.piece.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            match self.taken.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece),
                Err(_) => return Ok(0),
            }
        }
    }
}
