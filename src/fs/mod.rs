// SPDX-License-Identifier: Apache-2.0
//! The safe file-system floor: directories below a root, reached by descriptor and never by path.
