// SPDX-License-Identifier: Apache-2.0
//! A tree, or what changed in it, to the entries of a layer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use crate::error::{Result, ResultExt};
use crate::fs::{IdMap, ROOTLESS_XATTR, Root, decode_rootless, is_forbidden};
use crate::layer::{LayerWriter, can_hold_xattr};
use crate::node::{Change, ChangeKind, Inode, Node, NodeKind, Time, TreePath};
use crate::progress::Monitor;

/// Options of making entries.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Owners on the disk to owners in the layer (the maps that the tree was unpacked with).
    pub id_map: IdMap,
    /// Newer modification times become this.
    pub clamp_mtime: Option<Time>,
}

/// Writes paths of a tree as entries of a layer.
pub struct Packer<'a, W> {
    root: &'a Root,
    out: &'a mut LayerWriter<W>,
    opts: &'a PackOptions,
    monitor: &'a dyn Monitor,
    /// By device and inode, of each file with several names: its first name in the layer, what it is, and how many are still
    /// to come.
    links: HashMap<(u64, u64), (TreePath, Node, u64)>,
}

impl<'a, W: Write> Packer<'a, W> {
    /// Begins to write what is in `root` to `out`.
    pub fn new(
        root: &'a Root,
        out: &'a mut LayerWriter<W>,
        opts: &'a PackOptions,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            root,
            out,
            opts,
            monitor,
            links: HashMap::new(),
        }
    }

    /// Writes `changes`, which are sorted by path: the paths as they are now, and whiteouts for those removed.
    ///
    /// Only the topmost of removed paths is hidden, and none below a path that is no directory any more: what lower layers
    /// have there goes with it.
    pub fn changes(mut self, changes: impl IntoIterator<Item = Result<Change>>) -> Result<()> {
        let root = self.root;
        each_change(root, changes, |Change { path, .. }, inode| match inode {
            Some(inode) => self.entry(&path, &path, inode),
            None => self.out.whiteout(&path),
        })
    }

    /// Writes what is at and below `source`, as if it stood at `target`: depth first, a directory before what is in it, names
    /// sorted bytewise.
    pub fn tree(mut self, source: &TreePath, target: &TreePath) -> Result<()> {
        // Not recursive: a stranger's tree may be deeper than a call stack.
        let mut stack = vec![source.clone()];
        while let Some(path) = stack.pop() {
            let Some(inode) = stat(self.root, &path)? else {
                // Names may vanish while the tree is read.
                continue;
            };
            if inode.node.is_dir() {
                for name in self.root.list(&self.root.own_dir(&path)?)?.iter().rev() {
                    stack.push(path.join(name)?);
                }
            }
            let below = &path.as_bytes()[source.as_bytes().len()..];
            let name = TreePath::clean(&[target.as_bytes(), b"/", below].concat())?;
            self.entry(&path, &name, inode)?;
        }
        self.root.restore()
    }

    /// Writes what is at `path` of the tree under the name `name`.
    fn entry(&mut self, path: &TreePath, name: &TreePath, inode: Inode) -> Result<()> {
        if let Some(linked) = inode.linked_file()
            && let Some((first, node, left)) = self.links.get_mut(&linked)
        {
            self.out.hard_link(name, first, node)?;
            // After the last name nothing asks for the file again, and a tree may have millions.
            *left -= 1;
            if *left == 0 {
                self.links.remove(&linked);
            }
            return Ok(());
        }
        let (file, inode) = match inode.node.kind {
            NodeKind::Socket => {
                self.monitor.warn(format_args!("socket left out: {path}"));
                return Ok(());
            }
            NodeKind::File { .. } => {
                // Metadata and content come from one descriptor: another file may have the name by now.
                let (file, inode) = self.root.open_stat(path)?;
                (Some(file), inode)
            }
            _ => (None, inode),
        };
        let (linked, others) = (inode.linked_file(), inode.nlink.saturating_sub(1));
        let node = node_in_layer(path, inode.node, self.opts, self.monitor)?;
        if let Some(linked) = linked {
            self.links.insert(linked, (name.clone(), node.clone(), others));
        }
        match file {
            Some(mut file) => self.out.node(name, &node, &mut file),
            None => self.out.node(name, &node, &mut std::io::empty()),
        }
    }
}

