// SPDX-License-Identifier: Apache-2.0
//! Images that stay in their registry: `umoci stat docker://…` and `umoci remove docker://…`.

use std::io::{Read as _, Write as _};

use crate::image::{Stat, Target, stat};
use crate::registry::{Reference, RegistrySource};
use crate::spec::{Descriptor, MAX_DOCUMENT, Manifest, MediaClass, Platform};
use crate::transfer::{Request, Source};

use super::super::prelude::*;
use super::show_warnings;

/// Prints the manifest or index as the registry has it, byte for byte.
pub fn print_raw(image: &Reference, platform: Option<&Platform>, args: &RegistryArgs, ui: &Ui) -> Outcome {
    let registry = args.session()?;
    let source = registry.source(image.repository(), None)?;
    let found = resolve(&source, image, platform)?;
    let mut bytes = Vec::new();
    source
        .open(&found)?
        .read_to_end(&mut bytes)
        .map_err(Error::from)?;
    show_warnings(&registry, ui);
    ui.print(&bytes)
}

/// Describes an image of which nothing but its documents is fetched.
pub fn describe(
    image: &Reference,
    platform: Option<&Platform>,
    args: &RegistryArgs,
    ui: &Ui,
) -> Outcome<Stat> {
    let registry = args.session()?;
    let source = registry.source(image.repository(), None)?;
    let found = resolve(&source, image, platform)?;
    show_warnings(&registry, ui);
    // The documents become a layout for a moment, which is described as any other.
    let scratch = Scratch::new()?;
    let store = Store::create(&scratch.0.join("layout"), StoreOptions::without_index())?;
    fetch(&source, &store, &found)?;
    if found.media_type.class() == MediaClass::Manifest {
        let manifest = Manifest::parse(&store.read(&found)?)?;
        if manifest.config.size <= MAX_DOCUMENT {
            fetch(&source, &store, &manifest.config)?;
        }
    }
    Ok(stat(&store, &Target::Digest(found.digest), None)?)
}

/// Removes a tag or a manifest from its registry.
pub fn remove(image: &Reference, args: &RegistryArgs, ui: &Ui) -> Outcome {
    let registry = args.session()?;
    let done = registry.delete(image);
    show_warnings(&registry, ui);
    if done? {
        ui.info(format_args!("removed {image}"));
    } else {
        ui.info(format_args!("{image} was not there"));
    }
    Ok(())
}

fn resolve(
    source: &RegistrySource<'_>,
    image: &Reference,
    platform: Option<&Platform>,
) -> Outcome<Descriptor> {
    let Some(found) = source.resolve(&image.target())? else {
        fail!(NotFound, "no image {image}");
    };
    if platform.is_none() {
        return Ok(found);
    }
    let picked = Request::unnamed(found).for_platform(source, platform)?;
    match picked.value.only() {
        Some(only) => Ok(only.clone()),
        None => fail!(NotFound, "no image {image} for that platform"),
    }
}

fn fetch(source: &dyn Source, store: &Store, blob: &Descriptor) -> Outcome {
    let mut bytes = Vec::new();
    source.open(blob)?.read_to_end(&mut bytes).map_err(Error::from)?;
    let mut writer = store.layout().write_blob(blob.digest.algorithm())?;
    writer.write_all(&bytes).map_err(Error::from)?;
    writer.finish()?;
    Ok(())
}

/// A directory for a moment.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Self> {
        let base = std::env::temp_dir();
        for number in 0..1000 {
            let path = base.join(format!("umoci-{}-{number}", std::process::id()));
            match make_private(&path) {
                Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(Error::from)
                        .context(|| format!("create {}", path.display()))?;
                    return Ok(Self(path));
                }
            }
        }
        fail!(Exists, "no name for a directory in {} is free", base.display())
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that cannot be removed now is found when temporary files are cleaned.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
