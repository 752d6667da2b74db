// SPDX-License-Identifier: Apache-2.0
//! The one error type of the crate: a kind to branch on, a message, and the context it passed through.
//!
//! Invariant: a message is one line and names the path, digest or field that is wrong. The text of a cause is
//! part of the message once; nothing is repeated while the error travels up.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Returns from a function with an error of a kind and the text that follows, as `format!` takes it.
macro_rules! fail {
    ($kind:ident, $($text:tt)*) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($text)*)).into())
    };
}

/// Kind of an error, coarse enough to branch on.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ErrorKind {
    /// A file, blob, tag or field that was asked for is not there.
    NotFound,
    /// Something is there that must not be (`init` on an existing path, a bundle that exists).
    Exists,
    /// The value to be replaced is not the one of when the work began.
    Conflict,
    /// A tag or digest prefix names more than one thing.
    Ambiguous,
    /// Bytes differ from what their descriptor says, or are not what their media type says.
    Corrupt,
    /// A value from the caller does not follow its grammar.
    Invalid,
    /// A name from an image would leave the root of the tree. Never downgraded to another kind.
    UnsafePath,
    /// Well formed, but of a type or version that is not handled.
    Unsupported,
    /// The kernel refused for lack of permission.
    Denied,
    /// Another process holds a lock for longer than the caller wanted to wait.
    Busy,
    /// Input larger than a stated limit.
    Limit,
    /// The disk (or quota) is full.
    NoSpace,
    /// The file system is mounted read-only.
    ReadOnly,
    /// Any other failure of the operating system.
    Io,
}

/// A detail of a failure beyond its kind. Callers branch on it, and a program adds its hints by it; the text of an error is for
/// people alone.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Fact {
    /// The index database failed, not the layout: the same work succeeds without the database.
    IndexDatabase,
    /// The input exceeds the limit of this name, one of `layer::Limits::NAMES`.
    Limit(&'static str),
    /// There is no image layout at the path.
    NoLayout,
    /// Another process held a lock for as long as the caller was ready to wait.
    LockTimeout,
    /// A name leads to several images, and nothing says which of them is meant.
    SeveralImages,
    /// As [`Fact::SeveralImages`], and all of them are for the platform that is meant.
    SeveralOfPlatform,
    /// The media type of a document cannot be told, and the caller may say it.
    MediaTypeUnclear,
    /// A tag of that name exists, and the caller did not ask to replace it.
    TagExists,
    /// The tag no longer leads to the image that the work began with.
    TagMoved,
    /// The archive has the list of images of none of the formats: its files may be those of one image.
    NoImages,
    /// `index.json` or another part of the layout is torn or missing: it can be made anew of what else is known.
    TornIndex,
    /// An entry of `index.json` names nothing: a repair drops it.
    EmptyEntry,
    /// A tag still needs the blob; the removal of the tag frees it.
    NeededByTag,
    /// A registry wants to know who asks, and no credentials are known for it.
    LoginNeeded,
    /// A registry or its token service does not take the credentials, or they lack the right.
    LoginRefused,
    /// A registry answers only so many requests, and will again later.
    TooManyRequests,
    /// A registry takes no changes and does not say why: it may be read-only.
    ChangesRefused,
    /// No authority that is trusted has signed the certificate of a host.
    UntrustedCertificate,
    /// A host does not speak TLS, and plain HTTP was not allowed.
    SpeaksPlainHttp,
    /// A host cannot be found or does not take connections.
    Unreachable,
    /// A repository has no tag `latest`, and no other was asked for.
    NoLatest,
    /// A server was to speak plain HTTP beyond this machine.
    WouldSpeakPlainHttp,
}

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate. `Display` prints `outer context: inner context: message` on one line.
// A pointer: each `Result` has room for an error, and few functions fail.
#[derive(derive_more::Debug)]
#[debug("{:?}({self})", _0.kind)]
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    fact: Option<Fact>,
    /// Name of the thing that the fact is about.
    subject: Option<String>,
    message: String,
    /// Innermost first.
    context: Vec<String>,
}

