// SPDX-License-Identifier: Apache-2.0
//! Work that one thread does for all who want its result at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock};

use crate::error::lock;

/// Work under way, by what it is about.
#[derive(Debug)]
pub(super) struct Once<K, T>(Mutex<HashMap<K, Arc<OnceLock<T>>>>);

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Once<K, T> {
    /// Does `work`, or waits for the thread that does it, and returns the result. Whoever comes later works anew, unless the
    /// result is one that `lasts`: until [`Once::end`]. Since the result may have come between the caller's look and this
    /// call, `work` begins with another look.
    pub fn run(&self, key: &K, work: impl FnOnce() -> T, lasts: impl FnOnce(&T) -> bool) -> T {
        let cell = Arc::clone(lock(&self.0).entry(key.clone()).or_default());
        let result = cell.get_or_init(work).clone();
        if !lasts(&result) {
            let mut running = lock(&self.0);
            // Another thread may have begun anew by now.
            if running.get(key).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
                running.remove(key);
            }
        }
        result
    }

    /// Forgets a result that lasted.
    pub fn end(&self, key: &K) {
        lock(&self.0).remove(key);
    }

    /// Returns the number of those under way.
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }
}
