// SPDX-License-Identifier: Apache-2.0
//! Docker's documents to OCI's on their way.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use super::document::{Document, Embedded, Key, read_index, read_manifest};
use super::{Listed, MAX_DEPTH, Request, Source};
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Descriptor, json};

/// A source whose images are OCI's: manifests and lists of Docker's media types are written anew, configs and layers are
/// the same blobs by another name.
pub struct ToOci<'a> {
    source: &'a dyn Source,
    /// Digest and size of what each document becomes.
    known: HashMap<Key, (Digest, u64)>,
    /// What each new document is made of, whenever it is read: all of them might have no room in memory.
    made: HashMap<Digest, Document>,
    embedded: Embedded,
}

impl std::fmt::Debug for ToOci<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToOci({} documents)", self.made.len())
    }
}

impl<'a> ToOci<'a> {
    /// Wraps `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            known: HashMap::new(),
            made: HashMap::new(),
            embedded: Embedded::default(),
        }
    }

    /// What to ask for instead of `request`.
    ///
    /// # Errors
    /// Those of reading its documents.
    pub fn convert(&mut self, request: Request) -> Result<Request> {
        self.learn(&request.descriptor)?;
        Ok(Request {
            descriptor: self.renamed(&request.descriptor),
            ..request
        })
    }

    /// Whether an image or index becomes another.
    ///
    /// # Errors
    /// As [`ToOci::convert`].
    pub fn changes(&mut self, descriptor: &Descriptor) -> Result<bool> {
        self.learn(descriptor)?;
        Ok(self.renamed(descriptor).digest != descriptor.digest)
    }

    /// Finds out what `root` and the documents below it become: each is looked at once, however many ways lead there.
    fn learn(&mut self, root: &Descriptor) -> Result<()> {
        let is_news = |this: &Self, found: &Document| !this.known.contains_key(&found.key);
        let mut levels: Vec<Vec<Document>> = Vec::new();
        let mut level: Vec<Document> = Document::of(root)
            .into_iter()
            .filter(|d| is_news(self, d))
            .collect();
        while !level.is_empty() {
            if levels.len() > MAX_DEPTH {
                let text = format!(
                    "image index {} is nested deeper than {MAX_DEPTH} levels",
                    root.digest
                );
                return Err(Error::new(ErrorKind::Limit, text));
            }
            let mut below: HashMap<Key, Document> = HashMap::new();
            for document in level.iter().filter(|d| d.is_index()) {
                for child in read_index(self.source, &document.descriptor())?.manifests {
                    let Some(found) = Document::of(&child) else {
                        continue;
                    };
                    if is_news(self, &found) && !below.contains_key(&found.key) {
                        if !self.source.has(&child)? {
                            // An index may name images that are not here.
                            if self.source.size(&child.digest)?.is_none() {
                                continue;
                            }
                            self.source.open(&child)?;
                        }
                        self.embedded.add(found.embedded())?;
                        below.insert(found.key, found);
                    }
                }
            }
            levels.push(level);
            level = below.into_values().collect();
        }
        // What is below comes first.
        for document in levels.into_iter().rev().flatten() {
            if let Some(bytes) = self.rewritten(&document)? {
                let new = (Digest::of(document.key.0.algorithm(), &bytes), bytes.len() as u64);
                self.known.insert(document.key, new);
                self.made.insert(new.0, document);
            } else {
                self.known.insert(document.key, (document.key.0, document.size()));
            }
        }
        Ok(())
    }

    /// The document as it is to be; `None` if it is so already. All that it names are known.
    fn rewritten(&self, document: &Document) -> Result<Option<Vec<u8>>> {
        if document.is_index() {
            let mut index = read_index(self.source, &document.descriptor())?;
            let before = index.clone();
            index.media_type = index.media_type.to_oci();
            for entry in &mut index.manifests {
                *entry = self.renamed(entry);
            }
            return (index != before).then(|| json::to_bytes(&index)).transpose();
        }
        let mut manifest = read_manifest(self.source, &document.descriptor())?;
        let before = manifest.clone();
        manifest.media_type = manifest.media_type.to_oci();
        for part in std::iter::once(&mut manifest.config).chain(&mut manifest.layers) {
            part.media_type = part.media_type.to_oci();
        }
        (manifest != before)
            .then(|| json::to_bytes(&manifest))
            .transpose()
    }

    /// A descriptor as it is to be. That of an image which is not here stays, since nobody knows what that would become.
    fn renamed(&self, old: &Descriptor) -> Descriptor {
        let known = Document::of(old).map(|document| self.known.get(&document.key));
        if let Some(None) = known {
            return old.clone();
        }
        let mut new = Descriptor {
            media_type: old.media_type.to_oci(),
            ..old.clone()
        };
        if let Some(Some((digest, size))) = known
            && *digest != old.digest
        {
            (new.digest, new.size, new.data) = (*digest, *size, None);
        }
        new
    }
}

impl Source for ToOci<'_> {
    fn list(&self) -> Result<Cow<'_, [Listed]>> {
        self.source.list()
    }

    fn descriptor(&self, listed: &Listed) -> Result<Descriptor> {
        self.source.descriptor(listed)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        match self.made.get(&digest).map(|document| self.rewritten(document)) {
            Some(bytes) => {
                let bytes = Cursor::new(bytes?.unwrap_or_default());
                Ok(Box::new(VerifyReader::new(bytes, digest, size)))
            }
            None => self.source.open(descriptor),
        }
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let made = self.made.get(digest).and_then(|old| self.known.get(&old.key));
        match made {
            Some((_, size)) => Ok(Some(*size)),
            None => self.source.size(digest),
        }
    }

    fn local(&self, descriptor: &Descriptor) -> Option<PathBuf> {
        let own = self.made.contains_key(&descriptor.digest);
        self.source.local(descriptor).filter(|_| !own)
    }
}
