// SPDX-License-Identifier: Apache-2.0
//! Manifests of a tree (mtree), and how a tree differs from one. Pure: neither disk nor tar.
