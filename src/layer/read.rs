// SPDX-License-Identifier: Apache-2.0
//! From tar bytes to entries, in all dialects that occur: v7, ustar, GNU and PAX, sparse files included.

use std::collections::VecDeque;
use std::io::{self, Read};

use base64::Engine as _;
use tar::{EntryType, GnuExtSparseHeader, Header};

use super::pax::{self, Records};
use super::{Entry, EntryBody, Limits, OPAQUE, WHITEOUT_PREFIX};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::node::{Node, NodeKind, Time, TreePath, Xattrs};

const BLOCK: u64 = 512;

/// Reads the entries of a layer one by one; as a [`Read`] it gives the content of the entry last returned.
#[derive(Debug)]
pub struct LayerReader<R> {
    inner: R,
    limits: Limits,
    /// Bytes of the present entry that are still in the stream.
    left: u64,
    /// Bytes between its end and the next header.
    padding: u64,
    /// Where the bytes of a sparse file belong.
    sparse: Option<Sparse>,
    read: u64,
    /// Bytes of holes of sparse files so far.
    holes: u64,
    ended: bool,
    head: Option<Head>,
}

/// The header of the entry last returned, as it stands in the archive.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// All its blocks but global headers, which speak of other entries too.
    pub blocks: Vec<u8>,
    /// Where in `blocks` the header proper begins; extended headers stand before it.
    pub main: usize,
    /// What the extended headers say, in the words of PAX.
    pub records: Records,
}

#[derive(Debug)]
struct Sparse {
    /// Offset and length of data, in order and apart.
    pieces: VecDeque<(u64, u64)>,
    at: u64,
    size: u64,
}

/// What stands before the header proper.
#[derive(Default)]
struct Extended {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    bytes: u64,
}

impl Extended {
    /// The last value of `key`; an empty one takes back those before it.
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let last = self.records.iter().rev().find(|(k, _)| k == key);
        last.map(|(_, v)| v.as_slice()).filter(|v| !v.is_empty())
    }

    fn number(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.get(key.as_bytes()) else {
            return Ok(None);
        };
        let number = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| bad(format!("invalid PAX {key}: {:?}", String::from_utf8_lossy(value))))
    }
}

fn bad(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, text)
}

impl<R: Read> LayerReader<R> {
    /// Reads entries from `tar`, which is uncompressed.
    pub fn new(tar: R, limits: Limits) -> Self {
        Self {
            inner: tar,
            limits,
            left: 0,
            padding: 0,
            sparse: None,
            read: 0,
            holes: 0,
            ended: false,
            head: None,
        }
    }

    /// As [`LayerReader::new`], for entries that are written again: [`LayerReader::take_head`] has their headers.
    pub(super) fn recording(tar: R, limits: Limits) -> Self {
        Self {
            head: Some(Head::default()),
            ..Self::new(tar, limits)
        }
    }

    /// The header of the entry last returned, if headers are recorded.
    pub(super) fn take_head(&mut self) -> Head {
        self.head.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Goes to the next entry, over what is left of the last one; `None` at the end of the archive.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a broken or truncated archive, [`ErrorKind::Limit`] for one that asks for too much,
    /// [`ErrorKind::UnsafePath`] for a whiteout of `.` or `..`, [`ErrorKind::Unsupported`] for an unknown type.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        if let Some(head) = &mut self.head {
            *head = Head::default();
        }
        loop {
            self.skip_rest()?;
            if let Some(head) = &mut self.head {
                head.blocks
                    .resize(head.blocks.len().next_multiple_of(BLOCK as usize), 0);
                head.main = head.blocks.len();
            }
            let Some(header) = self.header()? else {
                self.ended = true;
                return Ok(None);
            };
            let size = number(&header.as_old().size, "size")?;
            let size =
                u64::try_from(size).map_err(|_| bad(format!("negative size in a tar header: {size}")))?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let data = self.header_data(size, &mut extended)?;
                    extended.records.extend(pax::parse(&data)?);
                }
                EntryType::GNULongName => extended.long_name = Some(self.long(size, &mut extended)?),
                EntryType::GNULongLink => extended.long_link = Some(self.long(size, &mut extended)?),
                // A global header speaks of all entries; nothing that it may say matters for an image.
                EntryType::XGlobalHeader => {
                    self.expect(size);
                    if let Some(head) = &mut self.head {
                        head.blocks.truncate(head.main);
                    }
                }
                _ => {
                    let entry = self.entry(&header, size, &extended)?;
                    if let Some(head) = &mut self.head {
                        let long = [
                            (&b"path"[..], extended.long_name),
                            (b"linkpath", extended.long_link),
                        ];
                        head.records = long
                            .into_iter()
                            .filter_map(|(key, value)| Some((key.to_vec(), value?)))
                            .chain(extended.records)
                            .collect();
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Where in the archive the content of the file last returned stands, and its size in bytes; `None` if it does not stand
    /// there in one piece (a sparse file).
    pub(crate) fn place(&self) -> Option<(u64, u64)> {
        self.sparse.is_none().then_some((self.read, self.left))
    }

    /// Reads to the end of the stream; what stands behind the end of the archive is ignored.
    pub fn drain(&mut self) -> Result<()> {
        self.ended = true;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.inner.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.count(n)?,
            }
        }
    }

