// SPDX-License-Identifier: Apache-2.0
//! A request as its handler sees it.

use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_LENGTH, EXPECT, HeaderName};
use hyper::{HeaderMap, Method, StatusCode};

use super::answer::{Code, Outcome, Refusal};

/// A request. Its body comes as it is read.
pub(super) struct Request {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub client: IpAddr,
    pub body: Box<dyn Read + Send>,
}

impl Request {
    /// Returns the length of the body, if it was told before the body.
    pub fn length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Returns the text of a header; `None` if it is not there or no text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads what is left of the body of a refused request, as far as that is soon done: a client that still writes when the
    /// connection is closed never sees the answer. One that waits for leave to send the body gets none.
    pub fn drain(&mut self) {
        if self.headers.contains_key(EXPECT) {
            return;
        }
        let end = Instant::now() + DRAIN_TIME;
        let (mut left, mut buffer) = (MAX_DRAINED, vec![0; 64 * 1024]);
        while left > 0 && Instant::now() < end {
            match self.body.read(&mut buffer) {
                Ok(n) if n > 0 => left = left.saturating_sub(n as u64),
                _ => return,
            }
        }
    }

    /// Reads a body of at most `limit` bytes.
    pub fn small_body(&mut self, limit: u64) -> Outcome<Vec<u8>> {
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let mut bytes = Vec::new();
        let read = self.body.by_ref().take(limit + 1).read_to_end(&mut bytes);
        if read.is_err() {
            return Err(broken_body());
        }
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        Ok(bytes)
    }
}

fn too_large(limit: u64) -> Box<Refusal> {
    let text = format!("the body is larger than {limit} bytes");
    Refusal::new(Code::SizeInvalid, text).status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Maximum size of the body of a refused request that is read, in bytes, and maximum time for it.
const MAX_DRAINED: u64 = 8 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Returns the refusal of a request whose body broke off or came too slowly.
pub(super) fn broken_body() -> Box<Refusal> {
    Refusal::new(Code::SizeInvalid, "the body broke off or came too slowly")
        .status(StatusCode::REQUEST_TIMEOUT)
}

/// Reads digits alone: no sign, and nothing around them.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    // More digits than fit lie behind the end of any blob.
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
