// SPDX-License-Identifier: Apache-2.0
//! Metadata of a file, wherever it lives: a tar header, an inode and an mtree line are three spellings of a [`Node`].
//!
//! Invariant: a [`TreePath`] is relative, has no `.`, `..`, empty or NUL-bearing component, and so names something
//! at or below the root it is used with. No I/O here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::Bound;
use std::sync::LazyLock;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;

/// A path below the root of a file-system tree, as bytes, in its one clean form. The root itself is empty.
///
/// Ordered bytewise on the whole string, which is the order of entries in a layer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, derive_more::Debug)]
#[debug("\"{self}\"")]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// Returns the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Cleans `raw` lexically, as if rooted: leading slashes, `.` and empty components vanish, `..` takes the
    /// component before it away and stops at the root.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` for a NUL byte.
    pub fn clean(raw: &[u8]) -> Result<Self> {
        // Most are clean: they come out of archives and tables by the hundred thousand.
        if raw.split(|&c| c == b'/').all(is_component) {
            return Ok(Self(raw.into()));
        }
        // The kernel ends a path at a NUL: it would be another path there than here.
        if raw.contains(&0) {
            let raw = String::from_utf8_lossy(raw);
            fail!(Invalid, "path contains a NUL byte: {raw:?}");
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|&c| c == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                _ => parts.push(part),
            }
        }
        Ok(Self(parts.join(&b'/').into()))
    }

    /// Returns the bytes, without a leading or trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path above; the root for a path of one component, `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&c| c == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].into()))
    }

    /// Returns the last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let cut = self.0.iter().rposition(|&c| c == b'/').map_or(0, |at| at + 1);
        &self.0[cut..]
    }

    /// Adds one component.
    ///
    /// # Errors
    /// `ErrorKind::Invalid` if `name` is empty, `.`, `..`, or holds a slash or NUL.
    pub fn join(&self, name: &[u8]) -> Result<Self> {
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|&c| c == b'/' || c == 0) {
            fail!(Invalid, "invalid file name: {:?}", String::from_utf8_lossy(name));
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Ok(Self(bytes.into()))
    }

    /// Returns the components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&c| c == b'/').filter(|part| !part.is_empty())
    }

    /// Returns all paths above this one, the nearest first and the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = TreePath> {
        std::iter::successors(self.parent(), TreePath::parent)
    }

    /// Returns the range of the paths strictly below this one in the order of paths.
    pub fn below(&self) -> (Bound<Self>, Bound<Self>) {
        if self.is_root() {
            return (Bound::Excluded(Self::root()), Bound::Unbounded);
        }
        // All that is below a path begins with the path and a slash, and `0` is the byte behind the slash.
        let [first, end] = [b"/", b"0"].map(|next| Self([self.as_bytes(), next].concat().into()));
        (Bound::Excluded(first), Bound::Excluded(end))
    }

    /// Returns whether this path lies strictly below `other`.
    pub fn is_below(&self, other: &TreePath) -> bool {
        match self.0.strip_prefix(other.as_bytes()) {
            Some(rest) if other.is_root() => !rest.is_empty(),
            Some(rest) => rest.first() == Some(&b'/'),
            None => false,
        }
    }
}

/// The hash of a path with a key that nobody else knows: an image cannot provoke collisions.
pub type SecretHash = [u64; 2];

/// A table by secret hashes, which are not hashed once more.
pub type ByHash<V> = HashMap<SecretHash, V, BuildHasherDefault<LastWord>>;

/// Secret hashes, which are not hashed once more.
pub type SecretHashes = HashSet<SecretHash, BuildHasherDefault<LastWord>>;

/// The last eight bytes of a secret hash as the hash of a table.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastWord(u64);

impl Hasher for LastWord {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*word);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Returns the secret hash of what is called `name` in a directory; that of the root is [`SecretHash::default`]. So the hashes of
/// all that is on the way to a path cost no more than the path is long.
pub fn hash_child(dir: SecretHash, name: &[u8]) -> SecretHash {
    static KEY: LazyLock<[u8; 32]> = LazyLock::new(random_key);
    let [first, second] = dir.map(u64::to_ne_bytes);
    // 128 bits: paths that collide by chance would be taken for one. A name is longer than the buffer in no file system.
    let mut text = [0; 16 + 255];
    let hash = match text.get_mut(..16 + name.len()) {
        Some(text) => {
            text[..8].copy_from_slice(&first);
            text[8..16].copy_from_slice(&second);
            text[16..].copy_from_slice(name);
            blake3::keyed_hash(&KEY, text)
        }
        None => blake3::keyed_hash(&KEY, &[&first, &second, name].concat()),
    };
    let (words, _) = hash.as_bytes().as_chunks();
    [words[0], words[1]].map(u64::from_ne_bytes)
}

