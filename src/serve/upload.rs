// SPDX-License-Identifier: Apache-2.0
//! Uploads of blobs: sessions, chunks and mounts. Spec: distribution-spec, "Pushing blobs".
//!
//! A session is a temporary file in the layout that its blob is for, hashed as it grows. At its end the file is synced, named by
//! its digest, and held by a lease until a manifest names it.

use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE, RETRY_AFTER};

use super::answer::{Answer, Code, DOCKER_CONTENT_DIGEST, Outcome, Refusal, own};
use super::repositories::{Repositories, Repository};
use super::request::{Request, broken_body, number};
use super::route::{Query, UPLOAD_NAME, digest};
use crate::digest::{Algorithm, Digest, hex};
use crate::error::{Error, ErrorKind, Result, lock};
use crate::layout::{BlobWriter, Staged};
use crate::spec::{Descriptor, MediaType};

/// Time for which a blob is held that no manifest names yet.
const LEASE: Duration = Duration::from_secs(2 * 3600);
/// Bytes that are read of a body, or copied from one layout to another, at a time.
const BUFFER: usize = 256 * 1024;
const DOCKER_UPLOAD_UUID: HeaderName = own("docker-upload-uuid");

/// Uploads under way.
#[derive(Debug)]
pub(super) struct Uploads {
    max: usize,
    max_blob: u64,
    age: Duration,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

/// An upload under way.
#[derive(Debug)]
struct Session {
    repository: Arc<Repository>,
    client: IpAddr,
    /// Bytes that came so far.
    offset: AtomicU64,
    /// The time of the last request.
    used: Mutex<Instant>,
    /// Held by the request that writes; `None` once the upload has ended.
    writer: Mutex<Option<BlobWriter>>,
}

impl Session {
    /// Returns whether the upload has ended, well or not.
    fn is_over(&self) -> bool {
        self.writer.try_lock().is_ok_and(|writer| writer.is_none())
    }
}

/// The end of a piece of a body.
enum Piece {
    Whole,
    /// It broke off; what came is kept.
    Broken,
    /// There is more than was said, or may be.
    TooLong,
}

impl Uploads {
    pub fn new(max: usize, max_blob: Option<u64>, age: Duration) -> Self {
        Self {
            max,
            max_blob: max_blob.unwrap_or(u64::MAX),
            age,
            sessions: Mutex::default(),
        }
    }

