// SPDX-License-Identifier: Apache-2.0
//! `index.json`: read, changed and written without touching what is not ours.
//!
//! Invariant: members and entries that an edit does not concern keep their order and their very bytes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::index_entry::{Entry, raw};
use crate::digest::Digest;
use crate::error::Result;
use crate::spec::{Descriptor, MediaType, REF_NAME, RefName, RefValue, json};

/// The document, in pieces.
#[derive(Clone, Debug, Default)]
pub struct IndexJson {
    /// All members but `manifests`, in order.
    members: Vec<(String, Box<RawValue>)>,
    /// Number of members before `manifests`.
    before: usize,
    /// Shared with copies that were not edited.
    entries: Arc<Vec<Entry>>,
    changed: bool,
}

/// More entries than these must be as long as descriptors can be on average, in bytes: each takes a hundred bytes of memory, also
/// one of `{}`. The shortest descriptor has a digest and a size, and is somewhat longer.
const FEW_ENTRIES: usize = 10_000;
const MIN_ENTRY: usize = 64;

/// An index of more members is refused: there are five that have a meaning.
const MAX_MEMBERS: usize = 1000;

/// Members that every index we write has.
const OWN_MEMBERS: [&str; 2] = ["schemaVersion", "mediaType"];

/// Returns an entry called `name`, also one that no tag may have.
fn named(name: &str, descriptor: &Descriptor) -> Result<Entry> {
    if let Ok(name) = name.parse::<RefName>() {
        name.check_new()?;
    }
    Entry::of(Some(name), descriptor)
}

