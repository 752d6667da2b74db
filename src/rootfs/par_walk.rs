// SPDX-License-Identifier: Apache-2.0
//! A walk over a tree by all cores, whose results come in one order; what costs more than a look is left to the
//! visitor.
//!
//! Invariant: however large the tree, few results wait at a time; of what is still to be visited only the names of one
//! directory are held, and the directories beside those on the way.

use rayon::prelude::*;

use crate::error::{Result, ResultExt};
use crate::fs::{Dir, Root};
use crate::node::{Inode, NodeKind, TreePath, Xattrs};

/// Results that wait for their turn, about; of one directory with what is below it; directories that are read at a
/// time.
const AHEAD: usize = 8192;
const SUBTREE: usize = 256;
const DIRS: usize = 32;

/// A directory with more names than this is shown in parts.
const SLICE: usize = 1024;

/// A path that the walk has reached.
#[derive(Debug)]
pub struct Visit<'a> {
    /// The path.
    pub path: TreePath,
    /// Its inode, without extended attributes.
    pub inode: Inode,
    root: &'a Root,
    dir: &'a Dir,
    name: &'a [u8],
}

impl Visit<'_> {
    /// Reads its extended attributes; only files, directories and links have any that a layer holds.
    ///
    /// # Errors
    /// Whatever the file system says, with the path.
    pub fn xattrs(&self) -> Result<Xattrs> {
        match self.inode.node.kind {
            NodeKind::File { .. } | NodeKind::Dir | NodeKind::Symlink { .. } => {
                self.root.named(self.dir, self.name).xattrs()
            }
            _ => Ok(Xattrs::new()),
        }
    }
}

/// Calls `visit` for every path of a tree, on all cores, and `emit` for each result, on this one: for a directory, what
/// is in it and is no directory, then its directories with all below them, names sorted bytewise. A name that vanishes
/// meanwhile is left out.
///
/// # Errors
/// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if there is no tree; of several failures the one that is met first.
pub fn par_walk<T: Send>(
    root: &Root,
    visit: impl Fn(Visit<'_>) -> Result<T> + Sync,
    mut emit: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let walked = Walk { root, visit }.run(&mut emit);
    // Directories that refused the walk were opened for it.
    walked.and(root.restore())
}

/// A directory whose results are not emitted yet.
enum Pending<T> {
    Unread(TreePath),
    Read(Read<T>),
}

/// A directory that was visited.
struct Read<T> {
    path: TreePath,
    /// Of the directory itself, then of what is in it.
    results: Vec<T>,
    /// Names that are not visited yet, of a large directory.
    names: Vec<Vec<u8>>,
    dirs: Vec<Pending<T>>,
}

impl<T> Read<T> {
    /// Returns how many results there are, those below included.
    fn count(&self) -> usize {
        let below = self.dirs.iter().map(|dir| match dir {
            Pending::Unread(_) => 0,
            Pending::Read(read) => read.count(),
        });
        self.results.len() + below.sum::<usize>()
    }
}

struct Walk<'a, V> {
    root: &'a Root,
    visit: V,
}

