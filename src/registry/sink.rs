// SPDX-License-Identifier: Apache-2.0
//! A repository as the sink of a copy.
//!
//! Order: blobs, then manifests below an index, then what a tag leads to, under its tag. A copy that breaks off leaves no tag.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::referrers;
use super::repository::{Endpoint, Put, Repository};
use super::spool::Spooled;
use super::upload::{has_blob, upload};
use super::{NETWORK_THREADS, Registry, RepositoryName};
use crate::digest::Digest;
use crate::error::{Result, lock};
use crate::progress::Monitor;
use crate::spec::json::Object;
use crate::spec::{Descriptor, ImageIndex, MediaClass, RefName};
use crate::store::referrers_tag;
use crate::transfer::{Body, CopyReport, Request, Sink, Source, copy, on_threads};

/// Maximum number of times that a copy is made again because the registry lost blobs meanwhile.
const MAX_ROUNDS: usize = 6;
/// A blob of more bytes is asked for before it is sent to a registry that may not heed a mount.
const LARGE: u64 = 8 << 20;

/// Answers of the registry that a sink relies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    /// A granted mount, and a manifest that is there with all below it.
    All,
    /// A blob that is there when it is asked for.
    Blobs,
    /// None: every blob is sent.
    Nothing,
}

/// Writes into a repository of a registry.
#[derive(Debug)]
pub struct RegistrySink {
    repository: Repository,
    /// A repository of the same host that has the blobs.
    mount_from: Option<RepositoryName>,
    /// Directory in which a blob that comes from far away waits until it is whole.
    spool: Option<PathBuf>,
    /// True once a mount was granted: the registry heeds the wish.
    grants_mounts: AtomicBool,
    /// Answer to the first question for a large blob.
    first_large: Mutex<Option<bool>>,
    trust: Trust,
    /// Blobs that the registry named when it refused a manifest that needs them.
    lacking: Mutex<HashSet<Digest>>,
    /// True after a manifest was refused for the want of blobs.
    is_lacking: AtomicBool,
    /// Manifests and indexes by whether they are there.
    whole: Mutex<HashMap<Digest, bool>>,
    /// Held while a list of referrers is changed: two threads that add to one would lose entries of each other.
    listing: Mutex<()>,
    /// Digests that the tags lead to, of those that were asked for.
    tags: HashMap<RefName, Option<Digest>>,
    /// Manifests that get a tag in the end.
    roots: HashSet<Digest>,
    held: Mutex<HashMap<Digest, (Descriptor, Vec<u8>)>>,
}

impl Registry {
    /// Begins to write to a repository.
    ///
    /// # Errors
    /// `ErrorKind::Denied` if `registries.conf` blocks it.
    pub fn sink(&self, name: &RepositoryName) -> Result<RegistrySink> {
        Ok(RegistrySink {
            repository: self.own_repository(name)?,
            mount_from: None,
            spool: None,
            grants_mounts: AtomicBool::new(false),
            first_large: Mutex::default(),
            trust: Trust::All,
            lacking: Mutex::default(),
            is_lacking: AtomicBool::new(false),
            whole: Mutex::default(),
            listing: Mutex::default(),
            tags: HashMap::new(),
            roots: HashSet::new(),
            held: Mutex::default(),
        })
    }
}

impl RegistrySink {
    /// Lets blobs be mounted from a repository of the same host, and all others wait in a file below `spool` until they are
    /// whole: neither end of a copy waits for the other then.
    #[must_use]
    pub fn from_repository(mut self, name: &RepositoryName, spool: PathBuf) -> Self {
        let is_near = name.host() == self.repository.name.host();
        self.mount_from = is_near.then(|| name.clone());
        self.spool = Some(spool);
        self
    }

    /// Asks which digests the tags lead to, several at a time; `None` for a tag that is not there. Each is asked for once.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` for a name that no registry takes; those of the registry.
    pub fn tags(&mut self, names: &[RefName]) -> Result<&HashMap<RefName, Option<Digest>>> {
        for name in names {
            self.repository.name.with_tag(name.as_str())?;
        }
        let new: Vec<&RefName> = names
            .iter()
            .filter(|name| !self.tags.contains_key(name))
            .collect();
        let found = on_threads(NETWORK_THREADS, &new, |name| {
            Ok(self.repository.head(name.as_str())?.map(|found| found.digest))
        })?;
        let found: Vec<_> = new.into_iter().cloned().zip(found).collect();
        self.tags.extend(found);
        Ok(&self.tags)
    }

