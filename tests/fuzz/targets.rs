// SPDX-License-Identifier: Apache-2.0
//! What is fuzzed: functions that take any bytes and panic if a promise is broken. The fuzzer calls them, and the tests
//! do so with stored inputs.

#![allow(missing_docs, reason = "the names say it")]

pub mod edges;

use std::io::Read;
use std::path::Path;

use umoci::bundle::TreePath;
use umoci::digest::{Algorithm, Digest, DigestPrefix};
use umoci::error::Result;
use umoci::image::Target;
use umoci::internals::IndexJson;
use umoci::internals::json;
use umoci::internals::{Catalog, DockerArchive, OciArchive, Source};
use umoci::internals::{ChangeKind, Inode, Node, NodeKind, Time};
use umoci::internals::{Checkpoints, LayerStream, StreamOptions};
use umoci::internals::{EntryBody, LayerReader, LayerTree, LayerWriter, Limits};
use umoci::internals::{ExtractOptions, Extractor};
use umoci::internals::{IdMap, Root};
use umoci::internals::{Keyword, Mtree};
use umoci::progress::Silent;
use umoci::spec::{Compression, Descriptor, ImageConfig, ImageIndex, Manifest, MediaType, RefName};
use umoci::store::{CheckOptions, Finding, Problem, Severity, Store, StoreOptions};
use umoci::transfer::{Archive, Spool, StoreSink, copy};

/// What a target does with its input.
pub type Body = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Body); 11] = [
    ("layer_reader", layer_reader),
    ("layer_tree", layer_tree),
    ("merge", merge),
    ("archive", archive),
    ("documents", documents),
    ("runtime_config", runtime_config),
    ("mtree", mtree),
    ("passwd", passwd),
    ("names", names),
    ("rows", rows),
    ("checkpoints", checkpoints),
];

/// Bytes that an archive may have, and holes in it.
const ENOUGH: u64 = 1 << 20;

fn limits() -> Limits {
    Limits {
        header_bytes: 64 << 10,
        path_bytes: 8 << 10,
        layer_bytes: Some(ENOUGH),
        sparse_bytes: ENOUGH,
        directory_bytes: ENOUGH,
        ..Limits::default()
    }
}

pub fn layer_reader(data: &[u8]) {
    let mut reader = LayerReader::new(data, limits());
    while let Ok(Some(entry)) = reader.next_entry() {
        let cleaned = TreePath::clean(entry.path.as_bytes()).expect("no NUL");
        assert_eq!(cleaned, entry.path, "paths are clean");
        match entry.body {
            EntryBody::Node(node) => {
                assert!(node.mode <= 0o7777 && node.mtime.nsec < 1_000_000_000);
                assert!(node.atime.is_none_or(|t| t.nsec < 1_000_000_000));
                assert!(
                    node.xattrs
                        .keys()
                        .all(|name| !name.is_empty() && !name.contains(&0))
                );
                let NodeKind::File { size } = node.kind else {
                    continue;
                };
                let mut content = Vec::new();
                if reader.by_ref().take(ENOUGH).read_to_end(&mut content).is_ok() {
                    assert!(
                        content.len() as u64 == size.min(ENOUGH),
                        "content of {size} bytes"
                    );
                }
            }
            EntryBody::Whiteout => assert!(!entry.path.is_root()),
            EntryBody::HardLink { .. } | EntryBody::Opaque => {}
        }
    }
    let _ = reader.drain();
}

/// The first byte cuts the rest into two layers.
fn two_layers(data: &[u8]) -> Option<[&[u8]; 2]> {
    let (&cut, tars) = data.split_first()?;
    let cut = (usize::from(cut) * 512).min(tars.len());
    Some([&tars[..cut], &tars[cut..]])
}

/// A directory in memory, if there is such a thing.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    dir.expect("directory")
}

