// SPDX-License-Identifier: Apache-2.0
//! `umoci serve`

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::serve::{ServeOptions, Server, UpstreamOptions};
use crate::store::parse_duration;

use super::prelude::*;

/// serves layouts as a registry
///
/// Answers docker, podman, skopeo, containerd and all others who speak the distribution protocol, straight from the layouts: each
/// is a repository, called by its directory, or by a name before it (team/app=store). With --root every layout below a directory
/// is one, by its path. The address is the first line on stdout. Other commands, gc too, work on the layouts meanwhile.
///
/// Nothing can be changed unless --write takes pushes and --delete takes removals. A blob that was pushed is held by a
/// lease for two hours, until a manifest names it. An image that loses its tag to another one stays, by its digest, until umoci
/// gc --untagged.
///
/// With --upstream it is a cache of a registry: what is asked for and not here comes from there, once for all who wait, to them as
/// it comes, and stays. Tags are those of the origin; where that does not answer, they are as they were.
///
/// Each request is a line on stderr: time, client, user, method, path, status, milliseconds and bytes. /metrics has counters for
/// Prometheus, /healthz answers without a password. SIGTERM lets requests end, SIGHUP reads --htpasswd and --tls-cert again.
#[derive(clap::Args, Debug)]
#[command(override_usage = "(<image-path>... | --root <directory>)")]
pub struct Serve {
    /// serve every layout below a directory
    #[arg(long, value_name = "directory")]
    root: Option<PathBuf>,
    /// address to listen at; port 0 takes a free one
    #[arg(long, value_name = "address:port", default_value = "127.0.0.1:5000")]
    listen: String,
    /// take pushes; below --root a push makes a layout that is not there
    #[arg(long)]
    write: bool,
    /// take removals of tags, manifests, and blobs that no manifest needs
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    lock: LockArg,
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// The registry that is cached.
#[derive(clap::Args, Debug)]
struct UpstreamArgs {
    /// fetch what is not here from a registry, such as docker.io, or from below a path there; below --root this makes layouts
    #[arg(
        long,
        value_name = "host[/path]",
        conflicts_with_all = ["write", "delete"],
        help_heading = "cache"
    )]
    upstream: Option<String>,
    /// time for which a tag is not asked for again there
    #[arg(
        long,
        value_name = "duration",
        default_value = "1m",
        value_parser = parse_duration,
        requires = "upstream",
        help_heading = "cache"
    )]
    revalidate: Duration,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl UpstreamArgs {
    fn options(self) -> Outcome<Option<UpstreamOptions>> {
        let Some(origin) = self.upstream else {
            return Ok(None);
        };
        Ok(Some(UpstreamOptions {
            origin,
            revalidate: self.revalidate,
            registry: self.registry.options()?,
        }))
    }
}

/// Users who are answered, and TLS.
#[derive(clap::Args, Debug)]
struct AccessArgs {
    /// answer only users in a file of names and bcrypt passwords, as 'htpasswd -B' writes it
    #[arg(long, value_name = "file", help_heading = "access")]
    htpasswd: Option<PathBuf>,
    /// speak TLS with the certificate, and its chain, in a PEM file
    #[arg(
        long = "tls-cert",
        value_name = "file",
        requires = "tls_key",
        help_heading = "access"
    )]
    tls_cert: Option<PathBuf>,
    /// PEM file with the key of the certificate
    #[arg(
        long = "tls-key",
        value_name = "file",
        requires = "tls_cert",
        help_heading = "access"
    )]
    tls_key: Option<PathBuf>,
    /// listen beyond this machine without TLS
    #[arg(long, help_heading = "access")]
    insecure: bool,
}

