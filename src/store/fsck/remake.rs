// SPDX-License-Identifier: Apache-2.0
//! Makes `index.json` anew when it was torn or emptied: from the newest of the reflog and the index database, what still stands in
//! the file, and what the blobs tell. A manifest whose name nothing tells gets an entry without one, and is reported.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Finding, Problem};
use crate::digest::Digest;
use crate::error::Result;
use crate::index::{Access, Index, Place, Remembered, Rows};
use crate::layout::{Entry, IndexJson, REFLOG};
use crate::progress::{Monitor, Silent};
use crate::spec::json::Object;
use crate::spec::{Descriptor, MediaType, REF_NAME, RefName};
use crate::store::graph::walk;
use crate::store::refs::Replayed;
use crate::store::{MAX_DOCUMENT, Store};

/// Command of a repair in the records of the reflog.
const COMMAND: &str = "fsck";

/// Entries of `index.json` as they are put together.
#[derive(Debug, Default)]
struct Gathered {
    /// In the order in which the names came to point there, as far as that is known, and then of names.
    names: BTreeMap<(u64, String), Vec<Entry>>,
    unnamed: BTreeMap<Digest, Entry>,
    /// Whether all that stood there at some moment is known.
    is_whole: bool,
    /// Why it may not be the last that stood there.
    doubt: Option<String>,
}

impl Gathered {
    /// From the reflog and the database, whichever has seen more.
    fn of(replayed: &Replayed, remembered: Option<Remembered>) -> Result<Self> {
        let mut out = Self {
            is_whole: replayed.is_whole,
            ..Self::default()
        };
        let end = remembered.as_ref().and_then(|remembered| remembered.end);
        let is_last_seen = end.is_some() && end == replayed.end;
        // Lines that were damaged or are lost may have told of that look, and of more.
        let is_lost = end.is_some_and(|end| !replayed.ends.contains(&end));
        let is_newer = remembered.is_some()
            && (is_last_seen || replayed.end.is_none() || is_lost && replayed.damaged > 0);
        let entries = remembered.map(|remembered| remembered.entries);
        let known = Self::of_entries(replayed, entries.unwrap_or_default());
        if replayed.damaged > 0 && !is_last_seen {
            out.doubt = Some(format!(
                "{} lines of the reflog cannot be read, so a ref may be older than it was",
                replayed.damaged
            ));
        } else if is_lost {
            let text =
                "lacks the last line that the index database has seen, so a ref may be older than it was";
            out.doubt = Some(text.to_owned());
        }
        if is_newer {
            return Ok(Self {
                is_whole: true,
                doubt: out.doubt,
                ..known
            });
        }
        for (name, (line, value)) in &replayed.names {
            let entries = value.entries().iter();
            let entries = entries.map(|descriptor| Entry::of(Some(name), descriptor));
            out.names
                .insert((*line, name.clone()), entries.collect::<Result<_>>()?);
        }
        for (digest, descriptor) in &replayed.unnamed {
            out.unnamed.insert(*digest, Entry::of(None, descriptor)?);
        }
        for (key, entries) in known.names {
            match out.names.get_mut(&key) {
                // The database has each entry to the byte.
                Some(own) if digests(own) == digests(&entries) => *own = entries,
                // A name that no line speaks of was set by another program, unless all lines are known.
                None if !out.is_whole && !replayed.known.contains(&key.1) => {
                    drop(out.names.insert(key, entries))
                }
                _ => {}
            }
        }
        for (digest, entry) in known.unnamed {
            if out.unnamed.contains_key(&digest) || (!out.is_whole && !replayed.spoken.contains(&digest)) {
                out.unnamed.insert(digest, entry);
            }
        }
        Ok(out)
    }

    fn of_entries(replayed: &Replayed, entries: Vec<Entry>) -> Self {
        let mut out = Self::default();
        for entry in entries {
            if let Some(name) = &entry.ref_name {
                let line = replayed.names.get(name).map_or(u64::MAX, |(line, _)| *line);
                let key = (line, name.clone());
                out.names.entry(key).or_default().push(entry);
            } else {
                // An entry that is no descriptor is kept too: another reader may find a blob in it.
                let digest = entry.descriptor().map(|descriptor| descriptor.digest);
                let key = digest.unwrap_or_else(|_| Digest::sha256(entry.raw().as_bytes()));
                out.unnamed.insert(key, entry);
            }
        }
        out
    }

