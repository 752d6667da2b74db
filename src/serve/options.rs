// SPDX-License-Identifier: Apache-2.0
//! Settings of a server.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::registry::RegistryOptions;

/// Receives a line of the log of a server: one for each request, and one for each failure that no client caused.
pub type LogLine = Arc<dyn Fn(&str) + Send + Sync>;

/// A registry that a server is a cache of.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// A host, or a host with the path above the repositories: `docker.io`, `registry.example.org/team`.
    pub origin: String,
    /// Time for which a tag, once asked for there, is not asked for again.
    pub revalidate: Duration,
    /// Settings of the session with the origin, with the credentials of the operator.
    pub registry: RegistryOptions,
}

/// Settings of a server. The layouts are those of `layouts`, or all below `root`.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names of repositories with their layouts.
    pub layouts: Vec<(String, PathBuf)>,
    /// A directory below which each layout is a repository, called by its path.
    pub root: Option<PathBuf>,
    /// Takes pushes; below `root` a push makes a layout that is not there.
    pub write: bool,
    /// Takes removals.
    pub delete: bool,
    /// Fills the layouts from there with what clients ask for, and takes neither pushes nor removals; below `root` layouts are made.
    pub upstream: Option<UpstreamOptions>,
    /// A file of users with their passwords in bcrypt, as `htpasswd -B` writes it; without it nobody is asked.
    pub htpasswd: Option<PathBuf>,
    /// Files of the certificate with its chain, and of its key, both PEM; without them the server speaks plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Listens beyond this machine without TLS.
    pub insecure: bool,
    /// Maximum number of connections; more wait.
    pub max_connections: usize,
    /// Maximum number of uploads under way, of which one client may have a quarter.
    pub max_uploads: usize,
    /// Maximum size of a blob that is pushed, in bytes.
    pub max_blob: Option<u64>,
    /// Time after which an upload is dropped that nobody goes on with.
    pub upload_age: Duration,
    /// Maximum time until a request has come up to its body, and between two requests.
    pub header_timeout: Duration,
    /// Time in which 1 KiB for each second must come of a body, and some bytes be taken of an answer.
    pub body_window: Duration,
    /// Time that requests have to end once the server was told to.
    pub stop_timeout: Duration,
    /// Time to wait for other processes that use a layout.
    pub lock_timeout: Duration,
    /// Receives the log.
    pub log: LogLine,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            layouts: Vec::new(),
            root: None,
            write: false,
            delete: false,
            upstream: None,
            htpasswd: None,
            tls: None,
            insecure: false,
            max_connections: 512,
            max_uploads: 512,
            max_blob: None,
            upload_age: Duration::from_secs(3600),
            header_timeout: Duration::from_secs(30),
            body_window: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(60),
            log: Arc::new(|_| {}),
        }
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("listen", &self.listen)
            .field("layouts", &self.layouts)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}
