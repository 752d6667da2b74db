// SPDX-License-Identifier: Apache-2.0
//! Archives of images that name more than there is, in few bytes: what that costs whoever imports them.

use std::fs::File;
use std::io::Write;

use umoci::digest::Digest;
use umoci::internals::Encoder;
use umoci::spec::Compression;

use super::{Room, Who};
use crate::support::Tar;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

/// An archive on its way to the disk, compressed.
struct Archive(Encoder<File>);

impl Archive {
    fn new(room: &Room) -> Self {
        let file = File::create(room.env.path("work/a.tar")).expect("create");
        Self(Encoder::new(file, Compression::Zstd).expect("encoder"))
    }

    fn oci(room: &Room) -> Self {
        let mut out = Self::new(room);
        out.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
        out
    }

    fn add(&mut self, tar: Tar) {
        self.0.write_all(&tar.plain()).expect("write");
    }

    fn file(&mut self, name: &str, content: &str) {
        self.add(Tar::new().any(name.as_bytes(), b'0', content.as_bytes(), b""));
    }

    /// Writes a blob; returns its descriptor.
    fn blob(&mut self, media_type: &str, content: &str) -> String {
        let digest = Digest::sha256(content.as_bytes());
        self.file(&format!("blobs/sha256/{}", digest.encoded()), content);
        descriptor(media_type, &digest.to_string(), content.len())
    }

    fn index(&mut self, entries: &str) {
        self.file("index.json", &format!(r#"{{"manifests":[{entries}]}}"#));
    }

    fn end(mut self) {
        self.0.write_all(&[0; 1024]).expect("write");
        self.0.finish().expect("finish");
    }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn named(descriptor: &str, name: &str) -> String {
    let end = format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}}}"#);
    format!("{}{end}", descriptor.strip_suffix('}').expect("object"))
}

/// A digest of nothing.
fn invented(n: usize) -> String {
    format!("sha256:{n:064x}")
}

fn repeated(unit: &str, n: usize) -> String {
    vec![unit; n].join(",")
}

fn manifest(config: &str, layers: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layers}]}}"#)
}

fn index_of(media_type: &str, entries: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[{entries}]}}"#)
}

/// Nine indexes, each of which names the next ten times.
fn ways(room: &Room, media_type: &str) {
    let mut out = Archive::oci(room);
    let config = out.blob(CONFIG_TYPE, CONFIG);
    let mut child = out.blob(MANIFEST, &manifest(&config, ""));
    for _ in 0..9 {
        child = out.blob(media_type, &index_of(media_type, &repeated(&child, 10)));
    }
    out.index(&named(&child, "x"));
    out.end();
}

