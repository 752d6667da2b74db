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

use super::super::failure::{Failure, Outcome};
use super::values::{one_of, positionals};

/// `--layout PATH`, and the words behind the options
#[derive(Args, Debug)]
pub struct LayoutArg {
    /// path to an OCI layout
    #[arg(long = "layout")]
    layout: Option<String>,
    #[command(flatten)]
    lock: LockArg,
    /// The words.
    #[arg(hide = true)]
    pub rest: Vec<String>,
}

impl LayoutArg {
    /// Returns the path.
    pub fn get(&self) -> Outcome<PathBuf> {
        let text = self.layout.as_deref().ok_or(Failure::Missing("--layout"))?;
        if text.contains(':') {
            refuse!("invalid --layout: path contains ':' character: {text:?}");
        }
        if text.is_empty() {
            refuse!("invalid --layout: path is empty");
        }
        Ok(text.into())
    }

    /// Returns as many words as `names`, if there is a path.
    pub fn words<const N: usize>(&self, names: [&str; N]) -> Outcome<[&str; N]> {
        self.get()?;
        positionals(&self.rest, names)
    }

    /// Returns whether a path is given.
    pub fn is_given(&self) -> bool {
        self.layout.is_some()
    }

    /// Opens the layout.
    pub fn open(&self) -> Outcome<Store> {
        self.lock.open(&self.get()?)
    }

    /// Opens the layout, and returns as many words as `names`.
    pub fn open_words<const N: usize>(&self, names: [&str; N]) -> Outcome<(Store, [&str; N])> {
        let words = self.words(names)?;
        Ok((self.open()?, words))
    }

    /// Opens another layout instead.
    pub fn open_at(&self, path: &Path) -> Outcome<Store> {
        self.lock.open(path)
    }

    /// As [`LayoutArg::open`], to write blobs.
    pub fn open_with(&self, algorithm: &AlgorithmArg) -> Outcome<Store> {
        self.lock.open_with(&self.get()?, algorithm.get())
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
    #[arg(long = "digest-algorithm", value_name = "algorithm", default_value = "sha256", value_parser = one_of(Algorithm::ALL, Algorithm::name))]
    digest_algorithm: Algorithm,
}

impl AlgorithmArg {
    /// The algorithm.
    pub fn get(&self) -> Algorithm {
        self.digest_algorithm
    }
}

/// The blob that a digest, or the beginning of one, stands for.
pub fn blob(store: &Store, text: &str) -> Outcome<Digest> {
    Ok(store.find(&text.parse::<DigestPrefix>()?)?)
}

/// Writes a file, or stdin for `-`, to a blob.
pub fn write_blob(txn: &Txn<'_>, file: &str) -> Outcome<BlobWriter> {
    let mut writer = txn.write_blob()?;
    let copied = if file == "-" {
        io::copy(&mut io::stdin().lock(), &mut writer)
    } else {
        let mut from = File::open(file).context(|| format!("open {file}"))?;
        io::copy(&mut from, &mut writer)
    };
    copied.context(|| format!("store {file}"))?;
    Ok(writer)
}

impl LockArg {
    /// Opens the layout at `path`.
    pub fn open(&self, path: &Path) -> Outcome<Store> {
        self.open_with(path, Algorithm::default())
    }

    /// As [`LockArg::open`], to write blobs of another algorithm.
    pub fn open_with(&self, path: &Path, algorithm: Algorithm) -> Outcome<Store> {
        let options = StoreOptions {
            lock_timeout: Duration::from_secs(self.lock_timeout),
            algorithm,
            ..StoreOptions::default()
        };
        Ok(Store::open(path, options).map_err(|e| e.context("open CAS"))?)
    }
}
