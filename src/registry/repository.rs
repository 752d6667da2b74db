// SPDX-License-Identifier: Apache-2.0
//! The requests of the protocol for one repository. Spec: distribution-spec 1.1.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ureq::http::Method;

use super::errors::{refused, refused_manifest};
use super::host::{Host, drain};
use super::http::{Call, Payload, Response, authority, read_small, resolve};
use super::reference::RepositoryName;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::json::Object;
use crate::spec::{Descriptor, ImageIndex, MAX_DOCUMENT, Manifest, MediaClass, MediaType};
use crate::store::referrers_tag;

/// Types of documents that are asked for: a registry may have a manifest in several, or refuse what is not asked for.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Maximum size of a page of a list in bytes.
const MAX_PAGE: u64 = 16 << 20;
/// Maximum number of pages, and of their entries.
const MAX_PAGES: usize = 10_000;
const MAX_ENTRIES: usize = 1_000_000;

/// A repository of a registry, and the mirrors to read it from.
#[derive(Debug)]
pub(super) struct Repository {
    /// Its name as the user gave it.
    pub name: RepositoryName,
    /// Where it is to be had, in order; the last is its own place, which alone is written to.
    places: Vec<Endpoint>,
    /// Rights that its reads are asked for with: one that is written to may be closed to those who only read.
    actions: &'static str,
    /// The place that answered last.
    current: AtomicUsize,
    /// True once the registry was found to have no list of referrers.
    lacks_referrers: AtomicBool,
}

/// A repository at one host.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub host: Arc<Host>,
    pub name: RepositoryName,
    /// True for requests by digest, and for those by tag, that it is asked for.
    pub serves: (bool, bool),
}

/// The answer to a manifest that was sent.
#[derive(Debug)]
pub(super) enum Put {
    /// It is there; whether the registry has put it into the list of referrers of its subject.
    Stored { has_listed_subject: bool },
    /// It was refused because blobs or manifests that it needs are not there: those that the registry names, perhaps none.
    Lacking { blobs: Vec<Digest>, error: Error },
}

/// A manifest or an index, as it came.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

impl Endpoint {
    /// Sends a request with the proof that is needed to read, or to write.
    pub fn send(&self, call: &Call<'_>, actions: &str) -> Result<Response> {
        let scope = format!("repository:{}:{actions}", self.name.path());
        self.host.send(call, &self.name, &[scope])
    }

    /// As [`Endpoint::send`], with the right to read `from` on the same host.
    pub fn send_mount(&self, call: &Call<'_>, from: &RepositoryName) -> Result<Response> {
        let mut scopes = vec![format!("repository:{}:pull,push", self.name.path())];
        if from != &self.name {
            scopes.push(format!("repository:{}:pull", from.path()));
        }
        self.host.send(call, &self.name, &scopes)
    }

    /// Returns the URL of a path below the repository.
    pub fn url(&self, path: &str) -> Result<String> {
        self.host.url(&format!("/v2/{}/{path}", self.name.path()))
    }
}

impl Repository {
    /// Makes a repository of the places to read it from, of which the last is its own.
    pub fn new(name: RepositoryName, places: Vec<Endpoint>, actions: &'static str) -> Self {
        Self {
            name,
            places,
            actions,
            current: AtomicUsize::new(0),
            lacks_referrers: AtomicBool::new(false),
        }
    }

    /// Returns a request in words, for messages.
    fn label(&self, verb: &str, object: &str) -> String {
        format!("{verb} {object} of {}", self.name)
    }

