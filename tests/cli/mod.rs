// SPDX-License-Identifier: Apache-2.0
//! The command line: outputs, errors and exit codes, by subcommand.

mod config;
mod framework;
mod golden;
mod insert;
mod refs;
mod rootless;
mod stat;
mod store;
mod unpack;
