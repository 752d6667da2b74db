// SPDX-License-Identifier: Apache-2.0
//! Retention: which entries of `index.json` a collection gives up.
//!
//! There is one model. Rules ([`Keep`]) say which tags stay; the others go, those that no rule speaks of excepted. With a limit of
//! the size ([`GcOptions::max_size`]) those that no rule keeps go only as far as need be, the ones used least recently first. A tag
//! goes whole, with every entry of that name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::GcOptions;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Entry;
use crate::progress::Monitor;
use crate::spec::RefName;
use crate::store::Store;

/// Rule that keeps a tag.
#[derive(Clone, Debug)]
pub enum Keep {
    /// A name that matches a pattern with `*`, `?` and `[...]`.
    Pattern(glob::Pattern),
    /// A change of the tag within this time; for a tag that the reflog does not know, the age of its blob.
    Newer(Duration),
    /// Of the tags that match a pattern, so many as were changed last. It speaks of no other tag.
    Last(glob::Pattern, usize),
}

impl std::str::FromStr for Keep {
    type Err = Error;

    /// Reads a duration such as `30d`, or else a pattern.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(age) = crate::store::parse_duration(text) {
            return Ok(Keep::Newer(age));
        }
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "an empty pattern keeps nothing"));
        }
        glob::Pattern::new(text).map(Keep::Pattern).map_err(|e| {
            let text = format!("neither a duration nor a pattern: {text:?}: {}", e.msg);
            Error::new(ErrorKind::Invalid, text)
        })
    }
}

impl Keep {
    /// Reads `N`, or `PATTERN=N`, as [`Keep::Last`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for what is no such thing, and for a count of zero, which keeps nothing.
    pub fn last(text: &str) -> Result<Self> {
        let (pattern, count) = text.rsplit_once('=').unwrap_or(("*", text));
        let pattern = glob::Pattern::new(pattern)
            .ok()
            .filter(|p| !p.as_str().is_empty());
        let count: Option<usize> = count.parse().ok();
        if count == Some(0) {
            let text = format!("{text:?} keeps nothing: the count is 1 or more");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        pattern
            .zip(count)
            .map(|(pattern, count)| Keep::Last(pattern, count))
            .ok_or_else(|| {
                let text = format!("neither a count nor a pattern with one, as in 'nightly-*=5': {text:?}");
                Error::new(ErrorKind::Invalid, text)
            })
    }

    /// Whether the rule says of a tag that it goes, unless a rule keeps it.
    fn speaks_of(&self, name: &RefName) -> bool {
        match self {
            Keep::Pattern(_) | Keep::Newer(_) => true,
            Keep::Last(pattern, _) => pattern.matches(name.as_str()),
        }
    }

    /// Whether times count.
    fn needs_times(&self) -> bool {
        !matches!(self, Keep::Pattern(_))
    }
}

/// Whether somebody may have meant a duration: a number, perhaps with a sign, and perhaps a word.
fn is_like_duration(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['+', '-']);
    let word = text.trim_start_matches(|c: char| c.is_ascii_digit());
    word.len() < text.len() && word.trim_start().chars().all(|c| c.is_ascii_alphabetic())
}

/// Entries of `index.json` that go.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct DropRefs {
    pub(super) tags: Vec<RefName>,
    pub(super) untagged: Vec<Digest>,
    /// Digests of the tags that the reflog will hold, once it tells that they went.
    pub(super) logged: Vec<Digest>,
}

impl DropRefs {
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.untagged.is_empty()
    }

    /// Adds a tag, of which the reflog holds what it was if `is_logged`.
    fn add(&mut self, tag: &Tag, is_logged: bool) {
        self.tags.push(tag.name.clone());
        if is_logged {
            self.logged.extend(&tag.digests);
        }
    }

    pub(super) fn drops(&self) -> impl Fn(&Entry) -> bool + use<> {
        let tags: HashSet<String> = self.tags.iter().map(|t| t.as_str().to_owned()).collect();
        let untagged: HashSet<Digest> = self.untagged.iter().copied().collect();
        move |entry| match &entry.ref_name {
            Some(name) => tags.contains(name),
            None => entry.is_untagged() && entry.descriptor().is_ok_and(|d| untagged.contains(&d.digest)),
        }
    }
}

/// A tag with all its entries.
#[derive(Clone, Debug)]
struct Tag {
    name: RefName,
    digests: Vec<Digest>,
    /// When it was last changed, in seconds since 1970; 0 if no rule asks for it.
    changed: i64,
}

