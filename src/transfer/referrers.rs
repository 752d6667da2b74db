// SPDX-License-Identifier: Apache-2.0
//! Referrers are copied together with their subjects.

use std::collections::{HashMap, HashSet};

use super::document::is_index;
use super::{Catalog, Request, Source, ToOci};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::ReadDocument as _;
use crate::progress::Monitor;
use crate::spec::{Descriptor, RefName};
use crate::store::{SUFFIXES, referrers_tag};

/// Returns the referrers in the source of `images`, their parts and their referrers: manifests and indexes with a subject and
/// without a name, in the catalog or not, and the entries with the names of the conventions; all of these if `is_whole`.
///
/// An image that is `converted`, and will not be there by its digest, takes nothing along: its referrers would be about
/// nothing.
///
/// # Errors
/// Those of the source, and of the conversion.
pub fn referrers(
    source: &dyn Source,
    catalog: &Catalog,
    images: &[Request],
    is_whole: bool,
    mut converted: Option<&mut ToOci<'_>>,
    monitor: &dyn Monitor,
) -> Result<Vec<Request>> {
    let mut out = Vec::new();
    if is_whole {
        out.clone_from(&catalog.referrers);
    }
    let asked: HashSet<&RefName> = images.iter().filter_map(|image| image.name.as_ref()).collect();
    let mut attached = Attached::default();
    attached.add(catalog.attached.iter().cloned());
    for request in &catalog.referrers {
        if let Some(tag) = &request.name {
            let is_new = !is_whole && !asked.contains(tag);
            let request = is_new.then(|| request.clone());
            attached.by_tag.insert(tag.clone(), request);
        }
    }
    let mut met = HashSet::new();
    let mut left_out: HashSet<RefName> = HashSet::new();
    let mut bare = 0;
    // In rounds: the referrers of those that the last round found.
    let known = images.iter().chain(&out);
    let round = known.flat_map(|request| request.value.entries());
    let mut round: Vec<Descriptor> = round.cloned().collect();
    while !round.is_empty() {
        let documents = documents_below(source, &round, &mut met)?;
        round.clear();
        // The source may know referrers that have no entry. Nobody is asked for those of nothing.
        let subjects: Vec<Digest> = documents.iter().map(|document| document.digest).collect();
        if !subjects.is_empty() {
            attached.add(listed(source, &subjects, monitor)?);
        }
        for document in documents {
            let (found, tags) = attached.take(&document.digest)?;
            if found.is_empty() && tags.is_empty() {
                continue;
            }
            // A referrer names its subject by a digest, which a conversion changes.
            if let Some(converted) = &mut converted
                && converted.changes(&document)?
            {
                bare += 1;
                left_out.extend(tags);
            } else {
                for request in found {
                    round.extend_from_slice(request.value.entries());
                    out.push(request);
                }
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

/// Returns the referrers in the lists of a source, each behind its subject. One that is listed and not there is left out: a list
/// that clients keep may be older than the removal of a referrer.
fn listed(
    source: &dyn Source,
    subjects: &[Digest],
    monitor: &dyn Monitor,
) -> Result<Vec<(Digest, Descriptor)>> {
    let mut out = Vec::new();
    for (subject, referrer) in source.referrers(subjects)? {
        if source.has(&referrer)? {
            out.push((subject, referrer));
        } else {
            monitor.left_out(format_args!(
                "left out {}, which is listed as a referrer of {subject} and not there",
                referrer.digest
            ));
        }
    }
    Ok(out)
}

/// The referrers in a source.
#[derive(Default)]
struct Attached {
    /// Those without a name, by their subjects.
    by_subject: HashMap<Digest, Vec<Descriptor>>,
    /// Those with the names of the conventions; `None` for one that is copied anyway.
    by_tag: HashMap<RefName, Option<Request>>,
}

impl Attached {
    /// Adds referrers without a name, each behind its subject.
    fn add(&mut self, referrers: impl IntoIterator<Item = (Digest, Descriptor)>) {
        for (subject, referrer) in referrers {
            self.by_subject.entry(subject).or_default().push(referrer);
        }
    }

    /// Takes the referrers of a document out, and the names that some of them have.
    fn take(&mut self, document: &Digest) -> Result<(Vec<Request>, Vec<RefName>)> {
        let untagged = self.by_subject.remove(document).unwrap_or_default();
        let mut found: Vec<Request> = untagged.into_iter().map(Request::unnamed).collect();
        let mut tags = Vec::new();
        for suffix in SUFFIXES {
            let tag = referrers_tag(document, suffix)?;
            if let Some(request) = self.by_tag.remove(&tag) {
                found.extend(request);
                tags.push(tag);
            }
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
    let mut out: Vec<Descriptor> = Vec::new();
    let mut found = roots.to_vec();
    // The list grows while it is walked; no digest is added twice, so the walk ends.
    for at in 0.. {
        for descriptor in found {
            let is_known = !descriptor.media_type.is_image() || met.contains(&descriptor.digest);
            if !is_known && source.has(&descriptor)? {
                met.insert(descriptor.digest);
                out.push(descriptor.bare());
            }
        }
        found = match out.get(at) {
            None => break,
            Some(index) if is_index(index) => source
                .read_index(index)
                .map_or_else(|_| Vec::new(), |index| index.manifests),
            Some(_) => Vec::new(),
        };
    }
    Ok(out)
}
