// SPDX-License-Identifier: Apache-2.0
//! From nodes to tar bytes: USTAR where all fits, else PAX; the same bytes as the tools whose diff_ids are known.

use std::io::{Read, Write};

use super::pax::{self, Records};
use super::read::Head;
use super::{LayerReader, OPAQUE, WHITEOUT_PREFIX};
use crate::error::{Result, ResultExt};
use crate::node::{Node, NodeKind, TreePath};

const BLOCK: usize = 512;

/// Writes the entries of a layer.
#[derive(Debug)]
pub struct LayerWriter<W> {
    inner: W,
    root_name: &'static [u8],
    buffer: Vec<u8>,
}

/// The fields of one header.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    link: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    device: (u32, u32),
    xattrs: Vec<(&'a [u8], &'a [u8])>,
}

impl<W: Write> LayerWriter<W> {
    /// Writes to `inner`; the root directory, where it has an entry, is called `root_name`.
    pub fn new(inner: W, root_name: &'static [u8]) -> Self {
        Self {
            inner,
            root_name,
            buffer: vec![0; 128 * 1024],
        }
    }

    /// Writes an entry; for a regular file `content` gives exactly as many bytes as the node says.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` for a name that would be a whiteout, `ErrorKind::Unsupported` for a socket,
    /// `ErrorKind::Io` if the content is longer or shorter.
    pub fn node(&mut self, path: &TreePath, node: &Node, content: &mut dyn Read) -> Result<()> {
        let name = self.name(path, node.is_dir())?;
        let mut fields = Self::fields(&name, node);
        fields.device = node.kind.device_number().unwrap_or_default();
        fields.flag = match &node.kind {
            NodeKind::File { size } => {
                fields.size = *size;
                b'0'
            }
            NodeKind::Symlink { target } => {
                fields.link = target;
                b'2'
            }
            NodeKind::Char { .. } => b'3',
            NodeKind::Block { .. } => b'4',
            NodeKind::Dir => b'5',
            NodeKind::Fifo => b'6',
            NodeKind::Socket => fail!(Unsupported, "a layer cannot hold a socket: {path}"),
        };
        self.header(&fields, path)?;
        match node.kind {
            NodeKind::File { size } => self.content(path, size, content),
            _ => Ok(()),
        }
    }

    /// Writes another name of an entry that was written before as `target`.
    pub fn hard_link(&mut self, path: &TreePath, target: &TreePath, node: &Node) -> Result<()> {
        let name = self.name(path, false)?;
        let mut fields = Self::fields(&name, node);
        fields.flag = b'1';
        fields.link = target.as_bytes();
        self.header(&fields, path)
    }

    /// Hides what lower layers have at `path`.
    pub fn whiteout(&mut self, path: &TreePath) -> Result<()> {
        if path.is_root() {
            fail!(Invalid, "the root directory cannot be hidden");
        }
        self.name(path, false)?;
        let name = [WHITEOUT_PREFIX, path.name()].concat();
        let path = path.parent().unwrap_or_default().join(&name)?;
        self.empty_file(&path)
    }

    /// Hides all that lower layers have in the directory `dir`.
    pub fn opaque(&mut self, dir: &TreePath) -> Result<()> {
        self.empty_file(&dir.join(OPAQUE)?)
    }

    fn empty_file(&mut self, path: &TreePath) -> Result<()> {
        let fields = Fields {
            name: path.as_bytes(),
            flag: b'0',
            ..Fields::default()
        };
        self.header(&fields, path)
    }

    /// Writes the header of an entry as it stood in its archive.
    pub(super) fn copy_head(&mut self, head: &Head) -> Result<()> {
        self.write(&head.blocks)
    }

