// SPDX-License-Identifier: Apache-2.0
//! Compressed layers read: decoded on one thread or more and hashed on another, ahead of the reader.
//!
//! Invariants: a broken stream is blamed on the blob where the blob is not what its descriptor says; memory is bounded
//! whatever the layer's size.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::chunk::{Buffers, CHUNK, Chunk};
use super::inflate::{Checkpoints, Gunzip, Recorder, Spans};
use super::{Limits, decode_error, sniff};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::Compression;

/// Maximum number of buffers that wait to be read, and to be hashed.
const WAITING: usize = 96;
const WAITING_FOR_HASH: usize = 8;

/// Wishes for the decoding of a layer.
#[derive(Debug, Default)]
pub struct StreamOptions {
    /// Checkpoints are noted, of a gzip that comes without.
    pub record: bool,
    /// Checkpoints of the blob: with them a gzip is decoded on all cores. They need not be right.
    pub checkpoints: Option<Checkpoints>,
    /// The diff_id, where it is known that the blob of this digest holds it: the tar is not hashed then.
    pub known: Option<Digest>,
}

/// A layer that was decoded to its end and verified.
#[derive(Debug)]
pub struct Finished {
    /// Digest of the tar.
    pub digest: Digest,
    /// Size of the tar in bytes.
    pub size: u64,
    /// Checkpoints, if they were wished for, and the blob is so large that they are of use.
    pub checkpoints: Option<Checkpoints>,
    /// True if the checkpoints that were given are not those of the blob.
    pub is_stale: bool,
}

/// The uncompressed bytes of a layer, decoded on one thread, or more, and hashed on another while they are read here.
#[derive(Debug)]
pub struct LayerStream {
    chunks: Receiver<Arc<Chunk>>,
    current: Option<(Arc<Chunk>, usize)>,
    decode: JoinHandle<Result<Decoded>>,
    digest: Hashing,
    /// Set when the rest of the blob is to be verified although nobody reads on.
    verify: Arc<AtomicBool>,
}

/// The way to the digest of the tar.
#[derive(Debug)]
enum Hashing {
    Known(Digest),
    Thread(JoinHandle<Digest>),
}

impl LayerStream {
    /// Begins to decode `blob`, whose last read must fail if it is not what its descriptor says. Up to 24 MiB are
    /// decoded before somebody reads. Bytes that are something else than `compression` says are an error that names them.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is no thread to be had.
    pub fn open(
        blob: impl Read + Send + 'static,
        compression: Compression,
        algorithm: Algorithm,
        limits: &Limits,
    ) -> Result<Self> {
        Self::open_with(blob, compression, algorithm, limits, StreamOptions::default())
    }

    /// As [`LayerStream::open`], with wishes. With checkpoints up to 64 MiB more are decoded ahead.
    ///
    /// # Errors
    /// As [`LayerStream::open`].
    pub fn open_with(
        mut blob: impl Read + Send + 'static,
        compression: Compression,
        algorithm: Algorithm,
        limits: &Limits,
        options: StreamOptions,
    ) -> Result<Self> {
        let (to_reader, chunks) = sync_channel(WAITING);
        let (digest, to_hash) = if let Some(known) = options.known {
            (Hashing::Known(known), None)
        } else {
            let (to_hash, hashed) = sync_channel(WAITING_FOR_HASH);
            let thread = spawn("umoci-hash", move || hash(&hashed, algorithm))?;
            (Hashing::Thread(thread), Some(to_hash))
        };
        let verify = Arc::new(AtomicBool::new(false));
        let is_wanted = Arc::clone(&verify);
        let zstd_window_log = limits.zstd_window_log;
        let decode = spawn("umoci-decode", move || {
            let mut outlet = Outlet {
                to_reader,
                to_hash,
                decoded: Decoded::default(),
            };
            let is_whole = outlet.decode(&mut blob, compression, zstd_window_log, options);
            if matches!(is_whole, Ok(false)) && !is_wanted.load(Ordering::Relaxed) {
                return Ok(outlet.decoded);
            }
            // The blob is read to its end whatever became of the decoder, and a fault of the blob comes first.
            io::copy(&mut BufReader::with_capacity(CHUNK, blob), &mut io::sink())?;
            is_whole.map(|_| outlet.decoded)
        })?;
        Ok(Self {
            chunks,
            current: None,
            decode,
            digest,
            verify,
        })
    }

