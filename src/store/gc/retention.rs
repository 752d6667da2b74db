// SPDX-License-Identifier: Apache-2.0
//! Retention: which entries of `index.json` a collection gives up.
//!
//! There is one model. Rules ([`Keep`]) say which tags stay; the others go, those that no rule speaks of excepted. With a limit of
//! the size ([`GcOptions::max_size`]) those that no rule keeps go only as far as need be, the ones used least recently first. A tag
//! goes whole, with every entry of that name.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::GcOptions;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layout::Entry;
use crate::progress::Monitor;
use crate::spec::RefName;
use crate::store::Store;
use crate::store::refs::seconds_ago;

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
            fail!(Invalid, "an empty pattern keeps nothing");
        }
        match glob::Pattern::new(text) {
            Ok(pattern) => Ok(Keep::Pattern(pattern)),
            Err(err) => fail!(Invalid, "neither a duration nor a pattern: {text:?}: {}", err.msg),
        }
    }
}

impl Keep {
    /// Reads `N`, or `PATTERN=N`, as [`Keep::Last`].
    ///
    /// # Errors
    /// [`Invalid`](crate::error::ErrorKind::Invalid) for what is no such thing, and for a count of zero, which keeps nothing.
    pub fn last(text: &str) -> Result<Self> {
        let (pattern, count) = text.rsplit_once('=').unwrap_or(("*", text));
        match (glob::Pattern::new(pattern), count.parse()) {
            (_, Ok(0)) => fail!(Invalid, "{text:?} keeps nothing: the count is 1 or more"),
            (Ok(glob), Ok(count)) if !pattern.is_empty() => Ok(Keep::Last(glob, count)),
            _ => fail!(
                Invalid,
                "neither a count nor a pattern with one, as in 'nightly-*=5': {text:?}"
            ),
        }
    }

    /// Returns the places of the tags that the rule keeps.
    fn kept(&self, tags: &[Tag]) -> HashSet<usize> {
        let matching = tags.iter().enumerate().filter(|(_, tag)| match self {
            Keep::Pattern(pattern) | Keep::Last(pattern, _) => pattern.matches(tag.name.as_str()),
            Keep::Newer(age) => tag.changed >= seconds_ago(*age),
        });
        let mut kept: Vec<usize> = matching.map(|(at, _)| at).collect();
        if let Keep::Last(_, count) = self {
            // Of equals the one that stands later, where a change puts it.
            kept.sort_by_key(|at| Reverse((tags[*at].changed, *at)));
            kept.truncate(*count);
        }
        kept.into_iter().collect()
    }

    /// Whether the rule says of a tag that it goes, unless a rule keeps it.
    fn speaks_of(&self, name: &RefName) -> bool {
        match self {
            Keep::Pattern(_) | Keep::Newer(_) => true,
            Keep::Last(pattern, _) => pattern.matches(name.as_str()),
        }
    }

    /// Returns whether the times of tags count for the rule.
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

/// Decision of the rules on the entries of `index.json`.
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
    /// [`Invalid`](crate::error::ErrorKind::Invalid) if no rule keeps any tag, or a pattern that matches none looks like a duration: both are a slip.
    pub(super) fn retention(&self, opts: &GcOptions, monitor: &dyn Monitor) -> Result<Retention> {
        let mut out = Retention::default();
        // Most collections give up no entry, and need no look at them.
        if !opts.untagged && opts.keep.is_empty() && opts.max_size.is_none() {
            return Ok(out);
        }
        let needs_times = opts.max_size.is_some() || opts.keep.iter().any(Keep::needs_times);
        let (tags, untagged) = self.entries_by_tag(needs_times)?;
        if opts.untagged {
            out.drop.untagged = untagged;
        }
        let kept: Vec<HashSet<usize>> = opts.keep.iter().map(|keep| keep.kept(&tags)).collect();
        let unused = opts.keep.iter().zip(&kept).filter(|(_, kept)| kept.is_empty());
        let unused: Vec<&Keep> = unused.map(|(keep, _)| keep).collect();
        for keep in &unused {
            if let Keep::Last(pattern, _) = keep {
                monitor.warn(format_args!("no tag matches {:?}", pattern.as_str()));
            }
        }
        let count = tags.len();
        let mut given_up = Vec::new();
        for (at, tag) in tags.into_iter().enumerate() {
            // A limit of the size concerns every tag that no rule keeps.
            let is_spoken_of =
                opts.max_size.is_some() || opts.keep.iter().any(|keep| keep.speaks_of(&tag.name));
            if is_spoken_of && !kept.iter().any(|kept| kept.contains(&at)) {
                given_up.push(tag);
            }
        }
        out.is_any_kept = given_up.len() < count;
        if given_up.is_empty() {
            return Ok(out);
        }
        // A slip in a rule costs images, and is refused while nothing is lost yet.
        refuse_slips(&unused, opts.keep.len(), given_up.len())?;
        // The reflog will hold the old values of tags that go, and their blobs stay as long.
        out.is_logged = !self.settings()?.reflog_keep.is_zero();
        if opts.max_size.is_none() {
            out.drop = out.dropping(&given_up);
            return Ok(out);
        }
        given_up.sort_by_cached_key(|tag| self.last_use(&tag.name).unwrap_or(0).max(tag.changed));
        out.candidates = given_up;
        Ok(out)
    }

