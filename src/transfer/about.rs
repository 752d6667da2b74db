// SPDX-License-Identifier: Apache-2.0
//! What is about images travels with them.

use std::collections::{HashMap, HashSet};

use super::document::{Document, children};
use super::offer::subject;
use super::{Listed, MAX_DEPTH, Request, Source};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::progress::Monitor;
use crate::spec::{Descriptor, RefName};
use crate::store::referrers_tag;

/// What stands behind the digest in names of what is about an image: nothing for an index of it all, the rest is cosign's.
const SUFFIXES: [&str; 4] = ["", ".sig", ".att", ".sbom"];

/// Whether this is the name of an index of what is about an image, or one of cosign's. Spec: distribution-spec, referrers tag
/// schema.
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

/// All that the source lists about `images` and what they consist of, also about what is about them: manifests and indexes
/// with a subject that have no name, listed or as far as it knows of others, and what has the names of the conventions,
/// beside `known` of which that is so.
///
/// An image for which `is_changed` says that it will not be there by this digest takes nothing along: it would be about
/// nothing.
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
    let listed = source.list()?;
    let mut about: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
    let mut named: HashMap<RefName, Vec<&Listed>> = HashMap::new();
    for entry in listed.iter() {
        // What has a name of its own travels when it is asked for.
        if let Some(name) = entry.ref_name() {
            named.entry(name).or_default().push(entry);
        } else if let Some(Ok(descriptor)) = entry.own()
            && let Some(subject) = subject(source, &descriptor)
        {
            about.entry(subject).or_default().push(descriptor);
        }
    }
    let mut met: HashSet<Digest> = HashSet::new();
    let mut names: HashSet<RefName> = images
        .iter()
        .chain(&known)
        .filter_map(|r| r.name.clone())
        .collect();
    let mut out = known;
    let mut left_out: HashSet<RefName> = HashSet::new();
    let mut bare = 0;
    // In rounds: what is about what the last round found.
    let mut round: Vec<Descriptor> = images.iter().chain(&out).map(|r| r.descriptor.clone()).collect();
    while !round.is_empty() {
        let mut found: Vec<Request> = Vec::new();
        let mut documents: Vec<Descriptor> = Vec::new();
        for root in &round {
            below(source, root, &mut met, &mut |document| {
                let digest = document.digest;
                documents.push(document.clone());
                let before = found.len();
                for descriptor in about.remove(&digest).into_iter().flatten() {
                    found.push(Request {
                        name: None,
                        descriptor,
                    });
                }
                let mut tags = Vec::new();
                for suffix in SUFFIXES {
                    let tag = referrers_tag(&digest, suffix)?;
                    let entries = named.get(&tag).into_iter().flatten();
                    let mut entries = entries.filter_map(|entry| entry.own()?.ok()).peekable();
                    if entries.peek().is_none() {
                        continue;
                    }
                    tags.push(tag.clone());
                    if names.insert(tag.clone()) {
                        found.extend(entries.map(|descriptor| Request {
                            name: Some(tag.clone()),
                            descriptor,
                        }));
                    }
                }
                if (found.len() > before || !tags.is_empty()) && is_changed(document)? {
                    found.truncate(before);
                    bare += 1;
                    left_out.extend(tags);
                }
                Ok(())
            })?;
        }
        let (unlisted, bare_ones) = unlisted(source, documents, is_changed)?;
        bare += bare_ones;
        found.extend(unlisted.into_iter().map(|descriptor| Request {
            name: None,
            descriptor,
        }));
        round = found.iter().map(|request| request.descriptor.clone()).collect();
        out.extend(found);
    }
    out.retain(|request| request.name.as_ref().is_none_or(|name| !left_out.contains(name)));
    if bare > 0 {
        monitor.left_out(format_args!(
            "left out what is attached to {bare} images that are converted: it is about others"
        ));
    }
    Ok(out)
}

/// What is about `documents` and has no entry, but for those that are changed; and how many of these have some.
fn unlisted(
    source: &dyn Source,
    documents: Vec<Descriptor>,
    is_changed: &mut dyn FnMut(&Descriptor) -> Result<bool>,
) -> Result<(Vec<Descriptor>, usize)> {
    let digests = |documents: &[Descriptor]| documents.iter().map(|d| d.digest).collect::<Vec<_>>();
    if documents.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let all = source.referrers(&digests(&documents))?;
    if all.is_empty() {
        return Ok((all, 0));
    }
    let (mut same, mut bare) = (Vec::new(), 0);
    for document in documents {
        if !is_changed(&document)? {
            same.push(document);
        } else if !source.referrers(&[document.digest])?.is_empty() {
            bare += 1;
        }
    }
    Ok((source.referrers(&digests(&same))?, bare))
}

/// Calls `visit` for the manifests and indexes at and below `root` that were not met before and are there. What cannot be
/// read is left to the copy to complain of.
fn below(
    source: &dyn Source,
    root: &Descriptor,
    met: &mut HashSet<Digest>,
    visit: &mut dyn FnMut(&Descriptor) -> Result<()>,
) -> Result<()> {
    let mut meet = |descriptor: &Descriptor, level: &mut Vec<Document>| -> Result<()> {
        if let Some(document) = Document::of(descriptor)
            && !met.contains(&descriptor.digest)
            && source.has(descriptor)?
        {
            met.insert(descriptor.digest);
            visit(descriptor)?;
            level.extend(document.is_index().then_some(document));
        }
        Ok(())
    };
    let mut level = Vec::new();
    meet(root, &mut level)?;
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for document in level {
            for child in children(source, &document.descriptor()).unwrap_or_default() {
                meet(&child, &mut next)?;
            }
        }
        level = next;
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
