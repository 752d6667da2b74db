// SPDX-License-Identifier: Apache-2.0
//! Layout and index behind one door.
