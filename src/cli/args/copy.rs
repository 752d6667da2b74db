// SPDX-License-Identifier: Apache-2.0
//! Options of copies.

use clap::{Args, ValueEnum};

/// `--referrers`
#[derive(Args, Debug)]
pub struct ReferrersArg {
    /// copy what is attached to the images too: yes or no (default: "yes")
    #[arg(long, value_name = "yes|no")]
    referrers: Option<Choice>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Choice {
    Yes,
    No,
}

impl ReferrersArg {
    /// Returns whether they are copied.
    pub fn get(&self) -> bool {
        self.referrers != Some(Choice::No)
    }

    /// Returns whether they must be copied, and not only where there is a place for them.
    pub fn is_asked_for(&self) -> bool {
        self.referrers == Some(Choice::Yes)
    }
}

/// `--format`
#[derive(Args, Debug)]
pub struct FormatArg {
    /// media types of the images: keep (as they are) or oci (Docker's become OCI's)
    #[arg(long, value_name = "format", default_value = "keep")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Format {
    Keep,
    Oci,
}

impl FormatArg {
    /// Whether Docker's media types become OCI's.
    pub fn is_oci(&self) -> bool {
        self.format == Format::Oci
    }
}
