// SPDX-License-Identifier: Apache-2.0
//! A part of an open file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Reads a part of a file from start to end, at a position of its own: any number may read one file at a time.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl FileRange {
    /// Returns the bytes from `at` to `end`, offsets in the file.
    pub fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        Self { file, at, end }
    }

    /// Returns how many bytes are still to be read.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }
}

impl Read for FileRange {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left()).map_or(buf.len(), |left| left.min(buf.len()));
        let n = self.file.read_at(&mut buf[..most], self.at)?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        Ok(n)
    }
}
