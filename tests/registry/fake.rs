// SPDX-License-Identifier: Apache-2.0
//! A server that answers as a test says, and keeps what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use umoci::digest::Digest;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection is cut after so many bytes of the body.
    pub cut: Option<usize>,
    /// The server waits after so many bytes of the body until the client is gone.
    pub stall: Option<usize>,
    /// The server waits after so many bytes of the body for this lock.
    pub pause: Option<(usize, Arc<Mutex<()>>)>,
    /// The body never ends.
    pub endless: bool,
    /// Pause before each byte of the body.
    pub trickle: Option<Duration>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut(mut self, after: usize) -> Self {
        self.cut = Some(after);
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server; it serves until the test ends.
pub struct Fake {
    pub address: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
                std::thread::spawn(move || serve(&stream, &*handler, &seen));
            }
        });
        Self { address, log }
    }

    /// Returns the requests so far, but those that only look whether TLS is spoken.
    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().expect("log").clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| format!("{} {}", asked.method, asked.path))
            .collect()
    }
}

fn serve(stream: &TcpStream, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        log.lock().expect("log").push(asked.clone());
        let answer = handler(&asked);
        if write(stream, &asked, &answer).is_none() {
            break;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let size: usize = headers
        .get("content-length")
        .and_then(|size| size.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; size];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}

/// Writes an answer; `None` if the connection is over.
fn write(mut stream: &TcpStream, asked: &Asked, answer: &Answer) -> Option<()> {
    let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
    let has_length = answer.headers.iter().any(|(name, _)| name == "content-length");
    if !has_length && !answer.endless {
        head += &["content-length: ", &answer.body.len().to_string(), "\r\n"].concat();
    }
    for (name, value) in &answer.headers {
        head += &[name, ": ", value, "\r\n"].concat();
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    if asked.method == "HEAD" {
        return Some(());
    }
    if answer.endless {
        let chunk = vec![b' '; 1 << 16];
        while stream.write_all(&chunk).is_ok() {}
        return None;
    }
    if let Some((after, gate)) = &answer.pause {
        stream.write_all(&answer.body[..*after]).ok()?;
        drop(gate.lock());
        return stream.write_all(&answer.body[*after..]).ok();
    }
    if let Some(stall) = answer.stall {
        stream.write_all(&answer.body[..stall]).ok()?;
        let _ = stream.read(&mut [0]);
        return None;
    }
    let body = &answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())];
    match answer.trickle {
        Some(pause) => {
            for byte in body {
                std::thread::sleep(pause);
                stream.write_all(&[*byte]).ok()?;
            }
        }
        None => stream.write_all(body).ok()?,
    }
    answer.cut.is_none().then_some(())
}

/// An image that a fake registry may have.
pub struct Content {
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

impl Content {
    /// Makes an image with a layer of random-looking bytes.
    pub fn new(size: usize) -> Self {
        let layer: Vec<u8> = (0..size)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8)
            .collect();
        let diff_id = Digest::sha256(&layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{diff_id}","size":{size}}}]}}"#,
            Digest::sha256(config.as_bytes()),
            config.len()
        );
        Self {
            manifest: manifest.into_bytes(),
            config: config.into_bytes(),
            layer,
        }
    }

    /// Answers as a registry does that has this image under the tag `1`.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let is_of =
            |what: &str, bytes: &[u8]| asked.path.ends_with(&format!("{what}/{}", Digest::sha256(bytes)));
        if asked.path.ends_with("/manifests/1") || is_of("manifests", &self.manifest) {
            return Answer::new(200, self.manifest.clone())
                .header("content-type", "application/vnd.oci.image.manifest.v1+json")
                .header(
                    "docker-content-digest",
                    Digest::sha256(&self.manifest).to_string(),
                );
        }
        for blob in [&self.config, &self.layer] {
            if is_of("blobs", blob) {
                return ranged(asked, blob);
            }
        }
        Answer::new(404, r#"{"errors":[{"code":"NOT_FOUND","message":"not here"}]}"#)
    }
}

/// Answers with a blob, or with the part of it that is asked for.
pub fn ranged(asked: &Asked, blob: &[u8]) -> Answer {
    let range = asked.headers.get("range").and_then(|range| {
        let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?))
    });
    match range {
        None => Answer::new(200, blob),
        Some((start, end)) => Answer::new(206, &blob[start..=end])
            .header("content-range", format!("bytes {start}-{end}/{}", blob.len())),
    }
}
