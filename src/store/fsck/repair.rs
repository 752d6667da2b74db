// SPDX-License-Identifier: Apache-2.0
//! Mends blobs: what is damaged is moved aside, and a good copy is fetched from another layout.

use std::collections::BTreeSet;

use super::{CheckOptions, Finding, Problem};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result};
use crate::progress::{Monitor, Silent};
use crate::spec::Descriptor;
use crate::store::Store;

impl Store {
    /// Mends blobs: modes, and what is damaged or missing.
    pub(super) fn repair(
        &self,
        opts: &CheckOptions<'_>,
        findings: &mut [Finding],
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let mut changed = BTreeSet::new();
        for finding in findings.iter_mut() {
            let Some(digest) = finding.digest else { continue };
            match finding.problem {
                Problem::Permissions => {
                    self.layout.give(&self.layout.blob_path(&digest))?;
                    finding.repaired = true;
                }
                // A blob that cannot be read may be good, and is left where it is.
                Problem::Damaged | Problem::Missing => {
                    if finding.problem != Problem::Missing && self.layout.blob_size(&digest)?.is_some() {
                        let aside = self.layout.quarantine(&digest)?;
                        monitor.warn(format_args!("blob {digest} was moved to {}", aside.display()));
                    }
                    changed.insert(digest);
                    finding.repaired = self.layout.blob_size(&digest)?.is_some()
                        || self.fetch(&digest, finding.wanted, opts)?;
                }
                _ => {}
            }
        }
        if !changed.is_empty() {
            self.index(monitor).write(|tables| {
                changed.iter().try_for_each(|digest| tables.forget(digest))?;
                // The times of the directories may be of before a file was moved.
                tables.invalidate_listing()?;
                tables.sync(&self.layout, &Silent)
            })?;
        }
        Ok(())
    }

    /// Takes a good copy of a blob from another layout; `false` if none has one.
    fn fetch(&self, digest: &Digest, size: Option<u64>, opts: &CheckOptions<'_>) -> Result<bool> {
        for other in opts.from {
            let Some(found) = other.layout.blob_size(digest)? else {
                continue;
            };
            let descriptor = Descriptor::new(String::new(), *digest, size.unwrap_or(found));
            let copied = other.layout.open_blob(&descriptor).and_then(|mut blob| {
                let mut writer = self.layout.write_blob(digest.algorithm())?;
                std::io::copy(&mut blob, &mut writer)?;
                self.layout.publish(vec![writer.stage_as(&descriptor)?])
            });
            match copied {
                Ok(_) => return Ok(true),
                // That copy is no better.
                Err(err) if err.kind() == ErrorKind::Corrupt => {}
                Err(err) => return Err(err.context(format!("fetch from {}", other.layout.path().display()))),
            }
        }
        Ok(false)
    }
}
