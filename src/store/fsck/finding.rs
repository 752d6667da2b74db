// SPDX-License-Identifier: Apache-2.0
//! Findings of a check: damage as data.

use std::fmt;

use serde::Serialize;

use crate::digest::Digest;

/// Severity of a finding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, derive_more::Display, Serialize)]
#[display(rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, and no fault of the layout.
    Info,
    /// Something contradicts itself, but nothing is lost.
    Warning,
    /// Something is missing or wrong.
    Error,
}

/// Kind of a finding.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// `oci-layout`, `index.json` or `blobs/` is missing or cannot be understood.
    Frame,
    /// A blob is not what its digest says.
    Damaged,
    /// A blob is not there.
    Missing,
    /// A blob cannot be read.
    Unreadable,
    /// A descriptor gives a wrong size.
    Size,
    /// A descriptor gives a wrong media type.
    Type,
    /// A descriptor gives a wrong platform.
    Platform,
    /// A document cannot be understood.
    Document,
    /// Layers and history do not fit.
    History,
    /// Layers and diff_ids do not fit.
    DiffId,
    /// A layer is not what its media type says, or no archive that can be unpacked.
    Layer,
    /// An entry of `index.json` is no descriptor, or its name no tag.
    Ref,
    /// Something under `blobs/` is no blob.
    Stray,
    /// A blob cannot be read by all who may read the layout.
    Permissions,
    /// Settings, a lease or the reflog cannot be understood.
    OwnFile,
    /// The index had counted wrong.
    Index,
    /// A temporary file that nobody uses.
    Temporary,
    /// More was found than is told.
    More,
}

/// Something that was found.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// Kind of the finding.
    pub problem: Problem,
    /// Subject: a digest, a path in the layout, or an entry of `index.json`.
    pub subject: String,
    /// Fault, to be read after the subject.
    pub message: String,
    /// Tags of images that need it, or `<none>` for an entry without one; some, if there are many.
    pub refs: Vec<String>,
    /// Number of further tags that need it, at least.
    #[serde(rename = "moreRefs")]
    pub more_refs: u64,
    /// Whether it was mended.
    pub repaired: bool,
    #[serde(skip)]
    pub(super) digest: Option<Digest>,
    /// The size that its descriptor gives a blob that is missing.
    #[serde(skip)]
    pub(super) wanted: Option<u64>,
}

impl Finding {
    /// Makes an error about something that is no blob.
    pub(super) fn new(problem: Problem, subject: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            problem,
            subject: subject.to_string(),
            message: short(message.into()),
            refs: Vec::new(),
            more_refs: 0,
            repaired: false,
            digest: None,
            wanted: None,
        }
    }

    /// Makes an error about a blob.
    pub(super) fn of(digest: &Digest, problem: Problem, message: impl Into<String>) -> Self {
        Self {
            digest: Some(*digest),
            ..Self::new(problem, digest, message)
        }
    }

    pub(super) fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(super) fn info(self) -> Self {
        self.with_severity(Severity::Info)
    }

    pub(super) fn warning(self) -> Self {
        self.with_severity(Severity::Warning)
    }

    /// Sets whether it was mended.
    pub(super) fn repaired(mut self, repaired: bool) -> Self {
        self.repaired = repaired;
        self
    }

    /// Returns whether it is an error that was not mended.
    pub(super) fn is_damage(&self) -> bool {
        self.severity == Severity::Error && !self.repaired
    }
}

/// Maximum length of a message, in characters.
const MAX_MESSAGE: usize = 1000;

/// Cuts a message that is too long: one of the parser may have all that it met in it.
pub(super) fn short(text: String) -> String {
    // A cut between the bytes of one character would panic.
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
