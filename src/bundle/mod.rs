// SPDX-License-Identifier: Apache-2.0
//! Runtime bundles: a root file system, `config.json` and what is needed to repack.
