// SPDX-License-Identifier: Apache-2.0
//! What a source lists, and which of it are images to copy.

use std::collections::HashSet;

use super::about::is_referrers_tag;
use super::document::read_document;
use super::{Request, Source};
use crate::digest::Digest;
use crate::error::Result;
use crate::layout::Entry;
use crate::progress::Monitor;
use crate::spec::json::Object;
use crate::spec::{Descriptor, RefName};

/// An entry of a source, which names an image or something else.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which one it is, from 0: the place in `index.json`, or the image of a Docker archive, which may have several names.
    pub number: usize,
    name: Option<String>,
    /// What stands in `index.json`; an image of an archive says what it is when it is asked.
    entry: Option<Entry>,
}

impl Listed {
    /// An entry of `index.json`.
    pub(super) fn entry(number: usize, entry: Entry) -> Self {
        Self {
            number,
            name: entry.ref_name.clone(),
            entry: Some(entry),
        }
    }

    /// An image of an archive that says what it is when it is asked.
    pub(super) fn image(number: usize, name: Option<String>) -> Self {
        Self {
            number,
            name,
            entry: None,
        }
    }

    /// Its name there, if it is one that a layout may have; an entry without such a name is one without a name.
    pub fn ref_name(&self) -> Option<RefName> {
        RefName::parse_new(self.name()?).ok()
    }

    /// Its name there as it stands, whatever it is.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns what tells it from others: its name as it stands, and its digest or else its number as `@N`.
    pub fn label(&self) -> String {
        let place = match self.own() {
            Some(Ok(descriptor)) => descriptor.digest.to_string(),
            _ => format!("@{}", self.number),
        };
        self.name()
            .map_or_else(|| place.clone(), |name| format!("{name:?} ({place})"))
    }

    /// What an entry of `index.json` says that it is; `None` if the source is to be asked.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Corrupt`] if it is no descriptor.
    pub(super) fn own(&self) -> Option<Result<Descriptor>> {
        self.entry.as_ref().map(Entry::descriptor)
    }
}

/// The images that a source has to offer.
#[derive(Debug, Default)]
pub struct Offer {
    /// Those with a name; there may be several of one name.
    pub named: Vec<Request>,
    /// Those without a name that a layout may have, and without a subject; none that has such a name as well.
    pub unnamed: Vec<Listed>,
    /// Those with a name that no layout may have, of what is offered by another entry as well.
    pub renamed: Vec<Listed>,
    /// What has the name of a convention for what is about an image.
    pub about: Vec<Request>,
    /// Manifests and indexes with a subject and without a name.
    pub attached: Vec<Digest>,
    /// What has no name and is neither a manifest nor an index.
    pub others: Vec<Digest>,
}

impl Offer {
    /// Looks at all entries. One that is no descriptor is left out with a warning.
    ///
    /// # Errors
    /// Those of the source.
    pub fn of(source: &dyn Source, monitor: &dyn Monitor) -> Result<Self> {
        let mut out = Self::default();
        let mut met: HashSet<Digest> = HashSet::new();
        let mut unnamed: Vec<(Listed, Option<Descriptor>)> = Vec::new();
        for listed in source.list()?.iter() {
            let own = match listed.own() {
                Some(Err(err)) => {
                    monitor.left_out(format_args!("left out: {err}"));
                    continue;
                }
                own => own.transpose()?,
            };
            let Some(name) = listed.ref_name() else {
                unnamed.push((listed.clone(), own));
                continue;
            };
            let descriptor = match own {
                Some(own) => own,
                None => source.descriptor(listed)?,
            };
            met.insert(descriptor.digest);
            let into = if is_referrers_tag(&name) {
                &mut out.about
            } else {
                &mut out.named
            };
            let name = Some(name);
            into.push(Request { name, descriptor });
        }
        for (listed, own) in unnamed {
            let is_named = listed.name().is_some();
            match own {
                Some(own) if !met.insert(own.digest) => {}
                Some(own) if !own.media_type.is_image() && !is_named => out.others.push(own.digest),
                Some(own) if subject(source, &own).is_some() => out.attached.push(own.digest),
                _ => {
                    out.unnamed.push(listed);
                    continue;
                }
            }
            out.renamed.extend(is_named.then_some(listed));
        }
        Ok(out)
    }
}

/// What a manifest or index is about, if it can be read and says so.
pub(super) fn subject(source: &dyn Source, descriptor: &Descriptor) -> Option<Digest> {
    if !descriptor.media_type.is_image() {
        return None;
    }
    let bytes = read_document(source, descriptor).ok()?;
    let subject: Descriptor = Object::parse(&bytes).ok()?.read("subject")?;
    Some(subject.digest)
}
