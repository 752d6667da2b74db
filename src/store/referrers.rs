// SPDX-License-Identifier: Apache-2.0
//! Referrers of an image: signatures, SBOMs, attestations. Spec: image-spec, manifest (`subject`); distribution-spec,
//! listing referrers.
//!
//! Three conventions tell of them in a layout, and all are read: a manifest or index with a `subject`, in `index.json` or
//! not; an index that is tagged `sha256-<hex>`, as regctl writes it where a registry would have its referrers tag; images
//! that are tagged `sha256-<hex>.sig`, `.att` and `.sbom`, as cosign writes them. Whatever others wrote there is listed: of what
//! cannot be read no more than that it is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Store;
use super::graph::{is_named, subject_of, walk};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::index::{Access, InEdge, Index, Place, Rows, Tables};
use crate::layout::IndexJson;
use crate::progress::{Monitor, Silent};
use crate::spec::json::Object;
use crate::spec::{Descriptor, MediaClass, MediaType, RefName};

/// Suffixes behind the digest in the names of referrers: none for an index of them all, the rest is cosign's.
pub(crate) const SUFFIXES: [&str; 4] = ["", ".sig", ".att", ".sbom"];

/// A media or artifact type that is longer is none, in bytes. Spec: RFC 6838, section 4.2.
const MAX_TYPE: usize = 255;

/// Annotations of so many bytes are in a list; those of further referrers are left out.
const MAX_ANNOTATIONS: usize = 8 << 20;

/// The tag of an index of what is about `digest`, and of cosign's images with `suffix` behind it. Spec: distribution-spec,
/// referrers tag schema.
pub fn referrers_tag(digest: &Digest, suffix: &str) -> Result<RefName> {
    let hex = digest.encoded();
    let hex = hex.get(..64).unwrap_or(&hex);
    format!("{}-{hex}{suffix}", digest.algorithm().name()).parse()
}

/// Returns whether this is the name of an index of referrers, or one of cosign's. Spec: distribution-spec, referrers tag schema.
pub(crate) fn is_referrers_tag(name: &RefName) -> bool {
    after_digest(name.as_str()).is_some_and(|suffix| SUFFIXES.contains(&suffix))
}

/// Returns the rest of a name that begins with a digest as the schema writes it: cut to 64 digits, for the length of tags.
fn after_digest(name: &str) -> Option<&str> {
    let (algorithm, rest) = name.split_once('-')?;
    let length = (2 * Algorithm::from_name(algorithm)?.len()).min(64);
    let (hex, suffix) = rest.split_at_checked(length)?;
    let is_hex = hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(suffix)
}

