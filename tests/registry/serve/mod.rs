// SPDX-License-Identifier: Apache-2.0
//! `umoci serve`, and a client that sends what no good client does.

mod access;
mod clients;
mod hostile;
mod protocol;
mod together;
mod upstream;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use umoci::digest::Digest;

use crate::support::Env;

/// A server; it ends with the value.
pub struct Served {
    child: Child,
    /// `127.0.0.1:PORT`
    pub address: String,
    log: PathBuf,
}

impl Served {
    /// Serves all layouts below `root` of the room, and takes pushes and removals.
    pub fn all(env: &Env) -> Self {
        std::fs::create_dir_all(env.path("root")).expect("root");
        Self::start(env, &["--root", "root", "--write", "--delete"])
    }

    /// Serves with these words at a free port.
    pub fn start(env: &Env, words: &[&str]) -> Self {
        let log = env.path("serve.log");
        let stderr = std::fs::File::create(&log).expect("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_umoci"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(words)
            .current_dir(env.path(""))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("umoci serve");
        let mut address = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("stdout"));
        lines.read_line(&mut address).expect("address");
        let address = address.trim().to_owned();
        assert!(
            !address.is_empty(),
            "{}",
            std::fs::read_to_string(&log).expect("log")
        );
        Self { child, address, log }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("pid")).expect("pid");
        kill_process(pid, signal).expect("signal");
    }

    /// Tells it to stop, and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().expect("wait").code()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("log")
    }

    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    pub fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// Sends bytes as they are and returns all that comes back until the server closes the connection.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close before it has all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends one request.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
        ask(&self.address, method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Told {
        self.ask("GET", path, &[], b"")
    }

    /// Pushes a blob in one request; returns its descriptor.
    pub fn push_blob(&self, name: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.ask("POST", &path, &[], bytes).is(201);
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Pushes a manifest; returns the answer.
    pub fn push_manifest(&self, name: &str, target: &str, manifest: &Value) -> Told {
        let media_type = manifest["mediaType"].as_str().expect("type");
        let path = format!("/v2/{name}/manifests/{target}");
        self.ask(
            "PUT",
            &path,
            &[("content-type", media_type)],
            manifest.to_string().as_bytes(),
        )
    }

    /// Pushes an image with a layer of this content; returns its manifest.
    pub fn push_image(&self, name: &str, tag: &str, content: &[u8]) -> Value {
        let layer = self.push_blob(name, "application/vnd.oci.image.layer.v1.tar", content);
        let config = json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let media_type = "application/vnd.oci.image.config.v1+json";
        let config = self.push_blob(name, media_type, config.to_string().as_bytes());
        let manifest = image(config, vec![layer]);
        self.push_manifest(name, tag, &manifest).is(201);
        manifest
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn image(config: Value, layers: Vec<Value>) -> Value {
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
}

fn digest_of(document: &Value) -> String {
    Digest::sha256(document.to_string().as_bytes()).to_string()
}

/// Sends one request to a server, on a connection of its own. The body goes in chunks if a header says so.
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), "host: x".to_owned()];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push("connection: close".to_owned());
    let mut content = body.to_vec();
    if headers.contains(&("transfer-encoding", "chunked")) {
        content = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    } else if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        lines.push(format!("content-length: {}", body.len()));
    }
    let head = lines.join("\r\n") + "\r\n\r\n";
    let mut stream = connect(address);
    stream
        .write_all(&[head.as_bytes(), &content].concat())
        .expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answer");
    Told::parse(&answer)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("timeout");
    stream
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Told {
    fn parse(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("head");
        let head = std::str::from_utf8(&answer[..end]).expect("text");
        let mut lines = head.split("\r\n");
        let status = lines.next().expect("status").split(' ').nth(1).expect("status");
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.parse().expect("status"),
            headers: headers
                .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
                .collect(),
            body: answer[end + 4..].to_vec(),
        }
    }

    /// Checks the status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        assert_eq!(self.header("docker-distribution-api-version"), "registry/2.0");
        self
    }

    /// Checks the status and the code of the refusal.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Self {
        let told = self.is(status);
        assert_eq!(told.json()["errors"][0]["code"], code, "{}", told.text());
        told
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
