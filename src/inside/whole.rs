// SPDX-License-Identifier: Apache-2.0
//! All images of a store, and each of their different layers once.

use std::collections::HashMap;

use rayon::prelude::*;

use super::contents::{ContentLayer, Contents, each_toc};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{DescriptorPath, Image, Layer, images_below};
use crate::layer::Toc;
use crate::progress::Monitor;
use crate::spec::{Descriptor, MediaClass};
use crate::store::Store;

/// The images of a store.
#[derive(Debug, Default)]
pub struct Whole {
    /// The images in the order of `index.json`, and of the indexes in it, each once however many names lead to it.
    pub images: Vec<StoredImage>,
    /// Their layers, each once: those with the same tar are one.
    pub layers: Vec<ContentLayer>,
    /// Parts that could not be read, by name: entries of `index.json` and layers, each with the reason.
    pub unseen: Vec<(String, Error)>,
    numbers: HashMap<Digest, u32>,
}

/// An image of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredImage {
    /// The tags that lead to it, with the platform behind where they lead to several; its digest if there is none.
    pub names: Vec<String>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Numbers of its layers among [`Whole::layers`], the lowest first.
    pub layers: Vec<u32>,
}

/// An image as it was read, with its layers.
type Read = Result<(StoredImage, Vec<ContentLayer>)>;

impl Whole {
    /// Reads manifests and configs of all images that entries of `index.json` lead to. What is no image with a tree, as an attestation or
    /// a chart, is left out.
    ///
    /// # Errors
    /// Those of `index.json`.
    pub fn of(store: &Store) -> Result<Self> {
        let mut out = Self::default();
        let mut roots: Vec<(Descriptor, Vec<String>)> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for entry in store.refs()? {
            let name = entry.ref_name.clone();
            match entry.descriptor() {
                Ok(root) => {
                    let at = *places.entry(root.digest).or_insert_with(|| {
                        roots.push((root, Vec::new()));
                        roots.len() - 1
                    });
                    roots[at].1.extend(name);
                }
                Err(err) => out.unseen.push((name.unwrap_or_default(), err)),
            }
        }
        let read: Vec<Vec<Read>> = roots
            .par_iter()
            .map(|(root, names)| read(store, root, names))
            .collect();
        for (found, (root, names)) in read.into_iter().zip(&roots) {
            for image in found {
                match image {
                    Ok((image, layers)) => out.add(image, layers),
                    Err(err) => {
                        let name = names.first().cloned().unwrap_or_else(|| root.digest.to_string());
                        out.unseen.push((name, err));
                    }
                }
            }
        }
        Ok(out)
    }

    fn add(&mut self, mut image: StoredImage, layers: Vec<ContentLayer>) {
        for layer in layers {
            let number = *self.numbers.entry(layer.diff_id).or_insert_with(|| {
                self.layers.push(layer);
                self.layers.len() as u32 - 1
            });
            image.layers.push(number);
        }
        self.images.push(image);
    }

    /// Gives the layers with these numbers to `each`, with their tables of contents, on all cores; tables that are not there are made,
    /// by reading the layer. Returns the answers in the order of the layers, without those that could not be read, which are then
    /// [`Whole::unseen`].
    pub fn each_toc<T: Send>(
        &mut self,
        store: &Store,
        layers: &[u32],
        monitor: &dyn Monitor,
        each: impl Fn(u32, Toc) -> T + Sync,
    ) -> Vec<(u32, T)> {
        let of: Vec<Layer<'_>> = layers
            .iter()
            .map(|number| self.layers[*number as usize].as_layer())
            .collect();
        let answers = each_toc(store, &of, monitor, |at, toc| each(layers[at], toc));
        let mut out = Vec::with_capacity(answers.len());
        for (number, answer) in layers.iter().zip(answers) {
            match answer {
                Ok(answer) => out.push((*number, answer)),
                Err(err) => {
                    let digest = self.layers[*number as usize].descriptor.digest;
                    self.unseen.push((format!("layer {digest}"), err));
                }
            }
        }
        out
    }

    /// Lays the layers of an image over one another by tables of them, whole or in part.
    ///
    /// # Errors
    /// Those of [`Contents::of_tocs`].
    pub fn contents(&self, image: &StoredImage, toc: impl Fn(u32) -> Option<Toc>) -> Result<Contents> {
        let layers = image
            .layers
            .iter()
            .map(|number| self.layers[*number as usize].clone());
        let tocs = image.layers.iter().map(|number| {
            let empty = || Toc {
                diff_id: self.layers[*number as usize].diff_id,
                tar_size: 0,
                entries: Vec::new(),
            };
            Ok(toc(*number).unwrap_or_else(empty))
        });
        Contents::of_tocs(layers.collect(), tocs.collect()).context(|| format!("image {}", image.digest))
    }
}

/// Reads the images that an entry of `index.json` leads to.
fn read(store: &Store, root: &Descriptor, names: &[String]) -> Vec<Read> {
    let paths = match images_below(store, root) {
        Ok(paths) => paths,
        Err(err) => return vec![Err(err)],
    };
    let is_one_of_several = root.media_type.class() == MediaClass::Index;
    let images = paths.into_iter().filter(is_image);
    let images = images.map(|path| read_image(store, &path, names, is_one_of_several));
    // An artifact, or a layer of another kind, has no tree.
    images
        .filter(|read| !matches!(read, Err(err) if err.kind() == ErrorKind::Unsupported))
        .collect()
}

/// Returns whether a way leads to an image that a machine can run.
fn is_image(path: &DescriptorPath) -> bool {
    !path.is_unknown() && path.last().media_type.class() == MediaClass::Manifest
}

fn read_image(store: &Store, path: &DescriptorPath, names: &[String], is_one_of_several: bool) -> Read {
    let image = Image::load(store, path.to_vec())?;
    let layers = image.layers()?.iter().map(ContentLayer::of).collect();
    let digest = image.descriptor().digest;
    let platform = if is_one_of_several {
        format!(" {}", image.config.value.platform())
    } else {
        String::new()
    };
    let mut names: Vec<String> = names.iter().map(|name| format!("{name}{platform}")).collect();
    if names.is_empty() {
        names.push(digest.to_string());
    }
    let image = StoredImage {
        names,
        digest,
        layers: Vec::new(),
    };
    Ok((image, layers))
}
