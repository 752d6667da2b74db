// SPDX-License-Identifier: Apache-2.0
//! Refs: read from `index.json`, which is the truth, and changed there. No database is needed for it.
//!
//! [`Store::drop_refs`] is the one way to change them, and [`Store::change_refs`] the same after a sync of the names of blobs:
//! a change of ours is appended to the reflog ([`log`]) before it takes effect, under the same lock, behind the changes that
//! other programs have made since the last one ([`replay`]). Only a repair of a torn file has a way of its own.

mod expire;
mod log;
mod replay;

use std::collections::{HashMap, HashSet};

pub(super) use log::{Record, is_cut_off, seconds_ago};
pub(super) use replay::Replayed;
use replay::{of_unnamed, unnamed};

use super::Store;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result};
use crate::index::Index;
use crate::layout::{Entry, IndexJson};
use crate::spec::{Descriptor, RefName, RefValue};

impl Store {
    /// Returns all entries of `index.json`, in order.
    pub(crate) fn refs(&self) -> Result<Vec<Entry>> {
        Ok(self.layout.read_index()?.entries().to_vec())
    }

    /// Returns all names, in order, as often as they stand there.
    pub fn names(&self) -> Result<Vec<String>> {
        let index = self.layout.read_index()?;
        Ok(index.names().map(str::to_owned).collect())
    }

    /// Returns the value of `name`, also of one that no tag may have; an empty value if there is no such name.
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
            // Data that is embedded in the descriptor is a blob of its own.
            if entry.data.is_none() {
                self.require_blob(&entry.digest)?;
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

    /// Removes `name` as a registry does: an image that loses its last name so is listed without one; `false` if there was no such
    /// name.
    pub(crate) fn untag(&self, name: &str) -> Result<bool> {
        self.change_refs("untag", &[name], |index| {
            index.keep_images_of(name)?;
            Ok(index.remove_refs(&[name])? > 0)
        })
    }

    /// Removes every entry of `digest`: those of `names`, which are its names, and those without one. Returns whether there was one.
    pub(crate) fn unlist(&self, digest: &Digest, names: &[&str]) -> Result<bool> {
        let gone = [*digest];
        self.drop_refs("unlist", names, |index| {
            Ok(index.drop_entries(|entry| {
                entry.names_any(&gone) && entry.ref_name.as_deref().is_none_or(|name| names.contains(&name))
            }) > 0)
        })
    }

    /// Removes several names in one step, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if one of them is not there.
    pub fn remove_refs(&self, names: &[&str]) -> Result<()> {
        self.drop_refs("ref remove", names, |index| {
            if let Some(missing) = names.iter().find(|name| !index.has_ref(name)) {
                fail!(NotFound, "tag not found: {missing}");
            }
            index.remove_refs(names).map(|_| ())
        })
    }

    /// Changes `index.json` in one rewrite: `edit`, which may be called again, changes nothing with a name but `names`. The new value
    /// of each of these is recorded.
    pub(super) fn change_refs<T>(
        &self,
        command: &str,
        names: &[&str],
        edit: impl Fn(&mut IndexJson) -> Result<T>,
    ) -> Result<T> {
        // Blobs that were found may have been named by a process that died before it synced the name.
        self.layout.sync_blob_names()?;
        self.drop_refs(command, names, edit)
    }

    /// Returns the value of each of `names` that is there, as far as that can be told.
    pub(crate) fn lookup_all(&self, names: &[&str]) -> Result<HashMap<String, RefValue>> {
        Ok(values(&self.layout.read_index()?, names))
    }

    /// As [`Store::change_refs`], for an `edit` that gives no name to anything.
    pub(super) fn drop_refs<T>(
        &self,
        command: &str,
        names: &[&str],
        edit: impl Fn(&mut IndexJson) -> Result<T>,
    ) -> Result<T> {
        let (out, _, gone) = self.layout.update_index_logged(
            self.opts.lock_timeout,
            |index, state| {
                // The changes of other programs came first, and stand before ours in the reflog.
                let mut records = self.catch_up(index, state, "")?;
                let (was_unnamed, mut old) = (unnamed(index), values(index, names));
                let out = edit(index)?;
                let mut new = values(index, names);
                let mut gone = Vec::new();
                for name in names {
                    let old = old.remove(*name).unwrap_or_default();
                    let new = new.remove(*name).unwrap_or_default();
                    if new.is_empty() {
                        gone.push(*name);
                    }
                    if !is_same(&old, &new) {
                        records.push(Record::now(command, Some(name), old, new));
                    }
                }
                if let Some((old, new)) = of_unnamed(was_unnamed, unnamed(index)) {
                    records.push(Record::now(command, None, old, new));
                }
                Ok((out, records, gone))
            },
            |(_, records, _), state| self.record(records, state),
        )?;
        for name in gone {
            self.forget_use(name);
        }
        Ok(out)
    }
}

/// Returns the value of each of `names` that is there, as far as that can be told.
pub(super) fn values(index: &IndexJson, names: &[&str]) -> HashMap<String, RefValue> {
    let wanted: HashSet<&str> = names.iter().copied().collect();
    let mut found: HashMap<&str, Vec<Descriptor>> = HashMap::new();
    for entry in index.entries() {
        if let Some(name) = entry.ref_name.as_deref().and_then(|name| wanted.get(name))
            && let Ok(descriptor) = entry.descriptor()
        {
            found.entry(name).or_default().push(descriptor);
        }
    }
    let values = found.into_iter();
    values
        .map(|(name, entries)| (name.to_owned(), RefValue::new(entries)))
        .collect()
}

/// Returns whether both are the same images, in the same order.
pub(super) fn is_same(one: &RefValue, other: &RefValue) -> bool {
    one.digests().eq(other.digests())
}
