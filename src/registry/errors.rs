// SPDX-License-Identifier: Apache-2.0
//! Refusals of a registry as errors.

use serde::Deserialize;
use serde_json::Value;

use ureq::ResponseExt as _;

use super::http::{Response, read_small, retry_after};
use super::reference::{HUB, is_hub};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact};
use crate::spec::mentions::each_digest;

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
    #[serde(default)]
    detail: Value,
}

/// Codes that say that something which a manifest needs is not there.
const LACKING: [&str; 3] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];

/// Returns the refusal that an answer is, as an error: its status, and the codes and messages of the registry.
pub(super) fn refused(mut answer: Response) -> Error {
    // A body that breaks off says nothing.
    let text = read_small(&mut answer, MAX_BODY).unwrap_or_default();
    of_answer(&answer, &text)
}

/// As [`refused`], of a manifest that was sent. If that is because something is not there which it needs, returns the digests that
/// the registry names too.
pub(super) fn refused_manifest(mut answer: Response) -> (Error, Option<Vec<Digest>>) {
    let text = read_small(&mut answer, MAX_BODY).unwrap_or_default();
    let refusal: Option<Refusal> = serde_json::from_slice(&text).ok();
    let errors = refusal.map(|refusal| refusal.errors).unwrap_or_default();
    let lacking: Vec<One> = errors
        .into_iter()
        .filter(|one| LACKING.contains(&one.code.as_str()))
        .collect();
    let mut digests = Vec::new();
    for one in &lacking {
        // The detail is a digest, or an object that has it under one name or another.
        let found = each_digest(one.detail.to_string().as_bytes(), |digest| {
            digests.push(digest);
            Ok(())
        });
        debug_assert!(found.is_ok(), "a text in memory can be read");
    }
    let error = of_answer(&answer, &text);
    (error, (!lacking.is_empty()).then_some(digests))
}

fn of_answer(answer: &Response, text: &[u8]) -> Error {
    let status = answer.status().as_u16();
    let mut message = match answer.status().canonical_reason() {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    };
    let said = said(text);
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
        // A registry that explains itself needs no guess.
        405 if !is_explained(text) => (ErrorKind::Unsupported, Some(Fact::ChangesRefused)),
        429 => (ErrorKind::Busy, Some(Fact::TooManyRequests)),
        400..=499 => (ErrorKind::Unsupported, None),
        _ => (ErrorKind::Io, None),
    };
    let error = Error::new(kind, message);
    // The host that refused; the API of Docker Hub is not where it is called.
    let host = answer
        .get_uri()
        .authority()
        .map_or("", |authority| authority.as_str());
    let host = if is_hub(host) { HUB } else { host };
    match fact {
        Some(fact) => error.with_fact(fact).about(host),
        None => error,
    }
}

/// Returns whether a body gives a reason in the form of the spec.
fn is_explained(text: &[u8]) -> bool {
    serde_json::from_slice::<Refusal>(text).is_ok_and(|refusal| !refusal.errors.is_empty())
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
