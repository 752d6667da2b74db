// SPDX-License-Identifier: Apache-2.0
//! A disk that remembers what was synced, so that tests can cut the power after any step. Only for tests.
//!
//! It works on a real directory and records beside it what is durable: the content of a file as of its last sync, the
//! names of a directory as of its last sync. All else is pending, and a power loss keeps any part of it: each name
//! and each write by itself, a write also up to some sector of it. That is more than a journalling file system
//! would lose, and all that POSIX promises. Nothing is synced for real.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::disk::{self, Disk, OsDisk};

/// The smallest part of a write that is lost or kept as one, in bytes.
const SECTOR: usize = 512;

/// Part of the pending changes that a power loss takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All of them.
    Everything,
    /// Writes, but no names: files that were never synced are empty.
    Writes,
    /// A part that depends on this seed.
    Some(u64),
}

type Names = BTreeMap<OsString, Node>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Arc<[u8]>),
    Len(usize),
}

/// Content of a file: as it was synced, and what was done since.
#[derive(Clone, Debug, Default)]
struct Content {
    synced: Arc<Vec<u8>>,
    pending: Vec<Change>,
}

/// The disk at one instant.
#[derive(Clone, Debug)]
pub(crate) struct Instant {
    /// Step after which it is, for messages.
    pub after: String,
    /// Names that are durable, and names as they are, by directory.
    durable: BTreeMap<PathBuf, Names>,
    now: BTreeMap<PathBuf, Names>,
    files: HashMap<u64, Content>,
}

#[derive(Debug)]
struct State {
    root: PathBuf,
    /// By device and inode; the open file keeps its inode from being used again.
    ids: HashMap<(u64, u64), (u64, File)>,
    durable: BTreeMap<PathBuf, Names>,
    files: HashMap<u64, Content>,
    instants: Vec<Instant>,
    /// Steps that may still be done.
    left: usize,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Volatile(Arc<Mutex<State>>);

/// Returns a directory for tests that write much and need nothing of it durable.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if disk::is_real_dir(memory) && rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok() {
        tempfile::tempdir_in(memory).expect("dir")
    } else {
        tempfile::tempdir().expect("dir")
    }
}

impl State {
    fn id(&mut self, path: &Path) -> u64 {
        let meta = fs::metadata(path).expect("stat");
        let next = self.ids.len() as u64;
        let open = || (next, disk::open(path).expect("open").0);
        self.ids.entry((meta.dev(), meta.ino())).or_insert_with(open).0
    }

    /// Returns all names below the root, and what was written to files other than in place.
    fn look(&mut self) -> BTreeMap<PathBuf, Names> {
        let mut out = BTreeMap::new();
        let mut stack = vec![PathBuf::new()];
        while let Some(dir) = stack.pop() {
            let names = self.names(&dir);
            for (name, node) in &names {
                match node {
                    Node::Dir => stack.push(dir.join(name)),
                    Node::File(id) => self.read(*id, &self.root.join(&dir).join(name)),
                }
            }
            out.insert(dir, names);
        }
        out
    }

    fn names(&mut self, dir: &Path) -> Names {
        let full = self.root.join(dir);
        let node = |name: OsString| {
            let path = full.join(&name);
            let node = if disk::is_real_dir(&path) {
                Node::Dir
            } else {
                Node::File(self.id(&path))
            };
            (name, node)
        };
        disk::list(&full).expect("list").into_iter().map(node).collect()
    }

    /// Takes in a file that is not written through the disk.
    fn read(&mut self, id: u64, path: &Path) {
        if is_in_place(path) && self.files.contains_key(&id) {
            return;
        }
        let now = disk::read(path, u64::MAX >> 1).expect("read").0;
        let content = self.files.entry(id).or_default();
        content.pending.clear();
        if now != *content.synced {
            let (old, new) = (content.synced.len(), now.len());
            content.pending.push(Change::Write(0, now.into()));
            if new < old {
                content.pending.push(Change::Len(new));
            }
        }
    }

    fn sync(&mut self, path: &Path) {
        let id = self.id(path);
        let now = Arc::new(disk::read(path, u64::MAX >> 1).expect("read").0);
        let content = Content {
            synced: now,
            pending: Vec::new(),
        };
        self.files.insert(id, content);
    }

    fn sync_all(&mut self) {
        let now = self.look();
        for (dir, names) in &now {
            for (name, node) in names {
                if let Node::File(_) = node {
                    self.sync(&self.root.join(dir).join(name));
                }
            }
        }
        self.durable = now;
    }
}

/// Returns whether changes of this file come through the disk, so that its pending writes are known one by one.
fn is_in_place(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "redb")
}

