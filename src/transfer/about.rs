// SPDX-License-Identifier: Apache-2.0
//! What is about images travels with them.

use std::collections::{HashMap, HashSet};

use super::plan::children;
use super::{MAX_DEPTH, Named, Request, Source, read_document};
use crate::digest::Digest;
use crate::error::Result;
use crate::spec::{Descriptor, MediaClass, json};
use crate::store::referrers_tag;

/// The images that were asked for, and all that the source lists about them and what they consist of: manifests and indexes
/// with a subject that have no name, and what has the names of the conventions for referrers. Those of the blobs of a source
/// that it does not list are not found.
///
/// # Errors
/// Those of the source.
pub fn with_referrers(source: &dyn Source, requests: Vec<Request>) -> Result<Vec<Request>> {
    let images = source.images()?;
    let mut about: HashMap<Digest, Vec<&Descriptor>> = HashMap::new();
    for Named { name, descriptor } in &images {
        // What has a name of its own travels when it is asked for.
        if name.is_none()
            && let Some(subject) = subject(source, descriptor)
        {
            about.entry(subject).or_default().push(descriptor);
        }
    }
    let named: HashMap<&str, &Named> = images
        .iter()
        .filter_map(|image| Some((image.name.as_deref()?, image)))
        .collect();
    let mut met: HashSet<Digest> = HashSet::new();
    let mut out = requests;
    let mut at = 0;
    while let Some(request) = out.get(at) {
        let mut documents = Vec::new();
        below(source, &request.descriptor, &mut met, &mut documents, 0);
        for digest in documents {
            for descriptor in about.get(&digest).into_iter().flatten() {
                out.push(Request {
                    name: None,
                    descriptor: (*descriptor).clone(),
                });
            }
            for suffix in ["", ".sig", ".att", ".sbom"] {
                let tag = referrers_tag(&digest, suffix)?;
                if let Some(image) = named.get(tag.as_str())
                    && out.iter().all(|request| request.name.as_ref() != Some(&tag))
                {
                    out.push(Request {
                        name: Some(tag),
                        descriptor: image.descriptor.clone(),
                    });
                }
            }
        }
        at += 1;
    }
    Ok(out)
}

/// The manifests and indexes at and below `descriptor` that were not met before. What cannot be read is left to the copy to
/// complain of.
fn below(
    source: &dyn Source,
    descriptor: &Descriptor,
    met: &mut HashSet<Digest>,
    out: &mut Vec<Digest>,
    depth: usize,
) {
    let class = descriptor.media_type.class();
    if !matches!(class, MediaClass::Manifest | MediaClass::Index) || depth > MAX_DEPTH {
        return;
    }
    if !met.insert(descriptor.digest) {
        return;
    }
    out.push(descriptor.digest);
    if class == MediaClass::Index {
        for child in children(source, descriptor).unwrap_or_default() {
            below(source, &child, met, out, depth + 1);
        }
    }
}

fn subject(source: &dyn Source, descriptor: &Descriptor) -> Option<Digest> {
    #[derive(serde::Deserialize)]
    struct Document {
        subject: Option<Descriptor>,
    }
    if !matches!(
        descriptor.media_type.class(),
        MediaClass::Manifest | MediaClass::Index
    ) {
        return None;
    }
    let bytes = read_document(source, descriptor).ok()?;
    let document: Document = json::parse(&bytes).ok()?;
    Some(document.subject?.digest)
}
