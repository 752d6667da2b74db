// SPDX-License-Identifier: Apache-2.0
//! Unpack, edit and repack OCI container images on disk, as a content-addressed store.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod digest;
pub mod error;
pub mod fs;
pub mod image;
mod index;
pub mod layer;
pub mod layout;
pub mod mtree;
pub mod node;
pub mod progress;
pub mod rootfs;
pub mod spec;
pub mod store;
pub mod transfer;
