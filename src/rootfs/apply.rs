// SPDX-License-Identifier: Apache-2.0
//! Layers applied to a tree, one after the other.
//!
//! Metadata of directories is set when a layer ends, the deepest first: so it does not matter what was made in them
//! meanwhile, and a directory may be read-only. Whiteouts hide lower layers only, so what a layer has touched itself is
//! kept, whatever the order of its entries.

use std::io::Read;
use std::sync::Arc;

use super::layer_state::{DeferredMetadata, LayerState};
use super::metadata::{ExtractOptions, Metadata};
use super::writers::{About, FileDigests, Files, Queue};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{Dir, OpenFile, Root};
use crate::layer::{Entry, EntryBody, LayerReader, Limits, TocBuilder};
use crate::node::{Inode, Node, NodeKind, Time, TreePath};
use crate::progress::Monitor;

const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Applies layers to a tree.
#[derive(derive_more::Debug)]
#[debug("Extractor({root:?})")]
pub struct Extractor<'a> {
    root: &'a Root,
    files: Arc<Files<'a>>,
    /// New files may get extended attributes from their directory.
    inherits: bool,
    /// Lower layers, or somebody before us, may have put something in the tree.
    below: bool,
    /// Entries of all layers so far.
    entries: u64,
    layer: LayerState,
}

impl<'a> Extractor<'a> {
    /// Begins on the tree at `root`.
    pub fn new(root: &'a Root, opts: ExtractOptions, monitor: &'a dyn Monitor) -> Self {
        Self {
            root,
            files: Arc::new(Files::new(Metadata::new(opts, monitor))),
            inherits: false,
            below: true,
            entries: 0,
            layer: LayerState::default(),
        }
    }

    /// Gives the root directory what it has when no layer says otherwise: owner 0:0, mode 0755, times of 1970.
    pub fn prepare(&mut self) -> Result<()> {
        self.look()?;
        let top = self.root.dir(&TreePath::root())?;
        let on = self.root.named(&top, b".");
        self.files.metadata.set_owner(&on, &Node::dir(0o755))?;
        on.chmod(0o755)?;
        on.set_times(None, Time::EPOCH)
    }

    /// Looks at what is in the tree; returns whether there is anything. To go on with a tree as it is, this comes first, and in
    /// place of [`Extractor::prepare`].
    pub fn look(&mut self) -> Result<bool> {
        let top = self.root.dir(&TreePath::root())?;
        // A default ACL goes on to all that is made below, and no entry of a layer speaks of that.
        self.inherits = self.root.named(&top, b".").xattrs()?.contains_key(DEFAULT_ACL);
        self.below = !self.root.list(&top)?.is_empty();
        Ok(self.below)
    }

    /// Applies one layer, to the end of its archive.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafePath`] for an entry that would change the type of the root directory; whatever the reader
    /// or the disk says, with the path.
    pub fn apply_layer<R: Read>(&mut self, layer: &mut LayerReader<R>) -> Result<()> {
        self.layer = LayerState::new(self.below, self.files.metadata.opts.limits.directory_bytes);
        let files = Arc::clone(&self.files);
        files.metadata.begin_layer();
        let read = rayon::in_place_scope(|scope| {
            let mut queue = Queue::new(scope, Arc::clone(&files));
            let read = self.read(layer, &mut queue);
            queue.flush();
            read
        });
        // The end of the scope has waited for all files: whatever follows finds them complete.
        files.outcome(read)?;
        self.link_late()?;
        for (path, pending) in std::mem::take(&mut self.layer.dirs).into_iter().rev() {
            self.set_deferred(&path, pending)
                .context(|| format!("unpack entry {path}"))?;
        }
        self.below = true;
        self.root.restore()
    }

    /// Begins to collect the table of contents of the next layer, where the digests of files are taken anyway.
    pub fn begin_toc(&self) {
        if self.files.metadata.opts.digests {
            self.files.begin_toc();
        }
    }

    /// Returns the table of contents of the layer that was applied, if it was collected.
    pub fn take_toc(&self) -> Option<TocBuilder> {
        self.files.take_toc()
    }

