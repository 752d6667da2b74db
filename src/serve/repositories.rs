// SPDX-License-Identifier: Apache-2.0
//! Repositories: names, the layouts behind them, and what is known of each between two requests.
//!
//! Nothing that is kept decides what is there: blobs are looked up in the file system each time, and the entries of `index.json`
//! are read again once its stamp is another one, since other processes work on the same layouts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::options::ServeOptions;
use super::route::is_repository;
use crate::digest::Digest;
use crate::error::{ErrorKind, Result, ResultExt, lock};
use crate::layout::{Stamp, layouts_below};
use crate::spec::{Descriptor, MediaType};
use crate::store::{Store, StoreOptions};
use crate::transfer::docker_name::is_tag;

/// Maximum number of layouts that are kept open.
const MAX_OPEN: usize = 1024;
/// Maximum number of repositories that a list is made of.
const MAX_LISTED: usize = 100_000;
/// Maximum number of verified blobs that are remembered until a manifest names them.
const MAX_VERIFIED: usize = 10_000;

/// The directory above all layouts, as it was when the server began.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Device and inode.
    place: (u64, u64),
}

impl Root {
    fn new(path: PathBuf) -> Result<Self> {
        let place = place(&path)?;
        Ok(Self { path, place })
    }
}

/// Returns device and inode of a directory.
fn place(path: &Path) -> Result<(u64, u64)> {
    let found = path.metadata().context(|| path.display().to_string())?;
    Ok((found.dev(), found.ino()))
}

/// The repositories of a server.
#[derive(Debug)]
pub(super) struct Repositories {
    /// Named layouts; empty if all are below `root`.
    named: BTreeMap<String, PathBuf>,
    root: Option<Root>,
    may_create: bool,
    lock_timeout: Duration,
    open: Mutex<HashMap<String, Arc<Repository>>>,
    /// Held while a layout is made, so that two pushes do not make the same one.
    creation: Mutex<()>,
}

impl Repositories {
    /// Opens the named layouts.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a name that no repository may have, or that stands there twice; those of the layouts.
    pub fn new(options: &ServeOptions) -> Result<Self> {
        let out = Self {
            named: options.layouts.iter().cloned().collect(),
            root: options.root.clone().map(Root::new).transpose()?,
            may_create: options.write || options.upstream.is_some(),
            lock_timeout: options.lock_timeout,
            open: Mutex::default(),
            creation: Mutex::default(),
        };
        if out.named.len() < options.layouts.len() {
            fail!(Invalid, "two layouts have the name of one repository");
        }
        for name in out.named.keys() {
            if !is_repository(name) {
                fail!(Invalid, "invalid name of a repository: {name:?}");
            }
            out.find(name)?;
        }
        Ok(out)
    }

    /// Returns where the layout of a repository is, or would be.
    fn path(&self, name: &str) -> Option<PathBuf> {
        match &self.root {
            // The grammar of names has neither dots alone nor empty parts.
            Some(root) => Some(root.path.join(name)),
            None => self.named.get(name).cloned(),
        }
    }

    fn store_options(&self) -> StoreOptions {
        StoreOptions {
            lock_timeout: self.lock_timeout,
            ..StoreOptions::default()
        }
    }

