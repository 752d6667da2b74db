// SPDX-License-Identifier: Apache-2.0
//! Options of copies.

use clap::Args;

use super::super::failure::Outcome;
use super::super::result::ResultArgs;
use super::super::ui::Ui;
use super::image::PlatformArg;
use crate::store::Store;
use crate::transfer::Request;

/// `--toc`, of copies into a layout
#[derive(Args, Debug, Default)]
pub struct TocArg {
    /// make the tables of contents of the layers at once, which the first question would make: umoci ls-files --help
    #[arg(long)]
    toc: bool,
}

impl TocArg {
    /// Makes the tables of images that have arrived, if that is asked for.
    pub fn make(&self, store: &Store, images: &[Request], ui: &Ui) -> Outcome {
        if !self.toc {
            return Ok(());
        }
        for root in images.iter().flat_map(|image| image.value.digests()) {
            crate::inside::make_tables(store, &root, ui)?;
        }
        Ok(())
    }
}

/// Options that copies share
#[derive(Args, Debug)]
pub struct CopyArgs {
    #[command(flatten)]
    pub platform: PlatformArg,
    /// media types of the images: keep (as they are) or oci (Docker's become OCI's)
    #[arg(long, value_name = "format", default_value = "keep", value_parser = ["keep", "oci"])]
    format: String,
    /// copy what is attached to the images too: yes or no (default: "yes")
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"])]
    referrers: Option<String>,
    #[command(flatten)]
    pub result: ResultArgs,
}

impl CopyArgs {
    /// Returns whether Docker's media types become OCI's.
    pub fn is_to_oci(&self) -> bool {
        self.format == "oci"
    }

    /// Returns whether what is attached is copied.
    pub fn has_referrers(&self) -> bool {
        self.referrers.as_deref() != Some("no")
    }

    /// Returns whether it must be copied, and not only where there is a place for it.
    pub fn must_have_referrers(&self) -> bool {
        self.referrers.as_deref() == Some("yes")
    }
}
