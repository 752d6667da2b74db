// SPDX-License-Identifier: Apache-2.0
//! Files for other programs.

pub mod csv;
pub mod mtree;
pub mod ncdu;
