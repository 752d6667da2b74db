// SPDX-License-Identifier: Apache-2.0
//! The safe file-system floor: directories below a root, reached by descriptor and never by path.
//!
//! A [`Root`] is a directory that the caller trusts; what lies below it may have been made by strangers. Invariant:
//! no operation here reads, writes or changes anything outside of the root, whatever links are in the tree and
//! whoever changes it meanwhile. Files that the caller named, never an image, are opened by path in `sys` and `pending`.

mod attrs;
mod file_range;
mod open_file;
mod owner;
mod pending;
mod resolve;
mod sys;
mod xattr_ids;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result as Called};

pub(crate) use attrs::Attributes;
use attrs::chmod_fd;
pub use attrs::{XattrSet, is_forbidden};
pub use file_range::FileRange;
pub use open_file::OpenFile;
pub use owner::{IdMap, ROOTLESS_XATTR, decode_rootless, encode_rootless};
pub use pending::{PendingFile, remove_file};
#[cfg(debug_assertions)]
pub use resolve::always_walk;
pub use resolve::{Dir, Resolver};
pub use sys::{
    exists, in_user_namespace, is_link, lock_file, make_dirs, max_open, memory_file, modified, open_file,
    open_regular, read_file, read_to_end, remove_empty_dir, remove_tree, replace_file, set_mode, write_new,
    write_output,
};

use crate::error::{Result, ResultExt, lock};
use crate::node::{Node, NodeKind, TreePath};

/// Maximum of the numbers of a device, which Linux keeps in 12 and 20 bits.
const MAX_MAJOR: u32 = (1 << 12) - 1;
const MAX_MINOR: u32 = (1 << 20) - 1;

/// Maximum number of links on the way to one file, as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// A directory that stands for `/`. Threads may share it.
#[derive(Debug)]
pub struct Root {
    top: Dir,
    path: PathBuf,
    resolver: Resolver,
    /// Directories may be given more permissions for a while, since nobody else can.
    unprivileged: bool,
    /// Directories that were opened, by the paths that led to them.
    cache: Mutex<HashMap<TreePath, Dir>>,
    max_cached: usize,
    /// Directories that have more permissions than they should, with the mode they should have.
    opened: Mutex<BTreeMap<TreePath, u32>>,
}