    /// Reads to the end; returns what all that was decoded is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the blob is not what its descriptor says or cannot be decoded.
    pub fn finish(self) -> Result<Finished> {
        while self.chunks.recv().is_ok() {}
        self.join()
    }

    /// Returns the error to report when reading the entries failed with `err`: what is wrong with the blob itself, if
    /// anything is, since a blob that is broken or cannot be read is why an archive looks broken.
    pub fn blame(self, err: Error) -> Error {
        self.verify.store(true, Ordering::Relaxed);
        match self.join() {
            Err(cause) if cause.kind() == ErrorKind::Corrupt || err.kind() == ErrorKind::Corrupt => cause,
            _ => err,
        }
    }

    fn join(self) -> Result<Finished> {
        drop(self.chunks);
        let decoded = self.decode.join();
        let digest = match self.digest {
            Hashing::Known(digest) => Ok(digest),
            Hashing::Thread(hash) => hash.join(),
        };
        let (Ok(decoded), Ok(digest)) = (decoded, digest) else {
            fail!(Io, "a thread that decodes a layer has died");
        };
        let Decoded {
            size,
            checkpoints,
            is_stale,
        } = decoded?;
        Ok(Finished {
            digest,
            size,
            checkpoints,
            is_stale,
        })
    }
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    let thread = Builder::new().name(name.to_owned());
    thread.spawn(work).context(|| "start a thread")
}

impl Read for LayerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((chunk, at)) = &mut self.current {
                let n = (&chunk.text()[*at..]).read(buf)?;
                *at += n;
                if n > 0 || buf.is_empty() {
                    return Ok(n);
                }
            }
            match self.chunks.recv() {
                Ok(chunk) => self.current = Some((chunk, 0)),
                // The end, or an error that `finish` and `blame` return.
                Err(_) => return Ok(0),
            }
        }
    }
}

/// A tar as far as it was decoded.
#[derive(Debug, Default)]
struct Decoded {
    size: u64,
    checkpoints: Option<Checkpoints>,
    is_stale: bool,
}

/// The way of the tar to its readers.
struct Outlet {
    to_reader: SyncSender<Arc<Chunk>>,
    to_hash: Option<SyncSender<Arc<Chunk>>>,
    decoded: Decoded,
}

impl Outlet {
    /// Decodes a whole stream, all members of a gzip, all frames of a zstd; returns `false` if nobody reads on before.
    fn decode(
        &mut self,
        blob: &mut impl Read,
        compression: Compression,
        zstd_window_log: u32,
        options: StreamOptions,
    ) -> Result<bool> {
        let blob = sniff::check_label(blob, compression)?;
        match (compression, options.checkpoints) {
            (Compression::None, _) => self.give_all(blob),
            (Compression::Zstd, _) => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, blob))?;
                decoder.window_log_max(zstd_window_log)?;
                self.give_all(decoder)
            }
            (Compression::Gzip, Some(points)) => {
                let text = Spans::new(blob, &points).decode(&mut |chunk| self.give(chunk))?;
                let Some(text) = text else { return Ok(false) };
                let is_whole = self.give_all(text.text)?;
                self.decoded.is_stale = text.is_stale || points.text_size() != self.decoded.size;
                Ok(is_whole)
            }
            (Compression::Gzip, None) if options.record => {
                let mut recorder = Recorder::new(BufReader::with_capacity(CHUNK, blob));
                let is_whole = self.give_all(&mut recorder)?;
                self.decoded.checkpoints = recorder.finish();
                Ok(is_whole)
            }
            (Compression::Gzip, None) => self.give_all(Gunzip::new(BufReader::with_capacity(CHUNK, blob), 0)),
        }
    }

    /// Gives on all of a text; returns `false` if nobody reads on before.
    fn give_all(&mut self, mut text: impl Read) -> Result<bool> {
        let buffers = Buffers::new();
        loop {
            let (chunk, read) = buffers.read(&mut text);
            let is_last = chunk.text().is_empty();
            if !is_last && !self.give(chunk) {
                return Ok(false);
            }
            read.map_err(decode_error)?;
            if is_last {
                return Ok(true);
            }
        }
    }

    /// Gives on a piece; returns whether somebody reads it.
    fn give(&mut self, chunk: Arc<Chunk>) -> bool {
        self.decoded.size += chunk.text().len() as u64;
        let is_hashed = self
            .to_hash
            .as_ref()
            .is_none_or(|hash| hash.send(Arc::clone(&chunk)).is_ok());
        is_hashed && self.to_reader.send(chunk).is_ok()
    }
}

