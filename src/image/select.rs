// SPDX-License-Identifier: Apache-2.0
//! From a tag or digest to the images it leads to.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{ReadDocument, reading};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Fact, Result, ResultExt};
use crate::spec::json::{self, MAX_VALUES};
use crate::spec::{Descriptor, ImageIndex, MediaClass, Platform, RefName, RefValue};
use crate::store::{Store, Summaries};

/// Nested indexes deeper than this are refused.
pub const MAX_DEPTH: usize = 32;

/// Image indexes of more bytes than this behind one name are refused: all of them are held in memory, text and all.
const MAX_BYTES: usize = 16 << 20;

/// Images that an error names, at most.
const MAX_CHOICES: usize = 8;

/// An image as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Target {
    /// A tag. One that is a digest stands for that digest where there is no such tag.
    Name(RefName),
    /// The value of a tag, so many changes ago; written `tag@{1}`.
    #[display("{_0}@{{{_1}}}")]
    Past(RefName, usize),
    /// A digest, tagged or not.
    Digest(Digest),
}

impl std::str::FromStr for Target {
    type Err = Error;

    /// Reads a tag, `tag@{N}`, or a digest, which is a [`Target::Name`]: a layout may have a tag that is one.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((name, steps)) = text.strip_suffix('}').and_then(|t| t.rsplit_once("@{")) {
            return match steps.parse() {
                Ok(steps) => Ok(Target::Past(name.parse()?, steps)),
                Err(_) => fail!(Invalid, "not a count of changes: {text:?}"),
            };
        }
        Ok(Target::Name(text.parse()?))
    }
}

impl Target {
    /// Returns the name that it may have given to it, so that a copy can have it too.
    pub fn name(&self) -> Option<&RefName> {
        let (Target::Name(name) | Target::Past(name, _)) = self else {
            return None;
        };
        name.check_new().is_ok().then_some(name)
    }
}

/// Descriptors that a target leads to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The entries of `index.json`, or what was found by digest; never empty.
    pub roots: RefValue,
    /// The ways from each entry to something that is not an index, depth first. An index that an entry leads to by several
    /// ways is descended once.
    pub paths: Vec<DescriptorPath>,
}

/// The descriptors on the way from an entry of `index.json` to what it leads to. Ways share what they have in common.
#[derive(Clone, Debug)]
pub struct DescriptorPath {
    above: Option<Arc<DescriptorPath>>,
    last: Descriptor,
    /// Number of the entry that it comes from.
    root: usize,
}

impl DescriptorPath {
    /// Returns the descriptor at its end.
    pub fn last(&self) -> &Descriptor {
        &self.last
    }

    /// As [`DescriptorPath::last`].
    pub fn into_last(self) -> Descriptor {
        self.last
    }

    /// Returns the descriptors from the entry of `index.json` to the last; never empty.
    pub fn to_vec(&self) -> Vec<Descriptor> {
        let steps = std::iter::successors(Some(self), |path| path.above.as_deref());
        let mut out: Vec<Descriptor> = steps.map(|path| path.last.clone()).collect();
        out.reverse();
        out
    }

    /// Returns whether it ends at what says something of an image, and is none itself.
    pub(crate) fn is_unknown(&self) -> bool {
        self.last.platform.as_ref().is_some_and(Platform::is_unknown)
    }
}

/// Finds what `target` leads to. Indexes are descended, everything else is an end.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such tag or blob, [`ErrorKind::Corrupt`] for a damaged index,
/// [`ErrorKind::Limit`] for indexes nested too deep, or too large together.
pub fn resolve(store: &Store, target: &Target) -> Result<Resolved> {
    let roots = resolve_roots(store, target)?;
    let paths = descend(store, roots.entries()).context(|| format!("resolve {target}"))?;
    Ok(Resolved { roots, paths })
}

/// Returns the entries of `index.json`, or the blob, that `target` names: images or indexes; never empty.
fn resolve_roots(store: &Store, target: &Target) -> Result<RefValue> {
    let mut roots = match target {
        Target::Name(name) => store.lookup(name)?,
        Target::Past(name, steps) => store.past(name.as_str(), *steps)?,
        Target::Digest(digest) => by_digest(store, digest)?.into(),
    };
    if let Target::Name(name) = target {
        match name.as_digest() {
            Some(digest) if roots.is_empty() => roots = by_digest(store, &digest)?.into(),
            // gc can keep tags by their last use, and this read is one.
            _ if !roots.is_empty() => store.note_use(name),
            _ => {}
        }
    }
    if roots.is_empty() {
        return Err(not_found(store, target));
    }
    Ok(roots)
}

/// Returns all that `target` names, for a copy: entries of `index.json`, or the blob; never empty.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Corrupt`] if an entry of the name is no descriptor: the copy would not be
/// whole.
pub fn resolve_whole(store: &Store, target: &Target) -> Result<RefValue> {
    if let Target::Name(own) = target {
        for entry in store.refs()? {
            if entry.has_name(own.as_str()) {
                entry.descriptor()?;
            }
        }
    }
    resolve_roots(store, target)
}

