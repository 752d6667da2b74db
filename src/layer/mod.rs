// SPDX-License-Identifier: Apache-2.0
//! Layers: tar bytes to entries and back. Knows nothing of disks or stores.