impl Store {
    /// Returns the referrers of `digest` by any of the conventions: descriptors with artifact type and annotations, in the order of
    /// artifact types and digests. A referrer that cannot be read has neither.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if an index of referrers is damaged.
    pub fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let by_subject = self.read_index(|view| subject_of(view, digest))?;
        let mut found = BTreeSet::from_iter(by_subject);
        found.extend(self.listed_by_tag(digest)?);
        for suffix in &SUFFIXES[1..] {
            let named = self.lookup(&referrers_tag(digest, suffix)?)?;
            found.extend(named.digests());
        }
        self.describe(found)
    }

    /// Returns the referrers of `digest` that a registry lists, in the order of digests: those with a subject that an entry of
    /// `index.json` or a document names, and those in the index that is tagged for it.
    ///
    /// # Errors
    /// As [`Store::referrers`].
    pub(crate) fn referrers_in_registry(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = self.read_index(|view| {
            let mut found = BTreeSet::new();
            for referrer in subject_of(view, digest)? {
                if is_named(view, &referrer)? {
                    found.insert(referrer);
                }
            }
            Ok(found)
        })?;
        found.extend(self.listed_by_tag(digest)?);
        let mut out = self.describe(found)?;
        out.sort_by_key(|one| one.digest);
        Ok(out)
    }

    /// Returns the digests in the index of referrers that is tagged for `digest`.
    fn listed_by_tag(&self, digest: &Digest) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        for entry in self.lookup(&referrers_tag(digest, "")?)? {
            if entry.media_type.class() == MediaClass::Index {
                let listed = self.listed(&entry.digest);
                out.extend(listed.context(|| format!("read the index of referrers {}", entry.digest))?);
            }
        }
        Ok(out)
    }

    /// Returns the complete referrers of `subjects` that are known by that alone, each behind its subject: no entry of `index.json`
    /// and no document names them. An index database is used if there is one, and none is made.
    ///
    /// # Errors
    /// Those of the index.
    pub(crate) fn unlisted_referrers(&self, subjects: &[Digest]) -> Result<Vec<(Digest, Descriptor)>> {
        // A copy reads a source that may belong to somebody else, and must leave nothing in it.
        let place = self.index_place(Place::FileIfThere);
        let found = Index::new(&self.layout, place, &Silent).read(|tables| {
            let mut out = BTreeMap::new();
            for subject in subjects {
                for referrer in subject_of(tables, subject)? {
                    if tables.count(&referrer)? == 0 && is_complete(tables, &referrer)? {
                        out.insert(referrer, *subject);
                    }
                }
            }
            Ok(out)
        })?;
        let described = self.describe(found.keys().copied().collect())?.into_iter();
        Ok(described.map(|one| (found[&one.digest], one)).collect())
    }

    /// Returns the digests in an index of referrers, as far as they are any.
    fn listed(&self, index: &Digest) -> Result<Vec<Digest>> {
        let Some(plain) = self.plain(index)? else {
            return Ok(Vec::new());
        };
        let index = IndexJson::parse(&self.read(&plain)?)?;
        let named = index.entries().iter().filter_map(|entry| entry.descriptor().ok());
        Ok(named.map(|named| named.digest).collect())
    }

    /// Returns a descriptor of a blob with the size that it has here, whatever others say; `None` if it is not here.
    fn plain(&self, digest: &Digest) -> Result<Option<Descriptor>> {
        let size = self.layout.blob_size(digest)?;
        Ok(size.map(|size| Descriptor::new("application/octet-stream".to_owned(), *digest, size)))
    }

    /// Returns descriptors for those that are here: an index may name others.
    fn describe(&self, referrers: BTreeSet<Digest>) -> Result<Vec<Descriptor>> {
        let mut out = Vec::new();
        let mut annotations = 0;
        for digest in referrers {
            let Some(plain) = self.plain(&digest)? else {
                continue;
            };
            // A damaged referrer is listed too: others wrote it, and a check tells of the damage.
            let bytes = self.read(&plain).ok();
            let mut one = bytes
                .and_then(|bytes| description(&plain, &bytes))
                .unwrap_or(plain);
            let lengths = one.annotations.iter().map(|(name, text)| name.len() + text.len());
            annotations += lengths.sum::<usize>();
            if annotations > MAX_ANNOTATIONS {
                one.annotations.clear();
            }
            out.push(one);
        }
        out.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
        Ok(out)
    }

    /// Removes manifests that are about an image, each named once, and what is about them in turn, unless something other than an
    /// entry of `index.json` without a tag leads to that. The blobs that they alone need are garbage then. Returns the blobs that were removed.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a tag, a document or a lease needs one of `referrers`, [`ErrorKind::Corrupt`] if a document that
    /// refs lead to is damaged, since what it needs is not known. No blob is removed then.
    pub(crate) fn detach(&self, referrers: &[Digest], monitor: &dyn Monitor) -> Result<Vec<Digest>> {
        let _lock = self.lock_exclusive("detach")?;
        let leased = self.leased()?;
        let mut index = self.index(monitor);
        let gone = index.write(|tables| self.find_detachable(tables, referrers, &leased, monitor))?;
        self.change_refs("detach", &[], |index| {
            // Another program may have given it a tag meanwhile.
            for entry in index.entries().iter().filter(|entry| entry.names_any(&gone)) {
                if let Some(name) = &entry.ref_name {
                    return Err(needed_by_tag(&entry.descriptor()?.digest, name));
                }
            }
            index.drop_entries(|entry| entry.names_any(&gone));
            Ok(())
        })?;
        let still = index.write(|tables| {
            let mut still = self.find_detachable(tables, referrers, &leased, monitor)?;
            // Nothing that came since authorises a removal.
            still.retain(|digest| gone.contains(digest));
            tables.invalidate_listing()?;
            still.iter().try_for_each(|digest| tables.forget(digest))?;
            Ok(still)
        })?;
        // A referrer goes before its subject: at no moment is it there without that.
        self.layout.remove_blobs(still.iter().rev(), |_| {})?;
        Ok(still)
    }

    /// Returns the blobs that [`Store::detach`] may remove, by an index that has caught up with the layout.
    fn find_detachable(
        &self,
        tables: &mut Tables<'_>,
        referrers: &[Digest],
        leased: &HashMap<Digest, String>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Digest>> {
        let mut damaged = tables.sync(&self.layout, &Silent)?;
        // A damaged referrer may go: its text no longer matters then.
        damaged.retain(|one| !referrers.contains(&one.digest));
        self.refuse_damage(tables, &damaged, monitor)?;
        detachable(tables, referrers, leased)
    }
}

