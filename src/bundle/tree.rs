// SPDX-License-Identifier: Apache-2.0
//! The tree of a bundle as a layer would have it, to be looked at beside images.

use std::fs::File;

use super::repack::{open_rootfs, read_meta};
use super::stat_cache::StatCache;
use super::{Bundle, contents};
use crate::digest::Digest;
use crate::error::Result;
use crate::fs::Root;
use crate::node::{Node, NodeKind, TreePath};
use crate::progress::{Monitor, Task};
use crate::rootfs::{PackOptions, node_in_layer, par_walk};

/// The tree of a bundle, of which no content was read.
#[derive(Debug)]
pub(crate) struct BundleTree {
    root: Root,
    /// Devices are empty files in it, and belong to whoever unpacked it.
    pub rootless: bool,
    /// Its nodes in the order of paths; no sockets, which no layer can hold.
    pub files: Vec<BundleFile>,
}

/// A path of a bundle.
#[derive(Debug)]
pub(crate) struct BundleFile {
    pub path: TreePath,
    /// With the owners of the container.
    pub node: Node,
    /// SHA-256 of the content, if the stat cache knows it.
    pub digest: Option<Digest>,
    /// Device and number of a file with several names.
    pub linked: Option<(u64, u64)>,
}

impl BundleTree {
    /// Walks the tree of `bundle`, whose ids are mapped back as a repack does.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if it is no bundle; for a path that cannot be read.
    pub(crate) fn read(bundle: &Bundle, monitor: &dyn Monitor) -> Result<Self> {
        let meta = read_meta(bundle)?;
        let rootless = meta.id_map.rootless;
        let root = open_rootfs(bundle, &meta)?;
        let manifest = meta.walk().last().map(|last| last.digest);
        let caches = meta.repacked.iter().rev().copied().chain(manifest);
        let caches: Vec<StatCache> = caches
            .map(|digest| StatCache::to_read(&bundle.stat_cache(&digest)))
            .collect();
        let opts = PackOptions {
            id_map: meta.id_map,
            clamp_mtime: None,
        };
        let task = monitor.task("reading the tree", None);
        let mut files = Vec::new();
        par_walk(
            &root,
            |mut seen| {
                task.advance(0);
                let known = caches
                    .iter()
                    .find_map(|cache| cache.digest(&seen.path, &seen.inode));
                seen.inode.node.xattrs = seen.xattrs()?;
                let linked = seen.inode.linked_file();
                Ok(BundleFile {
                    digest: known.filter(|_| matches!(seen.inode.node.kind, NodeKind::File { .. })),
                    node: node_in_layer(&seen.path, seen.inode.node, &opts, monitor)?,
                    path: seen.path,
                    linked,
                })
            },
            |file| {
                if file.node.kind != NodeKind::Socket {
                    files.push(file);
                }
                Ok(())
            },
        )?;
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            root,
            rootless,
            files,
        })
    }

    /// Returns the SHA-256 of the content of a file, which is read.
    ///
    /// # Errors
    /// For a path that cannot be read, which they name.
    pub(crate) fn hash(&self, path: &TreePath, task: &dyn Task) -> Result<Digest> {
        contents::sha256(&self.root, path, task)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// For what is no regular file any more.
    pub(crate) fn open(&self, path: &TreePath) -> Result<File> {
        self.root.open_file(path)
    }
}