pub fn layer_tree(data: &[u8]) {
    let Some(layers) = two_layers(data) else {
        return;
    };
    let dir = scratch();
    let inside = dir.path().join("root");
    std::fs::create_dir(&inside).expect("root");
    std::fs::write(dir.path().join("secret"), "untouched").expect("secret");
    let root = Root::open(&inside).expect("open").rootless(true);
    // No devices are made, and nothing is given away.
    let id_map = IdMap {
        rootless: true,
        ..IdMap::default()
    };
    let mut extractor = Extractor::new(
        &root,
        ExtractOptions {
            id_map,
            keep_dirlinks: data[0].is_multiple_of(2),
            limits: limits(),
            digests: data[0].is_multiple_of(3),
        },
        &Silent,
    );
    for tar in layers {
        if extractor
            .apply_layer(&mut LayerReader::new(tar, limits()))
            .is_err()
        {
            break;
        }
    }
    let names = std::fs::read_dir(dir.path()).expect("directory").count();
    let secret = std::fs::read(dir.path().join("secret")).expect("secret");
    assert!(
        names == 2 && secret == b"untouched",
        "something outside of the root was changed"
    );
    drop(extractor);
    drop(root);
    umoci::internals::remove_tree(&inside, true).expect("all that was made can be removed");
}

/// What is merged of two layers is an archive that can be read and merged again.
pub fn merge(data: &[u8]) {
    let Some([first, second]) = two_layers(data) else {
        return;
    };
    for from in [0, 1] {
        let mut merge = LayerTree::new(from, limits());
        let mut look = |tar| merge.add_layer(&mut LayerReader::new(tar, limits()));
        if look(first).is_err() || look(second).is_err() {
            return;
        }
        merge.finalize().expect("what could be looked at");
        let mut out = LayerWriter::new(Vec::new(), b".");
        merge.write_first(&mut out).expect("written to memory");
        for (number, tar) in [first, second].into_iter().enumerate() {
            if merge.needs(number).expect("a layer") {
                merge
                    .write(number, tar, &mut out)
                    .1
                    .expect("what could be looked at");
            }
        }
        let one = out.finish().expect("written to memory");
        let mut again = LayerTree::new(1, limits());
        let mut look = |tar| again.add_layer(&mut LayerReader::new(tar, limits()));
        if from == 1 {
            look(first).expect("the same layer");
        }
        let limited = Limits {
            layer_bytes: None,
            ..limits()
        };
        again
            .add_layer(&mut LayerReader::new(one.as_slice(), limited))
            .expect("a merged layer");
    }
}

/// An archive of images, Docker's for an odd first byte: whatever is in it, the store that it is imported into is whole.
pub fn archive(data: &[u8]) {
    let Some((&kind, tar)) = data.split_first() else {
        return;
    };
    let mut tar = tar.to_vec();
    for block in tar
        .chunks_exact_mut(512)
        .filter(|block| &block[257..262] == b"ustar")
    {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let dir = scratch();
    let file = dir.path().join("archive");
    std::fs::write(&file, tar).expect("write");
    let store = Store::create(&dir.path().join("store"), StoreOptions::without_index()).expect("store");
    let import = || -> Result<()> {
        let limits = Limits {
            entries: 1000,
            ..limits()
        };
        let archive = Archive::open(&file, &limits, &Spool::Layout(store.layout()))?;
        let source: Box<dyn Source> = match kind % 2 {
            0 => Box::new(OciArchive::new(archive)?),
            _ => Box::new(DockerArchive::new(archive, &limits)?),
        };
        let catalog = Catalog::of(&*source, &Silent)?;
        for request in catalog.named.iter().chain(&catalog.referrers) {
            let sink = StoreSink::new(&store, "import")?;
            let images = std::slice::from_ref(request);
            copy(&*source, &sink, images, &Silent)?;
            sink.commit(images, &[], &Silent)?;
            for image in request.value.entries() {
                if image.media_type != MediaType::MANIFEST {
                    continue;
                }
                let read = store.layout().read_blob(image, ENOUGH)?;
                let manifest: Manifest = json::parse(&read)?;
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    let size = store.layout().blob_size(&blob.digest)?;
                    assert!(
                        size.is_some() || !blob.urls.is_empty(),
                        "{} is missing",
                        blob.digest
                    );
                }
            }
        }
        Ok(())
    };
    let _ = import();
    let report = store.check(&CheckOptions::default(), &Silent).expect("checked");
    // What a document of an unknown type names may be missing.
    let is_fault = |finding: &Finding| {
        finding.severity == Severity::Error && !matches!(finding.problem, Problem::Missing | Problem::Size)
    };
    let fault = report.findings.iter().find(|finding| is_fault(finding));
    assert!(fault.is_none(), "{fault:?}");
}

