// SPDX-License-Identifier: Apache-2.0
//! The contents of layers by their tables are the tree that an unpack gives.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use umoci::digest::{Algorithm, Digest};
use umoci::inside::{Class, ContentLayer, Contents, End, Item, ItemBody, Waste};
use umoci::internals::{LayerReader, Limits, NodeKind, Resolver, Toc, TocBuilder};
use umoci::spec::{Compression, Descriptor, MediaType};

use super::layers::apply;
use super::merge::layers;
use super::model::cases;
use crate::support::{Tar, Tree, TreeEntry};

/// The contents of layers by tables that were written and read again.
pub fn contents(tars: &[Vec<u8>]) -> Contents {
    let layers = tars.iter().map(|tar| ContentLayer {
        descriptor: Descriptor::new(
            MediaType::layer(Compression::None),
            Digest::sha256(tar),
            tar.len() as u64,
        ),
        diff_id: Digest::sha256(tar),
        compression: Compression::None,
        tar_size: 0,
        history: None,
        items: 0..0,
    });
    let tocs = tars.iter().map(|tar| {
        let mut builder = TocBuilder::default();
        builder.add_all(&mut LayerReader::new(tar.as_slice(), Limits::default()))?;
        let diff_id = Digest::sha256(tar);
        Toc::decode(&builder.finish(&diff_id, tar.len() as u64)?, &diff_id)
    });
    let contents = Contents::of_tocs(layers.collect(), tocs.collect()).expect("layers that can be applied");
    assert!(contents.unseen.is_empty());
    contents
}

/// Node at one path, without its names.
fn entry(contents: &Contents, item: &Item) -> TreeEntry {
    let bare = |kind: &str, content: String| TreeEntry {
        kind: kind.to_owned(),
        mode: 0o755,
        owner: (0, 0),
        mtime: 0,
        content,
        first_name: None,
        xattrs: BTreeMap::new(),
    };
    let of = contents.content_of(item);
    let ItemBody::Node(node) = &of.body else {
        assert_eq!(of.body, ItemBody::Implied);
        return bare("dir", String::new());
    };
    let (kind, content) = match &node.kind {
        NodeKind::File { .. } => {
            let digest = of.digest.expect("digest of a file");
            let digest = Digest::from_bytes(Algorithm::Sha256, &digest).expect("digest");
            ("file", digest.to_string())
        }
        NodeKind::Dir => ("dir", String::new()),
        NodeKind::Symlink { target } => ("link", String::from_utf8_lossy(target).into()),
        NodeKind::Fifo => ("fifo", String::new()),
        other => ("device", format!("{other:?}")),
    };
    TreeEntry {
        mode: if kind == "link" { 0o777 } else { node.mode },
        owner: (node.uid, node.gid),
        mtime: node.mtime.sec,
        ..bare(kind, content)
    }
}

/// The tree of the items that pass, without the root.
fn tree_of<'a>(contents: &'a Contents, items: impl Iterator<Item = &'a Item>) -> Tree {
    let mut names: HashMap<*const Item, Vec<PathBuf>> = HashMap::new();
    let mut out = BTreeMap::new();
    for item in items.filter(|item| !item.path.is_root()) {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(item.path.as_bytes()));
        names
            .entry(std::ptr::from_ref(contents.content_of(item)))
            .or_default()
            .push(path.clone());
        assert!(
            out.insert(path, entry(contents, item)).is_none(),
            "one item at a path"
        );
    }
    for mut group in names.into_values().filter(|group| group.len() > 1) {
        group.sort();
        for name in &group {
            out.get_mut(name).expect("name").first_name = Some(group[0].clone());
        }
    }
    Tree(out)
}

fn unpacked(tars: &[Vec<u8>]) -> Option<Tree> {
    let (dir, result) = apply(tars, Resolver::Openat2);
    result.ok()?;
    let mut tree = Tree::read(dir.path());
    tree.0.remove(Path::new(""));
    Some(tree)
}

