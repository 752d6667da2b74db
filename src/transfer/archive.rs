// SPDX-License-Identifier: Apache-2.0
//! Tar archives to find things in: read once for a table of contents, then by offset.
//!
//! Invariant: nothing that an archive says reaches outside of it. Its names are looked up in its own table, links
//! included, and never on the disk.

use std::collections::{HashMap, hash_map};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::digest::Algorithm;
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::fs::{FileRange, open_file};
use crate::layer::{EntryBody, LayerReader, LayerStream, Limits, Sniffed, Sparse};
use crate::layout::Layout;
use crate::node::{NodeKind, TreePath};
use crate::spec::{Compression, json};

/// Links that are followed on the way to one file.
const MAX_LINKS: usize = 8;

/// Memory that an entry of the archive takes beside its name and target, in bytes.
const COST: u64 = 192;

/// Memory that an image listed by an archive takes until it is copied, beside its own text, in bytes.
pub(super) const ENTRY_COST: u64 = 4096;

/// A tar archive and where its files are.
#[derive(Debug)]
pub struct Archive {
    places: HashMap<TreePath, Place>,
    /// Bytes of memory that are held because the archive says so, and their limit.
    held: AtomicU64,
    limit: u64,
}

/// A file of an archive, read from start to end at a position of its own; holes are zeros.
#[derive(Clone, Debug)]
pub(super) struct Member {
    stored: FileRange,
    sparse: Option<Sparse>,
}

impl Member {
    /// Returns how many bytes are still to be read.
    pub fn left(&self) -> u64 {
        match &self.sparse {
            Some(sparse) => sparse.left(),
            None => self.stored.left(),
        }
    }
}

impl Read for Member {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.sparse {
            Some(sparse) => sparse.read(buf, |part| self.stored.read(part)),
            None => self.stored.read(buf),
        }
    }
}

#[derive(Debug)]
enum Place {
    File(Member),
    /// Another path of the archive; `None` if it leads outside.
    Link(Option<TreePath>),
    /// More than one entry has this path.
    Doubled,
}

