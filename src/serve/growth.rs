// SPDX-License-Identifier: Apache-2.0
//! Files that are read while they grow.

use std::io;

use tokio::sync::watch;

/// The number of bytes that may be read of a file that is whole and verified.
const WHOLE: u64 = u64::MAX;

/// Tells readers how far a file has come. Dropped before the file is whole, it tells them that nothing more comes.
#[derive(Debug)]
pub(super) struct Grower(watch::Sender<u64>);

/// A reader's knowledge of how far a file has come.
#[derive(Clone, Debug)]
pub(super) struct Growth(watch::Receiver<u64>);

/// Returns the two ends for a file of which nothing may be read yet.
pub(super) fn growth() -> (Grower, Growth) {
    let (sender, receiver) = watch::channel(0);
    (Grower(sender), Growth(receiver))
}

impl Grower {
    /// Lets so many bytes be read in all.
    pub fn reached(&self, bytes: u64) {
        self.0.send_replace(bytes);
    }

    /// Lets the whole file be read.
    pub fn whole(&self) {
        self.reached(WHOLE);
    }
}

impl Growth {
    /// Waits until bytes behind `offset` may be read; returns where those end, or a number beyond the end of the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionAborted`] if they never come.
    pub async fn beyond(&mut self, offset: u64) -> io::Result<u64> {
        let reached = self.0.wait_for(|reached| *reached > offset).await;
        match reached {
            Ok(reached) => Ok(*reached),
            Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}
