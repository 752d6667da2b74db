// SPDX-License-Identifier: Apache-2.0
//! From tar bytes to entries, in all dialects that occur: v7, ustar, GNU and PAX, sparse files included.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::pax::{self, Extended, Records};
use super::sparse::{self, Pieces, Sparse};
use super::{BLOCK, Entry, EntryBody, Limits, OPAQUE, WHITEOUT_PREFIX, bad, header};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::node::{Node, NodeKind, Time, TreePath};

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
            let size = header::number(&header.as_old().size, "size")?;
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

    /// Where in the archive the content of the file last returned stands, how many bytes it has there, and where those belong
    /// if the file is sparse.
    pub(crate) fn place(&self) -> (u64, u64, Option<Sparse>) {
        (self.read, self.left, self.sparse.clone())
    }

    /// Goes over the hole of a sparse file that comes next, if it has `least` bytes or more; returns how many zeros it stands
    /// for, or 0.
    pub(crate) fn take_hole(&mut self, least: u64) -> u64 {
        self.sparse.as_mut().map_or(0, |sparse| sparse.take_hole(least))
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
        header::check_sum(&header)?;
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
            None => header::name(header),
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
            None => header::until_nul(&old.linkname).to_vec(),
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
                u32::try_from(header::number(field, what)?).map_err(|_| bad(format!("{what} out of range")))
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
                None => i128::from(header::number(field, key)?),
            };
            u32::try_from(id).map_err(|_| bad(format!("{key} out of range: {id}")))
        };
        let whole = |sec| Time { sec, nsec: 0 };
        let mtime = match extended.time("mtime")? {
            Some(time) => time,
            None => whole(header::number(&old.mtime, "mtime")?),
        };
        // Where the header has one, some writers left something else there.
        let atime = match (extended.time("atime")?, header::atime(header)) {
            (Some(time), _) => Some(time),
            (None, Some(field)) => header::number(field, "atime").ok().map(whole),
            (None, None) => None,
        };
        Ok(EntryBody::Node(Node {
            kind,
            mode: header::number(&old.mode, "mode")? as u32 & 0o7777,
            uid: id(&old.uid, "uid")?,
            gid: id(&old.gid, "gid")?,
            mtime,
            atime,
            xattrs: extended.xattrs()?,
        }))
    }

    /// Prepares for the content of a regular file; returns the size of the file.
    fn content(&mut self, header: &Header, size: u64, extended: &Extended) -> Result<u64> {
        let stored = extended.number("size")?.unwrap_or(size);
        self.expect(stored);
        let (pieces, size) = if header.as_old().linkflag[0] == b'S' {
            self.old_sparse_map(header)?
        } else {
            let real = extended
                .number("GNU.sparse.realsize")?
                .or(extended.number("GNU.sparse.size")?);
            let Some(real) = real else { return Ok(stored) };
            let pieces = if extended.get(b"GNU.sparse.major") == Some(b"1") {
                self.sparse_map_in_content()?
            } else {
                sparse::records(extended)?
            };
            (pieces, real)
        };
        let file = Sparse::new(pieces, size, self.left)?;
        self.holes = self.holes.saturating_add(size - self.left);
        Limits::check("sparse", "holes", self.holes, self.limits.sparse_bytes)?;
        self.sparse = Some(file);
        Ok(size)
    }

    /// The old format of GNU has the map in the header and in blocks behind it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<(Pieces, u64)> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| bad("sparse file without a GNU header"))?;
        let size = header::unsigned(&gnu.realsize, "real size")?;
        let mut pieces = Pieces::new();
        sparse::old_fields(&gnu.sparse, &mut pieces)?;
        let mut more = gnu.isextended[0] == 1;
        let mut bytes = 0;
        while more {
            bytes += BLOCK;
            let mut block = GnuExtSparseHeader::new();
            block.as_mut_bytes().copy_from_slice(&self.map_block(bytes)?);
            sparse::old_fields(&block.sparse, &mut pieces)?;
            more = block.isextended[0] == 1;
        }
        Ok((pieces, size))
    }

    fn sparse_map_in_content(&mut self) -> Result<Pieces> {
        let mut lines = sparse::Lines::default();
        let mut bytes = 0;
        loop {
            bytes += BLOCK;
            self.left = self
                .left
                .checked_sub(BLOCK)
                .ok_or_else(|| bad("sparse map is cut off"))?;
            let block = self.map_block(bytes)?;
            if let Some(pieces) = lines.add(&block, self.limits.header_bytes)? {
                return Ok(pieces);
            }
        }
    }

    /// The next block of a sparse map, which has `bytes` bytes with it.
    fn map_block(&mut self, bytes: u64) -> Result<[u8; BLOCK as usize]> {
        Limits::check("header", "sparse map", bytes, self.limits.header_bytes)?;
        let mut block = [0; BLOCK as usize];
        if !self.block(&mut block)? {
            return Err(bad("unexpected end of layer"));
        }
        Ok(block)
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
        let Some(mut sparse) = self.sparse.take() else {
            return self.read_stored(buf);
        };
        let n = sparse.read(buf, |part| self.read_stored(part));
        self.sparse = Some(sparse);
        n
    }
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
    fn content_of_what_is_no_file_is_skipped() {
        for (name, flag) in [("d/", 0), (".wh.x", b'0'), (".wh.x", b'Q'), (".wh..wh..opq", 0)] {
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
