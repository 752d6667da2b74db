// SPDX-License-Identifier: Apache-2.0
//! Checks and mends the parts without which a directory is no layout.

use std::path::Path;

use super::{Finding, Problem};
use crate::error::{ErrorKind, Result};
use crate::layout::Layout;
use crate::progress::Monitor;
use crate::store::{Store, StoreOptions};

impl Store {
    /// Looks at what makes a directory a layout, without which [`Store::open`] refuses it: `oci-layout`, `index.json`
    /// and `blobs/`, and whether `index.json` was emptied. With `repair` it writes them anew: `index.json` is made of what the
    /// reflog, the index database, the rest of the file and the blobs tell, and the broken one kept aside. A manifest whose name
    /// nothing tells gets an entry without one, and is an error that was not mended.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if nothing there looks like a layout.
    pub fn check_frame(
        path: &Path,
        opts: StoreOptions,
        repair: bool,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Finding>> {
        let layout = match Layout::open(path) {
            Ok(layout) => layout,
            // Something of another version is whole, but not for us.
            Err(err) if err.kind() == ErrorKind::Unsupported => return Err(err),
            Err(err) => Layout::open_broken(path)?.ok_or(err)?,
        };
        let store = Store { layout, opts };
        let mut broken = store.layout.broken_parts();
        if let Err(err) = store.check_entries() {
            broken.push(("index.json", format!("cannot be used: {err}")));
        }
        if broken.is_empty() {
            return Ok(Vec::new());
        }
        let _lock = repair.then(|| store.lock_exclusive("fsck")).transpose()?;
        let (mut out, mut more) = (Vec::new(), Vec::new());
        // `index.json` is last: to make it, the blobs are looked at.
        for (name, message) in broken {
            match name {
                "index.json" if repair => more = store.remake_refs(monitor)?,
                _ if repair => store.layout.mend_part(name)?,
                _ => {}
            }
            out.push(Finding::new(Problem::Frame, name, message).repaired(repair));
        }
        out.extend(more);
        Ok(out)
    }
}
