// SPDX-License-Identifier: Apache-2.0
//! The command line: outputs, errors and exit codes, by subcommand.

mod framework;
mod refs;
mod stat;
mod store;
mod unpack;
