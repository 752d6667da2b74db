// SPDX-License-Identifier: Apache-2.0
//! Files that are filled and given their attributes on other threads, while the next entries are read.
//!
//! A file is made where its entry is read, in the order of the layer; whatever comes later finds its name. Its content
//! waits in a batch with that of other small files, which a thread of the pool writes and hashes by descriptor.
//! Memory and open files are bounded: where too many batches wait, the reading thread writes one itself.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rayon::Scope;

use super::metadata::Metadata;
use crate::digest::{Algorithm, Digest, Hasher};
use crate::error::{Error, Result, ResultExt, lock};
use crate::fs::{OpenFile, max_open};
use crate::layer::{Entry, LayerReader, TocBuilder, file_digest};
use crate::node::{Inode, Node, NodeKind, TreePath};

/// Bytes and files of one batch at most, and batches that may wait. Each waiting file is an open descriptor: all together
/// are no more than a third of those that the process may have.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_FILES: usize = 32;
const BATCHES: usize = 8;

/// Files of this size and more are written as they are read, in bytes.
const LARGE: u64 = BATCH_BYTES as u64;

/// SHA-256 of the files that were written, by inode and in its order; of an inode that was used again the last counts.
#[derive(Clone, Debug, Default)]
pub struct FileDigests(Vec<(u64, [u8; 32])>);

impl FileDigests {
    /// Returns the digest of a regular file, if it was written by the extraction that this came from.
    pub fn get(&self, inode: &Inode) -> Option<Digest> {
        let end = self.0.partition_point(|(ino, _)| *ino <= inode.ino);
        let (ino, bytes) = self.0.get(end.checked_sub(1)?)?;
        (*ino == inode.ino)
            .then(|| Digest::from_bytes(Algorithm::Sha256, bytes))
            .flatten()
    }
}

/// State that all threads of an extraction share.
pub(super) struct Files<'a> {
    pub metadata: Metadata<'a>,
    digests: Mutex<FileDigests>,
    /// The contents of the layer that is applied, if they are wanted.
    toc: Mutex<Option<TocBuilder>>,
    /// Number and error of the earliest entry that has failed so far.
    failure: Mutex<Option<(u64, Error)>>,
    /// Batches that wait or are written.
    waiting: AtomicUsize,
    /// Buffers to be filled again: fresh pages are dear.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl<'a> Files<'a> {
    pub fn new(metadata: Metadata<'a>) -> Self {
        Self {
            metadata,
            digests: Mutex::default(),
            toc: Mutex::default(),
            failure: Mutex::default(),
            waiting: AtomicUsize::new(0),
            buffers: Mutex::default(),
        }
    }

    /// Returns the digests so far.
    pub fn take_digests(&self) -> FileDigests {
        let mut digests = std::mem::take(&mut *lock(&self.digests));
        digests.0.sort_by_key(|(ino, _)| *ino);
        digests
    }

    /// Begins a table of contents.
    pub fn begin_toc(&self) {
        *lock(&self.toc) = Some(TocBuilder::default());
    }

    /// Returns the table of contents since [`Files::begin_toc`], whose files must all be complete.
    pub fn take_toc(&self) -> Option<TocBuilder> {
        lock(&self.toc).take()
    }

    /// Adds an entry to the table of contents, if there is one; returns the number of a regular file in it.
    pub fn note_entry(&self, entry: &Entry, end: u64) -> Option<usize> {
        lock(&self.toc).as_mut()?.add(entry, end)
    }

    /// Gives a file that is complete its attributes and notes its digest, before it is closed: only then may its
    /// inode number belong to another file.
    fn complete(&self, file: &OpenFile, about: &About, digest: Option<Digest>) -> Result<()> {
        self.metadata
            .set(&file.attributes(), &about.node, about.inherits)?;
        let Some(digest) = digest else { return Ok(()) };
        let bytes = file_digest(&digest);
        if let Some(number) = about.toc_number
            && let Some(toc) = &mut *lock(&self.toc)
        {
            toc.set_digest(number, bytes);
        }
        let ino = file.inode()?;
        lock(&self.digests).0.push((ino, bytes));
        Ok(())
    }

    /// Returns the result of a layer: what failed at the earliest entry, whichever thread it was.
    pub fn outcome(&self, read: Result<()>) -> Result<()> {
        match lock(&self.failure).take() {
            // The reading thread was always further on.
            Some((_, err)) => Err(err),
            None => read,
        }
    }

    /// Writes all files of a batch, unless an earlier entry has failed.
    fn write(&self, mut batch: Batch) {
        let mut start = 0;
        for (sequence, mut waiting) in (batch.first..).zip(std::mem::take(&mut batch.files)) {
            if matches!(&*lock(&self.failure), Some((first, _)) if *first < sequence) {
                break;
            }
            let content = &batch.bytes[start..waiting.end];
            start = waiting.end;
            let written = self.write_one(&mut waiting, content);
            let Err(err) = written.context(|| format!("unpack entry {}", waiting.entry)) else {
                continue;
            };
            let mut failure = lock(&self.failure);
            // Another thread may have failed at an earlier entry meanwhile.
            if failure.as_ref().is_none_or(|(first, _)| sequence < *first) {
                *failure = Some((sequence, err));
            }
            break;
        }
        lock(&self.buffers).push(batch.bytes);
    }

    fn write_one(&self, waiting: &mut Waiting, content: &[u8]) -> Result<()> {
        waiting.file.write(content)?;
        let wanted = self.metadata.opts.digests;
        let digest = wanted.then(|| Digest::of(Algorithm::Sha256, content));
        self.complete(&waiting.file, &waiting.about, digest)
    }
}

