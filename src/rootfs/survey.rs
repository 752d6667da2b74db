// SPDX-License-Identifier: Apache-2.0
//! A walk over a tree by all cores, in no order; what costs more than a look is left to the visitor.

use std::sync::{Mutex, PoisonError};

use rayon::Scope;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Dir, Root};
use crate::node::{Inode, NodeKind, TreePath, Xattrs};

/// One path that was found.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Where.
    pub path: TreePath,
    /// What it is, without extended attributes.
    pub inode: Inode,
    root: &'a Root,
    dir: &'a Dir,
    name: &'a [u8],
}

impl Seen<'_> {
    /// Its extended attributes.
    ///
    /// # Errors
    /// Whatever the file system says, with the path.
    pub fn xattrs(&self) -> Result<Xattrs> {
        match self.inode.node.kind {
            NodeKind::File { .. } | NodeKind::Dir | NodeKind::Symlink { .. } => {
                self.root.xattrs(self.dir, self.name)
            }
            _ => Ok(Xattrs::new()),
        }
    }
}

/// Shows every path of a tree to `visit`, a directory before what is in it; a name that vanishes meanwhile is left
/// out.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no tree; of several failures that of the first path.
pub fn survey(root: &Root, visit: impl Fn(Seen<'_>) -> Result<()> + Sync) -> Result<()> {
    let walk = Walk {
        root,
        visit,
        failure: Mutex::default(),
    };
    let top = root.dir(&TreePath::root())?;
    let Some(inode) = root.stat(&top, b".")? else {
        let text = format!("{} does not exist", root.path().display());
        return Err(Error::new(ErrorKind::NotFound, text));
    };
    (walk.visit)(walk.seen(TreePath::root(), inode, &top, b"."))?;
    rayon::scope(|scope| walk.enter(scope, TreePath::root()));
    // Directories that refused the walk were opened for it.
    let restored = root.restore();
    match walk.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, err)) => Err(err),
        None => restored,
    }
}

struct Walk<'a, V> {
    root: &'a Root,
    visit: V,
    failure: Mutex<Option<(TreePath, Error)>>,
}

impl<V: Fn(Seen<'_>) -> Result<()> + Sync> Walk<'_, V> {
    fn seen<'s>(&'s self, path: TreePath, inode: Inode, dir: &'s Dir, name: &'s [u8]) -> Seen<'s> {
        Seen {
            path,
            inode,
            root: self.root,
            dir,
            name,
        }
    }

    fn enter<'s>(&'s self, scope: &Scope<'s>, path: TreePath) {
        if let Err(err) = self.children(scope, &path) {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure.as_ref().is_none_or(|(first, _)| path < *first) {
                *failure = Some((path, err));
            }
        }
    }

    fn children<'s>(&'s self, scope: &Scope<'s>, path: &TreePath) -> Result<()> {
        let dir = match self.root.dir(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
            dir => dir?,
        };
        if dir.path() != path {
            let text = format!("{path} was replaced by a link while it was read");
            return Err(Error::new(ErrorKind::UnsafePath, text));
        }
        for name in self.root.list(&dir)? {
            let Some(inode) = self.root.stat(&dir, &name)? else {
                continue;
            };
            let path = path.join(&name)?;
            let below = inode.node.is_dir().then(|| path.clone());
            (self.visit)(self.seen(path, inode, &dir, &name))?;
            if let Some(path) = below {
                scope.spawn(move |scope| self.enter(scope, path));
            }
        }
        Ok(())
    }
}
