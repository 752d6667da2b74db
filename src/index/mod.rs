// SPDX-License-Identifier: Apache-2.0
//! The index database: what every blob is and who refers to it. Derived from the layout at any time.
