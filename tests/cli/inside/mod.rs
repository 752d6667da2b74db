// SPDX-License-Identifier: Apache-2.0
//! Commands that look into images.

mod tables;