/// Returns the node as it stands in a layer: owners of the container, no attributes of the host.
///
/// # Errors
/// For an owner or a capability that the maps do not have, and a damaged `user.rootlesscontainers`.
pub(crate) fn node_in_layer(
    path: &TreePath,
    mut node: Node,
    opts: &PackOptions,
    monitor: &dyn Monitor,
) -> Result<Node> {
    let rootless = node.xattrs.get(ROOTLESS_XATTR);
    let rootless = rootless.map(|value| decode_rootless(value));
    if opts.id_map.rootless {
        let owner = rootless.transpose().context(|| path.to_string())?;
        (node.uid, node.gid) = owner.unwrap_or((0, 0));
        node.xattrs.remove(ROOTLESS_XATTR);
    } else {
        if rootless.is_some() {
            monitor.warn(format_args!(
                "xattr{{{path}}} keeping \"user.rootlesscontainers\""
            ));
        }
        let owner = opts.id_map.to_container(node.uid, node.gid);
        (node.uid, node.gid) = owner.context(|| path.to_string())?;
    }
    node.xattrs.retain(|name, value| {
        let what = if is_forbidden(name) {
            return false;
        } else if !can_hold_xattr(name) {
            "name"
        } else if value.is_empty() {
            "empty value"
        } else {
            return true;
        };
        let name = String::from_utf8_lossy(name);
        monitor.warn(format_args!(
            "xattr{{{path}}} a layer cannot hold the {what} of {name:?}"
        ));
        false
    });
    for (name, value) in &mut node.xattrs {
        // A capability may name the root of a user namespace.
        let inside = opts.id_map.xattr_to_container(name, value);
        if let Cow::Owned(inside) = inside.context(|| path.to_string())? {
            *value = inside;
        }
    }
    if let Some(latest) = opts.clamp_mtime {
        node.mtime = node.mtime.min(latest);
    }
    Ok(node)
}

/// Gives `each` what a layer of `changes`, which are sorted by path, has entries for: the paths with what is there now, and of those
/// removed the topmost, with nothing. None is given below a path that is no directory any more: the content of lower layers there
/// goes with it.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) for a path that is gone by now; those of `each`.
pub fn each_change(
    root: &Root,
    changes: impl IntoIterator<Item = Result<Change>>,
    mut each: impl FnMut(Change, Option<Inode>) -> Result<()>,
) -> Result<()> {
    let mut gone = Gone::default();
    for change in changes {
        let change = change?;
        let is_covered = gone.covers(&change.path);
        let mut now = None;
        if change.kind != ChangeKind::Removed {
            now = stat(root, &change.path)?;
            if now.is_none() {
                fail!(NotFound, "{} vanished while the tree was read", change.path);
            }
        } else if is_covered {
            continue;
        }
        if !is_covered && !now.as_ref().is_some_and(|inode| inode.node.is_dir()) {
            gone.0.push(change.path.clone());
        }
        each(change, now)?;
    }
    root.restore()
}

/// Returns what is at `path`, with its extended attributes.
fn stat(root: &Root, path: &TreePath) -> Result<Option<Inode>> {
    let Some((dir, name)) = root.own_parent(path).if_there()? else {
        return Ok(None);
    };
    let Some(mut inode) = root.stat(&dir, &name)? else {
        return Ok(None);
    };
    inode.node.xattrs = root.named(&dir, &name).xattrs()?;
    Ok(Some(inode))
}

/// Paths below which nothing of a lower layer is left, and of which the one that is asked about next may be one: paths
/// that begin with the bytes of one path follow each other.
#[derive(Default)]
struct Gone(Vec<TreePath>);

