// SPDX-License-Identifier: Apache-2.0
//! An OCI layout in a tar archive, as source and as sink. Spec: image-layout.

use std::collections::HashSet;
use std::io::{Cursor, Read, Write};
use std::sync::{Mutex, PoisonError};

use super::archive::{Archive, ENTRY_COST, Member};
use super::archive_writer::ArchiveWriter;
use super::document::verified;
use super::{Body, Request, Sink, Source, SourceEntry};
use crate::digest::Digest;
use crate::error::{Result, ResultExt, lock};
use crate::layout::{Entry, IndexJson, OCI_LAYOUT, layout_version};
use crate::node::TreePath;
use crate::spec::Descriptor;
use crate::spec::json::Object;

/// Maximum size of `index.json` and of `oci-layout` in bytes.
const MAX_INDEX: u64 = 32 << 20;
const MAX_VERSION: u64 = 64 << 10;

/// The images of an OCI archive.
#[derive(Debug)]
pub struct OciArchive {
    archive: Archive,
    entries: Vec<SourceEntry>,
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.encoded())
}

impl OciArchive {
    /// Reads `oci-layout` and `index.json`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::NotFound`] if one is missing, [`crate::error::ErrorKind::Unsupported`] for another version, [`crate::error::ErrorKind::Corrupt`].
    pub fn new(archive: Archive) -> Result<Self> {
        let entries = read_entries(&archive).context(|| "not an OCI archive")?;
        Ok(Self { archive, entries })
    }

    fn member(&self, digest: &Digest) -> Result<Member> {
        let path = TreePath::clean(blob_path(digest).as_bytes())?;
        self.archive.member(&path)
    }
}

fn read_entries(archive: &Archive) -> Result<Vec<SourceEntry>> {
    let version = archive.read_list("oci-layout", MAX_VERSION)?;
    let version = layout_version(&version).context(|| "oci-layout")?;
    if version != "1.0.0" {
        fail!(Unsupported, "layout version is not supported: {version:?}");
    }
    let index = archive.read(&TreePath::clean(b"index.json")?, MAX_INDEX)?;
    // The entries are counted as text before any of them is parsed.
    let manifests = Object::parse(&index).map(|object| object.get("manifests").unwrap_or("null"));
    let entries = manifests.and_then(|list| archive.parse_list(list.as_bytes(), ENTRY_COST));
    let entries = entries.context(|| "index.json")?.into_iter();
    Ok(SourceEntry::all(entries.map(Entry::new)))
}

impl Source for OciArchive {
    fn list(&self) -> Result<Vec<SourceEntry>> {
        Ok(self.entries.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        Ok(match descriptor.embedded()? {
            Some(bytes) => verified(Cursor::new(bytes), descriptor),
            None => verified(self.member(&descriptor.digest)?, descriptor),
        })
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.member(digest).if_there()?.map(|found| found.left()))
    }
}

/// Writes an OCI archive, blob by blob; the same images give the same bytes.
#[derive(Debug)]
pub struct OciArchiveSink<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    archive: ArchiveWriter<W>,
    written: HashSet<Digest>,
}

impl<W: Write + Send> OciArchiveSink<W> {
    /// Begins an archive in `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> Result<Self> {
        let mut archive = ArchiveWriter::new(out);
        archive.bytes("oci-layout", OCI_LAYOUT)?;
        Ok(Self(Mutex::new(State {
            archive,
            written: HashSet::new(),
        })))
    }

    /// Writes `index.json`, which names the images and their referrers, and ends the archive.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(self, images: &[Request], attached: &[Request]) -> Result<W> {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut index = IndexJson::default();
        let (mut named, mut unnamed) = (Vec::new(), Vec::new());
        for request in images.iter().chain(attached) {
            match &request.name {
                Some(name) => named.push((name.clone(), request.value.clone())),
                None => unnamed.extend_from_slice(request.value.entries()),
            }
        }
        index.set_refs(&named)?;
        index.add_untagged(&unnamed)?;
        state.archive.bytes("index.json", &index.to_bytes())?;
        state.archive.finish()
    }

    fn with<T>(&self, run: impl FnOnce(&mut State<W>) -> T) -> T {
        run(&mut lock(&self.0))
    }
}

impl<W: Write + Send> Sink for OciArchiveSink<W> {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.with(|state| state.written.contains(&descriptor.digest)))
    }

    fn put(&self, descriptor: &Descriptor, body: &dyn Body) -> Result<bool> {
        let mut body = body.open()?;
        // The archive is one stream, so the lock is held for a whole blob.
        self.with(|state| {
            let path = blob_path(&descriptor.digest);
            state.archive.file(&path, descriptor.size, &mut body)?;
            state.written.insert(descriptor.digest);
            Ok(true)
        })
    }

    fn in_order(&self) -> bool {
        true
    }
}
