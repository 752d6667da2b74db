// SPDX-License-Identifier: Apache-2.0
//! The server as a cache: what is not here comes from the origin, and stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::header::RETRY_AFTER;
use hyper::{Method, StatusCode};

use super::answer::{Code, Content, Outcome, Refusal};
use super::incoming::Incoming;
use super::options::{LogLine, UpstreamOptions};
use super::pull;
use super::remote::{Common, Remote, is_silent};
use super::repositories::{Repositories, Repository};
use super::request::Request;
use super::route::{Query, Target};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result, lock};
use crate::registry::{Registry, RepositoryName, is_hub};

/// Maximum number of repositories of which something is remembered.
const MAX_REMOTES: usize = 1024;
/// Time to reach the origin, and maximum time in which it says nothing: clients that could have what is here do not wait for longer.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(20);

/// The origin of a cache.
pub(super) struct Upstream {
    /// A host, or a host with the path above the repositories.
    prefix: String,
    registry: Registry,
    common: Arc<Common>,
    remotes: Mutex<HashMap<String, Arc<Remote>>>,
    max_flights: usize,
}

impl Upstream {
    /// # Errors
    /// [`ErrorKind::Invalid`] if the origin is not called `HOST` or `HOST/PATH`.
    pub fn new(options: &UpstreamOptions, max_flights: usize, log: &LogLine) -> Result<Self> {
        let prefix = options.origin.trim_end_matches('/').to_owned();
        let some: Result<RepositoryName> = format!("{prefix}/x").parse();
        let host = prefix.split('/').next().unwrap_or_default();
        // A first part that is no host would be a path on Docker Hub.
        match some {
            Ok(name) if name.host() == host || is_hub(host) => {}
            Ok(_) => fail!(Invalid, "invalid origin: {prefix:?} (want HOST or HOST/PATH)"),
            Err(err) => return Err(err.context("invalid origin")),
        }
        let mut registry = options.registry.clone();
        registry.timeouts.connect = registry.timeouts.connect.min(CONNECT);
        registry.timeouts.idle = registry.timeouts.idle.min(SILENCE);
        Ok(Self {
            prefix,
            registry: Registry::new(registry),
            common: Arc::new(Common {
                incoming: Incoming::default(),
                revalidate: options.revalidate,
                log: Arc::clone(log),
            }),
            remotes: Mutex::default(),
            max_flights,
        })
    }

    /// Returns the repository at the origin that one here is filled from.
    fn remote(&self, repositories: &Repositories, name: &str) -> Outcome<Arc<Remote>> {
        if !repositories.has_place(name) {
            let text = format!("there is no repository {name}");
            return Err(Refusal::new(Code::NameUnknown, text));
        }
        let mut remotes = lock(&self.remotes);
        if let Some(known) = remotes.get(name) {
            return Ok(Arc::clone(known));
        }
        let full = format!("{}/{name}", self.prefix).parse();
        let full: RepositoryName =
            full.map_err(|err: Error| Refusal::new(Code::NameInvalid, err.to_string()))?;
        let origin = self
            .registry
            .origin(&full)
            .map_err(|err| refusal(&err, Code::NameUnknown))?;
        if remotes.len() >= MAX_REMOTES {
            // Those that nobody uses now cost a question more when they are used again.
            remotes.retain(|_, remote| Arc::strong_count(remote) > 1);
        }
        let remote = Arc::new(Remote::new(name, origin, Arc::clone(&self.common)));
        remotes.insert(name.to_owned(), Arc::clone(&remote));
        Ok(remote)
    }

    /// Returns a blob, or the part of it that the request asks for, as it comes.
    pub fn blob(
        &self,
        repositories: &Repositories,
        name: &str,
        digest: &Digest,
        request: &Request,
    ) -> Outcome {
        let headers = &request.headers;
        if let Some(repository) = repositories.find(name)?
            && let Some(here) = pull::open_blob(&repository, digest)?
        {
            return Ok(pull::blob_in(here, digest, headers));
        }
        let remote = self.remote(repositories, name)?;
        let (mut answer, is_known) = pull::blob_known(digest, headers);
        if is_known {
            return Ok(answer);
        }
        if request.method == Method::HEAD {
            let size = remote
                .blob_size(digest)
                .map_err(|err| refusal(&err, Code::BlobUnknown))?;
            answer.content = Content::Length(size.ok_or_else(pull::no_blob)?);
            return Ok(answer);
        }
        let under_way: usize = lock(&self.remotes).values().map(|remote| remote.flights()).sum();
        if under_way >= self.max_flights {
            let refusal = Refusal::new(Code::TooManyRequests, "too many blobs are on their way");
            return Err(refusal.header(RETRY_AFTER, 5));
        }
        let file = remote.blob(digest, repositories);
        let file = file.map_err(|err| refusal(&err, Code::BlobUnknown))?;
        Ok(pull::blob_in(file.ok_or_else(pull::no_blob)?, digest, headers))
    }

