// SPDX-License-Identifier: Apache-2.0
//! A repository as the sink of a copy.
//!
//! Order: blobs, then manifests below an index, then what a tag leads to, under its tag. A copy that breaks off leaves no tag.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::repository::Repository;
use super::upload::{has_blob, upload};
use super::{NETWORK_THREADS, Registry, RepositoryName};
use crate::digest::Digest;
use crate::error::{Result, ResultExt, lock};
use crate::spec::json::Object;
use crate::spec::{Descriptor, ImageIndex, MediaClass, MediaType, RefName, json};
use crate::store::referrers_tag;
use crate::transfer::{Body, Request, Sink};

/// Tries to add an entry to the list of a tag that somebody else changes meanwhile.
const MAX_TRIES: usize = 5;
/// A blob of more bytes is asked for before it is sent to a registry that may not heed a mount.
const LARGE: u64 = 8 << 20;

/// Writes into a repository of a registry.
#[derive(Debug)]
pub struct RegistrySink {
    repository: Repository,
    /// A repository of the same host that has the blobs.
    mount_from: Option<RepositoryName>,
    /// Whether a mount was granted: the registry heeds the wish.
    grants_mounts: AtomicBool,
    /// Held while a list of referrers is changed: two threads that add to one would lose entries of each other.
    listing: Mutex<()>,
    /// Tags that led to something else before.
    replaced: Vec<RefName>,
    /// Manifests that get a tag in the end.
    roots: HashSet<Digest>,
    held: Mutex<HashMap<Digest, (Descriptor, Vec<u8>)>>,
}

impl Registry {
    /// Begins to write to a repository the images that are to get the names of `images` there.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` if a name is none that a registry takes, `ErrorKind::Ambiguous` if one leads to several entries.
    pub fn sink(
        &self,
        name: &RepositoryName,
        images: &[Request],
        mount_from: Option<&RepositoryName>,
    ) -> Result<RegistrySink> {
        let mut roots = HashSet::new();
        for Request { name: tag, value } in images {
            let Some(tag) = tag else { continue };
            name.with_tag(tag.as_str())?;
            match value.only() {
                Some(only) => roots.insert(only.digest),
                None => fail!(
                    Ambiguous,
                    "{tag} leads to {} entries, and a tag of a registry leads to one",
                    value.entries().len()
                ),
            };
        }
        let repository = self.own_repository(name)?;
        Ok(RegistrySink {
            repository,
            mount_from: mount_from.filter(|from| from.host() == name.host()).cloned(),
            grants_mounts: AtomicBool::new(false),
            listing: Mutex::default(),
            replaced: Vec::new(),
            roots,
            held: Mutex::default(),
        })
    }
}

