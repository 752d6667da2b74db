// SPDX-License-Identifier: Apache-2.0
//! The command line: outputs, errors and exit codes, a file for each subcommand.

mod add_layer;
mod along;
mod archive;
mod attach;
mod blob;
mod config;
mod docker;
mod framework;
mod fsck;
mod gc;
mod generate;
mod golden;
mod history;
mod ids;
mod import;
mod init;
mod insert;
mod layer;
mod list;
mod manifest;
mod mtree_validate;
mod new;
mod outputs;
mod raw_unpack;
mod refs;
mod remove;
mod repack;
mod rootless;
mod runtime_config;
mod sources;
mod squash;
mod stat;
mod tag;
mod unpack;
