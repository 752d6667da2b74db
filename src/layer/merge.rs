// SPDX-License-Identifier: Apache-2.0
//! Several layers to one: what upper ones replace or hide is left out, everything else is copied as it stands.
//!
//! Invariant: the merged layer over what is below gives the tree that the layers give one after the other, as
//! `rootfs::Extractor` applies them. For that all layers are looked at from the lowest, as if they were applied to a tree of
//! which only hashes are held: some 30 bytes a path, and the paths of whiteouts, links, and directories without an entry. Then
//! the layers are read once more, and what is still there is copied.
//!
//! Every entry has a number, counted over all layers. What is at a path was put there by one entry (`made`), and has last been
//! touched by one (`stamp`); it is there if nothing above it was removed or emptied since, so that removals cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io::{Read, Write};

use super::read::Head;
use super::{Entry, EntryBody, LayerReader, LayerWriter, Limits};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::node::{Node, NodeKind, PathHash, TreePath, hash_path};

/// More symbolic links than this on the way to one path are a loop.
const MAX_LINKS: usize = 255;

/// The number of an entry, from 1.
type Number = u32;

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Dir,
    /// A directory that no entry speaks of.
    Implied,
    /// Anything that is neither a directory nor a link.
    File,
    Symlink,
    /// Another name of something.
    Link,
    /// The place of a hard link whose target comes later in its layer.
    Late,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Dir,
        Kind::Implied,
        Kind::File,
        Kind::Symlink,
        Kind::Link,
        Kind::Late,
    ];

    fn is_dir(self) -> bool {
        matches!(self, Kind::Dir | Kind::Implied)
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Kind and number of the entry that put it there, in one word: there are millions.
    made: u32,
    stamp: Number,
}

/// Entries that a [`Cell`] can count.
const MAX_ENTRIES: u64 = (1 << 29) - 1;

impl Cell {
    fn new(kind: Kind, number: Number) -> Self {
        Self {
            made: (kind as u32) << 29 | number,
            stamp: number,
        }
    }

    fn kind(self) -> Kind {
        Kind::ALL[(self.made >> 29) as usize]
    }

    fn number(self) -> Number {
        self.made & MAX_ENTRIES as u32
    }
}

/// Up to which entries what was at a path (`itself`) or below it (`inside`) is gone.
#[derive(Clone, Copy, Default, Debug)]
struct Gone {
    itself: Number,
    inside: Number,
}

/// A hard link, or what it is a name of.
#[derive(Clone, Debug)]
struct Name {
    path: TreePath,
    /// The entry that has the content.
    content: Number,
}

/// Layers that are being merged.
///
/// [`Merge::look`] at all layers from the lowest, [`Merge::settle`], then [`Merge::write_first`] and [`Merge::write`], again from
/// the lowest.
#[derive(Debug, Default)]
pub struct Merge {
    limits: Limits,
    /// How many layers stay below.
    from: usize,
    /// The number of the first entry that is merged; there may be none so far.
    first: Option<Number>,
    /// Numbers before the first entries of the layers.
    starts: Vec<Number>,
    entries: Number,
    held: u64,
    cells: HashMap<PathHash, Cell>,
    gone: HashMap<PathHash, Gone>,
    /// The directory that was last looked for, where it is, and up to which entries things in it are gone.
    last: Option<(TreePath, TreePath, Number)>,
    /// Targets of symbolic links.
    symlinks: HashMap<Number, Vec<u8>>,
    names: HashMap<Number, Name>,
    /// First names of what has several.
    first_names: HashMap<Number, TreePath>,
    /// What was in the tree below and is not any more, or is something else.
    below: HashSet<PathHash>,
    /// Where something below may have to be hidden.
    hidden: BTreeSet<TreePath>,
    /// Directories from below in which something was put.
    touched: BTreeSet<TreePath>,
    /// Directories that no entry of the merged layers speaks of, with the entries that needed them.
    implied: BTreeMap<TreePath, Number>,
    /// Entries that are somewhere else than they say, because of symbolic links.
    moved: HashMap<Number, TreePath>,
    /// Paths of the symbolic links of this layer, as it spells them.
    own_symlinks: HashSet<TreePath>,
    late: BTreeMap<TreePath, (TreePath, Number)>,
    /// Names that contents get because their own are gone.
    heirs: HashMap<Number, TreePath>,
    /// Entries from below that the merged layer repeats, since it hides them with what is around them.
    repeated: BTreeSet<Number>,
}