/// Returns the only entry of `index.json`, or the blob, that `target` names: an image or an index.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
pub fn resolve_root(store: &Store, target: &Target) -> Result<Descriptor> {
    let roots = resolve_roots(store, target)?;
    let only = roots.only().cloned();
    only.ok_or_else(|| ambiguous(target, roots.entries(), &mut Summaries::in_store(store)))
}

/// As [`resolve_root`], where an image index is wanted.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is nothing, [`ErrorKind::Unsupported`] if it is no index.
pub fn resolve_index(store: &Store, target: &Target) -> Result<Descriptor> {
    let roots = resolve_roots(store, target)?;
    let why = match roots.only() {
        Some(only) if only.media_type.class() == MediaClass::Index => return Ok(only.clone()),
        Some(other) => other.media_type.to_string(),
        None => {
            let entries = choices(roots.entries(), &mut Summaries::in_store(store));
            format!("it has several entries, {entries}")
        }
    };
    fail!(Unsupported, "{target} is no image index: {why}")
}

/// Finds the one image that `target` leads to: the only one, or of several the one that runs best on `platform` (see
/// [`Platform::rank`]; of equals the first), or on this machine if that is `None`. Spec: image-spec, image-index.
///
/// # Errors
/// As [`resolve`]; [`ErrorKind::NotFound`] with the platforms that there are if none fits, also if there is just one and
/// `platform` is another; [`ErrorKind::Ambiguous`] if several entries of `index.json` have the name and an image that fits.
pub fn resolve_one(store: &Store, target: &Target, platform: Option<&Platform>) -> Result<DescriptorPath> {
    let paths = resolve(store, target)?.paths;
    choose(paths, platform, target, Summaries::in_store(store))
}

/// As [`resolve_one`], from images and indexes `roots` that are read from `from` and called `label` in errors.
///
/// # Errors
/// As [`resolve_one`].
pub fn pick<R: ReadDocument + ?Sized>(
    from: &R,
    roots: &[Descriptor],
    platform: Option<&Platform>,
    label: &dyn fmt::Display,
) -> Result<DescriptorPath> {
    let paths = descend(from, roots).context(|| format!("resolve {label}"))?;
    let summaries = Summaries::new(|document| from.read_document(document));
    choose(paths, platform, label, summaries)
}

fn choose(
    mut paths: Vec<DescriptorPath>,
    platform: Option<&Platform>,
    label: &dyn fmt::Display,
    mut summaries: Summaries<'_>,
) -> Result<DescriptorPath> {
    // An attestation is no candidate beside images, and may be asked for where nothing else is.
    if !paths.iter().all(DescriptorPath::is_unknown) {
        paths.retain(|path| !path.is_unknown());
    }
    if let ([only], None) = (paths.as_slice(), platform) {
        return Ok(only.clone());
    }
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    // The variant decides, and then the order; but between entries of index.json the order says nothing.
    let mut best: Vec<&DescriptorPath> = Vec::new();
    let mut best_rank = None;
    for path in &paths {
        let found = summaries.platform(&path.last);
        let Some(rank) = found.and_then(|found| wanted.rank(&found)) else {
            continue;
        };
        if best_rank.is_none_or(|best| rank < best) {
            best_rank = Some(rank);
            best.clear();
        }
        // Two entries that lead to one image leave no choice to make.
        let is_twin =
            |other: &&DescriptorPath| other.root == path.root || other.last.digest == path.last.digest;
        if best_rank == Some(rank) && !best.iter().any(is_twin) {
            best.push(path);
        }
    }
    match best.as_slice() {
        [one] => Ok((*one).clone()),
        [] if paths.is_empty() => fail!(NotFound, "no image at {label}"),
        [] => {
            let there = choices(paths.iter().map(DescriptorPath::last), &mut summaries);
            fail!(NotFound, "no image for {wanted} at {label}: it leads to {there}")
        }
        several => {
            let several = several.iter().map(|path| &path.last);
            Err(ambiguous(label, several, &mut summaries).with_fact(Fact::SeveralOfPlatform))
        }
    }
}

/// Returns the error for a label that leads to several images of which one is wanted.
fn ambiguous<'a>(
    label: &dyn fmt::Display,
    images: impl IntoIterator<Item = &'a Descriptor>,
    summaries: &mut Summaries<'_>,
) -> Error {
    let choices = choices(images, summaries);
    let text = format!("tag is ambiguous: {label} (it leads to {choices})");
    Error::new(ErrorKind::Ambiguous, text).with_fact(Fact::SeveralImages)
}