impl IndexJson {
    /// Parses the file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if it is no JSON object, or has a member twice.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        json::parse_large(bytes)
    }

    /// Returns the members and entries that stand whole in a file that was cut off or overwritten, up to where it breaks, and the
    /// name of the first member whose value is lost.
    pub(crate) fn salvage(bytes: &[u8]) -> (Self, Option<String>) {
        let mut found = Reader {
            is_torn: true,
            ..Reader::default()
        };
        // Of a number at the break more digits may be missing.
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let last = bytes[..end]
            .iter()
            .rposition(|byte| !b"0123456789+-.eE".contains(byte));
        let end = last.map_or(0, |at| at + 1);
        // The result is known: the bytes cannot be parsed.
        let _ = serde_json::Deserializer::from_slice(&bytes[..end]).deserialize_map(&mut found);
        (found.index, found.lost)
    }

    /// Returns the bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for at in 0..=self.members.len() {
            if at == self.before {
                out.extend_from_slice(b"\"manifests\":[");
                for (at, entry) in self.entries.iter().enumerate() {
                    out.extend_from_slice(if at > 0 { b"," } else { b"" });
                    out.extend_from_slice(entry.raw().as_bytes());
                }
                out.extend_from_slice(b"],");
            }
            if let Some((name, value)) = self.members.get(at) {
                let name = serde_json::Value::from(name.as_str());
                out.extend_from_slice(format!("{name}:").as_bytes());
                out.extend_from_slice(value.get().as_bytes());
                out.push(b',');
            }
        }
        // The comma behind the last member.
        out.pop();
        out.extend_from_slice(b"}\n");
        out
    }

    /// Returns the entries, in order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the name of each entry that has one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| entry.ref_name.as_deref())
    }

    /// Returns whether no entry names anything.
    pub(crate) fn is_emptied(&self) -> bool {
        self.entries.iter().all(Entry::is_nothing)
    }

    /// Returns the value of `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if the name has entries, and none of them is a descriptor.
    pub(crate) fn value(&self, name: &str) -> Result<RefValue> {
        Entry::value_of(self.named_by(name))
    }

    fn named_by(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.has_name(name))
    }

    /// Points `name` at `value`: every entry of that name goes, the new ones come last.
    pub(crate) fn set_ref(&mut self, name: impl AsRef<str>, value: impl Into<RefValue>) -> Result<()> {
        self.set_refs(&[(name, value.into())])
    }

    /// Drops every entry of these names, also of names that no tag may have; returns how many went.
    pub(crate) fn remove_refs(&mut self, names: &[&str]) -> Result<usize> {
        self.settle()?;
        let names: HashSet<&str> = names.iter().copied().collect();
        Ok(self.drop_entries(|entry| entry.ref_name.as_deref().is_some_and(|name| names.contains(name))))
    }

    /// Points each name at its value, or drops it for an empty one, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a new name that is a digest.
    pub(crate) fn set_refs(&mut self, changes: &[(impl AsRef<str>, RefValue)]) -> Result<()> {
        let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_ref()).collect();
        self.remove_refs(&names)?;
        // The last word on each name counts.
        let last: HashMap<&str, usize> = names.iter().copied().zip(0..).collect();
        for (at, (name, value)) in changes.iter().enumerate() {
            if last[name.as_ref()] == at {
                for descriptor in value.entries() {
                    self.push_entries(&[named(name.as_ref(), descriptor)?]);
                }
            }
        }
        Ok(())
    }

    /// Lets the entry `old` of `name` be `new`. Where the name has others it keeps its place, and they are not touched; else
    /// this is [`IndexJson::set_ref`], as for a name that is gone.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::error::ErrorKind::Conflict) if the name has entries and `old` is none of them.
    pub(crate) fn replace_entry(&mut self, name: &RefName, old: &Descriptor, new: &Descriptor) -> Result<()> {
        let name = name.as_str();
        if self.named_by(name).all(|entry| entry.is_any_of(&[old])) {
            return self.set_ref(name, new.clone());
        }
        let entries = &mut self.entries.iter();
        let Some(at) = entries.position(|entry| entry.has_name(name) && entry.is_any_of(&[old])) else {
            let other = self.named_by(name).find_map(|entry| entry.descriptor().ok());
            let other = other.map_or_else(|| "what is no descriptor".to_owned(), |d| d.digest.to_string());
            fail!(Conflict, "tag {name} points at {other} by now");
        };
        Arc::make_mut(&mut self.entries)[at] = named(name, new)?;
        // The same entry twice is one.
        let mut met = false;
        self.drop_entries(|entry| {
            entry.has_name(name) && entry.is_any_of(&[old, new]) && std::mem::replace(&mut met, true)
        });
        self.changed = true;
        self.settle()
    }

    /// Appends entries without a name, but for those of whose digest there is one.
    pub(crate) fn add_untagged(&mut self, descriptors: &[Descriptor]) -> Result<()> {
        if descriptors.is_empty() {
            return Ok(());
        }
        self.settle()?;
        let unnamed = self.entries.iter().filter(|entry| entry.ref_name.is_none());
        let mut known: HashSet<Digest> = unnamed
            .filter_map(|entry| Some(entry.descriptor().ok()?.digest))
            .collect();
        for descriptor in descriptors {
            if !known.insert(descriptor.digest) {
                continue;
            }
            let mut descriptor = descriptor.clone();
            descriptor.annotations.remove(REF_NAME);
            self.push_entries(&[Entry::of(None, &descriptor)?]);
        }
        Ok(())
    }

    /// Lists the images that have no other name than `name` without one, before that name goes or gets another image.
    pub(crate) fn keep_images_of(&mut self, name: &str) -> Result<()> {
        let named: Vec<Descriptor> = self
            .named_by(name)
            .filter_map(|entry| entry.descriptor().ok())
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let others = self.entries.iter().filter(|entry| !entry.has_name(name));
        let others: HashSet<Digest> = others
            .filter_map(|entry| Some(entry.descriptor().ok()?.digest))
            .collect();
        let lost = named.into_iter().filter(|one| !others.contains(&one.digest));
        self.add_untagged(&lost.collect::<Vec<_>>())
    }

    /// Drops the entries that `drop` picks; says how many.
    pub(crate) fn drop_entries(&mut self, mut drop: impl FnMut(&Entry) -> bool) -> usize {
        let before = self.entries.len();
        Arc::make_mut(&mut self.entries).retain(|entry| !drop(entry));
        let gone = before - self.entries.len();
        self.changed |= gone > 0;
        gone
    }

    /// Returns why no member may be added by this name.
    fn check_member(&self, name: &str) -> std::result::Result<(), String> {
        if self.members.iter().any(|(known, _)| known == name) {
            return Err(stands_twice(name));
        }
        // Some readers would see its images, and we none: nothing may be collected.
        if json::is_case_variant(name, &["manifests"]) {
            return Err(format!("member {name:?} is not spelled \"manifests\""));
        }
        if self.members.len() == MAX_MEMBERS {
            return Err(format!("more than {MAX_MEMBERS} members"));
        }
        Ok(())
    }

    /// Has these entries alone, and the members that every index we write has.
    pub(crate) fn replace_entries(&mut self, entries: Vec<Entry>) -> Result<()> {
        self.entries = Arc::new(entries);
        self.changed = true;
        self.settle()
    }

    /// Appends entries as they are.
    pub(crate) fn push_entries(&mut self, entries: &[Entry]) {
        Arc::make_mut(&mut self.entries).extend_from_slice(entries);
        self.changed |= !entries.is_empty();
    }

    /// Returns whether it was changed since it was read.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Returns whether an entry has this name.
    pub(crate) fn has_ref(&self, name: &str) -> bool {
        self.named_by(name).next().is_some()
    }

    /// Sets the members that every index we write has.
    fn settle(&mut self) -> Result<()> {
        self.set_member(0, "schemaVersion", raw(&2)?);
        self.set_member(1, "mediaType", raw(&MediaType::INDEX)?);
        Ok(())
    }

    /// Sets a member; a new one stands at `at`.
    fn set_member(&mut self, at: usize, name: &str, value: Box<RawValue>) {
        let known = self.members.iter_mut().find(|(known, _)| known == name);
        if known.as_ref().is_some_and(|known| known.1.get() == value.get()) {
            return;
        }
        self.changed = true;
        if let Some(known) = known {
            known.1 = value;
        } else {
            let at = at.min(self.members.len());
            self.members.insert(at, (name.to_owned(), value));
            self.before += usize::from(at <= self.before);
        }
    }
}