/// Returns a key that is another one in each process.
fn random_key() -> [u8; 32] {
    let words = [(); 4].map(|()| RandomState::new().hash_one(0_u8).to_ne_bytes());
    words.concat().try_into().unwrap_or_default()
}

/// Paths, by their secret hashes.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    hashes: SecretHashes,
    /// The directory of the last path that was added or taken out, with its hash: the next path is in it most often.
    last_dir: (Vec<u8>, SecretHash),
}

impl PathSet {
    /// Adds a path; returns whether it is new.
    pub fn insert(&mut self, path: &TreePath) -> bool {
        let hash = self.hash(path);
        self.hashes.insert(hash)
    }

    /// Adds a path and those above it, up to one that is there; returns how many were added.
    pub fn insert_with_above(&mut self, path: &TreePath) -> usize {
        // In a set that is filled by this alone all above a path is there with it, so the first that is known ends the work.
        let mut all: Vec<SecretHash> = hashes_above(path).collect();
        all.push(hash(path));
        let new = all.into_iter().rev().take_while(|hash| self.hashes.insert(*hash));
        new.count()
    }

    /// Takes a path out.
    pub fn remove(&mut self, path: &TreePath) {
        if !self.hashes.is_empty() {
            let hash = self.hash(path);
            self.hashes.remove(&hash);
        }
    }

    /// Takes out all.
    pub fn clear(&mut self) {
        self.hashes.clear();
    }

    /// Returns whether a path strictly above this one is there.
    pub fn has_above(&self, path: &TreePath) -> bool {
        // The test for an empty set spares most trees all hashing.
        !self.hashes.is_empty() && hashes_above(path).any(|above| self.hashes.contains(&above))
    }

    /// Takes out all paths strictly above this one.
    pub fn remove_above(&mut self, path: &TreePath) {
        if !self.hashes.is_empty() {
            for above in hashes_above(path) {
                self.hashes.remove(&above);
            }
        }
    }

    /// Returns the hash of a path, by that of its directory.
    fn hash(&mut self, path: &TreePath) -> SecretHash {
        let bytes = path.as_bytes();
        let cut = bytes.iter().rposition(|&c| c == b'/').unwrap_or(0);
        let (last, hash) = &mut self.last_dir;
        if last != &bytes[..cut] {
            *hash = self::hash(&path.parent().unwrap_or_default());
            last.clear();
            last.extend_from_slice(&bytes[..cut]);
        }
        if path.is_root() {
            *hash
        } else {
            hash_child(*hash, path.name())
        }
    }

    /// Returns whether a path is there.
    pub fn contains(&self, path: &TreePath) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&hash(path))
    }
}

/// Returns whether a part between slashes is one of a clean path.
fn is_component(part: &[u8]) -> bool {
    !matches!(part, b"" | b"." | b"..") && !part.contains(&0)
}

fn hash(path: &TreePath) -> SecretHash {
    path.components().fold(SecretHash::default(), hash_child)
}

/// Returns the hashes of all paths strictly above one, the root first.
fn hashes_above(path: &TreePath) -> impl Iterator<Item = SecretHash> {
    path.components().scan(SecretHash::default(), |dir, name| {
        let above = *dir;
        *dir = hash_child(above, name);
        Some(above)
    })
}

/// The way to one path through the symbolic links that lie on it. A tree on the disk and one that is only thought of have the same
/// bounds.
#[derive(Debug)]
pub struct Trail<'p> {
    path: &'p TreePath,
    /// Components that are still to come; `..` is one.
    rest: VecDeque<Vec<u8>>,
    links: usize,
    parts: usize,
}

impl<'p> Trail<'p> {
    /// Maximum number of links on the way to one path: more are a loop.
    const MAX_LINKS: usize = 255;

    /// Maximum number of components of all their targets, empty ones too: each may be a directory to open, for every entry
    /// behind the links.
    const MAX_PARTS: usize = 4096;

