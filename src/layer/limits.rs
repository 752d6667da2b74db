// SPDX-License-Identifier: Apache-2.0
//! Limits of what a layer may ask for: what it declares is a claim, and memory is never given on a claim alone.

use crate::error::{Error, ErrorKind, Fact, Result};

/// Limits for reading and applying a layer. Each has a name, by which errors call it and [`Limits::set`] changes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `header`: bytes of the extended headers (PAX records, long names, sparse maps) of one entry.
    pub header_bytes: u64,
    /// `path`: bytes of a path or link target.
    pub path_bytes: u64,
    /// `sparse`: bytes of the holes of all sparse files of one layer or archive, which take no room, but time where a digest
    /// of the file is wanted.
    pub sparse_bytes: u64,
    /// `directories`: bytes of the paths and extended attributes of all directories and links of one layer, which are kept
    /// until it ends; of an archive of images, of what is kept of its names, links, tags and manifests.
    pub directory_bytes: u64,
    /// `zstd-window`: base-2 logarithm of the largest zstd window in bytes; the memory that decoding takes.
    pub zstd_window_log: u32,
    /// `entries`: count of the entries of all layers of an image; what is kept of each until the end is below 1 KiB.
    pub entries: u64,
    /// `layer`: bytes of one uncompressed layer; `None` for any number.
    pub layer_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 2 << 20,
            path_bytes: 32 << 10,
            sparse_bytes: 8 << 30,
            directory_bytes: 64 << 20,
            zstd_window_log: 27,
            entries: 2_000_000,
            layer_bytes: None,
        }
    }
}

impl Limits {
    /// The names, each with the unit of its number.
    pub const NAMES: [(&str, &str); 7] = [
        ("header", "BYTES"),
        ("path", "BYTES"),
        ("sparse", "BYTES"),
        ("directories", "BYTES"),
        ("zstd-window", "LOG2"),
        ("entries", "COUNT"),
        ("layer", "BYTES"),
    ];

    /// Changes the limit of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that is none, and for a zstd window that libzstd cannot have.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        match name {
            "header" => self.header_bytes = value,
            "path" => self.path_bytes = value,
            "sparse" => self.sparse_bytes = value,
            "directories" => self.directory_bytes = value,
            // libzstd refuses all else: its `ZSTD_WINDOWLOG_MIN` and `ZSTD_WINDOWLOG_MAX`.
            "zstd-window" if (10..=31).contains(&value) => self.zstd_window_log = value as u32,
            "zstd-window" => fail!(Invalid, "zstd-window is from 10 to 31, not {value}"),
            "entries" => self.entries = value,
            "layer" => self.layer_bytes = Some(value),
            _ => {
                let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                fail!(Invalid, "no limit is called {name:?}; there are {names}");
            }
        }
        Ok(())
    }

    /// Fails if `what`, of `value` bytes or entries, is over the limit of this name.
    pub(crate) fn check(name: &'static str, what: &str, value: u64, limit: u64) -> Result<()> {
        if value > limit {
            let unit = if name == "entries" { "entries" } else { "bytes" };
            let text = format!("{what} of {value} {unit} is over the limit of {limit} {unit} (limit {name})");
            return Err(Error::new(ErrorKind::Limit, text).with_fact(Fact::Limit(name)));
        }
        Ok(())
    }
}
