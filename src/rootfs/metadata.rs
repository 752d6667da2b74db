// SPDX-License-Identifier: Apache-2.0
//! Sets the metadata of an entry on its file on the disk: owner, extended attributes, mode, times, in the order that keeps all of
//! it. Any thread may do it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Result, ResultExt};
use crate::fs::{
    Attributes, IdMap, ROOTLESS_XATTR, XattrSet, encode_rootless, in_user_namespace, is_forbidden,
};
use crate::layer::Limits;
use crate::node::{Node, NodeKind};
use crate::progress::Monitor;

/// Options of applying layers.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// Owners in the layers to owners on the disk.
    pub id_map: IdMap,
    /// Keep a symlink that leads to a directory where a layer has a directory.
    pub keep_dirlinks: bool,
    /// Limits on a layer.
    pub limits: Limits,
    /// Take the digests of the files, which costs more than all else where files are large.
    pub digests: bool,
}

/// Sets metadata by the options of an extraction.
pub(super) struct Metadata<'a> {
    pub opts: ExtractOptions,
    pub user_namespace: bool,
    pub monitor: &'a dyn Monitor,
    warned_unsupported: AtomicBool,
}

impl<'a> Metadata<'a> {
    pub fn new(opts: ExtractOptions, monitor: &'a dyn Monitor) -> Self {
        Self {
            opts,
            user_namespace: in_user_namespace(),
            monitor,
            warned_unsupported: AtomicBool::new(false),
        }
    }

    /// A new layer begins, which is warned about by itself.
    pub fn begin_layer(&self) {
        self.warned_unsupported.store(false, Ordering::Relaxed);
    }

    /// Sets all that an entry says of what was just made; `inherits` if it may have got attributes from its directory.
    pub fn set(&self, on: &Attributes<'_>, node: &Node, inherits: bool) -> Result<()> {
        self.set_owner(on, node)?;
        if inherits {
            on.clear_xattrs(&node.xattrs)?;
        }
        self.set_xattrs(on, node)?;
        // After the attributes: a mode without u+w refuses them to a plain user.
        if !matches!(node.kind, NodeKind::Symlink { .. }) {
            on.chmod(node.mode)?;
        }
        on.set_times(node.atime, node.mtime)
    }

    /// Sets the owner, unless nobody may.
    pub fn set_owner(&self, on: &Attributes<'_>, node: &Node) -> Result<()> {
        // Only root may give files away; the owner is kept in an extended attribute instead.
        if self.opts.id_map.rootless {
            return Ok(());
        }
        let owner = self.opts.id_map.to_host(node.uid, node.gid);
        let (uid, gid) = owner.context(|| "apply hdr metadata: unmap header")?;
        on.chown(uid, gid)
    }

    /// Sets the extended attributes that a layer may set.
    pub fn set_xattrs(&self, on: &Attributes<'_>, node: &Node) -> Result<()> {
        let rootless = self.opts.id_map.rootless;
        for (attribute, value) in &node.xattrs {
            if is_forbidden(attribute) {
                if on.xattrs()?.get(attribute) != Some(value) {
                    self.warn(on, "ignoring forbidden xattr", attribute);
                }
                continue;
            }
            if attribute == ROOTLESS_XATTR {
                self.warn(on, if rootless { "dropping" } else { "keeping" }, attribute);
                if rootless {
                    continue;
                }
            }
            let value = self.opts.id_map.xattr_to_host(attribute, value)?;
            self.set_xattr(on, attribute, &value)?;
        }
        if let Some(owner) = encode_rootless(node.uid, node.gid).filter(|_| rootless) {
            self.set_xattr(on, ROOTLESS_XATTR, &owner)?;
        }
        Ok(())
    }

    fn set_xattr(&self, on: &Attributes<'_>, attribute: &[u8], value: &[u8]) -> Result<()> {
        match on.set_xattr(attribute, value)? {
            XattrSet::Done => {}
            XattrSet::Unsupported => {
                // One warning for a layer: on such a file system every file has the same fault.
                if !self.warned_unsupported.swap(true, Ordering::Relaxed) {
                    self.warn(on, "the file system does not support", attribute);
                }
            }
            XattrSet::Denied if self.opts.id_map.rootless || self.user_namespace => {
                self.warn(on, "no permission to set", attribute);
            }
            XattrSet::Denied => {
                let attribute = String::from_utf8_lossy(attribute);
                let text = format!("set extended attribute {attribute:?}: operation not permitted");
                fail!(Denied, "{text}");
            }
        }
        Ok(())
    }

    fn warn(&self, on: &Attributes<'_>, what: &str, attribute: &[u8]) {
        let (path, attribute) = (on.path(), String::from_utf8_lossy(attribute));
        self.monitor
            .warn(format_args!("xattr{{{path}}} {what} {attribute:?}"));
    }
}
