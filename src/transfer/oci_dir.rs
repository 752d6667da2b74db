// SPDX-License-Identifier: Apache-2.0
//! An OCI layout directory as source and as sink.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::document::is_index;
use super::{Body, Request, Sink, Source, SourceEntry};
use crate::digest::Digest;
use crate::error::{ErrorKind, Result, ResultExt, lock, shortlist};
use crate::image::{ReadDocument as _, retry_on_conflict};
use crate::layout::{BlobWriter, Staged};
use crate::progress::Monitor;
use crate::spec::{Descriptor, RefName, RefValue, json};
use crate::store::{Store, Txn};

impl Source for Store {
    fn list(&self) -> Result<Vec<SourceEntry>> {
        let index = self.layout().read_index()?;
        Ok(SourceEntry::all(index.entries().iter().cloned()))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.open_blob(descriptor)?))
    }

    fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.layout().blob_size(digest)
    }

    fn referrers(&self, subjects: &[Digest]) -> Result<Vec<(Digest, Descriptor)>> {
        self.unlisted_referrers(subjects)
    }

    fn local(&self, descriptor: &Descriptor) -> Option<PathBuf> {
        let is_stored = descriptor.data.is_none();
        is_stored.then(|| self.layout().blob_path(&descriptor.digest))
    }
}

/// Writes into a store, in one transaction.
#[derive(Debug)]
pub struct StoreSink<'a> {
    txn: Mutex<Txn<'a>>,
    keeps_names: bool,
}

impl<'a> StoreSink<'a> {
    /// Begins a transaction on `store`.
    pub fn new(store: &'a Store, verb: &str) -> Result<Self> {
        Ok(Self {
            txn: Mutex::new(store.begin(verb)?),
            keeps_names: false,
        })
    }

    /// Lets [`StoreSink::commit`] fail if a name that is asked for points at something else by then; so does this.
    ///
    /// # Errors
    /// `ErrorKind::Exists`, with the names.
    pub fn keep_names(&mut self, what: &[Request]) -> Result<()> {
        self.keeps_names = true;
        let store = self.with(|txn| txn.store());
        refuse_replaced(&replaced(what, &there(store, what)?))
    }

    /// Gives `images` their names, all at once, and lists those without a name. Returns the names that pointed at something else
    /// before. Of `attached`, their referrers, an index joins the one of its name: what that lists stays. Any other gives way to
    /// what has its name already, with a warning.
    ///
    /// # Errors
    /// `ErrorKind::Exists` after [`StoreSink::keep_names`] if a name points at something else; no name is set then.
    pub fn commit(
        self,
        images: &[Request],
        attached: &[Request],
        monitor: &dyn Monitor,
    ) -> Result<Vec<RefName>> {
        let keeps_names = self.keeps_names;
        let mut txn = self.into_txn();
        if attached.iter().any(|request| request.name.is_some()) {
            // An index that is joined is read where it has been copied to.
            txn.attempt()?;
        }
        retry_on_conflict(&mut txn, |txn| {
            let there = there(txn.store(), images)?;
            let replaced = replaced(images, &there);
            if keeps_names {
                refuse_replaced(&replaced)?;
            }
            for Request { name, value } in images {
                if let Some(name) = name {
                    // The names that are reported as replaced are those, or the commit is tried again.
                    let known = there.get(name.as_str()).cloned().unwrap_or_default();
                    txn.expect_ref(name, known.digests().collect());
                    txn.set_ref(name, value.clone());
                }
            }
            for Request { name, value } in attached {
                if let Some(name) = name {
                    join(txn, name, value, monitor)?;
                }
            }
            let all = images.iter().chain(attached);
            let unnamed = all.filter(|request| request.name.is_none());
            for descriptor in unnamed.flat_map(|request| request.value.entries()) {
                txn.list(descriptor.clone());
            }
            Ok(replaced)
        })
    }

    /// Returns the transaction, for what is to come after the blobs; no name was set.
    pub fn into_txn(self) -> Txn<'a> {
        self.txn.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, run: impl FnOnce(&mut Txn<'a>) -> T) -> T {
        run(&mut lock(&self.txn))
    }
}

