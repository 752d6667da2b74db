// SPDX-License-Identifier: Apache-2.0
//! Blobs on their way from one registry to another wait in a file until they are whole: neither side waits for the other then,
//! and a body that must be sent again is not fetched again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::error::{Result, ResultExt, lock};
use crate::fs::FileRange;
use crate::spec::Descriptor;
use crate::transfer::Body;

/// The bytes of a body, read into a file when they are first asked for. The file has no name, and goes with the process.
pub(super) struct Spooled<'a> {
    blob: &'a Descriptor,
    inner: &'a dyn Body,
    dir: &'a Path,
    file: Mutex<Option<Arc<File>>>,
}

impl<'a> Spooled<'a> {
    pub fn new(blob: &'a Descriptor, inner: &'a dyn Body, dir: &'a Path) -> Self {
        Self {
            blob,
            inner,
            dir,
            file: Mutex::new(None),
        }
    }

    /// Fetches the bytes, which the body verifies.
    fn fetch(&self) -> Result<File> {
        let spool = || format!("spool below {}", self.dir.display());
        let mut file = tempfile::tempfile_in(self.dir).context(spool)?;
        // One byte more than is due shows that the size is wrong without reading without end.
        let mut body = self.inner.open()?.take(self.blob.size.saturating_add(1));
        io::copy(&mut body, &mut file).context(spool)?;
        Ok(file)
    }
}

impl Body for Spooled<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>> {
        let mut file = lock(&self.file);
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(Arc::new(self.fetch()?)),
        };
        Ok(Box::new(FileRange::new(Arc::clone(file), 0, self.blob.size)))
    }
}
