// SPDX-License-Identifier: Apache-2.0
//! Retention: which entries of `index.json` a collection gives up.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::GcOptions;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Entry;
use crate::spec::RefName;
use crate::store::Store;
use crate::store::reflog::is_older;

/// What keeps a tag.
#[derive(Clone, Debug)]
pub enum Keep {
    /// A name that matches a pattern with `*`, `?` and `[...]`.
    Pattern(glob::Pattern),
    /// A change of the tag within this time; for a tag that the reflog does not know, the age of its blob.
    Newer(Duration),
}

impl std::str::FromStr for Keep {
    type Err = Error;

    /// Reads a duration such as `30d`, or else a pattern.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(age) = crate::store::parse_duration(text) {
            return Ok(Keep::Newer(age));
        }
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "an empty pattern keeps nothing"));
        }
        glob::Pattern::new(text).map(Keep::Pattern).map_err(|e| {
            let text = format!("neither a duration nor a pattern: {text:?}: {}", e.msg);
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

/// Whether somebody may have meant a duration: a number, perhaps with a sign, and perhaps a word.
fn is_like_duration(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['+', '-']);
    let word = text.trim_start_matches(|c: char| c.is_ascii_digit());
    word.len() < text.len() && word.trim_start().chars().all(|c| c.is_ascii_alphabetic())
}

/// Entries of `index.json` that go.
#[derive(Clone, Debug, Default)]
pub(super) struct DropRefs {
    pub(super) tags: Vec<RefName>,
    pub(super) untagged: Vec<Digest>,
}

impl DropRefs {
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.untagged.is_empty()
    }

    pub(super) fn drops(&self) -> impl Fn(&Entry) -> bool + use<> {
        let tags: HashSet<String> = self.tags.iter().map(|t| t.as_str().to_owned()).collect();
        let untagged: HashSet<Digest> = self.untagged.iter().copied().collect();
        move |entry| match &entry.ref_name {
            Some(name) => tags.contains(name),
            None => entry.is_untagged() && entry.descriptor().is_ok_and(|d| untagged.contains(&d.digest)),
        }
    }
}

impl Store {
    /// The tags and untagged entries that the options give up.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if that is all tags, or a pattern that matches none looks like a duration: both are a slip.
    pub(super) fn refs_to_drop(&self, opts: &GcOptions) -> Result<DropRefs> {
        let mut out = DropRefs::default();
        if !opts.untagged && opts.keep.is_empty() {
            return Ok(out);
        }
        let ages = if opts.keep.iter().any(|keep| matches!(keep, Keep::Newer(_))) {
            self.last_changes()?
        } else {
            HashMap::new()
        };
        let mut used = vec![false; opts.keep.len()];
        for entry in self.refs()? {
            // What cannot be understood is not given up.
            let Ok(descriptor) = entry.descriptor else {
                continue;
            };
            let Some(name) = entry.name else {
                if opts.untagged {
                    out.untagged.push(descriptor.digest);
                }
                continue;
            };
            let Ok(name) = name.parse::<RefName>() else {
                continue;
            };
            let keeps = |keep: &Keep| -> Result<bool> {
                match keep {
                    Keep::Pattern(pattern) => Ok(pattern.matches(name.as_str())),
                    Keep::Newer(age) => match ages.get(name.as_str()) {
                        Some(time) => Ok(!is_older(*time, *age)),
                        None => self.is_younger(&descriptor.digest, *age),
                    },
                }
            };
            let mut kept = opts.keep.is_empty();
            for (keep, is_used) in opts.keep.iter().zip(&mut used) {
                if keeps(keep)? {
                    (kept, *is_used) = (true, true);
                }
            }
            if !kept && !out.tags.contains(&name) {
                out.tags.push(name);
            }
        }
        let slip = |keep: &Keep| match keep {
            Keep::Pattern(pattern) if is_like_duration(pattern.as_str()) => Some(pattern.as_str().to_owned()),
            _ => None,
        };
        let unused = opts.keep.iter().zip(&used).filter(|(_, used)| !**used);
        if out.tags.is_empty() {
            return Ok(out);
        }
        if let Some(text) = unused.clone().find_map(|(keep, _)| slip(keep)) {
            let text =
                format!("no tag is called {text:?}, and it is no duration such as 30d; nothing is removed");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        if unused.count() == used.len() {
            let text = format!("of {} tags none is kept; nothing is removed", out.tags.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(out)
    }

    /// Whether the file of a blob was made or renamed less than `age` ago.
    pub(super) fn is_younger(&self, digest: &Digest, age: Duration) -> Result<bool> {
        let Some(stamp) = self.layout.blob_stamp(digest)? else {
            return Ok(false);
        };
        let latest = stamp.mtime.max(stamp.ctime).0;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let limit = i64::try_from(now.as_secs().saturating_sub(age.as_secs())).unwrap_or(i64::MAX);
        Ok(latest > limit)
    }
}