pub fn documents(data: &[u8]) {
    macro_rules! survives {
        ($($kind:ty),*) => {$(
            if let Ok(value) = json::parse::<$kind>(data) {
                let written = json::to_bytes(&value).expect("what was read can be written");
                let again: $kind = json::parse(&written).expect("what was written can be read");
                assert_eq!(json::to_bytes(&again).expect("again"), written, "{}", String::from_utf8_lossy(&written));
            }
        )*};
    }
    survives!(Manifest, ImageIndex, ImageConfig, Descriptor);
    edges::keep_what_is_named(data);
    if let Ok(index) = IndexJson::parse(data) {
        let written = index.to_bytes();
        let again = IndexJson::parse(&written).expect("what was written can be read");
        assert_eq!(again.to_bytes(), written);
    }
}

pub fn runtime_config(data: &[u8]) {
    let Ok(image) = json::parse::<ImageConfig>(data) else {
        return;
    };
    for rootless in [false, true] {
        let id_map = IdMap {
            rootless,
            ..IdMap::default()
        };
        if let Ok(config) = umoci::internals::runtime_config(&image, None, "rootfs", &id_map, &Silent) {
            json::to_pretty(&config).expect("what was made can be written");
        }
    }
}

pub fn mtree(data: &[u8]) {
    let Ok(mtree) = Mtree::parse(data.to_vec()) else {
        return;
    };
    // Every path that was read is found again by its name, once.
    let missing = || {
        let mut paths = Vec::new();
        let take = |path| {
            paths.push(path);
            Ok(())
        };
        mtree
            .missing(|_| false, take)
            .expect("what was read can be read again");
        paths
    };
    let paths = missing();
    assert_eq!(paths.len(), mtree.count());
    let node = Node::dir(0o755);
    let (dev, ino, ctime) = (1, 1, Time::EPOCH);
    let inode = Inode {
        node,
        size: 0,
        nlink: 1,
        dev,
        ino,
        ctime,
    };
    for path in paths {
        let value = |_: &TreePath, _: &Inode, _: Keyword| Ok(String::new());
        let found = mtree.compare(&path, &inode, mtree.keywords(), &value);
        let found = found.expect("compared");
        assert!(
            found.is_none_or(|found| found.kind == ChangeKind::Modified),
            "{path}"
        );
    }
    assert!(missing().is_empty());
}

/// Three parts with a NUL between them: the user, and the two files.
pub fn passwd(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let _ = umoci::internals::look_up(next(), next(), next());
}

pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(name) = text.parse::<RefName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        text.parse::<DigestPrefix>()
            .expect("a whole digest is a prefix of itself");
    }
    let _ = text.parse::<DigestPrefix>();
    let _ = text.parse::<Target>();
    let _ = IdMap::parse_mapping(text);
    if let Ok((uid, gid)) = umoci::internals::decode_rootless(data)
        && let Some(written) = umoci::internals::encode_rootless(uid, gid)
    {
        assert_eq!(umoci::internals::decode_rootless(&written).ok(), Some((uid, gid)));
    }
}

pub fn rows(data: &[u8]) {
    umoci::internals::read_any_row(data);
}

/// Two parts, the size of the first one in two bytes before them: a file of checkpoints without its sum, and a gzip. Whatever the
/// file says, the text is the same as without it.
pub fn checkpoints(data: &[u8]) {
    let blob_digest = Digest::sha256(b"blob");
    let _ = Checkpoints::decode(data, &blob_digest);
    let Some((size, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((told, gzip)) = rest.split_at_checked(u16::from_le_bytes(*size).into()) else {
        return;
    };
    let file = [told, Digest::of(Algorithm::Blake3, told).as_bytes()].concat();
    let Ok(points) = Checkpoints::decode(&file, &blob_digest) else {
        return;
    };
    assert_eq!(points.encode(&blob_digest), file);
    for offset in [0, 1, 100_000] {
        let _ = points.blob_offset(offset);
        if let Ok(text) = points.read_at(std::io::Cursor::new(gzip), offset) {
            let _ = std::io::copy(&mut text.take(ENOUGH), &mut std::io::sink());
        }
    }
    let read = |checkpoints| {
        let options = StreamOptions {
            checkpoints,
            ..StreamOptions::default()
        };
        let (blob, sha256) = (std::io::Cursor::new(gzip.to_vec()), Algorithm::Sha256);
        let stream = LayerStream::open_with(blob, Compression::Gzip, sha256, &limits(), options);
        let mut stream = stream.expect("threads");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).expect("errors come at the end");
        (text, stream.finish().ok().map(|layer| (layer.digest, layer.size)))
    };
    assert!(
        read(Some(points)) == read(None),
        "another text than without checkpoints"
    );
}
