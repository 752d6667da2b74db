// SPDX-License-Identifier: Apache-2.0
//! Checks our own files that cannot be derived: settings, leases, the reflog. A file that is mended is kept aside as it was.

use super::{Finding, Problem};
use crate::error::{Error, ErrorKind, Result};
use crate::index::Index;
use crate::layout::REFLOG;
use crate::store::Store;
use crate::store::refs::{Record, is_cut_off};

/// Returns whether a file is damaged, rather than kept from us.
fn is_damage(err: &Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Limit | ErrorKind::Unsupported
    )
}

impl Store {
    /// Looks at our own files; with `repair`, what is damaged is set aside, and what can be read of it stays.
    pub(super) fn check_own_files(&self, repair: bool, out: &mut Vec<Finding>) -> Result<()> {
        self.check_settings(repair, out)?;
        self.check_leases(repair, out)?;
        self.check_reflog(repair, out)
    }

    fn check_settings(&self, repair: bool, out: &mut Vec<Finding>) -> Result<()> {
        let err = match self.settings() {
            Ok(_) => return Ok(()),
            Err(err) if is_damage(&err) => err,
            Err(err) => return Err(err),
        };
        let mut finding = own_file("settings.json", err.to_string()).repaired(repair);
        if repair {
            let lost = self.mend_settings()?.join(", ");
            finding.message = format!("{}; reset: {lost}", finding.message);
        }
        out.push(finding);
        Ok(())
    }

    fn check_leases(&self, repair: bool, out: &mut Vec<Finding>) -> Result<()> {
        for (path, err) in self.broken_leases()? {
            let mut finding = own_file(&path, err.to_string()).repaired(repair);
            if repair {
                let kept = match self.mend_lease(&path)? {
                    None => "no digest stands in it, so nothing is kept for it".to_owned(),
                    Some(n) => format!("now without an end, and keeps the {n} digests that stand in it"),
                };
                finding.message = format!("{}; {kept}", finding.message);
            }
            out.push(finding);
        }
        Ok(())
    }

    /// Lines that cannot be read are dropped, and the others kept as they are; what stands in `index.json` is recorded then.
    fn check_reflog(&self, repair: bool, out: &mut Vec<Finding>) -> Result<()> {
        let (mut good, mut bad, mut cut, mut is_empty) = (Vec::new(), 0_u64, 0_u64, true);
        let read = self.layout.private_dir().read_lines(REFLOG, |line, _| {
            is_empty = false;
            if Record::parse(line).is_some() {
                // A reflog may be large, and is held for a repair alone.
                if repair {
                    good.extend_from_slice(line);
                    good.push(b'\n');
                }
            } else if is_cut_off(line) {
                cut += 1;
            } else {
                bad += 1;
            }
            Ok(true)
        });
        let mut found = Vec::new();
        match read {
            Err(err) if is_damage(&err) => found.push(own_file(REFLOG, err.to_string())),
            Err(err) => return Err(err),
            Ok(()) if is_empty && self.is_reflog_lost()? => {
                let text =
                    "has no lines, but the index database has seen some: what refs were before is not known";
                found.push(own_file(REFLOG, text.to_owned()));
            }
            Ok(()) => {}
        }
        if bad > 0 {
            found.push(own_file(REFLOG, format!("{bad} lines cannot be read")));
        }
        if cut > 0 {
            // A process died, or the power failed, before that change took effect.
            found.push(own_file(REFLOG, format!("{cut} lines are cut off")).info());
        }
        // The differences to `index.json` are recorded by the next call, which takes the lock itself.
        if repair && !found.is_empty() {
            let lock = self.lock_refs()?;
            let rest = (!good.is_empty()).then_some(good.as_slice());
            self.layout.private_dir().mend(REFLOG, rest)?;
            drop(lock);
            self.record_others()?;
        }
        out.extend(found.into_iter().map(|finding| finding.repaired(repair)));
        Ok(())
    }

    /// Whether a reflog without lines must have had some. Without entries in `index.json` none is missed.
    fn is_reflog_lost(&self) -> Result<bool> {
        Ok(!self.layout.read_index()?.entries().is_empty()
            && Index::remembered(&self.layout).is_some_and(|known| known.end.is_some()))
    }
}

fn own_file(name: &str, text: String) -> Finding {
    Finding::new(Problem::OwnFile, format!(".umoci/{name}"), text)
}
