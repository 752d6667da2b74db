// SPDX-License-Identifier: Apache-2.0
//! Refs: read from `index.json`, which is the truth, and changed there. No database is needed for it.

use super::Store;
use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::index::Index;
use crate::layout::{BlobName, Entry};
use crate::spec::{Descriptor, Platform, RefName};

/// An entry of `index.json`.
#[derive(Debug)]
pub struct RefEntry {
    /// Its tag, as written, whether it follows the grammar or not; `None` for an entry without one.
    pub name: Option<String>,
    /// What it points at; an error for an entry that is no descriptor, which does not concern the others.
    pub descriptor: Result<Descriptor>,
}

impl Store {
    /// All entries of `index.json`, in order.
    pub fn refs(&self) -> Result<Vec<RefEntry>> {
        let index = self.layout.read_index()?;
        let entry = |e: &Entry| RefEntry {
            name: e.ref_name.clone(),
            descriptor: e.descriptor(),
        };
        Ok(index.entries().iter().map(entry).collect())
    }

    /// All tags, in order, as often as they stand there.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self
            .layout
            .read_index()?
            .entries()
            .iter()
            .filter_map(|e| e.ref_name.clone())
            .collect())
    }

    /// What `name` points at: every entry of that name, in order; none if there is no such tag.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if an entry of that name is no descriptor.
    pub fn lookup(&self, name: &RefName) -> Result<Vec<Descriptor>> {
        if self.opts.index
            && let Some(entries) = Index::peek(&self.layout, name.as_str())
        {
            return entries.iter().map(Entry::descriptor).collect();
        }
        let index = self.layout.read_index()?;
        let named = index
            .entries()
            .iter()
            .filter(|e| e.ref_name.as_deref() == Some(name.as_str()));
        named.map(Entry::descriptor).collect()
    }

    /// Points `name` at `descriptor`, whose blob must be there; an older ref of that name is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the blob is not there.
    pub fn set_ref(&self, name: &RefName, descriptor: Descriptor) -> Result<()> {
        self.put_ref("tag", name, descriptor, true)
    }

    /// As [`Store::set_ref`], for a name that is free.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the name exists.
    pub fn create_ref(&self, name: &RefName, descriptor: Descriptor) -> Result<()> {
        self.put_ref("ref create", name, descriptor, false)
    }

    fn put_ref(&self, verb: &str, name: &RefName, descriptor: Descriptor, replace: bool) -> Result<()> {
        // The shared lock keeps a garbage collection from taking the blob between here and the ref.
        let _lock = self.begin(verb)?;
        if descriptor.data.is_none() && self.layout.blob_size(&descriptor.digest)?.is_none() {
            let text = format!(
                "blob {} is not in {}",
                descriptor.digest,
                self.layout.path().display()
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        self.change_refs(verb, &[(name.clone(), Some(descriptor))], |index| {
            if !replace && index.has_ref(name) {
                let err = Error::new(ErrorKind::Exists, format!("tag exists: {name}"));
                return Err(err.with_fact(Fact::TagExists));
            }
            Ok(())
        })
        .map(|_| ())
    }

    /// Points `name` at what it pointed at `steps` changes ago (see [`Store::past`]); returns that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if that is not known, or its blob was collected since.
    pub fn restore_ref(&self, name: &RefName, steps: usize) -> Result<Descriptor> {
        let descriptor = self.past(name, steps)?;
        self.put_ref("ref restore", name, descriptor.clone(), true)?;
        Ok(descriptor)
    }

    /// Removes `name`; `false` if there was no such ref.
    pub fn remove_ref(&self, name: &RefName) -> Result<bool> {
        Ok(self.change_refs("remove", &[(name.clone(), None)], |_| Ok(()))? > 0)
    }

    /// The blob whose digest begins so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
    pub fn find(&self, prefix: &DigestPrefix) -> Result<Digest> {
        let missing = || {
            let text = format!("no blob {prefix} in {}", self.layout.path().display());
            Error::new(ErrorKind::NotFound, text)
        };
        if let Some(digest) = prefix.exact() {
            return self
                .layout
                .blob_size(&digest)?
                .map(|_| digest)
                .ok_or_else(missing);
        }
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL
            .into_iter()
            .filter(|a| prefix.algorithm().is_none_or(|p| p == *a))
        {
            for name in self.layout.blobs(algorithm)? {
                if let BlobName::Digest(digest) = name?
                    && prefix.matches(&digest)
                {
                    found.push(digest);
                }
            }
        }
        match found.as_slice() {
            [] => Err(missing()),
            [one] => Ok(*one),
            _ => {
                found.sort_unstable();
                let names: Vec<String> = found.iter().take(4).map(ToString::to_string).collect();
                let text = format!("digest is ambiguous: {prefix} (it could be {})", names.join(", "));
                Err(Error::new(ErrorKind::Ambiguous, text))
            }
        }
    }

    /// The platform of an image: that of its descriptor, else that of its config, as far as these can be read.
    pub fn platform(&self, descriptor: &Descriptor) -> Option<Platform> {
        Platform::of(descriptor, |descriptor| self.read(descriptor))
    }
}
