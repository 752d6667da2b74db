// SPDX-License-Identifier: Apache-2.0
//! Changes of a bundle that its next repack would put into a layer, told without a layout.

use super::repack::{masks, open_rootfs, read_meta};
use super::{Bundle, contents, runtime, tree_diff};
use crate::error::{Result, ResultExt};
use crate::mtree::Keywords;
use crate::node::{ChangeKind, Inode, NodeKind, TreePath};
use crate::progress::Monitor;
use crate::rootfs::{Changes, each_change};

/// Maximum size of `config.json`, in bytes.
const MAX_CONFIG: u64 = 16 << 20;

/// Options of a [`status`].
#[derive(Clone, Debug, Default)]
pub struct StatusOptions {
    /// Paths below the root, in any spelling, at and below which changes are left out.
    pub masks: Vec<Vec<u8>>,
    /// Do not leave out changes below the volumes of the image, as `config.json` of the bundle has them.
    pub no_mask_volumes: bool,
}

/// An entry that the next layer would have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsaved {
    /// The path.
    pub path: TreePath,
    /// Kind of change: new, changed or gone.
    pub kind: ChangeKind,
    /// Keywords of mtree that differ, of a path that was there; `device` for another device. None for a path that goes along because
    /// another name of its file differs.
    pub keywords: Vec<String>,
    /// Node that is there now; `None` for a path that is gone.
    pub now: Option<Inode>,
}

impl Unsaved {
    /// Returns the size of the content of a regular file in bytes, else 0.
    pub fn size(&self) -> u64 {
        match self.now.as_ref().map(|inode| &inode.node.kind) {
            Some(NodeKind::File { size }) => *size,
            _ => 0,
        }
    }
}

/// Gives `each` the entries that a repack of the bundle would write, in the order of paths. Nothing is written but the stat cache.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if the bundle or its manifest is gone; for a path that cannot be
/// read; those of `each`.
pub fn status(
    bundle: &Bundle,
    opts: &StatusOptions,
    each: &mut dyn FnMut(Unsaved) -> Result<()>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let meta = read_meta(bundle)?;
    let root = open_rootfs(bundle, &meta)?;
    let mut volumes = Vec::new();
    if !opts.no_mask_volumes {
        let path = bundle.config();
        let config =
            crate::fs::open_regular(&path).and_then(|file| crate::fs::read_to_end(file, &path, MAX_CONFIG));
        volumes = config
            .and_then(|config| runtime::volumes_of(&config))
            .context(|| format!("read volumes of the image from {}", path.display()))?;
    }
    let mut changes = Changes::new(masks(&opts.masks, volumes.iter())?, crate::fs::memory_file);
    let Some(manifest) = meta.walk().last() else {
        fail!(Invalid, "empty descriptor path");
    };
    let Some(recorded) = tree_diff::changes(&root, bundle, &manifest.digest, &mut changes, monitor)? else {
        return Ok(());
    };
    let wanted = Keywords::umoci();
    each_change(&root, changes.sorted()?, |change, now| {
        let mut keywords = Vec::new();
        match &now {
            // No layer has a socket.
            Some(inode) if inode.node.kind == NodeKind::Socket => return Ok(()),
            Some(inode) if change.kind == ChangeKind::Modified => {
                keywords = recorded.differing(&change.path, inode, &wanted, &|path, inode, keyword| {
                    contents::value(&root, path, inode, keyword)
                })?;
                if keywords.is_empty() && inode.node.kind.device_number().is_some() {
                    keywords.push("device".to_owned());
                }
            }
            _ => {}
        }
        each(Unsaved {
            path: change.path,
            kind: change.kind,
            keywords,
            now,
        })
    })
}