/// What is wrong with an archive, how it is written, what is imported of it, and what is said of it; nothing if it is in order.
type Case = (&'static str, fn(&Room), &'static str, &'static str);

const OVER: &str =
    "is over the limit of 67108864 bytes (limit directories); --limit directories=BYTES raises it";

const CASES: [Case; 14] = [
    (
        "hard links to long paths",
        |room| {
            let mut out = Archive::oci(room);
            for n in 0..8000 {
                let target = format!("{n}/{}", "x".repeat(30_000));
                out.add(Tar::new().any(n.to_string().as_bytes(), b'1', b"", target.as_bytes()));
            }
            out.end();
        },
        "oci-archive:a.tar",
        OVER,
    ),
    (
        "links whose targets are long ways",
        |room| {
            let mut out = Archive::oci(room);
            let (deep, target) = ("d/".repeat(15_000), "a/../".repeat(6000));
            for n in 0..3000 {
                let name = format!("{deep}{n}");
                out.add(Tar::new().any(name.as_bytes(), b'2', b"", target.as_bytes()));
            }
            out.end();
        },
        "oci-archive:a.tar",
        OVER,
    ),
    (
        "files without end",
        |room| {
            let mut out = Archive::oci(room);
            for n in 0..360_000 {
                out.file(&format!("{n:x}"), "");
            }
            out.end();
        },
        "oci-archive:a.tar",
        OVER,
    ),
    (
        "tags of one image",
        |room| {
            let mut out = Archive::new(room);
            let tags = repeated(r#""a""#, 1_000_000);
            out.file(
                "manifest.json",
                &format!(r#"[{{"Config":"c.json","RepoTags":[{tags}]}}]"#),
            );
            out.file("c.json", CONFIG);
            out.end();
        },
        "docker-archive:a.tar",
        OVER,
    ),
    (
        "images without a name",
        |room| {
            let mut out = Archive::new(room);
            out.file("manifest.json", &format!("[{}]", repeated("{}", 1_300_000)));
            out.end();
        },
        "docker-archive:a.tar",
        OVER,
    ),
    (
        "a table of images that is larger than a document",
        |room| {
            let mut out = Archive::new(room);
            out.file("manifest.json", &format!("[{}]", repeated("{}", 1_400_000)));
            out.end();
        },
        "docker-archive:a.tar",
        "manifest.json is 4200001 bytes; documents over 4194304 bytes are not read",
    ),
    (
        "images of one large config",
        |room| {
            let mut out = Archive::new(room);
            let items: Vec<String> = (0..12_000)
                .map(|n| format!(r#"{{"Config":"c.json","RepoTags":["a:{n}"],"Layers":[]}}"#))
                .collect();
            out.file("manifest.json", &format!("[{}]", items.join(",")));
            let padded = format!(
                "{},\"x\":\"{}\"}}",
                CONFIG.strip_suffix('}').expect("object"),
                "y".repeat(4_000_000)
            );
            out.file("c.json", &padded);
            out.end();
        },
        "docker-archive:a.tar",
        "",
    ),
    (
        "entries of index.json",
        |room| {
            let mut out = Archive::oci(room);
            out.index(&repeated("{}", 10_000_000));
            out.end();
        },
        "oci-archive:a.tar",
        OVER,
    ),
    (
        "layers that are not there",
        |room| {
            let mut out = Archive::oci(room);
            let config = out.blob(CONFIG_TYPE, CONFIG);
            let mut entries = Vec::new();
            for n in 0..24_usize {
                let layer = |at| descriptor(LAYER, &invented(n * 25_000 + at), 1);
                let layers: Vec<String> = (0..25_000).map(layer).collect();
                let image = out.blob(MANIFEST, &manifest(&config, &layers.join(",")));
                entries.push(named(&image, &format!("t{n}")));
            }
            out.index(&entries.join(","));
            out.end();
        },
        "oci-archive:a.tar",
        "copy t0: blob sha256:0000000000000000000000000000000000000000000000000000000000000000: the archive has no blobs/",
    ),
    (
        "wide indexes in indexes",
        |room| {
            let mut out = Archive::oci(room);
            let mut leaves = Vec::new();
            for n in 0..20_000 {
                out.file(&format!("blobs/sha256/{n:064x}"), "x");
                leaves.push(descriptor(INDEX, &invented(n), 1));
            }
            let leaves = leaves.join(",");
            let config = out.blob(CONFIG_TYPE, CONFIG);
            let mut child = out.blob(MANIFEST, &manifest(&config, ""));
            for _ in 0..30 {
                child = out.blob(INDEX, &index_of(INDEX, &format!("{child},{leaves}")));
            }
            out.index(&named(&child, "x"));
            out.end();
        },
        "oci-archive:a.tar",
        "digest mismatch",
    ),
    (
        "ways without end",
        |room| ways(room, INDEX),
        "oci-archive:a.tar",
        "",
    ),
    (
        "ways without end to an image for a platform",
        |room| ways(room, INDEX),
        "oci-archive:a.tar --platform linux/amd64",
        "",
    ),
    (
        "ways without end to what is converted",
        |room| ways(room, LIST),
        "oci-archive:a.tar --format oci",
        "",
    ),
    (
        "a document that is all values",
        |room| {
            let mut out = Archive::oci(room);
            let config = out.blob(CONFIG_TYPE, CONFIG);
            let document = format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[],"x":[{}]}}"#,
                repeated("[]", 1_300_000)
            );
            let document = out.blob(MANIFEST, &document);
            out.index(&named(&document, "x"));
            out.end();
        },
        "oci-archive:a.tar",
        "JSON of more than 300000 values",
    ),
];

#[test]
fn an_archive_that_names_more_than_there_is_takes_little_memory_and_time() {
    let room = Room::new(Who::Plain, "openat2");
    for (what, write, words, want) in CASES {
        write(&room);
        room.umoci(&["init", "--layout", "img"]).ok();
        let words: Vec<&str> = ["import", "--layout", "img"]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        let ran = room.umoci(&words);
        if want.is_empty() {
            ran.ok();
        } else {
            let line = ran.fails();
            assert!(line.contains(want), "{what}: {line}");
        }
        room.assert_untouched(what);
        room.env.sh("rm -r work/img work/a.tar");
    }
}
