// SPDX-License-Identifier: Apache-2.0
//! Checks one blob: its content has its digest, and all may read it.

use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;

use super::documents::{Documents, LARGE};
use super::{Finding, Problem};
use crate::digest::{Algorithm, Digest, DigestWriter};
use crate::error::{Error, ErrorKind, Result};
use crate::index::{KnownBlob, Verified};
use crate::layout::Stamp;
use crate::store::{MAX_DOCUMENT, Store};

/// Result of a look at one blob.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    pub(super) verified: Option<(Digest, Verified)>,
    pub(super) bytes: Option<u64>,
    /// A document that was left for later.
    pub(super) large: Option<Digest>,
}

impl Store {
    /// Looks at one blob, and at the text of a document. The facts in `known` are believed of a file that did not change since.
    pub(super) fn look(
        &self,
        documents: &Documents<'_>,
        digest: &Digest,
        known: Option<&KnownBlob>,
    ) -> Result<Looked> {
        let verified = known.and_then(|known| known.verified);
        let mut out = Looked::default();
        // An unchanged file that was no document is none now, and need not even be opened.
        if known.is_some_and(|known| known.opaque)
            && let Ok(Some(found)) = self.layout.blob_stamp(digest)
            && verified.is_some_and(|verified| verified.stamp == found)
        {
            return Ok(out);
        }
        let (mut file, found) = match self.layout.open_found(digest) {
            Ok(opened) => opened,
            // The check of each document that names it tells that it is missing.
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(out),
            Err(err) => return Ok(unreadable(digest, &err)),
        };
        let (stamp, mode) = (Stamp::of(&found), found.mode() & 0o7777);
        if !self.layout.is_open_enough(mode) {
            let text = format!("has mode {mode:04o}, narrower than that of the layout");
            let finding = Finding::of(digest, Problem::Permissions, text).info();
            out.findings.push(finding);
        }
        if verified.is_none_or(|verified| verified.stamp != stamp) {
            match sums(&mut file, digest, stamp.size, verified.as_ref()) {
                Ok((bytes, Ok(blake3))) => {
                    out.bytes = Some(bytes);
                    let blake3 = Some(blake3);
                    out.verified = Some((*digest, Verified { stamp, blake3 }));
                }
                Ok((bytes, Err(text))) => {
                    out.bytes = Some(bytes);
                    out.findings.push(Finding::of(digest, Problem::Damaged, text));
                    return Ok(out);
                }
                Err(err) => return Ok(unreadable(digest, &err)),
            }
        }
        // Whether it is a document shows at its first byte; layers are not read twice.
        if stamp.size <= MAX_DOCUMENT
            && let Some(bytes) = self.layout.read_document(digest, MAX_DOCUMENT)?
        {
            match documents.check(digest, &bytes, LARGE)? {
                Some(findings) => out.findings.extend(findings),
                None => out.large = Some(*digest),
            }
        }
        Ok(out)
    }
}

fn unreadable(digest: &Digest, err: &Error) -> Looked {
    let text = format!("cannot be read: {err}");
    Looked {
        findings: vec![Finding::of(digest, Problem::Unreadable, text)],
        ..Looked::default()
    }
}

/// Reads a file of about `size` bytes to its end; its BLAKE3 decides if that is known, else its digest. Returns how many
/// bytes it has, and its BLAKE3 or what is wrong.
fn sums(
    file: &mut impl Read,
    digest: &Digest,
    size: u64,
    known: Option<&Verified>,
) -> Result<(u64, std::result::Result<[u8; 32], String>)> {
    let known = known.and_then(|known| known.blake3);
    // Most blobs are small, and a layer is read in pieces that are worth a system call each.
    let capacity = usize::try_from(size.clamp(1 << 10, 1 << 17)).unwrap_or(1 << 17);
    let mut file = BufReader::with_capacity(capacity + 1, file);
    let mut blake3 = DigestWriter::new(io::sink(), Algorithm::Blake3);
    let own = if known.is_none() {
        let mut own = DigestWriter::new(&mut blake3, digest.algorithm());
        io::copy(&mut file, &mut own)?;
        Some(own.finish().1)
    } else {
        io::copy(&mut file, &mut blake3)?;
        None
    };
    let (_, sum, bytes) = blake3.finish();
    let mut raw = [0; 32];
    raw.copy_from_slice(sum.as_bytes());
    let sums = match own {
        Some(found) if found != *digest => Err(format!("is damaged: its content has the digest {found}")),
        None if known != Some(raw) => {
            Err("is damaged: its content is not what was verified before".to_owned())
        }
        _ => Ok(raw),
    };
    Ok((bytes, sums))
}