impl Volatile {
    /// Returns a disk on which all that is below `root` is durable.
    pub(crate) fn new(root: &Path) -> Self {
        let mut state = State {
            root: root.to_owned(),
            ids: HashMap::new(),
            durable: BTreeMap::new(),
            files: HashMap::new(),
            instants: Vec::new(),
            left: usize::MAX,
        };
        state.sync_all();
        Self(Arc::new(Mutex::new(state)))
    }

    /// After so many steps from now nothing can be done any more: the process is dead, the power still on.
    pub(crate) fn stop_after(&self, steps: usize) {
        self.0.lock().expect("lock").left = steps;
    }

    /// Returns the disk after each step so far.
    pub(crate) fn instants(&self) -> Vec<Instant> {
        self.0.lock().expect("lock").instants.clone()
    }

    /// Returns how many steps were done.
    pub(crate) fn steps(&self) -> usize {
        self.0.lock().expect("lock").instants.len()
    }

    fn step<T>(&self, what: &str, path: &Path, run: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.0.lock().expect("lock");
        let Some(left) = state.left.checked_sub(1) else {
            return Err(Error::new(ErrorKind::Io, "the disk is gone"));
        };
        state.left = left;
        let out = run(&mut state)?;
        let now = state.look();
        let at = path.strip_prefix(&state.root).unwrap_or(path);
        let instant = Instant {
            after: format!("step {}, {what} {}", state.instants.len() + 1, at.display()),
            durable: state.durable.clone(),
            now,
            files: state.files.clone(),
        };
        state.instants.push(instant);
        Ok(out)
    }

    /// Returns a change in place, which is pending until the file is synced.
    fn change(&self, file: &File, path: &Path, change: Change) -> Result<()> {
        self.step("change", path, |state| {
            match &change {
                Change::Write(at, bytes) => file.write_all_at(bytes, *at as u64)?,
                Change::Len(len) => file.set_len(*len as u64)?,
            }
            let id = state.id(path);
            state.files.entry(id).or_default().pending.push(change);
            Ok(())
        })
    }
}

impl Disk for Volatile {
    fn create_temp(&self, path: &Path) -> Result<File> {
        self.step("create", path, |_| OsDisk.create_temp(path))
    }

