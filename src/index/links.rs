// SPDX-License-Identifier: Apache-2.0
//! What a blob names by digest, told from its own bytes.
//!
//! OCI's and Docker's documents are understood by their shape. Of a document of unknown shape every digest that
//! stands anywhere in it counts, and so it does where another reader may understand something else: in a document of which
//! a member is spelled in another way, and in what begins like a document and cannot be parsed. So nothing that somebody may
//! need is ever lost. Documents are read as a stream, and what they name is given in pieces: neither their size nor the
//! number of digests in them sets a limit, or takes memory.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::rows::Edge;
use super::shortened::Shortened;
use super::words;
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::json::is_odd;
use crate::spec::{MediaClass, MediaType};

/// A mention of a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    pub edge: Edge,
    pub digest: Digest,
    /// As the document says; empty if it says nothing.
    pub media_type: String,
    /// In bytes, if the document says it.
    pub size: Option<u64>,
    /// Whether it stands in a member called `digest`, as that of a descriptor does, or in no object.
    pub in_descriptor: bool,
}

impl Link {
    /// Whether it names a manifest or index.
    pub(super) fn is_to_document(&self) -> bool {
        let media_type = MediaType::new(self.media_type.clone());
        matches!(media_type.class(), MediaClass::Manifest | MediaClass::Index)
    }
}

/// What is in a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// No JSON document.
    Opaque,
    /// A JSON document, or what begins like one, with what it names.
    Document { links: Vec<Link> },
    /// One that names more than is held at a time; [`each_link`] reads it again.
    Large(Shape),
}

/// So many links are held at a time, about 8 MiB. No document that is read whole has as many.
const MAX_HELD: usize = 65_536;

/// Reads a blob of `size` bytes as far as needed. A document is verified against its digest.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a document that is not what its digest says.
pub(crate) fn read(mut file: impl Read + Seek, digest: &Digest, size: u64) -> Result<Content> {
    let start = start(&mut file)?;
    let (mut held, mut is_large) = (Vec::new(), false);
    let mut hold = |links| {
        is_large |= !held.is_empty();
        held = links;
        Ok(())
    };
    let shape = match start {
        Start::Document => parse(&mut file, digest, size, &mut hold)?,
        Start::Text => scan_verified(&mut file, digest, size, &mut hold)?,
        Start::Other => return Ok(Content::Opaque),
    };
    if is_large {
        return Ok(Content::Large(shape));
    }
    Ok(match shape.links(held) {
        // A text with a brace before it.
        links if links.is_empty() && shape.is_text => Content::Opaque,
        links => Content::Document { links },
    })
}

/// What a blob begins like.
enum Start {
    Document,
    /// A list, or a document behind the mark of UTF-8, which some leave out of account.
    Text,
    Other,
}

impl Start {
    /// Looks at the beginning of a blob, and passes over the white space there.
    fn of(reader: &mut impl BufRead) -> Result<Self> {
        loop {
            let piece = reader.fill_buf()?;
            let length = piece.len();
            if length == 0 {
                return Ok(Self::Other);
            }
            let spaces = piece.iter().take_while(|c| c.is_ascii_whitespace()).count();
            return Ok(match piece.get(spaces..) {
                None | Some([]) => {
                    reader.consume(length);
                    continue;
                }
                Some([b'{', ..]) => Self::Document,
                // A name in a tar archive may begin so, and ends with a zero.
                Some([b'[', ..] | [0xef, 0xbb, 0xbf, ..]) if !piece.contains(&0) => Self::Text,
                _ => Self::Other,
            });
        }
    }
}

/// The file is read from its start again.
fn start(file: &mut (impl Read + Seek)) -> Result<Start> {
    let start = Start::of(&mut BufReader::with_capacity(512, &mut *file))?;
    file.seek(SeekFrom::Start(0))?;
    Ok(start)
}