impl Merge {
    /// Begins to merge all layers but the `from` lowest.
    pub fn new(from: usize, limits: Limits) -> Self {
        Self {
            limits,
            from,
            ..Self::default()
        }
    }

    /// Looks at the next layer up.
    ///
    /// # Errors
    /// Those of the reader, and of a layer that cannot be applied; [`ErrorKind::Limit`] for more entries than one image may
    /// have.
    pub fn look<R: Read>(&mut self, layer: &mut LayerReader<R>) -> Result<()> {
        if self.starts.len() == self.from {
            self.first = Some(self.entries + 1);
        }
        self.starts.push(self.entries);
        while let Some(Entry { path, body }) = layer.next_entry()? {
            let count = u64::from(self.entries) + 1;
            Limits::check("entries", "image", count, self.limits.entries.min(MAX_ENTRIES))?;
            self.entries += 1;
            self.entry(&path, body).context(|| format!("entry {path}"))?;
        }
        self.own_symlinks.clear();
        self.link_late()
    }

    fn entry(&mut self, path: &TreePath, body: EntryBody) -> Result<()> {
        let number = self.entries;
        match body {
            EntryBody::Whiteout => self.whiteout(path),
            EntryBody::Opaque => self.opaque(path),
            EntryBody::Node(node) if path.is_root() && node.is_dir() => {
                self.replace(path, true)?;
                self.put(path, Kind::Dir, number)
            }
            _ if path.is_root() => {
                let text = "refusing to change type of root directory";
                Err(Error::new(ErrorKind::UnsafePath, text))
            }
            EntryBody::Node(node) => {
                let at = self.place(path, true)?.unwrap_or_default();
                self.own_symlinks.remove(path);
                let kind = match node.kind {
                    NodeKind::Dir => Kind::Dir,
                    NodeKind::Symlink { target } => {
                        self.hold(path.as_bytes().len() + target.len())?;
                        self.own_symlinks.insert(path.clone());
                        self.symlinks.insert(number, target);
                        Kind::Symlink
                    }
                    _ => Kind::File,
                };
                self.moved(path, &at)?;
                self.replace(&at, kind.is_dir())?;
                self.put(&at, kind, number)
            }
            EntryBody::HardLink { target } => {
                if self.hard_link(path, &target, number)? {
                    return Ok(());
                }
                let at = self.place(path, true)?.unwrap_or_default();
                self.moved(path, &at)?;
                self.hold(at.as_bytes().len() + target.as_bytes().len())?;
                self.replace(&at, false)?;
                self.put(&at, Kind::Late, number)?;
                self.late.insert(at, (target, number));
                Ok(())
            }
        }
    }

