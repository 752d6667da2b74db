// SPDX-License-Identifier: Apache-2.0
//! What a blob names by digest, told from its own bytes.
//!
//! OCI's and Docker's documents are understood by their shape. Of a document of unknown shape every digest that
//! stands anywhere in it counts, so that nothing it may need is ever lost. Documents are read as a stream: their size
//! sets no limit, only the number of digests in them takes memory.

use std::fmt;
use std::io::{BufReader, Read};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::rows::Edge;
use crate::digest::{Digest, VerifyReader};
use crate::error::{Error, ErrorKind, Result};

/// A mention of a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    pub edge: Edge,
    pub digest: Digest,
    /// As the document says; empty if it says nothing.
    pub media_type: String,
    /// In bytes, if the document says it.
    pub size: Option<u64>,
    /// Whether it stands in a member called `digest`, as that of a descriptor does.
    pub in_descriptor: bool,
}

/// What is in a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// No JSON document.
    Opaque,
    /// A JSON document with what it names.
    Document { links: Vec<Link> },
}

/// Reads a blob of `size` bytes as far as needed. A document is verified against its digest.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a document that is not what its digest says.
pub(crate) fn read(file: impl Read, digest: &Digest, size: u64) -> Result<Content> {
    let mut file = BufReader::with_capacity(8192, file);
    let first = {
        use std::io::BufRead as _;
        let start = file.fill_buf()?;
        start.iter().copied().find(|c| !c.is_ascii_whitespace())
    };
    if first != Some(b'{') {
        return Ok(Content::Opaque);
    }
    let mut verified = VerifyReader::new(file, *digest, size);
    let mut de = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 * 1024, &mut verified));
    let parsed = Document::deserialize(&mut de);
    drop(de);
    verified.finish()?;
    match parsed {
        Ok(document) => Ok(document.content()),
        // Bytes that only look like a document at their start, such as a text that begins with a brace.
        Err(err) if err.is_syntax() || err.is_eof() => Ok(Content::Opaque),
        Err(err) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{digest}: invalid JSON: {err}"),
        )),
    }
}

#[derive(Default)]
struct Document {
    /// Names of the members.
    names: Vec<String>,
    config: Vec<Link>,
    layers: Vec<Link>,
    manifests: Vec<Link>,
    subject: Vec<Link>,
    rest: Vec<Link>,
}

impl Document {
    fn content(self) -> Content {
        let has = |name: &str| self.names.iter().any(|n| n == name);
        let subject = || {
            let weak = |link: &Link| Link {
                edge: Edge::Subject,
                ..link.clone()
            };
            self.subject.iter().map(weak).collect::<Vec<_>>()
        };
        let is_manifest = has("config") && has("layers");
        let is_index = has("manifests");
        // A document that could be both keeps what either reading needs.
        let links = if is_manifest || is_index {
            let mut links = [
                self.config.clone(),
                self.layers.clone(),
                self.manifests.clone(),
                subject(),
            ]
            .concat();
            // Annotations of descriptors may hold digests of what is no blob.
            links.retain(|link| link.in_descriptor);
            links
        } else if has("rootfs") && (has("architecture") || has("os")) {
            // An image config names layers by what is in them, not by blobs.
            Vec::new()
        } else {
            [self.config, self.layers, self.manifests, self.subject, self.rest].concat()
        };
        Content::Document { links }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Document, A::Error> {
                let mut out = Document::default();
                while let Some(name) = map.next_key::<String>()? {
                    let into = match name.as_str() {
                        "config" => &mut out.config,
                        "layers" => &mut out.layers,
                        "manifests" => &mut out.manifests,
                        "subject" => &mut out.subject,
                        _ => &mut out.rest,
                    };
                    map.next_value_seed(Anything { out: into, depth: 0 })?;
                    out.names.push(name);
                }
                Ok(out)
            }
        }
        d.deserialize_map(Members)
    }
}

/// Collects the digests in any JSON value, with the media type and size that stand beside each.
struct Anything<'a> {
    out: &'a mut Vec<Link>,
    depth: usize,
}

/// Values nested deeper are read over; `serde_json` itself refuses a few levels more.
const MAX_DEPTH: usize = 100;

impl<'de> DeserializeSeed<'de> for Anything<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Anything<'_> {
    /// The text, if the value is one or a number.
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Self::Value, E> {
        if let Ok(digest) = text.parse() {
            self.out.push(Link {
                edge: Edge::Strong,
                digest,
                media_type: String::new(),
                size: None,
                in_descriptor: false,
            });
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
        if self.depth >= MAX_DEPTH {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        while seq
            .next_element_seed(Anything {
                out: self.out,
                depth: self.depth + 1,
            })?
            .is_some()
        {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        if self.depth >= MAX_DEPTH {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        let mut own: Option<usize> = None;
        let (mut media_type, mut size) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            let before = self.out.len();
            let text = map.next_value_seed(Anything {
                out: self.out,
                depth: self.depth + 1,
            })?;
            match name.as_str() {
                "digest" if self.out.len() == before + 1 => own = Some(before),
                "mediaType" => media_type = text,
                "size" => size = text.and_then(|text| text.parse().ok()),
                // Numbers that keep their digits arrive as such a map.
                "$serde_json::private::Number" => return Ok(text),
                _ => {}
            }
        }
        if let Some(at) = own {
            self.out[at].in_descriptor = true;
            self.out[at].media_type = media_type.unwrap_or_default();
            self.out[at].size = size;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn links(json: &str) -> Vec<(Edge, Digest, String)> {
        match read(json.as_bytes(), &d(json), json.len() as u64).expect("read") {
            Content::Document { links } => links
                .into_iter()
                .map(|l| (l.edge, l.digest, l.media_type))
                .collect(),
            Content::Opaque => panic!("no document: {json}"),
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
        let content = read(json.as_bytes(), &d(&json), json.len() as u64).expect("read");
        let Content::Document { links } = content else {
            panic!("no document")
        };
        let sizes: Vec<Option<u64>> = links.iter().map(|link| link.size).collect();
        assert_eq!(sizes, [Some(12), None, Some(1), None]);
    }

    #[test]
    fn what_is_no_document_is_opaque_and_damage_is_an_error() {
        for text in ["", "\u{1f}", "[1]", "{ not json", "{\"a\":"] {
            assert_eq!(
                read(text.as_bytes(), &d(text), text.len() as u64).expect(text),
                Content::Opaque,
                "{text}"
            );
        }
        let err = read(&b"{}"[..], &d("other"), 2).expect_err("damaged");
        assert!(
            err.kind() == ErrorKind::Corrupt && err.to_string().contains("digest mismatch"),
            "{err}"
        );
    }
}
