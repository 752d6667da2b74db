// SPDX-License-Identifier: Apache-2.0
//! Images in and out: copying between stores, directories and archives.
