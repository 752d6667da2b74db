// SPDX-License-Identifier: Apache-2.0
//! Bytes of layers that nobody sees: each entry of each layer is of exactly one class, so that the sums are the sizes of the tars.

use std::collections::{BTreeMap, HashMap};

use super::contents::{Contents, End, Item, ItemBody};
use crate::layer::FileDigest;
use crate::node::{NodeKind, TreePath};

/// Class of an entry of a layer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// It is in the tree that an unpack gives.
    Live,
    /// A later entry of the same path has other content.
    Replaced,
    /// A later entry of the same path has the same content: only metadata changed.
    Same,
    /// A later layer removed it; a whiteout, which is in no tree, is of this class too.
    Removed,
}

impl Class {
    /// All classes, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Live, Self::Replaced, Self::Same, Self::Removed];

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replaced => "replaced",
            Self::Same => "same",
            Self::Removed => "removed",
        }
    }
}

/// Bytes in a tar, and the part of the compressed layer that is theirs by their share of the tar.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Bytes {
    /// Bytes of headers, content and padding.
    pub tar: u64,
    /// Bytes of the blob.
    pub packed: u64,
}

impl Bytes {
    fn add(&mut self, other: Self) {
        self.tar += other.tar;
        self.packed += other.packed;
    }
}

/// Bytes by class; they add up to the sizes of the tars and of the blobs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sums {
    classes: [Bytes; 4],
    /// Bytes of no entry: the ends of archives.
    pub archive: Bytes,
}

impl Sums {
    /// Returns the bytes of a class.
    pub fn of(&self, class: Class) -> Bytes {
        self.classes[class as usize]
    }

    /// Returns the bytes of all classes but [`Class::Live`].
    pub fn reclaimable(&self) -> Bytes {
        let mut out = Bytes::default();
        let hidden = Class::ALL.into_iter().filter(|class| *class != Class::Live);
        hidden.for_each(|class| out.add(self.of(class)));
        out
    }

    /// Returns all bytes.
    pub fn total(&self) -> Bytes {
        let mut out = self.archive;
        self.classes.into_iter().for_each(|bytes| out.add(bytes));
        out
    }

    /// Returns the part of the bytes of entries that is live, 1 where there are none.
    #[allow(clippy::cast_precision_loss, reason = "a few digits are shown")]
    pub fn efficiency(&self) -> f64 {
        let (live, hidden) = (self.of(Class::Live).tar, self.reclaimable().tar);
        match live + hidden {
            0 => 1.0,
            all => live as f64 / all as f64,
        }
    }

    fn add(&mut self, other: &Self) {
        for (own, other) in self.classes.iter_mut().zip(other.classes) {
            own.add(other);
        }
        self.archive.add(other.archive);
    }
}

/// An entry that nobody sees.
#[derive(Clone, Copy, Debug)]
pub struct Finding<'a> {
    /// The entry.
    pub item: &'a Item,
    /// Never [`Class::Live`].
    pub class: Class,
    /// Number of the layer that hid it; of a whiteout its own.
    pub hidden_by: u32,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Files of the tree with one content under several paths, names of one file not counted.
#[derive(Clone, Debug)]
pub struct Copies<'a> {
    /// The content.
    pub digest: FileDigest,
    /// Size of it in bytes.
    pub size: u64,
    /// The files, sorted by path.
    pub files: Vec<&'a Item>,
}

impl Copies<'_> {
    /// Returns the bytes of all copies but one.
    pub fn extra(&self) -> u64 {
        self.size * (self.files.len() as u64 - 1)
    }
}

/// Files that an image mostly does without.
#[derive(Clone, Copy, Debug)]
pub struct Suggestion {
    /// Their name.
    pub name: &'static str,
    /// Advice to be rid of them.
    pub advice: &'static str,
    /// Count of files.
    pub files: u64,
    /// Size of their content in bytes.
    pub bytes: u64,
}

/// The waste of an image.
#[derive(Debug)]
pub struct Waste<'a> {
    /// Count of the lowest layers that are the base's; 0 without a base.
    pub base: usize,
    /// Sums of each layer, the lowest first.
    pub layers: Vec<Sums>,
    /// Entries of layers above the base that nobody sees, the largest first.
    pub findings: Vec<Finding<'a>>,
}

impl<'a> Waste<'a> {
    /// Classifies all entries; the `base` lowest layers are the base's.
    pub fn of(contents: &'a Contents, base: usize) -> Self {
        let mut findings = Vec::new();
        let mut layers = Vec::new();
        for (number, layer) in contents.layers.iter().enumerate() {
            let mut sums = Sums::default();
            for item in contents.layer_items(number).unwrap_or_default() {
                let class = class_of(contents, item);
                sums.classes[class as usize].tar += item.span;
                if class != Class::Live && number >= base {
                    findings.push(Finding {
                        item,
                        class,
                        // A whiteout is in no tree from the start.
                        hidden_by: contents.ended_in(item).unwrap_or(item.layer),
                        bytes: Bytes {
                            tar: item.span,
                            packed: contents.packed(item),
                        },
                    });
                }
            }
            let entries: u64 = sums.classes.iter().map(|bytes| bytes.tar).sum();
            sums.archive.tar = layer.tar_size.saturating_sub(entries);
            // Of a layer that could not be seen nothing is known.
            if layer.tar_size > 0 {
                share(&mut sums, layer.descriptor.size, layer.tar_size);
            }
            layers.push(sums);
        }
        findings.sort_by(|a, b| (b.bytes.tar, &a.item.path).cmp(&(a.bytes.tar, &b.item.path)));
        Self {
            base,
            layers,
            findings,
        }
    }

    /// Returns the sums of the layers above the base.
    pub fn own(&self) -> Sums {
        sum(&self.layers[self.base..])
    }

