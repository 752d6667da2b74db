// SPDX-License-Identifier: Apache-2.0
//! Transactions: blobs and refs that are written together, in the order that leaves at worst garbage.

use std::fs::File;
use std::time::Duration;

use super::Store;
use super::refs::values;
use crate::digest::{Algorithm, Digest, VerifyReader};
use crate::error::{Result, ResultExt, shortlist};
use crate::index::{Index, Place, View};
use crate::layer::{Checkpoints, TocFollower};
use crate::layout::{BlobWriter, IndexJson, LayoutLock, LockMode, Staged, Stamp, Stored};
use crate::progress::Silent;
use crate::spec::{Compression, Descriptor, MediaType, RefName, RefValue};

/// Maximum number of blobs, and of their bytes, that are made durable and named together.
const MAX_STAGED: usize = 4096;
const MAX_STAGED_BYTES: u64 = 1 << 30;
/// Maximum number of files that are open until their blobs are named.
const MAX_OPEN: usize = 64;

/// A blob of so many bytes is hashed before the index could say that it need not be.
const QUICKLY_READ: u64 = 1 << 20;

impl Store {
    /// Begins to write. `verb` says what for, in the reflog and in messages to those who have to wait.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Busy`] if a garbage collection holds the layout for too long.
    pub fn begin(&self, verb: &str) -> Result<Txn<'_>> {
        // Any number of writers work at a time; only a collection or a repair is kept out.
        let lock = self.layout.lock(LockMode::Shared, self.opts.lock_timeout, verb)?;
        Ok(self.txn(verb, Some(lock)))
    }

    /// Begins a rehearsal: all is worked out and nothing is written, which a read-only layout allows too. A question to it
    /// does not see what it would have written; it ends with [`Txn::rehearsed`].
    pub(crate) fn rehearse(&self, verb: &str) -> Txn<'_> {
        Txn {
            rehearsed: Some(Vec::new()),
            ..self.txn(verb, self.reading())
        }
    }

    /// Whether a blob is there and what its descriptor says: the stamp of its file, for [`Txn::add_intact`]. It is read, unless
    /// the index remembers that its content was verified and the file did not change since.
    pub(crate) fn intact(&self, descriptor: &Descriptor) -> Result<Option<Stamp>> {
        let digest = &descriptor.digest;
        let Some((file, found)) = self.layout.open_found(digest).if_there()? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&found);
        if found.len() != descriptor.size {
            return Ok(None);
        }
        // Hashing takes time in proportion to the size, the question to the index does not.
        let is_known = self.opts.index
            && found.len() > QUICKLY_READ
            && Index::peek_verified(&self.layout, digest).is_some_and(|known| known.stamp == stamp);
        let is_intact = is_known || VerifyReader::new(file, *digest, descriptor.size).finish().is_ok();
        Ok(is_intact.then_some(stamp))
    }

    fn txn(&self, verb: &str, lock: Option<LayoutLock>) -> Txn<'_> {
        Txn {
            store: self,
            verb: verb.to_owned(),
            _lock: lock,
            staged: Vec::new(),
            staged_bytes: 0,
            open: 0,
            blobs: Vec::new(),
            diff_ids: Vec::new(),
            changes: RefChanges::default(),
            rehearsed: None,
        }
    }
}

/// Changes of refs that a commit makes in one rewrite of `index.json`.
#[derive(Debug, Default)]
struct RefChanges {
    set: Vec<(RefName, RefValue)>,
    /// Entries of refs, each with its successor.
    replaced: Vec<(RefName, Descriptor, Descriptor)>,
    /// Refs that must still point at one of these digests.
    expected: Vec<(RefName, Vec<Digest>)>,
    /// New entries of `index.json` without a name.
    listed: Vec<Descriptor>,
    /// Tags of a registry, each with its image.
    tagged: Vec<(String, Descriptor)>,
}

impl RefChanges {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.replaced.is_empty() && self.listed.is_empty() && self.tagged.is_empty()
    }

    /// Returns the names that change, as often as they do.
    fn names(&self) -> Vec<&str> {
        let set = self.set.iter().map(|(name, _)| name.as_str());
        let replaced = self.replaced.iter().map(|(name, ..)| name.as_str());
        let tagged = self.tagged.iter().map(|(name, _)| name.as_str());
        set.chain(replaced).chain(tagged).collect()
    }

    /// Makes the changes, if every expectation holds.
    fn apply(&self, index: &mut IndexJson) -> Result<()> {
        let wanted: Vec<&str> = self.expected.iter().map(|(name, _)| name.as_str()).collect();
        let found = values(index, &wanted);
        for (name, digests) in &self.expected {
            check_ref(name, digests, found.get(name.as_str()))?;
        }
        index.add_untagged(&self.listed)?;
        index.set_refs(&self.set)?;
        for (name, image) in &self.tagged {
            index.keep_images_of(name)?;
            index.set_ref(name, image.clone())?;
        }
        let mut replaced = self.replaced.iter();
        replaced.try_for_each(|(name, old, new)| index.replace_entry(name, old, new))
    }
}

