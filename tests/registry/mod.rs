// SPDX-License-Identifier: Apache-2.0
//! Registries: real ones, and one that misbehaves.

mod access;
mod cache;
mod conformance;
mod copies;
mod debian;
mod fake;
mod hostile;
mod kills;
mod remotes;
mod serve;
mod shelf;
mod transfers;
mod words;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Env, Output};

/// Debian's docker-registry, running; it ends with the value.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
}

impl Registry {
    /// Starts one that stores below `registry/` of the room, with further settings.
    pub fn start(env: &Env, settings: &str) -> Self {
        Self::over(env, "delete: {enabled: true}", settings)
    }

    /// Starts one over the same directory that takes no changes.
    pub fn read_only(env: &Env) -> Self {
        Self::over(env, "maintenance: {readonly: {enabled: true}}", "")
    }

    fn over(env: &Env, storage: &str, settings: &str) -> Self {
        let address = free_address();
        let root = env.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  {storage}\nhttp:\n  addr: {address}\n{settings}",
            root.display()
        );
        env.write("registry.yml", config);
        let log = std::fs::File::create(env.path("registry.log")).expect("log");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(env.path("registry.yml"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry");
        let registry = Self { child, address };
        wait_for(&registry.address);
        registry
    }

    /// Returns the name of a repository there.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address of this machine that nobody listens at.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").to_string()
}

/// Waits until somebody listens.
fn wait_for(address: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.flush();
            return;
        }
        assert!(Instant::now() < end, "nobody listens at {address}");
        std::thread::yield_now();
    }
}

/// Returns the requests in the log of a registry since the last call, as `METHOD PATH STATUS`.
fn requests(env: &Env) -> Vec<String> {
    let log = env.path("registry.log");
    let text = String::from_utf8_lossy(&std::fs::read(&log).expect("log")).into_owned();
    let done = std::fs::read_to_string(env.path("registry.seen")).unwrap_or_default();
    let done: usize = done.parse().unwrap_or(0);
    env.write("registry.seen", text.len().to_string());
    let mut out = Vec::new();
    for line in text[done..].lines() {
        // The access log is in the form of Apache.
        let Some((_, rest)) = line.split_once("] \"") else {
            continue;
        };
        let Some((request, rest)) = rest.split_once("\" ") else {
            continue;
        };
        let mut words = request.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            continue;
        };
        let path = path.split('?').next().unwrap_or(path);
        let status = rest.split(' ').next().unwrap_or_default();
        out.push(format!("{method} {path} {status}"));
    }
    out
}

/// Pulls `a/b:1` of a fake registry into `L`, without referrers.
fn pull(env: &Env, fake: &fake::Fake) -> Output {
    let name = format!("{}/a/b:1", fake.address);
    env.umoci(["pull", "--referrers", "no", "--layout", "L", &name])
}
