// SPDX-License-Identifier: Apache-2.0
//! Serves layouts to clients of the distribution protocol, straight from the store. Spec: distribution-spec 1.1.
//!
//! A [`Server`] has any number of repositories, each of which is a layout. Other processes work on the same layouts meanwhile: a
//! request that writes takes the locks that a command takes, for as short a time, and a read takes none of the layout. Nothing of
//! a request is believed: names follow the grammar, bytes are verified as they come, and time, sizes and counts have limits.
//!
//! Files: `options` (settings), `route` (paths and queries), `request`, `answer` (and refusals), `repositories` (names and layouts),
//! `pull` (reads), `upload` (blobs), `push` (manifests and removals), `auth`, `metrics`, `service` (one request), `body`,
//! `connection` and `listen` (the network, and with `growth` the only asynchronous code). For `--upstream`: `upstream` (what comes from
//! the origin), `remote` (a repository there), `incoming` (manifests that wait for their blobs), `once` (work for all who wait).

mod answer;
mod auth;
mod body;
mod connection;
mod growth;
mod incoming;
mod listen;
mod metrics;
mod once;
mod options;
mod pull;
mod push;
mod remote;
mod repositories;
mod request;
mod route;
mod service;
mod upload;
mod upstream;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub use options::{ServeOptions, UpstreamOptions};

use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::registry::server_tls;
use service::Service;

/// A server that listens and does not answer yet.
pub struct Server {
    options: ServeOptions,
    service: Arc<Service>,
    listener: TcpListener,
    address: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the layouts, reads users and certificate, and listens: from here on clients wait rather than fail.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` for an address beyond this machine without TLS, unless the options allow it; those of the files.
    pub fn bind(options: ServeOptions) -> Result<Self> {
        if !options.listen.ip().is_loopback() && options.tls.is_none() && !options.insecure {
            let text = format!(
                "{} is not of this machine alone, and there is no TLS",
                options.listen
            );
            return Err(Error::new(ErrorKind::Invalid, text).with_fact(Fact::WouldSpeakPlainHttp));
        }
        if let Some((certificate, key)) = &options.tls {
            server_tls(certificate, key)?;
        }
        let service = Arc::new(Service::new(&options)?);
        let (listener, address) =
            listen_at(options.listen).context(|| format!("listen at {}", options.listen))?;
        Ok(Self {
            options,
            service,
            listener,
            address,
        })
    }

    /// Returns the address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until the process gets SIGTERM or SIGINT. Requests that are under way then have
    /// [`ServeOptions::stop_timeout`] to end. SIGHUP lets it read users and certificate again.
    ///
    /// # Errors
    /// Those of the operating system at the begin.
    pub fn run(self) -> Result<()> {
        listen::serve(self.listener, self.service, &self.options)
    }
}

fn listen_at(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
