// SPDX-License-Identifier: Apache-2.0
//! From tar bytes to entries, in all dialects that occur: v7, ustar, GNU and PAX, sparse files included.

use std::io::{self, Read};
use std::sync::Arc;

use tar::{GnuExtSparseHeader, Header};

use super::entry::{EntryType, Fields, link, name, whiteout};
use super::pax::{self, Extended, Records};
use super::sparse::{self, MapPlace, Pieces, Sparse};
use super::{BLOCK, Entry, EntryBody, Limits, WHITEOUT_PREFIX, bad, header};
use crate::error::{Result, ResultExt};
use crate::node::{NodeKind, TreePath};

/// Reads the entries of a layer one by one; as a [`Read`] it gives the content of the entry last returned.
#[derive(Debug)]
pub struct LayerReader<R> {
    inner: Counted<R>,
    limits: Limits,
    /// Bytes of the present entry that are still in the stream.
    left: u64,
    /// Bytes between its end and the next header.
    padding: u64,
    /// Map of the bytes of a sparse file.
    sparse: Option<Sparse>,
    /// Bytes of holes of sparse files so far.
    holes: u64,
    ended: bool,
    /// Records of the last global header.
    global: Arc<Records>,
    head: Head,
    /// True if the blocks of headers are kept in `head`.
    is_recording: bool,
}

/// The header of the entry last returned, as it stands in the archive.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// All its blocks but global headers, which speak of other entries too.
    pub blocks: Vec<u8>,
    /// Whether a global header speaks of this entry: then its blocks do not say all.
    pub has_global: bool,
    /// Offset of the header proper in `blocks`; extended headers stand before it.
    pub main: usize,
    /// Values of the extended headers, as records of PAX.
    pub records: Records,
}

impl<R: Read> LayerReader<R> {
    /// Reads entries from `tar`, which is uncompressed.
    pub fn new(tar: R, limits: Limits) -> Self {
        Self {
            inner: Counted {
                inner: tar,
                read: 0,
                limit: limits.layer_bytes,
            },
            limits,
            left: 0,
            padding: 0,
            sparse: None,
            holes: 0,
            ended: false,
            global: Arc::default(),
            head: Head::default(),
            is_recording: false,
        }
    }

    /// As [`LayerReader::new`], for entries that are written again: [`LayerReader::take_head`] has their headers.
    pub(super) fn recording(tar: R, limits: Limits) -> Self {
        Self {
            is_recording: true,
            ..Self::new(tar, limits)
        }
    }

    /// Returns the header of the entry last returned, if headers are recorded.
    pub(super) fn take_head(&mut self) -> Head {
        std::mem::take(&mut self.head)
    }

