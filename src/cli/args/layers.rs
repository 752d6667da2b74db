// SPDX-License-Identifier: Apache-2.0
//! Layers: how a new one is compressed, the limits of those that are read, the owners of their files, and the names of layers.

use std::path::Path;
use std::str::FromStr;

use crate::bundle::add_archive;
use crate::digest::DigestPrefix;
use crate::error::{Error, ErrorKind, Result, ResultExt as _};
use crate::fs::IdMap;
use crate::image::{Image, NewLayer};
use crate::layer::Limits;
use crate::spec::Compression;
use crate::store::Txn;
use clap::Args;

use super::super::failure::Outcome;
use super::super::ui::Ui;

/// `--compress ALGO`
#[derive(Args, Debug)]
pub struct CompressArg {
    /// compression of the new layer: none, gzip, zstd or auto (as the image's topmost layer)
    #[arg(long = "compress", default_value = "auto", value_parser = algorithm)]
    compress: Algorithm,
}

/// A compression, or `None` for that of the image. (A plain `Option` means to clap that the option need not be there.)
type Algorithm = Option<Compression>;

fn algorithm(text: &str) -> std::result::Result<Algorithm, String> {
    match text {
        "auto" => Ok(None),
        "none" | "" => Ok(Some(Compression::None)),
        "gzip" => Ok(Some(Compression::Gzip)),
        "zstd" => Ok(Some(Compression::Zstd)),
        other => Err(format!("unknown layer compression type {other:?}")),
    }
}

impl CompressArg {
    /// Returns the algorithm; `None` for `auto`.
    pub fn get(&self) -> Option<Compression> {
        self.compress
    }

    /// Writes a tar archive as a layer. Without a wish, one that is compressed keeps its bytes, and any other is compressed in the
    /// `automatic` way.
    pub fn add_archive(
        &self,
        txn: &mut Txn<'_>,
        path: &Path,
        automatic: Compression,
        ui: &Ui,
    ) -> Result<NewLayer> {
        add_archive(txn, path, self.compress, automatic, ui)
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
            if !given.is_empty() {
                let parse = |word: &String| {
                    IdMap::parse_mapping(word).context(|| format!("failure parsing {option} {word}"))
                };
                *ids = given.iter().map(parse).collect::<Result<_>>()?;
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
        // Seven digits are a digest.
        match text.parse() {
            Ok(number) if text.len() < DigestPrefix::MIN => Ok(LayerName::Number(number)),
            _ => text.parse().map(LayerName::Digest).map_err(|_| {
                let why = "give its number from 1, the lowest, or its digest";
                Error::new(ErrorKind::Invalid, format!("invalid layer {text:?}: {why}"))
            }),
        }
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
            LayerName::Number(number) => {
                fail!(NotFound, "no layer {number}: the image has {}", layers.len());
            }
            LayerName::Digest(prefix) => prefix,
        };
        let diff_ids = &image.config.value.rootfs.diff_ids;
        let mut found: Vec<usize> = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let diff_id = diff_ids.get(at);
            if prefix.matches(&layer.digest) || diff_id.is_some_and(|diff_id| prefix.matches(diff_id)) {
                found.push(at);
            }
        }
        let Some(first) = found.first() else {
            fail!(NotFound, "no layer {} in the image", prefix.hex());
        };
        // An image may have one layer several times.
        if found.iter().all(|at| layers[*at].digest == layers[*first].digest) {
            return Ok(*first);
        }
        let text = format!(
            "several layers of the image begin with {}: give more digits, or the number",
            prefix.hex()
        );
        Err(Error::new(ErrorKind::Ambiguous, text))
    }
}
