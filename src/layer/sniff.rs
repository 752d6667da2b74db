// SPDX-License-Identifier: Apache-2.0
//! Format of bytes, whatever their label says.

use std::io::{self, Read};

use tar::Header;

use super::{BLOCK, LayerReader, header};
use crate::error::Result;
use crate::spec::Compression;

/// Maximum number of bytes of a stream that tell something of it.
pub const HEAD: u64 = BLOCK;

/// Maximum number of bytes of a list of images that are looked at.
const MAX_LIST: u64 = 4 << 20;

/// Compressions that no layer can have, by their first bytes.
const FOREIGN: [(&[u8], &str); 3] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// Format of a stream by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sniffed {
    /// A tar archive: it begins with a header, or with the zeros of an end.
    Tar,
    /// Compressed, and never [`Compression::None`].
    Compressed(Compression),
    /// Compressed in a way of this name that is not handled.
    Foreign(&'static str),
    /// Anything else, or nothing.
    Other,
}

impl Sniffed {
    /// Looks at the first bytes of a stream, [`HEAD`] of them if there are as many; with fewer no archive is known.
    pub fn of(head: &[u8]) -> Self {
        // A name may begin like anything, but only a header has its checksum.
        if let Some(block) = head.get(..BLOCK as usize)
            && (block.iter().all(|&c| c == 0) || header::check_sum(Header::from_byte_slice(block)).is_ok())
        {
            return Sniffed::Tar;
        }
        if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Sniffed::Foreign(name);
        }
        match Compression::of_magic(head) {
            Compression::None => Sniffed::Other,
            found => Sniffed::Compressed(found),
        }
    }
}

fn described(compression: Compression) -> String {
    match compression {
        Compression::None => "a plain tar archive".to_owned(),
        other => format!("compressed with {}", other.name()),
    }
}

/// Returns the bytes of a layer as they are.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::error::ErrorKind::Corrupt) if they are certainly not what they are said to be; those of reading.
pub(super) fn check_label<R: Read>(mut blob: R, label: Compression) -> Result<impl Read> {
    let mut head = Vec::new();
    blob.by_ref().take(HEAD).read_to_end(&mut head)?;
    let said = described(label);
    let found = match Sniffed::of(&head) {
        Sniffed::Tar => described(Compression::None),
        Sniffed::Compressed(found) => described(found),
        Sniffed::Foreign(name) => format!("compressed with {name}"),
        // Nothing is certain of such bytes; the decoder says what is wrong with them.
        Sniffed::Other => said.clone(),
    };
    if found != said {
        fail!(Corrupt, "it is {found}, but its media type says {said}");
    }
    Ok(io::Cursor::new(head).chain(blob))
}

/// Reads all entries of an archive, and what is behind its end. Returns whether it is one of images, OCI's or Docker's.
///
/// # Errors
/// Those of [`LayerReader::next_entry`].
pub fn check_entries(tar: &mut LayerReader<impl Read>) -> Result<bool> {
    let mut holds_images = false;
    while let Some(entry) = tar.next_entry()? {
        holds_images |= match entry.path.as_bytes() {
            b"oci-layout" => true,
            b"manifest.json" => is_docker_list(tar)?,
            _ => false,
        };
    }
    tar.drain()?;
    Ok(holds_images)
}

/// Returns whether a file is the list of images of a Docker archive.
fn is_docker_list(file: &mut impl Read) -> Result<bool> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    #[allow(dead_code, reason = "that the fields are there is all that counts")]
    struct Image {
        config: String,
        layers: Vec<String>,
    }
    let mut text = Vec::new();
    file.take(MAX_LIST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice::<Vec<Image>>(&text).is_ok_and(|images| !images.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::LayerWriter;
    use super::super::tests::encode;
    use super::*;
    use crate::node::{Node, TreePath};

    fn tar(name: &[u8]) -> Vec<u8> {
        let mut out = LayerWriter::new(Vec::new(), b"");
        let path = TreePath::clean(name).expect("path");
        out.node(&path, &Node::dir(0o755), &mut io::empty())
            .expect("entry");
        out.finish().expect("end")
    }

    #[test]
    fn bytes_are_told_by_what_they_begin_with() {
        let gzip = encode(Compression::Gzip, b"x");
        for (head, want) in [
            (tar(b"a"), Sniffed::Tar),
            (tar(b"\x1f\x8b\x08"), Sniffed::Tar),
            (tar(b"BZh9"), Sniffed::Tar),
            (vec![0; 512], Sniffed::Tar),
            (vec![0; 511], Sniffed::Other),
            (Vec::new(), Sniffed::Other),
            (vec![b'x'; 600], Sniffed::Other),
            (gzip, Sniffed::Compressed(Compression::Gzip)),
            (
                encode(Compression::Zstd, b"x"),
                Sniffed::Compressed(Compression::Zstd),
            ),
            (b"BZh91AY".to_vec(), Sniffed::Foreign("bzip2")),
            (b"\xfd7zXZ\0\0".to_vec(), Sniffed::Foreign("xz")),
            (b"\x04\x22\x4d\x18d".to_vec(), Sniffed::Foreign("lz4")),
        ] {
            assert_eq!(Sniffed::of(&head), want, "{head:?}");
        }
    }

    #[test]
    fn a_wrong_label_is_told() {
        let gzip = encode(Compression::Gzip, &[7; 3000]);
        let err = check_label(&gzip[..], Compression::None).err().expect("label");
        let want = "it is compressed with gzip, but its media type says a plain tar archive";
        assert_eq!(err.to_string(), want);
        let mut all = Vec::new();
        let mut labelled = check_label(&gzip[..], Compression::Gzip).expect("label");
        labelled.read_to_end(&mut all).expect("all");
        assert_eq!(all, gzip);
    }
}
