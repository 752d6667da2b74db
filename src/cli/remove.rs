// SPDX-License-Identifier: Apache-2.0
//! `umoci remove`

use super::prelude::*;
use super::registry::remote as in_registry;

/// removes a tag from an OCI image
///
/// Removes a tag, or a name of index.json that no tag may have. It is no error if there is no such tag. The blobs stay until umoci gc
/// is run. A tag in a registry is docker://<name> in place of --image; many registries refuse its removal.
#[derive(clap::Args, Debug)]
#[command(override_usage = "--image <image-path>[:<tag>]")]
pub struct Remove {
    /// OCI image URI of the form 'path[:tag]'
    #[arg(long)]
    image: Option<String>,
    #[command(flatten)]
    lock: LockArg,
    #[arg(hide = true)]
    rest: Vec<String>,
    #[command(flatten)]
    remotes: RemotesArg,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Remove {
    /// Runs the command.
    pub fn run(self, ui: &Ui) -> Outcome {
        if let (None, [word]) = (&self.image, self.rest.as_slice())
            && let Some(image) = self.remotes.image(word, ui)?
        {
            return in_registry::remove(&image, &self.registry, ui);
        }
        let Some(image) = &self.image else {
            return Err(Failure::Missing("--image".to_owned()));
        };
        let [] = positionals(&self.rest, [])?;
        let (store, tag) = self.open_name(image)?;
        store.remove_ref(&tag)?;
        ui.info(format_args!("removed tag: {tag}"));
        Ok(())
    }

    /// Opens the layout; returns it with the tag, or with the name in it that stands behind the colon and that no tag may have.
    fn open_name(&self, text: &str) -> Outcome<(Store, String)> {
        // Other tools write names that are no tags. Such a name is believed only if it is there, and any other text is judged as a tag.
        let odd = text.split_once(':');
        let odd = odd.filter(|(_, name)| name.parse::<RefName>().is_err());
        if let Some((path, name)) = odd.filter(|(path, _)| !path.is_empty())
            && let Ok(store) = self.lock.open(path.as_ref())
            && store.names()?.iter().any(|known| known == name)
        {
            return Ok((store, name.to_owned()));
        }
        let image = ImageRef::parse(text).map_err(invalid("--image"))?;
        let name = image.old_tag()?.as_str().to_owned();
        Ok((self.lock.open(&image.layout)?, name))
    }
}
