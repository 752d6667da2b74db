// SPDX-License-Identifier: Apache-2.0
//! Answers to requests: status, headers and body, and refusals as the spec words them. Spec: distribution-spec, "Error Codes".

use std::fmt::Display;
use std::fs::File;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::growth::Growth;
use crate::error::{Error, ErrorKind};
use crate::spec::json;

/// An answer before it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub content: Content,
    /// Text for the log alone: the failure behind an answer of 500.
    pub fault: Option<String>,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Bytes),
    /// A part of a file.
    File {
        file: BlobFile,
        offset: u64,
        length: u64,
    },
    /// The length in bytes of what a GET would send.
    Length(u64),
}

/// The file of a blob, which may be on its way.
#[derive(Clone, Debug)]
pub(super) struct BlobFile {
    pub file: Arc<File>,
    /// Size of the whole blob in bytes.
    pub size: u64,
    /// Progress of its download; `None` if it is whole.
    pub growth: Option<Growth>,
}

/// The codes of refusals. Spec: distribution-spec, "Error Codes".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            // Older than the list of the spec, and still what clients know.
            Self::TagInvalid => "TAG_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal, which ends the work on a request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    /// Code, message and detail of each error.
    errors: Vec<(Code, String, Value)>,
    fault: Option<String>,
}

/// The result of the work on a request.
pub(super) type Outcome<T = Answer> = std::result::Result<T, Box<Refusal>>;

impl Refusal {
    /// Refuses with the status that the code has by default.
    pub fn new(code: Code, message: impl Into<String>) -> Box<Self> {
        Self::of(vec![(code, message.into(), Value::Null)])
    }

    /// Refuses for several reasons of one code.
    pub fn of(errors: Vec<(Code, String, Value)>) -> Box<Self> {
        let status = errors
            .first()
            .map_or(StatusCode::BAD_REQUEST, |(code, ..)| code.status());
        Box::new(Self {
            status,
            headers: HeaderMap::new(),
            errors,
            fault: None,
        })
    }

    /// Gives another status.
    pub fn status(mut self: Box<Self>, status: StatusCode) -> Box<Self> {
        self.status = status;
        self
    }

    /// Adds a header.
    pub fn header(mut self: Box<Self>, name: HeaderName, value: impl Display) -> Box<Self> {
        insert(&mut self.headers, name, value);
        self
    }

    /// Adds the failure behind it, for the log alone.
    pub fn fault(mut self: Box<Self>, err: &Error) -> Box<Self> {
        self.fault = Some(err.to_string());
        self
    }

    /// Returns the refusal as an answer.
    pub fn into_answer(self) -> Answer {
        let errors: Vec<Value> = self
            .errors
            .into_iter()
            .map(|(code, message, detail)| {
                let mut error = json!({ "code": code.name(), "message": message });
                if !detail.is_null() {
                    error["detail"] = detail;
                }
                error
            })
            .collect();
        let mut answer = Answer::json(self.status, &json!({ "errors": errors }));
        answer.headers.extend(self.headers);
        answer.fault = self.fault;
        answer
    }
}

/// A failure of the store that the code of a handler does not expect.
impl From<Error> for Box<Refusal> {
    fn from(err: Error) -> Self {
        Refusal::of_failure(&err)
    }
}

impl Refusal {
    /// Refuses because of a failure that no client caused.
    pub fn of_failure(err: &Error) -> Box<Self> {
        let (status, message) = match err.kind() {
            ErrorKind::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "another process uses the repository",
            ),
            ErrorKind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "the disk is full"),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed; its log says why",
            ),
        };
        // Paths of this machine are nobody's business, so the text is for the log alone.
        let mut out = Refusal::new(Code::Unknown, message).status(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            out = out.header(RETRY_AFTER, 5);
        }
        out.fault(err)
    }
}

impl Answer {
    /// Returns an answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            content: Content::Bytes(Bytes::new()),
            fault: None,
        }
    }

    /// Returns an answer with a JSON document.
    pub fn json(status: StatusCode, value: &Value) -> Self {
        // A value in memory can always be written.
        let bytes = json::to_bytes(value).unwrap_or_default();
        Self::new(status)
            .header(CONTENT_TYPE, "application/json")
            .bytes(bytes)
    }

    /// Gives the body.
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// Adds a header. A value that no header can have is left out.
    pub fn header(mut self, name: HeaderName, value: impl Display) -> Self {
        insert(&mut self.headers, name, value);
        self
    }

    /// Drops the body, as HEAD wants it, and keeps its length.
    pub fn without_body(mut self) -> Self {
        self.content = Content::Length(self.length());
        self
    }

    /// Returns the length of the body in bytes.
    pub fn length(&self) -> u64 {
        match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { length, .. } | Content::Length(length) => *length,
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl Display) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        headers.append(name, value);
    }
}

/// Returns the name of a header of the spec, in lower case.
pub(super) const fn own(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// Digest of the content of an answer.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = own("docker-content-digest");
