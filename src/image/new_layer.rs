// SPDX-License-Identifier: Apache-2.0
//! Layers written: compressed and stored, unless the store has a layer of the same tar already.
//!
//! A small tar is held until its diff_id is known. Of a larger one the first bytes say which layer it may be; that one is then
//! decoded and compared while the tar is written, and nothing is compressed as long as both are the same.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::{Algorithm, Digest, DigestWriter, Hasher};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::{Encoder, LayerReader, LayerStream, Limits, check_entries};
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
        let writer = Arc::new(Mutex::new(txn.write_blob()?));
        let copied = Copied {
            from: blob,
            to: Arc::clone(&writer),
        };
        let limits = Limits::default();
        let stream = LayerStream::open(copied, compression, Algorithm::Sha256, &limits)?;
        let mut reader = LayerReader::new(stream, limits);
        let checked = check_entries(&mut reader);
        let holds_images = matches!(checked, Ok(true));
        let (diff_id, uncompressed) = match checked {
            // What asks for much, or is of a kind that only others know, is no fault of the archive.
            Err(err) if !matches!(err.kind(), ErrorKind::Limit | ErrorKind::Unsupported) => {
                return Err(reader.into_inner().blame(err));
            }
            _ => reader.into_inner().finish()?,
        };
        let gone = || Error::new(ErrorKind::Io, "a thread that reads a layer goes on");
        let writer = Arc::into_inner(writer).ok_or_else(gone)?;
        let writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stored = txn.finish_blob(writer, MediaType::layer(compression))?;
        txn.note_diff_id(&stored.digest, &diff_id, None);
        Ok(Self {
            descriptor: annotated(stored, uncompressed),
            diff_id,
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
        };
        let mut hashed = io::BufWriter::with_capacity(BUFFER, DigestWriter::new(sink, Algorithm::Sha256));
        tar(&mut hashed)?;
        let hashed = hashed
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .context(|| "write layer")?;
        let (sink, diff_id, uncompressed) = hashed.finish();
        let start = sink.start;
        let (stored, compressed) = sink.finish(&diff_id)?;
        let media_type = MediaType::layer(compression);
        let descriptor = Descriptor::new(media_type, stored.digest, stored.size);
        txn.note_diff_id(&stored.digest, &diff_id, start.as_ref());
        Ok(Self {
            descriptor: annotated(descriptor, uncompressed),
            diff_id,
            compressed,
            holds_images: false,
        })
    }
}

/// The descriptor of a layer with the size of its tar, where that is another.
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
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        to.write_all(&buf[..n])?;
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
}

enum State {
    /// All of it, while it is small.
    Held(Vec<u8>),
    /// The same as a layer of the store, so far.
    Same(Box<Same>),
    Compressed(Box<Encoder<BlobWriter>>),
}

/// What of the tar was the same as a layer.
struct Same {
    layer: Decoded,
    /// BLAKE3 of it.
    hasher: Hasher,
    /// Its size in bytes.
    count: u64,
}

/// A layer of the store that the tar is compared with.
struct Decoded {
    layer: Descriptor,
    stream: LayerStream,
    buffer: Vec<u8>,
}

impl Decoded {
    fn open(txn: &Txn<'_>, layer: Descriptor, compression: Compression) -> Result<Self> {
        // BLAKE3 since it costs little: what counts is the digest of the blob, and that the bytes are the same.
        let blob = txn.store().open_blob(&layer)?;
        let stream = LayerStream::open(blob, compression, Algorithm::Blake3, &Limits::default())?;
        Ok(Self {
            layer,
            stream,
            buffer: vec![0; BUFFER],
        })
    }

    /// Whether the layer goes on with these bytes.
    fn goes_on(&mut self, bytes: &[u8]) -> bool {
        bytes.chunks(BUFFER).all(|piece| {
            let found = &mut self.buffer[..piece.len()];
            self.stream.read_exact(found).is_ok() && found == piece
        })
    }

    /// Writes the first bytes to `to`; they must be those that were the same.
    fn copy(&mut self, hasher: &Hasher, count: u64, to: &mut impl Write) -> Result<()> {
        let mut to = DigestWriter::new(to, Algorithm::Blake3);
        io::copy(&mut (&mut self.stream).take(count), &mut to).context(|| "write layer")?;
        if to.finish().1 != hasher.clone().finish() {
            let text = format!("layer {} is not what it was", self.layer.digest);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(())
    }

    /// The layer, if it ends here and is whole.
    fn end(mut self) -> Option<Descriptor> {
        let is_end = matches!(self.stream.read(&mut [0]), Ok(0));
        (is_end && self.stream.finish().is_ok()).then_some(self.layer)
    }
}

impl Sink<'_, '_> {
    fn encoder(&self) -> Result<Box<Encoder<BlobWriter>>> {
        Ok(Box::new(Encoder::new(self.txn.write_blob()?, self.compression)?))
    }

