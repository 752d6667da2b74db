// SPDX-License-Identifier: Apache-2.0
//! The images of a registry that a copy is to bring, and which of them the other side has already.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::registry::{NETWORK_THREADS, Reference, Registry, RegistrySource, RepositoryName};
use crate::transfer::{Request, on_threads};

use super::super::prelude::*;

/// The images of a repository that a person asks for, and their names at the other side.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// Another name for the only image.
    pub tag: Option<&'a RefName>,
    pub tags: &'a TagsArgs,
}

impl Wish<'_> {
    /// Returns the names that images get, each with the tag or digest that it has in the registry.
    pub fn of(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        image: Option<Reference>,
        ui: &Ui,
    ) -> Outcome<Vec<(RefName, String)>> {
        if self.tags.is_many() {
            if image.is_some() || self.tag.is_some() {
                refuse!("--all-tags and --filter take all images of {repository}: name no tag");
            }
            return self.many(registry, repository, ui);
        }
        let image = image.map_or_else(|| repository.with_tag("latest"), Ok)?;
        Ok(vec![self.one(&image)?])
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
    fn many(
        &self,
        registry: &Registry,
        repository: &RepositoryName,
        ui: &Ui,
    ) -> Outcome<Vec<(RefName, String)>> {
        let mut out = Vec::new();
        for tag in registry.tags(repository)? {
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
        Ok(out)
    }
}

/// Splits images into those that the other side does not have under their names, and the others.
///
/// A name that is there, with the digest that `here` has for it, is asked for first: an image that did not change, and
/// `is_whole` there, costs no more than that. The others are read, on several threads, and kept by the source.
pub fn changed(
    source: &RegistrySource<'_>,
    here: &HashMap<RefName, Digest>,
    wanted: Vec<(RefName, String)>,
    ui: &Ui,
    is_whole: impl Fn(&Descriptor) -> Result<bool, Error> + Sync,
) -> Outcome<(Vec<Request>, Vec<Request>)> {
    let task = ui.task("looking", Some(wanted.len() as u64));
    let found = on_threads(NETWORK_THREADS, &wanted, |(name, target)| {
        task.advance(1);
        look(source, here.get(name), target, &is_whole)
    })?;
    let (mut changed, mut kept) = (Vec::new(), Vec::new());
    for ((name, _), (descriptor, is_here)) in wanted.into_iter().zip(found) {
        let request = Request {
            name: Some(name),
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