    /// Refuses to answer for another directory than that of the beginning: without its file system the root looks empty, and a
    /// push would go to the disk below.
    fn check_root(&self) -> Result<()> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        if place(&root.path)? != root.place {
            fail!(
                Io,
                "{}: another directory has taken its place since the server began",
                root.path.display()
            );
        }
        Ok(())
    }

    /// Returns whether a repository can have this name here.
    pub fn has_place(&self, name: &str) -> bool {
        self.path(name).is_some()
    }

    /// Returns the repository of a name, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the root is gone; those of a layout that cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Arc<Repository>>> {
        let Some(path) = self.path(name) else {
            return Ok(None);
        };
        self.check_root()?;
        let known = lock(&self.open).get(name).cloned();
        // A layout may have been removed since, and another one made in its place.
        if let Some(known) = known.filter(|known| known.store.layout().index_stamp().is_ok()) {
            return Ok(Some(known));
        }
        match Store::open(&path, self.store_options()) {
            Ok(store) => Ok(Some(self.keep(name, store))),
            Err(err) if self.root.is_some() && err.kind() == ErrorKind::NotFound => {
                lock(&self.open).remove(name);
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    /// Returns the repository of a name to write to it; below a root it is made if it is not there.
    ///
    /// # Errors
    /// Those of making a layout.
    pub fn find_or_create(&self, name: &str) -> Result<Option<Arc<Repository>>> {
        if let Some(found) = self.find(name)? {
            return Ok(Some(found));
        }
        let Some(root) = self.root.as_ref().filter(|_| self.may_create) else {
            return Ok(None);
        };
        let _creation = lock(&self.creation);
        if let Some(found) = self.find(name)? {
            return Ok(Some(found));
        }
        let made = Store::create_among(&root.path.join(name), self.store_options());
        match made.context(|| format!("make the repository {name}")) {
            Ok(store) => Ok(Some(self.keep(name, store))),
            // Another process may have been faster.
            Err(err) if err.kind() == ErrorKind::Exists => {
                self.find(name)?.map_or(Err(err), |found| Ok(Some(found)))
            }
            Err(err) => Err(err),
        }
    }

    fn keep(&self, name: &str, store: Store) -> Arc<Repository> {
        let mut open = lock(&self.open);
        if open.len() >= MAX_OPEN
            && let Some(one) = open.keys().next().cloned()
        {
            open.remove(&one);
        }
        let repository = Arc::new(Repository::new(name, store));
        open.insert(name.to_owned(), Arc::clone(&repository));
        repository
    }

    /// Returns the repositories that are open.
    pub fn open(&self) -> Vec<Arc<Repository>> {
        lock(&self.open).values().cloned().collect()
    }

    /// Returns the names of all repositories, in order.
    ///
    /// # Errors
    /// Those of reading the directories below the root.
    pub fn names(&self) -> Result<Vec<String>> {
        let Some(root) = &self.root else {
            return Ok(self.named.keys().cloned().collect());
        };
        self.check_root()?;
        let found = layouts_below(&root.path, MAX_LISTED)?;
        let mut names: Vec<String> = found
            .iter()
            .filter_map(|path| name_below(&root.path, path))
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Returns the name that a layout below `root` has as a repository, if it may have it.
fn name_below(root: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(root).ok()?.to_str()?;
    is_repository(name).then(|| name.to_owned())
}

/// A repository: one layout.
#[derive(Debug)]
pub(super) struct Repository {
    pub name: String,
    pub store: Store,
    listing: Mutex<Option<Kept>>,
    /// Held while `index.json` is changed: threads that wait here do not wait for the lock file, which is asked again and again.
    pub commits: Mutex<()>,
    /// Blobs that were pushed and verified, for the manifest that will name them.
    verified: Mutex<HashMap<Digest, Stamp>>,
}

impl Repository {
    fn new(name: &str, store: Store) -> Self {
        Self {
            name: name.to_owned(),
            store,
            listing: Mutex::default(),
            commits: Mutex::default(),
            verified: Mutex::default(),
        }
    }

    /// Returns the entries of `index.json` as they are now.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn listing(&self) -> Result<Arc<Listing>> {
        let layout = self.store.layout();
        let stamp = layout.index_stamp()?;
        let is_settled = stamp.is_settled();
        let mut kept = lock(&self.listing);
        if let Some(known) = kept.as_mut().filter(|known| known.listing.stamp == stamp) {
            // To read a file that is the same costs a tenth of what its entries do, and under pushes no stamp is old enough.
            if known.is_settled || known.listing.state == layout.read_index_file()?.state {
                known.is_settled |= is_settled;
                return Ok(Arc::clone(&known.listing));
            }
        }
        let listing = Arc::new(Listing::read(&self.store)?);
        *kept = Some(Kept {
            is_settled: is_settled && listing.stamp == stamp,
            listing: Arc::clone(&listing),
        });
        Ok(listing)
    }

    /// Returns whether a manifest is one of this repository: an entry of `index.json` leads to it, perhaps by way of an index.
    ///
    /// # Errors
    /// Those of the index.
    pub fn has_manifest(&self, listing: &Listing, digest: &Digest) -> Result<bool> {
        if listing.images.contains_key(digest) || lock(&listing.below).contains(digest) {
            return Ok(true);
        }
        let is_named = self.store.is_named(digest)?;
        if is_named {
            lock(&listing.below).insert(*digest);
        }
        Ok(is_named)
    }

    /// Remembers that a blob was verified as it came.
    pub fn note_verified(&self, digest: Digest, stamp: Stamp) {
        let mut verified = lock(&self.verified);
        // Those that no manifest came for were hardly worth the memory.
        if verified.len() >= MAX_VERIFIED {
            verified.clear();
        }
        verified.insert(digest, stamp);
    }

    /// Returns the stamp of a blob that was verified as it came and has not changed since, and forgets it.
    pub fn take_verified(&self, digest: &Digest) -> Option<Stamp> {
        let stamp = lock(&self.verified).remove(digest)?;
        let now = self.store.layout().blob_stamp(digest).ok()??;
        (now == stamp).then_some(stamp)
    }
}

/// The entries of an `index.json` that were read last.
#[derive(Debug)]
struct Kept {
    listing: Arc<Listing>,
    /// True if the file is the same as long as its stamp is.
    is_settled: bool,
}

/// The entries of an `index.json`.
#[derive(Debug)]
pub(super) struct Listing {
    stamp: Stamp,
    state: Digest,
    /// The tags that a registry may have, each with its first entry.
    pub tags: BTreeMap<String, Descriptor>,
    /// Every image that an entry names, with its media type.
    pub images: HashMap<Digest, MediaType>,
    /// Documents that entries lead to by way of others, as far as they were asked for.
    below: Mutex<HashSet<Digest>>,
}

impl Listing {
    fn read(store: &Store) -> Result<Self> {
        let file = store.layout().read_index_file()?;
        let mut out = Self {
            stamp: file.stamp,
            state: file.state,
            tags: BTreeMap::new(),
            images: HashMap::new(),
            below: Mutex::default(),
        };
        for entry in file.index.entries() {
            // An entry that is no descriptor does not concern the others.
            let Ok(descriptor) = entry.descriptor() else {
                continue;
            };
            out.images
                .insert(descriptor.digest, descriptor.media_type.clone());
            if let Some(name) = entry.ref_name.as_ref().filter(|name| is_tag(name)) {
                out.tags.entry(name.clone()).or_insert(descriptor);
            }
        }
        Ok(out)
    }

    /// Returns the tags that lead to an image.
    pub fn tags_of(&self, digest: &Digest) -> Vec<&str> {
        let tags = self.tags.iter().filter(|(_, image)| image.digest == *digest);
        tags.map(|(name, _)| name.as_str()).collect()
    }
}