impl<T: Send, V: Fn(Visit<'_>) -> Result<T> + Sync> Walk<'_, V> {
    fn run(&self, emit: &mut impl FnMut(T) -> Result<()>) -> Result<()> {
        let mut stack = vec![Pending::Unread(TreePath::root())];
        let mut waiting = 0;
        while let Some(next) = stack.pop() {
            let path = match next {
                Pending::Read(read) => {
                    waiting -= read.results.len();
                    self.flush(read, &mut stack, emit)?;
                    continue;
                }
                Pending::Unread(path) => path,
            };
            // With enough results waiting, only the directory whose turn it is gets read.
            let most = if waiting < AHEAD { DIRS } else { 1 };
            let mut paths = vec![path];
            while paths.len() < most
                && let Some(Pending::Unread(path)) = stack.pop_if(|next| matches!(next, Pending::Unread(_)))
            {
                paths.push(path);
            }
            let read = paths
                .into_par_iter()
                .map(|path| self.read(path, &mut { SUBTREE }));
            // Collected in two steps: rayon alone would return whichever error comes first in time.
            let read: Vec<Result<_>> = read.collect();
            let read: Vec<_> = read.into_iter().collect::<Result<_>>()?;
            for read in read.into_iter().flatten().rev() {
                waiting += read.count();
                stack.push(Pending::Read(read));
            }
        }
        Ok(())
    }

    /// Emits the results of one directory, and leaves its directories on the stack.
    fn flush(
        &self,
        read: Read<T>,
        stack: &mut Vec<Pending<T>>,
        emit: &mut impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        read.results.into_iter().try_for_each(&mut *emit)?;
        let mut dirs = read.dirs;
        // A directory that is gone by now has lost all its names.
        if !read.names.is_empty()
            && let Some(dir) = self.root.own_dir(&read.path).if_there()?
        {
            for names in read.names.chunks(SLICE) {
                let found = names.par_iter().map(|name| self.child(&read.path, &dir, name));
                let found: Vec<_> = found.collect();
                for found in found {
                    match found? {
                        Some(Child::Dir(path)) => dirs.push(Pending::Unread(path)),
                        Some(Child::Other(result)) => emit(result)?,
                        None => {}
                    }
                }
            }
        }
        stack.extend(dirs.into_iter().rev());
        Ok(())
    }

    /// Visits a directory and what is in it, and the directories below while there is `room` for results.
    fn read(&self, path: TreePath, room: &mut usize) -> Result<Option<Read<T>>> {
        let Some((parent, name)) = self.root.own_parent(&path).if_there()? else {
            return Ok(None);
        };
        let Some(inode) = self.root.stat(&parent, &name)? else {
            if path.is_root() {
                fail!(NotFound, "{} does not exist", self.root.path().display());
            }
            return Ok(None);
        };
        let Some(dir) = self.root.own_dir(&path).if_there()? else {
            return Ok(None);
        };
        let mut out = Read {
            results: vec![self.visit(path.clone(), inode, &parent, &name)?],
            names: self.root.list(&dir)?,
            dirs: Vec::new(),
            path,
        };
        if out.names.len() > SLICE {
            *room = 0;
            return Ok(Some(out));
        }
        let mut below = Vec::new();
        for name in std::mem::take(&mut out.names) {
            match self.child(&out.path, &dir, &name)? {
                Some(Child::Dir(path)) => below.push(path),
                Some(Child::Other(result)) => out.results.push(result),
                None => {}
            }
        }
        *room = room.saturating_sub(out.results.len());
        // Deep down, one open directory for each level would be too many.
        drop((parent, dir));
        for path in below {
            let pending = if *room == 0 {
                Some(Pending::Unread(path))
            } else {
                self.read(path, room)?.map(Pending::Read)
            };
            out.dirs.extend(pending);
        }
        Ok(Some(out))
    }

    /// Returns the child `name` of a directory: visited now, or later if it is a directory itself.
    fn child(&self, path: &TreePath, dir: &Dir, name: &[u8]) -> Result<Option<Child<T>>> {
        let Some(inode) = self.root.stat(dir, name)? else {
            return Ok(None);
        };
        let path = path.join(name)?;
        Ok(Some(if inode.node.is_dir() {
            Child::Dir(path)
        } else {
            Child::Other(self.visit(path, inode, dir, name)?)
        }))
    }

    fn visit(&self, path: TreePath, inode: Inode, dir: &Dir, name: &[u8]) -> Result<T> {
        (self.visit)(Visit {
            path,
            inode,
            root: self.root,
            dir,
            name,
        })
    }
}

enum Child<T> {
    Dir(TreePath),
    Other(T),
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn walked(dir: &std::path::Path) -> Vec<TreePath> {
        let root = Root::open(dir).expect("root");
        let mut found = Vec::new();
        par_walk(
            &root,
            |visit| Ok(visit.path),
            |path| {
                found.push(path);
                Ok(())
            },
        )
        .expect("walk");
        found
    }

    /// Returns all paths at and below `path`, and whether they are directories, as the standard library finds them.
    fn listed(top: &std::path::Path, path: TreePath) -> Vec<(TreePath, bool)> {
        let mut out = vec![(path.clone(), true)];
        let below = std::path::Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
        for entry in std::fs::read_dir(top.join(below)).expect("list") {
            let entry = entry.expect("entry");
            let path = path.join(entry.file_name().as_bytes()).expect("name");
            if entry.file_type().expect("type").is_dir() {
                out.extend(listed(top, path));
            } else {
                out.push((path, false));
            }
        }
        out
    }

    /// Returns a key that sorts paths as a manifest does: in each directory, files that are no directories first, and names sorted.
    fn key(path: &TreePath, is_dir: bool) -> Vec<(bool, Vec<u8>)> {
        let last = path.components().count().saturating_sub(1);
        let parts = path.components().enumerate();
        parts
            .map(|(n, part)| (n < last || is_dir, part.to_vec()))
            .collect()
    }

    #[test]
    fn results_come_in_the_order_of_a_manifest_whatever_the_shape_of_the_tree() {
        let dir = tempfile::tempdir().expect("dir");
        let top = dir.path();
        // More directories than are read at a time, one inside the other deeper than is read at once, and one with
        // more names than are shown at once, directories among them.
        let mut deep = top.join("deep");
        for n in 0..SUBTREE + 50 {
            deep.push("d");
            std::fs::create_dir_all(deep.join("a")).expect("mkdir");
            std::fs::write(deep.join(format!("f{n}")), "").expect("write");
        }
        for n in 0..DIRS * 3 {
            let sibling = top.join(format!("many/{n}"));
            std::fs::create_dir_all(sibling.join("x/y")).expect("mkdir");
            for n in 0..20 {
                std::fs::write(sibling.join(format!("x/{n}")), "").expect("write");
            }
        }
        for n in 0..SLICE * 2 + 100 {
            let name = top.join(format!("large/{n}"));
            match n % 100 {
                0 => std::fs::create_dir_all(name.join("inside")).expect("mkdir"),
                _ => std::fs::write(name, "").expect("write"),
            }
        }
        let (found, mut want) = (walked(top), listed(top, TreePath::root()));
        want.sort_by_cached_key(|(path, is_dir)| key(path, *is_dir));
        let want: Vec<TreePath> = want.into_iter().map(|(path, _)| path).collect();
        assert!(want.len() > 5000 && found == want);
    }
}
