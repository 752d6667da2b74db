// SPDX-License-Identifier: Apache-2.0
//! Digests: their text and binary forms, and the streams that compute and check them.
//!
//! Invariant: a [`Digest`] is always of a registered algorithm and of its full length, in lower-case hex.
//! Spec: image-spec, descriptor, "Digests".

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use derive_more::{Display, TryFrom};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::error::{Error, ErrorKind, Result};

/// A registered digest algorithm. The number of one stands for it in the index database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Display, TryFrom)]
#[display("{}", self.name())]
#[try_from(repr)]
#[repr(u8)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Algorithm {
    /// SHA-256, which every implementation must know.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE3 with 256 bits of output.
    Blake3,
}

impl Algorithm {
    /// All algorithms, in the order in which blob directories are searched.
    pub const ALL: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3];

    /// Returns the name in a digest and under `blobs/`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
            Algorithm::Blake3 => "blake3",
        }
    }

    /// Looks an algorithm up by its exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Returns the length of a digest in bytes; the hex form is twice as long.
    #[allow(clippy::len_without_is_empty, reason = "a digest is never empty")]
    pub fn len(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Sha512 => 64,
        }
    }
}

/// The digest of a blob, such as `sha256:6c3c…`. Cheap to copy; ordered by algorithm, then by bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, derive_more::Debug)]
#[display("{algorithm}:{}", self.encoded())]
#[debug("{self}")]
pub struct Digest {
    algorithm: Algorithm,
    // Behind a shorter digest are zeros, always: the derived order and equality compare all of them.
    bytes: [u8; 64],
}

impl Digest {
    /// Makes a digest from its raw bytes; `None` unless the length is that of the algorithm.
    pub fn from_bytes(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        (raw.len() == algorithm.len()).then(|| Self::padded(algorithm, raw))
    }

    fn padded(algorithm: Algorithm, raw: &[u8]) -> Self {
        let mut bytes = [0; 64];
        bytes[..raw.len()].copy_from_slice(raw);
        Self { algorithm, bytes }
    }

    /// Hashes `data` with `algorithm`.
    pub fn of(algorithm: Algorithm, data: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(data);
        hasher.finish()
    }

    /// Hashes `data` with SHA-256.
    pub fn sha256(data: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, data)
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the raw bytes, as many as [`Algorithm::len`] says.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.len()]
    }

    /// Returns the hex part, in lower case, which is also the file name below `blobs/<algorithm>/`.
    pub fn encoded(&self) -> String {
        hex(self.as_bytes())
    }
}

pub(crate) use base16ct::lower::encode_string as hex;

impl FromStr for Digest {
    type Err = Error;

    /// Parses `algorithm:hex`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a well-formed digest of an algorithm that is
    /// not registered, [`ErrorKind::Invalid`] for everything else.
    fn from_str(text: &str) -> Result<Self> {
        let (name, encoded) = text.split_once(':').unwrap_or_default();
        let digest = match Algorithm::from_name(name) {
            Some(algorithm) => decoded(algorithm, encoded),
            // The spec lets others register algorithms: such a digest is no fault of the document that has it.
            None if follows_grammar(name, encoded) => fail!(Unsupported, "unsupported algorithm: {name:?}"),
            None => None,
        };
        digest.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("invalid digest: {text:?}")))
    }
}

/// Returns the digest with this hex part; `None` for another length and for upper case, which would be a second name of one
/// blob.
fn decoded(algorithm: Algorithm, hex: &str) -> Option<Digest> {
    let mut raw = [0; 64];
    Digest::from_bytes(algorithm, base16ct::lower::decode(hex, &mut raw).ok()?)
}

/// Returns whether this is a digest, be it of an algorithm that is not registered.
fn follows_grammar(name: &str, encoded: &str) -> bool {
    !name.is_empty()
        && !encoded.is_empty()
        && name
            .bytes()
            .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'.' | b'_' | b'-'))
        && encoded
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"=_-".contains(&c))
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The start of a digest, as a person types it: 7 or more hex digits, with or without `algorithm:` before them.
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DigestPrefix {
    algorithm: Option<Algorithm>,
    hex: String,
}

impl DigestPrefix {
    /// Fewest hex digits of a prefix.
    pub const MIN: usize = 7;

    /// Returns the algorithm, if one was written.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Returns the hex digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Returns the digest itself when the prefix is a whole one with its algorithm.
    pub fn exact(&self) -> Option<Digest> {
        decoded(self.algorithm?, &self.hex)
    }

    /// Returns whether `digest` begins with it.
    pub fn matches(&self, digest: &Digest) -> bool {
        self.algorithm.is_none_or(|a| a == digest.algorithm()) && digest.encoded().starts_with(&self.hex)
    }
}

impl FromStr for DigestPrefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (algorithm, hex) = match text.split_once(':') {
            Some((name, hex)) => match Algorithm::from_name(name) {
                Some(algorithm) => (Some(algorithm), hex),
                None => fail!(Unsupported, "unsupported algorithm: {name:?}"),
            },
            None => (None, text),
        };
        let longest = algorithm.map_or(128, |a| a.len() * 2);
        let is_hex = hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex || hex.len() < Self::MIN || hex.len() > longest {
            fail!(
                Invalid,
                "invalid digest: {text:?} (want [ALGORITHM:] and {} or more lower-case hex digits)",
                Self::MIN
            );
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

impl fmt::Display for DigestPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            Some(a) => write!(f, "{a}:{}", self.hex),
            None => f.write_str(&self.hex),
        }
    }
}