    /// Returns the digests of the files that were written; none if they were not asked for.
    pub fn finish(self) -> Result<FileDigests> {
        Ok(self.files.take_digests())
    }

    fn read<R: Read>(&mut self, layer: &mut LayerReader<R>, queue: &mut Queue<'_, 'a>) -> Result<()> {
        while let Some(entry) = layer.next_entry()? {
            self.entries += 1;
            let limit = self.files.metadata.opts.limits.entries;
            Limits::check("entries", "image", self.entries, limit)?;
            let path = entry.path.clone();
            let toc_number = self.files.note_entry(&entry, layer.entry_end());
            self.entry(entry, toc_number, layer, queue)
                .context(|| format!("unpack entry {path}"))?;
            // A file has failed at an earlier entry, whose error is the one to report.
            if queue.failed() {
                break;
            }
        }
        Ok(())
    }

    fn entry<R: Read>(
        &mut self,
        entry: Entry,
        toc_number: Option<usize>,
        content: &mut LayerReader<R>,
        queue: &mut Queue<'_, 'a>,
    ) -> Result<()> {
        let path = entry.path;
        match entry.body {
            // Nothing is hidden where nothing is below.
            EntryBody::Opaque | EntryBody::Whiteout if !self.below => Ok(()),
            EntryBody::Opaque => self.hide_below(&path),
            EntryBody::Whiteout => self.hide(&path),
            EntryBody::Node(node) if path.is_root() => self.root_entry(node),
            EntryBody::HardLink { .. } if path.is_root() => Err(root_type()),
            EntryBody::HardLink { target } => {
                if self.hard_link(&path, &target)? {
                    return Ok(());
                }
                self.link_later(&path, target)
            }
            EntryBody::Node(node) => self.node(&path, node, toc_number, content, queue),
        }
    }

    fn root_entry(&mut self, node: Node) -> Result<()> {
        if !node.is_dir() {
            return Err(root_type());
        }
        self.inherits |= node.xattrs.contains_key(DEFAULT_ACL);
        self.layer.touch(&TreePath::root());
        self.layer.defer_entry(TreePath::root(), node)
    }

    fn node<R: Read>(
        &mut self,
        path: &TreePath,
        node: Node,
        toc_number: Option<usize>,
        content: &mut LayerReader<R>,
        queue: &mut Queue<'_, 'a>,
    ) -> Result<()> {
        let dir = self.make_parent(path)?;
        let name = path.name();
        let key = dir.join(name);
        self.save_mtime(&dir)?;
        // Nothing is in the way of most entries, so they are made without a look.
        let made = match self.make(&dir, name, &node) {
            Err(err) if err.kind() == ErrorKind::Exists => match self.root.stat(&dir, name)? {
                Some(old) if old.node.is_dir() && node.is_dir() => None,
                Some(old)
                    if self.files.metadata.opts.keep_dirlinks
                        && node.is_dir()
                        && is_link(&old)
                        && self.root.dir(path).is_ok() =>
                {
                    self.layer.touch(&key);
                    return Ok(());
                }
                Some(old) => {
                    self.replace(&dir, name, &old)?;
                    self.make(&dir, name, &node)?
                }
                None => self.make(&dir, name, &node)?,
            },
            made => made?,
        };
        self.inherits |= node.xattrs.contains_key(DEFAULT_ACL);
        // Only a link of this layer keeps whiteouts away from its target, and this path may be none any more.
        self.layer.links.remove(path);
        match (&node.kind, made) {
            (NodeKind::Dir, _) => self.layer.defer_entry(key.clone(), node)?,
            (_, Some(file)) => {
                let about = About {
                    node,
                    inherits: self.inherits,
                    toc_number,
                };
                queue.fill(file, path, about, content)?;
            }
            (_, None) => {
                if matches!(node.kind, NodeKind::Symlink { .. }) {
                    self.layer.charge(path.as_bytes().len())?;
                    self.layer.links.insert(path);
                }
                let on = self.root.named(&dir, name);
                self.files.metadata.set(&on, &node, self.inherits)?;
            }
        }
        self.layer.touch(&key);
        Ok(())
    }

