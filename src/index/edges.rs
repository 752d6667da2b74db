// SPDX-License-Identifier: Apache-2.0
//! The edges of the graph that start at a blob, told from its bytes by the rule of [`Edges`].
//!
//! Documents of the size of manifests are read whole. Of a larger one no more than the text is searched, as a stream, and edges are
//! given in pieces: neither the size of a document nor the number of digests in it takes memory.

use std::collections::HashSet;
use std::io::{BufReader, Read, Seek};

use super::rows::{Edge, Link};
use crate::digest::{Digest, VerifyReader};
use crate::error::Result;
use crate::layout::Entry;
use crate::spec::Edges;
use crate::spec::mentions::{begins_like_json, each_digest};

/// The content of a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// No JSON document.
    Opaque,
    /// A JSON document, or what begins like one and names something.
    Document(Vec<Link>),
    /// A document of more than [`MAX_HELD`] edges; [`each_link`] gives them.
    Large,
}

/// Maximum number of edges that are held at a time, about 8 MiB. No document of a known kind has as many.
const MAX_HELD: usize = 65_536;

/// Maximum size in bytes of a document that is read as one. The subject of a larger one is a mention like any other.
const MAX_WHOLE: u64 = 16 << 20;

/// Reads a blob of `size` bytes as far as needed. A document is verified against its digest.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for a document that is not what its digest says.
pub(crate) fn read(file: impl Read + Seek, digest: &Digest, size: u64) -> Result<Content> {
    let mut first = None;
    let mut is_large = false;
    let is_object = each_link(file, digest, size, |links| {
        is_large |= first.is_some();
        first.get_or_insert(links);
        Ok(())
    })?;
    let links = first.unwrap_or_default();
    Ok(match links.is_empty() {
        _ if is_large => Content::Large,
        // A text with a brace before it.
        true if !is_object => Content::Opaque,
        _ => Content::Document(links),
    })
}

/// Gives the edges that start at a blob, in pieces; those of a document that is damaged are given too. Returns whether the blob is a
/// JSON object.
///
/// # Errors
/// Those of [`read`], when all was given, and those of `give`.
pub(crate) fn each_link(
    mut file: impl Read + Seek,
    digest: &Digest,
    size: u64,
    mut give: impl FnMut(Vec<Link>) -> Result<()>,
) -> Result<bool> {
    if !begins_like_json(&mut BufReader::with_capacity(512, &mut file))? {
        return Ok(false);
    }
    file.rewind()?;
    let mut pieces = Pieces {
        held: Vec::new(),
        give: &mut give,
    };
    let mut verified = VerifyReader::new(file, *digest, size);
    if size > MAX_WHOLE {
        each_digest(&mut verified, |digest| {
            pieces.add(Link::plain(Edge::Mentioned, digest))
        })?;
        verified.finish()?;
        return pieces.finish().map(|()| false);
    }
    let mut bytes = Vec::new();
    verified.read_to_end(&mut bytes)?;
    verified.finish()?;
    let edges = Edges::of(&bytes);
    pieces.add_all(&bytes, &edges)?;
    pieces.finish().map(|()| edges.is_object)
}

/// Returns the edges of an entry of `index.json`. One that is no descriptor, or not to all readers, keeps every digest in its text.
pub(super) fn of_entry(entry: &Entry) -> Vec<Link> {
    let text = entry.raw();
    let Ok(descriptor) = entry.descriptor() else {
        return of_unclear(text);
    };
    let mut out = vec![Link {
        edge: Edge::Declared,
        digest: descriptor.digest,
        media_type: descriptor.media_type.as_str().to_owned(),
    }];
    if entry.is_unclear() {
        let others = of_unclear(text).into_iter();
        out.extend(others.filter(|link| link.digest != descriptor.digest));
    }
    out
}

/// Returns the mentions in the text of an entry of `index.json` that readers understand in several ways.
pub(crate) fn of_unclear(entry: &str) -> Vec<Link> {
    let mut out = Vec::new();
    // Text in memory can always be read.
    let _ = each_digest(entry.as_bytes(), |digest| {
        out.push(Link::plain(Edge::Declared, digest));
        Ok(())
    });
    out
}

/// Gathers edges, and gives them on whenever there are many.
struct Pieces<'a> {
    held: Vec<Link>,
    give: &'a mut dyn FnMut(Vec<Link>) -> Result<()>,
}