/// Blobs and refs that are written together. Dropped without [`Txn::commit`], no ref was changed, and the blobs are
/// garbage.
#[derive(Debug)]
pub struct Txn<'a> {
    store: &'a Store,
    verb: String,
    _lock: Option<LayoutLock>,
    /// Blobs that are complete but have no name yet.
    staged: Vec<Staged>,
    staged_bytes: u64,
    /// Number of the files that are open until then.
    open: usize,
    /// Blobs with their files as they were when the content was hashed; `None` if nobody hashed it.
    blobs: Vec<(Digest, Option<Stamp>)>,
    /// Layers, the digests of their tars, and of the first bytes of those.
    diff_ids: Vec<(Digest, Digest, Option<Digest>)>,
    changes: RefChanges,
    /// Blobs that a rehearsal would have written; `None` for a transaction that writes.
    rehearsed: Option<Vec<Descriptor>>,
}

impl<'a> Txn<'a> {
    /// Returns the store that is written to.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// Ends a rehearsal; returns the blobs that would have been written and are not there, in order.
    pub fn rehearsed(self) -> Vec<Descriptor> {
        self.rehearsed.unwrap_or_default()
    }

    /// Gives a blob its name, and makes it part of the transaction.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish_blob(&mut self, writer: BlobWriter, media_type: MediaType) -> Result<Descriptor> {
        let Some(rehearsed) = &mut self.rehearsed else {
            let Stored { digest, size, .. } = self.store_blob(writer)?;
            return Ok(Descriptor::new(media_type, digest, size));
        };
        let (digest, size) = writer.measured();
        let descriptor = Descriptor::new(media_type, digest, size);
        // A blob that is there would not be written again.
        if self.store.layout.blob_size(&digest)?.is_none() && !rehearsed.contains(&descriptor) {
            rehearsed.push(descriptor.clone());
        }
        Ok(descriptor)
    }

    /// As [`Txn::finish_blob`], which says whether the blob was there before; not for a rehearsal.
    ///
    /// # Errors
    /// As [`Txn::finish_blob`].
    pub fn store_blob(&mut self, writer: BlobWriter) -> Result<Stored> {
        let stored = writer.finish()?;
        self.note_written(stored.digest)?;
        Ok(stored)
    }

    fn note_written(&mut self, digest: Digest) -> Result<()> {
        let verified = self.store.layout.blob_stamp(&digest)?;
        self.blobs.push((digest, verified));
        Ok(())
    }

    /// Makes an empty file for data that has no room in memory. It has no name, and goes when it is closed.
    pub fn scratch(&self) -> Result<File> {
        self.store.layout.private_dir().scratch()
    }

    /// Starts a blob, which [`Txn::finish_blob`] makes part of the transaction.
    pub fn write_blob(&self) -> Result<BlobWriter> {
        if self.rehearsed.is_some() {
            return Ok(self.store.layout.measure_blob(self.store.opts.algorithm));
        }
        self.store.layout.write_blob(self.store.opts.algorithm)
    }

    /// Starts a blob whose digest is known, and so its algorithm.
    pub fn write_blob_as(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        self.store.layout.write_blob(algorithm)
    }

    /// Begins a blob that comes from far away, or goes on with it where an earlier process stopped; `None` if another one is at it.
    pub(crate) fn resume_blob(&self, blob: &Descriptor) -> Result<Option<BlobWriter>> {
        self.store.layout.resume_blob(blob)
    }

    /// Makes a blob that is in the layout part of the transaction, whatever its content is.
    pub fn add(&mut self, descriptor: &Descriptor) {
        self.blobs.push((descriptor.digest, None));
    }

    /// Makes a blob part of the transaction that was found to be intact; see [`Store::intact`].
    pub(crate) fn add_intact(&mut self, descriptor: &Descriptor, verified: Stamp) {
        self.blobs.push((descriptor.digest, Some(verified)));
    }

    /// Makes a finished blob part of the transaction. It gets its name together with others, at the latest when the
    /// transaction is committed.
    pub(crate) fn stage(&mut self, blob: Staged) -> Result<()> {
        self.staged_bytes += blob.size;
        self.open += usize::from(blob.is_open());
        self.staged.push(blob);
        // A blob that has its name survives an interruption, so that a rerun goes on from there.
        let is_full = self.staged.len() >= MAX_STAGED || self.open >= MAX_OPEN;
        if is_full || self.staged_bytes >= MAX_STAGED_BYTES {
            self.publish()?;
        }
        Ok(())
    }

    pub(super) fn publish(&mut self) -> Result<()> {
        (self.staged_bytes, self.open) = (0, 0);
        let staged = std::mem::take(&mut self.staged);
        if staged.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = staged.iter().map(|blob| blob.digest).collect();
        self.store.layout.publish(staged)?;
        let mut digests = digests.into_iter();
        digests.try_for_each(|digest| self.note_written(digest))
    }

    /// Writes a document.
    pub fn put(&mut self, bytes: &[u8], media_type: impl Into<MediaType>) -> Result<Descriptor> {
        use std::io::Write as _;
        let mut writer = self.write_blob()?;
        writer.write_all(bytes)?;
        self.finish_blob(writer, media_type.into())
    }

    /// Remembers which tar a layer holds, so that it need not be compressed again; `start` is a digest of the first bytes of a
    /// large one, of as many for all.
    pub fn note_diff_id(&mut self, layer: &Digest, diff_id: &Digest, start: Option<&Digest>) {
        self.diff_ids.push((*layer, *diff_id, start.copied()));
    }

    /// Begins the table of contents of a layer that is about to be written; `None` if nobody would keep it.
    pub(crate) fn follow(&self) -> Result<Option<TocFollower>> {
        self.keeps_derived().then(TocFollower::start).transpose()
    }

    fn keeps_derived(&self) -> bool {
        self.store.opts.index && self.rehearsed.is_none()
    }

    /// Keeps the checkpoints that were chosen while a layer was compressed.
    pub(crate) fn keep_checkpoints(&self, blob: &Digest, checkpoints: Option<&Checkpoints>) {
        if let Some(checkpoints) = checkpoints.filter(|_| self.keeps_derived()) {
            self.store.keep_checkpoints(blob, checkpoints, &Silent);
        }
    }

    /// Keeps the table of contents of a layer that was written, if there is one.
    pub(crate) fn keep_toc(&self, toc: Option<TocFollower>, diff_id: &Digest, tar_size: u64) {
        if let Some(bytes) = toc.and_then(|toc| toc.finish(diff_id, tar_size)) {
            self.store.keep_toc(diff_id, &bytes, &Silent);
        }
    }

    /// A layer of this store that was made of the tar with this diff_id, in this compression; its bytes are verified.
    ///
    /// A layer that is not known is no loss: it is compressed again then.
    pub fn layer_of(&self, diff_id: &Digest, compression: Compression) -> Option<Descriptor> {
        // A compression costs far more than a read, so a damaged candidate is found out here and passed over.
        self.known_layers(compression, |view| view.layers_of(diff_id))
            .into_iter()
            .map(|(layer, _)| layer)
            .find(|layer| {
                let blob = self.store.layout.open_blob(layer);
                blob.and_then(|mut blob| blob.finish()).is_ok()
            })
    }

    /// Layers of this store in this compression whose tar begins with the bytes that `start` is a digest of, the newest
    /// first; nothing of them is verified.
    pub fn layers_of_start(&self, start: &Digest, compression: Compression) -> Vec<Descriptor> {
        let mut known = self.known_layers(compression, |view| view.layers_of_start(start));
        // The image that is built again most likely is the one that was built last.
        known.sort_by_key(|(_, stamp)| std::cmp::Reverse(stamp.mtime));
        known.into_iter().map(|(layer, _)| layer).collect()
    }

    /// Returns the layers that `find` finds, of this compression and of the algorithm of this store.
    fn known_layers(
        &self,
        compression: Compression,
        find: impl Fn(&View) -> Result<Vec<Digest>>,
    ) -> Vec<(Descriptor, Stamp)> {
        let Store { layout, opts } = self.store;
        if !opts.index {
            return Vec::new();
        }
        let wanted = MediaType::layer(compression);
        let known = self.index().read_as_is(|view| {
            let mut out = Vec::new();
            for digest in find(view)? {
                let mut types = view.media_types(&digest)?.into_iter().map(MediaType::from);
                let is_wanted = types.any(|own| own.class() == wanted.class());
                if is_wanted
                    && digest.algorithm() == opts.algorithm
                    && let Ok(Some(stamp)) = layout.blob_stamp(&digest)
                {
                    out.push((Descriptor::new(wanted.clone(), digest, stamp.size), stamp));
                }
            }
            Ok(out)
        });
        known.unwrap_or_default()
    }

    /// Points `name` at `value` when the transaction is committed: all that the name has is replaced.
    pub fn set_ref(&mut self, name: &RefName, value: impl Into<RefValue>) {
        self.changes.set.push((name.clone(), value.into()));
    }

    /// Points `name` at `image` when the transaction is committed, as a registry does: an image that loses its last name so is
    /// listed without one. It may be a name that no ref has, as registries allow other characters.
    pub(crate) fn tag(&mut self, name: &str, image: Descriptor) {
        self.changes.tagged.push((name.to_owned(), image));
    }

    /// Lets `new` take the place of the entry `old` of `name` when the transaction is committed. Other entries of the name
    /// stay. The commit fails with [`Conflict`](crate::error::ErrorKind::Conflict) if the name has entries by then, and not this one.
    pub fn replace_entry(&mut self, name: &RefName, old: Descriptor, new: Descriptor) {
        self.changes.replaced.push((name.clone(), old, new));
    }

    /// Lets the commit fail with [`Conflict`](crate::error::ErrorKind::Conflict) if `name` points at none of `digests` by then. A name that is gone
    /// is no conflict: nothing is lost by setting it.
    pub fn expect_ref(&mut self, name: &RefName, digests: Vec<Digest>) {
        self.changes.expected.push((name.clone(), digests));
    }

    /// Lists `descriptor` in `index.json` without a name when the transaction is committed, so that every tool finds it there
    /// and none collects it.
    pub fn list(&mut self, descriptor: Descriptor) {
        self.changes.listed.push(descriptor);
    }

    /// Tells the index, then changes `index.json` in one rewrite. A rehearsal has nothing to commit.
    ///
    /// # Errors
    /// Only what keeps `index.json` from being written: an index that cannot be had catches up later.
    pub fn commit(mut self) -> Result<()> {
        self.attempt()
    }

    /// As [`Txn::commit`]. Where it fails with [`Conflict`](crate::error::ErrorKind::Conflict) the transaction goes on: its blobs are there and kept
    /// from garbage collections, and what was to become of refs is forgotten, so that it can be worked out anew.
    ///
    /// # Errors
    /// As [`Txn::commit`]; [`Conflict`](crate::error::ErrorKind::Conflict) if a ref is not what [`Txn::expect_ref`] said.
    pub fn attempt(&mut self) -> Result<()> {
        if self.rehearsed.is_some() {
            return Ok(());
        }
        self.publish()?;
        if self.store.opts.index && !self.blobs.is_empty() {
            // The next command that needs the index puts right whatever goes wrong here.
            let _ = self.tell_index();
        }
        // A caller that meets a conflict works the changes out anew.
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return Ok(());
        }
        self.store
            .change_refs(&self.verb, &changes.names(), |index| changes.apply(index))
    }

    fn tell_index(&self) -> Result<()> {
        self.index().write(|tables| {
            for (digest, verified) in &self.blobs {
                tables.learn_part(&self.store.layout, digest, *verified)?;
            }
            for (layer, diff_id, start) in &self.diff_ids {
                tables.note_diff_id(layer, diff_id, start.as_ref())?;
            }
            Ok(())
        })
    }

    /// Returns the index in its file, for what is not worth waiting for.
    fn index(&self) -> Index<'a> {
        let index = Index::new(&self.store.layout, Place::FileOnly, &Silent);
        index.waiting(Duration::from_secs(2))
    }
}