    /// Makes what `node` is, where nothing may be; what has content is returned to be written.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if something is there.
    fn make(&self, dir: &Dir, name: &[u8], node: &Node) -> Result<Option<OpenFile>> {
        let metadata = &self.files.metadata;
        match &node.kind {
            NodeKind::Dir => self.root.make_dir(dir, name).map(|()| None),
            NodeKind::File { .. } => self.root.create_file(dir, name).map(Some),
            NodeKind::Char { major, minor } | NodeKind::Block { major, minor }
                if metadata.opts.id_map.rootless || metadata.user_namespace =>
            {
                let file = self.root.create_file(dir, name)?;
                let path = dir.join(name);
                metadata.monitor.warn(format_args!(
                    "rootless{{{path}}} creating empty file in place of device {major}:{minor}"
                ));
                Ok(Some(file))
            }
            NodeKind::Symlink { .. } | NodeKind::Char { .. } | NodeKind::Block { .. } | NodeKind::Fifo => {
                self.root.make_special(dir, name, node).map(|()| None)
            }
            NodeKind::Socket => fail!(Unsupported, "a layer cannot hold a socket"),
        }
    }

    /// Gives `target` another name; `false` if it is not there.
    fn hard_link(&mut self, path: &TreePath, target: &TreePath) -> Result<bool> {
        let Some((from, from_name)) = self.root.parent(target).if_there()? else {
            return Ok(false);
        };
        let Some(linked) = self.root.stat(&from, &from_name)? else {
            return Ok(false);
        };
        if linked.node.is_dir() {
            fail!(Corrupt, "hard link to the directory {target}");
        }
        let dir = self.make_parent(path)?;
        let name = path.name();
        let key = dir.join(name);
        if let Some(old) = self.root.stat(&dir, name)? {
            // Both are names of one file already; to make room for the new one could remove the target itself.
            if (old.dev, old.ino) == (linked.dev, linked.ino) {
                self.layer.touch(&key);
                return Ok(true);
            }
            self.replace(&dir, name, &old)?;
        }
        self.save_mtime(&dir)?;
        self.root.hard_link((&from, &from_name), (&dir, name))?;
        self.layer.touch(&key);
        Ok(true)
    }

    /// Makes room for a hard link whose target may come later in this layer.
    fn link_later(&mut self, path: &TreePath, target: TreePath) -> Result<()> {
        let dir = self.make_parent(path)?;
        let key = self.make_way(&dir, path.name())?;
        self.layer.touch(&key);
        self.layer.charge(key.as_bytes().len())?;
        self.layer.charge(target.as_bytes().len())?;
        self.layer.late.insert(key, target);
        Ok(())
    }

    /// Makes the hard links that came before their targets; those may be such links too.
    fn link_late(&mut self) -> Result<()> {
        while let Some(first) = self.layer.late.pop_first() {
            let mut chain = vec![first];
            while let Some((path, target)) = chain.pop() {
                let linked = self.hard_link(&path, &target);
                let linked = linked.context(|| format!("unpack entry {path}"))?;
                if linked {
                    continue;
                }
                let Some(next) = self.layer.late.remove_entry(&target) else {
                    let text = format!("unpack entry {path}: hard link to {target}, which does not exist");
                    fail!(NotFound, "{text}");
                };
                chain.extend([(path, target), next]);
            }
        }
        Ok(())
    }

    /// Opens the directory that `path` is to be in. Missing ones are made, and what is no directory gives way.
    fn make_parent(&mut self, path: &TreePath) -> Result<Dir> {
        let parent = path.parent().unwrap_or_default();
        let root = self.root;
        root.dir_or_make(&parent, &mut |dir, name| {
            let key = self.make_way(dir, name)?;
            root.make_dir(dir, name)?;
            // Nobody says what a directory is like that has no entry; this is the same on every machine.
            self.layer.pass(&key);
            self.layer.defer_entry(key, Node::dir(0o755))
        })
    }

    /// Makes room for something called `name` in `dir`; returns its path.
    fn make_way(&mut self, dir: &Dir, name: &[u8]) -> Result<TreePath> {
        if let Some(old) = self.root.stat(dir, name)? {
            self.replace(dir, name, &old)?;
        }
        self.save_mtime(dir)?;
        Ok(dir.join(name))
    }