    /// Returns the way to `path`, of which nothing is walked yet.
    pub fn to(path: &'p TreePath) -> Self {
        Self {
            path,
            rest: path.components().map(<[u8]>::to_vec).collect(),
            links: 0,
            parts: 0,
        }
    }

    /// Returns the next component.
    pub fn step(&mut self) -> Option<Vec<u8>> {
        self.rest.pop_front()
    }

    /// Goes on with the target of a link that the last component is.
    ///
    /// # Errors
    /// `ErrorKind::UnsafePath` for too many.
    pub fn follow(&mut self, target: &[u8]) -> Result<()> {
        // Counted before the target is walked: a loop is found by its length, with no memory of where it has been.
        self.links += 1;
        self.parts += target.split(|&c| c == b'/').count();
        if self.links > Self::MAX_LINKS || self.parts > Self::MAX_PARTS {
            fail!(UnsafePath, "too many levels of symbolic links: {}", self.path);
        }
        for part in target.split(|&c| c == b'/').rev() {
            if !matches!(part, b"" | b".") {
                self.rest.push_front(part.to_vec());
            }
        }
        Ok(())
    }
}

impl fmt::Display for TreePath {
    /// Prints the path for people, with `.` for the root and control characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        // Names are data of strangers: none may drive a terminal, and each byte is told apart.
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    write!(f, "{c}")?
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

/// Short form of a path where there are millions, on the disk too: the first bytes of its BLAKE3 digest.
pub type PathHash = [u8; 16];

/// Returns the hash of a path.
pub fn hash_path(path: &TreePath) -> PathHash {
    let digest = Digest::of(Algorithm::Blake3, path.as_bytes());
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// A point in time, in seconds and nanoseconds since 1970 UTC. `nsec` is below 10⁹ and counts forward also for
/// times before 1970, as `struct timespec` has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time {
    /// Whole seconds, rounded toward minus infinity.
    pub sec: i64,
    /// Nanoseconds after `sec`.
    pub nsec: u32,
}

impl Time {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Time = Time { sec: 0, nsec: 0 };

    /// Returns a time as a call of the system gives it, in two numbers of types that differ by machine.
    pub(crate) fn of_stat(sec: i64, nsec: impl TryInto<u32>) -> Self {
        let nsec = nsec.try_into().unwrap_or_default();
        Self { sec, nsec }
    }
}

/// Extended attributes that belong to the host and not to the tree: never stored in a layer, never set or cleared by one.
pub const HOST_XATTRS: [&[u8]; 2] = [b"security.selinux", b"system.nfs4_acl"];

/// Extended attributes, name to value, sorted by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The type of a file, with what only that type has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link; the target is kept as it is.
    Symlink {
        /// Text of the link.
        target: Vec<u8>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket, which no layer can hold.
    Socket,
}

impl NodeKind {
    /// Returns the word that mtree has for it.
    pub fn name(&self) -> &'static str {
        match self {
            NodeKind::File { .. } => "file",
            NodeKind::Dir => "dir",
            NodeKind::Symlink { .. } => "link",
            NodeKind::Char { .. } => "char",
            NodeKind::Block { .. } => "block",
            NodeKind::Fifo => "fifo",
            NodeKind::Socket => "socket",
        }
    }

    /// Returns the major and minor number, if it is a device.
    pub fn device_number(&self) -> Option<(u32, u32)> {
        match *self {
            NodeKind::Char { major, minor } | NodeKind::Block { major, minor } => Some((major, minor)),
            _ => None,
        }
    }
}

/// A file's metadata. `uid` and `gid` are those of wherever the node was read (host or container).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Type, and what only that type has.
    pub kind: NodeKind,
    /// The low 12 bits: permissions, set-id and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last change of the content.
    pub mtime: Time,
    /// Time of last access, where a layer says one; a scan of a disk does not ask for it.
    pub atime: Option<Time>,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Node {
    /// Makes a directory with `mode`, owned by 0:0, from 1970: what a missing parent becomes.
    pub fn dir(mode: u32) -> Self {
        Self {
            kind: NodeKind::Dir,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time::EPOCH,
            atime: None,
            xattrs: Xattrs::new(),
        }
    }

    /// Returns whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Dir
    }
}