/// Times of a tag, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagTimes {
    /// When it was last changed, as far as the reflog tells; else when the newest of what it points at came.
    pub changed: i64,
    /// When it was last used to read what it points at, if that is known.
    pub used: Option<i64>,
}

/// Verdict of the rules on the entries of `index.json`.
#[derive(Clone, Debug, Default)]
pub(super) struct Retention {
    /// Entries that go whatever the size.
    pub(super) drop: DropRefs,
    /// Tags that may go for the sake of the size: those that no rule keeps, the one that was used least recently first.
    candidates: Vec<Tag>,
    /// Whether any tag stays if all of those go.
    is_any_kept: bool,
    /// Whether the reflog holds what a tag was that goes.
    is_logged: bool,
}

impl Store {
    /// Returns the entries that the options give up. Without a limit of the size a tag goes if a rule speaks of it and none keeps
    /// it; with one, the tags that no rule keeps go as far as need be.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no rule keeps any tag, or a pattern that matches none looks like a duration: both are a slip.
    pub(super) fn retention(&self, opts: &GcOptions, monitor: &dyn Monitor) -> Result<Retention> {
        let mut out = Retention::default();
        if !opts.untagged && opts.keep.is_empty() && opts.max_size.is_none() {
            return Ok(out);
        }
        let needs_times = opts.max_size.is_some() || opts.keep.iter().any(Keep::needs_times);
        let (tags, untagged) = self.entries_by_tag(needs_times)?;
        if opts.untagged {
            out.drop.untagged = untagged;
        }
        let kept = kept_by_each(&opts.keep, &tags);
        for (keep, _) in opts.keep.iter().zip(&kept).filter(|(_, kept)| kept.is_empty()) {
            if let Keep::Last(pattern, _) = keep {
                monitor.warn(format_args!("no tag matches {:?}", pattern.as_str()));
            }
        }
        let is_kept = |at: &usize| kept.iter().any(|kept| kept.contains(at));
        let gives_up = |at: &usize| {
            let is_spoken_of = || opts.keep.iter().any(|keep| keep.speaks_of(&tags[*at].name));
            !is_kept(at) && (opts.max_size.is_some() || is_spoken_of())
        };
        let given_up: Vec<usize> = (0..tags.len()).filter(gives_up).collect();
        out.is_any_kept = given_up.len() < tags.len();
        if given_up.is_empty() {
            return Ok(out);
        }
        refuse_slips(&opts.keep, &kept, given_up.len())?;
        out.is_logged = !self.settings()?.reflog_keep.is_zero();
        if opts.max_size.is_none() {
            for at in given_up {
                out.drop.add(&tags[at], out.is_logged);
            }
            return Ok(out);
        }
        out.candidates = given_up.into_iter().map(|at| tags[at].clone()).collect();
        out.candidates
            .sort_by_cached_key(|tag| self.last_use(&tag.name).unwrap_or(0).max(tag.changed));
        Ok(out)
    }

    /// Returns the tags in order, each once, and the digests of the entries without one. Unreadable entries are not given up.
    fn entries_by_tag(&self, with_times: bool) -> Result<(Vec<Tag>, Vec<Digest>)> {
        let (mut tags, mut untagged): (Vec<Tag>, _) = (Vec::new(), Vec::new());
        let mut places: HashMap<RefName, usize> = HashMap::new();
        for entry in self.refs()? {
            let Ok(descriptor) = entry.descriptor else {
                continue;
            };
            let Some(name) = entry.name else {
                untagged.push(descriptor.digest);
                continue;
            };
            // Somebody may mean it, though no rule can name it.
            let Ok(name) = name.parse::<RefName>() else {
                continue;
            };
            let at = *places.entry(name.clone()).or_insert(tags.len());
            if at == tags.len() {
                tags.push(Tag {
                    name,
                    digests: Vec::new(),
                    changed: 0,
                });
            }
            tags[at].digests.push(descriptor.digest);
        }
        if with_times {
            let changes = self.last_changes()?;
            for tag in &mut tags {
                tag.changed = match changes.get(tag.name.as_str()) {
                    Some(time) => time.as_second(),
                    None => self.youngest(&tag.digests)?,
                };
            }
        }
        Ok((tags, untagged))
    }