fn check_ref(name: &RefName, expected: &[Digest], found: Option<&RefValue>) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    if found.digests().any(|found| expected.contains(&found)) {
        return Ok(());
    }
    let now = shortlist(found.digests());
    fail!(Conflict, "tag {name} points at {now} by now");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn only_what_was_hashed_is_recorded_as_verified() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::create(&dir.path().join("img"), StoreOptions::default()).expect("create");
        let large = vec![7; 3 << 20];
        let verified = |descriptor: &Descriptor| store.blob_info(&descriptor.digest).expect("blob").verified;
        let written = {
            let mut txn = store.begin("test").expect("begin");
            let written = txn.put(&large, MediaType::LAYER).expect("put");
            txn.commit().expect("commit");
            written
        };
        assert!(verified(&written));
        let path = store.layout().blob_path(&written.digest);
        for damaged in [true, false] {
            // As another program leaves it: another file, of the same size.
            std::fs::remove_file(&path).expect("remove");
            let mut bytes = large.clone();
            bytes[100] ^= u8::from(damaged);
            std::fs::write(&path, bytes).expect("write");
            let mut txn = store.begin("test").expect("begin");
            txn.add(&written);
            txn.commit().expect("commit");
            assert!(!verified(&written), "nobody has looked at it");
            let found = store.intact(&written).expect("look");
            assert_eq!(found.is_some(), !damaged);
            if let Some(stamp) = found {
                let mut txn = store.begin("test").expect("begin");
                txn.add_intact(&written, stamp);
                txn.commit().expect("commit");
                assert!(verified(&written));
            }
        }
        assert!(store.intact(&written).expect("look").is_some());
        let longer = Descriptor {
            size: written.size + 1,
            ..written.clone()
        };
        assert!(store.intact(&longer).expect("look").is_none());
        std::fs::remove_file(&path).expect("remove");
        assert!(store.intact(&written).expect("look").is_none());
    }
}