/// Gives each digest that stands in a blob which begins like JSON; none of any other, which is not read further.
///
/// # Errors
/// Those of reading, and those of `each`.
pub(crate) fn each_mention(blob: impl Read, each: impl FnMut(Digest) -> Result<()>) -> Result<()> {
    let mut reader = BufReader::with_capacity(512, blob);
    match Start::of(&mut reader)? {
        Start::Document | Start::Text => words::each_digest(reader, each),
        Start::Other => Ok(()),
    }
}

/// Gives what a document of this shape names, piece by piece. Of a value that holds very many digests inside a descriptor
/// the media type may stay unknown.
///
/// # Errors
/// Those of [`read`], when all was given, and those of `each`.
pub(crate) fn each_link(
    mut file: impl Read + Seek,
    digest: &Digest,
    size: u64,
    shape: Shape,
    mut each: impl FnMut(Vec<Link>) -> Result<()>,
) -> Result<()> {
    let mut give = |links| each(shape.links(links));
    let again = if shape.is_text {
        scan_verified(&mut file, digest, size, &mut give)?
    } else {
        parse(&mut file, digest, size, &mut give)?
    };
    if again == shape {
        return Ok(());
    }
    let text = format!("{digest} changed while it was read");
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// What an entry of `index.json` names of which not all readers make the same: all digests that stand in it.
pub(crate) fn of_unclear(entry: &str) -> Vec<Link> {
    let mut out = Vec::new();
    // Of what is in memory nothing fails.
    let _ = scan(entry.as_bytes(), &mut |links| {
        out.extend(links.into_iter().map(|(_, link)| link));
        Ok(())
    });
    out
}

fn scan_verified(file: impl Read, digest: &Digest, size: u64, full: &mut Take<'_>) -> Result<Shape> {
    let mut verified = VerifyReader::new(file, *digest, size);
    scan(&mut verified, full)?;
    verified.finish().map(|()| Shape::TEXT)
}

/// Gives all digests that stand in what cannot be parsed.
fn scan(file: impl Read, full: &mut Take<'_>) -> Result<()> {
    let mut found = Found::new(full);
    words::each_digest(file, |digest| found.add(digest))?;
    let Found { links, full, .. } = found;
    full(links)
}

/// Takes links with where they stand.
type Take<'a> = dyn FnMut(Vec<(Member, Link)>) -> Result<()> + 'a;

/// Reads a document; `full` takes links whenever there are many, and the last of them.
fn parse(file: &mut (impl Read + Seek), digest: &Digest, size: u64, full: &mut Take<'_>) -> Result<Shape> {
    let mut verified = VerifyReader::new(&mut *file, *digest, size);
    let short = Shortened::new(BufReader::with_capacity(64 * 1024, &mut verified));
    let mut de = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, short));
    let mut found = Found::new(full);
    let parsed = Document { found: &mut found }.deserialize(&mut de);
    // What follows a document makes it none.
    let parsed = parsed.and_then(|shape| de.end().map(|()| shape));
    drop(de);
    let Found {
        links, full, failed, ..
    } = found;
    if let Some(err) = failed {
        return Err(err);
    }
    verified.finish()?;
    match parsed {
        Ok(shape) => full(links).map(|()| shape),
        // Bytes that only look like a document at their start, or one that another reader can parse.
        Err(err) if err.is_syntax() || err.is_eof() => {
            file.seek(SeekFrom::Start(0))?;
            scan(file, full)?;
            Ok(Shape::TEXT)
        }
        Err(err) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{digest}: invalid JSON: {err}"),
        )),
    }
}

/// Where in a document a link stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Member {
    /// What a manifest or index needs.
    Needed,
    Subject,
    Rest,
}

/// Which kind of document it is, as its members tell.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Shape {
    config: bool,
    layers: bool,
    manifests: bool,
    rootfs: bool,
    platform: bool,
    /// It has what manifests of other kinds have.
    other: bool,
    /// A member that tells a kind is spelled in another way: to another reader it is another document.
    is_odd: bool,
    /// One of a descriptor is.
    has_odd_descriptor: bool,
    /// It cannot be parsed.
    is_text: bool,
}

