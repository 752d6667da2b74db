// SPDX-License-Identifier: Apache-2.0
//! The entries of a source, and the images to copy among them.

use std::collections::{HashMap, HashSet};

use super::{Request, Source};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::ReadDocument as _;
use crate::layout::Entry;
use crate::progress::Monitor;
use crate::spec::{Descriptor, Edges, RefName, RefValue};

/// An entry of a source, which names an image or something else.
#[derive(Clone, Debug)]
pub struct SourceEntry {
    /// Its number, from 0: the place in `index.json`, or the image of a Docker archive, which may have several names.
    pub number: usize,
    pub(super) name: Option<String>,
    /// The entry of `index.json`; `None` for an image of an archive, which is looked at when it is wanted.
    pub(super) entry: Option<Entry>,
}

impl SourceEntry {
    /// Returns the entries of an `index.json`.
    pub(super) fn all(entries: impl IntoIterator<Item = Entry>) -> Vec<Self> {
        let entries = entries.into_iter();
        Self::numbered(entries.map(|entry| (entry.ref_name.clone(), Some(entry))))
    }

    /// Returns entries of which nothing but their names is known yet.
    pub(crate) fn of_names(names: impl IntoIterator<Item = String>) -> Vec<Self> {
        Self::numbered(names.into_iter().map(|name| (Some(name), None)))
    }

    fn numbered(entries: impl Iterator<Item = (Option<String>, Option<Entry>)>) -> Vec<Self> {
        let numbered = (0..).zip(entries);
        let entries = numbered.map(|(number, (name, entry))| Self { number, name, entry });
        entries.collect()
    }

    /// Returns its name there, if it is one that a layout may have; an entry without such a name is one without a name.
    pub fn ref_name(&self) -> Option<RefName> {
        RefName::parse_new(self.name()?).ok()
    }

    /// Returns its name there as it stands, whatever it is.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns a label that tells it from others: its name as it stands, and its digest or else its number as `@N`.
    pub fn label(&self) -> String {
        let place = match self.own() {
            Some(Ok(descriptor)) => descriptor.digest.to_string(),
            _ => format!("@{}", self.number),
        };
        match self.name() {
            Some(name) => format!("{name:?} ({place})"),
            None => place,
        }
    }

    /// Returns the descriptor in an entry of `index.json`; `None` if the source is to be asked.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`] if the entry is no descriptor.
    pub(super) fn own(&self) -> Option<Result<Descriptor>> {
        self.entry.as_ref().map(Entry::descriptor)
    }
}

/// The images that a source has to offer.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Those with a name.
    pub named: Vec<Request>,
    /// Those without a name that a layout may have, and without a subject; none that has such a name as well.
    pub unnamed: Vec<SourceEntry>,
    /// Those with a name that no layout may have, of what is offered by another entry as well.
    pub renamed: Vec<SourceEntry>,
    /// Entries with a name that a convention has for referrers.
    pub referrers: Vec<Request>,
    /// Entries without a name that are manifests and indexes with a subject, each behind that.
    pub attached: Vec<(Digest, Descriptor)>,
    /// Entries without a name that are neither a manifest nor an index.
    pub others: Vec<Digest>,
}

impl Catalog {
    /// Looks at all entries. One that is no descriptor is left out with a warning.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of(source: &dyn Source, monitor: &dyn Monitor) -> Result<Self> {
        let mut out = Self::default();
        let mut met: HashSet<Digest> = HashSet::new();
        let mut unnamed = Vec::new();
        // A name with several entries is one request; the order is that of the first entries.
        let mut named: Vec<(RefName, Vec<Descriptor>)> = Vec::new();
        let mut places: HashMap<RefName, usize> = HashMap::new();
        for entry in source.list()? {
            let own = match entry.own() {
                Some(Err(err)) => {
                    monitor.left_out(format_args!("left out: {err}"));
                    continue;
                }
                // An image of a Docker archive has no descriptor until it is looked at, which costs time.
                own => own.transpose()?,
            };
            let Some(name) = entry.ref_name() else {
                unnamed.push((entry, own));
                continue;
            };
            let descriptor = own.map_or_else(|| source.descriptor(&entry), Ok)?;
            met.insert(descriptor.digest);
            let place = *places.entry(name.clone()).or_insert(named.len());
            if place == named.len() {
                named.push((name, Vec::new()));
            }
            named[place].1.push(descriptor);
        }
        let requests = named.into_iter().map(|(name, entries)| Request {
            name: Some(name),
            value: RefValue::new(entries),
        });
        (out.referrers, out.named) = requests.partition(Request::is_of_referrers);
        // After all names are known: an image with a name needs no entry without one.
        for (entry, own) in unnamed {
            let is_named = entry.name().is_some();
            let subject = own.as_ref().and_then(|own| subject(source, own));
            match (own, subject) {
                (Some(own), Some(subject)) => {
                    met.insert(own.digest);
                    out.attached.push((subject, own));
                }
                (Some(own), _) if !met.insert(own.digest) => {}
                (Some(own), _) if !own.media_type.is_image() && !is_named => out.others.push(own.digest),
                _ => {
                    out.unnamed.push(entry);
                    continue;
                }
            }
            out.renamed.extend(is_named.then_some(entry));
        }
        Ok(out)
    }
}

/// Returns the subject of a manifest or index, if it can be read and has one.
fn subject(source: &dyn Source, descriptor: &Descriptor) -> Option<Digest> {
    if !descriptor.media_type.is_image() {
        return None;
    }
    let bytes = source.read_document(descriptor).ok()?;
    Edges::of(&bytes).subjects.into_iter().next()
}
