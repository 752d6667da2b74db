// SPDX-License-Identifier: Apache-2.0
//! Refs: read from `index.json`, which is the truth, and changed there. No database is needed for it.

use super::{Store, Summaries};
use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::index::Index;
use crate::layout::{BlobName, Entry};
use crate::spec::{Descriptor, Platform, RefName, RefValue};

/// An entry of `index.json`.
#[derive(Debug)]
pub struct RefEntry {
    /// Its name, also one that no tag may have.
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

    /// All names, in order, as often as they stand there.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self
            .layout
            .read_index()?
            .entries()
            .iter()
            .filter_map(|e| e.ref_name.clone())
            .collect())
    }

    /// What `name`, also one that no tag may have, points at; an empty value if there is no such name.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if no entry of that name is a descriptor.
    pub fn lookup(&self, name: impl AsRef<str>) -> Result<RefValue> {
        let name = name.as_ref();
        if self.opts.index
            && let Some(entries) = Index::peek(&self.layout, name)
        {
            return Entry::value_of(&entries);
        }
        self.layout.read_index()?.value(name)
    }

    /// Points `name` at `value`, whose blobs must be there; what the name had before is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if a blob is not there, [`ErrorKind::Invalid`] for a name that is a digest.
    pub fn set_ref(&self, name: &RefName, value: impl Into<RefValue>) -> Result<()> {
        self.put_ref("tag", name.as_str(), value.into(), true)
    }

    /// As [`Store::set_ref`], for a name that is free.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the name exists.
    pub fn create_ref(&self, name: &RefName, value: impl Into<RefValue>) -> Result<()> {
        self.put_ref("ref create", name.as_str(), value.into(), false)
    }

    fn put_ref(&self, verb: &str, name: &str, value: RefValue, replace: bool) -> Result<()> {
        // The shared lock keeps a garbage collection from taking a blob between here and the ref.
        let _lock = self.begin(verb)?;
        for entry in value.entries() {
            if entry.data.is_none() && self.layout.blob_size(&entry.digest)?.is_none() {
                let text = format!("blob {} is not in {}", entry.digest, self.layout.path().display());
                return Err(Error::new(ErrorKind::NotFound, text));
            }
        }
        self.change_refs(verb, &[name], |index| {
            if !replace && index.has_ref(name) {
                let err = Error::new(ErrorKind::Exists, format!("tag exists: {name}"));
                return Err(err.with_fact(Fact::TagExists));
            }
            index.set_ref(name, value.clone())
        })
    }

    /// Points `name`, also one that no tag may have, at what it pointed at `steps` changes ago (see `Store::past`); returns that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if that is not known, or a blob of it was collected since; [`ErrorKind::Invalid`] for a name that is
    /// a digest.
    pub fn restore_ref(&self, name: &str, steps: usize) -> Result<RefValue> {
        let value = self.past(name, steps)?;
        self.put_ref("ref restore", name, value.clone(), true)?;
        Ok(value)
    }

    /// Removes `name`, all that it has, also one that no tag may have; `false` if there was no such name.
    pub fn remove_ref(&self, name: &str) -> Result<bool> {
        self.drop_refs("remove", &[name], |index| Ok(index.remove_refs(&[name])? > 0))
    }

    /// Removes several names in one step, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if one of them is not there.
    pub fn remove_refs(&self, names: &[&str]) -> Result<()> {
        self.drop_refs("ref remove", names, |index| {
            if let Some(missing) = names.iter().find(|name| !index.has_ref(name)) {
                let text = format!("tag not found: {missing}");
                return Err(Error::new(ErrorKind::NotFound, text));
            }
            index.remove_refs(names).map(|_| ())
        })
    }

    /// The blob whose digest begins so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
    pub(crate) fn find(&self, prefix: &DigestPrefix) -> Result<Digest> {
        let missing = || self.no_blob(prefix);
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
    pub(crate) fn platform(&self, descriptor: &Descriptor) -> Option<Platform> {
        Summaries::in_store(self).platform(descriptor)
    }
}