    /// Writes the header of an entry under another name and, if it is a hard link, with this target; all else stays.
    pub(super) fn copy_head_as(
        &mut self,
        head: &Head,
        path: &TreePath,
        target: Option<&TreePath>,
        dir: bool,
    ) -> Result<()> {
        let name = self.name(path, dir)?;
        let mut records = head.records.clone();
        records.retain(|(key, _)| key != b"path" && (target.is_none() || key != b"linkpath"));
        // GNU tar and Go take the name of a sparse file from this record, before `path`.
        for (_, value) in records.iter_mut().filter(|(key, _)| key == b"GNU.sparse.name") {
            value.clone_from(&name);
        }
        records.push((b"path".to_vec(), name.clone()));
        records.extend(target.map(|target| (b"linkpath".to_vec(), target.as_bytes().to_vec())));
        let (main, rest) = head.blocks[head.main..].split_at(BLOCK);
        let mut main: [u8; BLOCK] = main.try_into().unwrap_or([0; BLOCK]);
        self.extended(&name, &records)?;
        // The record has the whole name; the field is for readers that know no PAX.
        main[..100].fill(0);
        put(&mut main[..100], &ascii(&name));
        self.write_summed(&mut main)?;
        self.write(rest)
    }

    /// Writes what is left of the present entry of `from`, as it stands there.
    pub(super) fn copy_rest<R: Read>(&mut self, from: &mut LayerReader<R>) -> Result<()> {
        from.copy_rest(&mut self.inner)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes).context(|| "write layer")
    }

    fn fields<'a>(name: &'a [u8], node: &'a Node) -> Fields<'a> {
        // A record without a value takes its keyword back, so PAX has no spelling for an empty attribute.
        let xattrs = node.xattrs.iter().filter(|(_, value)| !value.is_empty());
        Fields {
            name,
            mode: node.mode & 0o7777,
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime.sec,
            xattrs: xattrs.map(|(k, v)| (k.as_slice(), v.as_slice())).collect(),
            ..Fields::default()
        }
    }

    fn name(&self, path: &TreePath, dir: bool) -> Result<Vec<u8>> {
        if path.is_root() {
            return Ok(self.root_name.to_vec());
        }
        if path.name().starts_with(WHITEOUT_PREFIX) {
            fail!(Invalid, "invalid path has whiteout prefix \".wh.\": {path}");
        }
        Ok([path.as_bytes(), if dir { b"/" } else { b"" }].concat())
    }

    fn content(&mut self, path: &TreePath, size: u64, content: &mut dyn Read) -> Result<()> {
        let mut left = size;
        loop {
            // One byte more than it may be tells whether it is longer.
            let want = usize::try_from(left).unwrap_or(usize::MAX);
            let want = want.clamp(1, self.buffer.len());
            let read = content.read(&mut self.buffer[..want]);
            let n = read.context(|| format!("read {path}"))?;
            if (n == 0) != (left == 0) {
                fail!(Io, "file changed size while it was read: {path}");
            }
            if n == 0 {
                break;
            }
            let written = self.inner.write_all(&self.buffer[..n]);
            written.context(|| "write layer")?;
            left -= n as u64;
        }
        let padding = (BLOCK - (size % BLOCK as u64) as usize) % BLOCK;
        self.write(&[0; BLOCK][..padding])
    }

    fn header(&mut self, fields: &Fields<'_>, path: &TreePath) -> Result<()> {
        // PAX has no keyword for device numbers, so they must fit into their fields.
        if !fits(fields.device.0.into(), 7) || !fits(fields.device.1.into(), 7) {
            fail!(Unsupported, "device number cannot be stored: {path}");
        }
        let records = pax_records(fields).context(|| path.to_string())?;
        let split = split_name(fields.name);
        // A long name may fit as well, in two parts.
        let is_ustar = records.iter().all(|(key, _)| key == b"path" && split.is_some());
        if !is_ustar {
            self.extended(fields.name, &records)?;
        }
        let (prefix, name) = split.filter(|_| is_ustar).unwrap_or((b"", fields.name));
        self.block(fields, name, prefix)
    }

    /// Writes an extended header for the entry called `name`.
    fn extended(&mut self, name: &[u8], records: &Records) -> Result<()> {
        let mut data = Vec::new();
        for (key, value) in records {
            pax::write(&mut data, key, value);
        }
        let fields = Fields {
            flag: b'x',
            size: data.len() as u64,
            ..Fields::default()
        };
        self.block(&fields, &pax_name(name), b"")?;
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        self.write(&data)
    }

    fn block(&mut self, fields: &Fields<'_>, name: &[u8], prefix: &[u8]) -> Result<()> {
        let mut block = [0; BLOCK];
        put(&mut block[..100], &ascii(name));
        octal(&mut block[100..108], fields.mode.into());
        octal(&mut block[108..116], fields.uid.into());
        octal(&mut block[116..124], fields.gid.into());
        octal(&mut block[124..136], fields.size.into());
        octal(&mut block[136..148], fields.mtime.into());
        block[156] = fields.flag;
        put(&mut block[157..257], &ascii(fields.link));
        block[257..265].copy_from_slice(b"ustar\x0000");
        // As the tools whose bytes these are, an extended header leaves the device out.
        if fields.flag != b'x' {
            octal(&mut block[329..337], fields.device.0.into());
            octal(&mut block[337..345], fields.device.1.into());
        }
        put(&mut block[345..500], prefix);
        self.write_summed(&mut block)
    }

    fn write_summed(&mut self, block: &mut [u8; BLOCK]) -> Result<()> {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&c| u32::from(c)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.write(block)
    }
}