    /// Returns which of the images the repository does not have under their names; these get their tags by
    /// [`RegistrySink::copy`].
    ///
    /// # Errors
    /// `ErrorKind::Ambiguous` if a name leads to several entries; as [`RegistrySink::tags`].
    pub fn missing(&mut self, images: Vec<Request>) -> Result<Vec<Request>> {
        for image in &images {
            self.repository.name.takes(image)?;
        }
        let names: Vec<RefName> = images.iter().filter_map(|image| image.name.clone()).collect();
        let tags = self.tags(&names)?;
        let mut out = Vec::new();
        let mut roots = HashSet::new();
        for request in images {
            if let (Some(tag), Some(only)) = (&request.name, request.value.only()) {
                if tags.get(tag) == Some(&Some(only.digest)) {
                    continue;
                }
                roots.insert(only.digest);
            }
            out.push(request);
        }
        self.roots = roots;
        Ok(out)
    }

    /// Returns the names of images whose tags lead to something else, as far as [`RegistrySink::tags`] has asked.
    pub fn replaced(&self, images: &[Request]) -> Vec<RefName> {
        let mut out = Vec::new();
        for Request { name, value } in images {
            if let Some(name) = name
                && let Some(Some(found)) = self.tags.get(name)
                && value.digests().all(|digest| digest != *found)
            {
                out.push(name.clone());
            }
        }
        out
    }

