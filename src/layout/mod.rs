// SPDX-License-Identifier: Apache-2.0
//! The OCI layout on disk: blobs, `index.json` and their locks.
