// SPDX-License-Identifier: Apache-2.0
//! Layers written: compressed and stored, unless the store has a layer of the same tar already.
//!
//! A small tar is held until its diff_id is known. Of a larger one the first bytes say which layer it may be; that one is then
//! decoded and compared while the tar is written, and nothing is compressed as long as both are the same.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::{Algorithm, Digest, DigestWriter, Hasher};
use crate::error::{ErrorKind, Result, ResultExt, lock};
use crate::layer::{Encoder, LayerReader, LayerStream, Limits, TocFollower, check_entries};
use crate::layout::BlobWriter;
use crate::spec::{Compression, Descriptor, MediaType, UNCOMPRESSED_SIZE};
use crate::store::Txn;

/// Size of the buffer between the tar writer and what hashes and compresses it.
const BUFFER: usize = 256 * 1024;

/// Bytes of a tar that are looked up before it is compressed.
const START: usize = 16 << 20;

/// Layers that a tar is compared with, at most: those that begin alike may be many.
const TRIES: usize = 3;

/// A layer that was written, not yet part of an image.
///
/// Made by [`NewLayer::write`], or from a directory or archive by `bundle::insert` and `bundle::add_archive`.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// As a manifest names it: media type, digest and size in bytes as stored, and the uncompressed size as the annotation
    /// [`UNCOMPRESSED_SIZE`] where it differs.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Whether it was compressed for this, and not taken from the store, which had one of the same tar.
    pub compressed: bool,
    /// Whether it was made of an archive of images, which is hardly what was meant.
    pub holds_images: bool,
}

impl NewLayer {
    /// Stores a layer that is compressed already, byte for byte, once its tar was read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is not what `compression` says, or holds no tar archive; those of reading `blob`, and a
    /// failure to store. Nothing is left behind then.
    pub fn keep(
        txn: &mut Txn<'_>,
        compression: Compression,
        blob: impl Read + Send + 'static,
    ) -> Result<Self> {
        // The decoder reads on a thread of its own, so the copy to the blob happens there.
        let writer = Arc::new(Mutex::new(txn.write_blob()?));
        let copied = Copied {
            from: blob,
            to: Arc::clone(&writer),
        };
        let limits = Limits::default();
        let stream = LayerStream::open(copied, compression, Algorithm::Sha256, &limits)?;
        let followed = Followed {
            stream,
            toc: txn.follow()?,
        };
        let mut reader = LayerReader::new(followed, limits);
        let checked = check_entries(&mut reader);
        let holds_images = matches!(checked, Ok(true));
        let Followed { stream, toc } = reader.into_inner();
        let (layer, is_whole) = match checked {
            // An exceeded limit, or a format that only others know, is no fault of the archive.
            Err(err) if !matches!(err.kind(), ErrorKind::Limit | ErrorKind::Unsupported) => {
                return Err(stream.blame(err));
            }
            checked => (stream.finish()?, checked.is_ok()),
        };
        // The stream has ended, and its threads with it: nobody else holds the writer.
        let Some(writer) = Arc::into_inner(writer) else {
            fail!(Io, "a thread that reads a layer goes on");
        };
        let writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stored = txn.finish_blob(writer, MediaType::layer(compression))?;
        txn.note_diff_id(&stored.digest, &layer.digest, None);
        txn.keep_toc(toc.filter(|_| is_whole), &layer.digest, layer.size);
        Ok(Self {
            descriptor: annotated(stored, layer.size),
            diff_id: layer.digest,
            compressed: false,
            holds_images,
        })
    }