    /// Copies images and their referrers here, and gives the images their tags once all of them are whole.
    ///
    /// A registry vouches for what it grants to mount and for what a manifest in it needs. It is the manifest that proves
    /// it: where the registry refuses one because blobs are missing, which a garbage collection may have removed meanwhile,
    /// they are sent after all.
    ///
    /// # Errors
    /// Those of the registry and of the source.
    pub fn copy(
        &mut self,
        source: &dyn Source,
        images: &[Request],
        attached: &[Request],
        monitor: &dyn Monitor,
    ) -> Result<CopyReport> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            let done = copy(source, self, images.iter().chain(attached), monitor)
                .and_then(|report| self.commit(images, attached).map(|()| report));
            let is_lacking = self.is_lacking.swap(false, Ordering::Relaxed);
            if done.is_ok() || !is_lacking || rounds == MAX_ROUNDS {
                return done;
            }
            self.trust = match self.trust {
                Trust::All => Trust::Blobs,
                _ => Trust::Nothing,
            };
            lock(&self.whole).clear();
        }
    }

    /// Gives the images their tags, and lists their referrers where the registry does not do so by itself.
    fn commit(&self, images: &[Request], attached: &[Request]) -> Result<()> {
        for Request { name, value } in attached {
            if let (Some(name), Some(only)) = (name, value.only()) {
                self.attach(name, only)?;
            }
        }
        let named = images
            .iter()
            .filter_map(|image| Some((image.name.as_ref()?, image.value.only()?)));
        let named: Vec<(&RefName, &Descriptor)> = named.collect();
        on_threads(NETWORK_THREADS, &named, |(name, only)| {
            let held = lock(&self.held).get(&only.digest).cloned();
            let Some((descriptor, bytes)) = held else {
                fail!(NotFound, "{name}: its manifest was not copied");
            };
            self.put_document(name.as_str(), &descriptor, &bytes)
        })
        .map(drop)
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
        let has_listed_subject = match self.repository.put_manifest(target, descriptor, bytes)? {
            Put::Stored { has_listed_subject } => has_listed_subject,
            Put::Lacking { blobs, error } => {
                lock(&self.lacking).extend(blobs);
                self.is_lacking.store(true, Ordering::Relaxed);
                return Err(error);
            }
        };
        let object = Object::parse(bytes)?;
        let subject: Option<Descriptor> = object.read("subject");
        if let Some(subject) = subject.filter(|_| !has_listed_subject) {
            let listed = referrer(descriptor, &object);
            self.join(&referrers_tag(&subject.digest, "")?, &[listed])?;
        }
        Ok(())
    }

    /// Adds entries to the list of referrers of a tag.
    fn join(&self, tag: &RefName, entries: &[Descriptor]) -> Result<()> {
        let _listing = lock(&self.listing);
        referrers::join(&self.repository, tag, entries)
    }

    /// Sends a blob unless the registry has it. Returns whether its bytes were sent.
    fn send(&self, blob: &Descriptor, body: &dyn Body) -> Result<bool> {
        let place = self.repository.own()?;
        let is_lacking = lock(&self.lacking).contains(&blob.digest);
        if self.trust != Trust::All {
            let is_believed = self.trust == Trust::Blobs && !is_lacking;
            if is_believed && has_blob(place, blob, "pull,push")? {
                return Ok(false);
            }
            return upload(place, blob, None, body);
        }
        // A mount from the repository itself asks for the blob and begins the upload with one request.
        let from = self.mount_from.as_ref().unwrap_or(&place.name);
        let may_ignore = blob.size > LARGE && !self.grants_mounts.load(Ordering::Relaxed);
        if may_ignore && self.mount_from.is_none() && self.has_large(place, blob)? {
            return Ok(false);
        }
        let is_sent = upload(place, blob, Some(from), body)?;
        if !is_sent {
            self.grants_mounts.store(true, Ordering::Relaxed);
        }
        Ok(is_sent)
    }

    /// Asks for a large blob. One answer speaks for all where it is no, and no image is known to be there: then each further
    /// question would cost a request for nothing.
    fn has_large(&self, place: &Endpoint, blob: &Descriptor) -> Result<bool> {
        let may_have_more = {
            // The other threads wait for the first answer.
            let mut first = lock(&self.first_large);
            match *first {
                None => return Ok(*first.insert(has_blob(place, blob, "pull,push")?)),
                Some(is_there) => is_there || self.has_an_image(),
            }
        };
        Ok(may_have_more && has_blob(place, blob, "pull,push")?)
    }

    /// Returns whether the repository has any of the tags or manifests that were asked for.
    fn has_an_image(&self) -> bool {
        self.tags.values().any(Option::is_some) || lock(&self.whole).values().any(|is_whole| *is_whole)
    }

    /// Returns whether a question for a manifest may spare those for its blobs. A new image would cost one request more.
    fn may_be_whole(&self, document: &Descriptor) -> bool {
        let is_new = self.tags.values().all(Option::is_none);
        let is_image =
            self.roots.contains(&document.digest) && document.media_type.class() != MediaClass::Index;
        document.media_type.is_image() && !(is_new && is_image)
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
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        // Of a blob the request that would tell is the one that begins to send it. A manifest that gets a tag is needed for that.
        let is_whole = lock(&self.whole).get(&descriptor.digest) == Some(&true);
        Ok(is_whole && !self.roots.contains(&descriptor.digest))
    }

    fn whole(&self, documents: &[Descriptor]) -> Result<HashSet<Digest>> {
        if self.trust != Trust::All {
            return Ok(HashSet::new());
        }
        let known = lock(&self.whole).clone();
        let new = documents
            .iter()
            .filter(|document| !known.contains_key(&document.digest) && self.may_be_whole(document));
        let new: Vec<&Descriptor> = new.collect();
        let found = on_threads(NETWORK_THREADS, &new, |document| {
            Ok(self.repository.head(&document.digest.to_string())?.is_some())
        })?;
        let mut known = lock(&self.whole);
        known.extend(new.iter().map(|document| document.digest).zip(found));
        let whole = documents.iter().map(|document| document.digest);
        Ok(whole.filter(|digest| known.get(digest) == Some(&true)).collect())
    }

    fn put(&self, blob: &Descriptor, body: &dyn Body) -> Result<bool> {
        match &self.spool {
            Some(dir) => self.send(blob, &Spooled::new(blob, body, dir)),
            None => self.send(blob, body),
        }
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