    /// The stream.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// As going to the next entry does, without reading what is left of this one.
    pub(crate) fn seek_rest(&mut self) -> Result<()>
    where
        R: io::Seek,
    {
        let rest = self.left.saturating_add(self.padding);
        (self.left, self.padding, self.sparse) = (0, 0, None);
        let rest = i64::try_from(rest).map_err(|_| bad("a file larger than an archive can be"))?;
        self.inner.seek_relative(rest)?;
        self.read += rest.unsigned_abs();
        Ok(())
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        self.sparse = None;
    }

    /// Goes over what is left of an entry. Only its padding may be missing at the end of the stream: some writers do
    /// not end their archives.
    fn skip_rest(&mut self) -> Result<()> {
        let (content, padding) = (self.left, self.padding);
        (self.left, self.padding, self.sparse) = (0, 0, None);
        if self.skip(content)? < content {
            return Err(bad("unexpected end of layer"));
        }
        self.ended |= self.skip(padding)? < padding;
        Ok(())
    }

    /// Writes what is left of an entry, as it stands in the archive, and pads it to whole blocks.
    pub(super) fn copy_rest(&mut self, out: &mut impl io::Write) -> Result<()> {
        // The bytes of a sparse file are copied, not its holes.
        self.sparse = None;
        let padding = self.padding as usize;
        io::copy(self, out)?;
        Ok(out.write_all(&[0; BLOCK as usize][..padding])?)
    }

    /// Reads over `n` bytes, or as many as there are; returns how many.
    fn skip(&mut self, n: u64) -> Result<u64> {
        let mut buffer = [0; 16 * 1024];
        let mut done = 0;
        while done < n {
            let want = usize::try_from(n - done).unwrap_or(usize::MAX).min(buffer.len());
            let n = self.inner.read(&mut buffer[..want])?;
            if n == 0 {
                break;
            }
            self.count(n)?;
            done += n as u64;
        }
        Ok(done)
    }

    fn count(&mut self, n: usize) -> Result<()> {
        self.read += n as u64;
        match self.limits.layer_bytes {
            Some(limit) => Limits::check("layer", "layer", self.read, limit),
            None => Ok(()),
        }
    }