    /// Takes over what still stands in the file, whose beginning is of the last who wrote it: a name that has an entry there that is
    /// not known has what stands there.
    fn correct(&mut self, replayed: &Replayed, torn: Vec<Entry>) {
        let torn = Self::of_entries(replayed, torn);
        for (key, entries) in torn.names {
            let known = self.names.get(&key).map(|known| digests(known));
            if !digests(&entries).is_subset(&known.unwrap_or_default()) {
                self.names.insert(key, entries);
            }
        }
        for (digest, entry) in torn.unnamed {
            self.unnamed.entry(digest).or_insert(entry);
        }
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.keys().any(|(_, known)| known == name)
    }

    fn entries(&self) -> Vec<Entry> {
        let unnamed = self.unnamed.values();
        self.names.values().flatten().chain(unnamed).cloned().collect()
    }
}

fn digests(entries: &[Entry]) -> HashSet<Digest> {
    let descriptors = entries.iter().filter_map(|entry| entry.descriptor().ok());
    descriptors.map(|descriptor| descriptor.digest).collect()
}

/// A manifest or index that no entry of `index.json` and no document names.
struct Unnamed {
    descriptor: Descriptor,
    /// The name that it gives itself.
    name: Option<String>,
    /// Whether it is about something that stays, which keeps it.
    is_about: bool,
}

impl Store {
    /// Makes an `index.json` anew that cannot be read. Returns what is not as it was, or may not be.
    pub(super) fn remake_refs(&self, monitor: &dyn Monitor) -> Result<Vec<Finding>> {
        let findings = self.layout.rebuild_index(
            self.opts.lock_timeout,
            |torn| self.put_together(torn, monitor),
            |index, state| {
                let mut records = self.catch_up(index, state, COMMAND)?;
                self.record(&mut records, state)
            },
        )?;
        Ok(findings.unwrap_or_default())
    }

    /// Puts an `index.json` together of all that is known and of the bytes of the torn one.
    fn put_together(&self, torn: &[u8], monitor: &dyn Monitor) -> Result<(IndexJson, Vec<Finding>)> {
        let replayed = self.replay()?;
        let mut remembered = Index::remembered(&self.layout);
        // A database that has looked at a file without entries, which is what is wrong, is no witness.
        let mut seen = remembered.iter().flat_map(|known| &known.entries);
        if seen.all(Entry::is_nothing) && !self.names_here(&replayed)?.is_empty() {
            remembered = None;
        }
        let mut gathered = Gathered::of(&replayed, remembered)?;
        let (mut index, lost_member) = IndexJson::salvage(torn);
        gathered.correct(&replayed, index.entries().to_vec());
        let mut findings = Vec::new();
        if let Some(name) = lost_member {
            let text = format!("lost its member {name:?}, which could not be taken from the torn file");
            findings.push(Finding::new(Problem::Ref, "index.json", text));
        }
        let doubt = gathered.doubt.take();
        findings.extend(doubt.map(|doubt| Finding::new(Problem::Ref, ".umoci/reflog", doubt)));
        // A repair that was interrupted has recorded some as entries already.
        let unnamed = gathered.unnamed.keys();
        let again = unnamed.filter(|digest| replayed.lost.contains(digest));
        findings.extend(again.map(|digest| lost(digest, true)));
        let unnamed = self.unnamed(&gathered.entries(), monitor)?;
        findings.extend(self.name_or_keep(&mut gathered, &replayed, unnamed)?);
        index.replace_entries(gathered.entries())?;
        Ok((index, findings))
    }

    /// Drops the entries of `index.json` that name nothing, and keeps the file as it was aside.
    pub(super) fn drop_nothing(&self) -> Result<()> {
        let dropped = self.layout.update_index_logged(
            self.opts.lock_timeout,
            |index, state| {
                index.drop_entries(Entry::is_nothing);
                self.catch_up(index, state, COMMAND)
            },
            |records, state| {
                self.layout.keep_index_aside()?;
                self.record(records, state)
            },
        );
        dropped.map(|_| ())
    }

    /// The manifests and indexes that are there and that nothing would name if these were the entries of `index.json`.
    fn unnamed(&self, entries: &[Entry], monitor: &dyn Monitor) -> Result<Vec<Unnamed>> {
        // The index on disk is of the file that stands there.
        Index::new(&self.layout, Place::Memory, monitor).write(|tables| {
            tables.sync_with(&self.layout, entries, &Silent)?;
            let mut out = Vec::new();
            for orphan in tables.orphans()? {
                if tables.is_document(&orphan)?
                    && let Some((descriptor, name)) = self.read_root(&orphan)?
                {
                    let is_about = is_about_needed(tables, &orphan)?;
                    out.push(Unnamed {
                        descriptor,
                        name,
                        is_about,
                    });
                }
            }
            Ok(out)
        })
    }