/// Returns whether a layer can hold an extended attribute of this name: the key of a record ends with the first `=`.
pub fn can_hold_xattr(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'=') && !name.contains(&0)
}

/// Returns the PAX records of what does not fit into a header, sorted by key.
fn pax_records(fields: &Fields<'_>) -> Result<Records> {
    let mut out = Records::new();
    for (name, value) in &fields.xattrs {
        if !can_hold_xattr(name) {
            let name = String::from_utf8_lossy(name);
            fail!(Unsupported, "extended attribute {name:?} cannot be stored");
        }
        out.push(([b"SCHILY.xattr.", *name].concat(), value.to_vec()));
    }
    for (key, value) in [(&b"path"[..], fields.name), (b"linkpath", fields.link)] {
        if !is_ascii(value) || value.len() > 100 {
            out.push((key.to_vec(), value.to_vec()));
        }
    }
    for (key, value, digits) in [
        (&b"uid"[..], fields.uid.into(), 7),
        (b"gid", fields.gid.into(), 7),
        (b"size", fields.size.into(), 11),
        (b"mtime", fields.mtime.into(), 11),
    ] {
        if !fits(value, digits) {
            out.push((key.to_vec(), value.to_string().into_bytes()));
        }
    }
    out.sort();
    Ok(out)
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|&c| c != 0 && c < 0x80)
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|&c| c != 0 && c < 0x80).collect()
}

/// Returns whether `value` fits into so many octal digits.
fn fits(value: i128, digits: u32) -> bool {
    (0..1 << (3 * digits)).contains(&value)
}

/// Writes a number, padded with zeros and ended by NUL; one that does not fit is 0, and stands in a PAX record.
fn octal(field: &mut [u8], value: i128) {
    let digits = field.len() - 1;
    let value = if fits(value, digits as u32) { value } else { 0 };
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

/// Writes text, cut to the field. A cut must not leave a slash at the end, which would make a file a directory.
fn put(field: &mut [u8], text: &[u8]) {
    let n = text.len().min(field.len());
    field[..n].copy_from_slice(&text[..n]);
    if text.len() > field.len() && field[n - 1] == b'/' {
        let end = field.iter().rposition(|&c| c != b'/');
        field[end.map_or(0, |at| at + 1)] = 0;
    }
}

/// Cuts a long name at a slash into a prefix of at most 155 bytes and a rest of at most 100.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 || !is_ascii(name) {
        return None;
    }
    // The slash behind the name of a directory is no place for a cut: the rest would be empty.
    let inside = &name[..156.min(name.len() - 1)];
    let at = inside.iter().rposition(|&c| c == b'/').filter(|&at| at > 0)?;
    let rest = &name[at + 1..];
    (rest.len() <= 100).then_some((&name[..at], rest))
}

/// Returns the name of the extended header of an entry: `PaxHeaders.0` put before the last component.
pub(super) fn pax_name(name: &[u8]) -> Vec<u8> {
    let at = name.iter().rposition(|&c| c == b'/').map_or(0, |at| at + 1);
    let (dir, base) = name.split_at(at);
    // Joined as paths are: a dot is no component.
    let base = if base == b"." { b"" } else { base };
    let mut out = ascii(&[dir, b"PaxHeaders.0/", base].concat());
    out.truncate(100);
    while out.pop_if(|last| *last == b'/').is_some() {}
    out
}
