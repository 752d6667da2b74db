// SPDX-License-Identifier: Apache-2.0
//! Side by side with the programs that others use.

mod interop;
mod platforms;
mod real_image;
pub mod schema;
mod sequence;
mod values;