/// Returns whether an item was there when the layers from `layer` on were not.
fn was_there(contents: &Contents, item: &Item, layer: u32) -> bool {
    let is_node = !matches!(item.body, ItemBody::Whiteout | ItemBody::Opaque);
    let end = match item.end {
        End::Live => u32::MAX,
        End::Replaced(by) | End::Removed(by) => contents.items[by as usize].layer,
    };
    is_node && item.layer < layer && layer <= end
}

/// The bytes of each layer by class are all its bytes, and the live ones are those of the tree.
fn check_waste(contents: &Contents, tars: &[Vec<u8>]) {
    let waste = Waste::of(contents, 0);
    for (sums, tar) in waste.layers.iter().zip(tars) {
        // The layers are not compressed, so that both sums are the same size.
        let size = tar.len() as u64;
        assert_eq!((sums.total().tar, sums.total().packed), (size, size));
        assert!(sums.archive.tar >= 1024, "two blocks end an archive");
    }
    let live: u64 = contents.tree().map(|item| item.span).sum();
    assert_eq!(waste.own().of(Class::Live).tar, live);
    let found: u64 = waste.findings.iter().map(|finding| finding.bytes.tar).sum();
    assert_eq!(waste.own().reclaimable().tar, found);
    let dirs: u64 = waste.directories().iter().map(|(_, bytes, _)| bytes.tar).sum();
    assert_eq!(dirs, found);
    for base in 0..=tars.len() {
        let parts = Waste::of(contents, base);
        let sum = parts.own().total().tar + parts.of_base().total().tar;
        assert_eq!(sum, waste.own().total().tar);
    }
}

#[test]
fn a_table_tells_where_each_entry_stands() {
    let tar = Tar::new()
        .list(&["d a", "f a/b=content", "l c=a", "h d=a/b", "w e", "o a"])
        .end();
    let contents = contents(std::slice::from_ref(&tar));
    assert_eq!(contents.items.len(), 6);
    let mut at = 0;
    for item in &contents.items {
        assert_eq!(item.start, at);
        at += item.span;
        let part = &tar[item.start as usize..at as usize];
        let mut reader = LayerReader::new(part, Limits::default());
        let entry = reader.next_entry().expect("entry").expect("entry");
        assert_eq!(entry.path, item.path);
        if item.digest.is_some() {
            let content = std::io::read_to_string(&mut reader).expect("content");
            assert_eq!(content, "content");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(400),
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_layers_give_the_tree_of_an_unpack(layers in layers()) {
        let tar = |specs: &Vec<String>| {
            let specs: Vec<&str> = specs.iter().map(String::as_str).collect();
            Tar::new().list(&specs).end()
        };
        let tars: Vec<Vec<u8>> = layers.iter().map(tar).collect();
        let want = unpacked(&tars);
        // Layers that give no tree are no case.
        prop_assume!(want.is_some());
        let want = want.unwrap_or(Tree(BTreeMap::new()));
        let all = contents(&tars);
        let found = tree_of(&all, all.tree());
        prop_assert!(found.differences(&want).is_empty(), "{}", found.differences(&want));
        check_waste(&all, &tars);
        // The fates tell the trees of the lower layers too, but for directories without an entry.
        for layer in 1..tars.len() {
            let lower = contents(&tars[..layer]);
            let paths = |contents: &Contents, up_to: u32| -> Vec<String> {
                let items = contents.items.iter();
                let items = items.filter(|item| was_there(contents, item, up_to));
                let items = items.filter(|item| item.body != ItemBody::Implied);
                let mut out: Vec<String> = items.map(|item| format!("{} {}", item.path, item.layer)).collect();
                out.sort();
                out
            };
            prop_assert_eq!(paths(&all, layer as u32), paths(&lower, layer as u32), "of {} layers", layer);
        }
    }
}