    /// The next block; `None` at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<bool> {
        let mut filled = 0;
        while filled < block.len() {
            let n = self.inner.read(&mut block[filled..])?;
            if n == 0 {
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(bad("unexpected end of layer"))
                };
            }
            filled += n;
        }
        self.count(filled)?;
        self.record(block);
        Ok(true)
    }

    fn record(&mut self, bytes: &[u8]) {
        if let Some(head) = &mut self.head {
            head.blocks.extend_from_slice(bytes);
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK as usize];
        if self.ended || !self.block(&mut block)? || block.iter().all(|&c| c == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = number(&header.as_old().cksum, "checksum")?;
        let bytes = block
            .iter()
            .enumerate()
            .map(|(at, &c)| if (148..156).contains(&at) { b' ' } else { c });
        let (unsigned, signed) = bytes.fold((0, 0), |(u, s), c| {
            (u + i64::from(c), s + i64::from(c.cast_signed()))
        });
        if sum != unsigned && sum != signed {
            return Err(bad("invalid tar header: wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Content of an extended header.
    fn header_data(&mut self, size: u64, extended: &mut Extended) -> Result<Vec<u8>> {
        extended.bytes = extended.bytes.saturating_add(size);
        Limits::check(
            "header",
            "extended header",
            extended.bytes,
            self.limits.header_bytes,
        )?;
        self.expect(size);
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                bad("unexpected end of layer")
            } else {
                e.into()
            }
        })?;
        self.record(&data);
        Ok(data)
    }

    fn long(&mut self, size: u64, extended: &mut Extended) -> Result<Vec<u8>> {
        let mut data = self.header_data(size, extended)?;
        let end = data.iter().position(|&c| c == 0).unwrap_or(data.len());
        data.truncate(end);
        Ok(data)
    }

    fn entry(&mut self, header: &Header, size: u64, extended: &Extended) -> Result<Entry> {
        let sparse_name = extended.get(b"GNU.sparse.name");
        let name = match sparse_name
            .or_else(|| extended.get(b"path"))
            .or(extended.long_name.as_deref())
        {
            Some(name) => name.to_vec(),
            None => header_name(header),
        };
        Limits::check("path", "path", name.len() as u64, self.limits.path_bytes)?;
        let path = TreePath::clean(&name).map_err(|e| bad(e.to_string()))?;
        if let Some(hidden) = path.name().strip_prefix(WHITEOUT_PREFIX) {
            // A whiteout is one whatever its type, and only its name counts.
            if !matches!(header.entry_type().as_byte(), b'1'..=b'6') {
                self.expect(extended.number("size")?.unwrap_or(size));
            }
            return whiteout(&path, hidden);
        }
        let body = self.body(header, size, extended, &name);
        body.context(|| path.to_string()).map(|body| Entry { path, body })
    }

    fn body(&mut self, header: &Header, size: u64, extended: &Extended, name: &[u8]) -> Result<EntryBody> {
        let old = header.as_old();
        let link = match extended.get(b"linkpath").or(extended.long_link.as_deref()) {
            Some(link) => link.to_vec(),
            None => until_nul(&old.linkname).to_vec(),
        };
        Limits::check("path", "link target", link.len() as u64, self.limits.path_bytes)?;
        // `EntryType` takes NUL for `0`.
        let flag = old.linkflag[0];
        let device = || -> Result<(u32, u32)> {
            let block = header.as_bytes();
            if !block[257..].starts_with(b"ustar") {
                return Err(bad("device without numbers"));
            }
            let id = |field, what| {
                u32::try_from(number(field, what)?).map_err(|_| bad(format!("{what} out of range")))
            };
            Ok((
                id(&block[329..337], "device major")?,
                id(&block[337..345], "device minor")?,
            ))
        };
        let kind = match flag {
            // The old way to say directory; unlike a real one it may have content, which is skipped.
            0 if name.ends_with(b"/") => {
                self.expect(extended.number("size")?.unwrap_or(size));
                NodeKind::Dir
            }
            b'0' | 0 | b'7' | b'S' => NodeKind::File {
                size: self.content(header, size, extended)?,
            },
            b'5' => NodeKind::Dir,
            b'1' => {
                return Ok(EntryBody::HardLink {
                    target: TreePath::clean(&link)?,
                });
            }
            b'2' if link.contains(&0) => return Err(bad("link target contains a NUL byte")),
            b'2' => NodeKind::Symlink { target: link },
            b'3' => device().map(|(major, minor)| NodeKind::Char { major, minor })?,
            b'4' => device().map(|(major, minor)| NodeKind::Block { major, minor })?,
            b'6' => NodeKind::Fifo,
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("unknown typeflag '\\x{flag:02x}'"),
                ));
            }
        };
        let id = |field: &[u8], key: &str| -> Result<u32> {
            let id = match extended.number(key)? {
                Some(id) => id as i128,
                None => i128::from(number(field, key)?),
            };
            u32::try_from(id).map_err(|_| bad(format!("{key} out of range: {id}")))
        };
        let whole = |sec| Time { sec, nsec: 0 };
        let mtime = match extended.get(b"mtime") {
            Some(text) => pax_time("mtime", text)?,
            None => whole(number(&old.mtime, "mtime")?),
        };
        // Where the header has one, some writers left something else there.
        let atime = match (extended.get(b"atime"), header_atime(header)) {
            (Some(text), _) => Some(pax_time("atime", text)?),
            (None, Some(field)) => number(field, "atime").ok().map(whole),
            (None, None) => None,
        };
        Ok(EntryBody::Node(Node {
            kind,
            mode: number(&old.mode, "mode")? as u32 & 0o7777,
            uid: id(&old.uid, "uid")?,
            gid: id(&old.gid, "gid")?,
            mtime,
            atime,
            xattrs: xattrs(extended)?,
        }))
    }

    /// Prepares for the content of a regular file; returns the size of the file.
    fn content(&mut self, header: &Header, size: u64, extended: &Extended) -> Result<u64> {
        let stored = extended.number("size")?.unwrap_or(size);
        self.expect(stored);
        if header.entry_type() == EntryType::GNUSparse {
            let gnu = header
                .as_gnu()
                .ok_or_else(|| bad("sparse file without a GNU header"))?;
            let size = unsigned(&gnu.realsize, "real size")?;
            let mut pieces = VecDeque::new();
            let field = |offset: &[u8], length: &[u8], pieces: &mut VecDeque<(u64, u64)>| -> Result<()> {
                if offset[0] != 0 && length[0] != 0 {
                    pieces.push_back((
                        unsigned(offset, "sparse offset")?,
                        unsigned(length, "sparse length")?,
                    ));
                }
                Ok(())
            };
            for s in &gnu.sparse {
                field(&s.offset, &s.numbytes, &mut pieces)?;
            }
            let mut more = gnu.isextended[0] == 1;
            let mut bytes = 0;
            while more {
                bytes += BLOCK;
                Limits::check("header", "sparse map", bytes, self.limits.header_bytes)?;
                let mut ext = GnuExtSparseHeader::new();
                let mut block = [0; BLOCK as usize];
                if !self.block(&mut block)? {
                    return Err(bad("unexpected end of layer"));
                }
                ext.as_mut_bytes().copy_from_slice(&block);
                for s in &ext.sparse {
                    field(&s.offset, &s.numbytes, &mut pieces)?;
                }
                more = ext.isextended[0] == 1;
            }
            return self.set_sparse(pieces, size);
        }
        let real = extended
            .number("GNU.sparse.realsize")?
            .or(extended.number("GNU.sparse.size")?);
        let Some(real) = real else { return Ok(stored) };
        let pieces = if extended.get(b"GNU.sparse.major") == Some(b"1") {
            self.sparse_map_in_content()?
        } else if let Some(map) = extended.get(b"GNU.sparse.map") {
            pairs(map.split(|&c| c == b','))?
        } else {
            let keys = [&b"GNU.sparse.offset"[..], b"GNU.sparse.numbytes"];
            pairs(
                extended
                    .records
                    .iter()
                    .filter(|(k, _)| keys.contains(&k.as_slice()))
                    .map(|(_, v)| v.as_slice()),
            )?
        };
        self.set_sparse(pieces, real)
    }

    /// Version 1.0 has the map before the data: numbers on lines of their own, padded to a block.
    fn sparse_map_in_content(&mut self) -> Result<VecDeque<(u64, u64)>> {
        let mut read = 0;
        let mut line = Vec::new();
        let mut wanted: Option<u64> = None;
        let mut numbers = Vec::new();
        loop {
            read += BLOCK;
            Limits::check("header", "sparse map", read, self.limits.header_bytes)?;
            if self.left < BLOCK {
                return Err(bad("sparse map is cut off"));
            }
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block)? {
                return Err(bad("unexpected end of layer"));
            }
            self.left -= BLOCK;
            // Each byte is looked at once: a map may have millions of numbers.
            for c in block {
                if c != b'\n' {
                    line.push(c);
                    continue;
                }
                let number = decimal(&line);
                line.clear();
                let Some(count) = wanted else {
                    let count = number.ok_or_else(|| bad("sparse map without a count"))?;
                    let twice = count.checked_mul(2).filter(|&n| n <= self.limits.header_bytes);
                    wanted = Some(twice.ok_or_else(|| {
                        Error::new(ErrorKind::Limit, format!("sparse map of {count} pieces"))
                    })?);
                    if count > 0 {
                        continue;
                    }
                    return Ok(VecDeque::new());
                };
                numbers.push(number.ok_or_else(no_number)?);
                if numbers.len() as u64 == count {
                    return in_pairs(&numbers);
                }
            }
        }
    }

    fn set_sparse(&mut self, pieces: VecDeque<(u64, u64)>, size: u64) -> Result<u64> {
        let mut end = 0;
        let mut total: u64 = 0;
        for &(offset, length) in &pieces {
            let next = offset.checked_add(length).filter(|&n| offset >= end && n <= size);
            end = next.ok_or_else(|| bad("sparse map is out of order or beyond the end"))?;
            total = total.saturating_add(length);
        }
        if total != self.left {
            return Err(bad(format!(
                "sparse map speaks of {total} bytes, the entry has {}",
                self.left
            )));
        }
        self.holes = self.holes.saturating_add(size - total);
        Limits::check("sparse", "holes", self.holes, self.limits.sparse_bytes)?;
        self.sparse = Some(Sparse { pieces, at: 0, size });
        Ok(size)
    }

    fn read_stored(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buf[..want])?;
        if n == 0 {
            return Err(bad("unexpected end of layer").into());
        }
        self.left -= n as u64;
        self.count(n)?;
        Ok(n)
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(sparse) = &mut self.sparse else {
            return self.read_stored(buf);
        };
        while sparse
            .pieces
            .front()
            .is_some_and(|&(offset, length)| sparse.at >= offset + length)
        {
            sparse.pieces.pop_front();
        }
        let (hole_end, data_end) = match sparse.pieces.front() {
            Some(&(offset, length)) => (offset, offset + length),
            None => (sparse.size, sparse.size),
        };
        let within = |end: u64, at: u64| usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
        if sparse.at < hole_end {
            let n = within(hole_end, sparse.at);
            buf[..n].fill(0);
            sparse.at += n as u64;
            return Ok(n);
        }
        let want = within(data_end, sparse.at);
        let n = self.read_stored(&mut buf[..want])?;
        if let Some(sparse) = &mut self.sparse {
            sparse.at += n as u64;
        }
        Ok(n)
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&c| c == 0).unwrap_or(field.len())]
}

