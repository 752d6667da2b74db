// SPDX-License-Identifier: Apache-2.0
//! A repository at the origin: each thing is asked for once, whatever the number of clients that wait for it.

use std::collections::HashMap;
use std::io::{self, Read, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::answer::BlobFile;
use super::growth::{Grower, growth};
use super::incoming::Incoming;
use super::once::Once;
use super::options::LogLine;
use super::pull::{Found, find_manifest, open_blob};
use super::repositories::{Repositories, Repository};
use super::route::Target;
use super::upload::keep;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result, lock};
use crate::layout::BlobWriter;
use crate::registry::Origin;
use crate::spec::{Descriptor, Document, MAX_DOCUMENT, MediaType};

/// Bytes at the end of a blob that nobody gets before all of it was verified.
const HELD_BACK: u64 = 64 * 1024;
/// Bytes that are read of a blob at a time.
const BUFFER: usize = 256 * 1024;
/// Maximum number of tags of a repository that are remembered.
const MAX_TAGS: usize = 10_000;

/// A result that several threads get.
pub(super) type Shared<T> = std::result::Result<Option<T>, Arc<Error>>;

/// Settings and state that all repositories at the origin share.
pub(super) struct Common {
    pub incoming: Incoming,
    /// Time for which a tag is not asked for again.
    pub revalidate: Duration,
    pub log: LogLine,
}

/// A repository at the origin.
pub(super) struct Remote {
    name: String,
    origin: Origin,
    common: Arc<Common>,
    /// Images of tags, and when the origin was asked.
    tags: Mutex<HashMap<String, (Digest, Instant)>>,
    /// All tags, and when the origin was asked.
    list: Mutex<Option<(Arc<Vec<String>>, Instant)>>,
    asked_tags: Once<String, Shared<Digest>>,
    asked_list: Once<(), Shared<Arc<Vec<String>>>>,
    asked_manifests: Once<Digest, Shared<Found>>,
    asked_referrers: Once<Digest, Shared<Arc<Vec<Descriptor>>>>,
    /// Blobs that are on their way.
    flights: Once<Digest, Shared<BlobFile>>,
}

/// The place of a blob among those on their way. Dropped, also by a panic, it makes room for another attempt.
struct Place<'a>(&'a Remote, Digest);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.flights.end(&self.1);
    }
}

/// A blob on its way.
struct Flight {
    remote: Arc<Remote>,
    repository: Arc<Repository>,
    blob: Descriptor,
    /// True if a manifest needs it as a blob, rather than naming it as another manifest.
    is_needed: bool,
    writer: BlobWriter,
    body: Box<dyn Read + Send>,
    grower: Grower,
}

impl Remote {
    pub fn new(name: &str, origin: Origin, common: Arc<Common>) -> Self {
        Self {
            name: name.to_owned(),
            origin,
            common,
            tags: Mutex::default(),
            list: Mutex::default(),
            asked_tags: Once::default(),
            asked_list: Once::default(),
            asked_manifests: Once::default(),
            asked_referrers: Once::default(),
            flights: Once::default(),
        }
    }

    /// Returns the number of blobs that are on their way.
    pub fn flights(&self) -> usize {
        self.flights.count()
    }

    fn is_fresh(&self, asked: Instant) -> bool {
        asked.elapsed() < self.common.revalidate
    }

    fn fresh_tag(&self, tag: &str) -> Option<Digest> {
        let tags = lock(&self.tags);
        let known = tags.get(tag).filter(|(_, asked)| self.is_fresh(*asked));
        known.map(|(digest, _)| *digest)
    }

    fn note_tag(&self, tag: &str, digest: Digest) {
        let mut tags = lock(&self.tags);
        if tags.len() >= MAX_TAGS {
            tags.clear();
        }
        tags.insert(tag.to_owned(), (digest, Instant::now()));
    }

    /// Returns the image of a tag at the origin, as of a short time ago; that of the layout if the origin does not answer.
    ///
    /// # Errors
    /// Those of the origin.
    pub fn tag(&self, tag: &str, repository: Option<&Repository>) -> Shared<Digest> {
        if let Some(fresh) = self.fresh_tag(tag) {
            return Ok(Some(fresh));
        }
        let ask = || {
            if let Some(fresh) = self.fresh_tag(tag) {
                return Ok(Some(fresh));
            }
            let found = match self.origin.tag(tag) {
                Ok(found) => found.map(|image| image.digest),
                Err(err) => Some(self.stale_tag(tag, repository, err)?),
            };
            match found {
                Some(digest) => self.note_tag(tag, digest),
                None => drop(lock(&self.tags).remove(tag)),
            }
            Ok(found)
        };
        self.asked_tags.run(&tag.to_owned(), ask, |_| false)
    }

