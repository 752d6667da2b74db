// SPDX-License-Identifier: Apache-2.0
//! From a tag or digest to the images it leads to.

use std::fmt;

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::spec::{Descriptor, ImageIndex, MediaClass, Platform, Raw, RefName};
use crate::store::Store;

/// Nested indexes deeper than this are refused.
pub const MAX_DEPTH: usize = 32;

/// More images than this behind one tag are refused.
const MAX_TARGETS: usize = 100_000;

/// Reads a document that a descriptor names, and verifies it.
pub type ReadDocument<'a> = dyn Fn(&Descriptor) -> Result<Vec<u8>> + 'a;

/// What a person names an image by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tag.
    Name(RefName),
    /// What a tag was, so many changes ago; written `tag@{1}`.
    Past(RefName, usize),
    /// A digest, tagged or not.
    Digest(Digest),
}

impl std::str::FromStr for Target {
    type Err = Error;

    /// Reads a digest, a tag, or `tag@{N}`.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(digest) = text.parse() {
            return Ok(Target::Digest(digest));
        }
        if let Some((name, steps)) = text.strip_suffix('}').and_then(|t| t.rsplit_once("@{")) {
            let invalid = |_| Error::new(ErrorKind::Invalid, format!("not a count of changes: {text:?}"));
            return Ok(Target::Past(name.parse()?, steps.parse().map_err(invalid)?));
        }
        Ok(Target::Name(text.parse()?))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Name(name) => name.fmt(f),
            Target::Past(name, steps) => write!(f, "{name}@{{{steps}}}"),
            Target::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a target leads to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The entries of `index.json` (or what was found by digest), in order.
    pub roots: Vec<Descriptor>,
    /// Every way from an entry to something that is not an index, depth first.
    pub walks: Vec<Vec<Descriptor>>,
}

/// Finds what `target` leads to. Indexes are descended, everything else is an end.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such tag or blob, [`ErrorKind::Corrupt`] for a damaged index,
/// [`ErrorKind::Limit`] for indexes nested too deep.
pub fn resolve(store: &Store, target: &Target) -> Result<Resolved> {
    let roots = roots(store, target)?;
    if roots.is_empty() {
        return Err(not_found(store, target));
    }
    let mut walks = Vec::new();
    let read = |descriptor: &Descriptor| store.read(descriptor);
    for root in &roots {
        descend(&read, &mut vec![root.clone()], &mut walks).context(|| format!("resolve {target}"))?;
    }
    Ok(Resolved { roots, walks })
}

/// The one entry of `index.json`, or the one blob, that `target` names: an image or an index.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if there are several.
pub fn resolve_root(store: &Store, target: &Target) -> Result<Descriptor> {
    let mut roots = roots(store, target)?;
    match (roots.pop(), roots.is_empty()) {
        (Some(root), true) => Ok(root),
        (None, _) => Err(not_found(store, target)),
        _ => Err(Error::new(
            ErrorKind::Ambiguous,
            format!("tag is ambiguous: {target}"),
        )),
    }
}

fn roots(store: &Store, target: &Target) -> Result<Vec<Descriptor>> {
    match target {
        Target::Name(name) => store.lookup(name),
        Target::Past(name, steps) => Ok(vec![store.past(name, *steps)?]),
        Target::Digest(digest) => Ok(vec![by_digest(store, digest)?]),
    }
}

/// Finds the one image that `target` leads to: the only one, or of several the one that runs best on `platform` (see
/// [`Platform::rank`]; of equals the first), or on this machine if that is `None`. Spec: image-spec, image-index.
///
/// # Errors
/// As [`resolve`]; [`ErrorKind::NotFound`] with the platforms that there are if none fits, also if there is just one and
/// `platform` is another; [`ErrorKind::Ambiguous`] if several entries of `index.json` have the name and an image that fits.
pub fn resolve_one(store: &Store, target: &Target, platform: Option<&Platform>) -> Result<Vec<Descriptor>> {
    let walks = resolve(store, target)?.walks;
    choose(walks, platform, target, &|descriptor| store.read(descriptor))
}

/// As [`resolve_one`], from an image or index `root` that is read by `read` and called `label` in errors.
///
/// # Errors
/// As [`resolve_one`].
pub fn pick(
    root: &Descriptor,
    platform: Option<&Platform>,
    label: &dyn fmt::Display,
    read: &ReadDocument<'_>,
) -> Result<Vec<Descriptor>> {
    let mut walks = Vec::new();
    descend(read, &mut vec![root.clone()], &mut walks).context(|| format!("resolve {label}"))?;
    choose(walks, platform, label, read)
}