    /// Counts bytes that are held until the end.
    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held += bytes as u64 + 64;
        let limit = self.limits.directory_bytes;
        Limits::check(
            "directories",
            "whiteouts and links of the layers",
            self.held,
            limit,
        )
    }

    /// The number of the last entry of the layers below this one.
    fn start(&self) -> Number {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether an entry is one of those that are merged.
    fn is_merged(&self, number: Number) -> bool {
        self.first.is_some_and(|first| number >= first)
    }

    /// Up to which entries things directly in `dir` are gone.
    fn floor(&self, dir: &TreePath) -> Number {
        if self.gone.is_empty() {
            return 0;
        }
        let here = |path: TreePath| {
            let gone = self.gone_at(&path);
            gone.itself.max(gone.inside)
        };
        dir.ancestors().map(here).fold(here(dir.clone()), Number::max)
    }

    fn gone_at(&self, path: &TreePath) -> Gone {
        self.gone.get(&hash_path(path)).copied().unwrap_or_default()
    }

    /// What is at `path`, of which no component is a symbolic link, in a directory with this floor.
    fn at(&self, path: &TreePath, floor: Number) -> Option<Cell> {
        let hash = hash_path(path);
        let cell = *self.cells.get(&hash)?;
        let gone = self.gone.get(&hash).map_or(0, |gone| gone.itself);
        (cell.stamp >= floor.max(gone)).then_some(cell)
    }

    fn find(&self, path: &TreePath) -> Option<Cell> {
        let Some(dir) = path.parent() else {
            // The root is always there.
            let known = self.cells.get(&hash_path(path)).copied();
            return Some(known.unwrap_or(Cell::new(Kind::Implied, 0)));
        };
        let floor = match &self.last {
            Some((_, known, floor)) if *known == dir => *floor,
            _ => self.floor(&dir),
        };
        self.at(path, floor)
    }

    fn put(&mut self, path: &TreePath, kind: Kind, number: Number) -> Result<()> {
        self.cells.insert(hash_path(path), Cell::new(kind, number));
        path.parent().map_or(Ok(()), |dir| self.touch(&dir, number))
    }

    /// Notes that this layer has something at or below `path`.
    fn touch(&mut self, path: &TreePath, number: Number) -> Result<()> {
        let start = self.start();
        for path in std::iter::once(path.clone()).chain(path.ancestors()) {
            let Some(cell) = self.cells.get_mut(&hash_path(&path)) else {
                continue;
            };
            // What is above it has been touched with it.
            if cell.stamp > start {
                break;
            }
            cell.stamp = number;
            let made = cell.number();
            if self.is_merged(number) && !self.is_merged(made) && !path.is_root() {
                self.hold(path.as_bytes().len())?;
                self.touched.insert(path);
            }
        }
        Ok(())
    }

    /// Where the thing called `path` is, every link on the way to its directory followed; `None` if there is no such directory,
    /// unless it is to be made.
    fn place(&mut self, path: &TreePath, make: bool) -> Result<Option<TreePath>> {
        let dir = path.parent().unwrap_or_default();
        let known = match &self.last {
            Some((known, at, _)) if *known == dir => Some(at.clone()),
            _ => None,
        };
        let at = match known {
            Some(at) => at,
            None => match self.walk(&dir, make)? {
                Some(at) => {
                    self.last = Some((dir, at.clone(), self.floor(&at)));
                    at
                }
                None => return Ok(None),
            },
        };
        at.join(path.name()).map(Some)
    }

    fn walk(&mut self, path: &TreePath, make: bool) -> Result<Option<TreePath>> {
        let mut rest: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let mut at = TreePath::root();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = at.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = at.join(&name)?;
            let found = self.at(&next, self.floor(&at));
            if found.is_some_and(|cell| cell.kind().is_dir()) {
                at = next;
                continue;
            }
            let Some(target) = found.and_then(|cell| self.symlinks.get(&self.content(cell))) else {
                if !make {
                    return Ok(None);
                }
                self.replace(&next, true)?;
                self.put(&next, Kind::Implied, self.entries)?;
                if self.is_merged(self.entries) {
                    self.hold(next.as_bytes().len())?;
                    self.implied.insert(next.clone(), self.entries);
                }
                at = next;
                continue;
            };
            links += 1;
            let parts: Vec<Vec<u8>> = target.split(|&c| c == b'/').map(<[u8]>::to_vec).collect();
            if links > MAX_LINKS || rest.len() + parts.len() > 64 * 1024 {
                let text = format!("too many levels of symbolic links: {path}");
                return Err(Error::new(ErrorKind::UnsafePath, text));
            }
            if target.first() == Some(&b'/') {
                at = TreePath::root();
            }
            for part in parts.into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(Some(at))
    }

    /// The entry that has the content of what is there.
    fn content(&self, cell: Cell) -> Number {
        match self.names.get(&cell.number()) {
            Some(name) if cell.kind() == Kind::Link => name.content,
            _ => cell.number(),
        }
    }

    /// Notes where an entry really is.
    fn moved(&mut self, path: &TreePath, at: &TreePath) -> Result<()> {
        if path != at {
            self.hold(at.as_bytes().len())?;
            self.moved.insert(self.entries, at.clone());
        }
        Ok(())
    }

    /// Makes room for an entry; a directory takes the place of another without an end of what is in it.
    fn replace(&mut self, at: &TreePath, by_dir: bool) -> Result<()> {
        let Some(old) = self.find(at) else { return Ok(()) };
        self.leave(at, old);
        if old.kind().is_dir() && by_dir {
            return Ok(());
        }
        if by_dir && self.below.contains(&hash_path(at)) {
            self.hide(at)?;
        }
        if old.kind().is_dir() || by_dir {
            self.end(at, |gone, number| gone.itself = number, self.entries);
        } else if self.symlinks.contains_key(&self.content(old)) {
            self.last = None;
        }
        Ok(())
    }

    /// Notes that what was at `at` goes or becomes something else.
    fn leave(&mut self, at: &TreePath, old: Cell) {
        if self.is_merged(self.entries) && !self.is_merged(old.number()) {
            self.below.insert(hash_path(at));
        }
    }

    fn hide(&mut self, at: &TreePath) -> Result<()> {
        if self.from > 0 && self.is_merged(self.entries) {
            self.hold(at.as_bytes().len())?;
            self.hidden.insert(at.clone());
        }
        Ok(())
    }

    fn end(&mut self, at: &TreePath, set: impl FnOnce(&mut Gone, Number), number: Number) {
        set(self.gone.entry(hash_path(at)).or_default(), number);
        self.last = None;
    }

    fn whiteout(&mut self, path: &TreePath) -> Result<()> {
        if path.ancestors().any(|above| self.own_symlinks.contains(&above)) {
            return Ok(());
        }
        let Some(at) = self.place(path, false)? else {
            return Ok(());
        };
        let Some(old) = self.find(&at) else { return Ok(()) };
        let number = self.start() + 1;
        if old.stamp < number {
            self.leave(&at, old);
            self.hide(&at)?;
            self.end(&at, |gone, number| gone.itself = number, number);
        } else if old.kind().is_dir() {
            self.empty(&at, old)?;
        }
        Ok(())
    }

    fn opaque(&mut self, path: &TreePath) -> Result<()> {
        let at = if path.is_root() {
            Some(TreePath::root())
        } else {
            self.place(path, false)?
        };
        if let Some(at) = at
            && let Some(old) = self.find(&at)
            && old.kind().is_dir()
        {
            self.empty(&at, old)?;
        }
        Ok(())
    }

    /// Takes from a directory what this layer has not put there.
    fn empty(&mut self, at: &TreePath, old: Cell) -> Result<()> {
        self.leave(at, old);
        self.hide(at)?;
        self.end(at, |gone, number| gone.inside = number, self.start() + 1);
        Ok(())
    }

    /// Gives `target` another name; `false` if it is not there.
    fn hard_link(&mut self, path: &TreePath, target: &TreePath, number: Number) -> Result<bool> {
        let Some(from) = self.place(target, false)? else {
            return Ok(false);
        };
        let found = self.find(&from).filter(|cell| cell.kind() != Kind::Late);
        let Some(linked) = found else { return Ok(false) };
        if linked.kind().is_dir() {
            let text = format!("hard link to the directory {target}");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        let content = self.content(linked);
        let at = self.place(path, true)?.unwrap_or_default();
        if self.entries == number {
            self.moved(path, &at)?;
        }
        self.replace(&at, false)?;
        self.hold(at.as_bytes().len() + from.as_bytes().len())?;
        self.put(&at, Kind::Link, number)?;
        if linked.kind() != Kind::Link {
            self.first_names.entry(content).or_insert(from);
        }
        self.names.insert(number, Name { path: at, content });
        Ok(true)
    }

    /// Makes the hard links that came before their targets; those may be such links too.
    fn link_late(&mut self) -> Result<()> {
        while let Some(first) = self.late.pop_first() {
            let mut chain = vec![first];
            while let Some((path, (target, number))) = chain.pop() {
                let is_there = self.find(&path);
                if is_there.is_none_or(|cell| cell.kind() != Kind::Late || cell.number() != number)
                    || self.hard_link(&path, &target, number)?
                {
                    continue;
                }
                let Some(next) = self.late.remove_entry(&target) else {
                    let text = format!("entry {path}: hard link to {target}, which does not exist");
                    return Err(Error::new(ErrorKind::NotFound, text));
                };
                chain.extend([(path, (target, number)), next]);
            }
        }
        Ok(())
    }

    /// Ends the first reading.
    pub fn settle(&mut self) {
        self.last = None;
        // What has a name of its own, or one below, keeps it; else the first of its links is its name.
        let mut links: Vec<(Number, Name)> = self.names.iter().map(|(n, name)| (*n, name.clone())).collect();
        links.sort_by_key(|(number, _)| *number);
        for (number, Name { path, content }) in links {
            let is_link = |cell: Cell| cell.number() == number && cell.kind() == Kind::Link;
            if !self.first_name_stays(content)
                && !self.heirs.contains_key(&content)
                && self.find(&path).is_some_and(is_link)
            {
                self.heirs.insert(content, path);
            }
        }
        let hidden = std::mem::take(&mut self.hidden);
        self.hidden = hidden.into_iter().filter(|path| self.is_hidden(path)).collect();
        let implied = std::mem::take(&mut self.implied);
        let stays = |(path, number): &(TreePath, Number)| {
            self.find(path)
                .is_some_and(|cell| cell.kind() == Kind::Implied && cell.number() == *number)
        };
        self.implied = implied.into_iter().filter(stays).collect();
        for path in std::mem::take(&mut self.touched) {
            let by_above = |above: TreePath| self.is_merged(self.gone_at(&above).inside);
            if let Some(cell) = self.find(&path)
                && !self.is_merged(cell.number())
                && path.ancestors().any(by_above)
            {
                match cell.kind() {
                    Kind::Implied => drop(self.implied.insert(path, cell.number())),
                    _ => drop(self.repeated.insert(cell.number())),
                }
            }
        }
    }

    fn first_name_stays(&self, content: Number) -> bool {
        let first = self.first_names.get(&content);
        let is_there = |path| {
            self.find(path)
                .is_some_and(|cell| cell.kind() != Kind::Link && cell.number() == content)
        };
        first.is_some_and(is_there)
    }

    /// Whether something below must be hidden at `path`: it was there, nothing above hides it, and no file is in its place.
    fn is_hidden(&self, path: &TreePath) -> bool {
        let by_above = |path: TreePath| {
            let gone = self.gone_at(&path);
            self.is_merged(gone.itself.max(gone.inside))
        };
        self.below.contains(&hash_path(path))
            && !path.ancestors().any(by_above)
            && self.find(path).is_none_or(|cell| cell.kind().is_dir())
    }

    /// Whether the `number`-th layer has something that goes into the merged one.
    pub fn needs(&self, number: usize) -> bool {
        let end = self.starts.get(number + 1).copied().unwrap_or(Number::MAX);
        let is_in = |entry: &Number| {
            self.starts
                .get(number)
                .is_some_and(|start| (start + 1..=end).contains(entry))
        };
        let inherits = |(content, path): (&Number, &TreePath)| is_in(content) && self.is_new(path);
        number >= self.from || self.repeated.iter().any(is_in) || self.heirs.iter().any(inherits)
    }

    /// Whether the name at `path` is one of the merged layers.
    fn is_new(&self, path: &TreePath) -> bool {
        self.find(path).is_some_and(|cell| self.is_merged(cell.number()))
    }

    /// Writes what is to be hidden of what is below, and the directories that no entry speaks of.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_first<W: Write>(&self, out: &mut LayerWriter<W>) -> Result<()> {
        for path in &self.hidden {
            if self.is_merged(self.gone_at(path).itself) {
                out.whiteout(path)?
            } else {
                out.opaque(path)?
            }
        }
        for path in self.implied.keys() {
            out.node(path, &Node::dir(0o755), &mut std::io::empty())?;
        }
        Ok(())
    }

    /// Writes what stays of the `number`-th layer, and reads `tar` to its end.
    ///
    /// # Errors
    /// Those of reader and writer.
    pub fn write<R: Read, W: Write>(&mut self, number: usize, tar: R, out: &mut LayerWriter<W>) -> Result<R> {
        let mut reader = LayerReader::recording(tar, self.limits.clone());
        let mut entry = self.starts.get(number).copied().unwrap_or_default();
        // Links before their targets come behind them: what is below may have something of that name.
        let mut late = Vec::new();
        while let Some(Entry { path, body }) = reader.next_entry()? {
            entry += 1;
            let Some(fate) = self.fate(entry, &path, &body) else {
                continue;
            };
            let head = reader.take_head();
            if fate.target.as_ref().is_some_and(|(content, _)| *content > entry) {
                self.hold(head.blocks.len())?;
                late.push((head, fate));
                continue;
            }
            fate.write(&head, out)
                .and_then(|()| out.copy_rest(&mut reader))
                .context(|| format!("entry {path}"))?;
        }
        late.iter().try_for_each(|(head, fate)| fate.write(head, out))?;
        reader.drain()?;
        Ok(reader.into_inner())
    }

    /// What is written of an entry.
    fn fate(&mut self, number: Number, path: &TreePath, body: &EntryBody) -> Option<Fate> {
        let at = self.moved.get(&number).unwrap_or(path).clone();
        let dir = at.parent().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(_, known, _)| *known != dir) {
            self.last = Some((dir.clone(), dir.clone(), self.floor(&dir)));
        }
        let stays = self.find(&at).is_some_and(|cell| cell.number() == number);
        match body {
            EntryBody::Whiteout | EntryBody::Opaque => None,
            EntryBody::Node(node) => {
                let fate = |path: &TreePath, is_same| Fate {
                    path: path.clone(),
                    is_dir: node.is_dir(),
                    target: None,
                    is_same,
                };
                if stays && (self.is_merged(number) || self.repeated.contains(&number)) {
                    return Some(fate(&at, at == *path));
                }
                let heir = self.heirs.get(&number).filter(|heir| self.is_new(heir))?;
                Some(fate(heir, false))
            }
            EntryBody::HardLink { target } => {
                let name = self
                    .names
                    .get(&number)
                    .filter(|_| stays && self.is_merged(number))?;
                let first = self
                    .heirs
                    .get(&name.content)
                    .or_else(|| self.first_names.get(&name.content))?;
                (*first != at).then(|| Fate {
                    is_same: at == *path && first == target,
                    path: at,
                    is_dir: false,
                    target: Some((name.content, first.clone())),
                })
            }
        }
    }
}

/// How an entry is written.
#[derive(Debug)]
struct Fate {
    path: TreePath,
    is_dir: bool,
    /// For a hard link the entry that has the content, and its name.
    target: Option<(Number, TreePath)>,
    /// Whether all that is as the entry says.
    is_same: bool,
}

impl Fate {
    fn write<W: Write>(&self, head: &Head, out: &mut LayerWriter<W>) -> Result<()> {
        if self.is_same {
            return out.copy_head(head);
        }
        let target = self.target.as_ref().map(|(_, name)| name);
        out.copy_head_as(head, &self.path, target, self.is_dir)
    }
}
