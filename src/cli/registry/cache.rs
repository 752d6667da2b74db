// SPDX-License-Identifier: Apache-2.0
//! `umoci cache`: a repository of a registry as the cache of many builders.

use crate::registry::{RepositoryName, cache_tag};
use crate::transfer::{Request, Source, StoreSink, copy};

use super::super::args::{ImageRef, layout_path, repository};
use super::super::failure::MISS;
use super::super::prelude::*;
use super::super::result::Made;
use super::{make_layout, open_if_there, show_warnings};

commands! {
    /// shares results of builds by a registry
    Cache {
        Put(Box<Put>),
        Get(Box<Get>),
    }
}

/// An entry of a cache: its key, and access to it.
#[derive(clap::Args, Debug)]
struct EntryArgs {
    #[command(flatten)]
    lock: LockArg,
    #[command(flatten)]
    result: ResultArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[arg(hide = true)]
    rest: Vec<String>,
}

/// stores an image as the result of a key
///
/// The image goes to a repository of a registry under a tag that is made of the key, c-<SHA-256 of the key>; blobs that are
/// there are not sent. If the key has an entry already, the last writer wins: a key should say all that its result depends on.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>] --to <remote> <key>")]
pub struct Put {
    /// OCI image URI of the form 'path[:tag]' or 'path@digest'
    #[arg(long, value_parser = ImageRef::parse)]
    image: ImageRef,
    /// repository of the cache, as host/path, docker://host/path, or name:: of a remote of the layout
    #[arg(long, value_name = "remote")]
    to: String,
    #[command(flatten)]
    entry: EntryArgs,
}

impl Put {
    fn run(self, ui: &Ui) -> Outcome {
        let [key] = positionals(&self.entry.rest, ["key"])?;
        let tag = cache_tag(key)?;
        let repository = cache_repository(&self.to, &self.image.layout, "--to", ui)?;
        let result = self.entry.result.open()?;
        let store = self.entry.lock.open(&self.image.layout)?;
        // Held to the end: umoci gc of another process must not remove a blob before it is sent.
        let _reading = store.reading();
        let request = Request::find(&store, &self.image.target, None, Some(tag.clone()))?;
        repository.takes(&request)?;
        let registry = self.entry.registry.session()?;
        for image in request.value.entries() {
            let done = registry.cache_put(&repository, &tag, &store, image);
            show_warnings(&registry, ui);
            let done = done?;
            let (blobs, bytes) = done.sent;
            if done.was_there {
                ui.done(format_args!("there already: {repository}:{tag}"));
            } else {
                let blobs = counted(blobs, "blob");
                ui.done(format_args!(
                    "stored {repository}:{tag}: {blobs} sent ({})",
                    human_size(bytes)
                ));
            }
        }
        let made = Made::by_requests(&[request]);
        result.write(&made, &json!({ "images": made }), ui)
    }
}

/// fetches the result of a key
///
/// The image gets a tag in the layout, which is made if there is none, and what it has is not fetched. The exit code is 2 if the key has no entry, or one of
/// which something is missing by now; any failure is 1.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--layout <image-path> --from <remote> <key>")]
pub struct Get {
    /// path to an OCI layout
    #[arg(long = "layout", value_parser = layout_path)]
    layout: PathBuf,
    /// repository of the cache, as host/path, docker://host/path, or name:: of a remote of the layout
    #[arg(long, value_name = "remote")]
    from: String,
    /// name of the image in the layout (default: c-<SHA-256 of the key>)
    #[arg(long, value_name = "tag", value_parser = RefName::parse_new)]
    tag: Option<RefName>,
    #[command(flatten)]
    entry: EntryArgs,
}

impl Get {
    fn run(self, ui: &Ui) -> Outcome {
        let [key] = positionals(&self.entry.rest, ["key"])?;
        let tag = cache_tag(key)?;
        let repository = cache_repository(&self.from, &self.layout, "--from", ui)?;
        let result = self.entry.result.open()?;
        let there = open_if_there(&self.layout, &self.entry.lock)?;
        let registry = self.entry.registry.session()?;
        let source = registry.source(&repository, there.as_ref())?;
        let found = source.resolve(tag.as_str());
        show_warnings(&registry, ui);
        let Some(found) = found? else {
            ui.done(format_args!("no entry for {key:?} in {repository}"));
            return Err(Failure::Found(MISS));
        };
        let images = [Request {
            name: Some(self.tag.clone().unwrap_or(tag)),
            value: found.into(),
        }];
        // Only now: a miss makes no layout.
        let made;
        let store = if let Some(store) = &there {
            store
        } else {
            made = make_layout(&self.layout, &self.entry.lock)?;
            &made
        };
        let sink = StoreSink::new(store, "cache")?;
        let report = match copy(&source as &dyn Source, &sink, &images, ui) {
            // A collection of the registry was faster: the entry is worth nothing.
            Err(err) if err.kind() == ErrorKind::NotFound => {
                ui.done(format_args!("the entry for {key:?} is not whole: {err}"));
                return Err(Failure::Found(MISS));
            }
            report => report?,
        };
        // The name of an entry may be that of an older one, which is no surprise.
        sink.commit(&images, &[], ui)?;
        result.say_copy("fetched", &Made::by_requests(&images), Some(&report), &[], ui)
    }
}

/// Returns the repository that a word means.
fn cache_repository(word: &str, layout: &Path, option: &str, ui: &Ui) -> Outcome<RepositoryName> {
    let word = expand(word, layout, ui)?;
    if let Some((place, _)) = word.split_once("://").filter(|(place, _)| *place != "docker") {
        refuse!("invalid {option}: {word:?} (a cache is a repository of a registry, and no {place}://)");
    }
    repository(&word, option)
}
