// SPDX-License-Identifier: Apache-2.0
//! What nearly every command works with: groups of options, how it fails, and the ways to the person.

pub use super::args::*;
pub use super::failure::{Failure, Outcome, invalid, one_line};
pub use super::result::ResultArgs;
pub use super::table::{Table, counted, human_size, lines, or_dash};
pub use super::ui::Ui;
pub(crate) use crate::error::{Error, ErrorKind, ResultExt};
pub use crate::progress::Monitor;