    /// Returns the number of uploads under way.
    pub fn count(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// Drops uploads that nobody goes on with.
    pub fn drop_old(&self) {
        let mut sessions = lock(&self.sessions);
        // A request that is busy with one counts as its use, however long it takes.
        sessions.retain(|_, session| match session.writer.try_lock() {
            Ok(writer) => writer.is_some() && lock(&session.used).elapsed() < self.age,
            Err(_) => true,
        });
    }

    /// Begins an upload, or does all of it: by a mount, or of the body that came along.
    pub fn begin(
        &self,
        repositories: &Repositories,
        repository: &Arc<Repository>,
        request: &mut Request,
        query: &Query,
    ) -> Outcome {
        if let Some(wanted) = query.get("mount") {
            let wanted = digest(wanted)?;
            if mount(repositories, repository, &wanted, query.get("from"))? {
                return Ok(created(repository, &wanted));
            }
        }
        let given = query.get("digest").map(digest).transpose()?;
        let algorithm = match (given, query.get("digest-algorithm")) {
            (Some(given), _) => given.algorithm(),
            (None, None) => Algorithm::Sha256,
            (None, Some(name)) => Algorithm::from_name(name)
                .ok_or_else(|| Refusal::new(Code::DigestInvalid, "the algorithm is not known here"))?,
        };
        let (id, session) = self.open(repository, request.client, algorithm)?;
        match given {
            None => Ok(under_way(StatusCode::ACCEPTED, &id, &session)),
            Some(given) => {
                let done = self
                    .append(&session, request, None)
                    .and_then(|()| end(&session, &given));
                // Nobody was told of the session, so nobody can go on with it.
                lock(&self.sessions).remove(&id);
                done.map(|()| created(repository, &given))
            }
        }
    }

    fn open(
        &self,
        repository: &Arc<Repository>,
        client: IpAddr,
        algorithm: Algorithm,
    ) -> Outcome<(String, Arc<Session>)> {
        self.drop_old();
        let writer = repository.store.layout().write_blob(algorithm)?;
        let id = random_name()?;
        let session = Arc::new(Session {
            repository: Arc::clone(repository),
            client,
            offset: AtomicU64::new(0),
            used: Mutex::new(Instant::now()),
            writer: Mutex::new(Some(writer)),
        });
        let mut sessions = lock(&self.sessions);
        let own = sessions
            .values()
            .filter(|session| session.client == client)
            .count();
        if sessions.len() >= self.max || own >= self.max.div_ceil(4) {
            let refusal = Refusal::new(Code::TooManyRequests, "too many uploads are under way");
            return Err(refusal.header(RETRY_AFTER, 60));
        }
        sessions.insert(id.clone(), Arc::clone(&session));
        Ok((id, session))
    }

    fn find(&self, repository: &Repository, id: &str) -> Outcome<Arc<Session>> {
        let found = lock(&self.sessions).get(id).cloned();
        match found.filter(|session| session.repository.name == repository.name) {
            Some(session) if !session.is_over() => Ok(session),
            _ => Err(Refusal::new(Code::BlobUploadUnknown, "there is no such upload")),
        }
    }

    /// Returns how far an upload is.
    pub fn status(&self, repository: &Repository, id: &str) -> Outcome {
        let session = self.find(repository, id)?;
        Ok(under_way(StatusCode::NO_CONTENT, id, &session))
    }

    /// Gives an upload up.
    pub fn cancel(&self, repository: &Repository, id: &str) -> Outcome {
        self.find(repository, id)?;
        lock(&self.sessions).remove(id);
        Ok(Answer::new(StatusCode::NO_CONTENT))
    }

    /// Takes a chunk, or all that is left as a stream.
    pub fn patch(&self, repository: &Repository, id: &str, request: &mut Request) -> Outcome {
        let session = self.find(repository, id)?;
        self.append(&session, request, Some(id))?;
        Ok(under_way(StatusCode::ACCEPTED, id, &session))
    }

    /// Takes the last chunk, if there is one, and ends the upload.
    pub fn put(&self, repository: &Repository, id: &str, request: &mut Request, query: &Query) -> Outcome {
        let session = self.find(repository, id)?;
        let Some(given) = query.get("digest") else {
            return Err(Refusal::new(Code::DigestInvalid, "the digest is missing"));
        };
        let given = digest(given)?;
        self.append(&session, request, Some(id))?;
        let ended = end(&session, &given);
        // A file that is not what it was to be is of no use.
        lock(&self.sessions).remove(id);
        ended.map(|()| created(repository, &given))
    }

    /// Writes the body of a request behind what came before. What came of a body that breaks off is kept.
    fn append(&self, session: &Session, request: &mut Request, id: Option<&str>) -> Outcome<()> {
        let mut held = match session.writer.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let busy = "another request writes to the upload";
                return Err(Refusal::new(Code::BlobUploadInvalid, busy).status(StatusCode::CONFLICT));
            }
        };
        let Some(writer) = held.as_mut() else {
            return Err(Refusal::new(Code::BlobUploadUnknown, "the upload has ended"));
        };
        *lock(&session.used) = Instant::now();
        let length = chunk_length(request, writer.size(), id)?;
        let room = self.max_blob - writer.size().min(self.max_blob);
        if length.is_some_and(|length| length > room) {
            return Err(too_large());
        }
        let written = copy(&mut request.body, writer, length.unwrap_or(room));
        session.offset.store(writer.size(), Ordering::Relaxed);
        *lock(&session.used) = Instant::now();
        match written {
            Ok(Piece::Whole) => Ok(()),
            Ok(Piece::Broken) => Err(broken_body()),
            Ok(Piece::TooLong) if length.is_none() => {
                *held = None;
                Err(too_large())
            }
            Ok(Piece::TooLong) => {
                *held = None;
                Err(Refusal::new(
                    Code::SizeInvalid,
                    "the body is longer than Content-Range says",
                ))
            }
            Err(err) => {
                // A full disk is best helped by the room that this takes.
                *held = None;
                Err(err.into())
            }
        }
    }
}

