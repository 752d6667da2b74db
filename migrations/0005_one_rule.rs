// SPDX-License-Identifier: Apache-2.0
//! The edges of a document follow from its bytes alone, and mentions stand apart from what is declared.
//! Needs the blobs: what was read in documents is dropped and filled again, as in version 4.

pub use super::m0004_read_again::up;