    /// Returns the place that is written to.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if there is none.
    pub fn own(&self) -> Result<&Endpoint> {
        self.places
            .last()
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "repository without a place"))
    }

    /// Reads from the places in order, beginning with the one that answered last, until one has it.
    pub fn read<T>(
        &self,
        is_by_digest: bool,
        read: impl Fn(&Endpoint) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let first = self.current.load(Ordering::Relaxed);
        let mut last = Ok(None);
        for (number, place) in self.places.iter().enumerate().skip(first) {
            let (digests, tags) = place.serves;
            if !(if is_by_digest { digests } else { tags }) {
                continue;
            }
            match read(place) {
                Ok(Some(found)) => {
                    self.current.store(number, Ordering::Relaxed);
                    return Ok(Some(found));
                }
                // A mirror that fails costs no more than the way to the next place.
                other => last = other,
            }
        }
        last
    }

    /// Reads a manifest or an index by its tag or digest; `None` if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is not what its digest or type says, [`ErrorKind::Limit`] if it is too large.
    pub fn manifest(&self, target: &str) -> Result<Option<Fetched>> {
        let digest: Option<Digest> = target.parse().ok();
        let label = self.label("get manifest", target);
        self.read(digest.is_some(), |place| {
            let call =
                Call::new(Method::GET, place.url(&format!("manifests/{target}"))?).header("accept", ACCEPT);
            let answer = place.send(&call, self.actions)?;
            match answer.status().as_u16() {
                200 => fetched(answer, digest.as_ref()).map(Some),
                404 => Ok(None),
                _ => Err(refused(answer)),
            }
        })
        .context(|| label.clone())
    }

    /// Returns the descriptor of a manifest or an index by its tag or digest without reading it, as far as the registry says
    /// so; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn head(&self, target: &str) -> Result<Option<Descriptor>> {
        let is_by_digest = target.parse::<Digest>().is_ok();
        let label = self.label("look for manifest", target);
        let found = self
            .read(is_by_digest, |place| {
                let url = place.url(&format!("manifests/{target}"))?;
                let answer = place.send(
                    &Call::new(Method::HEAD, url).header("accept", ACCEPT),
                    self.actions,
                )?;
                match answer.status().as_u16() {
                    200 => Ok(Some(described(&answer))),
                    404 => Ok(None),
                    // The request itself is not known there.
                    405 | 406 => Ok(Some(None)),
                    _ => Err(refused(answer)),
                }
            })
            .context(|| label.clone())?;
        match found {
            None => Ok(None),
            Some(Some(descriptor)) => Ok(Some(descriptor)),
            Some(None) => Ok(self.manifest(target)?.map(|found| found.descriptor)),
        }
    }

    /// Returns all tags, in the order of the registry.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such repository, [`ErrorKind::Limit`] for a list without end.
    pub fn tags(&self) -> Result<Vec<String>> {
        let label = self.label("list", "the tags");
        let place = self.own()?;
        let mut out = Vec::new();
        let mut known = HashSet::new();
        Self::pages(place, place.url("tags/list?n=1000")?, None, &mut |page| {
            let page = Object::parse(page).context(|| label.clone())?;
            // A registry without tags says `null`; some have `null` among them, and digests.
            let tags: Option<Vec<Option<String>>> = page.read("tags");
            for tag in tags.unwrap_or_default().into_iter().flatten() {
                if self.name.with_tag(&tag).is_ok() && known.insert(tag.clone()) {
                    out.push(tag);
                }
            }
            Ok(out.len())
        })
        .context(|| label.clone())?;
        Ok(out)
    }

    /// Returns the referrers of a manifest, by the registry's list or else by the tag that stands for one.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for a list without end.
    pub fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let label = self.label("list the referrers of", &subject.to_string());
        let place = self.own()?;
        if !self.lacks_referrers.load(Ordering::Relaxed) {
            let mut out: Vec<Descriptor> = Vec::new();
            let url = place.url(&format!("referrers/{subject}"))?;
            let is_listed = Self::pages(place, url, Some(INDEX), &mut |page| {
                out.extend(ImageIndex::parse(page)?.manifests);
                Ok(out.len())
            })
            .context(|| label.clone());
            match is_listed {
                Ok(true) => return Ok(out),
                Ok(false) => self.lacks_referrers.store(true, Ordering::Relaxed),
                Err(err) => return Err(err),
            }
        }
        let Some(found) = self.manifest(referrers_tag(subject, "")?.as_str())? else {
            return Ok(Vec::new());
        };
        // Another kind of document under that name is no list.
        Ok(ImageIndex::parse(&found.bytes)
            .map(|index| index.manifests)
            .unwrap_or_default())
    }

    /// Reads the pages of a list. Returns `false` if the registry does not have the list.
    fn pages(
        place: &Endpoint,
        first: String,
        media_type: Option<&str>,
        each: &mut dyn FnMut(&[u8]) -> Result<usize>,
    ) -> Result<bool> {
        let mut url = first;
        let mut seen = HashSet::new();
        for number in 0..MAX_PAGES {
            if !seen.insert(url.clone()) {
                fail!(Corrupt, "the pages of the list lead in a circle");
            }
            let mut call = Call::new(Method::GET, url.clone());
            if let Some(media_type) = media_type {
                call = call.header("accept", media_type);
            }
            let mut answer = place.send(&call, "pull")?;
            // A list that a registry does not have may be any refusal, or a page for people somewhere else.
            let is_list = answer.status() == 200
                && media_type.is_none_or(|wanted| content_type(&answer).is_some_and(|found| found == wanted));
            if !is_list
                && number == 0
                && media_type.is_some()
                && !matches!(answer.status().as_u16(), 401 | 403)
            {
                drain(&mut answer);
                return Ok(false);
            }
            if answer.status() != 200 {
                return Err(refused(answer));
            }
            let next = next_page(&answer, &url)?;
            let text = read_body(&mut answer, MAX_PAGE)?;
            if each(&text)? > MAX_ENTRIES {
                break;
            }
            match next {
                Some(next) if authority(&next) == authority(&url) => url = next,
                Some(next) => fail!(Denied, "the next page is at another host: {next}"),
                None => return Ok(true),
            }
        }
        fail!(Limit, "the list has no end")
    }

    /// Sends a manifest under a tag, or under its digest.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn put_manifest(&self, target: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<Put> {
        let label = self.label("put manifest", target);
        let place = self.own()?;
        let call = Call::new(Method::PUT, place.url(&format!("manifests/{target}"))?)
            .header("content-type", descriptor.media_type.as_str())
            .body(Payload::Bytes(bytes));
        let mut answer = place.send(&call, "pull,push").context(|| label.clone())?;
        if !matches!(answer.status().as_u16(), 200..=204) {
            let (error, lacking) = refused_manifest(answer);
            let error = error.context(label);
            return match lacking {
                Some(blobs) => Ok(Put::Lacking { blobs, error }),
                None => Err(error),
            };
        }
        drain(&mut answer);
        if let Some(found) = header_digest(&answer)
            && found != descriptor.digest
        {
            fail!(Corrupt, "{label}: the registry stored {found}");
        }
        Ok(Put::Stored {
            has_listed_subject: answer.headers().contains_key("oci-subject"),
        })
    }

    /// Returns the subject of a manifest, if it has one that can be read.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn subject(&self, digest: &Digest) -> Result<Option<Digest>> {
        let found = match self.manifest(&digest.to_string()) {
            Ok(found) => found,
            // A document that is no manifest is nobody's referrer.
            Err(err)
                if matches!(
                    err.kind(),
                    ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Limit
                ) =>
            {
                None
            }
            Err(err) => return Err(err),
        };
        let subject = found.and_then(|found| Object::parse(&found.bytes).ok()?.read("subject"));
        Ok(subject.map(|subject: Descriptor| subject.digest))
    }

    /// Removes a manifest by its tag or digest. Returns `false` if it is not there.
    ///
    /// # Errors
    /// Those of the registry; many refuse it.
    pub fn delete(&self, target: &str) -> Result<bool> {
        let label = self.label("remove", target);
        let place = self.own()?;
        let call = Call::new(Method::DELETE, place.url(&format!("manifests/{target}"))?);
        let mut answer = place.send(&call, "pull,delete").context(|| label.clone())?;
        match answer.status().as_u16() {
            200..=204 => {
                drain(&mut answer);
                Ok(true)
            }
            404 => Ok(false),
            _ => Err(refused(answer).context(label)),
        }
    }
}