    /// Returns the image that a tag had when the origin answered last.
    fn stale_tag(
        &self,
        tag: &str,
        repository: Option<&Repository>,
        err: Error,
    ) -> Result<Digest, Arc<Error>> {
        let mut known = None;
        if is_silent(&err) {
            let listing = repository.map(Repository::listing).transpose();
            let here = listing.map_err(Arc::new)?;
            let here = here.and_then(|listing| Some(listing.tags.get(tag)?.digest));
            known = here.or_else(|| Some(lock(&self.tags).get(tag)?.0));
        }
        let Some(known) = known else {
            return Err(Arc::new(err));
        };
        (self.common.log)(&format!("stale: {}:{tag} is {known} as it was: {err}", self.name));
        Ok(known)
    }

    /// Returns a manifest, of which the layout has none with an entry.
    ///
    /// # Errors
    /// Those of the origin and of the layout.
    pub fn manifest(&self, digest: &Digest, repositories: &Repositories) -> Shared<Found> {
        let fetch = || self.fetch_manifest(digest, repositories).map_err(Arc::new);
        let found = self.asked_manifests.run(digest, fetch, |_| false)?;
        Ok(found)
    }

    fn fetch_manifest(&self, digest: &Digest, repositories: &Repositories) -> Result<Option<Found>> {
        if let Some(waiting) = self.common.incoming.get(&self.name, digest) {
            return Ok(Some(waiting));
        }
        if let Some(repository) = repositories.find(&self.name)?
            && let Some(found) = find_manifest(&repository, &Target::Digest(*digest))?
        {
            return Ok(Some(found));
        }
        let Some((image, bytes)) = self.origin.manifest(digest)? else {
            return Ok(None);
        };
        let found = Found {
            digest: image.digest,
            media_type: image.media_type,
            bytes: bytes.into(),
        };
        self.common.incoming.hold(&self.name, &found);
        Ok(Some(found))
    }

    /// Returns the tags, sorted, as of a short time ago.
    ///
    /// # Errors
    /// Those of the origin.
    pub fn tags(&self) -> Shared<Arc<Vec<String>>> {
        let ask = || {
            let known = lock(&self.list).clone();
            if let Some((tags, _)) = known.filter(|(_, asked)| self.is_fresh(*asked)) {
                return Ok(Some(tags));
            }
            let mut tags = self.origin.tags()?;
            tags.sort_unstable();
            let tags = Arc::new(tags);
            *lock(&self.list) = Some((Arc::clone(&tags), Instant::now()));
            Ok(Some(tags))
        };
        self.asked_list.run(&(), || ask().map_err(Arc::new), |_| false)
    }

    /// Returns the referrers of a manifest by their digests.
    ///
    /// # Errors
    /// Those of the origin.
    pub fn referrers(&self, subject: &Digest) -> Shared<Arc<Vec<Descriptor>>> {
        let ask = || {
            let mut found = self.origin.referrers(subject)?;
            found.sort_by_key(|referrer| referrer.digest);
            Ok(Some(Arc::new(found)))
        };
        self.asked_referrers
            .run(subject, || ask().map_err(Arc::new), |_| false)
    }