impl Sink for StoreSink<'_> {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let store = self.with(|txn| txn.store());
        // One that is damaged is written again.
        let Ok(Some(verified)) = store.intact(descriptor) else {
            return Ok(false);
        };
        self.with(|txn| txn.add_intact(descriptor, verified));
        Ok(true)
    }

    fn put(&self, descriptor: &Descriptor, body: &dyn Body) -> Result<bool> {
        // The lock is held for moments only: blobs are written by several threads at once.
        if body.is_far() {
            while let Some(writer) = self.with(|txn| txn.resume_blob(descriptor))? {
                let start = writer.written();
                match fill(writer, descriptor, body) {
                    // What was there is not the beginning of this blob, and is gone by now.
                    Err(err) if start > 0 && err.kind() == ErrorKind::Corrupt => {}
                    staged => {
                        let staged = staged?;
                        self.with(|txn| txn.stage(staged))?;
                        return Ok(true);
                    }
                }
            }
        }
        let writer = self.with(|txn| txn.write_blob_as(descriptor.digest.algorithm()))?;
        let staged = fill(writer, descriptor, body)?;
        self.with(|txn| txn.stage(staged))?;
        Ok(true)
    }

    fn adopt(&self, descriptor: &Descriptor, file: &Path) -> Result<bool> {
        let layout = self.with(|txn| txn.store().layout().clone());
        let Some(staged) = layout.adopt_blob(descriptor, file)? else {
            return Ok(false);
        };
        self.with(|txn| txn.stage(staged))?;
        Ok(true)
    }
}

/// Writes what is left of a blob.
fn fill(mut writer: BlobWriter, blob: &Descriptor, body: &dyn Body) -> Result<Staged> {
    let start = writer.written();
    if start == 0 || start < blob.size {
        let mut buffered = io::BufWriter::with_capacity(256 * 1024, &mut writer);
        let bytes = match start {
            0 => body.open()?,
            _ => body.open_from(start)?,
        };
        // One byte more than is due shows that the size is wrong without reading without end.
        let left = (blob.size - start).saturating_add(1);
        io::copy(&mut bytes.take(left), &mut buffered)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    }
    writer.stage_as(blob)
}

/// Returns the values that the names of requests have in `store`.
fn there(store: &Store, what: &[Request]) -> Result<HashMap<String, RefValue>> {
    let names = what.iter().filter_map(|request| request.name.as_ref());
    store.lookup_all(&names.map(RefName::as_str).collect::<Vec<_>>())
}

/// Returns the names that point at something else.
fn replaced(what: &[Request], there: &HashMap<String, RefValue>) -> Vec<RefName> {
    let mut out = Vec::new();
    for Request { name, value } in what {
        if let Some(name) = name
            && let Some(known) = there.get(name.as_str())
            && !known.digests().eq(value.digests())
        {
            out.push(name.clone());
        }
    }
    out
}

fn refuse_replaced(names: &[RefName]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    fail!(Exists, "tag exists: {}; no tag is changed", shortlist(names))
}

/// Returns the entry of a name that has one alone, if that is an index.
fn only_index(value: &RefValue) -> Option<&Descriptor> {
    value.only().filter(|only| is_index(only))
}

