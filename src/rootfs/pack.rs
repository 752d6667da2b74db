// SPDX-License-Identifier: Apache-2.0
//! A tree, or what changed in it, to the entries of a layer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;

use super::scan::scan_from;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{IdMap, ROOTLESS_XATTR, Root, decode_rootless, is_forbidden};
use crate::layer::LayerWriter;
use crate::node::{Change, ChangeKind, Inode, Node, NodeKind, Time, TreePath};
use crate::progress::{Counter, Monitor};

/// How to make entries.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// Owners on the disk to owners in the layer (the maps that the tree was unpacked with).
    pub id_map: IdMap,
    /// Newer modification times become this.
    pub clamp_mtime: Option<Time>,
}

/// Writes a layer of `changes`, which are sorted by path: the paths as they are now, and whiteouts for those removed.
///
/// Only the topmost of removed paths is hidden, and none below a path that is no directory any more: what lower layers
/// have there goes with it.
pub fn pack<W: Write>(
    root: &Root,
    changes: impl IntoIterator<Item = Result<Change>>,
    out: &mut LayerWriter<W>,
    opts: &PackOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut packer = Packer {
        root,
        out,
        opts,
        monitor,
        links: HashMap::new(),
    };
    let mut gone = Gone::default();
    for change in changes {
        let Change { path, kind } = change?;
        if kind == ChangeKind::Removed {
            if !gone.covers(&path) {
                packer.out.whiteout(&path)?;
                gone.0.push(path);
            }
            continue;
        }
        let inode = packer.stat(&path)?.ok_or_else(|| vanished(&path))?;
        let is_dir = inode.node.is_dir();
        packer.entry(&path, &path, inode)?;
        if !is_dir && !gone.covers(&path) {
            gone.0.push(path);
        }
    }
    root.restore()
}

/// Paths below which nothing of a lower layer is left, and of which the one that is asked about next may be one: paths
/// that begin with the bytes of one path follow each other.
#[derive(Default)]
struct Gone(Vec<TreePath>);

impl Gone {
    /// Whether `path`, which comes after all that it was asked about, is below one of them.
    fn covers(&mut self, path: &TreePath) -> bool {
        let begins = |above: &TreePath| path.as_bytes().starts_with(above.as_bytes());
        while self.0.pop_if(|last| !begins(last)).is_some() {}
        self.0.iter().any(|above| path.is_below(above))
    }
}

/// Writes a layer of what is at and below `source` in `root`, as if it stood at `target`.
pub fn pack_tree<W: Write>(
    root: &Root,
    source: &TreePath,
    target: &TreePath,
    out: &mut LayerWriter<W>,
    opts: &PackOptions,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut packer = Packer {
        root,
        out,
        opts,
        monitor,
        links: HashMap::new(),
    };
    for item in scan_from(root, source.clone()) {
        let (path, inode) = item?;
        let below = &path.as_bytes()[source.as_bytes().len()..];
        let name = TreePath::clean(&[target.as_bytes(), b"/", below].concat())?;
        packer.entry(&path, &name, inode)?;
    }
    Ok(())
}

struct Packer<'a, W> {
    root: &'a Root,
    out: &'a mut LayerWriter<W>,
    opts: &'a PackOptions,
    monitor: &'a dyn Monitor,
    /// By device and inode, of each file with several names: its first name in the layer, and how many are still to come.
    links: HashMap<(u64, u64), (TreePath, u64)>,
}

impl<W: Write> Packer<'_, W> {
    fn stat(&self, path: &TreePath) -> Result<Option<Inode>> {
        let (dir, name) = match self.root.parent(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let Some(mut inode) = self.root.stat(&dir, &name)? else {
            return Ok(None);
        };
        inode.node.xattrs = self.root.xattrs(&dir, &name)?;
        Ok(Some(inode))
    }

    /// Writes what is at `path` of the tree under the name `name`.
    fn entry(&mut self, path: &TreePath, name: &TreePath, inode: Inode) -> Result<()> {
        let identity = (inode.dev, inode.ino);
        let node = self.node(path, inode.node)?;
        if node.kind == NodeKind::Socket {
            self.monitor.warn(format_args!("socket left out: {path}"));
            return Ok(());
        }
        if !node.is_dir() && inode.nlink > 1 {
            let Some((first, left)) = self.links.get_mut(&identity) else {
                self.links.insert(identity, (name.clone(), inode.nlink - 1));
                return self.content(path, name, &node);
            };
            self.out.hard_link(name, first, &node)?;
            *left -= 1;
            if *left == 0 {
                self.links.remove(&identity);
            }
            return Ok(());
        }
        self.content(path, name, &node)
    }

    fn content(&mut self, path: &TreePath, name: &TreePath, node: &Node) -> Result<()> {
        if let NodeKind::File { .. } = node.kind {
            let mut file = self.root.open_file(path)?;
            self.monitor.count(Counter::FilesRead, 1);
            return self.out.node(name, node, &mut file);
        }
        self.out.node(name, node, &mut std::io::empty())
    }

    /// The node as it stands in a layer: owners of the container, no attributes of the host.
    fn node(&self, path: &TreePath, mut node: Node) -> Result<Node> {
        let rootless = node
            .xattrs
            .get(ROOTLESS_XATTR)
            .map(|value| decode_rootless(value));
        if self.opts.id_map.rootless {
            let owner = rootless.transpose().context(|| path.to_string())?;
            (node.uid, node.gid) = owner.unwrap_or((0, 0));
            node.xattrs.remove(ROOTLESS_XATTR);
        } else {
            if rootless.is_some() {
                self.monitor.warn(format_args!(
                    "xattr{{{path}}} keeping \"user.rootlesscontainers\""
                ));
            }
            (node.uid, node.gid) = self
                .opts
                .id_map
                .to_container(node.uid, node.gid)
                .context(|| path.to_string())?;
        }
        node.xattrs.retain(|name, value| {
            if value.is_empty() && !is_forbidden(name) {
                let name = String::from_utf8_lossy(name);
                self.monitor.warn(format_args!(
                    "xattr{{{path}}} a layer cannot hold the empty value of {name:?}"
                ));
            }
            !is_forbidden(name) && !value.is_empty()
        });
        for (name, value) in &mut node.xattrs {
            let inside = self.opts.id_map.xattr_to_container(name, value);
            if let Cow::Owned(inside) = inside.context(|| path.to_string())? {
                *value = inside;
            }
        }
        if let Some(latest) = self.opts.clamp_mtime {
            node.mtime = node.mtime.min(latest);
        }
        Ok(node)
    }
}

fn vanished(path: &TreePath) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("{path} vanished while the tree was read"),
    )
}