/// A node as it was found on a disk, with what only an inode has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inode {
    /// The metadata that travels in a layer.
    pub node: Node,
    /// `st_size`: bytes of content, length of a link's target, whatever a directory reports.
    pub size: u64,
    /// Number of names of the file.
    pub nlink: u64,
    /// Device that holds it.
    pub dev: u64,
    /// Number on that device.
    pub ino: u64,
    /// Time of last change of content or metadata.
    pub ctime: Time,
}

impl Inode {
    /// Returns device and number of a file that has other names too.
    pub fn linked_file(&self) -> Option<(u64, u64)> {
        // Each subdirectory is one more link of its parent, and no second name of it.
        (self.nlink > 1 && !self.node.is_dir()).then_some((self.dev, self.ino))
    }
}

/// Kind of difference of a path between a recorded tree and the one on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChangeKind {
    /// There now, not recorded.
    Added,
    /// Recorded and there, with other content or metadata.
    Modified,
    /// Recorded, gone now.
    Removed,
}

/// One difference between two trees. Ordered by path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Change {
    /// The path.
    pub path: TreePath,
    /// Its kind.
    pub kind: ChangeKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_never_leaves_the_root() {
        for (raw, clean) in [
            ("", ""),
            ("/", ""),
            ("./", ""),
            ("..", ""),
            ("../../etc/passwd", "etc/passwd"),
            ("/a//b/./c/", "a/b/c"),
            ("a/../../b", "b"),
            ("a/b/..", "a"),
            ("...", "..."),
        ] {
            assert_eq!(
                TreePath::clean(raw.as_bytes()).expect(raw).as_bytes(),
                clean.as_bytes(),
                "{raw}"
            );
        }
        assert!(TreePath::clean(b"a\0b").is_err());
    }

    #[test]
    fn parents_names_and_descent() {
        let path = TreePath::clean(b"a/b/c").expect("path");
        assert_eq!(path.parent().expect("parent").as_bytes(), b"a/b");
        assert_eq!(path.name(), b"c");
        assert_eq!(path.ancestors().count(), 3);
        let above = TreePath::clean(b"a/b").expect("path");
        assert!(path.is_below(&above) && path.is_below(&TreePath::root()));
        assert!(!above.is_below(&above) && !TreePath::clean(b"a/bc").expect("path").is_below(&above));
        assert!(TreePath::root().join(b"..").is_err());
    }

    #[test]
    fn a_set_of_paths_knows_what_is_above_another() {
        let clean = |text: &str| TreePath::clean(text.as_bytes()).expect("path");
        let mut set = PathSet::default();
        assert!(!set.has_above(&clean("a/b")));
        set.insert(&clean("a/b"));
        for (path, want) in [
            ("a/b/c", true),
            ("a/b/c/d", true),
            ("a/b", false),
            ("a/bc/d", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(set.has_above(&clean(path)), want, "{path}");
        }
        set.remove(&clean("a/b"));
        assert!(!set.has_above(&clean("a/b/c")));
    }

    #[test]
    fn a_set_of_paths_has_what_was_added_in_any_order() {
        let paths = ["a/b", "a/c", "", "x", "a/b/c", "y", ""].map(|text| TreePath::clean(text.as_bytes()));
        let paths = paths.map(|path| path.expect("path"));
        let mut set = PathSet::default();
        for (at, path) in paths.iter().enumerate() {
            assert_eq!(set.insert(path), !paths[..at].contains(path), "{path}");
            assert!(set.contains(path), "{path}");
        }
        for path in &paths {
            set.remove(path);
            assert!(!set.contains(path), "{path}");
        }
        assert!(set.hashes.is_empty());
    }

    #[test]
    fn what_is_below_a_path_stands_together() {
        let clean = |text: &str| TreePath::clean(text.as_bytes()).expect("path");
        let all = [
            "a", "a!", "a-b/c", "a/\x01", "a/b", "a/b/c", "a/\u{ff}", "a0", "ab", "b",
        ];
        let all: std::collections::BTreeSet<TreePath> = all.into_iter().map(clean).collect();
        for of in ["", "a", "a/b", "a-b", "z"].map(clean) {
            let want: Vec<&TreePath> = all.iter().filter(|path| path.is_below(&of)).collect();
            assert_eq!(all.range(of.below()).collect::<Vec<_>>(), want, "below {of}");
        }
    }
}