/// A file that is to be filled.
pub(super) struct About {
    pub node: Node,
    /// It may have got attributes from its directory.
    pub inherits: bool,
    /// Its number in the table of contents, if there is one.
    pub toc_number: Option<usize>,
}

/// A file that waits for its content.
struct Waiting {
    file: OpenFile,
    about: About,
    entry: TreePath,
    /// Offset of the end of its content in the bytes of the batch.
    end: usize,
}

/// Small files with their content.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    files: Vec<Waiting>,
    /// Number of files that came before these.
    first: u64,
}

/// Hands files of one layer to other threads.
pub(super) struct Queue<'q, 'scope> {
    scope: &'q Scope<'scope>,
    files: Arc<Files<'scope>>,
    batch: Batch,
    batch_files: usize,
    /// For files that are written as they are read.
    buffer: Vec<u8>,
}

impl<'q, 'scope> Queue<'q, 'scope> {
    pub fn new(scope: &'q Scope<'scope>, files: Arc<Files<'scope>>) -> Self {
        Self {
            scope,
            files,
            batch: Batch::default(),
            batch_files: BATCH_FILES.min(max_open() / 3 / (BATCHES + 1)),
            buffer: Vec::new(),
        }
    }

    /// Fills a new file with the `content` of its entry: a small one later, on any thread, a large one here.
    pub fn fill<R: Read>(
        &mut self,
        mut file: OpenFile,
        entry: &TreePath,
        about: About,
        content: &mut LayerReader<R>,
    ) -> Result<()> {
        // An empty file stands in the place of a device.
        let size = match about.node.kind {
            NodeKind::File { size } => size,
            _ => 0,
        };
        if size >= LARGE {
            let digest = self.stream(&mut file, size, content)?;
            return self.files.complete(&file, &about, digest);
        }
        let size = size as usize;
        if self.batch.bytes.len() + size > BATCH_BYTES || self.batch.files.len() >= self.batch_files {
            self.flush();
        }
        let start = self.batch.bytes.len();
        self.batch.bytes.resize(start + size, 0);
        read_exact(content, &mut self.batch.bytes[start..])?;
        self.batch.files.push(Waiting {
            file,
            about,
            entry: entry.clone(),
            end: self.batch.bytes.len(),
        });
        Ok(())
    }

    /// Writes a file as it is read, with holes for zeros; returns the digest of its content, if that is wanted.
    fn stream<R: Read>(
        &mut self,
        file: &mut OpenFile,
        size: u64,
        content: &mut LayerReader<R>,
    ) -> Result<Option<Digest>> {
        self.buffer.resize(BATCH_BYTES, 0);
        let wanted = self.files.metadata.opts.digests;
        let mut hasher = wanted.then(|| Hasher::new(Algorithm::Sha256));
        let mut left = size;
        while left > 0 {
            // Holes that a buffer holds are read as zeros, so that not each of many small ones takes calls of its own.
            let hole = content.take_hole(BATCH_BYTES as u64);
            if hole > 0 {
                file.write_hole(hole)?;
                if let Some(hasher) = &mut hasher {
                    hasher.update_zeros(hole);
                }
                left -= hole;
                continue;
            }
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH_BYTES);
            let piece = &mut self.buffer[..want];
            read_exact(content, piece)?;
            if piece.iter().all(|&c| c == 0) {
                file.write_hole(want as u64)?;
            } else {
                file.write(piece)?;
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
            left -= want as u64;
        }
        Ok(hasher.map(Hasher::finish))
    }

    /// Returns whether a file has failed, and nothing more need be read.
    pub fn failed(&self) -> bool {
        lock(&self.files.failure).is_some()
    }

    /// Lets all that waits be written.
    pub fn flush(&mut self) {
        let mut next = Batch {
            bytes: lock(&self.files.buffers).pop().unwrap_or_default(),
            files: Vec::new(),
            first: self.batch.first + self.batch.files.len() as u64,
        };
        next.bytes.clear();
        let batch = std::mem::replace(&mut self.batch, next);
        let files = Arc::clone(&self.files);
        if files.waiting.load(Ordering::Acquire) >= BATCHES {
            files.write(batch);
            return;
        }
        files.waiting.fetch_add(1, Ordering::AcqRel);
        self.scope.spawn(move |_| {
            files.write(batch);
            files.waiting.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// Reads as many bytes as there is room for.
fn read_exact(content: &mut impl Read, room: &mut [u8]) -> Result<()> {
    match content.read_exact(room) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => fail!(Corrupt, "unexpected end of layer"),
        result => Ok(result?),
    }
}