/// Members of documents that tell their kind, and of descriptors that tell what is named.
const OF_DOCUMENTS: [&str; 9] = [
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
const OF_DESCRIPTORS: [&str; 2] = ["digest", "mediaType"];

impl Shape {
    const TEXT: Shape = Shape {
        config: false,
        layers: false,
        manifests: false,
        rootfs: false,
        platform: false,
        other: false,
        is_odd: false,
        has_odd_descriptor: false,
        is_text: true,
    };

    /// Notes the name of a member.
    fn note(&mut self, name: &str) -> Member {
        let (noted, member) = match name {
            "config" => (&mut self.config, Member::Needed),
            "layers" => (&mut self.layers, Member::Needed),
            "manifests" => (&mut self.manifests, Member::Needed),
            "rootfs" => (&mut self.rootfs, Member::Rest),
            "architecture" | "os" => (&mut self.platform, Member::Rest),
            "blobs" | "fsLayers" => (&mut self.other, Member::Rest),
            "subject" => return Member::Subject,
            _ => {
                self.is_odd |= is_odd(name, &OF_DOCUMENTS);
                return Member::Rest;
            }
        };
        *noted = true;
        member
    }

    /// What counts of the links in such a document.
    fn links(self, mut all: Vec<(Member, Link)>) -> Vec<Link> {
        let is_list = self.manifests || (self.config && self.layers);
        // An image config names layers by what is in them, not by blobs.
        let is_config = self.rootfs && self.platform;
        if self.is_odd || self.other || (is_list && self.has_odd_descriptor) {
            // Whatever another reader makes of it.
        } else if is_list || is_config {
            // A document that could be several of them keeps what any reading needs. Annotations of descriptors may
            // hold digests of what is no blob.
            all.retain(|(member, link)| *member != Member::Rest && link.in_descriptor);
            for (member, link) in &mut all {
                if *member == Member::Subject {
                    link.edge = Edge::Subject;
                }
            }
        }
        all.into_iter().map(|(_, link)| link).collect()
    }
}

/// The links of a document as they are found.
struct Found<'a> {
    /// The member of the document that is being read.
    member: Member,
    links: Vec<(Member, Link)>,
    /// How often the links were taken.
    taken: usize,
    full: &'a mut Take<'a>,
    failed: Option<Error>,
    has_odd_descriptor: bool,
    /// How many objects the value being read stands in, the document not counted.
    objects: usize,
}

impl<'a> Found<'a> {
    fn new(full: &'a mut Take<'a>) -> Self {
        Self {
            member: Member::Rest,
            links: Vec::new(),
            taken: 0,
            full,
            failed: None,
            has_odd_descriptor: false,
            objects: 0,
        }
    }

    /// Which link was found last.
    fn newest(&self) -> (usize, usize) {
        (self.taken, self.links.len())
    }

    /// Says of a link, if it is there still, what stands beside it in its descriptor.
    fn describe(&mut self, link: Option<(usize, usize)>, media_type: Option<&String>, size: Option<u64>) {
        if let Some((taken, count)) = link
            && taken == self.taken
            && let Some((_, link)) = self.links.get_mut(count.wrapping_sub(1))
        {
            link.in_descriptor = true;
            link.media_type = media_type.cloned().unwrap_or_default();
            link.size = size;
        }
    }

    fn add(&mut self, digest: Digest) -> Result<()> {
        if self.links.len() == MAX_HELD {
            self.taken += 1;
            (self.full)(std::mem::take(&mut self.links))?;
        }
        let link = Link {
            edge: Edge::Strong,
            digest,
            media_type: String::new(),
            size: None,
            // A list of digests alone is one of what is needed.
            in_descriptor: self.objects == 0,
        };
        self.links.push((self.member, link));
        Ok(())
    }
}

struct Document<'a, 'f> {
    found: &'a mut Found<'f>,
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Shape, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Shape, A::Error> {
        let mut shape = Shape::default();
        while let Some(name) = map.next_key::<String>()? {
            self.found.member = shape.note(&name);
            map.next_value_seed(Anything { found: self.found })?;
        }
        shape.has_odd_descriptor = self.found.has_odd_descriptor;
        Ok(shape)
    }
}