fn too_large() -> Box<Refusal> {
    Refusal::new(Code::SizeInvalid, "the blob is larger than this server takes")
        .status(StatusCode::PAYLOAD_TOO_LARGE)
}

/// Returns the length of the piece in a request, if it is known before; checks that it begins where the last one ended.
fn chunk_length(request: &Request, offset: u64, id: Option<&str>) -> Outcome<Option<u64>> {
    let length = request.length();
    let Some(range) = request.header(&CONTENT_RANGE) else {
        return Ok(length);
    };
    // The spec has two numbers alone; some clients write the form of RFC 9110 before them.
    let range = range.strip_prefix("bytes ").unwrap_or(range);
    let range = range.split('/').next().unwrap_or(range);
    let numbers = range
        .split_once('-')
        .and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let Some((first, last)) = numbers else {
        let text = "Content-Range is not FIRST-LAST";
        return Err(Refusal::new(Code::BlobUploadInvalid, text));
    };
    if first != offset || last < first {
        let text = format!("the next byte is {offset}");
        let mut refusal =
            Refusal::new(Code::BlobUploadInvalid, text).status(StatusCode::RANGE_NOT_SATISFIABLE);
        if let Some(id) = id {
            refusal = refusal
                .header(RANGE, range_until(offset))
                .header(LOCATION, location(request, id))
                .header(DOCKER_UPLOAD_UUID, id);
        }
        return Err(refusal);
    }
    let span = (last - first).saturating_add(1);
    if length.is_some_and(|length| length != span) {
        let text = "Content-Length and Content-Range differ";
        return Err(Refusal::new(Code::SizeInvalid, text));
    }
    Ok(Some(span))
}

/// Returns the path of the upload that a request is about.
fn location(request: &Request, id: &str) -> String {
    let above = request.path.rsplit_once('/').map_or("", |(above, _)| above);
    format!("{above}/{id}")
}

