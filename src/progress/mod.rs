// SPDX-License-Identifier: Apache-2.0
//! Reports of the library to its caller, without printing: tasks and messages.
//!
//! A [`Monitor`] is shared between threads. [`Silent`] ignores all; the `Recorder` of the tests keeps tasks and warnings, so that
//! a test can say "this read no file again".

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Receives what the library reports. All methods may be called from any thread and must not block.
pub trait Monitor: Send + Sync {
    /// Begins a task; `total` is its size in bytes or items if known. The task ends when the value is dropped.
    fn task(&self, name: &str, total: Option<u64>) -> Box<dyn Task>;

    /// Tells of something worth a warning that does not end the job: one line that names the path or digest.
    fn warn(&self, message: fmt::Arguments<'_>);

    /// Tells of a part of what was asked for that the result does not have, although the job succeeds: one line that names it. Unlike a
    /// warning it belongs to the result.
    fn left_out(&self, message: fmt::Arguments<'_>) {
        self.warn(message);
    }

    /// Tells of a step of the job, for those who want to follow it.
    fn info(&self, message: fmt::Arguments<'_>);
}

/// A task under way; dropping it ends it.
pub trait Task: Send + Sync {
    /// Tells that the task got `n` bytes or items further, in the unit of its total; 0 says that it is alive.
    fn advance(&self, n: u64);
}

/// Bytes that pass before a [`Counted`] tells its task.
const STEP: u64 = 1 << 20;

/// A reader or writer that tells a task how many bytes have passed, a MiB at a time and the rest in the end.
pub(crate) struct Counted<T> {
    inner: T,
    task: Arc<dyn Task>,
    passed: u64,
}

impl<T> Counted<T> {
    /// Counts what passes through `inner` for `task`.
    pub fn new(inner: T, task: &Arc<dyn Task>) -> Self {
        Self {
            inner,
            task: Arc::clone(task),
            passed: 0,
        }
    }

    fn passed(&mut self, n: usize) {
        self.passed += n as u64;
        // Not at each read: a monitor may take a lock, and readers hand out pieces of any size.
        if self.passed >= STEP {
            self.task.advance(std::mem::take(&mut self.passed));
        }
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.passed(n);
        Ok(n)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.passed(n);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        // A bar must reach its end also where less than a step was left.
        self.task.advance(self.passed);
    }
}

/// A monitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Task for Silent {
    fn advance(&self, _n: u64) {}
}

impl Monitor for Silent {
    fn task(&self, _name: &str, _total: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn warn(&self, _message: fmt::Arguments<'_>) {}

    fn info(&self, _message: fmt::Arguments<'_>) {}
}

#[cfg(test)]
pub(crate) mod tests;