    /// Returns the sums of the layers of the base.
    pub fn of_base(&self) -> Sums {
        sum(&self.layers[..self.base])
    }

    /// Returns the bytes that nobody sees by the directories that they stand in, the largest first, with the count of entries.
    pub fn directories(&self) -> Vec<(TreePath, Bytes, u64)> {
        let mut found: BTreeMap<TreePath, (Bytes, u64)> = BTreeMap::new();
        for finding in &self.findings {
            let dir = finding.item.path.parent().unwrap_or_default();
            let (bytes, count) = found.entry(dir).or_default();
            bytes.add(finding.bytes);
            *count += 1;
        }
        let found = found.into_iter();
        let mut out: Vec<_> = found.map(|(dir, (bytes, count))| (dir, bytes, count)).collect();
        out.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(bytes.tar));
        out
    }
}

fn sum(layers: &[Sums]) -> Sums {
    let mut out = Sums::default();
    for layer in layers {
        out.add(layer);
    }
    out
}

/// Divides the bytes of a blob by the shares in the tar; all are given to somebody.
fn share(sums: &mut Sums, blob: u64, tar: u64) {
    let mut left = blob;
    for bytes in &mut sums.classes {
        bytes.packed = (u128::from(bytes.tar) * u128::from(blob) / u128::from(tar)) as u64;
        left = left.saturating_sub(bytes.packed);
    }
    sums.archive.packed = left;
}

/// Returns the class of an entry.
fn class_of(contents: &Contents, item: &Item) -> Class {
    match (&item.body, item.end) {
        (ItemBody::Whiteout | ItemBody::Opaque, _) | (_, End::Removed(_)) => Class::Removed,
        (_, End::Live) => Class::Live,
        (_, End::Replaced(by)) => match contents.items.get(by as usize) {
            Some(by) if contents.has_same_content(item, contents, by) => Class::Same,
            _ => Class::Replaced,
        },
    }
}

/// Returns contents that the tree has several times, those first that would save most.
pub fn copies(contents: &Contents) -> Vec<Copies<'_>> {
    let mut by_digest: HashMap<FileDigest, Vec<&Item>> = HashMap::new();
    for item in contents.tree() {
        if let (ItemBody::Node(_), Some(digest)) = (&item.body, item.digest) {
            by_digest.entry(digest).or_default().push(item);
        }
    }
    let found = by_digest.into_iter().filter(|(_, files)| files.len() > 1);
    let found = found.map(|(digest, files)| Copies {
        digest,
        size: contents.size_of(files[0]),
        files,
    });
    let mut out: Vec<Copies<'_>> = found.filter(|copies| copies.size > 0).collect();
    out.sort_by(|a, b| (b.extra(), &a.digest).cmp(&(a.extra(), &b.digest)));
    out
}

/// A kind of files that images mostly do without: its name, the advice, and how its paths begin, or end.
struct Hint {
    name: &'static str,
    advice: &'static str,
    begins: &'static [&'static str],
    ends: &'static [&'static str],
}

const HINTS: [Hint; 8] = [
    Hint {
        name: "apt lists",
        advice: "rm -rf /var/lib/apt/lists/* in the step that runs apt-get",
        begins: &["var/lib/apt/lists/"],
        ends: &[],
    },
    Hint {
        name: "packages in caches",
        advice: "clean the cache of the package manager in the step that runs it",
        begins: &[
            "var/cache/apt/",
            "var/cache/apk/",
            "var/cache/dnf/",
            "var/cache/yum/",
            "var/cache/zypp/",
            "var/cache/pacman/",
        ],
        ends: &[],
    },
    Hint {
        name: "caches of users",
        advice: "run pip with --no-cache-dir, and clean the caches of npm, cargo and go",
        begins: &["root/.cache/", "root/.npm/", "root/.cargo/registry/"],
        ends: &[],
    },
    Hint {
        name: "compiled Python",
        advice: "set PYTHONDONTWRITEBYTECODE=1 while the image is built",
        begins: &[],
        ends: &[".pyc"],
    },
    Hint {
        name: "documentation",
        advice: "exclude it in dpkg.cfg.d, or install with --nodocs",
        begins: &["usr/share/doc/", "usr/share/man/", "usr/share/info/"],
        ends: &[],
    },
    Hint {
        name: "translations",
        advice: "keep only the locales that are used",
        begins: &["usr/share/locale/"],
        ends: &[],
    },
    Hint {
        name: "static libraries",
        advice: "leave packages for development out of the last stage",
        begins: &[],
        ends: &[".a"],
    },
    Hint {
        name: "logs",
        advice: "remove them in the step that writes them",
        begins: &["var/log/"],
        ends: &[],
    },
];

/// Returns kinds of files of the tree that images mostly do without, the largest first.
pub fn suggestions(contents: &Contents) -> Vec<Suggestion> {
    let mut out: Vec<Suggestion> = HINTS
        .iter()
        .map(|hint| Suggestion {
            name: hint.name,
            advice: hint.advice,
            files: 0,
            bytes: 0,
        })
        .collect();
    for item in contents.tree() {
        let ItemBody::Node(node) = &item.body else {
            continue;
        };
        let NodeKind::File { size } = node.kind else {
            continue;
        };
        let path = item.path.as_bytes();
        let found = HINTS.iter().position(|hint| {
            hint.begins.iter().any(|begin| path.starts_with(begin.as_bytes()))
                || hint.ends.iter().any(|end| path.ends_with(end.as_bytes()))
        });
        if let Some(found) = found {
            out[found].files += 1;
            out[found].bytes += size;
        }
    }
    out.retain(|suggestion| suggestion.bytes > 0);
    out.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.bytes));
    out
}