/// A running hash of one of the registered algorithms.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Hasher {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
    // Its state is some 2 KiB; that of the others fits where it stands.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Starts an empty hash.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
        }
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Blake3(_) => Algorithm::Blake3,
        }
    }

    /// Adds `data`.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(data),
            Self::Sha512(h) => h.update(data),
            Self::Blake3(h) => {
                h.update(data);
            }
        }
    }

    /// Adds `n` zero bytes.
    pub fn update_zeros(&mut self, n: u64) {
        // Small enough to stay in the nearest cache.
        static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
        let mut left = n;
        while left > 0 {
            let now = usize::try_from(left).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
            self.update(&ZEROS[..now]);
            left -= now as u64;
        }
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(h) => Digest::padded(Algorithm::Sha256, &h.finalize()),
            Self::Sha512(h) => Digest::padded(Algorithm::Sha512, &h.finalize()),
            Self::Blake3(h) => Digest::padded(Algorithm::Blake3, h.finalize().as_bytes()),
        }
    }
}

/// Passes bytes on to `inner`, hashing and counting them.
#[derive(Debug)]
pub(crate) struct DigestWriter<W> {
    inner: W,
    hasher: Hasher,
    /// Bytes that have passed so far.
    pub(crate) written: u64,
}

impl<W: Write> DigestWriter<W> {
    /// Wraps `inner`.
    pub fn new(inner: W, algorithm: Algorithm) -> Self {
        Self {
            inner,
            hasher: Hasher::new(algorithm),
            written: 0,
        }
    }

    /// Returns the wrapped writer, the digest and the count of the bytes that passed.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.hasher.finish(), self.written)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Only what was taken is hashed: the caller gives the rest once more.
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads a blob and checks it against the digest and size of its descriptor.
///
/// At most `size` bytes are handed out. The read that meets the end fails, with an [`Error`] of kind
/// [`ErrorKind::Corrupt`] inside the `io::Error`, unless digest and size agree; a reader that is dropped
/// before its end has verified nothing, so a consumer that stops early calls [`VerifyReader::finish`].
#[derive(Debug)]
pub(crate) struct VerifyReader<R> {
    inner: R,
    hasher: Option<Hasher>,
    expected: Digest,
    size: u64,
    left: u64,
}

impl<R: Read> VerifyReader<R> {
    /// Wraps `inner`, of which `size` bytes with digest `expected` are due.
    pub fn new(inner: R, expected: Digest, size: u64) -> Self {
        Self {
            inner,
            hasher: Some(Hasher::new(expected.algorithm())),
            expected,
            size,
            left: size,
        }
    }

    /// Reads what is left and returns the verdict.
    pub fn finish(&mut self) -> Result<()> {
        // Of most blobs nothing is left: a large buffer would cost more than its read.
        let mut buf = vec![0; self.left.clamp(1, 64 * 1024) as usize];
        while self.read(&mut buf)? > 0 {}
        Ok(())
    }

    fn verdict(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            // A reader may be asked again after its end.
            return Ok(());
        };
        let (expected, size, got) = (self.expected, self.size, hasher.finish());
        // The digest comes first, since a blob with the right one has the wrong size only by a descriptor that lies.
        let fault = if got != expected {
            format!("digest mismatch: expected {expected}, got {got}")
        } else if self.left > 0 {
            format!("size mismatch: expected {size} bytes, found fewer")
        } else if self.inner.read(&mut [0])? > 0 {
            format!("size mismatch: expected {size} bytes, found more")
        } else {
            return Ok(());
        };
        fail!(Corrupt, "verified reader {fault}")
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // A read of nothing would look like the end of the blob.
        if buf.is_empty() {
            return Ok(0);
        }
        // Never more than was promised, so that no blob is larger than what its reader has made room for.
        let n = (&mut self.inner).take(self.left).read(buf)?;
        if n == 0 {
            self.verdict()?;
            return Ok(0);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..n]);
        }
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_form_round_trips_for_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"abc");
            assert_eq!(digest.to_string().parse::<Digest>().expect("own text"), digest);
        }
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA", "sha");
        for (text, kind) in [
            ("", ErrorKind::Invalid),
            ("sha256", ErrorKind::Invalid),
            ("sha256:abc", ErrorKind::Invalid),
            (&upper, ErrorKind::Invalid),
            ("sha256:../../etc/passwd", ErrorKind::Invalid),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", ErrorKind::Unsupported),
            ("SHA256:00", ErrorKind::Invalid),
        ] {
            assert_eq!(text.parse::<Digest>().expect_err(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_prefix_needs_seven_digits() {
        let prefix: DigestPrefix = "e3b0c44".parse().expect("seven");
        assert!(prefix.matches(&EMPTY.parse().expect("digest")));
        assert!("e3b0c4".parse::<DigestPrefix>().is_err());
        assert!(
            "sha512:e3b0c44"
                .parse::<DigestPrefix>()
                .is_ok_and(|p| !p.matches(&Digest::sha256(b"")))
        );
    }

    fn read_all(data: &[u8], expected: Digest, size: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        VerifyReader::new(data, expected, size).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_blob_is_verified_as_it_is_read() {
        let digest = Digest::sha256(b"data");
        assert_eq!(read_all(b"data", digest, 4).expect("good"), b"data");
        for (data, size, message) in [
            (&b"dat"[..], 4, "digest mismatch"),
            (b"atad", 4, "digest mismatch"),
            (b"data\0", 4, "size mismatch"),
            (b"data", 5, "size mismatch"),
            (b"data", 3, "digest mismatch"),
        ] {
            let err = read_all(data, digest, size).expect_err(message);
            assert_eq!(err.kind(), ErrorKind::Corrupt);
            assert!(err.to_string().contains(message), "{err}");
        }
    }
}