/// What `name`, that of a whiteout of `hidden`, says.
fn whiteout(name: &TreePath, hidden: &[u8]) -> Result<Entry> {
    let dir = name.parent().unwrap_or_default();
    if name.name() == OPAQUE {
        return Ok(Entry {
            path: dir,
            body: EntryBody::Opaque,
        });
    }
    if hidden.is_empty() {
        return Err(bad(format!("invalid whiteout with empty name: {name}")));
    }
    if matches!(hidden, b"." | b"..") {
        let text = format!("whiteout of a directory itself: {name}");
        return Err(Error::new(ErrorKind::UnsafePath, text));
    }
    Ok(Entry {
        path: dir.join(hidden)?,
        body: EntryBody::Whiteout,
    })
}

fn header_name(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    let block = header.as_bytes();
    // Not all writers fill in the version behind the magic; star has times where the prefix ends.
    let prefix = match &block[257..263] {
        b"ustar\0" if block[508..] == *b"tar\0" => until_nul(&block[345..476]),
        b"ustar\0" => until_nul(&block[345..500]),
        _ => b"",
    };
    if prefix.is_empty() {
        name.to_vec()
    } else {
        [prefix, b"/", name].concat()
    }
}

/// The field of the time of last access, in the dialects that have one; GNU leaves it empty mostly.
fn header_atime(header: &Header) -> Option<&[u8]> {
    let block = header.as_bytes();
    match &block[257..265] {
        b"ustar  \0" => Some(&block[345..357]).filter(|field| field[0] != 0),
        magic if magic.starts_with(b"ustar\0") && block[508..] == *b"tar\0" => Some(&block[476..488]),
        _ => None,
    }
}

