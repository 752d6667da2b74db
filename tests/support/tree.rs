// SPDX-License-Identifier: Apache-2.0
//! A tree on disk as a value that can be compared with another.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// All of a tree, by path below its root.
#[derive(Debug, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<PathBuf, TreeEntry>);

/// What is at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub kind: String,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Whole seconds: that is what layers hold.
    pub mtime: i64,
    /// Digest of a file's content, target of a link, numbers of a device.
    pub content: String,
    /// First of the names of the file, if it has several in the tree.
    pub first_name: Option<PathBuf>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Reads the tree by descriptors of its directories: a path in it may be longer than what one call takes.
    pub fn read(root: &Path) -> Self {
        let mut out = BTreeMap::new();
        let mut names: HashMap<(u64, u64), PathBuf> = HashMap::new();
        let mut stack = vec![(PathBuf::new(), None, root.to_owned())];
        let mut all = Vec::new();
        while let Some((path, above, name)) = stack.pop() {
            let full = join(above.as_deref(), &name);
            let meta = std::fs::symlink_metadata(&full).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            if meta.is_dir() {
                let dir = Rc::new(std::fs::File::open(&full).expect("directory"));
                for entry in std::fs::read_dir(&full).expect("directory") {
                    let name = entry.expect("entry").file_name();
                    stack.push((path.join(&name), Some(Rc::clone(&dir)), name.into()));
                }
            }
            all.push((path, above, name, meta));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, above, name, meta) in all {
            let full = join(above.as_deref(), &name);
            let kind = meta.file_type();
            let (kind, content) = if kind.is_file() {
                let bytes = std::fs::read(&full).expect("file");
                ("file", umoci::digest::Digest::sha256(&bytes).to_string())
            } else if kind.is_dir() {
                ("dir", String::new())
            } else if kind.is_symlink() {
                (
                    "link",
                    String::from_utf8_lossy(std::fs::read_link(&full).expect("link").as_os_str().as_bytes())
                        .into(),
                )
            } else if kind.is_fifo() {
                ("fifo", String::new())
            } else if kind.is_socket() {
                ("socket", String::new())
            } else {
                ("device", format!("{}", meta.rdev()))
            };
            let first_name = (!meta.is_dir() && meta.nlink() > 1).then(|| {
                names
                    .entry((meta.dev(), meta.ino()))
                    .or_insert_with(|| path.clone())
                    .clone()
            });
            let entry = TreeEntry {
                kind: kind.to_owned(),
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                mtime: meta.mtime(),
                content,
                first_name,
                xattrs: xattrs(&full),
            };
            out.insert(path, entry);
        }
        Self(out)
    }

    /// The first paths that differ, with what is there; nothing if none does.
    pub fn differences(&self, other: &Tree) -> String {
        let paths = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<&PathBuf> = paths.filter(|p| self.0.get(*p) != other.0.get(*p)).collect();
        differing.sort();
        differing.dedup();
        let show = |p: &&PathBuf| {
            format!(
                "{}\n  {:?}\n  {:?}\n",
                p.display(),
                self.0.get(*p),
                other.0.get(*p)
            )
        };
        if differing.is_empty() {
            return String::new();
        }
        let shown: String = differing.iter().take(20).map(show).collect();
        format!("{} paths differ\n{shown}", differing.len())
    }

    /// Fails with the first paths that differ.
    pub fn assert_same(&self, other: &Tree, what: &str) {
        let differences = self.differences(other);
        assert!(differences.is_empty(), "{what}: {differences}");
        assert!(self.0.len() > 1, "{what}: the tree is empty");
    }
}

fn join(dir: Option<&std::fs::File>, name: &Path) -> PathBuf {
    let dir = dir.map(|dir| PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())));
    dir.unwrap_or_default().join(name)
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 64 * 1024];
    let n = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..n].split(|&c| c == 0).filter(|n| !n.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let n = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).expect("value");
            value.truncate(n);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}