    /// Returns the manifest of a tag, as the origin has it, or of a digest.
    pub fn manifest(
        &self,
        repositories: &Repositories,
        name: &str,
        target: &Target,
        request: &Request,
    ) -> Outcome {
        let refused = |err: Arc<Error>| refusal(&err, Code::ManifestUnknown);
        let repository = repositories.find(name)?;
        let remote = self.remote(repositories, name)?;
        let digest = match target {
            Target::Digest(digest) => *digest,
            Target::Tag(tag) => {
                let found = remote.tag(tag, repository.as_deref());
                found.map_err(refused)?.ok_or_else(pull::no_manifest)?
            }
        };
        let mut found = match &repository {
            Some(repository) => pull::find_manifest(repository, &Target::Digest(digest))?,
            None => None,
        };
        if found.is_none() {
            found = remote.manifest(&digest, repositories).map_err(refused)?;
        }
        let found = found.ok_or_else(pull::no_manifest)?;
        self.settle(repository.as_deref(), name, target, &found)?;
        Ok(pull::manifest_in(found, target, &request.headers))
    }

    /// Lets the layout have a manifest under its tag as soon as all that it needs is there.
    fn settle(
        &self,
        repository: Option<&Repository>,
        name: &str,
        target: &Target,
        found: &pull::Found,
    ) -> Outcome<()> {
        let incoming = &self.common.incoming;
        if let Target::Tag(tag) = target {
            let listing = repository.map(Repository::listing).transpose()?;
            let here = listing.and_then(|listing| Some(listing.tags.get(tag)?.digest));
            if here == Some(found.digest) {
                // An image that waits must not take the tag any more.
                incoming.tag(name, tag, &found.digest);
                if let Some(repository) = repository {
                    pull::note_use(repository, target);
                }
                return Ok(());
            }
            incoming.hold(name, found);
            incoming.tag(name, tag, &found.digest);
        }
        // Without a layout no blob of it is here.
        match repository {
            Some(repository) => Ok(incoming.enter(repository, &found.digest)?),
            None => Ok(()),
        }
    }

    /// Returns the tags at the origin; those of the layout if it does not answer.
    pub fn tags(&self, repositories: &Repositories, name: &str, query: &Query) -> Outcome {
        let remote = self.remote(repositories, name)?;
        match remote.tags() {
            Ok(tags) => pull::tags_in(name, tags.unwrap_or_default().iter(), query),
            Err(err) => match repositories.find(name)?.filter(|_| is_silent(&err)) {
                Some(repository) => {
                    self.tell_stale(name, &err);
                    pull::tags(&repository, query)
                }
                None => Err(refusal(&err, Code::NameUnknown)),
            },
        }
    }

    /// Returns the referrers at the origin; those of the layout if it does not answer.
    pub fn referrers(
        &self,
        repositories: &Repositories,
        name: &str,
        digest: &Digest,
        query: &Query,
    ) -> Outcome {
        let remote = self.remote(repositories, name)?;
        match remote.referrers(digest) {
            Ok(found) => pull::referrers_in(found.unwrap_or_default().to_vec(), name, digest, query),
            Err(err) if is_silent(&err) => {
                self.tell_stale(name, &err);
                pull::referrers(repositories.find(name)?.as_deref(), name, digest, query)
            }
            Err(err) => Err(refusal(&err, Code::NameUnknown)),
        }
    }

    fn tell_stale(&self, name: &str, err: &Error) {
        (self.common.log)(&format!(
            "stale: the lists of {name} are those of the layout: {err}"
        ));
    }
}

/// Returns the refusal of a request that the origin did not let succeed; the client is told as little of it as of this machine.
fn refusal(err: &Error, absent: Code) -> Box<Refusal> {
    let refusal = match (err.kind(), err.fact()) {
        (ErrorKind::NotFound, _) => Refusal::new(absent, "the origin has no such thing"),
        (ErrorKind::Denied, Some(Fact::LoginNeeded | Fact::LoginRefused)) => {
            Refusal::new(Code::Denied, "the origin does not give it")
        }
        (_, Some(Fact::TooManyRequests)) => {
            let text = "the origin answers no more requests for now";
            Refusal::new(Code::TooManyRequests, text).header(RETRY_AFTER, 60)
        }
        (ErrorKind::Exists | ErrorKind::Invalid, _) => {
            Refusal::new(Code::NameInvalid, "the repository cannot be made")
        }
        (ErrorKind::Busy | ErrorKind::NoSpace | ErrorKind::ReadOnly, _) => Refusal::of_failure(err),
        _ => {
            let text = "the origin failed; the log of the server says how";
            Refusal::new(Code::Unknown, text).status(StatusCode::BAD_GATEWAY)
        }
    };
    refusal.fault(err)
}