impl Error {
    /// Makes an error of `kind`; `message` is lower case, one line and without a full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            fact: None,
            subject: None,
            message: message.into(),
            context: Vec::new(),
        }))
    }

    /// Returns the kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the detail to branch on, if the kind alone does not tell enough; the last that was added.
    pub fn fact(&self) -> Option<Fact> {
        self.0.fact
    }

    /// Adds a detail; see [`Fact`].
    #[must_use]
    pub fn with_fact(mut self, fact: Fact) -> Self {
        self.0.fact = Some(fact);
        self
    }

    /// Returns the name of the thing that [`Error::fact`] is about, such as the host that wants a login.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// Names the thing that the fact is about, unless that is named already.
    #[must_use]
    pub(crate) fn about(mut self, subject: impl Into<String>) -> Self {
        self.0.subject.get_or_insert_with(|| subject.into());
        self
    }

    /// Puts `context` before the text, as in `read layer sha256:…: <text>`.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.0.context.push(context.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.context.iter().rev() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    /// Unwraps an `Error` that travelled through an `io` trait; else maps the kind.
    fn from(err: io::Error) -> Self {
        let err = match err.downcast::<Self>() {
            Ok(own) => return own,
            Err(other) => other,
        };
        // Kinds that nobody branches on are one kind.
        let kind = match err.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        // std says "No such file or directory (os error 2)": the number is noise, and messages begin in lower case.
        let mut text = err.to_string();
        if let Some(at) = text.find(" (os error ") {
            text.truncate(at);
        }
        if text.starts_with(|c: char| c.is_ascii_uppercase()) && err.raw_os_error().is_some() {
            let lower = text[..1].to_ascii_lowercase();
            text.replace_range(..1, &lower);
        }
        Self::new(kind, text)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(err: rustix::io::Errno) -> Self {
        io::Error::from(err).into()
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        // Taken out again above, with its kind and fact, behind whatever trait of `io` it passes.
        io::Error::other(err)
    }
}

/// Adds context to the error of a result; see [`Error::context`].
pub(crate) trait ResultExt<T> {
    /// Puts the text that `context` makes before the error's own; called on failure only.
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T>;

    /// Names the operation that failed and its file: `open /etc/passwd: permission denied`.
    fn doing(self, verb: &str, path: &Path) -> Result<T>;

    /// Returns `None` for what is not there.
    fn if_there(self) -> Result<Option<T>>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.into().context(context()))
    }

    fn doing(self, verb: &str, path: &Path) -> Result<T> {
        self.context(|| format!("{verb} {}", path.display()))
    }

    fn if_there(self) -> Result<Option<T>> {
        match self.map_err(Into::into) {
            // By the kind alone: the cause may be the kernel or a document that names nothing.
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
}

/// Locks what threads share. A panic while it was locked ends the work that shares it, and what is done then needs no more than
/// what stands there.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the first of some names as a list for a message, and how many more there are.
pub(crate) fn shortlist(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut names = names.into_iter().map(|name| name.to_string());
    // A layout may have thousands of tags, and a message is one line.
    let mut out: Vec<String> = names.by_ref().take(8).collect();
    match names.count() {
        0 => {}
        rest => out.push(format!("and {rest} more")),
    }
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_reads_from_the_outside_in() {
        let err = Error::new(ErrorKind::Corrupt, "digest mismatch")
            .context("read blob")
            .context("unpack");
        assert_eq!(err.to_string(), "unpack: read blob: digest mismatch");
    }

    #[test]
    fn an_error_survives_a_trip_through_io() {
        let err: io::Error = Error::new(ErrorKind::Limit, "too large").into();
        let back: Error = err.into();
        assert_eq!(
            (back.kind(), back.to_string()),
            (ErrorKind::Limit, "too large".to_owned())
        );
    }

    #[test]
    fn a_fact_survives_context_and_a_trip_through_io() {
        let err = Error::new(ErrorKind::Busy, "locked").with_fact(Fact::LockTimeout);
        let err: io::Error = err.context("gc").into();
        let back = Error::from(err).context("outer");
        assert_eq!(back.fact(), Some(Fact::LockTimeout));
        assert_eq!(Error::new(ErrorKind::Busy, "locked").fact(), None);
    }

    #[test]
    fn system_errors_read_as_lower_case_words() {
        let err: Error = io::Error::from_raw_os_error(2).into();
        assert_eq!(
            (err.kind(), err.to_string()),
            (ErrorKind::NotFound, "no such file or directory".to_owned())
        );
    }
}
