// SPDX-License-Identifier: Apache-2.0
//! Tests of layers as bytes.

mod compress;
mod read;
mod write;

pub(super) use compress::{decode, encode, text};