/// Copies a body of at most `limit` bytes to a file. An error is one of the file.
fn copy(body: &mut dyn Read, writer: &mut BlobWriter, limit: u64) -> Result<Piece> {
    let mut buffered = BufWriter::with_capacity(BUFFER, writer);
    let mut buffer = vec![0; BUFFER];
    let mut left = limit;
    let end = loop {
        match body.read(&mut buffer) {
            Ok(0) => break Piece::Whole,
            Ok(n) if n as u64 > left => break Piece::TooLong,
            Ok(n) => {
                buffered.write_all(&buffer[..n])?;
                left -= n as u64;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break Piece::Broken,
        }
    };
    // All that came is in the file, also of a body that broke off.
    buffered.flush()?;
    Ok(end)
}

/// Ends an upload: the file gets its name, if it is what the digest says.
fn end(session: &Session, digest: &Digest) -> Outcome<()> {
    let Some(mut writer) = lock(&session.writer).take() else {
        return Err(Refusal::new(Code::BlobUploadUnknown, "the upload has ended"));
    };
    writer.rehash(digest.algorithm())?;
    let wanted = Descriptor::new(MediaType::default(), *digest, writer.size());
    let staged = writer.stage_as(&wanted).map_err(|err| match err.kind() {
        ErrorKind::Corrupt => Refusal::new(Code::DigestInvalid, "the content has another digest"),
        _ => err.into(),
    })?;
    Ok(keep(&session.repository, staged)?)
}

/// Gives a verified blob its name, durably, and holds it until a manifest names it.
pub(super) fn keep(repository: &Repository, staged: Staged) -> Result<()> {
    let digest = staged.digest;
    repository.store.give_way()?;
    let mut txn = repository.store.begin("push")?;
    txn.stage(staged)?;
    txn.lease(&lease_name(&digest), &[digest], Some(LEASE))?;
    // The index learns of it together with the manifest: one write for all blobs of an image.
    if let Some(stamp) = repository.store.layout().blob_stamp(&digest)? {
        repository.note_verified(digest, stamp);
    }
    Ok(())
}

/// Returns the name of the lease that holds a blob until a manifest names it.
pub(super) fn lease_name(digest: &Digest) -> String {
    // As tags are written that stand for digests: the name has no colon.
    format!("push-{}-{}", digest.algorithm(), digest.encoded())
}

/// Makes a blob that another repository has, or this one, part of this one; `false` if none has it.
fn mount(
    repositories: &Repositories,
    repository: &Arc<Repository>,
    digest: &Digest,
    from: Option<&str>,
) -> Outcome<bool> {
    let layout = repository.store.layout();
    if layout.blob_size(digest)?.is_some() {
        // It may have been about to be collected.
        repository.store.give_way()?;
        let held = repository
            .store
            .create_lease(&lease_name(digest), &[*digest], Some(LEASE));
        // It may be gone by now: then it is one that is not there.
        if !matches!(&held, Err(err) if err.kind() == ErrorKind::NotFound) {
            held?;
            return Ok(true);
        }
    }
    let sources = match from {
        Some(name) if super::route::is_repository(name) => repositories.find(name)?.into_iter().collect(),
        Some(_) => Vec::new(),
        None => repositories.open(),
    };
    for source in sources {
        if let Some(staged) = take_over(repository, &source, digest)? {
            keep(repository, staged)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Shares a blob of another layout, or copies it where the file system cannot share; `None` if that has no good one.
fn take_over(repository: &Repository, source: &Repository, digest: &Digest) -> Result<Option<Staged>> {
    let _reading = source.store.reading();
    let Some(size) = source.store.layout().blob_size(digest)? else {
        return Ok(None);
    };
    let blob = Descriptor::new(MediaType::default(), *digest, size);
    let taken = copy_blob(repository, source, &blob);
    match taken {
        Ok(staged) => Ok(Some(staged)),
        // The blob is damaged there or gone by now: the client sends a good one.
        Err(err) if matches!(err.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => Ok(None),
        Err(err) => Err(err),
    }
}

fn copy_blob(repository: &Repository, source: &Repository, blob: &Descriptor) -> Result<Staged> {
    let (layout, path) = (
        repository.store.layout(),
        source.store.layout().blob_path(&blob.digest),
    );
    if let Some(shared) = layout.adopt_blob(blob, &path)? {
        return Ok(shared);
    }
    let mut writer = layout.write_blob(blob.digest.algorithm())?;
    let mut reader = source.store.open_blob(blob)?;
    let mut buffered = BufWriter::with_capacity(BUFFER, &mut writer);
    io::copy(&mut reader, &mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    writer.stage_as(blob)
}

/// Returns the name of a new upload, which nobody can guess.
fn random_name() -> Result<String> {
    let mut bytes = [0; UPLOAD_NAME / 2];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).map_err(Error::from)?;
    }
    Ok(hex(&bytes))
}

/// Returns the answer to a request that is a part of an upload.
fn under_way(status: StatusCode, id: &str, session: &Session) -> Answer {
    let name = &session.repository.name;
    let offset = session.offset.load(Ordering::Relaxed);
    Answer::new(status)
        .header(LOCATION, format_args!("/v2/{name}/blobs/uploads/{id}"))
        .header(RANGE, range_until(offset))
        .header(DOCKER_UPLOAD_UUID, id)
}

/// Returns the range of bytes that came; an upload without any has the same as one of one byte, as registries do.
fn range_until(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

/// Returns the answer to a request after which a blob is there.
fn created(repository: &Repository, digest: &Digest) -> Answer {
    Answer::new(StatusCode::CREATED)
        .header(LOCATION, format_args!("/v2/{}/blobs/{digest}", repository.name))
        .header(DOCKER_CONTENT_DIGEST, digest)
}
