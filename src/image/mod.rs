// SPDX-License-Identifier: Apache-2.0
//! An image as a value.