/// A number of a header: octal with spaces and NULs around it, or base 256 with its sign. An empty field is 0.
fn number(field: &[u8], what: &str) -> Result<i64> {
    let invalid = || bad(format!("invalid {what} in a tar header"));
    if field[0] & 0x80 != 0 {
        let first = i128::from(field[0] & 0x7f) - if field[0] & 0x40 == 0 { 0 } else { 0x80 };
        let mut value = first;
        for &byte in &field[1..] {
            value = value
                .checked_mul(256)
                .and_then(|v| v.checked_add(i128::from(byte)))
                .ok_or_else(invalid)?;
        }
        return i64::try_from(value).map_err(|_| invalid());
    }
    let digits = field
        .iter()
        .position(|c| !matches!(c, b' ' | 0))
        .map_or(&b""[..], |at| &field[at..]);
    let digits = &digits[..digits
        .iter()
        .position(|c| matches!(c, b' ' | 0))
        .unwrap_or(digits.len())];
    digits.iter().try_fold(0_i64, |value, &c| match c {
        b'0'..=b'7' => value
            .checked_mul(8)
            .and_then(|v| v.checked_add(i64::from(c - b'0')))
            .ok_or_else(invalid),
        _ => Err(invalid()),
    })
}

fn unsigned(field: &[u8], what: &str) -> Result<u64> {
    u64::try_from(number(field, what)?).map_err(|_| bad(format!("negative {what} in a tar header")))
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn no_number() -> Error {
    bad("sparse map with something that is no number")
}

fn pairs<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Result<VecDeque<(u64, u64)>> {
    let numbers: Option<Vec<u64>> = numbers.filter(|t| !t.is_empty()).map(decimal).collect();
    in_pairs(&numbers.ok_or_else(no_number)?)
}

fn in_pairs(numbers: &[u64]) -> Result<VecDeque<(u64, u64)>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(bad("sparse map with an odd count of numbers"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// `[-]seconds[.fraction]`; a fraction counts away from zero, so a negative one borrows a second.
fn pax_time(key: &str, text: &[u8]) -> Result<Time> {
    let invalid = || bad(format!("invalid PAX {key}: {:?}", String::from_utf8_lossy(text)));
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let sec: i64 = if whole == "-" || whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| invalid())?
    };
    if !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return Err(invalid());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nsec: u32 = digits.parse().map_err(|_| invalid())?;
    if negative && nsec > 0 {
        let sec = sec.checked_sub(1).ok_or_else(invalid)?;
        return Ok(Time {
            sec,
            nsec: 1_000_000_000 - nsec,
        });
    }
    Ok(Time { sec, nsec })
}

fn xattrs(extended: &Extended) -> Result<Xattrs> {
    let mut out = Xattrs::new();
    for (key, value) in &extended.records {
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = base64::engine::general_purpose::STANDARD_NO_PAD
                .decode(
                    value
                        .strip_suffix(b"==")
                        .or(value.strip_suffix(b"="))
                        .unwrap_or(value),
                )
                .map_err(|_| bad("invalid LIBARCHIVE.xattr: not base64"))?;
            out.entry(percent_decoded(name)).or_insert(value);
        }
    }
    for (key, value) in &extended.records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            out.insert(name.to_vec(), value.clone());
        }
    }
    if out.keys().any(|name| name.is_empty() || name.contains(&0)) {
        return Err(bad("extended attribute without a valid name"));
    }
    Ok(out)
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(byte) if c == b'%' => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(c);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, flag: u8, size: &str, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut b = vec![0; 512];
        b[..name.len()].copy_from_slice(name.as_bytes());
        b[100..107].copy_from_slice(b"0000644");
        b[108..115].copy_from_slice(b"0000000");
        b[116..123].copy_from_slice(b"0000000");
        b[124..124 + size.len()].copy_from_slice(size.as_bytes());
        b[136..147].copy_from_slice(b"00000000000");
        b[156] = flag;
        b[257..265].copy_from_slice(b"ustar\x0000");
        edit(&mut b);
        let sum: u32 = b
            .iter()
            .enumerate()
            .map(|(i, &c)| if (148..156).contains(&i) { 32 } else { u32::from(c) })
            .sum();
        b[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        b
    }

    fn padded(data: &[u8]) -> Vec<u8> {
        let mut out = data.to_vec();
        out.resize(data.len().next_multiple_of(512), 0);
        out
    }

    fn read(tar: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
        let mut reader = LayerReader::new(tar, Limits::default());
        let mut out = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            out.push((entry, content));
        }
        reader.drain()?;
        Ok(out)
    }

    fn with_pax(records: &[(&str, &str)], name: &str, content: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        for (key, value) in records {
            pax::write(&mut data, key.as_bytes(), value.as_bytes());
        }
        let header = block("x", b'x', &format!("{:011o}", data.len()), |_| ());
        [
            header,
            padded(&data),
            block(name, b'0', &format!("{:011o}", content.len()), |_| ()),
            padded(content),
        ]
        .concat()
    }

    #[test]
    fn pax_overrides_the_header() {
        let records = [
            ("path", "long/name"),
            ("mtime", "-1.25"),
            ("uid", "4000000"),
            ("SCHILY.xattr.user.a", "v"),
        ];
        let got = read(&with_pax(&records, "short", b"data")).expect("tar");
        let EntryBody::Node(node) = &got[0].0.body else {
            panic!()
        };
        assert_eq!(got[0].0.path.as_bytes(), b"long/name");
        assert_eq!(
            (node.uid, node.mtime),
            (
                4_000_000,
                Time {
                    sec: -2,
                    nsec: 750_000_000
                }
            )
        );
        assert_eq!(
            (node.xattrs[&b"user.a"[..]].as_slice(), got[0].1.as_slice()),
            (&b"v"[..], &b"data"[..])
        );
    }

    #[test]
    fn sparse_files_of_every_dialect_are_filled_with_zeros() {
        let want = [&[0; 512][..], b"DATA", &[0; 508], b"END"].concat();
        let size = "1027";
        let map01 = [
            ("GNU.sparse.size", size),
            ("GNU.sparse.map", "512,4,1024,3"),
            ("GNU.sparse.name", "f"),
        ];
        let map00 = [
            ("GNU.sparse.size", size),
            ("GNU.sparse.offset", "512"),
            ("GNU.sparse.numbytes", "4"),
            ("GNU.sparse.offset", "1024"),
            ("GNU.sparse.numbytes", "3"),
        ];
        let map10 = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", size),
            ("GNU.sparse.name", "f"),
        ];
        let packed = b"DATAEND";
        let in_content = [padded(b"2\n512\n4\n1024\n3\n"), packed.to_vec()].concat();
        let old = block("f", b'S', "00000000007", |b| {
            b[257..265].copy_from_slice(b"ustar  \0");
            for (at, text) in [
                (386, "00000001000\x0000000000004"),
                (410, "00000002000\x0000000000003"),
                (483, "00000002003"),
            ] {
                b[at..at + text.len()].copy_from_slice(text.as_bytes());
            }
        });
        for (what, tar) in [
            ("0.0", with_pax(&map00, "f", packed)),
            ("0.1", with_pax(&map01, "GNUSparseFile.0/f", packed)),
            ("1.0", with_pax(&map10, "GNUSparseFile.0/f", &in_content)),
            ("old", [old, padded(packed)].concat()),
        ] {
            let got = read(&tar).expect(what);
            assert_eq!(got[0].0.path.as_bytes(), b"f", "{what}");
            assert!(got[0].1 == want, "{what}: {:?}", got[0].1.len());
            let EntryBody::Node(node) = &got[0].0.body else {
                panic!()
            };
            assert_eq!(node.kind, NodeKind::File { size: 1027 }, "{what}");
        }
    }

    #[test]
    fn whiteouts_are_told_by_their_names() {
        for (name, want) in [
            ("d/.wh.f", Ok(("d/f", EntryBody::Whiteout))),
            ("d/.wh..wh..opq", Ok(("d", EntryBody::Opaque))),
            (".wh..wh..opq", Ok(("", EntryBody::Opaque))),
            ("d/.wh..wh.plnk", Ok(("d/.wh.plnk", EntryBody::Whiteout))),
            ("d/.wh.", Err(ErrorKind::Corrupt)),
            ("d/.wh...", Err(ErrorKind::UnsafePath)),
            ("d/.wh..", Err(ErrorKind::UnsafePath)),
        ] {
            let got = read(&block(name, b'0', "00000000000", |_| ()))
                .map(|mut e| e.remove(0).0)
                .map_err(|e| e.kind());
            let want = want.map(|(path, body)| Entry {
                path: TreePath::clean(path.as_bytes()).expect("path"),
                body,
            });
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn odd_archives() {
        let file = || [block("f", b'0', "00000000001", |_| ()), padded(b"x")].concat();
        for (what, tar, want) in [
            ("nothing at all", Vec::new(), Some(0)),
            ("no end marker", file(), Some(1)),
            ("no padding at the end", file()[..513].to_vec(), Some(1)),
            (
                "garbage behind the end",
                [file(), vec![0; 1024], b"garbage".to_vec()].concat(),
                Some(1),
            ),
            (
                "global header",
                [block("g", b'g', "00000000003", |_| ()), padded(b"6 a=b"), file()].concat(),
                Some(1),
            ),
            (
                "contiguous file",
                block("c", b'7', "00000000000", |_| ()),
                Some(1),
            ),
            ("cut in a header", file()[..700].to_vec()[..300].to_vec(), None),
            ("cut in content", file()[..512].to_vec(), None),
            ("unknown type", block("u", b'Q', "00000000000", |_| ()), None),
            (
                "wrong checksum",
                [b"x".to_vec(), file()[1..].to_vec()].concat(),
                None,
            ),
            (
                "negative size",
                block("n", b'0', "", |b| b[124..136].fill(0xff)),
                None,
            ),
            ("huge header", block("x", b'x', "77777777777", |_| ()), None),
        ] {
            assert_eq!(read(&tar).ok().map(|e| e.len()), want, "{what}");
        }
    }

    #[test]
    fn numbers_in_base_256_keep_their_sign() {
        assert_eq!(number(&[0xff; 12], "n").expect("minus one"), -1);
        assert_eq!(
            number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "n").expect("256"),
            256
        );
        assert_eq!(number(b" 17 \0\0\0\0", "n").expect("octal"), 15);
        assert!(number(b"12x4567\0", "n").is_err() && number(b"0000009\0", "n").is_err());
    }

    #[test]
    fn content_of_what_is_no_file_is_skipped() {
        for (name, flag) in [
            ("d/", b'0'),
            ("d/", 0),
            (".wh.x", b'0'),
            (".wh.x", b'Q'),
            (".wh..wh..opq", 0),
        ] {
            let first = [block(name, flag, "00000000700", |_| ()), padded(&[1; 448])].concat();
            let got = read(&[first, block("f", b'0', "0", |_| ())].concat()).expect(name);
            assert_eq!(got[1].0.path.as_bytes(), b"f", "{name} {flag}");
        }
        let links = [
            block("l", b'2', "00000000700", |_| ()),
            block("f", b'0', "0", |_| ()),
        ]
        .concat();
        assert_eq!(read(&links).expect("a link has none").len(), 2);
    }

    #[test]
    fn only_the_name_of_a_whiteout_counts() {
        for flag in [b'1', b'2', b'3', b'5', b'x' + 1] {
            let tar = block("d/.wh.f", flag, "0", |b| {
                b[108..116].fill(b'?');
                b[257..265].fill(0);
            });
            assert_eq!(
                read(&tar).expect("whiteout")[0].0.body,
                EntryBody::Whiteout,
                "{flag}"
            );
        }
    }

    #[test]
    fn an_empty_record_takes_the_value_back() {
        let records = [
            ("path", "long"),
            ("uid", "7"),
            ("path", ""),
            ("uid", ""),
            ("linkpath", ""),
        ];
        let got = read(&with_pax(&records, "short", b"")).expect("tar");
        let EntryBody::Node(node) = &got[0].0.body else {
            panic!()
        };
        assert_eq!((got[0].0.path.as_bytes(), node.uid), (&b"short"[..], 0));
    }

    #[test]
    fn the_prefix_of_a_name_needs_only_the_magic() {
        for (version, last, want) in [("00", "", "pre/f"), ("\0\0", "", "pre/f"), ("  ", "", "pre/f")] {
            let tar = block("f", b'0', "0", |b| {
                b[263..265].copy_from_slice(version.as_bytes());
                b[345..348].copy_from_slice(b"pre");
                b[508..508 + last.len()].copy_from_slice(last.as_bytes());
            });
            assert_eq!(read(&tar).expect("tar")[0].0.path.as_bytes(), want.as_bytes());
        }
        let star = block("f", b'0', "0", |b| {
            b[345..476].fill(b'p');
            b[476..487].copy_from_slice(b"00000000000");
            b[508..512].copy_from_slice(b"tar\0");
        });
        assert_eq!(read(&star).expect("star")[0].0.path.as_bytes().len(), 131 + 2);
    }

    #[test]
    fn limits_name_themselves() {
        let limits = |edit: fn(&mut Limits)| {
            let mut limits = Limits::default();
            edit(&mut limits);
            limits
        };
        let long = with_pax(&[("path", &"p".repeat(300))], "f", b"x");
        let behind = [block("f", b'0', "0", |_| ()), vec![0; 1 << 20]].concat();
        let cases: [(&[u8], Limits, &str); 3] = [
            (&long, limits(|l| l.path_bytes = 200), "path of 300 bytes"),
            (&long, limits(|l| l.header_bytes = 200), "extended header of"),
            (&behind, limits(|l| l.layer_bytes = Some(4096)), "layer of"),
        ];
        for (tar, limits, want) in cases {
            let mut reader = LayerReader::new(tar, limits);
            let mut all = || -> Result<()> {
                while reader.next_entry()?.is_some() {}
                reader.drain()
            };
            let err = all().expect_err(want);
            assert_eq!(err.kind(), ErrorKind::Limit);
            assert!(err.to_string().contains(want), "{err}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            flag in proptest::prelude::any::<u8>(),
            data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1500),
            header in proptest::collection::vec((0_usize..512, proptest::prelude::any::<u8>()), 0..20),
        ) {
            let first = block("x", flag, "00000002000", |b| {
                for (at, byte) in header {
                    b[at] = byte;
                }
            });
            let _ = read(&[first, padded(&data), block("f", b'0', "0", |_| ())].concat());
        }
    }
}
