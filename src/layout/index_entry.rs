// SPDX-License-Identifier: Apache-2.0
//! One entry of `index.json`, with the bytes that it has there.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::json::Object;
use crate::spec::{Descriptor, REF_NAME, RefValue, json};

/// Minimum number of hex digits in a row that may be of a digest; a size has fewer.
const MIN_HEX: usize = 16;

/// One entry of `manifests`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name, also one that no tag may have; an empty one is none.
    pub ref_name: Option<String>,
    raw: Box<RawValue>,
}

impl Entry {
    /// Returns the entry as a descriptor.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is none; other entries are not concerned.
    pub(crate) fn descriptor(&self) -> Result<Descriptor> {
        let name = self.ref_name.as_deref().unwrap_or("<none>");
        json::parse(self.raw().as_bytes()).context(|| format!("index.json: entry {name:?}"))
    }

    /// Returns the value of a name that has these entries. An entry that is no descriptor is passed over where another is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there are some, and none is a descriptor.
    pub(crate) fn value_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<RefValue> {
        let (mut good, mut bad) = (Vec::new(), None);
        for entry in entries {
            match entry.descriptor() {
                Ok(descriptor) => good.push(descriptor),
                Err(err) => bad = bad.or(Some(err)),
            }
        }
        // A name with one good entry is usable for other tools too.
        match bad {
            Some(err) if good.is_empty() => Err(err),
            _ => Ok(RefValue::new(good)),
        }
    }

    /// Returns the entry as it stands in the file.
    pub(crate) fn raw(&self) -> &str {
        self.raw.get()
    }

    /// Returns whether another reader, which does not care for case, may take it for an entry of something else or with a tag.
    pub(crate) fn is_unclear(&self) -> bool {
        let text = self.raw();
        // An index of 100,000 entries is looked through each time, and few entries have such letters at all: no other is parsed.
        if !text.contains(['\\', 'ſ']) && !text.split('"').skip(1).any(begins_odd) {
            return false;
        }
        let object = Object::parse(text.as_bytes());
        object.map_or(true, |object| {
            object
                .members()
                .any(|(name, _)| json::is_case_variant(name, &NAMES))
        })
    }

    /// Returns whether it is a descriptor, and the same entry as one of these.
    pub(super) fn is_any_of(&self, entries: &[&Descriptor]) -> bool {
        let own = self.descriptor();
        own.is_ok_and(|own| entries.iter().any(|entry| own.is_same_entry(entry)))
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.ref_name.as_deref() == Some(name)
    }

    /// Returns whether it names nothing to any reader: it has no name, and no digest stands in it, be it cut or spelled in
    /// another way.
    pub(crate) fn is_nothing(&self) -> bool {
        let mut words = self.raw().split(|c: char| !c.is_ascii_hexdigit());
        self.is_untagged()
            && !words.any(|word| word.len() >= MIN_HEX)
            && !Object::parse(self.raw().as_bytes()).is_ok_and(|object| object.has("digest"))
    }

    /// Returns whether it has no name, to any reader.
    pub(crate) fn is_untagged(&self) -> bool {
        self.ref_name.is_none() && !self.is_unclear()
    }

    /// Returns whether it is a descriptor of one of `digests`.
    pub(crate) fn names_any(&self, digests: &[Digest]) -> bool {
        self.descriptor()
            .is_ok_and(|known| digests.contains(&known.digest))
    }

    /// Returns entries as a JSON array, each with its own bytes.
    pub(crate) fn list_to_text(entries: &[&Entry]) -> String {
        let raw: Vec<&str> = entries.iter().map(|e| e.raw()).collect();
        format!("[{}]", raw.join(","))
    }

    /// Returns the entries of [`Entry::list_to_text`].
    pub(crate) fn list_from_text(text: &str) -> Result<Vec<Entry>> {
        let raw: Vec<Box<RawValue>> = json::parse_large(text.as_bytes())?;
        Ok(raw.into_iter().map(Entry::new).collect())
    }

    /// Returns the entry of a descriptor under a name, or of one that has no tag.
    pub(crate) fn of(name: Option<&str>, descriptor: &Descriptor) -> Result<Self> {
        let mut descriptor = descriptor.clone();
        let own = name.map(|name| (REF_NAME.to_owned(), name.to_owned()));
        descriptor.annotations.extend(own);
        Ok(Self {
            ref_name: name.map(str::to_owned),
            raw: raw(&descriptor)?,
        })
    }

    /// Makes an entry of the text in a file.
    pub(crate) fn new(raw: Box<RawValue>) -> Self {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            annotations: Option<serde_json::Map<String, serde_json::Value>>,
        }
        // An entry with too many values is no descriptor.
        let named: Option<Named> = json::parse(raw.get().as_bytes()).ok();
        let name = named
            .and_then(|n| n.annotations)
            .and_then(|mut a| a.remove(REF_NAME));
        let name = name.and_then(|v| v.as_str().map(str::to_owned));
        let ref_name = name.filter(|name| !name.is_empty());
        Self { ref_name, raw }
    }
}

/// Members of an entry that say which blob it is, and by which name.
const NAMES: [&str; 3] = ["digest", "mediaType", "annotations"];

/// Returns whether a text begins with another spelling of one of these names.
fn begins_odd(text: &str) -> bool {
    NAMES.iter().any(|plain| {
        let begin = text.get(..plain.len());
        begin.is_some_and(|begin| json::is_case_variant(begin, &[plain]))
    })
}

/// Returns `value` as JSON text.
pub(super) fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>> {
    let text = String::from_utf8(json::to_bytes(value)?)
        .map_err(|_| Error::new(ErrorKind::Invalid, "JSON that is not UTF-8"))?;
    RawValue::from_string(text.trim_end().to_owned())
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("write JSON: {e}")))
}
