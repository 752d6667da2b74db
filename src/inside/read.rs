// SPDX-License-Identifier: Apache-2.0
//! Contents of files in a layer, each checked against the digest in the table.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::contents::{ContentLayer, Item};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::{Checkpoints, FileDigest, LayerReader, LayerStream, Limits, file_digest};
use crate::progress::{Counted, Monitor, Task};
use crate::store::Store;

/// Maximum size in bytes of an entry whose content is held, to be checked before it is given to anybody.
const MAX_HELD: u64 = 16 << 20;

/// Maximum number of bytes that are rather decoded and passed over than left out by another checkpoint.
const NEAR: u64 = 4 << 20;

/// Gives the contents of regular files of one layer to `each`, in the order of the tar.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) for a damaged layer, and where the content has not the digest that the
/// table tells: at the end of the content, which `each` must not take for good before; those of `each`.
pub fn read_items<'a>(
    store: &Store,
    layer: &ContentLayer,
    mut items: Vec<&'a Item>,
    monitor: &dyn Monitor,
    each: &mut dyn FnMut(&'a Item, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    items.sort_by_key(|item| item.start);
    if let Some(checkpoints) = store.checkpoints(&layer.descriptor.digest) {
        items = read_at_checkpoints(store, layer, &checkpoints, items, each)?;
    }
    if items.is_empty() {
        return Ok(());
    }
    let limits = Limits::default();
    let task: Arc<dyn Task> = Arc::from(monitor.task("reading", Some(layer.descriptor.size)));
    let blob = Counted::new(store.open_blob(&layer.descriptor)?, &task);
    let mut stream = LayerStream::open(blob, layer.compression, layer.diff_id.algorithm(), &limits)?;
    let mut at = 0;
    for item in items {
        let read = read_behind(item.start.saturating_sub(at), item, &mut stream, &limits, each);
        // A fault of the blob is why its entries are odd.
        if let Err(err) = read {
            return Err(stream.blame(err)).context(|| format!("layer {}", layer.descriptor.digest));
        }
        at = item.start + item.span;
    }
    Ok(())
}

/// Passes over `gap` bytes of a tar, and gives the content of the item behind them to `each`; the tar is then at the end of the item.
fn read_behind<'a>(
    gap: u64,
    item: &'a Item,
    tar: &mut dyn Read,
    limits: &Limits,
    each: &mut dyn FnMut(&'a Item, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    if io::copy(&mut (&mut *tar).take(gap), &mut io::sink())? != gap {
        return Err(stale());
    }
    let mut entry = tar.take(item.span);
    read_one(item, &mut entry, limits, each)?;
    io::copy(&mut entry, &mut io::sink())?;
    Ok(())
}

/// Gives those contents to `each` that are small enough to be checked before, each decoded from the checkpoint before it; returns the
/// items that are left: large ones, and all from one on that is not what the table says, since the blob or the checkpoints are not
/// what they were.
fn read_at_checkpoints<'a>(
    store: &Store,
    layer: &ContentLayer,
    checkpoints: &Checkpoints,
    items: Vec<&'a Item>,
    each: &mut dyn FnMut(&'a Item, &mut dyn Read) -> Result<()>,
) -> Result<Vec<&'a Item>> {
    let path = store.layout().blob_path(&layer.descriptor.digest);
    let limits = Limits::default();
    let mut left = Vec::new();
    let mut stream: Option<(Box<dyn Read>, u64)> = None;
    let mut rest = items.into_iter();
    while let Some(item) = rest.next() {
        if item.span > MAX_HELD {
            left.push(item);
            continue;
        }
        // The next file in an archive is near most often: the stream is read on then.
        let near = stream
            .take()
            .filter(|(_, at)| item.start.wrapping_sub(*at) < NEAR);
        let content = content_at(&path, checkpoints, near, item, &limits);
        let Ok((content, read_on)) = content else {
            store.drop_checkpoints(&layer.descriptor.digest);
            left.push(item);
            left.extend(rest);
            break;
        };
        stream = Some((read_on, item.start + item.span));
        each(item, &mut content.as_slice())?;
    }
    Ok(left)
}

/// Returns the checked content of an item, and the stream behind it.
fn content_at(
    path: &Path,
    checkpoints: &Checkpoints,
    near: Option<(Box<dyn Read>, u64)>,
    item: &Item,
    limits: &Limits,
) -> Result<(Vec<u8>, Box<dyn Read>)> {
    let mut stream = match near {
        Some((mut stream, at)) => {
            io::copy(&mut (&mut stream).take(item.start - at), &mut io::sink())?;
            stream
        }
        None => Box::new(checkpoints.read_at(crate::fs::open_regular(path)?, item.start)?),
    };
    let mut entry = vec![0; item.span as usize];
    stream.read_exact(&mut entry)?;
    let mut content = Vec::new();
    read_one(item, &mut entry.as_slice(), limits, &mut |_, checked| {
        checked.read_to_end(&mut content)?;
        Ok(())
    })?;
    Ok((content, stream))
}

fn read_one<'a>(
    item: &'a Item,
    tar: &mut dyn Read,
    limits: &Limits,
    each: &mut dyn FnMut(&'a Item, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut reader = LayerReader::new(tar, limits.clone());
    if reader.next_entry()?.is_none() {
        return Err(stale());
    }
    let mut content = Checked {
        inner: reader,
        hasher: Some(Hasher::new(Algorithm::Sha256)),
        want: item.digest,
    };
    each(item, &mut content)?;
    io::copy(&mut content, &mut io::sink())?;
    Ok(())
}

fn stale() -> Error {
    let text = "the layer is not what the table of its contents says";
    Error::new(ErrorKind::Corrupt, text)
}

/// Returns the digest of a file as it is written.
pub fn sha256(digest: &FileDigest) -> Option<Digest> {
    Digest::from_bytes(Algorithm::Sha256, digest)
}

/// The content of a file, whose end is an error if it has another digest.
struct Checked<R> {
    inner: R,
    hasher: Option<Hasher>,
    want: Option<FileDigest>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let Some(hasher) = &mut self.hasher else {
            return Ok(n);
        };
        hasher.update(&buf[..n]);
        if n == 0
            && !buf.is_empty()
            && let Some(hasher) = self.hasher.take()
            && self.want != Some(file_digest(&hasher.finish()))
        {
            return Err(stale().into());
        }
        Ok(n)
    }
}
