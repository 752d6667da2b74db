// SPDX-License-Identifier: Apache-2.0
//! What `fsck` says of the parts without which a directory is no layout, and how it mends them.

use std::path::Path;
use std::time::Duration;

use super::{Finding, Problem, Severity};
use crate::error::{ErrorKind, Result};
use crate::index::Index;
use crate::layout::{Layout, LockMode};
use crate::store::Store;

impl Store {
    /// Looks at what makes a directory a layout, without which [`Store::open`] refuses it: `oci-layout`, `index.json`
    /// and `blobs/`. With `repair` it writes what is certain: an `index.json` is made anew from the entries that the
    /// index database remembers, and the broken one moved aside.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing there looks like a layout.
    pub fn check_frame(path: &Path, repair: bool) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        let layout = match Layout::open(path) {
            Ok(layout) if layout.read_index().is_ok() => return Ok(out),
            Ok(layout) => layout,
            // Something of another version is whole, but not for us.
            Err(err) if err.kind() == ErrorKind::Unsupported => return Err(err),
            Err(err) => match Layout::open_broken(path)? {
                Some(layout) => layout,
                None => return Err(err),
            },
        };
        let _lock = if repair {
            Some(layout.lock(LockMode::Exclusive, Duration::from_secs(60), "fsck")?)
        } else {
            None
        };
        for (name, message) in layout.broken_parts() {
            let mut finding = Finding::new(Severity::Error, Problem::Frame, name, message);
            if repair {
                finding.repaired = true;
                if name != "index.json" {
                    layout.mend_part(name)?;
                } else if let Some(entries) = Index::remembered(&layout).filter(|e| !e.is_empty()) {
                    layout.replace_index(&entries)?;
                } else {
                    finding.repaired = false;
                }
            }
            out.push(finding);
        }
        Ok(out)
    }
}
