// SPDX-License-Identifier: Apache-2.0
//! All images of a layout by their layers alone.

use super::OtherImage;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::{ReadDocument as _, Target, resolve};
use crate::spec::{Descriptor, MediaClass, Platform};
use crate::store::Store;

/// An image that could not be read, by name, with the reason.
pub type Unread = (String, Error);

impl OtherImage {
    /// Returns the images of a layout, in the order of their names, but for those with the digests `shown`; and the name of the first
    /// that cannot be read, with the reason. An entry that leads to images for several platforms gives each of them.
    ///
    /// # Errors
    /// Those of reading `index.json`.
    pub fn all(store: &Store, shown: &[Digest]) -> Result<(Vec<Self>, Option<Unread>)> {
        let mut out = Vec::new();
        let mut failed = None;
        for entry in store.refs()? {
            let name = entry.ref_name.as_deref().unwrap_or("<none>").to_owned();
            let images = entry
                .descriptor()
                .and_then(|root| resolve(store, &Target::Digest(root.digest)));
            let images = match images {
                Ok(images) => images.paths,
                Err(err) => {
                    failed = failed.or(Some((name, err)));
                    continue;
                }
            };
            let several = images.len() > 1;
            for image in images {
                let image = image.last();
                if shown.contains(&image.digest) || image.media_type.class() != MediaClass::Manifest {
                    continue;
                }
                match Self::of_manifest(store, image, &name, several) {
                    Ok(image) => out.extend(image),
                    Err(err) => failed = failed.or_else(|| Some((name.clone(), err))),
                }
            }
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((out, failed))
    }

    /// Returns the image of a manifest; `None` for an artifact. The name has the platform where it leads to `several` images.
    fn of_manifest(store: &Store, image: &Descriptor, name: &str, several: bool) -> Result<Option<Self>> {
        let manifest = store.read_manifest(image)?.value;
        if manifest.config.media_type.class() != MediaClass::Config {
            return Ok(None);
        }
        let platform = several.then(|| store.platform(image)).flatten();
        if platform.as_ref().is_some_and(Platform::is_unknown) {
            return Ok(None);
        }
        let layers = manifest.layers.iter();
        Ok(Some(Self {
            name: platform.map_or_else(|| name.to_owned(), |platform| format!("{name} {platform}")),
            layers: layers.map(|layer| (layer.digest, layer.size)).collect(),
        }))
    }
}
