// SPDX-License-Identifier: Apache-2.0
//! Looks into blobs that are not known yet, several at a time.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, scope};

use super::edges::{self, Content};
use crate::digest::{Digest, VerifyReader};
use crate::error::{ErrorKind, Result, ResultExt};
use crate::layout::Layout;
use crate::spec::mentions::begins_like_json;

/// Number of blobs that are read at a time. The disk bounds it, not the number of cores: a thread that waits for a disk takes none.
const READERS: usize = 8;

/// Number of blobs for which one thread is as fast as several.
const FEW: usize = 32;

/// Maximum number of blobs that a reader hands on together, and maximum size of documents among them in bytes, but for the last.
const PIECE: usize = 64;
const PIECE_BYTES: u64 = 256 << 10;

/// A blob that is not known.
pub(super) struct Unknown {
    pub digest: Digest,
    /// Whether it is named as a manifest or index.
    pub is_named: bool,
}

/// Result of a look at a blob.
pub(super) enum Classified {
    Missing,
    /// Its size in bytes, and its content.
    Found(u64, Content),
    Damaged(String),
}

type Piece = Vec<(Digest, Result<Classified>)>;

/// Looks into blobs, and gives each with what it is, in any order. Of what was found in documents no more is held than [`READERS`]
/// pieces and as many again that wait.
///
/// # Errors
/// Those of the disk, and those of `take`.
pub(super) fn classify_each(
    layout: &Layout,
    blobs: &[Unknown],
    mut take: impl FnMut(Digest, Classified) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    if blobs.len() > FEW {
        let (give, pieces) = sync_channel(READERS);
        scope(|threads| {
            for _ in 0..READERS {
                let (give, next) = (give.clone(), &next);
                // Blobs for which no thread can be had are looked into below.
                let _ = Builder::new().spawn_scoped(threads, move || read_pieces(layout, blobs, next, &give));
            }
            drop(give);
            let mut given = pieces.into_iter().flatten();
            given.try_for_each(|(digest, found): (Digest, Result<Classified>)| take(digest, found?))
        })?;
    }
    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        take(blob.digest, classify(layout, blob)?)?;
    }
    Ok(())
}

/// Looks into blobs from `next` on, until there are no more or nobody takes them.
fn read_pieces(layout: &Layout, blobs: &[Unknown], next: &AtomicUsize, give: &SyncSender<Piece>) {
    loop {
        let (mut piece, mut bytes) = (Piece::new(), 0);
        while piece.len() < PIECE
            && bytes < PIECE_BYTES
            && let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let found = classify(layout, blob);
            if let Ok(Classified::Found(size, Content::Document(_))) = &found {
                bytes += size;
            }
            piece.push((blob.digest, found));
        }
        if piece.is_empty() || give.send(piece).is_err() {
            return;
        }
    }
}

/// Looks into one blob. The content of one that is named as a document must be one, or what its digest says.
fn classify(layout: &Layout, blob: &Unknown) -> Result<Classified> {
    let found = match layout.open_found(&blob.digest).if_there() {
        Ok(None) => return Ok(Classified::Missing),
        Ok(Some((file, found))) => read(file, blob, found.len()),
        Err(err) => Err(err),
    };
    // Other errors are of the disk: another look may succeed, and nothing is known of the blob.
    found.or_else(|err| match err.kind() {
        ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::Denied => {
            Ok(Classified::Damaged(err.to_string()))
        }
        _ => Err(err),
    })
}

/// Reads a blob. One that is no document has to be what its digest says if it is named as a document, or may be the rest of one:
/// after a loss of power a file may be empty, or all zeros.
fn read(mut file: File, blob: &Unknown, size: u64) -> Result<Classified> {
    let mut begin = [0; 512];
    let length = file.read(&mut begin)?;
    let begin = &begin[..length];
    // ext4 and xfs leave such files where sizes were written before data.
    let is_rest = matches!(begin, [] | [0, ..]);
    // Most blobs are layers.
    let may_be_document = begin.trim_ascii_start().is_empty() || begins_like_json(&mut &*begin)?;
    let mut content = Content::Opaque;
    if may_be_document {
        file.rewind()?;
        content = edges::read(&file, &blob.digest, size)?;
    }
    if content == Content::Opaque && (blob.is_named || is_rest) {
        file.rewind()?;
        VerifyReader::new(file, blob.digest, size).finish()?;
        content = Content::Plain;
    }
    Ok(Classified::Found(size, content))
}