/// Collects the digests in any JSON value, with the media type and size that stand beside each.
struct Anything<'a, 'f> {
    found: &'a mut Found<'f>,
}

impl<'de> DeserializeSeed<'de> for Anything<'_, '_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Anything<'_, '_> {
    /// The text, if the value is one or a number.
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
        if let Ok(digest) = text.parse()
            && let Err(err) = self.found.add(digest)
        {
            self.found.failed = Some(err);
            return Err(E::custom("stopped"));
        }
        Ok(Some(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Self::Value, E> {
        Ok(Some(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
        while seq.next_element_seed(Anything { found: self.found })?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut own = None;
        let (mut media_type, mut size, mut number) = (None, None, None);
        self.found.objects += 1;
        while let Some(name) = map.next_key::<String>()? {
            let text = map.next_value_seed(Anything { found: self.found })?;
            match name.as_str() {
                // A text that is a digest was found last.
                "digest" if text.as_ref().is_some_and(|text| text.parse::<Digest>().is_ok()) => {
                    own = Some(self.found.newest());
                    self.found.describe(own, media_type.as_ref(), size);
                }
                "mediaType" => media_type = text,
                "size" => size = text.and_then(|text| text.parse().ok()),
                // Numbers that keep their digits arrive as such a map, and others may look like one.
                "$serde_json::private::Number" => number = text,
                name if is_odd(name, &OF_DESCRIPTORS) => {
                    // It may be a descriptor of something else, or of another type.
                    self.found.has_odd_descriptor |= self.found.member != Member::Rest;
                }
                _ => {}
            }
        }
        self.found.objects -= 1;
        self.found.describe(own, media_type.as_ref(), size);
        Ok(number)
    }
}

/// Reads any bytes as a document, for tests that look for some that break it.
///
/// # Panics
/// If a digest in a JSON document is overlooked, if what a document declares is not kept, or if something is kept that a copy
/// of it as a document of an unknown kind would leave behind.
#[cfg(debug_assertions)]
pub fn read_any_links(bytes: &[u8]) {
    use std::collections::HashSet;

    use serde_json::Value;

    use crate::spec::Document;

    let found = read(
        std::io::Cursor::new(bytes),
        &Digest::sha256(bytes),
        bytes.len() as u64,
    )
    .expect("bytes with their digest");
    let kept: HashSet<Digest> = match &found {
        Content::Document { links } => links.iter().map(|link| link.digest).collect(),
        Content::Opaque | Content::Large(_) => HashSet::new(),
    };
    let mut mentioned = HashSet::new();
    let note = |digest| {
        mentioned.insert(digest);
        Ok(())
    };
    each_mention(bytes, note).expect("bytes in memory");
    assert!(kept.is_subset(&mentioned), "kept and not mentioned");
    if let Ok(Some(document)) = Document::parse(bytes)
        && !matches!(found, Content::Large(_))
    {
        for declared in document.into_declared() {
            assert!(kept.contains(&declared.digest), "declared: {}", declared.digest);
        }
    }
    let Ok(Value::Object(document)) = serde_json::from_slice(bytes) else {
        return;
    };
    let mut shape = Shape::default();
    for name in document.keys() {
        shape.note(name);
    }
    let Content::Document { links } = found else {
        panic!("not seen as a document");
    };
    let is_known = shape.manifests || shape.config && shape.layers || shape.rootfs && shape.platform;
    if is_known && !shape.is_odd && !shape.other {
        return;
    }
    let mut values: Vec<&Value> = document.values().collect();
    while let Some(value) = values.pop() {
        match value {
            Value::String(text) => {
                let digest = text.parse::<Digest>().ok();
                assert!(
                    digest.is_none_or(|d| links.iter().any(|link| link.digest == d)),
                    "{text}"
                );
            }
            Value::Array(all) => values.extend(all),
            Value::Object(all) => values.extend(all.values()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn d(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn links(json: &str) -> Vec<(Edge, Digest, String)> {
        match read(Cursor::new(&json), &d(json), json.len() as u64).expect("read") {
            Content::Document { links } => links
                .into_iter()
                .map(|l| (l.edge, l.digest, l.media_type))
                .collect(),
            content => panic!("{content:?}: {json}"),
        }
    }

    #[test]
    fn documents_name_what_they_need() {
        let (a, b, c) = (d("a"), d("b"), d("c"));
        let strong = |digest, media_type: &str| (Edge::Strong, digest, media_type.to_owned());
        let manifest = format!(
            r#" {{"config":{{"digest":"{a}","mediaType":"t/c"}},"layers":[{{"mediaType":"t/l","digest":"{b}","annotations":{{"x":"{c}"}}}}],"subject":{{"digest":"{c}","mediaType":"t/s"}},"annotations":{{"base":"{c}"}}}}"#
        );
        let got = links(&manifest);
        assert_eq!(
            got,
            [
                strong(a, "t/c"),
                strong(b, "t/l"),
                (Edge::Subject, c, "t/s".to_owned())
            ]
        );
        assert_eq!(
            links(&format!(r#"{{"manifests":[{{"digest":"{a}"}}],"x":"{b}"}}"#)),
            [strong(a, "")]
        );
        assert_eq!(
            links(&format!(r#"{{"os":"linux","rootfs":{{"diff_ids":["{a}"]}}}}"#)),
            []
        );
        // The name by which the parser passes on numbers is one as any other.
        assert_eq!(
            links(&format!(
                r#"{{"x":{{"$serde_json::private::Number":"1","y":"{a}"}},"z":-1.50}}"#
            )),
            [strong(a, "")]
        );
        assert_eq!(
            links(&format!(r#"{{"any":[[{{"where":"{a}"}}]],"fsLayers":["{b}"]}}"#)),
            [strong(a, ""), strong(b, "")]
        );
    }

    #[test]
    fn the_size_beside_a_digest_is_that_of_the_blob() {
        let (a, b) = (d("a"), d("b"));
        let json = format!(
            r#"{{"blobs":[{{"size":12,"x":{{"size":3}},"digest":"{a}"}},{{"digest":"{b}","size":-1}},{{"digest":"{b}","size":"1"}},{{"digest":"{b}"}}]}}"#
        );
        let content = read(Cursor::new(&json), &d(&json), json.len() as u64).expect("read");
        let Content::Document { links } = content else {
            panic!("no document")
        };
        let sizes: Vec<Option<u64>> = links.iter().map(|link| link.size).collect();
        assert_eq!(sizes, [Some(12), None, Some(1), None]);
    }

    #[test]
    fn what_is_no_document_is_opaque_and_damage_is_an_error() {
        for text in [
            "",
            "\u{1f}",
            "[1]",
            "{ not json",
            "{\"a\":",
            "{} {",
            "[\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]\0",
        ] {
            assert_eq!(
                read(Cursor::new(text), &d(text), text.len() as u64).expect(text),
                Content::Opaque,
                "{text}"
            );
        }
        let err = read(Cursor::new("{}"), &d("other"), 2).expect_err("damaged");
        assert!(
            err.kind() == ErrorKind::Corrupt && err.to_string().contains("digest mismatch"),
            "{err}"
        );
    }

    #[test]
    fn what_names_very_many_is_given_in_pieces() {
        let names =
            |count: usize| -> Vec<String> { (0..count).map(|n| d(&n.to_string()).to_string()).collect() };
        let many = names(2 * MAX_HELD + 1);
        let list = many
            .iter()
            .map(|name| format!(r#"{{"mediaType":"t/x","digest":"{name}","size":7}}"#));
        let list = list.collect::<Vec<_>>().join(",");
        for (json, edges) in [
            (format!(r#"{{"x":[{list}]}}"#), [Edge::Strong, Edge::Strong]),
            (
                format!(r#"{{"manifests":[{list}],"subject":{{"digest":"{}"}}}}"#, d("s")),
                [Edge::Strong, Edge::Subject],
            ),
            // Read as a manifest only when all has been read.
            (
                format!(
                    r#"{{"x":[{list}],"layers":[{list}],"subject":{{"digest":"{}"}},"config":[]}}"#,
                    d("s")
                ),
                [Edge::Strong, Edge::Subject],
            ),
        ] {
            let (digest, size) = (d(&json), json.len() as u64);
            let Content::Large(shape) = read(Cursor::new(&json), &digest, size).expect("read") else {
                panic!("not large");
            };
            let mut all = Vec::new();
            let each = |links: Vec<Link>| {
                assert!(links.len() <= MAX_HELD);
                all.extend(links);
                Ok(())
            };
            each_link(Cursor::new(&json), &digest, size, shape, each).expect("links");
            let is_subject = all.last().is_some_and(|link| link.digest == d("s"));
            assert_eq!([all[0].edge, all.last().expect("last").edge], edges);
            all.truncate(all.len() - usize::from(is_subject));
            assert_eq!(
                all.iter().map(|link| link.digest.to_string()).collect::<Vec<_>>(),
                many
            );
            assert!(
                all.iter()
                    .all(|link| link.in_descriptor && link.media_type == "t/x")
            );
            let full = || Error::new(ErrorKind::Io, "full");
            let err =
                each_link(Cursor::new(&json), &digest, size, shape, |_| Err(full())).expect_err("stopped");
            assert_eq!((err.kind(), err.to_string()), (ErrorKind::Io, "full".to_owned()));
        }
    }

    #[test]
    fn beside_what_is_too_long_to_matter_digests_are_found() {
        let long = |piece: &str| piece.repeat(4096);
        let json = format!(
            r#"{{"{}":"{}","x":"{}"}}"#,
            long("a"),
            long(r"\ud83d\ude00"),
            d("x")
        );
        assert_eq!(links(&json), [(Edge::Strong, d("x"), String::new())]);
    }

    #[test]
    fn what_others_may_read_in_another_way_keeps_all_that_stands_in_it() {
        let (a, b) = (d("a"), d("b"));
        for json in [
            format!(r#"{{"config":{{"digest":"{a}"}},"layers":[],"x":"{b}","Layers":1}}"#),
            format!(r#"{{"config":{{"digest":"{a}"}},"layers":[],"x":"{b}","manife\u017fts":1}}"#),
            format!(r#"{{"manifests":[{{"Digest":"{a}"}}],"x":"{b}"}}"#),
            format!(r#"{{"manifests":[{{"mediatype":"","digest":"{a}"}}],"x":"{b}"}}"#),
            format!(r#"{{"OS":"","os":"","rootfs":["{a}","{b}"]}}"#),
            format!(r#"{{"config":{{}},"layers":[],"blobs":["{a}","{b}"]}}"#),
            format!(r#"{{"manifests":[],"fsLayers":["{a}","{b}"]}}"#),
            format!(r#"{{"config":"{a}","layers":["{b}"]}}"#),
            format!(r#"{{"config":{{"digest":"{a}"}},"rootfs":{{}},"os":"","layers":[{{"digest":"{b}"}}]}}"#),
            format!(r#"{{"layers":[{{"digest":"{a}"}},{{"digest":"{b}"}}],"rootfs":{{}},"os":""}}"#),
            format!(r#"{{"x":"{a}"}} {{"x":"{b}"}}"#),
            format!(r#" [["{a}"],"{b}"]"#),
            format!("\u{feff}{{\"x\":\"{a}\",\"y\":\"{b}\"}}"),
            format!(r#"{{"manifests":[{{"digest":"{a}"}}],"x":"{b}",}}"#),
            format!(r#"{{"manifests":{{"digest":"{a}"}},"x":"{b}""#),
            format!(r#"{{"x":{}"{a}"{},"y":"{b}"}}"#, "[".repeat(200), "]".repeat(200)),
        ] {
            let found: Vec<Digest> = links(&json).into_iter().map(|(_, digest, _)| digest).collect();
            assert_eq!(found, [a, b], "{json}");
        }
    }
}
