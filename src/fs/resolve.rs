// SPDX-License-Identifier: Apache-2.0
//! From a path of an image to a directory descriptor below the root, as if the root were `/`.
//!
//! Fast way: one `openat2` that refuses every symlink. Where it meets one, or where the kernel has no such call, the
//! path is walked component by component with `O_NOFOLLOW`, and links are read by us. Invariant: a [`Dir`] is a
//! directory below the root at the moment it was opened, and its path is canonical: no component of it is a link.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, MutexGuard};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Root;
use crate::error::{Result, ResultExt, lock};
use crate::node::{Trail, TreePath};

/// Bytes of a path that one system call takes, at most.
const MAX_PIECE: usize = 4000;

/// Descriptors that are kept open for the next path: no more than a quarter of those that the process may have.
pub(super) const MAX_CACHED: usize = 256;

const DIR: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory below the root, open.
#[derive(Clone, Debug)]
pub struct Dir {
    pub(super) fd: Arc<OwnedFd>,
    path: TreePath,
}

impl Dir {
    /// Returns where it is, links resolved.
    pub fn path(&self) -> &TreePath {
        &self.path
    }

    /// Returns the path of `name` in it, which may be `.`.
    pub(crate) fn join(&self, name: &[u8]) -> TreePath {
        if name == b"." {
            return self.path.clone();
        }
        self.path.join(name).unwrap_or_default()
    }