fn choose(
    mut walks: Vec<Vec<Descriptor>>,
    platform: Option<&Platform>,
    label: &dyn fmt::Display,
    read: &ReadDocument<'_>,
) -> Result<Vec<Descriptor>> {
    let none = || Error::new(ErrorKind::NotFound, format!("no image at {label}"));
    // What says something of an image is none itself.
    let is_unknown = |walk: &Vec<Descriptor>| {
        let last = walk.last().and_then(|last| last.platform.as_ref());
        last.is_some_and(Platform::is_unknown)
    };
    if !walks.iter().all(is_unknown) {
        walks.retain(|walk| !is_unknown(walk));
    }
    if platform.is_none() && walks.len() == 1 {
        return walks.pop().ok_or_else(none);
    }
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let rank = |walk: &Vec<Descriptor>| {
        let found = walk.last().and_then(|last| Platform::of(last, read));
        found.and_then(|found| wanted.rank(&found))
    };
    // The best of each entry of index.json: behind one entry the variant decides and then the order, between entries nothing
    // does.
    let mut best = Vec::new();
    for walk in &walks {
        let Some(rank) = rank(walk) else { continue };
        match best
            .iter_mut()
            .find(|(_, known): &&mut (_, &Vec<Descriptor>)| known.first() == walk.first())
        {
            Some(known) if rank < known.0 => *known = (rank, walk),
            Some(_) => {}
            None => best.push((rank, walk)),
        }
    }
    let mut first: Vec<&Vec<Descriptor>> = best.into_iter().map(|(_, walk)| walk).collect();
    first.dedup_by_key(|walk| walk.last().map(|last| last.digest));
    match first.as_slice() {
        [one] => Ok((*one).clone()),
        [] if walks.is_empty() => Err(none()),
        [] => {
            let text = format!("no image for {wanted} at {label}: {}", choices(&walks, read));
            Err(Error::new(ErrorKind::NotFound, text))
        }
        _ => {
            let text = format!("tag is ambiguous: {label} ({})", choices(&walks, read));
            Err(Error::new(ErrorKind::Ambiguous, text))
        }
    }
}

/// A descriptor for a bare digest: as `index.json` has it if it does, else by what the blob itself says.
fn by_digest(store: &Store, digest: &Digest) -> Result<Descriptor> {
    for entry in store.refs()? {
        if let Ok(descriptor) = entry.descriptor
            && descriptor.digest == *digest
        {
            return Ok(descriptor);
        }
    }
    Ok(store.identify(digest, None)?.descriptor)
}

fn descend(
    read: &ReadDocument<'_>,
    walk: &mut Vec<Descriptor>,
    found: &mut Vec<Vec<Descriptor>>,
) -> Result<()> {
    let Some(last) = walk.last() else { return Ok(()) };
    if last.media_type.class() != MediaClass::Index {
        if found.len() >= MAX_TARGETS {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("more than {MAX_TARGETS} images"),
            ));
        }
        found.push(walk.clone());
        return Ok(());
    }
    if walk.len() > MAX_DEPTH {
        let text = format!(
            "image index {} is nested deeper than {MAX_DEPTH} levels",
            last.digest
        );
        return Err(Error::new(ErrorKind::Limit, text));
    }
    let digest = last.digest;
    let index = read(last)
        .and_then(Raw::<ImageIndex>::parse)
        .and_then(|index| index.value.check().map(|()| index))
        .context(|| format!("read image index {digest}"))?;
    for child in index.value.manifests {
        walk.push(child);
        descend(read, walk, found)?;
        walk.pop();
    }
    Ok(())
}

fn choices(walks: &[Vec<Descriptor>], read: &ReadDocument<'_>) -> String {
    let name = |walk: &Vec<Descriptor>| {
        let last = walk.last()?;
        Some(match Platform::of(last, read) {
            Some(platform) => platform.to_string(),
            None => last.digest.to_string(),
        })
    };
    let mut names: Vec<String> = walks.iter().take(8).filter_map(name).collect();
    if walks.len() > names.len() {
        names.push(format!("and {} more", walks.len() - names.len()));
    }
    format!("it leads to {}", names.join(", "))
}

/// The error for a target that is not there, with the nearest tag where one is near.
fn not_found(store: &Store, target: &Target) -> Error {
    let text = match target {
        Target::Past(name, steps) => format!("{name}@{{{steps}}} is not known"),
        Target::Digest(digest) => format!("no image found at {digest}"),
        Target::Name(name) => {
            let names: Vec<String> = store
                .refs()
                .map(|refs| refs.into_iter().filter_map(|r| r.name).collect())
                .unwrap_or_default();
            match nearest(name.as_str(), &names) {
                Some(near) => format!("tag not found: {name} (did you mean {near:?}?)"),
                None => format!("tag not found: {name}"),
            }
        }
    };
    Error::new(ErrorKind::NotFound, text)
}

/// The name that a mistyped one was meant to be: at most a third of its letters differ.
fn nearest<'a>(typed: &str, names: &'a [String]) -> Option<&'a str> {
    let best = names.iter().map(|name| (distance(typed, name), name)).min()?;
    (best.0 <= typed.len().max(3) / 3).then_some(best.1.as_str())
}

/// Count of letters to add, drop or change to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_tag_names_the_nearest_one() {
        let names: Vec<String> = ["latest", "v1.0", "debian"].map(str::to_owned).to_vec();
        assert_eq!(nearest("lates", &names), Some("latest"));
        assert_eq!(nearest("debain", &names), Some("debian"));
        assert_eq!(nearest("fedora", &names), None);
    }
}