impl Gone {
    /// Returns whether `path`, which comes after all that it was asked about, is below one of them.
    fn covers(&mut self, path: &TreePath) -> bool {
        while self
            .0
            .pop_if(|last| !path.as_bytes().starts_with(last.as_bytes()))
            .is_some()
        {}
        self.0.iter().any(|above| path.is_below(above))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;
    use crate::layer::{EntryBody, LayerReader, Limits};
    use crate::progress::Silent;

    fn layer(pack: impl FnOnce(&mut LayerWriter<&mut Vec<u8>>) -> Result<()>) -> Result<Vec<u8>> {
        let mut tar = Vec::new();
        let mut out = LayerWriter::new(&mut tar, b"");
        pack(&mut out)?;
        out.finish()?;
        Ok(tar)
    }

    /// Two files that somebody exchanges all the time: never is one packed with the mode of the other.
    #[test]
    fn a_file_is_packed_with_its_own_mode_whoever_exchanges_it() {
        let dir = tempfile::tempdir().expect("dir");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("tree")).expect("mkdir");
        for (name, content, mode) in [("tree/tool", "good", 0o4755), ("other", "evil", 0o755)] {
            std::fs::write(path(name), content).expect("write");
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).expect("chmod");
        }
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = AtomicBool::new(false);
        let mut seen = [0; 2];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    renameat_with(CWD, path("tree/tool"), CWD, path("other"), RenameFlags::EXCHANGE)
                        .expect("exchange");
                }
            });
            let _running = Stop(&stop);
            let root = Root::open(&path("tree")).expect("root");
            for _ in 0..2000 {
                let at = TreePath::root();
                let opts = PackOptions::default();
                let tar = layer(|out| Packer::new(&root, out, &opts, &Silent).tree(&at, &at));
                let tar = tar.expect("pack");
                let mut layer = LayerReader::new(&*tar, Limits::default());
                while let Some(entry) = layer.next_entry().expect("entry") {
                    let EntryBody::Node(node) = entry.body else {
                        continue;
                    };
                    if !node.is_dir() {
                        let mut content = String::new();
                        std::io::Read::read_to_string(&mut layer, &mut content).expect("content");
                        assert_eq!(content == "good", node.mode == 0o4755, "{content}");
                        seen[usize::from(content == "good")] += 1;
                    }
                }
            }
        });
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    /// Runs an action when the header of the entry of a name was written.
    struct After<'a>(&'a [u8], Option<&'a dyn Fn()>);

    impl Write for After<'_> {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            if buf.starts_with(self.0)
                && let Some(action) = self.1.take()
            {
                action();
            }
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A directory that is a link by the time its files are read, for every way to go through a tree.
    #[test]
    fn nothing_is_read_through_a_link_that_was_a_directory() {
        let dir = tempfile::tempdir().expect("dir");
        let path = |name: &str| dir.path().join(name);
        let clean = |path: &str| TreePath::clean(path.as_bytes()).expect("path");
        let setup = || {
            std::fs::create_dir_all(path("src/d/sub")).expect("mkdir");
            std::fs::create_dir_all(path("secret/sub")).expect("mkdir");
            for name in ["src/d/f", "src/d/sub/f", "secret/f", "secret/sub/f"] {
                std::fs::write(path(name), name).expect("write");
            }
        };
        let swap = || {
            std::fs::rename(path("src/d"), path("was")).expect("rename");
            symlink("../secret", path("src/d")).expect("link");
        };
        for resolver in [crate::fs::Resolver::Openat2, crate::fs::Resolver::Walk] {
            setup();
            let root = Root::open(dir.path()).expect("root").with_resolver(resolver);
            let opts = PackOptions::default();
            let swap_and_forget = || {
                swap();
                root.forget();
            };
            let mut out = LayerWriter::new(After(b"src/d/", Some(&swap_and_forget)), b"");
            let src = clean("src");
            let packed = Packer::new(&root, &mut out, &opts, &Silent).tree(&src, &src);
            let why = packed.expect_err("a link").to_string();
            assert_eq!(why, "src/d was replaced by a link while it was read");
            assert!(out.finish().expect("end").1.is_none(), "not swapped");

            std::fs::remove_file(path("src/d")).expect("remove");
            std::fs::rename(path("was"), path("src/d")).expect("rename");
            root.forget();
            let changed = |name| Change {
                path: clean(name),
                kind: ChangeKind::Modified,
            };
            let changes = ["src/d/f", "src/d/sub/f"].into_iter().map(|name| {
                if name.contains("sub") {
                    swap();
                    root.forget();
                }
                Ok(changed(name))
            });
            let packed = layer(|out| Packer::new(&root, out, &opts, &Silent).changes(changes));
            let why = packed.expect_err("a link").to_string();
            assert!(why.contains("was replaced by a link"), "{why}");
            std::fs::remove_dir_all(path("was")).expect("clean");
            std::fs::remove_file(path("src/d")).expect("clean");
        }
    }
}