fn stands_twice(name: &str) -> String {
    format!("member {name:?} stands twice")
}

/// Reads the document, whole or as far as it goes.
#[derive(Default)]
struct Reader {
    index: IndexJson,
    /// Takes what stands whole in a document that breaks off somewhere, and passes over what is wrong.
    is_torn: bool,
    /// The first member of a torn document whose value is lost.
    lost: Option<String>,
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let Reader { index, is_torn, lost } = self;
        let mut is_listed = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "manifests" {
                if std::mem::replace(&mut is_listed, true) && !*is_torn {
                    return Err(A::Error::custom(stands_twice(&name)));
                }
                let entries = Arc::make_mut(&mut index.entries);
                map.next_value_seed(List {
                    entries,
                    is_torn: *is_torn,
                })?;
                continue;
            }
            let fault = index.check_member(&name).err();
            if let Some(fault) = fault.as_ref().filter(|_| !*is_torn) {
                return Err(A::Error::custom(fault));
            }
            let value = map.next_value::<Box<RawValue>>();
            // A member that would make the file unreadable again is lost as well.
            if (fault.is_some() || value.is_err()) && !OWN_MEMBERS.contains(&name.as_str()) {
                lost.get_or_insert_with(|| name.clone());
            }
            let value = value?;
            if fault.is_none() {
                index.members.push((name, value));
                index.before += usize::from(!is_listed);
            }
        }
        Ok(())
    }
}