    /// Returns the size of a blob that is not here; `None` if the origin has none.
    ///
    /// # Errors
    /// Those of the origin.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.common.incoming.needed(&self.name, digest) {
            Some(needed) => Ok(Some(needed.size)),
            None => self.origin.blob_size(digest),
        }
    }

    /// Returns a blob, which may be on its way: the first who asks lets it be fetched, and it is read by all as it comes. It comes to
    /// its end also if they go away.
    ///
    /// # Errors
    /// Those of the origin and of the layout.
    pub fn blob(self: &Arc<Self>, digest: &Digest, repositories: &Repositories) -> Shared<BlobFile> {
        let begin = || self.begin(digest, repositories).map_err(Arc::new);
        self.flights.run(digest, begin, is_on_its_way)
    }

    fn begin(self: &Arc<Self>, digest: &Digest, repositories: &Repositories) -> Result<Option<BlobFile>> {
        if let Some(repository) = repositories.find(&self.name)?
            && let Some(here) = open_blob(&repository, digest)?
        {
            return Ok(Some(here));
        }
        let needed = self.common.incoming.needed(&self.name, digest);
        // A blob of no manifest that is known may be of one that a client has from an earlier time.
        let blob = match &needed {
            Some(blob) => blob.clone(),
            None => match self.origin.blob_size(digest)? {
                Some(size) => Descriptor::new(MediaType::default(), *digest, size),
                None => return Ok(None),
            },
        };
        let Some(repository) = repositories.find_or_create(&self.name)? else {
            return Ok(None);
        };
        self.depart(blob, needed.is_some(), repository)
    }

    /// Lets a blob that the origin has be fetched by a thread of its own, behind the part of it that is here.
    fn depart(
        self: &Arc<Self>,
        blob: Descriptor,
        is_needed: bool,
        repository: Arc<Repository>,
    ) -> Result<Option<BlobFile>> {
        let layout = repository.store.layout();
        let writer = match layout.resume_blob(&blob)? {
            Some(writer) => writer,
            None => layout.write_blob(blob.digest.algorithm())?,
        };
        let body = if writer.written() == blob.size {
            Box::new(io::empty())
        } else {
            match self.origin.blob(&blob, writer.written())? {
                Some(body) => body,
                None => return Ok(None),
            }
        };
        let (grower, growth) = growth();
        let file = BlobFile {
            file: Arc::new(writer.reader()?),
            size: blob.size,
            growth: Some(growth),
        };
        let flight = Flight {
            remote: Arc::clone(self),
            repository,
            blob,
            is_needed,
            writer,
            body,
            grower,
        };
        let thread = std::thread::Builder::new().name("fetch".to_owned());
        thread.spawn(move || flight.run())?;
        Ok(Some(file))
    }

    /// Fetches the next blob of an image of which a layer came.
    fn go_on(self: &Arc<Self>, layer: &Digest, repository: &Arc<Repository>) -> Result<()> {
        let layout = repository.store.layout();
        let next = self.common.incoming.next_missing(&self.name, layer, layout)?;
        if let Some(next) = next {
            let digest = next.digest;
            let begin = || self.depart(next, true, Arc::clone(repository)).map_err(Arc::new);
            let begun = self.flights.run(&digest, begin, is_on_its_way);
            if let Err(err) = begun {
                (self.common.log)(&format!("cannot go on with an image of {}: {err}", self.name));
            }
        }
        Ok(())
    }
}

fn is_on_its_way(blob: &Shared<BlobFile>) -> bool {
    matches!(blob, Ok(Some(file)) if file.growth.is_some())
}

impl Flight {
    /// Fetches the blob to its end.
    fn run(self) {
        let (remote, repository) = (Arc::clone(&self.remote), Arc::clone(&self.repository));
        let digest = self.blob.digest;
        let place = Place(&remote, digest);
        let received = self.receive();
        drop(place);
        let done = received.and_then(|()| {
            remote.common.incoming.enter(&repository, &digest)?;
            remote.go_on(&digest, &repository)
        });
        if let Err(err) = done {
            (remote.common.log)(&format!("blob {digest} of {}: {err}", remote.name));
        }
    }

    /// Receives the blob and gives it its name. Readers get each byte as it comes, and the last ones once all are known to be right.
    fn receive(mut self) -> Result<()> {
        let size = self.blob.size;
        let mut buffer = vec![0; BUFFER];
        loop {
            let written = self.writer.written();
            self.grower.reached(written.min(size.saturating_sub(HELD_BACK)));
            match self.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.writer.write_all(&buffer[..n])?,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err.into()),
            }
            // A body without end must not fill the disk.
            if self.writer.written() > size {
                break;
            }
        }
        let is_manifest = !self.is_needed && is_manifest(&self.writer)?;
        let staged = self.writer.stage_as(&self.blob)?;
        // A manifest has no place in the layout before its blobs do.
        if !is_manifest {
            keep(&self.repository, staged)?;
        }
        self.grower.whole();
        Ok(())
    }
}

/// Returns whether a file is a manifest rather than a blob that a manifest names.
fn is_manifest(writer: &BlobWriter) -> Result<bool> {
    if writer.written() > MAX_DOCUMENT {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    writer.reader()?.read_to_end(&mut bytes)?;
    Ok(matches!(Document::parse(&bytes), Ok(Some(_))))
}

/// Returns whether the origin said nothing about what was asked, rather than that it does not give it.
pub(super) fn is_silent(err: &Error) -> bool {
    let is_refusal = matches!(err.fact(), Some(Fact::LoginNeeded | Fact::LoginRefused));
    !is_refusal && err.kind() != ErrorKind::NotFound
}
