// SPDX-License-Identifier: Apache-2.0
//! Files that are derived from layers: tables of contents, and checkpoints of compressed ones. Each may be deleted at any time,
//! and is as good as the layout: a file that is cut or altered is an absent one.

use std::collections::HashSet;
use std::time::Duration;

use super::Store;
use crate::digest::Digest;
use crate::error::Result;
use crate::index::{Access, Index, Place, Rows};
use crate::layer::{Checkpoints, Finished, Toc, digest_prefixes, has_toc_head};
use crate::progress::{Monitor, Silent};

/// Directory of the tables of contents, by diff_id.
const TOC: &str = "toc";

/// Directory of the checkpoints of gzip layers, by digest of the blob.
const SPANS: &str = "spans";

/// Maximum size of such a file that is read, in bytes: some 30 million entries.
const MAX_FILE: u64 = 1 << 30;

/// Maximum time that a command waits for the database to note which tar a layer holds.
const WAIT: Duration = Duration::from_secs(2);

fn name(dir: &str, digest: &Digest) -> String {
    format!("{dir}/{}", file_name(digest))
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.encoded())
}

/// Returns the digest that a file is named by.
fn digest_of(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

impl Store {
    /// Returns the table of contents of the layer with this diff_id, if there is one.
    pub(crate) fn toc(&self, diff_id: &Digest) -> Option<Toc> {
        let bytes = self.read_derived(TOC, diff_id)?;
        let toc = Toc::decode(&bytes, diff_id).ok()?;
        self.layout.private_dir().touch(TOC, &file_name(diff_id));
        Some(toc)
    }

    /// Returns whether there is a table of contents of the layer with this diff_id, by its head and its size alone.
    pub(crate) fn has_toc(&self, diff_id: &Digest) -> bool {
        let file = self.layout.private_dir().open(&name(TOC, diff_id));
        file.is_ok_and(|mut file| {
            let size = file.metadata().map_or(0, |found| found.len());
            has_toc_head(&mut file, size, diff_id)
        })
    }

    /// Returns the beginnings of the digests of all files in a layer, if there is a table of its contents.
    pub(crate) fn digest_prefixes(&self, diff_id: &Digest) -> Option<Vec<[u8; 8]>> {
        let mut file = self.layout.private_dir().open(&name(TOC, diff_id)).ok()?;
        digest_prefixes(&mut file, diff_id).ok()
    }

    /// Returns whether a command that only reads may leave derived files: where our own directory is there.
    pub(crate) fn keeps_derived(&self) -> bool {
        self.opts.index && self.layout.private_dir().has("")
    }

    /// Keeps the table of contents of a layer, whose diff_id was checked.
    pub(crate) fn keep_toc(&self, diff_id: &Digest, bytes: &[u8], monitor: &dyn Monitor) {
        self.keep_derived(TOC, diff_id, bytes, monitor);
    }

    /// Returns the checkpoints of a compressed layer, if there are any.
    pub(crate) fn checkpoints(&self, blob: &Digest) -> Option<Checkpoints> {
        let bytes = self.read_derived(SPANS, blob)?;
        let checkpoints = Checkpoints::decode(&bytes, blob).ok()?;
        self.layout.private_dir().touch(SPANS, &file_name(blob));
        Some(checkpoints)
    }

    /// Keeps the checkpoints of a compressed layer.
    pub(crate) fn keep_checkpoints(&self, blob: &Digest, checkpoints: &Checkpoints, monitor: &dyn Monitor) {
        self.keep_derived(SPANS, blob, &checkpoints.encode(blob), monitor);
    }

    /// Keeps the checkpoints that were noted while a layer was read; those that proved to be of something else are dropped.
    pub(crate) fn keep_noted(&self, blob: &Digest, of: &Finished, monitor: &dyn Monitor) {
        if of.is_stale {
            self.drop_checkpoints(blob);
        }
        if let Some(checkpoints) = &of.checkpoints {
            self.keep_checkpoints(blob, checkpoints, monitor);
        }
    }

    /// Drops the checkpoints of a layer.
    pub(crate) fn drop_checkpoints(&self, blob: &Digest) {
        self.layout.private_dir().discard(&name(SPANS, blob));
    }

    fn read_derived(&self, dir: &str, digest: &Digest) -> Option<Vec<u8>> {
        let private = self.layout.private_dir();
        private.read_up_to(&name(dir, digest), MAX_FILE).ok().flatten()
    }

    fn keep_derived(&self, dir: &str, digest: &Digest, bytes: &[u8], monitor: &dyn Monitor) {
        // A store without an index leaves no trace in its layout, and a full disk is no reason for a command to fail.
        if self.opts.index
            && let Err(err) = self.layout.private_dir().put_derived(&name(dir, digest), bytes)
        {
            monitor.info(format_args!("going on without {}: {err}", name(dir, digest)));
        }
    }

    /// Notes in the index which tars layers hold, as far as that is new and the database can be had at once.
    pub(crate) fn note_layers(&self, layers: &[(Digest, Digest)]) {
        if !self.opts.index || layers.is_empty() {
            return;
        }
        let mut index = Index::new(&self.layout, Place::FileOnly, &Silent).waiting(WAIT);
        // Nothing depends on it: a table of contents whose layer is not noted is dropped by the next collection.
        let _ = index.write(|tables| {
            let notes = layers.iter();
            let mut notes = notes.map(|(layer, diff_id)| tables.note_diff_id(layer, diff_id, None));
            notes.try_for_each(|noted| noted)
        });
    }

    /// Returns which of the blobs hold the tars that are told, each with its diff_id, as the index knows from a pass that checked both.
    pub(crate) fn known_tars(&self, layers: &[(Digest, Digest)]) -> HashSet<Digest> {
        let place = self.index_place(Place::FileIfThere);
        let mut index = Index::new(&self.layout, place, &Silent).waiting(WAIT);
        let known = index.read_as_is(|view| {
            let mut known = HashSet::new();
            for (layer, diff_id) in layers {
                if view.layers_of(diff_id)?.contains(layer) {
                    known.insert(*layer);
                }
            }
            Ok(known)
        });
        known.unwrap_or_default()
    }

    /// Removes derived files that were used least recently, until all together have at most so many bytes.
    pub(super) fn bound_derived(&self, most: u64) -> Result<()> {
        let private = self.layout.private_dir();
        let mut files = Vec::new();
        for dir in [TOC, SPANS] {
            for file in private.list(dir)? {
                let file = format!("{dir}/{file}");
                files.extend(private.stamp(&file).map(|stamp| (stamp.mtime, stamp.size, file)));
            }
        }
        let mut total = files
            .iter()
            .map(|(_, size, _)| *size)
            .fold(0, u64::saturating_add);
        files.sort_unstable();
        for (_, size, file) in files {
            if total <= most {
                break;
            }
            private.discard(&file);
            total = total.saturating_sub(size);
        }
        Ok(())
    }

    /// Removes derived files of layers that are gone from the rows of the index.
    pub(super) fn drop_derived(&self, tables: &Rows<impl Access>, gone: &HashSet<Digest>) -> Result<()> {
        let private = self.layout.private_dir();
        for file in private.list(TOC)? {
            let layers = digest_of(&file)
                .map(|diff_id| tables.layers_of(&diff_id))
                .transpose()?;
            if layers
                .unwrap_or_default()
                .iter()
                .all(|layer| gone.contains(layer))
            {
                private.discard(&format!("{TOC}/{file}"));
            }
        }
        for file in private.list(SPANS)? {
            if digest_of(&file).is_none_or(|blob| gone.contains(&blob)) {
                private.discard(&format!("{SPANS}/{file}"));
            }
        }
        Ok(())
    }
}