/// Whether all that a document names is here; the empty document may stand in its descriptor alone.
fn is_complete(tables: &Rows<impl Access>, document: &Digest) -> Result<bool> {
    let empty = Digest::sha256(b"{}");
    for child in tables.declared_children(document)? {
        if child != empty && !tables.is_present(&child)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn needed(digest: &Digest, by: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Conflict, format!("{digest} is needed by {by}"))
}

fn needed_by_tag(digest: &Digest, name: &str) -> Error {
    needed(digest, format_args!("the tag {name}")).with_fact(Fact::NeededByTag)
}

/// `referrers`, and of what is about them in turn all that nothing else needs, each after what it is about.
fn detachable(
    tables: &Rows<impl Access>,
    referrers: &[Digest],
    leased: &HashMap<Digest, String>,
) -> Result<Vec<Digest>> {
    let mut gone: HashSet<Digest> = referrers.iter().copied().collect();
    for referrer in referrers {
        if let Some(err) = needed_by(tables, referrer, &gone, leased)? {
            return Err(err);
        }
    }
    walk(referrers.iter().copied(), |subject| {
        let mut next = Vec::new();
        for referrer in subject_of(tables, &subject)? {
            if !gone.contains(&referrer) && needed_by(tables, &referrer, &gone, leased)?.is_none() {
                gone.insert(referrer);
                next.push(referrer);
            }
        }
        Ok(next)
    })
}

/// Returns the refusal to remove a blob that something needs, other than documents that are `gone` and untagged entries of
/// `index.json`; `None` if nothing does.
fn needed_by(
    tables: &Rows<impl Access>,
    digest: &Digest,
    gone: &HashSet<Digest>,
    leased: &HashMap<Digest, String>,
) -> Result<Option<Error>> {
    if let Some(name) = leased.get(digest) {
        return Ok(Some(needed(digest, format_args!("the lease {name}"))));
    }
    for in_edge in tables.in_edges(digest)? {
        match in_edge {
            InEdge::Ref { name: Some(name), .. } => return Ok(Some(needed_by_tag(digest, &name))),
            InEdge::Document(edge, parent) if edge.holds() && !gone.contains(&parent) => {
                return Ok(Some(needed(digest, format_args!("the index {parent}"))));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Returns the text in a member that has a media or artifact type, if it is of a length that one may have.
fn type_in(object: &Object<'_>, name: &str) -> Option<String> {
    let text: Option<String> = object.read(name);
    text.filter(|text| (1..=MAX_TYPE).contains(&text.len()))
}

/// Returns the descriptor that a referrer gives of itself; `None` if it is no JSON object.
fn description(plain: &Descriptor, bytes: &[u8]) -> Option<Descriptor> {
    let object = Object::parse(bytes).ok()?;
    let media_type = type_in(&object, "mediaType").unwrap_or_else(|| {
        let is_index = object.get("manifests").is_some();
        if is_index {
            MediaType::INDEX
        } else {
            MediaType::MANIFEST
        }
        .to_owned()
    });
    let mut out = Descriptor::new(media_type, plain.digest, plain.size);
    // An artifact without a type of its own is of the type of its config.
    out.artifact_type =
        type_in(&object, "artifactType").or_else(|| type_in(&object.object("config")?, "mediaType"));
    out.annotations = object.read("annotations").unwrap_or_default();
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::progress::Task;
    use crate::store::StoreOptions;

    /// Another program, which takes no lock, and does something at the first warning.
    struct Meanwhile<F>(AtomicBool, F);

    impl<F: Fn() + Send + Sync> Monitor for Meanwhile<F> {
        fn task(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
            Silent.task(name, total)
        }

        fn warn(&self, _: std::fmt::Arguments<'_>) {
            if !self.0.swap(true, Ordering::Relaxed) {
                (self.1)();
            }
        }

        fn info(&self, _: std::fmt::Arguments<'_>) {}
    }

    #[test]
    fn what_another_program_names_meanwhile_is_not_removed() {
        for as_index in [false, true] {
            let dir = tempfile::tempdir().expect("dir");
            let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
            let put = |text: &str| {
                let digest = Digest::sha256(text.as_bytes());
                std::fs::write(store.layout().blob_path(&digest), text).expect("write");
                digest
            };
            let entry = |media_type: &str, digest: &Digest, more: &str| {
                format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1{more}}}"#)
            };
            let list =
                |entries: &[String]| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
            let index_json = store.layout().path().join("index.json");
            let image = put("{}");
            let artifact = put(&format!(
                r#"{{"config":{0},"layers":[],"subject":{0}}}"#,
                entry("a/b", &image, "")
            ));
            let named = r#","annotations":{"org.opencontainers.image.ref.name":"t"}"#;
            let own = entry(MediaType::MANIFEST, &artifact, "");
            std::fs::write(&index_json, list(std::slice::from_ref(&own))).expect("write");
            // Something that nobody needs, to be warned of.
            std::fs::write(store.layout().blob_path(&Digest::sha256(b"other")), "{}").expect("write");
            let meanwhile = || {
                let other = if as_index {
                    let index = put(&list(std::slice::from_ref(&own)));
                    entry(MediaType::INDEX, &index, named)
                } else {
                    entry(MediaType::MANIFEST, &artifact, named)
                };
                std::fs::write(&index_json, list(&[own.clone(), other])).expect("write");
            };
            let monitor = Meanwhile(AtomicBool::new(false), meanwhile);
            let err = store.detach(&[artifact], &monitor).expect_err("needed");
            assert_eq!(err.kind(), ErrorKind::Conflict);
            let by = if as_index { "by the index" } else { "by the tag t" };
            assert!(err.to_string().contains(by), "{err}");
            assert!(store.layout().blob_size(&artifact).expect("stat").is_some());
            assert_eq!(store.names().expect("names"), ["t"]);
        }
    }

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
