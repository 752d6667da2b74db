// SPDX-License-Identifier: Apache-2.0
//! The blobs that a document keeps: all that version 0.1.0 kept, and all that stands in a document of several readings.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use umoci::digest::Digest;

/// Checks the edges of any bytes.
pub fn keep_what_is_named(bytes: &[u8]) {
    let edges = umoci::internals::edges_of(bytes).expect("bytes with their digest");
    let with = |wanted: &[&str]| -> HashSet<Digest> {
        let found = edges.iter().filter(|(name, _)| wanted.contains(name));
        found.map(|(_, digest)| *digest).collect()
    };
    let (held, subjects) = (with(&["declared", "mentioned"]), with(&["subject"]));
    let text = String::from_utf8_lossy(bytes);
    for (is_subject, digest) in edges_of_0_1_0(bytes) {
        let kept = if is_subject { &subjects } else { &held };
        assert!(kept.contains(&digest), "0.1.0 kept {digest}: {text}");
    }
    for digest in held.union(&subjects) {
        let name = digest.to_string();
        assert!(
            text.contains(&name) || text.contains('\\'),
            "{digest} does not stand there"
        );
    }
}

/// Returns the edges of a document by the rule of version 0.1.0, each with whether it is one to a subject. Of bytes that begin like
/// JSON and are no object, that version kept what [`edges_of`](umoci::internals::edges_of) calls mentions; they are not searched here.
pub fn edges_of_0_1_0(bytes: &[u8]) -> Vec<(bool, Digest)> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Vec::new();
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut found = Found::default();
    if Document(&mut found).deserialize(&mut reader).is_err() || reader.end().is_err() {
        return Vec::new();
    }
    let Found { shape, mut links, .. } = found;
    let is_list = shape.manifests || (shape.config && shape.layers);
    let is_config = shape.rootfs && shape.platform;
    let is_clear = !(shape.is_odd || shape.other || is_list && shape.has_odd_descriptor);
    if is_clear && (is_list || is_config) {
        links.retain(|link| link.member != Member::Rest && link.in_descriptor);
    }
    let is_subject = |link: &Link| is_clear && (is_list || is_config) && link.member == Member::Subject;
    links.iter().map(|link| (is_subject(link), link.digest)).collect()
}

/// The member of the document in which a digest stands.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    Needed,
    Subject,
    #[default]
    Rest,
}

struct Link {
    member: Member,
    digest: Digest,
    in_descriptor: bool,
}

/// The kind of a document, as its members tell it.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the rule was of this form")]
struct Shape {
    config: bool,
    layers: bool,
    manifests: bool,
    rootfs: bool,
    platform: bool,
    other: bool,
    is_odd: bool,
    has_odd_descriptor: bool,
}

#[derive(Default)]
struct Found {
    shape: Shape,
    member: Member,
    links: Vec<Link>,
    objects: usize,
}

fn is_odd(name: &str, plain: &[&str]) -> bool {
    let folded = |c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => char::to_ascii_lowercase(&c),
    };
    let is_like = |plain: &str| name.chars().map(folded).eq(plain.chars().map(folded));
    plain.iter().any(|plain| name != *plain && is_like(plain))
}

struct Document<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const OWN: [&str; 9] = [
            "config",
            "layers",
            "manifests",
            "subject",
            "rootfs",
            "architecture",
            "os",
            "blobs",
            "fsLayers",
        ];
        let found = self.0;
        while let Some(name) = map.next_key::<String>()? {
            let shape = &mut found.shape;
            found.member = match name.as_str() {
                "config" => {
                    shape.config = true;
                    Member::Needed
                }
                "layers" => {
                    shape.layers = true;
                    Member::Needed
                }
                "manifests" => {
                    shape.manifests = true;
                    Member::Needed
                }
                "subject" => Member::Subject,
                other => {
                    shape.rootfs |= other == "rootfs";
                    shape.platform |= other == "architecture" || other == "os";
                    shape.other |= other == "blobs" || other == "fsLayers";
                    shape.is_odd |= is_odd(other, &OWN);
                    Member::Rest
                }
            };
            map.next_value_seed(Anything(found))?;
        }
        Ok(())
    }
}

/// Collects the digests in any JSON value.
struct Anything<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Anything<'_> {
    /// Whether the value is a digest.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<bool, D::Error> {
        d.deserialize_any(self)
    }
}

macro_rules! no_digest {
    ($($name:ident: $kind:ty),*) => {$(
        fn $name<E>(self, _: $kind) -> Result<bool, E> {
            Ok(false)
        }
    )*};
}

impl<'de> Visitor<'de> for Anything<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    no_digest!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        let Ok(digest) = text.parse() else {
            return Ok(false);
        };
        let found = self.0;
        found.links.push(Link {
            member: found.member,
            digest,
            in_descriptor: found.objects == 0,
        });
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element_seed(Anything(&mut *self.0))?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let found = self.0;
        found.objects += 1;
        while let Some(name) = map.next_key::<String>()? {
            let is_digest = map.next_value_seed(Anything(&mut *found))?;
            if name == "digest" && is_digest {
                if let Some(link) = found.links.last_mut() {
                    link.in_descriptor = true;
                }
            } else if is_odd(&name, &["digest", "mediaType"]) && found.member != Member::Rest {
                found.shape.has_odd_descriptor = true;
            }
        }
        found.objects -= 1;
        Ok(false)
    }
}
