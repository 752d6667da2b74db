// SPDX-License-Identifier: Apache-2.0
//! Entries that a name leads to: one entry of `index.json`, or several. Spec: image-layout, "index.json file".

use std::collections::HashMap;

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Descriptor, json};
use crate::digest::Digest;

/// Entries of `index.json` that have a name, in order. It is empty for a name that is not there.
///
/// A name may stand there once for each platform. The same entry twice is one: two are the same if they have one digest and
/// one platform. As JSON it is null, a descriptor, or an array of them.
#[derive(Clone, PartialEq, Debug, Default, derive_more::IntoIterator)]
pub struct RefValue(Vec<Descriptor>);

impl RefValue {
    /// Takes the entries, in order; of those that are the same the first.
    pub fn new(entries: impl IntoIterator<Item = Descriptor>) -> Self {
        let mut out: Vec<Descriptor> = Vec::new();
        // A foreign file may have any number of them.
        let mut places: HashMap<Digest, Vec<usize>> = HashMap::new();
        for entry in entries {
            let known = places.entry(entry.digest).or_default();
            if !known.iter().any(|at| out[*at].is_same_entry(&entry)) {
                known.push(out.len());
                out.push(entry);
            }
        }
        Self(out)
    }

    /// Returns the entries; none of them is the same as another.
    pub fn entries(&self) -> &[Descriptor] {
        &self.0
    }

    /// Returns whether there is no entry: the name does not exist.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the digests of the entries, in order.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.0.iter().map(|entry| entry.digest)
    }

    /// Returns the entry, if it is the only one.
    pub fn only(&self) -> Option<&Descriptor> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl From<Descriptor> for RefValue {
    fn from(only: Descriptor) -> Self {
        Self(vec![only])
    }
}

impl FromIterator<Descriptor> for RefValue {
    fn from_iter<T: IntoIterator<Item = Descriptor>>(entries: T) -> Self {
        Self::new(entries)
    }
}

impl Serialize for RefValue {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => s.serialize_none(),
            [only] => only.serialize(s),
            several => several.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for RefValue {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(d)?;
        let bytes = text.get().as_bytes();
        // The first byte tells the shape. An untagged enum would tell it too, and lose large numbers on the way.
        let value = match bytes.first() {
            Some(b'{') => json::parse_large::<Descriptor>(bytes).map(Self::from),
            _ => json::parse_large::<Option<Vec<Descriptor>>>(bytes)
                .map(|entries| Self::new(entries.unwrap_or_default())),
        };
        value.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MediaType;
    use super::*;

    fn entry(content: &[u8], platform: &str) -> Descriptor {
        Descriptor {
            platform: Some(platform.parse().expect("platform")),
            ..Descriptor::new(MediaType::MANIFEST, Digest::sha256(content), 1 << 40)
        }
    }

    #[test]
    fn as_json_none_is_null_one_a_descriptor_and_several_a_list() {
        let (one, two) = (entry(b"1", "linux/amd64"), entry(b"2", "linux/arm64"));
        for (entries, begin) in [
            (vec![], "null"),
            (vec![one.clone()], "{\"mediaType\""),
            (vec![one.clone(), two.clone()], "[{\"mediaType\""),
        ] {
            let value = RefValue::new(entries);
            let text = json::to_bytes(&value).expect("json");
            assert!(
                text.starts_with(begin.as_bytes()),
                "{}",
                String::from_utf8_lossy(&text)
            );
            assert_eq!(json::parse::<RefValue>(&text).expect("parse"), value);
        }
        assert_eq!(
            json::parse::<RefValue>(b"[]").expect("parse"),
            RefValue::default()
        );
        assert!(json::parse::<RefValue>(b"3").is_err());
    }

    #[test]
    fn the_same_entry_twice_is_one_and_one_image_for_two_platforms_is_two() {
        let one = entry(b"1", "linux/amd64");
        let noted = Descriptor {
            annotations: [("k".to_owned(), "v".to_owned())].into(),
            ..one.clone()
        };
        let other = entry(b"1", "linux/amd64/v2");
        let value = RefValue::new([one.clone(), noted, other.clone()]);
        assert_eq!(value.entries(), [one.clone(), other]);
        assert_eq!(
            (value.only(), RefValue::from(one.clone()).only()),
            (None, Some(&one))
        );
    }
}
