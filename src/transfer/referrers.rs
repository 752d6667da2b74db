// SPDX-License-Identifier: Apache-2.0
//! Referrers are copied together with their subjects.

use std::collections::{HashMap, HashSet};

use super::catalog::subject;
use super::document::{bare, children, is_index};
use super::{Request, Source};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::progress::Monitor;
use crate::spec::{Descriptor, RefName};
use crate::store::referrers_tag;

/// What stands behind the digest in the names of referrers: nothing for an index of them all, the rest is cosign's.
const SUFFIXES: [&str; 4] = ["", ".sig", ".att", ".sbom"];

/// Returns whether this is the name of an index of referrers, or one of cosign's. Spec: distribution-spec, referrers tag schema.
pub(super) fn is_referrers_tag(name: &RefName) -> bool {
    let Some((algorithm, rest)) = name.as_str().split_once('-') else {
        return false;
    };
    let Some(algorithm) = Algorithm::from_name(algorithm) else {
        return false;
    };
    let length = (2 * algorithm.len()).min(64);
    let Some((hex, suffix)) = rest.split_at_checked(length) else {
        return false;
    };
    hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) && SUFFIXES.contains(&suffix)
}

/// Returns all that the source has about `images`, their parts and their referrers, behind the `known` of these: manifests
/// and indexes with a subject and without a name, with an entry or without, and the entries with the names of the conventions.
///
/// An image for which `is_changed` says that it will not be there by this digest takes nothing along: its referrers would be
/// about nothing.
///
/// # Errors
/// Those of the source, and of `is_changed`.
pub fn referrers(
    source: &dyn Source,
    images: &[Request],
    known: Vec<Request>,
    is_changed: &mut dyn FnMut(&Descriptor) -> Result<bool>,
    monitor: &dyn Monitor,
) -> Result<Vec<Request>> {
    let mut attached = Attached::list(source)?;
    for tag in images
        .iter()
        .chain(&known)
        .filter_map(|request| request.name.as_ref())
    {
        // The entries of a name that is asked for are among the requests.
        attached.by_tag.entry(tag.clone()).and_modify(Vec::clear);
    }
    let mut out = known;
    let mut met = HashSet::new();
    let mut left_out: HashSet<RefName> = HashSet::new();
    let mut bare = 0;
    // In rounds: the referrers of those that the last round found.
    let mut round: Vec<Descriptor> = images.iter().chain(&out).map(|r| r.descriptor.clone()).collect();
    while !round.is_empty() {
        let documents = documents_below(source, &round, &mut met)?;
        round.clear();
        attached.add_unlisted(source, &documents)?;
        for document in documents {
            let (found, tags) = attached.take(&document.digest)?;
            if found.is_empty() && tags.is_empty() {
                continue;
            }
            if is_changed(&document)? {
                bare += 1;
                left_out.extend(tags);
            } else {
                round.extend(found.iter().map(|request| request.descriptor.clone()));
                out.extend(found);
            }
        }
    }
    out.retain(|request| request.name.as_ref().is_none_or(|name| !left_out.contains(name)));
    if bare > 0 {
        monitor.left_out(format_args!(
            "left out what is attached to {bare} images that are converted: it is about others"
        ));
    }
    Ok(out)
}

/// The referrers in a source.
struct Attached {
    /// Those without a name, by their subjects.
    by_subject: HashMap<Digest, Vec<Descriptor>>,
    /// The entries of each name of the conventions.
    by_tag: HashMap<RefName, Vec<Descriptor>>,
}

impl Attached {
    /// Reads the entries of a source.
    fn list(source: &dyn Source) -> Result<Self> {
        let mut out = Self {
            by_subject: HashMap::new(),
            by_tag: HashMap::new(),
        };
        for entry in source.list()? {
            let Some(Ok(descriptor)) = entry.own() else {
                continue;
            };
            match entry.ref_name() {
                Some(tag) if is_referrers_tag(&tag) => {
                    out.by_tag.entry(tag).or_default().push(descriptor);
                }
                // An entry with a name of its own travels when it is asked for.
                Some(_) => {}
                None => {
                    if let Some(subject) = subject(source, &descriptor) {
                        out.by_subject.entry(subject).or_default().push(descriptor);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Adds the referrers of `documents` that have no entry.
    fn add_unlisted(&mut self, source: &dyn Source, documents: &[Descriptor]) -> Result<()> {
        let subjects: Vec<Digest> = documents.iter().map(|document| document.digest).collect();
        if !subjects.is_empty() {
            for (subject, referrer) in source.referrers(&subjects)? {
                self.by_subject.entry(subject).or_default().push(referrer);
            }
        }
        Ok(())
    }

    /// Takes the referrers of a document out, and the names that some of them have.
    fn take(&mut self, document: &Digest) -> Result<(Vec<Request>, Vec<RefName>)> {
        let mut found = Vec::new();
        for descriptor in self.by_subject.remove(document).unwrap_or_default() {
            found.push(Request {
                name: None,
                descriptor,
            });
        }
        let mut tags = Vec::new();
        for suffix in SUFFIXES {
            let tag = referrers_tag(document, suffix)?;
            let Some(entries) = self.by_tag.remove(&tag) else {
                continue;
            };
            for descriptor in entries {
                found.push(Request {
                    name: Some(tag.clone()),
                    descriptor,
                });
            }
            tags.push(tag);
        }
        Ok((found, tags))
    }
}

/// Returns the manifests and indexes at and below `roots` that are in the source and not in `met`, and adds them to that. An
/// index that cannot be read is left to the copy to complain of.
fn documents_below(
    source: &dyn Source,
    roots: &[Descriptor],
    met: &mut HashSet<Digest>,
) -> Result<Vec<Descriptor>> {
    let mut out = Vec::new();
    add_new(source, roots, met, &mut out)?;
    let mut at = 0;
    while let Some(document) = out.get(at) {
        if is_index(document) {
            let below = children(source, document).unwrap_or_default();
            add_new(source, &below, met, &mut out)?;
        }
        at += 1;
    }
    Ok(out)
}

/// Adds the manifests and indexes of `found` to `out` that are in the source and not in `met`.
fn add_new(
    source: &dyn Source,
    found: &[Descriptor],
    met: &mut HashSet<Digest>,
    out: &mut Vec<Descriptor>,
) -> Result<()> {
    for descriptor in found {
        let is_known = !descriptor.media_type.is_image() || met.contains(&descriptor.digest);
        if !is_known && source.has(descriptor)? {
            met.insert(descriptor.digest);
            out.push(bare(descriptor));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_is_about_an_image_are_told_from_others() {
        let hex = "0123456789abcdef".repeat(4);
        for (name, want) in [
            (format!("sha256-{hex}"), true),
            (format!("sha512-{hex}.sig"), true),
            (format!("blake3-{hex}.sbom"), true),
            (format!("sha256-{hex}.other"), false),
            (format!("sha256-{hex}0"), false),
            (format!("md5-{hex}"), false),
            (format!("sha256-{}", &hex[1..]), false),
            (format!("sha256-{}", hex.to_uppercase()), false),
            ("v1".to_owned(), false),
        ] {
            assert_eq!(is_referrers_tag(&name.parse().expect("name")), want, "{name}");
        }
    }
}
