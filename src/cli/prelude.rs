// SPDX-License-Identifier: Apache-2.0
//! Imports of nearly every command: groups of options, failures, and output.

pub use super::args::*;
pub use super::escape::one_line;
pub use super::failure::{Failure, Outcome, invalid};
pub use super::result::ResultArgs;
pub use super::table::{Table, counted, human_size, line_each, lines, or_dash, texts};
pub use super::ui::Ui;
pub(crate) use crate::error::{Error, ErrorKind, ResultExt};
pub use crate::progress::Monitor;
