// SPDX-License-Identifier: Apache-2.0
//! Registries: the distribution protocol as a client.
//!
//! A [`Registry`] is a session: it keeps connections, tokens and what it learned of hosts. [`Registry::source`] and
//! [`Registry::sink`] are the two ends of [`crate::transfer::copy`]. Nothing that a registry says is believed: bytes are
//! verified as they come, sizes are limited, credentials go to the host that they are for.
//!
//! Files: `reference` (names), `options`, `config` and `tls` (settings), `credentials` and `challenge` (proof of identity), `http`
//! (one exchange), `host` (a host with its tokens), `errors` (refusals), `repository` (the requests of the protocol), `download` and
//! `upload` (blobs), `source`, `sink` and `spool` (the ends of a copy), `cache` (entries of a shared cache), `origin` (what `umoci serve`
//! fetches for others).

mod cache;
mod challenge;
mod config;
mod credentials;
mod download;
mod errors;
mod host;
mod http;
mod options;
#[cfg(feature = "serve")]
mod origin;
mod reference;
mod referrers;
mod repository;
mod sink;
mod source;
mod spool;
mod tls;
mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub use cache::{CachePut, cache_tag};
pub use config::RegistriesConf;
pub use credentials::{CredentialFiles, Credentials};
pub use options::{Proxies, RegistryOptions, Timeouts};
#[cfg(feature = "serve")]
pub(crate) use origin::Origin;
pub(crate) use reference::is_hub;
pub use reference::{Reference, RepositoryName};
pub use sink::RegistrySink;
pub use source::RegistrySource;
#[cfg(feature = "serve")]
pub(crate) use tls::server as server_tls;

use config::Place;
use host::Host;
use repository::{Endpoint, Repository};
use ureq::http::Method;

use crate::digest::Digest;
use crate::error::{Result, ResultExt, lock};

/// Blobs that are on their way at the same time.
pub(crate) const NETWORK_THREADS: usize = 6;

/// A session with registries.
#[derive(Debug)]
pub struct Registry {
    options: Arc<RegistryOptions>,
    hosts: Mutex<HashMap<(String, bool), Arc<Host>>>,
}

impl Registry {
    /// Begins a session.
    pub fn new(options: RegistryOptions) -> Self {
        Self {
            options: Arc::new(options),
            hosts: Mutex::default(),
        }
    }

    /// Returns all tags of a repository, in the order of the registry.
    ///
    /// # Errors
    /// `ErrorKind::NotFound` if there is no such repository; those of the registry.
    pub fn tags(&self, name: &RepositoryName) -> Result<Vec<String>> {
        self.repository(name)?.tags()
    }

    /// Removes a tag or a manifest, and a manifest from the list of referrers that clients keep. Returns `false` if it is not there.
    ///
    /// # Errors
    /// Those of the registry; many refuse it.
    pub fn delete(&self, reference: &Reference) -> Result<bool> {
        let repository = self.own_repository(reference.repository())?;
        let target = reference.target();
        let Ok(digest) = target.parse::<Digest>() else {
            return repository.delete(&target);
        };
        let subject = repository.subject(&digest)?;
        let is_removed = repository.delete(&target)?;
        // A referrer that is there and not listed would be lost; an entry without one is left out of copies.
        if let Some(subject) = subject.filter(|_| is_removed) {
            referrers::leave(&repository, &subject, &digest)
                .context(|| format!("{digest} is removed, and still listed as a referrer of {subject}"))?;
        }
        Ok(is_removed)
    }

    /// Asks a host whether it takes the credentials that the session has for it.
    ///
    /// # Errors
    /// `ErrorKind::Denied` if it does not.
    pub fn check_login(&self, host: &str) -> Result<()> {
        let name: RepositoryName = format!("{host}/login").parse()?;
        let repository = self.own_repository(&name)?;
        let host = &repository.own()?.host;
        let call = http::Call::new(Method::GET, host.url("/v2/")?);
        let answer = host
            .send(&call, &name, &[])
            .context(|| format!("log in to {}", name.host()))?;
        if answer.status() == 200 {
            return Ok(());
        }
        Err(errors::refused(answer).context(format!("log in to {}", name.host())))
    }

    /// Returns the warnings of registries that were not returned before, each once.
    pub fn take_warnings(&self) -> Vec<String> {
        let hosts = lock(&self.hosts);
        hosts.values().flat_map(|host| host.take_warnings()).collect()
    }

    fn host(&self, name: &RepositoryName, is_insecure: bool) -> Arc<Host> {
        let mut hosts = lock(&self.hosts);
        let key = (name.host().to_owned(), is_insecure);
        let host = hosts
            .entry(key)
            .or_insert_with(|| Arc::new(Host::new(name.host(), is_insecure, Arc::clone(&self.options))));
        Arc::clone(host)
    }

    fn endpoint(&self, place: Place) -> Endpoint {
        Endpoint {
            host: self.host(&place.name, place.is_insecure),
            name: place.name,
            serves: place.serves,
        }
    }

    /// Returns a repository with the mirrors to read it from.
    fn repository(&self, name: &RepositoryName) -> Result<Repository> {
        let places = self.options.conf.places(name)?;
        let endpoints = places.into_iter().map(|place| self.endpoint(place));
        Ok(Repository::new(name.clone(), endpoints.collect(), "pull"))
    }

    /// Returns a repository at its own place alone, to write to it.
    fn own_repository(&self, name: &RepositoryName) -> Result<Repository> {
        self.at_own_place(name, "pull,push")
    }

    /// Returns a repository without its mirrors, of which manifests are read with the rights of `actions`.
    fn at_own_place(&self, name: &RepositoryName, actions: &'static str) -> Result<Repository> {
        let mut places = self.options.conf.places(name)?;
        let own = places.pop().into_iter().map(|place| self.endpoint(place));
        Ok(Repository::new(name.clone(), own.collect(), actions))
    }
}