    /// Compresses and stores what `tar` writes, which must be an uncompressed tar archive; that is not checked.
    ///
    /// One of which the store has a layer already is not compressed again, if the index knows that layer.
    ///
    /// The same archive gives the same bytes on any machine and number of threads. Memory does not grow with its size.
    ///
    /// # Errors
    /// Whatever `tar` returns, or a failure to store ([`ErrorKind::NoSpace`], [`ErrorKind::Denied`] and others). Nothing is
    /// left behind then.
    pub fn write(
        txn: &mut Txn<'_>,
        compression: Compression,
        tar: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Self> {
        let sink = Sink {
            txn: &mut *txn,
            compression,
            start: None,
            candidates: Vec::new(),
            state: State::Held(Vec::new()),
            toc: None,
        };
        // The tar writer makes pieces as small as a header, too small to hash and compress one by one.
        let mut hashed = io::BufWriter::with_capacity(BUFFER, DigestWriter::new(sink, Algorithm::Sha256));
        tar(&mut hashed)?;
        let hashed = hashed.into_inner().map_err(io::IntoInnerError::into_error);
        let hashed = hashed.context(|| "write layer")?;
        let (mut sink, diff_id, uncompressed) = hashed.finish();
        let start = sink.start;
        let (stored, compressed) = sink.store(&diff_id)?;
        let toc = sink.toc.take();
        txn.keep_toc(toc, &diff_id, uncompressed);
        txn.note_diff_id(&stored.digest, &diff_id, start.as_ref());
        Ok(Self {
            descriptor: annotated(stored, uncompressed),
            diff_id,
            compressed,
            holds_images: false,
        })
    }
}

/// Returns the descriptor of a layer with the size of its tar, where that is another.
fn annotated(mut descriptor: Descriptor, uncompressed: u64) -> Descriptor {
    if descriptor.size != uncompressed {
        let size = uncompressed.to_string();
        descriptor.annotations.insert(UNCOMPRESSED_SIZE.to_owned(), size);
    }
    descriptor
}

/// Writes to a blob what is read, on whatever thread.
struct Copied<R> {
    from: R,
    to: Arc<Mutex<BlobWriter>>,
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        lock(&self.to).write_all(&buf[..n])?;
        Ok(n)
    }
}

/// Takes a tar.
struct Sink<'t, 's> {
    txn: &'t mut Txn<'s>,
    compression: Compression,
    /// BLAKE3 of the first [`START`] bytes, of a tar that has more.
    start: Option<Digest>,
    /// Layers that begin alike and were not tried, the best last.
    candidates: Vec<Descriptor>,
    state: State,
    /// Its table of contents, once it is compressed: of a layer that is there somebody made one.
    toc: Option<TocFollower>,
}

/// Encoder of a layer, and the table of its contents.
struct Both<'a>(&'a mut Encoder<BlobWriter>, &'a mut Option<TocFollower>);

impl Write for Both<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_all(buf)?;
        if let Some(toc) = self.1 {
            toc.write_all(buf)?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose contents are noted while it is read.
struct Followed {
    stream: LayerStream,
    toc: Option<TocFollower>,
}

impl Read for Followed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(buf)?;
        if let Some(toc) = &mut self.toc {
            toc.write_all(&buf[..n])?;
        }
        Ok(n)
    }
}

enum State {
    /// All of it, while it is small.
    Held(Vec<u8>),
    /// The same as a layer of the store, so far.
    Same(Box<Decoded>),
    Compressed(Box<Encoder<BlobWriter>>),
}

/// The bytes of the tar that a layer has too.
struct Same {
    layer: Descriptor,
    /// BLAKE3 of them, since it costs little: what counts is the digest of the blob, and that the bytes are the same.
    hasher: Hasher,
    /// Their count.
    count: u64,
}

/// A layer of the store that the tar is compared with.
struct Decoded {
    same: Same,
    stream: LayerStream,
    buffer: Vec<u8>,
}

impl Decoded {
    /// Returns whether the layer goes on with these bytes.
    fn goes_on(&mut self, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(BUFFER) {
            let found = &mut self.buffer[..piece.len()];
            if self.stream.read_exact(found).is_err() || found != piece {
                return false;
            }
        }
        self.same.hasher.update(bytes);
        self.same.count += bytes.len() as u64;
        true
    }
}