impl RegistrySink {
    /// Returns which of the images the repository does not have under their names.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn missing(&mut self, images: Vec<Request>) -> Result<Vec<Request>> {
        let mut out = Vec::new();
        for request in images {
            if let (Some(tag), Some(only)) = (&request.name, request.value.only()) {
                let found = self.repository.head(tag.as_str())?;
                match found {
                    Some(found) if found.digest == only.digest => continue,
                    Some(_) => self.replaced.push(tag.clone()),
                    None => {}
                }
            }
            out.push(request);
        }
        Ok(out)
    }

    /// Returns the tags that led to something else when [`RegistrySink::missing`] looked.
    pub fn replaced(&self) -> &[RefName] {
        &self.replaced
    }

    /// Gives the images their tags, and lists their referrers where the registry does not do so by itself.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn commit(self, images: &[Request], attached: &[Request]) -> Result<()> {
        for Request { name, value } in attached {
            if let (Some(name), Some(only)) = (name, value.only()) {
                self.attach(name, only)?;
            }
        }
        for Request { name, value } in images {
            if let (Some(name), Some(only)) = (name, value.only()) {
                let held = lock(&self.held);
                let Some((descriptor, bytes)) = held.get(&only.digest).cloned() else {
                    fail!(NotFound, "{name}: its manifest was not copied");
                };
                drop(held);
                self.put_document(name.as_str(), &descriptor, &bytes)?;
            }
        }
        Ok(())
    }

    /// Gives a referrer that was copied the name that a convention has for it. An index joins the list that is there; any other
    /// document gives way to what has the name already.
    fn attach(&self, name: &RefName, referrer: &Descriptor) -> Result<()> {
        let digest = referrer.digest.to_string();
        let Some(found) = self.repository.manifest(&digest)? else {
            fail!(NotFound, "{name}: {digest} was not copied");
        };
        if referrer.media_type.class() == MediaClass::Index {
            return self.join(name, &ImageIndex::parse(&found.bytes)?.manifests);
        }
        if self.repository.head(name.as_str())?.is_none() {
            self.put_document(name.as_str(), &found.descriptor, &found.bytes)?;
        }
        Ok(())
    }

    /// Sends a manifest, and adds it to the list of its subject's referrers if the registry does not.
    fn put_document(&self, target: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
        let has_listed_subject = self.repository.put_manifest(target, descriptor, bytes)?;
        let object = Object::parse(bytes)?;
        let subject: Option<Descriptor> = object.read("subject");
        if let Some(subject) = subject.filter(|_| !has_listed_subject) {
            let listed = referrer(descriptor, &object);
            self.join(&referrers_tag(&subject.digest, "")?, &[listed])?;
        }
        Ok(())
    }

    /// Adds entries to the index that stands for a list of referrers. It is read again after it was written: of two that
    /// write it at once the registry keeps one.
    fn join(&self, tag: &RefName, entries: &[Descriptor]) -> Result<()> {
        let _listing = lock(&self.listing);
        for _ in 0..MAX_TRIES {
            let mut index = match self.repository.manifest(tag.as_str())? {
                None => ImageIndex::new(Vec::new()),
                Some(found) => ImageIndex::parse(&found.bytes)
                    .context(|| format!("{tag} in {} is no list of referrers", self.repository.name))?,
            };
            let known: HashSet<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
            let new: Vec<&Descriptor> = entries
                .iter()
                .filter(|entry| !known.contains(&entry.digest))
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            index.manifests.extend(new.into_iter().cloned());
            let bytes = json::to_bytes(&index)?;
            let descriptor = Descriptor::new(MediaType::INDEX, Digest::sha256(&bytes), bytes.len() as u64);
            self.repository.put_manifest(tag.as_str(), &descriptor, &bytes)?;
        }
        fail!(
            Conflict,
            "{tag} in {} was changed by others each time",
            self.repository.name
        )
    }

    /// Sends a blob unless the registry has it. Returns whether its bytes were sent.
    fn send(&self, blob: &Descriptor, body: &dyn Body) -> Result<bool> {
        let place = self.repository.own()?;
        // A mount from the repository itself asks for the blob and begins the upload with one request.
        let from = self.mount_from.as_ref().unwrap_or(&place.name);
        let may_ignore = blob.size > LARGE && !self.grants_mounts.load(Ordering::Relaxed);
        if may_ignore && self.mount_from.is_none() && has_blob(place, blob, "pull,push")? {
            return Ok(false);
        }
        let is_sent = upload(place, blob, Some(from), body)?;
        if !is_sent {
            self.grants_mounts.store(true, Ordering::Relaxed);
        }
        Ok(is_sent)
    }
}

/// Returns the entry of a manifest in a list of referrers. Spec: distribution-spec, "Pushing Manifests with Subject".
fn referrer(descriptor: &Descriptor, object: &Object<'_>) -> Descriptor {
    let config: Option<Descriptor> = object.read("config");
    let of_config = config.map(|config| config.media_type.as_str().to_owned());
    let own: Option<String> = object.read("artifactType");
    let mut out = descriptor.bare();
    out.artifact_type = own.filter(|text| !text.is_empty()).or(of_config);
    out.annotations = object.read("annotations").unwrap_or_default();
    out
}

impl Sink for RegistrySink {
    fn has(&self, _descriptor: &Descriptor) -> Result<bool> {
        // The request that would tell is the one that begins to send it.
        Ok(false)
    }

    fn put(&self, blob: &Descriptor, body: &dyn Body) -> Result<bool> {
        self.send(blob, body)
    }

    fn put_manifest(&self, descriptor: &Descriptor, body: &dyn Body) -> Result<bool> {
        let mut bytes = Vec::new();
        body.open()?.read_to_end(&mut bytes)?;
        if self.roots.contains(&descriptor.digest) {
            let mut held = lock(&self.held);
            held.insert(descriptor.digest, (descriptor.clone(), bytes));
            return Ok(true);
        }
        self.put_document(&descriptor.digest.to_string(), descriptor, &bytes)?;
        Ok(true)
    }

    fn threads(&self) -> Option<usize> {
        Some(NETWORK_THREADS)
    }
}