/// Limits of what clients may take.
#[derive(clap::Args, Debug)]
struct BoundArgs {
    /// number of connections; more wait
    #[arg(
        long = "max-connections",
        value_name = "number",
        default_value_t = 512,
        help_heading = "limits"
    )]
    max_connections: usize,
    /// number of uploads under way, of which one client may have a quarter
    #[arg(
        long = "max-uploads",
        value_name = "number",
        default_value_t = 512,
        help_heading = "limits"
    )]
    max_uploads: usize,
    /// size of a blob that is pushed, such as 20GB (default: no limit)
    #[arg(long = "max-blob", value_name = "bytes", value_parser = crate::store::parse_size, help_heading = "limits")]
    max_blob: Option<u64>,
    /// time after which an upload is dropped that nobody goes on with
    #[arg(long = "upload-age", value_name = "duration", default_value = "1h", value_parser = parse_duration, help_heading = "limits")]
    upload_age: Duration,
    /// time in which the head of a request must come, and the next request
    #[arg(long = "header-timeout", value_name = "duration", default_value = "30s", value_parser = parse_duration, help_heading = "limits")]
    header_timeout: Duration,
    /// time in which 1 KiB for each second must come of a body, and something be taken of an answer
    #[arg(long = "body-window", value_name = "duration", default_value = "30s", value_parser = parse_duration, help_heading = "limits")]
    body_window: Duration,
}

impl Serve {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        let options = self.options(ui)?;
        raise_file_limit();
        let server = Server::bind(options)?;
        // The first line of stdout, for those who asked for a free port.
        ui.print(format!("{}\n", server.address()))?;
        Ok(server.run()?)
    }

    fn options(self, ui: &Ui) -> Outcome<ServeOptions> {
        match (&self.root, self.rest.is_empty()) {
            (None, true) => refuse!("nothing to serve: name layouts, or --root DIRECTORY"),
            (Some(_), false) => refuse!("--root and layouts are mutually exclusive"),
            (Some(root), true) if !root.is_dir() => {
                refuse!("invalid --root: {} is no directory", root.display())
            }
            _ => {}
        }
        let AccessArgs {
            htpasswd,
            tls_cert,
            tls_key,
            insecure,
        } = self.access;
        let log_requests = ui.says_requests();
        Ok(ServeOptions {
            listen: address(&self.listen)?,
            layouts: self.rest.iter().map(|word| named(word)).collect::<Outcome<_>>()?,
            root: self.root,
            write: self.write,
            delete: self.delete,
            upstream: self.upstream.options()?,
            htpasswd,
            tls: tls_cert.zip(tls_key),
            insecure,
            max_connections: self.bounds.max_connections.max(1),
            max_uploads: self.bounds.max_uploads.max(1),
            max_blob: self.bounds.max_blob,
            upload_age: self.bounds.upload_age,
            header_timeout: self.bounds.header_timeout,
            body_window: self.bounds.body_window,
            lock_timeout: self.lock.timeout(),
            log: Arc::new(move |line| {
                if log_requests {
                    log(line);
                }
            }),
            ..ServeOptions::default()
        })
    }
}

/// Writes a line of the log. Its parts come from clients, so nothing in it drives a terminal.
fn log(line: &str) {
    let text = format!("{:.3} {}\n", Timestamp::now(), one_line(line));
    // Nothing is left to tell when stderr itself fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Reads an address to listen at; a name such as localhost will do.
fn address(text: &str) -> Outcome<SocketAddr> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    match found {
        Some(address) => Ok(address),
        None => refuse!("invalid --listen: {text:?} (want ADDRESS:PORT, such as 127.0.0.1:5000)"),
    }
}

/// Reads a layout, perhaps with the name of its repository.
fn named(word: &str) -> Outcome<(String, PathBuf)> {
    if let Some((name, path)) = word.split_once('=') {
        return Ok((name.to_owned(), path.into()));
    }
    let path = Path::new(word);
    let last = path.file_name().and_then(|name| name.to_str());
    match last {
        Some(last) => Ok((last.to_ascii_lowercase(), path.into())),
        None => refuse!("invalid image-path: {word:?} gives no name: write NAME={word}"),
    }
}

/// Lets the process have as many open files as it may: each connection and upload takes some.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer files the server only takes fewer connections.
    let _ = setrlimit(Resource::Nofile, limit);
}