impl Root {
    /// Opens the directory at `path`, which the caller trusts.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, OFlags::empty())
    }

    /// As [`Root::open`], for a directory that somebody may put a link in the place of: a link is refused.
    pub(crate) fn open_no_link(path: &Path) -> Result<Self> {
        // With a slash behind it a link would be a directory above the last part.
        let path: PathBuf = path.components().collect();
        Self::open_with(&path, OFlags::NOFOLLOW)
    }

    fn open_with(path: &Path, how: OFlags) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | how;
        let fd = rustix::fs::open(path, flags, Mode::empty()).doing("open", path)?;
        Ok(Self {
            top: Dir::new(fd, TreePath::root()),
            path: path.to_owned(),
            resolver: resolve::first_choice(),
            unprivileged: false,
            cache: Mutex::default(),
            max_cached: resolve::MAX_CACHED.min(max_open() / 4),
            opened: Mutex::default(),
        })
    }

    /// Makes the directory at `path`, which must not exist, and opens it.
    pub fn create(path: &Path, mode: u32) -> Result<Self> {
        rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).doing("create directory", path)?;
        Self::open_no_link(path)
    }

    /// Returns the same root, resolving paths by `resolver`.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Returns the same root; with `rootless`, and unless this process is root, directories that refuse their own owner are
    /// opened for a while.
    #[must_use]
    pub fn rootless(mut self, rootless: bool) -> Self {
        self.unprivileged = rootless && !rustix::process::geteuid().is_root();
        self
    }

    /// Returns the path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs an operation in `dir`, again after adding permissions for its owner if it was refused.
    fn permitted<T>(&self, dir: &Dir, mut run: impl FnMut() -> Called<T>) -> Called<T> {
        match run() {
            Err(Errno::ACCESS) if self.unprivileged && self.permit(dir)? => run(),
            result => result,
        }
    }

    /// Runs an operation on `name` in `dir`, again with the permissions `bits` for its owner while it runs, if it was
    /// refused.
    fn lifted<T>(&self, dir: &Dir, name: &[u8], bits: u32, mut run: impl FnMut() -> Called<T>) -> Called<T> {
        match self.permitted(dir, &mut run) {
            Err(Errno::ACCESS) if self.unprivileged => {}
            result => return result,
        }
        let fd = self.open_at(dir, name, OFlags::PATH, 0)?;
        let stat = rustix::fs::fstat(&fd)?;
        // A link has no mode of its own, and the file behind it is none of ours.
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Errno::ACCESS);
        }
        let mode = stat.st_mode & 0o7777;
        chmod_fd(&fd, mode | bits)?;
        let result = run();
        chmod_fd(&fd, mode)?;
        result
    }

    /// Opens `name` in `dir`, never through a link. A file that is made gets `mode`.
    fn open_at(&self, dir: &Dir, name: &[u8], flags: OFlags, mode: u32) -> Called<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.permitted(dir, || {
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))
        })
    }

    /// Adds u+rwx to a directory until [`Root::restore`]; `false` if it has them.
    fn permit(&self, dir: &Dir) -> Called<bool> {
        // Held while the mode is read and changed: a second thread must not take the wider mode for the directory's own.
        let mut opened = self.opened();
        let mode = rustix::fs::fstat(dir)?.st_mode & 0o7777;
        if mode & 0o700 == 0o700 {
            // Another thread may have opened it meanwhile.
            return Ok(opened.contains_key(dir.path()));
        }
        chmod_fd(dir, mode | 0o700)?;
        opened.entry(dir.path().clone()).or_insert(mode);
        Ok(true)
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<TreePath, u32>> {
        lock(&self.opened)
    }

    /// Gives every directory that was opened its own mode back, the deepest first.
    pub(crate) fn restore(&self) -> Result<()> {
        let opened = std::mem::take(&mut *self.opened());
        for (path, mode) in opened.iter().rev() {
            let Some(dir) = self.open_canonical(path).if_there()? else {
                continue;
            };
            chmod_fd(&dir, *mode).context(|| format!("chmod: {path}"))?;
        }
        Ok(())
    }

    /// The mode of this directory is about to be set for good.
    pub(crate) fn settle(&self, path: &TreePath) {
        self.opened().remove(path);
    }

    /// Returns the names in a directory, sorted bytewise.
    pub(crate) fn list(&self, dir: &Dir) -> Result<Vec<Vec<u8>>> {
        let opened = self.open_at(dir, b".", OFlags::RDONLY | OFlags::DIRECTORY, 0);
        let mut names = opened.and_then(read_names).context(|| dir.path().to_string())?;
        names.sort_unstable();
        Ok(names)
    }

    /// Opens the regular file `name` in `dir` to read. Neither follows a link nor waits for a fifo.
    pub(crate) fn open_in(&self, dir: &Dir, name: &[u8]) -> Result<File> {
        let path = dir.join(name);
        // A plain open of a fifo would wait for somebody who writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.lifted(dir, name, 0o400, || {
            rustix::fs::openat(dir, name, flags, Mode::empty())
        });
        let file = File::from(opened.context(|| format!("open: {path}"))?);
        if !file.metadata().context(|| path.to_string())?.is_file() {
            fail!(Invalid, "{path} is not a regular file");
        }
        Ok(file)
    }

    /// Opens the regular file at `path`, which a walk found, to read; no link is followed.
    pub fn open_file(&self, path: &TreePath) -> Result<File> {
        let (dir, name) = self.own_parent(path)?;
        self.open_in(&dir, &name)
    }

    /// Reads the file at `path` of at most `limit` bytes; all links are followed inside the root.
    pub fn read_file(&self, path: &TreePath, limit: u64) -> Result<Vec<u8>> {
        let mut path = path.clone();
        for _ in 0..MAX_LINKS {
            let (dir, name) = self.parent(&path)?;
            match self.stat(&dir, &name)?.map(|inode| inode.node.kind) {
                None => fail!(NotFound, "{path}: no such file"),
                Some(NodeKind::Symlink { target }) => {
                    let is_absolute = target.starts_with(b"/");
                    let from = if is_absolute { b"" } else { dir.path().as_bytes() };
                    path = TreePath::clean(&[from, b"/", &target].concat())?;
                }
                Some(NodeKind::File { .. }) => {
                    let mut bytes = Vec::new();
                    let read = self.open_in(&dir, &name)?.take(limit + 1).read_to_end(&mut bytes);
                    if read.context(|| format!("read {path}"))? as u64 > limit {
                        fail!(Limit, "{path} is larger than {limit} bytes");
                    }
                    return Ok(bytes);
                }
                // To open a device may do something.
                Some(_) => fail!(Invalid, "{path} is not a regular file"),
            }
        }
        fail!(UnsafePath, "too many levels of symbolic links: {path}")
    }

    /// Makes a new file `name` in `dir` to write to; nothing may be there.
    pub(crate) fn create_file(&self, dir: &Dir, name: &[u8]) -> Result<OpenFile> {
        let path = dir.join(name);
        let fd = self.open_at(dir, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o600);
        let fd = fd.context(|| format!("create: {path}"))?;
        Ok(OpenFile::new(File::from(fd), path))
    }

    /// Makes a directory that only its owner may use so far.
    pub(crate) fn make_dir(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        self.permitted(dir, || rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)))
            .context(|| format!("create directory: {}", dir.join(name)))
    }

    /// Makes what is neither a regular file nor a directory.
    pub(crate) fn make_special(&self, dir: &Dir, name: &[u8], node: &Node) -> Result<()> {
        let (major, minor) = node.kind.device_number().unwrap_or_default();
        if major > MAX_MAJOR || minor > MAX_MINOR {
            // The kernel would cut it, and make another device.
            let text = format!("device number {major}:{minor} is larger than {MAX_MAJOR}:{MAX_MINOR}");
            fail!(Unsupported, "{text}");
        }
        self.permitted(dir, || {
            let kind = match &node.kind {
                NodeKind::Symlink { target } => return rustix::fs::symlinkat(target.as_slice(), dir, name),
                NodeKind::Char { .. } => FileType::CharacterDevice,
                NodeKind::Block { .. } => FileType::BlockDevice,
                NodeKind::Fifo => FileType::Fifo,
                NodeKind::File { .. } | NodeKind::Dir | NodeKind::Socket => return Err(Errno::INVAL),
            };
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)
        })
        .context(|| format!("create special file: {}", dir.join(name)))
    }

    /// Gives the file `from` a second name; a link is linked itself.
    pub(crate) fn hard_link(&self, from: (&Dir, &[u8]), to: (&Dir, &[u8])) -> Result<()> {
        self.permitted(to.0, || {
            self.permitted(from.0, || {
                rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
            })
        })
        .context(|| format!("create hard link: {}", to.0.join(to.1)))
    }

    /// Removes `name` in `dir`, and all below it if it is a directory. Links are removed, not followed.
    pub(crate) fn remove(&self, dir: &Dir, name: &[u8]) -> Result<()> {
        let path = dir.join(name);
        let is_gone = self.unlink(dir, name).context(|| format!("remove: {path}"))?;
        if is_gone {
            return Ok(());
        }
        self.remove_children(&path)?;
        match self.unlink(dir, name) {
            Ok(false) => Err(Errno::NOTEMPTY),
            removed => removed.map(drop),
        }
        .context(|| format!("remove: {path}"))
    }

    /// Removes `name` in `dir`; `false` if it is a directory with something in it.
    fn unlink(&self, dir: &Dir, name: &[u8]) -> Called<bool> {
        match self.permitted(dir, || rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::ISDIR) => {}
            Err(err) => return Err(err),
        }
        match self.permitted(dir, || rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)) {
            Ok(()) | Err(Errno::NOENT) => {
                // A path that led through it may lead elsewhere from now on, and a directory that is made in its place has a mode
                // of its own.
                self.forget();
                self.settle(&dir.join(name));
                Ok(true)
            }
            // Some file systems in user space say of a directory that they cannot read that it may not be removed.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Removes all below the directory at `path`, which is canonical. Not recursive, so that no depth of a tree
    /// takes more stack or descriptors.
    pub(crate) fn remove_children(&self, path: &TreePath) -> Result<()> {
        let mut stack = vec![path.clone()];
        while let Some(at) = stack.last().cloned() {
            self.forget();
            let dir = self.open_canonical(&at)?;
            let depth = stack.len();
            for name in self.list(&dir)? {
                let child = at.join(&name)?;
                let is_gone = self.unlink(&dir, &name).context(|| format!("remove: {child}"))?;
                if !is_gone {
                    stack.push(child);
                }
            }
            // A directory that has some left is listed again when these are empty.
            if stack.len() == depth {
                stack.pop();
            }
        }
        Ok(())
    }
}

fn read_names(dir: OwnedFd) -> Called<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

impl Drop for Root {
    fn drop(&mut self) {
        // After an error; where all went well nothing is left to restore.
        let _ = self.restore();
    }
}
