// SPDX-License-Identifier: Apache-2.0
//! Layout and index behind one door: reads and writes blobs, names them, finds out their media types, collects garbage.
//!
//! Invariants: blobs are durable before the index knows them, and the index, where there is one, knows them before `index.json`
//! names them; a writer holds the shared lock from its first blob to its ref or lease, so no garbage collection comes between; the
//! presence of the index never changes a result.

mod derived;
mod fsck;
mod gc;
mod graph;
mod identify;
mod lease;
mod referrers;
mod refs;
mod remove;
mod settings;
mod summary;
#[cfg(test)]
mod tests;
mod txn;
mod usage;
mod used;

use std::io::Read;
use std::path::Path;
use std::time::Duration;

#[doc(hidden)]
pub use fsck::{CheckOptions, CheckReport, Finding, Problem, Severity};
pub use gc::{GcOptions, GcPlan, GcReport, Keep};
pub(crate) use lease::Lease;
pub(crate) use referrers::{SUFFIXES, is_referrers_tag, referrers_tag};
pub(crate) use remove::Removal;
pub(crate) use settings::{Field, REMOTE, Settings, parse_duration, parse_size};
pub(crate) use summary::{Summaries, Summary};
pub use txn::Txn;
pub(crate) use usage::Usage;

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::index::{Index, Place, View};
use crate::layout::{Layout, LayoutLock, Lock, LockMode};
use crate::progress::{Monitor, Silent};
use crate::spec::Descriptor;
pub(crate) use crate::spec::MAX_DOCUMENT;

/// Options of a store.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Maximum time to wait for other processes.
    pub lock_timeout: Duration,
    /// Digest algorithm of new blobs.
    pub algorithm: Algorithm,
    /// Keep the index database; without, it is made in memory whenever it is needed.
    pub index: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(60),
            algorithm: Algorithm::Sha256,
            index: true,
        }
    }
}

impl StoreOptions {
    /// For a layout that is written once and given away.
    pub fn without_index() -> Self {
        Self {
            index: false,
            ..Self::default()
        }
    }
}

/// An OCI layout with its index.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    opts: StoreOptions,
}

impl Store {
    /// Makes an empty layout at `path` and opens it. See `Layout::create`.
    pub fn create(path: &Path, opts: StoreOptions) -> Result<Self> {
        Layout::create(path).map(|layout| Self { layout, opts })
    }

    /// As [`Store::create`], but an empty directory may be there.
    pub fn create_in(path: &Path, opts: StoreOptions) -> Result<Self> {
        Layout::create_in(path).map(|layout| Self { layout, opts })
    }

    /// As [`Store::create`], but a directory may be there that has other layouts below it.
    pub(crate) fn create_among(path: &Path, opts: StoreOptions) -> Result<Self> {
        Layout::create_among(path).map(|layout| Self { layout, opts })
    }

    /// Opens the layout at `path`; nothing is created. See `Layout::open`.
    pub fn open(path: &Path, opts: StoreOptions) -> Result<Self> {
        Layout::open(path).map(|layout| Self { layout, opts })
    }

    /// Returns the index, which is opened by the first question to it; `monitor` is told why it is not on disk.
    fn index<'a>(&'a self, monitor: &'a dyn Monitor) -> Index<'a> {
        Index::new(&self.layout, self.index_place(Place::File), monitor)
    }

    /// Returns the location of the index: `wanted`, unless the store keeps none on disk.
    fn index_place(&self, wanted: Place) -> Place {
        // In memory it costs a look at each document, and leaves no trace in the layout.
        if self.opts.index { wanted } else { Place::Memory }
    }

    /// Runs `work` on an index that has caught up with the layout.
    fn read_index<T>(&self, work: impl FnMut(&View) -> Result<T>) -> Result<T> {
        self.index(&Silent).read(work)
    }

    #[doc(hidden)]
    /// Returns the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads and verifies a document (manifest, index, config).
    ///
    /// # Errors
    /// See `Layout::read_blob`; documents over `MAX_DOCUMENT` are refused.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.layout.read_blob(descriptor, MAX_DOCUMENT)
    }

    /// Takes the lock that keeps all other writers out; `verb` is told to those who wait.
    fn lock_exclusive(&self, verb: &str) -> Result<LayoutLock> {
        let (layout, timeout) = (&self.layout, self.opts.lock_timeout);
        let turn = layout.take_lock(Lock::Turn, LockMode::Exclusive, timeout);
        let _turn = turn.context(|| verb.to_owned())?;
        self.layout
            .lock(LockMode::Exclusive, self.opts.lock_timeout, verb)
    }

    /// Waits for those who want the layout for themselves. A process of many threads, of which one or another always writes, calls
    /// it before each transaction, or no collection would ever get in between.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if they wait for too long themselves.
    pub(crate) fn give_way(&self) -> Result<()> {
        let turn = self
            .layout
            .take_lock(Lock::Turn, LockMode::Shared, self.opts.lock_timeout);
        turn.map(drop)
    }

    /// Fails with [`ErrorKind::NotFound`] if a blob that is about to be named is not there.
    fn require_blob(&self, digest: &Digest) -> Result<()> {
        if self.layout.blob_size(digest)?.is_none() {
            let path = self.layout.path().display();
            fail!(NotFound, "blob {digest} is not in {path}");
        }
        Ok(())
    }

    /// Returns the error for a blob that is not there.
    fn no_blob(&self, blob: impl std::fmt::Display) -> Error {
        let text = format!("no blob {blob} in {}", self.layout.path().display());
        Error::new(ErrorKind::NotFound, text)
    }

    /// Opens a blob of any size; see `Layout::open_blob`.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<impl Read + Send + use<>> {
        self.layout.open_blob(descriptor)
    }

    /// Keeps garbage collections away while blobs are read, as far as that can be had without creating anything.
    pub(crate) fn reading(&self) -> Option<LayoutLock> {
        // A layout that cannot be locked can be read all the same, at the risk that a blob goes meanwhile.
        let shared = self.layout.share_lock(Lock::Layout, self.opts.lock_timeout);
        shared.ok().flatten()
    }

    /// Removes a layout that was just made and is to have nothing after all, unless somebody else uses it; its directory stays if
    /// `keep_dir`.
    pub(crate) fn discard(self, keep_dir: bool) -> Result<()> {
        self.layout.discard(keep_dir)
    }

    /// Removes our own directory from a layout that is given away.
    pub(crate) fn remove_private(self) -> Result<()> {
        self.layout.private_dir().remove_all()
    }
}