    /// Removes what is in the way of an entry.
    fn replace(&mut self, dir: &Dir, name: &[u8], old: &Inode) -> Result<()> {
        self.save_mtime(dir)?;
        self.root.remove(dir, name)?;
        if old.node.is_dir() || is_link(old) {
            self.drop_below(&dir.join(name));
        }
        Ok(())
    }

    /// Forgets what was known of paths through a directory or link that is gone.
    fn drop_below(&mut self, path: &TreePath) {
        self.root.forget();
        self.layer.forget(path);
    }

    /// Notes the time of a directory whose children are about to change.
    fn save_mtime(&mut self, dir: &Dir) -> Result<()> {
        if !self.layer.dirs.contains_key(dir.path())
            && let Some(inode) = self.root.stat(dir, b".")?
        {
            self.layer.defer_mtime(dir.path().clone(), inode.node.mtime)?;
        }
        Ok(())
    }

    /// Hides what lower layers have at `path`.
    fn hide(&mut self, path: &TreePath) -> Result<()> {
        if self.layer.links.has_above(path) {
            return Ok(());
        }
        let Some((dir, name)) = self.root.parent(path).if_there()? else {
            return Ok(());
        };
        self.hide_all(vec![dir.join(&name)])
    }

    /// Hides all that lower layers have below the directory at `path`.
    fn hide_below(&mut self, path: &TreePath) -> Result<()> {
        let Some((dir, name)) = self.root.parent(path).if_there()? else {
            return Ok(());
        };
        // The directory itself is not followed: a link here is no directory of this path.
        if path.is_root() || self.root.stat(&dir, &name)?.is_some_and(|old| old.node.is_dir()) {
            let below = self.root.dir(&dir.join(&name))?;
            let inside = self.may_be_hidden(&below)?;
            self.hide_all(inside)?;
        }
        Ok(())
    }

    /// Returns the paths in a directory that may have to be hidden. A layer lists each directory once: markers may be repeated.
    fn may_be_hidden(&mut self, dir: &Dir) -> Result<Vec<TreePath>> {
        let path = dir.path();
        if self.layer.hide_below(path) {
            let names = self.root.list(dir)?;
            return names.iter().map(|name| path.join(name)).collect();
        }
        Ok(self.layer.take_passed(path))
    }

    /// Removes what is at these paths and all below them, but what this layer has put there.
    fn hide_all(&mut self, mut stack: Vec<TreePath>) -> Result<()> {
        while let Some(path) = stack.pop() {
            let (dir, name) = self.root.parent(&path)?;
            let Some(old) = self.root.stat(&dir, &name)? else {
                continue;
            };
            if !self.layer.has_touched(&path) {
                self.replace(&dir, &name, &old)?;
            } else if old.node.is_dir() {
                let inside = self.root.dir(&path)?;
                stack.extend(self.may_be_hidden(&inside)?);
            }
        }
        Ok(())
    }

    /// Sets what a directory gets at the end of the layer.
    fn set_deferred(&mut self, path: &TreePath, deferred: DeferredMetadata) -> Result<()> {
        let dir = self.root.dir(path)?;
        let on = self.root.named(&dir, b".");
        match deferred {
            DeferredMetadata::Time(time) => on.set_times(None, time),
            DeferredMetadata::Entry(node) => {
                let metadata = &self.files.metadata;
                metadata.set_owner(&on, &node)?;
                // Attributes and times before the mode, which may lock us out.
                on.clear_xattrs(&node.xattrs)?;
                metadata.set_xattrs(&on, &node)?;
                on.set_times(node.atime, node.mtime)?;
                // Mode bits that were added until now must not be taken back later.
                self.root.settle(path);
                let (above, name) = self.root.parent(path)?;
                self.root.named(&above, &name).chmod(node.mode)
            }
        }
    }
}

fn is_link(inode: &Inode) -> bool {
    matches!(inode.node.kind, NodeKind::Symlink { .. })
}