    /// Goes to the next entry, over what is left of the last one; `None` at the end of the archive.
    ///
    /// # Errors
    /// `ErrorKind::Corrupt` for a broken or truncated archive, `ErrorKind::Limit` for one that asks for too much,
    /// `ErrorKind::UnsafePath` for a whiteout of `.` or `..`, `ErrorKind::Unsupported` for a file that begins in
    /// another archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = self.begin_entry();
        let mut last_header = Vec::new();
        let (mut long_name, mut long_link) = (Vec::new(), Vec::new());
        loop {
            self.skip_rest()?;
            let blocks = &mut self.head.blocks;
            blocks.resize(blocks.len().next_multiple_of(BLOCK as usize), 0);
            self.head.main = blocks.len();
            let Some(header) = self.header()? else {
                self.ended = true;
                return Ok(None);
            };
            match header.as_old().linkflag[0] {
                // The last of several counts, so it is parsed when its entry is there. Solaris had a letter of its own for it.
                b'x' | b'X' => last_header = self.header_data(&header, &mut extended)?,
                b'g' => {
                    let data = self.header_data(&header, &mut extended)?;
                    self.global = Arc::new(pax::parse(&data)?);
                    extended.global = Arc::clone(&self.global);
                    // It speaks of later entries too, and must not be copied with this one alone.
                    self.head.blocks.truncate(self.head.main);
                }
                b'L' => long_name = self.long(&header, &mut extended)?,
                b'K' => long_link = self.long(&header, &mut extended)?,
                _ => {
                    extended.records = pax::parse(&std::mem::take(&mut last_header))?;
                    // GNU's long names count before those of PAX, wherever they stand: the last record of a key does.
                    let long = [(&b"path"[..], &mut long_name), (b"linkpath", &mut long_link)];
                    for (key, value) in long.into_iter().filter(|(_, value)| !value.is_empty()) {
                        extended.records.push((key.to_vec(), std::mem::take(value)));
                    }
                    let Some(entry) = self.entry(&header, &extended)? else {
                        extended = self.begin_entry();
                        continue;
                    };
                    self.head.has_global = extended.has_global();
                    self.head.records = extended.into_records();
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Forgets what was said of the entry before.
    fn begin_entry(&mut self) -> Extended {
        self.head = Head::default();
        Extended {
            global: Arc::clone(&self.global),
            ..Extended::default()
        }
    }

    /// Returns the place of the content of the file last returned in the archive, how many bytes it has there, and where those
    /// belong if the file is sparse.
    pub(crate) fn place(&self) -> (u64, u64, Option<Sparse>) {
        (self.inner.read, self.left, self.sparse.clone())
    }

    /// Returns the offset in the archive at which the entry last returned ends, with what pads it.
    pub(crate) fn entry_end(&self) -> u64 {
        self.inner
            .read
            .saturating_add(self.left)
            .saturating_add(self.padding)
    }

    /// Goes over the hole of a sparse file that comes next, if it has `least` bytes or more; returns how many zeros it stands
    /// for, or 0.
    pub(crate) fn take_hole(&mut self, least: u64) -> u64 {
        self.sparse.as_mut().map_or(0, |sparse| sparse.take_hole(least))
    }

    /// Reads to the end of the stream; what stands behind the end of the archive is ignored.
    pub fn drain(&mut self) -> Result<()> {
        self.ended = true;
        io::copy(&mut self.inner, &mut io::sink())?;
        Ok(())
    }

    /// Returns the stream.
    pub fn into_inner(self) -> R {
        self.inner.inner
    }

    /// Goes to the next entry without reading what is left of this one.
    pub(crate) fn seek_rest(&mut self) -> Result<()>
    where
        R: io::Seek,
    {
        let rest = self.left.saturating_add(self.padding);
        self.expect(0);
        let rest = i64::try_from(rest).map_err(|_| bad("a file larger than an archive can be"))?;
        self.inner.inner.seek_relative(rest)?;
        self.inner.read += rest.unsigned_abs();
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
        self.expect(0);
        if self.skip(content)? < content {
            fail!(Corrupt, "unexpected end of layer");
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
        Ok(io::copy(&mut (&mut self.inner).take(n), &mut io::sink())?)
    }

    /// Reads the next block; returns `false` at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK as usize]) -> Result<bool> {
        match io::copy(&mut (&mut self.inner).take(BLOCK), &mut &mut block[..])? {
            0 => return Ok(false),
            BLOCK => self.record(block),
            _ => return Err(bad("unexpected end of layer")),
        }
        Ok(true)
    }

    fn record(&mut self, bytes: &[u8]) {
        if self.is_recording {
            self.head.blocks.extend_from_slice(bytes);
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0; BLOCK as usize];
        // One block of zeros ends an archive as well as two: not all writers pad it as POSIX wants it.
        if self.ended || !self.block(&mut block)? || block.iter().all(|&c| c == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        header::check_sum(&header)?;
        Ok(Some(header))
    }

    /// Reads the content of an extended header.
    fn header_data(&mut self, header: &Header, extended: &mut Extended) -> Result<Vec<u8>> {
        let size = header::unsigned(&header.as_old().size, "size")?;
        // Counted before memory is given: the size is a claim.
        extended.bytes = extended.bytes.saturating_add(size);
        let limit = self.limits.header_bytes;
        Limits::check("header", "extended header", extended.bytes, limit)?;
        self.expect(size);
        let mut data = vec![0; size as usize];
        self.read_exact(&mut data)?;
        self.record(&data);
        Ok(data)
    }

    fn long(&mut self, header: &Header, extended: &mut Extended) -> Result<Vec<u8>> {
        let mut data = self.header_data(header, extended)?;
        data.truncate(header::until_nul(&data).len());
        Ok(data)
    }

    /// Reads a header proper; `None` for one that makes no file.
    fn entry(&mut self, header: &Header, extended: &Extended) -> Result<Option<Entry>> {
        extended.check()?;
        sparse::check(extended)?;
        let name = name(header, extended);
        Limits::check("path", "path", name.len() as u64, self.limits.path_bytes)?;
        let path = TreePath::clean(&name).map_err(|e| bad(e.to_string()))?;
        self.entry_at(path.clone(), &name, header, extended)
            .context(|| path.to_string())
    }

    fn entry_at(
        &mut self,
        path: TreePath,
        name: &[u8],
        header: &Header,
        extended: &Extended,
    ) -> Result<Option<Entry>> {
        let fields = Fields::read(header, extended)?;
        let hidden = path.name().strip_prefix(WHITEOUT_PREFIX);
        let entry_type = EntryType::of(header, name, hidden.is_some());
        // Fields are read before the name counts: a whiteout with a broken header is a broken layer.
        let (major, minor) = match entry_type {
            EntryType::Char | EntryType::Block => header::device(header)?,
            _ => (0, 0),
        };
        let size = self.content(header, entry_type, extended)?;
        if let Some(hidden) = hidden {
            // A whiteout is one whatever its type, and only its name counts.
            return whiteout(&path, hidden).map(Some);
        }
        let link = link(header, extended);
        Limits::check("path", "link target", link.len() as u64, self.limits.path_bytes)?;
        let kind = match entry_type {
            EntryType::File | EntryType::OldSparse => NodeKind::File { size },
            EntryType::Dir | EntryType::DirWithList => NodeKind::Dir,
            EntryType::Label => return Ok(None),
            EntryType::Continued => {
                let text = "the file begins in another archive, of which this one is the next volume";
                fail!(Unsupported, "{text}");
            }
            EntryType::HardLink => {
                let target = TreePath::clean(&link)?;
                let body = EntryBody::HardLink { target };
                return Ok(Some(Entry { path, body }));
            }
            EntryType::Symlink if link.contains(&0) => return Err(bad("link target contains a NUL byte")),
            EntryType::Symlink => NodeKind::Symlink { target: link },
            EntryType::Char => NodeKind::Char { major, minor },
            EntryType::Block => NodeKind::Block { major, minor },
            EntryType::Fifo => NodeKind::Fifo,
        };
        let body = EntryBody::Node(fields.node(kind, extended)?);
        Ok(Some(Entry { path, body }))
    }

    /// Prepares for the content of an entry; returns the size of the file, which is 0 for what is none.
    fn content(&mut self, header: &Header, entry_type: EntryType, extended: &Extended) -> Result<u64> {
        if !entry_type.has_content() {
            if sparse::map_place(extended).is_some() {
                fail!(Corrupt, "sparse map of an entry without content");
            }
            self.expect(0);
            let old = header.as_old();
            return match old.linkflag[0] {
                // GNU tar does not look at the size of a hard link, and the Go tool does not use it.
                b'1' => Ok(0),
                b'2'..=b'6' => header::count(&old.size, "size").map(|_| 0),
                // A directory only by the slash behind its name, to which the Go tool applies the rule of files.
                _ => header::unsigned(&old.size, "size").map(|_| 0),
            };
        }
        let stored = self.expect_content(header, extended)?;
        let (pieces, size) = match (entry_type, sparse::map_place(extended)) {
            (EntryType::OldSparse, _) => self.old_sparse_map(header)?,
            (EntryType::File, Some(MapPlace::Records)) => {
                (sparse::records(extended)?, sparse::size(extended, stored)?)
            }
            (EntryType::File, Some(MapPlace::Content)) => {
                (self.sparse_map_in_content()?, sparse::size(extended, stored)?)
            }
            _ => return Ok(stored),
        };
        let file = Sparse::new(pieces, size, self.left)?;
        self.holes = self.holes.saturating_add(file.holes());
        Limits::check("sparse", "holes", self.holes, self.limits.sparse_bytes)?;
        self.sparse = Some(file);
        Ok(size)
    }

    /// Expects as many bytes of content as the headers say; returns how many.
    fn expect_content(&mut self, header: &Header, extended: &Extended) -> Result<u64> {
        // One below zero is refused even where another replaces it, as all others do.
        let own = header::unsigned(&header.as_old().size, "size")?;
        let size = match extended.number("size")? {
            None => own,
            Some(size) => {
                u64::try_from(size).map_err(|_| bad(format!("negative size in a tar header: {size}")))?
            }
        };
        self.expect(size);
        Ok(size)
    }

    /// Reads the map of the old format of GNU, which stands in the header and in blocks behind it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<(Pieces, u64)> {
        let gnu = header.as_gnu();
        let gnu = gnu.ok_or_else(|| bad("sparse file without a GNU header"))?;
        let size = header::unsigned(&gnu.realsize, "real size")?;
        let mut pieces = Pieces::new();
        sparse::old_fields(&gnu.sparse, &mut pieces)?;
        let mut more = gnu.isextended[0] != 0;
        let mut bytes = 0;
        while more {
            let mut block = GnuExtSparseHeader::new();
            block.as_mut_bytes().copy_from_slice(&self.map_block(&mut bytes)?);
            sparse::old_fields(&block.sparse, &mut pieces)?;
            more = block.isextended[0] != 0;
        }
        Ok((pieces, size))
    }

    fn sparse_map_in_content(&mut self) -> Result<Pieces> {
        let mut lines = sparse::Lines::default();
        let mut bytes = 0;
        loop {
            let left = self.left.checked_sub(BLOCK);
            self.left = left.ok_or_else(|| bad("sparse map is cut off"))?;
            let block = self.map_block(&mut bytes)?;
            if let Some(pieces) = lines.add(&block, self.limits.header_bytes)? {
                return Ok(pieces);
            }
        }
    }

    /// Reads the next block of a sparse map, of which `bytes` were read so far.
    fn map_block(&mut self, bytes: &mut u64) -> Result<[u8; BLOCK as usize]> {
        *bytes += BLOCK;
        Limits::check("header", "sparse map", *bytes, self.limits.header_bytes)?;
        let mut block = [0; BLOCK as usize];
        if !self.block(&mut block)? {
            fail!(Corrupt, "unexpected end of layer");
        }
        Ok(block)
    }

    fn read_stored(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = (&mut self.inner).take(self.left).read(buf)?;
        if n == 0 && self.left > 0 && !buf.is_empty() {
            fail!(Corrupt, "unexpected end of layer");
        }
        self.left -= n as u64;
        Ok(n)
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Taken out for the call, in which the map needs the rest of the reader for the bytes of its pieces.
        let Some(mut sparse) = self.sparse.take() else {
            return self.read_stored(buf);
        };
        let n = sparse.read(buf, |part| self.read_stored(part));
        self.sparse = Some(sparse);
        n
    }
}

/// A stream of which no more than a limit is read, in bytes.
#[derive(Debug)]
struct Counted<R> {
    inner: R,
    read: u64,
    limit: Option<u64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        // The buffer that goes over the limit was there already, and costs nothing more.
        self.read += n as u64;
        Limits::check("layer", "layer", self.read, self.limit.unwrap_or(u64::MAX))?;
        Ok(n)
    }
}
