// SPDX-License-Identifier: Apache-2.0
//! File systems exactly right: whatever a layer or a tree holds, it is the same on the other side.

pub mod contents;
mod dialects;
mod faults;
mod layers;
mod merge;
mod model;
mod odd;
mod trees;