fn root_type() -> Error {
    let text = "malicious tar entry -- refusing to change type of root directory";
    Error::new(ErrorKind::UnsafePath, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Resolver;
    use crate::layer::{LayerWriter, Limits};
    use crate::node::Xattrs;
    use crate::progress::Silent;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    fn path(text: &str) -> TreePath {
        TreePath::clean(text.as_bytes()).expect("path")
    }

    /// One entry of a layer, written as `type path[=content or target]`.
    fn entry(out: &mut LayerWriter<Vec<u8>>, spec: &str) {
        let (kind, rest) = spec.split_once(' ').expect("type and path");
        let (name, content) = rest.split_once('=').unwrap_or((rest, ""));
        let node = |kind, mode| Node {
            kind,
            mode,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mtime: Time {
                sec: 1_000_000_000,
                nsec: 0,
            },
            atime: None,
            xattrs: Xattrs::new(),
        };
        let name = path(name);
        let size = content.len() as u64;
        match kind {
            "f" => out.node(
                &name,
                &node(NodeKind::File { size }, 0o644),
                &mut content.as_bytes(),
            ),
            "d" => out.node(&name, &node(NodeKind::Dir, 0o755), &mut std::io::empty()),
            "ro" => out.node(&name, &node(NodeKind::Dir, 0o555), &mut std::io::empty()),
            "suid" => out.node(
                &name,
                &node(NodeKind::File { size }, 0o6755),
                &mut content.as_bytes(),
            ),
            "l" => {
                let target = content.as_bytes().to_vec();
                out.node(
                    &name,
                    &node(NodeKind::Symlink { target }, 0o777),
                    &mut std::io::empty(),
                )
            }
            "h" => out.hard_link(&name, &path(content), &node(NodeKind::File { size: 0 }, 0o644)),
            "w" => out.whiteout(&name),
            "o" => out.opaque(&name),
            _ => panic!("{spec}"),
        }
        .expect(spec);
    }

    fn layer(specs: &[&str]) -> Vec<u8> {
        let mut out = LayerWriter::new(Vec::new(), b".");
        for spec in specs {
            entry(&mut out, spec);
        }
        out.finish().expect("layer")
    }

    /// Layers as lists of entries.
    type Layers = &'static [&'static [&'static str]];

    struct Case {
        _dir: tempfile::TempDir,
        base: std::path::PathBuf,
        result: Result<()>,
    }

    /// Applies layers below `root/` of a directory that also has `outside/secret`.
    fn apply(layers: &[&[&str]], resolver: Resolver, keep_dirlinks: bool) -> Case {
        let dir = tempfile::tempdir().expect("dir");
        let base = dir.path().join("root");
        std::fs::create_dir_all(&base).expect("mkdir");
        std::fs::create_dir(dir.path().join("outside")).expect("mkdir");
        std::fs::write(dir.path().join("outside/secret"), "untouched").expect("write");
        let result = (|| {
            let root = Root::open(&base)?.with_resolver(resolver);
            let opts = ExtractOptions {
                keep_dirlinks,
                ..ExtractOptions::default()
            };
            let mut extractor = Extractor::new(&root, opts, &Silent);
            if rustix::process::geteuid().is_root() {
                extractor.prepare()?;
            }
            for specs in layers {
                extractor.apply_layer(&mut LayerReader::new(layer(specs).as_slice(), Limits::default()))?;
            }
            extractor.finish().map(|_| ())
        })();
        let secret = dir.path().join("outside/secret");
        assert_eq!(
            std::fs::read_to_string(&secret).expect("secret"),
            "untouched",
            "{layers:?}"
        );
        assert_eq!(
            std::fs::read_dir(dir.path().join("outside"))
                .expect("outside")
                .count(),
            1,
            "{layers:?}"
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("dir").count(),
            2,
            "{layers:?}"
        );
        Case {
            _dir: dir,
            base,
            result,
        }
    }

    /// Paths below `base`, links with their targets and files with their content.
    fn listing(base: &Path) -> Vec<String> {
        let mut out = Vec::new();
        let mut stack = vec![base.to_owned()];
        while let Some(dir) = stack.pop() {
            for item in std::fs::read_dir(&dir).expect("dir") {
                let full = item.expect("entry").path();
                let name = full.strip_prefix(base).expect("below").display().to_string();
                let meta = std::fs::symlink_metadata(&full).expect("stat");
                if meta.is_dir() {
                    out.push(format!("{name}/"));
                    stack.push(full);
                } else if meta.is_symlink() {
                    out.push(format!(
                        "{name}->{}",
                        std::fs::read_link(&full).expect("link").display()
                    ));
                } else {
                    out.push(format!(
                        "{name}={}",
                        std::fs::read_to_string(&full).expect("file")
                    ));
                }
            }
        }
        out.sort();
        out
    }

    #[test]
    fn layers_give_the_tree_that_they_describe() {
        let cases: &[(&str, Layers, &[&str])] = &[
            ("missing parents", &[&["f a/b/c=x"]], &["a/", "a/b/", "a/b/c=x"]),
            (
                "the last entry of a path counts",
                &[&["f a=1", "d a", "f a=2"]],
                &["a=2"],
            ),
            (
                "a file becomes a directory",
                &[&["f a=1"], &["f a/b=2"]],
                &["a/", "a/b=2"],
            ),
            (
                "a directory becomes a file",
                &[&["f a/b=1"], &["f a=2"]],
                &["a=2"],
            ),
            (
                "a directory becomes a link",
                &[&["f a/b=1", "d t"], &["l a=t"]],
                &["a->t", "t/"],
            ),
            (
                "a link becomes a directory",
                &[&["l a=t", "d t"], &["d a", "f a/x=1"]],
                &["a/", "a/x=1", "t/"],
            ),
            ("whiteout of a file", &[&["f a=1", "f b=2"], &["w a"]], &["b=2"]),
            (
                "whiteout of a tree",
                &[&["f a/b/c=1", "f b=2"], &["w a"]],
                &["b=2"],
            ),
            (
                "whiteout of what is not there",
                &[&["f a=1"], &["w x/y", "w b", "w a/b"]],
                &["a=1"],
            ),
            (
                "whiteout before and after its successor",
                &[&["f a=1", "f b=1"], &["w a", "f a=2", "f b=2", "w b"]],
                &["a=2", "b=2"],
            ),
            (
                "whiteout around a new child",
                &[&["f d/old=1"], &["f d/new=2", "w d"]],
                &["d/", "d/new=2"],
            ),
            (
                "opaque before its siblings",
                &[&["f d/old=1"], &["o d", "f d/new=2"]],
                &["d/", "d/new=2"],
            ),
            (
                "opaque after its siblings",
                &[&["f d/old=1", "f d/e/old=1"], &["f d/e/new=2", "o d"]],
                &["d/", "d/e/", "d/e/new=2"],
            ),
            (
                "opaque on nothing and on a link",
                &[&["l l=d", "f d/f=1"], &["o none", "o l"]],
                &["d/", "d/f=1", "l->d"],
            ),
            (
                "an opaque marker before and after a directory that is only passed",
                &[
                    &["f d/old=1", "l l=d/x/.."],
                    &["f d/new=1", "o d", "f l/via=1", "o d"],
                ],
                &["d/", "d/new=1", "d/via=1", "l->d/x/.."],
            ),
            (
                "whiteouts before and after a directory that is only passed",
                &[
                    &["f d/x/old=1", "l l=d/x/y/../.."],
                    &["f d/new=1", "w d", "f l/via=1", "w d", "w d/x"],
                ],
                &["d/", "d/new=1", "d/via=1", "l->d/x/y/../.."],
            ),
            (
                "a directory that is passed, and then used",
                &[
                    &["f d/old=1", "l l=d/x/.."],
                    &["o d", "f l/via=1", "f d/x/f=1", "o d", "w d"],
                ],
                &["d/", "d/via=1", "d/x/", "d/x/f=1", "l->d/x/.."],
            ),
            (
                "hard links",
                &[&["f a=1", "h b=a", "h c=b"]],
                &["a=1", "b=1", "c=1"],
            ),
            ("hard link to a link", &[&["l a=b", "h c=a"]], &["a->b", "c->b"]),
            (
                "hard link across layers",
                &[&["f a=1"], &["h d/b=a"]],
                &["a=1", "d/", "d/b=1"],
            ),
            ("hard link to itself", &[&["f a=1"], &["h a=a"]], &["a=1"]),
            (
                "a link in a lower layer is followed inside",
                &[&["d t", "l l=/t"], &["f l/x=1"]],
                &["l->/t", "t/", "t/x=1"],
            ),
            (
                "a whiteout through a link of a lower layer",
                &[&["f t/x=1", "l l=t"], &["w l/x"]],
                &["l->t", "t/"],
            ),
            (
                "no whiteout through a link of the same layer",
                &[&["f t/x=1", "f d/x=1"], &["l d=t", "w d/x"]],
                &["d->t", "t/", "t/x=1"],
            ),
        ];
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            for (what, layers, want) in cases {
                let case = apply(layers, resolver, false);
                assert!(case.result.is_ok(), "{what}: {:?}", case.result);
                assert_eq!(listing(&case.base), *want, "{what} by {resolver:?}");
            }
        }
    }

    #[test]
    fn nothing_reaches_outside_of_the_root() {
        let cases: &[(&str, Layers, Option<ErrorKind>)] = &[
            ("dots in a name", &[&["f ../outside/secret=x"]], None),
            ("a link above", &[&["l up=../outside", "f up/secret=x"]], None),
            ("an absolute link", &[&["l abs=/etc", "f abs/passwd=x"]], None),
            (
                "a link above from a lower layer",
                &[
                    &["l up=../../.."],
                    &["f up/outside/secret=x", "w up/outside/secret"],
                ],
                None,
            ),
            (
                "a whiteout through a link",
                &[&["l up=../outside"], &["w up/secret", "o up"]],
                None,
            ),
            (
                "a hard link through a link",
                &[&["l up=../outside", "h mine=up/secret"]],
                Some(ErrorKind::NotFound),
            ),
            (
                "a hard link to outside",
                &[&["h mine=../outside/secret"]],
                Some(ErrorKind::NotFound),
            ),
            (
                "a file over a link to a file",
                &[&["l f=../outside/secret", "f f=x"]],
                None,
            ),
            (
                "the root as a link",
                &[&["l .=../outside"]],
                Some(ErrorKind::UnsafePath),
            ),
            ("the root as a file", &[&["f .=x"]], Some(ErrorKind::UnsafePath)),
            (
                "a loop of links",
                &[&["l a=b", "l b=a", "f a/x=1"]],
                Some(ErrorKind::UnsafePath),
            ),
            (
                "a hard link to a directory",
                &[&["d d", "h x=d"]],
                Some(ErrorKind::Corrupt),
            ),
        ];
        for resolver in [Resolver::Openat2, Resolver::Walk] {
            for (what, layers, want) in cases {
                let case = apply(layers, resolver, false);
                assert_eq!(
                    case.result.as_ref().err().map(Error::kind),
                    *want,
                    "{what}: {:?}",
                    case.result
                );
            }
        }
    }

    #[test]
    fn directories_get_their_metadata_when_the_layer_ends() {
        let case = apply(
            &[&["ro d", "f d/f=1", "suid s=x", "d e"], &["f e/new=1", "f i/j=1"]],
            Resolver::Openat2,
            false,
        );
        case.result.expect("apply");
        let meta = |name: &str| std::fs::symlink_metadata(case.base.join(name)).expect(name);
        assert_eq!(
            (meta("d").permissions().mode() & 0o7777, meta("d").mtime()),
            (0o555, 1_000_000_000)
        );
        assert_eq!(meta("s").permissions().mode() & 0o7777, 0o6755);
        assert_eq!(
            meta("e").mtime(),
            1_000_000_000,
            "a new child leaves the time alone"
        );
        assert_eq!(
            (meta("i").permissions().mode() & 0o7777, meta("i").mtime()),
            (0o755, 0),
            "nobody said otherwise"
        );
    }

    #[test]
    fn links_to_directories_are_kept_when_asked_for() {
        let layers: &[&[&str]] = &[
            &["d t", "l l=t", "l dangling=none"],
            &["d l", "f l/x=1", "d dangling"],
        ];
        let case = apply(layers, Resolver::Openat2, true);
        case.result.expect("apply");
        assert_eq!(listing(&case.base), ["dangling/", "l->t", "t/", "t/x=1"]);
    }
}
