// SPDX-License-Identifier: Apache-2.0
//! Micro-benchmarks of the parts: `cargo bench --bench parts [FILTER]`. They guard against regressions; what users feel
//! is measured by `benches/side-by-side.sh`.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use umoci::bundle::TreePath;
use umoci::digest::{Algorithm, Digest};
use umoci::internals::Root;
use umoci::internals::json;
use umoci::internals::{Encoder, LayerReader, LayerStream, LayerWriter, Limits};
use umoci::internals::{ExtractOptions, Extractor, par_walk};
use umoci::internals::{Header, Mtree, MtreeWriter, line};
use umoci::internals::{Inode, Node, NodeKind, Time, Xattrs};
use umoci::progress::Silent;
use umoci::spec::{Compression, Manifest, MediaType};
use umoci::store::{Store, StoreOptions};

const FILES: usize = 1000;
const FILE: usize = 4096;
const MIB: usize = 1 << 20;

fn main() {
    divan::main();
}

/// Bytes that compress about as programs do.
fn text(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if at % 3 == 0 { (state >> 24) as u8 } else { b'a' }
    };
    (0..size).map(step).collect()
}

fn path(n: usize) -> TreePath {
    TreePath::clean(format!("usr/share/{}/file-{n}", n / 50).as_bytes()).expect("path")
}

fn node() -> Node {
    Node {
        kind: NodeKind::File { size: FILE as u64 },
        mode: 0o644,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: Time {
            sec: 1_000_000_000,
            nsec: 0,
        },
        atime: None,
        xattrs: Xattrs::new(),
    }
}

/// A layer of small files.
fn tar() -> Vec<u8> {
    let content = text(FILE);
    let mut out = LayerWriter::new(Vec::new(), b".");
    for n in 0..FILES {
        out.node(&path(n), &node(), &mut content.as_slice())
            .expect("entry");
    }
    out.finish().expect("tar")
}

#[divan::bench]
fn tar_write(bencher: Bencher) {
    bencher.counter(ItemsCount::new(FILES)).bench(tar);
}

#[divan::bench]
fn tar_read(bencher: Bencher) {
    let tar = tar();
    bencher.counter(ItemsCount::new(FILES)).bench(|| {
        let mut reader = LayerReader::new(tar.as_slice(), Limits::default());
        let mut entries = 0;
        while reader.next_entry().expect("entry").is_some() {
            entries += 1;
        }
        assert_eq!(entries, FILES);
    });
}

#[divan::bench(args = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3])]
fn digest(bencher: Bencher, algorithm: Algorithm) {
    let text = text(8 * MIB);
    let bencher = bencher.counter(BytesCount::new(text.len()));
    bencher.bench(|| Digest::of(algorithm, black_box(&text)));
}

#[divan::bench(args = [Compression::Gzip, Compression::Zstd], sample_count = 10)]
fn compress(bencher: Bencher, compression: Compression) {
    let text = text(16 * MIB);
    let bencher = bencher.counter(BytesCount::new(text.len()));
    bencher.bench(|| encoded(&text, compression));
}

fn encoded(text: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).expect("encoder");
    encoder.write_all(text).expect("write");
    encoder.finish().expect("finish").0
}

#[divan::bench(args = [Compression::None, Compression::Gzip, Compression::Zstd], sample_count = 10)]
fn decompress(bencher: Bencher, compression: Compression) {
    let blob = encoded(&text(16 * MIB), compression);
    let bencher = bencher.counter(BytesCount::new(16 * MIB));
    bencher
        .with_inputs(|| Cursor::new(blob.clone()))
        .bench_values(|blob| {
            let stream = LayerStream::open(blob, compression, Algorithm::Sha256, &Limits::default());
            let mut stream = stream.expect("stream");
            let mut buffer = vec![0; MIB];
            while stream.read(&mut buffer).expect("read") > 0 {}
            stream.finish().expect("finish")
        });
}