    /// The tar has become too large to be held: goes on with a layer that begins as it does, or compresses it.
    fn begin(&mut self, held: &[u8]) -> Result<State> {
        let start = Digest::of(Algorithm::Blake3, &held[..START]);
        self.start = Some(start);
        self.candidates = self.txn.layers_of_start(&start, self.compression);
        self.candidates.truncate(TRIES);
        self.candidates.reverse();
        let none = Hasher::new(Algorithm::Blake3);
        if let Some(layer) = self.next_candidate(&none, 0, held) {
            return Ok(State::Same(layer));
        }
        let mut encoder = self.encoder()?;
        encoder.write_all(held)?;
        Ok(State::Compressed(encoder))
    }

    /// The next layer that begins with the bytes that `hasher` and `count` tell of, and goes on with `bytes`.
    fn next_candidate(&mut self, hasher: &Hasher, count: u64, bytes: &[u8]) -> Option<Box<Same>> {
        while let Some(layer) = self.candidates.pop() {
            // One that cannot be read is no loss.
            if let Ok(mut layer) = Decoded::open(self.txn, layer, self.compression)
                && layer.copy(hasher, count, &mut io::sink()).is_ok()
                && layer.goes_on(bytes)
            {
                let mut hasher = hasher.clone();
                hasher.update(bytes);
                let count = count + bytes.len() as u64;
                return Some(Box::new(Same { layer, hasher, count }));
            }
        }
        None
    }

    /// Compresses what was the same as in `layer`, and `bytes`, which were not.
    fn part(
        &mut self,
        layer: Descriptor,
        (hasher, count): (&Hasher, u64),
        bytes: &[u8],
    ) -> Result<Box<Encoder<BlobWriter>>> {
        let mut again = Decoded::open(self.txn, layer, self.compression)?;
        let mut encoder = self.encoder()?;
        again.copy(hasher, count, &mut encoder)?;
        encoder.write_all(bytes)?;
        Ok(encoder)
    }

    fn take(&mut self, buf: &[u8]) -> Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Held(Vec::new())) {
            State::Held(mut held) => {
                held.extend_from_slice(buf);
                if held.len() > START {
                    self.begin(&held)?
                } else {
                    State::Held(held)
                }
            }
            State::Same(mut same) => {
                if same.layer.goes_on(buf) {
                    same.hasher.update(buf);
                    same.count += buf.len() as u64;
                    State::Same(same)
                } else if let Some(other) = self.next_candidate(&same.hasher, same.count, buf) {
                    State::Same(other)
                } else {
                    let layer = same.layer.layer;
                    State::Compressed(self.part(layer, (&same.hasher, same.count), buf)?)
                }
            }
            State::Compressed(mut encoder) => {
                encoder.write_all(buf)?;
                State::Compressed(encoder)
            }
        };
        Ok(())
    }

    /// The layer, and whether it had to be compressed.
    fn finish(mut self, diff_id: &Digest) -> Result<(Descriptor, bool)> {
        let state = std::mem::replace(&mut self.state, State::Held(Vec::new()));
        let encoder = match state {
            State::Held(held) => {
                if let Some(known) = self.txn.layer_of(diff_id, self.compression) {
                    self.txn.add(&known)?;
                    return Ok((known, false));
                }
                let mut encoder = self.encoder()?;
                encoder.write_all(&held)?;
                encoder
            }
            State::Same(same) => {
                let Same { layer, hasher, count } = *same;
                let name = layer.layer.clone();
                let mut found = layer.end();
                while found.is_none()
                    && let Some(other) = self.next_candidate(&hasher, count, b"")
                {
                    found = other.layer.end();
                }
                if let Some(known) = found {
                    self.txn.add(&known)?;
                    return Ok((known, false));
                }
                self.part(name, (&hasher, count), b"")?
            }
            State::Compressed(encoder) => encoder,
        };
        let writer = encoder.finish()?;
        let media_type = MediaType::layer(self.compression);
        Ok((self.txn.finish_blob(writer, media_type)?, true))
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