    /// When each tag was last changed and used.
    pub(crate) fn tag_times(&self) -> Result<HashMap<String, TagTimes>> {
        let (tags, _) = self.entries_by_tag(true)?;
        let times = |tag: Tag| {
            let times = TagTimes {
                changed: tag.changed,
                used: self.last_use(&tag.name),
            };
            (tag.name.as_str().to_owned(), times)
        };
        Ok(tags.into_iter().map(times).collect())
    }

    /// When the last of these blobs came, in seconds since 1970; 0 if none is there.
    fn youngest(&self, digests: &[Digest]) -> Result<i64> {
        let mut latest = 0;
        for digest in digests {
            let stamp = self.layout.blob_stamp(digest)?;
            latest = latest.max(stamp.map_or(0, |stamp| stamp.mtime.max(stamp.ctime).0));
        }
        Ok(latest)
    }

    /// Whether the file of a blob was made or renamed less than `age` ago.
    pub(super) fn is_younger(&self, digest: &Digest, age: Duration) -> Result<bool> {
        let latest = self.youngest(std::slice::from_ref(digest))?;
        Ok(latest > now().saturating_sub(seconds(age)))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    seconds(since.unwrap_or_default())
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// For each rule the places of the tags that it keeps.
fn kept_by_each(keep: &[Keep], tags: &[Tag]) -> Vec<HashSet<usize>> {
    let all = || 0..tags.len();
    let kept = |keep: &Keep| -> HashSet<usize> {
        match keep {
            Keep::Pattern(pattern) => all()
                .filter(|at| pattern.matches(tags[*at].name.as_str()))
                .collect(),
            Keep::Newer(age) => {
                let limit = now().saturating_sub(seconds(*age));
                all().filter(|at| tags[*at].changed >= limit).collect()
            }
            Keep::Last(pattern, count) => {
                let mut matching: Vec<usize> = all()
                    .filter(|at| pattern.matches(tags[*at].name.as_str()))
                    .collect();
                // Of equals the one that stands later, where a change puts it.
                matching.sort_by_key(|at| std::cmp::Reverse((tags[*at].changed, *at)));
                matching.into_iter().take(*count).collect()
            }
        }
    };
    keep.iter().map(kept).collect()
}

/// Refuses what most likely is a slip: rules that keep nothing at all, and a pattern of nothing that may be meant as a duration.
fn refuse_slips(keep: &[Keep], kept: &[HashSet<usize>], given_up: usize) -> Result<()> {
    let unused = || keep.iter().zip(kept).filter(|(_, kept)| kept.is_empty());
    let slip = |(keep, _): (&Keep, _)| match keep {
        Keep::Pattern(pattern) if is_like_duration(pattern.as_str()) => Some(pattern.as_str().to_owned()),
        _ => None,
    };
    if let Some(text) = unused().find_map(slip) {
        let text =
            format!("no tag is called {text:?}, and it is no duration such as 30d; nothing is removed");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    if !keep.is_empty() && unused().count() == keep.len() {
        let text = format!("of {given_up} tags none is kept; nothing is removed");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

impl Retention {
    /// Adds to what goes as few of the candidates as let the blobs that stay be at most `limit` bytes: of those used least
    /// recently the ones that free anything. `collect` says what a collection would remove, and how many bytes would stay, if
    /// some went. Returns the bytes that stay.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if no tag would stay: a limit that is so low is a slip.
    pub(super) fn fit(
        &self,
        limit: u64,
        mut collect: impl FnMut(&mut DropRefs) -> Result<(BTreeMap<Digest, u64>, u64)>,
    ) -> Result<(DropRefs, u64)> {
        let dropping = |tags: &[&Tag]| {
            let mut drop = self.drop.clone();
            for tag in tags {
                drop.add(tag, self.is_logged);
            }
            drop
        };
        let candidates: Vec<&Tag> = self.candidates.iter().collect();
        let mut without = |count: usize| collect(&mut dropping(&candidates[..count]));
        // The more go the less stays, so that the count is found by halves.
        let (mut low, mut high) = (0, candidates.len());
        while low < high {
            let middle = low.midpoint(high);
            if without(middle)?.1 <= limit {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let (gone, left) = without(low)?;
        let is_freeing = |tag: &&Tag| tag.digests.iter().any(|digest| gone.contains_key(digest));
        let freeing: Vec<&Tag> = candidates[..low].iter().copied().filter(is_freeing).collect();
        let n = freeing.len();
        if !self.is_any_kept && n > 0 && n == candidates.len() {
            let text = format!("of {n} tags none would stay within {limit} bytes; nothing is removed");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok((dropping(&freeing), left))
    }
}