/// Points `name` at referrers that were copied, or lets them join those that are there.
fn join(txn: &mut Txn<'_>, name: &RefName, new: &RefValue, monitor: &dyn Monitor) -> Result<()> {
    let store = txn.store();
    let there = store.lookup(name)?;
    if new.digests().all(|new| there.digests().any(|known| known == new)) {
        return Ok(());
    }
    if there.is_empty() {
        txn.set_ref(name, new.clone());
        txn.expect_ref(name, Vec::new());
    } else if let (Some(known), Some(new)) = (only_index(&there), only_index(new)) {
        let both = store
            .read_index(known)
            .and_then(|index| Ok((index, store.read_index(new)?.manifests)));
        let (mut index, mut news) = both.context(|| format!("join the referrers {name}"))?;
        let listed: HashSet<Digest> = index.manifests.iter().map(|entry| entry.digest).collect();
        // Entries of the destination stay as they are, also where the source says more of them.
        news.retain(|entry| !listed.contains(&entry.digest));
        if !news.is_empty() {
            index.manifests.extend(news);
            let joined = txn.put(&json::to_bytes(&index)?, known.media_type.clone())?;
            txn.replace_entry(name, known.clone(), known.pointing_at(&joined));
        }
    } else {
        monitor.left_out(format_args!(
            "left out what is attached as {name}: another one is there"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, Request, copy};
    use super::*;
    use crate::digest::Algorithm;
    use crate::image::Target;
    use crate::progress::Silent;
    use crate::spec::{Manifest, MediaType};
    use crate::store::StoreOptions;

    fn store(dir: &tempfile::TempDir, name: &str) -> Store {
        Store::create(&dir.path().join(name), StoreOptions::default()).expect("create")
    }

    fn image(store: &Store, tag: &str) -> Digest {
        let mut txn = store.begin("test").expect("begin");
        let big: Vec<u8> = tag.bytes().cycle().take(200_000).collect();
        let layer = txn.put(&big, MediaType::LAYER).expect("layer");
        let config = txn
            .put(b"{\"os\":\"linux\",\"rootfs\":{}}", MediaType::CONFIG)
            .expect("config");
        let manifest = json::to_bytes(&Manifest::new(config, vec![layer.clone()])).expect("json");
        let manifest = txn.put(&manifest, MediaType::MANIFEST).expect("manifest");
        txn.set_ref(&tag.parse().expect("name"), manifest);
        txn.commit().expect("commit");
        layer.digest
    }

    fn import(from: &Store, into: &Store) -> Result<(u64, u64)> {
        let sink = StoreSink::new(into, "import")?;
        let images = Catalog::of(from, &Silent)?.named;
        let report = copy(from, &sink, &images, &Silent)?;
        sink.commit(&images, &[], &Silent)?;
        Ok((report.copied, report.present))
    }

    #[test]
    fn a_copy_has_all_and_its_rerun_copies_nothing() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, into) = (store(&dir, "from"), store(&dir, "into"));
        image(&from, "a");
        image(&from, "b");
        assert_eq!(import(&from, &into).expect("import"), (5, 0));
        assert_eq!(import(&from, &into).expect("again"), (0, 5));
        assert_eq!(into.names().expect("names"), ["a", "b"]);
        assert_eq!(into.layout().blobs(Algorithm::Sha256).expect("list").count(), 5);
    }

    #[test]
    fn one_of_several_images_brings_only_what_it_needs() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, into) = (store(&dir, "from"), store(&dir, "into"));
        image(&from, "a");
        let other = image(&from, "b");
        let name: RefName = "a".parse().expect("name");
        let new: RefName = "new".parse().expect("name");
        let request = Request::find(&from, &Target::Name(name), None, Some(new)).expect("find");
        let request = [request];
        let sink = StoreSink::new(&into, "import").expect("sink");
        let report = copy(&from, &sink, &request, &Silent).expect("copy");
        assert!(
            into.names().expect("names").is_empty(),
            "names come with the commit"
        );
        sink.commit(&request, &[], &Silent).expect("commit");
        assert_eq!((report.copied, report.present), (3, 0));
        assert_eq!(into.names().expect("names"), ["new"]);
        assert!(into.layout().blob_size(&other).expect("stat").is_none());
    }

    #[test]
    fn a_missing_blob_is_named_with_the_image_that_needs_it() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, into) = (store(&dir, "from"), store(&dir, "into"));
        image(&from, "whole");
        let layer = image(&from, "torn");
        std::fs::remove_file(from.layout().blob_path(&layer)).expect("remove");
        let err = import(&from, &into).expect_err("missing");
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert!(
            err.to_string().starts_with(&format!("copy torn: blob {layer}: ")),
            "{err}"
        );
        assert!(into.names().expect("names").is_empty());
    }

    #[test]
    fn a_name_for_several_images_brings_all_of_them() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, into) = (store(&dir, "from"), store(&dir, "into"));
        for tag in ["a", "b", "c"] {
            image(&from, tag);
        }
        let path = from.layout().path().join("index.json");
        let text = std::fs::read_to_string(&path).expect("read");
        std::fs::write(&path, text.replace("\"b\"", "\"a\"")).expect("write");
        import(&from, &into).expect("import");
        assert_eq!(into.names().expect("names"), ["a", "a", "c"]);
        let value = |store: &Store| store.lookup("a").expect("lookup");
        assert_eq!(value(&into), value(&from));
        assert_eq!(value(&into).entries().len(), 2);
    }

    #[test]
    fn damage_in_the_source_leaves_no_tag_and_a_rerun_goes_on() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, into) = (store(&dir, "from"), store(&dir, "into"));
        let layer = image(&from, "a");
        let path = from.layout().blob_path(&layer);
        let good = std::fs::read(&path).expect("read");
        for (bytes, kind) in [
            (&good[1..], ErrorKind::Corrupt),
            (&[&good[..], b"x"].concat(), ErrorKind::Corrupt),
        ] {
            std::fs::write(&path, bytes).expect("damage");
            let err = import(&from, &into).expect_err("damaged");
            assert!(
                err.kind() == kind && err.to_string().contains(&layer.to_string()),
                "{err}"
            );
            assert!(into.names().expect("names").is_empty());
            assert!(into.layout().blob_size(&layer).expect("stat").is_none());
        }
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(
            import(&from, &into).expect_err("missing").kind(),
            ErrorKind::NotFound
        );
        std::fs::write(&path, &good).expect("restore");
        assert!(import(&from, &into).expect("rerun").0 >= 1);
        let damaged = into
            .layout()
            .blob_path(&Digest::sha256(b"{\"os\":\"linux\",\"rootfs\":{}}"));
        std::fs::write(&damaged, "{\"os\":\"linux\",\"rootfs\":[]}").expect("damage");
        assert_eq!(import(&from, &into).expect("heals").0, 1);
    }
}
