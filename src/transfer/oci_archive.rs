// SPDX-License-Identifier: Apache-2.0
//! An OCI layout in a tar archive, as source and as sink. Spec: image-layout.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::archive::{Archive, Count, ENTRY_COST};
use super::{Listed, Sink, Source};
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::layer::LayerWriter;
use crate::layout::{Entry, IndexJson, OCI_LAYOUT, layout_version};
use crate::node::{Node, NodeKind, TreePath};
use crate::spec::{Descriptor, RefName, RefValue, json};

/// `index.json` and `oci-layout` larger than this are refused, in bytes.
const MAX_INDEX: u64 = 32 << 20;
const MAX_VERSION: u64 = 64 << 10;

const EMPTY_INDEX: &[u8] = b"{\"schemaVersion\":2,\"manifests\":[]}";

/// The images of an OCI archive.
#[derive(Debug)]
pub struct OciArchive {
    archive: Archive,
    listed: Vec<Listed>,
}

/// `index.json`, whatever its entries are.
#[derive(Deserialize)]
struct Index<T> {
    #[serde(default = "Option::default")]
    manifests: Option<T>,
}

fn path(text: &str) -> Result<TreePath> {
    TreePath::clean(text.as_bytes())
}

fn blob_path(digest: &Digest) -> Result<TreePath> {
    path(&format!(
        "blobs/{}/{}",
        digest.algorithm().name(),
        digest.encoded()
    ))
}

impl OciArchive {
    /// Reads `oci-layout` and `index.json`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if one is missing, [`ErrorKind::Unsupported`] for another version, [`ErrorKind::Corrupt`].
    pub fn new(archive: Archive) -> Result<Self> {
        let invalid = || "not an OCI archive";
        let version = archive
            .read_list(&path("oci-layout")?, MAX_VERSION)
            .context(invalid)?;
        let version = layout_version(&version)
            .context(|| "oci-layout")
            .context(invalid)?;
        if version != "1.0.0" {
            let text = format!("layout version is not supported: {version:?}");
            return Err(Error::new(ErrorKind::Unsupported, text)).context(invalid);
        }
        let index = archive.read(&path("index.json")?, MAX_INDEX).context(invalid)?;
        let parse = || "index.json";
        // The entries are counted before any takes memory.
        let count: Index<Count> = json::parse_large(&index).context(parse).context(invalid)?;
        let count = count.manifests.map_or(0, |count| count.0);
        archive.kept().add(index.len() as u64 + count * ENTRY_COST)?;
        let entries: Index<Vec<Box<RawValue>>> = json::parse_large(&index).context(parse).context(invalid)?;
        let entries = entries.manifests.unwrap_or_default().into_iter().enumerate();
        let listed = entries
            .map(|(at, raw)| Listed::entry(at, Entry::new(raw)))
            .collect();
        Ok(Self { archive, listed })
    }
}

impl Source for OciArchive {
    fn list(&self) -> Result<Cow<'_, [Listed]>> {
        Ok(Cow::Borrowed(&self.listed))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        if let Some(bytes) = descriptor.embedded()? {
            return Ok(Box::new(VerifyReader::new(io::Cursor::new(bytes), digest, size)));
        }
        let member = self.archive.member(&blob_path(&digest)?)?;
        Ok(Box::new(VerifyReader::new(member, digest, size)))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.archive.member(&blob_path(digest)?) {
            Ok(found) => Ok(Some(found.left())),
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }
}

/// Writes an OCI archive, blob by blob; the same images give the same bytes.
#[derive(Debug)]
pub struct OciArchiveSink<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    tar: LayerWriter<W>,
    written: HashSet<Digest>,
    /// Directories that have an entry.
    dirs: HashSet<TreePath>,
    /// What `index.json` will say.
    named: Vec<(RefName, RefValue)>,
    unnamed: Vec<Descriptor>,
}

impl<W: Write + Send> OciArchiveSink<W> {
    /// Begins an archive in `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> Result<Self> {
        let mut state = State {
            tar: LayerWriter::new(out, b"."),
            written: HashSet::new(),
            dirs: HashSet::new(),
            named: Vec::new(),
            unnamed: Vec::new(),
        };
        state.file(
            &path("oci-layout")?,
            OCI_LAYOUT.len() as u64,
            &mut &OCI_LAYOUT[..],
        )?;
        Ok(Self(Mutex::new(state)))
    }

    /// Writes `index.json` and ends the archive.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(self) -> Result<W> {
        let mut state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut index = IndexJson::parse(EMPTY_INDEX)?;
        index.set_refs(&state.named)?;
        index.add_untagged(&state.unnamed)?;
        let index = index.to_bytes();
        state.file(&path("index.json")?, index.len() as u64, &mut index.as_slice())?;
        state.tar.finish()
    }

    fn with<T>(&self, run: impl FnOnce(&mut State<W>) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<W: Write> State<W> {
    fn file(&mut self, path: &TreePath, size: u64, content: &mut dyn Read) -> Result<()> {
        let mut above: Vec<TreePath> = path.ancestors().filter(|dir| !dir.is_root()).collect();
        above.reverse();
        for dir in above {
            if self.dirs.insert(dir.clone()) {
                self.tar.node(&dir, &Node::dir(0o755), &mut io::empty())?;
            }
        }
        let file = Node {
            kind: NodeKind::File { size },
            mode: 0o644,
            ..Node::dir(0)
        };
        self.tar.node(path, &file, content)
    }
}

impl<W: Write + Send> Sink for OciArchiveSink<W> {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.with(|state| state.written.contains(&descriptor.digest)))
    }

    fn put(&self, descriptor: &Descriptor, body: &mut dyn Read) -> Result<()> {
        let path = blob_path(&descriptor.digest)?;
        self.with(|state| {
            state.file(&path, descriptor.size, body)?;
            state.written.insert(descriptor.digest);
            Ok(())
        })
    }

    fn tag(&self, name: Option<&RefName>, value: &RefValue) -> Result<()> {
        self.with(|state| match name {
            Some(name) => state.named.push((name.clone(), value.clone())),
            None => state.unnamed.extend_from_slice(value.entries()),
        });
        Ok(())
    }

    fn in_order(&self) -> bool {
        true
    }
}
