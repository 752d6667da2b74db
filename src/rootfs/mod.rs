// SPDX-License-Identifier: Apache-2.0
//! Entries of layers to a directory tree, and back.
