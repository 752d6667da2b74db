// SPDX-License-Identifier: Apache-2.0
//! Commands that look into images. Each takes images as words: `LAYOUT[:TAG]`, `LAYOUT@DIGEST`, and `~N` behind it for the image
//! without its N upper layers.

pub mod blame;
pub mod cat;
pub mod check_image;
mod check_rules;
mod deltas;
pub mod diff;
mod dive;
mod expression;
pub mod find;
mod formats;
pub mod grep;
mod json;
pub mod log;
pub mod ls_files;
mod patch;
mod quote;
pub mod report;
pub mod status;
pub mod view;
mod view_args;
pub mod waste;
pub mod which;

pub use quote::quoted;
