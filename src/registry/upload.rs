// SPDX-License-Identifier: Apache-2.0
//! Blobs to a registry.
//!
//! A session is begun with a mount: the registry answers that it has the blob, in this repository or in the one that is named,
//! or it begins a session. The body goes with one request, which every registry takes, and in chunks where a registry refuses
//! that. A session that failed is left: the next try begins another.

use std::io::Read;

use ureq::http::Method;

use super::errors::refused;
use super::host::drain;
use super::http::{Call, Payload, Response, resolve, with_parameter};
use super::reference::RepositoryName;
use super::repository::Endpoint;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::spec::Descriptor;
use crate::transfer::Body;

/// Tries to send a blob.
const MAX_TRIES: u32 = 4;
/// Size of a chunk in bytes where a registry asks for chunks. Some take no larger ones.
const CHUNK: u64 = 4 << 20;
/// Maximum size of a chunk that a registry may ask for in bytes.
const MAX_CHUNK: u64 = 1 << 30;

/// An upload session.
struct Session {
    url: String,
    /// Minimum size of a chunk that the registry wants.
    min_chunk: u64,
}

/// Returns whether the repository has a blob, as far as the registry says so.
pub(super) fn has_blob(place: &Endpoint, blob: &Descriptor, actions: &str) -> Result<bool> {
    let call = Call::new(Method::HEAD, place.url(&format!("blobs/{}", blob.digest))?);
    let answer = place.send(&call, actions)?;
    match answer.status().as_u16() {
        200 => {
            let size = answer
                .headers()
                .get("content-length")
                .and_then(|size| size.to_str().ok()?.parse().ok());
            // A web server that answers everything has no blobs.
            Ok(size.is_none_or(|size: u64| size == blob.size))
        }
        404 => Ok(false),
        _ => Err(refused(answer)),
    }
}

/// Sends a blob, unless it can be mounted from `from`. Returns whether its bytes were sent.
///
/// # Errors
/// Those of the registry and of the bytes.
pub(super) fn upload(
    place: &Endpoint,
    blob: &Descriptor,
    from: Option<&RepositoryName>,
    body: &dyn Body,
) -> Result<bool> {
    let label = format!("put blob {} of {}", blob.digest, place.name);
    let mut tries = 0;
    let mut from = from;
    let mut is_chunked = false;
    loop {
        tries += 1;
        let Some(session) = begin(place, blob, from).context(|| label.clone())? else {
            return Ok(false);
        };
        // A mount that was not granted is not asked for again.
        from = None;
        let sent = if is_chunked {
            send_chunks(place, blob, &session, body)
        } else {
            send_whole(place, blob, &session, body)
        };
        let err = match sent {
            Ok(()) => return Ok(true),
            Err(err) => err,
        };
        let may_pass = [ErrorKind::Io, ErrorKind::Unsupported, ErrorKind::NotFound];
        let is_refused = !may_pass.contains(&err.kind());
        if is_refused || tries == MAX_TRIES {
            return Err(err.context(label));
        }
        // Somebody else may have sent the same blob meanwhile.
        if has_blob(place, blob, "pull,push").context(|| label.clone())? {
            return Ok(false);
        }
        is_chunked |= err.kind() == ErrorKind::Unsupported;
        std::thread::sleep(place.host.options().timeouts.pause * tries);
    }
}

/// Begins a session; `None` if the blob is there by now.
fn begin(place: &Endpoint, blob: &Descriptor, from: Option<&RepositoryName>) -> Result<Option<Session>> {
    let mut url = place.url("blobs/uploads/")?;
    if let Some(from) = from {
        url = with_parameter(&url, "mount", &blob.digest.to_string());
        url = with_parameter(&url, "from", from.path());
    }
    let call = Call::new(Method::POST, url.clone()).body(Payload::Bytes(b""));
    let mut answer = match from {
        Some(from) => place.send_mount(&call, from)?,
        None => place.send(&call, "pull,push")?,
    };
    match answer.status().as_u16() {
        201 if from.is_some() => {
            drain(&mut answer);
            Ok(None)
        }
        202 => {
            drain(&mut answer);
            session(&answer, &url).map(Some)
        }
        // A mount that is refused for want of the right to read leaves the plain way.
        _ if from.is_some() => {
            drain(&mut answer);
            begin(place, blob, None)
        }
        _ => Err(refused(answer)),
    }
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn session(answer: &Response, url: &str) -> Result<Session> {
    let Some(location) = header(answer, "location") else {
        fail!(Corrupt, "the registry began an upload and did not say where");
    };
    let min_chunk = header(answer, "oci-chunk-min-length").and_then(|size| size.parse().ok());
    Ok(Session {
        url: resolve(url, location)?,
        min_chunk: min_chunk.unwrap_or(0),
    })
}

/// Sends all bytes with the request that ends the session.
fn send_whole(place: &Endpoint, blob: &Descriptor, session: &Session, body: &dyn Body) -> Result<()> {
    let url = with_parameter(&session.url, "digest", &blob.digest.to_string());
    let call = Call::new(Method::PUT, url)
        .header("content-type", "application/octet-stream")
        .body(Payload::Stream {
            size: blob.size,
            body,
        })
        .once();
    ended(place.send(&call, "pull,push")?)
}

/// Sends the bytes in chunks, the last with the request that ends the session.
fn send_chunks(place: &Endpoint, blob: &Descriptor, session: &Session, body: &dyn Body) -> Result<()> {
    let size = session.min_chunk.clamp(CHUNK, MAX_CHUNK);
    let mut url = session.url.clone();
    let mut body = body.open()?;
    let mut start = 0;
    loop {
        let mut chunk = Vec::new();
        (&mut body).take(size).read_to_end(&mut chunk)?;
        let end = start + chunk.len() as u64;
        let range = format!("{start}-{}", end.saturating_sub(1));
        if end >= blob.size || chunk.is_empty() {
            let url = with_parameter(&url, "digest", &blob.digest.to_string());
            let mut call = Call::new(Method::PUT, url)
                .header("content-type", "application/octet-stream")
                .once();
            if !chunk.is_empty() {
                call = call.header("content-range", range);
            }
            return ended(place.send(&call.body(Payload::Bytes(&chunk)), "pull,push")?);
        }
        let call = Call::new(Method::PATCH, url.clone())
            .header("content-type", "application/octet-stream")
            .header("content-range", range)
            .body(Payload::Bytes(&chunk))
            .once();
        let mut answer = place.send(&call, "pull,push")?;
        // Some answer 201 or 204 in place of 202.
        if !matches!(answer.status().as_u16(), 200..=204) {
            return Err(refused(answer));
        }
        drain(&mut answer);
        // Without a Location the next chunk goes where this one went.
        if answer.headers().contains_key("location") {
            url = self::session(&answer, &url)?.url;
        }
        start = end;
    }
}

fn ended(mut answer: Response) -> Result<()> {
    match answer.status().as_u16() {
        200 | 201 | 204 => {
            drain(&mut answer);
            Ok(())
        }
        _ => Err(refused(answer)),
    }
}