/// Returns the descriptor that the headers of an answer give; `None` if they leave something out.
fn described(answer: &Response) -> Option<Descriptor> {
    let size = answer
        .headers()
        .get("content-length")?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let media_type = content_type(answer)?;
    Some(Descriptor::new(media_type, header_digest(answer)?, size))
}

fn header_digest(answer: &Response) -> Option<Digest> {
    answer
        .headers()
        .get("docker-content-digest")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Returns the media type without its parameters.
fn content_type(answer: &Response) -> Option<String> {
    let text = answer.headers().get("content-type")?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or(text).trim().to_owned())
}

/// Reads a manifest and checks it against the digest that was asked for, or that the registry gives.
fn fetched(mut answer: Response, wanted: Option<&Digest>) -> Result<Fetched> {
    let named = content_type(&answer);
    let given = header_digest(&answer);
    let bytes = read_body(&mut answer, MAX_DOCUMENT)?;
    let expected = wanted.copied().or(given);
    let digest = Digest::of(
        expected.map_or(Algorithm::Sha256, |digest| digest.algorithm()),
        &bytes,
    );
    if let Some(expected) = expected
        && expected != digest
    {
        fail!(Corrupt, "digest mismatch: expected {expected}, got {digest}");
    }
    let object = Object::parse(&bytes).context(|| "it is no manifest")?;
    let own: Option<String> = object.read("mediaType");
    let media_type = match (own, named) {
        (Some(own), Some(named)) if own != named && MediaType::from(named.as_str()).is_image() => {
            fail!(
                Corrupt,
                "its media type is {own:?}, and the registry calls it {named:?}"
            );
        }
        (Some(own), _) => own,
        (None, Some(named)) => named,
        (None, None) => fail!(Corrupt, "its media type is not known"),
    };
    let descriptor = Descriptor::new(MediaType::parse(&media_type)?, digest, bytes.len() as u64);
    // A document that cannot be read, or in two ways, is refused where the host is still known.
    match descriptor.media_type.class() {
        MediaClass::Manifest => Manifest::parse(&bytes).map(drop)?,
        MediaClass::Index => ImageIndex::parse(&bytes).map(drop)?,
        _ => {}
    }
    Ok(Fetched { descriptor, bytes })
}

/// Reads a body of at most `limit` bytes.
fn read_body(answer: &mut Response, limit: u64) -> Result<Vec<u8>> {
    let bytes = read_small(answer, limit + 1)?;
    if bytes.len() as u64 > limit {
        fail!(Limit, "the answer is larger than {limit} bytes");
    }
    Ok(bytes)
}

/// Returns the URL of the next page. Spec: RFC 8288, and distribution-spec, "Listing Tags".
fn next_page(answer: &Response, url: &str) -> Result<Option<String>> {
    let Some(link) = answer.headers().get("link").and_then(|link| link.to_str().ok()) else {
        return Ok(None);
    };
    for one in link.split(',') {
        let Some((target, parameters)) = one.trim().strip_prefix('<').and_then(|rest| rest.split_once('>'))
        else {
            continue;
        };
        let mut parameters = parameters.split(';').map(str::trim);
        if parameters.any(|parameter| matches!(parameter, "rel=next" | "rel=\"next\"")) {
            return resolve(url, target).map(Some);
        }
    }
    Ok(None)
}
