// SPDX-License-Identifier: Apache-2.0
//! What is about an image: signatures, SBOMs, attestations. Spec: image-spec, manifest (`subject`); distribution-spec,
//! listing referrers.
//!
//! Three conventions tell of them in a layout, and all are read: a manifest or index with a `subject`, in `index.json` or
//! not; an index that is tagged `sha256-<hex>`, as regctl writes it where a registry would have its referrers tag; images
//! that are tagged `sha256-<hex>.sig`, `.att` and `.sbom`, as cosign writes them.

use super::{MAX_DOCUMENT, Store};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::index::{Edge, Mention, Tables};
use crate::layout::LockMode;
use crate::progress::Silent;
use crate::spec::{Descriptor, ImageIndex, Manifest, MediaClass, MediaType, RefName, json};

/// What cosign puts behind the name of an image that is about another one.
const COSIGN: [&str; 3] = [".sig", ".att", ".sbom"];

/// The tag of an index of what is about `digest`, and of cosign's images with `suffix` behind it. Spec: distribution-spec,
/// referrers tag schema.
pub fn referrers_tag(digest: &Digest, suffix: &str) -> Result<RefName> {
    let hex = digest.encoded();
    let hex = hex.get(..64).unwrap_or(&hex);
    format!("{}-{hex}{suffix}", digest.algorithm().name()).parse()
}

impl Store {
    /// What is about `digest`, by any of the conventions: descriptors with artifact type and annotations, in the order of
    /// artifact types and digests.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a referrer or an index of them is damaged.
    pub fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = self.with_index(&Silent, |tables| {
            let mut out = Vec::new();
            for mention in tables.mentions(digest)? {
                if let Mention::Document(Edge::Subject, referrer) = mention
                    && let Some(size) = tables.size(&referrer)?
                {
                    out.push((referrer, size));
                }
            }
            Ok(out)
        })?;
        for entry in self.lookup(&referrers_tag(digest, "")?)? {
            if entry.media_type.class() != MediaClass::Index {
                continue;
            }
            let context = || format!("read the index of referrers {}", entry.digest);
            let index: ImageIndex = json::parse(&self.read(&entry)?).context(context)?;
            found.extend(index.manifests.iter().map(|child| (child.digest, child.size)));
        }
        for suffix in COSIGN {
            let named = self.lookup(&referrers_tag(digest, suffix)?)?;
            found.extend(named.iter().map(|entry| (entry.digest, entry.size)));
        }
        found.sort_unstable();
        found.dedup_by_key(|(digest, _)| *digest);
        let mut out = Vec::new();
        for (digest, size) in found {
            // An index may name what is not here.
            if self.layout.blob_size(&digest)?.is_some() {
                out.push(self.describe_referrer(&digest, size)?);
            }
        }
        out.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
        Ok(out)
    }

    /// Removes a manifest that is about an image, unless something other than an entry of `index.json` without a tag leads
    /// to it. What it alone needs is garbage then.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a tag, a document or a lease needs it.
    pub fn detach(&self, referrer: &Digest) -> Result<()> {
        let _lock = self
            .layout
            .lock(LockMode::Exclusive, self.opts.lock_timeout, "detach")?;
        let needed = |by: String| {
            let text = format!("{referrer} is needed by {by}");
            Err(Error::new(ErrorKind::Conflict, text))
        };
        for lease in self.leases()?.iter().filter(|lease| lease.is_valid()) {
            if lease.digests.contains(referrer) {
                return needed(format!("the lease {}", lease.name));
            }
        }
        let index = self.index_or_memory(&Silent)?;
        index.sync(&self.layout, &Silent)?;
        let mentions = index.suppose(|tables| tables.mentions(referrer))?;
        for mention in mentions {
            match mention {
                Mention::Ref { name: None, .. } | Mention::Document(Edge::Subject, _) => {}
                Mention::Ref { name: Some(name), .. } => {
                    return needed(format!("the tag {name}, which umoci rm removes"));
                }
                Mention::Document(_, parent) => return needed(format!("the index {parent}")),
            }
        }
        self.change_refs("detach", &[], |index| {
            index.drop_entries(|entry| {
                entry.ref_name.is_none() && entry.descriptor().is_ok_and(|known| known.digest == *referrer)
            });
            Ok(())
        })?;
        index.write(|tables: &mut Tables<'_>| {
            tables.sync(&self.layout, &Silent)?;
            tables.unlist_blobs()?;
            tables.forget(referrer)
        })?;
        self.layout.remove_blob(referrer)?;
        self.layout.sync_blobs(referrer.algorithm())
    }

    fn describe_referrer(&self, digest: &Digest, size: u64) -> Result<Descriptor> {
        let plain = Descriptor::new(String::new(), *digest, size);
        let bytes = self.layout.read_blob(&plain, MAX_DOCUMENT)?;
        let context = || format!("read referrer {digest}");
        let value: serde_json::Value = json::parse(&bytes).context(context)?;
        let mut out = plain;
        if value.get("manifests").is_some() {
            let index: ImageIndex = json::parse(&bytes).context(context)?;
            out.media_type = or_else(index.media_type, MediaType::INDEX);
            out.artifact_type = index.artifact_type;
            out.annotations = index.annotations;
        } else {
            let manifest: Manifest = json::parse(&bytes).context(context)?;
            out.media_type = or_else(manifest.media_type, MediaType::MANIFEST);
            // An artifact without a type of its own is of the type of its config.
            let config = manifest.config.media_type.as_str().to_owned();
            out.artifact_type = manifest.artifact_type.or(Some(config));
            out.annotations = manifest.annotations;
        }
        Ok(out)
    }
}

fn or_else(given: MediaType, default: &str) -> MediaType {
    if given.as_str().is_empty() {
        MediaType::new(default.to_owned())
    } else {
        given
    }
}
