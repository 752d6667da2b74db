// SPDX-License-Identifier: Apache-2.0
//! Docker's documents to OCI's on their way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Cursor, Read};
use std::path::PathBuf;

use super::document::{MemoryBudget, is_index, verified};
use super::{Request, Source, SourceEntry};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::{ReadDocument as _, check_depth};
use crate::spec::{Descriptor, RefValue, json};

/// A document, and whether it is read as an index: one descriptor may say so and another not.
type Key = (Digest, bool);

fn key(descriptor: &Descriptor) -> Key {
    (descriptor.digest, is_index(descriptor))
}

/// A source whose images are OCI's: manifests and lists of Docker's media types are written anew, configs and layers are
/// the same blobs by another name.
pub struct ToOci<'a> {
    source: &'a dyn Source,
    documents: HashMap<Key, Converted>,
    /// Which document each new one is made of, whenever it is read: all of them might have no room in memory.
    made: HashMap<Digest, Key>,
    budget: MemoryBudget,
}

/// A document of the source.
struct Converted {
    old: Descriptor,
    /// Digest and size of the document that it becomes, once they are known.
    new: Option<(Digest, u64)>,
}

impl<'a> ToOci<'a> {
    /// Wraps `source`.
    pub fn new(source: &'a dyn Source) -> Self {
        Self {
            source,
            documents: HashMap::new(),
            made: HashMap::new(),
            budget: MemoryBudget::default(),
        }
    }

    /// Returns the request to make instead of `request`.
    ///
    /// # Errors
    /// Those of reading its documents.
    pub fn convert(&mut self, request: Request) -> Result<Request> {
        let entries = request.value.entries().iter();
        let value: Result<RefValue> = entries.map(|entry| self.converted(entry)).collect();
        Ok(Request {
            value: value?,
            ..request
        })
    }

    /// Returns whether an image or index becomes another.
    ///
    /// # Errors
    /// As [`ToOci::convert`].
    pub fn changes(&mut self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.converted(descriptor)?.digest != descriptor.digest)
    }

    fn converted(&mut self, descriptor: &Descriptor) -> Result<Descriptor> {
        if descriptor.media_type.is_image() {
            self.add(descriptor)?;
            self.settle(key(descriptor), 0)?;
        }
        Ok(self.renamed(descriptor))
    }

    fn add(&mut self, document: &Descriptor) -> Result<()> {
        // The embedded data of a document is held once, however many indexes name it.
        if let Entry::Vacant(place) = self.documents.entry(key(document)) {
            self.budget.charge(document)?;
            place.insert(Converted {
                old: document.bare(),
                new: None,
            });
        }
        Ok(())
    }

    /// Finds out what a document becomes, after those below it, however many ways lead to it.
    fn settle(&mut self, key: Key, depth: usize) -> Result<()> {
        let Some(Converted { old, new: None }) = self.documents.get(&key) else {
            return Ok(());
        };
        let old = old.clone();
        // The limit bounds this recursion, and the memory of its stack.
        check_depth(&old.digest, depth)?;
        if is_index(&old) {
            for child in self.children(&old)? {
                self.settle(child, depth + 1)?;
            }
        }
        let mut new = (old.digest, old.size);
        if let Some(bytes) = self.rewritten(&old)? {
            new = (Digest::of(old.digest.algorithm(), &bytes), bytes.len() as u64);
            self.made.insert(new.0, key);
        }
        // Only digest and size are kept: `open` writes the document again from the old one.
        self.documents.insert(key, Converted { old, new: Some(new) });
        Ok(())
    }

    /// Returns the documents that an index names, each once. It may also name such as are not here.
    fn children(&mut self, index: &Descriptor) -> Result<Vec<Key>> {
        let mut out = Vec::new();
        for child in self.source.read_index(index)?.manifests {
            if !child.media_type.is_image() {
                continue;
            }
            let key = key(&child);
            let is_known = self.documents.contains_key(&key);
            if is_known || child.data.is_some() || self.source.size(&child.digest)?.is_some() {
                self.add(&child)?;
                out.push(key);
            }
        }
        // Keys alone, each once: an index of many entries may stand above others of as many.
        out.sort_unstable();
        out.dedup();
        Ok(out)
    }

    /// Returns the new form of a document, `None` if that is the old one. The new forms of those below must be known.
    fn rewritten(&self, old: &Descriptor) -> Result<Option<Vec<u8>>> {
        if is_index(old) {
            let mut index = self.source.read_index(old)?;
            let before = index.clone();
            index.media_type = index.media_type.to_oci();
            for entry in &mut index.manifests {
                *entry = self.renamed(entry);
            }
            return (index != before).then(|| json::to_bytes(&index)).transpose();
        }
        let mut manifest = self.source.read_manifest(old)?.value;
        let before = manifest.clone();
        manifest.rename_to_oci();
        let is_new = manifest != before;
        is_new.then(|| json::to_bytes(&manifest)).transpose()
    }

    /// Returns a descriptor as it is to be.
    fn renamed(&self, old: &Descriptor) -> Descriptor {
        let mut new = Descriptor {
            media_type: old.media_type.to_oci(),
            ..old.clone()
        };
        if old.media_type.is_image() {
            match self.documents.get(&key(old)).and_then(|document| document.new) {
                // Of an image that is not here nobody knows what it would become.
                None => return old.clone(),
                Some((digest, size)) if digest != old.digest => {
                    (new.digest, new.size, new.data) = (digest, size, None);
                }
                Some(_) => {}
            }
        }
        new
    }

    /// Returns the document of the source that the one with this digest is made of.
    fn made_of(&self, digest: &Digest) -> Option<&Converted> {
        self.documents.get(self.made.get(digest)?)
    }
}

impl Source for ToOci<'_> {
    fn list(&self) -> Result<Vec<SourceEntry>> {
        self.source.list()
    }

    fn descriptor(&self, entry: &SourceEntry) -> Result<Descriptor> {
        self.source.descriptor(entry)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        let Some(Converted { old, .. }) = self.made_of(&descriptor.digest) else {
            return self.source.open(descriptor);
        };
        let bytes = Cursor::new(self.rewritten(old)?.unwrap_or_default());
        Ok(verified(bytes, descriptor))
    }

    fn is_far(&self, descriptor: &Descriptor) -> bool {
        self.made_of(&descriptor.digest).is_none() && self.source.is_far(descriptor)
    }

    fn open_from(&self, descriptor: &Descriptor, start: u64) -> Result<Box<dyn Read + Send>> {
        // Only what is far is opened so, and that is never a document which is written anew.
        self.source.open_from(descriptor, start)
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.made_of(digest).and_then(|document| document.new) {
            Some((_, size)) => Ok(Some(size)),
            None => self.source.size(digest),
        }
    }

    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        match self.made_of(&descriptor.digest) {
            Some(_) => Ok(true),
            None => self.source.has(descriptor),
        }
    }

    fn looks_into_leaves(&self) -> bool {
        self.source.looks_into_leaves()
    }

    fn threads(&self) -> Option<usize> {
        self.source.threads()
    }

    fn local(&self, descriptor: &Descriptor) -> Option<PathBuf> {
        match self.made_of(&descriptor.digest) {
            Some(_) => None,
            None => self.source.local(descriptor),
        }
    }
}