    /// Returns the tags in order, each once, and the digests of the entries without one. Unreadable entries are not given up.
    fn entries_by_tag(&self, with_times: bool) -> Result<(Vec<Tag>, Vec<Digest>)> {
        let (mut tags, mut untagged): (Vec<Tag>, _) = (Vec::new(), Vec::new());
        let mut places: HashMap<RefName, usize> = HashMap::new();
        for entry in self.refs()? {
            let Ok(descriptor) = entry.descriptor() else {
                continue;
            };
            match entry.ref_name.map(|name| name.parse::<RefName>()) {
                None => untagged.push(descriptor.digest),
                Some(Ok(name)) => {
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
                // Somebody may mean it, though no rule can name it.
                Some(Err(_)) => {}
            }
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

    /// Returns the times of the last change and use of each tag.
    pub(crate) fn tag_times(&self) -> Result<HashMap<String, TagTimes>> {
        let (tags, _) = self.entries_by_tag(true)?;
        let mut out = HashMap::new();
        for Tag { name, changed, .. } in tags {
            let used = self.last_use(&name);
            out.insert(name.as_str().to_owned(), TagTimes { changed, used });
        }
        Ok(out)
    }

    /// Returns the time when the last of these blobs came, in seconds since 1970; 0 if none is there.
    fn youngest(&self, digests: &[Digest]) -> Result<i64> {
        let mut latest = 0;
        for digest in digests {
            let stamp = self.layout.blob_stamp(digest)?;
            // A file that was linked into its place keeps its old mtime, and gets a new ctime.
            latest = latest.max(stamp.map_or(0, |stamp| stamp.mtime.max(stamp.ctime).0));
        }
        Ok(latest)
    }

    /// Returns whether the file of a blob was made or renamed less than `age` ago.
    pub(super) fn is_younger(&self, digest: &Digest, age: Duration) -> Result<bool> {
        let latest = self.youngest(std::slice::from_ref(digest))?;
        Ok(latest > seconds_ago(age))
    }
}

/// Refuses what most likely is a slip: rules that keep nothing at all, and a pattern of nothing that may be meant as a duration.
fn refuse_slips(unused: &[&Keep], rules: usize, given_up: usize) -> Result<()> {
    for keep in unused {
        if let Keep::Pattern(pattern) = keep
            && is_like_duration(pattern.as_str())
        {
            let text = pattern.as_str();
            fail!(
                Invalid,
                "no tag is called {text:?}, and it is no duration such as 30d; nothing is removed"
            );
        }
    }
    if rules > 0 && unused.len() == rules {
        fail!(Invalid, "of {given_up} tags none is kept; nothing is removed");
    }
    Ok(())
}

impl Retention {
    /// Adds to what goes as few of the candidates as let the blobs that stay be at most `limit` bytes: of those used least
    /// recently the ones that free anything. `collect` says what a collection would remove, and how many bytes would stay, if
    /// some went. Returns the bytes that stay.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::ErrorKind::Invalid) if no tag would stay: a limit that is so low is a slip.
    pub(super) fn fit(
        &self,
        limit: u64,
        mut collect: impl FnMut(&mut DropRefs) -> Result<(BTreeMap<Digest, u64>, u64)>,
    ) -> Result<(DropRefs, u64)> {
        let candidates = &self.candidates;
        // The more go the less stays, so that the count is found by halves.
        let (mut low, mut high) = (0, candidates.len());
        while low < high {
            let middle = low.midpoint(high);
            let (_, left) = collect(&mut self.dropping(&candidates[..middle]))?;
            if left <= limit {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let (gone, left) = collect(&mut self.dropping(&candidates[..low]))?;
        // A tag whose blobs others hold too would be lost for nothing.
        let mut freeing = candidates[..low].to_vec();
        freeing.retain(|tag| tag.digests.iter().any(|digest| gone.contains_key(digest)));
        let n = freeing.len();
        if !self.is_any_kept && n > 0 && n == candidates.len() {
            fail!(
                Invalid,
                "of {n} tags none would stay within {limit} bytes; nothing is removed"
            );
        }
        Ok((self.dropping(&freeing), left))
    }

    /// Returns the entries that go if these tags go too.
    fn dropping(&self, tags: &[Tag]) -> DropRefs {
        let mut drop = self.drop.clone();
        for tag in tags {
            drop.tags.push(tag.name.clone());
            if self.is_logged {
                drop.logged.extend(&tag.digests);
            }
        }
        drop
    }
}
