// SPDX-License-Identifier: Apache-2.0
//! A switch for tests of crashes: the process dies right before the N-th step that changes a layout or its index.
//!
//! Only in builds with debug assertions; in others nothing is counted. It belongs to the process and not to a store,
//! because that is what dies: no destructor runs, as under kill -9.

#[cfg(debug_assertions)]
mod switch {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Steps that may still be done, and the one that may not; 0 is off.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// Makes this process die right before the step of this number, counted from 1.
    #[doc(hidden)]
    pub fn die_before_step(step: u64) {
        LEFT.store(step, Ordering::SeqCst);
    }

    pub(in crate::layout) fn point() {
        let before = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}

#[cfg(debug_assertions)]
pub use switch::die_before_step;
#[cfg(debug_assertions)]
pub(super) use switch::point;

/// Stands before each system call that changes something.
#[cfg(not(debug_assertions))]
pub(super) fn point() {}
