// SPDX-License-Identifier: Apache-2.0
//! The layout that a command works on, how long it waits for it, and the digests that it gives to new blobs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::digest::{Algorithm, Digest, DigestPrefix};
use crate::error::ResultExt as _;
use crate::layout::BlobWriter;
use crate::store::{Store, StoreOptions, Txn};
use clap::Args;

use super::super::failure::Outcome;
use super::values::positionals;

/// `--layout PATH`, and the words behind the options
#[derive(Args, Debug)]
// The usage of a command that takes no words; one that takes some has its own.
#[command(override_usage = "--layout <image-path>")]
pub struct LayoutArg {
    /// path to an OCI layout
    #[arg(long = "layout", value_parser = layout_path)]
    pub layout: PathBuf,
    #[command(flatten)]
    pub lock: LockArg,
    /// The words.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}

impl LayoutArg {
    /// Returns as many words as `names`.
    pub fn words<const N: usize>(&self, names: [&str; N]) -> Outcome<[&str; N]> {
        positionals(&self.rest, names)
    }

    /// Opens the layout.
    pub fn open(&self) -> Outcome<Store> {
        self.lock.open(&self.layout)
    }

    /// Opens the layout, and returns as many words as `names`.
    pub fn open_words<const N: usize>(&self, names: [&str; N]) -> Outcome<(Store, [&str; N])> {
        let words = self.words(names)?;
        Ok((self.open()?, words))
    }
}

/// Reads the path of a layout. A colon may not be in it: behind one an image has its tag.
pub fn layout_path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("path is empty".to_owned()),
        text if text.starts_with("docker://") => Err(format!("{text:?} is in a registry, and is no layout")),
        // A path with a tag was meant for --image.
        text if text.contains(':') => Err(format!("path contains ':' character: {text:?}")),
        text => Ok(text.into()),
    }
}

/// `--lock-timeout`
#[derive(Args, Debug)]
pub struct LockArg {
    /// how long to wait for other processes that use the layout, in seconds
    #[arg(long = "lock-timeout", value_name = "seconds", default_value_t = 60)]
    lock_timeout: u64,
}

/// `--digest-algorithm`
#[derive(Args, Debug)]
pub struct AlgorithmArg {
    /// digest algorithm of new blobs: sha256, sha512 or blake3
    #[arg(long = "digest-algorithm", value_name = "algorithm", default_value = "sha256")]
    digest_algorithm: Algorithm,
}

impl AlgorithmArg {
    /// Opens the layout at `path`, to write blobs.
    pub fn open(&self, lock: &LockArg, path: &Path) -> Outcome<Store> {
        lock.open_with(path, self.digest_algorithm)
    }
}

/// Returns the blob that a digest, or the beginning of one, stands for.
pub fn blob(store: &Store, text: &str) -> Outcome<Digest> {
    Ok(store.find(&text.parse::<DigestPrefix>()?)?)
}

/// Writes a file, or stdin for `-`, to a blob.
pub fn write_blob(txn: &Txn<'_>, file: &str) -> Outcome<BlobWriter> {
    // The blob has any size, so it is streamed and never in memory.
    let mut from: Box<dyn io::Read> = match file {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(file).context(|| format!("open {file}"))?),
    };
    let mut writer = txn.write_blob()?;
    io::copy(&mut from, &mut writer).context(|| format!("store {file}"))?;
    Ok(writer)
}

impl LockArg {
    /// Returns how long to wait for other processes.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.lock_timeout)
    }

    /// Opens the layout at `path`.
    pub fn open(&self, path: &Path) -> Outcome<Store> {
        self.open_with(path, Algorithm::default())
    }

    /// As [`LockArg::open`], to write blobs of another algorithm.
    fn open_with(&self, path: &Path, algorithm: Algorithm) -> Outcome<Store> {
        let options = StoreOptions {
            lock_timeout: self.timeout(),
            algorithm,
            ..StoreOptions::default()
        };
        Ok(Store::open(path, options).map_err(|e| e.context("open CAS"))?)
    }
}
