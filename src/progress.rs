// SPDX-License-Identifier: Apache-2.0
//! How the library tells its caller what it does, without printing: counters, tasks and messages.
//!
//! A [`Monitor`] is shared between threads. [`Silent`] ignores all; [`Recorder`] keeps the counts, so that a test
//! can say "this read no layer".

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that is counted.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Counter {
    /// Bytes of blobs read from the layout, as stored.
    BlobBytesRead,
    /// Bytes of blobs written to the layout, as stored.
    BlobBytesWritten,
    /// Blobs that were written and were not there before.
    BlobsWritten,
    /// Layers decompressed.
    LayersDecompressed,
    /// Layers compressed.
    LayersCompressed,
    /// Entries of layers applied to a tree.
    EntriesApplied,
    /// Regular files of a tree opened to read their content.
    FilesRead,
    /// Bytes hashed with SHA-256 (or the digest algorithm in use).
    BytesHashed,
}

impl Counter {
    const COUNT: usize = 8;
}

/// Receives what the library reports. All methods may be called from any thread and must not block.
pub trait Monitor: Send + Sync {
    /// Adds `n` to a counter.
    fn count(&self, counter: Counter, n: u64);

    /// A task begins; `total` is its size in bytes or items if known. The task ends when the value is dropped.
    fn task(&self, name: &str, total: Option<u64>) -> Box<dyn Task>;

    /// Something worth a warning that does not end the job: one line that names the path or digest.
    fn warn(&self, message: fmt::Arguments<'_>);

    /// A step of the job, for those who want to follow it.
    fn info(&self, message: fmt::Arguments<'_>);
}

/// A task under way; dropping it ends it.
pub trait Task: Send + Sync {
    /// The task got `n` bytes or items further.
    fn advance(&self, n: u64);
}

/// A monitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Task for Silent {
    fn advance(&self, _n: u64) {}
}

impl Monitor for Silent {
    fn count(&self, _counter: Counter, _n: u64) {}

    fn task(&self, _name: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn warn(&self, _message: fmt::Arguments<'_>) {}

    fn info(&self, _message: fmt::Arguments<'_>) {}
}

/// A monitor that keeps counts and warnings for a test to look at.
#[derive(Debug, Default)]
pub struct Recorder {
    counts: [AtomicU64; Counter::COUNT],
    warnings: Mutex<Vec<String>>,
}

impl Recorder {
    /// What a counter stands at.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counts[counter as usize].load(Ordering::Relaxed)
    }

    /// The warnings so far, in order.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().map(|w| w.clone()).unwrap_or_default()
    }
}

impl Monitor for Recorder {
    fn count(&self, counter: Counter, n: u64) {
        self.counts[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    fn task(&self, _name: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn warn(&self, message: fmt::Arguments<'_>) {
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(message.to_string());
        }
    }

    fn info(&self, _message: fmt::Arguments<'_>) {}
}