    fn sync(&self, _file: &File, path: &Path) -> Result<()> {
        self.step("sync", path, |state| {
            state.sync(path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step("rename to", to, |_| OsDisk.rename(from, to))
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.step("sync directory", path, |state| {
            if let Ok(dir) = path.strip_prefix(&state.root).map(Path::to_owned) {
                let names = state.names(&dir);
                state.durable.insert(dir, names);
            }
            Ok(())
        })
    }

    fn sync_all(&self, path: &Path) -> Result<()> {
        self.step("sync all", path, |state| {
            // Only contents are promised here, though systems of today keep the names too.
            let durable = state.durable.clone();
            state.sync_all();
            state.durable = durable;
            Ok(())
        })
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.step("remove", path, |_| OsDisk.unlink(path))
    }

    fn write_at(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
        self.change(file, path, Change::Write(offset as usize, bytes.into()))
    }

    fn set_len(&self, file: &File, path: &Path, len: u64) -> Result<()> {
        self.change(file, path, Change::Len(len as usize))
    }

    fn sync_data(&self, _file: &File, path: &Path) -> Result<()> {
        self.step("sync data", path, |state| {
            state.sync(path);
            Ok(())
        })
    }
}

/// Content of the disk when the power is back.
#[derive(Debug)]
pub(crate) struct Remains(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Instant {
    /// Returns the content of the disk that `loss` leaves at this instant.
    pub(crate) fn lose(&self, loss: Loss) -> Remains {
        let mut random = Random(match loss {
            Loss::Some(seed) => seed,
            _ => 0,
        });
        let mut out = BTreeMap::new();
        let mut stack = vec![PathBuf::new()];
        let none = Names::new();
        while let Some(dir) = stack.pop() {
            let durable = self.durable.get(&dir).unwrap_or(&none);
            let now = self.now.get(&dir).unwrap_or(&none);
            let mut names: Vec<&OsString> = durable.keys().chain(now.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let (old, new) = (durable.get(name), now.get(name));
                let keep = match loss {
                    Loss::Everything => false,
                    Loss::Writes => true,
                    Loss::Some(_) => old != new && random.below(2) == 0,
                };
                let path = dir.join(name);
                match if keep { new } else { old } {
                    None => {}
                    Some(Node::Dir) => {
                        out.insert(path.clone(), None);
                        stack.push(path);
                    }
                    Some(Node::File(id)) => {
                        let content = self.files.get(id).cloned().unwrap_or_default();
                        out.insert(path, Some(content.lose(loss, &mut random)));
                    }
                }
            }
        }
        Remains(out)
    }
}

impl Content {
    fn lose(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let mut out = (*self.synced).clone();
        if !matches!(loss, Loss::Some(_)) {
            return out;
        }
        for change in &self.pending {
            match (random.below(4), change) {
                (0, _) => {}
                (1, Change::Write(at, bytes)) => {
                    let sectors = random.below((bytes.len() / SECTOR) as u64 + 1) as usize;
                    write(&mut out, *at, &bytes[..sectors * SECTOR]);
                }
                (_, Change::Write(at, bytes)) => write(&mut out, *at, bytes),
                (_, Change::Len(len)) => out.resize(*len, 0),
            }
        }
        out
    }
}

fn write(out: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    out.resize(out.len().max(at + bytes.len()), 0);
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Remains {
    /// Returns a number that is the same for the same remains.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    /// Puts them into the directory `root`, which is made.
    pub(crate) fn put(&self, root: &Path) {
        fs::create_dir(root).expect("mkdir");
        for (path, content) in &self.0 {
            let path = root.join(path);
            match content {
                None => fs::create_dir(path).expect("mkdir"),
                Some(bytes) => fs::write(path, bytes).expect("write"),
            }
        }
    }
}

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // The generator known as splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn found(remains: &Remains) -> Vec<(String, Vec<u8>)> {
        let files = remains.0.iter().filter_map(|(path, content)| {
            let name = path.to_str().expect("utf-8").to_owned();
            content.clone().map(|c| (name, c))
        });
        files.collect()
    }

    #[test]
    fn only_what_was_synced_is_sure() {
        let dir = scratch();
        fs::write(dir.path().join("old"), "old").expect("write");
        let volatile = Volatile::new(dir.path());
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut file = volatile.create_temp(&a).expect("create");
        file.write_all(b"content").expect("write");
        volatile.sync(&file, &a).expect("sync");
        volatile.rename(&a, &b).expect("rename");
        volatile.unlink(&dir.path().join("old")).expect("unlink");
        volatile.sync_dir(dir.path()).expect("sync");
        file.write_all(b", more").expect("write");
        volatile.rename(&b, &a).expect("rename");

        let pair = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
        let at = volatile.instants();
        let sure: Vec<_> = at.iter().map(|i| found(&i.lose(Loss::Everything))).collect();
        let old = vec![pair("old", "old")];
        let new = vec![pair("b", "content")];
        assert_eq!(sure, [&old, &old, &old, &old, &new, &new].map(Clone::clone));
        let named: Vec<_> = at.iter().map(|i| found(&i.lose(Loss::Writes))).collect();
        assert_eq!(named[0], [pair("a", ""), pair("old", "old")]);
        assert_eq!(named[1], [pair("a", "content"), pair("old", "old")]);
        assert_eq!(named[5], [pair("a", "content")]);
        let some = |n: usize| {
            (0..64)
                .map(|seed| found(&at[n].lose(Loss::Some(seed))))
                .collect::<Vec<_>>()
        };
        assert!(some(5).contains(&vec![pair("a", "content, more")]));
        assert!(some(5).contains(&vec![pair("a", "content"), pair("b", "content")]));
        assert!(some(3).contains(&Vec::new()) && some(3).contains(&old));
    }

    #[test]
    fn writes_in_place_are_lost_one_by_one_and_torn_at_sectors() {
        let dir = scratch();
        let path = dir.path().join("x.redb");
        fs::write(&path, vec![b'-'; 2 * SECTOR]).expect("write");
        let volatile = Volatile::new(dir.path());
        let file = disk::open_in_place(&path).expect("open");
        volatile
            .write_at(&file, &path, 0, &[b'a'; 2 * SECTOR])
            .expect("write");
        volatile.write_at(&file, &path, 1, b"b").expect("write");
        let seen = |instant: &Instant| {
            let ends = |seed| {
                let content = &found(&instant.lose(Loss::Some(seed)))[0].1;
                String::from_utf8(vec![content[0], content[1], content[2 * SECTOR - 1]]).expect("utf-8")
            };
            (0..64).map(ends).collect::<std::collections::BTreeSet<_>>()
        };
        let at = volatile.instants();
        let want = ["---", "-b-", "aa-", "aaa", "ab-", "aba"].map(str::to_owned);
        assert_eq!(seen(&at[1]), want.into());
        volatile.sync_data(&file, &path).expect("sync");
        assert_eq!(seen(&volatile.instants()[2]), ["aba".to_owned()].into());
        assert_eq!(found(&at[1].lose(Loss::Everything))[0].1, [b'-'; 2 * SECTOR]);
    }
}
