// SPDX-License-Identifier: Apache-2.0
//! Layers: how a new one is compressed, the limits of those that are read, the owners of their files, and the names of layers.

use std::str::FromStr;

use crate::digest::DigestPrefix;
use crate::error::{Error, Result, ResultExt as _};
use crate::fs::IdMap;
use crate::image::Image;
use crate::layer::Limits;
use crate::spec::Compression;
use clap::{Args, ValueEnum as _};

use super::super::failure::Outcome;

/// `--compress ALGO`
#[derive(Args, Debug)]
pub struct CompressArg {
    /// compression of the new layer: none, gzip, zstd or auto (as the image's topmost layer)
    #[arg(id = "compress", long = "compress", default_value = "auto", value_parser = compression)]
    pub wanted: Automatic,
}

/// A compression, or `None` for that of the image.
// A plain `Option` of a field means to clap that the option need not be there.
type Automatic = Option<Compression>;

fn compression(text: &str) -> std::result::Result<Automatic, String> {
    match text {
        "auto" => Ok(None),
        // The Go tool takes an empty word for no compression.
        "" => Ok(Some(Compression::None)),
        _ => Compression::from_str(text, false)
            .map(Some)
            .map_err(|_| format!("unknown layer compression type {text:?}")),
    }
}

/// `--limit`
#[derive(Args, Debug)]
pub struct LimitArgs {
    /// change what a layer may ask for: header, path, sparse (8 GiB of holes unless changed), directories or
    /// layer=BYTES, entries=COUNT, zstd-window=LOG2
    #[arg(long = "limit", value_name = "name=number")]
    limit: Vec<String>,
}

impl LimitArgs {
    /// Returns the limits.
    pub fn get(&self) -> Outcome<Limits> {
        let mut out = Limits::default();
        for word in &self.limit {
            let pair = word.split_once('=');
            let Some((name, number)) = pair.and_then(|(name, n)| Some((name, n.parse().ok()?))) else {
                refuse!("--limit {word}: a name, = and a number are wanted, as in layer=1000000000");
            };
            out.set(name, number).map_err(|e| e.context("--limit"))?;
        }
        Ok(out)
    }
}

/// `--uid-map`, `--gid-map`, `--rootless`
#[derive(Args, Debug)]
pub struct IdMapArgs {
    /// map of user ids, container:host[:size]; may be given more than once
    #[arg(long = "uid-map", help_heading = "owners")]
    uid_map: Vec<String>,
    /// map of group ids, container:host[:size]; may be given more than once
    #[arg(long = "gid-map", help_heading = "owners")]
    gid_map: Vec<String>,
    /// work without privileges: owners are kept in an extended attribute
    #[arg(long = "rootless", help_heading = "owners")]
    rootless: bool,
}

impl IdMapArgs {
    /// Returns the maps.
    pub fn get(&self) -> Outcome<IdMap> {
        let mut map = if self.rootless {
            IdMap::of_this_user()
        } else {
            IdMap::default()
        };
        for (option, given, ids) in [
            ("--uid-map", &self.uid_map, &mut map.uids),
            ("--gid-map", &self.gid_map, &mut map.gids),
        ] {
            // A map that is given takes the place of the one that --rootless stands for.
            if !given.is_empty() {
                ids.clear();
            }
            for word in given {
                let mapping = IdMap::parse_mapping(word);
                ids.push(mapping.context(|| format!("failure parsing {option} {word}"))?);
            }
        }
        Ok(map)
    }
}

/// Which layer a person means: its number from 1, the lowest, or its digest or diff_id, of which 7 hex digits are enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerName {
    /// The number.
    Number(usize),
    /// Digest or diff_id.
    Digest(DigestPrefix),
}

impl FromStr for LayerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // Seven digits are a digest: no image has so many layers.
        if let (Ok(number), 0..DigestPrefix::MIN) = (text.parse(), text.len()) {
            return Ok(LayerName::Number(number));
        }
        let Ok(prefix) = text.parse() else {
            let text = format!("invalid layer {text:?}: give its number from 1, the lowest, or its digest");
            fail!(Invalid, "{text}");
        };
        Ok(LayerName::Digest(prefix))
    }
}

impl LayerName {
    /// Returns the place among the layers of the one of this name, from 0, the lowest.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::Ambiguous`] if several begin so.
    pub fn find(&self, image: &Image) -> Result<usize> {
        let layers = &image.manifest.value.layers;
        let prefix = match self {
            LayerName::Number(number @ 1..) if *number <= layers.len() => return Ok(number - 1),
            LayerName::Number(number) => fail!(NotFound, "no layer {number}: the image has {}", layers.len()),
            LayerName::Digest(prefix) => prefix,
        };
        let diff_ids = &image.config.value.rootfs.diff_ids;
        // A config that another tool wrote may have fewer diff_ids than there are layers.
        let mut found = (0..layers.len()).filter(|at| {
            let names = [Some(&layers[*at].digest), diff_ids.get(*at)];
            names.into_iter().flatten().any(|name| prefix.matches(name))
        });
        let Some(first) = found.next() else {
            fail!(NotFound, "no layer {} in the image", prefix.hex());
        };
        // An image may have one layer several times.
        if found.all(|at| layers[at].digest == layers[first].digest) {
            return Ok(first);
        }
        fail!(
            Ambiguous,
            "several layers of the image begin with {}: give more digits, or the number",
            prefix.hex()
        )
    }
}