    pub(super) fn new(fd: OwnedFd, path: TreePath) -> Self {
        Self {
            fd: Arc::new(fd),
            path,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Method of resolving paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolver {
    /// By `openat2` where possible.
    Openat2,
    /// Component by component.
    Walk,
}

/// Tests show with this that what is safe does not hang on one system call.
#[cfg(debug_assertions)]
static ALWAYS_WALK: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes every root resolve component by component.
#[cfg(debug_assertions)]
#[doc(hidden)]
pub fn always_walk() {
    ALWAYS_WALK.store(true, std::sync::atomic::Ordering::Relaxed);
}

/// Returns how a new root resolves.
pub(super) fn first_choice() -> Resolver {
    #[cfg(debug_assertions)]
    if ALWAYS_WALK.load(std::sync::atomic::Ordering::Relaxed) {
        return Resolver::Walk;
    }
    Resolver::Openat2
}

/// Callback for a component of a path that is no directory: it makes one there, or fails.
pub(crate) type MakeDir<'a> = &'a mut dyn FnMut(&Dir, &[u8]) -> Result<()>;

impl Root {
    /// Opens the directory at `path`, every link on the way and at its end followed inside the root.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::error::ErrorKind::NotFound) if there is none or something on the way is no directory.
    pub fn dir(&self, path: &TreePath) -> Result<Dir> {
        if path.is_root() {
            return Ok(self.top.clone());
        }
        if let Some(dir) = self.cache().get(path) {
            return Ok(dir.clone());
        }
        let dir = match self.open_fast(path)? {
            Some(dir) => dir,
            None => self.walk(path, None)?,
        };
        self.remember(path, &dir);
        Ok(dir)
    }

    /// As [`Root::dir`], with `make` called for each component that is missing or no directory.
    pub(crate) fn dir_or_make(&self, path: &TreePath, make: MakeDir<'_>) -> Result<Dir> {
        if let Some(dir) = self.dir(path).if_there()? {
            return Ok(dir);
        }
        let dir = self.walk(path, Some(make))?;
        self.remember(path, &dir);
        Ok(dir)
    }

    /// Returns the directory that holds `path`, and its name there. The last component is not followed.
    pub fn parent(&self, path: &TreePath) -> Result<(Dir, Vec<u8>)> {
        match path.parent() {
            Some(parent) => Ok((self.dir(&parent)?, path.name().to_vec())),
            None => Ok((self.top.clone(), b".".to_vec())),
        }
    }

    /// As [`Root::dir`], for a directory that a walk through the tree found: no link is on its path.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafePath`](crate::error::ErrorKind::UnsafePath) if somebody has put a link there since.
    pub(crate) fn own_dir(&self, path: &TreePath) -> Result<Dir> {
        let dir = self.dir(path)?;
        if dir.path != *path {
            fail!(UnsafePath, "{path} was replaced by a link while it was read");
        }
        Ok(dir)
    }

    /// As [`Root::parent`], for a path that a walk through the tree found.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafePath`](crate::error::ErrorKind::UnsafePath) if somebody has put a link on the way to it since.
    pub(crate) fn own_parent(&self, path: &TreePath) -> Result<(Dir, Vec<u8>)> {
        match path.parent() {
            Some(parent) => Ok((self.own_dir(&parent)?, path.name().to_vec())),
            None => self.parent(path),
        }
    }

    /// Forgets all directories that were opened: some path may lead elsewhere now.
    pub(crate) fn forget(&self) {
        self.cache().clear();
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<TreePath, Dir>> {
        lock(&self.cache)
    }

    fn remember(&self, path: &TreePath, dir: &Dir) {
        let mut cache = self.cache();
        if cache.len() >= self.max_cached {
            cache.clear();
        }
        cache.insert(path.clone(), dir.clone());
    }

    /// One system call, or one for each 4000 bytes, for a path without links; `None` if it must be walked.
    fn open_fast(&self, path: &TreePath) -> Result<Option<Dir>> {
        if self.resolver == Resolver::Walk {
            return Ok(None);
        }
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut at = Arc::clone(&self.top.fd);
        let mut rest = path.as_bytes();
        while !rest.is_empty() {
            let (piece, more) = match rest.get(..MAX_PIECE) {
                None => (rest, &b""[..]),
                Some(start) => match start.iter().rposition(|&c| c == b'/') {
                    Some(cut) => (&rest[..cut], &rest[cut + 1..]),
                    None => return Ok(None),
                },
            };
            rest = more;
            match rustix::fs::openat2(&at, piece, DIR, Mode::empty(), how) {
                Ok(fd) => at = Arc::new(fd),
                Err(Errno::NOENT) => fail!(NotFound, "{path}: no such directory"),
                // The kernel says so of `..` only, which no clean path has.
                Err(Errno::XDEV) => fail!(UnsafePath, "{path} leads out of the root"),
                // A link on the way, a directory without permission, no such call.
                Err(_) => return Ok(None),
            }
        }
        let path = path.clone();
        Ok(Some(Dir { fd: at, path }))
    }

    fn walk(&self, path: &TreePath, mut make: Option<MakeDir<'_>>) -> Result<Dir> {
        let mut at = self.top.clone();
        let mut trail = Trail::to(path);
        while let Some(name) = trail.step() {
            // Only targets of links have these. The directory above is looked up anew from the root: the kernel's `..` would leave
            // it if somebody moved the directory meanwhile.
            if name == b".." {
                let above = at.path.parent().unwrap_or_default();
                at = self.open_canonical(&above)?;
                continue;
            }
            let mut found = self.open_component(&at, &name, path)?;
            let is_passable = matches!(&found, Some((_, FileType::Directory | FileType::Symlink)));
            if !is_passable && let Some(make) = &mut make {
                make(&at, &name)?;
                found = self.open_component(&at, &name, path)?;
            }
            let Some((fd, kind @ (FileType::Directory | FileType::Symlink))) = found else {
                fail!(NotFound, "{path}: no such directory");
            };
            if kind == FileType::Directory {
                at = Dir::new(fd, at.path.join(&name)?);
                continue;
            }
            let target = rustix::fs::readlinkat(&fd, c"", Vec::new()).context(|| path.to_string())?;
            let target = target.as_bytes();
            trail.follow(target)?;
            // A container sees its root as `/`, and so does a link in it.
            if target.first() == Some(&b'/') {
                at = self.top.clone();
            }
        }
        Ok(at)
    }

    /// Opens what is at `name`, for a walk to `path`, with its type; `None` if nothing is there.
    fn open_component(&self, at: &Dir, name: &[u8], path: &TreePath) -> Result<Option<(OwnedFd, FileType)>> {
        let fd = match self.open_at(at, name, OFlags::PATH, 0) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.context(|| path.to_string())?,
        };
        let stat = rustix::fs::fstat(&fd).context(|| path.to_string())?;
        Ok(Some((fd, FileType::from_raw_mode(stat.st_mode))))
    }

    /// Opens a directory whose path has no links, as a canonical path has none; one that has some now is refused.
    pub(super) fn open_canonical(&self, path: &TreePath) -> Result<Dir> {
        if let Some(dir) = self.cache().get(path)
            && dir.path == *path
        {
            return Ok(dir.clone());
        }
        if let Ok(Some(dir)) = self.open_fast(path) {
            return Ok(dir);
        }
        let mut at = self.top.clone();
        for name in path.components() {
            let fd = self.open_at(&at, name, DIR, 0).context(|| path.to_string())?;
            at = Dir::new(fd, at.path.join(name)?);
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_read_as_if_the_root_were_slash() {
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            let temp = tempfile::tempdir().expect("dir");
            std::fs::create_dir_all(temp.path().join("outside")).expect("mkdir");
            let base = temp.path().join("root");
            std::fs::create_dir_all(base.join("etc/sub")).expect("mkdir");
            std::fs::write(base.join("file"), "").expect("write");
            for (target, name) in [
                ("/etc", "absolute"),
                ("/etc/sub", "etc/deep"),
                ("../../../../etc", "above"),
                ("etc/sub/..", "dots"),
                ("absolute/sub", "chained"),
                ("loop", "loop"),
                ("/nowhere", "dangling"),
                ("../outside", "sibling"),
                ("/", "slash"),
            ] {
                symlink(target, base.join(name)).expect(target);
            }
            let root = Root::open(&base).expect("root").with_resolver(resolver);
            for (path, want) in [
                ("absolute", Ok("etc")),
                ("absolute/sub", Ok("etc/sub")),
                ("etc/deep", Ok("etc/sub")),
                ("above", Ok("etc")),
                ("dots", Ok("etc")),
                ("chained", Ok("etc/sub")),
                ("slash/slash/etc", Ok("etc")),
                ("loop", Err(ErrorKind::UnsafePath)),
                ("dangling", Err(ErrorKind::NotFound)),
                ("sibling", Err(ErrorKind::NotFound)),
                ("file", Err(ErrorKind::NotFound)),
                ("etc/none", Err(ErrorKind::NotFound)),
            ] {
                let path = TreePath::clean(path.as_bytes()).expect(path);
                let got = root.dir(&path).map(|d| d.path().clone()).map_err(|e| e.kind());
                let want = want.map(|p| TreePath::clean(p.as_bytes()).expect("path"));
                assert_eq!(got, want, "{path} by {resolver:?}");
            }
        }
    }
}
