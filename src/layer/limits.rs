// SPDX-License-Identifier: Apache-2.0
//! Limits of what a layer may ask for: what it declares is a claim, and memory is never given on a claim alone.

use crate::error::{Error, ErrorKind, Result};

/// Limits for reading a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the extended headers (PAX records, long names, sparse maps) of one entry.
    pub header_bytes: u64,
    /// Bytes of a path or link target.
    pub path_bytes: usize,
    /// Base-2 logarithm of the largest zstd window; the memory that decoding takes.
    pub zstd_window_log: u32,
    /// Bytes of one uncompressed layer; `None` for any number.
    pub layer_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 2 << 20,
            path_bytes: 64 << 10,
            zstd_window_log: 27,
            layer_bytes: None,
        }
    }
}

impl Limits {
    pub(super) fn check(what: &str, value: u64, limit: u64) -> Result<()> {
        if value > limit {
            let text = format!("{what} of {value} bytes is over the limit of {limit} bytes");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        Ok(())
    }
}
