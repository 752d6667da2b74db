// SPDX-License-Identifier: Apache-2.0
//! The mark of a bundle that is not whole yet: a file that whoever unpacks holds under lock, and that stays if he is killed.
//!
//! It is written before anything else is made in the bundle, and removed after `umoci.json`, the last of its files. So a
//! bundle with the mark and without `umoci.json` has nothing but what an unpack made that did not come to its end.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use super::Bundle;
use crate::digest::Digest;
use crate::error::{Result, ResultExt};

/// The mark, locked. Another process that wants it is told that the bundle is in use.
pub(super) struct Mark {
    path: PathBuf,
    file: File,
}

impl Bundle {
    fn mark(&self) -> PathBuf {
        self.path.join(".umoci-unfinished")
    }

    /// Returns whether the bundle has the mark of an unpack that was interrupted or still runs.
    pub(super) fn is_unfinished(&self) -> Result<bool> {
        Ok(crate::fs::exists(&self.mark())? && !crate::fs::exists(&self.meta())?)
    }
}

impl Mark {
    /// Takes the lock; the file is made if it is not there.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Busy`] if another process unpacks into the bundle.
    pub(super) fn take(bundle: &Bundle) -> Result<Self> {
        let path = bundle.mark();
        let file = crate::fs::lock_file(&path).context(|| "another process may be at the bundle")?;
        Ok(Self { path, file })
    }

    /// Returns the manifest that somebody began to unpack here; `None` if nobody did.
    pub(super) fn left(&mut self) -> Result<Option<Digest>> {
        let mut text = String::new();
        let read = (&mut self.file).take(1024).read_to_string(&mut text);
        read.doing("read", &self.path)?;
        // A mark that is cut off dates from before any other file of the bundle.
        Ok(text.trim_end().parse().ok())
    }

    /// Notes what is being unpacked.
    pub(super) fn note(&mut self, manifest: &Digest) -> Result<()> {
        let file = &mut self.file;
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        let written = emptied.and_then(|()| writeln!(file, "{manifest}"));
        written.doing("write", &self.path)
    }

    /// Ends the work, whole or with nothing left.
    pub(super) fn remove(self) {
        crate::fs::remove_file(&self.path);
    }
}
