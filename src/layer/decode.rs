// SPDX-License-Identifier: Apache-2.0
//! Compressed layers read: decoded on one thread and hashed on another, ahead of the reader.
//!
//! Invariants: a broken stream is blamed on the blob where the blob is not what its descriptor says; memory is bounded
//! whatever the layer's size.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use flate2::bufread::GzDecoder;

use super::{Limits, sniff};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::spec::Compression;

/// Bytes of one buffer between threads, and the maximum number that wait to be read, and to be hashed.
const CHUNK: usize = 256 * 1024;
const WAITING: usize = 96;
const WAITING_FOR_HASH: usize = 8;

/// Begins to decode a whole stream: all members of a gzip, all frames of a zstd.
fn decoder<'a>(
    blob: &'a mut impl Read,
    compression: Compression,
    zstd_window_log: u32,
) -> Result<Box<dyn Read + 'a>> {
    let blob = sniff::check_label(blob, compression)?;
    Ok(match compression {
        Compression::None => Box::new(blob),
        Compression::Gzip => {
            let first = GzDecoder::new(BufReader::with_capacity(CHUNK, blob));
            Box::new(Members(Some(first)))
        }
        Compression::Zstd => {
            let buffered = BufReader::with_capacity(CHUNK, blob);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered)?;
            decoder.window_log_max(zstd_window_log)?;
            Box::new(decoder)
        }
    })
}

/// The members of a gzip as one text; none behind the last one.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let n = member.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            // Another member may follow; zeros that pad the stream are tolerated, as gunzip does.
            let rest = member.get_mut();
            if matches!(rest.fill_buf()?.first(), Some(1..)) {
                self.0 = self.0.take().map(|ended| GzDecoder::new(ended.into_inner()));
            } else {
                skip_zeros(rest)?;
                self.0 = None;
            }
        }
        Ok(0)
    }
}

fn skip_zeros(rest: &mut impl BufRead) -> io::Result<()> {
    while let buffer @ [_, ..] = rest.fill_buf()? {
        if buffer.iter().any(|&c| c != 0) {
            fail!(Corrupt, "trailing garbage behind the gzip stream");
        }
        let n = buffer.len();
        rest.consume(n);
    }
    Ok(())
}

/// A piece of the text, whose buffer goes back to be filled again: fresh pages are dear.
#[derive(Debug)]
struct Chunk {
    data: Vec<u8>,
    used: Sender<Vec<u8>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let _ = self.used.send(std::mem::take(&mut self.data));
    }
}

/// The uncompressed bytes of a layer, decoded on one thread and hashed on another while they are read here.
#[derive(Debug)]
pub struct LayerStream {
    chunks: Receiver<Arc<Chunk>>,
    current: Option<(Arc<Chunk>, usize)>,
    decode: JoinHandle<Result<()>>,
    hash: JoinHandle<(Digest, u64)>,
    /// Set when the rest of the blob is to be verified although nobody reads on.
    verify: Arc<AtomicBool>,
}

impl LayerStream {
    /// Begins to decode `blob`, whose last read must fail if it is not what its descriptor says. Up to 24 MiB are
    /// decoded before somebody reads. Bytes that are something else than `compression` says are an error that names them.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is no thread to be had.
    pub fn open(
        mut blob: impl Read + Send + 'static,
        compression: Compression,
        algorithm: Algorithm,
        limits: &Limits,
    ) -> Result<Self> {
        let (to_reader, chunks) = sync_channel(WAITING);
        let (to_hash, hashed) = sync_channel(WAITING_FOR_HASH);
        let verify = Arc::new(AtomicBool::new(false));
        let is_wanted = Arc::clone(&verify);
        let zstd_window_log = limits.zstd_window_log;
        let decode = spawn("umoci-decode", move || {
            let decoder = decoder(&mut blob, compression, zstd_window_log);
            let decoded = decoder.and_then(|decoder| decode(decoder, &to_reader, &to_hash));
            if matches!(decoded, Ok(false)) && !is_wanted.load(Ordering::Relaxed) {
                return Ok(());
            }
            // The blob is read to its end whatever became of the decoder, and a fault of the blob comes first.
            io::copy(&mut BufReader::with_capacity(CHUNK, blob), &mut io::sink())?;
            decoded.map(drop)
        })?;
        let hash = spawn("umoci-hash", move || hash(&hashed, algorithm))?;
        Ok(Self {
            chunks,
            current: None,
            decode,
            hash,
            verify,
        })
    }

    /// Reads to the end; returns the digest and size in bytes of all that was decoded.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the blob is not what its descriptor says or cannot be decoded.
    pub fn finish(self) -> Result<(Digest, u64)> {
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

    fn join(self) -> Result<(Digest, u64)> {
        drop(self.chunks);
        match (self.decode.join(), self.hash.join()) {
            (Ok(decoded), Ok(hashed)) => decoded.map(|()| hashed),
            _ => fail!(Io, "a thread that decodes a layer has died"),
        }
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
                let n = (&chunk.data[*at..]).read(buf)?;
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

/// Decodes to the end; returns `false` if nobody reads on before.
fn decode(
    mut decoder: impl Read,
    to_reader: &SyncSender<Arc<Chunk>>,
    to_hash: &SyncSender<Arc<Chunk>>,
) -> Result<bool> {
    let (used, free) = channel();
    loop {
        let mut data: Vec<u8> = free.try_recv().unwrap_or_default();
        data.clear();
        data.reserve_exact(CHUNK);
        // The bytes before an error are given on: the reader of the entries may find a fault of its own in them.
        let filled = (&mut decoder).take(CHUNK as u64).read_to_end(&mut data);
        let is_last = data.is_empty();
        let used = used.clone();
        let chunk = Arc::new(Chunk { data, used });
        if !is_last && (to_hash.send(Arc::clone(&chunk)).is_err() || to_reader.send(chunk).is_err()) {
            return Ok(false);
        }
        filled.map_err(decode_error)?;
        if is_last {
            return Ok(true);
        }
    }
}

/// Makes an error of a failure to decode: what the reader of the blob or the kernel says stands as it is, the rest is what a
/// decoder thinks of the bytes.
fn decode_error(err: io::Error) -> Error {
    if err.raw_os_error().is_some() || matches!(err.get_ref(), Some(e) if e.is::<Error>()) {
        return err.into();
    }
    let text = err.to_string();
    // The words of libzstd for a window over the limit; it has no better way through `io::Error`.
    if text.contains("requires too much memory") {
        let text = format!("decompress: the zstd window is over the limit (limit zstd-window): {text}");
        return Error::new(ErrorKind::Limit, text).with_fact(Fact::Limit("zstd-window"));
    }
    Error::new(ErrorKind::Corrupt, format!("decompress: {text}"))
}

fn hash(chunks: &Receiver<Arc<Chunk>>, algorithm: Algorithm) -> (Digest, u64) {
    let mut hasher = Hasher::new(algorithm);
    let mut size = 0;
    while let Ok(chunk) = chunks.recv() {
        hasher.update(&chunk.data);
        size += chunk.data.len() as u64;
    }
    (hasher.finish(), size)
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
