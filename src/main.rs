// SPDX-License-Identifier: Apache-2.0
//! The command line program.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    umoci::cli::main(std::env::args_os().collect())
}