    /// The descriptor of a manifest or index, and the name that it gives itself; `None` of any other blob.
    fn read_root(&self, digest: &Digest) -> Result<Option<(Descriptor, Option<String>)>> {
        let Some(bytes) = self.layout.read_document(digest, MAX_DOCUMENT)? else {
            return Ok(None);
        };
        let Ok(object) = Object::parse(&bytes) else {
            return Ok(None);
        };
        let own: Option<MediaType> = object.read("mediaType");
        let media_type = match own.filter(MediaType::is_image) {
            Some(own) => own,
            None if object.has("manifests") => MediaType::INDEX.into(),
            None if object.has("config") && object.has("layers") => MediaType::MANIFEST.into(),
            None => return Ok(None),
        };
        let mut descriptor = Descriptor::new(media_type, *digest, bytes.len() as u64);
        descriptor.artifact_type = object
            .read("artifactType")
            .filter(|text: &String| !text.is_empty());
        let annotations = object.object("annotations");
        let name = annotations.and_then(|annotations| annotations.read::<String>(REF_NAME));
        // A name that no tag may have could not be given back by a command.
        let name = name.filter(|name| name.parse::<RefName>().is_ok());
        Ok(Some((descriptor, name)))
    }

    /// Gives each of these the name that it gives itself, if no other has it and nothing tells that it went; else an entry without
    /// a name, which keeps it from being collected. A manifest that the reflog or a lease tells of is no loss.
    fn name_or_keep(
        &self,
        gathered: &mut Gathered,
        replayed: &Replayed,
        unnamed: Vec<Unnamed>,
    ) -> Result<Vec<Finding>> {
        // A lease that cannot be read is told of elsewhere, and what it keeps is kept here.
        let leased = self.leases().unwrap_or_default().into_iter();
        let leased: HashSet<Digest> = leased.flat_map(|lease| lease.digests).collect();
        let mut claims: HashMap<String, u64> = HashMap::new();
        for name in unnamed.iter().filter_map(|found| found.name.clone()) {
            *claims.entry(name).or_default() += 1;
        }
        let mut out = Vec::new();
        for found in unnamed {
            let digest = found.descriptor.digest;
            let is_new = self.is_written_since(&digest)?;
            if replayed.spoken.contains(&digest) && !is_new || leased.contains(&digest) {
                continue;
            }
            // Two claims on a name leave it open which of them had it last.
            let name = found.name.filter(|name| {
                claims[name] == 1 && !replayed.known.contains(name) && !gathered.has_name(name)
            });
            match name {
                Some(name) => {
                    let text = format!("has the name {name} again, which it gives itself");
                    out.push(Finding::new(Problem::Ref, digest, text).info().repaired(true));
                    let entry = Entry::of(Some(&name), &found.descriptor)?;
                    gathered.names.insert((u64::MAX, name), vec![entry]);
                }
                None if found.is_about && gathered.is_whole => {}
                None => {
                    if !found.is_about {
                        out.push(lost(&digest, is_new));
                    }
                    let entry = Entry::of(None, &found.descriptor)?;
                    gathered.unnamed.insert(digest, entry);
                }
            }
        }
        Ok(out)
    }

    /// Whether another program wrote a blob after the last line of the reflog, as it does to give it a name.
    fn is_written_since(&self, digest: &Digest) -> Result<bool> {
        let recorded = self.layout.private_dir().stamp(REFLOG);
        let written = self.layout.blob_stamp(digest)?;
        let times = written.zip(recorded);
        Ok(times.is_some_and(|(written, recorded)| written.mtime > recorded.mtime))
    }
}

/// Returns whether a document is about something that something needs, or that is about such in turn.
fn is_about_needed(tables: &Rows<impl Access>, digest: &Digest) -> Result<bool> {
    let mut is_needed = false;
    walk([*digest], |digest| {
        let subjects = tables.present_subjects(&digest)?;
        for subject in &subjects {
            is_needed |= tables.count(subject)? > 0;
        }
        Ok(subjects)
    })?;
    Ok(is_needed)
}

/// Returns the finding about a manifest whose name is lost; `is_new` if it may have come after all that is known of tags.
fn lost(digest: &Digest, is_new: bool) -> Finding {
    let mut text =
        "lost its name, if it had one, and nothing tells it: it has an entry without a name now".to_owned();
    if is_new {
        text += "; a tag may have pointed at it that now points at an older image";
    }
    Finding::new(Problem::Ref, digest, text)
}