/// Returns how something is compressed, by its first bytes.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a compression that is known but not handled.
pub(super) fn compression(magic: &[u8]) -> Result<Compression> {
    match Sniffed::of(magic) {
        Sniffed::Foreign(name) => {
            let text = format!("compressed with {name}, which is not handled: decompress it first");
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        Sniffed::Compressed(compression) => Ok(compression),
        Sniffed::Tar | Sniffed::Other => Ok(Compression::None),
    }
}

/// Place for temporary files without a name.
#[derive(Clone, Copy, Debug)]
pub enum Spool<'a> {
    /// Our own directory in a layout.
    Layout(&'a Layout),
    /// Any directory.
    Dir(&'a Path),
}

impl Spool<'_> {
    fn scratch(&self) -> Result<File> {
        match self {
            Self::Layout(layout) => layout.private_dir().scratch(),
            Self::Dir(dir) => tempfile::tempfile_in(dir).context(|| format!("spool below {}", dir.display())),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Layout(layout) => layout.path(),
            Self::Dir(dir) => dir,
        }
    }
}

impl Archive {
    /// Opens the archive in the file at `path`. One that is compressed is decompressed to a temporary file of `spool`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is no archive, [`ErrorKind::Limit`] if it asks for too much.
    pub fn open(path: &Path, limits: &Limits, spool: &Spool<'_>) -> Result<Self> {
        let file = open_file(path)?;
        Self::of_file(file, limits, spool).context(|| path.display().to_string())
    }

    fn of_file(mut file: File, limits: &Limits, spool: &Spool<'_>) -> Result<Self> {
        let mut magic = Vec::new();
        // Eight bytes tell every compression that is known.
        Read::by_ref(&mut file).take(8).read_to_end(&mut magic)?;
        if file.seek(SeekFrom::Start(0)).is_err() {
            // A pipe cannot be read twice.
            return Self::spool(io::Cursor::new(magic).chain(file), limits, spool);
        }
        match compression(&magic)? {
            Compression::None => Self::index(file, limits),
            _ => Self::spool(file, limits, spool),
        }
    }

    /// Reads the archive that `stream` gives, compressed or not, to a temporary file of `spool`.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn spool(stream: impl Read + Send + 'static, limits: &Limits, spool: &Spool<'_>) -> Result<Self> {
        let mut stream = BufReader::with_capacity(256 * 1024, stream);
        let compression = compression(stream.fill_buf()?)?;
        let mut plain = LayerStream::open(stream, compression, Algorithm::Blake3, limits)?;
        let mut file = spool.scratch()?;
        let most = limits.layer_bytes.unwrap_or(u64::MAX);
        // One byte more than is allowed shows that the archive is too large.
        let mut limited = plain.by_ref().take(most.saturating_add(1));
        let (mut buffer, mut size) = (vec![0; 256 * 1024], 0);
        loop {
            let n = limited.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            size += n as u64;
            Limits::check("layer", "archive", size, most)?;
            // A full disk is that of the spool, not of the archive.
            file.write_all(&buffer[..n])
                .context(|| format!("write a temporary file of {}", spool.path().display()))?;
        }
        plain.finish()?;
        Self::index(file, limits)
    }

    fn index(mut file: File, limits: &Limits) -> Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let file = Arc::new(file);
        let mut archive = Self {
            places: HashMap::new(),
            held: AtomicU64::new(0),
            limit: limits.directory_bytes,
        };
        let end = file.metadata()?.len();
        let mut reader = LayerReader::new(BufReader::with_capacity(64 * 1024, &*file), limits.clone());
        let mut count = 0;
        loop {
            let entry = match reader.next_entry() {
                Err(err) if count == 0 && err.kind() == ErrorKind::Corrupt && !has_magic(&file) => {
                    fail!(Corrupt, "not a tar archive");
                }
                entry => entry?,
            };
            let Some(entry) = entry else { break };
            count += 1;
            Limits::check("entries", "archive", count, limits.entries)?;
            let (at, stored, sparse) = reader.place();
            // A header may claim any size: a place outside of the file would only fail when it is read.
            if at.checked_add(stored).is_none_or(|to| to > end) {
                fail!(Corrupt, "the archive ends inside of {}", entry.path);
            }
            // The content is passed over, and read by its offset when a blob is wanted.
            reader.seek_rest()?;
            let place = match entry.body {
                EntryBody::Node(node) => match node.kind {
                    NodeKind::File { .. } => {
                        let stored = FileRange::new(Arc::clone(&file), at, at + stored);
                        Place::File(Member { stored, sparse })
                    }
                    NodeKind::Symlink { target } => Place::Link(inside(&entry.path, &target)),
                    _ => continue,
                },
                EntryBody::HardLink { target } => Place::Link(Some(target)),
                _ => continue,
            };
            archive.add(entry.path, place)?;
        }
        if count == 0 {
            fail!(Corrupt, "not a tar archive, or an empty one");
        }
        Ok(archive)
    }

    /// Adds a file or link to the table.
    fn add(&mut self, path: TreePath, place: Place) -> Result<()> {
        let more = match &place {
            Place::Link(Some(target)) => target.as_bytes().len(),
            Place::File(Member {
                sparse: Some(sparse), ..
            }) => sparse.pieces() * size_of::<(u64, u64)>(),
            _ => 0,
        };
        self.hold(COST + path.as_bytes().len() as u64 + more as u64)?;
        match self.places.entry(path) {
            hash_map::Entry::Vacant(free) => {
                free.insert(place);
            }
            hash_map::Entry::Occupied(mut known) => {
                // The same link twice says nothing new.
                if !matches!((known.get(), &place), (Place::Link(a), Place::Link(b)) if a == b) {
                    known.insert(Place::Doubled);
                }
            }
        }
        Ok(())
    }

    /// Notes bytes of memory that are about to be held because of this archive: it says how much it names.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if that is too much.
    pub(super) fn hold(&self, bytes: u64) -> Result<()> {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        let held = before.saturating_add(bytes);
        Limits::check("directories", "table of contents of an archive", held, self.limit)
    }

    /// Parses a JSON array of the archive, of which each element costs so many bytes of memory.
    ///
    /// # Errors
    /// As [`Archive::hold`]; [`ErrorKind::Corrupt`] if it is no array of such elements.
    pub(super) fn parse_list<T: DeserializeOwned>(&self, text: &[u8], cost: u64) -> Result<Vec<T>> {
        // They are counted before any takes memory.
        let count = json::parse_large::<Vec<IgnoredAny>>(text)?.len();
        self.hold(text.len() as u64 + count as u64 * cost)?;
        json::parse_large(text)
    }

    /// Returns the file at `path`, through links within the archive.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Corrupt`] if there are two, [`ErrorKind::UnsafePath`] if a
    /// link leads outside.
    pub(super) fn member(&self, path: &TreePath) -> Result<Member> {
        let mut at = path;
        // The count ends circles of links too.
        for _ in 0..=MAX_LINKS {
            match self.places.get(at) {
                Some(Place::File(member)) => return Ok(member.clone()),
                Some(Place::Link(Some(target))) => at = target,
                Some(Place::Link(None)) => {
                    fail!(UnsafePath, "{path} is a link that leads out of the archive")
                }
                Some(Place::Doubled) => fail!(Corrupt, "the archive has {at} more than once"),
                None => fail!(NotFound, "the archive has no {path}"),
            }
        }
        fail!(Corrupt, "too many links on the way to {path}")
    }

    /// Returns the bytes of the file at `path`, of which there may be `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the archive has no such file, [`ErrorKind::Limit`] if it is larger than `limit`.
    pub fn read(&self, path: &TreePath, limit: u64) -> Result<Vec<u8>> {
        let mut member = self.member(path)?;
        let size = member.left();
        if size > limit {
            let text = format!("{path} is {size} bytes; documents over {limit} bytes are not read");
            return Err(Error::new(ErrorKind::Limit, text));
        }
        let mut bytes = Vec::new();
        let read = member.read_to_end(&mut bytes);
        read.context(|| format!("read {path}"))?;
        Ok(bytes)
    }

    /// As [`Archive::read`], of the file that tells an archive of images from another.
    ///
    /// # Errors
    /// As [`Archive::read`]; with [`Fact::NoImages`] if there is no such file, nor that of another kind of archive.
    pub(super) fn read_list(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        match self.read(&TreePath::clean(name.as_bytes())?, limit) {
            Err(err) if err.kind() == ErrorKind::NotFound && !self.has_list() => {
                Err(err.with_fact(Fact::NoImages))
            }
            read => read,
        }
    }

    /// Returns whether any file is there that lists images, in whatever kind of archive.
    fn has_list(&self) -> bool {
        let lists = [&b"oci-layout"[..], b"index.json", b"manifest.json"];
        self.places.keys().any(|path| lists.contains(&path.as_bytes()))
    }
}

/// Returns whether a file begins with a header of a tar archive, unless that is of the oldest kind.
fn has_magic(file: &File) -> bool {
    let mut magic = [0; 5];
    file.read_exact_at(&mut magic, 257).is_ok() && magic == *b"ustar"
}

/// Returns where a symbolic link at `path` leads within an archive.
fn inside(path: &TreePath, target: &[u8]) -> Option<TreePath> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = path.components().collect();
    parts.pop()?;
    for part in target.split(|&c| c == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    TreePath::clean(&parts.join(&b'/')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_path_of_the_archive_or_nowhere() {
        let path = |text: &str| TreePath::clean(text.as_bytes()).expect("path");
        for (at, target, want) in [
            ("a/b/c", "d", Some("a/b/d")),
            ("a/b/c", "./../d//e/.", Some("a/d/e")),
            ("a/b/c", "../..", Some("")),
            ("a/b/c", "../../..", None),
            ("a/b/c", "../../../a", None),
            ("a", "", Some("")),
            ("a", "/a", None),
        ] {
            assert_eq!(
                inside(&path(at), target.as_bytes()),
                want.map(path),
                "{at} {target}"
            );
        }
    }
}
