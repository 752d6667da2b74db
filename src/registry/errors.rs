// SPDX-License-Identifier: Apache-2.0
//! Refusals of a registry as errors.

use serde::Deserialize;

use super::http::{Response, read_small, retry_after};
use crate::error::{Error, ErrorKind, Fact};

/// Maximum size of the text of a refusal in bytes, and of the part that a message shows in characters.
const MAX_BODY: u64 = 64 << 10;
const MAX_SHOWN: usize = 300;

/// The body of a refusal. Spec: distribution-spec, "Error Codes".
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns the refusal that an answer is, as an error: its status, and the codes and messages of the registry.
pub(super) fn refused(mut answer: Response) -> Error {
    let status = answer.status().as_u16();
    // A body that breaks off says nothing.
    let text = read_small(&mut answer, MAX_BODY).unwrap_or_default();
    let mut message = match answer.status().canonical_reason() {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    };
    let said = said(&text);
    if !said.is_empty() {
        message = format!("{message}: {said}");
    }
    if let Some(wait) = retry_after(answer.headers()) {
        message = format!("{message} (try again in {} s)", wait.as_secs());
    }
    let (kind, fact) = match status {
        401 => (ErrorKind::Denied, Some(Fact::LoginNeeded)),
        403 => (ErrorKind::Denied, Some(Fact::LoginRefused)),
        404 => (ErrorKind::NotFound, None),
        429 => (ErrorKind::Busy, Some(Fact::TooManyRequests)),
        400..=499 => (ErrorKind::Unsupported, None),
        _ => (ErrorKind::Io, None),
    };
    let error = Error::new(kind, message);
    match fact {
        Some(fact) => error.with_fact(fact),
        None => error,
    }
}

/// Returns what a body says, as a part of one line: the codes and messages of a refusal, else its text.
pub(super) fn said(text: &[u8]) -> String {
    let said = match serde_json::from_slice::<Refusal>(text) {
        Ok(refusal) if !refusal.errors.is_empty() => {
            let each = refusal
                .errors
                .iter()
                .take(3)
                .map(|one| match one.message.as_str() {
                    "" => one.code.clone(),
                    message => format!("{message} ({})", one.code),
                });
            each.collect::<Vec<_>>().join(", ")
        }
        // A page for people says nothing in one line.
        _ if text.trim_ascii_start().starts_with(b"<") => String::new(),
        _ => String::from_utf8_lossy(text).trim().to_owned(),
    };
    let shown = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(MAX_SHOWN).collect()
}