fn hash(chunks: &Receiver<Arc<Chunk>>, algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    while let Ok(chunk) = chunks.recv() {
        hasher.update(chunk.text());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::tests::{decode, encode, text};
    use super::*;

    #[test]
    fn several_members_frames_and_zero_padding_are_read() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let two = [encode(compression, b"one "), encode(compression, b"two")].concat();
            assert_eq!(decode(compression, two).expect("two"), b"one two");
        }
        let padded = [encode(Compression::Gzip, b"x"), vec![0; 1000]].concat();
        assert_eq!(decode(Compression::Gzip, padded).expect("padded"), b"x");
        let skippable = |kind| [kind, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        let frame = |bytes| encode(Compression::Zstd, bytes);
        let frames = [
            &skippable(0x50)[..],
            &frame(b"x"),
            &skippable(0x5f),
            &frame(b""),
            &frame(b"y"),
            &skippable(0x57),
        ]
        .concat();
        assert_eq!(decode(Compression::Zstd, frames).expect("skippable"), b"xy");
        let members = [b"", &b"x"[..], b"", b"y"].map(|bytes| encode(Compression::Gzip, bytes));
        assert_eq!(
            decode(Compression::Gzip, members.concat()).expect("empty members"),
            b"xy"
        );
    }

    #[test]
    fn broken_streams_are_errors() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let good = encode(compression, &text(100_000));
            let mut flipped = good.clone();
            flipped[good.len() / 2] ^= 0xff;
            for (what, blob) in [
                ("cut", good[..good.len() - 9].to_vec()),
                ("garbage behind", [good.clone(), b"garbage!".to_vec()].concat()),
                ("not compressed", b"plain text, quite a lot of it".to_vec()),
                ("flipped", flipped),
            ] {
                let err = decode(compression, blob).expect_err(what);
                assert_eq!(err.kind(), ErrorKind::Corrupt, "{compression:?} {what}: {err}");
            }
        }
    }

    #[test]
    fn the_blob_is_blamed_before_the_archive() {
        let blob = encode(Compression::Gzip, &text(3 << 20));
        let wrong = Digest::sha256(b"other");
        for stop_early in [false, true] {
            let reader =
                crate::digest::VerifyReader::new(io::Cursor::new(blob.clone()), wrong, blob.len() as u64);
            let stream = LayerStream::open(reader, Compression::Gzip, Algorithm::Sha256, &Limits::default());
            let mut stream = stream.expect("open");
            let mut buffer = [0; 512];
            stream.read_exact(&mut buffer).expect("first block");
            let err = if stop_early {
                stream.blame(Error::new(ErrorKind::Corrupt, "bad tar"))
            } else {
                stream.finish().expect_err("digest")
            };
            assert!(err.to_string().contains("digest mismatch"), "{err}");
        }
        let reader =
            crate::digest::VerifyReader::new(io::Cursor::new(blob.clone()), wrong, blob.len() as u64);
        let stream = LayerStream::open(reader, Compression::None, Algorithm::Sha256, &Limits::default());
        let err = stream.expect("open").finish().expect_err("label").to_string();
        assert!(err.contains("digest mismatch"), "{err}");
        let stream = LayerStream::open(
            io::Cursor::new(blob),
            Compression::Gzip,
            Algorithm::Sha256,
            &Limits::default(),
        );
        let err = stream
            .expect("open")
            .blame(Error::new(ErrorKind::Corrupt, "bad tar"));
        assert_eq!(err.to_string(), "bad tar");
    }

    /// Gives `data`, then the error that `fail` makes, as often as it is asked.
    struct Failing(io::Cursor<Vec<u8>>, fn() -> io::Error);

    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(self.1()),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn what_the_reader_of_the_blob_says_comes_first() {
        let blob = encode(Compression::Gzip, &text(1 << 20));
        let failures: [(fn() -> io::Error, ErrorKind); 3] = [
            (|| io::Error::from_raw_os_error(5), ErrorKind::Io),
            (|| Error::new(ErrorKind::Denied, "no").into(), ErrorKind::Denied),
            (
                || Error::new(ErrorKind::Corrupt, "digest mismatch").into(),
                ErrorKind::Corrupt,
            ),
        ];
        for (fail, kind) in failures {
            for at in [blob.len() / 2, blob.len()] {
                let reader = Failing(io::Cursor::new(blob[..at].to_vec()), fail);
                let stream =
                    LayerStream::open(reader, Compression::Gzip, Algorithm::Sha256, &Limits::default());
                let mut stream = stream.expect("open");
                io::copy(&mut stream, &mut io::sink()).expect("an early end");
                let err = stream.blame(Error::new(ErrorKind::Corrupt, "unexpected end of layer"));
                assert_eq!(err.kind(), kind, "{err}");
            }
        }
    }

    #[test]
    fn garbage_behind_padding_does_not_hide_a_wrong_digest() {
        let blob = [
            encode(Compression::Gzip, b"x"),
            vec![0; 600_000],
            b"garbage".to_vec(),
        ]
        .concat();
        let reader = crate::digest::VerifyReader::new(
            io::Cursor::new(blob.clone()),
            Digest::sha256(b"other"),
            blob.len() as u64,
        );
        let stream = LayerStream::open(reader, Compression::Gzip, Algorithm::Sha256, &Limits::default());
        let err = stream.expect("open").finish().expect_err("garbage");
        assert!(err.to_string().contains("digest mismatch"), "{err}");
        let err = decode(Compression::Gzip, blob).expect_err("garbage");
        assert!(err.to_string().contains("trailing garbage"), "{err}");
    }

    #[test]
    fn a_zstd_window_over_the_limit_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("encoder");
        encoder.window_log(24).expect("window");
        encoder.write_all(&text(20 << 20)).expect("write");
        let blob = encoder.finish().expect("finish");
        let limits = Limits {
            zstd_window_log: 20,
            ..Limits::default()
        };
        let stream = LayerStream::open(
            io::Cursor::new(blob),
            Compression::Zstd,
            Algorithm::Sha256,
            &limits,
        );
        let err = stream.expect("open").finish().expect_err("window");
        assert_eq!(err.kind(), ErrorKind::Limit, "{err}");
    }

    #[test]
    fn a_stream_dropped_early_lets_its_threads_end() {
        struct Watched {
            _alive: Arc<()>,
        }
        impl Read for Watched {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                Ok(buf.len())
            }
        }
        let alive = Arc::new(());
        let blob = Watched {
            _alive: Arc::clone(&alive),
        };
        let stream = LayerStream::open(blob, Compression::None, Algorithm::Sha256, &Limits::default());
        let mut stream = stream.expect("open");
        stream.read_exact(&mut [0; 512]).expect("endless");
        drop(stream.chunks);
        stream.decode.join().expect("no panic").expect("no error");
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