/// Returns a descriptor for a bare digest: as `index.json` has it if it does, else by what the blob itself says.
fn by_digest(store: &Store, digest: &Digest) -> Result<Descriptor> {
    let entries = store.refs()?.into_iter();
    let mut descriptors = entries.filter_map(|entry| entry.descriptor().ok());
    // The entry may give a platform and annotations that the blob itself has not.
    match descriptors.find(|descriptor| descriptor.digest == *digest) {
        Some(known) => Ok(known),
        None => store.identify(digest, None),
    }
}

/// Returns all ways from an entry of `index.json` down to something that is not an index.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn images_below(store: &Store, root: &Descriptor) -> Result<Vec<DescriptorPath>> {
    descend(store, std::slice::from_ref(root))
}

/// Returns all ways from `roots`, each in its turn, to something that is not an index.
fn descend<R: ReadDocument + ?Sized>(from: &R, roots: &[Descriptor]) -> Result<Vec<DescriptorPath>> {
    let mut found = Vec::new();
    // Bytes and JSON values of all indexes: no more together than one document may have.
    let (mut bytes, mut values) = (0, 0);
    for (root, last) in roots.iter().cloned().enumerate() {
        // Each entry descends anew: `choose` refuses images of several entries, so each needs its own paths.
        let mut met = HashSet::new();
        let above = None;
        let mut stack = vec![(DescriptorPath { above, last, root }, 1)];
        while let Some((path, depth)) = stack.pop() {
            let digest = path.last.digest;
            if path.last.media_type.class() != MediaClass::Index {
                found.push(path);
                continue;
            }
            if depth > MAX_DEPTH {
                let text = format!("image index {digest} is nested deeper than {MAX_DEPTH} levels");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            // Ways multiply where one index stands in many others.
            if !met.insert(digest) {
                continue;
            }
            let context = reading("image index", &path.last);
            let index = from.read_document(&path.last).context(context)?;
            bytes += index.len();
            values += json::values(&index);
            if bytes > MAX_BYTES {
                fail!(Limit, "image indexes of more than {MAX_BYTES} bytes together");
            }
            if values > MAX_VALUES {
                let text = format!("image indexes of more than {MAX_VALUES} JSON values together");
                return Err(Error::new(ErrorKind::Limit, text));
            }
            let index = ImageIndex::parse(&index).context(context)?;
            let above = Arc::new(path);
            // The last that is pushed is the first that is taken.
            for last in index.manifests.into_iter().rev() {
                let above = Some(Arc::clone(&above));
                stack.push((DescriptorPath { above, last, root }, depth + 1));
            }
        }
    }
    Ok(found)
}

/// Returns the platforms of images; the digests of those that have none, or the same as another.
fn choices<'a>(images: impl IntoIterator<Item = &'a Descriptor>, summaries: &mut Summaries<'_>) -> String {
    let mut images = images.into_iter();
    let mut shown: Vec<(Option<Platform>, Digest)> = Vec::new();
    for image in images.by_ref().take(MAX_CHOICES) {
        shown.push((summaries.platform(image), image.digest));
    }
    let mut names = Vec::new();
    for (platform, digest) in &shown {
        names.push(match platform {
            None => digest.to_string(),
            Some(name) if shown.iter().filter(|(other, _)| other == platform).count() == 1 => {
                name.to_string()
            }
            Some(name) => format!("{name} {digest}"),
        });
    }
    let rest = images.count();
    names.extend((rest > 0).then(|| format!("and {rest} more")));
    names.join(", ")
}

/// Returns the error for a target that is not there, with the nearest tag where one is near.
fn not_found(store: &Store, target: &Target) -> Error {
    let text = match target {
        Target::Past(name, steps) => format!("{name}@{{{steps}}} is not known"),
        Target::Digest(digest) => format!("no image found at {digest}"),
        Target::Name(name) => match name.as_str().rsplit_once('@') {
            Some((tag, digest)) if digest.parse::<Digest>().is_ok() => {
                format!("tag not found: {name} (the tag is {tag:?}, or give the digest alone)")
            }
            _ => {
                let names = store.names().unwrap_or_default();
                match nearest(name.as_str(), names.iter().map(String::as_str)) {
                    Some(near) => format!("tag not found: {name} (did you mean {near:?}?)"),
                    None => format!("tag not found: {name}"),
                }
            }
        },
    };
    Error::new(ErrorKind::NotFound, text)
}

/// Returns the name that a mistyped one was meant to be: at most a third of its letters differ.
pub(crate) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let names = names.into_iter();
    let distances = names.map(|name| (strsim::levenshtein(typed, name), name));
    let (count, best) = distances.min()?;
    (count <= typed.len().max(3) / 3).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_tag_names_the_nearest_one() {
        let names = ["latest", "v1.0", "debian"];
        assert_eq!(nearest("lates", names), Some("latest"));
        assert_eq!(nearest("debain", names), Some("debian"));
        assert_eq!(nearest("fedora", names), None);
    }
}
