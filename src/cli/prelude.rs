// SPDX-License-Identifier: Apache-2.0
//! Imports of nearly every command: groups of options, failures, output, and the library's words for what a layout holds.

pub use std::path::{Path, PathBuf};
pub use std::time::Duration;

pub use super::args::*;
pub use super::escape::one_line;
pub use super::failure::{Failure, Outcome, invalid};
pub use super::result::ResultArgs;
pub use super::table::{Table, counted, human_size, line_each, lines, or_dash, texts};
pub use super::ui::Ui;
pub use crate::digest::{Digest, DigestPrefix};
pub(crate) use crate::error::{Error, ErrorKind, ResultExt};
pub use crate::image::{Image, Target};
pub use crate::progress::Monitor;
pub use crate::spec::{Descriptor, MediaType, Platform, RefName, RefValue};
pub use crate::store::{Store, StoreOptions, Txn};
pub use serde::Serialize;
pub use serde_json::json;
