// SPDX-License-Identifier: Apache-2.0
//! The images of a registry that a copy is to bring, and which of them the other side has already.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::error::Fact;
use crate::registry::{NETWORK_THREADS, Reference, Registry, RegistrySource, RepositoryName};
use crate::store::{SUFFIXES, referrers_tag};
use crate::transfer::{Request, on_threads};

use super::super::prelude::*;

/// The images of a repository that a person asks for, and their names at the other side.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// Another name for the only image.
    pub tag: Option<&'a RefName>,
    pub tags: &'a TagsArgs,
}

/// Images of a repository, by what they are called there and at the other side.
pub struct Wanted {
    /// The names that images get, each with the tag or digest that it has in the registry.
    pub images: Vec<(RefName, String)>,
    /// False if no tag was given, so that `latest` is a guess.
    is_named: bool,
    /// All tags of the repository, if they were listed.
    listed: Option<HashSet<String>>,
}

impl Wanted {
    /// Returns what has the names that cosign gave to signatures, attestations and SBOMs of images, `sha256-….sig` and others.
    ///
    /// Each name is a request, so they are looked for where the tags are listed anyway, and where referrers `must` come.
    pub fn named_referrers(
        &self,
        source: &RegistrySource<'_>,
        images: &[Request],
        must: bool,
    ) -> Outcome<Vec<Request>> {
        let mut names = Vec::new();
        for digest in images.iter().flat_map(|image| image.value.digests()) {
            for suffix in SUFFIXES.into_iter().filter(|suffix| !suffix.is_empty()) {
                let name = referrers_tag(&digest, suffix)?;
                let is_there = match &self.listed {
                    Some(listed) => listed.contains(name.as_str()),
                    None => must,
                };
                if is_there {
                    names.push(name);
                }
            }
        }
        let found = on_threads(NETWORK_THREADS, &names, |name| source.resolve(name.as_str()))?;
        let named = names.into_iter().zip(found);
        let requests = named.filter_map(|(name, found)| {
            Some(Request {
                name: Some(name),
                value: found?.into(),
            })
        });
        Ok(requests.collect())
    }
}

impl Wish<'_> {
    /// Finds out which images these are.
    pub fn of(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        image: Option<Reference>,
        ui: &Ui,
    ) -> Outcome<Wanted> {
        if self.tags.is_many() {
            if image.is_some() || self.tag.is_some() {
                refuse!("--all-tags and --filter take all images of {repository}: name no tag");
            }
            return self.many(registry, repository, ui);
        }
        let is_named = image.is_some();
        let image = image.map_or_else(|| repository.with_tag("latest"), Ok)?;
        Ok(Wanted {
            images: vec![self.one(&image)?],
            is_named,
            listed: None,
        })
    }

    /// Returns the name that an image gets, and the tag or digest that it has in the registry.
    fn one(&self, image: &Reference) -> Outcome<(RefName, String)> {
        let name = match (self.tag, image.tag()) {
            (Some(tag), _) => tag.clone(),
            (None, Some(tag)) => RefName::parse_new(tag)
                .map_err(|e| Failure::Arguments(format!("{e}: give it another name with --tag")))?,
            (None, None) => refuse!("an image named by its digest needs a --tag"),
        };
        Ok((name, image.target()))
    }

    /// Returns all images of a repository that are wanted, under their tags.
    fn many(&self, registry: &Registry, repository: &RepositoryName, ui: &Ui) -> Outcome<Wanted> {
        let mut out = Vec::new();
        let mut listed = HashSet::new();
        for tag in registry.tags(repository)? {
            listed.insert(tag.clone());
            if !self.tags.has(&tag) {
                continue;
            }
            match RefName::parse_new(&tag) {
                // The lists of referrers come with their subjects.
                Ok(name) if crate::store::is_referrers_tag(&name) => {}
                Ok(name) => out.push((name, tag)),
                Err(err) => ui.left_out(format_args!("left out {repository}:{tag}: {err}")),
            }
        }
        if out.is_empty() {
            fail!(NotFound, "no tag of {repository} matches");
        }
        Ok(Wanted {
            images: out,
            is_named: true,
            listed: Some(listed),
        })
    }
}

/// Splits images into those that the other side does not have under their names, and the others.
///
/// A name that is there, with the digest that `here` has for it, is asked for first: an image that did not change, and
/// `is_whole` there, costs no more than that. The others are read, on several threads, and kept by the source.
pub fn changed(
    source: &RegistrySource<'_>,
    here: &HashMap<RefName, Digest>,
    wanted: &Wanted,
    ui: &Ui,
    is_whole: impl Fn(&Descriptor) -> Result<bool, Error> + Sync,
) -> Outcome<(Vec<Request>, Vec<Request>)> {
    let task = ui.task("looking", Some(wanted.images.len() as u64));
    let found = on_threads(NETWORK_THREADS, &wanted.images, |(name, target)| {
        task.advance(1);
        look(source, here.get(name), target, &is_whole).map_err(|err| {
            let is_guess = !wanted.is_named && err.kind() == ErrorKind::NotFound;
            if is_guess {
                err.with_fact(Fact::NoLatest).about(source.name().to_string())
            } else {
                err
            }
        })
    })?;
    let (mut changed, mut kept) = (Vec::new(), Vec::new());
    for ((name, _), (descriptor, is_here)) in wanted.images.iter().zip(found) {
        let request = Request {
            name: Some(name.clone()),
            value: descriptor.into(),
        };
        if is_here { &mut kept } else { &mut changed }.push(request);
    }
    Ok((changed, kept))
}

/// Returns the image of a tag or digest, and whether it is the one that is here, and whole.
fn look(
    source: &RegistrySource<'_>,
    here: Option<&Digest>,
    target: &str,
    is_whole: &impl Fn(&Descriptor) -> Result<bool, Error>,
) -> Result<(Descriptor, bool), Error> {
    if let Some(here) = here
        && let Some(there) = source.head(target)?
        && there.digest == *here
        && is_whole(&there)?
    {
        return Ok((there, true));
    }
    match source.resolve(target)? {
        Some(descriptor) => Ok((descriptor, false)),
        None => fail!(NotFound, "no image {target} in {}", source.name()),
    }
}

/// Prints the names and digests of the images that would be copied.
pub fn show_plan(changed: &[Request], kept: usize, ui: &Ui) -> Outcome {
    let mut text = String::new();
    for Request { name, value } in changed {
        let name = name.as_ref().map_or("", RefName::as_str);
        for digest in value.digests() {
            let _ = writeln!(text, "{name} {digest}");
        }
    }
    ui.print(text)?;
    let changed = counted(changed.len() as u64, "image");
    ui.done(format_args!("would copy {changed}; {kept} are there already"));
    Ok(())
}
