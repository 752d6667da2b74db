// SPDX-License-Identifier: Apache-2.0
//! Image indexes made and edited: entries in and out, and what they say.

use std::collections::BTreeSet;

use super::{DescriptorPath, ReadDocument as _, Target, resolve, resolve_index, resolve_one};
use crate::digest::{Digest, DigestPrefix};
use crate::error::{Error, ErrorKind, Result, shortlist};
use crate::spec::{Descriptor, ImageIndex, MediaType, Platform, REF_NAME, RefName, json};
use crate::store::{Store, Summaries, Txn};

/// An image index that is being made or changed. [`IndexEdit::apply`] writes it as a new blob; the one that it began with
/// stays. Spec: image-spec, image-index.
#[derive(Clone, Debug)]
pub struct IndexEdit {
    /// The document as it will be.
    pub index: ImageIndex,
    /// Descriptor in `index.json` of the index it began with.
    root: Option<Descriptor>,
}

/// Source of new entries: the part of an image that goes into an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntrySource {
    /// The image for a platform: that one, or this machine's.
    One(Option<Platform>),
    /// All images that an index leads to, with what is said of them.
    All,
    /// An index itself, as one entry.
    Nested,
}

/// Selects entries of an index, as a person names them.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub enum EntrySelector {
    /// Those whose digest begins so.
    Digest(DigestPrefix),
    /// Those of just this platform.
    Platform(Platform),
}

impl std::str::FromStr for EntrySelector {
    type Err = Error;

    /// Reads a digest, of which 7 hex digits are enough, or a platform as `OS/ARCH[/VARIANT]`.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(prefix) = text.parse() {
            return Ok(EntrySelector::Digest(prefix));
        }
        text.parse().map(EntrySelector::Platform).map_err(|_| {
            let text = format!("invalid entry {text:?}: give a digest, or a platform such as linux/arm64");
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

impl EntrySelector {
    fn selects(&self, entry: &Descriptor) -> bool {
        match (self, &entry.platform) {
            (EntrySelector::Digest(prefix), _) => prefix.matches(&entry.digest),
            (EntrySelector::Platform(wanted), Some(platform)) => wanted.agrees_with(platform),
            (EntrySelector::Platform(_), None) => false,
        }
    }
}

impl Default for IndexEdit {
    /// Returns an index without entries.
    fn default() -> Self {
        Self {
            index: ImageIndex::new(Vec::new()),
            root: None,
        }
    }
}

impl IndexEdit {
    /// Begins with the index that `name` stands for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unsupported`] if it is no index.
    pub fn load(store: &Store, name: &RefName) -> Result<Self> {
        let root = resolve_index(store, &Target::Name(name.clone()))?;
        let mut index = store.read_index(&root)?;
        // The media type is optional in the document: an index that has none gets none.
        if !index.media_type.is_empty() {
            index.media_type = index.media_type.to_oci();
        }
        Ok(Self {
            index,
            root: Some(root),
        })
    }

    /// Returns the entries for what `target` stands for in `store`: with the platform that the config has where none was given, and
    /// without the name that it has in `index.json`.
    ///
    /// # Errors
    /// Those of [`resolve`] and [`super::resolve_one`]; [`ErrorKind::Unsupported`] for [`EntrySource::Nested`] of what is no index.
    pub fn entries(store: &Store, target: &Target, part: &EntrySource) -> Result<Vec<Descriptor>> {
        let found = match part {
            EntrySource::One(platform) => vec![resolve_one(store, target, platform.as_ref())?.into_last()],
            EntrySource::All => {
                let paths = resolve(store, target)?.paths.into_iter();
                paths.map(DescriptorPath::into_last).collect()
            }
            EntrySource::Nested => vec![resolve_index(store, target)?],
        };
        let mut summaries = Summaries::in_store(store);
        let mut out = Vec::new();
        for mut entry in found {
            entry.platform = summaries
                .platform(&entry)
                .filter(|p| !p.os.is_empty() || !p.architecture.is_empty());
            // The name is one of index.json, and means nothing inside of an index.
            entry.annotations.remove(REF_NAME);
            // A blob that is not there can be named only with its content.
            store.read(&entry)?;
            if store.layout().blob_size(&entry.digest)?.is_some() {
                entry.data = None;
            }
            out.push(entry);
        }
        Ok(out)
    }

    /// Adds an entry at the end; where one with the same digest and platform stands it gets the annotations too.
    pub fn add(&mut self, entry: Descriptor) {
        let mut entries = self.index.manifests.iter_mut();
        match entries.find(|old| old.is_same_entry(&entry)) {
            // An image that is merged again has no second place, and may have more said of it.
            Some(old) => old.annotations.extend(entry.annotations),
            None => self.index.manifests.push(entry),
        }
    }

    /// Returns the entries that `selector` selects, to be changed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with what there is, if there is none.
    pub fn find(&mut self, selector: &EntrySelector) -> Result<Vec<&mut Descriptor>> {
        self.must_have(selector)?;
        let entries = self.index.manifests.iter_mut();
        Ok(entries.filter(|entry| selector.selects(entry)).collect())
    }

    /// Removes the entries that `selector` selects.
    ///
    /// # Errors
    /// As [`IndexEdit::find`].
    pub fn remove(&mut self, selector: &EntrySelector) -> Result<()> {
        self.must_have(selector)?;
        self.index.manifests.retain(|entry| !selector.selects(entry));
        Ok(())
    }

    fn must_have(&self, selector: &EntrySelector) -> Result<()> {
        let entries = self.index.manifests.iter();
        let found = entries.filter(|entry| selector.selects(entry));
        let found: BTreeSet<Digest> = found.map(|entry| entry.digest).collect();
        if let EntrySelector::Digest(prefix) = selector
            && found.len() > 1
        {
            let text = format!("several entries of the index begin with {prefix}: give more digits");
            return Err(Error::new(ErrorKind::Ambiguous, text));
        }
        if !found.is_empty() {
            return Ok(());
        }
        let names = self.index.manifests.iter().map(|entry| match &entry.platform {
            Some(platform) => platform.to_string(),
            None => entry.digest.to_string(),
        });
        let has = match self.index.manifests.len() {
            0 => "is empty".to_owned(),
            _ => format!("has {}", shortlist(names)),
        };
        fail!(NotFound, "no entry {selector} in the index, which {has}")
    }

    /// Writes the index and points `tag` at it when the transaction is committed, which fails with
    /// [`ErrorKind::Conflict`] if somebody else changed the tag since the index was read.
    ///
    /// # Errors
    /// Errors of writing a blob; [`ErrorKind::Conflict`].
    pub fn apply(self, txn: &mut Txn<'_>, tag: &RefName) -> Result<Descriptor> {
        let written = txn.put(&json::to_bytes(&self.index)?, MediaType::INDEX)?;
        let descriptor = Descriptor {
            artifact_type: self.index.artifact_type,
            ..match &self.root {
                Some(root) => root.pointing_at(&written),
                None => written,
            }
        };
        match self.root {
            Some(root) => txn.replace_entry(tag, root, descriptor.clone()),
            None => txn.set_ref(tag, descriptor.clone()),
        }
        Ok(descriptor)
    }
}