impl Sink<'_, '_> {
    /// Opens a layer, and writes those of its first bytes to `to` that were the same in another layer, or earlier in this.
    fn decode(&self, layer: Descriptor, seen: Option<&Same>, to: &mut impl Write) -> Result<Decoded> {
        let blob = self.txn.store().open_blob(&layer)?;
        let mut stream = LayerStream::open(blob, self.compression, Algorithm::Blake3, &Limits::default())?;
        let (mut hasher, mut count) = (Hasher::new(Algorithm::Blake3), 0);
        if let Some(seen) = seen {
            (hasher, count) = (seen.hasher.clone(), seen.count);
            let mut to = DigestWriter::new(to, Algorithm::Blake3);
            io::copy(&mut stream.by_ref().take(count), &mut to).context(|| "write layer")?;
            if to.finish().1 != hasher.clone().finish() {
                fail!(Corrupt, "layer {} is not what it was", layer.digest);
            }
        }
        Ok(Decoded {
            same: Same { layer, hasher, count },
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    /// Goes on with `bytes`, which are not in the layer of `seen`: with another layer that begins with the bytes of both, or
    /// compressing them.
    fn part(&mut self, seen: Option<&Same>, bytes: &[u8]) -> Result<State> {
        while let Some(layer) = self.candidates.pop() {
            // One that cannot be read is no loss.
            if let Ok(mut other) = self.decode(layer, seen, &mut io::sink())
                && other.goes_on(bytes)
            {
                return Ok(State::Same(Box::new(other)));
            }
        }
        // The same bytes are not compressed yet: they are read again from the layer that has them.
        let mut encoder = Box::new(Encoder::new(self.txn.write_blob()?, self.compression)?);
        self.toc = self.txn.follow()?;
        if let Some(seen) = seen {
            let mut toc = self.toc.take();
            self.decode(seen.layer.clone(), Some(seen), &mut Both(&mut encoder, &mut toc))?;
            self.toc = toc;
        }
        Both(&mut encoder, &mut self.toc).write_all(bytes)?;
        Ok(State::Compressed(encoder))
    }

    /// Looks for layers that begin as a tar does that has become too large to be held.
    fn find_candidates(&mut self, held: &[u8]) {
        let start = Digest::of(Algorithm::Blake3, &held[..START]);
        self.start = Some(start);
        self.candidates = self.txn.layers_of_start(&start, self.compression);
        self.candidates.truncate(TRIES);
        self.candidates.reverse();
    }

    fn take(&mut self, buf: &[u8]) -> Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Held(Vec::new())) {
            State::Held(mut held) => {
                held.extend_from_slice(buf);
                if held.len() > START {
                    self.find_candidates(&held);
                    self.part(None, &held)?
                } else {
                    State::Held(held)
                }
            }
            State::Same(mut layer) => {
                if layer.goes_on(buf) {
                    State::Same(layer)
                } else {
                    self.part(Some(&layer.same), buf)?
                }
            }
            State::Compressed(mut encoder) => {
                Both(&mut encoder, &mut self.toc).write_all(buf)?;
                State::Compressed(encoder)
            }
        };
        Ok(())
    }

    /// Returns the layer, and whether it had to be compressed.
    fn store(&mut self, diff_id: &Digest) -> Result<(Descriptor, bool)> {
        let mut state = std::mem::replace(&mut self.state, State::Held(Vec::new()));
        let known = loop {
            state = match state {
                State::Held(held) => match self.txn.layer_of(diff_id, self.compression) {
                    Some(known) => break known,
                    None => self.part(None, &held)?,
                },
                State::Same(layer) => {
                    let Decoded { same, mut stream, .. } = *layer;
                    // The layer must end here too, and be whole.
                    if matches!(stream.read(&mut [0]), Ok(0)) && stream.finish().is_ok() {
                        break same.layer;
                    }
                    self.part(Some(&same), b"")?
                }
                State::Compressed(encoder) => {
                    let media_type = MediaType::layer(self.compression);
                    let (writer, checkpoints) = encoder.finish()?;
                    let stored = self.txn.finish_blob(writer, media_type)?;
                    self.txn.keep_checkpoints(&stored.digest, checkpoints.as_ref());
                    return Ok((stored, true));
                }
            };
        };
        self.txn.add(&known);
        Ok((known, false))
    }
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.take(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