fn extract(tar: &[u8], to: &Path) {
    let root = Root::open(to).expect("root");
    let mut extractor = Extractor::new(&root, ExtractOptions::default(), &Silent);
    let mut reader = LayerReader::new(tar, Limits::default());
    extractor.apply_layer(&mut reader).expect("apply");
    extractor.finish().expect("finish");
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn tree_write(bencher: Bencher) {
    let tar = tar();
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(|| tempfile::tempdir().expect("dir"))
        .bench_refs(|dir| extract(&tar, dir.path()));
}

#[divan::bench]
fn tree_walk(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("dir");
    extract(&tar(), dir.path());
    bencher.counter(ItemsCount::new(FILES)).bench(|| {
        let root = Root::open(dir.path()).expect("root");
        par_walk(&root, |_| Ok(()), |()| Ok(())).expect("walk");
    });
}

/// Lines of a manifest in the order of a walk.
fn mtree() -> Vec<(TreePath, Box<[u8]>)> {
    let inode = |node: Node| Inode {
        node,
        size: FILE as u64,
        nlink: 1,
        dev: 1,
        ino: 1,
        ctime: Time { sec: 0, nsec: 0 },
    };
    let digest = Digest::sha256(b"");
    let mut lines = std::collections::BTreeMap::new();
    for n in 0..FILES {
        for above in path(n).ancestors() {
            lines.insert(above, line(&inode(Node::dir(0o755)), None));
        }
        lines.insert(path(n), line(&inode(node()), Some(&digest)));
    }
    lines.into_iter().collect()
}

fn format(lines: &[(TreePath, Box<[u8]>)]) -> Vec<u8> {
    let mut writer = MtreeWriter::new(Vec::new(), &Header::default()).expect("head");
    for (path, line) in lines {
        writer.add(path, line).expect("line");
    }
    writer.finish().expect("end").0
}

#[divan::bench]
fn mtree_format(bencher: Bencher) {
    let lines = mtree();
    let bencher = bencher.counter(ItemsCount::new(lines.len()));
    bencher.bench(|| format(&lines));
}

#[divan::bench]
fn mtree_parse(bencher: Bencher) {
    let text = format(&mtree());
    let bencher = bencher.counter(ItemsCount::new(mtree().len()));
    bencher.bench(|| Mtree::parse(black_box(text.clone())).expect("mtree"));
}

fn manifest(store: &Store, layers: usize) -> Vec<u8> {
    let mut txn = store.begin("bench").expect("begin");
    let config = txn
        .put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)
        .expect("config");
    let layer = |n: usize| txn.put(&n.to_le_bytes(), MediaType::LAYER).expect("layer");
    let layers = (0..layers).map(layer).collect();
    txn.commit().expect("commit");
    json::to_bytes(&Manifest::new(config, layers)).expect("JSON")
}

fn store(dir: &Path) -> Store {
    Store::create(&dir.join("layout"), StoreOptions::default()).expect("layout")
}

#[divan::bench]
fn manifest_parse_and_write(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("dir");
    let bytes = manifest(&store(dir.path()), 20);
    bencher.bench(|| {
        let manifest: Manifest = json::parse(black_box(&bytes)).expect("manifest");
        json::to_bytes(&manifest).expect("JSON")
    });
}

#[divan::bench(sample_count = 20)]
fn index_insert(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("dir");
    let store = store(dir.path());
    let bytes = manifest(&store, 4);
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        let mut txn = store.begin("bench").expect("begin");
        let mut manifest: Manifest = json::parse(&bytes).expect("manifest");
        manifest.annotations.insert("n".to_owned(), n.to_string());
        let descriptor = txn.put(&json::to_bytes(&manifest).expect("JSON"), MediaType::MANIFEST);
        txn.set_ref(
            &format!("tag-{n}").parse().expect("name"),
            descriptor.expect("manifest"),
        );
        txn.commit().expect("commit");
    });
}

#[divan::bench]
fn index_look_up(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("dir");
    let store = store(dir.path());
    let mut txn = store.begin("bench").expect("begin");
    let blobs: Vec<_> = (0..1000_u32)
        .map(|n| txn.put(&n.to_le_bytes(), MediaType::LAYER).expect("blob").digest)
        .collect();
    txn.commit().expect("commit");
    store.blob_info(&blobs[0]).expect("info");
    bencher.bench(|| store.blob_info(black_box(&blobs[500])).expect("info"));
}