/// Reads `manifests`: a list, or null.
struct List<'a> {
    entries: &'a mut Vec<Entry>,
    is_torn: bool,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        let mut bytes = 0;
        while let Some(raw) = seq.next_element::<Box<RawValue>>()? {
            bytes += raw.get().len();
            let entry = Entry::new(raw);
            // In a torn file an entry that is no descriptor tells nothing.
            if !self.is_torn || entry.descriptor().is_ok() {
                self.entries.push(entry);
            }
            let count = self.entries.len();
            if count > FEW_ENTRIES && count * MIN_ENTRY > bytes {
                return Err(A::Error::custom(format!(
                    "the first {count} manifests take {bytes} bytes, too few to be descriptors; drop those that are none"
                )));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for IndexJson {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let mut reader = Reader::default();
        d.deserialize_map(&mut reader)?;
        Ok(reader.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn list(entry: &str, count: usize) -> String {
        let others = format!("{entry},").repeat(count - 1);
        format!("{{\"manifests\":[{others}{entry}]}}")
    }

    fn parse(text: String) -> Result<IndexJson> {
        IndexJson::parse(text.as_bytes())
    }

    fn entry(n: u8) -> String {
        let descriptor = Descriptor::new(MediaType::MANIFEST, Digest::sha256(&[n]), 1);
        String::from_utf8(json::to_bytes(&descriptor).expect("JSON")).expect("utf-8")
    }

    /// Returns the place in `whole` where `text` ends.
    fn end(whole: &str, text: &str) -> usize {
        whole.find(text).expect("there") + text.len()
    }

    fn name(text: &str) -> RefName {
        text.parse().expect("name")
    }

    #[test]
    fn what_is_not_ours_keeps_its_bytes_and_place() {
        let foreign = r#"{ "x": [1,  2], "schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"nonsense"}, {"size": 1.0,"annotations":{"org.opencontainers.image.ref.name":"keep","k":"v"}}],"annotations":{"a":"<b>"}}"#;
        let mut index = IndexJson::parse(foreign.as_bytes()).expect("index");
        index
            .set_ref(
                name("new"),
                Descriptor::new(MediaType::MANIFEST, Digest::sha256(b""), 0),
            )
            .expect("set");
        assert_eq!(index.remove_refs(&["new"]).expect("remove"), 1);
        assert_eq!(index.remove_refs(&["new"]).expect("remove"), 0);
        let want = foreign
            .replace("{ \"x\": [1,  2], ", "{\"x\":[1,  2],")
            .replace("}, {", "},{")
            + "\n";
        assert_eq!(String::from_utf8(index.to_bytes()).expect("utf-8"), want);
        assert!(index.entries()[0].descriptor().is_err());
    }

    #[test]
    fn a_ref_moves_to_the_end_and_replaces_its_namesakes() {
        let mut index = IndexJson::parse(b"{}").expect("empty");
        for (tag, data) in [("a", b"1"), ("b", b"2"), ("a", b"3")] {
            index
                .set_ref(
                    name(tag),
                    Descriptor::new(MediaType::MANIFEST, Digest::sha256(data), 1),
                )
                .expect("set");
        }
        let names: Vec<_> = index
            .entries()
            .iter()
            .map(|e| e.ref_name.as_deref().expect("name"))
            .collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(
            index.entries()[1].descriptor().expect("descriptor").digest,
            Digest::sha256(b"3")
        );
        let text = String::from_utf8(index.to_bytes()).expect("utf-8");
        assert!(text.starts_with("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":["), "{text}");
    }

    #[test]
    fn a_written_index_always_has_version_type_and_list() {
        const HEAD: &str = r#""schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json""#;
        for (before, after) in [
            ("{}", format!("{{{HEAD},\"manifests\":[]}}\n")),
            (
                r#"{"manifests":null}"#,
                format!("{{{HEAD},\"manifests\":[]}}\n"),
            ),
            (
                r#"{"manifests":[{}],"x":{"y":1.0},"schemaVersion":0}"#,
                "{\"manifests\":[{}],\"x\":{\"y\":1.0},\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"schemaVersion\":2}\n"
                    .to_owned(),
            ),
            (
                r#"{"a":1,"manifests":[],"mediaType":"","b":2}"#,
                "{\"schemaVersion\":2,\"a\":1,\"manifests\":[],\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"b\":2}\n"
                    .to_owned(),
            ),
        ] {
            let mut index = IndexJson::parse(before.as_bytes()).expect(before);
            index.remove_refs(&["none"]).expect("remove");
            assert_eq!(String::from_utf8(index.to_bytes()).expect("utf-8"), after, "{before}");
        }
    }

    #[test]
    fn entries_too_short_for_descriptors_are_refused_in_great_numbers_and_real_ones_are_not() {
        assert_eq!(
            parse(list("{}", FEW_ENTRIES)).expect("few").entries().len(),
            FEW_ENTRIES
        );
        let err = parse(list("{}", FEW_ENTRIES + 1)).expect_err("many").to_string();
        assert!(
            err.contains("the first 10001 manifests take 20002 bytes, too few"),
            "{err}"
        );
        let short = format!("{{\"digest\":\"{}\",\"size\":0}}", Digest::sha256(b""));
        assert_eq!(
            parse(list(&short, 100_000)).expect("real").entries().len(),
            100_000
        );
        let members: Vec<String> = (0..=MAX_MEMBERS).map(|n| format!("\"{n}\":0")).collect();
        assert!(parse(format!("{{{}}}", members[1..].join(","))).is_ok());
        let err = parse(format!("{{{}}}", members.join(",")))
            .expect_err("members")
            .to_string();
        assert!(err.contains("more than 1000 members"), "{err}");
    }

    #[test]
    fn a_name_is_not_looked_for_among_more_values_than_a_descriptor_may_have() {
        let many = "0,".repeat(json::MAX_VALUES);
        let text =
            format!("{{\"manifests\":[{{\"annotations\":{{\"{REF_NAME}\":\"a\",\"x\":[{many}0]}}}}]}}");
        let index = IndexJson::parse(text.as_bytes()).expect("index");
        assert!(index.entries()[0].ref_name.is_none() && index.entries()[0].descriptor().is_err());
    }

    #[test]
    fn odd_documents() {
        assert!(
            IndexJson::parse(br#"{"manifests":null,"schemaVersion":0}"#)
                .expect("null")
                .entries()
                .is_empty()
        );
        for bad in [
            &b"[]"[..],
            b"",
            b"{\"manifests\":{}}",
            b"{\"a\":1,\"a\":2}",
            b"{\"manifests\":[],\"manifests\":[]}",
        ] {
            assert!(IndexJson::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn what_stands_whole_in_a_torn_file_is_found() {
        let (one, two) = (entry(1), entry(2));
        let whole = format!(
            r#"{{"schemaVersion":2,"x":[{{}}],"manifests":[{},{{}},{}],"y":12, "annotations":{{"a":"b1"}}}}"#,
            one.trim(),
            two.trim()
        );
        for cut in 0..=whole.len() {
            let mut zeros = whole.clone().into_bytes();
            zeros[cut..].fill(0);
            for text in [&whole.as_bytes()[..cut], &zeros] {
                let (index, lost) = IndexJson::salvage(text);
                let mut entries = vec![one.trim(), two.trim()];
                entries.retain(|entry| cut >= end(&whole, entry));
                let found = index.entries.iter().map(Entry::raw);
                assert!(found.eq(entries), "{}", &whole[..cut]);
                let mut members = vec![
                    ("schemaVersion", "2", end(&whole, "2,")),
                    ("x", "[{}]", end(&whole, "[{}]")),
                    ("y", "12", end(&whole, "12,")),
                    ("annotations", "{\"a\":\"b1\"}", end(&whole, "1\"}")),
                ];
                members.retain(|(_, _, end)| cut >= *end);
                let found = index
                    .members
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.get()));
                assert!(
                    found.eq(members.iter().map(|(name, value, _)| (*name, *value))),
                    "{}",
                    &whole[..cut]
                );
                let mut begun = ["x", "y", "annotations"].into_iter();
                let want = begun.find(|name| {
                    let is_whole = members.iter().any(|(member, ..)| member == name);
                    !is_whole && cut >= end(&whole, &format!("\"{name}\""))
                });
                assert_eq!(lost.as_deref(), want, "{}", &whole[..cut]);
            }
        }
        for other in [
            "",
            "[]",
            "null",
            "\0\0",
            "{\"manifests\":{\"manifests\":7}}",
            "\u{feff}{}",
        ] {
            assert!(
                IndexJson::salvage(other.as_bytes()).0.entries.is_empty(),
                "{other:?}"
            );
        }
        // A file that can be parsed again has no member twice.
        let doubled = r#"{"manifests":null,"x":1,"x":2,"Manifests":[],"z":3}"#;
        let (mut index, lost) = IndexJson::salvage(doubled.as_bytes());
        assert_eq!(lost.as_deref(), Some("x"));
        index.replace_entries(Vec::new()).expect("replace");
        let want = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"x":1,"z":3}"#;
        assert_eq!(String::from_utf8(index.to_bytes()).expect("utf-8").trim(), want);
    }
}
