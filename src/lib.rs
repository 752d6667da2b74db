// SPDX-License-Identifier: Apache-2.0
//! Unpack, edit and repack OCI container images on disk, as a content-addressed store.

#![forbid(unsafe_code)]

pub mod digest;
pub mod error;
pub mod node;
pub mod progress;
pub mod spec;