impl Pieces<'_> {
    fn add(&mut self, link: Link) -> Result<()> {
        if self.held.len() == MAX_HELD {
            (self.give)(std::mem::take(&mut self.held))?;
        }
        self.held.push(link);
        Ok(())
    }

    fn add_all(&mut self, bytes: &[u8], edges: &Edges) -> Result<()> {
        let mut declared = HashSet::new();
        for descriptor in &edges.declared {
            declared.insert(descriptor.digest);
            self.add(Link {
                edge: Edge::Declared,
                digest: descriptor.digest,
                media_type: descriptor.media_type.as_str().to_owned(),
            })?;
        }
        for subject in &edges.subjects {
            self.add(Link::plain(Edge::Subject, *subject))?;
        }
        if edges.has_mentions {
            each_digest(bytes, |digest| {
                if declared.contains(&digest) {
                    return Ok(());
                }
                self.add(Link::plain(Edge::Mentioned, digest))
            })?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        (self.give)(self.held)
    }
}

/// Returns the edges of a blob, each as `declared`, `subject` or `mentioned` with the digest; for tests that try any bytes.
///
/// # Errors
/// Those of reading the bytes.
#[cfg(debug_assertions)]
pub fn edges_of(bytes: &[u8]) -> Result<Vec<(&'static str, Digest)>> {
    let mut out = Vec::new();
    let name = |edge| match edge {
        Edge::Declared => "declared",
        Edge::Subject => "subject",
        Edge::Mentioned => "mentioned",
    };
    let (blob, size) = (std::io::Cursor::new(bytes), bytes.len() as u64);
    each_link(blob, &Digest::sha256(bytes), size, |links| {
        out.extend(links.iter().map(|link| (name(link.edge), link.digest)));
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn d(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn content(text: &str) -> Content {
        read(Cursor::new(text), &d(text), text.len() as u64).expect("read")
    }

    fn links(text: &str) -> Vec<(Edge, Digest, String)> {
        let Content::Document(links) = content(text) else {
            panic!("no document: {text}");
        };
        links
            .into_iter()
            .map(|link| (link.edge, link.digest, link.media_type))
            .collect()
    }

    /// Puts descriptors and digests in place of letters: `A` and `B` are descriptors, `a`, `b` and `c` digests.
    fn filled(text: &str) -> String {
        let mut out = text.to_owned();
        for letter in ["a", "b", "c"] {
            let digest = d(letter);
            let descriptor = format!(r#"{{"mediaType":"t/{letter}","digest":"{digest}","size":1}}"#);
            out = out.replace(&format!("${}", letter.to_uppercase()), &descriptor);
            out = out.replace(&format!("${letter}"), &digest.to_string());
        }
        out
    }

    #[test]
    fn a_plain_document_has_the_edges_that_it_declares() {
        let (a, b, c) = (d("a"), d("b"), d("c"));
        let declared = |digest, media_type: &str| (Edge::Declared, digest, media_type.to_owned());
        let subject = (Edge::Subject, c, String::new());
        let annotated =
            r#"{"mediaType":"t/a","digest":"$a","size":1,"annotations":{"x":"$c"},"urls":["$c"]}"#;
        for (text, want) in [
            (
                r#" {"config":$A,"layers":[$B],"subject":$C,"annotations":{"base":"$c"},"x":"$c"}"#
                    .to_owned(),
                vec![declared(a, "t/a"), declared(b, "t/b"), subject.clone()],
            ),
            (
                format!(r#"{{"manifests":[{annotated}],"x":{{"digest":"$b"}}}}"#),
                vec![declared(a, "t/a")],
            ),
            (r#"{"manifests":null,"subject":$C}"#.to_owned(), vec![subject]),
            (
                r#"{"os":"linux","config":{"Labels":{"base":"$a"}},"rootfs":{"diff_ids":["$b"]}}"#.to_owned(),
                vec![],
            ),
            (r#"{"os":"linux","config":null,"rootfs":{}}"#.to_owned(), vec![]),
            ("{}".to_owned(), vec![]),
        ] {
            assert_eq!(links(&filled(&text)), want, "{text}");
        }
    }

    #[test]
    fn a_document_of_several_readings_mentions_all_that_stands_in_it() {
        let (a, b, c) = (d("a"), d("b"), d("c"));
        for (text, declared, subjects, mentioned) in [
            // Kinds that no or few readers know.
            (r#"{"x":"$a","y":[{"digest":"$b"}]}"#, vec![], vec![], vec![a, b]),
            (
                r#"{"artifactType":"x/y","blobs":[$A],"subject":$C}"#,
                vec![a],
                vec![c],
                vec![c],
            ),
            (
                r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"$a"}]}"#,
                vec![],
                vec![],
                vec![a],
            ),
            // Members that another reader takes for those of a kind, or that stand twice.
            (
                r#"{"config":$A,"layers":[],"x":"$b","Layers":1}"#,
                vec![],
                vec![],
                vec![a, b],
            ),
            (
                r#"{"manifests":[$A],"manife\u017fts":[$B]}"#,
                vec![],
                vec![],
                vec![a, b],
            ),
            (r#"{"manifests":[$A],"blobs":[$B]}"#, vec![a], vec![], vec![b]),
            (
                r#"{"manifests":[$A],"x":1,"x":"$b","subject":$C}"#,
                vec![a],
                vec![c],
                vec![b, c],
            ),
            (
                r#"{"config":$A,"layers":[],"subject":$B,"subject":$C}"#,
                vec![],
                vec![b, c],
                vec![a, b, c],
            ),
            (r#"{"os":"","OS":"","rootfs":["$a"]}"#, vec![], vec![], vec![a]),
            (r#"{"os":"","rootfs":{},"layers":[$A]}"#, vec![], vec![], vec![a]),
            (
                r#"{"os":"","rootfs":{},"config":{"digest":"$a"}}"#,
                vec![],
                vec![],
                vec![a],
            ),
            // Descriptors within or beside others.
            (
                r#"{"manifests":[{"mediaType":"t/a","digest":"$a","size":1,"x":[{"digest":"$b"}]}]}"#,
                vec![a],
                vec![],
                vec![b],
            ),
            (
                r#"{"manifests":[{"digest":"$a","size":1,"annotations":{"Digest":"$b"}}]}"#,
                vec![a],
                vec![],
                vec![b],
            ),
            (r#"{"config":"$a","layers":["$b"]}"#, vec![], vec![], vec![a, b]),
            // Bytes that are no single JSON object.
            (r#"{"manifests":[$A]} {"x":"$b"}"#, vec![a], vec![], vec![b]),
            (r#"{"manifests":[$A],}"#, vec![], vec![], vec![a]),
            (r#" [["$a"],"$b"]"#, vec![], vec![], vec![a, b]),
            ("\u{feff}{\"x\":\"$a\"}", vec![], vec![], vec![a]),
        ] {
            let text = filled(text);
            let found = links(&text);
            let of = |edge| {
                let found = found.iter().filter(|(found, _, _)| *found == edge);
                found.map(|(_, digest, _)| *digest).collect::<Vec<_>>()
            };
            assert_eq!(of(Edge::Declared), declared, "{text}");
            assert_eq!(of(Edge::Subject), subjects, "{text}");
            assert_eq!(of(Edge::Mentioned), mentioned, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_document_are_opaque_and_damage_is_an_error() {
        let list = format!("[\"{}\"]\0", d("a"));
        for text in ["", "\u{1f}", "[1]", "{ not json", "{\"a\":", &list] {
            assert_eq!(content(text), Content::Opaque, "{text}");
        }
        let err = read(Cursor::new("{}"), &d("other"), 2).expect_err("damaged");
        assert!(
            err.kind() == crate::error::ErrorKind::Corrupt && err.to_string().contains("digest mismatch"),
            "{err}"
        );
    }

    #[test]
    fn very_many_edges_are_given_in_pieces() {
        let names: Vec<String> = (0..=2 * MAX_HELD)
            .map(|n| format!("\"{}\"", d(&n.to_string())))
            .collect();
        let text = format!(r#"{{"x":[{}],"subject":"{}"}}"#, names.join(","), d("s"));
        let (digest, size) = (d(&text), text.len() as u64);
        assert_eq!(content(&text), Content::Large);
        let mut all = Vec::new();
        let take = |links: Vec<Link>| {
            assert!(links.len() <= MAX_HELD);
            all.extend(links);
            Ok(())
        };
        each_link(Cursor::new(&text), &digest, size, take).expect("links");
        let mentioned = all.iter().filter(|link| link.edge == Edge::Mentioned);
        assert_eq!(mentioned.count(), names.len() + 1);
        assert!(all.contains(&Link::plain(Edge::Subject, d("s"))));
        let full = || crate::error::Error::new(crate::error::ErrorKind::Io, "full");
        let err = each_link(Cursor::new(&text), &digest, size, |_| Err(full())).expect_err("stopped");
        assert_eq!(err.to_string(), "full");
    }

    #[test]
    fn a_document_larger_than_any_is_searched_as_text() {
        let text = format!("{{\"config\":\"{}\",{}}}", d("a"), " ".repeat(MAX_WHOLE as usize));
        assert_eq!(
            content(&text),
            Content::Document(vec![Link::plain(Edge::Mentioned, d("a"))])
        );
    }
}
